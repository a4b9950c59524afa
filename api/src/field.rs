//! The fields of a flow: one row each, with everything that text, matching and writing need to
//! know.
//!
//! Names, aliases, widths and prerequisites are those of Open vSwitch (`ovs-fields(7)`).

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use packet::{Key, Span};

/// A field that flows match, set, or both. Two fields may share bits: `tcp_src` and `udp_src` lie
/// at the same place and differ in what must be matched first. Their order is that of OVS.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the names say it; the table below says the rest")]
pub enum Field {
    /// Name space and type of what the packet begins with; `(0,0)` is Ethernet.
    PacketType,
    ConjId,
    TunId,
    Metadata,
    InPort,
    PktMark,
    /// What connection tracking has found out: bits of [`crate::ct_state`].
    CtState,
    CtZone,
    CtMark,
    CtLabel,
    /// This and those below: what the packet said that began the connection.
    CtNwProto,
    CtNwSrc,
    CtNwDst,
    CtIpv6Src,
    CtIpv6Dst,
    CtTpSrc,
    CtTpDst,
    /// One of `reg0` to `reg31`.
    Reg(u8),
    /// One of `xreg0` to `xreg15`, each two registers in one.
    Xreg(u8),
    /// One of `xxreg0` to `xxreg7`, each four registers in one.
    Xxreg(u8),
    EthSrc,
    EthDst,
    EthType,
    VlanTci,
    /// The identifier and the bit that says there is a tag: 13 bits.
    VlanVid,
    VlanPcp,
    IpSrc,
    IpDst,
    Ipv6Src,
    Ipv6Dst,
    Ipv6Label,
    IpProto,
    /// The whole TOS byte, of which a match sees the DSCP bits only.
    IpTos,
    IpDscp,
    IpEcn,
    IpTtl,
    IpFrag,
    ArpOp,
    ArpSpa,
    ArpTpa,
    ArpSha,
    ArpTha,
    TcpSrc,
    TcpDst,
    TcpFlags,
    UdpSrc,
    UdpDst,
    SctpSrc,
    SctpDst,
    IcmpType,
    IcmpCode,
    Icmpv6Type,
    Icmpv6Code,
    NdTarget,
    NdSll,
    NdTll,
}

/// How values of a field are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A decimal number; hexadecimal with a mask.
    Decimal,
    /// A hexadecimal number.
    Hex,
    /// Six bytes.
    Ethernet,
    /// A dotted quad.
    Ipv4,
    /// RFC 5952.
    Ipv6,
    /// A port's number, name or reserved name.
    Port,
    /// `no`, `yes`, `first`, `later`, `not_later`.
    Frag,
    /// `+syn-ack` or `syn|ack`.
    Flags(&'static FlagNames),
    /// `(0,0)`.
    PacketType,
}

/// Bits that go by names.
#[derive(Debug, Eq, PartialEq)]
pub struct FlagNames {
    /// The names, from bit 0 on.
    pub names: &'static [&'static str],
    /// The same as a sentence lists them.
    pub list: &'static str,
}

/// The names of some bits, from bit 0 on.
macro_rules! flags {
    ($first:literal, $($other:literal),*) => {
        FlagNames {
            names: &[$first, $($other),*],
            list: concat!($first, $(", ", $other),*),
        }
    };
}

static TCP_FLAGS: FlagNames =
    flags!("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]");

pub(crate) static CT_STATES: FlagNames =
    flags!("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat");

/// What must be matched before a field can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A VLAN tag.
    Vlan,
    /// ARP or RARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// IPv4 or IPv6.
    Ip,
    /// TCP over either.
    Tcp,
    /// UDP over either.
    Udp,
    /// SCTP over either.
    Sctp,
    /// ICMP over IPv4.
    Icmp,
    /// ICMPv6 over IPv6.
    Icmpv6,
    /// A neighbour solicitation or advertisement.
    Nd,
    /// A neighbour solicitation.
    NdSolicitation,
    /// A neighbour advertisement.
    NdAdvertisement,
    /// A packet that belongs to a connection, by its `ct_state`.
    Ct,
    /// The same over IPv4.
    CtIpv4,
    /// The same over IPv6.
    CtIpv6,
    /// The same with the IP protocol of the packet that began the connection.
    CtPorts,
}

/// One row of the table.
struct Row {
    /// The name that output uses, then the others that input may.
    names: &'static [&'static str],
    /// The name in references to parts of it (`NXM_OF_ETH_SRC[]`), then the others that input may
    /// use.
    nxm: &'static [&'static str],
    span: Span,
    maskable: bool,
    writable: bool,
    format: Format,
    needs: Needs,
}

const fn row(names: &'static [&'static str], nxm: &'static [&'static str], span: Span) -> Row {
    let (format, needs) = (Hex, Needs::Nothing);
    Row { names, nxm, span, maskable: true, writable: true, format, needs }
}

impl Row {
    const fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }
    /// Matches whole or not at all.
    const fn exact(self) -> Self {
        Self { maskable: false, ..self }
    }
    /// No action writes it.
    const fn read_only(self) -> Self {
        Self { writable: false, ..self }
    }
    const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }
}

use Format::{Decimal, Ethernet, Flags, Frag, Hex, Ipv4, Ipv6, Port};

/// Makes a table of rows, and finds the row of a field without a search: each word of a flow's text
/// asks for it several times.
macro_rules! rows {
    ($($field:ident: $row:expr,)*) => {
        static ROWS: &[(Field, Row)] = &[$((Field::$field, $row)),*];

        /// The places of the rows.
        enum Place { $($field),* }

        impl Field {
            fn row(self) -> &'static Row {
                static REGISTER: Row = row(&[], &[], Key::METADATA);
                match self {
                    $(Self::$field => &ROWS[Place::$field as usize].1,)*
                    Self::Reg(_) | Self::Xreg(_) | Self::Xxreg(_) => &REGISTER,
                }
            }
        }
    };
}

// Every field but the registers.
#[rustfmt::skip]
rows! {
    InPort: row(&["in_port"], &["NXM_OF_IN_PORT"], Key::IN_PORT).format(Port).exact().needs(Needs::Nothing),
    Metadata: row(&["metadata"], &["OXM_OF_METADATA"], Key::METADATA).format(Hex).needs(Needs::Nothing),
    PktMark: row(&["pkt_mark"], &["NXM_NX_PKT_MARK"], Key::PKT_MARK).format(Hex).needs(Needs::Nothing),
    ConjId: row(&["conj_id"], &["NXM_NX_CONJ_ID"], Key::CONJ_ID).format(Decimal).exact().read_only().needs(Needs::Nothing),
    PacketType: row(&["packet_type"], &["OXM_OF_PACKET_TYPE"], Key::PACKET_TYPE).format(Format::PacketType).exact().read_only().needs(Needs::Nothing),
    TunId: row(&["tun_id", "tunnel_id"], &["NXM_NX_TUN_ID", "OXM_OF_TUNNEL_ID"], Key::TUN_ID).format(Hex).needs(Needs::Nothing),
    CtState: row(&["ct_state"], &["NXM_NX_CT_STATE"], Key::CT_STATE).format(Flags(&CT_STATES)).read_only().needs(Needs::Nothing),
    CtZone: row(&["ct_zone"], &["NXM_NX_CT_ZONE"], Key::CT_ZONE).format(Decimal).exact().read_only().needs(Needs::Nothing),
    CtMark: row(&["ct_mark"], &["NXM_NX_CT_MARK"], Key::CT_MARK).format(Hex).read_only().needs(Needs::Nothing),
    CtLabel: row(&["ct_label"], &["NXM_NX_CT_LABEL"], Key::CT_LABEL).format(Hex).read_only().needs(Needs::Nothing),
    CtNwProto: row(&["ct_nw_proto"], &["NXM_NX_CT_NW_PROTO"], Key::CT_NW_PROTO).format(Decimal).exact().read_only().needs(Needs::Ct),
    CtNwSrc: row(&["ct_nw_src"], &["NXM_NX_CT_NW_SRC"], Key::CT_NW_SRC).format(Ipv4).read_only().needs(Needs::CtIpv4),
    CtNwDst: row(&["ct_nw_dst"], &["NXM_NX_CT_NW_DST"], Key::CT_NW_DST).format(Ipv4).read_only().needs(Needs::CtIpv4),
    CtIpv6Src: row(&["ct_ipv6_src"], &["NXM_NX_CT_IPV6_SRC"], Key::CT_IPV6_SRC).format(Ipv6).read_only().needs(Needs::CtIpv6),
    CtIpv6Dst: row(&["ct_ipv6_dst"], &["NXM_NX_CT_IPV6_DST"], Key::CT_IPV6_DST).format(Ipv6).read_only().needs(Needs::CtIpv6),
    CtTpSrc: row(&["ct_tp_src"], &["NXM_NX_CT_TP_SRC"], Key::CT_TP_SRC).format(Decimal).read_only().needs(Needs::CtPorts),
    CtTpDst: row(&["ct_tp_dst"], &["NXM_NX_CT_TP_DST"], Key::CT_TP_DST).format(Decimal).read_only().needs(Needs::CtPorts),
    EthSrc: row(&["eth_src", "dl_src"], &["NXM_OF_ETH_SRC", "OXM_OF_ETH_SRC"], Key::ETH_SRC).format(Ethernet).needs(Needs::Nothing),
    EthDst: row(&["eth_dst", "dl_dst"], &["NXM_OF_ETH_DST", "OXM_OF_ETH_DST"], Key::ETH_DST).format(Ethernet).needs(Needs::Nothing),
    EthType: row(&["eth_type", "dl_type"], &["NXM_OF_ETH_TYPE", "OXM_OF_ETH_TYPE"], Key::ETH_TYPE).format(Hex).exact().read_only().needs(Needs::Nothing),
    VlanTci: row(&["vlan_tci"], &["NXM_OF_VLAN_TCI"], Key::VLAN_TCI).format(Hex).needs(Needs::Nothing),
    VlanVid: row(&["vlan_vid"], &["OXM_OF_VLAN_VID"], Key::VLAN_TCI.slice(0, 13)).format(Decimal).needs(Needs::Nothing),
    VlanPcp: row(&["vlan_pcp", "dl_vlan_pcp"], &["OXM_OF_VLAN_PCP"], Key::VLAN_TCI.slice(13, 3)).format(Decimal).exact().needs(Needs::Vlan),
    IpSrc: row(&["ip_src", "nw_src"], &["NXM_OF_IP_SRC", "OXM_OF_IPV4_SRC"], Key::NW_SRC).format(Ipv4).needs(Needs::Ipv4),
    IpDst: row(&["ip_dst", "nw_dst"], &["NXM_OF_IP_DST", "OXM_OF_IPV4_DST"], Key::NW_DST).format(Ipv4).needs(Needs::Ipv4),
    Ipv6Src: row(&["ipv6_src"], &["NXM_NX_IPV6_SRC", "OXM_OF_IPV6_SRC"], Key::IPV6_SRC).format(Ipv6).needs(Needs::Ipv6),
    Ipv6Dst: row(&["ipv6_dst"], &["NXM_NX_IPV6_DST", "OXM_OF_IPV6_DST"], Key::IPV6_DST).format(Ipv6).needs(Needs::Ipv6),
    Ipv6Label: row(&["ipv6_label"], &["NXM_NX_IPV6_LABEL", "OXM_OF_IPV6_FLABEL"], Key::IPV6_LABEL).format(Hex).needs(Needs::Ipv6),
    IpProto: row(&["nw_proto", "ip_proto"], &["NXM_OF_IP_PROTO", "OXM_OF_IP_PROTO"], Key::NW_PROTO).format(Decimal).exact().read_only().needs(Needs::Ip),
    IpTos: row(&["nw_tos"], &["NXM_OF_IP_TOS"], Key::NW_TOS).format(Decimal).exact().needs(Needs::Ip),
    IpDscp: row(&["ip_dscp"], &["OXM_OF_IP_DSCP"], Key::NW_TOS.slice(2, 6)).format(Decimal).exact().needs(Needs::Ip),
    IpEcn: row(&["nw_ecn", "ip_ecn"], &["NXM_NX_IP_ECN", "OXM_OF_IP_ECN"], Key::NW_TOS.slice(0, 2)).format(Decimal).exact().needs(Needs::Ip),
    IpTtl: row(&["nw_ttl"], &["NXM_NX_IP_TTL"], Key::NW_TTL).format(Decimal).exact().needs(Needs::Ip),
    IpFrag: row(&["ip_frag", "nw_frag"], &["NXM_NX_IP_FRAG"], Key::NW_FRAG.slice(0, 2)).format(Frag).read_only().needs(Needs::Ip),
    ArpOp: row(&["arp_op"], &["NXM_OF_ARP_OP", "OXM_OF_ARP_OP"], Key::NW_PROTO).format(Decimal).exact().needs(Needs::Arp),
    ArpSpa: row(&["arp_spa"], &["NXM_OF_ARP_SPA", "OXM_OF_ARP_SPA"], Key::NW_SRC).format(Ipv4).needs(Needs::Arp),
    ArpTpa: row(&["arp_tpa"], &["NXM_OF_ARP_TPA", "OXM_OF_ARP_TPA"], Key::NW_DST).format(Ipv4).needs(Needs::Arp),
    ArpSha: row(&["arp_sha"], &["NXM_NX_ARP_SHA", "OXM_OF_ARP_SHA"], Key::ARP_SHA).format(Ethernet).needs(Needs::Arp),
    ArpTha: row(&["arp_tha"], &["NXM_NX_ARP_THA", "OXM_OF_ARP_THA"], Key::ARP_THA).format(Ethernet).needs(Needs::Arp),
    TcpSrc: row(&["tcp_src"], &["NXM_OF_TCP_SRC", "OXM_OF_TCP_SRC"], Key::TP_SRC).format(Decimal).needs(Needs::Tcp),
    TcpDst: row(&["tcp_dst"], &["NXM_OF_TCP_DST", "OXM_OF_TCP_DST"], Key::TP_DST).format(Decimal).needs(Needs::Tcp),
    TcpFlags: row(&["tcp_flags"], &["NXM_NX_TCP_FLAGS", "ONFOXM_ET_TCP_FLAGS", "OXM_OF_TCP_FLAGS"], Key::TCP_FLAGS.slice(0, 12)).format(Flags(&TCP_FLAGS)).read_only().needs(Needs::Tcp),
    UdpSrc: row(&["udp_src"], &["NXM_OF_UDP_SRC", "OXM_OF_UDP_SRC"], Key::TP_SRC).format(Decimal).needs(Needs::Udp),
    UdpDst: row(&["udp_dst"], &["NXM_OF_UDP_DST", "OXM_OF_UDP_DST"], Key::TP_DST).format(Decimal).needs(Needs::Udp),
    SctpSrc: row(&["sctp_src"], &["OXM_OF_SCTP_SRC"], Key::TP_SRC).format(Decimal).needs(Needs::Sctp),
    SctpDst: row(&["sctp_dst"], &["OXM_OF_SCTP_DST"], Key::TP_DST).format(Decimal).needs(Needs::Sctp),
    IcmpType: row(&["icmp_type"], &["NXM_OF_ICMP_TYPE", "OXM_OF_ICMPV4_TYPE"], Key::TP_SRC.slice(0, 8)).format(Decimal).exact().needs(Needs::Icmp),
    IcmpCode: row(&["icmp_code"], &["NXM_OF_ICMP_CODE", "OXM_OF_ICMPV4_CODE"], Key::TP_DST.slice(0, 8)).format(Decimal).exact().needs(Needs::Icmp),
    Icmpv6Type: row(&["icmpv6_type"], &["NXM_NX_ICMPV6_TYPE", "OXM_OF_ICMPV6_TYPE"], Key::TP_SRC.slice(0, 8)).format(Decimal).exact().needs(Needs::Icmpv6),
    Icmpv6Code: row(&["icmpv6_code"], &["NXM_NX_ICMPV6_CODE", "OXM_OF_ICMPV6_CODE"], Key::TP_DST.slice(0, 8)).format(Decimal).exact().needs(Needs::Icmpv6),
    NdTarget: row(&["nd_target"], &["NXM_NX_ND_TARGET", "OXM_OF_IPV6_ND_TARGET"], Key::ND_TARGET).format(Ipv6).needs(Needs::Nd),
    NdSll: row(&["nd_sll"], &["NXM_NX_ND_SLL", "OXM_OF_IPV6_ND_SLL"], Key::ARP_SHA).format(Ethernet).needs(Needs::NdSolicitation),
    NdTll: row(&["nd_tll"], &["NXM_NX_ND_TLL", "OXM_OF_IPV6_ND_TLL"], Key::ARP_THA).format(Ethernet).needs(Needs::NdAdvertisement),
}

/// The registers by width, which differ in their number alone.
const REGS: [(&str, &str); Key::REGS] = [
    ("reg0", "NXM_NX_REG0"),
    ("reg1", "NXM_NX_REG1"),
    ("reg2", "NXM_NX_REG2"),
    ("reg3", "NXM_NX_REG3"),
    ("reg4", "NXM_NX_REG4"),
    ("reg5", "NXM_NX_REG5"),
    ("reg6", "NXM_NX_REG6"),
    ("reg7", "NXM_NX_REG7"),
    ("reg8", "NXM_NX_REG8"),
    ("reg9", "NXM_NX_REG9"),
    ("reg10", "NXM_NX_REG10"),
    ("reg11", "NXM_NX_REG11"),
    ("reg12", "NXM_NX_REG12"),
    ("reg13", "NXM_NX_REG13"),
    ("reg14", "NXM_NX_REG14"),
    ("reg15", "NXM_NX_REG15"),
    ("reg16", "NXM_NX_REG16"),
    ("reg17", "NXM_NX_REG17"),
    ("reg18", "NXM_NX_REG18"),
    ("reg19", "NXM_NX_REG19"),
    ("reg20", "NXM_NX_REG20"),
    ("reg21", "NXM_NX_REG21"),
    ("reg22", "NXM_NX_REG22"),
    ("reg23", "NXM_NX_REG23"),
    ("reg24", "NXM_NX_REG24"),
    ("reg25", "NXM_NX_REG25"),
    ("reg26", "NXM_NX_REG26"),
    ("reg27", "NXM_NX_REG27"),
    ("reg28", "NXM_NX_REG28"),
    ("reg29", "NXM_NX_REG29"),
    ("reg30", "NXM_NX_REG30"),
    ("reg31", "NXM_NX_REG31"),
];

const XREGS: [(&str, &str); Key::REGS / 2] = [
    ("xreg0", "OXM_OF_PKT_REG0"),
    ("xreg1", "OXM_OF_PKT_REG1"),
    ("xreg2", "OXM_OF_PKT_REG2"),
    ("xreg3", "OXM_OF_PKT_REG3"),
    ("xreg4", "OXM_OF_PKT_REG4"),
    ("xreg5", "OXM_OF_PKT_REG5"),
    ("xreg6", "OXM_OF_PKT_REG6"),
    ("xreg7", "OXM_OF_PKT_REG7"),
    ("xreg8", "OXM_OF_PKT_REG8"),
    ("xreg9", "OXM_OF_PKT_REG9"),
    ("xreg10", "OXM_OF_PKT_REG10"),
    ("xreg11", "OXM_OF_PKT_REG11"),
    ("xreg12", "OXM_OF_PKT_REG12"),
    ("xreg13", "OXM_OF_PKT_REG13"),
    ("xreg14", "OXM_OF_PKT_REG14"),
    ("xreg15", "OXM_OF_PKT_REG15"),
];

const XXREGS: [(&str, &str); Key::REGS / 4] = [
    ("xxreg0", "NXM_NX_XXREG0"),
    ("xxreg1", "NXM_NX_XXREG1"),
    ("xxreg2", "NXM_NX_XXREG2"),
    ("xxreg3", "NXM_NX_XXREG3"),
    ("xxreg4", "NXM_NX_XXREG4"),
    ("xxreg5", "NXM_NX_XXREG5"),
    ("xxreg6", "NXM_NX_XXREG6"),
    ("xxreg7", "NXM_NX_XXREG7"),
];

impl Field {
    /// Every field there is; the views of several registers in one come last.
    pub fn all() -> impl Iterator<Item = Self> {
        let numbers = |count: usize| (0..count).filter_map(|n| u8::try_from(n).ok());
        let rows = ROWS.iter().map(|(field, _)| *field);
        rows.chain(numbers(REGS.len()).map(Self::Reg))
            .chain(numbers(XREGS.len()).map(Self::Xreg))
            .chain(numbers(XXREGS.len()).map(Self::Xxreg))
    }

    /// The field of this name, such as `nw_src`, `eth_src` or `reg3`. Case counts.
    pub fn from_name(name: &str) -> Option<Self> {
        static KNOWN: LazyLock<Names> = LazyLock::new(|| names(|row| row.names, |(name, _)| name));
        KNOWN.get(name).copied()
    }

    /// The field of this NXM or OXM name, such as `NXM_OF_IP_SRC`. Case counts.
    pub fn from_nxm_name(name: &str) -> Option<Self> {
        static KNOWN: LazyLock<Names> = LazyLock::new(|| names(|row| row.nxm, |(_, nxm)| nxm));
        KNOWN.get(name).copied()
    }

    /// The name it has in output.
    pub fn name(self) -> &'static str {
        self.register_names().map_or_else(|| self.row().names[0], |(name, _)| name)
    }

    /// The name it has in output of references to parts of it.
    pub fn nxm_name(self) -> &'static str {
        self.register_names().map_or_else(|| self.row().nxm[0], |(_, nxm)| nxm)
    }

    fn register_names(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Reg(n) => REGS.get(usize::from(n)).copied(),
            Self::Xreg(n) => XREGS.get(usize::from(n)).copied(),
            Self::Xxreg(n) => XXREGS.get(usize::from(n)).copied(),
            _ => None,
        }
    }

    /// Where it lies in the key.
    pub fn span(self) -> Span {
        match self {
            Self::Reg(n) => Key::reg(n.into()),
            Self::Xreg(n) => Key::xreg(n.into()),
            Self::Xxreg(n) => Key::xxreg(n.into()),
            _ => self.row().span,
        }
    }

    /// Whether it belongs to the pipeline alone: no packet says it.
    pub fn is_scratch(self) -> bool {
        matches!(
            self,
            Self::Reg(_) | Self::Xreg(_) | Self::Xxreg(_) | Self::Metadata | Self::PktMark
        ) || matches!(self, Self::ConjId | Self::TunId | Self::PacketType)
            || self.is_ct()
    }

    /// Whether connection tracking says it.
    pub fn is_ct(self) -> bool {
        (Self::CtState..=Self::CtTpDst).contains(&self)
    }

    /// Whether it is kept with a connection: `ct(exec(...))` writes it, and no other action.
    pub fn is_of_connection(self) -> bool {
        matches!(self, Self::CtMark | Self::CtLabel)
    }

    /// Whether it is several registers in one.
    pub fn is_view(self) -> bool {
        matches!(self, Self::Xreg(_) | Self::Xxreg(_))
    }

    /// The bits of it that count: all, but for the ECN bits of `nw_tos` and those of `ct_state` that
    /// have no name.
    pub fn ones(self) -> u128 {
        match self {
            Self::IpTos => 0xfc,
            Self::CtState => 0xff,
            _ => self.span().ones(),
        }
    }

    /// How many bits OVS says it has, which is what `FIELD[]` means in an action. Two differ from
    /// [`Field::span`]: `vlan_vid` is written without its presence bit, and of the 16 bits of
    /// `arp_op` a key holds 8.
    pub fn width(self) -> u8 {
        match self {
            Self::VlanVid => 12,
            Self::ArpOp => 16,
            _ => self.span().bits(),
        }
    }

    /// Whether a match may cover part of it.
    pub fn is_maskable(self) -> bool {
        self.row().maskable
    }

    /// Whether actions may write it, those in `ct(exec(...))` aside.
    pub fn is_writable(self) -> bool {
        self.row().writable
    }

    /// How its values are written.
    pub fn format(self) -> Format {
        self.row().format
    }

    /// What must be matched before it can be.
    pub fn needs(self) -> Needs {
        self.row().needs
    }
}

/// What each name stands for.
type Names = HashMap<&'static str, Field>;

/// The names that `of_row` and `of_register` pick.
fn names(
    of_row: impl Fn(&Row) -> &'static [&'static str],
    of_register: impl Fn((&'static str, &'static str)) -> &'static str,
) -> Names {
    let named =
        |(field, row): &'static (Field, Row)| of_row(row).iter().map(|name| (*name, *field));
    let rows = ROWS.iter().flat_map(named);
    let registers = Field::all().filter_map(|field| {
        let names = field.register_names()?;
        Some((of_register(names), field))
    });
    rows.chain(registers).collect()
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back() {
        let mut fields = 0;
        for field in Field::all() {
            assert_eq!(Field::from_name(field.name()), Some(field));
            assert_eq!(Field::from_nxm_name(field.nxm_name()), Some(field));
            fields += 1;
        }
        assert_eq!(fields, ROWS.len() + 32 + 16 + 8);
    }

    #[test]
    fn no_name_is_taken_twice() {
        let mut names: Vec<_> =
            ROWS.iter().flat_map(|(_, row)| row.names.iter().chain(row.nxm)).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
