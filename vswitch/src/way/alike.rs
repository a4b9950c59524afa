//! Packets in a row that share a program without asides.

use std::ops::Range;

use api::DropReason;
use bytemuck::Zeroable;
use flowtable::{Found, Op, PathId, Paths, ProgramId};
use packet::{Batch, Headers, Memory, Millis, Packet, PortId, ethernet};

use super::Way;
use crate::account::Account;
use crate::act::{Verdict, act};
use crate::hop::Hop;
use crate::worth::Worth;

impl Way {
    /// Carries out one program without asides for packets in a row: it is looked at once.
    #[inline]
    pub(super) fn deliver_alike(
        &mut self,
        batch: &mut Batch,
        lanes: Range<usize>,
        program: ProgramId,
        account: &Account,
    ) {
        let (hop, rest) = Hop::split_off(self.cache.programs().ops(program));
        if let Some(Op::Send(port)) = rest.first() {
            return self.send_alike(batch, lanes, hop, *port);
        }
        for lane in lanes {
            if self.outputs.begin(self.verdicts.len()) {
                self.outputs.dispatch(batch, &mut self.verdicts, &mut self.pool, account);
                self.outputs.begin(0);
            }
            let packet = &mut batch[self.verdicts.len()];
            let (Some(Found::Cached(_, path)), true) =
                (self.lanes.found[lane], packet.len() >= ethernet::LEN)
            else {
                self.verdicts.push(Verdict::Drop(DropReason::Runt));
                continue;
            };
            let Worth { packets, bytes } = Worth::of(packet);
            self.cache.paths_mut().count(path, packets, bytes, self.millis);
            let Self { memory, pool, outputs, cache, .. } = self;
            let (ops, headers) = (cache.programs().ops(program), self.lanes.headers[lane]);
            let verdict = act(ops, packet, headers, memory, pool, account, outputs);
            if let Verdict::Drop(_) = verdict {
                outputs.last_drops.passed(packet, cache.paths().steps(path));
            }
            self.verdicts.push(verdict);
        }
    }

    /// Nothing is done with packets in a row but a hop, and sending them to one port.
    #[inline]
    fn send_alike(&mut self, batch: &mut Batch, lanes: Range<usize>, hop: Hop, port: PortId) {
        if hop == Hop::default() {
            self.send_each(batch, lanes, port, |_, _, _| {});
        } else {
            let take = |packet: &mut Packet, headers, memory: &Memory| {
                hop.take(packet, headers, memory);
            };
            self.send_each(batch, lanes, port, take);
        }
    }

    /// Does the same with packets in a row, and sends them to one port.
    #[inline(never)]
    fn send_each(
        &mut self,
        batch: &mut Batch,
        lanes: Range<usize>,
        port: PortId,
        change: impl Fn(&mut Packet, Headers, &Memory),
    ) {
        let Self { verdicts, lanes: known, cache, millis, memory, .. } = self;
        let found = known.found[lanes.clone()].iter().zip(&known.headers[lanes]);
        let packets = batch[verdicts.len()..].iter_mut();
        let paths = cache.paths_mut();
        // Those in a row that take one path are counted together.
        let (mut last, mut sum) = (PathId::zeroed(), Worth::default());
        verdicts.extend(packets.zip(found).map(|(packet, (found, headers))| match found {
            Some(Found::Cached(_, path)) if packet.len() >= ethernet::LEN => {
                if last != *path {
                    count(
                        paths,
                        std::mem::replace(&mut last, *path),
                        std::mem::take(&mut sum),
                        *millis,
                    );
                }
                let Worth { packets, bytes } = Worth::of(packet);
                sum.packets += packets;
                sum.bytes += bytes;
                change(packet, *headers, memory);
                Verdict::Send(port)
            }
            _ => Verdict::Drop(DropReason::Runt),
        }));
        count(paths, last, sum, *millis);
    }
}

/// Counts packets that have taken a path, if there are any.
#[inline(never)]
fn count(paths: &mut Paths, path: PathId, Worth { packets, bytes }: Worth, now: Millis) {
    if packets > 0 {
        paths.count(path, packets, bytes, now);
    }
}
