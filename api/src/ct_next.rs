//! What a traced packet is taken to be to its connection.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ct::ct_state::{EST, INV, NEW, RPL, TRK};
use crate::field::CT_STATES;

/// Bits of `ct_state`, by their names, as `--ct-next` of `ovs-appctl ofproto/trace` takes them:
/// `est,rpl`. That the packet is tracked (`trk`) need not be said.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub struct CtNext(u32);

/// Why a text says nothing that a packet can be to its connection.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCtNext {
    /// A word is none of those that there are.
    #[error("`{0}` is none of new, est, rel, rpl, inv, trk, snat and dnat")]
    Unknown(String),
    /// Two words contradict each other.
    #[error("what is `{0}` cannot be `{1}`")]
    Contradicts(&'static str, &'static str),
}

impl CtNext {
    /// It begins a connection.
    pub const NEW: Self = Self(TRK | NEW);

    /// The bits: [`ct_state`](crate::ct_state).
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// The bits, each with its name, the lowest first.
fn names() -> impl Iterator<Item = (u32, &'static str)> {
    (0..).zip(CT_STATES.names).map(|(bit, name)| (1 << bit, *name))
}

impl FromStr for CtNext {
    type Err = InvalidCtNext;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bits = TRK;
        for word in text.split([',', '|', ' ', '+']).filter(|word| !word.is_empty()) {
            let known = names().find(|(_, name)| *name == word);
            let (bit, _) = known.ok_or_else(|| InvalidCtNext::Unknown(word.to_owned()))?;
            bits |= bit;
        }
        let name = |bits| names().find(|(bit, _)| bits & bit != 0).map_or("", |(_, name)| name);
        // As `validate_ct_state` of OVS has it.
        let contradictions = [(INV, !(INV | TRK)), (NEW, EST | RPL)];
        match contradictions.iter().find(|(one, others)| bits & one != 0 && bits & others != 0) {
            Some((one, others)) => Err(InvalidCtNext::Contradicts(name(*one), name(bits & others))),
            None => Ok(Self(bits)),
        }
    }
}

impl fmt::Display for CtNext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| name);
        f.write_str(&names.collect::<Vec<_>>().join("|"))
    }
}

impl From<CtNext> for String {
    fn from(next: CtNext) -> Self {
        next.to_string()
    }
}

impl TryFrom<String> for CtNext {
    type Error = InvalidCtNext;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let next = text.parse::<CtNext>().map_err(|wrong| wrong.to_string())?;
        Ok(next.to_string())
    }

    #[test]
    fn what_a_packet_is_to_its_connection_is_read() {
        assert_eq!(read("est"), Ok("est|trk".to_owned()));
        assert_eq!(read("trk,est,rpl"), Ok("est|rpl|trk".to_owned()));
        assert_eq!(read("+trk+inv"), Ok("inv|trk".to_owned()));
        assert_eq!(read("new rel|snat"), Ok("new|rel|trk|snat".to_owned()));
        assert_eq!(read(&CtNext::NEW.to_string()), Ok("new|trk".to_owned()));
        let unknown = "`old` is none of new, est, rel, rpl, inv, trk, snat and dnat";
        assert_eq!(read("trk,old"), Err(unknown.to_owned()));
        assert_eq!(read("new,est"), Err("what is `new` cannot be `est`".to_owned()));
        assert_eq!(read("rpl|new"), Err("what is `new` cannot be `rpl`".to_owned()));
        assert_eq!(read("inv,dnat"), Err("what is `inv` cannot be `dnat`".to_owned()));
    }
}
