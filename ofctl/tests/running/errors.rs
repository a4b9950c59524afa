//! What a user is told who is wrong.

use std::process::Stdio;

use crate::switch::{Said, Switch, ofctl};

/// What is said about a flow that is refused, but for its first line's `error: `.
fn refused(switch: &Switch, arguments: &[&str]) -> String {
    let said = switch.ofctl(arguments).refused();
    said.strip_prefix("error: ").unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn a_caret_stands_below_what_is_wrong() {
    let switch = Switch::with_ports();
    let word = "\
unknown word `nw_dts`, did you mean `nw_dst`?
 |
 | ip,nw_dts=10.0.0.1,actions=drop
 |    ^^^^^^
";
    assert_eq!(refused(&switch, &["add-flow", "br0", "ip,nw_dts=10.0.0.1,actions=drop"]), word);
    let action = "\
unknown action `outptu`, did you mean `output`?
 |
 | ip,actions=outptu:3
 |            ^^^^^^
";
    assert_eq!(refused(&switch, &["mod-flows", "ip,actions=outptu:3"]), action);
    let missing = "\
`actions=` is missing; `actions=drop` does nothing with the packet
 |
 | arp
 |    ^
";
    assert_eq!(refused(&switch, &["add-flow", "arp"]), missing);
    let port = "\
no port is named `p`
 |
 | in_port=p,actions=drop
 |         ^
 |
 = help: the ports are p1 (1), p2 (2), p3 (3)
";
    assert_eq!(refused(&switch, &["add-flow", "br0", "in_port=p,actions=drop"]), port);
    let strict = "\
`priority` takes `delete_strict`: `delete` removes flows of every priority
 |
 | priority=7
 | ^^^^^^^^
 |
 = help: here that is `--strict`
";
    assert_eq!(refused(&switch, &["del-flows", "br0", "priority=7"]), strict);
    let value = "\
`nw_dst` takes an IPv4 address such as 10.0.0.1 or 10.0.0.0/8, found `10.0.0.256`
 |
 | ip,nw_dst=10.0.0.256
 |           ^^^^^^^^^^
";
    assert_eq!(refused(&switch, &["dump-flows", "br0", "ip,nw_dst=10.0.0.256"]), value);
    assert_eq!(refused(&switch, &["trace", "ip,nw_dst=10.0.0.256"]), value);
    let hex = "\
expected two hexadecimal digits a byte
 |
 | 02zz
 |   ^^
 |
 = help: with --in-port the packet is given by its bytes
";
    assert_eq!(refused(&switch, &["trace", "--in-port", "1", "02zz"]), hex);
    assert_eq!(switch.flows(), "");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let switch = Switch::start();
    let none = refused(&switch, &["add-flow", "actions=drop"]);
    assert_eq!(none, "there is no bridge; `ofctl add-br NAME` makes one\n");
    let switch = Switch::with_ports();
    let bridge = "\
there is no bridge `br1`
 |
 = help: did you mean `br0`? there is br0
";
    for arguments in
        [&["show", "br1"][..], &["del-br", "br1"], &["add-flow", "br1", "actions=drop"]]
    {
        assert_eq!(refused(&switch, arguments), bridge, "{arguments:?}");
    }
    let port = "\
bridge br0 has no port `p33`
 |
 = help: did you mean `p3`? the ports are p1 (1), p2 (2), p3 (3)
";
    for arguments in [&["del-port", "br0", "p33"][..], &["capture", "p33"]] {
        assert_eq!(refused(&switch, arguments), port, "{arguments:?}");
    }
    let nowhere = "\
a packet comes in by a port of br0: in_port=0 is none
 |
 = help: the ports are p1 (1), p2 (2), p3 (3)
";
    assert_eq!(refused(&switch, &["trace", "tcp"]), nowhere);
    // Neither of what a lone argument may be.
    let neither = refused(&switch, &["dump-flows", "br7"]);
    assert!(neither.contains("unknown word `br7`"), "{neither}");
    assert!(neither.contains("`br7` is no bridge either; there is br0"), "{neither}");
    let alone = refused(&switch, &["add-flow", "br0"]);
    assert!(alone.ends_with("`br0` is a bridge; what comes behind it is missing\n"), "{alone}");
    switch.ofctl(&["add-br", "br1"]).done();
    let several = refused(&switch, &["add-flow", "actions=drop"]);
    assert!(several.ends_with("= help: there is br0, br1\n"), "{several}");
    let file = refused(&switch, &["add-flows", "br0", "nowhere.txt"]);
    assert_eq!(file, "nowhere.txt cannot be read: No such file or directory (os error 2)\n");
}

#[test]
fn a_switch_that_does_not_run_is_asked_after() {
    let run = |arguments: &[&str]| Said::from(ofctl(arguments).output().unwrap());
    let gone = run(&["show", "--socket", "/nowhere/s.sock"]).refused();
    let expected = "error: no switch answers at /nowhere/s.sock: is `vswitchd` running, and is this \
                    its socket? (No such file or directory (os error 2))\n";
    assert_eq!(gone, expected);
    let json = run(&["show", "--socket", "/nowhere/s.sock", "-f", "json"]).refused();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["error"]["message"].as_str().unwrap().contains("is `vswitchd` running"));
    let version = run(&["version", "--socket", "/nowhere/s.sock"]);
    assert_eq!(version.code, Some(1));
    assert!(version.out.starts_with("ofctl "), "its own is known");
}

#[test]
fn a_refusal_in_json_is_what_the_switch_said() {
    let switch = Switch::with_ports();
    let said = switch.ofctl(&["add-flow", "br0", "pi,actions=drop", "-f", "json"]).refused();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["error"]["code"], api::Failure::BAD_PARAMS);
}

#[test]
fn a_wrong_command_line_is_explained() {
    let run = |arguments: &[&str]| Said::from(ofctl(arguments).output().unwrap()).misused();
    let typo = run(&["dump-flow", "br0"]);
    assert!(typo.contains("'dump-flows'"), "{typo}");
    assert!(run(&["show", "--fromat", "json"]).contains("'--format'"));
    assert!(run(&["add-port", "br0", "p", "--type", "afxpd"]).contains("'afxdp'"));
    assert!(run(&["add-flow"]).contains("FLOW is missing"));
    assert!(run(&["add-flow"]).contains("Usage: ofctl add-flow [OPTIONS] [BRIDGE] FLOW"));
    assert!(run(&["del-flows"]).contains("name the bridge to remove all"));
    assert!(run(&["capture"]).contains("PORT (or --drops) is missing"));
    assert!(run(&["show", "--timeout", "0"]).contains("more than nothing"));
    let foreign = run(&["add-port", "br0", "p", "--type", "dummy", "--tx", "x"]);
    assert!(foreign.contains("--tx is an option of type pcap: say `--type pcap`"), "{foreign}");
    let mac = run(&["add-port", "br0", "p", "--type", "internal", "--mac", "zz"]);
    assert!(mac.contains("such as 02:00:00:00:00:01"), "{mac}");
    let vlan = run(&["add-port", "br0", "p", "--vlan", "10"]);
    assert!(vlan.contains("expected all, access=VLAN or trunk=VLAN"), "{vlan}");
    assert!(run(&[]).contains("Usage: ofctl"));
    assert!(run(&["shwo", "--color", "always"]).contains('\u{1b}'));
    assert!(!run(&["shwo", "--color=never"]).contains('\u{1b}'));
}

#[test]
fn colours_are_for_those_who_want_them() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "actions=drop"]).done();
    let coloured = |when| switch.ofctl(&["dump-flows", "--color", when]).done().contains('\u{1b}');
    assert!(coloured("always") && !coloured("never") && !coloured("auto"));
    let error = switch.ofctl(&["show", "br9", "--color", "always"]).refused();
    assert!(error.contains("\u{1b}["), "{error}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let switch = Switch::with_ports();
    let flows: String = (0..3000).map(|n| format!("priority={n},ip,actions=drop\n")).collect();
    switch.ofctl_reading(&["add-flows", "br0", "-"], &flows).done();
    for format in ["table", "json"] {
        let mut child = switch
            .command(&["dump-flows", "br0", "--format", format])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!((said.code, &*said.err), (Some(0), ""));
    }
}
