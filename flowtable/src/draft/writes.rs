//! What has been written into a packet's key, as operations, header by header.

use packet::{Key, Span, ethernet, vlan};

use super::{Draft, TooLong};
use crate::program::Op;

impl Draft<'_> {
    /// Makes operations of all writes that have none yet.
    pub(super) fn commit(&mut self) -> Result<(), TooLong> {
        if self.state.queue != self.state.queue_set {
            self.state.queue_set = self.state.queue;
            self.op(Op::SetQueue(self.state.queue))?;
        }
        if self.state.dirty.words()[1..Key::PARSED_WORDS].iter().all(|word| *word == 0) {
            return Ok(());
        }
        self.commit_ethernet()?;
        self.commit_tag()?;
        match u16::try_from(self.state.flow.word(Key::ETH_TYPE)).unwrap_or(0) {
            ethernet::ARP | ethernet::RARP => self.commit_arp()?,
            ethernet::IPV4 => self.commit_ipv4()?,
            ethernet::IPV6 => self.commit_ipv6()?,
            _ => {}
        }
        self.state.dirty = Key::ZERO;
        Ok(())
    }

    /// What is to be written into a field of at most 32 bits: value and mask, if anything is.
    fn written(&self, span: Span) -> Option<(u32, u32)> {
        let mask = self.state.dirty.get(span);
        let part = |value| u32::try_from(value & mask).unwrap_or(0);
        (mask != 0).then(|| (part(self.state.flow.get(span)), part(mask)))
    }

    /// The same for a field of at most 16 bits.
    fn written16(&self, span: Span) -> Option<(u16, u16)> {
        let half = |word| u16::try_from(word).unwrap_or(0);
        self.written(span).map(|(value, mask)| (half(value), half(mask)))
    }

    /// The same for an Ethernet address.
    fn written_mac(&self, span: Span) -> Option<([u8; 6], [u8; 6])> {
        let mask = self.state.dirty.word(span);
        let bytes = |word| packet::MacAddr::from_u64(word).0;
        (mask != 0).then(|| (bytes(self.state.flow.word(span) & mask), bytes(mask)))
    }

    fn commit_ethernet(&mut self) -> Result<(), TooLong> {
        const WHOLE: [u8; 6] = [0xff; 6];
        match (self.written_mac(Key::ETH_DST), self.written_mac(Key::ETH_SRC)) {
            (Some(([a, b, c, d, e, f], WHOLE)), Some(([g, h, i, j, k, l], WHOLE))) => {
                self.op(Op::Eth([a, b, c, d, e, f, g, h, i, j, k, l]))
            }
            (dst, src) => {
                if let Some((value, mask)) = dst {
                    self.op(Op::EthDst { value, mask })?;
                }
                src.map_or(Ok(()), |(value, mask)| self.op(Op::EthSrc { value, mask }))
            }
        }
    }

    pub(super) fn commit_tag(&mut self) -> Result<(), TooLong> {
        let written = self.written16(Key::VLAN_TCI);
        self.state.dirty.set(Key::VLAN_TCI, 0u8);
        // The bit that says there is a tag is not on the wire.
        match written.map(|(value, mask)| (value & !vlan::PRESENT, mask & !vlan::PRESENT)) {
            Some((value, mask)) if mask != 0 => self.op(Op::VlanTci { value, mask }),
            _ => Ok(()),
        }
    }

    fn commit_arp(&mut self) -> Result<(), TooLong> {
        if let Some((op, _)) = self.written16(Key::NW_PROTO) {
            self.op(Op::ArpOp(low_byte(op)))?;
        }
        if let Some((value, mask)) = self.written(Key::NW_SRC) {
            self.op(Op::ArpSpa { value, mask })?;
        }
        if let Some((value, mask)) = self.written(Key::NW_DST) {
            self.op(Op::ArpTpa { value, mask })?;
        }
        if let Some((value, mask)) = self.written_mac(Key::ARP_SHA) {
            self.op(Op::ArpSha { value, mask })?;
        }
        match self.written_mac(Key::ARP_THA) {
            Some((value, mask)) => self.op(Op::ArpTha { value, mask }),
            None => Ok(()),
        }
    }

    fn commit_ipv4(&mut self) -> Result<(), TooLong> {
        if let Some((value, mask)) = self.written(Key::NW_SRC) {
            self.op(Op::Ipv4Src { value, mask })?;
        }
        if let Some((value, mask)) = self.written(Key::NW_DST) {
            self.op(Op::Ipv4Dst { value, mask })?;
        }
        self.commit_ip()
    }

    fn commit_ipv6(&mut self) -> Result<(), TooLong> {
        for (word, span) in (0..8).zip(ipv6_words()) {
            if let Some((value, mask)) = self.written(span) {
                self.op(Op::Ipv6 { word, value, mask })?;
            }
        }
        if let Some((value, mask)) = self.written(Key::IPV6_LABEL) {
            self.op(Op::Ipv6Label { value, mask })?;
        }
        self.commit_nd()?;
        self.commit_ip()
    }

    fn commit_nd(&mut self) -> Result<(), TooLong> {
        for (word, span) in (0..4).zip(quarters(Key::ND_TARGET)) {
            if let Some((value, mask)) = self.written(span) {
                self.op(Op::NdTarget { word, value, mask })?;
            }
        }
        if let Some((value, mask)) = self.written_mac(Key::ARP_SHA) {
            self.op(Op::NdSll { value, mask })?;
        }
        match self.written_mac(Key::ARP_THA) {
            Some((value, mask)) => self.op(Op::NdTll { value, mask }),
            None => Ok(()),
        }
    }

    fn commit_ip(&mut self) -> Result<(), TooLong> {
        if let Some((value, mask)) = self.written16(Key::NW_TOS) {
            self.op(Op::Tos { value: low_byte(value), mask: low_byte(mask) })?;
        }
        if let Some((ttl, _)) = self.written16(Key::NW_TTL) {
            self.op(Op::Ttl(low_byte(ttl)))?;
        }
        let (src, dst) = (self.written16(Key::TP_SRC), self.written16(Key::TP_DST));
        if self.is_icmp() {
            if let Some((kind, _)) = src {
                self.op(Op::IcmpType(low_byte(kind)))?;
            }
            return dst.map_or(Ok(()), |(code, _)| self.op(Op::IcmpCode(low_byte(code))));
        }
        if let Some((value, mask)) = src {
            self.op(Op::TpSrc { value, mask })?;
        }
        dst.map_or(Ok(()), |(value, mask)| self.op(Op::TpDst { value, mask }))
    }
}

fn low_byte(word: u16) -> u8 {
    word.to_be_bytes()[1]
}

/// The eight 32-bit words of both IPv6 addresses, in the order of the wire.
fn ipv6_words() -> impl Iterator<Item = Span> {
    [Key::IPV6_SRC, Key::IPV6_DST].into_iter().flat_map(quarters)
}

/// The four 32-bit words of an address, in the order of the wire.
fn quarters(address: Span) -> impl Iterator<Item = Span> {
    (0..4u8).map(move |word| address.slice(96 - 32 * word, 32))
}
