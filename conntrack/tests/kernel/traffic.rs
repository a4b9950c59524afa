//! Packets of a few conversations between the same hosts, and what is said about them.

use std::collections::HashMap;
use std::fmt;

use packet::{sctp, tcp, udp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::ends::{Ends, Family, Sender, ends, family, sender};
use crate::icmp::{self, Error, Query, error, query};
use crate::ip::{Extra, Ip, passing};
use crate::sctp::{BEATS, Bundle, HANDSHAKE, Tags, bundle, in_order};
use crate::tcp::{Flags, Numbers, Segment, ordered, segment};
use crate::udp::{Datagram, datagram};

/// A packet.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) from: Sender,
    pub(crate) ends: Ends,
    pub(crate) what: What,
    pub(crate) extra: Extra,
    /// So much of what it carries is left.
    pub(crate) cut: Option<usize>,
}

/// What a packet says.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Tcp(Segment),
    Udp(Datagram),
    Sctp(Bundle),
    Query(Query),
    Error(Box<Error>),
    /// So many bytes of another protocol.
    Other(u8, usize),
}

impl fmt::Debug for Event {
    /// On one line, without what is as usual: a failure is read by people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, ends, what, extra, cut } = self;
        write!(f, "{from:?} of {ends:?}: {what:?}")?;
        if *extra != Extra::Nothing {
            write!(f, ", {extra:?}")?;
        }
        cut.map_or(Ok(()), |cut| write!(f, ", cut to {cut}"))
    }
}

impl What {
    /// The protocol of IP that it is said by.
    pub(crate) const fn proto(&self, family: Family) -> u8 {
        match (self, family) {
            (Self::Tcp(_), _) => tcp::PROTO,
            (Self::Udp(_), _) => udp::PROTO,
            (Self::Sctp(_), _) => sctp::PROTO,
            (Self::Query(_) | Self::Error(_), Family::V4) => packet::icmp::PROTO,
            (Self::Query(_) | Self::Error(_), Family::V6) => packet::icmp::PROTO_V6,
            (Self::Other(proto, _), _) => *proto,
        }
    }
}

/// What a case is mostly about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Theme {
    Tcp,
    Udp,
    Sctp,
    Queries,
    Others,
    Everything,
}

fn theme() -> impl Strategy<Value = Theme> {
    let one = select(vec![Theme::Tcp, Theme::Udp, Theme::Sctp, Theme::Queries, Theme::Others]);
    prop_oneof![one, Just(Theme::Everything)]
}

/// What is said itself, not about a packet.
fn said(family: Family, theme: Theme) -> impl Strategy<Value = What> {
    let weight = |of| if theme == of { 12 } else { 1 };
    prop_oneof![
        weight(Theme::Tcp) => segment().prop_map(What::Tcp),
        weight(Theme::Udp) => datagram().prop_map(What::Udp),
        weight(Theme::Sctp) => bundle().prop_map(What::Sctp),
        weight(Theme::Queries) => query(family).prop_map(What::Query),
        weight(Theme::Others) => other(family),
    ]
}

/// A packet of a protocol without ports; with bytes in it that are none: zeros.
///
/// DIFFERS: GRE of version 1 (RFC 2637) has the number of a call as port.
fn other(family: Family) -> impl Strategy<Value = What> {
    // That of the other family, one that is a header of IPv6, and some that are.
    let own = match family {
        Family::V4 => vec![packet::icmp::PROTO_V6, 0, 43, 51],
        Family::V6 => vec![packet::icmp::PROTO, 43, 51, 60],
    };
    let proto = prop_oneof![
        6 => Just(253),
        2 => Just(47),
        1 => select(vec![2, 4, 33, 41, 50, 59, 103, 136, 254, 255]),
        1 => select(own),
    ];
    (proto, prop_oneof![Just(0usize), 0..64usize]).prop_map(|(proto, len)| What::Other(proto, len))
}

/// How much is left of packets: mostly all.
fn cut() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![15 => Just(None), 1 => (0..64usize).prop_map(Some)]
}

/// Packets that say this between these.
fn between(
    ends: impl Strategy<Value = Ends>,
    what: impl Strategy<Value = What>,
    family: Family,
) -> impl Strategy<Value = Event> {
    (sender(), ends, what, passing(family), cut())
        .prop_map(|(from, ends, what, extra, cut)| Event { from, ends, what, extra, cut })
}

/// Segments between two ports; most begin with a handshake, some with a SYN of both.
pub(crate) fn segments() -> impl Strategy<Value = Vec<Event>> {
    let events = |family| {
        let one = between(Just(Ends::first(family)), segment().prop_map(What::Tcp), family);
        (first(family), vec(one, 0..24)).prop_map(chained)
    };
    family().prop_flat_map(events)
}

/// Packets of SCTP between two ports; most begin with a handshake, some with a heartbeat.
pub(crate) fn bundles() -> impl Strategy<Value = Vec<Event>> {
    let events = |family| {
        let one = between(Just(Ends::first(family)), bundle().prop_map(What::Sctp), family);
        let started = prop_oneof![
            2 => Just(&[][..]),
            1 => (1..4usize).prop_map(|count| &HANDSHAKE[..count]),
            6 => Just(&HANDSHAKE[..]),
            2 => (1..3usize).prop_map(|count| &BEATS[..count]),
        ];
        let started = started.prop_map(move |kinds| in_turns(family, in_order(kinds)));
        (started, vec(one, 0..24)).prop_map(chained)
    };
    family().prop_flat_map(events)
}

/// What both say in turns.
fn in_turns(family: Family, bundles: Vec<Bundle>) -> Vec<Event> {
    let senders = [Sender::A, Sender::B].into_iter().cycle();
    let event = |(from, bundle)| {
        let (what, ends) = (What::Sctp(bundle), Ends::first(family));
        Event { from, ends, what, extra: Extra::Nothing, cut: None }
    };
    senders.zip(bundles).map(event).collect()
}

/// What is said in a few conversations, about nothing else.
pub(crate) fn conversations() -> impl Strategy<Value = Vec<Event>> {
    let events = |(family, theme)| vec(between(ends(family), said(family, theme), family), 1..32);
    (family(), theme()).prop_flat_map(events)
}

/// What is said in a few conversations, and what becomes of it.
pub(crate) fn errors() -> impl Strategy<Value = Vec<Event>> {
    let events = |(family, theme)| {
        let said = move || between(ends(family), said(family, theme), family);
        let errors = prop_oneof![3 => error(said(), family, 1), 1 => said()];
        (first(family), vec(said(), 1..8), vec(errors, 1..12))
            .prop_map(|(first, said, errors)| chained((chained((first, said)), errors)))
    };
    (family(), theme()).prop_flat_map(events)
}

/// Everything, of both families.
pub(crate) fn everything() -> impl Strategy<Value = Vec<Event>> {
    let events = |(family, theme)| {
        let said = move || between(ends(family), said(family, theme), family);
        prop_oneof![3 => said(), 2 => error(said(), family, 1)]
    };
    let beginning = family().prop_flat_map(first);
    let rest = theme().prop_flat_map(move |theme| {
        vec(prop_oneof![events((Family::V4, theme)), events((Family::V6, theme))], 1..32)
    });
    (beginning, rest).prop_map(chained)
}

/// Some behind others; what they quote has mostly been said before.
fn chained((mut events, rest): (Vec<Event>, Vec<Event>)) -> Vec<Event> {
    for event in rest {
        events.push(icmp::recalling(&events, event));
    }
    events
}

/// The first segments of a connection, if it begins in order.
fn first(family: Family) -> impl Strategy<Value = Vec<Event>> {
    use Sender::{A, B};
    let opened = behind(family, [A, B, A], [Flags::Syn, Flags::SynAck, Flags::Ack]);
    let both = behind(family, [A, B, A], [Flags::Syn, Flags::Syn, Flags::SynAck]);
    prop_oneof![3 => Just(Vec::new()), 6 => opened, 1 => both]
}

fn behind(
    family: Family,
    from: [Sender; 3],
    flags: [Flags; 3],
) -> impl Strategy<Value = Vec<Event>> {
    ordered(flags).prop_map(move |segments| {
        let event = |(from, segment)| {
            let (what, ends) = (What::Tcp(segment), Ends::first(family));
            Event { from, ends, what, extra: Extra::Nothing, cut: None }
        };
        from.into_iter().zip(segments).map(event).collect()
    })
}

/// What has been said so far.
pub(crate) struct Conversation {
    case: u32,
    numbers: HashMap<Ends, Numbers>,
    tags: HashMap<Ends, Tags>,
}

impl Conversation {
    /// One that nobody else has had.
    pub(crate) fn new(case: u32) -> Self {
        Self { case, numbers: HashMap::new(), tags: HashMap::new() }
    }

    /// The packet of an event, from its IP header on.
    pub(crate) fn packet(&mut self, event: &Event) -> Vec<u8> {
        let (ip, mut payload) = self.parts(event);
        payload.truncate(event.cut.unwrap_or(usize::MAX));
        if !matches!(&event.what, What::Udp(datagram) if datagram.is_unsealed()) {
            ip.seal(&mut payload);
        }
        if let What::Tcp(segment) = &event.what {
            self.numbers.entry(event.ends).or_default().advance(event.from, segment);
        }
        if let What::Sctp(bundle) = &event.what {
            self.tags.entry(event.ends).or_default().advance(event.from, bundle);
        }
        ip.packet(&payload)
    }

    /// A packet as it is quoted: what it carries is cut, and it does not say so.
    fn quoted(&self, event: &Event) -> Vec<u8> {
        let (ip, payload) = self.parts(event);
        let mut packet = ip.packet(&payload);
        let header_len = packet.len() - payload.len();
        packet.truncate(header_len + event.cut.unwrap_or(payload.len()));
        packet
    }

    /// The head of a packet, and what it carries.
    fn parts(&self, event: &Event) -> (Ip, Vec<u8>) {
        let Event { from, ends, what, extra, .. } = event;
        let ip = Ip {
            src: ends.address(*from, self.case),
            dst: ends.address(from.other(), self.case),
            proto: what.proto(ends.family),
            extra: *extra,
        };
        let payload = match what {
            What::Tcp(segment) => {
                let numbers = self.numbers.get(ends).copied().unwrap_or_default();
                segment.bytes(*from, ends, numbers)
            }
            What::Sctp(bundle) => {
                let tags = self.tags.get(ends).copied().unwrap_or_default();
                bundle.bytes(*from, ends, tags)
            }
            What::Udp(datagram) => datagram.bytes(*from, ends),
            What::Query(query) => query.bytes(ends),
            What::Error(error) => error.bytes(&self.quoted(&error.quoted)),
            What::Other(_, len) => vec![0; *len],
        };
        (ip, payload)
    }
}
