//! Flows as values.

use packet::{Key, ethernet, icmp, tcp, udp, vlan};

use crate::action::Action;
use crate::field::{Field, Needs};

/// The number of a table, 0 to 253.
pub type TableId = u8;

/// What is done to the table.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Command {
    /// Adds a flow; one with the same match and priority is replaced.
    #[default]
    Add,
    /// Gives the flows that the match covers new actions.
    Modify,
    /// As `Modify`, for the one flow of exactly this match and priority.
    ModifyStrict,
    /// Removes the flows that the match covers.
    Delete,
    /// As `Delete`, for the one flow of exactly this match and priority.
    DeleteStrict,
}

/// Flags of a flow (OpenFlow 1.5 §7.3.4.2).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are OpenFlow's")]
pub struct FlowFlags {
    pub send_flow_rem: bool,
    pub check_overlap: bool,
    pub reset_counts: bool,
    pub no_packet_counts: bool,
    pub no_byte_counts: bool,
}

/// A field was matched or written without what announces it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{field}` needs `{needs}` to be matched first")]
pub struct Prerequisite {
    /// The field's name.
    pub field: &'static str,
    /// A word that would match what is missing.
    pub needs: &'static str,
}

/// Which packets a flow is for.
///
/// # Invariants
/// 1. `key` is zero wherever `mask` is.
/// 2. Every field that is matched has its prerequisites matched, exactly.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Match {
    key: Key,
    mask: Key,
}

impl Match {
    /// Every packet.
    pub const ANY: Self = Self { key: Key::ZERO, mask: Key::ZERO };

    /// The match with these parts, which must come from a match: for who stores them apart.
    pub fn from_parts(key: Key, mask: Key) -> Self {
        Self { key: key & mask, mask }
    }

    /// The values that are matched; zero where nothing is.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The bits that are matched.
    pub const fn mask(&self) -> &Key {
        &self.mask
    }

    /// Also matches `field` under `mask` (both at their place in the field), in place of what was said
    /// of these bits before; a `mask` of zero wildcards all of the field again.
    pub fn set(&mut self, field: Field, value: u128, mask: u128) -> Result<(), Prerequisite> {
        let mask = mask & field.ones();
        if mask != 0 {
            self.require(field)?;
        }
        let (span, ones) = (field.span(), field.ones());
        self.mask.set(span, self.mask.get(span) & !ones | mask);
        self.key.set(span, self.key.get(span) & !ones | value & mask);
        Ok(())
    }

    /// Whether `field` may be matched or written by a flow with this match.
    pub fn require(&self, field: Field) -> Result<(), Prerequisite> {
        match self.missing(field.needs()) {
            None => Ok(()),
            Some(needs) => Err(Prerequisite { field: field.name(), needs }),
        }
    }

    /// A word that would match what `needs` asks for, unless it is matched already.
    pub fn missing(&self, needs: Needs) -> Option<&'static str> {
        let (v4, v6) = (self.is_type(ethernet::IPV4), self.is_type(ethernet::IPV6));
        let proto = |number: u8| self.is_exactly(Field::IpProto, number.into());
        let transport = |number, word| {
            if (v4 || v6) && proto(number) { None } else { Some(word) }
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
            Needs::Icmp => (!v4 || !proto(icmp::PROTO)).then_some("icmp"),
            Needs::Icmpv6 => (!v6 || !proto(icmp::PROTO_V6)).then_some("icmp6"),
        }
    }

    /// Whether only packets with a VLAN tag match.
    pub fn has_tag(&self) -> bool {
        self.key.word(Key::VLAN_TCI) & u64::from(vlan::PRESENT) != 0
    }

    /// Whether only packets without a VLAN tag match.
    pub fn has_no_tag(&self) -> bool {
        let present = u64::from(vlan::PRESENT);
        self.mask.word(Key::VLAN_TCI) & present != 0 && self.key.word(Key::VLAN_TCI) & present == 0
    }

    /// The Ethertype that is matched, if one is.
    pub fn eth_type(&self) -> Option<u16> {
        let matched = self.mask.word(Key::ETH_TYPE) == 0xffff;
        matched.then(|| u16::try_from(self.key.word(Key::ETH_TYPE)).unwrap_or(0))
    }

    /// The IP protocol (or ARP operation) that is matched, if one is.
    pub fn nw_proto(&self) -> Option<u8> {
        let matched = self.mask.word(Key::NW_PROTO) == 0xff;
        matched.then(|| u8::try_from(self.key.word(Key::NW_PROTO)).unwrap_or(0))
    }

    fn is_type(&self, ethertype: u16) -> bool {
        self.eth_type() == Some(ethertype)
    }

    fn is_arp(&self) -> bool {
        self.is_type(ethernet::ARP) || self.is_type(ethernet::RARP)
    }

    fn is_exactly(&self, field: Field, value: u128) -> bool {
        self.mask.get(field.span()) == field.ones() && self.key.get(field.span()) == value
    }

    /// Whether a packet with this key matches.
    pub fn covers(&self, key: &Key) -> bool {
        key.matches(&self.key, &self.mask)
    }

    /// Whether every packet that `other` is for is also one this is for: OpenFlow's loose comparison.
    pub fn contains(&self, other: &Self) -> bool {
        let wider = self.mask.words().iter().zip(other.mask.words()).all(|(a, b)| a & !b == 0);
        wider && other.key.matches(&self.key, &self.mask)
    }

    /// Whether some packet could match both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.key.matches(&other.key, &(self.mask & other.mask))
    }
}

/// A change to a table: what `add-flow` and `del-flows` send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlowMod {
    /// What is done.
    pub command: Command,
    /// In which table; `None` is all of them, which only deleting allows.
    pub table: Option<TableId>,
    /// 0 to 65535, 32768 unless said.
    pub priority: u16,
    /// For which packets.
    pub matching: Match,
    /// The flow's new cookie.
    pub cookie: Option<u64>,
    /// Only flows whose cookie is `.0` under the mask `.1`: for modifying, deleting and dumping.
    pub cookie_filter: Option<(u64, u64)>,
    /// Seconds without a packet after which the flow goes; 0 is never.
    pub idle_timeout: u16,
    /// Seconds after which the flow goes; 0 is never.
    pub hard_timeout: u16,
    /// Kept for the day a full table evicts by it.
    pub importance: u16,
    /// Flags.
    pub flags: FlowFlags,
    /// Only flows that output to this port: for deleting and dumping.
    pub out_port: Option<u16>,
    /// What the flow does; `None` where the command has no use for it.
    pub actions: Option<Vec<Action>>,
}

impl FlowMod {
    /// The priority of a flow that names none.
    pub const DEFAULT_PRIORITY: u16 = 0x8000;
    /// The highest number of a table.
    pub const MAX_TABLE: TableId = 253;
}

impl Default for FlowMod {
    /// Adds a flow to table 0 that drops everything.
    fn default() -> Self {
        Self {
            command: Command::Add,
            table: Some(0),
            priority: Self::DEFAULT_PRIORITY,
            matching: Match::ANY,
            cookie: None,
            cookie_filter: None,
            idle_timeout: 0,
            hard_timeout: 0,
            importance: 0,
            flags: FlowFlags::default(),
            out_port: None,
            actions: None,
        }
    }
}
