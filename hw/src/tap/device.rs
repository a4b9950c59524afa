//! The TAP itself: one descriptor, one interface.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::header;
use crate::error::Error;
use crate::links::{Link, Links};
use crate::sys;

/// A TAP whose interface exists as long as the descriptor is open.
#[derive(Debug)]
pub(crate) struct Device {
    fd: OwnedFd,
    /// Whether it takes datagrams to be cut (Linux 6.2).
    pub(crate) cuts_udp: bool,
    /// Received, but with a header that contradicts itself, or shorter than Ethernet's.
    pub(crate) rx_invalid: AtomicU64,
    /// Received, but there was no frame to take the place of those it lay in.
    pub(crate) rx_no_frames: AtomicU64,
    /// Refused by the kernel for what they are.
    pub(crate) tx_invalid: AtomicU64,
    /// The longest frame to send.
    pub(crate) max_frame: AtomicU32,
}

impl Device {
    /// Makes a TAP called `name`, with all offloads, and answers it with its interface, still down.
    pub(crate) fn create(name: &str, links: &mut Links) -> Result<(Self, Link), Error> {
        const TAP: u16 = 0x0002;
        const NO_INFORMATION: u16 = 0x1000;
        const VNET_HEADER: u16 = 0x4000;
        /// Checksums, TCP over IPv4 and IPv6, with congestion notification (`TUN_F_*`).
        const OFFLOAD: u32 = 0x01 | 0x02 | 0x04 | 0x08;
        /// UDP over IPv4 and IPv6.
        const OFFLOAD_UDP: u32 = 0x20 | 0x40;
        let failed = |doing, error| Error::interface(name, doing, error).needs("CAP_NET_ADMIN");
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(|errno| {
            Error::interface(name, "opening /dev/net/tun", errno).hint(match errno {
                Errno::ACCESS => "its mode forbids it: `chmod 0666 /dev/net/tun`, as udev has it",
                Errno::PERM => "the container may not use the device: allow it `c 10:200 rwm`",
                Errno::NOENT => "the container lacks the device: give it /dev/net/tun",
                Errno::NODEV => "the kernel has no TAPs: `modprobe tun`",
                _ => "",
            })
        })?;
        let name = sys::tun_attach(fd.as_fd(), name, TAP | NO_INFORMATION | VNET_HEADER).map_err(
            |error| {
                let busy = error.raw_os_error() == Some(Errno::BUSY.raw_os_error());
                let hint =
                    if busy { "another process has this TAP, or the name is taken" } else { "" };
                failed("creating a TAP", error).hint(hint)
            },
        )?;
        sys::tun_set_header_len(fd.as_fd(), header::LEN.into())
            .map_err(|error| failed("asking for offload headers", error))?;
        let cuts_udp = sys::tun_set_offload(fd.as_fd(), OFFLOAD | OFFLOAD_UDP).is_ok();
        if !cuts_udp {
            sys::tun_set_offload(fd.as_fd(), OFFLOAD)
                .map_err(|error| failed("asking for offloads", error))?;
        }
        let link = links.named(&name)?;
        let [rx_invalid, rx_no_frames, tx_invalid] = [const { AtomicU64::new(0) }; 3];
        let max_frame = AtomicU32::new(0);
        Ok((Self { fd, cuts_udp, rx_invalid, rx_no_frames, tx_invalid, max_frame }, link))
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
