//! A namespace that forwards between two hosts. nftables notes in the DSCP of each packet what the
//! kernel has made of it.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use conntrack::Settings;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto,
    socket_with,
};
use testnet::{Host, TestNet};

use crate::Verdict;
use crate::traffic::{ID, Sender};

/// The kernel of a namespace with what is sent to it and what comes out.
pub(crate) struct Kernel {
    /// As it was told to be.
    pub(crate) settings: Settings,
    wires: [Wire; 2],
    _hosts: [Host; 2],
}

/// Sockets of a host: one sends whole packets, one is shown each packet of TCP that arrives.
struct Wire {
    sends: OwnedFd,
    receives: OwnedFd,
}

/// What would end by itself.
const TIMEOUTS: [&str; 10] = [
    "syn_sent",
    "syn_recv",
    "established",
    "fin_wait",
    "close_wait",
    "last_ack",
    "time_wait",
    "close",
    "max_retrans",
    "unacknowledged",
];
/// As DSCP: 1 is invalid, 2 new, 3 established, 4 the same the other way.
const RULES: &str = "table ip judge { chain forward { type filter hook forward priority 0; \
    ct state invalid ip dscp set 1 accept; \
    ct state new ip dscp set 2 accept; \
    ct direction reply ip dscp set 4 accept; \
    ct state established ip dscp set 3 accept; }; }";
/// How often one looks for a packet that does not come: some seconds.
const PATIENCE: u32 = 5_000_000;

impl Wire {
    fn of(host: &Host) -> Self {
        let open = |protocol: Protocol| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(protocol)).unwrap()
        };
        let sockets = host.inside(|| [open(ipproto::RAW), open(ipproto::TCP)]);
        let [sends, receives] = sockets.unwrap();
        Self { sends, receives }
    }
}

impl Kernel {
    /// Of a namespace without anything else.
    pub(crate) fn of(net: &TestNet, settings: Settings) -> Self {
        let loose = "net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0";
        net.run(&format!("sysctl -qw net.ipv4.ip_forward=1 {loose}")).unwrap();
        let host = |name: &str, side: u8| {
            let host = net.host(name, &format!("10.0.{side}.1/24")).unwrap();
            let commands = [
                format!("ip address add 10.0.{side}.254/24 dev {name}"),
                format!("ip route add 10.{side}.0.0/16 via 10.0.{side}.1"),
            ];
            commands.iter().for_each(|command| drop(net.run(command).unwrap()));
            // All addresses of its network are its own, and it answers to none of them.
            let silent = format!(
                "table ip silent {{ chain output {{ type filter hook output priority 0; \
                 meta l4proto tcp ip id != {ID} drop; }}; }}"
            );
            let commands = [
                format!("sysctl -qw {loose}"),
                format!("ip route add default via 10.0.{side}.254"),
                format!("ip route add local 10.{side}.0.0/16 dev lo"),
                format!("nft {silent}"),
            ];
            commands.iter().for_each(|command| drop(host.run(command).unwrap()));
            host
        };
        let hosts = [host("a", 1), host("b", 2)];
        net.run(&format!("nft {RULES}")).unwrap();
        for timeout in TIMEOUTS {
            let name = format!("net.netfilter.nf_conntrack_tcp_timeout_{timeout}");
            net.run(&format!("sysctl -qw {name}=100000")).unwrap();
        }
        for (name, is_on) in [("be_liberal", settings.liberal), ("loose", settings.picks_up)] {
            let value = u8::from(is_on);
            net.run(&format!("sysctl -qw net.netfilter.nf_conntrack_tcp_{name}={value}")).unwrap();
        }
        Self { settings, wires: [Wire::of(&hosts[0]), Wire::of(&hosts[1])], _hosts: hosts }
    }

    /// What becomes of a packet.
    pub(crate) fn judge(&mut self, from: Sender, packet: &[u8]) -> Verdict {
        let [a, b] = &self.wires;
        let (inner, outer) = match from {
            Sender::A => (a, b),
            Sender::B => (b, a),
        };
        let to = SocketAddrV4::new([packet[16], packet[17], packet[18], packet[19]].into(), 0);
        assert_eq!(sendto(&inner.sends, packet, SendFlags::empty(), &to).unwrap(), packet.len());
        let mut bytes = [0; 2048];
        // What else the kernel has to say has other addresses.
        let mut comes = |_: u32| {
            let received = recv(&outer.receives, &mut bytes, RecvFlags::empty());
            let len = received.map_or(0, |(len, _)| len);
            let is_it = len == packet.len() && bytes[12..20] == packet[12..20];
            is_it.then(|| bytes[1] >> 2)
        };
        match (0..PATIENCE).find_map(&mut comes) {
            Some(1) => Verdict::Invalid,
            Some(2) => Verdict::New,
            Some(3) => Verdict::Established,
            Some(4) => Verdict::Reply,
            other => panic!("{other:?} came out"),
        }
    }
}
