//! What zones may have of connections: how many, and for how long.

use serde_json::json;

use crate::connections::{ACK, SYN, tcp, udp};
use crate::ovs::Ovs;
use crate::switch::{Said, Switch, ofctl};

const FLOWS: [&str; 2] =
    ["priority=40000,tcp,actions=ct(commit,zone=5),2", "udp,actions=ct(commit,zone=6),2"];

fn with_flows() -> Switch {
    let switch = Switch::with_ports();
    FLOWS.iter().for_each(|flow| drop(switch.ofctl(&["add-flow", flow]).done()));
    switch
}

/// How long the connection of UDP stays.
fn timeout(switch: &Switch) -> u32 {
    let said = switch.ofctl(&["dump-conntrack", "-s", "ct_nw_proto=17"]).done();
    let (_, rest) = said.split_once(",timeout=").unwrap();
    rest.split([',', '\n']).next().unwrap().parse().unwrap()
}

#[test]
fn a_zone_has_no_more_connections_than_it_may() {
    let switch = with_flows();
    let done = |words: &[&str]| assert_eq!(switch.ofctl(words).done(), "", "{words:?}");
    let get = |words: &[&str]| switch.ofctl(&[&["ct-get-limits"], words].concat()).done();
    assert_eq!(get(&[]), "default limit=0\n");
    done(&["ct-set-limits", "default=100", "zone=6,limit=2", "zone=7,limit=0"]);
    switch.receive("p1", &[udp(1), udp(2), udp(3), udp(1), tcp(false, SYN)]);
    let all = "default limit=100\nzone=6,limit=2,count=2\nzone=7,limit=0,count=0\n";
    assert_eq!(get(&[]), all);
    assert_eq!(
        get(&["zone=5,6"]),
        all.replace("zone=7,limit=0,count=0\n", "")
            .replace("=100\n", "=100\nzone=5,limit=100,count=1\n")
    );
    let zone = json!({"zone": 6, "limit": 2, "count": 2});
    let json = switch.ofctl(&["ct-get-limits", "zone=6", "-f", "json"]).json();
    assert_eq!(json, json!({"default": 100, "zones": [zone]}));
    let drops = switch.ofctl(&["dump-ports"]).done();
    let row = drops.lines().find(|line| line.contains("ct-zone-limit")).unwrap();
    assert!(row.contains(" 1  ct-zone-limit  The zone has as many"), "{drops}");
    let stats = switch.ofctl(&["ct-stats"]).done();
    assert!(stats.contains("\nzone limit       1\n"), "{stats}");
    // Whatever goes makes room.
    switch.ofctl(&["flush-conntrack", "zone=6,ct_tp_dst=53"]).done();
    assert!(get(&["zone=6"]).ends_with("zone=6,limit=2,count=0\n"));
    done(&["ct-del-limits", "default", "zone=6,7"]);
    assert_eq!(get(&[]), "default limit=0\n");
    switch.receive("p1", &[udp(1), udp(2), udp(3)]);
    assert_eq!(get(&["zone=6"]), "default limit=0\nzone=6,limit=0,count=3\n");
}

#[test]
fn a_zone_has_timeouts_of_its_own() {
    let switch = with_flows();
    let done = |words: &[&str]| assert_eq!(switch.ofctl(words).done(), "", "{words:?}");
    let kernel = "default tcp_syn_sent=120 tcp_syn_sent2=120 tcp_syn_recv=60 \
                  tcp_established=432000 tcp_fin_wait=120 tcp_close_wait=60 tcp_last_ack=30 \
                  tcp_time_wait=120 tcp_close=10 tcp_unack=300 udp_first=30 udp_single=30 \
                  udp_multiple=120 icmp_first=30 icmp_reply=30 generic=600 sctp_closed=10 \
                  sctp_cookie_wait=3 sctp_cookie_echoed=3 sctp_established=210 \
                  sctp_shutdown_sent=3 sctp_shutdown_recd=3 sctp_shutdown_ack_sent=3 \
                  sctp_heartbeat_sent=30\n";
    let get = |words: &[&str]| switch.ofctl(&[&["ct-get-timeouts"], words].concat()).done();
    assert_eq!(get(&[]), kernel);
    done(&["ct-set-timeouts", "zone=6", "udp_first=1000", "udp_single=2000"]);
    switch.receive("p1", &[udp(1)]);
    assert!((900..=1000).contains(&timeout(&switch)));
    switch.receive("p1", &[udp(1)]);
    assert!((1900..=2000).contains(&timeout(&switch)));
    done(&["ct-set-timeouts", "generic=500"]);
    let others = kernel.replace("generic=600", "generic=500");
    assert_eq!(get(&[]), format!("{others}zone=6 udp_first=1000 udp_single=2000\n"));
    assert_eq!(get(&["zone=7"]), others);
    let json = switch.ofctl(&["ct-get-timeouts", "zone=6", "-f", "json"]).json();
    assert_eq!(json["default"]["generic"], 500);
    let own = json!({"udp_first": 1000, "udp_single": 2000});
    assert_eq!(json["zones"], json!([{"zone": 6, "timeouts": own}]));
    done(&["ct-del-timeouts", "zone=6"]);
    done(&["ct-del-timeouts", "default"]);
    assert_eq!(get(&[]), kernel);
    switch.receive("p1", &[udp(1)]);
    assert!((20..=30).contains(&timeout(&switch)));
    let limits = switch.ofctl(&["limits"]).done();
    let row = limits.lines().find(|line| line.starts_with("zones with timeouts")).unwrap();
    assert!(row.contains(" 255    0  "), "{limits}");
}

#[test]
fn windows_are_checked_or_not() {
    let switch = with_flows();
    let get = || switch.ofctl(&["ct-get-tcp-seq-chk"]).done();
    let invalid = || switch.ofctl(&["ct-stats", "-f", "json"]).json()["invalid"].clone();
    assert_eq!(get(), "TCP sequence checking: enabled\n");
    switch.receive("p1", &[tcp(false, SYN)]);
    switch.receive("p2", &[tcp(true, SYN | ACK)]);
    let beside = || {
        let mut segment = tcp(false, ACK);
        // A number that is far ahead, and the checksum that goes with it.
        segment[14 + 20 + 4] = 0x40;
        let sum = u16::from_be_bytes([segment[50], segment[51]]);
        let sum = u32::from(!sum) + 0x4000;
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        segment[50..52].copy_from_slice(&sum.to_be_bytes());
        segment
    };
    switch.receive("p1", &[beside()]);
    assert_eq!(invalid(), 1);
    assert_eq!(switch.ofctl(&["ct-disable-tcp-seq-chk"]).done(), "");
    assert_eq!(get(), "TCP sequence checking: disabled\n");
    switch.receive("p1", &[beside()]);
    assert_eq!(invalid(), 1);
    assert_eq!(switch.ofctl(&["ct-enable-tcp-seq-chk"]).done(), "");
    let json = switch.ofctl(&["ct-get-tcp-seq-chk", "-f", "json"]).json();
    assert_eq!(json, json!({"seq_chk": true, "loose": true}));
}

#[test]
fn wrong_words_are_explained() {
    let misused = |arguments: &[&str]| Said::from(ofctl(arguments).output().unwrap()).misused();
    let said = misused(&["ct-set-timeouts", "tcp_estab=5"]);
    assert!(said.contains("unknown key `tcp_estab`: did you mean `tcp_established`? "), "{said}");
    assert!(said.contains("Usage: ofctl ct-set-timeouts [OPTIONS] [zone=Z] "), "{said}");
    assert!(misused(&["ct-set-limits", "zone=5"]).contains("zone 5 needs its limit"));
    assert!(misused(&["ct-set-limits"]).contains("<WORD>"));
    assert!(misused(&["ct-del-timeouts", "zone=x"]).contains("`zone` takes a number"));
    assert!(misused(&["ct-get-limts"]).contains("'ct-get-limits'"));
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn limits_have_the_shape_of_ovs() {
    let (switch, ovs) = (with_flows(), Ovs::start());
    ovs.flows(&FLOWS.map(str::to_owned));
    let both = |command: &str, words: &[&str]| {
        let theirs = ovs.run(&[&["ovs-appctl", &format!("dpctl/{command}")], words].concat());
        let ours = switch.ofctl(&[&[command], words].concat()).done();
        assert_eq!(ours.trim_end(), theirs.trim_end(), "{command} {words:?}");
    };
    both("ct-get-limits", &[]);
    both("ct-set-limits", &["default=9", "zone=6,limit=2", "zone=7,limit=0"]);
    for number in 1..4 {
        ovs.receive(1, &udp(number));
        switch.receive("p1", &[udp(number)]);
    }
    both("ct-get-limits", &[]);
    both("ct-get-limits", &["zone=6"]);
    both("ct-get-limits", &["zone=7,6"]);
    both("ct-del-limits", &["zone=6,7"]);
    both("ct-get-limits", &[]);
    both("ct-get-tcp-seq-chk", &[]);
}
