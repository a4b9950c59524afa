//! Why a change is refused.

use api::{MeterId, TableId};

/// Why a change was refused. Nothing of the tables has changed when one is returned.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The flow's match and that of another one of the same priority have packets in common.
    #[error(
        "overlaps with a flow of the same priority, cookie {cookie:#x}, which check_overlap forbids"
    )]
    Overlap {
        /// That flow's cookie.
        cookie: u64,
    },
    /// The table holds no more.
    #[error("table {table} is full ({limit} flows)")]
    TableFull {
        /// Which table.
        table: TableId,
        /// What it holds.
        limit: usize,
    },
    /// The actions do not fit the match of a flow they were to be given to.
    #[error("the flow {flow:?} cannot have these actions: {why}")]
    Unfit {
        /// The flow as it is.
        flow: String,
        /// What does not fit.
        why: String,
    },
    /// A flow to be added or modified must say what it does.
    #[error("the flow has no actions")]
    NoActions,
    /// All tables at once can only be emptied.
    #[error("only deleting can be done in all tables at once")]
    NoTable,
    /// There is no such bridge.
    #[error("there is no such bridge")]
    NoBridge,
    /// A flow leads to a group that is not there.
    #[error("there is no group {id}")]
    NoGroup {
        /// Its number.
        id: u32,
    },
    /// A group to be added is there already.
    #[error("group {id} exists")]
    GroupExists {
        /// Its number.
        id: u32,
    },
    /// Groups lead to each other in a circle.
    #[error("group {id} would lead back to itself")]
    GroupLoop {
        /// The number of one of them.
        id: u32,
    },
    /// An indirect group has one bucket.
    #[error("group {id} is indirect, and has exactly one bucket")]
    Indirect {
        /// Its number.
        id: u32,
    },
    /// A group has no such bucket.
    #[error("group {id} has no bucket {bucket}")]
    NoBucket {
        /// The group.
        id: u32,
        /// The bucket.
        bucket: u32,
    },
    /// A bucket to be inserted says what buckets of its group cannot say, or not what they must.
    #[error("group {id} cannot have the bucket {bucket}: {why}")]
    UnfitBucket {
        /// The group.
        id: u32,
        /// The bucket.
        bucket: u32,
        /// The rule for buckets of its kind.
        why: &'static str,
    },
    /// A bucket to be inserted is there already.
    #[error("group {id} has a bucket {bucket}")]
    BucketExists {
        /// The group.
        id: u32,
        /// The bucket.
        bucket: u32,
    },
    /// An action or a command names a meter that is not there.
    #[error("there is no meter {}", name(*.id))]
    NoMeter {
        /// Its number.
        id: MeterId,
    },
    /// A meter to be added is there already.
    #[error("meter {} exists", name(*.id))]
    MeterExists {
        /// Its number.
        id: MeterId,
    },
    /// A bridge holds no more.
    #[error("a bridge has at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A flow that is put where it was finds another one there.
    #[error("another flow has its place")]
    Taken,
}

fn name(meter: MeterId) -> String {
    match meter {
        MeterId::Number(number) => number.to_string(),
        MeterId::Controller => "controller".to_owned(),
        MeterId::Slowpath => "slowpath".to_owned(),
    }
}
