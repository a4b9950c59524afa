//! A port whose packets are told apart by more masks than it may have.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use common::{Bench, Options};
use flowtable::{Megaflows, VlanMode};
use packet::compose;

const VLAN: VlanMode = VlanMode::Trunk(Vec::new());

/// Rules of some hundred masks, and a packet for each with the port that it leaves by.
fn rules_and_packets() -> (Vec<String>, Vec<(u16, Vec<u8>)>) {
    let lengths = (9..=32).flat_map(|src| (9..=32).map(move |dst| (src, dst)));
    let both = (0u32..).zip(lengths).map(|(n, (src, dst))| {
        // Each rule has networks of its own, so that no packet meets two of them.
        let (source, destination) = (n << 23 | 1, n << 23 | 3);
        let out = u16::try_from(2 + n % 2).unwrap();
        let [source, destination] = [source, destination].map(std::net::Ipv4Addr::from);
        let rule =
            format!("udp,nw_src={source}/{src},nw_dst={destination}/{dst},actions=output:{out}");
        let packet =
            format!("udp,nw_src={source},nw_dst={destination},nw_ttl=9,tp_src={n},tp_dst=80");
        (rule, (out, compose(&api::text::packet(&packet, &api::NoNames).unwrap(), 64)))
    });
    both.filter(|(_, (_, packet))| packet[26] < 224).unzip()
}

/// A hundred and twenty-eight masks were cached, and whoever needed another took the tables each time.
#[test]
fn packets_that_need_one_mask_more_are_cached_too() {
    let (rules, packets) = rules_and_packets();
    assert!(rules.len() > 3 * Megaflows::MASKS, "{}", rules.len());
    let mut bench = Bench::new(&vec![VLAN; 3], Options { sessions: 1024, megaflows: 1024 });
    bench.flow_mods(&rules.iter().map(|rule| rule.parse().unwrap()).collect::<Vec<_>>());
    let mut translated = 0;
    for round in 0..4 {
        for (out, packet) in &packets {
            bench.put(1, packet);
            bench.turn();
            assert_eq!(bench.take(), [(*out, packet.clone())]);
        }
        bench.check();
        let counters = &bench.counters;
        assert_eq!(counters.megaflows_refused.get(), 0);
        assert!(counters.masks.get() <= Megaflows::MASKS as u64);
        if round == 0 {
            translated = counters.translated.get();
        }
        assert_eq!(counters.translated.get(), translated, "round {round}");
        assert_eq!(counters.retranslated.get(), 0);
    }
    assert!(bench.counters.session_hits.get() >= packets.len() as u64);
}
