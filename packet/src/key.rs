//! The flow key: every field a flow can match, each at a fixed place.
//!
//! A key is an array of words, so that masking, hashing and comparing are loops over words and know
//! nothing of protocols. The first [`Key::PACKET_WORDS`] say what the packet says and where it came
//! in; the others are the registers of the pipeline, zero when a packet arrives. Caches key on the
//! first part alone.
//!
//! A field that a packet does not have is zero. Because a match on such a field is only legal
//! together with the field that announces it (`nw_dst` with `eth_type`), zero never matches by
//! accident.

use std::fmt;
use std::ops::{BitAnd, Index, IndexMut, Range};

/// The bits of a field within a [`Key`].
///
/// `low` is the word that holds bit 0, counted from the word's least significant bit as `shift`; a
/// field that passes bit 63 goes on in the word *before* (`low - 1`), so that a 128-bit address
/// reads in order.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Span {
    low: u8,
    shift: u8,
    bits: u8,
}

impl Span {
    const fn new(low: u8, shift: u8, bits: u8) -> Self {
        assert!(bits > 0 && shift as usize + bits as usize <= if low == 0 { 64 } else { 128 });
        Self { low, shift, bits }
    }

    /// How many bits the field has, 1 to 128.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The field's bits `first..first + bits`, bit 0 being the least significant.
    ///
    /// # Panics
    /// If the range passes the end of the field.
    #[must_use]
    pub const fn slice(self, first: u8, bits: u8) -> Self {
        assert!(first as usize + bits as usize <= self.bits as usize, "beyond the field");
        Self::new(self.low, self.shift + first, bits)
    }

    /// Whether all bits of `part` are bits of this field.
    pub const fn contains(self, part: Self) -> bool {
        let (start, end) = (self.shift, self.shift + self.bits);
        self.low == part.low && start <= part.shift && part.shift + part.bits <= end
    }

    /// The word of the key that holds the field's lowest bit.
    pub const fn word(self) -> usize {
        self.low as usize
    }

    /// All ones, as wide as the field.
    pub const fn ones(self) -> u128 {
        u128::MAX >> (128 - self.bits as u32)
    }

    /// `value` where the field has it in its word ([`Span::word`]), of a field of at most 64 bits
    /// that lies in one; bits beyond the field are cut.
    pub const fn in_word(self, value: u64) -> u64 {
        debug_assert!(!self.is_wide(), "a field of one word");
        (value & low_half(self.ones())) << self.shift
    }

    const fn is_wide(self) -> bool {
        self.shift as u32 + self.bits as u32 > 64
    }
}

/// What a packet says and what the pipeline has noted about it, or a mask of the same shape.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
#[repr(align(64))]
pub struct Key([u64; Self::WORDS]);

impl Key {
    /// Words in all.
    pub const WORDS: usize = 48;
    /// Words that describe the packet; those behind them are the pipeline's own.
    pub const PACKET_WORDS: usize = 28;
    /// Words that [`crate::parse`] writes, but for the first; what describes the packet besides is
    /// known from elsewhere.
    pub const PARSED_WORDS: usize = 15;

    /// The OpenFlow number of the port the packet came in by.
    pub const IN_PORT: Span = Span::new(0, 0, 16);
    /// The switch-wide number of that port ([`crate::PortId`]); unlike `IN_PORT` no action changes
    /// it.
    pub const INGRESS: Span = Span::new(0, 16, 16);
    /// Which frozen state a later pass resumes; 0 on the first pass.
    pub const RESUME: Span = Span::new(0, 32, 32);
    /// Destination address.
    pub const ETH_DST: Span = Span::new(1, 16, 48);
    /// Ethertype behind the VLAN tags; 0x05ff for a frame with an 802.3 length.
    pub const ETH_TYPE: Span = Span::new(1, 0, 16);
    /// Source address.
    pub const ETH_SRC: Span = Span::new(2, 16, 48);
    /// The outer tag's PCP and VID, and 0x1000 to say that there is one.
    pub const VLAN_TCI: Span = Span::new(2, 0, 16);
    /// The outer tag's own Ethertype: 0x8100 or 0x88a8.
    pub const VLAN_TPID: Span = Span::new(3, 48, 16);
    /// The second tag, in the form of [`Key::VLAN_TCI`].
    pub const VLAN2_TCI: Span = Span::new(3, 32, 16);
    /// The second tag's own Ethertype.
    pub const VLAN2_TPID: Span = Span::new(3, 16, 16);
    /// IPv4 source, or an ARP packet's sender address.
    pub const NW_SRC: Span = Span::new(4, 32, 32);
    /// IPv4 destination, or an ARP packet's target address.
    pub const NW_DST: Span = Span::new(4, 0, 32);
    /// IP protocol (behind IPv6 extension headers), or the low byte of an ARP operation.
    pub const NW_PROTO: Span = Span::new(5, 56, 8);
    /// DSCP and ECN: the whole TOS or traffic class byte.
    pub const NW_TOS: Span = Span::new(5, 48, 8);
    /// TTL or hop limit.
    pub const NW_TTL: Span = Span::new(5, 40, 8);
    /// Bit 0: a fragment; bit 1: not the first one.
    pub const NW_FRAG: Span = Span::new(5, 32, 8);
    /// IPv6 flow label.
    pub const IPV6_LABEL: Span = Span::new(5, 0, 20);
    /// Whether there is a network header that can be read and written. No flow matches this or the
    /// next five: translation notes with them what it took for granted.
    pub const HAS_NETWORK: Span = Span::new(5, 20, 1);
    /// Whether there is a transport header.
    pub const HAS_TRANSPORT: Span = Span::new(5, 21, 1);
    /// Whether the TTL is 2 or more, so that one can be taken off.
    pub const TTL_LEFT: Span = Span::new(5, 22, 1);
    /// Whether there is a neighbour solicitation or advertisement.
    pub const HAS_ND: Span = Span::new(5, 23, 1);
    /// Whether it has a source link-layer address.
    pub const HAS_ND_SLL: Span = Span::new(5, 24, 1);
    /// Whether it has a target link-layer address.
    pub const HAS_ND_TLL: Span = Span::new(5, 25, 1);
    /// TCP, UDP or SCTP source port, or ICMP type.
    pub const TP_SRC: Span = Span::new(6, 48, 16);
    /// TCP, UDP or SCTP destination port, or ICMP code.
    pub const TP_DST: Span = Span::new(6, 32, 16);
    /// The twelve TCP flags, NS and the reserved ones included.
    pub const TCP_FLAGS: Span = Span::new(6, 16, 16);
    /// IPv6 source.
    pub const IPV6_SRC: Span = Span::new(8, 0, 128);
    /// IPv6 destination.
    pub const IPV6_DST: Span = Span::new(10, 0, 128);
    /// ARP sender hardware address, or the source link-layer address of a neighbour solicitation.
    pub const ARP_SHA: Span = Span::new(11, 16, 48);
    /// ARP target hardware address, or the target link-layer address of a neighbour advertisement.
    pub const ARP_THA: Span = Span::new(12, 16, 48);
    /// The target of a neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4).
    pub const ND_TARGET: Span = Span::new(14, 0, 128);
    /// Name space and type of what the packet begins with: 0 is an Ethernet frame.
    pub const PACKET_TYPE: Span = Span::new(15, 0, 32);
    /// What a decision for each packet has come to, on the pass that resumes behind it.
    pub const OUTCOME: Span = Span::new(15, 32, 16);
    /// The tunnel's key.
    pub const TUN_ID: Span = Span::new(16, 0, 64);
    /// The words that say what connection tracking has found out about the packet: all zero before
    /// it was asked.
    pub const TRACKED: Range<usize> = 20..28;
    /// What the packet is to its connection.
    pub const CT_STATE: Span = Span::new(20, 32, 32);
    /// The mark of its connection.
    pub const CT_MARK: Span = Span::new(20, 0, 32);
    /// The zone in which it was tracked.
    pub const CT_ZONE: Span = Span::new(21, 48, 16);
    /// IP protocol of the packet that began its connection.
    pub const CT_NW_PROTO: Span = Span::new(21, 40, 8);
    /// Source port of that packet, or its ICMP type.
    pub const CT_TP_SRC: Span = Span::new(21, 16, 16);
    /// Destination port of that packet, or its ICMP code.
    pub const CT_TP_DST: Span = Span::new(21, 0, 16);
    /// The label of its connection.
    pub const CT_LABEL: Span = Span::new(23, 0, 128);
    /// IPv6 source of the packet that began its connection.
    pub const CT_IPV6_SRC: Span = Span::new(25, 0, 128);
    /// IPv6 destination of that packet.
    pub const CT_IPV6_DST: Span = Span::new(27, 0, 128);
    /// IPv4 source of that packet.
    pub const CT_NW_SRC: Span = Self::CT_IPV6_SRC.slice(0, 32);
    /// IPv4 destination of that packet.
    pub const CT_NW_DST: Span = Self::CT_IPV6_DST.slice(0, 32);
    /// The pipeline's 64-bit scratch field.
    pub const METADATA: Span = Span::new(28, 0, 64);
    /// A mark that the host sees.
    pub const PKT_MARK: Span = Span::new(45, 0, 32);
    /// The conjunction whose clauses have all been met.
    pub const CONJ_ID: Span = Span::new(45, 32, 32);

    /// How many 32-bit registers there are.
    pub const REGS: usize = 32;
    /// The word of the first two.
    const FIRST_REG: u8 = 29;

    /// Register `n`. Two neighbours share a word, the even one high, so that they also read as one
    /// register of 64 bits, and four as one of 128.
    ///
    /// # Panics
    /// If there is no such register.
    pub const fn reg(n: usize) -> Span {
        assert!(n < Self::REGS, "no such register");
        Span::new(Self::xreg(n / 2).low, if n.is_multiple_of(2) { 32 } else { 0 }, 32)
    }

    /// Registers `2n` and `2n + 1` as one of 64 bits.
    ///
    /// # Panics
    /// If there are no such registers.
    #[expect(clippy::cast_possible_truncation, reason = "at most 15")]
    pub const fn xreg(n: usize) -> Span {
        assert!(n < Self::REGS / 2, "no such register");
        Span::new(Self::FIRST_REG + n as u8, 0, 64)
    }

    /// Registers `4n` to `4n + 3` as one of 128 bits.
    ///
    /// # Panics
    /// If there are no such registers.
    pub const fn xxreg(n: usize) -> Span {
        assert!(n < Self::REGS / 4, "no such register");
        Span::new(Self::xreg(2 * n + 1).low, 0, 128)
    }

    /// A key in which everything is zero; as a mask, one that wildcards everything.
    pub const ZERO: Self = Self([0; Self::WORDS]);

    /// The field at `span`, right-aligned.
    #[inline]
    pub const fn get(&self, span: Span) -> u128 {
        let low = self.0[span.low as usize];
        if span.is_wide() {
            let pair = low as u128 | (self.0[span.low as usize - 1] as u128) << 64;
            return (pair >> span.shift) & span.ones();
        }
        ((low >> span.shift) & (u64::MAX >> (64 - span.bits))) as u128
    }

    /// The field at `span`, which must be of at most 64 bits, as a word.
    #[inline]
    pub const fn word(&self, span: Span) -> u64 {
        low_half(self.get(span))
    }

    /// Writes the field at `span`; bits of `value` beyond the field are cut.
    #[inline]
    pub fn set(&mut self, span: Span, value: impl Into<u128>) {
        let (value, ones, low) = (value.into() & span.ones(), span.ones(), usize::from(span.low));
        if span.is_wide() {
            let pair = u128::from(self.0[low]) | u128::from(self.0[low - 1]) << 64;
            let pair = pair & !(ones << span.shift) | value << span.shift;
            self.0[low] = low_half(pair);
            self.0[low - 1] = low_half(pair >> 64);
        } else {
            self.0[low] =
                self.0[low] & !(low_half(ones) << span.shift) | low_half(value) << span.shift;
        }
    }

    /// Writes a field that is zero so far, of at most 64 bits: cheaper than [`Key::set`].
    #[inline(always)]
    pub(crate) const fn put(&mut self, span: Span, value: u64) {
        debug_assert!(!span.is_wide() && self.get(span) == 0 && value as u128 <= span.ones());
        self.0[span.low as usize] |= value << span.shift;
    }

    /// Writes both words of a 128-bit field.
    #[inline(always)]
    pub(crate) const fn put_wide(&mut self, span: Span, value: u128) {
        debug_assert!(span.bits == 128);
        self.0[span.low as usize - 1] = low_half(value >> 64);
        self.0[span.low as usize] = low_half(value);
    }

    /// This key with the field at `span` replaced.
    #[must_use]
    pub fn with(mut self, span: Span, value: impl Into<u128>) -> Self {
        self.set(span, value);
        self
    }

    /// Sets every bit of `span`: as a mask, matches that field exactly.
    pub fn set_all(&mut self, span: Span) {
        self.set(span, u128::MAX);
    }

    /// All words.
    #[inline]
    pub const fn words(&self) -> &[u64; Self::WORDS] {
        &self.0
    }

    /// All words, to be changed.
    #[inline]
    pub const fn words_mut(&mut self) -> &mut [u64; Self::WORDS] {
        &mut self.0
    }

    /// Whether every bit is zero.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; Self::WORDS]
    }

    /// Whether this key, under `mask`, is `other` (which must already be masked).
    pub fn matches(&self, other: &Self, mask: &Self) -> bool {
        self.0.iter().zip(&other.0).zip(&mask.0).all(|((a, b), m)| (a ^ b) & m == 0)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(wide: u128) -> u64 {
    wide as u64
}

impl Default for Key {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Index<usize> for Key {
    type Output = u64;
    #[inline]
    fn index(&self, word: usize) -> &u64 {
        &self.0[word]
    }
}

impl IndexMut<usize> for Key {
    #[inline]
    fn index_mut(&mut self, word: usize) -> &mut u64 {
        &mut self.0[word]
    }
}

impl BitAnd for Key {
    type Output = Self;
    fn bitand(mut self, mask: Self) -> Self {
        for (word, mask) in self.0.iter_mut().zip(&mask.0) {
            *word &= mask;
        }
        self
    }
}

impl fmt::Debug for Key {
    /// Only the words that are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (n, word) in self.0.iter().enumerate().filter(|(_, word)| **word != 0) {
            map.entry(&n, &format_args!("{word:#018x}"));
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPANS: [Span; 14] = [
        Key::IN_PORT,
        Key::RESUME,
        Key::ETH_DST,
        Key::VLAN_TCI,
        Key::NW_SRC,
        Key::NW_TTL,
        Key::IPV6_LABEL,
        Key::IPV6_SRC,
        Key::IPV6_DST,
        Key::METADATA,
        Key::reg(0),
        Key::reg(31),
        Key::xreg(3),
        Key::xxreg(7),
    ];

    #[test]
    fn fields_do_not_overlap() {
        let fields = [
            Key::IN_PORT,
            Key::INGRESS,
            Key::RESUME,
            Key::ETH_DST,
            Key::ETH_TYPE,
            Key::ETH_SRC,
            Key::VLAN_TCI,
            Key::VLAN_TPID,
            Key::VLAN2_TCI,
            Key::VLAN2_TPID,
            Key::NW_SRC,
            Key::NW_DST,
            Key::NW_PROTO,
            Key::NW_TOS,
            Key::NW_TTL,
            Key::NW_FRAG,
            Key::IPV6_LABEL,
            Key::HAS_NETWORK,
            Key::HAS_TRANSPORT,
            Key::TTL_LEFT,
            Key::HAS_ND,
            Key::HAS_ND_SLL,
            Key::HAS_ND_TLL,
            Key::TP_SRC,
            Key::TP_DST,
            Key::TCP_FLAGS,
            Key::IPV6_SRC,
            Key::IPV6_DST,
            Key::ARP_SHA,
            Key::ARP_THA,
            Key::ND_TARGET,
            Key::PACKET_TYPE,
            Key::OUTCOME,
            Key::TUN_ID,
            Key::CT_STATE,
            Key::CT_MARK,
            Key::CT_ZONE,
            Key::CT_NW_PROTO,
            Key::CT_TP_SRC,
            Key::CT_TP_DST,
            Key::CT_LABEL,
            Key::CT_IPV6_SRC,
            Key::CT_IPV6_DST,
            Key::METADATA,
            Key::PKT_MARK,
            Key::CONJ_ID,
        ];
        let mut taken = Key::ZERO;
        for span in fields.into_iter().chain((0..Key::REGS).map(Key::reg)) {
            assert_eq!(taken.get(span), 0, "{span:?} overlaps another field");
            taken.set_all(span);
        }
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(
            words in prop::collection::vec(any::<u64>(), Key::WORDS),
            span in prop::sample::select(SPANS.to_vec()),
            value: u128,
            cut: prop::sample::Index,
        ) {
            // A random part of the field, so that ranges across the middle of an address are met.
            let first = u8::try_from(cut.index(span.bits().into())).unwrap();
            let span = span.slice(first, span.bits() - first);
            let before = Key(words.try_into().unwrap());
            let mut after = before;
            after.set(span, value);
            prop_assert_eq!(after.get(span), value & span.ones());
            after.set(span, before.get(span));
            prop_assert_eq!(after, before);
        }
    }

    #[test]
    fn a_slice_crosses_the_words_of_an_address() {
        let key = Key::ZERO.with(Key::IPV6_SRC, 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128);
        assert_eq!(key.get(Key::IPV6_SRC.slice(48, 32)), 0x6677_8899);
        assert_eq!(key.get(Key::IPV6_SRC.slice(96, 32)), 0x0011_2233);
    }
}
