//! Flows beside each other, and text that is only read.

use serde_json::json;

use crate::switch::{Said, Switch, ofctl};

fn offline(arguments: &[&str]) -> Said {
    ofctl(arguments).output().unwrap().into()
}

#[test]
fn flows_are_replaced_and_equal_ones_go_on() {
    let switch = Switch::with_ports();
    for flow in ["ip,actions=2", "arp,actions=2", "cookie=5,table=1,udp,actions=2"] {
        switch.ofctl(&["add-flow", "br0", flow]).done();
    }
    let ids = || {
        let dump = switch.ofctl(&["dump-flows", "-f", "json"]).json();
        let flows = dump["flows"].as_array().unwrap().clone();
        let which = |flow: &serde_json::Value| flow["flow"].as_str().unwrap().contains("ip ");
        flows.iter().find(|flow| which(flow)).unwrap()["hard_ms"].as_u64().unwrap()
    };
    std::thread::sleep(std::time::Duration::from_millis(50));
    let file = "ip,actions=output:p2\ntable=1,udp,actions=2 # another cookie\ntcp,actions=drop\n";
    std::fs::write(switch.folder.join("flows"), file).unwrap();
    assert_eq!(switch.ofctl(&["diff-flows", "br0", "flows"]).code, Some(2));
    switch.ofctl(&["--bundle", "replace-flows", "br0", "flows"]).done();
    let flows = switch.flows();
    let mut lines: Vec<_> = flows.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [" ip actions=output:2", " table=1, udp actions=output:2", " tcp actions=drop"]
    );
    assert!(ids() >= 50, "it was left alone");
    switch.ofctl(&["replace-flows", "--readd", "flows"]).done();
    assert!(ids() < 50, "it was added anew");
    switch.ofctl(&["diff-flows", "br0", "flows"]).done();
    let said = switch.ofctl_reading(&["replace-flows", "br0", "-"], "ip,actions=p9\n").refused();
    assert!(said.contains(" --> standard input:1:12\n"), "{said}");
    assert_eq!(switch.flows(), flows);
}

#[test]
fn differences_are_those_that_ovs_finds() {
    let folder = std::env::temp_dir().join(format!("ofctl-diff-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.join(name).display().to_string());
    let first = "table=1,priority=5,ip,cookie=1,idle_timeout=5,actions=2\nip,actions=drop\n\
                 tcp,actions=1\nin_port=1,importance=4,actions=2\nudp,send_flow_rem,actions=1\n";
    let second = "table=1,priority=5,ip,cookie=1,idle_timeout=5,actions=3\nip,actions=drop\n\
                  icmp,actions=1\nin_port=1,importance=5,actions=2\nudp,actions=1\n\
                  in_port=1,hard_timeout=6,priority=4,send_flow_rem,actions=2\n";
    std::fs::write(&a, first).unwrap();
    std::fs::write(&b, second).unwrap();
    let ours = offline(&["diff-flows", &a, &b]);
    let mut lines: Vec<_> = ours.out.lines().collect();
    lines.sort_unstable();
    assert_eq!((ours.code, lines.len()), (Some(2), 7), "{}", ours.err);
    let words = ["-O", "OpenFlow15", "diff-flows", &a, &b];
    if let Ok(theirs) = std::process::Command::new("ovs-ofctl").args(words).output() {
        let theirs = Said::from(theirs);
        let mut expected: Vec<_> = theirs.out.lines().collect();
        expected.sort_unstable();
        assert_eq!((theirs.code, expected), (ours.code, lines));
    }
    let strict = offline(&["diff-flows", "--strict", &a, &b]).out;
    assert_eq!(strict.lines().filter(|line| line.contains("udp")).count(), 2, "{strict}");
    let loose = offline(&["diff-flows", "--loose", &a, &b, "-f", "json"]);
    let loose: serde_json::Value = serde_json::from_str(&loose.out).unwrap();
    let gone = json!([
        "tcp actions=output:1",
        "table=1 priority=5,ip cookie=0x1 idle_timeout=5 actions=output:2"
    ]);
    assert_eq!(loose["removed"], gone);
    assert_eq!(offline(&["diff-flows", &a, &a]).done(), "");
    std::fs::write(&b, "ip,nw_dts=1.1.1.1,actions=drop").unwrap();
    let said = offline(&["diff-flows", &a, &b]).refused();
    assert!(said.contains("unknown word `nw_dts`, did you mean `nw_dst`?"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn text_is_read_without_a_switch() {
    let flow = "table=3,cookie=5,tp_dst=80,tcp,actions=mod_nw_src:10.0.0.1,2";
    let said = offline(&["parse-flow", flow]).done();
    assert_eq!(
        said,
        "cookie=0x5, table=3, tcp,tp_dst=80 actions=set_field:10.0.0.1->ip_src,output:2\n"
    );
    let said = offline(&["-O", "OpenFlow10", "parse-flow", flow]).done();
    assert!(said.ends_with(" actions=mod_nw_src:10.0.0.1,output:2\n"), "{said}");
    let said = offline(&["parse-flow", "delete_strict ip", "-f", "json"]).json();
    assert_eq!(said["flows"], json!(["delete_strict ip "]));
    let said = offline(&["parse-flow", "nw_dst=1.2.3.4,actions=2"]).refused();
    let expected = "\
error: `ip_dst` needs `ip` in the match
 |
 | nw_dst=1.2.3.4,actions=2
 | ^^^^^^
 |
 = help: with --lenient the field is left out, as by ovs-ofctl
";
    assert_eq!(said, expected);
    let said = offline(&["parse-flow", "--lenient", "nw_dst=1.2.3.4,actions=2"]).done();
    assert_eq!(said, "actions=output:2\n");
    let said =
        offline(&["parse-group", "group_id=1,type=select,bucket=weight:2,2,bucket=3"]).done();
    assert_eq!(
        said,
        "group_id=1,type=select,bucket=bucket_id:0,weight:2,actions=output:2,\
         bucket=bucket_id:1,actions=output:3\n"
    );
    let said = offline(&["parse-group", "group_id=1,bucket=eth9"]).refused();
    assert!(said.contains("`type=` is missing"), "{said}");
    let said = offline(&["-O", "OpenFlow16", "parse-flow", "ip,actions=drop"]).misused();
    assert!(said.contains("`OpenFlow16` is none of OpenFlow10 to 15"), "{said}");
}

#[test]
fn every_wrong_line_is_shown() {
    let switch = Switch::start();
    let file =
        "ip,actions=2\narp,actions=eth9\n\nnw_src=1.1.1.1,actions=drop # two\nudp,actions=3\n";
    let said = switch.ofctl_reading(&["parse-flows", "-"], file);
    assert_eq!((said.code, &*said.out), (Some(1), "ip actions=output:2\nudp actions=output:3\n"));
    assert!(said.err.contains(" --> standard input:2:13\n"), "{}", said.err);
    assert!(said.err.contains(" --> standard input:4:1\n"), "{}", said.err);
    assert!(said.err.ends_with("error: of 4 flows 2 cannot be read\n"), "{}", said.err);
}

#[test]
fn a_lenient_switch_reads_as_ovs_does() {
    let switch = Switch::with_ports();
    assert!(
        switch.ofctl(&["add-flow", "nw_dst=1.2.3.4,actions=2"]).refused().contains("needs `ip`")
    );
    switch.ofctl(&["--lenient", "add-flow", "br0", "nw_dst=1.2.3.4,actions=2"]).done();
    assert_eq!(switch.flows(), " actions=output:2\n");
    switch.ofctl(&["--strict", "mod-flows", "br0", "priority=1,actions=3"]).done();
    assert_eq!(switch.flows(), " actions=output:2\n", "it has another priority");
    let old = "ip,actions=set_field:10.0.0.1->ip_src,2";
    switch.ofctl(&["-O", "OpenFlow13", "add-flow", "br0", old]).done();
    let said = switch.ofctl(&["-O", "OpenFlow10", "--no-stats", "dump-flows", "br0", "ip"]).done();
    assert_eq!(said, " ip actions=mod_nw_src:10.0.0.1,output:2\n");
}
