//! The passes that one packet takes, written down as long as they can be made one.

use arrayvec::ArrayVec;
use conntrack::{Standing, Tuple};
use flowtable::{Connect, MegaflowId, Serial};

use crate::ties;
use crate::tracking::Turn;

/// The trail of a packet. Made once, followed anew for each.
#[derive(Debug)]
pub(crate) struct Trail {
    /// Whether it is being followed, and was not lost yet.
    is_followed: bool,
    /// Whether its packet could have a session.
    is_seen_again: bool,
    /// The megaflow of each pass.
    passes: Vec<(MegaflowId, Serial)>,
    /// What each pass but the last has found its connection to be.
    standings: Vec<Standing>,
    /// Or what it has asked for, if the packet begins a connection there.
    begun: ArrayVec<Connect, { ties::MOST }>,
    /// What the packet has become in the end, if it is translated.
    to: Option<Tuple>,
}

impl Trail {
    /// None that is followed.
    pub(crate) fn new() -> Self {
        Self {
            is_followed: false,
            is_seen_again: false,
            passes: Vec::with_capacity(1 + ties::MOST),
            standings: Vec::with_capacity(ties::MOST),
            begun: ArrayVec::new(),
            to: None,
        }
    }

    /// Begins with what a packet's first pass does. `is_seen_again` is whether it could have a session.
    pub(crate) fn begin(&mut self, flow: MegaflowId, serial: Serial, is_seen_again: bool) {
        (self.is_followed, self.is_seen_again, self.to) = (true, is_seen_again, None);
        self.passes.clear();
        self.standings.clear();
        self.begun.clear();
        self.passes.push((flow, serial));
    }

    /// It is not followed any further: what comes cannot be made one with what was.
    pub(crate) const fn lose(&mut self) {
        self.is_followed = false;
    }

    /// Goes on to the next pass.
    pub(crate) fn pass(&mut self, flow: MegaflowId, serial: Serial) {
        match self.passes.len() <= ties::MOST {
            true => self.passes.push((flow, serial)),
            false => self.lose(),
        }
    }

    /// What has come of asking for the packet's connection.
    pub(crate) fn turn(&mut self, turn: &Turn, connect: &Connect) {
        if !self.is_followed {
            return;
        }
        if turn.begins && self.standings.is_empty() {
            return match self.begun.is_full() {
                true => self.lose(),
                false => self.begun.push(connect.clone()),
            };
        }
        let Some(standing) = turn.standing.filter(|_| self.begun.is_empty()) else {
            return self.lose();
        };
        self.to = turn.to.or(self.to);
        let known = self.standings.iter().find(|known| known.id() == standing.id());
        match known {
            // It is still the same, and was not asked again.
            Some(known) if turn.again && *known == standing => {}
            None if !turn.again && self.standings.len() < ties::MOST => {
                self.standings.push(standing);
            }
            _ => self.lose(),
        }
    }

    /// Whether it has been followed until now.
    pub(crate) const fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Whether its packet could have a session.
    pub(crate) const fn is_seen_again(&self) -> bool {
        self.is_seen_again
    }

    /// The megaflow of each pass.
    pub(crate) fn passes(&self) -> &[(MegaflowId, Serial)] {
        &self.passes
    }

    /// How each of its connections stands.
    pub(crate) fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// What each pass but the last has asked for, if the packet has begun connections.
    pub(crate) fn begun(&self) -> &[Connect] {
        &self.begun
    }

    /// What the packet has become, if it was translated.
    pub(crate) const fn to(&self) -> Option<Tuple> {
        self.to
    }
}
