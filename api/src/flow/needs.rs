//! What must be matched before a field can be: prerequisites.

use packet::{Key, Span, ethernet, icmp, nd, tcp, udp};

use super::{Match, PORTS};
use crate::ct::ct_state;
use crate::field::{Field, Needs};

/// A field was matched or written without what announces it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{field}` needs `{needs}` to be matched first")]
pub struct Prerequisite {
    /// The field's name.
    pub field: &'static str,
    /// A word that would match what is missing.
    pub needs: &'static str,
}

/// What other fields need.
pub(super) const ANNOUNCING: [Span; 8] = [
    Key::ETH_TYPE,
    Key::NW_PROTO,
    Key::NW_FRAG,
    Key::VLAN_TCI,
    Key::TP_SRC,
    Key::TP_DST,
    Key::CT_STATE,
    Key::CT_NW_PROTO,
];

impl Match {
    /// A field that is matched without its prerequisites, if there is one.
    pub(crate) fn unmet(&self) -> Option<Prerequisite> {
        let mut unexplained = self.mask;
        for (range, span) in self.ranges.into_iter().zip(PORTS) {
            if range.is_some() {
                unexplained.set_all(span);
            }
        }
        for field in Field::all().filter(|field| self.missing(field.needs()).is_none()) {
            unexplained.set(field.span(), 0u8);
        }
        let field = Field::all().find(|field| unexplained.get(field.span()) != 0)?;
        self.require(field).err()
    }

    /// Whether `field` may be matched or written by a flow with this match.
    pub fn require(&self, field: Field) -> Result<(), Prerequisite> {
        match self.missing(field.needs()) {
            None => Ok(()),
            Some(needs) => Err(Prerequisite { field: field.name(), needs }),
        }
    }

    /// A word that would match what `needs` asks for, unless it is matched already. Later fragments
    /// have no transport header.
    pub fn missing(&self, needs: Needs) -> Option<&'static str> {
        let (v4, v6) = (self.is_type(ethernet::IPV4), self.is_type(ethernet::IPV6));
        let proto = |number: u8| self.is_exactly(Field::IpProto, number.into());
        let later = self.key.word(Key::NW_FRAG) & 2 != 0;
        let transport = |number, word| match (v4 || v6) && proto(number) {
            true if later => Some("nw_frag=not_later"),
            true => None,
            false => Some(word),
        };
        match needs {
            Needs::Nothing => None,
            Needs::Vlan => (!self.has_tag()).then_some("dl_vlan"),
            Needs::Arp => (!self.is_arp()).then_some("arp"),
            Needs::Ipv4 => (!v4).then_some("ip"),
            Needs::Ipv6 => (!v6).then_some("ipv6"),
            Needs::Ip => (!v4 && !v6).then_some("ip"),
            Needs::Tcp => transport(tcp::PROTO, "tcp"),
            Needs::Udp => transport(udp::PROTO, "udp"),
            Needs::Sctp => transport(132, "sctp"),
            Needs::Icmp if !v4 => Some("icmp"),
            Needs::Icmp => transport(icmp::PROTO, "icmp"),
            Needs::Icmpv6 if !v6 => Some("icmp6"),
            Needs::Icmpv6 => transport(icmp::PROTO_V6, "icmp6"),
            Needs::Nd | Needs::NdSolicitation | Needs::NdAdvertisement if !v6 => Some("icmp6"),
            Needs::Nd => transport(icmp::PROTO_V6, "icmp6").or_else(|| {
                let kinds = [nd::SOLICITATION, nd::ADVERTISEMENT];
                (!kinds.into_iter().any(|kind| self.is_neighbour(kind)))
                    .then_some("icmp_type=135 or 136")
            }),
            Needs::NdSolicitation => transport(icmp::PROTO_V6, "icmp6")
                .or_else(|| (!self.is_neighbour(nd::SOLICITATION)).then_some("icmp_type=135")),
            Needs::NdAdvertisement => transport(icmp::PROTO_V6, "icmp6")
                .or_else(|| (!self.is_neighbour(nd::ADVERTISEMENT)).then_some("icmp_type=136")),
            Needs::Ct => (!self.has_connection()).then_some("ct_state=+trk-inv"),
            Needs::CtIpv4 => self.missing(Needs::Ct).or_else(|| self.missing(Needs::Ipv4)),
            Needs::CtIpv6 => self.missing(Needs::Ct).or_else(|| self.missing(Needs::Ipv6)),
            Needs::CtPorts => self
                .missing(Needs::Ct)
                .or_else(|| (self.mask.word(Key::CT_NW_PROTO) == 0).then_some("ct_nw_proto")),
        }
    }

    /// Whether what is matched rules out what `needs` asks for, rather than leaving it open. Where a
    /// connection is missing OVS is as strict.
    pub(crate) fn rules_out(&self, needs: Needs) -> bool {
        const V4: &[u16] = &[ethernet::IPV4];
        const V6: &[u16] = &[ethernet::IPV6];
        const IP: &[u16] = &[ethernet::IPV4, ethernet::IPV6];
        const ARP: &[u16] = &[ethernet::ARP, ethernet::RARP];
        let (types, proto) = match needs {
            Needs::Nothing => return false,
            Needs::Vlan => return self.has_no_tag(),
            Needs::Arp => (ARP, None),
            Needs::Ipv4 => (V4, None),
            Needs::Ipv6 => (V6, None),
            Needs::Ip => (IP, None),
            Needs::Tcp => (IP, Some(tcp::PROTO)),
            Needs::Udp => (IP, Some(udp::PROTO)),
            Needs::Sctp => (IP, Some(132)),
            Needs::Icmp => (V4, Some(icmp::PROTO)),
            Needs::Icmpv6 | Needs::Nd | Needs::NdSolicitation | Needs::NdAdvertisement => {
                (V6, Some(icmp::PROTO_V6))
            }
            Needs::Ct | Needs::CtIpv4 | Needs::CtIpv6 => return true,
            Needs::CtPorts => return !self.has_connection(),
        };
        let kinds: &[u8] = match needs {
            Needs::Nd => &[nd::SOLICITATION, nd::ADVERTISEMENT],
            Needs::NdSolicitation => &[nd::SOLICITATION],
            Needs::NdAdvertisement => &[nd::ADVERTISEMENT],
            _ => &[],
        };
        let kind_is_given = self.mask.get(Field::Icmpv6Type.span()) != 0;
        self.eth_type().is_some_and(|given| !types.contains(&given))
            || proto.is_some_and(|proto| self.nw_proto().is_some_and(|given| given != proto))
            || proto.is_some() && self.key.word(Key::NW_FRAG) & 2 != 0
            || !kinds.is_empty()
                && kind_is_given
                && !kinds.iter().any(|kind| self.is_neighbour(*kind))
    }

    /// Whether only packets match that belong to a connection.
    fn has_connection(&self) -> bool {
        use ct_state::{DNAT, EST, INV, NEW, REL, RPL, SNAT, TRK};
        let has = |bits: u32| self.key.word(Key::CT_STATE) & u64::from(bits) != 0;
        let inv_is_given = self.mask.word(Key::CT_STATE) & u64::from(INV) != 0;
        has(NEW | EST | REL | RPL | SNAT | DNAT) || has(TRK) && inv_is_given && !has(INV)
    }

    /// Whether only packets match that can belong to no connection.
    pub(crate) fn is_invalid(&self) -> bool {
        self.key.word(Key::CT_STATE) & u64::from(ct_state::INV) != 0
    }

    fn is_type(&self, ethertype: u16) -> bool {
        self.eth_type() == Some(ethertype)
    }

    pub(super) fn is_arp(&self) -> bool {
        self.is_type(ethernet::ARP) || self.is_type(ethernet::RARP)
    }

    /// Whether only messages of this type about neighbours match; their code is 0.
    fn is_neighbour(&self, kind: u8) -> bool {
        self.is_exactly(Field::Icmpv6Type, kind.into())
            && self.key.get(Field::Icmpv6Code.span()) == 0
    }

    fn is_exactly(&self, field: Field, value: u128) -> bool {
        self.mask.get(field.span()) == field.ones() && self.key.get(field.span()) == value
    }
}
