//! Connections that are tracked.

use std::collections::BTreeMap;

use api::reply::{
    Connection, ConnectionKind, ConnectionTuple, Connections, CtCounts, CtFlushed, Cursor, Event,
};
use api::request::{ConnectionFilter, CtDump, CtFlush, CtStats, TupleFilter};
use api::{Bits, Failure};
use conntrack::{Change, ConnectionId, Description, News, State, Stats, Tuple};
use packet::icmp;

use super::{bad_cursor, page_of};
use crate::control::Control;

impl Control {
    /// A page of connections. Cost: a look at each, up to the end of the page.
    pub(crate) fn dump_connections(&self, dump: &CtDump) -> Result<Connections, Failure> {
        let first = match &dump.after {
            None => 0,
            Some(cursor) => behind(cursor).ok_or_else(bad_cursor)?,
        };
        let mut meant = self.connections_like(&dump.filter, first).peekable();
        let page: Vec<_> = meant.by_ref().take(page_of(dump.limit)).collect();
        let last = page.last().filter(|_| meant.peek().is_some());
        let next = last.map(|(id, _)| Cursor(id.place().to_string()));
        let connections = page.iter().map(|(_, one)| connection(one)).collect();
        Ok(Connections { connections, next })
    }

    /// Forgets connections. Cost: a look at all.
    pub(crate) fn flush_connections(&self, flush: &CtFlush) -> CtFlushed {
        let connections = self.crew.connections();
        let meant = self.connections_like(&flush.filter, 0);
        let forgotten = meant.filter(|(id, _)| connections.remove(*id)).count();
        self.crew.end_short_cuts();
        CtFlushed { connections: forgotten as u64 }
    }

    /// Tells what has become of connections: a part of it, if there is much.
    pub(crate) fn tell_of_connections(&mut self) {
        /// Changes that are told in one go: a few milliseconds' worth.
        const MOST: usize = 1024;
        for news in self.crew.connections().news().take(MOST) {
            match news {
                Err(lost) => self.events.lose_connections(lost),
                Ok(News { change, connection: one }) => {
                    self.events.tell_connection(
                        |filter| takes(filter, &one),
                        || match change {
                            Change::Made => Event::ConnectionNew(connection(&one)),
                            Change::Changed => Event::ConnectionUpdated(connection(&one)),
                            Change::Gone => Event::ConnectionDestroyed(connection(&one)),
                        },
                    );
                }
            }
        }
    }

    pub(crate) fn connection_stats(&self, stats: &CtStats) -> CtCounts {
        let connections = self.crew.connections();
        let Stats { made, expired, full, over_limit, clashed, without_port, invalid } =
            connections.stats();
        CtCounts {
            connections: connections.len() as u64,
            limit: connections.most() as u64,
            bytes: connections.bytes() as u64,
            made,
            expired,
            full,
            over_limit,
            clashed,
            without_port,
            invalid,
            reserved_ports: connections.reserved_ports().into_inner().into(),
            host_addresses: connections.host_addresses().into(),
            kinds: stats.kinds.then(|| self.kinds()),
        }
    }

    /// All connections, counted by protocol and state.
    fn kinds(&self) -> Vec<ConnectionKind> {
        let mut counts = BTreeMap::new();
        for (_, one) in self.connections_like(&ConnectionFilter::default(), 0) {
            *counts.entry((one.tuples.original.proto(), one.state)).or_default() += 1;
        }
        let kind = |((proto, state), connections): ((u8, Option<State>), u64)| ConnectionKind {
            proto,
            state: state.map(name),
            connections,
        };
        counts.into_iter().map(kind).collect()
    }

    /// The connections that a filter takes, from a place on.
    fn connections_like<'a>(
        &'a self,
        filter: &'a ConnectionFilter,
        first: u32,
    ) -> impl Iterator<Item = (ConnectionId, Description)> + 'a {
        let (connections, now) = (self.crew.connections(), self.clock.millis());
        connections.iter_from(first).filter_map(move |id| {
            let described = connections.describe(id, now)?;
            takes(filter, &described).then_some((id, described))
        })
    }
}

/// The first place behind a page.
fn behind(Cursor(last): &Cursor) -> Option<u32> {
    last.parse::<u32>().ok()?.checked_add(1)
}

fn name(state: State) -> String {
    state.name().to_owned()
}

/// A connection, as it is told.
fn connection(one: &Description) -> Connection {
    let Description { tuples, state, known, mark, label, left, alg, master } = one;
    Connection {
        zone: tuples.original.zone(),
        original: told(&tuples.original),
        reply: told(&tuples.reply),
        mark: *mark,
        labels: *label,
        state: state.map(name),
        replied: known.replied,
        assured: known.assured,
        timeout_ms: (*left).into(),
        helper: alg.map(|alg| alg.name().to_owned()),
        parent: master.as_ref().map(told),
    }
}

/// A tuple, as it is told: only TCP, UDP and SCTP have ports, and only ICMP has queries.
pub(super) fn told(tuple: &Tuple) -> ConnectionTuple {
    let (has_ports, is_icmp) =
        (tuple.has_ports(), matches!(tuple.proto(), icmp::PROTO | icmp::PROTO_V6));
    let [kind, code] = tuple.dst_port().to_be_bytes();
    ConnectionTuple {
        src: tuple.src(),
        dst: tuple.dst(),
        proto: tuple.proto(),
        src_port: has_ports.then(|| tuple.src_port()),
        dst_port: has_ports.then(|| tuple.dst_port()),
        icmp_id: is_icmp.then(|| tuple.src_port()),
        icmp_type: is_icmp.then_some(kind),
        icmp_code: is_icmp.then_some(code),
    }
}

/// Whether a filter takes a connection.
fn takes(filter: &ConnectionFilter, one: &Description) -> bool {
    let ConnectionFilter { zone, mark, labels, original, reply } = filter;
    zone.is_none_or(|zone| zone == one.tuples.original.zone())
        && mark.is_none_or(|bits: Bits<_>| bits.are_in(one.mark))
        && labels.is_none_or(|bits: Bits<_>| bits.are_in(one.label))
        && takes_tuple(original, &one.tuples.original)
        && takes_tuple(reply, &one.tuples.reply)
}

fn takes_tuple(filter: &TupleFilter, tuple: &Tuple) -> bool {
    /// Whether what is asked for is there and no other.
    fn is<T: PartialEq>(asked: Option<T>, there: Option<T>) -> bool {
        asked.is_none() || asked == there
    }
    if filter.is_empty() {
        return true;
    }
    let there = told(tuple);
    is(filter.src, Some(there.src))
        && is(filter.dst, Some(there.dst))
        && is(filter.proto, Some(there.proto))
        && is(filter.src_port, there.src_port)
        && is(filter.dst_port, there.dst_port)
        && is(filter.icmp_id, there.icmp_id)
        && is(filter.icmp_type, there.icmp_type)
        && is(filter.icmp_code, there.icmp_code)
}

#[cfg(test)]
mod tests;
