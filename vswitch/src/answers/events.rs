//! Telling what happens: who wants to be told what, and what is told next.

use std::sync::Arc;

use api::reply::Event;
use api::request::{EventsWatch, FlowWatch};
use api::{Failure, FlowFilter, NoNames, text};
use flowtable::BridgeId;

use crate::control::Control;
use crate::events::{Told, Watched, Wishes, encode};
use crate::ledger;
use crate::turnover::watched;

/// Flows that are looked at between two looks at everything else.
const LOOKS: usize = 4096;

/// What a listener gets next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A line.
    Line(Arc<str>),
    /// Nothing yet, and it should be asked again soon.
    Soon,
    /// Nothing before something happens.
    Nothing,
}

impl Control {
    /// Begins to tell; answers with the listener's number.
    pub(crate) fn listen(&mut self, watch: &EventsWatch) -> Result<u64, Failure> {
        let bridge = watch.bridge.as_deref();
        let id = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let flows = watch.flows.as_ref().map(|flows| self.watched(id, flows)).transpose()?;
        let packets = watch.packets.clone();
        let connections = watch.connections.clone();
        let of_flows = flows.is_some() || watch.removed.is_some();
        if !of_flows && !watch.ports && packets.is_none() && connections.is_none() {
            return Err(Failure::refused(
                "nothing is to be told: ask for `removed`, `flows`, `ports`, `packets` or \
                 `connections`",
            ));
        }
        let wishes = Wishes {
            bridge: bridge.map(Into::into),
            removed: watch.removed,
            flows,
            ports: watch.ports,
            packets,
            connections,
        };
        let number = self.events.add(wishes);
        self.follow_wishes();
        Ok(number)
    }

    /// Has workers tell what somebody wants to be told, and no more.
    fn follow_wishes(&self) {
        self.crew.watch_packets(self.events.watch_packets());
        self.crew.connections().set_heard(self.events.watch_connections());
    }

    fn watched(&self, bridge: Option<BridgeId>, watch: &FlowWatch) -> Result<Watched, Failure> {
        let text = watch.filter.as_deref().unwrap_or("");
        // Ports have names in one bridge; of several, nobody knows which one is meant.
        let filter: FlowFilter = match bridge.or_else(|| self.bridge(None).ok()) {
            Some(bridge) => self.filter(bridge, text)?,
            None => {
                text::filter(text, &NoNames).map_err(|error| Failure::member("filter", &error))?
            }
        };
        Ok(Watched { filter, initial: watch.initial })
    }

    /// What a listener is told next.
    pub(crate) fn next_event(&mut self, number: u64) -> Next {
        let Some(listener) = self.events.get(number) else { return Next::Nothing };
        if let Some(line) = listener.pop() {
            return Next::Line(line);
        }
        let Told::Upto(first, after) = *listener.told() else { return Next::Nothing };
        let mut left = LOOKS;
        for (id, bridge) in self.tables.bridges().filter(|(id, _)| *id >= first) {
            // That bridge may be gone by now.
            let after = after.filter(|after| after.bridge == id);
            for (place, rule) in ledger::flows(&self.tables, id, after) {
                *listener.told() = Told::Upto(id, Some(place));
                if listener.wants(&bridge.name, rule) {
                    return Next::Line(encode(Event::FlowInitial(watched(&bridge.name, rule))));
                }
                left -= 1;
                if left == 0 {
                    return Next::Soon;
                }
            }
        }
        *listener.told() = Told::All;
        Next::Line(encode(Event::FlowsComplete {}))
    }

    /// Ends that.
    pub(crate) fn unlisten(&mut self, number: u64) {
        self.events.remove(number);
        self.follow_wishes();
    }
}
