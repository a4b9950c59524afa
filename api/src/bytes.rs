//! How values that are no JSON cross the socket: as text.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::change::Change;
use crate::drop::DropReason;
use crate::flow::{FlowMod, Match};
use crate::group::{Group, GroupMod};
use crate::meter::{Meter, MeterMod};

/// Serialises by `Display` and `FromStr`: `#[serde(with = "as_text")]`.
pub(crate) mod as_text {
    use super::{Deserializer, Display, FromStr, Serializer, Text};

    pub(crate) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Display,
        S: Serializer,
    {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_str(Text(std::marker::PhantomData))
    }
}

/// The same for a value that may be missing.
pub(crate) mod as_text_if_any {
    use super::{Deserialize, Deserializer, Display, FromStr, Serializer, as_text};

    pub(crate) fn serialize<T, S>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Display,
        S: Serializer,
    {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        #[derive(Deserialize)]
        #[serde(bound = "T: FromStr<Err: Display>")]
        struct Wrapped<T>(#[serde(with = "as_text")] T);

        let wrapped = Option::<Wrapped<T>>::deserialize(deserializer)?;
        Ok(wrapped.map(|Wrapped(value)| value))
    }
}

/// Reads a string into what it says.
struct Text<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err: Display>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! serialised_as_text {
    ($($type:ty)*) => { $(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                as_text::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                as_text::deserialize(deserializer)
            }
        }
    )* };
}

serialised_as_text! { FlowMod Match Group GroupMod Meter MeterMod Change DropReason HexBytes }

/// The bytes of a packet, written as hexadecimal digits; case does not matter, nor do blanks and
/// colons between bytes.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct HexBytes(pub Vec<u8>);

impl Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is not pairs of hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("byte {at}: expected two hexadecimal digits a byte")]
pub struct InvalidHex {
    /// Where the text stops being so.
    pub at: usize,
}

impl FromStr for HexBytes {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        let mut bytes = Vec::with_capacity(text.len() / 2);
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            if let Some(more) = rest.strip_prefix([' ', ':', '\t', '\n', '\r']) {
                rest = more;
                continue;
            }
            let pair = rest.get(..2).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            bytes.push(byte.ok_or(InvalidHex { at })?);
            rest = rest.get(2..).unwrap_or_default();
        }
        Ok(Self(bytes))
    }
}

/// A number of 128 bits, which JSON's are not, in hexadecimal digits: `#[serde(with = "as_hex")]`.
pub(crate) mod as_hex {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{number:#x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        number.ok_or_else(|| D::Error::custom("expected hexadecimal digits behind `0x`"))
    }
}

/// The bytes of a packet in base64, for where there are many: `#[serde(with = "as_base64")]`.
pub(crate) mod as_base64 {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        BASE64_STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_with_and_without_blanks() {
        let bytes = HexBytes(vec![0x00, 0xff, 0x1a]);
        for text in ["00ff1a", "00 FF 1a", "00:ff:1a", " 00ff 1A\n"] {
            assert_eq!(text.parse(), Ok(bytes.clone()), "{text}");
        }
        assert_eq!(bytes.to_string(), "00ff1a");
        for (text, at) in [("0", 0), ("00f", 2), ("0x00", 0), ("00é", 2), ("0 0", 0)] {
            assert_eq!(text.parse::<HexBytes>(), Err(InvalidHex { at }), "{text}");
        }
    }
}
