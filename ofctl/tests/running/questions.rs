//! What an operator asks when something is odd: why packets were dropped, where an address is, how
//! the work is spread, what takes memory, what is full.

use serde_json::json;

use crate::switch::{Switch, udp};

#[test]
fn a_drop_is_explained_afterwards() {
    let switch = Switch::with_ports();
    assert_eq!(switch.ofctl(&["explain-drop"]).done(), "");
    switch.ofctl(&["add-flow", "cookie=7,priority=9,udp,actions=resubmit(,2)"]).done();
    switch.ofctl(&["add-flow", "table=2,ip,nw_dst=10.0.0.0/8,actions=drop"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 9]), udp([10, 0, 0, 9]), udp([11, 0, 0, 9])]);
    switch.receive("p2", &[vec![2; 9]]);
    let drops = switch.ofctl(&["explain-drop", "br0", "p1", "-f", "json"]).json();
    let drops = drops["drops"].as_array().unwrap();
    assert_eq!(drops.len(), 3, "{drops:?}");
    let reasons: Vec<_> = drops.iter().map(|drop| drop["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["flow-drop", "flow-drop", "table-miss"], "from the oldest on");
    let passed = drops[1]["passed"].as_array().unwrap();
    assert_eq!(passed.len(), 2, "{passed:?}");
    assert_eq!(drops[1]["head"], api::HexBytes(udp([10, 0, 0, 9])).to_string());
    let said = switch.ofctl(&["explain-drop", "p1", "-n", "1"]).done();
    let lines: Vec<_> = said.lines().collect();
    let (age, rest) = lines[0].split_once(" s ago, ").unwrap();
    assert!(age.parse::<f64>().is_ok(), "{said}");
    assert_eq!(rest, "60 bytes from p1 of br0, worker 0: table-miss");
    assert_eq!(lines[1], "    No flow of the table matched.");
    let packet = "    packet: udp,in_port=p1,";
    assert!(lines[2].starts_with(packet) && lines[2].contains("nw_dst=11.0.0.9"), "{said}");
    let flow = "    passed: cookie=0x7, priority=9,udp actions=resubmit(,2) (id ";
    assert!(lines[3].starts_with(flow), "{said}");
    // A flow that is gone is still known to have been there.
    switch.ofctl(&["del-flows", "br0"]).done();
    let said = switch.ofctl(&["explain-drop", "p1"]).done();
    assert!(said.contains("    passed: a flow that is gone (id "), "{said}");
    let said = switch.ofctl(&["explain-drop", "br0", "2"]).done();
    assert!(
        said.contains("worker 0: runt\n") && said.contains("    no Ethernet frame\n"),
        "{said}"
    );
    let said = switch.ofctl(&["explain-drop", "br0", "p9"]).refused();
    assert!(said.contains("the ports are p1 (1), p2 (2), p3 (3)"), "{said}");
}

#[test]
fn of_a_flood_of_drops_the_last_are_kept() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "actions=drop"]).done();
    for _ in 0..4 {
        switch.receive("p1", &vec![udp([10, 0, 0, 9]); 300]);
    }
    let drops = switch.ofctl(&["explain-drop", "p1", "-n", "1000", "-f", "json"]).json();
    let drops = drops["drops"].as_array().unwrap();
    assert_eq!(drops.len(), 64);
    let between: u64 = drops.iter().map(|drop| drop["between"].as_u64().unwrap()).sum();
    // How many are passed over depends on how many a batch brings.
    assert!(between + 64 <= 1200, "{between}");
}

#[test]
fn an_address_stays_where_it_is_said_to_be() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "actions=normal"]).done();
    switch.ofctl(&["fdb", "add", "p2", "0", "02:00:00:00:00:02"]).done();
    // Its packets do not show where it is, and those to it do not flood.
    let mut from = udp([10, 0, 0, 1]);
    from[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    from[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    for _ in 0..3 {
        switch.receive("p3", std::slice::from_ref(&from));
        switch.receive("p1", &[udp([10, 0, 0, 9])]);
    }
    let sent = |at: usize| {
        let stats = switch.ofctl(&["dump-ports", "br0", "-f", "json"]).json();
        stats["ports"][at]["tx_packets"].as_u64().unwrap()
    };
    assert_eq!(sent(1), 3 + 1, "its own, and one that was flooded");
    assert_eq!(sent(2), 0);
    let shown = switch.ofctl(&["fdb", "show"]).done();
    assert!(shown.contains("br0        2  p2       0  02:00:00:00:00:02  static\n"), "{shown}");
    assert_eq!(switch.ofctl(&["fdb", "flush"]).done(), "1 address forgotten\n", "not this one");
    let stats = switch.ofctl(&["fdb", "stats", "br0"]).done();
    let expected = "\
Statistics for bridge \"br0\":
  Current/maximum MAC entries in the table: 1/8192
  Current static MAC entries in the table : 1
  Total number of learned MAC entries     : 1
  Total number of expired MAC entries     : 0
  Total number of evicted MAC entries     : 0
  Total number of port moved MAC entries  : 0
  Total number of refused MAC entries     : 0
  Maximum learned MAC entries of one port : 1024
  Seconds until a MAC entry expires       : 300
";
    assert_eq!(stats, expected);
    switch.ofctl(&["fdb", "del", "br0", "0", "02:00:00:00:00:02"]).done();
    let said = switch.ofctl(&["fdb", "del", "br0", "0", "02:00:00:00:00:02"]).refused();
    assert!(said.contains("knows no address 02:00:00:00:00:02 in VLAN 0"), "{said}");
    switch.receive("p3", &[from]);
    let shown = switch.ofctl(&["fdb", "show"]).done();
    assert!(shown.contains("br0        3  p3       0  02:00:00:00:00:02      0\n"), "{shown}");
    let said = switch.ofctl(&["fdb", "add", "p2", "0", "02:00:00:00"]).misused();
    assert!(said.contains("`02:00:00:00` is no Ethernet address"), "{said}");
    let said = switch.ofctl(&["fdb", "add", "p2", "4095", "02:00:00:00:00:02"]).refused();
    assert!(said.contains("4095 is no VLAN"), "{said}");
    let said = switch.ofctl(&["fdb", "add", "p2", "0", "ff:ff:ff:ff:ff:ff"]).refused();
    assert!(said.contains("is a group"), "{said}");
}

#[test]
fn counters_are_added_up() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "udp,nw_dst=10.0.0.0/8,actions=2"]).done();
    switch.ofctl(&["add-flow", "table=1,arp,actions=2"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 9]), udp([10, 0, 0, 8])]);
    let all = "packet_count=2 byte_count=120 flow_count=2\n";
    assert_eq!(switch.ofctl(&["dump-aggregate"]).done(), all);
    let one = switch.ofctl(&["dump-aggregate", "br0", "table=1", "-f", "json"]).json();
    assert_eq!(one, json!({"packets": 0, "bytes": 0, "flows": 1}));
    let said = switch.ofctl(&["dump-aggregate", "tcp,tp_dts=1"]).refused();
    assert!(said.contains("did you mean `tp_dst`?"), "{said}");
}

#[test]
fn flows_come_in_the_order_that_is_asked_for() {
    let switch = Switch::with_ports();
    for flow in ["priority=5,tcp,tp_dst=80,actions=1", "priority=7,udp,actions=1"] {
        switch.ofctl(&["add-flow", flow]).done();
    }
    switch.ofctl(&["add-flow", "table=2,priority=6,tcp,tp_dst=22,actions=1"]).done();
    let sorted = |options: &[&str]| -> String {
        let dump = switch.ofctl(&[&["dump-flows", "--no-stats"], options].concat()).done();
        let priority = |line: &str| {
            let behind = line.split_once("priority=").unwrap().1;
            behind.split(',').next().unwrap().to_owned()
        };
        dump.lines().map(priority).collect()
    };
    assert_eq!(sorted(&["--sort"]), "567");
    assert_eq!(sorted(&["--rsort"]), "765");
    assert_eq!(sorted(&["--sort=tcp_dst"]), "657");
    assert_eq!(sorted(&["--rsort=nw_proto", "--sort=tcp_dst"]), "765");
    let json = switch.ofctl(&["dump-flows", "--sort", "-f", "json"]).json();
    assert_eq!(json["flows"].as_array().unwrap().len(), 3);
    let said = switch.ofctl(&["dump-flows", "--sort=foo"]).misused();
    assert!(said.contains("neither `priority` nor the name of a field"), "{said}");
}

#[test]
fn what_is_cached_can_be_forgotten() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "udp,actions=2"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 9])]);
    assert!(!switch.ofctl(&["dump-cache"]).done().is_empty());
    let said = switch.ofctl(&["cache-flush"]).done();
    assert_eq!(said, "1 megaflows and 0 sessions forgotten\n");
    assert_eq!(switch.ofctl(&["dump-cache"]).done(), "");
    let flushed = switch.ofctl(&["cache-flush", "-f", "json"]).json();
    assert_eq!(flushed, json!({"megaflows": 0, "sessions": 0}));
    // Nothing was lost by it.
    switch.receive("p1", &[udp([10, 0, 0, 9])]);
    assert!(switch.ofctl(&["dump-flows"]).done().contains("n_packets=2, n_bytes=120, "));
}

#[test]
fn the_work_of_workers_is_shown_as_it_is_spread() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "udp,actions=2"]).done();
    switch.receive("p1", &vec![udp([10, 0, 0, 9]); 5]);
    // What a turn took is noted at its end.
    testnet::eventually("all has been measured", || {
        let all = switch.ofctl(&["worker-stats", "--histograms", "-f", "json"]).json();
        let histograms = all["workers"][0]["histograms"].as_array().unwrap();
        let names: Vec<_> = histograms.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["batch_packets", "turn_ns", "wake_ns", "translation_ns"]);
        histograms.iter().all(|one| {
            let counts = one["counts"].as_array().unwrap();
            counts.iter().any(|count| count.as_u64().unwrap() > 0)
        })
    });
    let said = switch.ofctl(&["worker-stats", "--histograms"]).done();
    assert!(said.starts_with("worker 0\n  batch_packets: "), "{said}");
    assert!(said.contains(" %  #"), "{said}");
}

#[test]
fn memory_and_limits_are_told() {
    let switch = Switch::with_ports();
    let used = |name: &str| {
        let memory = switch.ofctl(&["memory", "-f", "json"]).json();
        let uses = memory["uses"].as_array().unwrap();
        uses.iter().find(|one| one["name"] == name).unwrap()["bytes"].as_u64().unwrap()
    };
    assert_eq!(used("frames"), 1024 * 2048);
    let before = used("flows");
    let flows: String = (0..1000).map(|n| format!("priority={n},udp,actions=2\n")).collect();
    switch.ofctl_reading(&["add-flows", "-"], &flows).done();
    let each = (used("flows") - before) / 1000;
    assert!((100..2000).contains(&each), "{each} bytes a flow");
    let said = switch.ofctl(&["memory"]).done();
    assert!(said.starts_with("USE") && said.contains("\nframes "), "{said}");
    assert!(said.contains("held for these: ") && said.contains("resident: "), "{said}");
    let said = switch.ofctl(&["limits"]).done();
    let flows = said.lines().find(|line| line.starts_with("flows ")).unwrap();
    let words: Vec<_> = flows.split_whitespace().collect();
    assert_eq!(words[..4], ["flows", "table", "1000000", "1000"]);
    assert!(flows.ends_with("table 0 of br0  refused: table full"), "{flows}");
}

/// The page has each limit of the command, and no other one in that table.
#[test]
fn the_page_on_limits_says_what_the_command_says() {
    let switch = Switch::with_ports();
    let limits = switch.ofctl(&["limits", "-f", "json"]).json();
    let told = limits["limits"].as_array().unwrap().iter().map(|limit| {
        let text = |member: &str| limit[member].as_str().unwrap().to_owned();
        // The test's own configuration.
        let size = if limit["name"] == "frames" { 16384 } else { limit["limit"].as_u64().unwrap() };
        [text("name"), text("each"), size.to_string(), text("then")]
    });
    let page = include_str!("../../../docs/src/reference/limits.md");
    let table = page.split_once("| what | each | limit |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let written = rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        [cells[1].clone(), cells[2].clone(), cells[3].clone(), cells[4].clone()]
    });
    assert_eq!(written.collect::<Vec<_>>(), told.collect::<Vec<_>>());
}
