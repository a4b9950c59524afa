//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address (IEEE 802 EUI-48).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address as the low 48 bits of a word, the first byte highest.
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address in the low 48 bits of `word`; the rest is ignored.
    pub const fn from_u64(word: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Whether the group bit is set: multicast, broadcast included (IEEE 802 §8.2).
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is not six hexadecimal bytes joined by colons.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an Ethernet address is six hexadecimal bytes, such as 02:00:00:00:00:01")]
pub struct InvalidMac;

impl FromStr for MacAddr {
    type Err = InvalidMac;

    /// Accepts one or two digits a byte, as OVS does.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(InvalidMac)?;
            let digits = matches!(part.len(), 1..=2) && part.bytes().all(|b| b.is_ascii_hexdigit());
            *byte =
                digits.then(|| u8::from_str_radix(part, 16).ok()).flatten().ok_or(InvalidMac)?;
        }
        if parts.next().is_some() { Err(InvalidMac) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["00:00:00:00:00:00", "02:1a:ff:00:10:09"] {
            assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), text);
        }
        assert_eq!("2:0:0:0:0:a".parse(), Ok(MacAddr([2, 0, 0, 0, 0, 10])));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "1:2:3:4:5:+6", "1:2:3:4:5:100", "g:0:0:0:0:0"]
        {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMac), "{text}");
        }
    }

    #[test]
    fn words_keep_the_order_of_bytes() {
        let mac = MacAddr([1, 2, 3, 4, 5, 6]);
        assert_eq!(mac.to_u64(), 0x0102_0304_0506);
        assert_eq!(MacAddr::from_u64(0xffff_0102_0304_0506), mac);
    }
}
