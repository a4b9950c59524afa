//! Pods that talk to each other and to their host through `vswitchd`, with all the offloads that
//! their kernels have.

#[path = "common/net.rs"]
mod net;

use net::{
    Daemon, NORMAL, POD, Result, bridge, host, stream, sums_are_right, understand, until_reached,
};
use testnet::TestNet;

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn pods_with_all_their_offloads_understand_each_other() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    for feature in ["tcp-segmentation-offload: on", "tx-checksumming: on", "rx-checksumming: on"] {
        assert!(a.run("ethtool -k eth0")?.contains(feature), "{feature}");
    }
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", POD)]))?;
    until_reached(&a, b.address())?;
    // What the stack of one says before the other's port is open finds nobody.
    let before = daemon.stats("a")?.drops;
    understand(&a, &b, 32)?;
    let stats = daemon.stats("a")?;
    // Packets of 1500 bytes would be four times as many.
    assert!(stats.rx_bytes / stats.rx_packets > 6000, "super-frames pass whole: {stats:?}");
    assert!(stats.drops == before && stats.rx_errors == 0, "{stats:?}");
    let worker = &daemon.workers()?[0];
    assert!(worker.busy_ns > 0 && worker.sleeps > 0 && worker.short_cut_packets > 0, "{worker:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn receivers_that_sum_up_everything_find_nothing_wrong() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    a.run("ethtool -K eth0 rx off")?;
    b.run("ethtool -K eth0 rx off")?;
    // A TTL less changes the sum of the header. (Neighbour discovery would not stand it.)
    let flows =
        &["ip,actions=dec_ttl,normal", "tcp6,actions=dec_ttl,normal", "priority=0,actions=normal"];
    let _daemon = Daemon::start(&net, &bridge(flows, &[("a", POD), ("b", POD)]))?;
    understand(&a, &b, 16)?;
    sums_are_right(&[&a, &b])?;
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn rewritten_addresses_and_ports_leave_checksums_right() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    b.run("ethtool -K eth0 rx off")?;
    a.run("ethtool -K eth0 rx off")?;
    // `a` believes that it talks to 10.0.0.9 and fd00::9.
    let mac = b.run("cat /sys/class/net/eth0/address")?;
    for address in ["10.0.0.9", "fd00::9"] {
        a.run(&format!("ip neigh add {address} lladdr {} dev eth0 nud permanent", mac.trim()))?;
    }
    let flows = &[
        "priority=10,ip,in_port=a,nw_dst=10.0.0.9,actions=mod_nw_dst:10.0.0.2,normal",
        "priority=10,ip,in_port=b,actions=mod_nw_src:10.0.0.9,normal",
        "priority=10,ipv6,in_port=a,ipv6_dst=fd00::9,actions=set_field:fd00::2->ipv6_dst,normal",
        "priority=10,tcp6,in_port=b,actions=set_field:fd00::9->ipv6_src,normal",
        "priority=0,actions=normal",
    ];
    let daemon = Daemon::start(&net, &bridge(flows, &[("a", POD), ("b", POD)]))?;
    assert_eq!(a.ping_with("10.0.0.9".parse()?, 10, 56)?, 10);
    for (listens, connects_to) in [("10.0.0.2", "10.0.0.9"), ("fd00::2", "fd00::9")] {
        net::stream_by(&a, &b, listens.parse()?, connects_to.parse()?, 16)?;
    }
    sums_are_right(&[&a, &b])?;
    assert!(daemon.met("tcp6,in_port=b")? > 10);
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_pods_own_vxlan_is_payload() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", POD), ("b", POD)]))?;
    for (host, n, other) in [(&a, 1, 2), (&b, 2, 1)] {
        host.run("ethtool -K eth0 rx off")?;
        host.run(&format!(
            "ip link add vx0 type vxlan id 7 dev eth0 remote 10.0.0.{other} dstport 4789 udpcsum"
        ))?;
        host.run(&format!("ip address add 10.7.0.{n}/24 dev vx0"))?;
        host.run("ip link set dev vx0 up")?;
    }
    let inner = "10.7.0.2".parse()?;
    until_reached(&a, inner)?;
    // What the stack of one says before the other's port is open finds nobody.
    let before = daemon.stats("a")?.drops;
    assert_eq!(a.ping_with(inner, 10, 1422)?, 10);
    stream(&a, &b, inner, 16)?;
    sums_are_right(&[&a, &b])?;
    assert_eq!(daemon.stats("a")?.drops, before);
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn the_host_reaches_its_pods_by_the_bridges_own_interface() -> Result {
    let net = TestNet::new()?;
    let a = host(&net, "a", 1)?;
    a.run("ethtool -K eth0 rx off")?;
    let ports = [("a", POD), ("br0", "type = 'internal'")];
    let daemon = Daemon::start(&net, &bridge(NORMAL, &ports))?;
    assert_eq!(daemon.port("br0")?.number, 65534, "LOCAL");
    net.run("ip address add 10.0.0.254/24 dev br0")?;
    net.run("ip address add fd00::254/64 dev br0 nodad")?;
    net.run("ip link set dev br0 up")?;
    for address in ["10.0.0.254", "fd00::254"] {
        let address = address.parse()?;
        until_reached(&a, address)?;
        stream(&a, &net, address, 16)?;
    }
    stream(&net, &a, a.address(), 16)?;
    sums_are_right(&[&a])?;
    Ok(())
}
