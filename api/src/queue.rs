//! Egress queues as values: how fast packets leave, and how many wait.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// How an egress queue of a port is to be. A member that nobody knows is refused.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Bits of whole frames that leave in a second at most; as many as the port takes if none is
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<u64>,
    /// Bits that leave in a second before any other queue's turn comes, as far as there are packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rate: Option<u64>,
    /// Bytes that may leave at once after a pause; what `max_rate` is in 10 ms if none is given, and
    /// 16 KiB at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Its share of what the port takes, compared with those of other queues.
    pub weight: u16,
    /// Packets that may wait.
    pub depth: u32,
    /// Bytes of them.
    pub depth_bytes: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_rate: None,
            min_rate: None,
            burst: None,
            weight: 1,
            depth: 512,
            depth_bytes: 1 << 20,
        }
    }
}

impl QueueSettings {
    /// Rates: from a kilobit to a terabit.
    pub const RATES: RangeInclusive<u64> = 1_000..=1_000_000_000_000;
    /// Bursts: from an Ethernet frame to a gigabyte.
    pub const BURSTS: RangeInclusive<u64> = 1_514..=1_000_000_000;
    /// Weights.
    pub const WEIGHTS: RangeInclusive<u16> = 1..=1_000;
    /// Packets.
    pub const DEPTHS: RangeInclusive<u32> = 1..=4_096;
    /// Bytes: from an Ethernet frame to 64 MiB.
    pub const DEPTHS_BYTES: RangeInclusive<u32> = 1_514..=1 << 26;

    /// Which member is wrong, and why.
    pub fn check(&self) -> Result<(), String> {
        let Self { max_rate, min_rate, burst, weight, depth, depth_bytes } = *self;
        within("max_rate", max_rate.unwrap_or(*Self::RATES.start()), Self::RATES)?;
        within("min_rate", min_rate.unwrap_or(*Self::RATES.start()), Self::RATES)?;
        within("burst", burst.unwrap_or(*Self::BURSTS.start()), Self::BURSTS)?;
        within("weight", weight, Self::WEIGHTS)?;
        within("depth", depth, Self::DEPTHS)?;
        within("depth_bytes", depth_bytes, Self::DEPTHS_BYTES)?;
        match (min_rate, max_rate) {
            (Some(min), Some(max)) if min > max => {
                Err(format!("min_rate: {min} is more than max_rate, which is {max}"))
            }
            _ => Ok(()),
        }
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    let (least, most) = (range.start(), range.end());
    let wrong = || format!("{name}: {value} is not {least} to {most}");
    if range.contains(&value) { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_that_is_out_of_bounds_is_named() {
        let default = QueueSettings::default();
        assert_eq!(default.check(), Ok(()));
        let wrong = [
            (QueueSettings { max_rate: Some(999), ..default }, "max_rate: 999 is not 1000 to"),
            (QueueSettings { min_rate: Some(0), ..default }, "min_rate: 0 is not"),
            (QueueSettings { burst: Some(9), ..default }, "burst: 9 is not 1514 to"),
            (QueueSettings { weight: 0, ..default }, "weight: 0 is not 1 to 1000"),
            (QueueSettings { depth: 4_097, ..default }, "depth: 4097 is not 1 to 4096"),
            (QueueSettings { depth_bytes: 1, ..default }, "depth_bytes: 1 is not"),
            (
                QueueSettings { min_rate: Some(3_000), max_rate: Some(2_000), ..default },
                "min_rate: 3000 is more than max_rate",
            ),
        ];
        for (settings, expected) in wrong {
            let error = settings.check().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn what_is_not_given_has_its_default_and_what_nobody_knows_is_refused() {
        let read = serde_json::from_str::<QueueSettings>;
        let settings = read(r#"{"max_rate":5000000}"#).unwrap();
        let expected = QueueSettings { max_rate: Some(5_000_000), ..QueueSettings::default() };
        assert_eq!(settings, expected);
        assert!(read(r#"{"max_rte":5}"#).unwrap_err().to_string().contains("max_rte"));
    }
}
