//! Matches, printed.

use std::fmt;

use packet::{Key, ethernet, icmp, nd, vlan};

use super::super::value::Matched;
use super::super::words;
use super::{Commas, Printed, Style};
use crate::field::Field;
use crate::flow::Match;

impl fmt::Display for Printed<'_, Match> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_fields(&mut Commas::new(f), self.what, self.style)
    }
}

/// Prints a match in the order of OVS, which is neither that of the packet nor of the fields'
/// numbers.
pub(in super::super) fn fmt_fields(
    list: &mut Commas<'_, '_>,
    matching: &Match,
    style: Style<'_>,
) -> fmt::Result {
    let (eth_type, nw_proto) = (matching.eth_type(), matching.nw_proto());
    // A word for both, or for the Ethertype alone, the rest being said by the fields.
    let both = eth_type.and_then(|eth_type| words::protocol_name(eth_type, Some(nw_proto?)));
    let alone = eth_type.and_then(|eth_type| words::protocol_name(eth_type, None));
    let mut fields = Fields { list, matching, style };
    fields.put("pkt_mark", Field::PktMark)?;
    fields.put("conj_id", Field::ConjId)?;
    fields.put_connection(eth_type)?;
    fields.put("packet_type", Field::PacketType)?;
    if let Some(word) = both.or(alone) {
        fields.list.item(format_args!("{word}"))?;
    }
    for reg in (0..Key::REGS).filter_map(|reg| u8::try_from(reg).ok()).map(Field::Reg) {
        fields.put(reg.name(), reg)?;
    }
    fields.put("tun_id", Field::TunId)?;
    fields.put("metadata", Field::Metadata)?;
    fields.put("in_port", Field::InPort)?;
    fields.put_vlan()?;
    fields.put("dl_src", Field::EthSrc)?;
    fields.put("dl_dst", Field::EthDst)?;
    match eth_type {
        Some(eth_type) if alone.is_none() => {
            fields.list.item(format_args!("dl_type={eth_type:#06x}"))?;
        }
        Some(_) => {}
        None => fields.put("dl_type", Field::EthType)?,
    }
    let arp = matches!(eth_type, Some(ethernet::ARP | ethernet::RARP));
    match eth_type {
        Some(ethernet::IPV6) => {
            fields.put("ipv6_src", Field::Ipv6Src)?;
            fields.put("ipv6_dst", Field::Ipv6Dst)?;
            fields.put("ipv6_label", Field::Ipv6Label)?;
        }
        _ if arp => {
            fields.put("arp_spa", Field::ArpSpa)?;
            fields.put("arp_tpa", Field::ArpTpa)?;
        }
        _ => {
            fields.put("nw_src", Field::IpSrc)?;
            fields.put("nw_dst", Field::IpDst)?;
        }
    }
    if both.is_none() {
        fields.put(if arp { "arp_op" } else { "nw_proto" }, Field::IpProto)?;
    }
    if arp {
        fields.put("arp_sha", Field::ArpSha)?;
        fields.put("arp_tha", Field::ArpTha)?;
    }
    fields.put("nw_tos", Field::IpTos)?;
    fields.put("nw_ecn", Field::IpEcn)?;
    fields.put("nw_ttl", Field::IpTtl)?;
    fields.put("nw_frag", Field::IpFrag)?;
    fields.put_transport(eth_type, nw_proto)
}

/// Fields of a match on their way into a list.
struct Fields<'a, 'l, 'f> {
    list: &'a mut Commas<'l, 'f>,
    matching: &'a Match,
    style: Style<'a>,
}

impl Fields<'_, '_, '_> {
    fn put(&mut self, name: &str, field: Field) -> fmt::Result {
        let value = self.matching.key().get(field.span()) & field.ones();
        let mask = self.matching.mask().get(field.span()) & field.ones();
        let ports = self.style.ports;
        match mask {
            0 => Ok(()),
            _ => self.list.item(format_args!("{name}={}", Matched { field, value, mask, ports })),
        }
    }

    /// What connection tracking has found out.
    fn put_connection(&mut self, eth_type: Option<u16>) -> fmt::Result {
        self.put("ct_state", Field::CtState)?;
        self.put("ct_zone", Field::CtZone)?;
        self.put("ct_mark", Field::CtMark)?;
        self.put("ct_label", Field::CtLabel)?;
        if eth_type == Some(ethernet::IPV6) {
            self.put("ct_ipv6_src", Field::CtIpv6Src)?;
            self.put("ct_ipv6_dst", Field::CtIpv6Dst)?;
        } else {
            self.put("ct_nw_src", Field::CtNwSrc)?;
            self.put("ct_nw_dst", Field::CtNwDst)?;
        }
        self.put("ct_nw_proto", Field::CtNwProto)?;
        self.put("ct_tp_src", Field::CtTpSrc)?;
        self.put("ct_tp_dst", Field::CtTpDst)
    }

    /// What the transport header says, or the message that stands in its place.
    fn put_transport(&mut self, eth_type: Option<u16>, nw_proto: Option<u8>) -> fmt::Result {
        let v6 = eth_type == Some(ethernet::IPV6) && nw_proto == Some(icmp::PROTO_V6);
        let v4 = eth_type == Some(ethernet::IPV4) && nw_proto == Some(icmp::PROTO);
        if v4 || v6 {
            self.put("icmp_type", Field::IcmpType)?;
            self.put("icmp_code", Field::IcmpCode)?;
            let kind = self.matching.key().word(Field::IcmpType.span());
            if v6 && [nd::SOLICITATION, nd::ADVERTISEMENT].map(u64::from).contains(&kind) {
                self.put("nd_target", Field::NdTarget)?;
                self.put("nd_sll", Field::NdSll)?;
                self.put("nd_tll", Field::NdTll)?;
            }
            return Ok(());
        }
        let [src, dst] = self.matching.ranges();
        for (name, range, field) in [("tp_src", src, Field::TcpSrc), ("tp_dst", dst, Field::TcpDst)]
        {
            match range {
                Some(range) => {
                    self.list.item(format_args!("{name}={}-{}", range.first, range.last))?;
                }
                None => self.put(name, field)?,
            }
        }
        self.put("tcp_flags", Field::TcpFlags)
    }

    /// The tag by the words for its parts where they say it all, else as its 16 bits.
    fn put_vlan(&mut self) -> fmt::Result {
        let half = |key: &Key| u16::try_from(key.word(Key::VLAN_TCI)).unwrap_or(0);
        let (tci, mask) = (half(self.matching.key()), half(self.matching.mask()));
        let (vid, pcp) = (mask & vlan::VID, mask & vlan::PCP);
        let tagged = mask & tci & vlan::PRESENT != 0;
        let whole = [0, vlan::VID].contains(&vid) && [0, vlan::PCP].contains(&pcp);
        match mask {
            0 => Ok(()),
            _ if tagged && whole && vid | pcp != 0 => {
                if vid != 0 {
                    self.list.item(format_args!("dl_vlan={}", tci & vlan::VID))?;
                }
                if pcp == 0 {
                    return Ok(());
                }
                self.list.item(format_args!("dl_vlan_pcp={}", tci >> 13))
            }
            // No tag: OpenFlow 1.0 says it without a mask.
            0x1fff if tci == 0 && self.style.is_old() => {
                self.list.item(format_args!("vlan_tci=0x0000"))
            }
            0xffff => self.list.item(format_args!("vlan_tci={tci:#06x}")),
            _ => self.list.item(format_args!("vlan_tci={tci:#06x}/{mask:#06x}")),
        }
    }
}
