//! `nat(...)`, read.
//!
//! ```text
//! nat   := [ ( src | dst ) [ "=" range ] ] { , persistent | hash | random }
//! range := ADDRESS [ "-" ADDRESS ] [ ":" PORT [ "-" PORT ] ]
//! ```
//!
//! An IPv6 address with ports behind it stands in brackets.

use std::net::IpAddr;
use std::str::FromStr;

use super::super::error::FlowError;
use super::super::part::{Cursor, Parameter, Part};
use super::super::{value, words};
use crate::ct::{Nat, NatChoice, NatRange};

/// The words that may stand in the parentheses.
const WORDS: [&str; 5] = ["src", "dst", "persistent", "hash", "random"];

/// Which end of a connection is translated.
#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Src,
    Dst,
}

/// A `nat(...)` that is being read.
#[derive(Default)]
struct Draft<'t> {
    end: Option<End>,
    range: NatRange,
    /// The first word that says how one is chosen.
    choosing: Option<Part<'t>>,
}

/// Reads what stands in the parentheses.
pub(super) fn parse(part: Part<'_>) -> Result<Nat, FlowError> {
    let mut cursor = Cursor::new(part);
    let mut draft = Draft::default();
    while let Some(parameter) = cursor.parameter()? {
        draft.take(parameter)?;
    }
    cursor.end()?;
    match (draft.end, draft.choosing) {
        (Some(End::Src), _) => Ok(Nat::Src(draft.range)),
        (Some(End::Dst), _) => Ok(Nat::Dst(draft.range)),
        (None, Some(word)) => misplaced(word, "goes with `src` or `dst`"),
        (None, None) => Ok(Nat::Existing),
    }
}

impl<'t> Draft<'t> {
    fn take(&mut self, parameter: Parameter<'t>) -> Result<(), FlowError> {
        let word = parameter.word.part;
        match parameter.name() {
            "src" if self.end == Some(End::Dst) => return misplaced(word, BESIDE_DST),
            "dst" if self.end == Some(End::Src) => return misplaced(word, BESIDE_SRC),
            name @ ("src" | "dst") => {
                self.end = Some(if name == "src" { End::Src } else { End::Dst });
                let range = parameter.value.map(|_| parameter.given()).transpose()?;
                (self.range.addresses, self.range.ports) = match range {
                    Some(range) => range_of(range, name)?,
                    None => (None, None),
                };
            }
            "persistent" => {
                parameter.alone()?;
                self.range.persistent = true;
                self.choosing.get_or_insert(word);
            }
            name => self.choose(name, parameter)?,
        }
        Ok(())
    }

    /// Takes a word for how one is chosen, of which there may be one.
    fn choose(&mut self, name: &str, parameter: Parameter<'t>) -> Result<(), FlowError> {
        let word = parameter.word.part;
        let known = NatChoice::ALL.into_iter().find(|choice| choice.name() == name);
        let choice = known.ok_or_else(|| words::unknown(word, "word", WORDS.into_iter()))?;
        parameter.alone()?;
        match self.range.choice {
            Some(other) if other != choice => {
                misplaced(word, "contradicts the other way to choose")
            }
            _ => {
                self.range.choice = Some(choice);
                self.choosing.get_or_insert(word);
                Ok(())
            }
        }
    }
}

const BESIDE_SRC: &str = "cannot stand beside `src`";
const BESIDE_DST: &str = "cannot stand beside `dst`";

fn misplaced<T>(word: Part<'_>, rule: &'static str) -> Result<T, FlowError> {
    Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule })
}

/// What is said of addresses and of ports.
type Range = (Option<(IpAddr, IpAddr)>, Option<(u16, u16)>);

/// Addresses and ports from one to another.
fn range_of(part: Part<'_>, of: &str) -> Result<Range, FlowError> {
    let wrong = |part: Part<'_>, expected| wrong(part, of, expected);
    let (first, mut rest) = address(part, of)?;
    let mut last = first;
    if rest.text.starts_with('-') {
        (last, rest) = address(rest.slice(1..rest.text.len()), of)?;
    }
    if first.is_ipv4() != last.is_ipv4() {
        return Err(wrong(part, "two addresses of one version of IP"));
    }
    if first > last {
        return Err(wrong(part, "a range whose first address is not above its last"));
    }
    let ports = match rest.text.strip_prefix(':') {
        None if rest.text.is_empty() => None,
        None => return Err(wrong(part, ADDRESSES)),
        Some(_) => Some(ports(rest.slice(1..rest.text.len()), of)?),
    };
    if first.is_unspecified() && (last != first || ports.is_some()) {
        return Err(wrong(part, "the zero address alone, which changes none"));
    }
    Ok((Some((first, last)), ports))
}

const ADDRESSES: &str = "addresses and ports, as in `10.0.0.1-10.0.0.9:80-90` or `[fd00::1]:80`";

/// An address, in brackets or not, and what follows it.
fn address<'t>(part: Part<'t>, of: &str) -> Result<(IpAddr, Part<'t>), FlowError> {
    let wrong = || wrong(part, of, ADDRESSES);
    let inside = part.text.starts_with('[').then(|| part.slice(1..part.text.len()));
    if let Some(inside) = inside {
        let (address, rest) = inside.split_once("]").ok_or_else(wrong)?;
        let address = IpAddr::from_str(address.text).ok().filter(IpAddr::is_ipv6);
        return Ok((address.ok_or_else(wrong)?, rest));
    }
    let is_part = |byte: char| byte.is_ascii_hexdigit() || matches!(byte, '.' | ':');
    let end = part.text.find(|byte| !is_part(byte)).unwrap_or(part.text.len());
    // One colon stands before ports, two are part of an address.
    let colons = part.text[..end].matches(':').count();
    let end = if colons == 1 { part.text.find(':').unwrap_or(end) } else { end };
    let address = IpAddr::from_str(part.slice(0..end).text).ok();
    Ok((address.ok_or_else(wrong)?, part.slice(end..part.text.len())))
}

/// `PORT` or `PORT-PORT`.
fn ports(part: Part<'_>, of: &str) -> Result<(u16, u16), FlowError> {
    let (first, last) = part.split_once("-").unwrap_or((part, part));
    let (first, last) = (port(first, of)?, port(last, of)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(wrong(part, of, "a range whose first port is not above its last")),
    }
}

/// A decimal number from 1 on, 0 being OVS's word for none.
fn port(part: Part<'_>, of: &str) -> Result<u16, FlowError> {
    let digits = !part.text.is_empty() && part.text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { value::fit(part, of)? } else { 0 };
    Some(port).filter(|port| *port != 0).ok_or_else(|| wrong(part, of, "ports from 1 to 65535"))
}

fn wrong(part: Part<'_>, of: &str, expected: &'static str) -> FlowError {
    FlowError::Value { at: part.at(), of: of.to_owned(), expected, found: part.found() }
}
