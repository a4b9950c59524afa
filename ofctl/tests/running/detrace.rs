//! The way back from cache entries to what has made them.

use std::time::Duration;

use api::Client;
use api::request::FlowChange;
use testnet::eventually;

use crate::switch::{Switch, udp};

/// A switch that has carried packets through a meter and a select group.
fn switch() -> Switch {
    let switch = Switch::with_ports();
    let lines = [
        "meter meter=1,pktps,bands=type=drop,rate=1000000",
        "group group_id=5,type=select,bucket=bucket_id:10,weight:1,actions=output:2,\
         bucket=bucket_id:11,weight:1,actions=output:3",
        "flow priority=7,udp,actions=meter:1,resubmit(,1),group:9",
        "group group_id=9,type=all,bucket=bucket_id:4,actions=output:3",
        "flow table=1,cookie=0xc0,actions=group:5",
    ];
    // A group must be there before flows lead to it.
    let flows = [0, 1, 3, 4, 2].map(|n: usize| lines[n].to_owned()).to_vec();
    let mut client = Client::connect(&switch.socket(), Duration::from_secs(20)).unwrap();
    client.call(FlowChange { bridge: None, flows, lenient: false }).unwrap();
    switch.receive("p1", &[udp([10, 0, 0, 2]), udp([10, 0, 0, 2])]);
    eventually("all passes are cached", || megaflows(&switch).lines().count() == 3);
    switch
}

fn megaflows(switch: &Switch) -> String {
    switch.ofctl(&["dump-cache", "--tier", "megaflow"]).done()
}

/// The line of the entry whose text has this in it.
fn line_with(dump: &str, text: &str) -> String {
    let mut lines = dump.lines().filter(|line| line.contains(text));
    lines.next().unwrap_or_else(|| panic!("no {text} in {dump}")).to_owned()
}

#[test]
fn an_entry_of_any_pass_leads_back_to_what_made_it() {
    let switch = switch();
    let dump = megaflows(&switch);
    let first = line_with(&dump, "udp,in_port=p1 actions=resume(");
    assert!(first.contains(": meter 1)"), "{first}");
    let second = line_with(&dump, "(meter 1, passed),");
    assert!(second.contains("actions=clone(resume(") && second.contains(": select group 5)"));
    let third = line_with(&dump, "(select group 5, bucket 1");
    // By the line, by what it is called, by its match.
    let said = switch.ofctl(&["detrace", &first]).done();
    for entry in [id_of(&first), "udp,in_port=p1", "in_port=1,udp"] {
        let again = switch.ofctl(&["detrace", entry]).done();
        assert_eq!(again.lines().next(), said.lines().next());
    }
    let flow = "n_packets=2, n_bytes=120, idle_age=0, priority=7,udp actions=meter:1,";
    assert!(said.lines().nth(1).unwrap().contains(flow), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    let said = switch.ofctl(&["detrace", &second]).done();
    let expected = "\
goes on behind meter 1, passed, with what was left to be done:
  actions=resubmit(,1),group:9
";
    assert!(said.contains(expected), "{said}");
    for part in [
        "    of flow 2: cookie=",
        "\nand passes:\n  flow 1: ",
        "table=1, n_packets=2, ",
        "  group n_packets=2, n_bytes=120, group_id=5,type=select,",
        "  group n_packets=2, n_bytes=120, group_id=9,type=all,",
        "  bucket 4 of group 9 n_packets=2, n_bytes=120, actions=output:p3\n",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let said = switch.ofctl(&["detrace", &third]).done();
    let bucket = " of group 5 n_packets=2, n_bytes=120, actions=output:p";
    assert!(said.contains(bucket), "{said}");
    let json = switch.ofctl(&["detrace", id_of(&third), "-f", "json"]).json();
    let entry = &json["detraces"][0]["entry"];
    assert!(entry["behind"]["decision"].as_str().unwrap().starts_with("select group 5, bucket 1"));
    assert_eq!(json["detraces"][0]["passed"][0]["passed"], "bucket");
}

#[test]
fn a_session_leads_back_to_its_flow() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "arp,actions=output:3"]).done();
    switch.ofctl(&["add-flow", "udp,nw_dst=10.0.0.2,actions=output:2"]).done();
    let mut arp = vec![2; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    // Two masks tell packets apart then.
    for packet in [arp, udp([10, 0, 0, 2]), udp([10, 0, 0, 2]), udp([10, 0, 0, 2])] {
        switch.receive("p1", &[packet]);
    }
    let sessions = || switch.ofctl(&["dump-cache", "--tier", "session"]).done();
    eventually("there is a session", || sessions().lines().count() == 1);
    let said = switch.ofctl(&["detrace", &sessions()]).done();
    assert!(said.starts_with("id=0.s."), "{said}");
    assert!(said.contains("n_packets=3, n_bytes=180, idle_age=0, udp,nw_dst=10.0.0.2 "), "{said}");
}

fn id_of(line: &str) -> &str {
    line.strip_prefix("id=").unwrap().split(',').next().unwrap()
}

#[test]
fn an_entry_that_is_gone_is_not_mistaken_for_another() {
    let switch = switch();
    let dump = megaflows(&switch);
    let old = id_of(dump.lines().next().unwrap()).to_owned();
    switch.ofctl(&["cache-flush"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 2])]);
    eventually("they are there again", || megaflows(&switch).lines().count() == 3);
    let said = switch.ofctl(&["detrace", &old]).refused();
    assert!(said.contains("is gone"), "{said}");
    for (wrong, why) in [("9.m.0.1", "there is no worker 9"), ("arp,in_port=p1", "no cache entry")]
    {
        let said = switch.ofctl(&["detrace", wrong]).refused();
        assert!(said.contains(why), "{said}");
    }
    switch.ofctl(&["detrace"]).misused();
}

/// Flows that are gone are named by their numbers.
#[test]
fn a_flow_that_is_gone_is_said_to_be() {
    let switch = switch();
    let dump = megaflows(&switch);
    switch.ofctl(&["del-flows", "br0", "table=1"]).done();
    let said = switch.ofctl(&["detrace", &line_with(&dump, "(meter 1, passed)")]).done();
    assert!(said.contains("  flow 1: gone, or not yet among the others\n"), "{said}");
}
