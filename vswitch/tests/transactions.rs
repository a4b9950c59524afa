//! Transactions while packets pass, and meters and groups over many of them, by real workers.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use api::{FlowMod, Group, GroupMod, MeterMod, NoNames};
use common::{BRIDGE, Bench, Options};
use flowtable::{Edit, VlanMode};
use packet::{Millis, compose};

const VLAN: VlanMode = VlanMode::Trunk(Vec::new());

fn bytes(flow: &str) -> Vec<u8> {
    compose(&api::text::packet(flow, &NoNames).unwrap(), 64)
}

/// A pipeline that writes one number into four places of a packet: by a flow, by a bucket, by the
/// action set, and behind a meter, which is another pass.
fn number(edit: &mut Edit, number: u8) {
    let group: Group = format!(
        "group_id=1,type=indirect,bucket=actions=mod_dl_dst:02:00:00:00:00:{number:02x},resubmit(,1)"
    )
    .parse()
    .unwrap();
    let flows = [
        format!("ip,actions=mod_dl_src:02:00:00:00:00:{number:02x},group:1"),
        "table=1,ip,actions=meter:1,goto_table:2".to_owned(),
        format!(
            "table=2,ip,actions=write_actions(mod_nw_src:10.0.0.{number},output:2),goto_table:3"
        ),
        format!("table=3,ip,actions=mod_nw_dst:10.0.1.{number}"),
    ];
    edit.group_mod(BRIDGE, &GroupMod::AddOrModify(group), Millis(1)).unwrap();
    for flow in flows {
        edit.flow_mod(BRIDGE, &flow.parse::<FlowMod>().unwrap(), Millis(1)).unwrap();
    }
}

/// Carries packets until it is over, and counts the numbers that they had when they left.
fn carry(bench: &mut Bench, packets: &[Vec<u8>], over: &AtomicBool, numbers: &AtomicUsize) {
    let mut seen = BTreeSet::new();
    while !over.load(Ordering::Relaxed) {
        packets.iter().for_each(|packet| bench.put(1, packet));
        bench.now += Duration::from_micros(100);
        bench.turn();
        let sent = bench.take();
        assert_eq!(sent.len(), packets.len());
        for (port, packet) in sent {
            let places = [packet[11], packet[5], packet[29], packet[33]];
            assert_eq!((port, places), (2, [places[0]; 4]), "half of a transaction");
            seen.insert(places[0]);
        }
        numbers.store(seen.len(), Ordering::Relaxed);
    }
}

#[test]
fn no_packet_sees_half_of_a_transaction() {
    let mut first = Bench::new(&vec![VLAN; 2], Options::default());
    first
        .meter_mod(&MeterMod::Add("meter=1,pktps,bands=type=drop,rate=100000000".parse().unwrap()));
    let mut edit = first.generation().edit();
    number(&mut edit, 200);
    first.tables.publish(Arc::new(edit.finish().0));
    first.desk.ring();
    let mut second = first.beside(2, Options::default());
    let (tables, over) = (Arc::clone(&first.tables), AtomicBool::new(false));
    let desks = [Arc::clone(&first.desk), Arc::clone(&second.desk)];
    let packets: Vec<_> = (0..8u16)
        .map(|n| bytes(&format!("udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=9,tp_src={n}")))
        .collect();
    let numbers = [const { AtomicUsize::new(0) }; 2];
    let enough = || numbers.iter().all(|numbers| numbers.load(Ordering::Relaxed) > 20);
    std::thread::scope(|scope| {
        for (bench, numbers) in [&mut first, &mut second].into_iter().zip(&numbers) {
            let (packets, over) = (&packets, &over);
            scope.spawn(move || carry(bench, packets, over, numbers));
        }
        // Other tests may leave the workers little time.
        for round in 0..100_000u32 {
            let mut edit = tables.get().1.edit();
            number(&mut edit, u8::try_from(round % 200).unwrap());
            tables.publish(Arc::new(edit.finish().0));
            desks.iter().for_each(|desk| desk.ring());
            if round > 2000 && enough() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(enough(), "there was nothing to see: {numbers:?}");
    first.check();
    second.check();
}

/// Twice as much as a meter lets pass, for ten seconds: what passes, and what the flows before and
/// behind it have counted.
#[test]
fn a_meter_passes_its_rate_and_what_it_drops_no_later_flow_counts() {
    const RATE: u32 = 5000;
    let mut bench = Bench::new(&vec![VLAN; 2], Options::default());
    let meter = format!("meter=1,pktps,burst,bands=type=drop,rate={RATE},burst_size=50");
    bench.meter_mod(&MeterMod::Add(meter.parse().unwrap()));
    let flows = ["actions=meter:1,goto_table:1", "table=1,actions=output:2"];
    bench.flow_mods(&flows.map(|flow| flow.parse::<FlowMod>().unwrap()));
    let packet = bytes("udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=9");
    let (mut came, mut passed) = (0u64, 0u64);
    for _ in 0..10_000 {
        bench.now += Duration::from_millis(1);
        for _ in 0..2 * RATE / 1000 {
            bench.put(1, &packet);
            came += 1;
        }
        bench.turn();
        passed += bench.take().len() as u64;
    }
    let expected = u64::from(RATE) * 10;
    assert!(passed.abs_diff(expected) * 100 <= expected * 2, "{passed} of {expected}");
    let counted: Vec<_> = bench.counts().rules.iter().map(|(_, packets, _)| *packets).collect();
    assert_eq!(counted, [came, passed]);
    let dropped: u64 = bench.drops().iter().map(|(_, _, packets)| packets).sum();
    assert_eq!(dropped, came - passed);
    bench.check();
}

/// Buckets get what their weights say, by the chi-square test at one in a thousand.
#[test]
fn connections_spread_over_buckets_by_weight() {
    const WEIGHTS: [u16; 3] = [1, 2, 5];
    const CONNECTIONS: u32 = 8000;
    /// The 99.9th percentile for two degrees of freedom.
    const MOST: f64 = 13.82;
    let mut bench = Bench::new(&vec![VLAN; 4], Options::default());
    let buckets: String = (2..)
        .zip(WEIGHTS)
        .map(|(port, weight)| format!(",bucket=weight:{weight},actions=output:{port}"))
        .collect();
    let group: Group = format!("group_id=1,type=select{buckets}").parse().unwrap();
    bench.group_mod(&GroupMod::AddOrModify(group));
    bench.flow_mods(&["tcp,actions=group:1".parse::<FlowMod>().unwrap()]);
    let mut counts = [0f64; 3];
    for n in 0..CONNECTIONS {
        let (client, port) = (n / 250, 1024 + n % 250);
        let flow =
            format!("tcp,nw_src=10.0.0.{client},nw_dst=10.0.9.9,nw_ttl=9,tp_src={port},tp_dst=80");
        bench.put(1, &bytes(&flow));
        bench.turn();
        let sent = bench.take();
        counts[usize::from(sent[0].0) - 2] += 1.0;
    }
    let expected = WEIGHTS.map(|weight| f64::from(CONNECTIONS) * f64::from(weight) / 8.0);
    let terms = counts.iter().zip(expected).map(|(got, want)| (got - want).powi(2) / want);
    let chi: f64 = terms.sum();
    assert!(chi < MOST, "chi-square {chi}: {counts:?}, and expected {expected:?}");
    bench.check();
}
