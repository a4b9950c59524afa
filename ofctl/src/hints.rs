//! What there is, for whoever named something that is not there.

use api::reply::Bridge;
use api::{ClientError, Failure};

use crate::arguments::bridges;
use crate::desk::Desk;
use crate::problem::{Problem, with_help as add_help};

/// The most names in one sentence.
const MOST: usize = 12;

/// An error with what its reader may have meant. Only the words of a refusal say what it is about;
/// where they are not understood there is no help.
pub(crate) fn with_help(error: anyhow::Error, desk: &mut Desk) -> anyhow::Error {
    let Some(message) = refusal(&error).map(|failure| failure.message.clone()) else {
        return error;
    };
    let mut there = || desk.opened().and_then(|client| bridges(client).ok());
    let help = match Missing::of(&message) {
        Some(missing) => there().map(|there| missing.help(&there)),
        None => argument(&error).and_then(|argument| misplaced(argument, &there()?)),
    };
    add_help(error, help)
}

/// The argument of the command line that was refused.
fn argument(error: &anyhow::Error) -> Option<&str> {
    let quote = error.downcast_ref::<Problem>()?.quote.as_ref()?;
    quote.text.as_deref().filter(|_| quote.place.is_none())
}

/// What is wrong with a bridge where something else should be.
fn misplaced(argument: &str, there: &[Bridge]) -> Option<String> {
    let is_bridge = there.iter().any(|bridge| bridge.name == argument);
    is_bridge.then(|| format!("`{argument}` is a bridge; what comes behind it is missing"))
}

fn refusal(error: &anyhow::Error) -> Option<&Failure> {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(failure)) => Some(failure),
        _ => error.downcast_ref::<Problem>().and_then(|problem| problem.failure.as_ref()),
    }
}

/// What is not there.
#[derive(Debug, Eq, PartialEq)]
enum Missing<'a> {
    Bridge(Option<&'a str>),
    /// Of this bridge, if it is known, and what was written instead.
    Port(Option<&'a str>, &'a str),
}

impl<'a> Missing<'a> {
    fn of(message: &'a str) -> Option<Self> {
        let quoted = |text: &'a str| text.split('`').nth(1);
        if let Some(rest) = message.strip_prefix("there is no bridge `") {
            return Some(Self::Bridge(rest.split('`').next()));
        }
        if message.starts_with("there are several bridges") {
            return Some(Self::Bridge(None));
        }
        if let Some((bridge, port)) =
            message.strip_prefix("bridge ").and_then(|rest| rest.split_once(" has no port "))
        {
            return Some(Self::Port(Some(bridge), port.trim_matches('`')));
        }
        if let Some(rest) = message.strip_prefix("a packet comes in by a port of ") {
            return rest.split_once(':').map(|(bridge, _)| Self::Port(Some(bridge), ""));
        }
        let (_, port) = message.split_once("no port is named ")?;
        Some(Self::Port(None, quoted(port)?))
    }

    /// What there is, and what may be meant.
    fn help(&self, there: &[Bridge]) -> String {
        match self {
            Self::Bridge(_) if there.is_empty() => {
                "there is none yet; `ofctl add-br NAME` makes one".to_owned()
            }
            Self::Bridge(wrong) => {
                let names: Vec<_> = there.iter().map(|bridge| bridge.name.as_str()).collect();
                meant(*wrong, &names) + &list("there is", &names)
            }
            Self::Port(bridge, wrong) => {
                let is_it = |one: &&Bridge| bridge.is_none_or(|name| one.name == name);
                let ports = || there.iter().filter(is_it).flat_map(|bridge| &bridge.ports);
                let names: Vec<_> = ports().map(|port| port.name.as_str()).collect();
                let numbered: Vec<_> =
                    ports().map(|port| format!("{} ({})", port.name, port.number)).collect();
                let numbered: Vec<_> = numbered.iter().map(String::as_str).collect();
                match &*numbered {
                    [] => "it has no port; `ofctl add-port` adds one".to_owned(),
                    ports => {
                        format!("{}{}", meant(Some(wrong), &names), list("the ports are", ports))
                    }
                }
            }
        }
    }
}

/// `did you mean X? `, if something is like what was written.
pub(crate) fn meant(wrong: Option<&str>, names: &[&str]) -> String {
    let Some(wrong) = wrong else { return String::new() };
    let likeness = |name: &str| strsim::jaro_winkler(wrong, name);
    let best = names.iter().map(|name| likeness(name)).fold(0.0, f64::max);
    let mut alike = names.iter().filter(|name| likeness(name) >= best);
    match (alike.next(), alike.next()) {
        (Some(name), None) if best > 0.8 => format!("did you mean `{name}`? "),
        _ => String::new(),
    }
}

fn list(words: &str, names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(MOST));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{words} {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_its_words() {
        let missing = Missing::of;
        assert_eq!(missing("there is no bridge `br1`"), Some(Missing::Bridge(Some("br1"))));
        assert_eq!(missing("bridge br0 has no port `p"), Some(Missing::Port(Some("br0"), "p")));
        assert_eq!(missing("bridge br0 has no port 7"), Some(Missing::Port(Some("br0"), "7")));
        let flow = "flow 0, byte 8: no port is named `eth9`";
        assert_eq!(missing(flow), Some(Missing::Port(None, "eth9")));
        let nowhere = "a packet comes in by a port of br0: in_port=9 is none";
        assert_eq!(missing(nowhere), Some(Missing::Port(Some("br0"), "")));
        assert_eq!(missing("table 0 is full"), None);
    }

    #[test]
    fn a_bridge_alone_is_not_enough() {
        let there = [Bridge { name: "br0".to_owned(), ports: Vec::new() }];
        assert!(misplaced("br0", &there).is_some_and(|help| help.contains("is a bridge")));
        assert_eq!(misplaced("br1", &there), None);
    }

    #[test]
    fn names_are_suggested_and_listed() {
        assert_eq!(meant(Some("eht1"), &["eth1", "lo"]), "did you mean `eth1`? ");
        assert_eq!(meant(Some("zzz"), &["eth1"]), "");
        assert_eq!(meant(Some("eth"), &["eth1", "eth2"]), "", "either");
        let names = ["p"; 14];
        assert!(list("there is", &names).ends_with("p, p and 2 more"));
    }
}
