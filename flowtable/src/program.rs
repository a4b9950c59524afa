//! What translation makes for a packet: a short list of operations on its bytes, and where it goes.

use api::DropReason;
use packet::PortId;

/// One operation on a packet's bytes. Values are ready to be written; a program never asks a table.
///
/// Every program ends with one of [`Op::Send`], [`Op::Resume`], [`Op::Consume`] and [`Op::Drop`], and
/// so does the part that [`Op::Clone`] covers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    missing_docs,
    reason = "value and mask are what they are called; the mask covers the value"
)]
pub enum Op {
    /// Both Ethernet addresses, destination first.
    Eth([u8; 12]),
    /// Bits of the destination address.
    EthDst { value: [u8; 6], mask: [u8; 6] },
    /// Bits of the source address.
    EthSrc { value: [u8; 6], mask: [u8; 6] },
    /// Bits of the outer tag's control field.
    VlanTci { value: u16, mask: u16 },
    /// A new outer tag.
    PushVlan { tpid: u16 },
    /// The outer tag goes.
    PopVlan,
    /// Bits of the IPv4 source; checksums follow.
    Ipv4Src { value: u32, mask: u32 },
    /// Bits of the IPv4 destination; checksums follow.
    Ipv4Dst { value: u32, mask: u32 },
    /// Bits of one of the eight 32-bit words of both IPv6 addresses, source first; checksums
    /// follow.
    Ipv6 { word: u8, value: u32, mask: u32 },
    /// Bits of the IPv6 flow label.
    Ipv6Label { value: u32, mask: u32 },
    /// Bits of TOS or traffic class; the IPv4 header checksum follows.
    Tos { value: u8, mask: u8 },
    /// TTL or hop limit; the IPv4 header checksum follows.
    Ttl(u8),
    /// One less of it, which is known not to be the last.
    DecTtl,
    /// Bits of the transport's source port; its checksum follows.
    TpSrc { value: u16, mask: u16 },
    /// Bits of the transport's destination port; its checksum follows.
    TpDst { value: u16, mask: u16 },
    /// The ICMP type; its checksum follows.
    IcmpType(u8),
    /// The ICMP code; its checksum follows.
    IcmpCode(u8),
    /// The ARP operation.
    ArpOp(u8),
    /// Bits of the ARP sender's protocol address.
    ArpSpa { value: u32, mask: u32 },
    /// Bits of the ARP target's protocol address.
    ArpTpa { value: u32, mask: u32 },
    /// Bits of the ARP sender's hardware address.
    ArpSha { value: [u8; 6], mask: [u8; 6] },
    /// Bits of the ARP target's hardware address.
    ArpTha { value: [u8; 6], mask: [u8; 6] },
    /// Bits of one of the four 32-bit words of a neighbour message's target; the checksum follows.
    NdTarget { word: u8, value: u32, mask: u32 },
    /// Bits of a neighbour message's source link-layer address; the checksum follows.
    NdSll { value: [u8; 6], mask: [u8; 6] },
    /// Bits of a neighbour message's target link-layer address; the checksum follows.
    NdTll { value: [u8; 6], mask: [u8; 6] },
    /// From here on it is sent by this queue.
    SetQueue(u32),
    /// Sends a copy.
    Output(PortId),
    /// Sends the first bytes of a copy.
    OutputTruncated { port: PortId, max_len: u32 },
    /// Shows a copy to whoever watches, as the aside says.
    Show(AsideId),
    /// Shows one packet of so many, as the aside says.
    Sample(AsideId),
    /// The next `n` operations work on a copy.
    Clone(u16),
    /// Sends the packet itself: the end.
    Send(PortId),
    /// The end of this pass: what the aside has frozen goes on once it is decided how.
    Resume(AsideId),
    /// The end of a packet of which nothing but copies went on.
    Consume,
    /// The end of a packet that goes nowhere.
    Drop(DropReason),
}

/// The number of what is said apart from an operation, since it is too long for one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AsideId(pub u32);

impl Op {
    /// The most operations a program has.
    pub const MOST: usize = 1024;

    /// Whether it takes the place of a header that only parsing finds.
    pub const fn needs_headers(self) -> bool {
        !matches!(
            self,
            Self::Eth(_)
                | Self::EthDst { .. }
                | Self::EthSrc { .. }
                | Self::SetQueue(_)
                | Self::Output(_)
                | Self::OutputTruncated { .. }
                | Self::Show(_)
                | Self::Sample(_)
                | Self::Clone(_)
                | Self::Send(_)
                | Self::Resume(_)
                | Self::Consume
                | Self::Drop(_)
        )
    }

    /// What it says apart, if anything.
    pub const fn aside(self) -> Option<AsideId> {
        match self {
            Self::Show(aside) | Self::Sample(aside) | Self::Resume(aside) => Some(aside),
            _ => None,
        }
    }

    /// The same operation with its aside under another number.
    #[must_use]
    pub const fn renamed(self, to: AsideId) -> Self {
        match self {
            Self::Show(_) => Self::Show(to),
            Self::Sample(_) => Self::Sample(to),
            Self::Resume(_) => Self::Resume(to),
            other => other,
        }
    }

    /// Whether this is the end of a program.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Send(_) | Self::Resume(_) | Self::Consume | Self::Drop(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_operations_fit_a_cache_line() {
        assert!(size_of::<Op>() <= 16, "{} bytes", size_of::<Op>());
    }
}
