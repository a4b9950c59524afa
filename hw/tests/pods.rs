//! Pod ports and internal ports between real kernels' network stacks.

mod common;

use common::{Forwarder, Frames};
use hw::{Pod, PodOptions, Port};
use packet::PortId;
use testnet::{Host, TestNet};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A port on the other end of each host's veth pair.
fn pods(net: &TestNet, hosts: [&Host; 2], frames: &Frames, batched: bool) -> Result<[Pod; 2]> {
    let open = |host: &Host, n| {
        let options = PodOptions { batched, ..PodOptions::new(host.name()) };
        Pod::open(&options, PortId(n), &frames.depot)
    };
    Ok(net.inside(|| Ok::<_, hw::Error>([open(hosts[0], 1)?, open(hosts[1], 2)?]))??)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn tcp_crosses_two_pods_in_super_frames() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let frames = Frames::new(16384);
    for batched in [false, true] {
        let [mut p, mut q] = pods(&net, [&a, &b], &frames, batched)?;
        let forwarder = Forwarder::start([&mut p, &mut q], &frames.depot);
        assert_eq!(a.ping(&b, 20)?, 20);
        let server = b.iperf3_server()?;
        let rate = a.iperf3(b.address(), 2, "")?;
        drop(server);
        let tally = forwarder.stop();
        println!("batched {batched}: {rate} Mbit/s, {tally:?}");
        assert!(tally.super_frames > 1000, "{tally:?}");
        drop((p, q));
        frames.assert_all_back();
    }
    Ok(())
}
