//! VLAN tags between peers that leave them to their devices, access and trunk ports, and flows that
//! push and pop.

#[path = "common/net.rs"]
mod net;

use api::DropReason;
use hw::bpf::{Code, Kind, Program, Register::*, Size};
use hw::tc::{self, Hook};
use net::{
    AFXDP, Daemon, NORMAL, POD, Result, bridge, host, stream, sums_are_right, until_reached,
};
use testnet::{Host, TestNet};

/// Ports of each kind with each.
const KINDS: [[&str; 2]; 3] = [[POD, POD], [AFXDP, POD], [AFXDP, AFXDP]];

/// From now on, all that a host sends has these tags, the outermost last and left to its device as
/// a VLAN interface would leave it; and what it receives must have them. Its stack knows nothing of
/// it, for not every kernel has VLAN interfaces.
fn wear(host: &Host, tags: &[i32]) -> Result {
    const VLAN_PUSH: i32 = 18;
    const VLAN_POP: i32 = 19;
    /// 0x8100, in network order.
    const PROTOCOL: i32 = 0x8100_u16.to_be() as i32;
    /// Where a program finds the tag that is not in the packet's bytes.
    const VLAN_TCI: i16 = 24;
    const DROP: i32 = 2;
    let mut push = Code::new().copy(R6, R1);
    for tag in tags {
        push = push.copy(R1, R6).set(R2, PROTOCOL).set(R3, *tag).call(VLAN_PUSH);
    }
    let mut pop = Code::new().copy(R6, R1);
    for tag in tags.iter().rev() {
        pop = pop.load(Size::Word, R7, R6, VLAN_TCI).jump_if_not(R7, *tag, "other");
        pop = pop.copy(R1, R6).call(VLAN_POP);
    }
    pop = pop.load(Size::Word, R7, R6, VLAN_TCI).jump_if_not(R7, 0, "other");
    let pop = pop.set(R0, 0).exit().label("other").set(R0, DROP).exit();
    host.inside(|| -> Result {
        let link = hw::Links::open()?.named("eth0")?;
        let push = Program::load("vswitch_push", Kind::Tc, &push.set(R0, 0).exit())?;
        let pop = Program::load("vswitch_pop", Kind::Tc, &pop)?;
        tc::attach(&link, Hook::Egress, "vswitch_push", &push)?;
        Ok(tc::attach(&link, Hook::Ingress, "vswitch_pop", &pop)?)
    })?
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_trunk_and_an_access_port_meet_in_a_vlan() -> Result {
    for [p, q] in KINDS {
        let net = TestNet::new()?;
        let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
        assert!(a.run("ethtool -k eth0")?.contains("tx-vlan-offload: on"));
        wear(&a, &[5])?;
        wear(&b, &[])?;
        b.run("ethtool -K eth0 rx off")?;
        let trunk = format!("{p}\nvlan = {{ trunk = [5, 6] }}");
        let access = format!("{q}\nvlan = {{ access = 5 }}");
        let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", &trunk), ("b", &access)]))?;
        until_reached(&a, b.address())?;
        assert_eq!(b.ping_with(a.address(), 10, 1472)?, 10);
        stream(&a, &b, b.address(), 4)?;
        sums_are_right(&[&b])?;
        assert_eq!(daemon.drops("a", DropReason::NormalVlan)?, 0);
        // A VLAN that is not the other's.
        wear(&a, &[6])?;
        assert_eq!(a.ping(&b, 2)?, 0);
        assert!(daemon.drops("a", DropReason::NormalNowhere)? >= 2, "{:?}", daemon.stats("a")?);
        // One that the trunk does not carry, and none.
        for (tags, dropped) in [(&[7][..], 2), (&[], 4)] {
            wear(&a, tags)?;
            assert_eq!(a.ping(&b, 2)?, 0);
            assert!(daemon.drops("a", DropReason::NormalVlan)? >= dropped, "{tags:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn trunks_keep_tags_and_the_tags_beneath() -> Result {
    for [p, q] in KINDS {
        // Nobody looks beneath two tags. A checksum that was left to the device is found there only
        // if a header tells the place, as it does with pods.
        let more = (p == POD).then_some(&[3, 8, 5][..]);
        for tags in [&[5][..], &[8, 5]].into_iter().chain(more) {
            let net = TestNet::new()?;
            let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
            for host in [&a, &b] {
                wear(host, tags)?;
                // The tags beneath take their room from the packet: a veth has room for one more.
                host.run("ip route replace 10.0.0.0/24 dev eth0 mtu 1400")?;
                host.run("ethtool -K eth0 rx off")?;
            }
            let daemon = Daemon::start(&net, &bridge(NORMAL, &[("a", p), ("b", q)]))?;
            until_reached(&a, b.address())?;
            // What the stack of one says before the other's port is open finds nobody.
            let before = daemon.stats("a")?.drops;
            stream(&a, &b, b.address(), 4).map_err(|e| format!("{p}, {q}, {tags:?}: {e}"))?;
            for host in [&a, &b] {
                sums_are_right(&[host])?;
            }
            assert_eq!(daemon.stats("a")?.drops, before, "{p}, {q}, {tags:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn flows_push_and_pop_tags() -> Result {
    for [p, q] in KINDS {
        let net = TestNet::new()?;
        let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
        wear(&a, &[])?;
        wear(&b, &[5])?;
        a.run("ethtool -K eth0 rx off")?;
        b.run("ethtool -K eth0 rx off")?;
        let flows = &[
            "in_port=a,vlan_tci=0,actions=push_vlan:0x8100,set_field:4101->vlan_vid,output:b",
            "in_port=b,dl_vlan=5,actions=pop_vlan,output:a",
        ];
        let daemon = Daemon::start(&net, &bridge(flows, &[("a", p), ("b", q)]))?;
        until_reached(&a, b.address())?;
        assert_eq!(a.ping_with(b.address(), 10, 1472)?, 10, "{p}, {q}");
        stream(&a, &b, b.address(), 4).map_err(|error| format!("{p}, {q}: {error}"))?;
        for host in [&a, &b] {
            sums_are_right(&[host])?;
        }
        // What has no tag does not come in by this port.
        wear(&b, &[])?;
        assert_eq!(b.ping(&a, 2)?, 0);
        assert!(daemon.drops("b", DropReason::TableMiss)? > 0);
    }
    Ok(())
}
