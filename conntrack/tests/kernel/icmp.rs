//! Messages of ICMP and ICMPv6: queries, and errors that quote packets.

use std::fmt;

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::ends::{Ends, Family, ends, sender};
use crate::ip::{self, passing};
use crate::traffic::{Event, What};

/// A message that asks or answers, or that nobody knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    kind: u8,
    code: u8,
    data: usize,
}

/// What became of a packet.
#[derive(Clone)]
pub(crate) struct Error {
    kind: u8,
    code: u8,
    pub(crate) quoted: Event,
    /// What it quotes has been said before, perhaps: this.
    recalls: Option<Index>,
    /// It goes where the quoted packet came from.
    is_aimed: bool,
}

impl fmt::Debug for Error {
    /// On one line: a failure is read by people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, code, quoted, .. } = self;
        write!(f, "{kind} code {code} about [{quoted:?}]")
    }
}

pub(crate) fn query(family: Family) -> impl Strategy<Value = Query> {
    let (echo, known, unknown) = match family {
        Family::V4 => (
            select(vec![8, 0]),
            prop_oneof![2 => select(vec![13, 14]), 1 => 15..=18u8].boxed(),
            prop_oneof![select(vec![1, 2, 6, 7, 9, 10]), 19..=255u8].boxed(),
        ),
        Family::V6 => (
            select(vec![128, 129]),
            (139..=140u8).boxed(),
            prop_oneof![130..=138u8, 141..=255u8].boxed(),
        ),
    };
    let kind = prop_oneof![6 => echo, 3 => known, 1 => unknown];
    let code = prop_oneof![12 => Just(0), 2 => Just(3), 1 => any::<u8>()];
    (kind, code, select(vec![0, 4, 56])).prop_map(|(kind, code, data)| Query { kind, code, data })
}

/// A packet that says what became of another one, which may say so itself: so deep at most.
pub(crate) fn error(
    said: impl Strategy<Value = Event> + 'static,
    family: Family,
    depth: u32,
) -> BoxedStrategy<Event> {
    let kind = match family {
        Family::V4 => select(vec![3, 4, 5, 11, 12]).boxed(),
        Family::V6 => prop_oneof![9 => 1..=4u8, 1 => 0..128u8].boxed(),
    };
    let cut = prop_oneof![12 => Just(None), 1 => (0..80usize).prop_map(Some)];
    let quoted = (quoted(said, family, depth), weighted(0.8, any::<Index>()), is_aimed());
    (kind, any::<u8>(), quoted, ends(family), sender(), passing(family), cut)
        .prop_map(|(kind, code, (quoted, recalls, is_aimed), ends, from, extra, cut)| {
            let error = Error { kind, code, quoted, recalls, is_aimed };
            Event { from, ends, what: What::Error(Box::new(error)), extra, cut }
        })
        .boxed()
}

/// Whether an error goes where the quoted packet came from.
fn is_aimed() -> impl Strategy<Value = bool> {
    prop_oneof![4 => Just(true), 1 => Just(false)]
}

/// An event behind these: if it is an error, it quotes one of them, and goes there.
pub(crate) fn recalling(before: &[Event], mut event: Event) -> Event {
    let What::Error(error) = &mut event.what else { return event };
    error.recall(before);
    if error.is_aimed {
        let from = error.quoted.from;
        event.from = from.other();
        event.ends.hosts[from as usize] = error.quoted.ends.hosts[from as usize];
    }
    event
}

/// A packet as it is quoted.
fn quoted(
    said: impl Strategy<Value = Event> + 'static,
    family: Family,
    depth: u32,
) -> BoxedStrategy<Event> {
    let said = said.boxed();
    let event = match depth {
        0 => said,
        _ => prop_oneof![9 => said.clone(), 1 => error(said, family, depth - 1)].boxed(),
    };
    let cut = prop_oneof![
        4 => Just(Some(8)),
        2 => (0..16usize).prop_map(Some),
        2 => Just(None),
    ];
    (event, ip::quoted(family), cut)
        .prop_map(|(event, extra, cut)| Event { extra, cut, ..event })
        .boxed()
}

impl Query {
    /// Whether it is about neighbours (RFC 4861), groups (RFC 2710, RFC 3810) or their routers
    /// (RFC 4286).
    pub(crate) const fn is_about_neighbours(self) -> bool {
        matches!(self.kind, 130..=136 | 143 | 151 | 152)
    }

    /// Its bytes, without a checksum; the identifier is A's port.
    pub(crate) fn bytes(self, ends: &Ends) -> Vec<u8> {
        let [high, low] = ends.ports[0].to_be_bytes();
        let mut bytes = vec![self.kind, self.code, 0, 0, high, low];
        // Whatever it is the number of, it tells no conversations from others.
        bytes.extend(ends.ports[1].to_be_bytes());
        bytes.resize(bytes.len() + self.data, 0);
        bytes
    }
}

impl Error {
    /// Quotes one of these, if it quotes what has been said before.
    fn recall(&mut self, before: &[Event]) {
        let Event { extra, cut, ends, .. } = self.quoted;
        if matches!(self.quoted.what, What::Error(_)) {
            self.quoted = recalling(before, self.quoted.clone());
            return;
        }
        let is_like =
            |said: &&Event| said.ends.family == ends.family && !matches!(said.what, What::Error(_));
        let said = before.iter().filter(is_like).collect::<Vec<_>>();
        if let Some(recalled) = self.recalls.filter(|_| !said.is_empty()) {
            self.quoted = Event { extra, cut, ..recalled.get(&said).to_owned().clone() };
        }
    }

    /// Its bytes, without a checksum.
    pub(crate) fn bytes(&self, quoted: &[u8]) -> Vec<u8> {
        let mut bytes = vec![self.kind, self.code, 0, 0, 0, 0, 0, 0];
        bytes.extend(quoted);
        bytes
    }
}
