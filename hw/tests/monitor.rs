//! What is told of changes to interfaces, as they really happen.

mod common;

use std::net::IpAddr;

use common::Result;
use hw::bpf::{Code, Kind, Program, Register::R0};
use hw::{AddressMonitor, LinkChange, LinkEvent, LinkMonitor, Links, XdpPlace};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use testnet::TestNet;

/// Waits until something has happened, and answers what.
fn next(monitor: &mut LinkMonitor, wanted: LinkChange) -> Result<LinkEvent> {
    for _ in 0..10 {
        let mut fds = [PollFd::new(monitor, PollFlags::IN)];
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        if poll(&mut fds, Some(&second))? == 0 {
            break;
        }
        if let Some(event) = monitor.events()?.into_iter().find(|event| event.change == wanted) {
            return Ok(event);
        }
    }
    Err(format!("nobody told of {wanted:?}").into())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_change_is_told_once_it_happens() -> Result {
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    net.inside(|| -> Result {
        let mut monitor = LinkMonitor::open()?;
        assert_eq!(monitor.events()?, [], "what exists is no news");
        let link = Links::open()?.named("a")?;
        let of_a = |event: &LinkEvent| event.link.ifindex == link.ifindex;

        net.run("ip link set dev a mtu 1400")?;
        let event = next(&mut monitor, LinkChange::Mtu)?;
        assert!(of_a(&event) && event.link.mtu == 1400, "{event:?}");

        net.run("ip link set dev a down")?;
        let event = next(&mut monitor, LinkChange::Up)?;
        assert!(of_a(&event) && !event.link.up, "{event:?}");

        net.run("ip link set dev a name aa")?;
        let event = next(&mut monitor, LinkChange::Renamed)?;
        assert!(of_a(&event) && event.link.name == "aa", "{event:?}");

        net.run("ip link set dev aa up")?;
        while !next(&mut monitor, LinkChange::Up)?.link.carrier {}
        host.run("ip link set dev eth0 down")?;
        let event = next(&mut monitor, LinkChange::Up)?;
        assert!(event.link.up && !event.link.carrier, "the other end is down: {event:?}");
        assert!(event.link.why_down().is_some_and(|why| why.contains("no carrier")));
        host.run("ip link set dev eth0 up")?;
        while !next(&mut monitor, LinkChange::Up)?.link.carrier {}
        let kind = Kind::Xdp { fragments: true, bound_to: None };
        let program = Program::load("theirs", kind, &Code::new().set(R0, 2).exit())?;
        Links::open()?.set_xdp(&event.link, Some(&program), XdpPlace::Native, true)?;
        let event = next(&mut monitor, LinkChange::Program)?;
        assert_eq!(event.link.program.map(|program| program.place), Some(XdpPlace::Native));

        net.run(&format!("ip link set dev aa netns {}", host.namespace()))?;
        assert!(of_a(&next(&mut monitor, LinkChange::Vanished)?));

        host.run(&format!("ip link set dev aa netns {}", net.namespace()))?;
        let event = next(&mut monitor, LinkChange::Appeared)?;
        assert_eq!((event.link.name.as_str(), event.link.kind.as_str()), ("aa", "veth"));

        net.run("ip link delete dev aa")?;
        assert_eq!(next(&mut monitor, LinkChange::Vanished)?.link.name, "aa");
        Ok(())
    })?
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn addresses_that_come_and_go_are_known() -> Result {
    let net = TestNet::new()?;
    let _host = net.host("a", "10.0.0.1/24")?;
    net.run("ip address add 192.0.2.7/24 dev a")?;
    net.inside(|| -> Result {
        let mut monitor = AddressMonitor::open()?;
        let knows = |monitor: &AddressMonitor, address: &str| -> Result<bool> {
            Ok(monitor.addresses().contains(&address.parse::<IpAddr>()?))
        };
        assert!(knows(&monitor, "192.0.2.7")?, "what exists is known");
        let mut until = |address: &str, is_there: bool| -> Result {
            for _ in 0..10 {
                let mut fds = [PollFd::new(&monitor, PollFlags::IN)];
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                if poll(&mut fds, Some(&second))? == 0 {
                    break;
                }
                let changed = monitor.has_changed()?;
                if knows(&monitor, address)? == is_there {
                    assert!(changed, "it was not so before");
                    return Ok(());
                }
            }
            Err(format!("nobody told of {address}").into())
        };
        net.run("ip address add 192.0.2.8/32 dev a")?;
        until("192.0.2.8", true)?;
        net.run("sysctl -qw net.ipv6.conf.a.disable_ipv6=0")?;
        net.run("ip address add fd00::8/64 dev a nodad")?;
        until("fd00::8", true)?;
        net.run("ip address add 192.0.2.9 peer 192.0.2.10 dev a")?;
        until("192.0.2.9", true)?;
        net.run("ip address del 192.0.2.8/32 dev a")?;
        until("192.0.2.8", false)?;
        // All go with their interface.
        net.run("ip link delete dev a")?;
        until("192.0.2.7", false)?;
        assert!(!knows(&monitor, "192.0.2.10")?, "the other end's");
        Ok(())
    })?
}
