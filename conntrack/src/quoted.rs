//! The packet that an error of ICMP quotes (RFC 792, RFC 4443 §3): its headers, and eight bytes more.

use packet::icmp::{self, Icmp};
use packet::ipv4::Ipv4;
use packet::ipv6::{self, Ipv6};
use packet::{sctp, tcp, udp};

use crate::query;
use crate::tuple::{Ends, Tuple};

/// The tuple of a quoted packet; `None` if what is quoted belongs to no connection.
pub(crate) fn tuple(bytes: &[u8], is_ipv4: bool, zone: u16) -> Option<Tuple> {
    let (src, dst, proto, rest) = if is_ipv4 {
        let (ip, _) = Ipv4::split(bytes).ok()?;
        let is_whole = ip.fragment_offset() == 0;
        let rest = bytes.get(ip.header_len()..).filter(|_| is_whole)?;
        (ip.src().into(), ip.dst().into(), ip.proto(), rest)
    } else {
        let (ip, rest) = Ipv6::split(bytes).ok()?;
        let upper = ipv6::skip_extensions(ip.next_header(), rest).ok()?;
        let is_whole = upper.fragment.is_none_or(|fragment| fragment.offset == 0);
        let rest = rest.get(upper.len..).filter(|_| is_whole)?;
        (ip.src().into(), ip.dst().into(), upper.proto, rest)
    };
    let [src_port, dst_port] = ports(proto, is_ipv4, rest)?;
    Tuple::new(Ends { src, dst, src_port, dst_port, proto }, zone)
}

/// The ports of a tuple, from the first bytes of what the packet carries.
fn ports(proto: u8, is_ipv4: bool, bytes: &[u8]) -> Option<[u16; 2]> {
    match proto {
        tcp::PROTO | udp::PROTO | sctp::PROTO => {
            let [a, b, c, d] = *bytes.first_chunk()?;
            Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
        }
        icmp::PROTO | icmp::PROTO_V6 => {
            let (icmp, _) = Icmp::split(bytes).ok()?;
            query::answer(is_ipv4, icmp.kind())?;
            Some([icmp.identifier(), u16::from_be_bytes([icmp.kind(), icmp.code()])])
        }
        _ => Some([0; 2]),
    }
}
