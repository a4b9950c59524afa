//! A program in the making: what the packet looks like by now, and the operations that make it so.
//!
//! Writes are noted in the key at once and become operations only when a packet is sent, so that
//! what is written twice, or written and never sent, costs nothing.
//!
//! The draft also keeps account of what the program rests on: a bit of the key is *visible* as long
//! as its value comes from the packet and not from a constant that an action wrote. Whoever reads a
//! visible bit has looked at the packet.

mod writes;

use api::DropReason;
use packet::{Key, PortId, Span, ethernet, icmp, vlan};

use crate::program::{AsideId, Op};
use crate::table::Looked;

/// A program in the making.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    state: State,
    /// The bits of the packet that decided something.
    looked: &'a mut Key,
    ops: &'a mut Vec<Op>,
    /// How many operations there are up to the last one that sends something.
    effective: usize,
    /// Where the last clone begins, if nothing has been sent after it.
    last_clone: Option<usize>,
    /// The words of the key that have been written, one bit each.
    rewritten: u64,
    /// Whether anything was done with the packet that counts as its having gone somewhere.
    gone: bool,
}

/// What a clone gets a copy of.
#[derive(Clone, Debug)]
struct State {
    /// The packet as it is by now, and the pipeline's registers.
    flow: Key,
    /// The bits of `flow` that the packet decides.
    visible: Key,
    /// The bits of `flow` that have been written, but by no operation yet.
    dirty: Key,
    ttl: Ttl,
    /// The queue it is to be sent by, and the one that operations have set so far.
    queue: u32,
    queue_set: u32,
    tracking: Tracking,
}

/// What has become of what connection tracking has found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tracking {
    /// It was forgotten.
    pub(crate) forgets: bool,
    /// It shows.
    pub(crate) shows: bool,
}

/// The queue of a packet that nobody has chosen one for.
pub(crate) const NO_QUEUE: u32 = 0;

/// How the TTL came to its value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ttl {
    /// It is the packet's.
    Original,
    /// It is the packet's less one: still one value for each original.
    Decremented,
    /// It is a constant.
    Known,
}

/// What was before a clone began, to go on with behind it.
#[derive(Debug)]
pub(crate) struct Fork {
    state: State,
    at: usize,
    effective: usize,
    last_clone: Option<usize>,
}

/// A program that would grow beyond [`Op::MOST`] operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TooLong;

/// A mask that grows by the visible bits of what is looked at.
#[derive(Debug)]
pub(crate) struct Inspector<'a> {
    visible: &'a Key,
    looked: &'a mut Key,
    /// The bits of a TTL that is the packet's less one: all of the packet's decide each of them.
    entangled: u64,
}

impl Looked for Inspector<'_> {
    #[inline]
    fn at(&mut self, word: usize, mask: u64) {
        let whole = match word == Key::NW_TTL.word() && mask & self.entangled != 0 {
            true => mask | self.entangled,
            false => mask,
        };
        self.looked[word] |= whole & self.visible[word];
    }

    fn shows(&self, word: usize, bits: u64) -> bool {
        let shown = self.looked[word] | !self.visible[word];
        let whole = match word == Key::NW_TTL.word() && !shown & self.entangled != 0 {
            true => shown & !self.entangled,
            false => shown,
        };
        whole & bits != 0
    }
}

/// Whether a tag follows: the bit of a control field that says there is one.
const TAGGED: Span = Key::VLAN_TCI.slice(12, 1);
const TAGGED_TWICE: Span = Key::VLAN2_TCI.slice(12, 1);

impl<'a> Draft<'a> {
    /// A program for a packet with this key: nothing done, only where it came from looked at.
    pub(crate) fn new(packet: &Key, looked: &'a mut Key, ops: &'a mut Vec<Op>) -> Self {
        let mut visible = Key::ZERO;
        visible.words_mut()[..Key::PACKET_WORDS].fill(u64::MAX);
        let (ttl, dirty) = (Ttl::Original, Key::ZERO);
        let (queue, queue_set) = (NO_QUEUE, NO_QUEUE);
        let tracking = Tracking { forgets: false, shows: true };
        let state = State { flow: *packet, visible, dirty, ttl, queue, queue_set, tracking };
        *looked = Key::ZERO;
        for span in [Key::INGRESS, Key::IN_PORT, Key::RESUME] {
            looked.set_all(span);
        }
        ops.clear();
        Self { state, looked, ops, effective: 0, last_clone: None, rewritten: 0, gone: false }
    }

    /// The packet as it is by now.
    pub(crate) const fn flow(&self) -> &Key {
        &self.state.flow
    }

    /// The packet as it is by now, and who notes which bits of it are looked at.
    pub(crate) fn inspect(&mut self) -> (&Key, Inspector<'_>) {
        let State { flow, visible, ttl, .. } = &self.state;
        let entangled = if *ttl == Ttl::Decremented { Key::NW_TTL.in_word(u64::MAX) } else { 0 };
        (flow, Inspector { visible, looked: self.looked, entangled })
    }

    /// A field of the packet as it is by now; what decides it has been looked at.
    pub(crate) fn look(&mut self, span: Span) -> u128 {
        self.look_at(span, span.ones())
    }

    /// Bits of a field, the others being zero; only what decides them has been looked at.
    pub(crate) fn look_at(&mut self, span: Span, mask: u128) -> u128 {
        let (deciding, bits) = match self.state.ttl {
            Ttl::Decremented if Key::NW_TTL.contains(span) => (Key::NW_TTL, Key::NW_TTL.ones()),
            _ => (span, mask),
        };
        let seen = self.state.visible.get(deciding) & bits;
        self.looked.set(deciding, self.looked.get(deciding) | seen);
        self.state.flow.get(span) & mask
    }

    /// A field of at most sixteen bits, looked at.
    pub(crate) fn look16(&mut self, span: Span) -> u16 {
        u16::try_from(self.look(span)).unwrap_or(u16::MAX)
    }

    fn is_set(&mut self, span: Span) -> bool {
        self.look(span) != 0
    }

    /// Makes the packet seem to come from another port; answers with the one before.
    pub(crate) fn set_in_port(&mut self, number: u16) -> u16 {
        let before = self.look16(Key::IN_PORT);
        self.set_known(Key::IN_PORT, number.into());
        before
    }

    /// Writes the bits `mask` of the field at `span`. A packet without that field stays as it is.
    pub(crate) fn write(&mut self, span: Span, value: u128, mask: u128) -> Result<(), TooLong> {
        if Key::VLAN_TCI.contains(span) {
            return self.write_tag(span, value, mask);
        }
        if self.is_missing(span) {
            return Ok(());
        }
        let mask = self.whole(span, mask);
        let flow = &mut self.state.flow;
        flow.set(span, flow.get(span) & !mask | value & mask);
        self.note_written(span, mask);
        if Key::NW_TTL.contains(span) {
            self.state.ttl = Ttl::Known;
        }
        Ok(())
    }

    /// The bits that have to be written so that `mask` is: some fields have operations only for all
    /// of them, and then the others must be known.
    fn whole(&mut self, span: Span, mask: u128) -> u128 {
        let byte = |field: Span| field.slice(0, 8);
        let icmp = [byte(Key::TP_SRC), byte(Key::TP_DST)];
        let fields = [Key::NW_TTL, Key::NW_PROTO];
        let icmp = icmp.into_iter().filter(|_| self.is_icmp());
        let Some(field) = fields.into_iter().chain(icmp).find(|field| field.contains(span)) else {
            return mask;
        };
        if field != span || mask != span.ones() {
            self.look(field);
            self.note_written(field, field.ones());
        }
        mask
    }

    fn note_written(&mut self, span: Span, mask: u128) {
        let State { visible, dirty, .. } = &mut self.state;
        visible.set(span, visible.get(span) & !mask);
        dirty.set(span, dirty.get(span) | mask);
        self.note_rewritten(span);
    }

    /// An address of 128 bits lies in two words; the bit of the upper one may be set for nothing.
    fn note_rewritten(&mut self, span: Span) {
        self.rewritten |= 1u64 << span.word();
        if span.word() >= 7 {
            self.rewritten |= 1u64 << (span.word() - 1);
        }
    }

    fn set_known(&mut self, span: Span, value: u128) {
        self.state.flow.set(span, value);
        self.state.visible.set(span, 0u8);
        self.note_rewritten(span);
    }

    /// Whether the header that a field belongs to is not there.
    fn is_missing(&mut self, span: Span) -> bool {
        let is_v6 = self.state.flow.word(Key::ETH_TYPE) == u64::from(ethernet::IPV6);
        match span.word() {
            6 => !self.is_set(Key::HAS_TRANSPORT),
            11 if is_v6 => !self.is_set(Key::HAS_ND_SLL),
            12 if is_v6 => !self.is_set(Key::HAS_ND_TLL),
            4 | 5 | 7..=12 => !self.is_set(Key::HAS_NETWORK),
            13 | 14 => !self.is_set(Key::HAS_ND),
            _ => false,
        }
    }

    fn is_icmp(&self) -> bool {
        let (flow, v6) = (&self.state.flow, u64::from(ethernet::IPV6));
        let icmp = if flow.word(Key::ETH_TYPE) == v6 { icmp::PROTO_V6 } else { icmp::PROTO };
        flow.word(Key::NW_PROTO) == u64::from(icmp)
    }

    /// Writes into the outer tag. Setting the bit that says there is one pushes it, clearing it
    /// pops it.
    fn write_tag(&mut self, span: Span, value: u128, mask: u128) -> Result<(), TooLong> {
        let mut after = self.state.flow;
        after.set(span, after.get(span) & !mask | value & mask);
        match (self.has_tag(), after.get(TAGGED) != 0) {
            (true, true) => {}
            (false, true) => self.push_vlan(ethernet::VLAN)?,
            (true, false) => return self.pop_vlan(),
            (false, false) => return Ok(()),
        }
        let flow = &mut self.state.flow;
        flow.set(span, flow.get(span) & !mask | value & mask);
        self.note_written(span, mask);
        Ok(())
    }

    /// The words of the key that have been written, one bit each.
    pub(crate) const fn rewritten(&self) -> u64 {
        self.rewritten
    }

    /// Whether there is a tag by now.
    pub(crate) fn has_tag(&mut self) -> bool {
        self.is_set(TAGGED)
    }

    /// Whether there are two tags by now.
    pub(crate) fn has_two_tags(&mut self) -> bool {
        self.has_tag() && self.is_set(TAGGED_TWICE)
    }

    /// Whether there are tags beneath the second one, which nobody has read.
    pub(crate) fn has_unread_tags(&mut self) -> bool {
        self.has_two_tags() && vlan::is_tag(self.look16(Key::ETH_TYPE))
    }

    /// Pushes a tag, VID and priority zero. There must be one at most.
    pub(crate) fn push_vlan(&mut self, tpid: u16) -> Result<(), TooLong> {
        self.commit_tag()?;
        self.op(Op::PushVlan { tpid })?;
        let (tci, old_tpid) = (self.look(Key::VLAN_TCI), self.look(Key::VLAN_TPID));
        self.set_known(Key::VLAN2_TCI, tci);
        self.set_known(Key::VLAN2_TPID, old_tpid);
        self.set_known(Key::VLAN_TCI, vlan::PRESENT.into());
        self.set_known(Key::VLAN_TPID, tpid.into());
        Ok(())
    }

    /// Takes the outer tag off, if there is one.
    pub(crate) fn pop_vlan(&mut self) -> Result<(), TooLong> {
        if !self.has_tag() {
            return Ok(());
        }
        self.op(Op::PopVlan)?;
        let (tci, tpid) = (self.look(Key::VLAN2_TCI), self.look(Key::VLAN2_TPID));
        self.state.dirty.set(Key::VLAN_TCI, 0u8);
        self.set_known(Key::VLAN_TCI, tci);
        self.set_known(Key::VLAN_TPID, tpid);
        self.set_known(Key::VLAN2_TCI, 0);
        self.set_known(Key::VLAN2_TPID, 0);
        Ok(())
    }

    /// Takes one off TTL or hop limit. Answers whether the packet may live; one without an IP
    /// header may.
    pub(crate) fn dec_ttl(&mut self) -> Result<bool, TooLong> {
        if !self.is_set(Key::HAS_NETWORK) {
            return Ok(true);
        }
        if self.state.ttl == Ttl::Original {
            if !self.is_set(Key::TTL_LEFT) {
                return Ok(false);
            }
            self.op(Op::DecTtl)?;
            self.state.ttl = Ttl::Decremented;
            let ttl = self.state.flow.get(Key::NW_TTL) - 1;
            self.state.flow.set(Key::NW_TTL, ttl);
            self.note_rewritten(Key::NW_TTL);
            return Ok(true);
        }
        // Once is what the key has a bit for; whether it can be done again depends on the whole
        // value.
        let ttl = self.look(Key::NW_TTL);
        if ttl <= 1 {
            return Ok(false);
        }
        self.write(Key::NW_TTL, ttl - 1, Key::NW_TTL.ones())?;
        Ok(true)
    }

    /// Raises the drop precedence of an assured forwarding class (RFC 2597 §6) by so many levels;
    /// other packets stay as they are.
    pub(crate) fn remark(&mut self, levels: u16) -> Result<(), TooLong> {
        let dscp = Key::NW_TOS.slice(2, 6);
        let (class, precedence, low) = match self.look16(dscp) {
            dscp if self.is_set(Key::HAS_NETWORK) => (dscp >> 3, dscp >> 1 & 3, dscp & 1),
            _ => return Ok(()),
        };
        if !(1..=4).contains(&class) || precedence == 0 || low != 0 {
            return Ok(());
        }
        let raised = class << 3 | (precedence + levels).min(3) << 1;
        self.write(dscp, raised.into(), dscp.ones())
    }

    /// Sends a packet as it is by now.
    pub(crate) fn send(&mut self, port: PortId) -> Result<(), TooLong> {
        self.effect(Op::Output(port))
    }

    /// Does something with the packet, as it is by now, by which it goes somewhere.
    pub(crate) fn effect(&mut self, op: Op) -> Result<(), TooLong> {
        self.gone = true;
        self.look_on(op)
    }

    /// Does something with the packet, as it is by now, that others only see: it is dropped
    /// nevertheless if it goes nowhere.
    pub(crate) fn look_on(&mut self, op: Op) -> Result<(), TooLong> {
        self.commit()?;
        self.op(op)?;
        (self.effective, self.last_clone) = (self.ops.len(), None);
        Ok(())
    }

    /// Ends this pass for the packet as it is by now: the aside says how it goes on.
    pub(crate) fn freeze(&mut self, aside: AsideId) -> Result<(), TooLong> {
        self.effect(Op::Resume(aside))
    }

    /// The queue that the packet is to be sent by.
    pub(crate) const fn queue(&self) -> u32 {
        self.state.queue
    }

    /// Has the packet sent by another queue from here on.
    pub(crate) const fn set_queue(&mut self, queue: u32) {
        self.state.queue = queue;
    }

    /// Goes on with a packet that is sent by this queue already.
    pub(crate) const fn resume_queue(&mut self, queue: u32) {
        (self.state.queue, self.state.queue_set) = (queue, queue);
    }

    /// What has become of what connection tracking has found out.
    pub(crate) const fn tracking(&self) -> Tracking {
        self.state.tracking
    }

    /// Goes on with a packet of which something may have been found out.
    pub(crate) const fn resume_tracking(&mut self, shows: bool) {
        self.state.tracking = Tracking { forgets: false, shows };
    }

    /// From here on nothing shows of what connection tracking has found out.
    pub(crate) fn hide_tracked(&mut self) {
        let State { flow, visible, tracking, .. } = &mut self.state;
        flow.words_mut()[Key::TRACKED].fill(0);
        visible.words_mut()[Key::TRACKED].fill(0);
        tracking.shows = false;
        self.rewritten |= Key::TRACKED.fold(0, |words, word| words | 1 << word);
    }

    /// It is forgotten: who asks for it again has it found out anew.
    pub(crate) fn forget_tracked(&mut self) {
        self.hide_tracked();
        self.state.tracking.forgets = true;
    }

    /// Begins a part that works on a copy.
    pub(crate) fn fork(&mut self) -> Result<Fork, TooLong> {
        let at = self.ops.len();
        self.op(Op::Clone(0))?;
        let fork = Fork {
            state: self.state.clone(),
            at,
            effective: self.effective,
            last_clone: self.last_clone,
        };
        (self.effective, self.last_clone) = (self.ops.len(), None);
        Ok(fork)
    }

    /// Ends that part. The packet is again what it was; a part that sent nothing has never been.
    pub(crate) fn join(&mut self, fork: Fork) -> Result<(), TooLong> {
        let inside = fork.at + 1;
        self.end(inside)?;
        self.state = fork.state;
        match self.ops[inside..] {
            [] => {
                self.ops.truncate(fork.at);
                (self.effective, self.last_clone) = (fork.effective, fork.last_clone);
            }
            [Op::Send(port)] => {
                self.ops.truncate(fork.at);
                self.ops.push(Op::Output(port));
                (self.effective, self.last_clone) = (self.ops.len(), None);
            }
            _ => {
                let len = u16::try_from(self.ops.len() - inside).unwrap_or(u16::MAX);
                self.ops[fork.at] = Op::Clone(len);
                (self.effective, self.last_clone) = (self.ops.len(), Some(fork.at));
            }
        }
        Ok(())
    }

    /// Ends the program; a packet that was sent nowhere is dropped for `reason`.
    pub(crate) fn finish(mut self, reason: DropReason) -> Result<(), TooLong> {
        self.end(0)?;
        let end = Op::Drop(reason);
        match self.ops.last_mut() {
            None => self.ops.push(end),
            Some(last) if *last == Op::Consume && !self.gone => *last = end,
            Some(_) => {}
        }
        Ok(())
    }

    /// Makes an end of the operations from `start` on: what comes after the last effect is for
    /// nothing, and the last effect needs no copy.
    fn end(&mut self, start: usize) -> Result<(), TooLong> {
        self.ops.truncate(self.effective.max(start));
        match (self.last_clone, self.ops.last_mut()) {
            (Some(clone), _) if clone >= start => drop(self.ops.remove(clone)),
            (_, Some(last)) if self.effective > start => match *last {
                Op::Output(port) => *last = Op::Send(port),
                last if last.is_end() => {}
                _ => self.op(Op::Consume)?,
            },
            _ => {}
        }
        Ok(())
    }

    fn op(&mut self, op: Op) -> Result<(), TooLong> {
        if self.ops.len() >= Op::MOST {
            return Err(TooLong);
        }
        self.ops.push(op);
        Ok(())
    }
}
