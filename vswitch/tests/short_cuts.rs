//! Known flows between pods go from veth to veth in the kernel, and nobody can tell but by the time
//! it takes: everything is counted, and what changes holds at once.

#[path = "common/net.rs"]
mod net;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api::request::{CaptureSource, CaptureStart, Direction, FdbFlush, PodOptions, PortKind};
use net::{Daemon, NORMAL, POD, Result, bridge, host, stream, until_reached};
use testnet::{Host, TestNet, eventually};

/// Packets that took short-cuts.
fn short_cut_packets(daemon: &Daemon) -> Result<u64> {
    let workers = daemon.workers()?;
    Ok(workers.iter().map(|worker| worker.short_cut_packets).sum())
}

/// A counter of the host's own interface.
fn counted(host: &Host, name: &str) -> Result<u64> {
    Ok(host.run(&format!("cat /sys/class/net/eth0/statistics/{name}"))?.trim().parse()?)
}

/// Packets that one host sends to the other while `work` runs: a number each, 5000 a second. It is
/// handed the count of those that have arrived.
fn while_sending(a: &Host, b: &Host, work: impl FnOnce(&AtomicU64) -> Result) -> Result {
    let receiver = b.inside(|| UdpSocket::bind((b.address(), 7000)))??;
    let sender = a.inside(|| UdpSocket::bind((a.address(), 7001)))??;
    sender.connect((b.address(), 7000))?;
    receiver.set_read_timeout(Some(Duration::from_millis(10)))?;
    let (arrived, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = sender.send(b"a packet");
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        scope.spawn(|| {
            let mut bytes = [0; 64];
            while !over.load(Ordering::Relaxed) {
                if receiver.recv(&mut bytes).is_ok() {
                    arrived.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let worked = work(&arrived);
        over.store(true, Ordering::Relaxed);
        worked
    })
}

/// Waits until packets arrive, or until none do any more.
fn until_arriving(arrived: &AtomicU64, wanted: bool) {
    eventually(if wanted { "packets arrive" } else { "no packets arrive" }, || {
        let before = arrived.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        (arrived.load(Ordering::Relaxed) > before) == wanted
    });
}

/// Waits until packets take a short-cut.
fn until_short(daemon: &Daemon) -> Result {
    let before = short_cut_packets(daemon)?;
    eventually("packets take a short-cut", || {
        short_cut_packets(daemon).is_ok_and(|packets| packets > before + 100)
    });
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_packet_of_a_short_cut_is_counted() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let flows = &["priority=9,tcp,in_port=a,actions=output:b", "priority=0,actions=normal"];
    let daemon = Daemon::start(&net, &bridge(flows, &[("a", POD), ("b", POD)]))?;
    until_reached(&a, b.address())?;
    let names = [(&a, "a"), (&b, "b")];
    let read = || -> Result<Vec<[u64; 4]>> {
        let counts = names.iter().map(|(host, name)| {
            let port = daemon.stats(name)?;
            let inside = [counted(host, "tx_packets")?, counted(host, "tx_bytes")?];
            let outside = [counted(host, "rx_packets")?, counted(host, "rx_bytes")?];
            let differ = |counted: u64, ours: u64| counted.wrapping_sub(ours);
            Ok([
                differ(inside[0], port.rx_packets),
                differ(inside[1], port.rx_bytes),
                differ(outside[0], port.tx_packets),
                differ(outside[1], port.tx_bytes),
            ])
        });
        counts.collect()
    };
    // A packet between the readings of one, the stack's own too, would be missed for ever.
    let mut before = read()?;
    eventually("nothing is under way", || {
        std::thread::sleep(Duration::from_millis(20));
        read().is_ok_and(|now| now == std::mem::replace(&mut before, now.clone()))
    });
    // What the stack of one says before the other's port is open finds nobody.
    let dropped = [daemon.stats("a")?.drops, daemon.stats("b")?.drops];
    for (from, to) in [(&a, &b), (&b, &a)] {
        stream(from, to, to.address(), 64)?;
    }
    let carried = short_cut_packets(&daemon)?;
    assert!(carried > 1000, "{carried} packets took the short-cut");
    // Whatever the pods' interfaces have sent and received since, the ports have counted.
    eventually("all are counted", || read().is_ok_and(|now| now == before));
    for ((_, name), dropped) in names.iter().zip(dropped) {
        let stats = daemon.stats(name)?;
        assert!(stats.drops == dropped && stats.rx_errors == 0, "{stats:?}");
    }
    // Packets on the wire, not super-frames: 64 MiB in segments of 1448 bytes.
    let met = daemon.met("tcp,in_port=a")?;
    assert!(met >= (64 << 20) / 1448, "{met} packets");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_change_of_flows_holds_for_packets_with_a_short_cut() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let mut daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", POD)]))?;
    until_reached(&a, b.address())?;
    while_sending(&a, &b, |arrived| {
        until_short(&daemon)?;
        for _ in 0..10 {
            daemon.flows(&["priority=9,udp,in_port=a,actions=drop"])?;
            // What the receiver has not read yet was sent before.
            std::thread::sleep(Duration::from_millis(20));
            let before = arrived.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(arrived.load(Ordering::Relaxed), before, "packets that a flow drops");
            assert!(daemon.met("udp,in_port=a")? > 0);
            daemon.flows(&["delete udp"])?;
            until_arriving(arrived, true);
            until_short(&daemon)?;
        }
        // Forgotten addresses are learned anew, and packets go on.
        daemon.client()?.call(FdbFlush { bridge: None })?;
        until_short(&daemon)?;
        until_arriving(arrived, true);
        // A port that is gone receives nothing, and again when it is back.
        daemon.remove("b")?;
        until_arriving(arrived, false);
        daemon.add("b", PortKind::Pod(PodOptions {}))?;
        until_short(&daemon)?;
        // Without a switch nothing goes anywhere.
        daemon.stop()?;
        until_arriving(arrived, false);
        Ok(())
    })
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_capture_sees_what_took_a_short_cut_before() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", POD)]))?;
    until_reached(&a, b.address())?;
    while_sending(&a, &b, |_| {
        until_short(&daemon)?;
        let source = CaptureSource::Port { name: "b".to_owned(), direction: Direction::Tx };
        let start = CaptureStart { bridge: None, source, snaplen: None, count: Some(200) };
        let seen = daemon.client()?.capture(start)?.filter_map(std::result::Result::ok).count();
        assert!(seen >= 200, "{seen} packets");
        until_short(&daemon)
    })
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_steering_of_a_killed_switch_is_undone_and_nobody_elses() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let steer = |name| format!("/sys/class/net/{name}/queues/rx-0/rps_cpus");
    let one = std::env::temp_dir().join(format!("one-{}", net.namespace()));
    std::fs::write(&one, "1")?;
    let write = |name| net.run(&format!("cp {} {}", one.display(), steer(name)));
    let read = |name| net.run(&format!("cat {}", steer(name)));
    let config = bridge(NORMAL, &[("a", POD), ("b", POD)]);
    let mut daemon = Daemon::start(&net, &config)?;
    daemon.kill()?;
    drop(daemon);
    write("a")?;
    write("b")?;
    let daemon = Daemon::start(&net, &config)?;
    until_reached(&a, b.address())?;
    assert_eq!([read("a")?.trim(), read("b")?.trim()], ["0", "0"]);
    for name in ["a", "b"] {
        daemon.remove(name)?;
        write(name)?;
        daemon.add(name, PortKind::Pod(PodOptions {}))?;
    }
    assert_eq!([read("a")?.trim(), read("b")?.trim()], ["1", "1"]);
    Ok(std::fs::remove_file(one)?)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn there_are_none_if_the_operator_says_so() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let config = bridge(NORMAL, &[("a", POD), ("b", POD)]);
    let daemon = Daemon::start(&net, &format!("[workers]\nshort_cuts = false\n{config}"))?;
    until_reached(&a, b.address())?;
    stream(&a, &b, b.address(), 16)?;
    assert_eq!(short_cut_packets(&daemon)?, 0);
    Ok(())
}
