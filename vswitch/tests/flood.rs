//! A host that floods harms itself: others go on, memory stays bounded, what is lost is counted.

#[path = "common/net.rs"]
mod net;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::DropReason;
use api::request::FdbShow;
use hw::{AfXdp, AfXdpOptions, Port as _};
use net::{AFXDP, Daemon, Noise, POD, Result, bridge, eventually, host, until_reached};
use packet::{Batch, Chainer, Depot, FramePool, HEADROOM, Key, PortId, compose};
use testnet::{Host, TestNet};

/// A host's way round its own stack: whole frames, as fast as its device takes them.
struct Source {
    port: AfXdp,
    depot: Arc<Depot>,
}

impl Source {
    fn new(host: &Host) -> Result<Self> {
        let depot = Depot::new(hw::memory::map(4096)?.memory);
        let options = AfXdpOptions::new("eth0");
        let port = host.inside(|| AfXdp::open(&options, PortId(1), &depot))??;
        Ok(Self { port, depot })
    }

    /// Sends what `make` makes until it is over, and answers how many have gone out.
    fn flood(&mut self, mut make: impl FnMut() -> Vec<u8>, over: &AtomicBool) -> Result<u64> {
        let mut tx = self.port.tx_queue()?;
        let mut pool = FramePool::new(&self.depot);
        let (mut batch, mut refused, mut sent) = (Batch::new(), Vec::new(), 0);
        while !over.load(Ordering::Relaxed) {
            for _ in 0..64 {
                batch.extend(Chainer::copy_of(&make(), HEADROOM, PortId(0), &mut pool));
            }
            sent += batch.len() as u64;
            tx.tx(&mut batch, &mut pool, &mut refused);
            tx.flush(&mut pool);
            sent -= refused.len() as u64;
            refused.drain(..).for_each(|(packet, _)| packet.free(&mut pool));
        }
        while tx.flush(&mut pool) {}
        Ok(sent)
    }
}

/// Small datagrams from any address to any other, none like another.
fn any_datagram(noise: &mut Noise, dst: u64) -> Vec<u8> {
    let mut bytes = [0; 24];
    noise.fill(&mut bytes);
    let word =
        |at: usize| bytes[at..at + 4].iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    let key = Key::ZERO
        .with(Key::ETH_DST, dst)
        .with(Key::ETH_SRC, 0x0200_0000_0000 | u64::from(word(0)))
        .with(Key::ETH_TYPE, packet::ethernet::IPV4)
        .with(Key::NW_PROTO, packet::udp::PROTO)
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_SRC, word(4))
        .with(Key::NW_DST, word(8))
        .with(Key::TP_SRC, bytes[12])
        .with(Key::TP_DST, bytes[13]);
    compose(&key, 60)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn others_are_reached_while_a_host_floods() -> Result {
    const PINGS: u32 = 150;
    // The last flow makes every packet of the flood another one to the caches.
    let flows = &[
        "priority=0,actions=normal",
        "priority=10,udp,tp_dst=1,actions=drop",
        "priority=10,udp,nw_src=1.2.3.4,actions=drop",
    ];
    for kind in [POD, AFXDP] {
        let net = TestNet::new()?;
        let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
        let (c, d) = (host(&net, "c", 3)?, host(&net, "d", 4)?);
        let ports = [("a", POD), ("b", kind), ("c", kind), ("d", AFXDP)];
        let daemon = Daemon::start(&net, &bridge(flows, &ports))?;
        until_reached(&a, b.address())?;
        until_reached(&d, a.address())?;
        let mac: packet::MacAddr = d.run("cat /sys/class/net/eth0/address")?.trim().parse()?;
        let mut source = Source::new(&c)?;
        daemon.until_up("c")?;
        let before = daemon.stats("c")?;
        let over = AtomicBool::new(false);
        let (sent, came_back) = std::thread::scope(|scope| -> Result<(u64, u32)> {
            let flooding = scope.spawn(|| {
                let mut noise = Noise(7);
                source.flood(|| any_datagram(&mut noise, mac.to_u64()), &over)
            });
            let pinged = a.ping(&b, PINGS);
            over.store(true, Ordering::Relaxed);
            let sent = flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((sent?, pinged?))
        })?;
        assert!(sent > 50_000, "{kind}: {sent} is no flood");
        assert!(came_back * 100 >= PINGS * 95, "{kind}: {came_back} of {PINGS} came back");
        // Whatever became of a packet that left the host's own device, it was counted.
        let kept: u64 = c.run("cat /sys/class/net/eth0/statistics/tx_dropped")?.trim().parse()?;
        let left = sent - kept;
        let (mut received, mut lost) = (0, 0);
        let counted = eventually("all are counted", || {
            let now = daemon.stats("c")?;
            received = now.rx_packets - before.rx_packets;
            lost = now.rx_errors - before.rx_errors;
            Ok(received + lost >= left)
        });
        counted.map_err(|error| format!("{kind}: {received} + {lost} of {left}: {error}"))?;
        let (stats, out) = (daemon.stats("c")?, daemon.stats("d")?.tx_packets);
        let dropped: u64 = stats.drops.iter().map(|dropped| dropped.packets).sum();
        assert!(out + dropped >= received, "{kind}: {out} out of {received}, {stats:?}");
        let by_flow = daemon.drops("c", DropReason::FlowDrop)?;
        assert!(by_flow > 50, "one of 256 meets the flow that drops: {stats:?}");
        // A host that makes up addresses fills its share of what is learned, and no memory.
        let known = daemon.client()?.call(FdbShow { bridge: None })?.entries;
        assert!(known.len() <= 8192, "{} addresses", known.len());
        let worker = &daemon.workers()?[0];
        assert!(worker.megaflows <= 65_536 && worker.sessions <= 65_536, "{worker:?}");
        assert_eq!(a.ping(&b, 20)?, 20, "{kind}: afterwards");
    }
    Ok(())
}
