//! Packets that come in by no queue: sent out by somebody, or on their way again.

mod common;

use std::sync::Arc;

use api::{Action, NoNames, OutPort};
use common::{BRIDGE, Bench, Options};
use flowtable::{Frozen, Tracked, VlanMode};
use packet::{Key, PortId, compose};
use vswitch::desk::Order;
use vswitch::inject::Injection;
use vswitch::news::Held;

const VLAN: VlanMode = VlanMode::Trunk(Vec::new());

/// Copies were put at the place in its batch of the last packet that had come in by a queue: behind
/// a third one that ended the process, behind a second one the copy was lost.
#[test]
fn copies_of_a_packet_out_behind_a_batch_go_out() {
    for before in 0..6u16 {
        let mut bench = Bench::new(&vec![VLAN; 3], Options::default());
        bench.flow_mods(&["udp,actions=output:2,output:3".parse().unwrap()]);
        let packet = |port| {
            let flow = format!("udp,nw_src=10.0.0.1,tp_src={port},tp_dst=80");
            compose(&api::text::packet(&flow, &NoNames).unwrap(), 64)
        };
        (0..before).for_each(|n| bench.put(1, &packet(n)));
        bench.turn();
        assert_eq!(bench.take().len(), 2 * usize::from(before));
        let actions = [1, 2, 3].map(|port| Action::Output(OutPort::Port(port)));
        bench.desk.order([Order::Inject(Box::new(Injection {
            ingress: PortId(12),
            account: Some(Arc::clone(&bench.ports[1].1)),
            bytes: packet(9),
            held: Held {
                frozen: Arc::new(Frozen::packet_out(BRIDGE, 0xffff, &Key::ZERO, &actions)),
                tracked: Tracked::default(),
            },
        }))]);
        bench.turn();
        assert_eq!(bench.take(), [1, 2, 3].map(|port| (port, packet(9))), "behind {before}");
        bench.check();
    }
}
