//! Packets as those say them who know each other only by what has come out of a switch.

use std::collections::HashMap;
use std::net::IpAddr;

use packet::{icmp, sctp, tcp, udp};

use crate::alike::{addresses, parsed};
use crate::ends::{Ends, Sender};
use crate::ip::Ip;
use crate::sctp::Tags;
use crate::setups::Setup;
use crate::tcp::Numbers;
use crate::traffic::{Event, What};

/// An address, and a port or an identifier.
pub(crate) type End = (IpAddr, u16);

/// What has come out of a switch, and to whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hearsay {
    /// By what was said, by which protocol, and to whom: from where to where that was.
    heard: HashMap<(Ends, u8, bool), [End; 2]>,
    /// By what came out, and by which protocol and to whom: who last said what came out so.
    owners: HashMap<([End; 2], u8, bool), Ends>,
}

/// How far each conversation has come: the same for all switches.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    numbers: HashMap<Ends, Numbers>,
    tags: HashMap<Ends, Tags>,
}

impl Progress {
    /// Something was said.
    pub(crate) fn advance(&mut self, event: &Event) {
        match &event.what {
            What::Tcp(segment) => {
                self.numbers.entry(event.ends).or_default().advance(event.from, segment);
            }
            What::Sctp(bundle) => {
                self.tags.entry(event.ends).or_default().advance(event.from, bundle);
            }
            _ => {}
        }
    }
}

impl Hearsay {
    /// Notes what has come out of what was said.
    pub(crate) fn hear(&mut self, event: &Event, packet: &[u8]) {
        if let Some(came) = ends_of(packet) {
            let (proto, to_b) = (proto(event), event.from == Sender::A);
            self.heard.insert((event.ends, proto, to_b), came);
            self.owners.insert((came, proto, to_b), owner(event));
        }
    }

    /// Whether an event answers or quotes what has ended, and whose port another has been given since.
    pub(crate) fn is_anothers(&self, event: &Event) -> bool {
        match &event.what {
            What::Error(error) => {
                let quoted = &error.quoted;
                self.has_another(quoted.from, quoted) || self.is_anothers(quoted)
            }
            _ => self.has_another(event.from.other(), event),
        }
    }

    /// Whether what came out of what this side said comes out now of what another says.
    fn has_another(&self, side: Sender, event: &Event) -> bool {
        let came = self.heard_by(side.other(), event);
        let last = came.and_then(|came| self.owners.get(&(came, proto(event), side == Sender::A)));
        last.is_some_and(|last| *last != owner(event))
    }

    /// From where to where an event goes, as its sender says it.
    fn said(&self, setup: Setup, event: &Event) -> [End; 2] {
        let Event { from, ends, .. } = event;
        if let Some([src, dst]) = self.heard_by(*from, event) {
            return [dst, src];
        }
        let [own, mut other] = [*from, from.other()].map(|side| nominal(event, side));
        if *from == Sender::A && setup.has_service() && ends.hosts[1] == 0 {
            other.0 = Setup::service(ends.family);
        }
        [own, other]
    }

    fn heard_by(&self, side: Sender, event: &Event) -> Option<[End; 2]> {
        self.heard.get(&(event.ends, proto(event), side == Sender::B)).copied()
    }

    /// Whether somebody has heard what this would be an answer to.
    pub(crate) fn is_answer(&self, event: &Event) -> bool {
        self.heard_by(event.from, event).is_some()
    }

    /// The same, as who it goes to has heard it.
    fn arrived(&self, event: &Event) -> [End; 2] {
        let heard = self.heard_by(event.from.other(), event);
        heard.unwrap_or_else(|| [event.from, event.from.other()].map(|side| nominal(event, side)))
    }

    /// The packet of an event.
    pub(crate) fn packet(&self, setup: Setup, event: &Event, progress: &Progress) -> Vec<u8> {
        let mut between = self.said(setup, event);
        if let What::Error(error) = &event.what {
            let quoted = &error.quoted;
            let back = quoted.from as usize;
            let goes_back =
                event.from != quoted.from && event.ends.hosts[back] == quoted.ends.hosts[back];
            between = [event.from, event.from.other()].map(|side| nominal(event, side));
            if goes_back {
                between[1].0 = self.arrived(quoted)[0].0;
            }
        }
        self.between(between, event, progress)
    }

    fn between(&self, between: [End; 2], event: &Event, progress: &Progress) -> Vec<u8> {
        let [(src, src_port), (dst, dst_port)] = between;
        let ends = match (&event.what, event.from) {
            // What asks and what answers have one identifier.
            (What::Query(_), _) => Ends { ports: [src_port, event.ends.ports[1]], ..event.ends },
            (_, Sender::A) => Ends { ports: [src_port, dst_port], ..event.ends },
            (_, Sender::B) => Ends { ports: [dst_port, src_port], ..event.ends },
        };
        let ip = Ip { src, dst, proto: proto(event), extra: event.extra };
        let mut payload = match &event.what {
            What::Tcp(segment) => {
                let numbers = progress.numbers.get(&event.ends).copied().unwrap_or_default();
                segment.bytes(event.from, &ends, numbers)
            }
            What::Sctp(bundle) => {
                let tags = progress.tags.get(&event.ends).copied().unwrap_or_default();
                bundle.bytes(event.from, &ends, tags)
            }
            What::Udp(datagram) => datagram.bytes(event.from, &ends),
            What::Query(query) => query.bytes(&ends),
            What::Error(error) => error.bytes(&self.quoted(&error.quoted, progress)),
            What::Other(_, len) => vec![0; *len],
        };
        payload.truncate(event.cut.unwrap_or(usize::MAX));
        if !matches!(&event.what, What::Udp(datagram) if datagram.is_unsealed()) {
            ip.seal(&mut payload);
        }
        ip.packet(&payload)
    }

    /// A packet as who tells of it has heard it: what it carries is cut, and it does not say so.
    fn quoted(&self, event: &Event, progress: &Progress) -> Vec<u8> {
        let whole = Event { cut: None, ..event.clone() };
        let mut packet = self.between(self.arrived(event), &whole, progress);
        if let Some(cut) = event.cut {
            let carried =
                self.between(self.arrived(event), &Event { cut: Some(0), ..whole }, progress);
            packet.truncate(carried.len() + cut);
        }
        packet
    }
}

/// Who says something, by their own names.
fn nominal(event: &Event, side: Sender) -> End {
    let of_query = matches!(event.what, What::Query(_));
    let port = if of_query { event.ends.ports[0] } else { event.ends.port(side) };
    (event.ends.address(side, 0), port)
}

/// Who talks, by what can be seen of it in packets.
fn owner(event: &Event) -> Ends {
    let [port, other] = event.ends.ports;
    let ports = match event.what {
        What::Tcp(_) | What::Udp(_) | What::Sctp(_) => [port, other],
        What::Query(_) => [port, 0],
        What::Error(_) | What::Other(..) => [0; 2],
    };
    Ends { ports, ..event.ends }
}

fn proto(event: &Event) -> u8 {
    event.what.proto(event.ends.family)
}

/// From where to where a packet goes.
pub(crate) fn ends_of(packet: &[u8]) -> Option<[End; 2]> {
    let (key, headers) = parsed(packet);
    let [src, dst] = addresses(packet, packet[0] >> 4 == 4);
    let l4 = packet.get(usize::from(headers.l4).checked_sub(14)?..)?;
    let half = |at: usize| Some(u16::from_be_bytes(*l4.get(at..)?.first_chunk()?));
    let [src_port, dst_port] = match key.word(packet::Key::NW_PROTO).try_into().ok()? {
        tcp::PROTO | udp::PROTO | sctp::PROTO => [half(0)?, half(2)?],
        icmp::PROTO | icmp::PROTO_V6 => [half(4)?; 2],
        _ => [0; 2],
    };
    Some([(src, src_port), (dst, dst_port)])
}
