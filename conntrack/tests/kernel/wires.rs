//! A namespace of the kernel that forwards between two hosts, and sockets of both.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, eth, ipproto, recv,
    sendto, socket_with,
};
use testnet::{Host, HostOptions, TestNet};

use crate::ends::{Family, NETWORKS};

/// Sockets of a host, by family: two send whole packets, two are shown each packet that arrives.
pub(crate) struct Wire {
    sends: [OwnedFd; 2],
    receives: [OwnedFd; 2],
}

/// What would end by itself.
const TIMEOUTS: [&str; 17] = [
    "tcp_timeout_syn_sent",
    "tcp_timeout_syn_recv",
    "tcp_timeout_established",
    "tcp_timeout_fin_wait",
    "tcp_timeout_close_wait",
    "tcp_timeout_last_ack",
    "tcp_timeout_time_wait",
    "tcp_timeout_close",
    "tcp_timeout_max_retrans",
    "tcp_timeout_unacknowledged",
    "udp_timeout",
    "udp_timeout_stream",
    "icmp_timeout",
    "icmpv6_timeout",
    "gre_timeout",
    "gre_timeout_stream",
    "generic_timeout",
];
impl Wire {
    pub(crate) fn of(host: &Host) -> Self {
        let open = |family, kind, protocol: Protocol| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(family, kind, flags, Some(protocol)).unwrap()
        };
        host.inside(|| Self {
            sends: [AddressFamily::INET, AddressFamily::INET6]
                .map(|family| open(family, SocketType::RAW, ipproto::RAW)),
            receives: [eth::IP, eth::IPV6]
                .map(|protocol| open(AddressFamily::PACKET, SocketType::DGRAM, protocol)),
        })
        .unwrap()
    }

    /// Sends a packet to where it says.
    pub(crate) fn send(&self, packet: &[u8]) {
        let (family, to) = destination(packet);
        let sends = &self.sends[family as usize];
        let sent = match to {
            SocketAddr::V4(to) => sendto(sends, packet, SendFlags::empty(), &to),
            SocketAddr::V6(to) => sendto(sends, packet, SendFlags::empty(), &to),
        };
        assert_eq!(sent.unwrap(), packet.len());
    }

    /// The next packet of this family that has arrived.
    pub(crate) fn receive<'a>(&self, family: Family, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let received = recv(&self.receives[family as usize], &mut *bytes, RecvFlags::empty());
        let (len, _) = received.ok()?;
        Some(&bytes[..len])
    }
}

/// Two hosts, and what lies between them: each has its network behind it, and all addresses of that
/// are nobody's, so that nobody answers.
pub(crate) fn hosts(net: &TestNet) -> [Host; 2] {
    let hosts = [("a", 1), ("b", 2)].map(|(name, side)| {
        let [v4, v6] = NETWORKS[side - 1];
        let address_v6 = Some(format!("fd00:{side}::1/64"));
        let options = HostOptions { address_v6, ..HostOptions::default() };
        let host = net.host_with(name, &format!("10.0.{side}.1/24"), &options).unwrap();
        let own = [
            format!("sysctl -qw net.ipv6.conf.{name}.disable_ipv6=0"),
            format!("ip address add 10.0.{side}.254/24 dev {name}"),
            format!("ip address add fd00:{side}::fe/64 dev {name} nodad"),
            format!("ip route add {v4} via 10.0.{side}.1"),
            format!("ip route add {v6} via fd00:{side}::1"),
        ];
        own.iter().for_each(|command| drop(net.run(command).unwrap()));
        let theirs = [
            format!("ip route add default via 10.0.{side}.254"),
            format!("ip route add default via fd00:{side}::fe"),
        ];
        theirs.iter().for_each(|command| drop(host.run(command).unwrap()));
        introduce(net, &host, name, side);
        host
    });
    let loose =
        "net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.a.rp_filter=0 net.ipv4.conf.b.rp_filter=0";
    let forwards = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    net.run(&format!("sysctl -qw {forwards} {loose}")).unwrap();
    hosts
}

/// Tells both ends of a wire each other's link-layer addresses: before they have made sure that
/// their own IPv6 addresses are nobody else's, they do not ask.
fn introduce(net: &TestNet, host: &Host, name: &str, side: usize) {
    let known = |to, at, mac: String| {
        format!("ip neighbour replace {to} dev {at} lladdr {} nud permanent", mac.trim())
    };
    let theirs = host.run("cat /sys/class/net/eth0/address").unwrap();
    let own = net.run(&format!("cat /sys/class/net/{name}/address")).unwrap();
    net.run(&known(format!("fd00:{side}::1"), name, theirs)).unwrap();
    host.run(&known(format!("fd00:{side}::fe"), "eth0", own)).unwrap();
}

/// Has no connection end by itself.
pub(crate) fn stop_time(net: &TestNet) {
    let timeouts = TIMEOUTS.map(|name| format!("net.netfilter.nf_conntrack_{name}=100000"));
    net.run(&format!("sysctl -qw {}", timeouts.join(" "))).unwrap();
}

/// Where a packet goes.
fn destination(packet: &[u8]) -> (Family, SocketAddr) {
    if packet[0] >> 4 == 4 {
        let (ip, _) = Ipv4::split(packet).unwrap();
        (Family::V4, SocketAddrV4::new(ip.dst(), 0).into())
    } else {
        let (ip, _) = Ipv6::split(packet).unwrap();
        (Family::V6, SocketAddrV6::new(ip.dst(), 0, 0, 0).into())
    }
}

/// The family of a packet.
pub(crate) fn family_of(packet: &[u8]) -> Family {
    if packet[0] >> 4 == 4 { Family::V4 } else { Family::V6 }
}
