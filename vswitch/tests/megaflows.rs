//! How many megaflows the same traffic makes, here and in OVS: a cache that tells packets apart that
//! the flows do not is a slow one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod common;
#[path = "common/ovs.rs"]
mod ovs;

use std::fmt::Write as _;

use api::NoNames;
use common::{Bench, Options};
use flowtable::VlanMode;
use ovs::{Ovs, PORTS};
use packet::compose;

/// Ours.
fn megaflows(flows: &[String], packets: &[(u16, Vec<u8>)]) -> usize {
    let vlans = vec![VlanMode::Trunk(Vec::new()); PORTS.into()];
    let mut bench = Bench::new(&vlans, Options { sessions: 0, megaflows: 65536 });
    let flows: Vec<_> = flows.iter().map(|flow| flow.parse().unwrap()).collect();
    bench.flow_mods(&flows);
    for (port, bytes) in packets {
        bench.put(*port, bytes);
        bench.turn();
    }
    bench.check();
    usize::try_from(bench.counters.megaflows.get()).unwrap()
}

/// The same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

fn packet(text: &str) -> Vec<u8> {
    compose(&api::text::packet(text, &NoNames).unwrap(), 64)
}

/// Packets between few hosts, of few protocols.
fn traffic(numbers: &mut Numbers, count: usize) -> Vec<(u16, Vec<u8>)> {
    let mut one = || {
        let port = u16::try_from(1 + numbers.below(PORTS.into())).unwrap();
        let (from, to) = (1 + numbers.below(40), 1 + numbers.below(40));
        let kind = numbers.one_of(&["tcp", "udp", "tcp", "udp", "icmp", "arp"]);
        let ports = match kind {
            "tcp" | "udp" => format!(
                ",tp_src={},tp_dst={}",
                1024 + numbers.below(60000),
                numbers.one_of(&[22, 53, 80, 443, 8080, 9000, 30000])
            ),
            _ => String::new(),
        };
        let hops = if kind == "arp" { "" } else { ",nw_ttl=64" };
        let bytes = packet(&format!(
            "in_port={port},{kind},dl_src=02:00:00:00:00:{from:02x},dl_dst=02:00:00:00:00:{to:02x},\
             nw_src=10.0.{}.{from},nw_dst=10.0.{}.{to}{ports}{hops}",
            from % 4,
            to % 4
        ));
        (port, bytes)
    };
    (0..count).map(|_| one()).collect()
}

/// Allowed and forbidden 5-tuples, most with prefixes.
fn access_list(numbers: &mut Numbers) -> Vec<String> {
    let mut flows = vec!["priority=0,actions=drop".to_owned()];
    for priority in 1..150 {
        let kind = numbers.one_of(&["tcp", "udp", "ip", "icmp"]);
        let mut flow = format!("priority={priority},{kind}");
        let mut network = |name: &str, numbers: &mut Numbers| {
            let prefix = numbers.one_of(&[0, 16, 24, 30, 32]);
            let (third, fourth) = (numbers.below(4), numbers.below(40));
            let _ = write!(flow, ",{name}=10.0.{third}.{fourth}/{prefix}");
        };
        network("nw_src", numbers);
        network("nw_dst", numbers);
        if matches!(kind, "tcp" | "udp") && numbers.below(3) > 0 {
            let port = numbers.one_of(&[22, 53, 80, 443, 8080, 30000]);
            let _ = write!(flow, ",tp_dst={port}");
        }
        let action = numbers.one_of(&["drop", "output:1", "output:2", "output:3"]);
        flows.push(format!("{flow},actions={action}"));
    }
    flows
}

/// Tables: where it came from, then routes, then neighbours.
fn router(numbers: &mut Numbers) -> Vec<String> {
    let mut flows = vec![
        "table=0,priority=10,arp,actions=normal".to_owned(),
        "table=0,priority=1,ip,actions=load:1->reg0[],resubmit(,1)".to_owned(),
        "table=0,priority=5,ip,in_port=4,actions=load:2->reg0[],resubmit(,1)".to_owned(),
        "table=1,priority=0,actions=drop".to_owned(),
        "table=2,priority=0,actions=drop".to_owned(),
    ];
    for third in 0..4 {
        flows.push(format!(
            "table=1,priority=24,ip,reg0=1,nw_dst=10.0.{third}.0/24,actions=dec_ttl,goto_table:2"
        ));
        let fourth = numbers.below(32) & !7;
        flows.push(format!(
            "table=1,priority=29,ip,nw_dst=10.0.{third}.{fourth}/29,actions=goto_table:2"
        ));
    }
    for host in 1..40 {
        let port = 1 + host % 4;
        flows.push(format!(
            "table=2,priority=1,ip,nw_dst=10.0.{}.{host},\
             actions=set_field:02:00:00:00:00:{host:02x}->eth_dst,output:{port}",
            host % 4
        ));
    }
    flows
}

#[test]
#[ignore = "needs root and ovs-ofctl: run by cargo xtask test"]
fn there_are_hardly_more_megaflows_than_in_ovs() {
    let ovs = Ovs::start();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let packets = traffic(&mut numbers, 400);
    let bridge = vec!["priority=0,actions=normal".to_owned()];
    let cases = [
        ("a bridge", bridge),
        ("an access list", access_list(&mut numbers)),
        ("another access list", access_list(&mut numbers)),
        ("a router", router(&mut numbers)),
    ];
    for (name, flows) in cases {
        ovs.flows(&flows);
        packets.iter().for_each(|(port, bytes)| ovs.receive(*port, bytes));
        let (ours, theirs) = (megaflows(&flows, &packets), ovs.megaflows());
        println!("{name}: {ours} megaflows, {theirs} in OVS");
        assert!(theirs > 0 && ours > 0, "{name}: {ours} and {theirs}");
        assert!(ours * 10 <= theirs * 11, "{name}: {ours} megaflows, {theirs} in OVS");
    }
}
