//! What happens, for whoever asked to be told.
//!
//! Control tells what it does when it has done it; each listener's events wait here until its
//! connection takes them. Whoever listens is never waited for: what finds no room in a listener's
//! queue is counted, and so is everything behind it until the queue has been read. Then the gap is
//! told; and who watches flows with those that are there is told all of them anew, so that what it
//! knows is right again.
//!
//! Flows that are there already are not queued: they are told from the ledger, from one place on to
//! the next, as fast as they are read. A change of a flow that has not been told yet need not be
//! told either, since the ledger will show it as it is by then.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use api::reply::Event;
use api::request::{ConnectionFilter, RemovedFlows};
use api::{FlowFilter, Notification, codec};
use flowtable::{BridgeId, Rule};

use crate::answers::is_meant;
use crate::ledger::Place;

/// Bytes of events that wait for one listener.
pub(crate) const ROOM: usize = 2 << 20;

/// What one listener wants to be told.
#[derive(Debug)]
pub struct Wishes {
    /// Only of the bridge of this name.
    pub bridge: Option<Arc<str>>,
    /// The end of flows.
    pub removed: Option<RemovedFlows>,
    /// Flows that come, change and go.
    pub flows: Option<Watched>,
    /// Ports that do.
    pub ports: bool,
    /// Packets that are shown: those of these watchers, of all if there is none.
    pub packets: Option<Vec<u16>>,
    /// What becomes of connections: of these.
    pub connections: Option<ConnectionFilter>,
}

/// Which flows are watched.
#[derive(Debug)]
pub struct Watched {
    /// These.
    pub filter: FlowFilter,
    /// Whether those that are there are told first.
    pub initial: bool,
}

/// How far those flows have been told that are there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    /// Up to here: in this bridge, and there up to this place.
    Upto(BridgeId, Option<Place>),
    /// All of them.
    All,
}

impl Told {
    /// Nothing yet.
    pub(crate) const NOTHING: Self = Self::Upto(BridgeId(0), None);

    fn has(self, place: Place) -> bool {
        match self {
            Self::All => true,
            Self::Upto(bridge, upto) => {
                place.bridge < bridge
                    || place.bridge == bridge && upto.is_some_and(|upto| place <= upto)
            }
        }
    }
}

/// Somebody who wants to be told.
#[derive(Debug)]
pub(crate) struct Listener {
    wishes: Wishes,
    queue: VecDeque<Arc<str>>,
    /// Bytes in the queue.
    waiting: usize,
    /// Events for which there was no room.
    lost: u64,
    told: Told,
}

impl Listener {
    fn new(wishes: Wishes) -> Self {
        let told = match &wishes.flows {
            Some(Watched { initial: true, .. }) => Told::NOTHING,
            _ => Told::All,
        };
        Self { wishes, queue: VecDeque::new(), waiting: 0, lost: 0, told }
    }

    fn is_of(&self, bridge: &str) -> bool {
        self.wishes.bridge.as_ref().is_none_or(|own| **own == *bridge)
    }

    /// Whether it wants to be told of this end.
    fn wants_end(&self, rule: &Rule) -> bool {
        match self.wishes.removed {
            Some(RemovedFlows::All) => true,
            Some(RemovedFlows::Asked) => rule.flags.send_flow_rem,
            None => false,
        }
    }

    /// Whether it wants to be told that `rule`, which is or was at `place`, comes, changes or goes.
    fn watches(&self, place: Place, rule: &Rule) -> bool {
        let meant = |flows: &Watched| is_meant(rule, &flows.filter);
        self.told.has(place) && self.wishes.flows.as_ref().is_some_and(meant)
    }

    fn push(&mut self, line: &OnceCell<Arc<str>>, make: impl FnOnce() -> Event) {
        // Behind a gap nothing is queued before it has been told: the order would be wrong.
        if self.lost > 0 || self.waiting >= ROOM {
            self.lost += 1;
            return;
        }
        let line = line.get_or_init(|| encode(make()));
        if self.waiting + line.len() > ROOM {
            self.lost += 1;
            return;
        }
        self.waiting += line.len();
        self.queue.push_back(Arc::clone(line));
    }

    /// What is to be told next of what has happened.
    pub(crate) fn pop(&mut self) -> Option<Arc<str>> {
        if let Some(line) = self.queue.pop_front() {
            self.waiting -= line.len();
            return Some(line);
        }
        if self.lost == 0 {
            return None;
        }
        if self.wishes.flows.as_ref().is_some_and(|flows| flows.initial) {
            self.told = Told::NOTHING;
        }
        Some(encode(Event::Lost { events: std::mem::take(&mut self.lost) }))
    }

    /// How far flows have been told.
    pub(crate) const fn told(&mut self) -> &mut Told {
        &mut self.told
    }

    /// Whether `rule` of `bridge` is among the flows to be told that are there.
    pub(crate) fn wants(&self, bridge: &str, rule: &Rule) -> bool {
        let meant = |flows: &Watched| is_meant(rule, &flows.filter);
        self.is_of(bridge) && self.wishes.flows.as_ref().is_some_and(meant)
    }
}

/// All who listen.
#[derive(Debug, Default)]
pub struct Events {
    listeners: BTreeMap<u64, Listener>,
    last: u64,
}

impl Events {
    /// One listener more; answers with its number.
    pub(crate) fn add(&mut self, wishes: Wishes) -> u64 {
        self.last += 1;
        self.listeners.insert(self.last, Listener::new(wishes));
        self.last
    }

    /// One less.
    pub(crate) fn remove(&mut self, number: u64) {
        self.listeners.remove(&number);
    }

    /// A listener.
    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Listener> {
        self.listeners.get_mut(&number)
    }

    /// How many listen.
    pub fn len(&self) -> usize {
        self.listeners.len()
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Bytes of events that wait to be read.
    pub fn waiting(&self) -> usize {
        self.listeners.values().map(|listener| listener.waiting).sum()
    }

    /// Whether somebody watches flows, or their end.
    pub(crate) fn watch_flows(&self) -> bool {
        let watches = |wishes: &Wishes| wishes.removed.is_some() || wishes.flows.is_some();
        self.listeners.values().any(|listener| watches(&listener.wishes))
    }

    /// Whether somebody wants to be told of this end.
    pub(crate) fn want_end(&self, bridge: &str, rule: &Rule) -> bool {
        self.listeners.values().any(|one| one.is_of(bridge) && one.wants_end(rule))
    }

    /// Tells of the end of a flow.
    pub(crate) fn tell_end(&mut self, bridge: &str, rule: &Rule, make: impl Fn() -> Event) {
        let line = OnceCell::new();
        let wanting = |one: &&mut Listener| one.is_of(bridge) && one.wants_end(rule);
        self.listeners.values_mut().filter(wanting).for_each(|one| one.push(&line, &make));
    }

    /// Tells that a flow comes, changes or goes: those who watch it as it was, or as it is.
    pub(crate) fn tell_flow(
        &mut self,
        bridge: &str,
        place: Place,
        (old, new): (Option<&Rule>, Option<&Rule>),
        make: impl Fn() -> Event,
    ) {
        let line = OnceCell::new();
        for listener in self.listeners.values_mut().filter(|one| one.is_of(bridge)) {
            if old.into_iter().chain(new).any(|rule| listener.watches(place, rule)) {
                listener.push(&line, &make);
            }
        }
    }

    /// Whether somebody wants to see packets.
    pub(crate) fn watch_packets(&self) -> bool {
        self.listeners.values().any(|listener| listener.wishes.packets.is_some())
    }

    /// Tells of a packet that is shown to a watcher; to all if it is a sample.
    pub(crate) fn tell_packet(
        &mut self,
        bridge: &str,
        watcher: Option<u16>,
        make: impl Fn() -> Event,
    ) {
        let line = OnceCell::new();
        let wants = |packets: &Vec<u16>| {
            packets.is_empty() || watcher.is_none_or(|watcher| packets.contains(&watcher))
        };
        let wanting = |one: &&mut Listener| {
            one.is_of(bridge) && one.wishes.packets.as_ref().is_some_and(wants)
        };
        self.listeners.values_mut().filter(wanting).for_each(|one| one.push(&line, &make));
    }

    /// Whether somebody wants to be told what becomes of connections.
    pub(crate) fn watch_connections(&self) -> bool {
        self.listeners.values().any(|listener| listener.wishes.connections.is_some())
    }

    /// Tells what has become of a connection; `takes` says whether a filter takes it.
    pub(crate) fn tell_connection(
        &mut self,
        takes: impl Fn(&ConnectionFilter) -> bool,
        make: impl Fn() -> Event,
    ) {
        let line = OnceCell::new();
        let wanting = |one: &&mut Listener| one.wishes.connections.as_ref().is_some_and(&takes);
        self.listeners.values_mut().filter(wanting).for_each(|one| one.push(&line, &make));
    }

    /// Tells that changes of connections are missing here.
    pub(crate) fn lose_connections(&mut self, changes: u64) {
        let listeners = self.listeners.values_mut();
        let wanting = listeners.filter(|listener| listener.wishes.connections.is_some());
        wanting.for_each(|listener| listener.lost += changes);
    }

    /// Tells of a port.
    pub(crate) fn tell_port(&mut self, bridge: &str, make: impl Fn() -> Event) {
        let line = OnceCell::new();
        let wanting = |one: &&mut Listener| one.is_of(bridge) && one.wishes.ports;
        self.listeners.values_mut().filter(wanting).for_each(|one| one.push(&line, &make));
    }
}

/// An event as it crosses the socket. What has no room on a line is told as a gap.
pub(crate) fn encode(event: Event) -> Arc<str> {
    let line = codec::encode_notification(&Notification::Event(event));
    let gap = || codec::encode_notification(&Notification::Event(Event::Lost { events: 1 }));
    line.or_else(|_too_long| gap()).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        Listener::new(Wishes {
            bridge: None,
            removed: None,
            flows: None,
            ports: true,
            packets: None,
            connections: None,
        })
    }

    fn event(number: u64) -> Event {
        Event::Lost { events: number }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_where_it_is_missing() {
        let mut listener = listener();
        let all = 200_000;
        for number in 1..=all {
            listener.push(&OnceCell::new(), || event(number));
            assert!(listener.waiting <= ROOM);
        }
        let mut lines = std::iter::from_fn(|| listener.pop()).collect::<Vec<_>>();
        let gap = lines.pop().unwrap();
        assert!(lines.len() > 10_000, "{}", lines.len());
        assert_eq!(gap, encode(event(all - lines.len() as u64)), "the rest is the gap");
        for (line, number) in lines.iter().zip(1..) {
            assert_eq!(*line, encode(event(number)), "in order, and none left out");
        }
        listener.push(&OnceCell::new(), || event(7));
        assert_eq!(listener.pop(), Some(encode(event(7))), "it goes on");
        assert_eq!((listener.pop(), listener.waiting), (None, 0));
    }

    #[test]
    fn who_wants_the_same_shares_one_line() {
        let mut events = Events::default();
        let numbers = [events.add(listener().wishes), events.add(listener().wishes)];
        let elsewhere = events.add(Wishes { bridge: Some("br1".into()), ..listener().wishes });
        events.tell_port("br0", || event(1));
        let [a, b] = numbers.map(|number| events.get(number).unwrap().pop().unwrap());
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(events.get(elsewhere).unwrap().pop(), None);
        events.remove(numbers[0]);
        assert!(events.get(numbers[0]).is_none());
    }
}
