//! The addresses that the rules of a table match by prefixes.

use packet::{Key, Span};

use crate::prefixes::{Found, Long, Prefixes, Short};
use crate::table::Looked;

/// The fields that are matched by prefixes.
pub(crate) const FIELDS: [Span; 4] = [Key::NW_SRC, Key::NW_DST, Key::IPV6_SRC, Key::IPV6_DST];

/// The prefixes of each of [`FIELDS`].
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    v4: [Prefixes<Short>; 2],
    v6: [Prefixes<Long>; 2],
}

/// The value of a field, left-aligned.
fn value(key: &Key, span: Span) -> u128 {
    key.get(span) << (128 - span.bits())
}

impl Addresses {
    /// No prefixes.
    pub(crate) const EMPTY: Self =
        Self { v4: [Prefixes::EMPTY, Prefixes::EMPTY], v6: [Prefixes::EMPTY, Prefixes::EMPTY] };

    /// Adds the prefixes of a rule, of these lengths, or takes them out. Those that are added count as
    /// soon as they are settled.
    pub(crate) fn count(&mut self, lengths: &[u8; FIELDS.len()], key: &Key, add: bool) {
        let short = if add { Prefixes::insert } else { Prefixes::remove };
        let long = if add { Prefixes::insert } else { Prefixes::remove };
        for (n, (span, len)) in FIELDS.into_iter().zip(lengths).enumerate() {
            match n {
                0 | 1 => short(&mut self.v4[n], value(key, span), *len),
                _ => long(&mut self.v6[n - 2], value(key, span), *len),
            }
        }
    }

    /// Counts those that were added.
    pub(crate) fn settle(&mut self) {
        self.v4.iter_mut().for_each(Prefixes::settle);
        self.v6.iter_mut().for_each(Prefixes::settle);
    }

    fn lookup(&self, n: usize, key: &Key) -> Found {
        let (value, width) = (value(key, FIELDS[n]), FIELDS[n].bits());
        match n {
            0 | 1 => self.v4[n].lookup(value, width),
            _ => self.v6[n - 2].lookup(value, width),
        }
    }
}

/// The prefixes of a table during one lookup: each field is asked about at most once.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    addresses: &'a Addresses,
    found: [Option<Found>; FIELDS.len()],
    /// How many leading bits of each have been noted.
    noted: [u8; FIELDS.len()],
}

impl<'a> Asked<'a> {
    pub(crate) const fn new(addresses: &'a Addresses) -> Self {
        Self { addresses, found: [None; FIELDS.len()], noted: [0; FIELDS.len()] }
    }

    /// Whether an address has no prefix of these lengths; if so, the bits that show it have been
    /// noted: those of the address for which they are fewest.
    pub(crate) fn exclude(
        &mut self,
        lengths: &[u8; FIELDS.len()],
        key: &Key,
        looked: &mut impl Looked,
    ) -> bool {
        let mut fewest = None;
        for (n, len) in lengths.iter().enumerate().filter(|(_, len)| **len > 0) {
            let found = self.found[n].get_or_insert_with(|| self.addresses.lookup(n, key));
            if !found.has(*len) {
                let bits = found.bits.min(*len);
                if bits <= self.noted[n] {
                    return true;
                }
                fewest = fewest.min(Some((bits, n))).or(Some((bits, n)));
            }
        }
        if let Some((bits, n)) = fewest {
            look_at_leading(FIELDS[n], bits, looked);
            self.noted[n] = bits;
        }
        fewest.is_some()
    }
}

/// Notes that the first `bits` bits of a field were looked at.
fn look_at_leading(span: Span, bits: u8, looked: &mut impl Looked) {
    if bits > 0 {
        let mut mask = Key::ZERO;
        mask.set_all(span.slice(span.bits() - bits, bits));
        // A field of addresses is in one word or in two.
        for word in [span.word(), span.word().saturating_sub(1)] {
            looked.at(word, mask[word]);
        }
    }
}

/// The length of the prefix that the `bits` wide `mask` is; 0 if it is none.
pub(crate) fn prefix_len(mask: u128, bits: u8) -> u8 {
    let left = mask << (128 - bits);
    let len = left.leading_ones();
    if left.count_ones() == len { u8::try_from(len).unwrap_or(0) } else { 0 }
}
