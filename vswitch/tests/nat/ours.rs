//! Two workers of one switch: one has what A says, the other what B says.

use std::time::Duration;

use api::DropReason;
use flowtable::VlanMode;

use crate::alike::framed;
use crate::common::{Bench, Options};
use crate::ends::Sender;
use crate::setups::{Invalid, Setup};

/// The two.
pub(crate) struct Ours([Bench; 2]);

impl Ours {
    pub(crate) fn of(setup: Setup, invalid: Invalid) -> Self {
        let vlans = vec![VlanMode::Trunk(Vec::new()); 2];
        let mut workers = Bench::two(&vlans, Options::default());
        let flows: Vec<_> = setup
            .flows(invalid)
            .iter()
            .map(|flow| flow.parse().unwrap_or_else(|error| panic!("{flow}: {error}")))
            .collect();
        let before = workers[0].generation();
        workers[0].flow_mods(&flows);
        workers[1].desk.ring();
        let after = workers[0].generation();
        assert!(!std::sync::Arc::ptr_eq(&before, &after), "flows are refused");
        Self(workers)
    }

    /// Forgets all connections.
    pub(crate) fn forget(&mut self) {
        let connections = &self.0[0].connections;
        connections.iter().for_each(|id| assert!(connections.remove(id)));
        // Twice each place is looked at.
        for _ in 0..2 {
            for worker in &mut self.0 {
                worker.now += Duration::from_secs(11);
                worker.turn();
                worker.turn();
            }
        }
    }

    /// What comes out of a packet, and to whom.
    pub(crate) fn carry(&mut self, from: Sender, packet: &[u8]) -> Vec<(Sender, Vec<u8>)> {
        let worker = &mut self.0[from as usize];
        worker.put(from as u16 + 1, &framed(packet));
        worker.turn();
        let out = worker.take().into_iter();
        out.map(|(port, bytes)| {
            let to = if port == 1 { Sender::A } else { Sender::B };
            (to, bytes[packet::ethernet::LEN..].to_vec())
        })
        .collect()
    }

    /// Packets that were dropped because what would answer them answers others, or that had no port.
    pub(crate) fn clashes(&self) -> u64 {
        let drops = self.0.iter().flat_map(|worker| worker.drops());
        let is_clash = |reason| {
            matches!(reason, DropReason::CtClash | DropReason::CtNoPort | DropReason::CtFull)
        };
        drops.filter(|(_, reason, _)| is_clash(*reason)).map(|(_, _, packets)| packets).sum()
    }

    /// Packets that met a session.
    pub(crate) fn sessions(&self) -> u64 {
        self.0.iter().map(|worker| worker.counters.session_hits.get()).sum()
    }

    /// The connections there are.
    pub(crate) fn connections(&self) -> String {
        let (connections, now) = (&self.0[0].connections, vswitch::clock::millis(self.0[0].now));
        let described = connections.iter().filter_map(|id| connections.describe(id, now));
        let described = described.map(|one| format!("\n    {:?} {:?}", one.tuples, one.state));
        let drops = self.0.iter().flat_map(|worker| worker.drops());
        described.chain(drops.map(|drops| format!("\n    {drops:?}"))).collect()
    }
}
