//! What the long way of a packet leaves for those behind it: sessions, and flows that could have a
//! short-cut.

use flowtable::{Found, MegaflowId};
use hw::shortcut::Flow;
use packet::{Packet, PortId};

use super::Way;
use crate::lanes::Meeting;
use crate::short_cuts::Proposal;

impl Way {
    /// Makes a session of a packet that has taken one pass, if it can have one.
    #[cold]
    pub(super) fn learn_session(&mut self, lane: usize, flow: MegaflowId) {
        let (Some(sessions), lanes) = (&mut self.sessions, &self.lanes) else { return };
        let Meeting { who, hash, .. } = lanes.meetings[lane];
        let Some(who) = who.filter(|_| lanes.want_sessions) else { return };
        sessions.learn(who, hash, &lanes.keys[lane], flow, &mut self.cache);
    }

    /// Follows the trail of a packet that takes several passes, if it could have a session, or leave an
    /// opening.
    #[cold]
    pub(super) fn follow(&mut self, lane: usize, flow: MegaflowId) {
        let (Some(sessions), lanes) = (&mut self.sessions, &self.lanes) else { return };
        let Meeting { who, hash, .. } = lanes.meetings[lane];
        if !lanes.want_sessions {
            return;
        }
        let is_seen_again = who.is_some() && sessions.is_seen_again(hash);
        if is_seen_again || self.openings.may_try() {
            let serial = self.cache.megaflows().serial(flow);
            self.scratch.trail.begin(flow, serial, is_seen_again);
        }
    }

    /// Makes a session or an opening of a packet whose trail was followed to its end.
    #[cold]
    pub(super) fn learn_trail(&mut self, lane: usize) {
        let trail = &mut self.scratch.trail;
        let Meeting { who, hash, .. } = self.lanes.meetings[lane];
        let key = &self.lanes.keys[lane];
        if !trail.begun().is_empty() {
            self.openings.learn(key, trail, &mut self.cache);
        } else if let (Some(sessions), Some(who), true) =
            (&mut self.sessions, who, trail.is_seen_again())
        {
            sessions.learn_trail((who, hash, key), trail, &mut self.cache);
        }
        trail.lose();
    }

    /// Notes the flow of a packet that nothing was done with but sending it.
    #[cold]
    pub(super) fn propose(&mut self, packet: &Packet, found: Found, port: PortId) {
        if packet.ingress != port
            && self.outputs.short_cut(port).is_some()
            && let Some(flow) = Flow::of(packet.head(&self.memory), packet.len())
            && let Some(proposal) = Proposal::new(flow, found, port)
        {
            self.cache.retain(proposal.program, proposal.path);
            self.proposals.push(proposal);
        }
    }
}
