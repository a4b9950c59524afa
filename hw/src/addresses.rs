//! The addresses that a network namespace has, kept up to date.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_sys::Socket;

use crate::error::Error;
use crate::netlink::{self, Netlink};

/// Knows the addresses of all interfaces of a namespace.
#[derive(Debug)]
pub struct AddressMonitor {
    socket: Socket,
    netlink: Netlink,
    known: BTreeSet<IpAddr>,
    /// Something has happened since the kernel was asked last.
    stale: bool,
}

impl AddressMonitor {
    /// Begins to listen in the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        /// Changes of addresses of IPv4 and IPv6 (`RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`).
        const ADDRESSES: u32 = 0x10 | 0x100;
        let socket = netlink::listen(ADDRESSES, "listening for address changes")?;
        // Listening came first, so that nothing is missed in between.
        let netlink = Netlink::open()?;
        let mut monitor = Self { socket, netlink, known: BTreeSet::new(), stale: true };
        monitor.look_again()?;
        Ok(monitor)
    }

    /// The addresses as they were when one last asked for changes.
    pub const fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.known
    }

    /// Whether there are others than when this was last called; never waits for changes.
    /// [`Self::as_fd`] is readable when there may be.
    ///
    /// Cost: however much has happened, the kernel is asked for all addresses once.
    pub fn has_changed(&mut self) -> Result<bool, Error> {
        loop {
            match self.socket.recv_from_full() {
                Ok(_) => self.stale = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The kernel had more to say than the socket holds.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.stale = true,
                Err(error) => return Err(Error::system("listening for address changes", error)),
            }
        }
        if self.stale { self.look_again() } else { Ok(false) }
    }

    fn look_again(&mut self) -> Result<bool, Error> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.netlink.dump(message).map_err(|refused| {
            Error::system("listing the addresses", refused.errno).hint(&refused.sentence)
        })?;
        let known = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(address) => own(address),
            _ => None,
        });
        let before = std::mem::replace(&mut self.known, known.collect());
        self.stale = false;
        Ok(before != self.known)
    }
}

impl AsFd for AddressMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The interface's own address. On a link between two, `IFA_ADDRESS` is the other end's.
fn own(message: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_link_between_two_the_own_end_counts() {
        let [near, far] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let mut message = AddressMessage::default();
        assert_eq!(own(&message), None);
        message.attributes.push(AddressAttribute::Address(far));
        assert_eq!(own(&message), Some(far), "there is no other, as of IPv6");
        message.attributes.push(AddressAttribute::Local(near));
        assert_eq!(own(&message), Some(near));
    }
}
