//! The way out: packets wait for the end of their batch, perhaps in an egress queue (`queues.rs`),
//! are finished for what their port cannot do, and are sent together.

mod queued;

use std::sync::Arc;

use api::DropReason;
use api::request::Direction;
use flowtable::Op;
use hw::shortcut::Target;
use hw::{Capabilities, Refusal, TxQueue};
use packet::segment::{self, Cut, Unfinished};
use packet::{Batch, Checksum, FramePool, Kind, Memory, Packet, PortId, ethernet, vlan};

use crate::account::Account;
use crate::act::{Exit, Verdict};
use crate::capture::Capture;
use crate::last_drops::LastDrops;
use crate::queues::Queues;

/// One port's way out of one worker.
struct Output {
    queue: Box<dyn TxQueue>,
    abilities: Abilities,
    waiting: Batch,
    account: Arc<Account>,
    /// Whether the queue may have something to clear up.
    busy: bool,
    /// Where packets wait for their turn, if somebody has set any.
    queues: Option<Box<Queues>>,
}

/// What a port can do, as far as sending needs to know.
#[derive(Clone, Copy, Debug)]
struct Abilities {
    checksum: bool,
    segmentation: bool,
    chains: bool,
    max_frame: usize,
    short_cut: Option<Target>,
}

/// Copies that may wait before their batch is sent as far as it is done.
const COPIES: usize = 1024;

/// One worker's ways out, by port.
pub struct Outputs {
    ports: Vec<Option<Output>>,
    /// Ports with packets waiting, each once.
    touched: Vec<PortId>,
    /// Copies that programs have sent while their batch is carried, each with the place in the
    /// batch of the packet it was made of: it goes out before that one.
    copies: Vec<(usize, PortId, Packet)>,
    /// The place of the packet whose program is being carried out.
    at: usize,
    /// Finished packets of the port that is being flushed.
    finished: Batch,
    refused: Vec<(Packet, Refusal)>,
    /// Ports with egress queues, each once.
    queued: Vec<PortId>,
    /// Packets whose turn it is.
    run: Batch,
    /// Frames that wait in egress queues, and how many may.
    held: usize,
    most_held: usize,
    memory: Arc<Memory>,
    /// Packets sent so far.
    pub sent: u64,
    /// Who wants to see what is sent or dropped.
    pub capture: Capture,
    /// What was dropped last.
    pub last_drops: LastDrops,
}

impl Outputs {
    /// No ways out, for packets in `memory`.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            ports: Vec::new(),
            touched: Vec::with_capacity(Batch::CAPACITY),
            copies: Vec::with_capacity(COPIES + Op::MOST),
            at: 0,
            finished: Batch::new(),
            refused: Vec::with_capacity(Batch::CAPACITY),
            queued: Vec::new(),
            run: Batch::new(),
            held: 0,
            most_held: 0,
            memory,
            sent: 0,
            capture: Capture::default(),
            last_drops: LastDrops::default(),
        }
    }

    /// Opens a way out to `port`, whose packets `account` counts.
    pub fn add(
        &mut self,
        port: PortId,
        queue: Box<dyn TxQueue>,
        capabilities: &Capabilities,
        account: Arc<Account>,
    ) {
        let at = usize::from(port.0);
        while self.ports.len() <= at {
            self.ports.push(None);
        }
        let abilities = Abilities::of(capabilities);
        self.ports[at] = Some(Output {
            queue,
            abilities,
            waiting: Batch::new(),
            account,
            busy: false,
            queues: None,
        });
    }

    /// Notes that a port can do something else now.
    pub fn change(&mut self, port: PortId, capabilities: &Capabilities) {
        if let Some(output) = self.port(port) {
            output.abilities = Abilities::of(capabilities);
        }
    }

    /// Closes the way out to `port`; nothing is waiting there between batches, and nothing may in
    /// egress queues any more.
    pub fn remove(&mut self, port: PortId) -> Option<Box<dyn TxQueue>> {
        let output = self.ports.get_mut(usize::from(port.0))?.take()?;
        debug_assert!(output.waiting.is_empty(), "packets are sent at the end of their batch");
        Some(output.queue)
    }

    /// Where short-cuts to `port` lead, if there can be any now.
    pub fn short_cut(&self, port: PortId) -> Option<Target> {
        let output = self.ports.get(usize::from(port.0))?.as_ref()?;
        let is_free = self.capture.is_idle() && output.queues.is_none();
        output.abilities.short_cut.filter(|_| is_free)
    }

    /// What counts the packets sent by `port`.
    pub fn account(&self, port: PortId) -> Option<&Arc<Account>> {
        Some(&self.ports.get(usize::from(port.0))?.as_ref()?.account)
    }

    fn port(&mut self, port: PortId) -> Option<&mut Output> {
        self.ports.get_mut(usize::from(port.0))?.as_mut()
    }

    /// Does with each packet of a batch what its verdict says, in order.
    #[inline]
    pub fn dispatch(
        &mut self,
        batch: &mut Batch,
        verdicts: &mut Vec<Verdict>,
        pool: &mut FramePool,
        account: &Account,
    ) {
        // A whole batch for one port goes as it is, if nothing waits there.
        if let Some(Verdict::Send(port)) = verdicts.first().copied()
            && verdicts.len() == batch.len()
            && verdicts.iter().all(|verdict| *verdict == Verdict::Send(port))
            && self.touched.is_empty()
            && self.copies.is_empty()
            && self.port(port).is_some()
        {
            verdicts.clear();
            return self.transmit_finished(port, batch, pool, account);
        }
        let mut copies = std::mem::take(&mut self.copies);
        let mut next = copies.drain(..).peekable();
        let mut packets = batch.drain(..verdicts.len());
        let mut at = 0;
        while let Some(verdict) = verdicts.get(at) {
            while let Some((_, port, copy)) = next.next_if(|(before, ..)| *before == at) {
                self.send_all(port, std::iter::once(copy), pool, account);
            }
            // Those in a row for one port go together, up to the next of which there is a copy: a
            // packet that is handed round alone is written in pieces, and stalls whoever reads it.
            let end = next.peek().map_or(verdicts.len(), |(before, ..)| *before);
            let run = verdicts[at..end].iter().take_while(|other| *other == verdict).count();
            at += run;
            let run = packets.by_ref().take(run);
            match *verdict {
                Verdict::Send(port) => self.send_all(port, run, pool, account),
                Verdict::Drop(reason) => {
                    run.for_each(|packet| self.drop(packet, reason, pool, account));
                }
                Verdict::Consume => run.for_each(|packet| self.consume(packet, pool, account)),
                Verdict::Hold => run.for_each(|blank| blank.free(pool)),
                Verdict::Resume(aside) => {
                    run.for_each(|packet| self.resume(aside, packet, pool, account));
                }
            }
        }
        drop(next);
        drop(packets);
        verdicts.clear();
        self.copies = copies;
    }

    /// A program begins for the packet at `at`. Answers whether so many copies wait that those
    /// before it should be sent first.
    #[inline]
    pub fn begin(&mut self, at: usize) -> bool {
        self.at = at;
        self.copies.len() >= COPIES
    }

    /// Has packets wait for the end of their batch.
    #[inline]
    fn send_all(
        &mut self,
        port: PortId,
        mut packets: impl Iterator<Item = Packet>,
        pool: &mut FramePool,
        account: &Account,
    ) {
        loop {
            let Some(output) = self.ports.get_mut(usize::from(port.0)).and_then(Option::as_mut)
            else {
                return packets.for_each(|packet| {
                    self.drop(packet, DropReason::TxDown, pool, account);
                });
            };
            if output.waiting.is_empty() {
                self.touched.push(port);
            }
            let room = Batch::CAPACITY - output.waiting.len();
            output.waiting.extend(packets.by_ref().take(room));
            if output.waiting.len() < Batch::CAPACITY {
                return;
            }
            self.flush_port(port, pool, account);
            self.touched.retain(|touched| *touched != port);
        }
    }

    /// Sends all that waits; `account` is that of the port it came in by.
    pub fn flush(&mut self, pool: &mut FramePool, account: &Account) {
        while let Some(port) = self.touched.pop() {
            self.flush_port(port, pool, account);
        }
    }

    fn flush_port(&mut self, port: PortId, pool: &mut FramePool, account: &Account) {
        let Some(output) = self.port(port) else { return };
        let mut waiting = std::mem::take(&mut output.waiting);
        self.transmit_finished(port, &mut waiting, pool, account);
        if let Some(output) = self.port(port) {
            output.waiting = waiting;
        }
    }

    /// Sends packets to a port, or has them wait for their turn there.
    #[inline]
    fn transmit_finished(
        &mut self,
        port: PortId,
        packets: &mut Batch,
        pool: &mut FramePool,
        account: &Account,
    ) {
        let Some(output) = self.port(port) else { return };
        if output.queues.is_some() {
            return self.enqueue(port, packets, pool, account);
        }
        self.finish_and_transmit(port, packets, pool, account);
    }

    /// Does for packets what their port cannot, and sends them.
    #[inline]
    fn finish_and_transmit(
        &mut self,
        port: PortId,
        packets: &mut Batch,
        pool: &mut FramePool,
        account: &Account,
    ) {
        let Some(output) = self.port(port) else { return };
        let abilities = output.abilities;
        if !packets.iter().all(|packet| abilities.suffice(packet)) {
            self.finish_all(port, packets, abilities, pool, account);
        }
        self.transmit(port, packets, pool, account);
    }

    /// Makes packets that the port can send of all that wait; what is more than a batch is sent at
    /// once.
    fn finish_all(
        &mut self,
        port: PortId,
        waiting: &mut Batch,
        abilities: Abilities,
        pool: &mut FramePool,
        account: &Account,
    ) {
        let mut finished = std::mem::take(&mut self.finished);
        for packet in waiting.drain(..) {
            if abilities.suffice(&packet) {
                finished.push(packet);
            } else {
                self.finish(packet, abilities, &mut finished, pool, account);
            }
            if finished.len() >= Batch::CAPACITY {
                self.transmit(port, &mut finished, pool, account);
            }
        }
        waiting.append(&mut finished);
        self.finished = finished;
    }

    /// Does for a packet what its port cannot, and puts it among the `finished`.
    fn finish(
        &mut self,
        mut packet: Packet,
        abilities: Abilities,
        finished: &mut Batch,
        pool: &mut FramePool,
        account: &Account,
    ) {
        if self.frame_len(&packet) > abilities.max_frame {
            return self.drop(packet, DropReason::TxTooLong, pool, account);
        }
        if packet.segmentation.kind != Kind::None && !abilities.segmentation {
            match segment::segment(packet, pool, |segment| finished.push(segment)) {
                Ok(Cut { made, lost }) => {
                    // The super-frame became its first segment; the others are new.
                    account.split.add(u64::from(made + lost - 1));
                    account.dropped(DropReason::NoFrames).add(lost.into());
                }
                Err((packet, _)) => self.drop(packet, DropReason::NotSegmentable, pool, account),
            }
            return;
        }
        if packet.is_chained() && !abilities.chains {
            return self.drop(packet, DropReason::TxTooLong, pool, account);
        }
        if !abilities.checksum
            && let Err(Unfinished::NoPlace | Unfinished::NotSegmentable) =
                segment::fill_checksum(&mut packet, &self.memory)
        {
            return self.drop(packet, DropReason::ChecksumPlace, pool, account);
        }
        finished.push(packet);
    }

    /// How long the frames are that a packet makes on the wire, without their VLAN tags, which no
    /// MTU counts.
    fn frame_len(&self, packet: &Packet) -> usize {
        let len = match packet.segmentation.kind {
            Kind::None => packet.len(),
            _ => usize::from(packet.segmentation.header) + usize::from(packet.segmentation.size),
        };
        let head = packet.head(&self.memory);
        let tags = [ethernet::TYPE, ethernet::TYPE + vlan::LEN].into_iter().take_while(|at| {
            let tpid = head.get(*at..*at + 2).map(|tpid| u16::from_be_bytes([tpid[0], tpid[1]]));
            tpid.is_some_and(vlan::is_tag)
        });
        len - tags.count() * vlan::LEN
    }

    /// Hands packets to the port, and drops those it refuses.
    fn transmit(
        &mut self,
        port: PortId,
        packets: &mut Batch,
        pool: &mut FramePool,
        account: &Account,
    ) {
        if packets.is_empty() {
            return;
        }
        if self.capture.sees(port, Direction::Tx) {
            packets
                .iter()
                .for_each(|packet| self.capture.packet(port, Direction::Tx, packet, &self.memory));
        }
        let Some(output) = self.ports.get_mut(usize::from(port.0)).and_then(Option::as_mut) else {
            return;
        };
        let (mut sent, mut bytes) = (packets.len() as u64, 0);
        for packet in packets.iter() {
            bytes += packet.len() as u64;
        }
        if let Some(queues) = &mut output.queues {
            queues.given(packets);
        }
        output.queue.tx(packets, pool, &mut self.refused);
        output.busy = true;
        for (packet, _) in &self.refused {
            sent -= 1;
            bytes -= packet.len() as u64;
        }
        self.sent += sent;
        account.tx.add(sent);
        output.account.out.add(sent);
        output.account.out_bytes.add(bytes);
        while let Some((packet, refusal)) = self.refused.pop() {
            if let Some(packet) = self.wait_again(port, packet, refusal) {
                self.drop(packet, reason_of(refusal), pool, account);
            }
        }
    }

    /// Lets every port that sent something take its frames back and urge its kernel on. Answers
    /// whether some port wants that again before the worker sleeps.
    pub fn clear_up(&mut self, pool: &mut FramePool) -> bool {
        let mut again = false;
        for output in self.ports.iter_mut().flatten().filter(|output| output.busy) {
            output.busy = output.queue.flush(pool);
            again |= output.busy;
        }
        again
    }

    /// System calls made so far.
    pub fn syscalls(&self) -> u64 {
        self.ports.iter().flatten().map(|output| output.queue.syscalls()).sum()
    }
}

impl Exit for Outputs {
    fn copy(&mut self, port: PortId, copy: Packet) {
        self.copies.push((self.at, port, copy));
    }

    fn drop(
        &mut self,
        packet: Packet,
        reason: DropReason,
        pool: &mut FramePool,
        account: &Account,
    ) {
        account.dropped(reason).add(1);
        self.last_drops.note(reason, &packet, &self.memory);
        if self.capture.sees_drops() {
            self.capture.dropped(reason, &packet, &self.memory);
        }
        packet.free(pool);
    }
}

impl Abilities {
    fn of(capabilities: &Capabilities) -> Self {
        Self {
            checksum: capabilities.checksum.is_yes(),
            segmentation: capabilities.segmentation.is_yes(),
            chains: capabilities.chains.is_yes(),
            max_frame: capabilities.max_frame,
            short_cut: capabilities.short_cut,
        }
    }

    /// Whether a packet can be sent as it is. Nearly all can, and this is all that is looked at
    /// then.
    #[inline]
    fn suffice(&self, packet: &Packet) -> bool {
        packet.len() <= self.max_frame
            && packet.segmentation.kind == Kind::None
            && (self.checksum || !matches!(packet.checksum, Checksum::Partial { .. }))
            && (self.chains || !packet.is_chained())
    }
}

const fn reason_of(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::Full => DropReason::TxFull,
        Refusal::Down => DropReason::TxDown,
        Refusal::TooLong => DropReason::TxTooLong,
        Refusal::Error => DropReason::TxError,
    }
}

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports = self.ports.iter().enumerate().filter(|(_, output)| output.is_some());
        f.debug_struct("Outputs")
            .field("ports", &ports.map(|(n, _)| n).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
