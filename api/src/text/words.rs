//! The vocabulary: words that stand for a field or a protocol, words OVS knows and we do not, and
//! the word that was perhaps meant.

use packet::{ethernet, icmp, tcp, udp};

use super::error::FlowError;
use super::part::Part;
use crate::field::Field;
use crate::flow::Match;

/// IP protocol of SCTP.
pub(super) const SCTP: u8 = 132;

/// The protocols that a word alone matches, with their Ethertype and IP protocol. Of the words for
/// one protocol the first is the one in output.
const PROTOCOLS: [(&str, u16, Option<u8>); 17] = [
    ("ip", ethernet::IPV4, None),
    ("ipv4", ethernet::IPV4, None),
    ("ip4", ethernet::IPV4, None),
    ("icmp", ethernet::IPV4, Some(icmp::PROTO)),
    ("tcp", ethernet::IPV4, Some(tcp::PROTO)),
    ("udp", ethernet::IPV4, Some(udp::PROTO)),
    ("sctp", ethernet::IPV4, Some(SCTP)),
    ("ipv6", ethernet::IPV6, None),
    ("ip6", ethernet::IPV6, None),
    ("icmp6", ethernet::IPV6, Some(icmp::PROTO_V6)),
    ("tcp6", ethernet::IPV6, Some(tcp::PROTO)),
    ("udp6", ethernet::IPV6, Some(udp::PROTO)),
    ("sctp6", ethernet::IPV6, Some(SCTP)),
    ("arp", ethernet::ARP, None),
    ("rarp", ethernet::RARP, None),
    ("mpls", 0x8847, None),
    ("mplsm", 0x8848, None),
];

/// The Ethertype and the IP protocol that a word stands for.
pub(super) fn protocol(word: &str) -> Option<(u16, Option<u8>)> {
    let known = PROTOCOLS.iter().find(|(name, ..)| *name == word)?;
    Some((known.1, known.2))
}

/// The word for an Ethertype and an IP protocol.
pub(super) fn protocol_name(eth_type: u16, nw_proto: Option<u8>) -> Option<&'static str> {
    let known = PROTOCOLS.iter().find(|known| (known.1, known.2) == (eth_type, nw_proto))?;
    Some(known.0)
}

/// A word that names a field, perhaps not the same one in every match.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FieldWord {
    field: Field,
    /// It is `tp_src` or `tp_dst`, and `field` the one of TCP.
    generic: bool,
}

/// What a word says if it names a field. Case counts.
pub(super) fn field(word: &str) -> Option<FieldWord> {
    match word {
        "tp_src" => Some(FieldWord { field: Field::TcpSrc, generic: true }),
        "tp_dst" => Some(FieldWord { field: Field::TcpDst, generic: true }),
        _ => Field::from_name(word).map(FieldWord::of),
    }
}

impl FieldWord {
    /// What this field's own name says.
    pub(super) const fn of(field: Field) -> Self {
        Self { field, generic: false }
    }

    /// The field itself, or any of those it may stand for: they lie at the same place.
    pub(super) fn any(self) -> Field {
        self.field
    }

    /// The field that it stands for in the actions of a flow with this match.
    pub(super) fn meant(self, matching: &Match) -> Field {
        match (self.field, matching.nw_proto()) {
            (Field::TcpSrc, Some(udp::PROTO)) if self.generic => Field::UdpSrc,
            (Field::TcpDst, Some(udp::PROTO)) if self.generic => Field::UdpDst,
            (Field::TcpSrc, Some(SCTP)) if self.generic => Field::SctpSrc,
            (Field::TcpDst, Some(SCTP)) if self.generic => Field::SctpDst,
            (field, _) => field,
        }
    }

    /// The field that it stands for within this match, where OVS is more liberal.
    pub(super) fn matched(self, matching: &Match) -> Field {
        let arp = matches!(matching.eth_type(), Some(ethernet::ARP | ethernet::RARP));
        let v6 = matching.eth_type() == Some(ethernet::IPV6);
        match self.meant(matching) {
            Field::IpSrc if arp => Field::ArpSpa,
            Field::IpDst if arp => Field::ArpTpa,
            Field::IpProto if arp => Field::ArpOp,
            Field::IcmpType if v6 => Field::Icmpv6Type,
            Field::IcmpCode if v6 => Field::Icmpv6Code,
            Field::Icmpv6Type if !v6 => Field::IcmpType,
            Field::Icmpv6Code if !v6 => Field::IcmpCode,
            field => field,
        }
    }
}

/// The words for actions, besides ports.
pub(super) const ACTIONS: [&str; 57] = [
    "output",
    "drop",
    "controller",
    "enqueue",
    "group",
    "resubmit",
    "clone",
    "bundle",
    "bundle_load",
    "multipath",
    "set_field",
    "load",
    "move",
    "push",
    "pop",
    "push_vlan",
    "pop_vlan",
    "strip_vlan",
    "mod_vlan_vid",
    "mod_vlan_pcp",
    "set_vlan_vid",
    "set_vlan_pcp",
    "mod_dl_src",
    "mod_dl_dst",
    "mod_nw_src",
    "mod_nw_dst",
    "mod_nw_tos",
    "mod_nw_ecn",
    "mod_nw_ttl",
    "set_nw_ttl",
    "mod_tp_src",
    "mod_tp_dst",
    "set_tunnel",
    "set_tunnel64",
    "dec_ttl",
    "check_pkt_larger",
    "ct",
    "ct_clear",
    "set_queue",
    "pop_queue",
    "learn",
    "fin_timeout",
    "conjunction",
    "note",
    "sample",
    "exit",
    "meter",
    "clear_actions",
    "write_actions",
    "write_metadata",
    "goto_table",
    "normal",
    "flood",
    "all",
    "local",
    "in_port",
    "table",
];

/// Words of a flow that are neither fields nor protocols.
pub(super) const ATTRIBUTES: [&str; 14] = [
    "table",
    "priority",
    "cookie",
    "idle_timeout",
    "hard_timeout",
    "importance",
    "send_flow_rem",
    "check_overlap",
    "reset_counts",
    "no_packet_counts",
    "no_byte_counts",
    "out_port",
    "out_group",
    "actions",
];

/// Whether OVS has an action of this name, in lower case, that we have not.
pub(super) fn is_unsupported_action(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "apply_actions",
        "debug_recirc",
        "debug_slow",
        "dec_mpls_ttl",
        "dec_nsh_ttl",
        "decap",
        "delete_field",
        "encap",
        "pop_mpls",
        "push_mpls",
        "set_mpls_label",
        "set_mpls_tc",
        "set_mpls_ttl",
        "unroll_xlate",
    ];
    NAMES.contains(&name)
}

/// Whether OVS has a field of this name that we have not.
fn is_unsupported_field(name: &str) -> bool {
    const NAMES: [&str; 15] = [
        "actset_output",
        "dl_vlan1",
        "dp_hash",
        "igmp",
        "in_port_oxm",
        "mpls_bos",
        "mpls_label",
        "mpls_tc",
        "mpls_ttl",
        "nd_options_type",
        "nd_reserved",
        "nsi",
        "nsp",
        "recirc_id",
        "skb_priority",
    ];
    NAMES.contains(&name) || ["tun_", "nsh_"].iter().any(|prefix| name.starts_with(prefix))
}

/// Says that a name is none of a field, and whether it will be one.
pub(super) fn unknown_field(name: Part<'_>) -> FlowError {
    not_yet(name).unwrap_or_else(|| unknown(name, "field", field_names()))
}

/// Says that a word of a match is unknown, and whether it will be known; `others` may stand there
/// too.
pub(super) fn unknown_word(word: Part<'_>, others: &[&'static str]) -> FlowError {
    let protocols = PROTOCOLS.iter().map(|(name, ..)| *name);
    let known = field_names().chain(["dl_vlan"]).chain(protocols).chain(others.iter().copied());
    not_yet(word).unwrap_or_else(|| unknown(word, "word", known))
}

/// Says that a name will be a field's.
pub(super) fn not_yet(name: Part<'_>) -> Option<FlowError> {
    let unsupported = is_unsupported_field(name.text);
    unsupported.then(|| FlowError::Unsupported { at: name.at(), word: name.short() })
}

/// The names of fields, as they are suggested.
pub(super) fn field_names() -> impl Iterator<Item = &'static str> {
    Field::all()
        .map(Field::name)
        .chain(["tp_src", "tp_dst", "nw_src", "nw_dst", "dl_src", "dl_dst"])
}

/// Says that a word is unknown, and which of `known` was perhaps meant.
pub(super) fn unknown(
    word: Part<'_>,
    kind: &'static str,
    known: impl Iterator<Item = &'static str>,
) -> FlowError {
    // Longer than any word of ours; comparing takes time in proportion to the length.
    const LIMIT: usize = 32;
    let text = if word.text.len() <= LIMIT { word.text } else { "" };
    let distance =
        |name: &'static str| (strsim::osa_distance(&text.to_ascii_lowercase(), name), name);
    let nearest = known.map(distance).min_by_key(|(distance, _)| *distance);
    let similar = nearest.filter(|(distance, _)| *distance <= text.len() / 3).map(|(_, name)| name);
    FlowError::Unknown { at: word.at(), kind, word: word.short(), similar }
}
