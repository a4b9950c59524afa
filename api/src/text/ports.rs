//! Ports in text: numbers, reserved names, and the names that only the switch knows.

use std::fmt;

use super::error::FlowError;
use super::part::Part;
use super::value;

/// Who knows the names of a bridge's ports, in both directions.
pub trait PortNames {
    /// The OpenFlow number of the port of this name.
    fn number(&self, name: &str) -> Option<u16>;

    /// The name of the port of this OpenFlow number.
    fn name(&self, number: u16) -> Option<&str>;
}

/// Knows no port: texts use numbers and reserved names alone.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl PortNames for NoNames {
    fn number(&self, _name: &str) -> Option<u16> {
        None
    }

    fn name(&self, _number: u16) -> Option<&str> {
        None
    }
}

/// Numbers and names side by side, as `show` answers them.
impl PortNames for Vec<(u16, String)> {
    fn number(&self, name: &str) -> Option<u16> {
        self.iter().find(|(_, known)| known == name).map(|(number, _)| *number)
    }

    fn name(&self, number: u16) -> Option<&str> {
        self.iter().find(|(known, _)| *known == number).map(|(_, name)| name.as_str())
    }
}

/// The names OpenFlow reserves, of which the first for a number is the one in output.
const RESERVED: [(u16, &str); 10] = [
    (0xfff7, "UNSET"),
    (0xfff8, "IN_PORT"),
    (0xfff9, "TABLE"),
    (0xfffa, "NORMAL"),
    (0xfffb, "FLOOD"),
    (0xfffc, "ALL"),
    (0xfffd, "CONTROLLER"),
    (0xfffe, "LOCAL"),
    (0xffff, "ANY"),
    (0xffff, "NONE"),
];

/// The first table of a packet that is sent out.
pub(super) const TABLE: u16 = 0xfff9;
/// Whoever watches the switch.
pub(super) const CONTROLLER: u16 = 0xfffd;
/// The bridge's own interface.
pub(super) const LOCAL: u16 = 0xfffe;
/// No port: as a filter, any.
pub(super) const ANY: u16 = 0xffff;
/// The port a packet came from.
pub(super) const IN_PORT: u16 = 0xfff8;

/// The number of a reserved name, in whatever case.
pub(super) fn reserved(name: &str) -> Option<u16> {
    let known = RESERVED.iter().find(|(_, reserved)| reserved.eq_ignore_ascii_case(name));
    known.map(|(number, _)| *number)
}

/// Reads a port: a decimal number, a reserved name, or a name that `ports` knows. What stands in
/// double quotes is a name, whatever it looks like.
pub(super) fn parse(part: Part<'_>, of: &str, ports: &dyn PortNames) -> Result<u16, FlowError> {
    if part.text.is_empty() {
        return Err(FlowError::MissingValue { at: part.at(), word: of.to_owned() });
    }
    let named = |name: &str| {
        let unknown = || FlowError::UnknownPort { at: part.at(), name: part.short() };
        ports.number(name).ok_or_else(unknown)
    };
    match part.unquoted() {
        Some(name) => named(&name?),
        None if part.text.bytes().all(|byte| byte.is_ascii_digit()) => value::fit(part, of),
        None => reserved(part.text).map_or_else(|| named(part.text), Ok),
    }
}

/// Prints a port: its reserved name, its name if `ports` knows one, or its number.
pub(super) struct Port<'a> {
    pub(super) number: u16,
    pub(super) ports: &'a dyn PortNames,
}

impl fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((_, name)) = RESERVED.iter().find(|(number, _)| *number == self.number) {
            return f.write_str(name);
        }
        match self.ports.name(self.number) {
            None => write!(f, "{}", self.number),
            Some(name) if is_plain(name) => f.write_str(name),
            Some(name) => write!(f, "{}", serde_json::Value::from(name)),
        }
    }
}

/// Whether a name is read as one without quotes, in a list too.
fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && reserved(name).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Vec<(u16, String)> {
        [(1, "p1"), (2, "veth-a,b"), (3, "local"), (4, "5"), (5, "\"\\")]
            .map(|(number, name)| (number, name.to_owned()))
            .to_vec()
    }

    fn read(text: &str) -> Result<u16, FlowError> {
        parse(Part::new(text), "output", &ports())
    }

    #[test]
    fn every_name_leads_back() {
        let known = ports();
        for number in (0..10).chain(0xfef0..=0xffff) {
            let text = Port { number, ports: &known }.to_string();
            assert_eq!(read(&text), Ok(number), "{text}");
        }
    }

    #[test]
    fn quotes_make_a_name() {
        assert_eq!(read("local"), Ok(0xfffe));
        assert_eq!(read("\"local\""), Ok(3));
        assert_eq!(read("5"), Ok(5));
        assert_eq!(read("\"5\""), Ok(4));
        assert_eq!(read("p2"), Err(FlowError::UnknownPort { at: 0..2, name: "p2".to_owned() }));
        assert!(matches!(read("\"p1"), Err(FlowError::Syntax { .. })));
        assert!(matches!(read("65536"), Err(FlowError::TooWide { bits: 16, .. })));
        assert!(matches!(read("0x1"), Err(FlowError::UnknownPort { .. })));
    }
}
