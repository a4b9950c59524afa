//! Groups, meters, and what tables do as such.

use serde_json::json;

use crate::switch::{Switch, udp};

const ALL: &str = "group_id=1,type=all,bucket=output:2,bucket=output:p3";

#[test]
fn groups_are_added_changed_shown_and_removed() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-group", "br0", ALL]).done();
    let changed = switch.ofctl(&["add-group", "group_id=7,type=select,bucket=2", "-f", "json"]);
    assert_eq!(changed.json()["late"], json!([]));
    let said = switch.ofctl(&["add-group", "br0", ALL]).refused();
    assert!(said.contains("error: group 1 exists\n"), "{said}");
    let one = " group_id=1,type=all,bucket=bucket_id:0,actions=output:2,\
               bucket=bucket_id:1,actions=output:3\n";
    let seven = " group_id=7,type=select,bucket=bucket_id:0,actions=output:2\n";
    assert_eq!(switch.ofctl(&["dump-groups"]).done(), format!("{one}{seven}"));
    for which in [&["br0", "7"][..], &["7"], &["br0", "group_id=7"], &["group_id=7"]] {
        let said = switch.ofctl(&[&["dump-groups"][..], which].concat()).done();
        assert_eq!(said, seven, "{which:?}");
    }
    let named = switch.ofctl(&["dump-groups", "br0", "1", "--names"]).done();
    assert!(named.ends_with("actions=output:p3\n"), "{named}");
    assert_eq!(switch.ofctl(&["--names", "dump-groups", "br0", "1"]).done(), named);
    // What is dumped is read back.
    let delete = format!("delete\n{one}{seven}");
    switch.ofctl_reading(&["add-groups", "br0", "-"], &delete).done();
    assert_eq!(switch.ofctl(&["dump-groups"]).done(), format!("{one}{seven}"));
    switch
        .ofctl(&["insert-buckets", "group_id=7,command_bucket_id=last,bucket=bucket_id:9,3"])
        .done();
    switch.ofctl(&["remove-buckets", "br0", "group_id=7,command_bucket_id=first"]).done();
    let said = switch.ofctl(&["dump-groups", "7"]).done();
    assert_eq!(said, " group_id=7,type=select,bucket=bucket_id:9,actions=output:3\n");
    switch.ofctl(&["mod-group", "br0", "group_id=7,type=indirect,bucket=1"]).done();
    let said = switch.ofctl(&["mod-group", "group_id=8,type=indirect,bucket=1"]).refused();
    assert!(said.contains("error: there is no group 8\n"), "{said}");
    switch
        .ofctl(&["--bundle", "mod-group", "--may-create", "group_id=8,type=indirect,bucket=1"])
        .done();
    // Flows that lead there go with a group.
    for flow in ["ip,actions=group:1", "arp,actions=clone(group:1),group:1", "tcp,actions=2"] {
        switch.ofctl(&["add-flow", flow]).done();
    }
    let stats = switch.ofctl(&["dump-group-stats", "br0", "1", "-f", "json"]).json();
    assert_eq!(stats["groups"][0]["flows"], 2);
    let said = switch.ofctl(&["del-groups", "br0", "group_id=1"]);
    assert_eq!((said.code, &*said.out), (Some(0), ""));
    assert_eq!(said.err, "warning: 2 flows went with the groups and meters they used\n");
    assert_eq!(switch.flows(), " tcp actions=output:2\n");
    switch.ofctl(&["del-groups", "8"]).done();
    switch.ofctl(&["del-groups", "br0"]).done();
    assert_eq!(switch.ofctl(&["dump-groups"]).done(), "");
    assert_eq!(switch.ofctl(&["dump-groups", "-f", "json"]).json(), json!({"groups": []}));
}

#[test]
fn what_is_wrong_with_a_group_is_shown() {
    let switch = Switch::with_ports();
    let said = switch.ofctl(&["add-group", "br0", "group_id=1,tpye=all,bucket=2"]).refused();
    let expected = "\
error: unknown word `tpye`, did you mean `type`?
 |
 | group_id=1,tpye=all,bucket=2
 |            ^^^^
";
    assert!(said.starts_with(expected), "{said}");
    let file = "group_id=1,type=all,bucket=2\n\nmodify group_id=2,type=all,bucket=3\n";
    let said = switch.ofctl_reading(&["add-groups", "br0", "-"], file).refused();
    assert!(said.starts_with("error: there is no group 2\n --> standard input:3:1\n"), "{said}");
    assert!(said.contains("nothing has been changed"), "{said}");
    assert_eq!(switch.ofctl(&["dump-groups"]).done(), "");
    let said = switch.ofctl(&["dump-groups", "br0", "9"]).refused();
    assert!(said.contains("bridge br0 has no group 9; `ofctl dump-groups` lists them"), "{said}");
    let said = switch.ofctl(&["dump-groups", "br1"]).misused();
    assert!(said.contains("`br1` is no group: a number, or group_id=N"), "{said}");
    assert!(switch.ofctl(&["del-groups"]).misused().contains("name the bridge"));
    let said = switch.ofctl(&["add-groop", "br0", "x"]).misused();
    assert!(said.contains("add-group"), "{said}");
    let loop_of = "group_id=1,type=all,bucket=group:1";
    let said = switch.ofctl(&["add-group", "br0", loop_of]).refused();
    assert!(said.contains("group 1 would lead back to itself"), "{said}");
}

#[test]
fn groups_count_what_they_and_their_buckets_pass() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-group", ALL]).done();
    let ff = "group_id=2,type=ff,bucket=watch_port:9,output:2,bucket=watch_port:2,group:1";
    switch.ofctl(&["add-group", ff]).done();
    switch.ofctl(&["add-flow", "actions=group:2"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 9]), udp([10, 0, 0, 9]), udp([10, 0, 0, 8])]);
    let stats = switch.ofctl(&["dump-group-stats"]).done();
    let rest = |line: &str| line.split_once("s,ref_count=").unwrap().1.to_owned();
    let lines: Vec<_> = stats.lines().map(rest).collect();
    let each = "packet_count=3,byte_count=180";
    assert_eq!(lines[0], format!("0,{each},bucket0:{each},bucket1:{each}"));
    assert_eq!(lines[1], format!("1,{each},bucket0:packet_count=0,byte_count=0,bucket1:{each}"));
    let groups = switch.ofctl(&["dump-groups", "2", "-f", "json"]).json();
    let live = |at: usize| groups["groups"][0]["buckets"][at]["live"].clone();
    assert_eq!((live(0), live(1)), (json!(false), json!(true)));
    // A group that is modified counts from the beginning, as with OVS.
    switch.ofctl(&["mod-group", ALL]).done();
    let stats = switch.ofctl(&["dump-group-stats", "1"]).done();
    assert!(stats.contains("ref_count=0,packet_count=0,byte_count=0,bucket0:"), "{stats}");
}

#[test]
fn meters_are_added_changed_shown_and_removed() {
    let switch = Switch::with_ports();
    let meter = "meter=1,pktps,burst,stats,bands=type=drop,rate=1,burst_size=2";
    switch.ofctl(&["add-meter", "br0", meter]).done();
    switch.ofctl(&["add-meter", "meter=7 kbps bands=type=drop rate=100 type=drop rate=200"]).done();
    let one = "meter=1 pktps burst stats bands=\ntype=drop rate=1 burst_size=2\n";
    let seven = "meter=7 kbps bands=\ntype=drop rate=100\ntype=drop rate=200\n";
    assert_eq!(switch.ofctl(&["dump-meters"]).done(), format!("{one}\n{seven}"));
    for which in [&["br0", "meter=7"][..], &["7"], &["meter=7"]] {
        assert_eq!(switch.ofctl(&[&["dump-meter"][..], which].concat()).done(), seven);
    }
    switch.ofctl(&["add-flow", "actions=meter:1,output:2"]).done();
    switch.receive("p1", &vec![udp([10, 0, 0, 9]); 5]);
    let stats = switch.ofctl(&["meter-stats", "br0", "1"]).done();
    let head = "meter:1 flow_count:1 packet_in_count:5 byte_in_count:300 duration:";
    assert!(stats.starts_with(head), "{stats}");
    let json = switch.ofctl(&["meter-stats", "1", "-f", "json"]).json();
    let dropped = json["meters"][0]["bands"][0]["packets"].as_u64().unwrap();
    assert!((2..=3).contains(&dropped), "{json}");
    assert!(
        stats.ends_with(&format!(
            "s bands:\n0: packet_count:{dropped} byte_count:{}\n",
            dropped * 60
        ))
    );
    assert_eq!(switch.ofctl(&["meter-stats"]).done().lines().count(), 6);
    switch.ofctl(&["mod-meter", "meter=7,kbps,bands=type=drop,rate=5"]).done();
    assert_eq!(
        switch.ofctl(&["dump-meter", "br0", "7"]).done(),
        "meter=7 kbps bands=\ntype=drop rate=5\n"
    );
    let said = switch.ofctl(&["add-meter", "meter=7,kbps,bands=type=drop,rate=0"]).refused();
    assert!(said.contains("`rate` takes a number of at least 1"), "{said}");
    let said = switch
        .ofctl(&["add-meter", &format!("{meter}{}", ",type=drop,rate=1,burst_size=1".repeat(8))]);
    assert!(said.refused().contains("begins one band more than a meter can have"));
    let said = switch.ofctl(&["dump-meter", "9"]).refused();
    assert!(said.contains("bridge br0 has no meter 9"), "{said}");
    let said = switch.ofctl(&["del-meter", "meter=1"]);
    assert_eq!(said.err, "warning: 1 flow went with the groups and meters that it used\n");
    assert_eq!(switch.flows(), "");
    switch.ofctl(&["del-meters", "br0"]).done();
    assert_eq!(switch.ofctl(&["dump-meters", "-f", "json"]).json(), json!({"meters": []}));
}

#[test]
fn tables_do_what_is_said_of_them() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "table=2,actions=output:2"]).done();
    switch.ofctl(&["mod-table", "br0", "0", "continue"]).done();
    switch.ofctl(&["mod-table", "1", "continue", "limit=2,evict"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 9]), udp([10, 0, 0, 9])]);
    let tables = switch.ofctl(&["dump-tables", "br0"]).done();
    let expected = "  table 0:
    active=0, lookup=2, matched=0
    set: continue

  table 1:
    active=0, lookup=2, matched=0
    set: continue,limit=2,evict

  table 2:
    active=1, lookup=2, matched=2

  table 3:
    active=0, lookup=0, matched=0

  tables 4...253: ditto
";
    assert_eq!(tables, expected);
    let trace = switch.ofctl(&["trace", "in_port=1,arp"]).done();
    let steps = " 0. No match.\n    continue\n 1. No match.\n    continue\n 2. priority 32768\n";
    assert!(trace.contains(steps), "{trace}");
    // The third one takes the place of the one that is least important.
    for (host, importance) in [(1, 5), (2, 3), (3, 4)] {
        let flow = format!(
            "table=1,idle_timeout=60,importance={importance},ip,nw_dst=10.0.0.{host},actions=drop"
        );
        switch.ofctl(&["add-flow", &flow]).done();
    }
    let flows = switch.ofctl(&["dump-flows", "table=1"]).done();
    assert_eq!(flows.lines().count(), 2, "{flows}");
    assert!(!flows.contains("10.0.0.2"), "{flows}");
    switch.ofctl(&["mod-table", "br0", "1", "noevict"]).done();
    let said = switch.ofctl(&["add-flow", "table=1,arp,actions=drop"]).refused();
    assert!(said.contains("table 1 is full (2 flows)"), "{said}");
    let said = switch.ofctl(&["mod-table", "br0", "1", "contine"]).refused();
    let expected = "\
error: unknown setting `contine`, did you mean `continue`?
 |
 | 1 contine
 |   ^^^^^^^
";
    assert!(said.starts_with(expected), "{said}");
    switch.ofctl(&["mod-table", "all", "drop"]).done();
    let tables = switch.ofctl(&["dump-tables", "br0", "-f", "json"]).json();
    assert_eq!(tables["tables"][0]["miss"], "drop");
    assert_eq!(tables["tables"][1]["limit"], 2);
}
