//! Fragments on their passes: their connection is asked for when all of a datagram are here.
//!
//! Each of them stays as it came, and waits; the last one asks for all. From then on flows see each as
//! if it were the whole datagram: with its ports, and not as a fragment.

use std::sync::Arc;

use api::DropReason;
use conntrack::{DatagramId, Fragments, Gathered, Lost, Message, Tuple};
use flowtable::{AsideId, Connect};
use packet::{
    FramePool, Headers, Key, Memory, Packet, Part, PortId, Transport, Whole, ethernet, parse,
    verify,
};

use crate::account::Account;
use crate::act::{Exit as _, Verdict};
use crate::nat::translate;
use crate::outputs::Outputs;
use crate::passes::{Passes, says_flow};
use crate::queue::Waiting;
use crate::tracking::{Findings, invalid};
use crate::worth::Worth;

/// Fragments that one worker has waiting, at most.
const MOST: u32 = 1024;

/// Room for the fragments of a worker, of a memory that has so many frames.
pub(crate) fn room(frames: u32) -> Fragments<Waiting> {
    Fragments::new(MOST.min(frames / 8).max(1) as usize)
}

/// Drops the fragments that have been lost.
pub(crate) fn drop_lost(
    fragments: &mut Fragments<Waiting>,
    outputs: &mut Outputs,
    pool: &mut FramePool,
) {
    while let Some((Waiting { packet, account }, why)) = fragments.take_lost() {
        account.held.sub(1);
        outputs.drop(packet, reason_of(why), pool, &account);
    }
}

const fn reason_of(why: Lost) -> DropReason {
    match why {
        Lost::Overlap => DropReason::FragmentOverlap,
        Lost::Late => DropReason::FragmentTimeout,
        Lost::Crowded => DropReason::FragmentLimit,
        Lost::NoRoom => DropReason::NoFrames,
    }
}

impl Passes<'_> {
    /// Finds out what a fragment's datagram is to its connection, if this is the last one missing.
    /// Those that have waited for it go on before it, in the order in which they came.
    #[cold]
    pub(crate) fn gather(
        &mut self,
        packet: &mut Packet,
        connect: &Connect,
        aside: AsideId,
        pool: &mut FramePool,
        account: &Account,
    ) -> Result<(), Verdict> {
        self.scratch.trail.lose();
        let headers = self.parse_anew(packet);
        if !verify(packet, headers, self.memory) {
            self.findings = Findings::again(invalid(connect.zone));
            return Ok(());
        }
        let bad = Verdict::Drop(DropReason::FragmentBad);
        let part = Part::read(headers, packet.head(self.memory)).ok_or(bad)?;
        let datagram =
            datagram_of(&self.scratch.key, &part, connect.zone, packet.ingress).ok_or(bad)?;
        // When its rest comes its batch is long over.
        let answers = self.outputs.account(packet.ingress);
        let answers = answers.filter(|of| std::ptr::eq(&***of, account)).map(Arc::clone);
        let answers = answers.ok_or(Verdict::Drop(DropReason::Closed))?;
        let gathered = self.fragments.add(datagram, &part, self.millis, || {
            let blank = Packet::new(pool.alloc()?, 0, 0, packet.ingress);
            account.held.add(1);
            Some(Waiting { packet: std::mem::replace(packet, blank), account: answers })
        });
        drop_lost(self.fragments, self.outputs, pool);
        match gathered {
            Ok(Some(gathered)) => self.release(gathered, packet, connect, aside, pool),
            Ok(None) => Err(Verdict::Hold),
            Err(why) => Err(Verdict::Drop(reason_of(why))),
        }
    }

    /// Has fragments go on whose datagram is complete with `last`.
    fn release(
        &mut self,
        Gathered { mut waited, len }: Gathered<Waiting>,
        last: &mut Packet,
        connect: &Connect,
        aside: AsideId,
        pool: &mut FramePool,
    ) -> Result<(), Verdict> {
        waited.iter().for_each(|(_, waiting)| waiting.account.held.sub(1));
        let first = waited.iter().position(|(bytes, _)| bytes.start == 0);
        let verdict = match self.connect_datagram(&mut waited, first, last, len, connect) {
            Ok(()) => {
                let waited = waited.drain(..).map(|(_, waiting)| waiting);
                waited.for_each(|waiting| self.go_on_alone(waiting, aside, pool));
                Ok(())
            }
            Err(reason) => {
                for (_, Waiting { packet, account }) in waited.drain(..) {
                    self.outputs.drop(packet, reason, pool, &account);
                }
                Err(Verdict::Drop(reason))
            }
        };
        self.fragments.give_back(waited);
        verdict
    }

    /// Asks for the connection of a datagram of `len` bytes, and translates each part of it.
    fn connect_datagram(
        &mut self,
        waited: &mut [(std::ops::Range<u32>, Waiting)],
        first: Option<usize>,
        last: &mut Packet,
        len: u32,
        connect: &Connect,
    ) -> Result<(), DropReason> {
        let head = first.map_or(&*last, |first| &waited[first].1.packet);
        // As it is on its own.
        self.findings.whole = None;
        let headers = self.parse_anew(head);
        let bytes = head.head(self.memory);
        let start = Part::read(headers, bytes).ok_or(DropReason::FragmentBad)?.at;
        let said = (start, len as usize);
        let packets = waited.iter().map(|(_, waiting)| &waiting.packet).chain([&*last]);
        let is_right = is_right(headers, bytes, said, packets, self.memory);
        let said = Some(said).filter(|_| is_right);
        let (findings, key, now) = (&mut self.findings, &self.scratch.key, self.millis);
        let to =
            self.tracker.connect_datagram(findings, connect, (key, headers, bytes), said, now)?;
        if let Some((message, to)) = to {
            // What is repeated ends where the rest begins, in front of the transport header.
            let whole = (start + len as usize).checked_sub(headers.l4.into());
            for (_, waiting) in &mut *waited {
                self.translate_part(&mut waiting.packet, &message, &to, whole);
            }
            self.translate_part(last, &message, &to, whole);
        }
        let head = first.map_or(&*last, |first| &waited[first].1.packet);
        self.findings.whole = Some(Whole::read(headers, head.head(self.memory)));
        Ok(())
    }

    /// Translates a fragment; `whole` is how much IP carries in all of them.
    fn translate_part(
        &mut self,
        packet: &mut Packet,
        message: &Message,
        to: &Tuple,
        whole: Option<usize>,
    ) {
        let headers = self.parse_anew(packet);
        translate(packet, headers, message, (to, whole), self.memory);
    }

    /// Has a fragment that has waited go on, as the one does that it waited for.
    fn go_on_alone(&mut self, waiting: Waiting, aside: AsideId, pool: &mut FramePool) {
        let Waiting { mut packet, account } = waiting;
        let before = (self.findings, self.worth, self.gone);
        (self.worth, self.gone) = (Worth::of(&packet), false);
        self.depth += 1;
        let headers = self.parse_anew(&packet);
        let verdict = match self.go_on(headers, aside, 0) {
            Ok((found, headers)) => self.all_passes(&mut packet, headers, found, pool, &account),
            Err(verdict) => verdict,
        };
        self.depth -= 1;
        let gone = self.gone;
        (self.findings, self.worth, self.gone) = before;
        self.findings = self.findings.behind_others();
        match verdict {
            Verdict::Send(port) => self.outputs.copy(port, packet),
            Verdict::Hold => packet.free(pool),
            Verdict::Drop(reason) if gone && says_flow(reason) => {
                self.outputs.consume(packet, pool, &account);
            }
            Verdict::Drop(reason) => self.outputs.drop(packet, reason, pool, &account),
            Verdict::Consume => self.outputs.consume(packet, pool, &account),
            Verdict::Resume(_) => {
                self.outputs.drop(packet, DropReason::PassLimit, pool, &account);
            }
        }
    }
}

/// Whether the checksum of a datagram is right that lies in these packets, all of its parts. `headers` and
/// `head` are those of the first part; `said` is where what it says begins there, and how long that is.
/// That of SCTP is not looked at.
fn is_right<'a>(
    headers: Headers,
    head: &[u8],
    (start, len): (usize, usize),
    packets: impl Iterator<Item = &'a Packet> + Clone,
    memory: &'a Memory,
) -> bool {
    let l4 = usize::from(headers.l4);
    let Some(len) = (start + len).checked_sub(l4) else { return false };
    let parts = packets.filter_map(|packet| {
        let head = packet.head(memory);
        let headers = parse(head, packet.len(), &mut Key::default()).ok()?;
        Some((packet, Part::read(headers, head)?))
    });
    // Only the end may be of an odd length: it comes last.
    let ends = |is_last| parts.clone().filter(move |(_, part)| part.is_last == is_last);
    let pieces = ends(false).chain(ends(true)).flat_map(|(packet, Part { bytes, at, .. })| {
        // What lies in front of the transport header is not covered.
        let begins = if bytes.start == 0 { l4 } else { at };
        verify::pieces(packet, begins..(at + bytes.len()).max(begins), memory)
    });
    headers.transport == Transport::Sctp || verify::is_right(headers, head, len, pieces)
}

/// What tells the parts of a fragment's datagram from others.
fn datagram_of(key: &Key, part: &Part, zone: u16, port: PortId) -> Option<DatagramId> {
    let is_ipv4 = key.word(Key::ETH_TYPE) == u64::from(ethernet::IPV4);
    let tuple = Tuple::of(key, [0; 2], zone)?;
    let proto = if is_ipv4 { tuple.proto() } else { 0 };
    Some(DatagramId { src: tuple.src(), dst: tuple.dst(), id: part.id, proto, zone, port })
}
