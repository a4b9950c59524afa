//! A switch, and who talks across it.

use api::{CtSeconds, CtTimeout};
use conntrack::{Connections, Description, Settings};
use proptest::prelude::*;

use crate::causes::Fired;
use crate::common::{Counts, Options, Outcome};
use crate::pipelines::PIPELINES;
use crate::switch::Switch;
use crate::talk::{Say, Talk, USUAL, fragments};
use packet::tcp;

/// Talks beside the two, of which little is said.
pub(crate) const SPARE: usize = 6;

/// What has become of packets, or is so behind some.
#[derive(Debug, PartialEq)]
pub(crate) enum Noted {
    Outcome(Outcome),
    /// What the flows count, and the connections.
    State(Counts, Vec<String>),
}

/// A switch whose packets the interpreter takes as well, and the talks across it.
pub(crate) struct Stage {
    pub(crate) switch: Switch,
    pub(crate) pipeline: usize,
    /// Sessions that each worker may have.
    pub(crate) room: u32,
    pub(crate) talks: Vec<Talk>,
    /// How often connections were noted differently.
    pub(crate) noted: u32,
    pub(crate) fired: Fired,
    pub(crate) log: Vec<Noted>,
    /// Whether the interpreter has taken all packets: it takes no fragments.
    is_literal: bool,
}

impl Stage {
    pub(crate) fn new(
        workers: usize,
        (pipeline, kinds): (usize, [(bool, bool); 2]),
        options: Options,
    ) -> Self {
        let mut switch = Switch::new(workers, options);
        switch.flow_mods(
            &PIPELINES[pipeline].iter().map(|flow| flow.parse().unwrap()).collect::<Vec<_>>(),
        );
        let spare = [(false, false), (false, true)].into_iter().cycle().take(SPARE);
        let talks = (0..).zip(kinds.into_iter().chain(spare));
        Self {
            switch,
            pipeline,
            room: options.sessions,
            talks: talks.map(|(n, (is_tcp, is_ipv6))| Talk::new(n, is_tcp, is_ipv6)).collect(),
            noted: 0,
            fired: Fired::new(),
            log: Vec::new(),
            is_literal: true,
        }
    }

    pub(crate) fn say(
        &mut self,
        talk: usize,
        back: bool,
        says: &[Say],
    ) -> Result<(), TestCaseError> {
        let own = &mut self.talks[talk];
        let packets: Vec<_> = says.iter().map(|say| own.say(back, say)).collect();
        let (real, expected) = self.switch.carry(back, &packets);
        if !back && let Some((_, heard)) = real.sent.iter().rev().find(|(port, _)| *port == 2) {
            own.hear(heard);
        }
        self.log.push(Noted::Outcome(real.clone()));
        if self.is_literal {
            prop_assert_eq!(real.told_apart(), expected.told_apart());
        }
        self.switch.check();
        Ok(())
    }

    /// Whether a packet meets a session.
    pub(crate) fn meets(
        &mut self,
        talk: usize,
        back: bool,
        say: Say,
    ) -> Result<bool, TestCaseError> {
        let before = self.hits();
        self.say(talk, back, &[say])?;
        Ok(self.hits() > before)
    }

    /// Whether one of two fragments meets a session.
    pub(crate) fn meets_in_fragments(
        &mut self,
        talk: usize,
        back: bool,
    ) -> Result<bool, TestCaseError> {
        let packet = self.talks[talk].say(back, &USUAL);
        let Some(fragments) = fragments(&packet) else { return Ok(true) };
        self.is_literal = false;
        let before = self.hits();
        let (sent, _) = self.switch.carry(back, &fragments);
        self.log.push(Noted::Outcome(sent));
        self.switch.check();
        Ok(self.hits() > before)
    }

    /// What follows a step.
    pub(crate) fn check(&mut self) -> Result<(), TestCaseError> {
        self.switch.turn();
        self.switch.check();
        let (counts, connections) = (self.switch.counts(), self.connections());
        if self.is_literal {
            prop_assert_eq!(&counts, &self.switch.expected_counts());
            let expected = self.described(self.switch.literal_connections());
            prop_assert_eq!(&connections, &expected);
        }
        self.log.push(Noted::State(counts, connections));
        Ok(())
    }

    pub(crate) fn open(&mut self, talk: usize) -> Result<(), TestCaseError> {
        let begins = Say { flags: tcp::SYN, len: 0, ..USUAL };
        self.say(talk, false, &[begins])?;
        self.say(talk, true, &[Say { flags: tcp::SYN | tcp::ACK, ..begins }])?;
        self.say(talk, false, &[Say { len: 0, ..USUAL }])?;
        self.say(talk, true, &[Say { len: 0, ..USUAL }])
    }

    /// Opens a talk, and talks.
    pub(crate) fn settle(&mut self, talk: usize) -> Result<(), TestCaseError> {
        self.open(talk)?;
        self.talk(talk)
    }

    /// Has both sides say something, in turn.
    pub(crate) fn talk(&mut self, talk: usize) -> Result<(), TestCaseError> {
        for back in [false, true, false, true, false, true] {
            self.say(talk, back, &[USUAL])?;
        }
        Ok(())
    }

    /// Takes the connections of zones in question away, here and there.
    pub(crate) fn remove(&self, is_it: impl Fn(u16) -> bool) {
        for connections in [self.switch.connections(), self.switch.literal_connections()] {
            for id in connections.iter() {
                let seen = connections.seen(id);
                if seen.is_some_and(|seen| is_it(seen.tuples.original.zone())) {
                    connections.remove(id);
                }
            }
        }
    }

    /// Has connections wait for so long, here and there, in one zone or where nothing else is said; and
    /// be as strict with segments that lie outside of the window.
    pub(crate) fn rule(&self, zone: Option<u16>, seconds: Option<u32>, liberal: bool) {
        let timeouts = [CtTimeout::TcpEstablished, CtTimeout::UdpSingle, CtTimeout::UdpMultiple];
        let timeouts = seconds.map(|seconds| {
            timeouts.map(|timeout| (timeout, CtSeconds::try_from(seconds).unwrap())).into()
        });
        for connections in [self.switch.connections(), self.switch.literal_connections()] {
            let zones = connections.zones();
            match (zone, &timeouts) {
                (None, None) => zones.reset_default_timeouts(),
                (None, Some(timeouts)) => zones.set_default_timeouts(timeouts),
                (Some(zone), None) => zones.reset_timeouts(zone),
                (Some(zone), Some(timeouts)) => zones.set_timeouts(zone, timeouts).unwrap(),
            }
            connections.set_settings(Settings { liberal, ..Settings::default() });
        }
    }

    /// The connections, each in a line.
    pub(crate) fn connections(&self) -> Vec<String> {
        self.described(self.switch.connections())
    }

    fn described(&self, connections: &Connections) -> Vec<String> {
        let each = self.descriptions(connections).map(|one| format!("{one:?}"));
        let mut lines: Vec<_> = each.collect();
        lines.sort();
        lines
    }

    fn descriptions(&self, connections: &Connections) -> impl Iterator<Item = Description> {
        let now = self.switch.now();
        connections.iter().filter_map(move |id| connections.describe(id, now))
    }

    /// How many of them are assured.
    pub(crate) fn assured(&self) -> usize {
        self.descriptions(self.switch.connections()).filter(|one| one.known.assured).count()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.switch.hits().iter().sum()
    }
}
