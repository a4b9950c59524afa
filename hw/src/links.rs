//! The network interfaces of a namespace: looking them up, and changing them.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    LinkXdp, Prop, Stats64, XdpAttached,
};
use packet::MacAddr;

use crate::bpf::Program;
use crate::error::Error;
use crate::netlink::Netlink;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Link {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Longest network packet, in bytes.
    pub mtu: u32,
    /// Its address; zero if it has none.
    pub mac: MacAddr,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether somebody is there at its other end.
    pub carrier: bool,
    /// What made it, such as `veth` or `tun`; empty for a real device.
    pub kind: String,
    /// Receive queues that it could have; it may use fewer.
    pub rx_queues: u32,
    /// The XDP program attached, if one is.
    pub program: Option<AttachedProgram>,
    /// Further names.
    pub alternative_names: Vec<String>,
    /// Packets that the interface refused to send for want of room.
    pub tx_dropped: u64,
    /// Packets that came in and were dropped, for want of room or of somebody to take them.
    pub rx_dropped: u64,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttachedProgram {
    /// Its number, as `bpftool prog` shows it.
    pub id: u32,
    /// Where it runs.
    pub place: XdpPlace,
}

/// Where an XDP program runs, by the flag that says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum XdpPlace {
    /// Behind the driver, on finished socket buffers: slow, but any driver will do.
    Generic = 1 << 1,
    /// In the driver.
    Native = 1 << 2,
}

/// A way to ask about interfaces and change them.
#[derive(Debug)]
pub struct Links {
    netlink: Netlink,
}

impl Links {
    /// Of the network namespace that the calling thread is in.
    pub fn open() -> Result<Self, Error> {
        Netlink::open().map(|netlink| Self { netlink })
    }

    /// The interface of this name.
    pub fn named(&mut self, name: &str) -> Result<Link, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.look_up(message, name)
    }

    /// The interface of this number; `name` is for the error.
    pub fn numbered(&mut self, ifindex: u32, name: &str) -> Result<Link, Error> {
        self.look_up(about(ifindex), name)
    }

    fn look_up(&mut self, message: LinkMessage, name: &str) -> Result<Link, Error> {
        let answers = self.netlink.ask(RouteNetlinkMessage::GetLink(message), 0);
        let answers = answers.map_err(|refused| match refused.errno.raw_os_error() {
            Some(libc::ENODEV) => Error::NoInterface { interface: name.to_owned() },
            _ => refused.about(name, "looking it up"),
        })?;
        let found = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(Link::from(link)),
            _ => None,
        });
        found.ok_or_else(|| Error::NoInterface { interface: name.to_owned() })
    }

    /// All interfaces.
    pub fn all(&mut self) -> Result<Vec<Link>, Error> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.netlink.dump(message);
        let answers = answers.map_err(|refused| {
            Error::system("listing the interfaces", refused.errno).hint(&refused.sentence)
        })?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(Link::from(link)),
                _ => None,
            })
            .collect())
    }

    /// Sets it up or down.
    pub fn set_up(&mut self, link: &Link, up: bool) -> Result<(), Error> {
        let mut message = about(link.ifindex);
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.set(link, message, "setting it up")
    }

    /// Sets its MTU.
    pub fn set_mtu(&mut self, link: &Link, mtu: u32) -> Result<(), Error> {
        self.set_attribute(link, LinkAttribute::Mtu(mtu), "setting its MTU")
    }

    /// Sets its address.
    pub fn set_mac(&mut self, link: &Link, mac: MacAddr) -> Result<(), Error> {
        self.set_attribute(link, LinkAttribute::Address(mac.0.to_vec()), "setting its MAC address")
    }

    /// Sets how many packets wait to be sent.
    pub fn set_tx_queue_len(&mut self, link: &Link, packets: u32) -> Result<(), Error> {
        self.set_attribute(link, LinkAttribute::TxQueueLen(packets), "setting its queue length")
    }

    /// Keeps the kernel from giving it an IPv6 address, and from saying so on the wire.
    pub(crate) fn set_unaddressed(&mut self, link: &Link) -> Result<(), Error> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let attribute = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
        match self.set_attribute(link, attribute, "keeping IPv6 off it") {
            // A kernel without IPv6, or with it disabled, has nothing to keep off.
            Err(error) if error.errno() == Some(rustix::io::Errno::AFNOSUPPORT) => Ok(()),
            other => other,
        }
    }

    /// Puts an XDP program on it in place of what is there, or takes that off.
    ///
    /// `place`: in the driver, or behind it. `only_if_none`: refuses to replace another.
    pub fn set_xdp(
        &mut self,
        link: &Link,
        program: Option<&Program>,
        place: XdpPlace,
        only_if_none: bool,
    ) -> Result<(), Error> {
        let fd = program.map_or(-1, |program| program.as_fd().as_raw_fd());
        let flags = u32::from(only_if_none) | place as u32;
        let xdp = LinkAttribute::Xdp(vec![LinkXdp::Fd(fd), LinkXdp::Flags(flags)]);
        self.set_attribute(link, xdp, "attaching the XDP program")
    }

    /// Gives it one more name.
    pub(crate) fn add_name(&mut self, link: &Link, name: &str) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewLinkProp(with_name(link, name));
        let flags =
            NLM_F_CREATE | netlink_packet_core::NLM_F_EXCL | netlink_packet_core::NLM_F_APPEND;
        let done = self.netlink.change(message, flags);
        done.map_err(|refused| refused.about(&link.name, "marking it as ours"))
    }

    /// Takes a further name away.
    pub(crate) fn delete_name(&mut self, link: &Link, name: &str) -> Result<(), Error> {
        let done = self.netlink.change(RouteNetlinkMessage::DelLinkProp(with_name(link, name)), 0);
        done.map_err(|refused| refused.about(&link.name, "taking our mark off"))
    }

    fn set_attribute(
        &mut self,
        link: &Link,
        attribute: LinkAttribute,
        doing: &'static str,
    ) -> Result<(), Error> {
        let mut message = about(link.ifindex);
        message.attributes.push(attribute);
        self.set(link, message, doing)
    }

    fn set(&mut self, link: &Link, message: LinkMessage, doing: &'static str) -> Result<(), Error> {
        let done = self.netlink.change(RouteNetlinkMessage::SetLink(message), 0);
        done.map_err(|refused| refused.about(&link.name, doing))
    }
}

impl Link {
    /// Why it carries no packets, in words; nothing if it does.
    pub fn why_down(&self) -> Option<String> {
        let name = &self.name;
        match (self.up, self.carrier) {
            (true, true) => None,
            (false, _) => Some(format!("{name} is down; `ip link set dev {name} up` changes that")),
            (true, false) => {
                Some(format!("{name} has no carrier: its other end is down or not connected"))
            }
        }
    }
}

fn about(ifindex: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message
}

fn with_name(link: &Link, name: &str) -> LinkMessage {
    let mut message = about(link.ifindex);
    message.attributes.push(LinkAttribute::PropList(vec![Prop::AltIfName(name.to_owned())]));
    message
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            ifindex: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::NumRxQueues(queues) => link.rx_queues = queues,
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes).map(MacAddr).unwrap_or_default();
                }
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(kind).unwrap_or_default();
                }
                LinkAttribute::Xdp(xdp) => link.program = attached(&xdp),
                LinkAttribute::PropList(props) => {
                    link.alternative_names = props
                        .into_iter()
                        .filter_map(|prop| match prop {
                            Prop::AltIfName(name) => Some(name),
                            _ => None,
                        })
                        .collect();
                }
                LinkAttribute::Stats64(Stats64 { tx_dropped, rx_dropped, .. }) => {
                    (link.tx_dropped, link.rx_dropped) = (tx_dropped, rx_dropped);
                }
                _ => {}
            }
        }
        link
    }
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn attached(xdp: &[LinkXdp]) -> Option<AttachedProgram> {
    let id = xdp.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let place = match xdp.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer)) {
        true => XdpPlace::Generic,
        false => XdpPlace::Native,
    };
    (id != 0).then_some(AttachedProgram { id, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_no_other_of_its_name() {
        let mut links = Links::open().unwrap();
        let lo = links.named("lo").unwrap();
        assert_eq!((lo.ifindex, lo.name.as_str(), lo.kind.as_str()), (1, "lo", ""));
        assert_eq!(links.numbered(1, "lo").unwrap(), lo);
        assert!(links.all().unwrap().iter().any(|link| link.name == "lo"));
        let error = links.named("no-such-link").unwrap_err();
        assert!(matches!(error, Error::NoInterface { .. }), "{error}");
    }
}
