//! Flows that packets teach, carried by real workers under a clock that is moved by hand.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod common;
#[path = "common/ovs.rs"]
mod ovs;

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use api::{FlowMod, NoNames};
use common::{BRIDGE, Bench, Options};
use flowtable::{Applied, Edit, Pending, Tables, VlanMode};
use ovs::Ovs;
use packet::{Millis, compose};
use vswitch::account::Counter;
use vswitch::counters::WorkerCounters;
use vswitch::ledger::Ledger;

/// A bridge with ports 1 to 4, one or two workers, and what the control thread does for them.
struct Switch {
    workers: Vec<Bench>,
    ledger: Ledger,
}

fn bytes(flow: &str) -> Vec<u8> {
    compose(&api::text::packet(flow, &NoNames).unwrap(), 64)
}

impl Switch {
    fn new(workers: usize, lines: &[&str]) -> Self {
        let options = Options::default();
        let first = Bench::new(&vec![VlanMode::Trunk(Vec::new()); 4], options);
        let others: Vec<_> = (1..workers).map(|_| first.beside(4, options)).collect();
        let workers = std::iter::once(first).chain(others).collect();
        let mut switch = Self { workers, ledger: Ledger::default() };
        switch.change(lines);
        switch
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.workers[0].now.as_millis()).unwrap())
    }

    fn tables(&self) -> Arc<Tables> {
        self.workers[0].generation()
    }

    fn publish(&mut self, edit: Edit) {
        let (tables, applied): (Tables, Applied) = edit.finish();
        self.ledger.apply(BRIDGE, applied);
        self.workers[0].tables.publish(Arc::new(tables));
        for worker in &mut self.workers {
            worker.desk.ring();
            worker.turn();
        }
    }

    fn change(&mut self, lines: &[&str]) {
        self.take_in();
        let (mut edit, now) = (self.tables().edit(), self.now());
        for line in lines {
            match line.split_once(' ') {
                Some(("group", group)) => {
                    edit.group_mod(BRIDGE, &group.parse().unwrap(), now).unwrap();
                }
                _ => edit.flow_mod(BRIDGE, &line.parse().unwrap(), now).unwrap(),
            }
        }
        self.publish(edit);
    }

    /// Puts flows that were learned among the others. Answers how many there were.
    fn take_in(&mut self) -> usize {
        let tables = self.tables();
        let pending = &tables.bridge(BRIDGE).unwrap().pending;
        let Some(rules) = pending.rules() else { return 0 };
        let mut edit = tables.edit();
        for rule in rules.iter() {
            edit.learn(BRIDGE, rule, self.now()).unwrap();
        }
        self.publish(edit);
        pending.remove(&rules);
        rules.len()
    }

    /// Takes a packet in by a port of a worker. Answers where it has gone.
    fn carry_by(&mut self, worker: usize, port: u16, flow: &str) -> Vec<u16> {
        let worker = &mut self.workers[worker];
        worker.put(port, &bytes(flow));
        worker.turn();
        worker.take().into_iter().map(|(port, _)| port).collect()
    }

    fn carry(&mut self, port: u16, flow: &str) -> Vec<u16> {
        self.carry_by(0, port, flow)
    }

    /// Lets so many seconds pass, second by second, with what is due meanwhile.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            for worker in &mut self.workers {
                worker.wait(Duration::from_secs(1));
            }
            self.take_in();
            let (tables, now) = (self.tables(), self.now());
            let Self { workers, ledger, .. } = self;
            let readers = || workers.iter().map(|worker| &worker.reader);
            ledger.fold(readers(), &tables);
            ledger.finish_all(readers(), &tables);
            let over = ledger.expired(now, &tables, |ledger| ledger.sums(readers()));
            if over.is_empty() {
                continue;
            }
            let mut edit = tables.edit();
            for (bridge, rule) in over {
                edit.remove_rule(bridge, &rule).unwrap();
            }
            self.publish(edit);
        }
    }

    /// The flows of a table, those that are pending included.
    fn flows(&self, table: u8) -> Vec<String> {
        let tables = self.tables();
        let bridge = tables.bridge(BRIDGE).unwrap();
        let pending = bridge.pending.rules();
        let pending = pending.iter().flat_map(|rules| rules.iter());
        let there = bridge.table(table).into_iter().flat_map(|table| table.rules());
        let is_new = |rule: &&Arc<_>| tables.rule(flowtable::Rule::clone(rule).id).is_none();
        let all = there.chain(pending.filter(|rule| rule.table == table).filter(is_new));
        all.map(|rule| rule.flow_mod().to_string()).collect()
    }

    fn check(&mut self) {
        self.workers.iter_mut().for_each(Bench::check);
    }

    /// Flows that packets have taught so far, and those for which there was no room.
    fn taught(&mut self) -> [u64; 2] {
        // Counters are reported once a millisecond.
        self.workers.iter_mut().for_each(|worker| worker.wait(Duration::from_millis(2)));
        let sum = |what: fn(&WorkerCounters) -> &Counter| {
            self.workers.iter().map(|worker| what(&worker.counters).get()).sum()
        };
        [sum(|counters| &counters.taught), sum(|counters| &counters.not_taught)]
    }
}

/// As in ovs-actions(7).
const MACS: [&str; 3] = [
    "table=0,actions=learn(table=1,hard_timeout=10,NXM_OF_VLAN_TCI[0..11],\
     NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),resubmit(,1)",
    "table=1,priority=0,actions=flood",
    "table=0,priority=65535,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=flood",
];

const A_TO_B: &str = "dl_src=02:00:00:00:00:0a,dl_dst=02:00:00:00:00:0b,dl_type=0x1234";
const B_TO_A: &str = "dl_src=02:00:00:00:00:0b,dl_dst=02:00:00:00:00:0a,dl_type=0x1234";

#[test]
fn addresses_are_learned_and_move() {
    // Whether control has taken them in yet makes no difference.
    for takes_in in [false, true] {
        let mut switch = Switch::new(2, &MACS);
        let mut step = |worker, port, flow, expected: &[u16]| {
            assert_eq!(switch.carry_by(worker, port, flow), expected, "{flow}, {takes_in}");
            if takes_in {
                switch.take_in();
            }
        };
        // Port 4 is not flooded.
        step(0, 1, A_TO_B, &[2, 3]);
        step(1, 2, B_TO_A, &[1]);
        step(0, 1, A_TO_B, &[2]);
        step(0, 1, A_TO_B, &[2]);
        step(1, 2, B_TO_A, &[1]);
        // A has moved.
        step(0, 3, A_TO_B, &[2]);
        step(1, 2, B_TO_A, &[3]);
        step(0, 2, B_TO_A, &[3]);
        switch.take_in();
        assert_eq!(switch.flows(1).len(), 3, "{:?}", switch.flows(1));
        switch.check();
    }
}

#[test]
fn a_flow_that_is_learned_anew_takes_the_place_of_the_old_one() {
    let mut switch = Switch::new(1, &MACS);
    switch.carry(1, A_TO_B);
    switch.take_in();
    let tables = switch.tables();
    let of = |tables: &Tables| {
        let rules = tables.bridge(BRIDGE).unwrap().table(1).unwrap().rules();
        let learned = rules.filter(|rule| rule.priority > 0);
        learned.map(|rule| (rule.id, rule.order, rule.created, rule.modified)).collect::<Vec<_>>()
    };
    let old = of(&tables);
    switch.wait(3);
    // It was met twice before it is another one: that is the same flow to whoever counts.
    switch.carry(2, B_TO_A);
    switch.carry(2, B_TO_A);
    assert_eq!(switch.carry(3, A_TO_B), [2]);
    switch.take_in();
    let new = of(&switch.tables());
    let (id, order, created, _) = old[0];
    assert_eq!(new[0], (id, order, created, switch.now()));
    assert!(switch.flows(1).iter().any(|flow| flow.contains("output:3")));
    let counts = switch.workers[0].counts();
    let [met] = &*counts.rules.iter().filter(|(_, packets, _)| *packets == 2).collect::<Vec<_>>()
    else {
        panic!("one flow was met twice: {counts:?}");
    };
    assert!(met.0.starts_with("table=1"), "{met:?}");
}

#[test]
fn a_flow_taught_anew_was_lost_when_control_took_in_the_old_one() {
    let mut switch = Switch::new(1, &MACS);
    switch.carry(1, A_TO_B);
    let tables = switch.tables();
    let pending: &Pending = &tables.bridge(BRIDGE).unwrap().pending;
    let taken = pending.rules().unwrap();
    let mut edit = tables.edit();
    edit.learn(BRIDGE, &taken[0], switch.now()).unwrap();
    // Before control has taken it out.
    switch.carry(3, A_TO_B);
    switch.publish(edit);
    pending.remove(&taken);
    assert_eq!(switch.carry(2, B_TO_A), [3]);
    switch.take_in();
    assert_eq!(switch.carry(2, B_TO_A), [3]);
}

#[test]
fn a_learned_flow_lives_as_long_as_its_teacher_is_used() {
    let mut switch = Switch::new(1, &MACS);
    switch.carry(1, A_TO_B);
    // Its hard timeout is 10 s, and begins anew with each packet of A.
    for _ in 0..6 {
        switch.wait(8);
        assert_eq!(switch.flows(1).len(), 2);
        switch.carry(1, A_TO_B);
    }
    switch.wait(9);
    assert_eq!(switch.carry(2, B_TO_A), [1]);
    switch.wait(2);
    assert_eq!(switch.flows(1).len(), 2, "that of B");
    assert_eq!(switch.carry(2, B_TO_A), [1, 3], "A is not known");
    // By the next packet it is learned again.
    switch.carry(1, A_TO_B);
    assert_eq!(switch.carry(2, B_TO_A), [1]);
    switch.check();
}

#[test]
fn an_idle_timeout_is_about_packets_of_the_learned_flow() {
    let learn = MACS[0].replace("hard_timeout", "idle_timeout");
    let mut switch = Switch::new(1, &[&learn, MACS[1]]);
    switch.carry(1, A_TO_B);
    for _ in 0..3 {
        switch.wait(8);
        assert_eq!(switch.carry(2, B_TO_A), [1]);
    }
    // As in Open vSwitch, its teacher does not keep it.
    switch.wait(8);
    switch.carry(1, A_TO_B);
    switch.wait(3);
    assert!(!switch.flows(1).iter().any(|flow| flow.contains("02:00:00:00:00:0a")));
    // The next packet of the teacher's, which was cached, teaches it again.
    assert_eq!(switch.taught(), [3, 0], "A, B, and B again when nobody had sent to it for 16 s");
    switch.carry(1, A_TO_B);
    assert_eq!(switch.taught(), [4, 0]);
    assert_eq!(switch.carry(2, B_TO_A), [1]);
}

/// A Service of three backends, each behind a port; a client keeps the one that it has got.
const SERVICE: [&str; 6] = [
    "group group_id=1,type=select,bucket=actions=load:2->reg2,resubmit(,3),\
     bucket=actions=load:3->reg2,resubmit(,3),bucket=actions=load:4->reg2,resubmit(,3)",
    "table=0,tcp,tp_dst=80,actions=resubmit(,1),resubmit(,2)",
    "table=1,priority=0,actions=load:0->reg1",
    "table=2,priority=1,reg1=0,actions=group:1",
    "table=2,priority=0,actions=output:reg1[0..15]",
    "table=3,tcp,actions=learn(table=1,idle_timeout=30,priority=9,eth_type=0x800,nw_proto=6,ip_src,\
     load:NXM_NX_REG2[]->NXM_NX_REG1[]),output:reg2[0..15]",
];

fn syn(client: u32, port: u16) -> String {
    let [_, _, high, low] = client.to_be_bytes();
    let from = format!("nw_src=10.0.{high}.{low},tp_src={port}");
    format!(
        "dl_dst=02:00:00:00:00:99,tcp,{from},nw_dst=10.96.0.1,tp_dst=80,tcp_flags=syn,nw_ttl=64"
    )
}

/// Of the packets that come at once, each by its port, where each has gone.
fn at_once(bench: &mut Bench, flows: &[String]) -> Vec<u16> {
    flows.iter().for_each(|flow| bench.put(1, &bytes(flow)));
    bench.turn();
    bench.take().into_iter().map(|(port, _)| port).collect()
}

#[test]
fn back_to_back_connections_of_a_client_go_to_one_backend() {
    let mut switch = Switch::new(1, &SERVICE);
    let mut chosen = [0; 5];
    for client in 0..60 {
        let flows: Vec<_> = (0..16).map(|n| syn(client, 4000 + n)).collect();
        let went = at_once(&mut switch.workers[0], &flows);
        assert_eq!(went.len(), 16);
        assert!(went.iter().all(|port| *port == went[0]), "{went:?}");
        chosen[usize::from(went[0])] += 1;
        if client % 3 == 0 {
            switch.take_in();
        }
        // Later ones, too.
        let port = went[0];
        assert_eq!(switch.carry(1, &syn(client, 7777)), [port]);
    }
    // Without affinity each client would have been everywhere.
    assert!(chosen[2..].iter().all(|clients| *clients > 5), "{chosen:?}");
    switch.check();
}

#[test]
fn two_workers_in_turn_lead_a_client_to_one_backend() {
    let mut switch = Switch::new(2, &SERVICE);
    for client in 0..100 {
        let first = switch.carry_by(usize::from(client % 2 == 0), 1, &syn(client, 4000));
        for n in 1..8 {
            let worker = usize::from(n % 2 == 0);
            assert_eq!(switch.carry_by(worker, 1, &syn(client, 4000 + n)), first, "{client}");
        }
    }
    switch.check();
}

/// The same without a decision that ends a pass.
const IN_ONE_PASS: [&str; 10] = [
    "table=0,tcp,tp_dst=80,actions=resubmit(,1),resubmit(,2)",
    "table=1,priority=0,actions=load:0->reg1",
    "table=2,reg1=0,actions=multipath(symmetric_l3l4,50,hrw,3,0,NXM_NX_REG2[0..7]),resubmit(,3)",
    "table=2,reg1=0x100,actions=output:2",
    "table=2,reg1=0x101,actions=output:3",
    "table=2,reg1=0x102,actions=output:4",
    "table=3,tcp,actions=learn(table=1,idle_timeout=30,priority=9,eth_type=0x800,nw_proto=6,ip_src,\
     load:1->NXM_NX_REG1[8],load:NXM_NX_REG2[0..7]->NXM_NX_REG1[0..7]),resubmit(,4)",
    "table=4,reg2=0,actions=output:2",
    "table=4,reg2=1,actions=output:3",
    "table=4,reg2=2,actions=output:4",
];

#[test]
fn two_workers_at_once_lead_a_client_to_one_backend() {
    const CLIENTS: u32 = 800;
    let mut switch = Switch::new(2, &IN_ONE_PASS);
    let barrier = Barrier::new(2);
    let [one, other] = &mut switch.workers[..] else { panic!("two workers") };
    // Whoever is first learns; there is no control thread that takes anything in meanwhile.
    let run = |bench: &mut Bench, port: u16| -> Vec<u16> {
        let each = (0..CLIENTS).map(|client| {
            let flow = bytes(&syn(client, port));
            bench.put(1, &flow);
            barrier.wait();
            bench.turn();
            bench.take()[0].0
        });
        each.collect()
    };
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| run(one, 4000));
        let second = scope.spawn(|| run(other, 5000));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(first, second);
    assert_eq!(switch.take_in(), CLIENTS as usize);
    assert_eq!(switch.taught(), [u64::from(CLIENTS), 0], "each was learned once");
    switch.check();
}

#[test]
fn what_goes_beyond_a_limit_is_not_learned_and_says_so() {
    let learn = "learn(table=1,cookie=5,limit=2,result_dst=reg1[0],eth_src,load:1->reg3)";
    let another = "learn(table=1,cookie=5,limit=2,result_dst=reg1[1],eth_dst,load:1->reg3)";
    let mut switch = Switch::new(
        1,
        &[
            &format!("table=0,actions={learn},{another},resubmit(,2)"),
            "table=1,cookie=6,priority=1,actions=drop",
            "table=2,reg1=0,actions=output:2",
            "table=2,reg1=1,actions=output:3",
            "table=2,reg1=2,actions=output:4",
            "table=2,reg1=3,actions=in_port",
        ],
    );
    // Both are learned by the first packet; it counts what it has learned itself.
    assert_eq!(switch.carry(1, "dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02"), [1]);
    for _ in 0..2 {
        // What is there already is no new one.
        let of = |switch: &mut Switch, src, dst| {
            let flow = format!("dl_src=02:00:00:00:00:0{src},dl_dst=02:00:00:00:00:0{dst}");
            switch.carry(1, &flow)
        };
        assert_eq!(of(&mut switch, 1, 2), [1]);
        assert_eq!(of(&mut switch, 1, 7), [3]);
        assert_eq!(of(&mut switch, 7, 2), [4]);
        assert_eq!(of(&mut switch, 7, 7), [2]);
        assert_eq!(switch.flows(1).len(), 3);
        switch.take_in();
    }
    // When there is room again, the next packet is told so.
    switch.change(&["delete table=1,cookie=5/-1,dl_src=02:00:00:00:00:01"]);
    assert_eq!(switch.carry(1, "dl_src=02:00:00:00:00:07,dl_dst=02:00:00:00:00:07"), [3]);
    switch.check();
}

const TCP: &str = "dl_dst=02:00:00:00:00:99,tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64";

#[test]
fn a_flow_whose_connection_has_ended_goes_earlier() {
    for (learned, seconds) in [("fin_idle_timeout=5", 5), ("fin_hard_timeout=3", 3)] {
        let learn = format!(
            "learn(table=1,idle_timeout=60,hard_timeout=90,{learned},priority=9,eth_type=0x800,\
             nw_proto=6,ip_src,load:7->reg1)"
        );
        let teacher = format!("table=0,tcp,actions={learn},resubmit(,1)");
        let mut switch = Switch::new(1, &[&teacher, "table=1,priority=0,actions=drop"]);
        let ack = format!("{TCP},tcp_flags=ack");
        switch.carry(1, &ack);
        switch.carry(1, &ack);
        switch.wait(20);
        assert_eq!(switch.flows(1).len(), 2, "{learned}");
        switch.carry(1, &format!("{TCP},tcp_flags=fin|ack"));
        switch.wait(seconds - 1);
        assert_eq!(switch.flows(1).len(), 2, "{learned}");
        switch.wait(2);
        assert_eq!(switch.flows(1).len(), 1, "{learned}");
        // The next connection has a flow of its own.
        switch.carry(1, &ack);
        switch.carry(1, &ack);
        switch.wait(seconds + 2);
        assert_eq!(switch.flows(1).len(), 2, "{learned}");
    }
}

#[test]
fn fin_timeout_shortens_its_own_flow() {
    let flow = "idle_timeout=60,tcp,actions=fin_timeout(idle_timeout=4),output:2";
    let mut switch = Switch::new(1, &[flow]);
    switch.carry(1, &format!("{TCP},tcp_flags=ack"));
    switch.wait(10);
    assert_eq!(switch.carry(1, &format!("{TCP},tcp_flags=rst")), [2]);
    switch.wait(3);
    assert_eq!(switch.flows(0).len(), 1);
    switch.wait(2);
    assert_eq!(switch.flows(0).len(), 0);
}

#[test]
fn what_was_learned_goes_with_its_teacher() {
    let teacher = "table=0,hard_timeout=9,tcp,actions=learn(table=1,cookie=5,delete_learned,\
                   eth_type=0x800,nw_proto=6,ip_src,load:7->reg1),output:2";
    let others =
        ["table=1,cookie=6,udp,actions=drop", "table=1,cookie=5,arp,actions=drop", teacher];
    // Whether it is in the tables by then or not.
    for take_in in [false, true] {
        let mut switch = Switch::new(1, &others);
        switch.carry(1, TCP);
        assert_eq!(switch.flows(1).len(), 3);
        if take_in {
            switch.take_in();
        }
        switch.change(&["delete table=0"]);
        assert_eq!(switch.flows(1).len(), 1);
    }
    let mut switch = Switch::new(1, &others);
    switch.wait(8);
    assert_eq!(switch.carry(1, TCP), [2]);
    switch.wait(2);
    assert_eq!((switch.flows(0).len(), switch.flows(1).len()), (0, 1), "its time is over");
}

#[test]
fn of_too_many_at_once_some_are_not_learned_and_counted() {
    let mut switch = Switch::new(1, &MACS);
    let most = u32::try_from(Pending::MOST).unwrap();
    let from = |n: u32| {
        let [_, _, high, low] = n.to_be_bytes();
        format!("dl_src=02:00:00:01:{high:02x}:{low:02x},dl_dst=02:00:00:00:00:0b,dl_type=0x1234")
    };
    for n in 0..most + 100 {
        assert_eq!(switch.carry(1, &from(n)), [2, 3], "it is carried nevertheless");
    }
    assert_eq!(switch.taught(), [u64::from(most), 100]);
    // One that takes the place of another has room; and so have the others once they are taken in.
    switch.carry(3, &from(0));
    assert_eq!(switch.taught(), [u64::from(most) + 1, 100]);
    assert_eq!(switch.take_in(), Pending::MOST);
    switch.carry(1, &from(most));
    assert_eq!(switch.take_in(), 1);
    switch.check();
}

/// What happens to both switches, in order.
enum Event {
    /// A packet comes in.
    Packet(u16, &'static str),
    /// Flows of this match go.
    Delete(&'static str),
}

/// Flows and events, to be carried out by OVS as well.
#[rustfmt::skip]
const BESIDE: [(&[&str], &[Event]); 5] = [
    (&MACS, &[
        Event::Packet(1, A_TO_B), Event::Packet(2, B_TO_A), Event::Packet(3, A_TO_B), Event::Packet(2, B_TO_A),
    ]),
    // Every kind of what a learned flow is made of.
    (&["table=0,tcp,actions=learn(table=1,priority=7,idle_timeout=20,hard_timeout=30,fin_idle_timeout=5,\
        fin_hard_timeout=6,send_flow_rem,cookie=0x9,eth_type=0x800,nw_proto=6,NXM_OF_IP_SRC[]=NXM_OF_IP_DST[],\
        NXM_OF_IP_DST[0..15]=NXM_OF_IP_SRC[16..31],NXM_OF_TCP_DST[],load:0x17->NXM_NX_REG3[4..11],\
        load:NXM_OF_TCP_SRC[]->NXM_NX_REG1[0..15],output:NXM_OF_IN_PORT[]),output:2",
        "table=1,priority=0,actions=drop"],
     &[Event::Packet(1, TCP), Event::Packet(3, TCP), Event::Packet(1, FIN), Event::Packet(1, TCP)]),
    // No more than two, and the packet is told.
    (&["table=0,actions=learn(table=1,limit=2,result_dst=reg0[3],NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),\
        resubmit(,2)", "table=2,reg0=8/8,actions=output:2", "table=2,priority=0,actions=output:3"],
     &[Event::Packet(1, A_TO_B), Event::Packet(1, B_TO_A), Event::Packet(1, TCP), Event::Packet(4, A_TO_B),
       Event::Packet(1, TCP)]),
    // The last of two teachers takes what was learned along, and what else has the cookie.
    (&["table=0,tcp,actions=learn(table=1,cookie=5,delete_learned,NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),output:2",
        "table=0,udp,actions=learn(table=1,cookie=5,delete_learned,NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),output:3",
        "table=1,cookie=5,arp,actions=drop", "table=1,cookie=6,udp,actions=drop", "table=2,cookie=5,udp,actions=drop"],
     &[Event::Packet(1, TCP), Event::Packet(1, UDP), Event::Delete("table=0,tcp"), Event::Packet(1, UDP),
       Event::Delete("table=0,udp"), Event::Packet(1, UDP)]),
    // Other teachers of the same flows keep them.
    (&["table=0,tcp,actions=learn(table=1,cookie=5,delete_learned,NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),output:2",
        "table=3,udp,actions=learn(table=1,cookie=5,NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),output:3"],
     &[Event::Packet(1, TCP), Event::Delete("table=0"), Event::Packet(1, TCP)]),
];

const FIN: &str =
    "tcp,nw_src=10.0.0.3,nw_dst=10.0.0.4,nw_ttl=64,tcp_src=33,tcp_dst=80,tcp_flags=fin|ack";
const UDP: &str = "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,udp_src=7,udp_dst=8";

/// Flows as both dump them, each as we write it; no cookie is zero.
fn as_we_write(dump: &str) -> BTreeSet<String> {
    let flows = dump.lines().filter(|line| line.contains("actions="));
    let flow = |line: &str| line.replace("cookie=0x0, ", "").parse::<FlowMod>().unwrap();
    flows.map(|line| flow(line).to_string()).collect()
}

#[test]
#[ignore = "needs ovs-vswitchd: run by cargo xtask test"]
fn what_is_learned_is_what_ovs_learns() {
    let ovs = Ovs::start();
    for (number, (flows, events)) in (1..).zip(BESIDE) {
        let mut switch = Switch::new(1, flows);
        ovs.flows(&flows.iter().map(|flow| (*flow).to_owned()).collect::<Vec<_>>());
        for (step, event) in (1..).zip(events) {
            match event {
                Event::Packet(port, packet) => {
                    switch.carry(*port, packet);
                    ovs.receive(*port, &bytes(packet));
                    // What it has learned is to hold for the next one, not a second later.
                    ovs.forget_megaflows();
                }
                Event::Delete(matching) => {
                    switch.change(&[&format!("delete {matching}")]);
                    ovs.run(&["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br0", matching]);
                }
            }
            let ours: String =
                (0..4).flat_map(|table| switch.flows(table)).map(|flow| flow + "\n").collect();
            let theirs =
                ovs.run(&["ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "dump-flows", "br0"]);
            assert_eq!(as_we_write(&ours), as_we_write(&theirs), "case {number}, step {step}");
        }
    }
}
