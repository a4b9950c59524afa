//! Matches, read.
//!
//! Words come in any order, so what a field needs is looked at when all of them have been read. Of
//! several that say something about the same bits the last wins.

use std::ops::Range;

use packet::{Key, ethernet, icmp, nd, tcp, udp, vlan};

use super::error::FlowError;
use super::part::{Cursor, Part, Word};
use super::words::{self, FieldWord};
use super::{Reading, value};
use crate::field::Field;
use crate::flow::Match;

/// A match that is being read.
pub(super) struct Fields<'a> {
    reading: Reading<'a>,
    matching: Match,
    /// Where the last word about each field stands.
    said: Vec<Said>,
}

struct Said {
    at: Range<usize>,
    word: FieldWord,
    /// It gave a value for every bit of the field.
    whole: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(reading: Reading<'a>) -> Self {
        const USUAL: usize = 8;
        Self { reading, matching: Match::ANY, said: Vec::with_capacity(USUAL) }
    }

    /// Takes what `word` and its value, which `cursor` reads, say about the packet. `false` if that
    /// is nothing, the cursor then being where it was.
    pub(super) fn take(
        &mut self,
        word: Word<'_>,
        cursor: &mut Cursor<'_>,
    ) -> Result<bool, FlowError> {
        if word.text() == "eth" {
            // An Ethernet packet, as all of ours are.
            no_value(word, cursor)?;
            self.matching.put(Field::PacketType, 0, 0);
            return Ok(true);
        }
        if let Some((eth_type, nw_proto)) = words::protocol(word.text()) {
            no_value(word, cursor)?;
            self.put(word, Field::EthType, eth_type.into());
            if let Some(nw_proto) = nw_proto {
                self.put(word, Field::IpProto, nw_proto.into());
            }
            return Ok(true);
        }
        let (name, bits) = value::split_bits(word.part)?;
        if name.text == "dl_vlan" {
            let value = cursor.value(word)?;
            self.take_dl_vlan(word, bits, value)?;
            return Ok(true);
        }
        let Some(field) = words::field(name.text) else { return Ok(false) };
        let value = cursor.value(word)?;
        match bits {
            Some(bits) => self.take_bits(word, field, bits, value)?,
            None => self.take_field(word, field, value).map_err(|e| e.called(name.text))?,
        }
        Ok(true)
    }

    /// The match, if every field in it has what it needs.
    pub(super) fn finish(mut self) -> Result<Match, FlowError> {
        self.explain()?;
        let matching = &self.matching;
        let never = |fields: &[Field], why| {
            let said = self.said.iter().rev().find(|said| fields.contains(&said.word.any()));
            Err(FlowError::NeverMatches { at: said.map_or(0..0, |said| said.at.clone()), why })
        };
        if matching.has_no_tag() && matching.key().word(Key::VLAN_TCI) != 0 {
            let why = "a VID or priority without a tag; 0x1000 says that there is one";
            return never(&[Field::VlanTci, Field::VlanVid, Field::VlanPcp], why);
        }
        if matching.mask().word(Key::NW_FRAG) == 3 && matching.key().word(Key::NW_FRAG) == 2 {
            return never(&[Field::IpFrag], "a later fragment that is no fragment");
        }
        Ok(self.matching)
    }

    /// Wildcards the fields that lack what they need, which are an error unless the reading is
    /// lenient. A field that needs the contrary of what is matched always is one.
    fn explain(&mut self) -> Result<(), FlowError> {
        let matching = &mut self.matching;
        for said in &self.said {
            let field = said.word.matched(matching);
            if !matching.says(field) {
                continue;
            }
            match matching.require(field) {
                Err(missing) if !self.reading.lenient || matching.rules_out(field.needs()) => {
                    return Err(FlowError::prerequisite(said.at.clone(), missing));
                }
                Err(_) => matching.put(field, 0, 0),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// What a packet begins with besides its bytes: whole values of the pipeline's own fields.
    pub(super) fn finish_scratch(self) -> Result<Key, FlowError> {
        let may = |field: Field| field.is_writable() && field.is_scratch();
        let odd = self.said.iter().find(|said| !may(said.word.any()) || !said.whole);
        if let Some(said) = odd {
            let word = said.word.any().name().to_owned();
            let rule = "cannot be given with a packet, which takes whole registers, `metadata`, \
                        `tun_id` and `pkt_mark`";
            return Err(FlowError::Misplaced { at: said.at.clone(), word, rule });
        }
        Ok(*self.matching.key())
    }

    /// The packet that is described, which takes whole values for all fields.
    pub(super) fn finish_packet(self) -> Result<Key, FlowError> {
        if let Some(said) = self.said.iter().find(|said| !said.whole) {
            let (at, of) = (said.at.clone(), said.word.any().name().to_owned());
            let expected = "a value for all of it, as one packet has";
            return Err(FlowError::Value { at, of, expected, found: "a part".to_owned() });
        }
        Ok(real(*self.finish()?.key()))
    }

    fn take_field(
        &mut self,
        word: Word<'_>,
        field: FieldWord,
        value: Option<Part<'_>>,
    ) -> Result<(), FlowError> {
        let any = field.any();
        let wildcard = match value {
            None => is_number(any),
            Some(value) => value.text == "*",
        };
        let missing = || FlowError::MissingValue { at: word.at(), word: word.part.short() };
        let (value, mask) = match value {
            _ if wildcard => (0, 0),
            None => return Err(missing()),
            Some(value) if value.text.is_empty() => return Err(missing()),
            Some(part) if let Some(range) = value::port_range(part, any)? => {
                self.matching.put_range(any, range);
                let whole = range.first == range.last;
                self.say(Said { at: word.at(), word: field, whole });
                return Ok(());
            }
            Some(part) => {
                let (value, mask) = value::parse(part, any, self.reading.ports)?;
                if mask != any.ones() && !any.is_maskable() {
                    return Err(FlowError::NotMaskable { at: part.at(), field: any.name() });
                }
                (value, mask)
            }
        };
        match any {
            Field::VlanPcp => self.put_priority(value, mask),
            _ => self.matching.put(any, value, mask),
        }
        // `no` and `later` leave one bit open only because it follows from the other.
        let frag = any == Field::IpFrag && matches!((value, mask), (0, 1) | (2, 2));
        self.say(Said { at: word.at(), word: field, whole: mask == any.ones() || frag });
        Ok(())
    }

    /// `FIELD[a..b]=NUMBER`.
    fn take_bits(
        &mut self,
        word: Word<'_>,
        field: FieldWord,
        bits: Part<'_>,
        value: Option<Part<'_>>,
    ) -> Result<(), FlowError> {
        let any = field.any();
        let part = value::range(bits, any)?;
        let given = value.filter(|value| !value.text.is_empty());
        let missing = || FlowError::MissingValue { at: word.at(), word: word.part.short() };
        let number = value::bits(given.ok_or_else(missing)?, word.text(), part.bits)? << part.first;
        let mask = u128::MAX >> (128 - u32::from(part.bits)) << part.first;
        if mask != any.ones() && !any.is_maskable() {
            return Err(FlowError::NotMaskable { at: word.at(), field: any.name() });
        }
        if mask & any.ones() == 0 || number & !any.ones() != 0 {
            // Flags that have no name, which OVS leaves out.
            let last = u8::try_from(any.ones().ilog2()).unwrap_or(u8::MAX);
            return Err(FlowError::NoSuchBits { at: bits.at(), field: any.name(), last });
        }
        self.matching.put(any, number, mask);
        self.say(Said { at: word.at(), word: field, whole: mask & any.ones() == any.ones() });
        Ok(())
    }

    /// `dl_vlan=VID`, where 0xffff is no tag.
    fn take_dl_vlan(
        &mut self,
        word: Word<'_>,
        bits: Option<Part<'_>>,
        value: Option<Part<'_>>,
    ) -> Result<(), FlowError> {
        const NONE: u128 = 0xffff;
        const ALL: u128 = 0x1fff;
        if bits.is_some() || value.is_some_and(|value| value.text.contains('/')) {
            return Err(FlowError::NotMaskable { at: word.at(), field: "dl_vlan" });
        }
        let whole = match value {
            Some(value) if value.text != "*" => {
                let number = value::bits(value, word.text(), 16)?;
                match number {
                    NONE => self.matching.put(Field::VlanTci, 0, ALL),
                    _ => {
                        let vid = value::bits(value, word.text(), 12)?;
                        self.matching.put(Field::VlanVid, vid | u128::from(vlan::PRESENT), ALL);
                    }
                }
                true
            }
            _ => {
                let (tci, mask) = self.tci();
                let pcp = mask & u128::from(vlan::PCP);
                let mask = if pcp == 0 { 0 } else { pcp | u128::from(vlan::PRESENT) };
                self.matching.put(Field::VlanTci, tci, mask);
                false
            }
        };
        self.say(Said { at: word.at(), word: FieldWord::of(Field::VlanVid), whole });
        Ok(())
    }

    /// A priority is matched together with the bit that says there is a tag.
    fn put_priority(&mut self, value: u128, mask: u128) {
        let pcp = u128::from(vlan::PCP);
        let present = u128::from(vlan::PRESENT);
        let (tci, old) = self.tci();
        let others = old & !pcp;
        match mask {
            0 if others & u128::from(vlan::VID) == 0 => self.matching.put(Field::VlanTci, 0, 0),
            0 => self.matching.put(Field::VlanTci, tci, others),
            _ => {
                let tci = tci & !pcp | value << 13 | present;
                self.matching.put(Field::VlanTci, tci, others | pcp | present);
            }
        }
    }

    fn tci(&self) -> (u128, u128) {
        (self.matching.key().get(Key::VLAN_TCI), self.matching.mask().get(Key::VLAN_TCI))
    }

    /// Matches all of a field for a word that is no field's name.
    fn put(&mut self, word: Word<'_>, field: Field, value: u128) {
        self.matching.put(field, value, field.ones());
        self.say(Said { at: word.at(), word: FieldWord::of(field), whole: true });
    }

    fn say(&mut self, said: Said) {
        self.said.retain(|before| before.word != said.word);
        self.said.push(said);
    }
}

/// Whether OVS reads the `0/0` of a word without a value as a value of this field.
fn is_number(field: Field) -> bool {
    use crate::field::Format::{Decimal, Flags, Hex};
    matches!(field.format(), Decimal | Flags(_) | Hex)
}

fn no_value(word: Word<'_>, cursor: &mut Cursor<'_>) -> Result<(), FlowError> {
    match cursor.value(word)? {
        None => Ok(()),
        Some(value) => Err(FlowError::UnwantedValue { at: value.at(), word: word.part.short() }),
    }
}

/// The key of the packet that is described: with what [`packet::parse`] would note besides.
fn real(mut key: Key) -> Key {
    let eth_type = u16::try_from(key.word(Key::ETH_TYPE)).unwrap_or(0);
    if key.word(Key::VLAN_TCI) & u64::from(vlan::PRESENT) != 0 {
        key.set(Key::VLAN_TPID, ethernet::VLAN);
    }
    if key.word(Key::NW_FRAG) == 2 {
        key.set(Key::NW_FRAG, 3u8);
    }
    let ip = matches!(eth_type, ethernet::IPV4 | ethernet::IPV6);
    if ip || matches!(eth_type, ethernet::ARP | ethernet::RARP) {
        key.set(Key::HAS_NETWORK, 1u8);
    }
    if ip && key.word(Key::NW_TTL) > 1 {
        key.set(Key::TTL_LEFT, 1u8);
    }
    let icmp = if eth_type == ethernet::IPV4 { icmp::PROTO } else { icmp::PROTO_V6 };
    let proto = u8::try_from(key.word(Key::NW_PROTO)).unwrap_or(0);
    let known = [tcp::PROTO, udp::PROTO, words::SCTP, icmp].contains(&proto);
    let kind = key.word(Key::TP_SRC);
    let nd = [nd::SOLICITATION, nd::ADVERTISEMENT].into_iter().any(|nd| kind == u64::from(nd));
    let v6 = eth_type == ethernet::IPV6 && proto == icmp::PROTO_V6;
    if v6 && nd && key.word(Key::TP_DST) == 0 && key.word(Key::NW_FRAG) == 0 {
        key.set(Key::HAS_ND, 1u8);
        key.set(Key::HAS_ND_SLL, u8::from(key.word(Key::ARP_SHA) != 0));
        key.set(Key::HAS_ND_TLL, u8::from(key.word(Key::ARP_THA) != 0));
    }
    if ip && known && key.word(Key::NW_FRAG) == 0 {
        key.set(Key::HAS_TRANSPORT, 1u8);
    }
    if key.word(Key::NW_FRAG) != 0 {
        key.set(Key::TP_SRC, 0u8);
        key.set(Key::TP_DST, 0u8);
    }
    key
}
