//! Translation: what packets of a connection become, both ways, and when there is nothing left to
//! give.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use api::{Action, FlowMod, Nat};
use conntrack::{
    Connections, Content, Direction, Ends, Judgement, Message, NotMade, Notes, Tuple, Verdict,
};
use packet::{Millis, Seed, icmp, sctp, tcp, udp};
use proptest::prelude::*;

/// As a flow says it.
fn nat(text: &str) -> Nat {
    let flow: FlowMod = format!("udp,actions=ct(commit,nat({text}))").parse().unwrap();
    match flow.actions.as_deref() {
        Some([Action::Ct(ct)]) => ct.nat.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn datagram(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Message {
    let [src, dst] = [src, dst].map(IpAddr::from);
    let ends = Ends { src, dst, src_port, dst_port, proto: udp::PROTO };
    Message { tuple: Tuple::new(ends, 3).unwrap(), content: Content::Udp }
}

const SERVER: [u8; 4] = [192, 0, 2, 1];
const NOW: Millis = Millis(1);

/// What a datagram becomes, whose connection is kept.
fn translated(connections: &Connections, message: &Message, nat: &Nat) -> Result<Tuple, NotMade> {
    let id = connections.commit(message, Some(nat), &Notes::default(), NOW)?;
    Ok(connections.translated(id, Direction::Original).unwrap())
}

#[test]
fn what_answers_goes_back_where_the_question_came_from() {
    let connections = Connections::new(10, 0, Seed(7));
    let question = datagram([10, 0, 0, 1], 5000, SERVER, 53);
    let becomes = translated(&connections, &question, &nat("src=198.51.100.1")).unwrap();
    let outside = datagram([198, 51, 100, 1], 5000, SERVER, 53).tuple;
    assert_eq!(becomes, outside);
    let answer = Message { tuple: outside.reversed().unwrap(), content: Content::Udp };
    let Judgement { verdict, direction, connection } = connections.judge(&answer, NOW);
    assert_eq!((verdict, direction), (Verdict::Established, Direction::Reply));
    let becomes = connections.translated(connection.unwrap(), direction);
    assert_eq!(becomes, question.tuple.reversed());
}

#[test]
fn each_has_a_port_of_its_own_until_there_is_none() {
    let connections = Connections::new(100, 0, Seed(7));
    let nat = nat("src=198.51.100.1:7000-7009");
    let of = |n: u8| datagram([10, 0, 0, n], 5000, SERVER, 53);
    let ports: HashSet<u16> =
        (0..10).map(|n| translated(&connections, &of(n), &nat).unwrap().src_port()).collect();
    assert_eq!(ports, (7000..=7009).collect());
    assert_eq!(translated(&connections, &of(10), &nat), Err(NotMade::NoPort));
    assert_eq!(connections.stats().without_port, 1);
    // To another server they are all free.
    let elsewhere = datagram([10, 0, 0, 10], 5000, [192, 0, 2, 2], 53);
    assert!(translated(&connections, &elsewhere, &nat).is_ok());
    // What has had its time is given anew, though nobody has looked at it yet.
    let later = Millis(40_000);
    let made = connections.commit(&of(10), Some(&nat), &Notes::default(), later);
    assert!(made.is_ok(), "{made:?}");
}

#[test]
fn a_connection_that_is_answered_like_another_is_not_made() {
    let connections = Connections::new(100, 0, Seed(7));
    let to_service = datagram([10, 0, 0, 1], 5000, [10, 96, 0, 1], 53);
    let becomes = translated(&connections, &to_service, &nat("dst=192.0.2.1:53")).unwrap();
    assert_eq!(becomes, datagram([10, 0, 0, 1], 5000, SERVER, 53).tuple);
    let direct = datagram([10, 0, 0, 1], 5000, SERVER, 53);
    let made = connections.commit(&direct, None, &Notes::default(), NOW);
    assert_eq!(made, Err(NotMade::Exists));
    // Unless it may have another port.
    let becomes = translated(&connections, &direct, &nat("src=0.0.0.0")).unwrap();
    assert_ne!(becomes.src_port(), 5000);
    assert_eq!(becomes.src(), direct.tuple.src());
}

proptest! {
    /// Against a plain list: whatever comes from outside has one place to go to, inside.
    #[test]
    fn no_two_get_one_tuple(
        many in prop::collection::vec((0..4u8, 4998..5003u16, 0..3u8, 0..4usize), 1..80),
    ) {
        let connections = Connections::new(200, 0, Seed(7));
        let nats = ["src=198.51.100.1", "src=198.51.100.1:5000-5002", "dst=192.0.2.7:80", "src=0.0.0.0"]
            .map(nat);
        let mut known = HashMap::new();
        for (host, port, server, which) in many {
            let message = datagram([10, 0, 0, host], port, [192, 0, 2, server], 53);
            if connections.judge(&message, NOW).connection.is_some() {
                continue;
            }
            if let Ok(becomes) = translated(&connections, &message, &nats[which]) {
                let other = known.insert(becomes.reversed().unwrap(), message.tuple);
                prop_assert_eq!(other, None);
            }
        }
        for (answer, asked) in known {
            let message = Message { tuple: answer, content: Content::Udp };
            let Judgement { direction, connection, .. } = connections.judge(&message, NOW);
            let back = connections.translated(connection.unwrap(), direction);
            prop_assert_eq!(back, asked.reversed());
        }
    }
}

#[test]
fn what_is_not_made_keeps_no_place() {
    let connections = Connections::new(2, 0, Seed(7));
    let from = |port| datagram([10, 0, 0, 1], port, SERVER, 53);
    let nat = nat("src=198.51.100.1:80-80");
    let made = |port| translated(&connections, &from(port), &nat).map(|_| ());
    assert_eq!(made(5000), Ok(()));
    (0..9).for_each(|_| assert_eq!(made(5001), Err(NotMade::NoPort)));
    (0..9).for_each(|_| assert_eq!(made(5000), Err(NotMade::Exists)));
    let other = connections.commit(&from(5002), None, &Notes::default(), NOW);
    assert_eq!((other.is_ok(), connections.len()), (true, 2));
}

/// A first packet of a protocol.
fn first(proto: u8, port: u16, server: u8) -> Message {
    let [src, dst] = [[10, 0, 0, 1], [192, 0, 2, server]].map(IpAddr::from);
    let (dst_port, content) = match proto {
        icmp::PROTO => (8 << 8, Content::Question),
        udp::PROTO => (53, Content::Udp),
        _ => (80, Content::Other),
    };
    let ends = Ends { src, dst, src_port: port, dst_port, proto };
    Message { tuple: Tuple::new(ends, 3).unwrap(), content }
}

proptest! {
    /// What the host uses and what is reserved may change at any time: the next connection goes by it.
    #[test]
    fn at_an_address_of_the_host_every_port_is_reserved(
        steps in prop::collection::vec(
            (
                prop::collection::hash_set(0..8u8, 0..6),
                (any::<u16>(), 0..300u16),
                prop::option::of((any::<u16>(), 0..2000u16)),
                prop::sample::select(vec![
                    icmp::PROTO, udp::PROTO, tcp::PROTO, sctp::PROTO,
                ]),
                (any::<u16>(), any::<bool>()),
                prop::sample::select(vec!["", ",random", ",hash", ",persistent"]),
            ),
            1..40,
        ),
    ) {
        let connections = Connections::new(4000, 0, Seed(7));
        let mut without_port = 0;
        for (server, (host, (from, more), asked, proto, (port, is_near), choice)) in (0u8..).zip(steps) {
            let reserved = from..=from.saturating_add(more);
            let port = if is_near { from.saturating_add(port % 16) } else { port };
            connections.set_reserved_ports(&reserved);
            connections.set_host_addresses(host.iter().map(|n| [198, 51, 100, *n].into()));
            prop_assert_eq!(connections.host_addresses() as usize, host.len());
            let asked = asked.map(|(from, more)| from.max(1)..=from.max(1).saturating_add(more));
            let asked_text = asked.as_ref().map_or(String::new(), |asked| {
                format!(":{}-{}", asked.start(), asked.end())
            });
            // A choice needs a range of ports or addresses, which this is.
            let nat = nat(&format!("src=198.51.100.0-198.51.100.7{asked_text}{choice}"));
            let is_asked =
                |port: u16| asked.as_ref().is_none_or(|asked| asked.contains(&port));
            let may = |port: u16| reserved.contains(&port) && is_asked(port);
            let mut taken = HashSet::new();
            for n in 0..5 {
                match translated(&connections, &first(proto, port ^ n, server), &nat) {
                    Ok(becomes) => {
                        let IpAddr::V4(address) = becomes.src() else { panic!("{becomes:?}") };
                        let (own, given) = (port ^ n, becomes.src_port());
                        let is_host = host.contains(&address.octets()[3]);
                        prop_assert!(!is_host || may(given), "{given} of {asked:?} and {reserved:?}");
                        // Elsewhere these stay below 1024, but not what they are.
                        let is_odd = matches!(own, 0 | 512..600) && proto != icmp::PROTO;
                        let may_keep = if is_host {
                            may(own)
                        } else {
                            is_asked(own) && (asked.is_some() || !is_odd)
                        };
                        let keeps = !matches!(choice, ",random" | ",hash") && may_keep;
                        let is_free = !taken.contains(&(address, own));
                        prop_assert!(!keeps || !is_free || given == own, "{given}, not {own}");
                        taken.insert((address, given));
                    }
                    Err(NotMade::NoPort) => {
                        // All of few are tried; of many none is taken yet.
                        let few = (0..=u16::MAX).filter(|port| may(*port)).count();
                        prop_assert!(few < 5, "{} could be given", few);
                        without_port += 1;
                    }
                    Err(other) => prop_assert!(false, "{:?}", other),
                }
            }
        }
        prop_assert_eq!(connections.stats().without_port, without_port);
    }
}

#[test]
fn reserved_ports_that_are_all_taken_are_counted() {
    let connections = Connections::new(1000, 0, Seed(7));
    connections.set_host_addresses([[198, 51, 100, 1].into()]);
    connections.set_reserved_ports(&(61_000..=61_099));
    let nat = nat("src=198.51.100.1");
    let from = |port| translated(&connections, &first(udp::PROTO, port, 1), &nat);
    let given: HashSet<u16> = (1..=100).map(|port| from(port).unwrap().src_port()).collect();
    assert_eq!(given, (61_000..=61_099).collect());
    assert_eq!(from(101), Err(NotMade::NoPort));
    assert_eq!(connections.stats().without_port, 1);
    // No longer the host's, it has all others to give.
    connections.set_host_addresses([]);
    assert_eq!(from(101).unwrap().src_port(), 101);
}
