//! Flows as text, in the syntax of `ovs-ofctl` (`ovs-ofctl(8)`, `ovs-fields(7)`, `ovs-actions(7)`):
//! one grammar, which reads and prints.
//!
//! ```text
//! flow    := { attribute | field } [ "actions=" actions ]
//! line    := [ add | modify | modify_strict | delete | delete_strict ] flow
//! field   := NAME | NAME=VALUE[/MASK] | NAME=* | NAME[a..b]=NUMBER
//! actions := drop | action { , action }
//! action  := PORT | WORD[:VALUE] | WORD(VALUE)
//! ```
//!
//! Output is OVS's canonical form over OpenFlow 1.5, or over 1.0 (see [`Dialect`]); input takes every
//! spelling OVS takes for what we support. Property: what is printed is read back as the same, in
//! either dialect. Where OVS would guess, this refuses: a match without its prerequisites (OVS drops
//! the field, and so does a [`Reading::lenient`]), a value wider than its field (OVS cuts it), a
//! number with a leading zero (octal to OVS), a match that no packet can meet. A word of OVS's that
//! we do not have is [`FlowError::Unsupported`], a word that nobody has [`FlowError::Unknown`].
//!
//! Groups, meters and the lines of bundles are read and printed likewise: [`group()`], [`meter()`],
//! [`change()`].
//!
//! Names of ports are known to the switch alone, which is why every function takes [`PortNames`].
//!
//! The grammar is written by hand and not with `winnow`: OVS's syntax is a splitter of words
//! followed by tables of words, and its one rule, "cut at separators outside of parentheses", is
//! shorter as a loop than as combinators. Hostile text cannot hurt: length, nesting and number of
//! actions are bounded, the work is linear in the length.

mod actions;
mod assumed;
mod bundle;
mod change;
mod controller;
mod error;
mod flow;
mod group;
mod learn;
mod matching;
mod meter;
mod part;
mod ports;
mod print;
mod sample;
mod table;
mod value;
mod words;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod ct_cases;
#[cfg(test)]
mod ct_refused;
#[cfg(test)]
mod ct_tests;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod group_cases;
#[cfg(test)]
mod pipeline_cases;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod speller;
#[cfg(test)]
mod tests;

use std::str::FromStr;

use packet::Key;

pub(crate) use assumed::Assumed;
#[cfg(any(test, feature = "testing"))]
pub(crate) use assumed::Tag;
pub use error::FlowError;
pub use ports::{NoNames, PortNames};
pub use print::{Dialect, print_actions, print_actions_in};

use matching::Fields;
use part::{Cursor, Part};

use crate::action::Action;
use crate::change::Change;
use crate::flow::{Command, FlowFilter, FlowMod, Match, TableId};
use crate::group::{Group, GroupMod};
use crate::meter::{Meter, MeterId, MeterMod};
use crate::table::TableMod;

/// The longest text of one flow, in bytes: room for the longest print of [`MAX_ACTIONS`] actions.
pub const MAX_LEN: usize = 1 << 20;
/// The most actions of one flow, those within others included; OVS has room for as many outputs.
pub const MAX_ACTIONS: usize = 4096;
/// How deep lists of actions may be nested, the outermost one included.
pub const MAX_NESTING: usize = 100;

/// How texts are read: who knows the ports, and how strict one is.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    ports: &'a dyn PortNames,
    lenient: bool,
}

impl<'a> Reading<'a> {
    /// With these ports, strictly.
    pub fn new(ports: &'a dyn PortNames) -> Self {
        Self { ports, lenient: false }
    }

    /// As OVS does: a field without its prerequisites is left out of a match in silence. It remains
    /// an error if the match asks for the contrary of what the field needs.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { lenient: true, ..self }
    }

    /// See [`flow()`].
    pub fn flow(self, text: &str, command: Command) -> Result<FlowMod, FlowError> {
        flow::parse(whole(text)?, command, self)
    }

    /// See [`line()`].
    pub fn line(self, text: &str) -> Result<FlowMod, FlowError> {
        let (command, text) = flow::split_verb(whole(text)?);
        flow::parse(text, command, self)
    }

    /// See [`filter()`].
    pub fn filter(self, text: &str) -> Result<FlowFilter, FlowError> {
        flow::parse_filter(whole(text)?, self)
    }

    /// See [`matching()`].
    pub fn matching(self, text: &str) -> Result<Match, FlowError> {
        self.fields(text)?.finish()
    }

    /// See [`change()`].
    pub fn change(self, line: &str) -> Result<Change, FlowError> {
        change::parse(whole(line)?, self)
    }

    fn fields(self, text: &str) -> Result<Fields<'a>, FlowError> {
        let mut cursor = Cursor::new(whole(text)?);
        let mut fields = Fields::new(self);
        while let Some(word) = cursor.word()? {
            if !fields.take(word, &mut cursor)? {
                return Err(words::unknown_word(word.part, &[]));
            }
        }
        cursor.end()?;
        Ok(fields)
    }
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("lenient", &self.lenient).finish_non_exhaustive()
    }
}

/// Reads a flow as on a command line, without a verb, as what `command` changes. The table is 0
/// unless named; for commands that delete, all of them.
pub fn flow(text: &str, command: Command, ports: &dyn PortNames) -> Result<FlowMod, FlowError> {
    Reading::new(ports).flow(text, command)
}

/// Reads a line of a file of flows: a flow behind a verb, which is `add` if there is none.
pub fn line(text: &str, ports: &dyn PortNames) -> Result<FlowMod, FlowError> {
    Reading::new(ports).line(text)
}

/// Reads which flows to dump: attributes and fields without actions; no text at all means every
/// flow.
pub fn filter(text: &str, ports: &dyn PortNames) -> Result<FlowFilter, FlowError> {
    Reading::new(ports).filter(text)
}

/// Reads a change of groups: a group, or what tells one, behind a verb, which is `add` if there is
/// none.
///
/// ```text
/// [add | modify | add_or_mod] group_id=N,type=KIND[,selection_method=M...],bucket=...,bucket=...
/// delete [group_id=N]
/// insert_bucket group_id=N,command_bucket_id=PLACE,bucket=...
/// remove_bucket group_id=N,command_bucket_id=PLACE
/// ```
pub fn group(text: &str, ports: &dyn PortNames) -> Result<GroupMod, FlowError> {
    group::parse(whole(text)?, ports)
}

/// Reads a change of meters: a meter behind `add` (which may be left out) or `modify`, or the number
/// of one behind `delete`.
///
/// ```text
/// [add | modify] meter=N (kbps | pktps) [burst] [stats] bands=type=drop rate=N [burst_size=N] ...
/// delete [meter=N]
/// ```
pub fn meter(text: &str) -> Result<MeterMod, FlowError> {
    meter::parse(whole(text)?)
}

/// Reads a line of a bundle: a change behind the word for its kind, or a flow.
///
/// ```text
/// [flow] FLOW | group GROUP | meter METER | table (N | all) SETTINGS
/// packet-out [in_port=PORT] packet=HEX [FIELDS] actions=LIST
/// ```
///
/// FLOW, GROUP and METER each may begin with a verb. SETTINGS are one or more of `drop`, `continue`,
/// `controller`, `limit=N`, `evict` and `noevict`.
pub fn change(line: &str, ports: &dyn PortNames) -> Result<Change, FlowError> {
    Reading::new(ports).change(line)
}

/// The lines of a file of flows that have something to say, each with its number, from 1 on;
/// comments (`#` to the end of the line) are cut off.
pub fn lines(file: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = file.lines().enumerate().map(|(n, line)| (n + 1, without_comment(line)));
    lines.filter(|(_, line)| !line.trim().is_empty())
}

/// Reads a file of flows line by line. Errors give bytes within their line.
pub fn file(
    file: &str,
    ports: &dyn PortNames,
) -> impl Iterator<Item = (usize, Result<FlowMod, FlowError>)> {
    lines(file).map(move |(n, text)| (n, line(text, ports)))
}

/// Reads a match alone: `tcp,nw_dst=10.0.0.0/8`.
pub fn matching(text: &str, ports: &dyn PortNames) -> Result<Match, FlowError> {
    Reading::new(ports).matching(text)
}

/// Reads the description of one packet, such as `in_port=1,tcp,nw_src=10.0.0.1,tcp_dst=80`: fields
/// with values for all of their bits. The key is the one [`packet::parse`] would give to such a
/// packet, zero where nothing is said; the registers and `metadata` are those that are given.
pub fn packet(text: &str, ports: &dyn PortNames) -> Result<Key, FlowError> {
    Reading::new(ports).fields(text)?.finish_packet()
}

/// Reads a list of actions, as behind `actions=`, of a flow with this match; `table` is where the
/// flow is, if that is known.
pub fn actions(
    text: &str,
    matching: &Match,
    table: Option<TableId>,
    ports: &dyn PortNames,
) -> Result<Vec<Action>, FlowError> {
    actions::parse(whole(text)?, Assumed::at_start(matching, table), ports)
}

fn whole(text: &str) -> Result<Part<'_>, FlowError> {
    if text.len() > MAX_LEN {
        return Err(FlowError::TooLong { at: MAX_LEN..text.len(), limit: MAX_LEN });
    }
    Ok(Part::new(text))
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    let hash = line.bytes().position(|byte| {
        let here = byte == b'#' && !quoted;
        quoted ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        here
    });
    hash.and_then(|hash| line.get(..hash)).unwrap_or(line)
}

impl FromStr for FlowMod {
    type Err = FlowError;

    /// Reads a flow behind an optional verb, with ports by number alone: see [`line()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        line(text, &NoNames)
    }
}

impl FromStr for FlowFilter {
    type Err = FlowError;

    /// Reads which flows to dump, with ports by number alone: see [`filter()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        filter(text, &NoNames)
    }
}

impl FromStr for GroupMod {
    type Err = FlowError;

    /// Reads a change of groups, with ports by number alone: see [`group()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        group(text, &NoNames)
    }
}

impl FromStr for Group {
    type Err = FlowError;

    /// Reads a group as behind `add`, with ports by number alone: see [`group()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        group::parse_group(whole(text)?, &NoNames)
    }
}

impl FromStr for MeterMod {
    type Err = FlowError;

    /// Reads a change of meters: see [`meter()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        meter(text)
    }
}

impl FromStr for Meter {
    type Err = FlowError;

    /// Reads a meter as behind `add`: see [`meter()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        meter::parse_meter(whole(text)?)
    }
}

impl FromStr for MeterId {
    type Err = FlowError;

    /// Reads the number or the name of a meter.
    fn from_str(text: &str) -> Result<Self, FlowError> {
        meter::number(whole(text)?)
    }
}

impl FromStr for TableMod {
    type Err = FlowError;

    /// Reads a change of tables as it stands behind `table` in a bundle: see [`change()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        table::parse(whole(text)?)
    }
}

impl FromStr for Change {
    type Err = FlowError;

    /// Reads a line of a bundle, with ports by number alone: see [`change()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        change(text, &NoNames)
    }
}

impl FromStr for Match {
    type Err = FlowError;

    /// Reads a match, with ports by number alone: see [`matching()`].
    fn from_str(text: &str) -> Result<Self, FlowError> {
        matching(text, &NoNames)
    }
}
