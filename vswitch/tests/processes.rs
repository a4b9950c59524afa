//! `vswitchd` as a process: with few rights, ended in order and without, and started again.

#[path = "common/net.rs"]
mod net;

use std::path::Path;

use api::request::{InternalOptions, PortKind};
use net::{
    AFXDP, Daemon, NORMAL, POD, Result, bridge, host, stream, sums_are_right, until_reached,
};
use testnet::{FOUR_CAPABILITIES, Host, Nobody, TestNet};

const PORTS: &[(&str, &str)] = &[("a", AFXDP), ("b", POD), ("br0", "type = 'internal'")];

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn four_capabilities_are_enough_for_every_kind_of_port() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let nobody = Nobody::new(&net, Path::new(env!("CARGO_BIN_EXE_vswitchd")))?;
    let daemon =
        Daemon::start_by(&net, &[&nobody.starter(), &nobody.program()], &bridge(NORMAL, PORTS))?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    assert!(status.contains("Uid:\t65534\t65534"), "{status}");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t{FOUR_CAPABILITIES}")), "{status}");
    }
    net.run("ip address add 10.0.0.254/24 dev br0")?;
    until_reached(&a, b.address())?;
    until_reached(&b, "10.0.0.254".parse()?)?;
    stream(&a, &b, b.address(), 4)?;
    stream(&a, &net, "10.0.0.254".parse()?, 4)?;
    stream(&net, &b, b.address(), 4)?;
    // Ports come and go as well, and take along what they have put on interfaces.
    for name in ["a", "b", "br0"] {
        daemon.remove(name)?;
    }
    assert_eq!(left_behind(&net)?, "");
    daemon.add("a", PortKind::Afxdp(api::request::AfxdpOptions::default()))?;
    daemon.add("b", PortKind::Pod(api::request::PodOptions {}))?;
    daemon.add("br0", PortKind::Internal(InternalOptions::default()))?;
    until_reached(&a, b.address())?;
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    Ok(())
}

/// What of ours is on the interfaces of the switch's namespace.
fn left_behind(net: &TestNet) -> Result<String> {
    let mut found = String::new();
    let links = net.run("ip link show")?;
    for word in ["prog/xdp", "vswitch", "vst", "br0"] {
        if links.contains(word) {
            found.push_str(&format!("{word} in {links}"));
        }
    }
    for name in ["a", "b"] {
        found.push_str(&net.run(&format!("tc filter show dev {name} ingress"))?);
    }
    Ok(found)
}

/// How many of three pings from `host` the switch's own namespace answers, at 10.0.0.253, which
/// stands for whatever else the host has.
fn gets_round(host: &Host) -> Result<u32> {
    Ok(host.ping_with("10.0.0.253".parse()?, 3, 56)?)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_end_in_order_and_a_sudden_one_let_nothing_through_and_a_new_switch_goes_on() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    // If a packet gets round the switch, the host answers.
    for (host, name) in [(&a, "a"), (&b, "b")] {
        net.run(&format!("ip address add 10.0.0.253/32 dev {name}"))?;
        net.run(&format!("ip route add {}/32 dev {name}", host.address()))?;
        let mac = net.run(&format!("cat /sys/class/net/{name}/address"))?;
        host.run(&format!("ip neigh add 10.0.0.253 lladdr {} dev eth0 nud permanent", mac.trim()))?;
        assert_eq!(gets_round(host)?, 3, "without a switch");
    }
    let ports = [("a", AFXDP), ("b", POD)];
    for signal in ["TERM", "KILL", "TERM"] {
        let mut daemon = Daemon::start(&net, &bridge(NORMAL, &ports))?;
        until_reached(&a, b.address())?;
        stream(&a, &b, b.address(), 4)?;
        if signal == "TERM" {
            let status = daemon.stop()?;
            assert!(status.success(), "{status}");
            assert!(!daemon.socket().exists(), "the socket is gone");
            assert!(daemon.log().contains("ending"), "{}", daemon.log());
        } else {
            daemon.kill()?;
            assert!(daemon.socket().exists(), "nobody was there to remove it");
        }
        assert_eq!(a.ping(&b, 2)?, 0, "nobody carries packets");
        for host in [&a, &b] {
            assert_eq!(gets_round(host)?, 0, "after {signal}, from {}", host.name());
        }
        // As documented: programs stay, and drop.
        let links = net.run("ip link show")?;
        assert!(links.contains("prog/xdp") && links.contains("vswitch-xdp-"), "{links}");
        assert!(!links.contains("vst"), "a pod's TAP goes with its process: {links}");
        assert!(net.run("tc filter show dev b ingress")?.contains("vswitch_up"));
    }
    // The pods have seen nothing of it.
    for host in [&a, &b] {
        assert!(host.run("ip link show dev eth0")?.contains("state UP"));
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_restart_is_survived_by_connections() -> Result {
    use std::io::{Read as _, Write as _};
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    b.run("ethtool -K eth0 rx off")?;
    let config = bridge(NORMAL, &[("a", AFXDP), ("b", POD)]);
    let mut daemon = Daemon::start(&net, &config)?;
    until_reached(&a, b.address())?;
    let (mut near, mut far) = net::connection(&a, &b, b.address(), b.address())?;
    far.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    for round in 0..3 {
        near.write_all(&[round; 1000])?;
        let mut got = [0; 1000];
        far.read_exact(&mut got)?;
        assert_eq!(got, [round; 1000]);
        daemon.stop()?;
        daemon = Daemon::start(&net, &config)?;
    }
    drop(daemon);
    sums_are_right(&[&b])?;
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_second_switch_at_the_same_socket_is_refused_and_the_first_goes_on() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let config = bridge(NORMAL, &[("a", AFXDP), ("b", POD)]);
    let daemon = Daemon::start(&net, &config)?;
    until_reached(&a, b.address())?;
    let second = format!(
        "{} --socket {}",
        Path::new(env!("CARGO_BIN_EXE_vswitchd")).display(),
        daemon.socket().display()
    );
    let error = net.run(&second).expect_err("there is one already").to_string();
    assert!(error.contains("another vswitchd"), "{error}");
    assert_eq!(a.ping(&b, 5)?, 5);
    assert!(daemon.client().is_ok(), "the socket is still the first one's");
    Ok(())
}

/// What a switch leaves on an interface drops all packets; a pod's port there was up, and dead.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_port_may_be_of_another_kind_after_a_restart() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    for [p, q] in [[AFXDP, POD], [POD, AFXDP], [AFXDP, POD]] {
        let mut daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", p), ("b", q)]))?;
        until_reached(&a, b.address())?;
        stream(&a, &b, b.address(), 2)?;
        // One that is still there keeps its queues.
        let name = if p == AFXDP { "a" } else { "b" };
        let depot = packet::Depot::new(hw::memory::map(4096)?.memory);
        let options = hw::PodOptions::new(name);
        let opened = net.inside(|| hw::Pod::open(&options, packet::PortId(9), &depot, None))?;
        let error = opened.expect_err("a switch has it").to_string();
        assert!(error.contains("queue 0"), "{error}");
        assert_eq!(a.ping(&b, 3)?, 3);
        daemon.kill()?;
    }
    Ok(())
}
