//! The Internet checksum (RFC 1071) and its updates (RFC 1624).

use std::net::{Ipv4Addr, Ipv6Addr};

/// A ones' complement sum on its way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sum {
    total: u64,
    /// Whether an odd number of bytes has been added: the next one is the low half of a word.
    odd: bool,
}

impl Sum {
    /// Adds the pseudo-header of IPv4 (RFC 9293 §3.1): the addresses, the protocol, the transport
    /// length.
    #[must_use]
    pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, len: usize) -> Self {
        Self::default().bytes(&src.octets()).bytes(&dst.octets()).word(proto.into()).length(len)
    }

    /// Adds the pseudo-header of IPv6 (RFC 8200 §8.1).
    #[must_use]
    pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, proto: u8, len: usize) -> Self {
        Self::default().bytes(&src.octets()).bytes(&dst.octets()).word(proto.into()).length(len)
    }

    fn length(self, len: usize) -> Self {
        Self { total: self.total + (len as u64 >> 16) + (len as u64 & 0xffff), ..self }
    }

    /// Adds one whole word, in host order.
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self { total: self.total + u64::from(word), ..self }
    }

    /// Adds `bytes`, which go on where the last ones ended.
    ///
    /// Cost: two additions for eight bytes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // RFC 1071 §2 (B): sum in the machine's order, swap once at the end; RFC 1071 §2 (A): an
        // odd start only swaps the bytes of the sum.
        let folded = u16::from_be_bytes(fold(sum_of(bytes)).to_ne_bytes());
        let part = if self.odd { folded.swap_bytes() } else { folded };
        Self { total: self.total + u64::from(part), odd: self.odd ^ (bytes.len() % 2 == 1) }
    }

    /// The sum as it stands in a partial checksum: folded, not inverted.
    #[must_use]
    pub fn partial(self) -> u16 {
        fold(self.total)
    }

    /// The checksum: what makes the sum of everything all ones.
    #[must_use]
    pub fn finish(self) -> u16 {
        !fold(self.total)
    }
}

/// The sum of words in the machine's order, not folded to the end: what is missing of the last one is zero.
#[inline]
pub(crate) fn sum_of(bytes: &[u8]) -> u64 {
    // Carries go round: the size of words makes no difference (RFC 1071 §2 (C)).
    let (pairs, rest) = bytes.as_chunks::<16>();
    let (mut even, mut odd) = (0, 0);
    for pair in pairs {
        let [a, b, c, d, e, f, g, h, others @ ..] = *pair;
        even = add(even, u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        odd = add(odd, u64::from_ne_bytes(others));
    }
    let (mut sum, mut rest) = (add(even, odd), rest);
    if let Some((word, behind)) = rest.split_first_chunk() {
        (sum, rest) = (add(sum, u64::from_ne_bytes(*word)), behind);
    }
    sum = fold_in_half(sum);
    if let Some((word, behind)) = rest.split_first_chunk() {
        (sum, rest) = (sum + u64::from(u32::from_ne_bytes(*word)), behind);
    }
    sum += match *rest {
        [a] => u64::from(u16::from_ne_bytes([a, 0])),
        [a, b] => u64::from(u16::from_ne_bytes([a, b])),
        [a, b, c] => u64::from(u32::from_ne_bytes([a, b, c, 0])),
        _ => 0,
    };
    sum
}

/// The same of whole words of four bytes, as headers are made of.
#[inline]
pub(crate) fn sum_of_words(bytes: &[u8]) -> u64 {
    let (words, half) = bytes.as_chunks();
    let sum = words.iter().fold(0, |sum, word| add(sum, u64::from_ne_bytes(*word)));
    let half = half.first_chunk().map_or(0, |half| u32::from_ne_bytes(*half));
    add(sum, half.into())
}

/// The same of fewer than sixteen bytes that end with the `last` eight, which may begin before them.
#[inline]
pub(crate) fn sum_of_few(bytes: &[u8], last: &[u8; 8]) -> u64 {
    let first = bytes.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
    // What is in front of the others is shifted out; there may be none.
    let others = u64::from_le_bytes(*last) >> 8 >> (56 - bytes.len() % 8 * 8);
    add(first, others.to_le())
}

/// Both halves of a sum, together.
#[inline]
const fn fold_in_half(sum: u64) -> u64 {
    (sum >> 32) + (sum & 0xffff_ffff)
}

/// Adds words whose carry goes round.
#[inline]
pub(crate) const fn add(one: u64, other: u64) -> u64 {
    let (sum, carries) = one.overflowing_add(other);
    sum.wrapping_add(carries as u64)
}

/// Folds a sum into sixteen bits, carries going round.
#[inline]
const fn fold(sum: u64) -> u16 {
    // Of both halves the upper one is what they come to, with what the lower one carries.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The checksum of `bytes`.
pub fn of(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).finish()
}

/// Updates a checksum after one of the 16-bit words it covers changed from `old` to `new`.
///
/// * Shape: all three are whole words, in host order (`u16::from_be_bytes`).
/// * Domain: if the word has changed, the covered bytes must not all be zero afterwards (an IP header
///   never is).
/// * Errors: none. Cost: three additions, independent of the length covered.
/// * Source: RFC 1624 §3, equation 3, `HC' = ~(~HC + ~m + m')`.
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    if old == new {
        // That of nothing but zeros would become another zero.
        return checksum;
    }
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    !fold32(sum)
}

/// [`update`] for a change of two words at once, such as an IPv4 address.
#[inline]
pub fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    if old == new {
        return checksum;
    }
    let halves = |word: u32| (word >> 16) + (word & 0xffff);
    !fold32(u32::from(!checksum) + halves(!old) + halves(new))
}

/// A partial checksum ([`crate::Checksum::Partial`]) after two words of its pseudo-header changed:
/// the same sum, but the field is not inverted.
#[inline]
pub fn update_partial32(partial: u16, old: u32, new: u32) -> u16 {
    !update32(!partial, old, new)
}

/// What a checksum changes by when words that it covers do (RFC 1624 §3): a sum, folded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delta(pub u16);

impl Delta {
    /// Of four words, in the order of a packet; what changes nothing counts for nothing.
    #[inline]
    #[must_use]
    pub fn of(old: u64, new: u64) -> Self {
        // A word that stays counts 0xffff, which is nothing as well if others change.
        if old == new { Self(0) } else { Self(fold(add(!old, new))) }
    }

    /// Both changes together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(fold32(u32::from(self.0) + u32::from(other.0)))
    }

    /// A checksum after the change.
    #[inline]
    #[must_use]
    pub fn on(self, checksum: u16) -> u16 {
        // Of two words the sum that is carried back into never carries once more.
        let (sum, carries) = (!checksum).overflowing_add(self.0);
        !sum.wrapping_add(carries.into())
    }

    /// A partial checksum ([`crate::Checksum::Partial`]) after the change.
    #[inline]
    #[must_use]
    pub fn on_partial(self, partial: u16) -> u16 {
        !self.on(!partial)
    }
}

#[inline]
fn fold32(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §4.1, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    /// As of an echo reply of zeros whose type is written once more.
    #[test]
    fn a_checksum_of_zeros_that_stay_is_not_another_zero() {
        assert_eq!(of(&[0; 8]), u16::MAX);
        assert_eq!(update(u16::MAX, 0, 0), u16::MAX);
        assert_eq!(update32(u16::MAX, 0, 0), u16::MAX);
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(of(&bytes), !0xddf2);
    }

    proptest! {
        #[test]
        fn what_is_short_has_the_same_sum(
            front: [u8; 8],
            bytes in prop::collection::vec(any::<u8>(), 0..16),
            header in prop::sample::select(vec![8, 12, 20]),
        ) {
            let all = [&front[..], &bytes].concat();
            let few = sum_of_few(&bytes, all.last_chunk().unwrap());
            prop_assert_eq!(fold(few), fold(sum_of(&bytes)));
            let header = [&all[..], &[7; 12]].concat()[..header].to_vec();
            prop_assert_eq!(fold(sum_of_words(&header)), fold(sum_of(&header)));
        }

        #[test]
        fn a_change_is_a_sum_that_is_folded(
            checksum in prop_oneof![Just(0), Just(u16::MAX), any::<u16>()],
            delta in prop_oneof![Just(0), Just(u16::MAX), any::<u16>()],
        ) {
            let expected = !fold32(u32::from(!checksum) + u32::from(delta));
            prop_assert_eq!(Delta(delta).on(checksum), expected);
        }

        #[test]
        fn it_is_the_plain_sum_however_it_is_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(0usize..300, 0..4),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let sum = cuts.windows(2).fold(Sum::default(), |sum, cut| sum.bytes(&bytes[cut[0]..cut[1]]));
            prop_assert_eq!(sum.finish(), plain(&bytes));
        }

        /// Word by word, or all at once.
        #[test]
        fn a_delta_is_all_updates_together(
            old: [u8; 12],
            new: [u8; 12],
            keeps: [bool; 6],
            sum: u16,
        ) {
            let mut new = new;
            for (n, _) in keeps.iter().enumerate().filter(|(_, keeps)| **keeps) {
                new[2 * n..][..2].copy_from_slice(&old[2 * n..][..2]);
            }
            let [old_words, new_words] = [&old, &new].map(|bytes| {
                let (first, rest) = bytes.split_first_chunk().unwrap();
                let rest: [u8; 4] = rest.try_into().unwrap();
                [u64::from_be_bytes(*first), u32::from_be_bytes(rest).into()]
            });
            let [first, rest] = [0, 1].map(|n| Delta::of(old_words[n], new_words[n]));
            let delta = first.and(rest);
            let words = old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0);
            let plain = words.clone().filter(|(old, new)| old != new).fold(sum, |sum, (old, new)| {
                update(sum, u16::from_be_bytes(*old), u16::from_be_bytes(*new))
            });
            prop_assert_eq!(delta.on(sum), plain);
            prop_assert_eq!(!delta.on_partial(!sum), plain);
        }

        #[test]
        fn an_update_is_a_new_sum(mut bytes in prop::array::uniform20(any::<u8>()), at in 0usize..5, new: u32) {
            bytes[0] = 0x45;
            let before = of(&bytes);
            let place = at * 4..at * 4 + 4;
            let old = u32::from_be_bytes(bytes[place.clone()].try_into().unwrap());
            let new = if at == 0 { new | 1 << 31 } else { new };
            bytes[place].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update32(before, old, new), of(&bytes));
            let (old, new) = (old.to_be_bytes(), new.to_be_bytes());
            let high = update(before, u16::from_be_bytes([old[0], old[1]]), u16::from_be_bytes([new[0], new[1]]));
            let both = update(high, u16::from_be_bytes([old[2], old[3]]), u16::from_be_bytes([new[2], new[3]]));
            prop_assert_eq!(both, of(&bytes));
        }
    }
}
