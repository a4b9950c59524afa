//! NAT on an address that the host has: `vswitchd` gives ports of the reserved range, as long as the
//! host has it.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

#[path = "common/net.rs"]
mod net;

use api::HexBytes;
use api::request::{CtStats, DummyReceive, DummyTake};
use net::{Daemon, Result, bridge, eventually};
use packet::{Key, checksum, compose, ethernet, icmp, tcp, udp};
use testnet::TestNet;

/// An address that packets are given.
const OUTSIDE: [u8; 4] = [192, 0, 2, 100];
/// What has ports, or identifiers.
const PROTOCOLS: [u8; 3] = [tcp::PROTO, udp::PROTO, icmp::PROTO];
/// So many packets of each at a time.
const MANY: u16 = 20;

/// A switch that gives all that comes in by `p1` this address.
fn start(net: &TestNet, nat: &str) -> Result<Daemon> {
    let flows =
        ["in_port=p1,ip,actions=ct(commit,table=1,nat(src=192.0.2.100))", "table=1,actions=p2"];
    let ports = ["p1", "p2"].map(|name| (name, "type = 'dummy'"));
    Daemon::start(net, &format!("{nat}\n{}", bridge(&flows, &ports)))
}

/// The first packet of a connection.
fn first(proto: u8, port: u16) -> Vec<u8> {
    let key = Key::ZERO
        .with(Key::ETH_TYPE, ethernet::IPV4)
        .with(Key::NW_SRC, u32::from_be_bytes([10, 0, 0, 1]))
        .with(Key::NW_DST, u32::from_be_bytes([198, 51, 100, 9]))
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_PROTO, proto)
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::HAS_TRANSPORT, 1u8)
        .with(Key::TTL_LEFT, 1u8);
    let key = match proto {
        icmp::PROTO => key.with(Key::TP_SRC, 8u16),
        _ => key.with(Key::TP_SRC, port).with(Key::TP_DST, 80u16),
    };
    let key = if proto == tcp::PROTO { key.with(Key::TCP_FLAGS, tcp::SYN) } else { key };
    let mut bytes = compose(&key, 98);
    if proto == icmp::PROTO {
        let sum = u16::from_be_bytes([bytes[36], bytes[37]]);
        bytes[36..38].copy_from_slice(&checksum::update(sum, 0, port).to_be_bytes());
        bytes[38..40].copy_from_slice(&port.to_be_bytes());
    }
    bytes
}

/// The address and the port that a packet has, or its identifier.
fn from(packet: &[u8]) -> ([u8; 4], u16) {
    let at = if packet[23] == icmp::PROTO { 38 } else { 34 };
    let [address, port] = [&packet[26..30], &packet[at..at + 2]];
    (address.try_into().unwrap(), u16::from_be_bytes(port.try_into().unwrap()))
}

/// What connections from these ports on are given, protocol by protocol.
fn given(switch: &Daemon, first_port: u16) -> Result<Vec<(u16, u16)>> {
    let ports = || first_port..first_port + MANY;
    let mut client = switch.client()?;
    let mut given = Vec::new();
    for proto in PROTOCOLS {
        let packets = ports().map(|port| HexBytes(first(proto, port))).collect();
        client.call(DummyReceive { bridge: None, port: "p1".to_owned(), packets })?;
        let mut out = Vec::new();
        eventually("all have come out", || {
            let taken = client.call(DummyTake { bridge: None, port: "p2".to_owned() })?;
            out.extend(taken.packets);
            Ok(out.len() >= usize::from(MANY))
        })?;
        for (own, packet) in ports().zip(out) {
            let (address, port) = from(&packet.0);
            assert_eq!(address, OUTSIDE);
            given.push((own, port));
        }
    }
    Ok(given)
}

/// Does something to the address, and waits until the switch knows.
fn change(net: &TestNet, switch: &Daemon, what: &str) -> Result {
    let known =
        || -> Result<u64> { Ok(switch.client()?.call(CtStats { kinds: false })?.host_addresses) };
    let before = known()?;
    net.run(&format!("ip address {what} 192.0.2.100/24 dev a"))?;
    eventually("the switch knows", || Ok(known()? != before))
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn ports_are_reserved_as_long_as_the_host_has_the_address() -> Result {
    let net = TestNet::new()?;
    let _host = net.host("a", "10.0.9.1/24")?;
    net.run("ip address add 192.0.2.100/24 dev a")?;
    let switch = start(&net, "[nat]\nreserved_ports = '50000-50999'")?;
    let is_reserved = |port: u16| (50_000..=50_999).contains(&port);
    let at_start = given(&switch, 1000)?;
    assert!(at_start.iter().all(|(_, port)| is_reserved(*port)), "{at_start:?}");
    let kept = given(&switch, 50_500)?;
    assert!(kept.iter().all(|(_, port)| is_reserved(*port)), "{kept:?}");
    assert!(kept.iter().any(|(own, port)| own == port), "most are free: {kept:?}");
    change(&net, &switch, "del")?;
    let without = given(&switch, 2000)?;
    assert!(without.iter().all(|(own, port)| own == port), "{without:?}");
    change(&net, &switch, "add")?;
    let again = given(&switch, 3000)?;
    assert!(again.iter().all(|(_, port)| is_reserved(*port)), "{again:?}");
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_kernel_that_gives_the_same_ports_is_warned_of() -> Result {
    let net = TestNet::new()?;
    let says = |name: &str, value: &str| -> Result {
        let file = format!("/proc/sys/net/ipv4/{name}");
        Ok(net.inside(|| std::fs::write(file, value))??)
    };
    let command = "sysctl -w net.ipv4.ip_local_reserved_ports=";
    let said = || -> Result<Vec<String>> {
        let mut switch = start(&net, "")?;
        assert!(switch.stop()?.success());
        let log = switch.log();
        let found = log.split(command).skip(1).filter_map(|rest| rest.split('`').next());
        Ok(found.map(str::to_owned).collect())
    };
    let nothing: [&str; 0] = [];
    says("ip_local_reserved_ports", "8080")?;
    assert_eq!(said()?, nothing, "it gives 32768 to 60999");
    says("ip_local_port_range", "32768 65535")?;
    assert_eq!(said()?, ["8080,61000-65535"]);
    says("ip_local_reserved_ports", "8080,61000-65535")?;
    assert_eq!(said()?, nothing);
    Ok(())
}
