//! One step of a packet's path through the tables: what gets the credit for it.

use api::TableId;
use packet::PortId;

use crate::group::GroupSerial;
use crate::ports::BridgeId;
use crate::rule::RuleId;

/// Something that a packet passed and that counts packets or time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// It met this rule.
    Rule(RuleId),
    /// It met one in this table.
    Match {
        /// In this bridge.
        bridge: BridgeId,
        /// In this table.
        table: TableId,
    },
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
    /// It was led to this group.
    Group(GroupSerial),
    /// It took a bucket of a group.
    Bucket {
        /// The group.
        group: GroupSerial,
        /// The bucket's place in it.
        at: u16,
    },
    /// It showed the need for a flow, which is this one.
    Taught(RuleId),
    /// It ended a connection, and shortened the timeouts of this flow.
    Fin {
        /// In this bridge.
        bridge: BridgeId,
        /// The flow.
        rule: RuleId,
    },
}

const KIND: u32 = 62;
const MISS: u64 = 1;
const STATION: u64 = 2;
/// The other kinds, told apart by the next bits.
const OTHER: u64 = 3;
const OTHER_KIND: u32 = 58;
const GROUP: u64 = 0;
const BUCKET: u64 = 1;
const TAUGHT: u64 = 2;
const FIN: u64 = 3;
const MATCH: u64 = 4;
/// Bits of a rule's number beside that of its bridge: more rules no switch has seen.
const RULE_BITS: u32 = 52;

impl Step {
    /// The step as a word.
    pub fn to_word(self) -> u64 {
        match self {
            Self::Rule(RuleId(id)) => id,
            Self::Match { bridge, table } => {
                other(MATCH, u64::from(bridge.0) << 8 | u64::from(table))
            }
            Self::Miss { bridge, table } => {
                MISS << KIND | u64::from(bridge.0) << 8 | u64::from(table)
            }
            Self::Station { bridge, slot, port } => {
                STATION << KIND
                    | u64::from(bridge.0) << 32
                    | u64::from(slot) << 16
                    | u64::from(port.0)
            }
            Self::Group(GroupSerial(group)) => other(GROUP, group.into()),
            Self::Bucket { group, at } => other(BUCKET, u64::from(group.0) << 16 | u64::from(at)),
            Self::Taught(RuleId(id)) => other(TAUGHT, id),
            Self::Fin { bridge, rule: RuleId(id) } => {
                other(FIN, u64::from(bridge.0) << RULE_BITS | id)
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
            OTHER => {
                let value = word & ((1 << OTHER_KIND) - 1);
                let group = |word: u64| GroupSerial(u32::try_from(word).unwrap_or(0));
                match word >> OTHER_KIND & 0xf {
                    GROUP => Self::Group(group(value)),
                    BUCKET => Self::Bucket {
                        group: group(value >> 16),
                        at: u16::from_be_bytes([high, low]),
                    },
                    TAUGHT => Self::Taught(RuleId(value)),
                    MATCH => Self::Match { bridge: BridgeId(high), table: low },
                    _ => Self::Fin {
                        bridge: BridgeId(u8::try_from(value >> RULE_BITS).unwrap_or(0)),
                        rule: RuleId(value & ((1 << RULE_BITS) - 1)),
                    },
                }
            }
            _ => Self::Rule(RuleId(word)),
        }
    }
}

/// A word of one of the other kinds.
const fn other(kind: u64, value: u64) -> u64 {
    OTHER << KIND | kind << OTHER_KIND | value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back() {
        for step in [
            Step::Rule(RuleId(1)),
            Step::Rule(RuleId(u64::MAX >> 2)),
            Step::Match { bridge: BridgeId(63), table: 253 },
            Step::Miss { bridge: BridgeId(63), table: 253 },
            Step::Station { bridge: BridgeId(63), slot: 8191, port: PortId(u16::MAX) },
            Step::Group(GroupSerial(u32::MAX)),
            Step::Bucket { group: GroupSerial(u32::MAX), at: u16::MAX },
            Step::Taught(RuleId(u64::MAX >> 6)),
            Step::Fin { bridge: BridgeId(63), rule: RuleId(u64::MAX >> 12) },
        ] {
            assert_eq!(Step::from_word(step.to_word()), step);
        }
    }
}
