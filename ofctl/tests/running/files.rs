//! Files of flows: one change each.

use serde_json::json;

use crate::switch::Switch;

#[test]
fn a_file_is_one_change() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "br0", "arp,actions=normal"]).done();
    let file = "\
# the new ones
priority=5,ip,actions=output:p2   # by name

delete arp
modify ip,actions=output:3
";
    std::fs::write(switch.folder.join("flows.txt"), file).unwrap();
    switch.ofctl(&["add-flows", "br0", "flows.txt"]).done();
    assert_eq!(switch.flows(), " priority=5,ip actions=output:3\n");
    // What is dumped is read back, statistics and all.
    let dump = switch.ofctl(&["dump-flows", "br0"]).done();
    let changed =
        switch.ofctl_reading(&["add-flows", "-", "-f", "json"], &format!("delete\n{dump}"));
    assert_eq!(changed.json()["late"], json!([]));
    assert_eq!(switch.flows(), " priority=5,ip actions=output:3\n");
    switch.ofctl_reading(&["add-flows", "br0", "-"], "").done();
}

#[test]
fn a_file_with_a_wrong_line_changes_nothing() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "br0", "arp,actions=normal"]).done();
    let before = switch.flows();
    let file = "delete\npriority=5,ip,actions=output:2\npriority=6,tcp,tcp_dts=80,actions=drop\n";
    std::fs::write(switch.folder.join("flows.txt"), file).unwrap();
    let said = switch.ofctl(&["add-flows", "br0", "flows.txt"]).refused();
    let expected = "\
error: unknown word `tcp_dts`, did you mean `tcp_dst`?
 --> flows.txt:3:16
  |
3 | priority=6,tcp,tcp_dts=80,actions=drop
  |                ^^^^^^^
  |
  = help: nothing has been changed
";
    assert_eq!(said, expected);
    assert_eq!(switch.flows(), before);
    // One that can be read and not be made, behind lines that say nothing.
    let file = "# two\n\npriority=7,ip,actions=drop\ncheck_overlap,priority=7,tcp,actions=drop\n";
    let said = switch.ofctl_reading(&["add-flows", "br0", "-"], file).refused();
    assert!(said.contains(" --> standard input:4:1\n"), "{said}");
    assert_eq!(switch.flows(), before);
    let said = switch.ofctl_reading(&["del-flows", "br0", "-"], "ip\narp,nw_src=x\n").refused();
    assert!(said.contains(" --> standard input:2:12\n"), "{said}");
    assert_eq!(switch.flows(), before);
    std::fs::write(switch.folder.join("flows.txt"), b"ip,actions=drop\n\xff\n").unwrap();
    let said = switch.ofctl(&["add-flows", "br0", "flows.txt"]).refused();
    assert_eq!(said, "error: flows.txt:2 is no UTF-8: is it a file of flows?\n");
}

#[test]
fn a_large_file_goes_in_parts_and_is_one_change_all_the_same() {
    const FLOWS: usize = 60_000;
    let switch = Switch::with_ports();
    let flow = |n: usize| {
        let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
        format!("priority=100,ip,nw_dst=10.{a}.{b}.{c},actions=set_field:7->reg0,output:2\n")
    };
    let file: String = (0..FLOWS).map(flow).collect();
    assert!(file.len() > api::codec::MAX_REQUEST);
    let path = switch.folder.join("flows.txt");
    std::fs::write(&path, format!("{file}ip,nwdst=1.1.1.1,actions=drop\n")).unwrap();
    let said = switch.ofctl(&["add-flows", "br0", "flows.txt"]).refused();
    assert!(said.contains(" --> flows.txt:60001:4\n"), "{said}");
    assert_eq!(switch.flows(), "");
    // The next parts are on their way already when the switch refuses the first.
    std::fs::write(&path, format!("ip,nwdst=1.1.1.1,actions=drop\n{file}")).unwrap();
    let said = switch.ofctl(&["add-flows", "br0", "flows.txt"]).refused();
    assert!(said.contains(" --> flows.txt:1:4\n"), "{said}");
    assert_eq!(switch.flows(), "");
    std::fs::write(&path, &file).unwrap();
    switch.ofctl(&["add-flows", "br0", "flows.txt"]).done();
    let dump = switch.ofctl(&["dump-flows", "br0", "-f", "json"]).json();
    assert_eq!(dump["flows"].as_array().unwrap().len(), FLOWS, "all pages are one document");
    assert_eq!(switch.flows().lines().count(), FLOWS);
}
