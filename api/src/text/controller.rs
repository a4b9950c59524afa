//! `controller(...)`, read and printed.

use std::fmt;

use super::actions;
use super::error::FlowError;
use super::part::{Cursor, Part};
use super::print::Commas;
use super::value::{self, Dotted};
use super::words;
use crate::action::{Controller, PacketInReason};

/// The words that may stand in the parentheses.
const WORDS: [&str; 6] = ["reason", "max_len", "id", "userdata", "pause", "meter_id"];

/// Reads what stands behind `controller:` or in its parentheses: a length alone, or several words.
pub(super) fn parse(part: Option<Part<'_>>) -> Result<Controller, FlowError> {
    let mut controller = Controller::default();
    let Some(part) = part else { return Ok(controller) };
    if part.text.bytes().all(|byte| byte.is_ascii_digit()) {
        controller.max_len = value::fit(part, "max_len")?;
        return Ok(controller);
    }
    let mut cursor = Cursor::new(part);
    while let Some(parameter) = cursor.parameter()? {
        match parameter.name() {
            "reason" => controller.reason = reason(parameter.given()?)?,
            name @ "max_len" => controller.max_len = value::fit(parameter.given()?, name)?,
            name @ "id" => controller.id = value::fit(parameter.given()?, name)?,
            name @ "userdata" => {
                let bytes = parameter.value.map(|bytes| value::hex(bytes, name)).transpose()?;
                controller.userdata = bytes.unwrap_or_default();
            }
            "pause" => {
                parameter.alone()?;
                controller.pause = true;
            }
            "meter_id" => controller.meter = Some(actions::meter(parameter.given()?)?),
            _ => return Err(words::unknown(parameter.word.part, "word", WORDS.into_iter())),
        }
    }
    cursor.end()?;
    Ok(controller)
}

fn reason(part: Part<'_>) -> Result<PacketInReason, FlowError> {
    let known = PacketInReason::ALL.into_iter().find(|reason| reason.name() == part.text);
    known.ok_or_else(|| {
        let expected = "no_match, action, invalid_ttl, action_set, group or packet_out";
        FlowError::Value { at: part.at(), of: "reason".to_owned(), expected, found: part.found() }
    })
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return write!(f, "CONTROLLER:{}", self.max_len);
        }
        f.write_str("controller(")?;
        let mut list = Commas::new(f);
        if self.reason != PacketInReason::default() {
            list.item(format_args!("reason={}", self.reason.name()))?;
        }
        if self.max_len != u16::MAX {
            list.item(format_args!("max_len={}", self.max_len))?;
        }
        if self.id != 0 {
            list.item(format_args!("id={}", self.id))?;
        }
        if !self.userdata.is_empty() {
            list.item(format_args!("userdata={}", Dotted(&self.userdata)))?;
        }
        if self.pause {
            list.item(format_args!("pause"))?;
        }
        if let Some(meter) = self.meter {
            list.item(format_args!("meter_id={meter}"))?;
        }
        f.write_str(")")
    }
}
