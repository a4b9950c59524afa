//! Describing a worker's caches to whoever asked, a page at a time, so that no reader stops a
//! worker.

use std::sync::mpsc::SyncSender;

use api::reply::Tier;
use flowtable::{Cache, MegaflowId, Op, PathId, ProgramId, Step};
use packet::{Key, PortId};

use crate::session::Sessions;

/// A request for one page.
#[derive(Debug)]
pub struct DumpRequest {
    /// Of this cache.
    pub tier: Tier,
    /// Entries to pass over first.
    pub skip: usize,
    /// Where the page goes. Whoever waits for it has room for one.
    pub reply: SyncSender<Vec<CachedFlow>>,
}

/// An entry as it is.
#[derive(Debug)]
pub struct CachedFlow {
    /// Where.
    pub tier: Tier,
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
    /// Packets and bytes of that path, which other entries may share.
    pub packets: u64,
    /// See `packets`.
    pub bytes: u64,
    /// The second of the last packet.
    pub used: u32,
}

/// Entries of one page.
pub const PAGE: usize = 256;

/// What an entry consists of, before it is spelled out.
#[derive(Debug)]
pub struct Entry {
    /// The port whose packets it is for.
    pub port: PortId,
    /// What they agree in.
    pub key: Key,
    /// The bits that are compared.
    pub mask: Key,
    /// What is done.
    pub program: ProgramId,
    /// What is passed.
    pub path: PathId,
    /// The second of the last packet.
    pub used: u32,
}

impl DumpRequest {
    /// Answers. Costs one look at each entry that is passed over, and some words for those shown.
    pub fn answer(self, cache: &Cache, sessions: Option<&Sessions>) {
        let page: Vec<_> = match self.tier {
            Tier::Megaflow => cache
                .megaflows()
                .iter(None)
                .skip(self.skip)
                .take(PAGE)
                .map(|flow| self.spell(cache, &megaflow(cache, flow)))
                .collect(),
            Tier::Session => sessions
                .into_iter()
                .flat_map(|sessions| sessions.entries(cache))
                .skip(self.skip)
                .take(PAGE)
                .map(|entry| self.spell(cache, &entry))
                .collect(),
        };
        // Whoever asked may have gone.
        let _ = self.reply.try_send(page);
    }

    fn spell(&self, cache: &Cache, entry: &Entry) -> CachedFlow {
        let (steps, count) = cache.paths().describe(entry.path);
        CachedFlow {
            tier: self.tier,
            port: entry.port,
            key: entry.key,
            mask: entry.mask,
            ops: cache.programs().exactly(entry.program).to_vec(),
            path: steps,
            packets: count.packets,
            bytes: count.bytes,
            used: entry.used,
        }
    }
}

fn megaflow(cache: &Cache, flow: MegaflowId) -> Entry {
    let (program, path) = cache.megaflows().result(flow);
    let (key, mask) = cache.megaflows().matching(flow);
    let (port, used) = cache.megaflows().usage(flow);
    Entry { port, key, mask: *mask, program, path, used }
}
