//! What lies in a window, and what does not (Guido van Rooij, Real Stateful TCP Packet Filtering in
//! IP Filter, SANE 2000).
//!
//! Of each side we know what it has sent (`end`), how far the other one lets it send (`max_end`), and
//! the largest window it has offered itself. A segment fits if
//!
//! 1. it begins where the other side still takes something: `seq <= max_end`;
//! 2. it ends where that side has not yet thrown everything away: `end > own end - its window`;
//! 3. it acknowledges nothing that was never sent: `sack <= other end`;
//! 4. it acknowledges nothing that is long forgotten: `sack > other end - own window`.
//!
//! Bounds only widen while a connection lives, so that a segment that overtakes others fits as well.

use crate::Direction;
use crate::segment::{Kind, Segment, before};
use crate::tcp::State;

/// What is known of one side.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Side {
    /// The sequence number behind all that it has sent.
    pub(crate) end: u32,
    /// The sequence number up to which it may send.
    pub(crate) max_end: u32,
    /// The largest window it has offered; 0 is: it has sent nothing that we know of.
    pub(crate) max_window: u32,
    /// The highest acknowledgement it has sent.
    pub(crate) max_ack: Option<u32>,
    /// By how many bits its windows are shifted.
    pub(crate) shift: u8,
    /// It wants windows to be scaled.
    pub(crate) scales: bool,
    /// It takes selective acknowledgements.
    pub(crate) takes_sack: bool,
    /// It was met in the middle of a connection: what does not fit may be our ignorance.
    pub(crate) is_guessed: bool,
    /// It was the first to close.
    pub(crate) closed_first: bool,
    /// Some of what it has sent has not been acknowledged.
    pub(crate) is_owed: bool,
}

/// Whether a segment fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fit {
    /// It does.
    Within,
    /// It does not, and counts all the same; nothing is learned from it.
    Tolerated,
    /// It does not, but an endpoint may have sent it: it changes nothing.
    Beside,
    /// It does not.
    Outside,
}

/// Acknowledgements may be so old in any case.
pub(crate) const OLD_ACK: u32 = 66_000;

impl Side {
    /// The side that sent a SYN which begins a connection.
    pub(crate) fn opening(syn: &Segment) -> Self {
        let mut side = Self::default();
        side.open(syn);
        side
    }

    /// The side that sent a segment in the middle of a connection.
    pub(crate) fn guessed(segment: &Segment) -> Self {
        let max_window = u32::from(segment.window).max(1);
        let max_end = segment.end.wrapping_add(max_window);
        Self { end: segment.end, max_end, max_window, ..Self::unknown() }
    }

    /// The other side then.
    pub(crate) fn unknown() -> Self {
        Self { takes_sack: true, is_guessed: true, ..Self::default() }
    }

    /// Takes what a SYN says. One without any option leaves what is known from options as it is: it is
    /// as if it had not been understood.
    fn open(&mut self, syn: &Segment) {
        if syn.has_options {
            *self = Self {
                shift: syn.scale.unwrap_or(0),
                scales: syn.scale.is_some(),
                takes_sack: syn.allows_sack,
                is_guessed: self.is_guessed,
                ..Self::default()
            };
        }
        self.end = syn.end;
        self.max_end = syn.end;
        self.max_window = u32::from(syn.window).max(1);
    }
}

/// Whether a segment fits what is known of both sides, which is known better afterwards. `state` is
/// the connection's before it.
pub(crate) fn check(
    sender: &mut Side,
    receiver: &mut Side,
    direction: Direction,
    segment: &Segment,
    state: State,
    liberal: bool,
) -> Fit {
    let &Segment { kind, mut seq, mut end, mut ack, mut sack, .. } = segment;
    if !receiver.takes_sack {
        sack = ack;
    }
    let is_syn = matches!(kind, Kind::Syn | Kind::SynAck);
    let is_first = sender.max_window == 0;
    let opens_anew = || matches!(state, State::SynSent | State::SynRecv) && before(sender.end, end);
    if is_syn && (is_first || opens_anew()) {
        sender.open(segment);
        // RFC 7323 §2.2: both must ask for it.
        if direction == Direction::Reply && !(sender.scales && receiver.scales) {
            (sender.shift, receiver.shift) = (0, 0);
        }
        // Both open at once.
        if kind == Kind::Syn && (is_first || direction == Direction::Reply) {
            return Fit::Within;
        }
    } else if is_first {
        meet(sender, receiver, segment, sack);
    }
    // Some stacks reset with an acknowledgement of nothing.
    if !segment.has_ack || kind == Kind::Rst && ack == 0 {
        (ack, sack) = (receiver.end, receiver.end);
    }
    // A reset that answers a SYN.
    if kind == Kind::Rst && seq == 0 && state == State::SynSent {
        (seq, end) = (sender.end, sender.end);
    }
    let fit = fits(sender, receiver, (seq, end, sack));
    if fit != Fit::Within {
        return if liberal || sender.is_guessed { Fit::Tolerated } else { fit };
    }
    let shift = if is_syn { 0 } else { sender.shift };
    let window = u32::from(segment.window) << shift;
    sender.max_window = sender.max_window.max(window.wrapping_add(sack.wrapping_sub(ack)));
    let beyond = end.wrapping_sub(sender.max_end);
    if before(sender.end, end) {
        sender.end = end;
        sender.is_owed = true;
    }
    if segment.has_ack && sender.max_ack.is_none_or(|max| before(max, ack)) {
        sender.max_ack = Some(ack);
    }
    if receiver.max_window != 0 && before(sender.max_end, end) {
        receiver.max_window = receiver.max_window.wrapping_add(beyond);
    }
    let may_send = sack.wrapping_add(window);
    if before(receiver.max_end.wrapping_sub(1), may_send) {
        // To a closed window one byte may be sent: a probe (RFC 9293 §3.8.6.1).
        receiver.max_end = may_send.wrapping_add(u32::from(window == 0));
    }
    if ack == receiver.end {
        receiver.is_owed = false;
    }
    Fit::Within
}

/// The first segment of a side in a connection whose beginning was missed.
fn meet(sender: &mut Side, receiver: &mut Side, segment: &Segment, sack: u32) {
    sender.end = segment.end;
    sender.max_window = (u32::from(segment.window) << sender.shift).max(1);
    sender.max_end = segment.end.wrapping_add(sender.max_window);
    if receiver.max_window == 0 {
        (receiver.end, receiver.max_end) = (sack, sack);
    } else if sack == receiver.end.wrapping_add(1) {
        // Probably the answer to a keep-alive.
        receiver.end = sack;
    }
}

/// Whether these numbers are within the four bounds.
fn fits(sender: &mut Side, receiver: &Side, (seq, end, sack): (u32, u32, u32)) -> Fit {
    let oldest = receiver.end.wrapping_sub(sender.max_window.max(OLD_ACK)).wrapping_sub(1);
    let is_recent = before(oldest, sack);
    let is_known = before(sack, receiver.end.wrapping_add(1));
    let kept = sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1);
    let is_kept = before(kept, end);
    if !before(seq, sender.max_end.wrapping_add(1)) {
        let too_many = end.wrapping_sub(sender.max_end).wrapping_add(1);
        let window = receiver.max_window;
        if window != 0 && is_kept && is_recent && is_known && too_many <= window {
            // More than it was allowed, but perhaps taken all the same: then it will be
            // acknowledged.
            sender.end = end;
            sender.is_owed = true;
            return Fit::Beside;
        }
        return Fit::Outside;
    }
    if !is_known {
        return Fit::Outside;
    }
    if receiver.max_window != 0 && !is_kept || !is_recent {
        return Fit::Beside;
    }
    Fit::Within
}
