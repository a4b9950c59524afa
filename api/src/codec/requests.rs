//! Requests of every method, and what crosses the socket for each.

use super::*;
use crate::flags::PortFlagChanges;
use crate::queue::QueueSettings;
use crate::{CtNext, CtTimeout, HexBytes, MeterId, TableMiss, reply, request};

pub(super) fn mac() -> packet::MacAddr {
    "02:00:00:00:00:01".parse().unwrap()
}

fn br0() -> Option<String> {
    Some("br0".to_owned())
}

pub(super) fn port_add(kind: request::PortKind) -> Request {
    let vlan = request::PortVlan::default();
    request::PortAdd { bridge: br0(), name: "p".to_owned(), number: Some(7), kind, vlan }.into()
}

/// A filter of everything, although no connection is like this.
fn ct_dump() -> request::CtDump {
    use request::TupleFilter;
    let original = TupleFilter {
        src: "10.0.0.1".parse().ok(),
        proto: Some(6),
        dst_port: Some(80),
        ..TupleFilter::default()
    };
    let reply = TupleFilter {
        dst: "fd00::1".parse().ok(),
        icmp_id: Some(7),
        icmp_type: Some(0),
        icmp_code: Some(0),
        ..TupleFilter::default()
    };
    let filter = request::ConnectionFilter {
        zone: Some(5),
        mark: "1/255".parse().ok(),
        labels: "0x123456789abcdef0123".parse().ok(),
        original,
        reply,
    };
    request::CtDump { filter, after: Some(reply::Cursor("5/7".to_owned())), limit: Some(10) }
}

/// Some timeouts.
pub(super) fn timeouts() -> crate::CtTimeouts {
    let seconds = |seconds: u32| seconds.try_into().unwrap();
    [(CtTimeout::UdpSingle, seconds(5)), (CtTimeout::TcpEstablished, seconds(3600))].into()
}

/// Requests of every method, with the parameters they cross the socket with.
pub(super) fn requests() -> Vec<(Request, &'static str)> {
    use request::{
        AfxdpMode, CaptureSource, Direction, PortKind, PortRef, PortVlan, TracePacket, WhenAway,
    };
    let bytes = || HexBytes(vec![2, 0, 255]);
    let vlan = |number: u16| request::VlanId::try_from(number).unwrap();
    let cursor = || Some(reply::Cursor("5/7".to_owned()));
    let afxdp = request::AfxdpOptions {
        queues: Some(4),
        mode: AfxdpMode::Native,
        when_away: WhenAway::Pass,
    };
    let internal = request::InternalOptions { mtu: Some(9000), mac: "2:0:0:0:0:1".parse().ok() };
    let pcap = request::PcapOptions {
        rx: Some("/a".into()),
        repeat: true,
        tx: Some("/b".into()),
        limit: Some(9),
    };
    let settings = QueueSettings { max_rate: Some(5_000), weight: 2, ..QueueSettings::default() };
    let queue_set =
        request::QueueSet { bridge: br0(), port: PortRef::Number(1), queue: 7, settings };
    let queue_del =
        request::QueueDel { bridge: None, port: PortRef::Name("p".to_owned()), queue: Some(7) };
    let access = request::PortAdd {
        bridge: None,
        name: "p".to_owned(),
        number: None,
        kind: PortKind::Pod(request::PodOptions {}),
        vlan: PortVlan::Access(vlan(5)),
    };
    let trunk =
        request::PortAdd { vlan: PortVlan::Trunk(vec![vlan(5), vlan(4094)]), ..access.clone() };
    let capture =
        |source| request::CaptureStart { bridge: None, source, snaplen: Some(96), count: None };
    let port = CaptureSource::Port { name: "p".to_owned(), direction: Direction::Rx };
    let flow_dump = request::FlowDump {
        bridge: br0(),
        filter: Some("table=1,tcp".to_owned()),
        after: cursor(),
        limit: Some(10),
    };
    let cache_dump = request::CacheDump {
        tier: Some(reply::Tier::Megaflow),
        after: cursor(),
        ..request::CacheDump::default()
    };
    vec![
        (
            queue_set.into(),
            r#"{"bridge":"br0","port":1,"queue":7,"settings":{"max_rate":5000,"weight":2,"depth":512,"depth_bytes":1048576}}"#,
        ),
        (queue_del.into(), r#"{"port":"p","queue":7}"#),
        (request::QueueDump::default().into(), "{}"),
        (request::Version {}.into(), "{}"),
        (request::BridgeAdd { name: "br0".to_owned() }.into(), r#"{"name":"br0"}"#),
        (request::BridgeDel { name: "br0".to_owned() }.into(), r#"{"name":"br0"}"#),
        (
            port_add(PortKind::Afxdp(afxdp)),
            r#"{"bridge":"br0","name":"p","number":7,"type":"afxdp","options":{"queues":4,"mode":"native","when_away":"pass"},"vlan":"all"}"#,
        ),
        (
            port_add(PortKind::Afxdp(request::AfxdpOptions::default())),
            r#"{"bridge":"br0","name":"p","number":7,"type":"afxdp","options":{"mode":"auto","when_away":"drop"},"vlan":"all"}"#,
        ),
        (
            port_add(PortKind::Internal(internal)),
            r#"{"bridge":"br0","name":"p","number":7,"type":"internal","options":{"mtu":9000,"mac":"02:00:00:00:00:01"},"vlan":"all"}"#,
        ),
        (
            port_add(PortKind::Pcap(pcap)),
            r#"{"bridge":"br0","name":"p","number":7,"type":"pcap","options":{"rx":"/a","loop":true,"tx":"/b","limit":9},"vlan":"all"}"#,
        ),
        (
            port_add(PortKind::Null(request::NullOptions {})),
            r#"{"bridge":"br0","name":"p","number":7,"type":"null","options":{},"vlan":"all"}"#,
        ),
        (
            port_add(PortKind::Dummy(request::DummyOptions {})),
            r#"{"bridge":"br0","name":"p","number":7,"type":"dummy","options":{},"vlan":"all"}"#,
        ),
        (access.into(), r#"{"name":"p","type":"pod","options":{},"vlan":{"access":5}}"#),
        (trunk.into(), r#"{"name":"p","type":"pod","options":{},"vlan":{"trunk":[5,4094]}}"#),
        (
            request::PortMod {
                bridge: None,
                port: PortRef::Number(7),
                flags: PortFlagChanges { no_flood: Some(true), ..PortFlagChanges::default() },
            }
            .into(),
            r#"{"port":7,"flags":{"no_flood":true}}"#,
        ),
        (request::PortDel { bridge: None, name: "p".to_owned() }.into(), r#"{"name":"p"}"#),
        (request::Show::default().into(), "{}"),
        (
            request::FlowChange { bridge: br0(), flows: vec!["delete".to_owned()], lenient: false }
                .into(),
            r#"{"bridge":"br0","flows":["delete"]}"#,
        ),
        (request::FlowBegin { bridge: br0(), lenient: false }.into(), r#"{"bridge":"br0"}"#),
        (request::FlowBegin { bridge: None, lenient: true }.into(), r#"{"lenient":true}"#),
        (
            request::FlowAppend { flows: vec!["actions=1".to_owned()] }.into(),
            r#"{"flows":["actions=1"]}"#,
        ),
        (request::FlowCommit {}.into(), "{}"),
        (flow_dump.into(), r#"{"bridge":"br0","filter":"table=1,tcp","after":"5/7","limit":10}"#),
        (request::TableDump { bridge: br0() }.into(), r#"{"bridge":"br0"}"#),
        (
            request::PortStats { bridge: None, port: Some(PortRef::Name("p".to_owned())) }.into(),
            r#"{"port":"p"}"#,
        ),
        (
            request::PortStats { bridge: None, port: Some(PortRef::Number(7)) }.into(),
            r#"{"port":7}"#,
        ),
        (
            request::Trace {
                bridge: None,
                packet: TracePacket::Flow("tcp".to_owned()),
                metered: false,
                all_buckets: false,
                ct_next: Vec::new(),
            }
            .into(),
            r#"{"flow":"tcp"}"#,
        ),
        (
            request::Trace {
                bridge: br0(),
                packet: TracePacket::Bytes { packet: bytes(), in_port: PortRef::Number(1) },
                metered: true,
                all_buckets: true,
                ct_next: vec![CtNext::NEW],
            }
            .into(),
            concat!(
                r#"{"bridge":"br0","packet":"0200ff","in_port":1,"metered":true,"#,
                r#""all_buckets":true,"ct_next":["new|trk"]}"#,
            ),
        ),
        (cache_dump.into(), r#"{"tier":"megaflow","after":"5/7"}"#),
        (request::CacheDetrace { id: "0.m.1.2".to_owned() }.into(), r#"{"id":"0.m.1.2"}"#),
        (request::CacheFlush {}.into(), "{}"),
        (
            request::DropsExplain {
                bridge: br0(),
                port: Some(PortRef::Name("p".to_owned())),
                limit: Some(5),
            }
            .into(),
            r#"{"bridge":"br0","port":"p","limit":5}"#,
        ),
        (request::WorkerStats {}.into(), "{}"),
        (request::WorkerHistograms {}.into(), "{}"),
        (request::MemoryShow {}.into(), "{}"),
        (
            request::GroupDump { bridge: br0(), group: Some(7), after: None }.into(),
            r#"{"bridge":"br0","group":7}"#,
        ),
        (request::GroupFeatures {}.into(), "{}"),
        (
            request::MeterDump { bridge: None, meter: Some(MeterId::Slowpath), after: None }.into(),
            r#"{"meter":"slowpath"}"#,
        ),
        (request::MeterFeatures {}.into(), "{}"),
        (
            request::TableChange {
                table: Some(3),
                miss: Some(TableMiss::Continue),
                ..Default::default()
            }
            .into(),
            r#"{"table":3,"miss":"continue"}"#,
        ),
        (request::LimitsShow {}.into(), "{}"),
        (
            request::FlowAggregate { bridge: br0(), filter: Some("tcp".to_owned()) }.into(),
            r#"{"bridge":"br0","filter":"tcp"}"#,
        ),
        (
            request::FdbAdd { bridge: None, port: PortRef::Number(7), vlan: 5, mac: mac() }.into(),
            r#"{"port":7,"vlan":5,"mac":"02:00:00:00:00:01"}"#,
        ),
        (
            request::FdbDel { bridge: br0(), vlan: 0, mac: mac() }.into(),
            r#"{"bridge":"br0","vlan":0,"mac":"02:00:00:00:00:01"}"#,
        ),
        (request::FdbStats { bridge: br0() }.into(), r#"{"bridge":"br0"}"#),
        (
            ct_dump().into(),
            concat!(
                r#"{"filter":{"zone":5,"mark":"0x1/0xff","labels":"0x123456789abcdef0123","#,
                r#""original":{"src":"10.0.0.1","proto":6,"dst_port":80},"#,
                r#""reply":{"dst":"fd00::1","icmp_id":7,"icmp_type":0,"icmp_code":0}},"#,
                r#""after":"5/7","limit":10}"#,
            ),
        ),
        (request::CtDump::default().into(), "{}"),
        (
            request::CtExpectDump {
                zone: Some(5),
                after: Some(reply::Cursor("5/7".to_owned())),
                limit: Some(10),
            }
            .into(),
            r#"{"zone":5,"after":"5/7","limit":10}"#,
        ),
        (request::CtExpectDump::default().into(), "{}"),
        (
            request::CtFlush { filter: ct_dump().filter }.into(),
            concat!(
                r#"{"filter":{"zone":5,"mark":"0x1/0xff","labels":"0x123456789abcdef0123","#,
                r#""original":{"src":"10.0.0.1","proto":6,"dst_port":80},"#,
                r#""reply":{"dst":"fd00::1","icmp_id":7,"icmp_type":0,"icmp_code":0}}}"#,
            ),
        ),
        (request::CtFlush::default().into(), "{}"),
        (request::CtStats { kinds: true }.into(), r#"{"kinds":true}"#),
        (request::CtStats::default().into(), "{}"),
        (
            request::CtLimitSet {
                default: Some(0),
                zones: vec![request::ZoneLimit { zone: 5, limit: 7 }],
            }
            .into(),
            r#"{"default":0,"zones":[{"zone":5,"limit":7}]}"#,
        ),
        (
            request::CtLimitDel { default: true, zones: vec![5, 6] }.into(),
            r#"{"default":true,"zones":[5,6]}"#,
        ),
        (request::CtLimitDel { default: false, zones: vec![5] }.into(), r#"{"zones":[5]}"#),
        (request::CtLimitDump { zones: vec![5] }.into(), r#"{"zones":[5]}"#),
        (request::CtLimitDump::default().into(), "{}"),
        (
            request::CtTimeoutSet { zone: Some(5), timeouts: timeouts() }.into(),
            r#"{"zone":5,"timeouts":{"tcp_established":3600,"udp_single":5}}"#,
        ),
        (request::CtTimeoutDel { zone: Some(5) }.into(), r#"{"zone":5}"#),
        (request::CtTimeoutDel::default().into(), "{}"),
        (request::CtTimeoutDump { zone: Some(5) }.into(), r#"{"zone":5}"#),
        (request::CtTcpSet { seq_chk: Some(false), loose: None }.into(), r#"{"seq_chk":false}"#),
        (request::CtTcpShow {}.into(), "{}"),
        (request::RxqShow {}.into(), "{}"),
        (request::FdbShow::default().into(), "{}"),
        (request::FdbFlush { bridge: br0() }.into(), r#"{"bridge":"br0"}"#),
        (capture(port).into(), r#"{"source":{"port":{"name":"p","direction":"rx"}},"snaplen":96}"#),
        (capture(CaptureSource::Drops).into(), r#"{"source":"drops","snaplen":96}"#),
        (
            request::EventsWatch {
                bridge: br0(),
                removed: Some(request::RemovedFlows::All),
                flows: Some(request::FlowWatch { filter: Some("tcp".to_owned()), initial: false }),
                ports: true,
                packets: Some(vec![3]),
                connections: Some(request::ConnectionFilter {
                    zone: Some(5),
                    ..request::ConnectionFilter::default()
                }),
            }
            .into(),
            concat!(
                r#"{"bridge":"br0","removed":"all","flows":{"filter":"tcp","initial":false},"#,
                r#""ports":true,"packets":[3],"connections":{"zone":5}}"#,
            ),
        ),
        (
            request::PacketResume { paused: 7, packet: Some(bytes()) }.into(),
            r#"{"paused":7,"packet":"0200ff"}"#,
        ),
        (
            request::DummyReceive { bridge: None, port: "p".to_owned(), packets: vec![bytes()] }
                .into(),
            r#"{"port":"p","packets":["0200ff"]}"#,
        ),
        (request::DummyTake { bridge: None, port: "p".to_owned() }.into(), r#"{"port":"p"}"#),
    ]
}

#[test]
fn every_request_round_trips() {
    for (request, params) in requests() {
        let line = encode_request(9, &request).unwrap();
        let method = request.method();
        let expected = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"{method}\",\"params\":{params}}}\n"
        );
        assert_eq!(line, expected);
        let asked = Asked { id: Some(Id::Number(9.into())), request };
        assert_eq!(decode_request(line.trim_end()), Ok(asked));
    }
    for method in Request::METHODS {
        let met = requests().iter().any(|(request, _)| request.method() == *method);
        assert!(met, "{method} has no example");
    }
}

/// The page of the socket says something of each method.
#[test]
fn every_method_is_documented() {
    let page = include_str!("../../../docs/src/reference/control-socket.md");
    for method in Request::METHODS {
        assert!(page.contains(&format!("\n| `{method}` |")), "{method}");
    }
}
