//! What flows do to the traffic of real peers, and how it is counted.

#[path = "common/net.rs"]
mod net;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use api::DropReason;
use api::request::{CaptureSource, CaptureStart};
use net::{AFXDP, Daemon, NORMAL, POD, Result, bridge, host, stream, until_reached, v6};
use testnet::{Host, TestNet};

/// Whether a TCP connection to this port comes about within a moment. A refusal would be one.
fn connects(from: &Host, to: SocketAddr) -> Result<bool> {
    let attempt = || TcpStream::connect_timeout(&to, Duration::from_millis(1500));
    match from.inside(attempt)? {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_flow_blocks_a_service_and_the_drop_is_named() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", POD)]))?;
    for address in [b.address(), v6(&b)] {
        until_reached(&a, address)?;
        let listeners: Vec<_> =
            b.inside(|| [80, 81].map(|port| TcpListener::bind((address, port))))?.into();
        let _listeners = listeners.into_iter().collect::<std::io::Result<Vec<_>>>()?;
        let [blocked, open] = [80, 81].map(|port| SocketAddr::new(address, port));
        assert!(connects(&a, blocked)?, "before the flow");
        let flow = if address.is_ipv4() { "tcp" } else { "tcp6" };
        let before = daemon.drops("a", DropReason::FlowDrop)?;
        daemon.flows(&[&format!("priority=100,{flow},tp_dst=80,actions=drop")])?;
        assert!(!connects(&a, blocked)?);
        assert!(connects(&a, open)?);
        // A connection attempt of that length is two packets.
        let filter = format!("{flow},tp_dst=80");
        let dropped = daemon.drops("a", DropReason::FlowDrop)? - before;
        assert!(dropped >= 2, "{dropped}");
        // What was open before keeps trying to close.
        let met = daemon.met(&filter)?;
        let later = daemon.drops("a", DropReason::FlowDrop)? - before;
        assert!((dropped..=later).contains(&met), "{dropped} to {later}, {met} by the flow");
        daemon.flows(&[&format!("delete {flow},tp_dst=80")])?;
        assert!(connects(&a, blocked)?, "after the flow");
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_flow_that_comes_late_ends_an_established_connection() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    // Where ports matter, connections are known one by one.
    let flows = &["priority=50,tcp,tp_dst=1,actions=drop", "priority=0,actions=normal"];
    let daemon = Daemon::start(&net, &bridge(flows, &[("a", POD), ("b", POD)]))?;
    until_reached(&a, b.address())?;
    let (mut near, mut far) = net::connection(&a, &b, b.address(), b.address())?;
    far.set_read_timeout(Some(Duration::from_millis(700)))?;
    let mut says = |far: &mut TcpStream| -> Result<bool> {
        near.write_all(&[7; 100])?;
        Ok(far.read_exact(&mut [0; 100]).is_ok())
    };
    for _ in 0..20 {
        assert!(says(&mut far)?);
    }
    assert!(daemon.workers()?[0].session_hits > 0, "it is known as a session");
    // The answer comes when every worker uses the flow: not one packet more passes.
    daemon.flows(&["priority=100,tcp,nw_src=10.0.0.1,actions=drop"])?;
    assert!(!says(&mut far)?);
    assert!(daemon.met("tcp,nw_src=10.0.0.1")? > 0);
    daemon.flows(&["delete tcp"])?;
    // What was lost is sent again.
    far.set_read_timeout(Some(Duration::from_secs(5)))?;
    far.read_exact(&mut [0; 100])?;
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_ttl_that_is_used_up_is_dropped_and_named() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let flows = &[
        "priority=10,ip,actions=dec_ttl,normal",
        "priority=10,icmp6,icmp_type=128,actions=dec_ttl,normal",
        "priority=0,actions=normal",
    ];
    let daemon = Daemon::start(&net, &bridge(flows, &[("a", POD), ("b", AFXDP)]))?;
    for (n, to) in (0..).zip([b.address(), v6(&b)]) {
        until_reached(&a, to)?;
        // The answer has a TTL of its own.
        let ping = |ttl| a.run(&format!("ping -q -t {ttl} -c 3 -i 0.01 -W 1 {to}")).is_ok();
        assert!(ping(2), "{to}");
        assert_eq!(daemon.drops("a", DropReason::InvalidTtl)?, 3 * n);
        assert!(!ping(1), "{to}");
        assert_eq!(daemon.drops("a", DropReason::InvalidTtl)?, 3 * (n + 1));
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn neighbours_are_found_without_flooding_everybody() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let c = host(&net, "c", 3)?;
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", AFXDP), ("c", POD)]))?;
    for [from, to] in [[&a, &b], [&b, &c], [&c, &a]] {
        until_reached(from, v6(to))?;
        let neighbours = from.run(&format!("ip -6 neigh show {}", v6(to)))?;
        assert!(neighbours.contains("lladdr"), "{neighbours}");
    }
    let before = daemon.stats("c")?.tx_packets;
    stream(&a, &b, v6(&b), 4)?;
    let flooded = daemon.stats("c")?.tx_packets - before;
    assert!(flooded < 20, "{flooded} packets of others reach the third");
    let known = daemon.client()?.call(api::request::FdbShow { bridge: None })?.entries;
    assert_eq!(known.len(), 3, "{known:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn flows_that_change_all_the_time_lose_nothing() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", POD)]))?;
    until_reached(&a, b.address())?;
    // What the stack of one says before the other's port is open finds nobody.
    let before = daemon.stats("a")?.drops;
    let done = std::sync::atomic::AtomicBool::new(false);
    let changes = std::thread::scope(|scope| -> Result<u32> {
        let changing = scope.spawn(|| -> Result<u32> {
            let mut changes = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let port = 1000 + changes % 100;
                daemon.flows(&[
                    &format!("priority={port},tcp,tp_dst={port},actions=drop"),
                    "priority=5,tcp,actions=normal",
                ])?;
                daemon.flows(&["delete tcp"])?;
                changes += 2;
            }
            Ok(changes)
        });
        let streamed = stream(&a, &b, b.address(), 64);
        let pinged = a.ping(&b, 100);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let changes = changing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        streamed?;
        assert_eq!(pinged?, 100);
        Ok(changes)
    })?;
    assert!(changes > 100, "{changes} changes");
    assert_eq!(daemon.stats("a")?.drops, before);
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_capture_shows_what_is_dropped_and_why() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let flows = &["priority=9,icmp,nw_dst=10.0.0.2,actions=drop", "priority=0,actions=normal"];
    let daemon = Daemon::start(&net, &bridge(flows, &[("a", POD), ("b", POD)]))?;
    let source = CaptureSource::Drops;
    let start = CaptureStart { bridge: None, source, snaplen: None, count: Some(2) };
    let capture = daemon.client()?.capture(start)?;
    assert_eq!(a.ping(&b, 2)?, 0);
    let captured = capture.collect::<std::result::Result<Vec<_>, _>>()?;
    assert_eq!(captured.len(), 2);
    for packet in captured {
        assert_eq!((packet.port.as_str(), packet.reason), ("a", Some(DropReason::FlowDrop)));
        assert_eq!(packet.data.get(30..34), Some(&[10, 0, 0, 2][..]), "{packet:?}");
    }
    Ok(())
}
