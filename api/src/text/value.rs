//! The values of fields, read and printed: numbers, addresses, flags, and their masks.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use packet::MacAddr;

use super::error::FlowError;
use super::part::Part;
use super::ports::{self, Port, PortNames};
use crate::action::Subfield;
use crate::field::{Field, FlagNames, Format, Needs};
use crate::flow::{FlowMod, PortRange, TableId};
use crate::group::Group;

/// A fragment (`Key::NW_FRAG`).
const FRAGMENT: u128 = 1;
/// A fragment that is not the first.
const LATER: u128 = 2;

/// The words for fragments, with value and mask.
const FRAGMENTS: [(&str, u128, u128); 5] = [
    ("no", 0, FRAGMENT),
    ("yes", FRAGMENT, FRAGMENT),
    ("first", FRAGMENT, FRAGMENT | LATER),
    ("later", LATER, LATER),
    ("not_later", 0, LATER),
];

/// Reads a number: decimal, hexadecimal behind `0x`, or negative, which stands for its complement
/// in 64 bits as in OVS. `of` is whose value it is.
pub(super) fn number(part: Part<'_>, of: &str) -> Result<u128, FlowError> {
    let text = part.text;
    let wrong = || FlowError::Value {
        at: part.at(),
        of: of.to_owned(),
        expected: "a number",
        found: part.found(),
    };
    let wide = || too_wide(part, of, 128);
    let decimal = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        _ if digits.is_empty() => Err(wrong()),
        false => Err(wrong()),
        true => match digits.parse::<u64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => digits.parse::<u128>().ok().ok_or_else(wide),
        },
    };
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        return u128::from_str_radix(digits, 16).ok().ok_or_else(wide);
    }
    if let Some(digits) = text.strip_prefix('-') {
        let magnitude =
            u64::try_from(decimal(digits)?).ok().ok_or_else(|| too_wide(part, of, 64))?;
        return Ok(u128::from(magnitude.wrapping_neg()));
    }
    let number = decimal(text)?;
    if text.len() > 1 && text.starts_with('0') {
        return Err(FlowError::LeadingZero { at: part.at(), found: part.found() });
    }
    Ok(number)
}

/// Reads a number that the type holds.
pub(super) fn fit<T: TryFrom<u128>>(part: Part<'_>, of: &str) -> Result<T, FlowError> {
    let bits = u8::try_from(8 * size_of::<T>()).unwrap_or(u8::MAX);
    T::try_from(number(part, of)?).ok().ok_or_else(|| too_wide(part, of, bits))
}

/// Reads a number of at most so many bits.
pub(super) fn bits(part: Part<'_>, of: &str, bits: u8) -> Result<u128, FlowError> {
    let number = number(part, of)?;
    let fits = number.checked_shr(bits.into()).is_none_or(|beyond| beyond == 0);
    if fits { Ok(number) } else { Err(too_wide(part, of, bits)) }
}

/// Reads the number of a group, or of a bucket.
pub(super) fn group(part: Part<'_>, of: &str) -> Result<u32, FlowError> {
    let number = fit::<u32>(part, of)?;
    Some(number).filter(|number| *number <= Group::MAX).ok_or_else(|| {
        let (at, expected) = (part.at(), "a number from 0 to 4294967040");
        FlowError::Value { at, of: of.to_owned(), expected, found: part.found() }
    })
}

/// Reads pairs of hexadecimal digits; points may stand between them.
pub(super) fn hex(part: Part<'_>, of: &str) -> Result<Vec<u8>, FlowError> {
    let wrong = || {
        let (at, expected) = (part.at(), "two hexadecimal digits a byte, as in `0a.ff`");
        FlowError::Value { at, of: of.to_owned(), expected, found: part.found() }
    };
    let mut bytes = Vec::with_capacity(part.text.len() / 2);
    let mut digits = part.text;
    while !digits.is_empty() {
        if let Some(rest) = digits.strip_prefix('.') {
            digits = rest;
            continue;
        }
        let pair = digits.get(..2).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.ok_or_else(wrong)?);
        digits = digits.get(2..).unwrap_or_default();
    }
    Ok(bytes)
}

/// Bytes as `0a.ff`.
pub(super) struct Dotted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Dotted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for byte in self.0 {
            write!(f, "{between}{byte:02x}")?;
            between = ".";
        }
        Ok(())
    }
}

/// Reads the number of a table.
pub(super) fn table(part: Part<'_>, of: &str) -> Result<TableId, FlowError> {
    let digits = part.text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { fit::<u8>(part, of).ok() } else { None };
    number.filter(|number| *number <= FlowMod::MAX_TABLE).ok_or_else(|| {
        let (at, expected) = (part.at(), "a table from 0 to 253");
        FlowError::Value { at, of: of.to_owned(), expected, found: part.found() }
    })
}

/// `NAME`, or the parts of `NAME[BITS]`.
pub(super) fn split_bits(part: Part<'_>) -> Result<(Part<'_>, Option<Part<'_>>), FlowError> {
    let Some((name, rest)) = part.split_once("[") else { return Ok((part, None)) };
    let last = rest.text.len().saturating_sub(1);
    if !rest.text.ends_with(']') {
        let (at, expected) = (rest.at(), "`[]`, `[n]` or `[a..b]` at the end");
        return Err(FlowError::Syntax { at, expected, found: part.found() });
    }
    Ok((name, Some(rest.slice(0..last)).filter(|bits| !bits.text.is_empty())))
}

/// The bits `n` or `a..b` of a field.
pub(super) fn range(part: Part<'_>, field: Field) -> Result<Subfield, FlowError> {
    let (first, last) = part.split_once("..").unwrap_or((part, part));
    let (first, last) = (fit::<u8>(first, field.name())?, fit::<u8>(last, field.name())?);
    let bits = field.width().min(field.span().bits());
    match last.checked_sub(first) {
        Some(more) if last < bits => Ok(Subfield { field, first, bits: more + 1 }),
        Some(_) => {
            Err(FlowError::NoSuchBits { at: part.at(), field: field.name(), last: bits - 1 })
        }
        None => Err(wrong(part, field, "a range whose first bit is not above its last")),
    }
}

fn too_wide(part: Part<'_>, of: &str, bits: u8) -> FlowError {
    FlowError::TooWide { at: part.at(), of: of.to_owned(), bits, found: part.found() }
}

/// Reads `VALUE[/MASK]` of a field. The value comes back as zero outside of the mask, and both lie
/// within [`Field::ones`]. Whether the field may have a mask is for the caller to say.
pub(super) fn parse(
    part: Part<'_>,
    field: Field,
    ports: &dyn PortNames,
) -> Result<(u128, u128), FlowError> {
    if part.text.is_empty() {
        return Err(FlowError::MissingValue { at: part.at(), word: field.name().to_owned() });
    }
    let (value, mask) = match field.format() {
        Format::Frag => fragment(part, field)?,
        Format::Flags(names) => flags(part, field, names)?,
        Format::PacketType => (packet_type(part, field)?, field.ones()),
        _ => match part.split_once("/") {
            None => (whole(part, field, ports)?, field.span().ones()),
            Some((value, mask)) => masked(value, mask, field)?,
        },
    };
    let beyond = (value & mask) & !field.ones();
    if beyond != 0 && beyond & !field.span().ones() == 0 {
        // The ECN bits of `nw_tos`, which OVS cuts off.
        let expected = "a multiple of 4, the ECN bits being `nw_ecn`";
        return Err(wrong(part, field, expected));
    }
    if beyond != 0 {
        return Err(too_wide(part, field.name(), field.span().bits()));
    }
    Ok((value & mask, mask & field.ones()))
}

fn wrong(part: Part<'_>, field: Field, expected: &'static str) -> FlowError {
    FlowError::Value { at: part.at(), of: field.name().to_owned(), expected, found: part.found() }
}

fn whole(part: Part<'_>, field: Field, ports: &dyn PortNames) -> Result<u128, FlowError> {
    match field.format() {
        Format::Ethernet => mac(part, field),
        Format::Ipv4 => ipv4(part, field),
        Format::Ipv6 => ipv6(part, field),
        Format::Port => ports::parse(part, field.name(), ports).map(u128::from),
        _ => bits(part, field.name(), field.span().bits()),
    }
}

fn masked(value: Part<'_>, mask: Part<'_>, field: Field) -> Result<(u128, u128), FlowError> {
    let width = field.span().bits();
    let prefix = |length: Part<'_>| {
        let length = number(length, field.name())?;
        let rest = u8::try_from(length).ok().and_then(|length| width.checked_sub(length));
        let expected = "a prefix no longer than the address";
        let rest = rest.ok_or_else(|| wrong(mask, field, expected))?;
        let ones = field.span().ones();
        Ok(ones.checked_shl(rest.into()).unwrap_or(0) & ones)
    };
    Ok(match field.format() {
        Format::Ethernet => (mac(value, field)?, mac(mask, field)?),
        Format::Ipv4 if mask.text.contains('.') => (ipv4(value, field)?, ipv4(mask, field)?),
        Format::Ipv4 => (ipv4(value, field)?, prefix(mask)?),
        Format::Ipv6 if mask.text.contains(':') => (ipv6(value, field)?, ipv6(mask, field)?),
        Format::Ipv6 => (ipv6(value, field)?, prefix(mask)?),
        _ => (bits(value, field.name(), width)?, bits(mask, field.name(), width)?),
    })
}

fn mac(part: Part<'_>, field: Field) -> Result<u128, FlowError> {
    let mac = MacAddr::from_str(part.text).ok().map(|mac| mac.to_u64().into());
    mac.ok_or_else(|| wrong(part, field, "an Ethernet address such as 02:00:00:00:00:01"))
}

fn ipv4(part: Part<'_>, field: Field) -> Result<u128, FlowError> {
    let address = Ipv4Addr::from_str(part.text).ok().map(|address| address.to_bits().into());
    address.ok_or_else(|| wrong(part, field, "an IPv4 address such as 10.0.0.1 or 10.0.0.0/8"))
}

fn ipv6(part: Part<'_>, field: Field) -> Result<u128, FlowError> {
    let address = Ipv6Addr::from_str(part.text).ok().map(Ipv6Addr::to_bits);
    address.ok_or_else(|| wrong(part, field, "an IPv6 address such as fd00::1 or fd00::/64"))
}

/// Reads `(NAMESPACE,TYPE)`.
fn packet_type(part: Part<'_>, field: Field) -> Result<u128, FlowError> {
    let inside = part.text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inside = inside.map(|inside| part.slice(1..1 + inside.len()));
    let both = inside.and_then(|inside| inside.split_once(","));
    let expected = "`(NAMESPACE,TYPE)`, as in `(1,0x800)`";
    let (space, kind) = both.ok_or_else(|| wrong(part, field, expected))?;
    Ok(bits(space, field.name(), 16)? << 16 | bits(kind, field.name(), 16)?)
}

/// Reads `FIRST-LAST`, transport ports from one to another; `None` if `part` is nothing of the kind.
pub(super) fn port_range(part: Part<'_>, field: Field) -> Result<Option<PortRange>, FlowError> {
    let is_port = matches!(field.needs(), Needs::Tcp | Needs::Udp | Needs::Sctp)
        && field.format() == Format::Decimal;
    let bounds = || part.split_once("-").filter(|(first, _)| !first.text.is_empty());
    let Some((first, last)) = is_port.then(bounds).flatten() else { return Ok(None) };
    let range = PortRange { first: fit(first, field.name())?, last: fit(last, field.name())? };
    match range.first <= range.last {
        true => Ok(Some(range)),
        false => Err(wrong(part, field, "a range whose first port is not above its last")),
    }
}

fn fragment(part: Part<'_>, field: Field) -> Result<(u128, u128), FlowError> {
    let word = FRAGMENTS.iter().find(|(word, ..)| *word == part.text);
    let expected = "no, yes, first, later or not_later";
    word.map(|&(_, value, mask)| (value, mask)).ok_or_else(|| wrong(part, field, expected))
}

/// Reads `+syn-ack` (these flags so, the others whatever), `syn|ack` (these flags alone) or a
/// number.
fn flags(
    part: Part<'_>,
    field: Field,
    names: &'static FlagNames,
) -> Result<(u128, u128), FlowError> {
    let bit = |name: Part<'_>| {
        let known = names.names.iter().position(|flag| *flag == name.text);
        known.map(|bit| 1u128 << bit).ok_or_else(|| wrong(name, field, names.list))
    };
    match part.text.bytes().next() {
        Some(b'+' | b'-') => signed_flags(part, field, bit),
        Some(b'0'..=b'9') => numbered_flags(part, field),
        _ => {
            let (mut value, mut rest) = (0, Some(part));
            while let Some(list) = rest {
                let split = list.split_once("|");
                value |= bit(split.map_or(list, |(name, _)| name))?;
                rest = split.map(|(_, others)| others);
            }
            Ok((value, field.ones()))
        }
    }
}

fn signed_flags<'a>(
    part: Part<'a>,
    field: Field,
    bit: impl Fn(Part<'a>) -> Result<u128, FlowError>,
) -> Result<(u128, u128), FlowError> {
    let (mut value, mut mask) = (0, 0);
    let mut rest = part;
    while !rest.text.is_empty() {
        let end = rest.text[1..].find(['+', '-']).map_or(rest.text.len(), |end| end + 1);
        let name = rest.slice(1..end);
        let bit = bit(name)?;
        if mask & bit != 0 {
            return Err(wrong(name, field, "each flag once"));
        }
        mask |= bit;
        value |= if rest.text.starts_with('+') { bit } else { 0 };
        rest = rest.slice(end..rest.text.len());
    }
    Ok((value, mask))
}

/// A number that has no bits but those with a name.
fn numbered_flags(part: Part<'_>, field: Field) -> Result<(u128, u128), FlowError> {
    let (name, ones) = (field.name(), field.ones());
    let width = u8::try_from(ones.count_ones()).unwrap_or(u8::MAX);
    match part.split_once("/") {
        None => Ok((bits(part, name, width)?, ones)),
        Some((value, mask)) => Ok((bits(value, name, width)?, bits(mask, name, width)?)),
    }
}

/// A value of a field under a mask, as a match prints it; without its mask if that is all ones.
pub(super) struct Matched<'a> {
    pub(super) field: Field,
    pub(super) value: u128,
    pub(super) mask: u128,
    pub(super) ports: &'a dyn PortNames,
}

impl fmt::Display for Matched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, mask, .. } = *self;
        let exact = mask == field.ones();
        match field.format() {
            Format::Frag => {
                match FRAGMENTS.iter().find(|known| (known.1, known.2) == (value, mask)) {
                    Some((word, ..)) => f.write_str(word),
                    None => write!(f, "{value:#x}/{mask:#x}"),
                }
            }
            Format::Flags(names) if exact => fmt_exact_flags(f, names, value),
            Format::Flags(names) => fmt_signed_flags(f, names, value, mask),
            Format::PacketType => {
                let (space, kind) = (Short(value >> 16), Short(value & 0xffff));
                write!(f, "({space},{kind})")
            }
            Format::Hex if field == Field::Ipv6Label && exact => write!(f, "{value:#07x}"),
            Format::Hex if field == Field::Ipv6Label => write!(f, "{value:#07x}/{mask:#07x}"),
            Format::Decimal if !exact => write!(f, "{value:#x}/{mask:#x}"),
            _ => self.fmt_common(f),
        }
    }
}

impl Matched<'_> {
    /// What matches and actions print alike.
    fn fmt_common(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, mask, ports } = *self;
        let exact = mask == field.ones();
        let low_64 = |word: u128| MacAddr::from_u64(u64::try_from(word).unwrap_or(0));
        match field.format() {
            Format::Ethernet => {
                write!(f, "{}", low_64(value))?;
                if exact { Ok(()) } else { write!(f, "/{}", low_64(mask)) }
            }
            Format::Ipv4 => {
                let address = |word: u128| Ipv4Addr::from_bits(u32::try_from(word).unwrap_or(0));
                write!(f, "{}", address(value))?;
                fmt_prefix(f, mask, 32, |f| write!(f, "{}", address(mask)))
            }
            Format::Ipv6 => {
                fmt_ipv6(f, value)?;
                fmt_prefix(f, mask, 128, |f| fmt_ipv6(f, mask))
            }
            Format::Port if exact => {
                let number = u16::try_from(value).unwrap_or(0);
                write!(f, "{}", Port { number, ports })
            }
            Format::Hex => {
                write!(f, "{}", Hex(value))?;
                if exact { Ok(()) } else { write!(f, "/{}", Hex(mask)) }
            }
            _ => {
                write!(f, "{value}")?;
                if exact { Ok(()) } else { write!(f, "/{mask:#x}") }
            }
        }
    }
}

/// The same as an action prints it, which differs for masked decimal numbers and flow labels.
pub(super) struct Written<'a>(pub(super) Matched<'a>);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_common(f)
    }
}

/// A number as C's `%#x` prints it: `0`, but `0x5`.
pub(super) struct Hex(pub(super) u128);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0") } else { write!(f, "{:#x}", self.0) }
    }
}

/// A number that is hexadecimal from 10 on.
struct Short(u128);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10 { write!(f, "{}", self.0) } else { write!(f, "{:#x}", self.0) }
    }
}

/// An address's mask: nothing if it is all ones, a length if it is a prefix, else an address.
fn fmt_prefix(
    f: &mut fmt::Formatter<'_>,
    mask: u128,
    width: u32,
    address: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    let length = (mask << (128 - width)).leading_ones();
    let is_prefix = mask.count_ones() == length;
    match length {
        _ if is_prefix && length == width => Ok(()),
        _ if is_prefix => write!(f, "/{length}"),
        _ => {
            f.write_str("/")?;
            address(f)
        }
    }
}

/// An IPv6 address as `inet_ntop` prints it: `::1.2.3.4` where Rust says `::102:304`.
pub(super) fn fmt_ipv6(f: &mut fmt::Formatter<'_>, bits: u128) -> fmt::Result {
    match u32::try_from(bits) {
        Ok(low) if low > 0xffff => write!(f, "::{}", Ipv4Addr::from_bits(low)),
        _ => write!(f, "{}", Ipv6Addr::from_bits(bits)),
    }
}

/// The flags that are matched either way: `+syn-ack`.
fn fmt_signed_flags(
    f: &mut fmt::Formatter<'_>,
    names: &FlagNames,
    value: u128,
    mask: u128,
) -> fmt::Result {
    for (name, bit) in bits_of(names).filter(|(_, bit)| mask & bit != 0) {
        write!(f, "{}{name}", if value & bit != 0 { '+' } else { '-' })?;
    }
    Ok(())
}

/// The flags that are set, the others not being so: `syn|ack`.
fn fmt_exact_flags(f: &mut fmt::Formatter<'_>, names: &FlagNames, value: u128) -> fmt::Result {
    if value == 0 {
        return f.write_str("0");
    }
    let mut between = "";
    for (name, _) in bits_of(names).filter(|(_, bit)| value & bit != 0) {
        write!(f, "{between}{name}")?;
        between = "|";
    }
    Ok(())
}

/// Flags by name, each with its bit.
fn bits_of(names: &FlagNames) -> impl Iterator<Item = (&'static str, u128)> + use<> {
    names.names.iter().enumerate().map(|(at, name)| (*name, 1u128 << at))
}
