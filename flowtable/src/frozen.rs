//! What is said apart from a program because an operation has no room for it: above all how a
//! packet goes on behind a decision that is taken for each packet.
//!
//! A program ends where such a decision stands. The walk through the tables is *frozen* there: all
//! that the pipeline knows, and what was still to be done. Once the decision has been taken the
//! packet is looked up again, by what it says now, by the number of the frozen state, and by what
//! the decision has come to. Each such pass has a program and a path of its own, so that nothing
//! behind a meter counts what the meter drops.

use std::sync::Arc;

use api::{Action, Controller, DropReason, Sample, Subfield, TableId};
use packet::Key;

use crate::connect::Connect;
use crate::group::Selector;
use crate::meters::MeterSlot;
use crate::ports::BridgeId;
use crate::rule::RuleId;

/// Something said apart from a program, by [`AsideId`](crate::AsideId).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Aside {
    /// How a packet goes on.
    Frozen(Arc<Frozen>),
    /// How it is shown.
    Show(Arc<Show>),
    /// How it is sampled.
    Sample(Arc<SampleOf>),
}

/// A walk through the tables that has been interrupted.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Frozen {
    /// What decides how it goes on.
    pub decision: Decision,
    /// The bridge.
    pub bridge: BridgeId,
    /// What the packet does not say itself: the words of the key from [`Key::PARSED_WORDS`] on.
    pub notes: [u64; Key::WORDS - Key::PARSED_WORDS],
    /// The port it seems to come from.
    pub in_port: u16,
    /// Whether what connection tracking had found out was to be forgotten before the decision.
    pub forgets: bool,
    /// Whether what it has found out shows behind the decision.
    pub shows: bool,
    /// The queue it is to be sent by.
    pub(crate) queue: u32,
    /// What is still to be done, the innermost first.
    pub(crate) frames: Vec<Frame>,
    /// What lies on the stack, the top last: each value with its bits.
    pub(crate) stack: Vec<(u128, u8)>,
    /// The action set.
    pub(crate) set: Vec<Action>,
    /// Why the packet is dropped if nothing sends it.
    pub(crate) reason: DropReason,
}

/// The rest of a list of actions.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Frame {
    pub(crate) actions: Box<[Action]>,
    pub(crate) context: Context,
}

/// Where actions stand that are being carried out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Context {
    /// The table of their flow.
    pub table: TableId,
    /// Their flow, if they are a flow's.
    pub rule: Option<RuleId>,
    /// Its cookie.
    pub cookie: u64,
    /// In a group's bucket, the action set, or neither.
    pub place: Place,
}

/// What a list of actions is part of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Place {
    /// A flow.
    Flow,
    /// A bucket of a group.
    Group,
    /// The action set.
    ActionSet,
    /// A packet that was given to the switch to be sent.
    PacketOut,
}

/// A decision that is taken for each packet.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Decision {
    /// Whether a meter lets it pass.
    Meter(MeterSlot),
    /// Whether it is longer than so many bytes, which is written into a bit.
    Larger {
        /// The length.
        len: u16,
        /// The bit.
        dst: Subfield,
    },
    /// Which bucket of a group it takes.
    Select(Selector),
    /// Whoever watches lets it go on, or not.
    Pause(Arc<Show>),
    /// What it is to its connection.
    Connect(Connect),
    /// There is nothing to decide.
    Nothing,
}

/// How a packet is shown to whoever watches.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Show {
    /// To whom and why.
    pub controller: Controller,
    /// The meters that it passes: that of all that is shown, and its own.
    pub meters: [Option<MeterSlot>; 2],
    /// Where the action stands that shows it.
    pub context: Context,
    /// The bridge.
    pub bridge: BridgeId,
    /// The port it seems to come from.
    pub in_port: u16,
    /// As in [`Frozen::notes`].
    pub notes: [u64; Key::WORDS - Key::PARSED_WORDS],
    /// Whether what connection tracking has found out shows there.
    pub tracked: bool,
}

/// How a packet is sampled.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SampleOf {
    /// How many, and for whom.
    pub sample: Sample,
    /// The bridge.
    pub bridge: BridgeId,
    /// The port it seems to come from.
    pub in_port: u16,
}

/// What connection tracking has found out about a packet: [`Key::TRACKED`].
pub type Tracked = [u64; Key::TRACKED.end - Key::TRACKED.start];

/// The words of a key that its packet does not say, nor its connection.
pub(crate) fn notes_of(key: &Key) -> [u64; Key::WORDS - Key::PARSED_WORDS] {
    let mut key = *key;
    key.words_mut()[Key::TRACKED].fill(0);
    let mut notes = [0; Key::WORDS - Key::PARSED_WORDS];
    notes.copy_from_slice(&key.words()[Key::PARSED_WORDS..]);
    notes
}

impl Frozen {
    /// What is done with a packet that is given to the switch, which begins with these fields.
    pub fn packet_out(bridge: BridgeId, in_port: u16, fields: &Key, actions: &[Action]) -> Self {
        let context = Context { table: 0, rule: None, cookie: 0, place: Place::PacketOut };
        Self {
            decision: Decision::Nothing,
            bridge,
            notes: notes_of(fields),
            in_port,
            forgets: false,
            shows: false,
            queue: crate::draft::NO_QUEUE,
            frames: vec![Frame { actions: actions.into(), context }],
            stack: Vec::new(),
            set: Vec::new(),
            reason: DropReason::FlowDrop,
        }
    }

    /// What is still to be done, the innermost first, and where it stands.
    pub fn rests(&self) -> impl Iterator<Item = (&[Action], Context)> {
        self.frames.iter().map(|frame| (&*frame.actions, frame.context))
    }

    /// The action set.
    pub fn set(&self) -> &[Action] {
        &self.set
    }

    /// Makes what [`packet::parse`] has found in a packet the key of one that goes on here, by what
    /// connection tracking has found out, and what is known besides. `outcome` is what the decision has
    /// come to, `number` that of this state.
    pub fn complete(
        &self,
        key: &mut Key,
        tracked: &Tracked,
        ingress: u16,
        number: u32,
        outcome: u16,
    ) {
        key.words_mut()[Key::PARSED_WORDS..].copy_from_slice(&self.notes);
        if self.shows {
            key.words_mut()[Key::TRACKED].copy_from_slice(tracked);
        }
        key.set(Key::OUTCOME, outcome);
        key.set(Key::IN_PORT, self.in_port);
        key.set(Key::INGRESS, ingress);
        key.set(Key::RESUME, number);
    }
}
