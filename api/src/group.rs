//! Groups as values: several ways for a packet, of which all or one is taken.

use packet::Span;

use crate::action::Action;
use crate::field::Field;

/// A group (OpenFlow 1.5 §5.10).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its number, 0 to [`Group::MAX`].
    pub id: u32,
    /// Which of its buckets are executed.
    pub kind: GroupKind,
    /// How one is selected.
    pub selection: Selection,
    /// Its buckets, in order; their numbers are all different.
    pub buckets: Vec<Bucket>,
}

impl Group {
    /// The highest number of a group.
    pub const MAX: u32 = 0xffff_ff00;
}

/// Which buckets of a group are executed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum GroupKind {
    /// All, each on a copy.
    All,
    /// One, chosen by a hash of the packet, by weight, among those that are live.
    Select,
    /// The only one.
    Indirect,
    /// The first that is live.
    FastFailover,
}

impl GroupKind {
    /// Each with the word that output uses.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::All, "all"),
        (Self::Select, "select"),
        (Self::Indirect, "indirect"),
        (Self::FastFailover, "ff"),
    ];
}

/// How a bucket is selected.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Selection {
    /// As the switch likes: as [`Selection::DpHash`].
    #[default]
    Default,
    /// By a hash of addresses, protocol and ports that costs no cache entry of its own.
    DpHash {
        /// The start of the hash.
        param: u64,
    },
    /// By a hash of these fields, each value having a cache entry.
    Hash {
        /// The start of the hash.
        param: u64,
        /// Which fields, and of each these bits; none is as [`Selection::DpHash`].
        fields: Vec<(Field, u128)>,
    },
}

impl Selection {
    /// Where the fields lie in the key, with the bits that count.
    pub fn spans(&self) -> impl Iterator<Item = (Span, u128)> + '_ {
        let fields = match self {
            Self::Hash { fields, .. } => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|(field, mask)| (field.span(), *mask))
    }
}

/// One way of a group.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Bucket {
    /// Its number within the group.
    pub id: u32,
    /// How often it is selected, compared with the others; 0 is never. It says nothing in groups
    /// that do not select.
    pub weight: u16,
    /// It is live only as long as this port is.
    pub watch_port: Option<u16>,
    /// It is live only as long as this group has a live bucket.
    pub watch_group: Option<u32>,
    /// What it does, as it was written: an action set, whose kinds of actions are executed in
    /// OpenFlow's order, and of each kind that can be there once the last.
    pub actions: Vec<Action>,
}

/// A change of groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GroupMod {
    /// Adds one that is not there.
    Add(Group),
    /// Replaces one that is there.
    Modify(Group),
    /// Adds or replaces one.
    AddOrModify(Group),
    /// Removes one, or all, with the flows that lead there.
    Delete(Option<u32>),
    /// Puts buckets into one.
    InsertBuckets {
        /// Which one.
        id: u32,
        /// Where.
        place: BucketPlace,
        /// The buckets.
        buckets: Vec<Bucket>,
    },
    /// Takes buckets out of one.
    RemoveBuckets {
        /// Which one.
        id: u32,
        /// Which buckets.
        place: BucketPlace,
    },
}

/// Some of the buckets of a group, or a place among them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BucketPlace {
    /// The first one; before all.
    First,
    /// The last one; behind all.
    Last,
    /// All of them; to insert there is none.
    All,
    /// The one of this number; before it.
    Id(u32),
}
