//! `learn(...)`, read and printed.

use std::fmt;

use super::actions::{arrow, bit, subfield};
use super::assumed::Assumed;
use super::error::FlowError;
use super::part::{Cursor, Parameter, Part};
use super::ports::PortNames;
use super::print::{Bits, Commas, Printed};
use super::value::{self, Hex, Matched, Written};
use super::words;
use crate::action::{Learn, LearnSource, LearnSpec, Subfield};
use crate::field::{Field, Format};
use crate::flow::FlowMod;

/// The words that may stand in the parentheses, besides fields.
const WORDS: [&str; 13] = [
    "table",
    "idle_timeout",
    "hard_timeout",
    "fin_idle_timeout",
    "fin_hard_timeout",
    "priority",
    "cookie",
    "send_flow_rem",
    "delete_learned",
    "limit",
    "result_dst",
    "load",
    "output",
];

/// Reads what stands in the parentheses; `assumed` is what holds where the action stands.
pub(super) fn parse(
    part: Option<Part<'_>>,
    assumed: &Assumed<'_>,
    ports: &dyn PortNames,
) -> Result<Learn, FlowError> {
    let mut learn = Learn::default();
    let Some(part) = part else { return Ok(learn) };
    let mut cursor = Cursor::new(part);
    while let Some(parameter) = cursor.parameter()? {
        let name = parameter.name();
        match name {
            "table" => learn.table = value::table(parameter.given()?, name)?,
            "idle_timeout" => learn.idle_timeout = value::fit(parameter.given()?, name)?,
            "hard_timeout" => learn.hard_timeout = value::fit(parameter.given()?, name)?,
            "fin_idle_timeout" => learn.fin_idle_timeout = value::fit(parameter.given()?, name)?,
            "fin_hard_timeout" => learn.fin_hard_timeout = value::fit(parameter.given()?, name)?,
            "priority" => learn.priority = value::fit(parameter.given()?, name)?,
            "cookie" => learn.cookie = value::fit(parameter.given()?, name)?,
            "limit" => learn.limit = value::fit(parameter.given()?, name)?,
            "result_dst" => learn.result_dst = Some(bit(parameter.given()?, assumed)?),
            "send_flow_rem" => {
                parameter.alone()?;
                learn.send_flow_rem = true;
            }
            "delete_learned" => {
                parameter.alone()?;
                learn.delete_learned = true;
            }
            _ => learn.specs.push(spec(parameter, assumed, ports)?),
        }
    }
    cursor.end()?;
    Ok(learn)
}

/// Reads one thing that the learned flow matches or does.
fn spec(
    parameter: Parameter<'_>,
    assumed: &Assumed<'_>,
    ports: &dyn PortNames,
) -> Result<LearnSpec, FlowError> {
    match parameter.name() {
        "output" => Ok(LearnSpec::Output(subfield(parameter.given()?, assumed)?)),
        "load" => {
            let (from, to) = arrow(parameter.given()?)?;
            let dst = subfield(to, assumed)?;
            let src = match is_number(from) {
                true => LearnSource::Value(value::bits(from, dst.field.name(), dst.bits)?),
                false => LearnSource::Field(subfield(from, assumed)?),
            };
            Ok(LearnSpec::Load { dst, src })
        }
        _ => matched(parameter, assumed, ports),
    }
}

/// `FIELD`, `FIELD=FIELD` or `FIELD=VALUE`.
fn matched(
    parameter: Parameter<'_>,
    assumed: &Assumed<'_>,
    ports: &dyn PortNames,
) -> Result<LearnSpec, FlowError> {
    let word = parameter.word.part;
    let (name, _) = value::split_bits(word)?;
    if words::field(name.text).is_none() && Field::from_nxm_name(name.text).is_none() {
        let known = WORDS.iter().copied().chain(words::field_names());
        return Err(words::not_yet(name).unwrap_or_else(|| words::unknown(name, "word", known)));
    }
    let dst = subfield(word, assumed)?;
    let Some(given) = parameter.value else {
        return Ok(LearnSpec::Match { dst, src: LearnSource::Field(dst) });
    };
    let given = Parameter { value: Some(given), ..parameter }.given()?;
    let (name, _) = value::split_bits(given)?;
    if words::field(name.text).is_some() || Field::from_nxm_name(name.text).is_some() {
        let src = LearnSource::Field(subfield(given, assumed)?);
        return Ok(LearnSpec::Match { dst, src });
    }
    let (dst, value) = match dst.is_whole() {
        true => whole(given, dst, ports)?,
        false => (dst, value::bits(given, word.text, dst.bits)?),
    };
    Ok(LearnSpec::Match { dst, src: LearnSource::Value(value) })
}

/// A constant for all of a field, in the field's own form.
fn whole(
    part: Part<'_>,
    dst: Subfield,
    ports: &dyn PortNames,
) -> Result<(Subfield, u128), FlowError> {
    let field = dst.field;
    let wrong = |expected| FlowError::Value {
        at: part.at(),
        of: field.name().to_owned(),
        expected,
        found: part.found(),
    };
    let (value, mask) = value::parse(part, field, ports)?;
    match field {
        // The bit that says there is a tag is not part of what is written to the field.
        Field::VlanVid if value & 0x1000 != 0 && mask == field.ones() => {
            Ok((Subfield { field: Field::VlanTci, first: 0, bits: 13 }, value))
        }
        Field::VlanVid => Err(wrong("a VID with the presence bit 0x1000, without a mask")),
        // Two bits, of which the second is only set together with the first.
        Field::IpFrag => match (value, mask) {
            (0, 1) => Ok((dst, 0)),
            (1, 3) => Ok((dst, 1)),
            (2, 2) => Ok((dst, 3)),
            _ => Err(wrong("no, first or later")),
        },
        _ if mask != field.ones() => Err(wrong("a value without a mask")),
        _ => Ok((dst, value)),
    }
}

fn is_number(part: Part<'_>) -> bool {
    part.text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}

impl fmt::Display for Printed<'_, Learn> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let learn = self.what;
        f.write_str("learn(")?;
        let mut list = Commas::new(f);
        list.item(format_args!("table={}", learn.table))?;
        for (name, seconds) in [
            ("idle_timeout", learn.idle_timeout),
            ("hard_timeout", learn.hard_timeout),
            ("fin_idle_timeout", learn.fin_idle_timeout),
            ("fin_hard_timeout", learn.fin_hard_timeout),
        ] {
            if seconds != 0 {
                list.item(format_args!("{name}={seconds}"))?;
            }
        }
        if learn.priority != FlowMod::DEFAULT_PRIORITY {
            list.item(format_args!("priority={}", learn.priority))?;
        }
        if learn.send_flow_rem {
            list.item(format_args!("send_flow_rem"))?;
        }
        if learn.delete_learned {
            list.item(format_args!("delete_learned"))?;
        }
        if learn.cookie != 0 {
            list.item(format_args!("cookie={:#x}", learn.cookie))?;
        }
        if learn.limit != 0 {
            list.item(format_args!("limit={}", learn.limit))?;
        }
        if let Some(dst) = learn.result_dst {
            list.item(format_args!("result_dst={}", Bits(dst)))?;
        }
        for spec in &learn.specs {
            list.item(format_args!("{}", Printed { what: spec, style: self.style }))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Printed<'_, LearnSpec> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.what {
            LearnSpec::Match { dst, src: LearnSource::Field(src) } if src == dst => {
                write!(f, "{}", Learned(dst))
            }
            LearnSpec::Match { dst, src: LearnSource::Field(src) } => {
                write!(f, "{}={}", Learned(dst), Learned(src))
            }
            LearnSpec::Match { dst, src: LearnSource::Value(value) } if dst.is_whole() => {
                write!(f, "{}=", dst.field)?;
                fmt_whole(f, self, dst.field, value)
            }
            LearnSpec::Match { dst, src: LearnSource::Value(value) } => {
                write!(f, "{}={}", Bits(dst), Hex(value))
            }
            LearnSpec::Load { dst, src: LearnSource::Field(src) } => {
                write!(f, "load:{}->{}", Learned(src), Learned(dst))
            }
            LearnSpec::Load { dst, src: LearnSource::Value(value) } => {
                write!(f, "load:{}->{}", Hex(value), Learned(dst))
            }
            LearnSpec::Output(src) => write!(f, "output:{}", Learned(src)),
        }
    }
}

/// A constant for all of a field.
fn fmt_whole(
    f: &mut fmt::Formatter<'_>,
    printed: &Printed<'_, LearnSpec>,
    field: Field,
    value: u128,
) -> fmt::Result {
    let (ports, mask) = (printed.style.ports, field.ones());
    match (field, value) {
        (Field::IpFrag, 0) => f.write_str("no"),
        (Field::IpFrag, 1) => f.write_str("first"),
        (Field::IpFrag, _) => f.write_str("later"),
        // Which a match prints otherwise.
        (Field::CtZone, _) => write!(f, "{}", Hex(value)),
        _ if matches!(field.format(), Format::Flags(_) | Format::PacketType) => {
            write!(f, "{}", Matched { field, value, mask, ports })
        }
        _ => write!(f, "{}", Written(Matched { field, value, mask, ports })),
    }
}

/// A part of a field, with empty brackets for all of what a key holds of it.
struct Learned(Subfield);

impl fmt::Display for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_whole() {
            true => write!(f, "{}[]", self.0.field.nxm_name()),
            false => Bits(self.0).fmt(f),
        }
    }
}
