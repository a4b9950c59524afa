//! Actions that send the packet somewhere, read.

use super::super::assumed::Assumed;
use super::super::error::FlowError;
use super::super::part::{Cursor, Part};
use super::super::{ports, value, words};
use super::{Item, Reader, subfield};
use crate::action::{Action, OutPort};
use crate::field::Field;

/// The least that is sent of a packet: an Ethernet header.
const MIN_LEN: u32 = 14;

impl Reader<'_> {
    /// `output:PORT`, `output:FIELD[a..b]` or `output(port=PORT,max_len=N)`.
    pub(super) fn output(
        &self,
        part: Part<'_>,
        assumed: &Assumed<'_>,
    ) -> Result<Action, FlowError> {
        if is_field_reference(part) {
            return Ok(Action::OutputField(subfield(part, assumed)?));
        }
        if part.text.contains('=') && part.unquoted().is_none() {
            return self.output_truncated(part);
        }
        out_action(part, ports::parse(part, "output", self.ports)?, assumed)
    }

    /// `output(port=PORT,max_len=N)`, in either order.
    fn output_truncated(&self, part: Part<'_>) -> Result<Action, FlowError> {
        let wrong = |at: Part<'_>, of: &str, expected| FlowError::Value {
            at: at.at(),
            of: of.to_owned(),
            expected,
            found: at.found(),
        };
        let (mut port, mut max_len) = (None, None);
        let mut cursor = Cursor::new(part);
        while let Some(parameter) = cursor.parameter()? {
            match parameter.name() {
                name @ "port" => {
                    let given = parameter.given()?;
                    let to = out_port(given, ports::parse(given, name, self.ports)?)?;
                    let one = matches!(to, OutPort::Port(_) | OutPort::InPort | OutPort::Local);
                    let expected = "a port of its own where a length is given";
                    port = Some(one.then_some(to).ok_or_else(|| wrong(given, name, expected))?);
                }
                name @ "max_len" => {
                    let given = parameter.given()?;
                    let len = Some(value::fit(given, name)?).filter(|len| *len >= MIN_LEN);
                    max_len = Some(len.ok_or_else(|| wrong(given, name, "14 bytes or more"))?);
                }
                _ => {
                    let known = ["port", "max_len"].into_iter();
                    return Err(words::unknown(parameter.word.part, "word", known));
                }
            }
        }
        cursor.end()?;
        let missing = |word| FlowError::Missing { at: part.at(), word };
        let port = port.ok_or_else(|| missing("port"))?;
        let max_len = max_len.ok_or_else(|| missing("max_len"))?;
        Ok(Action::OutputTruncated { port, max_len })
    }

    /// A port that stands for the action of outputting to it: `2`, `LOCAL`, `p1`.
    pub(super) fn bare_port(
        &self,
        item: &Item<'_, '_>,
        assumed: &Assumed<'_>,
    ) -> Result<Action, FlowError> {
        let part = item.parameter.word.part;
        match ports::parse(part, "output", self.ports) {
            Ok(number) => {
                item.parameter.alone()?;
                out_action(part, number, assumed)
            }
            Err(FlowError::UnknownPort { .. }) if part.unquoted().is_none() => {
                Err(words::unknown(part, "action", words::ACTIONS.iter().copied()))
            }
            Err(error) => Err(error),
        }
    }

    /// `enqueue:PORT:QUEUE`, `enqueue(PORT,QUEUE)` or `enqueue:PORTqQUEUE`: the queue and the port.
    pub(super) fn enqueue(&self, part: Part<'_>) -> Result<(u32, OutPort), FlowError> {
        let expected = "a port and a queue, as in `enqueue:3:1`";
        let wrong = |part: Part<'_>, expected| FlowError::Value {
            at: part.at(),
            of: "enqueue".to_owned(),
            expected,
            found: part.found(),
        };
        // A quoted name may hold any of these.
        let name = part.text.rfind('"').map_or(0, |quote| quote + 1);
        let digits = part.text.bytes().take_while(u8::is_ascii_digit).count();
        let is_joint = |(at, joint): &(usize, char)| match joint {
            ':' | ',' | '@' => *at >= name,
            'q' => *at == digits && digits > 0,
            _ => false,
        };
        let (at, _) =
            part.text.char_indices().find(is_joint).ok_or_else(|| wrong(part, expected))?;
        let (port, queue) = (part.slice(0..at), part.slice(at + 1..part.text.len()));
        if queue.text.is_empty() {
            return Err(wrong(part, expected));
        }
        let to = out_port(port, ports::parse(port, "enqueue", self.ports)?)?;
        match to {
            OutPort::Port(_) | OutPort::InPort | OutPort::Local => {
                Ok((value::fit(queue, "enqueue")?, to))
            }
            _ => Err(wrong(port, "a port of its own, which has queues")),
        }
    }

    /// `resubmit:PORT`, `resubmit([PORT],[TABLE])`.
    pub(super) fn resubmit(&self, item: &Item<'_, '_>) -> Result<Action, FlowError> {
        let word = item.parameter.word;
        let nothing = || {
            let (at, expected) = (word.at(), "a port or a table, as in `resubmit(,1)`");
            FlowError::Value { at, of: word.part.short(), expected, found: "neither".to_owned() }
        };
        let all = item.parameter.value.ok_or_else(nothing)?;
        let mut parameters = all.list();
        let mut parameter = || parameters.next().filter(|part| !part.text.is_empty());
        let (in_port, table, rest) = (parameter(), parameter(), parameter());
        if let Some(rest) = rest {
            let word = format!("resubmit with `{}`", rest.short());
            return Err(FlowError::Unsupported { at: rest.at(), word });
        }
        let in_port = in_port.map(|part| ports::parse(part, "resubmit", self.ports)).transpose()?;
        let in_port = in_port.filter(|port| *port != ports::IN_PORT);
        // 255 is the table this flow is in.
        let table = table.filter(|part| part.text != "255");
        let table = table.map(|part| value::table(part, "resubmit")).transpose()?;
        if in_port.is_none() && table.is_none() {
            return Err(nothing());
        }
        Ok(Action::Resubmit { in_port, table })
    }
}

/// Whether a port is given by a field that holds its number.
fn is_field_reference(part: Part<'_>) -> bool {
    let name = part.text.split('[').next().unwrap_or_default();
    let is_field = || words::field(name).is_some() || Field::from_nxm_name(name).is_some();
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
    is_name && ports::reserved(part.text).is_none() && is_field()
}

/// Sending to a port of this number.
fn out_action(part: Part<'_>, number: u16, assumed: &Assumed<'_>) -> Result<Action, FlowError> {
    match number {
        ports::CONTROLLER => Ok(Action::Controller(Box::default())),
        // The packet begins at the first table, as one that has come in.
        ports::TABLE if assumed.is_packet_out() => {
            Ok(Action::Resubmit { in_port: None, table: Some(0) })
        }
        ports::TABLE => {
            let rule = "is for packets that are sent out; a flow has `resubmit(,0)`";
            Err(FlowError::Misplaced { at: part.at(), word: part.short(), rule })
        }
        _ => out_port(part, number).map(Action::Output),
    }
}

fn out_port(part: Part<'_>, number: u16) -> Result<OutPort, FlowError> {
    OutPort::from_number(number).ok_or_else(|| {
        let (at, expected) = (part.at(), "a port from 1 to 65279, or a reserved one to send to");
        FlowError::Value { at, of: "output".to_owned(), expected, found: part.found() }
    })
}
