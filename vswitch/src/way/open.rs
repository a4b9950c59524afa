//! The way of a packet that begins connections, if others before it have begun theirs alike.

use api::DropReason;
use flowtable::Found;
use packet::Batch;

use super::Way;
use crate::tracking::NotOpened;
use crate::worth::Worth;

impl Way {
    /// Has the packet whose turn it is open its connections, if there is an opening for it. If not,
    /// it is as it was.
    #[inline(never)]
    pub(super) fn open(
        &mut self,
        batch: &mut Batch,
        lane: usize,
    ) -> Option<Result<Found, DropReason>> {
        let (key, headers) = (&self.lanes.keys[lane], self.lanes.headers[lane]);
        let (at, asked) = self.openings.find(key, &mut self.cache)?;
        let left = batch.len() - self.verdicts.len();
        if Self::AHEAD < left
            && let Some(behind) = self.lanes.keys.get(lane + Self::AHEAD)
        {
            self.tracker.prefetch_open(asked, behind);
        }
        let packet = &mut batch[self.verdicts.len()];
        match self.tracker.open(asked, (key, headers), (packet, &self.memory), self.millis) {
            Ok(()) => Some(Ok(self.openings.hit(at, &mut self.cache))),
            Err(NotOpened::Other) => None,
            Err(NotOpened::Refused(n, reason)) => {
                self.openings.hit_in_part(at, n, Worth::of(packet), &mut self.cache);
                Some(Err(reason))
            }
        }
    }
}
