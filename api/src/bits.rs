//! Some bits of a number.

use std::fmt::{self, Display};
use std::ops::Not;
use std::str::FromStr;

/// Some bits of a number, and what they are: `0x1/0xff`, or `0x1` alone, of which all count.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Bits<T> {
    /// What they are.
    pub value: T,
    /// Which ones.
    pub mask: T,
}

impl<T: Copy + Into<u128>> Bits<T> {
    /// Whether `number` has them so.
    pub fn are_in(&self, number: T) -> bool {
        (number.into() ^ self.value.into()) & self.mask.into() == 0
    }
}

impl<T: Copy + Default + PartialEq + Not<Output = T> + Into<u128>> Display for Bits<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value.into())?;
        if self.mask == !T::default() { Ok(()) } else { write!(f, "/{:#x}", self.mask.into()) }
    }
}

/// A text that is no number, or one of too many bits.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is no number of {width} bits such as 1, 0x1 or 0x1/0xff")]
pub struct InvalidBits {
    text: String,
    width: usize,
}

impl<T: Default + Not<Output = T> + TryFrom<u128>> FromStr for Bits<T> {
    type Err = InvalidBits;

    fn from_str(text: &str) -> Result<Self, InvalidBits> {
        let wrong =
            || InvalidBits { text: text.chars().take(40).collect(), width: 8 * size_of::<T>() };
        let read = |part| number(part).and_then(|number| T::try_from(number).ok());
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (read(value), read(mask)),
            None => (read(text), Some(!T::default())),
        };
        value.zip(mask).map(|(value, mask)| Self { value, mask }).ok_or_else(wrong)
    }
}

/// A number in decimal digits, or in hexadecimal ones behind `0x`.
fn number(text: &str) -> Option<u128> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // A sign is none.
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u128::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn some_bits_of_a_number_are_compared() {
        let bits: Bits<u32> = "0x12/0xf0".parse().unwrap();
        assert_eq!(bits, Bits { value: 0x12, mask: 0xf0 });
        assert!(bits.are_in(0x1f) && !bits.are_in(0x2f));
        let all: Bits<u32> = "18".parse().unwrap();
        assert_eq!(all, Bits { value: 18, mask: u32::MAX });
        assert!(all.are_in(18) && !all.are_in(0x1_0012));
    }

    #[test]
    fn what_is_no_number_of_its_width_is_refused() {
        for text in ["", "/", "1/", "/1", "-1", "+1", "0x", "0x+1", "x1", "1/2/3", "4294967296"] {
            let wrong = text.parse::<Bits<u32>>().unwrap_err().to_string();
            let expected = format!("`{text}` is no number of 32 bits such as 1, 0x1 or 0x1/0xff");
            assert_eq!(wrong, expected);
        }
        assert!(format!("{}0", u128::MAX).parse::<Bits<u128>>().is_err());
    }

    proptest! {
        #[test]
        fn bits_are_read_back(value: u128, mask: u128) {
            let bits = Bits { value, mask };
            prop_assert_eq!(bits.to_string().parse(), Ok(bits));
            let bits = Bits { value, mask: u128::MAX };
            prop_assert_eq!(bits.to_string().parse(), Ok(bits));
        }
    }
}
