//! `ofctl trace`: what would become of a packet, written down as it happens, pass by pass.
//!
//! Nothing is simulated: the walk through the tables is the very translation that a worker does,
//! with somebody who writes down what it sees, and its program is carried out on the packet's bytes
//! as a worker carries it out. Only the ports at the end are names, and what decides about each
//! packet is assumed or found out as it says.

mod recorder;
mod run;

use std::collections::VecDeque;

use api::reply::{Trace, Verdict};
use api::{CtNext, DropReason, Match, PortNames};
use flowtable::{PortView, Tables};
use packet::{Headers, Key, Runt, compose, parse};

use run::{Begin, Run};

/// A packet to be traced.
#[derive(Clone, Debug)]
pub struct Subject {
    key: Key,
    headers: Headers,
    bytes: Vec<u8>,
    /// Whether the bytes were given: then how many there are is known.
    is_whole: bool,
}

/// What is assumed where the tables do not say what becomes of a packet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Assumptions {
    /// Meters drop it; else they let it pass.
    pub metered: bool,
    /// It takes every bucket of a select group; else the one that its hash leads to.
    pub all_buckets: bool,
    /// What it is each time its connection is asked for, in order; else it begins one.
    pub ct_next: VecDeque<CtNext>,
}

impl Subject {
    /// A packet of which the fields are known, the port included.
    pub fn described(key: Key) -> Self {
        let bytes = compose(&key, 0);
        let headers = parse(&bytes, bytes.len(), &mut Key::default()).unwrap_or_default();
        Self { key, headers, bytes, is_whole: false }
    }

    /// A packet of which the bytes are known, from the port of this number.
    pub fn given(bytes: &[u8], in_port: u16) -> Result<Self, Runt> {
        let mut key = Key::ZERO.with(Key::IN_PORT, in_port);
        let headers = parse(bytes, bytes.len(), &mut key)?;
        Ok(Self { key, headers, bytes: bytes.to_vec(), is_whole: true })
    }

    /// The number of the port it comes in by.
    pub fn in_port(&self) -> u16 {
        u16::try_from(self.key.word(Key::IN_PORT)).unwrap_or(0)
    }
}

/// What would become of a packet that comes in by `port`. Nothing is sent, learned or counted.
pub fn trace(
    tables: &Tables,
    port: &PortView,
    subject: &Subject,
    assumptions: Assumptions,
) -> Trace {
    let Some(bridge) = tables.bridge(port.bridge) else {
        return Trace {
            passes: Vec::new(),
            verdict: Verdict::Dropped(DropReason::Closed),
            several: false,
            entries: Vec::new(),
            session: "no: it comes from nowhere".to_owned(),
        };
    };
    let length = subject.is_whole.then_some(subject.bytes.len());
    let key = subject.key.with(Key::INGRESS, port.id.0);
    let begin = Begin { port, key, headers: subject.headers };
    Run::new(tables, bridge, assumptions, length.is_some()).trace(begin, &subject.bytes)
}

/// All that is known of a packet, as the text of a match.
pub(crate) fn flow_text(key: &Key, names: &dyn PortNames) -> String {
    Match::exactly(key).print(names).to_string()
}
