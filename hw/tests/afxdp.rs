//! AF_XDP ports between real kernels' network stacks.

mod common;

use common::{Forwarder, Frames};
use hw::{AfXdp, AfXdpOptions, Port};
use packet::PortId;
use testnet::{Host, TestNet};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A port on the other end of each host's veth pair.
fn ports(net: &TestNet, hosts: [&Host; 2], frames: &Frames) -> Result<[AfXdp; 2]> {
    let open =
        |host: &Host, n| AfXdp::open(&AfXdpOptions::new(host.name()), PortId(n), &frames.depot);
    Ok(net.inside(|| Ok::<_, hw::Error>([open(hosts[0], 1)?, open(hosts[1], 2)?]))??)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_ping_crosses_two_ports() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let frames = Frames::new(16384);
    let [mut p, mut q] = ports(&net, [&a, &b], &frames)?;
    assert_eq!(p.queues()[0].mode, "native", "{:?}", p.queues());
    let forwarder = Forwarder::start([&mut p, &mut q], &frames.depot);
    assert_eq!(a.ping(&b, 20)?, 20);
    let tally = forwarder.stop();
    assert!(tally.received >= 40, "{tally:?}");
    drop((p, q));
    frames.assert_all_back();
    Ok(())
}
