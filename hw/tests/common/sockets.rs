//! Packet sockets with offload headers: a source of packets past a host's network stack.
#![expect(unsafe_code, reason = "nobody else makes such sockets")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use hw::Links;
use packet::{Key, MacAddr, compose};
use testnet::Host;

use super::Result;

/// A socket on the interface `name` of the calling thread's namespace: what is read and written has
/// the ten bytes of `struct virtio_net_hdr` in front.
pub fn packet_socket(name: &str) -> Result<OwnedFd> {
    const ALL: u16 = 3_u16.to_be();
    /// `PACKET_VNET_HDR`, `PACKET_QDISC_BYPASS`.
    const OPTIONS: [libc::c_int; 2] = [15, 20];
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: there are no addresses in the arguments.
    let socket = checked(unsafe { libc::socket(libc::AF_PACKET, kind, ALL.into()) })?;
    // SAFETY: the kernel has just made it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    for option in OPTIONS {
        let on = 1_i32;
        let address = (&raw const on).cast();
        let (fd, level) = (socket.as_raw_fd(), libc::SOL_PACKET);
        // SAFETY: the address is that of four bytes.
        checked(unsafe { libc::setsockopt(fd, level, option, address, 4) })?;
    }
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: ALL,
        sll_ifindex: Links::open()?.named(name)?.ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = u32::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: the address is that of a whole `sockaddr_ll`.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// From now on, what `socket` sends is cut into datagrams of `size` bytes, by whoever comes last.
pub fn cut_datagrams(socket: &UdpSocket, size: libc::c_int) -> Result {
    const UDP_SEGMENT: libc::c_int = 103;
    let (fd, address) = (socket.as_raw_fd(), (&raw const size).cast());
    // SAFETY: the address is that of four bytes.
    checked(unsafe { libc::setsockopt(fd, libc::SOL_UDP, UDP_SEGMENT, address, 4) })?;
    Ok(())
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A UDP packet of 60 bytes from one host to another, without a header in front.
pub fn small_packet(from: &Host, to: &Host) -> Result<Vec<u8>> {
    let mac = |host: &Host| -> Result<u64> {
        let mac: MacAddr = host.run("cat /sys/class/net/eth0/address")?.trim().parse()?;
        Ok(mac.to_u64())
    };
    let key = Key::ZERO
        .with(Key::ETH_DST, mac(to)?)
        .with(Key::ETH_SRC, mac(from)?)
        .with(Key::ETH_TYPE, packet::ethernet::IPV4)
        .with(Key::NW_PROTO, packet::udp::PROTO)
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_SRC, 0x0a00_0001u32)
        .with(Key::NW_DST, 0x0a00_0002u32)
        .with(Key::TP_SRC, 9u16)
        .with(Key::TP_DST, 9u16);
    Ok(compose(&key, 60))
}

/// Packets that `host` has received so far.
pub fn received(host: &Host) -> Result<f64> {
    Ok(host.run("cat /sys/class/net/eth0/statistics/rx_packets")?.trim().parse()?)
}
