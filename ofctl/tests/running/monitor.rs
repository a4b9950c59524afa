//! What happens, as it is told; and how ports are used.

use std::fs::File;
use std::process::{Child, Command};

use testnet::eventually;

use crate::switch::{Said, Switch, udp};

/// A monitor that runs, and what it has said so far.
struct Monitor {
    child: Child,
    out: std::path::PathBuf,
}

impl Monitor {
    fn start(switch: &Switch, arguments: &[&str]) -> Self {
        let out = switch.folder.join("monitor-out");
        let err = switch.folder.join("monitor-err");
        let mut command = switch.command(&[&["monitor"], arguments].concat());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.spawn().unwrap();
        if !arguments.contains(&"json") {
            eventually("it has begun", || std::fs::metadata(&err).unwrap().len() > 0);
        }
        Self { child, out }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    /// Waits until it ends by itself.
    fn end(mut self) -> String {
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.said()
    }

    fn interrupt(mut self) -> String {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "that is how it ends");
        self.said()
    }
}

#[test]
fn flows_are_told_in_the_words_of_ovs() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "cookie=5,idle_timeout=9,tcp,actions=2"]).done();
    let monitor = Monitor::start(&switch, &["br0", "flows", "-c", "5"]);
    eventually("the first is told", || monitor.said().lines().count() == 1);
    switch.ofctl(&["add-flow", "udp,actions=1"]).done();
    switch.ofctl(&["mod-flows", "udp,actions=2"]).done();
    switch.ofctl(&["add-flow", "table=3,priority=9,arp,actions=2"]).done();
    switch.ofctl(&["del-flows", "udp"]).done();
    // But for the priority, which it leaves out, this is what ovs-ofctl 3.1 prints.
    let expected = "
 event=ADDED table=0 idle_timeout=9 cookie=0x5 tcp actions=output:2
 event=ADDED table=0 cookie=0 udp actions=output:1
 event=MODIFIED table=0 cookie=0 udp actions=output:2
 event=ADDED table=3 cookie=0 priority=9,arp actions=output:2
 event=DELETED reason=delete table=0 cookie=0 udp actions=output:2
";
    assert_eq!(format!("\n{}", monitor.end()), expected);
}

/// The version was read, and flows were told in the words of the newest.
#[test]
fn flows_are_told_in_the_words_of_an_old_version() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "udp,actions=set_field:5->reg0,output:2"]).done();
    let monitor = Monitor::start(&switch, &["flows", "-c", "1", "-O", "OpenFlow10"]);
    let expected = " event=ADDED table=0 cookie=0 udp actions=load:0x5->NXM_NX_REG0[],output:2\n";
    assert_eq!(monitor.end(), expected);
}

#[test]
fn ends_and_ports_are_told() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "send_flow_rem,cookie=7,priority=3,udp,actions=2"]).done();
    switch.receive("p1", &[udp([10, 0, 0, 9]), udp([10, 0, 0, 9])]);
    let monitor = Monitor::start(&switch, &["removed", "ports", "--names"]);
    switch.ofctl(&["del-flows", "udp"]).done();
    switch.ofctl(&["mod-port", "p2", "no-flood"]).done();
    eventually("both are told", || monitor.said().lines().count() == 2);
    let said = monitor.interrupt();
    let (removed, port) = said.split_once('\n').unwrap();
    let (before, behind) = removed.split_once(" duration").unwrap();
    let start = "OFPT_FLOW_REMOVED: priority=3,udp reason=delete table_id=0 cookie:0x7";
    assert_eq!(before, start);
    assert!(behind.ends_with("s idle0 pkts2 bytes120"), "{removed}");
    assert_eq!(port, "OFPT_PORT_STATUS: MOD: 2(p2): bridge br0, dummy, up, config: no_flood\n");
}

#[test]
fn events_are_a_line_of_json_each() {
    let switch = Switch::with_ports();
    let arguments = ["flows=arp", "--no-initial", "-c", "2", "-f", "json"];
    let monitor = Monitor::start(&switch, &arguments);
    // There is no word of when it has begun.
    eventually("it has heard of two", || {
        switch.ofctl(&["add-flow", "udp,actions=1"]).done();
        switch.ofctl(&["add-flow", "arp,actions=1"]).done();
        monitor.said().lines().count() == 2
    });
    for line in monitor.end().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["event"], &event["bridge"]), (&"flow_added".into(), &"br0".into()));
    }
}

#[test]
fn what_is_wrong_with_a_watch_is_shown() {
    let switch = Switch::with_ports();
    let said = switch.ofctl(&["monitor", "br0", "flow"]).misused();
    assert!(said.contains("`flow` is none of flows, flows=MATCH"), "{said}");
    let said = switch.ofctl(&["monitor", "flows=tcp,tp_dts=80"]).refused();
    assert!(said.contains("unknown word `tp_dts`"), "{said}");
    assert!(said.contains("^^^^^^"), "{said}");
    let said = switch.ofctl(&["monitor", "br1", "ports"]).refused();
    assert!(said.contains("did you mean `br0`?"), "{said}");
}

/// What each word does to packets, and what is shown of it.
#[test]
fn ports_are_used_as_they_are_told() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "actions=flood"]).done();
    let sent = |switch: &Switch| {
        switch.receive("p1", &[udp([10, 0, 0, 9])]);
        let stats = switch.ofctl(&["dump-ports", "br0", "-f", "json"]).json();
        let sent = |at: usize| stats["ports"][at]["tx_packets"].as_u64().unwrap();
        (sent(1), sent(2))
    };
    assert_eq!(sent(&switch), (1, 1));
    switch.ofctl(&["mod-port", "br0", "p2", "no-flood"]).done();
    assert_eq!(sent(&switch), (1, 2));
    switch.ofctl(&["mod-port", "3", "no-forward"]).done();
    assert_eq!(sent(&switch), (1, 2));
    switch.ofctl(&["mod-port", "p2", "flood"]).done();
    assert_eq!(sent(&switch), (2, 2), "the other one still has nothing");
    switch.ofctl(&["mod-port", "p3", "forward", "no-receive"]).done();
    assert_eq!(sent(&switch), (3, 3));
    switch.receive("p3", &[udp([10, 0, 0, 9])]);
    switch.ofctl(&["mod-port", "p1", "down"]).done();
    assert_eq!(sent(&switch), (3, 3));
    let drops = switch.ofctl(&["dump-ports", "br0"]).done();
    assert!(drops.contains("br0        1  p1        1  no-forward "), "{drops}");
    assert!(drops.contains("br0        1  p1        1  no-receive "), "{drops}");
    assert!(drops.contains("br0        3  p3        1  no-receive "), "{drops}");
    let shown = switch.ofctl(&["show"]).done();
    assert!(shown.contains(" 1(p1): dummy, down, mtu 1500, vlan all, down\n"), "{shown}");
    assert!(shown.contains("down: `ofctl mod-port` has set it down"), "{shown}");
    assert!(shown.contains(" 3(p3): dummy, up, mtu 1500, vlan all, no-receive\n"), "{shown}");
    let said = switch.ofctl(&["mod-port", "p1", "dwon"]).misused();
    assert!(said.contains("did you mean `down`?"), "{said}");
    let said = switch.ofctl(&["mod-port", "br0", "p7", "down"]).refused();
    assert!(said.contains("the ports are p1 (1), p2 (2), p3 (3)"), "{said}");
    let said: Said = switch.ofctl(&["mod-port", "p1"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
}
