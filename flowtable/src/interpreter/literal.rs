//! A packet as bytes, and what each write does to them.

use api::DropReason;
use packet::checksum::{Sum, update};
use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use packet::{
    Fragment, Headers, Key, Network, Span, Transport, arp, ethernet, icmp, ipv4, ipv6, nd, parse,
    sctp, tcp, udp, vlan,
};

/// A packet on its way through the tables.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    pub(super) bytes: Vec<u8>,
    pub(super) in_port: u16,
    /// Metadata and registers: all that the bytes do not say.
    pub(super) pipeline: Key,
    /// The fields of a message about a neighbour that are being written.
    pub(super) before: Vec<(std::ops::Range<usize>, Span)>,
}

impl Literal {
    /// A packet that came in by the port of this number.
    pub(super) fn new(bytes: &[u8], in_port: u16) -> Self {
        Self { bytes: bytes.to_vec(), in_port, pipeline: Key::ZERO, before: Vec::new() }
    }

    pub(super) fn headers(&self) -> Headers {
        parse(&self.bytes, self.bytes.len(), &mut Key::default()).unwrap_or_default()
    }

    /// All fields as they are now.
    pub(super) fn key(&self) -> Key {
        let mut key = self.pipeline;
        // A packet that was long enough for Ethernet stays so.
        let _ = parse(&self.bytes, self.bytes.len(), &mut key);
        key.with(Key::IN_PORT, self.in_port)
    }

    /// Writes the bits `mask` of a field, if the packet has it.
    pub(super) fn write(&mut self, span: Span, value: u128, mask: u128) -> Result<(), DropReason> {
        let mut key = self.key();
        key.set(span, key.get(span) & !mask | value & mask);
        match span.word() {
            0 => self.in_port = u16::try_from(key.word(Key::IN_PORT)).unwrap_or(0),
            Key::PARSED_WORDS.. => self.pipeline.set(span, key.get(span)),
            2 if Key::VLAN_TCI.contains(span) => {
                return self.write_tag(u16::try_from(key.word(Key::VLAN_TCI)).unwrap_or(0));
            }
            _ => self.write_header(&key),
        }
        Ok(())
    }

    fn write_tag(&mut self, tci: u16) -> Result<(), DropReason> {
        match (self.headers().vlans > 0, tci & vlan::PRESENT != 0) {
            (false, false) => Ok(()),
            (true, false) => self.pop_vlan(),
            (_, true) => self.set_tag((tci & !vlan::PRESENT).into(), u128::from(!vlan::PRESENT)),
        }
    }

    /// Writes bits of the outer tag, pushing one first if there is none.
    pub(super) fn set_tag(&mut self, value: u128, mask: u128) -> Result<(), DropReason> {
        if self.headers().vlans == 0 {
            self.push_vlan(ethernet::VLAN)?;
        }
        let old = u128::from(u16::from_be_bytes([self.bytes[14], self.bytes[15]]));
        let tci = u16::try_from(old & !mask | value & mask).unwrap_or(0);
        self.bytes[14..16].copy_from_slice(&tci.to_be_bytes());
        Ok(())
    }

    /// Writes the identifier of a query; its checksum is as right or wrong as it was.
    pub(super) fn write_identifier(&mut self, identifier: u16) {
        let start = usize::from(self.headers().l4);
        let icmp = &mut self.bytes[start..];
        let half = |at: usize, icmp: &[u8]| u16::from_be_bytes([icmp[at], icmp[at + 1]]);
        let before = half(4, icmp);
        if before == identifier {
            return;
        }
        let sum = update(half(icmp::CHECKSUM, icmp), before, identifier);
        icmp[icmp::CHECKSUM..][..2].copy_from_slice(&sum.to_be_bytes());
        icmp[4..6].copy_from_slice(&identifier.to_be_bytes());
    }

    pub(super) fn push_vlan(&mut self, tpid: u16) -> Result<(), DropReason> {
        if self.headers().vlans > 1 {
            return Err(DropReason::VlanTags);
        }
        let [a, b] = tpid.to_be_bytes();
        self.bytes.splice(ethernet::TYPE..ethernet::TYPE, [a, b, 0, 0]);
        Ok(())
    }

    pub(super) fn pop_vlan(&mut self) -> Result<(), DropReason> {
        let headers = self.headers();
        let ethertype = u16::try_from(self.key().word(Key::ETH_TYPE)).unwrap_or(0);
        if headers.vlans == 2 && vlan::is_tag(ethertype) {
            return Err(DropReason::VlanTags);
        }
        if headers.vlans > 0 {
            self.bytes.drain(ethernet::TYPE..ethernet::TYPE + vlan::LEN);
        }
        Ok(())
    }

    /// Makes the headers say what `key` says, and corrects the checksums by what changed.
    fn write_header(&mut self, key: &Key) {
        let headers = self.headers();
        self.before = match headers.transport {
            Transport::Icmpv6 if headers.fragment == Fragment::No => {
                neighbour_fields(&self.bytes, headers.l4.into())
            }
            _ => Vec::new(),
        };
        let before = (self.ip_sum(&headers), self.transport_sum(&headers));
        let crc = self.sctp_crc(&headers);
        self.bytes[..6].copy_from_slice(&key.word(Key::ETH_DST).to_be_bytes()[2..]);
        self.bytes[6..12].copy_from_slice(&key.word(Key::ETH_SRC).to_be_bytes()[2..]);
        let l3 = usize::from(headers.l3);
        let (byte, half) =
            (|span| key.word(span).to_be_bytes()[7], |span| key.word(span).to_be_bytes());
        match headers.network {
            Network::None => return,
            Network::Arp => {
                let ip = &mut self.bytes[l3..];
                // An operation that does not fit the field is not written by accident.
                if ip[arp::OP] == 0 {
                    ip[arp::OP + 1] = byte(Key::NW_PROTO);
                }
                ip[arp::SPA..arp::SPA + 4].copy_from_slice(&half(Key::NW_SRC)[4..]);
                ip[arp::TPA..arp::TPA + 4].copy_from_slice(&half(Key::NW_DST)[4..]);
                ip[arp::SHA..arp::SHA + 6].copy_from_slice(&half(Key::ARP_SHA)[2..]);
                ip[arp::THA..arp::THA + 6].copy_from_slice(&half(Key::ARP_THA)[2..]);
                return;
            }
            Network::Ipv4 => {
                let ip = &mut self.bytes[l3..];
                ip[ipv4::TOS] = byte(Key::NW_TOS);
                ip[ipv4::TTL] = byte(Key::NW_TTL);
                ip[ipv4::SRC..ipv4::SRC + 4].copy_from_slice(&half(Key::NW_SRC)[4..]);
                ip[ipv4::DST..ipv4::DST + 4].copy_from_slice(&half(Key::NW_DST)[4..]);
            }
            Network::Ipv6 => {
                let ip = &mut self.bytes[l3..];
                let word = 6 << 28 | u64::from(byte(Key::NW_TOS)) << 20 | key.word(Key::IPV6_LABEL);
                ip[..4].copy_from_slice(&word.to_be_bytes()[4..]);
                ip[ipv6::HOP_LIMIT] = byte(Key::NW_TTL);
                ip[ipv6::SRC..ipv6::SRC + 16]
                    .copy_from_slice(&key.get(Key::IPV6_SRC).to_be_bytes());
                ip[ipv6::DST..ipv6::DST + 16]
                    .copy_from_slice(&key.get(Key::IPV6_DST).to_be_bytes());
            }
        }
        let l4 = usize::from(headers.l4);
        match headers.transport {
            Transport::None => {}
            // The key does not have what a fragment has there.
            _ if headers.fragment != Fragment::No => {}
            Transport::Icmp | Transport::Icmpv6 => {
                // First what only such a message has.
                self.write_neighbour(key);
                self.bytes[l4] = byte(Key::TP_SRC);
                self.bytes[l4 + 1] = byte(Key::TP_DST);
            }
            Transport::Tcp | Transport::Udp | Transport::Sctp => {
                self.bytes[l4..l4 + 2].copy_from_slice(&half(Key::TP_SRC)[6..]);
                self.bytes[l4 + 2..l4 + 4].copy_from_slice(&half(Key::TP_DST)[6..]);
            }
        }
        let after = (self.ip_sum(&headers), self.transport_sum(&headers));
        if headers.network == Network::Ipv4 {
            self.correct(l3 + ipv4::CHECKSUM, before.0, after.0, false);
        }
        if let Some(at) = checksum_at(&headers) {
            self.correct(at, before.1, after.1, headers.transport == Transport::Udp);
        }
        if let (Some(before), Some(after)) = (crc, self.sctp_crc(&headers)) {
            // A wrong checksum stays wrong by as much.
            for (n, byte) in (before ^ after).to_le_bytes().into_iter().enumerate() {
                self.bytes[l4 + sctp::CHECKSUM + n] ^= byte;
            }
        }
    }

    fn write_neighbour(&mut self, key: &Key) {
        for (range, span) in self.before.clone() {
            let value = key.get(span).to_be_bytes();
            self.bytes[range.clone()].copy_from_slice(&value[16 - range.len()..]);
        }
    }

    /// What SCTP's checksum should be (RFC 9260 appendix A), bit by bit.
    fn sctp_crc(&self, headers: &Headers) -> Option<u32> {
        if headers.transport != Transport::Sctp {
            return None;
        }
        let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
        let end = match headers.network {
            Network::Ipv4 => Ipv4::split(&self.bytes[l3..]).ok()?.0.total_len(),
            _ => Ipv6::split(&self.bytes[l3..]).ok()?.0.payload_len() + ipv6::LEN,
        };
        let mut bytes = self.bytes[l4..l3 + end].to_vec();
        bytes[sctp::CHECKSUM..sctp::LEN].fill(0);
        Some(!bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 }
            })
        }))
    }

    /// Changes the checksum at `at` by as much as what it covers has changed (RFC 1624).
    fn correct(&mut self, at: usize, before: u16, after: u16, is_udp: bool) {
        let old = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        if before == after || is_udp && old == 0 {
            return;
        }
        let new = update(old, before, after);
        let new = if is_udp && new == 0 { 0xffff } else { new };
        self.bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }

    /// The sum of an IPv4 header, its checksum left out.
    fn ip_sum(&self, headers: &Headers) -> u16 {
        let l3 = usize::from(headers.l3);
        match Ipv4::split(&self.bytes[l3.min(self.bytes.len())..]) {
            Ok((ip, _)) if headers.network == Network::Ipv4 => {
                let mut header = self.bytes[l3..l3 + ip.header_len()].to_vec();
                header[ipv4::CHECKSUM..ipv4::CHECKSUM + 2].fill(0);
                Sum::default().bytes(&header).partial()
            }
            _ => 0,
        }
    }

    /// The sum of what a transport checksum covers as far as fields can change it: the addresses,
    /// unless it is ICMP's, and the first four bytes.
    fn transport_sum(&self, headers: &Headers) -> u16 {
        let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
        let addresses = match (headers.network, headers.transport) {
            (_, Transport::None | Transport::Icmp) | (Network::None | Network::Arp, _) => 0..0,
            (Network::Ipv4, _) => l3 + ipv4::SRC..l3 + ipv4::SRC + 8,
            (Network::Ipv6, _) => l3 + ipv6::SRC..l3 + ipv6::SRC + 32,
        };
        let covered = match headers.transport {
            Transport::None => 0,
            Transport::Icmp | Transport::Icmpv6 => 2,
            _ => 4,
        };
        let sum = Sum::default().bytes(&self.bytes[addresses]).bytes(&self.bytes[l4..l4 + covered]);
        let inside = match headers.transport {
            Transport::Icmpv6 => self.before.clone(),
            _ => Vec::new(),
        };
        inside.into_iter().fold(sum, |sum, (range, _)| sum.bytes(&self.bytes[range])).partial()
    }
}

/// Where the fields of a message about a neighbour stand, if this is one.
fn neighbour_fields(bytes: &[u8], l4: usize) -> Vec<(std::ops::Range<usize>, Span)> {
    let Some(nd) = nd::Nd::read(&bytes[l4..]) else { return Vec::new() };
    let target = l4 + nd::TARGET;
    let mut fields = vec![(target..target + 16, Key::ND_TARGET)];
    let mut address = |at: Option<usize>, span| {
        fields.extend(at.map(|at| (l4 + at..l4 + at + 6, span)));
    };
    address(nd.source_at(), Key::ARP_SHA);
    address(nd.target_address_at(), Key::ARP_THA);
    fields
}

/// Where the transport checksum is. SCTP's is no sum of the Internet's kind, and does not cover
/// addresses.
fn checksum_at(headers: &Headers) -> Option<usize> {
    let offset = match headers.transport {
        Transport::None | Transport::Sctp => return None,
        Transport::Tcp => tcp::CHECKSUM,
        Transport::Udp => udp::CHECKSUM,
        Transport::Icmp | Transport::Icmpv6 => icmp::CHECKSUM,
    };
    Some(usize::from(headers.l4) + offset)
}
