//! Describing a worker's caches to whoever asked, a page at a time, so that no reader stops a
//! worker.

use std::sync::mpsc::SyncSender;

use flowtable::{Cache, MegaflowId, Op, Step};
use packet::{Key, PortId};

/// A request for one page.
#[derive(Debug)]
pub struct DumpRequest {
    /// Only megaflows of this port.
    pub port: Option<PortId>,
    /// Megaflows to pass over first.
    pub skip: usize,
    /// Where the page goes. Whoever waits for it has room for one.
    pub reply: SyncSender<Vec<CachedFlow>>,
}

/// A megaflow as it is.
#[derive(Debug)]
pub struct CachedFlow {
    /// The port whose packets it is for.
    pub port: PortId,
    /// What they agree in.
    pub key: Key,
    /// The bits that were looked at.
    pub mask: Key,
    /// What is done with them.
    pub ops: Vec<Op>,
    /// What they pass.
    pub path: Vec<Step>,
    /// Packets and bytes of that path, which other megaflows may share.
    pub packets: u64,
    /// See `packets`.
    pub bytes: u64,
    /// The second of the last packet.
    pub used: u32,
}

/// Megaflows of one page.
pub const PAGE: usize = 256;

impl DumpRequest {
    /// Answers. Costs one look at each megaflow that is passed over, and some words for those
    /// shown.
    pub fn answer(self, cache: &Cache) {
        let flows = cache.megaflows().iter(self.port).skip(self.skip).take(PAGE);
        // Whoever asked may have gone.
        let _ = self.reply.try_send(flows.map(|flow| describe(cache, flow)).collect());
    }
}

fn describe(cache: &Cache, flow: MegaflowId) -> CachedFlow {
    let (program, path) = cache.megaflows().result(flow);
    let (key, mask) = cache.megaflows().matching(flow);
    let (port, used) = cache.megaflows().usage(flow);
    let (steps, count) = cache.paths().describe(path);
    CachedFlow {
        port,
        key,
        mask: *mask,
        ops: cache.programs().exactly(program).to_vec(),
        path: steps,
        packets: count.packets,
        bytes: count.bytes,
        used,
    }
}
