//! AF_XDP ports between real kernels' network stacks.
#![expect(clippy::expect_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::tags::tag_everything;
use common::{Forwarder, Frames, Result, Tally, send_all};
use hw::bpf::{Code, Kind, Program, Register::R0};
use hw::{
    AfXdp, AfXdpOptions, BindPreference, Error, Internal, InternalOptions, Links, Pod, PodOptions,
    Port, Refusal, XdpPlace,
};
use packet::{Batch, FramePool, Key, PortId, compose};
use testnet::{Host, HostOptions, TestNet};

/// A port on the other end of each host's veth pair.
fn ports(net: &TestNet, hosts: [&Host; 2], frames: &Frames) -> Result<[AfXdp; 2]> {
    Ok([open(net, hosts[0], 1, frames)?, open(net, hosts[1], 2, frames)?])
}

fn open(net: &TestNet, host: &Host, id: u16, frames: &Frames) -> Result<AfXdp> {
    let options = AfXdpOptions::new(host.name());
    Ok(net.inside(|| AfXdp::open(&options, PortId(id), &frames.depot))??)
}

/// Joins two hosts by AF_XDP ports while `work` runs.
fn joined(net: &TestNet, hosts: [&Host; 2], work: impl FnOnce() -> Result) -> Result<Tally> {
    let frames = Frames::new(16384);
    let [mut p, mut q] = ports(net, hosts, &frames)?;
    for queue in p.queues() {
        assert_eq!(queue.mode, "native", "{}", queue.reason);
        assert!(queue.reason.contains("no zero-copy"), "{}", queue.reason);
    }
    let forwarder = Forwarder::start([&mut p, &mut q], &frames.depot);
    work()?;
    let tally = forwarder.stop();
    let counters = p.counters();
    assert_eq!((counters.rx_invalid, counters.tx_invalid), (0, 0), "{counters:?}");
    drop((p, q));
    frames.assert_all_back();
    Ok(tally)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_ping_crosses_two_ports() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let tally = joined(&net, [&a, &b], || {
        assert_eq!(a.ping(&b, 20)?, 20);
        Ok(())
    })?;
    assert!(tally.received >= 40 && tally.refused == 0, "{tally:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn tcp_crosses_although_hosts_leave_checksums_to_the_device() -> Result {
    let net = TestNet::new()?;
    let v6 =
        |n| HostOptions { address_v6: Some(format!("fd00::{n}/64")), ..HostOptions::default() };
    let a = net.host_with("a", "10.0.0.1/24", &v6(1))?;
    let b = net.host_with("b", "10.0.0.2/24", &v6(2))?;
    assert!(a.run("ethtool -k eth0")?.contains("tx-checksumming: on"));
    let tally = joined(&net, [&a, &b], || {
        let _server = b.iperf3_server()?;
        for to in [b.address(), "fd00::2".parse()?] {
            let rate = a.iperf3(to, 1, "")?;
            assert!(rate > 50.0, "{rate} Mbit/s to {to}");
        }
        Ok(())
    })?;
    assert!(tally.filled > 1000, "{tally:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn tags_that_a_host_leaves_to_its_device_survive() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    assert!(a.run("ethtool -k eth0")?.contains("tx-vlan-offload: on"));
    a.inside(|| tag_everything(5))??;
    b.inside(|| tag_everything(5))??;
    let tally = joined(&net, [&a, &b], || {
        assert_eq!(a.ping(&b, 20)?, 20);
        Ok(())
    })?;
    assert!(tally.tagged >= 40 && tally.tagged == tally.received, "{tally:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn packets_of_9000_bytes_cross_as_chains() -> Result {
    let net = TestNet::new()?;
    let jumbo = HostOptions { mtu: 9000, ..HostOptions::default() };
    let a = net.host_with("a", "10.0.0.1/24", &jumbo)?;
    let b = net.host_with("b", "10.0.0.2/24", &jumbo)?;
    let tally = joined(&net, [&a, &b], || {
        assert_eq!(a.ping_with(b.address(), 20, 8972)?, 20);
        let _server = b.iperf3_server()?;
        let rate = a.iperf3(b.address(), 1, "")?;
        assert!(rate > 100.0, "{rate} Mbit/s");
        Ok(())
    })?;
    assert!(tally.chained > 500, "{tally:?}");
    // A receiver that cannot follow costs some packets here, as it would anywhere.
    assert!(tally.refused * 20 < tally.received, "{tally:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_queue_receives_and_every_worker_sends() -> Result {
    let net = TestNet::new()?;
    let two = HostOptions { queues: 2, ..HostOptions::default() };
    let host = net.host_with("a", "10.0.0.1/24", &two)?;
    host.run("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent")?;
    let frames = Frames::new(16384);
    let mut port = open(&net, &host, 1, &frames)?;
    assert_eq!(port.queues().len(), 2);
    let mut queues = port.rx_queues();
    let mut pool = FramePool::new(&frames.depot);
    // Many flows, so that the kernel uses both of its queues.
    host.inside(|| {
        for _ in 0..200 {
            let socket = UdpSocket::bind("10.0.0.1:0").expect("a socket");
            socket.send_to(b"hello", "10.0.0.9:9").expect("sent");
        }
    })?;
    let mut received = [0; 2];
    for (queue, count) in queues.iter_mut().zip(&mut received) {
        let mut batch = Batch::new();
        queue.rx(&mut batch, 256, &mut pool);
        *count = batch.len();
        batch.drain(..).for_each(|packet| packet.free(&mut pool));
    }
    assert!(received.iter().all(|count| *count > 20), "{received:?}");
    assert_eq!(received.iter().sum::<usize>(), 200);
    // Three workers: two with the queues' own rings, one with a further socket on the first queue.
    let mac = host.run("cat /sys/class/net/eth0/address")?;
    let frame = udp_to(&mac, 4000);
    // A further socket must be made where the interface is.
    let three = |port: &mut AfXdp| net.inside(|| (0..3).map(|_| port.tx_queue()).collect());
    let workers: std::result::Result<Vec<_>, Error> = three(&mut port)?;
    let workers = workers?;
    let sent = host.inside(|| -> Result<usize> {
        let socket = UdpSocket::bind("10.0.0.1:4000")?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut pools = [(); 3].map(|()| FramePool::new(&frames.depot));
        for (mut worker, pool) in workers.into_iter().zip(&mut pools) {
            let refused = send_all(&mut *worker, &vec![frame.clone(); 50], pool);
            assert!(refused.is_empty(), "{refused:?}");
        }
        Ok((0..150).take_while(|_| socket.recv(&mut [0; 64]).is_ok()).count())
    })?;
    assert_eq!(sent?, 150);
    // One that ends leaves its way of sending to the next.
    let again = three(&mut port)??;
    drop((again, queues, port, pool));
    frames.assert_all_back();
    Ok(())
}

/// A UDP packet from 10.0.0.9 to 10.0.0.1.
fn udp_to(mac: &str, port: u16) -> Vec<u8> {
    let mac: packet::MacAddr = mac.trim().parse().expect("a MAC address");
    let key = Key::ZERO
        .with(Key::ETH_DST, mac.to_u64())
        .with(Key::ETH_SRC, 0x0200_0000_0009_u64)
        .with(Key::ETH_TYPE, packet::ethernet::IPV4)
        .with(Key::NW_PROTO, packet::udp::PROTO)
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_SRC, 0x0a00_0009u32)
        .with(Key::NW_DST, 0x0a00_0001u32)
        .with(Key::TP_SRC, 9u16)
        .with(Key::TP_DST, port);
    compose(&key, 60)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_queue_that_is_added_later_is_missed() -> Result {
    let net = TestNet::new()?;
    let two = HostOptions { queues: 2, ..HostOptions::default() };
    let host = net.host_with("a", "10.0.0.1/24", &two)?;
    host.run("ethtool -L eth0 tx 1")?;
    net.run("ethtool -L a rx 1")?;
    let frames = Frames::new(4096);
    let mut port = open(&net, &host, 1, &frames)?;
    assert_eq!(port.queues().len(), 1);
    net.inside(|| port.refresh())??;
    net.run("ethtool -L a rx 2")?;
    let error = net.inside(|| port.refresh())?.expect_err("nobody reads the second queue");
    assert!(error.to_string().contains("2 receive queues, 1 are bound"), "{error}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_queue_in_use_is_refused_and_its_user_undisturbed() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let others = Frames::new(4096);
    joined(&net, [&a, &b], || {
        let error =
            net.inside(|| AfXdp::open(&AfXdpOptions::new("a"), PortId(7), &others.depot))?;
        let error = error.expect_err("a second user of the queue");
        assert!(matches!(&error, Error::QueueBusy { queue: 0, .. }), "{error}");
        assert_eq!(a.ping(&b, 5)?, 5, "the first user goes on");
        Ok(())
    })?;
    others.assert_all_back();
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn somebody_elses_program_stays() -> Result {
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    let frames = Frames::new(4096);
    let foreign = net.inside(|| -> Result<u32, Error> {
        let kind = Kind::Xdp { fragments: true, bound_to: None };
        let program = Program::load("theirs", kind, &Code::new().set(R0, 2).exit())?;
        let mut links = Links::open()?;
        let link = links.named("a")?;
        links.set_xdp(&link, Some(&program), XdpPlace::Native, true)?;
        program.id()
    })??;
    let error = net.inside(|| AfXdp::open(&AfXdpOptions::new("a"), PortId(1), &frames.depot))?;
    let error = error.expect_err("a program that is not ours");
    assert!(matches!(&error, Error::ForeignProgram { id, .. } if *id == foreign), "{error}");
    assert!(net.run("ip link show dev a")?.contains(&format!("prog/xdp id {foreign} ")));
    net.run("ip link set dev a xdp off")?;
    let mut port = open(&net, &host, 1, &frames)?;
    assert!(net.run("ip link show dev a")?.contains("altname vswitch-xdp-"));
    // Given up for good, it leaves the interface as it was.
    net.inside(|| port.release())??;
    let shown = net.run("ip link show dev a")?;
    assert!(!shown.contains("xdp"), "{shown}");
    drop(port);
    frames.assert_all_back();
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn each_mode_works_or_says_why_not() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let frames = Frames::new(16384);
    let open_as = |name: &str, bind| {
        let options = AfXdpOptions { bind, ..AfXdpOptions::new(name) };
        net.inside(|| AfXdp::open(&options, PortId(1), &frames.depot))
    };
    let error = open_as("a", BindPreference::ZeroCopy)?.expect_err("a veth has no zero-copy");
    assert!(error.to_string().contains("not supported"), "{error}");
    for (bind, mode) in [(BindPreference::Generic, "generic"), (BindPreference::Native, "native")] {
        let (mut p, mut q) = (open_as("a", bind)??, open_as("b", bind)??);
        assert_eq!(p.queues()[0].mode, mode);
        let forwarder = Forwarder::start([&mut p, &mut q], &frames.depot);
        assert_eq!(a.ping(&b, 5)?, 5, "{mode}");
        forwarder.stop();
        // Without release, the programs stay, and the next mode takes their place.
        drop((p, q));
        frames.assert_all_back();
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_device_that_goes_down_or_away_is_told() -> Result {
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    let frames = Frames::new(4096);
    let mut port = open(&net, &host, 1, &frames)?;
    let mut pool = FramePool::new(&frames.depot);
    let mut tx = port.tx_queue()?;
    let frame = udp_to("02:00:00:00:00:01", 9);
    let mut send =
        |count, pool: &mut FramePool| send_all(&mut *tx, &vec![frame.clone(); count], pool);
    assert_eq!(send(3, &mut pool), []);
    net.run("ip link set dev a down")?;
    send(1, &mut pool);
    assert_eq!(send(3, &mut pool), [Refusal::Down; 3]);
    net.run("ip link set dev a up")?;
    assert_eq!(send(3, &mut pool), []);
    assert_eq!(frames.total() - frames.free() - pool.len(), 2048, "all but the fill ring's");
    net.run("ip link delete dev a")?;
    send(1, &mut pool);
    assert_eq!(send(3, &mut pool), [Refusal::Down; 3]);
    let error = net.inside(|| port.refresh())?.expect_err("it is gone");
    assert!(matches!(error, Error::NoInterface { .. }), "{error}");
    net.inside(|| port.release())??;
    drop((tx, port, pool));
    frames.assert_all_back();
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn hosts_and_pods_behind_different_ports_understand_each_other() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let frames = Frames::new(16384);
    let mut device = open(&net, &a, 1, &frames)?;
    let mut pod =
        net.inside(|| Pod::open(&PodOptions::new("b"), PortId(2), &frames.depot, None))??;
    let forwarder = Forwarder::start([&mut device, &mut pod], &frames.depot);
    for (server, client) in [(&a, &b), (&b, &a)] {
        let _server = server.iperf3_server()?;
        let rate = client.iperf3(server.address(), 1, "")?;
        assert!(rate > 50.0, "{rate} Mbit/s to {}", server.name());
    }
    let tally = forwarder.stop();
    assert!(tally.super_frames > 100, "cut in software: {tally:?}");
    drop((device, pod));
    frames.assert_all_back();
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_host_itself_is_reached_by_its_internal_port() -> Result {
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    let frames = Frames::new(16384);
    let mut device = open(&net, &host, 1, &frames)?;
    let options = InternalOptions {
        mtu: 1400,
        mac: Some("02:00:00:00:00:99".parse()?),
        ..InternalOptions::new("br0")
    };
    let mut internal = net.inside(|| Internal::open(&options, PortId(2), &frames.depot))??;
    assert_eq!(internal.mac(), options.mac);
    let shown = net.run("ip link show dev br0")?;
    assert!(shown.contains("mtu 1400") && shown.contains("02:00:00:00:00:99"), "{shown}");
    net.run("ip address add 10.0.0.2/24 dev br0")?;
    let forwarder = Forwarder::start([&mut device, &mut internal], &frames.depot);
    assert_eq!(host.ping_with("10.0.0.2".parse()?, 10, 1372)?, 10);
    forwarder.stop();
    drop((device, internal));
    frames.assert_all_back();
    // Not at once: a process that another test is just starting may have its descriptor a moment
    // longer.
    let gone = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        net.run("ip link show dev br0").is_err()
    });
    assert!(gone, "it goes with its port");
    Ok(())
}
