//! Every reason for which a packet is dropped, brought about: it is the one that is named, and it is
//! counted once.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::{Action, DropReason, NoNames, OutPort, QueueSettings};
use common::{BRIDGE, Bench, CONNECTIONS, Nothing, Options, checksums};
use flowtable::{Frozen, Tracked, VlanMode};
use hw::{Refusal, RxQueue, TxQueue, Wake};
use packet::{
    Batch, Chainer, Checksum, FramePool, HEADROOM, Key, Kind, Packet, PortId, Segmentation,
    compose, tcp,
};
use vswitch::desk::Order;
use vswitch::egress::Egress;
use vswitch::inject::Injection;
use vswitch::news::Held;

/// Makes packets, once.
type Make = Box<dyn FnOnce(&mut FramePool) -> Vec<Packet> + Send>;

struct Once(Option<Make>);

impl RxQueue for Once {
    fn rx(&mut self, batch: &mut Batch, _: usize, pool: &mut FramePool) {
        let made = self.0.take().map(|make| make(pool));
        made.into_iter().flatten().for_each(|packet| batch.push(packet));
    }
    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

/// Takes packets, or refuses them all.
struct Sink(Option<Refusal>);

impl TxQueue for Sink {
    fn tx(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        refused: &mut Vec<(Packet, Refusal)>,
    ) {
        for packet in batch.drain(..) {
            match self.0 {
                Some(refusal) => refused.push((packet, refusal)),
                None => packet.free(pool),
            }
        }
    }
    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

/// Port 4 sends a frame in ten seconds, while one more may wait.
fn egress() -> Egress {
    let slow = QueueSettings {
        max_rate: Some(1_000),
        burst: Some(1_514),
        depth: 2,
        ..QueueSettings::default()
    };
    let mut egress = Egress::default();
    egress.set(0, slow, 1, Duration::ZERO).unwrap();
    egress
}

/// What was dropped, of packets that come in by port `number` of a bridge with such ports, whose port
/// 2 refuses what is sent there. Among the flows may be groups, meters, and a limit of all zones.
fn drops(
    vlans: &[VlanMode],
    flows: &[String],
    number: u16,
    refusal: Option<Refusal>,
    make: Make,
) -> Vec<(DropReason, u64)> {
    let mut bench = Bench::without_queues(vlans, Options::default());
    for line in flows {
        match line.split_once(' ') {
            Some(("group", group)) => bench.group_mod(&group.parse().unwrap()),
            Some(("meter", meter)) => bench.meter_mod(&meter.parse().unwrap()),
            Some(("limit", limit)) => {
                bench.connections.zones().set_default_limit(limit.parse().unwrap());
            }
            _ => bench.flow_mods(&[line.parse().unwrap()]),
        }
    }
    for port in 2..=4 {
        let refusal = refusal.filter(|_| port == 2);
        bench.plug(port, Box::new(Nothing), Box::new(Sink(refusal)));
    }
    let (port, queues) = (PortId(14), egress().queues(0));
    bench.desk.order([Order::Queue { port, queues, most_held: 64 }]);
    let account = bench.plug(number, Box::new(Once(Some(make))), Box::new(Sink(None)));
    bench.turn();
    let (came, went) = account.balance();
    assert_eq!(came, went, "the account: {account:?}");
    account.drops().filter(|(_, packets)| *packets > 0).collect()
}

fn bytes(flow: &str) -> Vec<u8> {
    compose(&api::text::packet(flow, &NoNames).unwrap(), 64)
}

/// These packets, as they come over a wire.
fn plain(packets: &[Vec<u8>]) -> Make {
    let packets = packets.to_vec();
    Box::new(move |pool| {
        let copy = |bytes: &Vec<u8>| Chainer::copy_of(bytes, HEADROOM, PortId(11), pool).unwrap();
        packets.iter().map(copy).collect()
    })
}

fn flows(flows: &[&str]) -> Vec<String> {
    flows.iter().map(|flow| (*flow).to_owned()).collect()
}

/// How each reason comes about by flows and what is in a packet.
fn by_flows(reason: DropReason) -> Option<Vec<(DropReason, u64)>> {
    let all = || VlanMode::Trunk(Vec::new());
    let four = vec![all(), all(), all(), all()];
    let udp = bytes("dl_dst=02:00:00:00:00:02,udp,nw_src=10.0.0.1,nw_ttl=64,tp_dst=53");
    let one = |rules: &[&str]| {
        Some(drops(&four, &flows(rules), 1, None, plain(std::slice::from_ref(&udp))))
    };
    match reason {
        DropReason::TableMiss => one(&["tcp,actions=output:2"]),
        DropReason::FlowDrop => one(&["actions=drop"]),
        DropReason::InvalidTtl => {
            let late = bytes("udp,nw_ttl=1");
            Some(drops(&four, &flows(&["ip,actions=dec_ttl,output:2"]), 1, None, plain(&[late])))
        }
        DropReason::NoSuchPort => one(&["actions=output:9"]),
        DropReason::OutputToIngress => one(&["actions=output:1"]),
        DropReason::ResubmitDepth => one(&["actions=resubmit(,0)"]),
        DropReason::ResubmitLimit => {
            // Twice as often in each table: 2^13 in the last one.
            let rules: Vec<_> = (0..13).map(twice).collect();
            Some(drops(&four, &rules, 1, None, plain(&[udp])))
        }
        DropReason::ProgramLimit => {
            let mut rules: Vec<_> = (0..10).map(twice).collect();
            rules.push("table=10,actions=output:2,output:3".to_owned());
            Some(drops(&four, &rules, 1, None, plain(&[udp])))
        }
        DropReason::NoSuchGroup
        | DropReason::NoLiveBucket
        | DropReason::NoSuchMeter
        | DropReason::Metered
        | DropReason::StackLimit
        | DropReason::PassLimit
        | DropReason::DecisionLimit => by_decisions(reason, &four, &udp),
        DropReason::CtNoPort => {
            let of = |port| bytes(&format!("udp,nw_src=10.0.0.1,nw_ttl=64,tp_src={port}"));
            let rules = flows(&["ip,actions=ct(commit,nat(src=10.0.0.9:7-9)),output:2"]);
            Some(drops(&four, &rules, 1, None, plain(&[of(1), of(2), of(3), of(4)])))
        }
        DropReason::CtClash => {
            let again = "ct_clear,ct(commit),output:2";
            let rules = flows(&[&format!("ip,actions=ct(commit,nat(dst=10.0.0.9)),{again}")]);
            Some(drops(&four, &rules, 1, None, plain(&[udp])))
        }
        DropReason::CtExpectFull | DropReason::CtLineCut | DropReason::CtRewrite => {
            announcing(reason, &four)
        }
        DropReason::FragmentBad
        | DropReason::FragmentOverlap
        | DropReason::FragmentTimeout
        | DropReason::FragmentLimit => Some(in_fragments(reason, &four)),
        DropReason::CtFull => {
            let of = |port| bytes(&format!("udp,nw_src=10.0.0.1,nw_ttl=64,tp_src={port}"));
            let packets: Vec<_> = (1..=CONNECTIONS + 1).map(of).collect();
            let rules = flows(&["ip,actions=ct(commit),output:2"]);
            Some(drops(&four, &rules, 1, None, plain(&packets)))
        }
        DropReason::CtZoneLimit => {
            let of = |port| bytes(&format!("udp,nw_src=10.0.0.1,nw_ttl=64,tp_src={port}"));
            let rules = flows(&["limit 2", "ip,actions=ct(commit,zone=5),output:2"]);
            // That of a connection there is passes.
            Some(drops(&four, &rules, 1, None, plain(&[of(1), of(2), of(3), of(1)])))
        }
        DropReason::VlanTags => {
            let tagged = bytes("dl_vlan=5,udp,nw_ttl=64");
            // The second push must be one that nobody could foresee.
            let rules = flows(&[
                "table=0,actions=push_vlan:0x8100,resubmit(,1)",
                "table=1,actions=push_vlan:0x8100,output:2",
            ]);
            Some(drops(&four, &rules, 1, None, plain(&[tagged])))
        }
        DropReason::NormalVlan => {
            let vlans = [VlanMode::Access(5), all(), all(), all()];
            let tagged = bytes("dl_vlan=7,udp,nw_ttl=64");
            Some(drops(&vlans, &flows(&["actions=normal"]), 1, None, plain(&[tagged])))
        }
        DropReason::NormalReserved => {
            let stp = bytes("dl_dst=01:80:c2:00:00:00,dl_type=0x1234");
            Some(drops(&four, &flows(&["actions=normal"]), 1, None, plain(&[stp])))
        }
        DropReason::NormalSamePort => {
            let a = "02:00:00:00:00:0a";
            let packets = [
                bytes(&format!("dl_src={a},dl_dst=02:00:00:00:00:0b,udp,nw_ttl=64")),
                bytes(&format!("dl_src=02:00:00:00:00:0b,dl_dst={a},udp,nw_ttl=64")),
            ];
            Some(drops(&four, &flows(&["actions=normal"]), 1, None, plain(&packets)))
        }
        DropReason::NormalNowhere => {
            Some(drops(&[all()], &flows(&["actions=normal"]), 1, None, plain(&[udp])))
        }
        DropReason::Runt => {
            Some(drops(&four, &flows(&["actions=normal"]), 1, None, plain(&[vec![2; 13]])))
        }
        DropReason::NoReceive => {
            let eight = vec![all(); 8];
            Some(drops(&eight, &flows(&["actions=output:2"]), 7, None, plain(&[udp])))
        }
        DropReason::NoForward => {
            let eight = vec![all(); 8];
            Some(drops(&eight, &flows(&["actions=output:8"]), 1, None, plain(&[udp])))
        }
        // Of no bridge.
        DropReason::Closed => {
            let make = plain(&[udp]);
            let elsewhere: Make = Box::new(move |pool| {
                make(pool)
                    .into_iter()
                    .map(|packet| {
                        let bytes = packet.to_vec(pool.memory());
                        packet.free(pool);
                        Chainer::copy_of(&bytes, HEADROOM, PortId(19), pool).unwrap()
                    })
                    .collect()
            });
            Some(drops(&four, &flows(&["actions=output:2"]), 9, None, elsewhere))
        }
        _ => by_ports(reason, &four, udp),
    }
}

/// How each reason comes about by fragments of which some are missing, or do not fit.
fn in_fragments(reason: DropReason, four: &[VlanMode]) -> Vec<(DropReason, u64)> {
    // Thirty bytes of payload make no fragment that others follow, twenty-four do.
    let fragment = |id: u16, at: u16, len: u16| {
        let mut bytes = bytes("udp,nw_src=10.0.0.1,nw_ttl=64,tp_dst=53");
        for (place, word) in [(16, 20 + len), (18, id), (20, 0x2000 + at / 8)] {
            bytes[place..place + 2].copy_from_slice(&word.to_be_bytes());
        }
        checksums::make(&mut bytes);
        bytes
    };
    let mut bench = Bench::new(four, Options::default());
    bench.flow_mods(&["ip,actions=ct(table=1)".parse().unwrap()]);
    match reason {
        DropReason::FragmentBad => bench.put(1, &fragment(1, 0, 30)),
        DropReason::FragmentOverlap => {
            bench.put(1, &fragment(1, 0, 24));
            bench.put(1, &fragment(1, 16, 24));
        }
        DropReason::FragmentTimeout => bench.put(1, &fragment(1, 0, 24)),
        // One more than may wait.
        _ => (0..=512).for_each(|id| {
            bench.put(1, &fragment(id, 0, 24));
            bench.turn();
        }),
    }
    bench.turn();
    if reason == DropReason::FragmentTimeout {
        bench.wait(Duration::from_secs(31));
    }
    bench.drops().into_iter().map(|(_, reason, packets)| (reason, packets)).collect()
}

/// How each reason comes about by what a control connection of FTP says.
fn announcing(reason: DropReason, four: &[VlanMode]) -> Option<Vec<(DropReason, u64)>> {
    let server = [10, 0, 0, 2];
    let all = |client: u8, said: &str| {
        let (there, back) = (([10, 0, 0, client], 4000), (server, 21));
        [
            segment(there, back, tcp::SYN, [1, 0], ""),
            segment(back, there, tcp::SYN | tcp::ACK, [1, 2], ""),
            segment(there, back, tcp::ACK, [2, 2], ""),
            segment(there, back, tcp::ACK, [2, 2], said),
        ]
    };
    let watch = "tcp,actions=ct(commit,alg=ftp),output:2";
    let translate = [
        "tcp,tp_dst=21,actions=ct(commit,alg=ftp,nat(src=10.0.0.100)),output:2",
        "priority=1,tcp,actions=ct(nat),output:2",
    ];
    match reason {
        DropReason::CtExpectFull => {
            let ports = |client: u8| -> String {
                (1..=8).map(|port| format!("PORT 10,0,0,{client},9,{port}\r\n")).collect()
            };
            // Of eight each, one has room for two only, and its packet is dropped.
            let packets: Vec<_> = (3..=34).flat_map(|n| all(n, &ports(n))).collect();
            Some(drops(four, &flows(&[watch]), 1, None, plain(&packets)))
        }
        DropReason::CtLineCut => {
            Some(drops(four, &flows(&[watch]), 1, None, plain(&all(1, "PORT 10,0,0,1,9"))))
        }
        _ => {
            let mut packets = all(1, "PORT 10,0,0,1,9,9\r\n");
            // The answer goes to the address that the client is known by.
            packets[1] = segment((server, 21), ([10, 0, 0, 100], 4000), 0x12, [1, 2], "");
            let make: Make = Box::new(move |pool| {
                let copy = |bytes: &Vec<u8>| {
                    // Nothing is left behind the last byte.
                    let room = u16::try_from(2048 - bytes.len()).unwrap();
                    Chainer::copy_of(bytes, room, PortId(11), pool).unwrap()
                };
                packets.iter().map(copy).collect()
            });
            Some(drops(four, &flows(&translate), 1, None, make))
        }
    }
}

/// A segment of TCP between two ends, with its numbers: its own, and what it acknowledges.
fn segment(
    (src, src_port): ([u8; 4], u16),
    (dst, dst_port): ([u8; 4], u16),
    flags: u16,
    [seq, ack]: [u32; 2],
    text: &str,
) -> Vec<u8> {
    let [src, dst] = [src, dst].map(std::net::Ipv4Addr::from);
    let flow = format!(
        "tcp,nw_src={src},nw_dst={dst},nw_ttl=64,tp_src={src_port},tp_dst={dst_port},tcp_flags={flags:#x}"
    );
    let mut bytes = compose(&api::text::packet(&flow, &NoNames).unwrap(), 54 + text.len());
    bytes[38..42].copy_from_slice(&seq.to_be_bytes());
    bytes[42..46].copy_from_slice(&ack.to_be_bytes());
    bytes[48..50].fill(0xff);
    bytes[54..].copy_from_slice(text.as_bytes());
    checksums::make(&mut bytes);
    bytes
}

/// How each reason comes about by groups, meters and whatever else is decided for each packet.
fn by_decisions(
    reason: DropReason,
    four: &[VlanMode],
    udp: &[u8],
) -> Option<Vec<(DropReason, u64)>> {
    let dropped = |rules: &[String], packets: usize| {
        Some(drops(four, rules, 1, None, plain(&vec![udp.to_vec(); packets])))
    };
    let of = |rules: &[&str]| dropped(&flows(rules), 1);
    let check = "check_pkt_larger(1000)->reg0[0]";
    match reason {
        DropReason::NoSuchGroup => {
            of(&["group group_id=1,type=all,bucket=actions=group:9", "actions=group:1"])
        }
        DropReason::NoLiveBucket => of(&[
            "group group_id=1,type=ff,bucket=watch_port=9,actions=output:2",
            "actions=group:1",
        ]),
        DropReason::NoSuchMeter => Some(without_meter(four, udp)),
        DropReason::Metered => {
            let meter = "meter meter=1,pktps,burst,bands=type=drop,rate=1,burst_size=4";
            dropped(&flows(&[meter, "actions=meter:1,output:2"]), 5)
        }
        DropReason::StackLimit => {
            // Table 7 is passed 2^7 times.
            let mut rules: Vec<_> = (0..7).map(twice).collect();
            rules.push(format!("table=7,actions={}", "push:reg0,".repeat(33)));
            dropped(&rules, 1)
        }
        DropReason::PassLimit => {
            dropped(&[format!("actions={}output:2", format!("{check},").repeat(9))], 1)
        }
        DropReason::DecisionLimit => {
            // All that is said of one packet is kept until its last pass.
            let shown: String = (1..=700).map(|n| format!("controller(max_len={n}),")).collect();
            let table = |n| {
                let next = n + 1;
                format!("table={n},actions={check},{shown}resubmit(,{next})")
            };
            dropped(&(0..7).map(table).collect::<Vec<_>>(), 1)
        }
        _ => None,
    }
}

/// What becomes of a packet that goes on behind a pause when its meter is gone.
fn without_meter(four: &[VlanMode], udp: &[u8]) -> Vec<(DropReason, u64)> {
    let mut bench = Bench::without_queues(four, Options::default());
    let account = bench.plug(1, Box::new(Nothing), Box::new(Sink(None)));
    let actions = [Action::Meter(9), Action::Output(OutPort::Port(2))];
    bench.desk.order([Order::Inject(Box::new(Injection {
        ingress: PortId(11),
        account: Some(Arc::clone(&account)),
        bytes: udp.to_vec(),
        held: Held {
            frozen: Arc::new(Frozen::packet_out(BRIDGE, 1, &Key::ZERO, &actions)),
            tracked: Tracked::default(),
        },
    }))]);
    bench.turn();
    let (came, went) = account.balance();
    assert_eq!(came, went, "the account: {account:?}");
    account.drops().filter(|(_, packets)| *packets > 0).collect()
}

/// A flow that passes the next table twice.
fn twice(table: u8) -> String {
    let next = table + 1;
    format!("table={table},actions=resubmit(,{next}),resubmit(,{next})")
}

/// How each reason comes about by frames, offloads and ports.
fn by_ports(reason: DropReason, four: &[VlanMode], udp: Vec<u8>) -> Option<Vec<(DropReason, u64)>> {
    let refused = |refusal| {
        Some(drops(
            four,
            &flows(&["actions=output:2"]),
            1,
            Some(refusal),
            plain(std::slice::from_ref(&udp)),
        ))
    };
    let special = |rules: &[&str], make: Make| Some(drops(four, &flows(rules), 1, None, make));
    match reason {
        DropReason::NoFrames => special(
            &["actions=output:2,output:3"],
            Box::new(move |pool| {
                let packet = Chainer::copy_of(&udp, HEADROOM, PortId(11), pool).unwrap();
                // Somebody else has all the others.
                std::iter::from_fn(|| pool.alloc()).for_each(std::mem::forget);
                vec![packet]
            }),
        ),
        DropReason::NoHeadroom => special(
            &["actions=push_vlan:0x8100,output:2"],
            Box::new(move |pool| vec![Chainer::copy_of(&udp, 0, PortId(11), pool).unwrap()]),
        ),
        DropReason::NotSegmentable => special(
            &["actions=output:2"],
            Box::new(|pool| {
                let mut packet =
                    Chainer::copy_of(&[0x55; 1000], HEADROOM, PortId(11), pool).unwrap();
                packet.segmentation = Segmentation::new(Kind::Tcp4, 54, 100, 1000).unwrap();
                vec![packet]
            }),
        ),
        DropReason::ChecksumPlace => special(
            &["actions=output:2"],
            Box::new(move |pool| {
                let mut packet = Chainer::copy_of(&udp, HEADROOM, PortId(11), pool).unwrap();
                packet.checksum = Checksum::Partial { start: 60, offset: 60 };
                vec![packet]
            }),
        ),
        DropReason::TxTooLong => {
            let mut long = udp;
            long.resize(9015, 0);
            special(&["actions=output:2"], plain(&[long]))
        }
        DropReason::QueueFull => {
            special(&["actions=output:4"], plain(&[udp.clone(), udp.clone(), udp]))
        }
        DropReason::TxFull => refused(Refusal::Full),
        DropReason::TxDown => refused(Refusal::Down),
        DropReason::TxError => refused(Refusal::Error),
        _ => None,
    }
}

#[test]
fn each_reason_comes_about_and_is_named() {
    let mut unreached = BTreeSet::new();
    for reason in DropReason::ALL {
        match by_flows(*reason) {
            Some(dropped) => {
                // The one that is overlapped goes as well.
                let packets = if *reason == DropReason::FragmentOverlap { 2 } else { 1 };
                assert_eq!(dropped, [(*reason, packets)], "{reason:?}");
            }
            None => _ = unreached.insert(reason.name()),
        }
    }
    assert_eq!(unreached, BTreeSet::new(), "no test brings these about");
}

#[test]
fn each_reason_stands_on_its_page_with_its_sentence() {
    let page = include_str!("../../docs/src/reference/drop-reasons.md");
    for reason in DropReason::ALL {
        let row = format!("| `{reason}` | {} |", reason.sentence());
        assert!(page.contains(&row), "{row}");
    }
}

/// It was consumed: what is refused is nothing that flows say.
#[test]
fn what_is_refused_behind_a_copy_is_counted() {
    let four = vec![VlanMode::Trunk(Vec::new()); 4];
    let of = |port| bytes(&format!("udp,nw_src=10.0.0.1,nw_ttl=64,tp_src={port}"));
    let rules = flows(&["limit 2", "ip,actions=output:3,ct(commit,zone=5),output:4"]);
    let dropped = drops(&four, &rules, 1, None, plain(&[of(1), of(2), of(3)]));
    assert_eq!(dropped, [(DropReason::CtZoneLimit, 1)]);
}

/// What becomes of a super-frame of `packets` that is cut for its output, if there are frames for so
/// many: the account balances in any case.
fn cut(frames: Option<usize>) -> Vec<(DropReason, u64)> {
    let flow = "dl_dst=02:00:00:00:00:02,tcp,nw_src=10.0.0.1,nw_ttl=64,tp_dst=80,tcp_flags=ack";
    let bytes = compose(&api::text::packet(flow, &NoNames).unwrap(), 1054);
    let make: Make = Box::new(move |pool| {
        let mut packet = Chainer::copy_of(&bytes, HEADROOM, PortId(11), pool).unwrap();
        packet.checksum = Checksum::Partial { start: 34, offset: 16 };
        packet.segmentation = Segmentation::new(Kind::Tcp4, 54, 100, 1054).unwrap();
        if let Some(frames) = frames {
            let kept: Vec<_> = (0..frames).map_while(|_| pool.alloc()).collect();
            std::iter::from_fn(|| pool.alloc()).for_each(std::mem::forget);
            kept.into_iter().for_each(|frame| pool.free(frame));
        }
        vec![packet]
    });
    let four = vec![VlanMode::Trunk(Vec::new()); 4];
    drops(&four, &flows(&["actions=output:2"]), 1, None, make)
}

#[test]
fn segments_are_counted_also_those_there_were_no_frames_for() {
    assert_eq!(cut(None), []);
    let lost = cut(Some(4));
    assert!(matches!(&*lost, [(DropReason::NoFrames, 1..10)]), "{lost:?}");
}

#[test]
fn a_port_that_takes_less_is_a_reason() {
    let udp = bytes("udp,nw_ttl=64");
    let four = vec![VlanMode::Trunk(Vec::new()); 4];
    let rules = flows(&["actions=output:2"]);
    let dropped = drops(&four, &rules, 1, Some(Refusal::TooLong), plain(&[udp]));
    assert_eq!(dropped, [(DropReason::TxTooLong, 1)]);
}
