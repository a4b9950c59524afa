//! Long packets: jumbo frames, an MTU that changes, and packets that do not fit.

#[path = "common/net.rs"]
mod net;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use api::DropReason;
use net::{
    AFXDP, Daemon, NORMAL, Noise, POD, Result, bridge, eventually, host_with, stream,
    sums_are_right, until_reached, v6,
};
use testnet::{Host, HostOptions, TestNet};

const KINDS: [[&str; 2]; 3] = [[POD, POD], [AFXDP, POD], [AFXDP, AFXDP]];

fn host_of(net: &TestNet, name: &str, n: u8, mtu: u32) -> Result<Host> {
    host_with(net, name, n, HostOptions { mtu, ..HostOptions::default() })
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn frames_of_9000_bytes_cross() -> Result {
    for [p, q] in KINDS {
        let net = TestNet::new()?;
        let (a, b) = (host_of(&net, "a", 1, 9000)?, host_of(&net, "b", 2, 9000)?);
        b.run("ethtool -K eth0 rx off")?;
        let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", p), ("b", q)]))?;
        assert_eq!(daemon.port("a")?.mtu, 9000);
        until_reached(&a, b.address())?;
        assert_eq!(a.ping_with(b.address(), 20, 8972)?, 20, "{p}, {q}");
        stream(&a, &b, b.address(), 16).map_err(|error| format!("{p}, {q}: {error}"))?;
        stream(&b, &a, a.address(), 16).map_err(|error| format!("{q}, {p}: {error}"))?;
        sums_are_right(&[&b]).map_err(|e| format!("{p}, {q}: {e}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_does_not_fit_is_dropped_and_named() -> Result {
    for [p, q] in KINDS {
        let net = TestNet::new()?;
        let (a, b) = (host_of(&net, "a", 1, 9000)?, host_of(&net, "b", 2, 1500)?);
        let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", p), ("b", q)]))?;
        until_reached(&a, b.address())?;
        assert_eq!(a.ping_with(b.address(), 3, 1473)?, 0);
        assert_eq!(daemon.drops("a", DropReason::TxTooLong)?, 3, "{p}, {q}");
        assert_eq!(a.ping_with(b.address(), 3, 1472)?, 3);
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_mtu_that_changes_is_followed() -> Result {
    for [p, q] in KINDS {
        let net = TestNet::new()?;
        let (a, b) = (host_of(&net, "a", 1, 1500)?, host_of(&net, "b", 2, 1500)?);
        let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", p), ("b", q)]))?;
        until_reached(&a, b.address())?;
        for mtu in [3000, 9000, 1400] {
            for host in [&a, &b] {
                net.run(&format!("ip link set dev {} mtu {mtu}", host.name()))?;
                host.run(&format!("ip link set dev eth0 mtu {mtu}"))?;
            }
            eventually("both ports follow", || {
                Ok(daemon.port("a")?.mtu == mtu && daemon.port("b")?.mtu == mtu)
            })
            .map_err(|error| format!("{p}, {q}, {mtu}: {error}, {:?}", daemon.port("a")))?;
            let fits = mtu - 28;
            assert_eq!(a.ping_with(b.address(), 5, fits)?, 5, "{p}, {q}, {mtu}");
            stream(&a, &b, b.address(), 4)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn datagrams_of_any_length_arrive_whole() -> Result {
    for [p, q] in KINDS {
        let net = TestNet::new()?;
        let (a, b) = (host_of(&net, "a", 1, 1500)?, host_of(&net, "b", 2, 1500)?);
        b.run("ethtool -K eth0 rx off")?;
        // Ports are looked at, which later fragments have not.
        let flows = &["priority=9,udp,tp_dst=1,actions=drop", "priority=0,actions=normal"];
        let daemon = Daemon::start(&net, &bridge(flows, &[("a", p), ("b", q)]))?;
        for to in [b.address(), v6(&b)] {
            until_reached(&a, to)?;
            let receiver = b.inside(|| UdpSocket::bind((to, 4000)))??;
            receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
            let sender = a.inside(|| UdpSocket::bind((any_like(to), 0)))??;
            let (mut noise, mut sent, mut got) = (Noise(3), vec![0; 60_000], vec![0; 65_536]);
            // From nothing to forty fragments; odd lengths too, which checksums must survive.
            for len in [0, 1, 2, 17, 1472, 1473, 2999, 20_001, 60_000] {
                noise.fill(&mut sent[..len]);
                sender.send_to(&sent[..len], (to, 4000))?;
                let arrived = receiver.recv(&mut got).map_err(|error| {
                    format!("{p}, {q}, {to}, {len} bytes: {error}, {:?}", daemon.stats("a"))
                })?;
                assert!(got[..arrived] == sent[..len], "{p}, {q}, {to}: {arrived} of {len}");
            }
        }
        sums_are_right(&[&b]).map_err(|e| format!("{p}, {q}: {e}"))?;
    }
    Ok(())
}

fn any_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
