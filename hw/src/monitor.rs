//! Hearing of what happens to the network interfaces of a namespace.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;

use crate::error::Error;
use crate::links::{Link, Links};
use crate::netlink::{self, Payload, messages};

/// Tells what happens to interfaces.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: Socket,
    known: BTreeMap<u32, Link>,
}

/// Something that happened to an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkEvent {
    /// The interface as it is now; as it was, if it has vanished.
    pub link: Link,
    /// What happened.
    pub change: LinkChange,
}

/// What can happen to an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkChange {
    /// It has come into this namespace.
    Appeared,
    /// It was deleted, or moved to another namespace.
    Vanished,
    /// It has another name.
    Renamed,
    /// Its MTU is another.
    Mtu,
    /// It has been set up or down, or its other end has.
    Up,
    /// Its XDP program is another, or gone. The kernel does not tell that of an interface that is
    /// down.
    Program,
}

impl LinkMonitor {
    /// Begins to listen in the calling thread's namespace; interfaces that exist already are known,
    /// and no event.
    pub fn open() -> Result<Self, Error> {
        const LINKS: u32 = 1;
        let socket = netlink::listen(LINKS, "listening for interface changes")?;
        let mut monitor = Self { socket, known: BTreeMap::new() };
        // Listening came first, so that nothing is missed in between.
        monitor.look_again()?;
        Ok(monitor)
    }

    /// What has happened since the last call; never waits. [`Self::as_fd`] is readable when there
    /// is something.
    pub fn events(&mut self) -> Result<Vec<LinkEvent>, Error> {
        let mut events = Vec::new();
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => self.read(&datagram, &mut events),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
                // The kernel had more to say than the socket holds: compare everything instead.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    events.extend(self.look_again()?);
                }
                Err(error) => return Err(Error::system("listening for interface changes", error)),
            }
        }
    }

    fn read(&mut self, datagram: &[u8], events: &mut Vec<LinkEvent>) {
        // A message that cannot be read is of a kernel newer than us; those that can must not
        // suffer.
        for (_, payload) in messages(datagram).filter_map(Result::ok) {
            match payload {
                Payload::Answer(RouteNetlinkMessage::NewLink(link)) if is_link(&link) => {
                    self.compare(link.into(), events);
                }
                Payload::Answer(RouteNetlinkMessage::DelLink(link)) if is_link(&link) => {
                    self.forget(link.header.index, events);
                }
                _ => {}
            }
        }
    }

    fn look_again(&mut self) -> Result<Vec<LinkEvent>, Error> {
        let links = Links::open()?.all()?;
        let mut events = Vec::new();
        let gone: Vec<_> = self
            .known
            .keys()
            .filter(|ifindex| links.iter().all(|link| link.ifindex != **ifindex))
            .copied()
            .collect();
        gone.into_iter().for_each(|ifindex| self.forget(ifindex, &mut events));
        links.into_iter().for_each(|link| self.compare(link, &mut events));
        Ok(events)
    }

    fn compare(&mut self, link: Link, events: &mut Vec<LinkEvent>) {
        let mut tell = |change| events.push(LinkEvent { link: link.clone(), change });
        match self.known.get(&link.ifindex) {
            None => tell(LinkChange::Appeared),
            Some(old) => {
                if old.name != link.name {
                    tell(LinkChange::Renamed);
                }
                if old.mtu != link.mtu {
                    tell(LinkChange::Mtu);
                }
                if (old.up, old.carrier) != (link.up, link.carrier) {
                    tell(LinkChange::Up);
                }
                if old.program != link.program {
                    tell(LinkChange::Program);
                }
            }
        }
        self.known.insert(link.ifindex, link);
    }

    fn forget(&mut self, ifindex: u32, events: &mut Vec<LinkEvent>) {
        if let Some(link) = self.known.remove(&ifindex) {
            events.push(LinkEvent { link, change: LinkChange::Vanished });
        }
    }
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Bridges send messages of the same types about their members.
fn is_link(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::{AttachedProgram, XdpPlace};

    #[test]
    fn a_link_is_compared_with_what_it_was() {
        let mut monitor = LinkMonitor::open().unwrap();
        let mut link = Link { ifindex: 9999, name: "x".to_owned(), mtu: 1500, ..Link::default() };
        let mut events = Vec::new();
        monitor.compare(link.clone(), &mut events);
        monitor.compare(link.clone(), &mut events);
        (link.mtu, link.up) = (9000, true);
        monitor.compare(link.clone(), &mut events);
        link.program = Some(AttachedProgram { id: 7, place: XdpPlace::Native });
        monitor.compare(link, &mut events);
        monitor.forget(9999, &mut events);
        monitor.forget(9999, &mut events);
        let changes: Vec<_> = events.iter().map(|event| event.change).collect();
        use LinkChange::*;
        assert_eq!(changes, [Appeared, Mtu, Up, Program, Vanished]);
    }
}
