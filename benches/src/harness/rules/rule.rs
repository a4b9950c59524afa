//! A rule, as text and as a question.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::harness::rules::headers::Header;
use crate::harness::rules::ports::PortMask;
use crate::harness::rules::profile::{ICMP, TCP, UDP};
use crate::pktgen::order::Random;

/// The first bits of an address; the others are zero.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Prefix {
    /// Those bits.
    pub address: u32,
    /// How many.
    pub len: u8,
}

impl Prefix {
    /// Ones where it looks.
    pub const fn mask(self) -> u32 {
        match self.len {
            0 => 0,
            len => u32::MAX << (32 - len),
        }
    }

    /// Whether `address` begins so.
    pub const fn has(self, address: u32) -> bool {
        address & self.mask() == self.address
    }

    /// Whether any address begins as both do.
    pub const fn overlaps(self, other: Self) -> bool {
        (self.address ^ other.address) & self.mask() & other.mask() == 0
    }

    /// An address that begins so.
    pub fn draw(self, random: &mut Random) -> u32 {
        let bytes = random.number().to_le_bytes();
        let any = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        self.address | any & !self.mask()
    }
}

/// Packets of IPv4, and what becomes of them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rule {
    /// Before others with less.
    pub priority: u16,
    /// From where.
    pub src: Prefix,
    /// To where.
    pub dst: Prefix,
    /// By which protocol; any if there is none, and then the ports are any.
    pub protocol: Option<u8>,
    /// From which ports.
    pub src_port: PortMask,
    /// To which ports.
    pub dst_port: PortMask,
}

impl Rule {
    /// Whether a packet is meant.
    pub fn has(&self, header: &Header) -> bool {
        self.src.has(header.src)
            && self.dst.has(header.dst)
            && self.protocol.is_none_or(|protocol| protocol == header.protocol)
            && self.src_port.has(header.src_port)
            && self.dst_port.has(header.dst_port)
    }

    /// Whether there are packets that both mean.
    pub fn overlaps(&self, other: &Self) -> bool {
        let both = self.protocol.zip(other.protocol);
        self.src.overlaps(other.src)
            && self.dst.overlaps(other.dst)
            && both.is_none_or(|(protocol, other)| protocol == other)
            && self.src_port.overlaps(other.src_port)
            && self.dst_port.overlaps(other.dst_port)
    }

    /// A packet that is meant.
    pub fn draw(&self, random: &mut Random) -> Header {
        let protocol = self.protocol.unwrap_or_else(|| [TCP, UDP, ICMP][random.below(3)]);
        let has_ports = protocol != ICMP;
        let mut port =
            |mask: PortMask| if has_ports { mask.draw(&mut *random) } else { mask.value };
        let (src_port, dst_port) = (port(self.src_port), port(self.dst_port));
        let (src, dst) = (self.src.draw(random), self.dst.draw(random));
        Header { src, dst, protocol, src_port, dst_port }
    }

    /// The flow that does `actions` with what is meant.
    pub fn flow(&self, actions: &str) -> String {
        let mut text = format!("priority={}", self.priority);
        text += match self.protocol {
            Some(TCP) => ",tcp",
            Some(UDP) => ",udp",
            Some(ICMP) => ",icmp",
            _ => ",ip",
        };
        for (name, prefix) in [("nw_src", self.src), ("nw_dst", self.dst)] {
            if prefix.len > 0 {
                let address = Ipv4Addr::from(prefix.address);
                let _ = write!(text, ",{name}={address}/{}", prefix.len);
            }
        }
        for (name, port) in [("tp_src", self.src_port), ("tp_dst", self.dst_port)] {
            match port.mask {
                0 => {}
                u16::MAX => {
                    let _ = write!(text, ",{name}={}", port.value);
                }
                mask => {
                    let _ = write!(text, ",{name}={:#06x}/{mask:#06x}", port.value);
                }
            }
        }
        text + ",actions=" + actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_what_is_looked_at() {
        let any = Prefix { address: 0, len: 0 };
        let net = Prefix { address: 0x0a01_0000, len: 16 };
        let rule = Rule {
            priority: 7,
            src: any,
            dst: net,
            protocol: Some(TCP),
            src_port: PortMask { value: 0x0400, mask: 0xfc00 },
            dst_port: PortMask { value: 80, mask: 0xffff },
        };
        let text = "priority=7,tcp,nw_dst=10.1.0.0/16,tp_src=0x0400/0xfc00,tp_dst=80,actions=drop";
        assert_eq!(rule.flow("drop"), text);
        let (src_port, dst_port) = (PortMask::ANY, PortMask::ANY);
        let rule = Rule { protocol: None, dst: any, src_port, dst_port, ..rule };
        assert_eq!(rule.flow("output:2"), "priority=7,ip,actions=output:2");
        assert!(text.parse::<api::FlowMod>().is_ok());
    }
}
