use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::requests::mac;
use super::*;
use crate::drop::DropReason;
use crate::flags::PortFlags;
use crate::flow::FlowMod;
use crate::method::Call;
use crate::queue::QueueSettings;
use crate::testing::any_flow;
use crate::{HexBytes, NoNames, TableMiss, reply, request, text};

/// Sends a reply to itself and back, and answers with the text of the result.
fn send<C: Call<Reply: PartialEq + fmt::Debug + Clone>>(
    reply: &C::Reply,
    wrap: impl Fn(C::Reply) -> Reply,
) -> String {
    let line = encode_reply(&Id::Text("a".to_owned()), &Ok(wrap(reply.clone()))).unwrap();
    let Ok(Answer::Reply { id, result: Ok(result) }) = decode_answer(line.trim_end()) else {
        panic!("no reply: {line}");
    };
    assert_eq!(id, Id::Text("a".to_owned()));
    assert_eq!(from_json::<C::Reply>(result.get()).as_ref(), Ok(reply), "{line}");
    result.get().to_owned()
}

fn some_port() -> reply::Port {
    reply::Port {
        number: 1,
        name: "p".to_owned(),
        kind: request::PortKind::Null(request::NullOptions {}),
        vlan: request::PortVlan::default(),
        flags: PortFlags { no_flood: true, ..PortFlags::default() },
        state: reply::PortState::Down,
        reason: Some("no carrier".to_owned()),
        mtu: 1500,
        mac: "02:00:00:00:00:01".parse().ok(),
        queues: vec![reply::Queue {
            queue: 0,
            worker: Some(1),
            mode: "native".to_owned(),
            reason: None,
        }],
        capabilities: vec![reply::Capability {
            name: "checksum".to_owned(),
            available: false,
            reason: Some("a file".to_owned()),
        }],
    }
}

fn some_behind() -> reply::Behind {
    reply::Behind { resume: 3, decision: "select group 5, bucket 1".to_owned() }
}

fn some_detrace(entry: reply::CacheEntry) -> reply::Detrace {
    use reply::Passed;
    let group = reply::PassedGroup { group: 1, text: "words".to_owned(), packets: 1, bytes: 2 };
    let actions = "output:1".to_owned();
    let bucket = reply::PassedBucket { group: 1, bucket: 2, actions, packets: 1, bytes: 2 };
    let passed = vec![
        Passed::Flow { id: 1, stats: None },
        Passed::Miss { table: 1, packets: 2 },
        Passed::Group { stats: Some(group) },
        Passed::Bucket { stats: Some(bucket) },
        Passed::Station { vlan: 1, mac: packet::MacAddr([2; 6]), port: "p1".to_owned() },
        Passed::StationGone,
        Passed::Learned { id: 1, stats: None },
        Passed::Fin { id: 1, stats: None },
    ];
    let rest = reply::Rest { actions: "output:1".to_owned(), flow: Some(7), stats: None };
    reply::Detrace { entry, rests: vec![rest], passed }
}

fn some_ties() -> reply::Ties {
    let tuple = reply::ConnectionTuple {
        src: Ipv4Addr::new(10, 0, 0, 1).into(),
        dst: Ipv4Addr::new(10, 0, 0, 2).into(),
        proto: 17,
        src_port: Some(1),
        dst_port: Some(2),
        icmp_id: None,
        icmp_type: None,
        icmp_code: None,
    };
    let connections = vec![reply::Tie { zone: 5, reply: true, original: tuple }];
    reply::Ties { passes: 2, connections, translated: Some(tuple) }
}

fn some_trace() -> reply::Trace {
    use reply::TraceNode;
    let flow = reply::TraceFlow { id: 3, matching: "ip".to_owned(), priority: 5, cookie: u64::MAX };
    let text = || "words".to_owned();
    let nodes = [
        TraceNode::Bridge { name: "br0".to_owned() },
        TraceNode::Table { table: 0, flow: Some(flow) },
        TraceNode::Action { text: text() },
        TraceNode::Table { table: 1, flow: None },
        TraceNode::Bucket { group: 1, bucket: 2 },
        TraceNode::ActionSet,
        TraceNode::Thaw { text: text() },
        TraceNode::Detail { text: text() },
        TraceNode::Warning { text: text() },
        TraceNode::Error { text: text() },
    ];
    // Deeper than any JSON could be nested.
    let steps = (0u32..).step_by(100).zip(nodes);
    let steps = steps.map(|(depth, what)| reply::TraceStep { depth, what }).collect();
    reply::Trace {
        passes: vec![reply::TracePass {
            behind: Some(some_behind()),
            assumed: Some("words".to_owned()),
            flow: "ip".to_owned(),
            steps,
            final_flow: "ip".to_owned(),
            megaflow: "ip".to_owned(),
            actions: "drop".to_owned(),
        }],
        verdict: reply::Verdict::Dropped(DropReason::TableMiss),
        several: true,
        entries: vec![reply::TraceEntry {
            tier: reply::Tier::Session,
            matching: "ip".to_owned(),
            actions: "drop".to_owned(),
        }],
        session: "yes".to_owned(),
    }
}

#[test]
fn every_reply_round_trips() {
    use crate::method::Reply as R;
    assert_eq!(send::<request::BridgeAdd>(&reply::Done {}, R::BridgeAdd), "{}");
    let version = reply::Version { version: "0.1.0".to_owned(), api: 1 };
    assert_eq!(send::<request::Version>(&version, R::Version), r#"{"version":"0.1.0","api":1}"#);
    assert_eq!(
        send::<request::PortAdd>(&reply::PortAdded { number: 3 }, R::PortAdd),
        r#"{"number":3}"#
    );
    let bridge = reply::Bridge { name: "br0".to_owned(), ports: vec![some_port()] };
    let show = send::<request::Show>(&reply::Bridges { bridges: vec![bridge] }, R::Show);
    assert!(
        show.contains(r#""name":"p","type":"null","options":{},"vlan":"all","flags":{"down":"#)
    );
    assert!(show.contains(r#""no_flood":true,"no_packet_in":false},"state":"down""#));
    let changed = reply::Changed { generation: u64::MAX, late: vec![2], orphans: 0 };
    assert_eq!(
        send::<request::FlowChange>(&changed, R::FlowChange),
        r#"{"generation":18446744073709551615,"late":[2]}"#
    );
    send::<request::FlowCommit>(&changed, R::FlowCommit);
    send::<request::FlowAppend>(&reply::Collected { flows: 5 }, R::FlowAppend);
    let table = reply::TableStats {
        table: 1,
        active: 2,
        lookups: 3,
        matched: u64::MAX,
        miss: TableMiss::Continue,
        limit: Some(7),
        evict: true,
    };
    send::<request::TableDump>(&reply::Tables { tables: vec![table] }, R::TableDump);
    let stats = reply::PortStats {
        bridge: "br0".to_owned(),
        number: 1,
        name: "p".to_owned(),
        rx_packets: 1,
        rx_bytes: 2,
        rx_errors: 3,
        tx_packets: 4,
        tx_bytes: 5,
        tx_errors: 6,
        drops: vec![reply::Dropped { reason: DropReason::TxFull, packets: 7 }],
    };
    let ports = send::<request::PortStats>(&reply::Ports { ports: vec![stats] }, R::PortStats);
    assert!(ports.contains(r#""drops":[{"reason":"tx-full","packets":7}]"#));
    let trace = send::<request::Trace>(&some_trace(), R::Trace);
    assert!(trace.contains(r#"{"depth":300,"node":"table","table":1}"#));
    assert!(trace.contains(r#""verdict":{"dropped":"table-miss"}"#));
    let sent = reply::Verdict::Sent(vec!["p".to_owned()]);
    send::<request::Trace>(&reply::Trace { verdict: sent, ..some_trace() }, R::Trace);
    let entry = reply::CacheEntry {
        id: "1.m.2.3".to_owned(),
        behind: Some(some_behind()),
        worker: 1,
        tier: reply::Tier::Megaflow,
        bridge: "br0".to_owned(),
        matching: "ip".to_owned(),
        actions: "drop".to_owned(),
        packets: 1,
        bytes: 2,
        idle_ms: 3,
        flows: vec![4],
        ties: Some(Box::new(some_ties())),
    };
    let next = Some(reply::Cursor("x".to_owned()));
    send::<request::CacheDetrace>(&some_detrace(entry.clone()), R::CacheDetrace);
    send::<request::CacheDump>(&reply::CacheEntries { entries: vec![entry], next }, R::CacheDump);
    let queue = reply::RxQueue {
        worker: None,
        bridge: "br0".to_owned(),
        port: "p".to_owned(),
        queue: 0,
        pinned: true,
        load_permille: 1000,
    };
    send::<request::RxqShow>(&reply::RxQueues { queues: vec![queue] }, R::RxqShow);
    let queue = reply::EgressQueue {
        bridge: "br0".to_owned(),
        number: 1,
        name: "p".to_owned(),
        queue: 7,
        settings: QueueSettings::default(),
        packets: 1,
        bytes: 2,
        drops: 3,
        waiting: 4,
        waiting_bytes: 5,
        duration_ms: 6,
    };
    send::<request::QueueDump>(&reply::EgressQueues { queues: vec![queue] }, R::QueueDump);
    let entry = reply::FdbEntry {
        bridge: "br0".to_owned(),
        port: 1,
        vlan: 0,
        mac: mac(),
        age_s: 5,
        is_static: true,
    };
    let fdb = send::<request::FdbShow>(&reply::Fdb { entries: vec![entry] }, R::FdbShow);
    assert!(fdb.contains(r#""mac":"02:00:00:00:00:01","age_s":5,"static":true"#));
    send::<request::FdbFlush>(&reply::Flushed { entries: 5 }, R::FdbFlush);
    let packets = vec![HexBytes(vec![1, 2]), HexBytes(vec![])];
    let taken = send::<request::DummyTake>(&reply::Taken { packets }, R::DummyTake);
    assert_eq!(taken, r#"{"packets":["0102",""]}"#);
}

#[test]
fn groups_and_meters_round_trip() {
    use crate::method::Reply as R;
    let group = "group_id=5,type=select,bucket=bucket_id:0,weight:20,actions=output:2";
    let bucket = reply::BucketStats { id: 0, live: true, packets: u64::MAX, bytes: 5 };
    let group = reply::GroupStats {
        group: group.parse().unwrap(),
        flows: 1,
        packets: 2,
        bytes: u64::MAX,
        duration_ms: 4,
        buckets: vec![bucket],
    };
    let next = Some(reply::Cursor("5".to_owned()));
    let groups = reply::Groups { groups: vec![group], next: next.clone() };
    let sent = send::<request::GroupDump>(&groups, R::GroupDump);
    assert!(sent.contains(r#""group":"group_id=5,type=select,"#), "{sent}");
    let meter = reply::MeterStats {
        meter: "meter=1 pktps burst stats bands=type=drop rate=100 burst_size=10".parse().unwrap(),
        flows: 1,
        packets: 2,
        bytes: 3,
        duration_ms: 4,
        bands: vec![reply::BandStats { packets: 5, bytes: 6 }],
    };
    send::<request::MeterDump>(&reply::Meters { meters: vec![meter], next }, R::MeterDump);
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
    let features = reply::GroupsFeatures {
        types: words(&["all", "ff"]),
        capabilities: words(&["chaining"]),
        max_groups: 7,
        actions: words(&["output"]),
    };
    send::<request::GroupFeatures>(&features, R::GroupFeatures);
    let features = reply::MetersFeatures {
        max_meters: 1,
        max_bands: 2,
        band_types: words(&["drop"]),
        capabilities: words(&["kbps"]),
    };
    send::<request::MeterFeatures>(&features, R::MeterFeatures);
    let changed = reply::Changed { generation: 1, late: Vec::new(), orphans: 3 };
    let sent = send::<request::TableChange>(&changed, R::TableChange);
    assert_eq!(sent, r#"{"generation":1,"late":[],"orphans":3}"#);
}

#[test]
fn sums_and_sizes_round_trip() {
    use crate::method::Reply as R;
    let sums = reply::Aggregate { packets: u64::MAX, bytes: 2, flows: 3 };
    send::<request::FlowAggregate>(&sums, R::FlowAggregate);
    let flushed = reply::CacheFlushed { megaflows: 1, sessions: 2 };
    send::<request::CacheFlush>(&flushed, R::CacheFlush);
    let table = reply::FdbTable {
        bridge: "br0".to_owned(),
        entries: 1,
        static_entries: 2,
        limit: 3,
        port_limit: 4,
        age_limit_s: 5,
        learned: 6,
        moved: 7,
        expired: 8,
        evicted: 9,
        refused: 10,
    };
    send::<request::FdbStats>(&reply::FdbTables { bridges: vec![table] }, R::FdbStats);
    let text = || "words".to_owned();
    let memory = reply::MemoryUse { name: text(), bytes: 1, items: 2, item: text() };
    let memory = reply::Memory { uses: vec![memory], resident: Some(7) };
    send::<request::MemoryShow>(&memory, R::MemoryShow);
    let limit =
        reply::Limit { name: text(), each: text(), limit: 1, now: Some(2), at: None, then: text() };
    send::<request::LimitsShow>(&reply::Limits { limits: vec![limit] }, R::LimitsShow);
    let histogram = reply::Histogram { name: text(), what: text(), counts: vec![0, 1, u64::MAX] };
    let worker = reply::WorkerHistograms { worker: 1, histograms: vec![histogram] };
    let all = reply::Histograms { workers: vec![worker] };
    send::<request::WorkerHistograms>(&all, R::WorkerHistograms);
}

#[test]
fn connections_round_trip() {
    use crate::method::Reply as R;
    let original = reply::ConnectionTuple {
        src: "10.0.0.1".parse().unwrap(),
        dst: "10.0.0.2".parse().unwrap(),
        proto: 6,
        src_port: Some(40000),
        dst_port: Some(80),
        icmp_id: None,
        icmp_type: None,
        icmp_code: None,
    };
    let connection = reply::Connection {
        zone: 5,
        original,
        reply: reply::ConnectionTuple {
            icmp_id: Some(1),
            icmp_type: Some(2),
            icmp_code: Some(3),
            ..original
        },
        mark: u32::MAX,
        labels: u128::MAX,
        state: Some("ESTABLISHED".to_owned()),
        replied: true,
        assured: false,
        timeout_ms: 432_000_000,
        helper: Some("ftp".to_owned()),
        parent: Some(original),
    };
    let next = Some(reply::Cursor("7".to_owned()));
    let page = reply::Connections { connections: vec![connection.clone()], next };
    let sent = send::<request::CtDump>(&page, R::CtDump);
    let first = r#"{"connections":[{"zone":5,"original":{"src":"10.0.0.1","dst":"10.0.0.2","#;
    assert!(sent.starts_with(first), "{sent}");
    assert!(sent.contains(r#""labels":"0xffffffffffffffffffffffffffffffff","state":"#), "{sent}");
    let expected = reply::Expectation {
        zone: 5,
        original: reply::ConnectionTuple { src_port: None, ..original },
        parent: original,
        helper: Some("ftp".to_owned()),
        mark: 1,
        labels: 2,
        timeout_ms: 300_000,
    };
    let next = Some(reply::Cursor("7".to_owned()));
    let page = reply::Expectations { expected: vec![expected], next };
    let sent = send::<request::CtExpectDump>(&page, R::CtExpectDump);
    assert!(
        sent.contains(r#""helper":"ftp","mark":1,"labels":"0x2","timeout_ms":300000}"#),
        "{sent}"
    );
    // What is told of a connection chooses it.
    let told = serde_json::to_string(&original).unwrap();
    let line = format!(
        r#"{{"jsonrpc":"2.0","method":"ct.flush","params":{{"filter":{{"original":{told}}}}}}}"#
    );
    let Request::CtFlush(flush) = decode_request(&line).unwrap().request else { panic!() };
    assert_eq!((flush.filter.original.src, flush.filter.reply.src), (Some(original.src), None));
    send::<request::CtFlush>(&reply::CtFlushed { connections: 3 }, R::CtFlush);
    let kind = reply::ConnectionKind { proto: 17, state: None, connections: u64::MAX };
    let counts = reply::CtCounts {
        connections: 1,
        limit: 2,
        bytes: 3,
        made: 4,
        expired: 5,
        full: 6,
        over_limit: 10,
        clashed: 7,
        without_port: 8,
        invalid: 9,
        reserved_ports: [61_000, 65_535],
        host_addresses: 11,
        kinds: Some(vec![kind]),
    };
    send::<request::CtStats>(&counts, R::CtStats);
    send::<request::CtStats>(&reply::CtCounts { kinds: None, ..counts }, R::CtStats);
    let zone = reply::ZoneCount { zone: 5, limit: 7, count: 3 };
    let limits = reply::CtLimits { default: 0, zones: vec![zone] };
    let sent = send::<request::CtLimitDump>(&limits, R::CtLimitDump);
    assert_eq!(sent, r#"{"default":0,"zones":[{"zone":5,"limit":7,"count":3}]}"#);
    let timeouts = requests::timeouts();
    let policies = reply::CtPolicies {
        default: timeouts.clone(),
        zones: vec![reply::ZoneTimeouts { zone: 5, timeouts }],
    };
    let sent = send::<request::CtTimeoutDump>(&policies, R::CtTimeoutDump);
    let expected = r#"{"tcp_established":3600,"udp_single":5}"#;
    assert_eq!(
        sent,
        format!(r#"{{"default":{expected},"zones":[{{"zone":5,"timeouts":{expected}}}]}}"#)
    );
    send::<request::CtTcpShow>(&reply::CtTcp { seq_chk: true, loose: false }, R::CtTcpShow);
}

#[test]
fn last_drops_round_trip() {
    let flow: FlowMod = "cookie=5,priority=7,tcp,actions=output:2".parse().unwrap();
    let drop = reply::LastDrop {
        bridge: "br0".to_owned(),
        port: "p".to_owned(),
        time_ns: 1,
        age_ms: 2,
        worker: 3,
        reason: DropReason::NoForward,
        len: 60,
        flow: "tcp".to_owned(),
        head: HexBytes(vec![1, 2]),
        earlier: 2,
        passed: vec![
            reply::PassedFlow { id: 4, flow: Some(flow) },
            reply::PassedFlow { id: 5, flow: None },
        ],
        between: 6,
    };
    let line =
        send::<request::DropsExplain>(&reply::LastDrops { drops: vec![drop] }, Reply::DropsExplain);
    assert!(
        line.contains(r#""reason":"no-forward","len":60,"flow":"tcp","head":"0102""#),
        "{line}"
    );
    assert!(line.contains(r#"{"id":5}"#), "{line}");
}

#[test]
fn workers_round_trip() {
    let worker = reply::Worker {
        worker: 0,
        cpu: Some(3),
        generation: 1,
        asleep: false,
        busy_ns: 2,
        idle_ns: 3,
        longest_turn_ns: 18,
        sleeps: 4,
        syscalls: 5,
        batches: 6,
        rx_packets: 7,
        tx_packets: 8,
        session_hits: 9,
        opening_hits: 19,
        megaflow_hits: 10,
        misses: 11,
        sessions: 12,
        megaflows: 13,
        masks: 14,
        free_frames: 15,
        short_cuts: 16,
        short_cut_packets: 17,
    };
    send::<request::WorkerStats>(&reply::Workers { workers: vec![worker] }, Reply::WorkerStats);
}

#[test]
fn a_notification_round_trips() {
    let packet = reply::Captured {
        time_ns: 5,
        port: "p".to_owned(),
        direction: request::Direction::Tx,
        reason: Some(DropReason::TxDown),
        len: 100,
        lost: 7,
        data: vec![0, 0xff, 0x10],
    };
    let notification = Notification::Captured(packet);
    let line = encode_notification(&notification).unwrap();
    assert_eq!(
        line,
        concat!(
            r#"{"jsonrpc":"2.0","method":"capture.packet","params":{"time_ns":5,"port":"p","#,
            r#""direction":"tx","reason":"tx-down","len":100,"lost":7,"data":"AP8Q"}}"#,
            "\n"
        )
    );
    match decode_answer(line.trim_end()) {
        Ok(Answer::Notification(read)) => assert_eq!(read, notification),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_round_trip() {
    use reply::{Event, FlowRemoved, RemovedReason, WatchedFlow, WatchedPort};
    let bridge = || "br0".to_owned();
    let flow: FlowMod = "cookie=5,priority=7,tcp,actions=output:2".parse().unwrap();
    let watched = || WatchedFlow { bridge: bridge(), id: 3, flow: flow.clone() };
    let port = || WatchedPort { bridge: bridge(), port: some_port() };
    let stats = reply::FlowStats {
        id: u64::MAX,
        flow: flow.clone(),
        packets: 1,
        bytes: u64::MAX,
        duration_ms: 3,
        idle_ms: 4,
        hard_ms: 5,
    };
    let events = [
        Event::FlowRemoved(FlowRemoved { bridge: bridge(), reason: RemovedReason::Idle, stats }),
        Event::FlowInitial(watched()),
        Event::FlowsComplete {},
        Event::FlowAdded(watched()),
        Event::FlowModified(watched()),
        Event::FlowDeleted { flow: watched(), reason: RemovedReason::GroupDelete },
        Event::PortAdded(port()),
        Event::PortDeleted(port()),
        Event::PortModified(port()),
        Event::Lost { events: 7 },
    ];
    for event in events {
        let line = encode_notification(&Notification::Event(event.clone())).unwrap();
        match decode_answer(line.trim_end()) {
            Ok(Answer::Notification(Notification::Event(read))) => assert_eq!(read, event),
            other => panic!("{other:?}: {line}"),
        }
    }
    let deleted = Event::FlowDeleted { flow: watched(), reason: RemovedReason::GroupDelete };
    assert_eq!(
        encode_notification(&Notification::Event(deleted)).unwrap(),
        concat!(
            r#"{"jsonrpc":"2.0","method":"event","params":{"event":"flow_deleted","bridge":"br0","#,
            r#""id":3,"flow":"cookie=0x5, priority=7,tcp actions=output:2","reason":"group_delete"}}"#,
            "\n"
        )
    );
}

#[test]
fn a_failure_round_trips() {
    let error = text::line("ip,nw_dsst=1,actions=1", &NoNames).unwrap_err();
    let failure = Failure::flow(3, &error);
    let line = encode_reply(&Id::Null, &Err(failure.clone())).unwrap();
    assert_eq!(
        line,
        concat!(
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"flow 3, byte 3: "#,
            r#"unknown word `nw_dsst`, did you mean `nw_dst`?","data":{"flow":3,"at":[3,10]}}}"#,
            "\n"
        )
    );
    match decode_answer(line.trim_end()) {
        Ok(Answer::Reply { id: Id::Null, result: Err(read) }) => assert_eq!(read, failure),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flows_cross_as_text(flow in any_flow(), counters: [u64; 5], id: u64) {
        let [packets, bytes, duration_ms, idle_ms, hard_ms] = counters;
        let stats = reply::FlowStats { id, flow: flow.clone(), packets, bytes, duration_ms, idle_ms, hard_ms };
        let page = reply::Flows { flows: vec![stats], next: None };
        let line = send::<request::FlowDump>(&page, Reply::FlowDump);
        let text = serde_json::to_string(&flow.to_string()).unwrap();
        prop_assert!(line.contains(&text), "{}", line);

        let change = request::FlowChange { bridge: None, flows: vec![flow.to_string()], lenient: false };
        let line = encode_request(1, &change.into()).unwrap();
        let Request::FlowChange(read) = decode_request(line.trim_end()).unwrap().request else { panic!() };
        prop_assert_eq!(read.flows[0].parse::<FlowMod>(), Ok(flow));
    }
}
