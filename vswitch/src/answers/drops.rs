//! What was dropped last, and why.

use api::reply::{LastDrop, LastDrops, PassedFlow};
use api::{Failure, HexBytes, request};
use flowtable::RuleId;
use packet::{Key, parse};

use crate::control::Control;
use crate::describe::Names;
use crate::desk::Order;
use crate::last_drops::{self, DropsRequest};
use crate::trace::flow_text;

/// Drops that are answered with unless said.
const USUAL: usize = 10;

impl Control {
    pub(crate) fn explain_drops(
        &self,
        explain: &request::DropsExplain,
    ) -> Result<LastDrops, Failure> {
        let bridge = match (&explain.bridge, &explain.port) {
            (None, None) => None,
            (name, _) => Some(self.bridge(name.as_deref())?),
        };
        let port = match (&explain.port, bridge) {
            (Some(port), Some(bridge)) => Some(self.port(bridge, port)?.id),
            _ => None,
        };
        let answers = self.ask_workers(|reply| Order::Drops(DropsRequest { port, reply }))?;
        let is_of = |drop: &last_drops::LastDrop| {
            let of = self.ports.get(drop.port).map(|entry| entry.bridge);
            of.is_some() && bridge.is_none_or(|bridge| of == Some(bridge))
        };
        let numbered = (0..).zip(answers);
        let mut all: Vec<(u32, last_drops::LastDrop)> = numbered
            .flat_map(|(worker, drops)| drops.into_iter().map(move |drop| (worker, drop)))
            .filter(|(_, drop)| is_of(drop))
            .collect();
        all.sort_by_key(|(_, drop)| drop.time);
        let most = explain.limit.map_or(USUAL, |limit| usize::try_from(limit).unwrap_or(USUAL));
        let last = all.split_off(all.len().saturating_sub(most));
        let described = last.iter().filter_map(|(worker, drop)| self.describe(*worker, drop));
        Ok(LastDrops { drops: described.collect() })
    }

    fn describe(&self, worker: u32, drop: &last_drops::LastDrop) -> Option<LastDrop> {
        let entry = self.ports.get(drop.port)?;
        let bridge = self.tables.bridge(entry.bridge)?;
        let mut key = Key::ZERO.with(Key::IN_PORT, entry.number);
        let len = usize::try_from(drop.len).unwrap_or(usize::MAX);
        let parsed = parse(drop.head(), len, &mut key);
        let flow = parsed
            .map_or_else(|_runt| String::new(), |_headers| flow_text(&key, &Names(&bridge.ports)));
        let flow_of = |id: u64| self.tables.rule(RuleId(id)).map(|rule| rule.flow_mod());
        let passed = |id: &u64| PassedFlow { id: *id, flow: flow_of(*id) };
        let age = self.clock.now().saturating_sub(drop.time);
        Some(LastDrop {
            bridge: bridge.name.to_string(),
            port: entry.name.to_string(),
            time_ns: self.clock.since_1970(drop.time),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            worker,
            reason: drop.reason,
            len: drop.len,
            flow,
            head: HexBytes(drop.head().to_vec()),
            earlier: drop.earlier(),
            passed: drop.rules().iter().map(passed).collect(),
            between: drop.between.into(),
        })
    }
}
