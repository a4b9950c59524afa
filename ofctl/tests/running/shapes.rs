//! What is printed, beside what a real Open vSwitch prints of the same.

use crate::ovs::Ovs;
use crate::switch::Switch;

/// Lines without the heading and without times, sorted: OVS has groups in no order.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("OFPST"))
        .map(|line| match line.split_once("duration") {
            Some((before, behind)) => {
                let rest = behind
                    .trim_start_matches([':', '='])
                    .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
                format!("{before}duration{rest}")
            }
            None => line.to_owned(),
        })
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn dumps_have_the_shape_of_ovs() {
    let running = Ovs::start();
    let ovs = |words: &[&str]| running.run(&[&["ovs-ofctl", "-O", "OpenFlow15"], words].concat());
    let switch = Switch::with_ports();
    for change in [
        [
            "add-group",
            "group_id=5,type=select,selection_method=hash,fields(ip_src,ip_dst),bucket=weight=20,output:2,bucket=watch_port:3,output:3",
        ],
        [
            "add-group",
            "group_id=1,type=ff,bucket=watch_port:2,output:2,bucket=watch_port=3,output:3",
        ],
        ["add-group", "group_id=0,type=all"],
        ["insert-buckets", "group_id=0,command_bucket_id=last,bucket=bucket_id:4,output:1"],
        ["insert-buckets", "group_id=0,command_bucket_id=first,bucket=bucket_id:9,output:2"],
        ["remove-buckets", "group_id=5,command_bucket_id=1"],
        ["add-meter", "meter=1,pktps,burst,stats,bands=type=drop,rate=100,burst_size=10"],
        ["add-meter", "meter=7,kbps,bands=type=drop,rate=100,type=drop,rate=200"],
        [
            "add-flow",
            "table=1,priority=5,ip,cookie=5,idle_timeout=9,importance=3,actions=meter:1,group:5",
        ],
        ["add-flow", "in_port=1,actions=clone(group:5)"],
        ["add-flow", "in_port=2,actions=write_actions(group:5)"],
    ] {
        let [command, what] = change;
        ovs(&[command, "br0", what]);
        switch.ofctl(&[command, "br0", what]).done();
    }
    for dump in ["dump-groups", "dump-group-stats", "dump-meters", "meter-stats", "dump-flows"] {
        let ours = switch.ofctl(&[dump, "br0"]).done();
        assert_eq!(lines(&ours), lines(&ovs(&[dump, "br0"])), "{dump}");
    }
    // Blank lines between meters included.
    let theirs = ovs(&["dump-meters", "br0"]);
    let ours = switch.ofctl(&["dump-meters", "br0"]).done();
    assert_eq!(ours, theirs.split_once('\n').unwrap().1);
    // Limits and capabilities are each one's own.
    for features in ["dump-group-features", "meter-features"] {
        let words = |text: &str| -> Vec<String> {
            let words = text.split([' ', '\n', ':', '=']).filter(|word| !word.is_empty());
            words
                .filter(|word| word.ends_with("group") || word.starts_with("max"))
                .map(str::to_owned)
                .collect()
        };
        let ours = switch.ofctl(&[features, "br0"]).done();
        assert_eq!(words(&ours), words(&ovs(&[features, "br0"])), "{features}");
    }
}
