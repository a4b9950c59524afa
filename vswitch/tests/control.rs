//! Asking and telling a running switch, the right way and all wrong ways.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

#[path = "common/running.rs"]
mod running;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use api::reply::Tier;
use api::request::{
    BridgeAdd, BridgeDel, CacheDump, CaptureSource, CaptureStart, Direction, FdbFlush, FdbShow,
    FlowAppend, FlowBegin, FlowCommit, FlowDump, PortDel, Show, TableDump, Trace, TracePacket,
    Version, WorkerStats,
};
use api::{Client, ClientError, DropReason, Failure, NoNames, text};
use packet::compose;
use running::{Ask, Running, connect, dummy};
use testnet::eventually;

/// The packet that a flow's text describes, 64 bytes long.
fn packet(flow: &str) -> Vec<u8> {
    compose(&text::packet(flow, &NoNames).unwrap(), 64)
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Failure {
    match result {
        Err(ClientError::Refused(failure)) => failure,
        other => panic!("not refused: {other:?}"),
    }
}

fn matches_of(client: &mut Client) -> Vec<String> {
    client.dump().iter().map(|flow| flow.flow.matching.to_string()).collect()
}

#[test]
fn a_packet_goes_where_its_flow_says_and_is_counted() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["in_port=p1,ip,actions=dec_ttl,output:p2", "priority=0,actions=drop"]).unwrap();
    let ip = packet("in_port=1,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,nw_ttl=64,tp_dst=53");
    let arp = packet("in_port=1,arp");
    client.receive("p1", &[ip.clone(), arp, ip.clone()]);
    let out = client.take("p2", 2);
    assert_eq!(out.len(), 2);
    assert_eq!(out[0][22], 63, "a hop was taken off");
    let flows = client.dump();
    assert_eq!((flows[0].packets, flows[0].bytes), (2, 128));
    assert_eq!(flows[1].packets, 1);
    let stats = client.stats("p1");
    assert_eq!((stats.rx_packets, stats.rx_bytes, stats.tx_packets), (3, 192, 0));
    assert_eq!(stats.drops[0].reason, DropReason::FlowDrop);
    assert_eq!((client.stats("p2").tx_packets, client.stats("p2").tx_bytes), (2, 128));
    let table = client.call(TableDump::default()).unwrap().tables[0];
    assert_eq!((table.active, table.lookups, table.matched), (2, 3, 3));
    let cache = client.call(CacheDump::default()).unwrap();
    let megaflows = cache.entries.iter().filter(|entry| entry.tier == Tier::Megaflow);
    assert_eq!(megaflows.count(), 2, "{cache:?}");
    let worker = client.call(WorkerStats {}).unwrap().workers.remove(0);
    eventually("the worker has told its counters", || {
        let worker = client.call(WorkerStats {}).unwrap().workers.remove(0);
        (worker.rx_packets, worker.tx_packets, worker.megaflows) == (3, 2, 2)
    });
    assert!(worker.free_frames > 0);
}

#[test]
fn a_change_is_made_whole_or_not_at_all() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["priority=5,arp,actions=drop"]).unwrap();
    let wrong = refusal(client.flows(&["ip,actions=drop", "ip,tcp_dst=80,actions=drop"]));
    let place = wrong.data.unwrap();
    assert_eq!((wrong.code, place.flow), (Failure::BAD_PARAMS, Some(1)), "{}", wrong.message);
    assert!(place.at.is_some());
    let overlap = ["priority=9,ip,actions=drop", "check_overlap,priority=9,tcp,actions=drop"];
    let refused = refusal(client.flows(&overlap));
    assert_eq!((refused.code, refused.data.unwrap().flow), (Failure::REFUSED, Some(1)));
    assert_eq!(matches_of(&mut client), ["arp"], "nothing has happened");
    let changed = client.flows(&["delete arp", "ip,actions=drop"]).unwrap();
    assert!(changed.late.is_empty());
    assert_eq!(matches_of(&mut client), ["ip"]);
    let changed = client.flows(&["priority=9,actions=drop"]).unwrap();
    let worker = client.call(WorkerStats {}).unwrap().workers.remove(0);
    assert_eq!(worker.generation, changed.generation, "the worker uses it");
}

#[test]
fn a_large_change_is_collected_and_made_at_once() {
    const FLOWS: usize = 50_000;
    let switch = Running::with_ports();
    let (mut client, mut other) = (switch.client(), switch.client());
    assert!(refusal(client.call(FlowCommit {})).message.contains("begun no change"));
    client.call(FlowBegin::default()).unwrap();
    for chunk in (0..FLOWS).collect::<Vec<_>>().chunks(5_000) {
        let flow = |n: &usize| {
            let [_, a, b, c] = u32::try_from(*n).unwrap().to_be_bytes();
            format!("priority={},ip,nw_dst=10.{a}.{b}.{c},actions=output:2", n % 7)
        };
        let flows = chunk.iter().map(flow).collect();
        client.call(FlowAppend { flows }).unwrap();
        assert!(other.dump().is_empty(), "not before it is committed");
    }
    client.call(FlowCommit {}).unwrap();
    assert_eq!(other.dump().len(), FLOWS);
    let few = other
        .call(FlowDump { filter: Some("ip,nw_dst=10.0.1.0/24".to_owned()), ..FlowDump::default() });
    assert_eq!(few.unwrap().flows.len(), 256);
    // One that is wrong ends the collection.
    client.call(FlowBegin::default()).unwrap();
    client.call(FlowAppend { flows: vec!["arp,actions=drop".to_owned()] }).unwrap();
    let wrong = refusal(client.call(FlowAppend { flows: vec!["pra,actions=drop".to_owned()] }));
    assert_eq!(wrong.data.unwrap().flow, Some(1), "counted from the beginning");
    assert!(refusal(client.call(FlowCommit {})).message.contains("begun no change"));
    // And so does the end of the connection.
    client.call(FlowBegin::default()).unwrap();
    client.call(FlowAppend { flows: vec!["arp,actions=drop".to_owned()] }).unwrap();
    drop(client);
    assert_eq!(other.dump().len(), FLOWS);
}

#[test]
fn what_is_collected_is_bounded_for_all_clients_together() {
    let switch = Running::with_ports();
    let flows = vec!["arp,actions=drop".to_owned(); 40_000];
    let mut clients: Vec<_> = (0..6).map(|_| switch.client()).collect();
    let mut taken = 0;
    for client in &mut clients {
        client.call(FlowBegin::default()).unwrap();
        match client.call(FlowAppend { flows: flows.clone() }) {
            Ok(_) => taken += 1,
            Err(error) => assert!(error.to_string().contains("by all clients together"), "{error}"),
        }
    }
    assert_eq!(taken, 5, "two hundred thousand for tables of a hundred thousand");
    drop(clients);
    let mut client = switch.client();
    eventually("what was collected is forgotten", || {
        client.call(FlowBegin::default()).unwrap();
        client.call(FlowAppend { flows: flows.clone() }).is_ok()
    });
}

#[test]
fn bridges_and_ports_have_names_that_must_be_right() {
    let switch = Running::with_workers(1);
    let mut client = switch.client();
    assert!(refusal(client.flows(&["actions=drop"])).message.contains("ofctl add-br"));
    switch.make_bridge("br0", 2);
    let again = client.call(BridgeAdd { name: "br0".to_owned() });
    assert!(refusal(again).message.contains("already"));
    for name in ["", "a/b", "..", "much-too-long-for-it", "a b"] {
        let refused = refusal(client.call(BridgeAdd { name: name.to_owned() }));
        assert!(refused.message.contains("no name for a bridge"), "{}", refused.message);
    }
    assert!(refusal(client.call(dummy("br0", 1))).message.contains("already"));
    assert!(refusal(client.call(dummy("br1", 1))).message.contains("no bridge `br1`"));
    let mut taken = dummy("br0", 2);
    taken.name = "other".to_owned();
    assert!(refusal(client.call(taken)).message.contains("another port's"));
    switch.make_bridge("br1", 1);
    assert!(refusal(client.flows(&["actions=drop"])).message.contains("several bridges"));
    // A port keeps its number for its name.
    for name in ["p1", "p2"] {
        client.call(PortDel { bridge: Some("br0".into()), name: name.to_owned() }).unwrap();
    }
    let mut back = dummy("br0", 2);
    back.number = None;
    assert_eq!(client.call(back).unwrap().number, 2);
    client.call(BridgeDel { name: "br1".to_owned() }).unwrap();
    let bridges = client.call(Show::default()).unwrap().bridges;
    assert_eq!((bridges.len(), bridges[0].ports.len()), (1, 1));
}

#[test]
fn a_flow_ends_when_its_time_is_over() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client
        .flows(&[
            "hard_timeout=1,arp,actions=drop",
            "idle_timeout=1,in_port=1,actions=output:2",
            "priority=1,actions=drop",
        ])
        .unwrap();
    let begin = Instant::now();
    let busy = packet("in_port=1,udp");
    while begin.elapsed() < Duration::from_millis(1700) {
        client.receive("p1", std::slice::from_ref(&busy));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(matches_of(&mut client), ["in_port=1", ""], "used, it stays");
    eventually("unused, it goes", || matches_of(&mut client) == [""]);
    assert!(begin.elapsed() > Duration::from_millis(2500), "{:?}", begin.elapsed());
    // What came later went by the flow below, not by a cache.
    client.take("p2", 1);
    client.receive("p1", &[busy]);
    eventually("dropped", || client.dump()[0].packets == 1);
}

#[test]
fn addresses_are_learned_shown_and_forgotten() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["actions=normal"]).unwrap();
    let there = packet("in_port=1,udp,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02");
    let back = packet("in_port=2,udp,dl_src=02:00:00:00:00:02,dl_dst=02:00:00:00:00:01");
    client.receive("p1", std::slice::from_ref(&there));
    assert_eq!((client.take("p2", 1).len(), client.take("p3", 1).len()), (1, 1), "flooded");
    client.receive("p2", &[back]);
    assert_eq!(client.take("p1", 1).len(), 1);
    client.receive("p1", std::slice::from_ref(&there));
    assert_eq!(client.take("p2", 1).len(), 1);
    assert!(client.take("p3", 1).is_empty(), "known");
    let entries = client.call(FdbShow::default()).unwrap().entries;
    assert_eq!(entries.iter().map(|entry| entry.port).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(client.call(FdbFlush::default()).unwrap().entries, 2);
    client.receive("p1", &[there]);
    assert_eq!(client.take("p3", 1).len(), 1, "flooded again");
    // A port that goes takes along what was learned there.
    client.call(PortDel { bridge: None, name: "p1".to_owned() }).unwrap();
    assert!(client.call(FdbShow::default()).unwrap().entries.is_empty());
}

#[test]
fn a_trace_says_why() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client
        .flows(&[
            "cookie=0xc0,in_port=p1,tcp,actions=set_field:5->reg0,resubmit(,3)",
            "table=3,reg0=5,ip,nw_dst=10.0.0.0/8,actions=dec_ttl,output:p2",
        ])
        .unwrap();
    let flow = "in_port=p1,tcp,nw_dst=10.1.2.3,nw_ttl=9".to_owned();
    let trace = client.call(asked(TracePacket::Flow(flow))).unwrap();
    assert_eq!(trace.verdict, reply_sent(&["p2"]));
    let steps: Vec<_> = trace.passes[0].steps.iter().map(|step| (step.depth, &step.what)).collect();
    let text = format!("{steps:?}");
    for part in ["reg0=0x5", "nw_dst=10.0.0.0/8", "dec_ttl", "cookie: 192"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let [session, megaflow] = &trace.entries[..] else { panic!("{:?}", trace.entries) };
    assert!(session.matching.contains("nw_dst=10.1.2.3,"), "{session:?}");
    assert!(megaflow.matching.contains("nw_dst=10.0.0.0/8"), "{megaflow:?}");
    assert!(client.stats("p2").tx_packets == 0 && client.dump()[0].packets == 0, "only looked");
    let nowhere = TracePacket::Flow("in_port=9,tcp".to_owned());
    let refused = refusal(client.call(asked(nowhere)));
    assert!(refused.message.contains("in_port=9 is none"), "{}", refused.message);
}

fn asked(packet: TracePacket) -> Trace {
    Trace { bridge: None, packet, metered: false, all_buckets: false, ct_next: Vec::new() }
}

fn reply_sent(ports: &[&str]) -> api::reply::Verdict {
    api::reply::Verdict::Sent(ports.iter().map(|port| (*port).to_owned()).collect())
}

#[test]
fn a_capture_shows_what_passes_and_why_it_does_not() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["in_port=1,udp,actions=output:2"]).unwrap();
    let capture = |source| {
        let start = CaptureStart { bridge: None, source, snaplen: Some(20), count: Some(2) };
        switch.client().capture(start).unwrap()
    };
    let out = CaptureSource::Port { name: "p2".to_owned(), direction: Direction::Tx };
    let (sent, dropped) = (capture(out), capture(CaptureSource::Drops));
    let (udp, arp) = (packet("in_port=1,udp"), packet("in_port=1,arp"));
    client.receive("p1", &[udp.clone(), arp.clone(), udp.clone(), arp.clone()]);
    let sent: Vec<_> = sent.map(Result::unwrap).collect();
    assert_eq!(sent.len(), 2, "and the switch ends it");
    assert_eq!((&*sent[0].port, sent[0].direction, sent[0].reason), ("p2", Direction::Tx, None));
    assert_eq!((sent[0].len, &*sent[0].data), (64, &udp[..20]));
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let age = since_1970 - u128::from(sent[0].time_ns);
    assert!(age < 5_000_000_000, "{age} ns old");
    let dropped: Vec<_> = dropped.map(Result::unwrap).collect();
    assert_eq!((&*dropped[0].port, dropped[0].reason), ("p1", Some(DropReason::TableMiss)));
    assert_eq!(dropped[1].data, &arp[..20]);
}

#[test]
fn a_capture_that_nobody_reads_says_what_is_missing() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["actions=drop"]).unwrap();
    let start =
        CaptureStart { bridge: None, source: CaptureSource::Drops, snaplen: None, count: None };
    let mut capture = switch.client().capture(start).unwrap();
    let long = compose(&text::packet("in_port=1,udp", &NoNames).unwrap(), 1500);
    let mut given = 0;
    for _ in 0..20 {
        client.receive("p1", &vec![long.clone(); 500]);
        given += 500;
        eventually("received", || client.stats("p1").rx_packets == given);
    }
    // Now it is read: what was not shown is told along with what comes next.
    let reader = std::thread::spawn(move || {
        let mut shown = 0;
        loop {
            let packet = capture.next().unwrap().unwrap();
            shown += 1;
            if packet.lost > 0 {
                return (shown, u64::from(packet.lost));
            }
        }
    });
    while !reader.is_finished() {
        client.receive("p1", std::slice::from_ref(&long));
        given += 1;
        eventually("received", || client.stats("p1").rx_packets == given);
        assert!(given < 20_000, "nothing was told");
    }
    let (shown, lost) = reader.join().unwrap();
    assert!(shown > 1 && shown + lost <= given, "{shown} shown, {lost} lost of {given}");
}

#[test]
fn a_capture_ends_with_its_port() {
    let switch = Running::with_ports();
    let source = CaptureSource::Port { name: "p2".to_owned(), direction: Direction::Both };
    let start = CaptureStart { bridge: None, source, snaplen: None, count: None };
    let mut capture = switch.client().capture(start).unwrap();
    switch.client().call(PortDel { bridge: None, name: "p2".to_owned() }).unwrap();
    assert!(capture.next().is_none());
}

/// Sends bytes and answers with what comes back, line by line.
fn raw(switch: &Running, bytes: &[u8]) -> Vec<String> {
    let mut stream = UnixStream::connect(&switch.path).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    BufReader::new(stream).lines().map_while(Result::ok).collect()
}

#[test]
fn garbage_is_answered_and_hurts_nobody() {
    let switch = Running::with_ports();
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"version","params":{}}"#;
    for garbage in ["\0\0\0\n", "{}\n", "[]\n", "]\n", "null\n", "{\"jsonrpc\":\"2.0\"}\n"] {
        let answers = raw(&switch, format!("{garbage}{line}\n").as_bytes());
        assert_eq!(answers.len(), 2, "{garbage:?}: {answers:?}");
        assert!(answers[0].contains("error") && answers[1].contains("result"), "{answers:?}");
    }
    let answers = raw(&switch, b"\xff\xfe\n");
    assert!(answers[0].contains("no UTF-8"), "{answers:?}");
    let half = raw(&switch, line.as_bytes());
    assert!(
        half.len() == 1 && half[0].contains("within a line"),
        "half a request is none: {half:?}"
    );
    let unknown = line.replace("version", "vresion");
    assert!(raw(&switch, format!("{unknown}\n").as_bytes())[0].contains("-32601"));
    let silent = r#"{"jsonrpc":"2.0","method":"bridge.add","params":{"name":"quiet"}}"#;
    assert!(raw(&switch, format!("{silent}\n").as_bytes()).is_empty(), "nobody asked for it");
    let bridges = switch.client().call(Show::default()).unwrap().bridges;
    assert!(bridges.iter().any(|bridge| bridge.name == "quiet"), "but it was done");
}

#[test]
fn a_huge_line_is_refused_before_it_is_whole() {
    let switch = Running::with_ports();
    let mut stream = UnixStream::connect(&switch.path).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let sent = (0..64).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!((4..60).contains(&sent), "{sent} MiB were taken");
    let mut answer = String::new();
    // The end of the connection may overtake the answer.
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("more than 4194304 bytes"), "{answer}");
    switch.client().call(Version {}).unwrap();
}

#[test]
fn a_client_that_does_not_read_is_not_waited_for() {
    let switch = Running::with_ports();
    let flows: Vec<_> = (0..2000).map(|n| format!("reg0={n},actions=drop")).collect();
    let flows: Vec<_> = flows.iter().map(String::as_str).collect();
    switch.client().flows(&flows).unwrap();
    let before = resident();
    let line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"flow.dump\",\"params\":{}}\n";
    let streams: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = UnixStream::connect(&switch.path).unwrap();
            stream.set_nonblocking(true).unwrap();
            let many = line.repeat(1000);
            let mut sent = 0;
            while let Ok(count) = stream.write(&many.as_bytes()[sent % line.len()..]) {
                sent += count;
            }
            assert!(sent < 8 << 20, "{sent} bytes of requests taken, and none answered");
            stream
        })
        .collect();
    let begin = Instant::now();
    for _ in 0..100 {
        switch.client().call(Version {}).unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    drop(streams);
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn more_clients_than_places_wait_and_are_served() {
    let switch = Running::with_ports();
    let line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\",\"params\":{}}\n";
    let mut waiting: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = UnixStream::connect(&switch.path).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            stream
        })
        .collect();
    // The first ones leave when they have their answer; only then come the last ones.
    for stream in waiting.drain(..) {
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"version\""), "{answer}");
    }
}

#[test]
fn whoever_may_only_look_cannot_change() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let switch = Running::with(1, 0o666);
    switch.make_bridge("br0", 1);
    let folder = switch.path.parent().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, mode).unwrap();
    let ask = |method: &str, params: &str| {
        let script = format!(
            "import socket;s=socket.socket(socket.AF_UNIX);s.connect({:?});\
             s.sendall(b'{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\
             \"params\":{params}}}\\n');print(s.makefile().readline())",
            switch.path
        );
        let mut command = std::process::Command::new("python3");
        let output = command.arg("-c").arg(script).uid(65534).gid(65534).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ask("show", "{}").contains("br0"));
    assert!(ask("events.watch", "{\"ports\":true}").contains("\"result\":{}"));
    // What is in packets is not for everybody's eyes.
    for (method, params) in [
        ("bridge.del", "{\"name\":\"br0\"}"),
        ("events.watch", "{\"packets\":[]}"),
        ("drops.explain", "{}"),
        ("capture.start", "{\"source\":\"drops\"}"),
    ] {
        let refused = ask(method, params);
        let why = "user 65534 may look at the switch, and neither change it nor see packets";
        assert!(refused.contains(why), "{method}: {refused}");
    }
    assert_eq!(switch.client().call(Show::default()).unwrap().bridges.len(), 1);
}

#[test]
fn a_second_switch_at_the_same_place_is_refused() {
    let switch = Running::with_ports();
    let refused = vswitch::server::Listener::bind(&switch.path, 0o600, None).unwrap_err();
    assert!(refused.to_string().contains("another vswitchd"), "{refused}");
    connect(&switch.path).call(Version {}).unwrap();
}

/// `--socket` with the name of the configuration deleted it.
#[test]
fn what_is_no_socket_is_not_removed_to_make_room_for_one() {
    let file = std::env::temp_dir().join(format!("vswitch-precious-{}", std::process::id()));
    std::fs::write(&file, "precious").unwrap();
    let refused = vswitch::server::Listener::bind(&file, 0o600, None).unwrap_err();
    assert!(refused.to_string().contains("no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    for left in [file.with_extension("lock"), file] {
        std::fs::remove_file(left).unwrap();
    }
}
