//! Whole flows, read: a verb, attributes, a match, actions.

use super::actions;
use super::assumed::Assumed;
use super::error::FlowError;
use super::matching::Fields;
use super::part::{Cursor, Part, Then, Word};
use super::ports;
use super::{Reading, value, words};
use crate::flow::{Command, FlowFilter, FlowFlags, FlowMod, Match, TableId};

/// The verbs that may begin a line of a file.
pub(super) const VERBS: [(&str, Command); 5] = [
    ("add", Command::Add),
    ("modify", Command::Modify),
    ("modify_strict", Command::ModifyStrict),
    ("delete", Command::Delete),
    ("delete_strict", Command::DeleteStrict),
];

/// Words of dumps that say nothing about a flow: ignored, so that a dump can be read back.
const STATISTICS: [&str; 7] = [
    "duration",
    "n_packets",
    "n_bytes",
    "idle_age",
    "hard_age",
    "no_readonly_table",
    "allow_hidden_fields",
];

/// Takes the verb off the beginning of a line; without one it adds.
pub(super) fn split_verb(text: Part<'_>) -> (Command, Part<'_>) {
    let (word, rest) = text.first_word();
    match VERBS.iter().find(|(verb, _)| *verb == word.text) {
        Some((_, command)) => (*command, rest),
        None => (Command::Add, text),
    }
}

/// Reads a flow that is about to be changed by `command`.
pub(super) fn parse(
    text: Part<'_>,
    command: Command,
    reading: Reading<'_>,
) -> Result<FlowMod, FlowError> {
    let mut cursor = Cursor::new(text);
    let mut attributes = Attributes::new(Purpose::of(command), reading);
    let mut fields = Fields::new(reading);
    let list = attributes.read(&mut cursor, &mut fields)?;
    let mut flow = attributes.flow(command, fields.finish()?);
    if attributes.purpose.may_have_actions() {
        let end = text.at().end;
        let list = list.ok_or(FlowError::NoActions { at: end..end })?;
        let assumed = Assumed::at_start(&flow.matching, flow.table);
        flow.actions = Some(actions::parse(list, assumed, reading.ports)?);
    }
    Ok(flow)
}

/// Reads which flows are meant.
pub(super) fn parse_filter(text: Part<'_>, reading: Reading<'_>) -> Result<FlowFilter, FlowError> {
    let mut cursor = Cursor::new(text);
    let mut attributes = Attributes::new(Purpose::Filter, reading);
    let mut fields = Fields::new(reading);
    attributes.read(&mut cursor, &mut fields)?;
    Ok(FlowFilter {
        table: attributes.table.unwrap_or_default(),
        matching: fields.finish()?,
        cookie: attributes.cookie_filter,
        out_port: attributes.out_port,
        out_group: attributes.out_group,
    })
}

/// What a flow's text is for, which decides about the words it may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    Add,
    Modify,
    Delete,
    DeleteStrict,
    Filter,
}

impl Purpose {
    fn of(command: Command) -> Self {
        match command {
            Command::Add => Self::Add,
            Command::Modify | Command::ModifyStrict => Self::Modify,
            Command::Delete => Self::Delete,
            Command::DeleteStrict => Self::DeleteStrict,
        }
    }

    fn may_have_actions(self) -> bool {
        matches!(self, Self::Add | Self::Modify)
    }

    /// Why a word has no place in such a text.
    fn refuses(self, word: &str) -> Option<&'static str> {
        let chooses = "only chooses flows to delete or to dump";
        let changes = "has no meaning where no flow is changed";
        match word {
            "out_port" | "out_group" if self.may_have_actions() => Some(chooses),
            "priority" if self == Self::Delete => {
                Some("takes `delete_strict`: `delete` removes flows of every priority")
            }
            "priority" if self == Self::Filter => Some("does not choose flows to dump"),
            "importance" if self == Self::Modify => Some("is given when a flow is added"),
            "actions" | "idle_timeout" | "hard_timeout" | "importance" => {
                (!self.may_have_actions()).then_some(changes)
            }
            _ if flag(&mut FlowFlags::default(), word).is_some() => {
                (!self.may_have_actions()).then_some(changes)
            }
            _ => None,
        }
    }
}

/// What a flow's text says besides match and actions.
struct Attributes<'a> {
    purpose: Purpose,
    reading: Reading<'a>,
    /// The table if one is named, within which `None` is all of them.
    table: Option<Option<TableId>>,
    priority: Option<u16>,
    cookie: Option<u64>,
    cookie_filter: Option<(u64, u64)>,
    idle_timeout: u16,
    hard_timeout: u16,
    importance: u16,
    flags: FlowFlags,
    out_port: Option<u16>,
    out_group: Option<u32>,
}

impl<'a> Attributes<'a> {
    fn new(purpose: Purpose, reading: Reading<'a>) -> Self {
        Self {
            purpose,
            reading,
            table: None,
            priority: None,
            cookie: None,
            cookie_filter: None,
            idle_timeout: 0,
            hard_timeout: 0,
            importance: 0,
            flags: FlowFlags::default(),
            out_port: None,
            out_group: None,
        }
    }

    fn flow(&self, command: Command, matching: Match) -> FlowMod {
        let default = if self.purpose.may_have_actions() { Some(0) } else { None };
        FlowMod {
            command,
            table: self.table.unwrap_or(default),
            priority: self.priority.unwrap_or(FlowMod::DEFAULT_PRIORITY),
            matching,
            cookie: self.cookie,
            cookie_filter: self.cookie_filter,
            idle_timeout: self.idle_timeout,
            hard_timeout: self.hard_timeout,
            importance: self.importance,
            flags: self.flags,
            out_port: self.out_port,
            out_group: self.out_group,
            actions: None,
        }
    }

    /// Reads up to the actions, which come last, and answers with their text.
    fn read<'t>(
        &mut self,
        cursor: &mut Cursor<'t>,
        fields: &mut Fields<'_>,
    ) -> Result<Option<Part<'t>>, FlowError> {
        while let Some(word) = cursor.word()? {
            let text = word.text();
            let is_actions = matches!(text, "actions" | "action");
            let name = if is_actions { "actions" } else { text };
            if let Some(rule) = self.purpose.refuses(name) {
                return Err(FlowError::Misplaced { at: word.at(), word: name.to_owned(), rule });
            }
            match word.then {
                Then::Equals if is_actions => return Ok(Some(cursor.rest())),
                _ if is_actions => return Err(FlowError::NoActions { at: word.at() }),
                _ => {}
            }
            if !self.take(word, cursor)? && !fields.take(word, cursor)? {
                return Err(words::unknown_word(word.part, &words::ATTRIBUTES));
            }
        }
        cursor.end()?;
        Ok(None)
    }

    /// Takes what `word` and its value, which `cursor` reads, say about the flow. `false` if that
    /// is nothing, the cursor then being where it was.
    fn take(&mut self, word: Word<'_>, cursor: &mut Cursor<'_>) -> Result<bool, FlowError> {
        let name = word.text();
        if let Some(flag) = flag(&mut self.flags, name) {
            *flag = true;
            return match cursor.value(word)? {
                None => Ok(true),
                Some(value) => {
                    Err(FlowError::UnwantedValue { at: value.at(), word: name.to_owned() })
                }
            };
        }
        if STATISTICS.contains(&name) {
            cursor.value(word)?;
            return Ok(true);
        }
        if !matches!(
            name,
            "table"
                | "priority"
                | "cookie"
                | "idle_timeout"
                | "hard_timeout"
                | "importance"
                | "out_port"
                | "out_group"
        ) {
            return Ok(false);
        }
        let given = cursor.value(word)?.filter(|value| !value.text.is_empty());
        let missing = || FlowError::MissingValue { at: word.at(), word: name.to_owned() };
        let value = given.ok_or_else(missing)?;
        match name {
            "table" => self.table = Some(self.table(value)?),
            "priority" => self.priority = Some(value::fit(value, name)?),
            "cookie" => self.cookie(word, value)?,
            "idle_timeout" => self.idle_timeout = value::fit(value, name)?,
            "hard_timeout" => self.hard_timeout = value::fit(value, name)?,
            "importance" => self.importance = value::fit(value, name)?,
            "out_group" if value.text == "any" => self.out_group = None,
            "out_group" => self.out_group = Some(value::group(value, name)?),
            _ => {
                let port = ports::parse(value, name, self.reading.ports)?;
                self.out_port = Some(port).filter(|port| *port != ports::ANY);
            }
        }
        Ok(true)
    }

    /// A table, or 255 for all of them where that makes sense.
    fn table(&self, value: Part<'_>) -> Result<Option<TableId>, FlowError> {
        if value.text == "255" && !self.purpose.may_have_actions() {
            return Ok(None);
        }
        value::table(value, "table").map(Some)
    }

    /// `cookie=V` is the flow's cookie, `cookie=V/M` chooses flows. As in OVS, a cookie of 64 ones
    /// is none.
    fn cookie(&mut self, word: Word<'_>, value: Part<'_>) -> Result<(), FlowError> {
        let misplaced =
            |rule| FlowError::Misplaced { at: word.at(), word: "cookie".to_owned(), rule };
        match value.split_once("/") {
            Some(_) if self.purpose == Purpose::Add => {
                Err(misplaced("takes no mask when a flow is added"))
            }
            Some((cookie, mask)) => {
                let (cookie, mask): (u64, u64) =
                    (value::fit(cookie, "cookie")?, value::fit(mask, "cookie")?);
                self.cookie_filter = (mask != 0).then_some((cookie & mask, mask));
                Ok(())
            }
            None if !self.purpose.may_have_actions() => {
                Err(misplaced("needs a mask to choose flows by; `/-1` compares all of it"))
            }
            None => {
                self.cookie =
                    Some(value::fit(value, "cookie")?).filter(|cookie| *cookie != u64::MAX);
                Ok(())
            }
        }
    }
}

/// The flag of this name.
fn flag<'f>(flags: &'f mut FlowFlags, name: &str) -> Option<&'f mut bool> {
    Some(match name {
        "send_flow_rem" => &mut flags.send_flow_rem,
        "check_overlap" => &mut flags.check_overlap,
        "reset_counts" => &mut flags.reset_counts,
        "no_packet_counts" => &mut flags.no_packet_counts,
        "no_byte_counts" => &mut flags.no_byte_counts,
        _ => return None,
    })
}
