//! One step of a packet's path through the tables: what gets the credit for it.

use api::TableId;
use packet::PortId;

use crate::ports::BridgeId;
use crate::rule::RuleId;

/// Something that a packet passed and that counts packets or time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// It met this rule.
    Rule(RuleId),
    /// It met none in this table.
    Miss {
        /// In this bridge.
        bridge: BridgeId,
        /// In this table.
        table: TableId,
    },
    /// It showed that a learned address is still there.
    Station {
        /// In this bridge.
        bridge: BridgeId,
        /// The entry's slot.
        slot: u16,
        /// The port it was seen at.
        port: PortId,
    },
}

const KIND: u32 = 62;
const MISS: u64 = 1;
const STATION: u64 = 2;

impl Step {
    /// The step as a word.
    pub fn to_word(self) -> u64 {
        match self {
            Self::Rule(RuleId(id)) => id,
            Self::Miss { bridge, table } => {
                MISS << KIND | u64::from(bridge.0) << 8 | u64::from(table)
            }
            Self::Station { bridge, slot, port } => {
                STATION << KIND
                    | u64::from(bridge.0) << 32
                    | u64::from(slot) << 16
                    | u64::from(port.0)
            }
        }
    }

    /// The step that `word` stands for.
    pub fn from_word(word: u64) -> Self {
        let [_, _, _, upper, slot_high, slot_low, high, low] = word.to_be_bytes();
        match word >> KIND {
            MISS => Self::Miss { bridge: BridgeId(high), table: low },
            STATION => Self::Station {
                bridge: BridgeId(upper),
                slot: u16::from_be_bytes([slot_high, slot_low]),
                port: PortId(u16::from_be_bytes([high, low])),
            },
            _ => Self::Rule(RuleId(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back() {
        for step in [
            Step::Rule(RuleId(1)),
            Step::Rule(RuleId(u64::MAX >> 2)),
            Step::Miss { bridge: BridgeId(63), table: 253 },
            Step::Station { bridge: BridgeId(63), slot: 8191, port: PortId(u16::MAX) },
        ] {
            assert_eq!(Step::from_word(step.to_word()), step);
        }
    }
}
