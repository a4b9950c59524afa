//! Flows as values.

mod needs;

pub use needs::Prerequisite;

use packet::{Key, Span, vlan};

use crate::action::{Action, Subfield};
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

/// Which packets a flow is for.
///
/// # Invariants
/// 1. `key` is zero wherever `mask` is.
/// 2. Every field that is matched has its prerequisites matched, exactly.
/// 3. What can be said with several masks is said with one: packets without a tag are matched
///    without regard to the priority they do not have, and fragments by as few of their two bits as
///    will do.
/// 4. A port that is matched by a range is not matched by `mask`; the range is neither one port nor
///    all of them.
/// 5. That a packet begins with Ethernet is not matched, because all of them do.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Match {
    key: Key,
    mask: Key,
    /// Source and destination port, where a range of them is matched.
    ranges: [Option<PortRange>; 2],
}

/// Transport ports from one to another: `tp_dst=80-95`, which is a syntax of our own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest, not below the lowest.
    pub last: u16,
}

impl PortRange {
    const ALL: Self = Self { first: 0, last: u16::MAX };

    /// Whether a port lies in it.
    pub const fn has(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// The two fields of which ranges can be matched.
const PORTS: [Span; 2] = [Key::TP_SRC, Key::TP_DST];

impl Match {
    /// Every packet.
    pub const ANY: Self = Self { key: Key::ZERO, mask: Key::ZERO, ranges: [None; 2] };

    /// The match with these parts, which must come from a match: for who stores them apart.
    pub fn from_parts(key: Key, mask: Key) -> Self {
        Self { key: key & mask, mask, ranges: [None; 2] }
    }

    /// The match of these bits, whose prerequisites have been seen to: for who puts one together.
    pub fn from_bits(key: Key, mask: Key) -> Self {
        let mut matching = Self::from_parts(key, mask);
        matching.normalise();
        matching
    }

    /// The same with these ranges of source and destination ports, which must come from a match.
    #[must_use]
    pub const fn with_ranges(self, ranges: [Option<PortRange>; 2]) -> Self {
        Self { ranges, ..self }
    }

    /// The ranges of source and destination ports that are matched.
    pub const fn ranges(&self) -> [Option<PortRange>; 2] {
        self.ranges
    }

    /// Also matches ports in a range, in place of what was said of that port before; all of them
    /// wildcard it, and a single one is matched as such. It is left to the caller to see in the end
    /// that all prerequisites are met.
    ///
    /// # Panics
    /// If `field` is no port of TCP, UDP or SCTP.
    pub(crate) fn put_range(&mut self, field: Field, range: PortRange) {
        let at = PORTS.iter().position(|span| *span == field.span());
        assert!(at.is_some(), "{field} has no ranges");
        if range.first == range.last {
            return self.put(field, range.first.into(), field.ones());
        }
        self.put(field, 0, 0);
        if let Some(at) = at {
            self.ranges[at] = Some(range).filter(|range| *range != PortRange::ALL);
        }
    }

    /// The values that are matched; zero where nothing is.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The bits that are matched.
    pub const fn mask(&self) -> &Key {
        &self.mask
    }

    /// What all of `fields` say, each with its value and its mask at their place in the field; the
    /// order matters only between those of the same bits, where the last wins.
    pub fn from_fields(
        fields: impl IntoIterator<Item = (Field, u128, u128)>,
    ) -> Result<Self, Prerequisite> {
        let mut matching = Self::ANY;
        for (field, value, mask) in fields {
            matching.put(field, value, mask);
        }
        matching.unmet().map_or(Ok(matching), Err)
    }

    /// The packets with exactly this key: every field that such a packet has, and of the pipeline's
    /// own those that are not zero.
    pub fn exactly(key: &Key) -> Self {
        let mut matching = Self { key: *key, ..Self::ANY };
        // The two that announce others come first, so that the others can be told by them.
        matching.mask.set_all(Key::ETH_TYPE);
        if matching.is_arp() || matching.missing(Needs::Ip).is_none() {
            matching.mask.set_all(Key::NW_PROTO);
        }
        for field in Field::all().filter(|field| !field.is_view()) {
            let is_there = !field.is_scratch() || key.get(field.span()) != 0;
            if is_there && matching.missing(field.needs()).is_none() {
                matching.match_all(field);
            }
        }
        matching = Self::from_parts(*key, matching.mask);
        matching.normalise();
        matching
    }

    /// What the pipeline itself knows of a packet with this key, as far as it is not zero; of one
    /// that was tracked also the Ethertype, if the key has it, which says what its addresses are.
    pub fn scratch(key: &Key) -> Self {
        let mut matching = Self { key: *key, ..Self::ANY };
        if key.word(Key::CT_STATE) != 0 && key.word(Key::ETH_TYPE) != 0 {
            matching.mask.set_all(Key::ETH_TYPE);
        }
        for field in Field::all().filter(|field| field.is_scratch() && !field.is_view()) {
            if key.get(field.span()) != 0 && matching.missing(field.needs()).is_none() {
                matching.match_all(field);
            }
        }
        Self::from_parts(*key, matching.mask)
    }

    /// Also matches every bit of `field` that counts, whose value is in the key.
    fn match_all(&mut self, field: Field) {
        let span = field.span();
        self.mask.set(span, self.mask.get(span) | field.ones());
    }

    /// Also matches `field` under `mask` (both at their place in the field), in place of what was
    /// said of these bits before; a `mask` of zero wildcards all of the field again. An error
    /// leaves the match as it was.
    pub fn set(&mut self, field: Field, value: u128, mask: u128) -> Result<(), Prerequisite> {
        if mask & field.ones() != 0 {
            self.require(field)?;
        }
        let before = *self;
        self.put(field, value, mask);
        // Only what other fields need can take something away from them.
        if needs::ANNOUNCING.iter().any(|span| !self.same_mask_and_key(&before, *span))
            && let Some(unmet) = self.unmet()
        {
            *self = before;
            return Err(unmet);
        }
        Ok(())
    }

    /// As [`Match::set`], but leaves it to the caller to see in the end that all prerequisites are
    /// met.
    pub(crate) fn put(&mut self, field: Field, value: u128, mask: u128) {
        let (span, ones) = (field.span(), field.ones());
        let mask = mask & ones;
        self.mask.set(span, self.mask.get(span) & !ones | mask);
        self.key.set(span, self.key.get(span) & !ones | value & mask);
        if let Some(at) = PORTS.iter().position(|port| port.contains(span)) {
            self.ranges[at] = None;
        }
        self.normalise();
    }

    /// Also matches a part of a field.
    pub(crate) fn put_part(&mut self, part: Subfield, value: u128) {
        let Subfield { field, first, bits } = part;
        let ones = (u128::MAX >> (128 - u32::from(bits))) << first;
        let (key, mask) = (self.key.get(field.span()), self.mask.get(field.span()));
        self.put(field, key & !ones | value << first & ones, mask | ones);
    }

    /// Gives matches that differ in nothing but their masks one form (invariants 3 and 5).
    fn normalise(&mut self) {
        if self.key.word(Key::PACKET_TYPE) == 0 {
            self.mask.set(Key::PACKET_TYPE, 0u8);
        }
        let (tci, tci_mask) = (self.key.word(Key::VLAN_TCI), self.mask.word(Key::VLAN_TCI));
        if tci == 0 && tci_mask & u64::from(vlan::PRESENT) != 0 {
            self.mask.set(Key::VLAN_TCI, tci_mask & !u64::from(vlan::PCP));
        }
        // Bit 1 of a fragment's field, "not the first", is only set together with bit 0.
        match (self.key.word(Key::NW_FRAG), self.mask.word(Key::NW_FRAG)) {
            (0, 3) => self.mask.set(Key::NW_FRAG, 1u8),
            (3, 3) => {
                self.key.set(Key::NW_FRAG, 2u8);
                self.mask.set(Key::NW_FRAG, 2u8);
            }
            _ => {}
        }
    }

    fn same_mask_and_key(&self, other: &Self, span: Span) -> bool {
        self.key.get(span) == other.key.get(span) && self.mask.get(span) == other.mask.get(span)
    }

    /// Whether anything is said of `field`.
    pub(crate) fn says(&self, field: Field) -> bool {
        let ranges = PORTS.iter().zip(self.ranges);
        self.mask.get(field.span()) & field.ones() != 0
            || ranges.into_iter().any(|(span, range)| range.is_some() && *span == field.span())
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

    /// Whether a packet with this key matches.
    pub fn covers(&self, key: &Key) -> bool {
        let port = |span| u16::try_from(key.word(span)).unwrap_or(0);
        let mut ranges = self.ranges.into_iter().zip(PORTS);
        key.matches(&self.key, &self.mask)
            && ranges.all(|(range, span)| range.is_none_or(|range| range.has(port(span))))
    }

    /// Whether every packet that `other` is for is also one this is for: OpenFlow's loose
    /// comparison.
    pub fn contains(&self, other: &Self) -> bool {
        let wider = self.mask.words().iter().zip(other.mask.words()).all(|(a, b)| a & !b == 0);
        wider
            && other.key.matches(&self.key, &self.mask)
            && (0..PORTS.len()).all(|at| {
                self.ranges[at].is_none_or(|range| {
                    let PortRange { first, last } = other.ports(at);
                    range.first <= first && last <= range.last
                })
            })
    }

    /// Whether some packet could match both. Never wrong with "no".
    pub fn overlaps(&self, other: &Self) -> bool {
        self.key.matches(&other.key, &(self.mask & other.mask))
            && (0..PORTS.len()).all(|at| {
                let (ours, theirs) = (self.ports(at), other.ports(at));
                ours.first <= theirs.last && theirs.first <= ours.last
            })
    }

    /// The lowest and the highest port that can match, source or destination.
    fn ports(&self, at: usize) -> PortRange {
        let half = |word: u64| u16::try_from(word).unwrap_or(0);
        let (value, mask) = (self.key.word(PORTS[at]), self.mask.word(PORTS[at]));
        self.ranges[at].unwrap_or(PortRange { first: half(value), last: half(value) | !half(mask) })
    }
}

/// Which flows a command is about, where it does not change them: what `dump-flows` is given.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlowFilter {
    /// Only flows of this table.
    pub table: Option<TableId>,
    /// Only flows whose match lies within this one.
    pub matching: Match,
    /// Only flows whose cookie is `.0` under the mask `.1`.
    pub cookie: Option<(u64, u64)>,
    /// Only flows that output to this port.
    pub out_port: Option<u16>,
    /// Only flows that lead to this group.
    pub out_group: Option<u32>,
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
    /// What a full table that evicts goes by: flows that matter least go first.
    pub importance: u16,
    /// Flags.
    pub flags: FlowFlags,
    /// Only flows that output to this port: for deleting and dumping.
    pub out_port: Option<u16>,
    /// Only flows that lead to this group: for deleting and dumping.
    pub out_group: Option<u32>,
    /// What the flow does, drop if the list is empty; `None` for commands that delete.
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
            out_group: None,
            actions: Some(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: (Field, u128, u128) = (Field::EthType, 0x0800, 0xffff);
    const TCP: (Field, u128, u128) = (Field::IpProto, 6, 0xff);

    #[test]
    fn the_order_of_fields_does_not_matter() {
        let port = (Field::TcpDst, 80, 0xffff);
        let matching = Match::from_fields([port, TCP, IPV4]).unwrap();
        assert_eq!(Match::from_fields([IPV4, TCP, port]), Ok(matching));
        let missing = Prerequisite { field: "tcp_dst", needs: "tcp" };
        assert_eq!(Match::from_fields([port, IPV4]), Err(missing));
    }

    #[test]
    fn what_other_fields_need_stays() {
        let mut matching = Match::from_fields([IPV4, TCP, (Field::TcpDst, 80, 0xffff)]).unwrap();
        let before = matching;
        for (field, value, mask) in
            [(Field::EthType, 0x0806, 0xffff), (Field::IpProto, 0, 0), (Field::IpFrag, 2, 2)]
        {
            assert!(matching.set(field, value, mask).is_err(), "{field}");
            assert_eq!(matching, before);
        }
        matching.set(Field::TcpDst, 0, 0).unwrap();
        matching.set(Field::IpProto, 17, 0xff).unwrap();
    }

    #[test]
    fn what_is_said_of_a_connection_takes_one() {
        let state = |state, mask| (Field::CtState, state, mask);
        let said = [(Field::CtNwProto, 6, 0xff), (Field::CtTpDst, 80, 0xffff)];
        let of = |first| Match::from_fields([first].into_iter().chain(said));
        for (value, mask) in [(0x01, 0x01), (0x02, 0xff), (0x40, 0x40), (0x20, 0x30), (0x20, 0xff)]
        {
            assert!(of(state(value, mask)).is_ok(), "{value:#x}/{mask:#x}");
        }
        for (value, mask) in [(0x20, 0x20), (0x30, 0x30), (0, 0x10), (0, 0xff)] {
            let missing = Prerequisite { field: "ct_nw_proto", needs: "ct_state=+trk-inv" };
            assert_eq!(of(state(value, mask)), Err(missing), "{value:#x}/{mask:#x}");
        }
        let mut matching = of(state(0x21, 0x21)).unwrap();
        let before = matching;
        assert!(matching.set(Field::CtNwProto, 0, 0).is_err());
        assert!(matching.set(Field::CtState, 0x20, 0xff).is_ok());
        assert!(matching.set(Field::CtState, 0x30, 0x30).is_err());
        assert_ne!(matching, before);
        assert!(matching.set(Field::CtNwSrc, 1, 0xff).is_err());
        matching.set(Field::EthType, 0x0800, 0xffff).unwrap();
        matching.set(Field::CtNwSrc, 1, 0xff).unwrap();
        assert!(matching.set(Field::EthType, 0x0806, 0xffff).is_err());
    }

    #[test]
    fn one_set_of_packets_has_one_match() {
        let only = |field, value, mask| Match::from_fields([IPV4, (field, value, mask)]).unwrap();
        assert_eq!(only(Field::VlanTci, 0, 0xffff), only(Field::VlanVid, 0, 0x1fff));
        assert_eq!(only(Field::IpFrag, 0, 3), only(Field::IpFrag, 0, 1));
        assert_eq!(only(Field::IpFrag, 3, 3), only(Field::IpFrag, 2, 2));
    }
}
