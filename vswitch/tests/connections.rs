//! Connections of real stacks: who may begin one, and addresses that are not what they seem.

#[path = "common/net.rs"]
mod net;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use api::reply::Tier;
use api::request::{CacheDump, CtDump};
use net::{Daemon, POD, Result, bridge, host, stream, until_reached, v6};
use testnet::{Host, TestNet};

fn connect(from: &Host, to: SocketAddr) -> Result<std::io::Result<TcpStream>> {
    Ok(from.inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(1500)))?)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn only_one_side_begins_connections() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let family = |ip: &str| {
        [
            format!("table=0,priority=5,{ip},actions=ct(table=1)"),
            format!("table=1,priority=9,{ip},in_port=1,ct_state=+trk+new,actions=ct(commit),2"),
            format!("table=1,priority=8,{ip},in_port=1,ct_state=+trk+est,actions=2"),
            format!("table=1,priority=8,{ip},in_port=2,ct_state=+trk+est+rpl,actions=1"),
        ]
    };
    let mut flows: Vec<_> = [family("ip"), family("ipv6")].concat();
    flows.extend(
        ["arp", "icmp6,icmp_type=135", "icmp6,icmp_type=136"]
            .map(|known| format!("table=0,priority=50,{known},actions=normal")),
    );
    let flows: Vec<_> = flows.iter().map(String::as_str).collect();
    let daemon = Daemon::start(&net, &bridge(&flows, &[("a", POD), ("b", POD)]))?;
    for (near, far) in [(a.address(), b.address()), (v6(&a), v6(&b))] {
        until_reached(&a, far)?;
        stream(&a, &b, far, 20)?;
        let listeners = [(&a, near), (&b, far)]
            .map(|(at, address)| at.inside(|| TcpListener::bind((address, 8080))));
        let _listeners: Vec<_> = listeners.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert!(connect(&a, (far, 8080).into())?.is_ok(), "{far}");
        let refused = connect(&b, (near, 8080).into())?.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::TimedOut), "{near}");
        assert_eq!(b.ping_with(near, 1, 56)?, 0, "{near}");
    }
    assert!(daemon.met("table=1,ip,in_port=2,ct_state=+trk+est+rpl")? > 0);
    Ok(())
}

/// What has crossed met a session that does all passes and says what it becomes.
fn has_session(daemon: &Daemon, near: &TcpStream, far: &TcpStream, is_service: bool) -> Result {
    let tier = Some(Tier::Session);
    let dump = CacheDump { bridge: None, tier, after: None, limit: None };
    let sessions = daemon.client()?.call(dump)?.entries.into_iter();
    let from = near.local_addr()?;
    let own = format!("tp_src={}", from.port());
    let session = sessions.filter(|session| session.matching.contains(&own)).find_map(|it| it.ties);
    let ties = session.ok_or_else(|| format!("no session with {own}"))?;
    let zones: Vec<_> = ties.connections.iter().map(|tie| (tie.zone, tie.reply)).collect();
    let expected = if is_service { vec![(1, false), (2, false)] } else { vec![(2, false)] };
    assert_eq!(zones, expected, "{ties:?}");
    let to = ties.translated.ok_or("it is translated")?;
    let ends = [(to.src, to.src_port), (to.dst, to.dst_port)];
    let seen = [far.peer_addr()?, far.local_addr()?];
    assert_eq!(ends, seen.map(|end| (end.ip(), Some(end.port()))));
    let hits = daemon.workers()?.iter().map(|worker| worker.session_hits).sum::<u64>();
    // Some of the super-frames that a megabyte takes.
    assert!(hits > 10, "{hits} hits");
    Ok(())
}

/// A source behind another address, and a service that is somewhere else.
const NAT: [&str; 7] = [
    "table=0,priority=9,arp,actions=normal",
    "table=0,priority=5,tcp,in_port=1,nw_dst=10.0.0.50,actions=ct(commit,zone=1,nat(dst=10.0.0.2:8080),table=1)",
    "table=0,priority=4,ip,in_port=1,actions=resubmit(,1)",
    "table=0,priority=4,ip,in_port=2,actions=ct(zone=2,nat,table=2)",
    "table=1,ip,actions=ct(commit,zone=2,nat(src=10.0.0.9:40000-40009)),output:2",
    "table=2,ip,actions=ct(zone=1,nat,table=3)",
    "table=3,ip,actions=output:1",
];

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn behind_a_translation_real_stacks_notice_nothing() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let daemon = Daemon::start(&net, &bridge(&NAT, &[("a", POD), ("b", POD)]))?;
    // Nobody answers for addresses that no host has.
    for (at, address, whose) in [(&a, "10.0.0.50", &b), (&b, "10.0.0.9", &a)] {
        let mac = whose.run("cat /sys/class/net/eth0/address")?;
        at.run(&format!("ip neigh replace {address} lladdr {} dev eth0", mac.trim()))?;
    }
    until_reached(&a, b.address())?;
    let listener = b.inside(|| TcpListener::bind((b.address(), 8080)))??;
    let service = (Ipv4Addr::new(10, 0, 0, 50), 80).into();
    for to in [service, (b.address(), 8080).into()] {
        let mut near = connect(&a, to)??;
        let (mut far, seen) = listener.accept()?;
        assert_eq!(seen.ip(), Ipv4Addr::new(10, 0, 0, 9), "{to}");
        assert!((40_000..=40_009).contains(&seen.port()), "{to}: {seen}");
        assert_eq!(near.peer_addr()?, to);
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut received = vec![0; sent.len()];
        std::thread::scope(|scope| -> Result {
            let written = scope.spawn(|| near.write_all(&sent));
            far.read_exact(&mut received)?;
            Ok(written.join().map_err(|_panic| "the writer has ended badly")??)
        })?;
        assert!(received == sent, "{to}");
        has_session(&daemon, &near, &far, to == service)?;
        far.write_all(b"thanks")?;
        near.read_exact(&mut received[..6])?;
        assert_eq!(received[..6], *b"thanks");
    }
    // Nor that nobody is there: a reset ends the connection, and is one of its packets.
    drop(listener);
    for to in [service, (b.address(), 8080).into()] {
        let refused = connect(&a, to)?.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "{to}");
    }
    // What a router or a host says about a packet is said to who has sent it.
    let socket = a.inside(|| UdpSocket::bind((a.address(), 0)))??;
    socket.connect((b.address(), 9999))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(b"is anybody there?")?;
    let answer = socket.recv(&mut [0; 10]).map_err(|error| error.kind());
    assert_eq!(answer, Err(ErrorKind::ConnectionRefused));
    assert!(daemon.met("table=1,ip")? > 0);
    Ok(())
}

/// The client is hidden, whoever it asks; what comes back is for it alone.
const HIDDEN: [&str; 13] = [
    "table=0,priority=50,arp,actions=normal",
    "table=0,priority=50,icmp6,icmp_type=135,actions=normal",
    "table=0,priority=50,icmp6,icmp_type=136,actions=normal",
    "table=0,priority=5,ip,in_port=1,actions=ct(commit,zone=2,nat(src=10.0.0.9),table=1)",
    "table=0,priority=5,ipv6,in_port=1,actions=ct(commit,zone=2,nat(src=fd00::9),table=1)",
    "table=0,priority=4,ip,in_port=2,actions=ct(zone=2,nat,table=2)",
    "table=0,priority=4,ipv6,in_port=2,actions=ct(zone=2,nat,table=2)",
    "table=1,priority=9,udp,tp_dst=9000,nw_frag=no,actions=output:2",
    "table=1,priority=9,udp6,tp_dst=9000,nw_frag=no,actions=output:2",
    "table=1,priority=9,icmp,actions=output:2",
    "table=1,priority=9,icmp6,actions=output:2",
    "table=2,priority=9,ip,ct_state=+est+rpl+trk,actions=output:1",
    "table=2,priority=9,ipv6,ct_state=+est+rpl+trk,actions=output:1",
];

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn datagrams_longer_than_the_mtu_pass_a_translation() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let daemon = Daemon::start(&net, &bridge(&HIDDEN, &[("a", POD), ("b", POD)]))?;
    let mac = a.run("cat /sys/class/net/eth0/address")?;
    for hidden in ["10.0.0.9", "fd00::9"] {
        b.run(&format!("ip neigh replace {hidden} lladdr {} dev eth0", mac.trim()))?;
    }
    for (address, hidden) in [(b.address(), "10.0.0.9"), (v6(&b), "fd00::9")] {
        until_reached(&a, address)?;
        a.run(&format!("ping -M dont -s 5000 -c 3 -i 0.1 -W 2 {address}"))?;
        let server = b.inside(|| UdpSocket::bind((address, 9000)))??;
        let any: SocketAddr =
            if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let client = a.inside(|| UdpSocket::bind(any))??;
        client.connect((address, 9000))?;
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        }
        // The first one longer than the MTU begins the connection.
        for len in [3000usize, 1452, 1472, 1473, 2952, 20_000, 65_000] {
            let sent: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut received = vec![0; 70_000];
            client.send(&sent)?;
            let (count, from) = server.recv_from(&mut received)?;
            assert_eq!(from.ip().to_string(), hidden, "{len} bytes");
            assert!(received[..count] == sent, "{len} bytes to {address}");
            server.send_to(&sent, from)?;
            let count = client.recv(&mut received)?;
            assert!(received[..count] == sent, "{len} bytes from {address}");
        }
    }
    assert!(daemon.met("table=0,ip,in_port=2")? > 0);
    Ok(())
}

/// The source `a` is known to others as 10.0.0.100; `b` routes to `c`, which is 10.9.0.1 as well.
const ROUTED: [&str; 8] = [
    "table=0,priority=9,arp,actions=normal",
    // To find that hosts are there.
    "table=0,priority=8,icmp,icmp_type=8,actions=normal",
    "table=0,priority=8,icmp,icmp_type=0,actions=normal",
    "table=0,priority=7,ip,in_port=b,nw_dst=10.9.0.1,actions=output:c",
    "table=0,priority=5,ip,actions=ct(zone=5,nat,table=1)",
    "table=1,priority=9,udp,in_port=a,ct_state=+trk+new,\
     actions=ct(commit,zone=5,nat(src=10.0.0.100)),output:b",
    "table=1,priority=8,icmp,ct_state=+trk+rel+rpl,nw_dst=10.0.0.1,actions=output:a",
    "table=1,priority=0,actions=drop",
];

#[test]
#[ignore = "needs root and busybox: run by cargo xtask test"]
fn each_router_behind_a_translation_is_traced() -> Result {
    let net = TestNet::new()?;
    let [a, b, c] = [("a", 1), ("b", 2), ("c", 3)].map(|(name, number)| host(&net, name, number));
    let (a, b, c) = (a?, b?, c?);
    let ports = ["a", "b", "c"].map(|name| (name, POD));
    let daemon = Daemon::start(&net, &bridge(&ROUTED, &ports))?;
    for other in [&b, &c] {
        until_reached(&a, other.address())?;
        // Nobody answers for an address that no host has.
        let mac = a.run("cat /sys/class/net/eth0/address")?;
        other.run(&format!("ip neigh replace 10.0.0.100 lladdr {} dev eth0", mac.trim()))?;
    }
    let sysctl = "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0";
    b.run(&format!("{sysctl} net.ipv4.conf.eth0.send_redirects=0"))?;
    a.run("ip route add 10.9.0.1 via 10.0.0.2")?;
    b.run("ip route add 10.9.0.1 via 10.0.0.3")?;
    c.run("ip address add 10.9.0.1/32 dev lo")?;
    let traced = a.run("busybox traceroute -n -q 1 -w 5 -m 4 10.9.0.1")?;
    let hops = traced.lines().skip(1).map(|line| line.split_whitespace().nth(1));
    assert!(hops.eq([Some("10.0.0.2"), Some("10.9.0.1")]), "{traced}");
    // What tells of a packet quotes it as it was, and nobody has heard of `a`.
    assert_eq!(daemon.met("table=1,icmp,ct_state=+trk+rel+rpl")?, 2);
    let connections = daemon.client()?.call(CtDump::default())?.connections;
    assert_eq!(connections.len(), 2);
    assert!(connections.iter().all(|one| one.reply.dst.to_string() == "10.0.0.100"));
    Ok(())
}
