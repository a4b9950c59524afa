//! The words of a match, without those that say nothing.

use std::ops::Deref;

/// As many words as most matches have.
const FEW: usize = 4;

/// What a rule matches, in the words its mask says. Few words lie in place.
#[derive(Clone, Debug)]
pub struct Values(Words);

#[derive(Clone, Debug)]
enum Words {
    Few(u8, [u64; FEW]),
    Many(Box<[u64]>),
}

impl Deref for Values {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        match &self.0 {
            Words::Few(count, words) => &words[..usize::from(*count).min(FEW)],
            Words::Many(words) => words,
        }
    }
}

impl FromIterator<u64> for Values {
    fn from_iter<I: IntoIterator<Item = u64>>(words: I) -> Self {
        let (mut few, mut count) = ([0; FEW], 0u8);
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(place) = few.get_mut(usize::from(count)) else {
                return Self(Words::Many(few.into_iter().chain([word]).chain(words).collect()));
            };
            *place = word;
            count += 1;
        }
        Self(Words::Few(count, few))
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Values {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_words_comes_back() {
        for count in 0..12 {
            let values: Values = (0..count).collect();
            assert!(values.iter().copied().eq(0..count), "{count}");
        }
        assert_eq!(size_of::<Values>(), 40);
    }
}
