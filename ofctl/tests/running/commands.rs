//! Every command, in words and in JSON.

use serde_json::json;

use testnet::eventually;

use crate::switch::{Switch, udp};

#[test]
fn bridges_and_ports_are_made_shown_and_removed() {
    let switch = Switch::start();
    assert_eq!(switch.ofctl(&["show"]).done(), "");
    assert_eq!(switch.ofctl(&["show", "-f", "json"]).json(), json!({"bridges": []}));
    assert_eq!(switch.ofctl(&["add-br", "br0", "-f", "json"]).json(), json!({}));
    let dummy = ["add-port", "br0", "p1", "--type", "dummy", "--vlan", "access=10"];
    assert_eq!(switch.ofctl(&dummy).done(), "1\n");
    // The bridge may be left out, and a file is found from where one stands.
    let pcap = ["add-port", "file", "--type", "pcap", "--tx", "out.pcap", "--number", "7"];
    assert_eq!(switch.ofctl(&[&pcap[..], &["-f", "json"]].concat()).json(), json!({"number": 7}));
    assert!(switch.folder.join("out.pcap").exists());
    let shown = switch.ofctl(&["show", "br0"]).done();
    let expected = "\
bridge br0
 1(p1): dummy, up, mtu 1500, vlan access=10
     queue 0: memory, worker 0
     can: checksum, segmentation, chains, zero_copy
 7(file): pcap, up, mtu 65521, vlan all
";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(shown.contains("cannot: zero_copy (a file is copied from and to)"), "{shown}");
    let shown = switch.ofctl(&["show", "-f", "json"]).json();
    assert_eq!(shown["bridges"][0]["ports"][1]["type"], "pcap");
    assert_eq!(switch.ofctl(&["del-port", "br0", "file"]).done(), "");
    assert_eq!(switch.ofctl(&["del-port", "p1", "-f", "json"]).json(), json!({}));
    assert_eq!(switch.ofctl(&["show"]).done(), "bridge br0\n");
    assert_eq!(switch.ofctl(&["del-br", "br0"]).done(), "");
    assert_eq!(switch.ofctl(&["show"]).done(), "");
}

#[test]
fn flows_are_added_modified_shown_and_removed() {
    let switch = Switch::with_ports();
    let flow = "cookie=0x5,table=1,priority=7,in_port=p1,tcp,actions=dec_ttl,output:p2";
    assert_eq!(switch.ofctl(&["add-flow", "br0", flow]).done(), "");
    let changed = switch.ofctl(&["add-flow", "priority=0,actions=normal", "-f", "json"]).json();
    assert_eq!(changed["late"], json!([]));
    let dump = switch.ofctl(&["dump-flows"]).done();
    let lines: Vec<_> = dump.lines().collect();
    assert!(lines[0].starts_with(" cookie=0x0, duration="), "{dump}");
    let counters = "s, table=1, n_packets=0, n_bytes=0, idle_age=0, ";
    let rest = "priority=7,tcp,in_port=1 actions=dec_ttl,output:2";
    assert!(lines[1].ends_with(&format!("{counters}{rest}")), "{dump}");
    assert!(switch.ofctl(&["dump-flows", "--names"]).done().contains("in_port=p1 actions="));
    let all = [
        " priority=0 actions=NORMAL\n",
        " cookie=0x5, table=1, priority=7,tcp,in_port=1 actions=dec_ttl,output:2\n",
    ];
    assert_eq!(switch.flows(), all.concat());
    for filter in ["table=1", "tcp", "cookie=5/-1", "out_port=p2"] {
        assert_eq!(switch.ofctl(&["dump-flows", filter]).done().lines().count(), 1, "{filter}");
    }
    let json = switch.ofctl(&["dump-flows", "br0", "table=1", "-f", "json"]).json();
    let flow = json["flows"][0]["flow"].as_str().unwrap();
    assert!(flow.ends_with(rest), "{flow}");
    switch.ofctl(&["mod-flows", "br0", "table=1,actions=drop"]).done();
    assert!(switch.flows().contains("priority=7,tcp,in_port=1 actions=drop"));
    switch.ofctl(&["mod-flows", "--strict", "table=1,actions=output:3"]).done();
    assert!(!switch.flows().contains("output:3"), "it has another priority");
    switch.ofctl(&["del-flows", "--strict", "table=1,priority=7,tcp,in_port=1"]).done();
    assert_eq!(switch.flows(), " priority=0 actions=NORMAL\n");
    switch.ofctl(&["del-flows", "br0"]).done();
    assert_eq!(switch.ofctl(&["dump-flows", "-f", "json"]).json(), json!({"flows": []}));
    for command in ["add-flow", "mod-flows", "del-flows"] {
        let verb = if command == "del-flows" { "ip" } else { "ip,actions=drop" };
        switch.ofctl_reading(&[command, "br0", "-"], &format!("# a line\n{verb}\n")).done();
    }
    assert_eq!(switch.flows(), "");
}

#[test]
fn counters_tell_what_packets_did() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "ip,nw_dst=10.0.0.0/8,actions=output:2"]).done();
    switch.ofctl(&["add-flow", "priority=5,ip,actions=drop"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 9]), udp([10, 0, 0, 9]), udp([11, 0, 0, 9])]);
    let ports = switch.ofctl(&["dump-ports"]).done();
    let expected = "\
BRIDGE  PORT  NAME  RX-PACKETS  RX-BYTES  RX-ERRORS  DROPS  TX-PACKETS  TX-BYTES  TX-ERRORS
br0        1  p1             3       180          0      1           0         0          0
br0        2  p2             0         0          0      0           2       120          0
br0        3  p3             0         0          0      0           0         0          0

Dropped, counted where the packets came in:
BRIDGE  PORT  NAME  DROPS  REASON     WHICH MEANS
br0        1  p1        1  flow-drop  The flow that matched has no action that outputs.
";
    assert_eq!(ports, expected);
    let one = switch.ofctl(&["dump-ports", "br0", "2", "-f", "json"]).json();
    assert_eq!(
        (&one["ports"][0]["tx_packets"], one["ports"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    let flows = switch.ofctl(&["dump-flows"]).done();
    assert!(flows.contains("n_packets=2, n_bytes=120, "), "{flows}");
    let tables = switch.ofctl(&["dump-tables"]).done();
    assert_eq!(
        tables,
        "  table 0:\n    active=2, lookup=3, matched=3\n\n  table 1:\n    active=0, lookup=0, \
         matched=0\n\n  tables 2...253: ditto\n"
    );
    assert_eq!(
        switch.ofctl(&["dump-tables", "br0", "-f", "json"]).json()["tables"][0]["active"],
        2
    );
    let cache = switch.ofctl(&["dump-cache", "--tier", "megaflow"]).done();
    assert_eq!(cache.lines().count(), 2, "{cache}");
    let hit = "nw_dst=10.0.0.0/8";
    let line = cache.lines().find(|line| line.contains(hit)).unwrap();
    assert!(line.starts_with("id=0.m."), "{line}");
    assert!(line.contains(", bridge=br0, worker=0, megaflow, packets=2, bytes=120, "), "{line}");
    assert!(line.ends_with(" actions=p2"), "{line}");
    let cache = switch.ofctl(&["dump-cache", "br0", "--tier", "megaflow", "-f", "json"]).json();
    assert_eq!(cache["entries"].as_array().unwrap().len(), 2);
    let workers = switch.ofctl(&["worker-stats"]).done();
    assert!(workers.starts_with("worker 0 on any CPU, a"), "{workers}");
    let workers = switch.ofctl(&["worker-stats", "-f", "json"]).json();
    assert_eq!(workers["workers"][0]["worker"], 0);
    let queues = switch.ofctl(&["rxq-show"]).done();
    assert!(queues.contains("     0  br0     p3        0    0.0  no\n"), "{queues}");
    assert_eq!(switch.ofctl(&["rxq-show", "-f", "json"]).json()["queues"][2]["port"], "p3");
}

#[test]
fn addresses_are_shown_and_forgotten() {
    let switch = Switch::with_ports();
    assert_eq!(switch.ofctl(&["fdb", "show"]).done(), "");
    switch.ofctl(&["add-flow", "actions=normal"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 2])]);
    let expected = "\
BRIDGE  PORT  NAME  VLAN  MAC                AGE-S
br0        1  p1       0  02:00:00:00:00:01      0
";
    eventually("it has been learned", || switch.ofctl(&["fdb", "show", "br0"]).done() == expected);
    let fdb = switch.ofctl(&["fdb", "show", "-f", "json"]).json();
    assert_eq!(fdb["entries"][0]["mac"], "02:00:00:00:00:01");
    assert_eq!(switch.ofctl(&["fdb", "flush", "br0"]).done(), "1 address forgotten\n");
    assert_eq!(switch.ofctl(&["fdb", "flush", "-f", "json"]).json(), json!({"entries": 0}));
}

#[test]
fn a_trace_tells_each_step() {
    let switch = Switch::with_ports();
    let first =
        "cookie=0xc0,priority=9,in_port=p1,udp,actions=set_field:5->reg0,resubmit(,3),output:3";
    switch.ofctl(&["add-flow", first]).done();
    switch.ofctl(&["add-flow", "table=3,reg0=5,ip,nw_dst=10.0.0.0/8,actions=output:p2"]).done();
    let trace = switch.ofctl(&["trace", "br0", "in_port=p1,udp,nw_dst=10.1.2.3"]).done();
    let body = trace.split_once("\n\n").unwrap().1;
    let (steps, end) = body.split_once("\n\nFinal flow: ").unwrap();
    let expected = "\
bridge(\"br0\")
-------------
 0. udp,in_port=p1, priority 9, cookie 0xc0
    set_field:0x5->reg0
    resubmit(,3)
     3. ip,reg0=0x5,nw_dst=10.0.0.0/8, priority 32768
            output:p2
    output:p3";
    assert_eq!(steps, expected);
    let end = end.split_once('\n').unwrap().1;
    let expected = "\
Megaflow: udp,in_port=p1,nw_dst=10.0.0.0/8
Datapath actions: p2,p3

Verdict: sent to p2, p3
Session: no: it has no hop left, nw_ttl is 0 or 1
Cache entries:
";
    // Which entries there are is the switch's business.
    let entries = end.strip_prefix(expected).unwrap_or_else(|| panic!("{end}"));
    let megaflow = "  tier 2 (megaflow): udp,in_port=p1,nw_dst=10.0.0.0/8, actions=p2,p3";
    assert!(entries.lines().any(|line| line == megaflow), "{entries}");
    assert!(entries.lines().all(|line| line.starts_with("  tier ")), "{entries}");
    let miss = switch.ofctl(&["trace", "in_port=2,arp"]).done();
    assert!(miss.contains(" 0. No match.\n    drop\n\nFinal flow: unchanged\n"), "{miss}");
    let verdict = "Verdict: dropped, table-miss: No flow of the table matched.\n";
    assert!(miss.contains(verdict), "{miss}");
    // The same by its bytes.
    let bytes = api::HexBytes(udp([10, 1, 2, 3])).to_string();
    let trace = switch.ofctl(&["trace", "br0", "--in-port", "p1", &bytes]).done();
    assert!(trace.contains("Verdict: sent to p2, p3\n"), "{trace}");
    let trace = switch.ofctl(&["trace", "in_port=p1,udp,nw_dst=10.1.2.3", "-f", "json"]).json();
    assert_eq!(trace["verdict"], json!({"sent": ["p2", "p3"]}));
    assert!(switch.ofctl(&["trace", "br0", &bytes]).misused().contains("--in-port PORT"));
}

#[test]
fn versions_are_told() {
    let switch = Switch::start();
    let said = switch.ofctl(&["version"]).done();
    let api = api::VERSION;
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(
        said,
        format!("ofctl {own}, socket version {api}\nvswitchd {own}, socket version {api}\n")
    );
    assert_eq!(switch.ofctl(&["version", "--format", "json"]).json()["switch"]["api"], api);
    assert_eq!(switch.ofctl(&["--version"]).done(), format!("ofctl {own}\n"));
}
