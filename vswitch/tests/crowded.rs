//! Tables whose rules have so many masks that they share tuples, at the end of whole pipelines.

mod common;

use common::{Bench, Options};
use flowtable::VlanMode;
use packet::compose;

const VLAN: VlanMode = VlanMode::Trunk(Vec::new());

/// Flows of table 1 that no packet here meets, of so many masks that those behind them share tuples.
fn crowd() -> Vec<String> {
    let lengths = (8..24).flat_map(|src| [9, 17, 25].map(|dst| (src, dst)));
    let flow = |(src, dst)| {
        format!("table=1,udp,nw_src=192.0.0.0/{src},nw_dst=198.0.0.0/{dst},actions=drop")
    };
    lengths.map(flow).collect()
}

/// Of a TTL that differed from a rule's only the leading bits were kept that did, as they are before
/// it is decremented: these say nothing about the others of the decremented one.
#[test]
fn a_decremented_ttl_is_not_told_by_some_of_its_bits() {
    let flows = [
        "ip,actions=dec_ttl,resubmit(,1)",
        "table=1,ip,nw_src=10.0.0.0/12,nw_ttl=127,actions=output:2",
        "table=1,ip,nw_src=10.0.0.0/12,nw_ttl=63,actions=output:3",
        "table=1,priority=1,actions=output:4",
    ];
    for sessions in [0, 256] {
        let mut bench = Bench::new(&vec![VLAN; 4], Options { sessions, megaflows: 1024 });
        let flows = crowd().into_iter().chain(flows.map(str::to_owned));
        bench.flow_mods(&flows.map(|flow| flow.parse().unwrap()).collect::<Vec<_>>());
        for ttl in [129, 128, 64, 65, 1, 2, 128, 64, 0, 255, 127, 63] {
            let flow = format!("udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl={ttl},tp_dst=80");
            let packet = compose(&api::text::packet(&flow, &api::NoNames).unwrap(), 64);
            let (real, expected) = bench.carry(1, &vec![packet; 3]);
            assert_eq!(real, expected, "TTL {ttl}");
            bench.check();
            assert_eq!(bench.counts(), bench.expected_counts(), "TTL {ttl}");
        }
    }
}
