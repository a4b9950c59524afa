//! Pods' ports between real kernels' network stacks.

mod common;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::sockets::{cut_datagrams, packet_socket};
use common::tags::tag_everything;
use common::{Forwarder, Frames, Result, Tally, send_all};
use hw::{Error, Internal, InternalOptions, Pod, PodOptions, Port, Refusal};
use packet::{Batch, FramePool, PortId};
use testnet::{Host, HostOptions, TestNet};

fn open(net: &TestNet, host: &Host, id: u16, batched: bool, frames: &Frames) -> Result<Pod> {
    let options = PodOptions { batched, ..PodOptions::new(host.name()) };
    Ok(net.inside(|| Pod::open(&options, PortId(id), &frames.depot, None))??)
}

/// Joins two pods while `work` runs, with each way of making system calls.
fn joined(net: &TestNet, hosts: [&Host; 2], work: impl Fn() -> Result) -> Result<[Tally; 2]> {
    let run = |batched| {
        let frames = Frames::new(16384);
        let mut p = open(net, hosts[0], 1, batched, &frames)?;
        let mut q = open(net, hosts[1], 2, batched, &frames)?;
        let forwarder = Forwarder::start([&mut p, &mut q], &frames.depot);
        work()?;
        let tally = forwarder.stop();
        for port in [&p, &q] {
            let counters = port.counters();
            assert_eq!((counters.rx_invalid, counters.tx_invalid), (0, 0), "{counters:?}");
        }
        drop((p, q));
        frames.assert_all_back();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(tally)
    };
    Ok([run(false)?, run(true)?])
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn tcp_crosses_in_super_frames_and_arrives_whole() -> Result {
    let net = TestNet::new()?;
    let v6 =
        |n| HostOptions { address_v6: Some(format!("fd00::{n}/64")), ..HostOptions::default() };
    let a = net.host_with("a", "10.0.0.1/24", &v6(1))?;
    let b = net.host_with("b", "10.0.0.2/24", &v6(2))?;
    // The receiver believes nobody and sums up everything itself.
    b.run("ethtool -K eth0 rx off")?;
    let tallies = joined(&net, [&a, &b], || {
        assert_eq!(a.ping(&b, 10)?, 10);
        let _server = b.iperf3_server()?;
        for to in [b.address(), "fd00::2".parse()?] {
            let rate = a.iperf3(to, 1, "")?;
            assert!(rate > 500.0, "{rate} Mbit/s to {to}");
        }
        Ok(())
    })?;
    for tally in tallies {
        assert!(tally.super_frames > 1000 && tally.filled == 0, "{tally:?}");
    }
    // What the pods could do they still can: nobody has told them to run ethtool.
    for feature in ["tcp-segmentation-offload: on", "tx-checksumming: on", "tx-vlan-offload: on"] {
        assert!(a.run("ethtool -k eth0")?.contains(feature), "{feature}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn super_frames_of_small_segments_and_odd_lengths_cross() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    joined(&net, [&a, &b], || {
        let _server = b.iperf3_server()?;
        let rate = a.iperf3(b.address(), 1, "--length 777 --set-mss 500")?;
        assert!(rate > 50.0, "{rate} Mbit/s");
        Ok(())
    })?;
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn datagrams_cross_in_super_frames() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let tallies = joined(&net, [&a, &b], || {
        let receiver = b.inside(|| UdpSocket::bind("10.0.0.2:4000"))??;
        receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
        a.inside(|| -> Result {
            let sender = UdpSocket::bind("10.0.0.1:0")?;
            cut_datagrams(&sender, 1000)?;
            sender.send_to(&vec![7; 20_500], "10.0.0.2:4000")?;
            Ok(())
        })??;
        let lengths: Vec<_> = (0..21)
            .map(|_| receiver.recv(&mut [0; 2000]))
            .collect::<std::result::Result<_, _>>()?;
        assert_eq!(lengths, [vec![1000; 20], vec![500]].concat());
        Ok(())
    })?;
    assert!(tallies.iter().all(|tally| tally.super_frames == 1), "{tallies:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn tags_survive() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    a.inside(|| tag_everything(5))??;
    b.inside(|| tag_everything(5))??;
    let tallies = joined(&net, [&a, &b], || {
        assert_eq!(a.ping(&b, 10)?, 10);
        let _server = b.iperf3_server()?;
        let rate = a.iperf3(b.address(), 1, "")?;
        assert!(rate > 500.0, "{rate} Mbit/s");
        Ok(())
    })?;
    for tally in tallies {
        assert!(tally.tagged == tally.received && tally.super_frames > 1000, "{tally:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn packets_of_9000_bytes_cross() -> Result {
    let net = TestNet::new()?;
    let jumbo = HostOptions { mtu: 9000, ..HostOptions::default() };
    let a = net.host_with("a", "10.0.0.1/24", &jumbo)?;
    let b = net.host_with("b", "10.0.0.2/24", &jumbo)?;
    let tallies = joined(&net, [&a, &b], || {
        assert_eq!(a.ping_with(b.address(), 10, 8972)?, 10);
        Ok(())
    })?;
    assert!(tallies.iter().all(|tally| tally.chained >= 20), "{tallies:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn many_small_packets_take_few_system_calls() -> Result {
    const PACKETS: usize = 1000;
    let net = TestNet::new()?;
    let frames = Frames::new(4096);
    for (name, batched) in [("br0", false), ("br1", true)] {
        let options = InternalOptions { batched, ..InternalOptions::new(name) };
        let mut port = net.inside(|| Internal::open(&options, PortId(1), &frames.depot))??;
        let (mut rx, mut tx) = (port.rx_queues().remove(0), port.tx_queue()?);
        let mut pool = FramePool::new(&frames.depot);
        // They lie ready, as they do under load.
        net.inside(|| -> Result {
            let socket = packet_socket(name)?;
            for _ in 0..PACKETS {
                rustix::net::send(&socket, &[0; 70], rustix::net::SendFlags::empty())?;
            }
            Ok(())
        })??;
        let (mut batch, mut refused, mut read) = (Batch::new(), Vec::new(), 0);
        while read < PACKETS {
            let before = read;
            rx.rx(&mut batch, 256, &mut pool);
            read += batch.len();
            assert!(read > before, "{read} of {PACKETS} packets came");
            tx.tx(&mut batch, &mut pool, &mut refused);
            assert!(refused.is_empty(), "{refused:?}");
        }
        let calls = [rx.syscalls(), tx.syscalls()];
        // One call for 32 packets, and some while the depth grows; without io_uring, one for each.
        let most = if batched { PACKETS as u64 / 32 + 8 } else { PACKETS as u64 + 8 };
        assert!(calls.iter().all(|calls| *calls <= most), "{calls:?}, batched: {batched}");
        drop((rx, tx, port, pool));
    }
    frames.assert_all_back();
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_is_no_pod_or_somebody_elses_is_refused() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let frames = Frames::new(4096);
    let refused = |name: &str| {
        let options = PodOptions::new(name);
        let opened = net.inside(|| Pod::open(&options, PortId(9), &frames.depot, None));
        opened.map(|opened| opened.expect_err("it must be refused"))
    };
    assert!(matches!(refused("nobody")?, Error::NoInterface { .. }));
    assert!(matches!(refused("lo")?, Error::Spec { .. }));
    net.run("tc qdisc add dev a clsact")?;
    net.run("tc filter add dev a ingress prio 1 protocol all u32 match u32 0 0 flowid 1:1")?;
    let error = refused("a")?;
    assert!(
        matches!(&error, Error::ForeignFilter { filter, .. } if filter.contains("u32")),
        "{error}"
    );
    assert!(!net.run("ip link")?.contains("vst"), "nothing is left of the attempt");
    net.run("tc filter delete dev a ingress prio 1")?;
    // Two switches on one pod: the first keeps it.
    let mut first = open(&net, &a, 1, true, &frames)?;
    let error = refused("a")?;
    assert!(error.to_string().contains("another process"), "{error}");
    let mut other = open(&net, &b, 2, true, &frames)?;
    let forwarder = Forwarder::start([&mut first, &mut other], &frames.depot);
    assert_eq!(a.ping(&b, 5)?, 5);
    forwarder.stop();
    // Given up for good, a pod's veth is as it was.
    net.inside(|| first.release())??;
    let filters = net.run("tc filter show dev a ingress")?;
    assert_eq!(filters, "");
    drop((first, other));
    frames.assert_all_back();
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_pods_mtu_is_followed() -> Result {
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    let frames = Frames::new(4096);
    let mut port = open(&net, &host, 1, true, &frames)?;
    let mut pool = FramePool::new(&frames.depot);
    let mut tx = port.tx_queue()?;
    let long = [vec![0; 3014]];
    assert_eq!(port.capabilities().max_frame, 1514);
    assert_eq!(send_all(&mut *tx, &long, &mut pool), [Refusal::TooLong]);
    net.run("ip link set dev a mtu 3000")?;
    net.inside(|| port.refresh())??;
    assert_eq!(port.capabilities().max_frame, 3014);
    assert_eq!(send_all(&mut *tx, &long, &mut pool), []);
    host.run("ip link delete dev eth0")?;
    let error = net.inside(|| port.refresh())?.expect_err("it is gone");
    assert!(matches!(error, Error::NoInterface { .. }), "{error}");
    net.inside(|| port.release())??;
    drop((tx, port, pool));
    frames.assert_all_back();
    Ok(())
}

/// Several reads make one call: a packet that came between two of them was lost, and nobody counted it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_came_behind_a_read_that_found_nothing_was_lost() -> Result {
    const PAYLOAD: usize = 123;
    let net = TestNet::new()?;
    let a = net.host("a", "10.0.0.1/24")?;
    a.run("ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0")?;
    let frames = Frames::new(16384);
    let mut pod = open(&net, &a, 1, true, &frames)?;
    let mut queue = pod.rx_queues().remove(0);
    let (received, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pool = FramePool::new(&frames.depot);
            let mut batch = Batch::new();
            while !is_over.load(Ordering::Relaxed) {
                queue.rx(&mut batch, Batch::CAPACITY, &mut pool);
                let ours = batch.iter().filter(|packet| packet.len() == 14 + 28 + PAYLOAD).count();
                received.fetch_add(ours, Ordering::Relaxed);
                batch.drain(..).for_each(|packet| packet.free(&mut pool));
            }
        });
        let sent = a.inside(|| -> Result<usize> {
            let sender = UdpSocket::bind("10.0.0.1:0")?;
            let mut sent = 0;
            for burst in (1..40).cycle().take(20_000) {
                for _ in 0..burst {
                    sent += usize::from(sender.send_to(&[7; PAYLOAD], "10.0.0.2:4000").is_ok());
                }
                // A second or two.
                let looks = (0..100_000_000).find(|_| {
                    std::hint::spin_loop();
                    received.load(Ordering::Relaxed) >= sent
                });
                if looks.is_none() {
                    is_over.store(true, Ordering::Relaxed);
                    let received = received.load(Ordering::Relaxed);
                    return Err(format!("of {sent} packets {received} came").into());
                }
            }
            Ok(sent)
        });
        is_over.store(true, Ordering::Relaxed);
        assert!(sent?? > 200_000);
        Ok(())
    })
}
