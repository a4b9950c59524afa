//! Hashes of words, from a seed.

use std::hash::Hasher;

/// The start of every hash. Random, since whoever sends packets chooses what is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// Begins a hash.
    #[inline]
    pub const fn hasher(self) -> Folding {
        Folding(self.0)
    }

    /// Hashes `words` in order.
    #[inline]
    pub fn hash(self, words: impl IntoIterator<Item = u64>) -> u64 {
        words.into_iter().fold(self.hasher(), Folding::and).finish()
    }
}

/// A hash in the making: each word is multiplied in, and both halves of the product count. (The
/// step of wyhash and foldhash; theirs gather bytes first, which costs three times as much for
/// whole words.)
#[derive(Clone, Copy, Debug)]
pub struct Folding(u64);

impl Folding {
    /// With one more word.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
    pub const fn and(self, word: u64) -> Self {
        // Odd, and with as many ones as zeros all over.
        const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = (self.0 ^ word) as u128 * FACTOR;
        Self(product as u64 ^ (product >> 64) as u64)
    }
}

impl Hasher for Folding {
    #[inline]
    fn finish(&self) -> u64 {
        // Once more, so that the last word reaches every bit.
        self.and(0x2545_f491_4f6c_dd1d).0
    }

    fn write_u8(&mut self, byte: u8) {
        *self = self.and(byte.into());
    }

    fn write_u16(&mut self, half: u16) {
        *self = self.and(half.into());
    }

    fn write_u32(&mut self, word: u32) {
        *self = self.and(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        *self = self.and(word as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            *self = self.and(u64::from_le_bytes(word)).and(chunk.len() as u64);
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        *self = self.and(word);
    }
}
