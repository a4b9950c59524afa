//! Lines of FTP's control connection that announce another one: `PORT`, `EPRT`, and the answers 227
//! and 229 (RFC 959 §4.1.2, RFC 1123 §4.1.2.6, RFC 2428).
//!
//! Read as strictly as a server might: what is not understood here announces nothing, and what it
//! meant to open stays closed.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use crate::Direction;

/// What one line says, as far as connections care.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Line {
    /// That another connection will come.
    Announces(Announcement),
    /// Perhaps that, were it all there.
    Cut,
    /// Anything else.
    Other,
}

/// Where a connection will come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Announcement {
    /// The address; `None` is: that of the sender.
    pub(crate) address: Option<IpAddr>,
    /// The port; never 0.
    pub(crate) port: u16,
    /// How both are written.
    pub(crate) form: Form,
    /// Where in the line.
    pub(crate) place: Range<usize>,
}

/// How address and port are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// `h1,h2,h3,h4,p1,p2`.
    Numbers,
    /// `|1|address|port|`, with this delimiter.
    Extended(u8),
    /// `|||port|`, with this delimiter.
    PortOnly(u8),
}

/// The commands and answers that announce, by who says them.
const fn words(direction: Direction) -> [(&'static [u8; 4], Read); 2] {
    match direction {
        Direction::Original => [(b"PORT", port), (b"EPRT", eprt)],
        Direction::Reply => [(b"227 ", entering), (b"229 ", entering_extended)],
    }
}

/// Reads what follows the word.
type Read = fn(&[u8]) -> Option<Announcement>;

/// Reads the line at the head of `bytes`; answers also how long it is, with what ends it. It goes all
/// the way if nothing does.
pub(crate) fn read(bytes: &[u8], direction: Direction) -> (Line, usize) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let is_cut = words(direction).iter().any(|(word, _)| {
            let len = bytes.len().min(word.len());
            len > 0 && word[..len].eq_ignore_ascii_case(&bytes[..len])
        });
        return (if is_cut { Line::Cut } else { Line::Other }, bytes.len());
    };
    let line = bytes[..end].trim_ascii_end();
    let announced = words(direction).iter().find_map(|(word, read)| {
        let (start, rest) = line.split_first_chunk::<4>()?;
        let mut announcement = start.eq_ignore_ascii_case(*word).then(|| read(rest))??;
        let Range { start, end } = announcement.place;
        announcement.place = start + word.len()..end + word.len();
        Some(announcement)
    });
    (announced.filter(|it| it.port != 0).map_or(Line::Other, Line::Announces), end + 1)
}

/// `PORT h1,h2,h3,h4,p1,p2`
fn port(rest: &[u8]) -> Option<Announcement> {
    let start = argument(rest)?;
    numbers(rest, start).filter(|it| it.place.end == rest.len())
}

/// `EPRT |1|address|port|`
fn eprt(rest: &[u8]) -> Option<Announcement> {
    let start = argument(rest)?;
    let [delimiter, fields @ ..] = &rest[start..] else { return None };
    let delimiter = delimiter_of(*delimiter)?;
    let mut fields = fields.split(|byte| *byte == delimiter);
    let mut field = || std::str::from_utf8(fields.next()?).ok();
    let (family, address, port, behind) = (field()?, field()?, field()?, field()?);
    let address: IpAddr = address.parse().ok()?;
    let fits = family == if address.is_ipv4() { "1" } else { "2" };
    let port = decimal(port.as_bytes())?;
    (fits && behind.is_empty() && fields.next().is_none()).then_some(Announcement {
        address: Some(address),
        port,
        form: Form::Extended(delimiter),
        place: start..rest.len(),
    })
}

/// `227 Entering Passive Mode (h1,h2,h3,h4,p1,p2)`: of the words around the numbers nothing is sure
/// (RFC 1123 §4.1.2.6).
fn entering(rest: &[u8]) -> Option<Announcement> {
    let start = rest.iter().position(u8::is_ascii_digit)?;
    let goes_on = |byte: &u8| byte.is_ascii_digit() || *byte == b',';
    numbers(rest, start).filter(|it| !rest.get(it.place.end).is_some_and(goes_on))
}

/// `229 Entering Extended Passive Mode (|||port|)`
fn entering_extended(rest: &[u8]) -> Option<Announcement> {
    let start = rest.iter().position(|byte| *byte == b'(')? + 1;
    let delimiter = delimiter_of(*rest.get(start)?)?;
    let fields = rest[start..].strip_prefix(&[delimiter; 3])?;
    let len = fields.iter().position(|byte| *byte == delimiter)?;
    let end = start + 3 + len + 1;
    (rest.get(end) == Some(&b')')).then_some(())?;
    let port = decimal(&fields[..len])?;
    Some(Announcement { address: None, port, form: Form::PortOnly(delimiter), place: start..end })
}

/// Where the argument begins behind a command.
fn argument(rest: &[u8]) -> Option<usize> {
    let start = rest.iter().position(|byte| *byte != b' ')?;
    (start > 0).then_some(start)
}

/// A delimiter that RFC 2428 §2 allows and that is none of a number's or an address's.
fn delimiter_of(byte: u8) -> Option<u8> {
    (byte.is_ascii_graphic() && !byte.is_ascii_hexdigit() && !b":.".contains(&byte)).then_some(byte)
}

/// Six numbers with commas between them.
fn numbers(bytes: &[u8], start: usize) -> Option<Announcement> {
    let (mut numbers, mut at) = ([0; 6], start);
    for (n, number) in numbers.iter_mut().enumerate() {
        if n > 0 {
            (bytes.get(at) == Some(&b',')).then_some(())?;
            at += 1;
        }
        let digits = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *number = u8::try_from(decimal(&bytes[at..at + digits])?).ok()?;
        at += digits;
    }
    let [a, b, c, d, high, low] = numbers;
    Some(Announcement {
        address: Some(Ipv4Addr::new(a, b, c, d).into()),
        port: u16::from_be_bytes([high, low]),
        form: Form::Numbers,
        place: start..at,
    })
}

/// A number of sixteen bits; no sign, no more digits than that takes.
fn decimal(digits: &[u8]) -> Option<u16> {
    let is_one = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_one)?.parse().ok()
}

/// Address and port as a line says them.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Text {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Text {
    /// `|2|`, the longest address, `|65535|`.
    const MOST: usize = 3 + 39 + 7;

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(Self::MOST)]
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.as_bytes()).fmt(f)
    }
}

impl Form {
    /// This address and port in this form; `None` if it has no place for an address of that family.
    pub(crate) fn write(self, address: IpAddr, port: u16) -> Option<Text> {
        let mut bytes = [0; Text::MOST];
        let mut rest = bytes.as_mut_slice();
        let written = match (self, address) {
            (Self::Numbers, IpAddr::V4(address)) => {
                let ([a, b, c, d], [high, low]) = (address.octets(), port.to_be_bytes());
                write!(rest, "{a},{b},{c},{d},{high},{low}")
            }
            (Self::Numbers, IpAddr::V6(_)) => return None,
            (Self::Extended(delimiter), _) => {
                let (by, family) = (char::from(delimiter), if address.is_ipv4() { 1 } else { 2 });
                write!(rest, "{by}{family}{by}{address}{by}{port}{by}")
            }
            (Self::PortOnly(delimiter), _) => {
                let by = char::from(delimiter);
                write!(rest, "{by}{by}{by}{port}{by}")
            }
        };
        written.ok()?;
        let len = Text::MOST - rest.len();
        Some(Text { bytes, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn says(line: &str, direction: Direction) -> Option<(Option<IpAddr>, u16, String)> {
        match read(line.as_bytes(), direction) {
            (Line::Announces(it), len) => {
                assert_eq!(len, line.len());
                Some((it.address, it.port, line[it.place].to_owned()))
            }
            (Line::Other, _) => None,
            (Line::Cut, _) => panic!("{line:?} is all there"),
        }
    }

    #[test]
    fn commands_announce_where_the_server_will_come() {
        let said = |line| says(line, Direction::Original);
        let v4 = |address: [u8; 4], port, text: &str| {
            Some((Some(IpAddr::from(address)), port, text.to_owned()))
        };
        assert_eq!(said("PORT 10,0,0,1,4,1\r\n"), v4([10, 0, 0, 1], 1025, "10,0,0,1,4,1"));
        assert_eq!(said("port  10,0,0,001,4,1 \n"), v4([10, 0, 0, 1], 1025, "10,0,0,001,4,1"));
        let eprt = "EPRT |1|132.235.1.2|6275|\r\n";
        assert_eq!(said(eprt), v4([132, 235, 1, 2], 6275, "|1|132.235.1.2|6275|"));
        let (address, port, _) = said("eprt !2!1080::8:800:200c:417a!5282!\r\n").unwrap();
        assert_eq!((address, port), (Some("1080::8:800:200c:417a".parse().unwrap()), 5282));
    }

    #[test]
    fn answers_announce_where_the_client_may_come() {
        let said = |line| says(line, Direction::Reply);
        for line in [
            "227 Entering Passive Mode (192,0,2,1,200,10).\r\n",
            "227 =192,0,2,1,200,10\r\n",
            "227 192,0,2,1,200,10\n",
        ] {
            let (address, port, text) = said(line).unwrap();
            assert_eq!((address, port), (Some([192, 0, 2, 1].into()), 51_210), "{line}");
            assert_eq!(text, "192,0,2,1,200,10");
        }
        let extended = said("229 Entering Extended Passive Mode (|||6446|)\r\n");
        assert_eq!(extended, Some((None, 6446, "|||6446|".to_owned())));
    }

    #[test]
    fn what_is_not_understood_announces_nothing() {
        let commands = [
            "PORT 10,0,0,1,4\r\n",
            "PORT 10,0,0,1,4,1,7\r\n",
            "PORT 10,0,0,1,4,1 x\r\n",
            "PORT 10,0,0,256,4,1\r\n",
            "PORT 10,0,0,1,0,0\r\n",
            "PORT 10,0,0,1,+4,1\r\n",
            "PORT10,0,0,1,4,1\r\n",
            "XPORT 10,0,0,1,4,1\r\n",
            "EPRT |1|10.0.0.1|6275\r\n",
            "EPRT |2|10.0.0.1|6275|\r\n",
            "EPRT |1|fd00::1|6275|\r\n",
            "EPRT |1|10.0.0.1|66275|\r\n",
            "EPRT |1|10.0.0.1|6275|x\r\n",
            "EPRT |||6275|\r\n",
            "EPRT 1110.0.0.1162751\r\n",
            "227 Entering Passive Mode (192,0,2,1,200,10)\r\n",
            "\r\n",
            "PORT\r\n",
            "PORT \r\n",
        ];
        for line in commands {
            assert_eq!(says(line, Direction::Original), None, "{line:?}");
        }
        let answers = [
            "227-Entering Passive Mode (192,0,2,1,200,10)\r\n",
            "227 Entering Passive Mode\r\n",
            "227 (192,0,2,1,200,10,3)\r\n",
            "227 (192,0,2,1,200,1000)\r\n",
            "229 (|||0|)\r\n",
            "229 (||1|6446|)\r\n",
            "229 (|1|192.0.2.1|6446|)\r\n",
            "229 (|||6446|\r\n",
            "229 |||6446|\r\n",
            "PORT 10,0,0,1,4,1\r\n",
        ];
        for line in answers {
            assert_eq!(says(line, Direction::Reply), None, "{line:?}");
        }
    }

    #[test]
    fn a_line_is_cut_if_it_might_announce() {
        let is_cut = |text: &str, direction| read(text.as_bytes(), direction).0 == Line::Cut;
        for text in ["P", "po", "EPRT", "PORT 10,0", "PORT 10,0,0,1,4,1", "PORT 10,0,0,1,4,1\r"] {
            assert!(is_cut(text, Direction::Original), "{text:?}");
        }
        for text in ["", "PASS", "USER x", "XPORT", "227 "] {
            assert!(!is_cut(text, Direction::Original), "{text:?}");
        }
        assert!(is_cut("227 Entering", Direction::Reply));
        assert!(!is_cut("220 Welcome", Direction::Reply));
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..120), word in 0..4usize) {
            for direction in [Direction::Original, Direction::Reply] {
                let words = words(direction).map(|(word, _)| word.to_vec());
                let mut line = words.get(word).cloned().unwrap_or_default();
                line.extend(&bytes);
                let (said, len) = read(&line, direction);
                prop_assert!(len <= line.len());
                if let Line::Announces(it) = said {
                    prop_assert!(it.place.start < it.place.end && it.place.end < len);
                }
            }
        }

        /// What is close to a line reads like one or not at all; nothing is read from outside of it.
        #[test]
        fn what_is_written_is_read(
            address in any_address(),
            port in 1..=u16::MAX,
            by in prop::sample::select(b"|!#~-".to_vec()),
        ) {
            let cases = [
                (Form::Numbers, "PORT ", "\r\n", Direction::Original),
                (Form::Extended(by), "EPRT ", "\r\n", Direction::Original),
                (Form::Numbers, "227 Entering Passive Mode (", ").\r\n", Direction::Reply),
                (Form::PortOnly(by), "229 Extended (", ")\r\n", Direction::Reply),
            ];
            for (form, head, tail, direction) in cases {
                let Some(text) = form.write(address, port) else {
                    prop_assert!(form == Form::Numbers && address.is_ipv6());
                    continue;
                };
                let line = [head.as_bytes(), text.as_bytes(), tail.as_bytes()].concat();
                let says = if matches!(form, Form::PortOnly(_)) { None } else { Some(address) };
                let place = head.len()..head.len() + text.as_bytes().len();
                let expected = Announcement { address: says, port, form, place };
                prop_assert_eq!(read(&line, direction), (Line::Announces(expected), line.len()));
            }
        }
    }
}
