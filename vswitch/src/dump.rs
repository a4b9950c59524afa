//! Describing a worker's caches to whoever asked, a page at a time, so that no reader stops a
//! worker.

use std::sync::mpsc::SyncSender;

use api::reply::Tier;
use conntrack::{Standing, Tuple};
use flowtable::{Aside, AsideId, Cache, MegaflowId, Op, PathId, ProgramId, Step};
use packet::{Key, PortId};

use crate::session::Sessions;

/// A request for one page.
#[derive(Debug)]
pub struct DumpRequest {
    /// Of this cache.
    pub tier: Tier,
    /// Which of its entries.
    pub which: Which,
    /// Where the page goes. Whoever waits for it has room for one.
    pub reply: SyncSender<Vec<CachedFlow>>,
}

/// Some entries of a cache.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// A page of them, behind so many.
    From(usize),
    /// The one of this identity, if it is still there.
    One(Identity),
}

/// What tells an entry of a cache from all others that were there or will be: its place, and which
/// use of that place it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The place.
    pub place: u32,
    /// The use.
    pub serial: u32,
}

/// An entry as it is.
#[derive(Debug)]
pub struct CachedFlow {
    /// Where.
    pub tier: Tier,
    /// Which it is.
    pub identity: Identity,
    /// The port whose packets it is for.
    pub port: PortId,
    /// The end of the pass that they go on behind, if they have not come in.
    pub behind: Option<AsideId>,
    /// What they agree in.
    pub key: Key,
    /// The bits that were looked at.
    pub mask: Key,
    /// What is done with them.
    pub ops: Vec<Op>,
    /// What that says apart, and what they go on behind.
    pub asides: Vec<(AsideId, Aside)>,
    /// What they pass.
    pub path: Vec<Step>,
    /// Packets and bytes of that path, which other entries may share.
    pub packets: u64,
    /// See `packets`.
    pub bytes: u64,
    /// The second of the last packet.
    pub used: u32,
    /// What a session of tracked packets is tied to.
    pub ties: Option<TiedTo>,
}

/// What a session of tracked packets is tied to.
#[derive(Clone, Debug)]
pub struct TiedTo {
    /// The passes that it stands for.
    pub passes: usize,
    /// How its connections stand.
    pub standings: Vec<Standing>,
    /// What its packets become, if they are translated.
    pub translated: Option<Tuple>,
}

/// Entries of one page.
pub const PAGE: usize = 256;

/// What an entry consists of, before it is spelled out.
#[derive(Debug)]
pub struct Entry {
    /// Which it is.
    pub identity: Identity,
    /// The end of the pass that its packets go on behind, if they have not come in.
    pub behind: Option<AsideId>,
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
    /// What a session of tracked packets is tied to.
    pub ties: Option<TiedTo>,
}

impl CachedFlow {
    /// What was said apart, by its number.
    pub fn aside(&self, wanted: AsideId) -> Option<&Aside> {
        self.asides.iter().find(|(number, _)| *number == wanted).map(|(_, aside)| aside)
    }
}

impl DumpRequest {
    /// Answers. Costs one look at each entry that is passed over, and some words for those shown.
    pub fn answer(self, cache: &Cache, sessions: Option<&Sessions>) {
        let entries: Vec<_> = match (self.tier, self.which) {
            (Tier::Megaflow, Which::From(skip)) => {
                let flows = cache.megaflows().iter(None).skip(skip).take(PAGE);
                flows.map(|flow| megaflow(cache, flow)).collect()
            }
            (Tier::Megaflow, Which::One(Identity { place, serial })) => {
                let flow = cache.megaflows().at(place, serial);
                flow.map(|flow| megaflow(cache, flow)).into_iter().collect()
            }
            (Tier::Session, Which::From(skip)) => {
                let all = sessions.into_iter().flat_map(|sessions| sessions.entries(cache));
                all.skip(skip).take(PAGE).collect()
            }
            (Tier::Session, Which::One(wanted)) => {
                let one = sessions.and_then(|sessions| sessions.entry(wanted, cache));
                one.into_iter().collect()
            }
        };
        let page = entries.iter().map(|entry| self.spell(cache, entry)).collect();
        // Whoever asked may have gone.
        let _ = self.reply.try_send(page);
    }

    fn spell(&self, cache: &Cache, entry: &Entry) -> CachedFlow {
        let (steps, count) = cache.paths().describe(entry.path);
        let ops = cache.programs().exactly(entry.program).to_vec();
        let said = ops.iter().filter_map(|op| op.aside()).chain(entry.behind);
        let asides = said.filter_map(|aside| Some((aside, cache.asides().get(aside)?.clone())));
        CachedFlow {
            tier: self.tier,
            identity: entry.identity,
            port: entry.port,
            behind: entry.behind,
            key: entry.key,
            mask: entry.mask,
            asides: asides.collect(),
            ops,
            path: steps,
            packets: count.packets,
            bytes: count.bytes,
            used: entry.used,
            ties: entry.ties.clone(),
        }
    }
}

fn megaflow(cache: &Cache, flow: MegaflowId) -> Entry {
    let (program, path) = cache.megaflows().result(flow);
    let (key, mask) = cache.megaflows().matching(flow);
    let (port, used) = cache.megaflows().usage(flow);
    let (place, serial) = cache.megaflows().place(flow);
    let (identity, behind) = (Identity { place, serial }, cache.megaflows().behind_which(flow));
    Entry { identity, behind, port, key, mask: *mask, program, path, used, ties: None }
}
