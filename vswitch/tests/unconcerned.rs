//! What a flow-mod does not concern stays in the caches: controllers change flow after flow while
//! packets come.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use common::{Bench, Options};
use flowtable::VlanMode;
use packet::{Key, compose};

const VLAN: VlanMode = VlanMode::Trunk(Vec::new());
const FLOWS: u8 = 100;

/// A bench with a rule for each of so many flows, which came all at once, and their packets.
fn bench() -> (Bench, Vec<Vec<u8>>) {
    let mut bench = Bench::new(&vec![VLAN; 2], Options { sessions: 256, megaflows: 1024 });
    let tuple = |n| format!("udp,nw_src=10.0.0.{n},nw_dst=10.1.0.{n},tp_src=10{n},tp_dst=80");
    let rule = |n| format!("priority=100,{},actions=output:2", tuple(n)).parse().unwrap();
    bench.flow_mods(&(1..=FLOWS).map(rule).collect::<Vec<_>>());
    let packet = |n| compose(&api::text::packet(&tuple(n), &api::NoNames).unwrap(), 64);
    (bench, (1..=FLOWS).map(packet).collect())
}

/// Adds a rule for others and deletes it, so many times, each in a generation of its own.
fn disturb(bench: &mut Bench, times: u8) {
    for n in 0..times {
        let rule =
            format!("priority=100,udp,nw_src=192.0.2.{n},nw_dst=10.1.0.1,tp_src=7,tp_dst=80");
        let changes = [format!("{rule},actions=output:2"), format!("delete_strict {rule}")];
        for change in changes {
            bench.flow_mods(&[change.parse().unwrap()]);
        }
    }
}

/// The bundle that brought the rules is in one summary with the first flow-mods behind it, and every
/// packet was looked up anew once more than sixty-four had come.
#[test]
fn flow_mods_for_others_let_no_packet_miss_however_many_come_between_two_packets() {
    let (mut bench, packets) = bench();
    for times in [0, 1, 20, 40, 250, 3] {
        disturb(&mut bench, times);
        for packet in &packets {
            bench.put(1, packet);
            bench.turn();
        }
        assert_eq!(bench.take().len(), packets.len());
        bench.check();
        let counters = &bench.counters;
        let looked_up = [counters.translated.get(), counters.retranslated.get()];
        assert_eq!(looked_up, [u64::from(FLOWS), 0], "after {times} flow-mods");
    }
}

/// Every packet once, and how many of them had to be looked up in the tables.
fn looked_up(bench: &mut Bench, packets: &[Vec<u8>]) -> u64 {
    let count = |bench: &Bench| bench.counters.translated.get() + bench.counters.retranslated.get();
    let before = count(bench);
    for packet in packets {
        bench.put(1, packet);
        bench.turn();
    }
    bench.check();
    count(bench) - before
}

#[test]
fn a_flow_mod_for_one_lets_one_miss() {
    let (mut bench, packets) = bench();
    assert_eq!(looked_up(&mut bench, &packets), u64::from(FLOWS));
    let seventh = "priority=200,udp,nw_src=10.0.0.7,nw_dst=10.1.0.7,tp_src=107,tp_dst=80";
    bench.flow_mods(&[format!("{seventh},actions=drop").parse().unwrap()]);
    assert_eq!(looked_up(&mut bench, &packets), 1);
    assert_eq!(bench.take().len(), 2 * packets.len() - 1);
    bench.flow_mods(&[
        format!("delete_strict {seventh}").parse().unwrap(),
        "priority=50,udp,nw_dst=10.1.0.0/24,actions=drop".parse().unwrap(),
    ]);
    assert_eq!(looked_up(&mut bench, &packets), u64::from(FLOWS), "all might meet the second");
    assert_eq!(bench.take().len(), packets.len());
    bench.flow_mods(&["priority=300,udp,nw_dst=10.1.0.7,actions=drop".parse().unwrap()]);
    assert_eq!(looked_up(&mut bench, &packets), 1);
    assert_eq!(bench.take().len(), packets.len() - 1);
}

/// A session asks its megaflow when something has changed for a megaflow; one that had lost its own
/// to others never asked, and went on as before its rule was deleted.
#[test]
fn a_session_whose_megaflow_is_gone_does_not_outlive_its_rule() {
    let tuple = |n| format!("udp,nw_src=10.0.0.{n},nw_dst=10.1.0.{n},tp_src=10{n},tp_dst=80");
    let rule = |n| format!("priority=100,{},actions=output:2", tuple(n)).parse().unwrap();
    let sent = |bench: &mut Bench, flow: &str| {
        let key = api::text::packet(flow, &api::NoNames).unwrap().with(Key::NW_TTL, 9u8);
        bench.put(1, &compose(&key, 64));
        bench.turn();
        bench.take().len()
    };
    for others in 0..9 {
        let mut bench = Bench::new(&vec![VLAN; 2], Options { sessions: 256, megaflows: 8 });
        bench.flow_mods(&(1..=10).map(rule).collect::<Vec<_>>());
        // Of another mask, so that sessions are asked first.
        let other = "arp,arp_op=1";
        sent(&mut bench, other);
        (0..5).for_each(|_| assert_eq!(sent(&mut bench, &tuple(1)), 1));
        bench.check();
        assert!(bench.counters.session_hits.get() > 0);
        for n in 2..2 + others {
            bench.wait(std::time::Duration::from_millis(1100));
            sent(&mut bench, other);
            assert_eq!(sent(&mut bench, &tuple(n)), 1);
        }
        bench.flow_mods(&[format!("delete_strict priority=100,{}", tuple(1)).parse().unwrap()]);
        assert_eq!(sent(&mut bench, &tuple(1)), 0, "behind {others} others");
        bench.check();
    }
}
