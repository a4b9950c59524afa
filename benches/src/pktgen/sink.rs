//! `pktgen sink`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::clock;
use crate::pktgen::cli::SinkOptions;
use crate::pktgen::frame::{self, Header, Seen};
use crate::pktgen::link::{self, Use};
use crate::pktgen::report::{Received, Watch, rate};
use crate::pktgen::stop::Stop;
use crate::pktgen::tally::{Counts, Tally};

/// How long after the last packet of all a sink ends.
const LINGER_NS: u64 = 200_000_000;
/// The longest packet it knows.
const LONGEST: u16 = 1792;

/// Receives until the end, and says what came.
pub fn run(options: &SinkOptions) -> Result<Received> {
    let SinkOptions { end, ending, stay, trust } = options;
    let mut link = link::open(end.backend, &end.interface, end.queue, LONGEST, Use::Both)?;
    let _hushed = link::hush(end.hush)?;
    let stop = Stop::after(ending.seconds)?;
    let mut account = Account::new(!trust)?;
    // Whoever starts us waits for this line.
    eprintln!("pktgen: receiving on {}", end.interface);
    let most = ending.count.unwrap_or(u64::MAX);
    loop {
        let now = clock::now_ns();
        let heard = account.last_ns.max(account.announced_ns);
        let over = account.is_announced() && now > heard + LINGER_NS && !stay;
        if over || account.counts().received >= most || stop.has_come(now) {
            break;
        }
        let mut now = None;
        // The time is asked once a burst, when its first packet is looked at.
        let mut each = |frame: &mut [u8]| {
            account.see(frame, *now.get_or_insert_with(clock::now_ns));
        };
        link.receive(Duration::from_millis(20), &mut each).context("receiving")?;
    }
    Ok(account.received(link.overruns()))
}

/// What has come so far.
struct Account {
    streams: BTreeMap<u16, Tally>,
    watch: Watch,
    verify: bool,
    damaged: u64,
    foreign: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
    announced_ns: u64,
}

impl Account {
    /// Streams kept apart; packets of further ones count as of others.
    const MOST_STREAMS: usize = 64;

    fn new(verify: bool) -> Result<Self> {
        Ok(Self {
            streams: BTreeMap::new(),
            watch: Watch::new()?,
            verify,
            damaged: 0,
            foreign: 0,
            bytes: 0,
            first_ns: 0,
            last_ns: 0,
            announced_ns: 0,
        })
    }

    fn see(&mut self, frame: &[u8], now_ns: u64) {
        let header = match frame::inspect(frame, self.verify) {
            Seen::Ours(header) => header,
            Seen::Damaged => return self.damaged += 1,
            Seen::Foreign => return self.foreign += 1,
        };
        let known = self.streams.contains_key(&header.stream);
        if !known && self.streams.len() == Self::MOST_STREAMS {
            return self.foreign += 1;
        }
        let tally = self.streams.entry(header.stream).or_default();
        if header.flow == Header::END {
            tally.announce(header.sequence);
            self.announced_ns = now_ns;
            return;
        }
        tally.arrived(header.flow, header.sequence);
        self.watch.record(header.age_ns(now_ns));
        self.bytes += frame.len() as u64;
        if self.first_ns == 0 {
            self.first_ns = now_ns;
        }
        self.last_ns = now_ns;
    }

    fn is_announced(&self) -> bool {
        !self.streams.is_empty() && self.streams.values().all(Tally::is_announced)
    }

    fn counts(&self) -> Counts {
        self.streams.values().map(Tally::counts).sum()
    }

    fn received(&self, overruns: u64) -> Received {
        let counts = self.counts();
        let seconds = clock::seconds(self.first_ns, self.last_ns);
        Received {
            counts,
            sent: self.streams.values().map(Tally::sent).sum(),
            announced: self.is_announced(),
            damaged: self.damaged,
            foreign: self.foreign,
            overruns,
            bytes: self.bytes,
            seconds,
            pps: rate(counts.received, seconds),
            latency: self.watch.times(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pktgen::address::Mac;
    use crate::pktgen::frame::{Hosts, Route, Template};

    #[test]
    fn streams_are_counted_apart_and_together() {
        let hosts = Hosts::V4([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let macs = (Mac([2; 6]), Mac([4; 6]));
        let (src_port, dst_port, size) = (1024, 9, 60);
        let route = Route { src_mac: macs.0, dst_mac: macs.1, hosts, src_port, dst_port, size };
        let template = Template::new(route);
        let mut account = Account::new(true).unwrap();
        let see = |account: &mut Account, stream, flow, sequence, damage| {
            let mut frame = [0; 60];
            template.write(Header { stream, flow, sequence, sent_ns: 1000 }, &mut frame);
            frame[59] ^= damage;
            account.see(&frame, 3000);
        };
        for (stream, sequence) in [(1, 0), (2, 0), (1, 2), (2, 1), (1, 2)] {
            see(&mut account, stream, 0, sequence, 0);
        }
        see(&mut account, 1, 0, 3, 1);
        see(&mut account, 1, Header::END, 4, 0);
        assert!(!account.is_announced(), "the other stream goes on");
        see(&mut account, 2, Header::END, 2, 0);
        account.see(&[0; 60], 3000);
        let received = account.received(0);
        assert!(received.announced);
        assert_eq!((received.sent, received.damaged, received.foreign), (6, 1, 1));
        let Counts { received: came, lost, duplicates, .. } = received.counts;
        assert_eq!((came, lost, duplicates), (4, 2, 1));
        assert_eq!((received.latency.samples, received.latency.p50), (5, 2.0));
    }
}
