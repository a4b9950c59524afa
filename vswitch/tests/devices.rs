//! Peers behind devices that `vswitchd` drives by AF_XDP: one queue and several, one worker and
//! two, beside pods.

#[path = "common/net.rs"]
mod net;

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use api::request::{AfxdpMode, AfxdpOptions, FdbShow, PodOptions, PortKind, RxqShow};
use net::{
    AFXDP, Daemon, NORMAL, POD, Result, bridge, host, host_with, stream, sums_are_right,
    understand, until_reached,
};
use testnet::{HostOptions, TestNet};

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn peers_that_leave_checksums_to_their_devices_understand_each_other() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    assert!(a.run("ethtool -k eth0")?.contains("tx-checksumming: on"));
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", AFXDP), ("b", AFXDP)]))?;
    assert_eq!(daemon.port("a")?.queues[0].mode, "native");
    understand(&a, &b, 8)?;
    // From now on they believe nobody.
    a.run("ethtool -K eth0 rx off")?;
    b.run("ethtool -K eth0 rx off")?;
    understand(&a, &b, 8)?;
    sums_are_right(&[&a, &b])?;
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_device_a_pod_and_the_host_understand_each_other() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    a.run("ethtool -K eth0 rx off")?;
    b.run("ethtool -K eth0 rx off")?;
    let ports = [("a", AFXDP), ("b", POD), ("br0", "type = 'internal'")];
    let daemon = Daemon::start(&net, &bridge(NORMAL, &ports))?;
    net.run("ip address add 10.0.0.254/24 dev br0")?;
    net.run("ip link set dev br0 up")?;
    understand(&a, &b, 8)?;
    until_reached(&a, "10.0.0.254".parse()?)?;
    stream(&a, &net, "10.0.0.254".parse()?, 8)?;
    stream(&net, &a, a.address(), 8)?;
    sums_are_right(&[&a, &b])?;
    // The pod's super-frames do not fit through the device and are cut.
    let stats = daemon.stats("b")?;
    assert!(stats.rx_bytes / stats.rx_packets > 3000, "{stats:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn two_workers_share_the_queues_and_keep_the_order_of_each_flow() -> Result {
    const FLOWS: u8 = 32;
    const ROUNDS: u32 = 100;
    let net = TestNet::new()?;
    let two = || HostOptions { queues: 2, ..HostOptions::default() };
    let (a, b) = (host_with(&net, "a", 1, two())?, host_with(&net, "b", 2, two())?);
    let workers = "[workers]\ncpus = [0, 1]\n";
    let config = bridge(NORMAL, &[("a", AFXDP), ("b", AFXDP)]);
    let daemon = Daemon::start(&net, &format!("{workers}{config}"))?;
    until_reached(&a, b.address())?;
    let shared = daemon.client()?.call(RxqShow {})?.queues;
    for worker in [0, 1] {
        let own = shared.iter().filter(|queue| queue.worker == Some(worker)).count();
        assert_eq!(own, 2, "of four queues: {shared:?}");
    }
    let before = daemon.workers()?;
    // Numbered datagrams of several flows, in turn, some at a time.
    let receiver = b.inside(|| UdpSocket::bind("10.0.0.2:4000"))??;
    receiver.set_read_timeout(Some(Duration::from_millis(500)))?;
    let senders = a.inside(|| -> Result<Vec<_>> {
        let open = |_| Ok(UdpSocket::bind("10.0.0.1:0")?);
        (0..FLOWS).map(open).collect()
    })??;
    let mut next = vec![(0, 0); FLOWS.into()];
    for round in 0..ROUNDS {
        for (flow, sender) in (0u8..).zip(&senders) {
            let number = round.to_be_bytes();
            let payload = [&[flow], &number[..]].concat();
            sender.send_to(&payload, "10.0.0.2:4000")?;
        }
        if round % 4 == 3 {
            drain(&receiver, &mut next, 4 * usize::from(FLOWS))?;
        }
    }
    let arrived: u32 = next.iter().map(|(_, count)| count).sum();
    assert_eq!(arrived, ROUNDS * u32::from(FLOWS), "{next:?}");
    let after = daemon.workers()?;
    for (before, after) in before.iter().zip(&after) {
        let received = after.rx_packets - before.rx_packets;
        assert!(received > 200, "worker {} received {received}", after.worker);
        assert!(after.sleeps > 0, "it sleeps when there is nothing to do");
    }
    understand(&a, &b, 8)?;
    Ok(())
}

/// Receives `count` datagrams. `next` has for each flow the number it must not go below, and how
/// many have come.
fn drain(receiver: &UdpSocket, next: &mut [(u32, u32)], count: usize) -> Result {
    for _ in 0..count {
        let mut payload = [0; 5];
        match receiver.recv(&mut payload) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let [flow, number @ ..] = payload;
        let number = u32::from_be_bytes(number);
        let (least, arrived) = &mut next[usize::from(flow)];
        assert!(number >= *least, "flow {flow}: {number} arrives after {least} was expected");
        (*least, *arrived) = (number + 1, *arrived + 1);
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_queue_that_is_taken_is_refused_and_said_why() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let depot = packet::Depot::new(hw::memory::map(4096)?.memory);
    let options = hw::AfXdpOptions::new("a");
    let taken = net.inside(|| hw::AfXdp::open(&options, packet::PortId(1), &depot))??;
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", AFXDP), ("b", POD)]))?;
    let reason = daemon.until_down("a")?;
    assert!(reason.contains("queue 0") && reason.contains("use"), "{reason}");
    // Once it is free the port comes by itself.
    drop(taken);
    net::eventually("the port works", || Ok(daemon.port("a")?.state == api::reply::PortState::Up))?;
    until_reached(&a, b.address())?;
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_port_by_other_means_works_or_says_why_not() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    b.run("ethtool -K eth0 rx off")?;
    let workers = "[workers]\nbusy_poll = 'always'\n";
    let config = bridge(NORMAL, &[("a", AFXDP), ("b", AFXDP)]);
    let daemon = Daemon::start(&net, &format!("{workers}{config}"))?;
    understand(&a, &b, 2)?;
    sums_are_right(&[&b])?;
    assert_eq!(daemon.workers()?[0].sleeps, 0, "it polls without end");
    // In the kernel's own path a peer's super-frames come without a word of how to cut them.
    daemon.remove("a")?;
    let mode = AfxdpMode::Generic;
    daemon.add("a", PortKind::Afxdp(AfxdpOptions { mode, ..AfxdpOptions::default() }))?;
    assert_eq!(daemon.port("a")?.queues[0].mode, "generic");
    until_reached(&a, b.address())?;
    a.run("ethtool -K eth0 tso off gso off")?;
    understand(&a, &b, 2)
        .map_err(|error| format!("{error} {:?} {:?}", daemon.stats("a"), daemon.stats("b")))?;
    // As many queues as there are, or none.
    daemon.remove("b")?;
    let two = AfxdpOptions { queues: Some(2), ..AfxdpOptions::default() };
    let error = daemon.add("b", PortKind::Afxdp(two)).expect_err("it has one").to_string();
    assert!(error.contains("1 receive queues") && error.contains("ethtool"), "{error}");
    assert!(daemon.port("b").is_err());
    assert!(!net.run("ip link show dev b")?.contains("xdp"), "nothing is left of the attempt");
    daemon.add("b", PortKind::Pod(PodOptions {}))?;
    until_reached(&a, b.address())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn hosts_of_two_bridges_do_not_meet() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let (c, d) = (host(&net, "c", 1)?, host(&net, "d", 2)?);
    let one = bridge(NORMAL, &[("a", POD), ("b", AFXDP)]);
    let other = bridge(NORMAL, &[("c", AFXDP), ("d", POD)]).replace("'br0'", "'br1'");
    let daemon = Daemon::start(&net, &format!("{one}{other}"))?;
    // The same addresses on both.
    for [from, to] in [[&a, &b], [&c, &d]] {
        until_reached(from, to.address())?;
        let mac = to.run("cat /sys/class/net/eth0/address")?;
        let known = from.run(&format!("ip neigh show {}", to.address()))?;
        assert!(known.contains(mac.trim()), "{known}");
    }
    for name in ["br0", "br1"] {
        let known = daemon.client()?.call(FdbShow { bridge: Some(name.to_owned()) })?.entries;
        assert_eq!(known.len(), 2, "{known:?}");
    }
    Ok(())
}
