//! What is said of a table as a whole.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::TableId;

/// What becomes of a packet that no flow of a table matches (OpenFlow 1.1 §5.2).
///
/// As with Open vSwitch, it holds where packets enter the pipeline and behind `goto_table`; to
/// `resubmit`, a table without a flow for the packet is one that does nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableMiss {
    /// It is dropped.
    #[default]
    Drop,
    /// It goes on in the next table; behind the last one it is dropped.
    Continue,
    /// It is shown to those who watch, with the reason `no_match`.
    Controller,
}

impl TableMiss {
    /// Each with its word.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Drop, "drop"), (Self::Continue, "continue"), (Self::Controller, "controller")];
}

impl fmt::Display for TableMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::ALL.iter().find(|(miss, _)| miss == self);
        f.write_str(known.map_or("", |(_, word)| word))
    }
}

/// A change of tables as such: what is not named stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct TableMod {
    /// Which one; all of them if none is named.
    pub table: Option<TableId>,
    /// What becomes of packets that no flow matches.
    pub miss: Option<TableMiss>,
    /// The most flows that it holds, if that is less than what every table holds.
    pub limit: Option<u32>,
    /// Whether a flow with a timeout makes room for a new one when there is none.
    pub evict: Option<bool>,
}
