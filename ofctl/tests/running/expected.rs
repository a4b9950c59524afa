//! Connections that others have announced and that have not come.

use serde_json::json;

use crate::connections::ipv4;
use crate::switch::{Said, Switch, ofctl};

const FLOWS: [&str; 3] = [
    "table=0,udp,actions=ct(zone=5,table=1)",
    "table=1,udp,tp_dst=69,actions=ct(commit,zone=5,alg=tftp,exec(set_field:0x12->ct_mark)),2",
    "table=1,priority=9,ct_state=+rel,udp,actions=ct(commit,zone=5),1",
];

/// A request of TFTP for a file, from this port.
fn request(port: u16) -> Vec<u8> {
    let text = b"\0\x01files\0octet\0";
    let len = u8::try_from(8 + text.len()).unwrap();
    let [high, low] = port.to_be_bytes();
    ipv4(17, [1, 2], &[&[high, low, 0, 69, 0, len, 0, 0][..], text].concat())
}

fn with_flows() -> Switch {
    let switch = Switch::with_ports();
    FLOWS.iter().for_each(|flow| drop(switch.ofctl(&["add-flow", flow]).done()));
    switch
}

#[test]
fn what_is_waited_for_is_shown_until_it_comes() {
    let switch = with_flows();
    assert_eq!(switch.ofctl(&["dump-conntrack-exp"]).done(), "");
    switch.receive("p1", &[request(5000)]);
    let expected = "\
udp,orig=(src=10.0.0.2,dst=10.0.0.1,sport=0,dport=5000),zone=5,mark=18,parent=(src=10.0.0.1,dst=10.0.0.2,sport=5000,dport=69)
";
    assert_eq!(switch.ofctl(&["dump-conntrack-exp"]).done(), expected);
    assert_eq!(switch.ofctl(&["dump-expectations", "zone=5"]).done(), expected);
    assert_eq!(switch.ofctl(&["dump-conntrack-exp", "zone=6"]).done(), "");
    let more = switch.ofctl(&["dump-conntrack-exp", "-s", "-m"]).done();
    assert!(more.contains(",zone=5,timeout=299,mark=18,helper=tftp,parent=("), "{more}");
    let json = switch.ofctl(&["dump-conntrack-exp", "-f", "json"]).json();
    let tuple = json!({"src": "10.0.0.2", "dst": "10.0.0.1", "proto": 17, "dst_port": 5000});
    assert_eq!(json["expected"][0]["original"], tuple);
    // It comes from any port.
    switch.receive("p2", &[ipv4(17, [2, 1], &[9, 9, 0x13, 0x88, 0, 8, 0, 0])]);
    assert_eq!(switch.ofctl(&["dump-conntrack-exp"]).done(), "");
    let came = switch.ofctl(&["dump-conntrack", "-m"]).done();
    assert!(came.contains("status=EXPECTED|"), "{came}");
    // It goes with who has announced it.
    switch.receive("p1", &[request(5001)]);
    assert_eq!(switch.ofctl(&["dump-conntrack-exp"]).done().lines().count(), 1);
    switch.ofctl(&["flush-conntrack"]).done();
    assert_eq!(switch.ofctl(&["dump-conntrack-exp"]).done(), "");
}

#[test]
fn many_that_are_waited_for_come_in_pages() {
    let switch = with_flows();
    for start in (10_000..14_000).step_by(500) {
        switch.receive("p1", &(start..start + 500).map(request).collect::<Vec<_>>());
    }
    let json = switch.ofctl(&["dump-conntrack-exp", "-f", "json"]).json();
    let expected = json["expected"].as_array().unwrap();
    let mut ports: Vec<_> =
        expected.iter().map(|one| one["original"]["dst_port"].as_u64().unwrap()).collect();
    ports.sort_unstable();
    assert_eq!(ports, (10_000..14_000).collect::<Vec<_>>());
    let none = switch.ofctl(&["dump-conntrack-exp", "zone=6"]).done();
    assert_eq!(none, "", "every page is empty");
}

/// It asks no switch.
#[test]
fn connection_tracking_is_measured() {
    let bench = |words: &[&str]| {
        let few = ["ct-bench", "--connections", "900", "--packets", "5000", "--threads", "2"];
        Said::from(ofctl(&[&few, words].concat()).output().unwrap())
    };
    for protocol in ["tcp", "udp"] {
        let json = bench(&["--protocol", protocol, "-f", "json"]).json();
        assert_eq!((&json["protocol"], &json["connections"]), (&json!(protocol), &json!(1800)));
        assert_eq!(json["phases"][0]["items"], 1800);
        assert_eq!(json["phases"][1]["items"], 10_000);
        assert!(json["phases"][1]["per_second"].as_u64().unwrap() > 1000, "{json}");
        let bytes = json["bytes_per_connection"].as_u64().unwrap();
        assert!((128..1024).contains(&bytes), "{bytes}");
    }
    let said = bench(&["--batch", "7"]).done();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("WHAT             COUNT  SECONDS"), "{said}");
    assert!(lines[3].starts_with("1800 connections of tcp by 2 threads, "), "{said}");
    let mut many = ofctl(&["ct-bench", "--threads", "256", "--connections", "1000000"]);
    let said = Said::from(many.output().unwrap()).refused();
    assert!(said.contains("all threads together have 16777216 at most"), "{said}");
}

#[test]
fn a_wrong_zone_is_explained() {
    for word in ["5", "zone=x", "zone=65536", "mark=5"] {
        let said = Said::from(ofctl(&["dump-conntrack-exp", word]).output().unwrap()).misused();
        assert!(said.contains(&format!("`{word}` is not zone=N")), "{said}");
    }
}
