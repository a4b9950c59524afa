//! Ports and their interfaces come and go under load; those of others do not notice.

#[path = "common/net.rs"]
mod net;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::request::{AfxdpOptions, PodOptions, PortKind};
use net::{AFXDP, Daemon, NORMAL, POD, Result, bridge, host, stream, until_reached};
use rustix::process::Signal;
use testnet::{Host, TestNet};

/// Two pairs of hosts; what happens to the second must not matter to the first.
struct Pairs {
    daemon: Daemon,
    a: Host,
    b: Host,
    c: Host,
    d: Host,
    net: TestNet,
}

impl Pairs {
    fn new(kind: &str) -> Result<Self> {
        let net = TestNet::new()?;
        let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
        let (c, d) = (host(&net, "c", 3)?, host(&net, "d", 4)?);
        let ports = [("a", kind), ("b", kind), ("c", kind), ("d", kind)];
        let daemon = Daemon::start(&net, &bridge(NORMAL, &ports))?;
        until_reached(&a, b.address())?;
        until_reached(&c, d.address())?;
        Ok(Self { daemon, a, b, c, d, net })
    }

    /// Does `work` while `c` and `d` flood each other, and while the first pair streams and must
    /// not be disturbed.
    fn under_load(&self, work: impl FnOnce() -> Result) -> Result {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let floods = [(&self.c, &self.d), (&self.d, &self.c)];
            let floods = floods.map(|(from, to)| scope.spawn(|| flood(from, to, &over)));
            let streams = scope.spawn(|| -> Result<u32> {
                let mut streams = 0;
                while !over.load(Ordering::Relaxed) {
                    stream(&self.a, &self.b, self.b.address(), 4)?;
                    streams += 1;
                }
                Ok(streams)
            });
            let worked = work();
            over.store(true, Ordering::Relaxed);
            for flood in floods {
                flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            let streams =
                streams.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            assert!(streams > 2, "{streams} streams of the other pair");
            worked
        })?;
        assert_eq!(self.a.ping(&self.b, 20)?, 20);
        Ok(())
    }
}

/// Sends datagrams as fast as one thread can, whether they arrive or not.
fn flood(from: &Host, to: &Host, over: &AtomicBool) -> Result {
    let socket = from.inside(|| UdpSocket::bind((from.address(), 0)))??;
    socket.set_nonblocking(true)?;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..50 {
            // Whatever the kernel says: interfaces vanish meanwhile.
            let _ = socket.send_to(&[0; 1000], (to.address(), 9));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn kind(name: &str) -> PortKind {
    match name {
        POD => PortKind::Pod(PodOptions {}),
        _ => PortKind::Afxdp(AfxdpOptions::default()),
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn ports_are_removed_and_added_under_load_and_all_frames_come_home() -> Result {
    /// More often than there are frames for, were those of a removed port lost: a device takes
    /// 2048 of 16384.
    const TIMES: u32 = 12;
    for text in [AFXDP, POD] {
        let pairs = Pairs::new(text)?;
        let change = || {
            pairs.under_load(|| {
                for _ in 0..TIMES {
                    pairs.daemon.remove("c")?;
                    assert!(pairs.daemon.port("c").is_err());
                    pairs.daemon.add("c", kind(text))?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            })
        };
        // Caches and buffers grow with the first load to what it takes.
        change()?;
        let before = resident(&pairs.daemon)?;
        change()?;
        until_reached(&pairs.c, pairs.d.address())?;
        assert_eq!(pairs.c.ping(&pairs.d, 20)?, 20);
        stream(&pairs.c, &pairs.d, pairs.d.address(), 4)?;
        pairs.daemon.assert_rests()?;
        let stats = pairs.daemon.stats("c")?;
        assert_eq!(stats.rx_errors, 0, "nothing was lost for want of frames: {stats:?}");
        let after = resident(&pairs.daemon)?;
        assert!(after < before + 16_384, "{before} KiB before, {after} after");
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", pairs.daemon.id()))?.count();
        assert!(descriptors < 60, "{descriptors} descriptors are open");
    }
    Ok(())
}

/// KiB that a process has in memory, those of packets left aside.
fn resident(daemon: &Daemon) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    Ok(number.ok_or("no RssAnon")?)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_namespace_is_deleted_under_load_and_its_successor_taken_in() -> Result {
    for text in [AFXDP, POD] {
        let mut pairs = Pairs::new(text)?;
        // Neighbours stay, so that packets keep coming for a host that is gone.
        let mac = pairs.c.run("cat /sys/class/net/eth0/address")?;
        let neighbour = format!("ip neigh replace 10.0.0.3 lladdr {} dev eth0", mac.trim());
        pairs.d.run(&format!("{neighbour} nud permanent"))?;
        for whole in [false, true] {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let flooding = scope.spawn(|| flood(&pairs.d, &pairs.c, &over));
                let streaming = scope.spawn(|| stream(&pairs.a, &pairs.b, pairs.b.address(), 32));
                // Nobody's socket keeps it from going at once.
                let name = pairs.c.namespace();
                let deleted = testnet::net::run(&match whole {
                    false => format!("ip -n {name} link delete eth0"),
                    true => format!("ip netns delete {name}"),
                });
                let reason = pairs.daemon.until_down("c");
                over.store(true, Ordering::Relaxed);
                flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                streaming.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                deleted?;
                let reason = reason?;
                assert!(reason.contains("gone") || reason.contains("no interface"), "{reason}");
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })?;
            assert_eq!(pairs.a.ping(&pairs.b, 5)?, 5);
            pairs.daemon.assert_rests()?;
            // The old one goes with it, as far as it is still there.
            pairs.c = host(&pairs.net, "c", 3)?;
            pairs.daemon.until_up("c")?;
            until_reached(&pairs.c, pairs.a.address())?;
            stream(&pairs.c, &pairs.a, pairs.a.address(), 4)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_link_that_is_down_is_shown_and_comes_back() -> Result {
    for text in [AFXDP, POD] {
        let net = TestNet::new()?;
        let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
        let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", text), ("b", POD)]))?;
        until_reached(&a, b.address())?;
        for near in [true, false] {
            let set = |up| match near {
                true => net.run(&format!("ip link set dev a {up}")),
                false => a.run(&format!("ip link set dev eth0 {up}")),
            };
            set("down")?;
            let reason = daemon.until_down("a")?;
            assert!(reason.contains(if near { "is down" } else { "no carrier" }), "{reason}");
            assert_eq!(a.ping_with(b.address(), 1, 56).unwrap_or(0), 0);
            daemon.assert_rests()?;
            set("up")?;
            daemon.until_up("a")?;
            until_reached(&a, b.address())?;
            stream(&a, &b, b.address(), 4)?;
        }
    }
    Ok(())
}

/// Whoever stops and continues us, a debugger or a freezer of containers, interrupts the kernel
/// when it looks a program through, and it says `EAGAIN`.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_program_whose_loading_is_interrupted_is_loaded_again() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", POD)]))?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let interrupting = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                daemon.signal(Signal::STOP)?;
                daemon.signal(Signal::CONT)?;
                std::thread::sleep(Duration::from_micros(50));
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        let work = || -> Result {
            for kind in [POD, AFXDP].map(kind).iter().cycle().take(40) {
                daemon.remove("b")?;
                daemon.add("b", kind.clone())?;
            }
            Ok(())
        };
        let worked = work();
        over.store(true, Ordering::Relaxed);
        interrupting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        worked
    })?;
    until_reached(&a, b.address())
}
