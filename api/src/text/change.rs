//! Lines of bundles, read and printed.

use std::fmt;

use packet::Key;

use super::assumed::Assumed;
use super::error::FlowError;
use super::matching::Fields;
use super::part::{Cursor, Parameter, Part, Then};
use super::ports;
use super::print::{Commas, List, Printed, fmt_fields};
use super::{Reading, actions, flow, group, meter, table, words};
use crate::bytes::HexBytes;
use crate::change::{Change, PacketOut};
use crate::flow::Match;

/// Reads a change behind the word for its kind, or a flow.
pub(super) fn parse(text: Part<'_>, reading: Reading<'_>) -> Result<Change, FlowError> {
    let (word, rest) = text.first_word();
    match word.text {
        "group" => group::parse(rest, reading.ports).map(Change::Group),
        "meter" => meter::parse(rest).map(Change::Meter),
        "table" => table::parse(rest).map(Change::Table),
        "packet-out" | "packet_out" => parse_packet_out(rest, reading).map(Change::PacketOut),
        _ => {
            let flow = if word.text == "flow" { rest } else { text };
            let (command, flow) = flow::split_verb(flow);
            flow::parse(flow, command, reading).map(Change::Flow)
        }
    }
}

/// Reads `[in_port=PORT] packet=HEX [FIELDS] actions=LIST`.
fn parse_packet_out(text: Part<'_>, reading: Reading<'_>) -> Result<PacketOut, FlowError> {
    let mut cursor = Cursor::new(text);
    let mut fields = Fields::new(reading);
    let (mut in_port, mut packet, mut list) = (ports::CONTROLLER, None, None);
    while let Some(word) = cursor.word()? {
        match word.text() {
            "in_port" => {
                let value = Parameter { word, value: cursor.value(word)? }.given()?;
                in_port = origin(value, reading)?;
            }
            "packet" => {
                let value = Parameter { word, value: cursor.value(word)? }.given()?;
                packet = Some(bytes(value)?);
            }
            "actions" | "action" if word.then == Then::Equals => {
                list = Some(cursor.rest());
                break;
            }
            _ if fields.take(word, &mut cursor)? => {}
            _ => return Err(words::unknown_word(word.part, &["packet", "actions"])),
        }
    }
    let end = text.end().at();
    let list = list.ok_or_else(|| FlowError::NoActions { at: end.clone() })?;
    let (packet, mut key) = packet.ok_or(FlowError::Missing { at: end, word: "packet" })?;
    let fields = fields.finish_scratch()?;
    key.set(Key::IN_PORT, in_port);
    let matching = Match::exactly(&key);
    let actions = actions::parse(list, Assumed::in_packet_out(&matching), reading.ports)?;
    Ok(PacketOut { in_port, fields, packet, actions })
}

/// The port that a packet seems to come from.
fn origin(part: Part<'_>, reading: Reading<'_>) -> Result<u16, FlowError> {
    let port = ports::parse(part, "in_port", reading.ports)?;
    let known = matches!(port, 0..=0xfeff | ports::CONTROLLER | ports::LOCAL | ports::ANY);
    known.then_some(port).ok_or_else(|| {
        let (at, expected) = (part.at(), "a port below 65280, LOCAL, CONTROLLER or NONE");
        FlowError::Value { at, of: "in_port".to_owned(), expected, found: part.found() }
    })
}

/// The bytes of a packet, and what they say.
fn bytes(part: Part<'_>) -> Result<(Vec<u8>, Key), FlowError> {
    let wrong = |expected| FlowError::Value {
        at: part.at(),
        of: "packet".to_owned(),
        expected,
        found: part.found(),
    };
    let HexBytes(bytes) =
        part.text.parse().ok().ok_or_else(|| wrong("two hexadecimal digits a byte"))?;
    let mut key = Key::ZERO;
    match packet::parse(&bytes, bytes.len(), &mut key) {
        Ok(_) if bytes.len() <= usize::from(u16::MAX) => Ok((bytes, key)),
        _ => Err(wrong("14 to 65535 bytes, beginning with an Ethernet header")),
    }
}

impl fmt::Display for Printed<'_, Change> {
    /// `flow FLOW`, `group GROUP`, `meter METER`, `table TABLE SETTING` or `packet-out PACKET`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.style;
        match self.what {
            Change::Flow(flow) => write!(f, "flow {}", Printed { what: flow, style }),
            Change::Group(group) => write!(f, "group {}", Printed { what: group, style }),
            Change::Meter(meter) => write!(f, "meter {}", Printed { what: meter, style }),
            Change::Table(table) => write!(f, "table {}", Printed { what: table, style }),
            Change::PacketOut(packet) => {
                write!(f, "packet-out {}", Printed { what: packet, style })
            }
        }
    }
}

impl fmt::Display for Printed<'_, PacketOut> {
    /// `in_port=1 packet=00ff reg0=0x5 actions=output:2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PacketOut { in_port, fields, packet, actions } = self.what;
        write!(f, "in_port={} packet=", self.style.port(*in_port))?;
        packet.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if !fields.is_zero() {
            f.write_str(" ")?;
            fmt_fields(&mut Commas::new(f), &scratch(fields), self.style)?;
        }
        write!(f, " actions={}", List { actions, style: self.style })
    }
}

/// The match on exactly those of the pipeline's own fields that are not zero.
fn scratch(fields: &Key) -> Match {
    let mut matching = Match::ANY;
    for field in PacketOut::fields().filter(|field| fields.get(field.span()) != 0) {
        matching.put(field, fields.get(field.span()), field.ones());
    }
    matching
}
