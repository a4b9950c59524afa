//! Everything of a bridge at once, and packets that are sent.

use serde_json::json;

use crate::switch::{Switch, udp};

const PIPELINE: &str = "\
# all kinds of lines
meter meter=1,pktps,bands=type=drop,rate=1000
group group_id=1,type=all,bucket=output:p2,bucket=output:3
flow add priority=5,ip,actions=meter:1,group:1
priority=1,actions=drop
table 1 continue
";

#[test]
fn a_bundle_is_made_whole_or_not_at_all() {
    let switch = Switch::with_ports();
    std::fs::write(switch.folder.join("pipeline"), PIPELINE).unwrap();
    switch.ofctl(&["bundle", "br0", "pipeline"]).done();
    assert_eq!(
        switch.flows(),
        " priority=5,ip actions=meter:1,group:1\n priority=1 actions=drop\n"
    );
    let wrong = "flow delete\ngroup delete\nmeter delete\ngroup add group_id=2,type=al,bucket=2\n";
    let said = switch.ofctl_reading(&["bundle", "br0", "-"], wrong).refused();
    let expected = "\
error: `type` takes all, select, indirect, ff or fast_failover, found `al`
 --> standard input:4:27
  |
4 | group add group_id=2,type=al,bucket=2
";
    assert!(said.starts_with(expected), "{said}");
    let wrong = "flow delete\nflow ip,actions=group:9\n";
    let said = switch.ofctl_reading(&["bundle", "-"], wrong).refused();
    assert!(said.starts_with("error: there is no group 9\n --> standard input:2:1\n"), "{said}");
    assert_eq!(switch.flows().lines().count(), 2, "nothing has been changed");
    let said = switch.ofctl_reading(&["add-flows", "br0", "-"], "group delete\n").refused();
    assert!(said.contains("unknown word `group`"), "a file of flows has flows alone: {said}");
}

#[test]
fn packets_are_sent_in_both_spellings() {
    let switch = Switch::with_ports();
    let hex = api::HexBytes(udp([10, 0, 0, 9])).to_string();
    let whole = format!("in_port=p1 packet={hex} actions=output:2");
    switch.ofctl(&["packet-out", "br0", &whole]).done();
    switch.ofctl(&["packet-out", &whole]).done();
    switch.ofctl(&["packet-out", "br0", "NONE", "2,3", &hex, &hex]).done();
    switch.ofctl(&["add-flow", "reg0=5,udp,actions=3"]).done();
    let table = format!("in_port=1,reg0=5,packet={hex},actions=TABLE");
    switch.ofctl(&["packet-out", "br0", &table]).done();
    switch.ofctl(&["packet-out", "p1", "set_field:5->reg0,resubmit(,0)", &hex]).done();
    let sent = || {
        let ports = switch.ofctl(&["dump-ports", "br0", "-f", "json"]).json();
        [1, 2].map(|at: usize| ports["ports"][at]["tx_packets"].as_u64().unwrap())
    };
    testnet::eventually("all have been sent", || sent() == [4, 4]);
    let said = switch.ofctl(&["packet-out", "br0", "p9", "2", &hex]).refused();
    assert!(said.contains("no port is named `p9`") && said.contains("\n | p9\n | ^^\n"), "{said}");
    // It was sent all the same, and dropped in silence.
    for (action, why) in
        [("group:77", "there is no group 77"), ("meter:77", "there is no meter 77")]
    {
        let said = switch.ofctl(&["packet-out", "br0", "1", action, &hex]).refused();
        assert!(said.contains(why), "{said}");
    }
    let said = switch.ofctl(&["packet-out", "br0", "1", "output:2,ouput:3", &hex]).refused();
    assert!(said.contains(" | output:2,ouput:3\n |          ^^^^^"), "{said}");
    let said = switch.ofctl(&["packet-out", "br0", "1", "2", "02"]).refused();
    assert!(said.contains("\n | 02\n | ^^\n"), "{said}");
    assert!(
        switch.ofctl(&["packet-out", "br0", "1", "2"]).misused().contains("there is no packet")
    );
}

/// What a bridge has, in all dumps.
fn dumps(switch: &Switch, bridge: &str) -> Vec<String> {
    let dump = |words: &[&str]| switch.ofctl(&[words, &[bridge][..]].concat()).done();
    vec![
        dump(&["dump-flows", "--no-stats"]),
        dump(&["dump-groups"]),
        dump(&["dump-meters"]),
        dump(&["dump-tables"]),
    ]
}

fn fill(switch: &Switch) {
    let lines = "\
group group_id=1,type=all,bucket=group:3,bucket=output:1
group group_id=3,type=ff,bucket=watch_port:2,weight:0,output:2,bucket=watch_group:4,output:3
group group_id=4,type=select,selection_method=hash,fields(ip_src,ip_dst=255.255.255.0),\
bucket=weight:20,bucket_id:7,output:2
meter meter=1,pktps,burst,stats,bands=type=drop,rate=100,burst_size=10
meter meter=slowpath,kbps,bands=type=drop,rate=100,type=dscp_remark,rate=50,prec_level=2
table 0 continue
table 3 controller,limit=100,evict
cookie=0x5,idle_timeout=600,hard_timeout=900,importance=7,send_flow_rem,ip,actions=group:1
table=3,priority=7,check_overlap,in_port=p1,tcp,tcp_dst=80,actions=meter:1,2
table=3,priority=6,udp,actions=learn(table=4,idle_timeout=5,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],\
output:NXM_OF_IN_PORT[]),write_actions(group:4)
";
    switch.ofctl_reading(&["bundle", "br0", "-"], lines).done();
}

#[test]
fn what_is_saved_is_restored() {
    let switch = Switch::with_ports();
    fill(&switch);
    switch.ofctl(&["mod-port", "br0", "p2", "no-flood"]).done();
    switch.ofctl(&["set-queue", "br0", "p1", "3", "max-rate=100M"]).done();
    switch.ofctl(&["fdb", "add", "br0", "p2", "5", "02:00:00:00:00:09"]).done();
    let saved = switch.ofctl(&["save", "br0"]).done();
    let head = "# br0, saved by ofctl 0.1.0\n# port 1(p1): dummy\n# port 2(p2): dummy\n\
                # ofctl mod-port br0 p2 no-flood\n# port 3(p3): dummy\n\
                # ofctl set-queue br0 p1 3 max-rate=100M weight=1 depth=512 depth-bytes=1048576\n\
                # ofctl fdb add br0 2 5 02:00:00:00:00:09\n";
    assert!(saved.starts_with(head), "{saved}");
    let before = dumps(&switch, "br0");
    // Into an empty bridge, and over what is there.
    switch.ofctl(&["add-br", "br1"]).done();
    for port in ["q1", "q2", "q3"] {
        switch.ofctl(&["add-port", "br1", port, "--type", "dummy"]).done();
    }
    for _ in 0..2 {
        switch.ofctl_reading(&["restore", "br1", "-"], &saved).done();
        assert_eq!(dumps(&switch, "br1"), before);
        switch.ofctl(&["add-flow", "br1", "table=9,actions=drop"]).done();
        switch.ofctl(&["add-group", "br1", "group_id=99,type=all,bucket=1"]).done();
        switch.ofctl(&["mod-table", "br1", "7", "continue"]).done();
    }
    // Another switch, and every bridge of it.
    let all = switch.ofctl(&["save", "--all"]).done();
    let other = Switch::with_ports();
    other.ofctl(&["add-br", "br1"]).done();
    let said = other.ofctl_reading(&["restore", "-"], &all.replace("bridge br1", "bridge br9"));
    assert!(said.refused().contains("restored before: br0"));
    other.ofctl_reading(&["restore", "-"], &all).done();
    assert_eq!(dumps(&other, "br0"), before);
    assert_eq!(dumps(&other, "br1"), dumps(&switch, "br1"));
    other.ofctl(&["del-flows", "br0"]).done();
    other.ofctl_reading(&["restore", "br0", "-"], &all).done();
    assert_eq!(dumps(&other, "br0"), before);
    let json = switch.ofctl(&["save", "br0", "-f", "json"]).json();
    assert_eq!(json["bridges"][0]["name"], "br0");
    assert_eq!(json["bridges"][0]["changes"][0], "table 0 continue");
    let named = switch.ofctl(&["save", "br0", "--names"]).done();
    assert!(named.contains("in_port=p1"), "{named}");
}

#[test]
fn a_file_that_cannot_be_restored_changes_nothing() {
    let switch = Switch::with_ports();
    fill(&switch);
    let before = dumps(&switch, "br0");
    let wrong = "# br0, saved by ofctl 0.1.0\nflow ip,actoins=2\n";
    let said = switch.ofctl_reading(&["restore", "-"], wrong).refused();
    assert!(said.contains(" --> standard input:2:9\n"), "{said}");
    assert!(said.contains("nothing has been changed"), "{said}");
    assert_eq!(dumps(&switch, "br0"), before);
    let said = switch.ofctl(&["save", "br9"]).refused();
    assert!(said.contains("there is no bridge `br9`"), "{said}");
    // What `save` leaves when it fails, and a list of flows, wiped the bridge.
    for other in ["", "ip,actions=2\n"] {
        let said = switch.ofctl_reading(&["restore", "br0", "-"], other).refused();
        assert!(said.contains("nothing that `ofctl save` has written"), "{said}");
    }
    assert_eq!(dumps(&switch, "br0"), before);
    let empty = "# br0, saved by ofctl 0.1.0\n";
    switch.ofctl_reading(&["restore", "br0", "-", "-f", "json"], empty).json();
    assert_eq!(switch.ofctl(&["save", "-f", "json"]).json()["bridges"][0]["changes"], json!([]));
}
