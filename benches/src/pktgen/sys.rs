//! The calls of AF_PACKET and AF_XDP sockets that no crate makes for us.
#![expect(unsafe_code, reason = "system calls take addresses")]

use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};

use crate::pktgen::address::Mac;

/// All protocols, in the order of the network.
const ALL: u16 = 3_u16.to_be();

/// An AF_PACKET socket that is bound to one interface and takes whole frames.
pub(crate) fn packet_socket(ifindex: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Of no protocol until it is bound, so that nothing of other interfaces comes in.
    // SAFETY: there are no addresses among the arguments.
    let socket = checked(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = link_address(ifindex);
    let len = length_of(&address);
    // SAFETY: the address is that of `len` bytes, a whole `sockaddr_ll`.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// The Ethernet address of the interface that an AF_PACKET socket is bound to.
pub(crate) fn address_of(socket: &OwnedFd) -> io::Result<Mac> {
    let mut address = link_address(0);
    let mut len = length_of(&address);
    let to = (&raw mut address).cast();
    // SAFETY: both addresses are those of variables, of which the first has `len` bytes.
    checked(unsafe { libc::getsockname(socket.as_raw_fd(), to, &raw mut len) })?;
    let [a, b, c, d, e, f, ..] = address.sll_addr;
    Ok(Mac([a, b, c, d, e, f]))
}

/// Sets an integer option of an AF_PACKET socket.
pub(crate) fn set_packet_option(socket: &OwnedFd, option: i32, value: i32) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SOL_PACKET, option, value)
}

/// Asks for a receive buffer of so many bytes, whatever the system's limit is.
pub(crate) fn set_receive_buffer(socket: &OwnedFd, bytes: i32) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

/// Sets how many packets an AF_XDP socket sends a call. Linux 6.17 and on know it.
pub(crate) fn set_xdp_budget(socket: &impl AsRawFd, packets: i32) -> io::Result<()> {
    const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
    set_option(socket.as_raw_fd(), libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, packets)
}

fn set_option(socket: i32, level: i32, option: i32, value: i32) -> io::Result<()> {
    let (address, len) = ((&raw const value).cast(), length_of(&value));
    // SAFETY: the address is that of `len` readable bytes.
    checked(unsafe { libc::setsockopt(socket, level, option, address, len) })?;
    Ok(())
}

/// Packets that an AF_PACKET socket had no room for since it was asked last.
pub(crate) fn overruns(socket: &OwnedFd) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let (address, mut len) = ((&raw mut stats).cast(), length_of(&stats));
    let (fd, level) = (socket.as_raw_fd(), libc::SOL_PACKET);
    // SAFETY: the addresses are those of `len` writable bytes and of their number.
    let result =
        unsafe { libc::getsockopt(fd, level, libc::PACKET_STATISTICS, address, &raw mut len) };
    checked(result)?;
    Ok(stats.tp_drops)
}

/// Sends frames, each a slice of its own; answers how many the kernel took.
pub(crate) fn send_many(socket: &OwnedFd, frames: &mut [&mut [u8]]) -> io::Result<usize> {
    let mut vectors: Vec<_> = frames.iter_mut().map(|frame| vector(frame)).collect();
    let mut messages: Vec<_> = vectors.iter_mut().map(message).collect();
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let (fd, address) = (socket.as_raw_fd(), messages.as_mut_ptr());
    // SAFETY: `count` messages lie there, and what they point to lives as long as this call.
    let sent = checked(unsafe { libc::sendmmsg(fd, address, count, 0) })?;
    Ok(usize::try_from(sent).unwrap_or_default())
}

/// Receives frames, each into a slice of its own; answers their lengths, which may be greater than
/// the slices: what did not fit is gone.
pub(crate) fn receive_many(
    socket: &OwnedFd,
    frames: &mut [&mut [u8]],
    lengths: &mut Vec<usize>,
) -> io::Result<()> {
    lengths.clear();
    let mut vectors: Vec<_> = frames.iter_mut().map(|frame| vector(frame)).collect();
    let mut messages: Vec<_> = vectors.iter_mut().map(message).collect();
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let (fd, address) = (socket.as_raw_fd(), messages.as_mut_ptr());
    let flags = libc::MSG_TRUNC;
    // SAFETY: `count` messages lie there, and what they point to is ours alone to be written to.
    let received = unsafe { libc::recvmmsg(fd, address, count, flags, std::ptr::null_mut()) };
    let received = usize::try_from(checked(received)?).unwrap_or_default();
    let len = |message: &libc::mmsghdr| usize::try_from(message.msg_len).unwrap_or_default();
    lengths.extend(messages[..received].iter().map(len));
    Ok(())
}

fn vector(frame: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() }
}

fn message(vector: &mut libc::iovec) -> libc::mmsghdr {
    let header = libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: vector,
        msg_iovlen: 1,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    };
    libc::mmsghdr { msg_hdr: header, msg_len: 0 }
}

fn link_address(ifindex: u32) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: ALL,
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    debug_assert!(size_of::<T>() < 1 << 16, "sizes of C structures are small");
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or_default()
}

/// Turns the C convention for failure into ours.
fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
