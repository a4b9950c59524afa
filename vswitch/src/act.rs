//! Carrying out a program: what is written into a packet's headers, and where it goes.
//!
//! Whatever is written, the checksums over it stay as right or wrong as they were: they are changed
//! by the difference (RFC 1624), never made anew. A checksum that is still to be made holds the sum
//! of the pseudo-header, so that only addresses change it.

use api::DropReason;
use flowtable::{AsideId, Op};
use packet::checksum::{update, update_partial32, update32};
use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use packet::{
    Checksum, FramePool, Headers, Memory, Network, Packet, PortId, Transport, arp, ethernet, icmp,
    ipv4, ipv6, nd, sctp, tcp, udp, vlan,
};

use crate::account::Account;
use crate::hop;

/// What becomes of a packet when its program has been carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It leaves by this port.
    Send(PortId),
    /// It goes on behind a decision, as the aside says.
    Resume(AsideId),
    /// It ends here; its copies went on.
    Consume,
    /// It waits elsewhere for the rest of its datagram: what is here is an empty one in its place.
    Hold,
    /// It is dropped.
    Drop(DropReason),
}

/// Where copies go that a program sends on the way.
pub trait Exit {
    /// Sends a copy out by `port`.
    fn copy(&mut self, port: PortId, copy: Packet);
    /// A copy of `packet`, which `account` counts; `None` if there were no frames for it, which is
    /// counted as well.
    fn duplicate(
        &mut self,
        packet: &Packet,
        pool: &mut FramePool,
        account: &Account,
    ) -> Option<Packet> {
        account.copied.add(1);
        let copy = packet.duplicate(pool);
        if copy.is_none() {
            account.dropped(DropReason::NoFrames).add(1);
        }
        copy
    }
    /// A copy of the first bytes of `packet`, as [`Exit::duplicate`] makes one.
    fn duplicate_first(
        &mut self,
        packet: &Packet,
        most: u32,
        pool: &mut FramePool,
        account: &Account,
    ) -> Option<Packet> {
        account.copied.add(1);
        let copy = packet.duplicate_first(most as usize, pool);
        if copy.is_none() {
            account.dropped(DropReason::NoFrames).add(1);
        }
        copy
    }
    /// Drops a copy.
    fn drop(&mut self, copy: Packet, reason: DropReason, pool: &mut FramePool, account: &Account);
    /// Ends a copy of which nothing but copies went on.
    fn consume(&mut self, copy: Packet, pool: &mut FramePool, account: &Account) {
        account.consumed.add(1);
        copy.free(pool);
    }
    /// Has a copy go on behind a decision. Programs that come to this are carried out by those who
    /// can (`passes.rs`).
    fn resume(&mut self, _: AsideId, copy: Packet, pool: &mut FramePool, account: &Account) {
        self.drop(copy, DropReason::PassLimit, pool, account);
    }
    /// Shows a packet to whoever watches, or samples it. As with [`Exit::resume`].
    fn show(&mut self, _: AsideId, _: &Packet) {}
}

/// Carries out the program at the head of `ops` on a packet, in place, and says what becomes of it.
///
/// * `headers`: where the packet's headers are. A program that writes into a header was made for
///   packets that have it; one that has it not stays as it is.
/// * Cost: a step per operation. Only outputs before the last one copy.
#[inline]
pub fn act(
    ops: &[Op],
    packet: &mut Packet,
    mut headers: Headers,
    memory: &Memory,
    pool: &mut FramePool,
    account: &Account,
    exit: &mut impl Exit,
) -> Verdict {
    let mut ops = ops.iter();
    while let Some(op) = ops.next() {
        match *op {
            Op::Send(port) => return Verdict::Send(port),
            // The two that nearly every forwarded packet meets, without detour.
            Op::Eth(addresses) => hop::set_addresses(packet.head_mut(memory), addresses),
            Op::DecTtl => hop::dec_ttl(packet.head_mut(memory), headers),
            Op::Drop(reason) => return Verdict::Drop(reason),
            Op::Output(port) => {
                if let Some(copy) = exit.duplicate(packet, pool, account) {
                    exit.copy(port, copy);
                }
            }
            Op::OutputTruncated { port, max_len } => {
                if let Some(copy) = exit.duplicate_first(packet, max_len, pool, account) {
                    exit.copy(port, copy);
                }
            }
            Op::SetQueue(queue) => packet.queue = u16::try_from(queue).unwrap_or(0),
            Op::Show(aside) | Op::Sample(aside) => exit.show(aside, packet),
            Op::Resume(aside) => return Verdict::Resume(aside),
            Op::Consume => return Verdict::Consume,
            Op::Clone(len) => {
                let (part, rest) = ops.as_slice().split_at(usize::from(len).min(ops.len()));
                ops = rest.iter();
                act_on_copy(part, packet, headers, memory, pool, account, exit);
            }
            Op::PushVlan { tpid } => {
                if !push_vlan(tpid, packet, &mut headers, memory) {
                    return Verdict::Drop(DropReason::NoHeadroom);
                }
            }
            Op::PopVlan => pop_vlan(packet, &mut headers, memory),
            op => write(op, packet, headers, memory),
        }
    }
    // Programs end with Send or Drop; one that does not is not carried further.
    Verdict::Drop(DropReason::ProgramLimit)
}

#[cold]
fn act_on_copy(
    ops: &[Op],
    packet: &Packet,
    headers: Headers,
    memory: &Memory,
    pool: &mut FramePool,
    account: &Account,
    exit: &mut impl Exit,
) {
    let Some(mut copy) = exit.duplicate(packet, pool, account) else { return };
    match act(ops, &mut copy, headers, memory, pool, account, exit) {
        Verdict::Send(port) => exit.copy(port, copy),
        Verdict::Resume(aside) => exit.resume(aside, copy, pool, account),
        Verdict::Consume => exit.consume(copy, pool, account),
        Verdict::Hold => copy.free(pool),
        Verdict::Drop(reason) => exit.drop(copy, reason, pool, account),
    }
}

/// Puts an empty tag behind the addresses. Answers whether there was room in front of them.
fn push_vlan(tpid: u16, packet: &mut Packet, headers: &mut Headers, memory: &Memory) -> bool {
    if !packet.push_front(4) {
        return false;
    }
    let head = packet.head_mut(memory);
    head.copy_within(vlan::LEN..vlan::LEN + ethernet::TYPE, 0);
    head[ethernet::TYPE..ethernet::TYPE + 2].copy_from_slice(&tpid.to_be_bytes());
    head[ethernet::TYPE + 2..ethernet::TYPE + 4].fill(0);
    headers.vlans += 1;
    // What is not there has no place; where it would be does not matter then.
    headers.l3 = headers.l3.wrapping_add(4);
    headers.l4 = headers.l4.wrapping_add(4);
    true
}

fn pop_vlan(packet: &mut Packet, headers: &mut Headers, memory: &Memory) {
    if headers.vlans == 0 {
        return;
    }
    packet.head_mut(memory).copy_within(..ethernet::TYPE, vlan::LEN);
    if packet.pull_front(4) {
        headers.vlans -= 1;
        headers.l3 = headers.l3.wrapping_sub(4);
        headers.l4 = headers.l4.wrapping_sub(4);
    }
}

/// Writes a 16-bit word that the transport checksum covers.
pub(crate) fn write_covered(
    at: usize,
    value: u16,
    packet: &mut Packet,
    headers: Headers,
    memory: &Memory,
) {
    let checksum = packet.checksum;
    let mut head = Head { bytes: packet.head_mut(memory), headers, checksum };
    // As with a header that is not there.
    let _ = head.half(at, value, u16::MAX).and_then(|(old, new)| head.correct_transport(old, new));
}

/// Writes into a header.
#[inline(never)]
pub(crate) fn write(op: Op, packet: &mut Packet, headers: Headers, memory: &Memory) {
    let checksum = packet.checksum;
    let head = Head { bytes: packet.head_mut(memory), headers, checksum };
    // A packet without the header that is written, or cut short in it, stays as it is.
    let _ = head.write(op);
}

/// The head of a packet that is written into.
struct Head<'a> {
    bytes: &'a mut [u8],
    headers: Headers,
    checksum: Checksum,
}

impl Head<'_> {
    /// `None` if the header is not there, or not all of it.
    #[inline]
    fn write(mut self, op: Op) -> Option<()> {
        match op {
            Op::EthDst { value, mask } => self.mac(0, value, mask)?,
            Op::EthSrc { value, mask } => self.mac(ethernet::SRC, value, mask)?,
            Op::VlanTci { value, mask } if self.headers.vlans > 0 => {
                self.half(ethernet::TYPE + 2, value, mask)?;
            }
            Op::Ipv4Src { value, mask } => self.address(Network::Ipv4, ipv4::SRC, value, mask)?,
            Op::Ipv4Dst { value, mask } => self.address(Network::Ipv4, ipv4::DST, value, mask)?,
            Op::Ipv6 { word, value, mask } => {
                self.address(Network::Ipv6, ipv6::SRC + usize::from(word) * 4, value, mask)?;
            }
            Op::Ipv6Label { value, mask } if self.headers.network == Network::Ipv6 => {
                self.word(self.l3(), value, mask)?;
            }
            Op::Tos { value, mask } => self.tos(value, mask)?,
            Op::Ttl(ttl) => self.ttl(|_| ttl)?,
            Op::TpSrc { value, mask } => self.port(0, value, mask)?,
            Op::TpDst { value, mask } => self.port(2, value, mask)?,
            Op::IcmpType(kind) => self.icmp(u16::from(kind) << 8, 0xff00)?,
            Op::IcmpCode(code) => self.icmp(code.into(), 0x00ff)?,
            // An operation that does not fit the field is none of those that flows know.
            Op::ArpOp(op) if self.is_arp() && self.bytes.get(self.l3() + arp::OP) == Some(&0) => {
                self.half(self.l3() + arp::OP, op.into(), u16::MAX)?;
            }
            Op::ArpSpa { value, mask } if self.is_arp() => {
                self.word(self.l3() + arp::SPA, value, mask)?;
            }
            Op::ArpTpa { value, mask } if self.is_arp() => {
                self.word(self.l3() + arp::TPA, value, mask)?;
            }
            Op::ArpSha { value, mask } if self.is_arp() => {
                self.mac(self.l3() + arp::SHA, value, mask)?
            }
            Op::ArpTha { value, mask } if self.is_arp() => {
                self.mac(self.l3() + arp::THA, value, mask)?
            }
            Op::NdTarget { word, value, mask } => {
                self.neighbour()?;
                let at = self.l4() + nd::TARGET + usize::from(word) * 4;
                let (old, new) = self.word(at, value, mask)?;
                self.correct_transport32(old, new)?;
            }
            Op::NdSll { value, mask } => {
                let at = self.neighbour()?.source_at()?;
                self.neighbour_mac(at, value, mask)?;
            }
            Op::NdTll { value, mask } => {
                let at = self.neighbour()?.target_address_at()?;
                self.neighbour_mac(at, value, mask)?;
            }
            _ => {}
        }
        Some(())
    }

    fn l3(&self) -> usize {
        self.headers.l3.into()
    }

    fn l4(&self) -> usize {
        self.headers.l4.into()
    }

    /// Bytes from the transport header to the end of the packet, as the network header has it.
    fn transport_len(&self) -> Option<usize> {
        let end = match self.headers.network {
            Network::Ipv4 => Ipv4::split(self.bytes.get(self.l3()..)?).ok()?.0.total_len(),
            Network::Ipv6 => {
                Ipv6::split(self.bytes.get(self.l3()..)?).ok()?.0.payload_len() + ipv6::LEN
            }
            Network::None | Network::Arp => return None,
        };
        (self.l3() + end).checked_sub(self.l4())
    }

    fn is_arp(&self) -> bool {
        self.headers.network == Network::Arp
    }

    /// The message about a neighbour that this is.
    fn neighbour(&self) -> Option<nd::Nd<'_>> {
        let is_v6 = self.headers.transport == Transport::Icmpv6;
        nd::Nd::read(self.bytes.get(self.l4()..)?).filter(|_| is_v6)
    }

    /// Writes an address of a message about a neighbour: three words that its checksum covers.
    fn neighbour_mac(&mut self, at: usize, value: [u8; 6], mask: [u8; 6]) -> Option<()> {
        let half = |bytes: &[u8; 6], n: usize| u16::from_be_bytes([bytes[2 * n], bytes[2 * n + 1]]);
        for n in 0..3 {
            let at = self.l4() + at + 2 * n;
            let (old, new) = self.half(at, half(&value, n), half(&mask, n))?;
            self.correct_transport(old, new)?;
        }
        Some(())
    }

    fn mac(&mut self, at: usize, value: [u8; 6], mask: [u8; 6]) -> Option<()> {
        let bytes = self.bytes.get_mut(at..at + 6)?;
        for ((byte, value), mask) in bytes.iter_mut().zip(value).zip(mask) {
            *byte = *byte & !mask | value;
        }
        Some(())
    }

    /// Writes bits of the 16-bit word at `at`; answers with the word before and after.
    #[inline]
    fn half(&mut self, at: usize, value: u16, mask: u16) -> Option<(u16, u16)> {
        let bytes: &mut [u8; 2] = self.bytes.get_mut(at..at + 2)?.try_into().ok()?;
        let old = u16::from_be_bytes(*bytes);
        let new = old & !mask | value;
        *bytes = new.to_be_bytes();
        Some((old, new))
    }

    /// Writes bits of the 32-bit word at `at`; answers with the word before and after.
    #[inline]
    fn word(&mut self, at: usize, value: u32, mask: u32) -> Option<(u32, u32)> {
        let bytes: &mut [u8; 4] = self.bytes.get_mut(at..at + 4)?.try_into().ok()?;
        let old = u32::from_be_bytes(*bytes);
        let new = old & !mask | value;
        *bytes = new.to_be_bytes();
        Some((old, new))
    }

    fn address(&mut self, network: Network, at: usize, value: u32, mask: u32) -> Option<()> {
        if self.headers.network != network {
            return None;
        }
        let (old, new) = self.word(self.l3() + at, value, mask)?;
        if network == Network::Ipv4 {
            self.correct(self.l3() + ipv4::CHECKSUM, |sum| update32(sum, old, new))?;
        }
        match self.headers.transport {
            Transport::Tcp | Transport::Udp | Transport::Icmpv6 if self.is_partial() => {
                let at = self.checksum_at()?;
                self.correct(at, |sum| update_partial32(sum, old, new))
            }
            Transport::Tcp | Transport::Icmpv6 => {
                let at = self.checksum_at()?;
                self.correct(at, |sum| update32(sum, old, new))
            }
            Transport::Udp => self.correct_udp(|sum| update32(sum, old, new)),
            Transport::None | Transport::Icmp | Transport::Sctp => Some(()),
        }
    }

    fn tos(&mut self, value: u8, mask: u8) -> Option<()> {
        match self.headers.network {
            Network::Ipv4 => {
                let (old, new) = self.half(self.l3(), value.into(), mask.into())?;
                self.correct(self.l3() + ipv4::CHECKSUM, |sum| update(sum, old, new))
            }
            Network::Ipv6 => {
                self.half(self.l3(), u16::from(value) << 4, u16::from(mask) << 4).map(|_| ())
            }
            Network::None | Network::Arp => None,
        }
    }

    #[inline]
    fn ttl(&mut self, change: impl FnOnce(u8) -> u8) -> Option<()> {
        match self.headers.network {
            Network::Ipv4 => {
                // TTL and protocol are one word of what the checksum covers.
                let at = self.l3() + ipv4::TTL;
                let ttl = change(*self.bytes.get(at)?);
                let (old, new) = self.half(at, u16::from(ttl) << 8, 0xff00)?;
                self.correct(self.l3() + ipv4::CHECKSUM, |sum| update(sum, old, new))
            }
            Network::Ipv6 => {
                let at = self.l3() + ipv6::HOP_LIMIT;
                let limit = self.bytes.get_mut(at)?;
                *limit = change(*limit);
                Some(())
            }
            Network::None | Network::Arp => None,
        }
    }

    fn port(&mut self, at: usize, value: u16, mask: u16) -> Option<()> {
        match self.headers.transport {
            Transport::Tcp => {
                let (old, new) = self.half(self.l4() + at, value, mask)?;
                self.correct_transport(old, new)
            }
            Transport::Udp => {
                let (old, new) = self.half(self.l4() + at, value, mask)?;
                if self.is_partial() {
                    Some(())
                } else {
                    self.correct_udp(|sum| update(sum, old, new))
                }
            }
            Transport::Sctp => {
                let (old, new) = self.half(self.l4() + at, value, mask)?;
                let behind = self.transport_len()?.checked_sub(at + 2)?;
                let field = self
                    .bytes
                    .get_mut(self.l4() + sctp::CHECKSUM..self.l4() + sctp::CHECKSUM + 4)?;
                let field: &mut [u8; 4] = field.try_into().ok()?;
                *field = sctp::update(*field, old, new, behind);
                Some(())
            }
            Transport::None | Transport::Icmp | Transport::Icmpv6 => None,
        }
    }

    fn icmp(&mut self, value: u16, mask: u16) -> Option<()> {
        if !matches!(self.headers.transport, Transport::Icmp | Transport::Icmpv6) {
            return None;
        }
        let (old, new) = self.half(self.l4(), value, mask)?;
        self.correct_transport(old, new)
    }

    /// Whether the transport's own checksum is still to be made (and not that of something inside).
    fn is_partial(&self) -> bool {
        matches!(self.checksum, Checksum::Partial { start, .. } if start == self.headers.l4)
    }

    fn checksum_at(&self) -> Option<usize> {
        let offset = match self.headers.transport {
            Transport::Tcp => tcp::CHECKSUM,
            Transport::Udp => udp::CHECKSUM,
            Transport::Icmp | Transport::Icmpv6 => icmp::CHECKSUM,
            Transport::None | Transport::Sctp => return None,
        };
        Some(self.l4() + offset)
    }

    /// Corrects the transport checksum after a word of the transport header changed.
    fn correct_transport(&mut self, old: u16, new: u16) -> Option<()> {
        if self.is_partial() {
            return Some(());
        }
        let at = self.checksum_at()?;
        self.correct(at, |sum| update(sum, old, new))
    }

    /// The same for two words of it.
    fn correct_transport32(&mut self, old: u32, new: u32) -> Option<()> {
        if self.is_partial() {
            return Some(());
        }
        let at = self.checksum_at()?;
        self.correct(at, |sum| update32(sum, old, new))
    }

    /// Zero is "no checksum" to UDP, and stays that; all ones is the zero that is meant (RFC 768).
    fn correct_udp(&mut self, change: impl FnOnce(u16) -> u16) -> Option<()> {
        let at = self.checksum_at()?;
        self.correct(at, |sum| match sum {
            0 => 0,
            sum => match change(sum) {
                0 => u16::MAX,
                sum => sum,
            },
        })
    }

    #[inline]
    fn correct(&mut self, at: usize, change: impl FnOnce(u16) -> u16) -> Option<()> {
        let field: &mut [u8; 2] = self.bytes.get_mut(at..at + 2)?.try_into().ok()?;
        *field = change(u16::from_be_bytes(*field)).to_be_bytes();
        Some(())
    }
}
