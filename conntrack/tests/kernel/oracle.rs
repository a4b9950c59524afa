//! A namespace that forwards between two hosts. nftables notes in the DSCP of each packet what the
//! kernel has made of it.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

use conntrack::Settings;
use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, eth, ipproto, recv,
    sendto, socket_with,
};
use testnet::{Host, HostOptions, TestNet};

use crate::Verdict;
use crate::ends::{Family, NETWORKS, Sender};
use crate::ours::{EACH, SCTP};
use crate::pieces::is_first;

/// The kernel of a namespace with what is sent to it and what comes out.
pub(crate) struct Kernel {
    /// As it was told to be.
    settings: Settings,
    /// Connections that it has at most.
    made: u32,
    wires: [Wire; 2],
    _hosts: [Host; 2],
    net: TestNet,
}

/// Sockets of a host, by family: two send whole packets, two are shown each packet that arrives.
struct Wire {
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
/// What the kernel says, as DSCP by its place: the first that holds is noted.
const SAYINGS: [(&str, Verdict); 7] = [
    ("state untracked", Verdict::Untracked),
    ("state invalid", Verdict::Invalid),
    ("state new", Verdict::New),
    ("state related ct direction reply", Verdict::RelatedReply),
    ("state related", Verdict::Related),
    ("direction reply", Verdict::Reply),
    ("state established", Verdict::Established),
];
/// What the TTL is set to if the first timeout of SCTP holds.
const FIRST_TTL: u8 = 100;
/// The bit of the DSCP which says that the connection is assured.
const ASSURED: u8 = 8;
/// How often one looks for a packet that does not come: some seconds.
const PATIENCE: u32 = 3_000_000;
/// The kernel has room for a few more.
const MOST: u32 = 200_000;

impl Wire {
    fn of(host: &Host) -> Self {
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
}

/// Two hosts, and what lies between them: each has its network behind it, and all addresses of that
/// are nobody's, so that nobody answers.
fn hosts(net: &TestNet) -> [Host; 2] {
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

/// What notes verdicts.
fn rules(family: &str) -> String {
    let notes = SAYINGS.iter().zip(0..).map(|((says, _), n)| {
        let sets = |dscp| format!("{family} dscp set {dscp} accept;");
        let assured = n | ASSURED;
        format!("ct {says} ct status assured {} ct {says} {} ", sets(assured), sets(n))
    });
    lasts(family) + &notes.collect::<String>()
}

/// What notes which timeout of SCTP holds.
fn lasts(family: &str) -> String {
    let ttl = if family == "ip" { "ttl" } else { "hoplimit" };
    let notes = (1..).zip(SCTP).map(|(n, _)| {
        let (least, most) = (n * EACH - EACH / 2, n * EACH + EACH / 2);
        let ttl = format!("{family} {ttl} set {}", u32::from(FIRST_TTL) + n - 1);
        format!("ct original protocol sctp ct expiration {least}s-{most}s {ttl}; ")
    });
    notes.collect()
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

impl Kernel {
    /// Of a namespace without anything else.
    pub(crate) fn of(settings: Settings) -> Self {
        let net = TestNet::new().unwrap();
        let hosts = hosts(&net);
        for family in ["ip", "ip6"] {
            let rules = rules(family);
            let chain =
                format!("chain forward {{ type filter hook forward priority 0; {rules} }};");
            net.run(&format!("nft table {family} judge {{ {chain} }}")).unwrap();
        }
        let timeouts = TIMEOUTS.map(|name| format!("net.netfilter.nf_conntrack_{name}=100000"));
        net.run(&format!("sysctl -qw {}", timeouts.join(" "))).unwrap();
        for (timeout, n) in SCTP.iter().zip(1..) {
            let name = timeout.name().replacen('_', "_timeout_", 1);
            net.run(&format!("sysctl -qw net.netfilter.nf_conntrack_{name}={}", n * EACH)).unwrap();
        }
        for (name, is_on) in [("be_liberal", settings.liberal), ("loose", settings.picks_up)] {
            let value = u8::from(is_on);
            net.run(&format!("sysctl -qw net.netfilter.nf_conntrack_tcp_{name}={value}")).unwrap();
        }
        let wires = hosts.each_ref().map(Wire::of);
        Self { settings, made: 0, wires, _hosts: hosts, net }
    }

    /// As it was told to be.
    pub(crate) const fn settings(&self) -> Settings {
        self.settings
    }

    /// Begins anew if there is hardly any room left.
    pub(crate) fn make_room(&mut self) {
        if self.made > MOST {
            *self = Self::of(self.settings);
        }
    }

    /// What it knows of all connections.
    pub(crate) fn connections(&self) -> String {
        let table = self.net.run("cat /proc/net/nf_conntrack").unwrap();
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.map(|line| format!("\n    {line}")).collect()
    }

    /// What becomes of a packet, whether its connection is assured, and which of [`SCTP`] it goes by.
    pub(crate) fn judge(
        &mut self,
        from: Sender,
        pieces: &[Vec<u8>],
    ) -> (Verdict, bool, Option<u8>) {
        let [a, b] = &self.wires;
        let (inner, outer) = match from {
            Sender::A => (a, b),
            Sender::B => (b, a),
        };
        let (family, to) = destination(&pieces[0]);
        let sends = &inner.sends[family as usize];
        for piece in pieces {
            let sent = match to {
                SocketAddr::V4(to) => sendto(sends, piece, SendFlags::empty(), &to),
                SocketAddr::V6(to) => sendto(sends, piece, SendFlags::empty(), &to),
            };
            assert_eq!(sent.unwrap(), piece.len());
        }
        let mut bytes = [0; 2048];
        let comes = |_: u32| {
            let received = recv(&outer.receives[family as usize], &mut bytes, RecvFlags::empty());
            let bytes = &bytes[..received.map_or(0, |(len, _)| len)];
            notes_of_same(family, pieces, bytes)
        };
        let Some((dscp, ttl)) = (0..PATIENCE).find_map(comes) else {
            panic!("nothing came out for {pieces:02x?}");
        };
        let (_, verdict) = SAYINGS[usize::from(dscp & !ASSURED)];
        self.made += u32::from(verdict == Verdict::New);
        let lasts = ttl.checked_sub(FIRST_TTL).filter(|n| usize::from(*n) < SCTP.len());
        (verdict, dscp & ASSURED != 0, lasts)
    }
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

/// DSCP and TTL of what is a packet that was sent, but for what routers change; or of the first fragment
/// that comes out, which may be cut elsewhere.
fn notes_of_same(family: Family, pieces: &[Vec<u8>], bytes: &[u8]) -> Option<(u8, u8)> {
    // From the addresses on nothing is changed; in front of them there are TTL and checksum.
    let addresses = match family {
        Family::V4 => 12..20,
        Family::V6 => 8..40,
    };
    let is_same = match pieces {
        [packet] => {
            bytes.len() == packet.len()
                && bytes[addresses.start..] == packet[addresses.start..]
                // Another's last fragment may look like it.
                && is_first(bytes) == is_first(packet)
        }
        pieces => {
            bytes.len() >= addresses.end
                && bytes[addresses.clone()] == pieces[0][addresses]
                && is_first(bytes)
        }
    };
    is_same.then(|| match family {
        Family::V4 => (bytes[1] >> 2, bytes[8]),
        Family::V6 => (bytes[0] << 4 >> 2 | bytes[1] >> 6, bytes[7]),
    })
}
