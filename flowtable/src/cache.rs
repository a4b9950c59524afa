//! From a packet's key to its program, by whatever tier knows it: megaflows first, then the tables.
//!
//! A cache entry is right as long as the tables, the ports and what has been learned give the same
//! answer again. Of few changes the worker finds out at once which megaflows they concern, by their
//! hash, and the others do not notice. If it cannot, an *era* ends: a megaflow of the current era is
//! right; an older one is looked into when it is hit. If none of the changes since can concern it
//! ([`History::affects`](crate::History::affects), the versions of learned entries), it is stamped
//! anew; else the packet is translated again, and if the answer is still the same, so is the entry.
//! Upper tiers go by the *epoch*, which counts whatever made some megaflow doubtful.

mod long_way;

use std::sync::Arc;

use packet::{Key, Millis, PortId};

use crate::asides::Asides;
use crate::compose::Room;
use crate::credit::Credit;
use crate::eras::Eras;
use crate::frozen::{Aside, Frozen};
use crate::megaflow::{Gone, Lead, MegaflowId, Megaflows, Outdated, Serial};
use crate::paths::{PathId, Paths};
use crate::ports::PortView;
use crate::program::{AsideId, Op};
use crate::programs::{ProgramId, Programs};
use crate::tables::Tables;
use crate::translate::Translation;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// A cache entry knows: this program, and this path to be credited.
    Cached(ProgramId, PathId),
    /// The program is that of the last translation, [`Cache::once`], and all credit has been given.
    Once,
}

/// What the long way found, and the megaflow that was met or made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolved {
    /// A megaflow that says [`Found::Cached`].
    Cached(MegaflowId, Found),
    /// None: [`Found::Once`].
    Once,
}

/// How often each tier answered, and what the caches did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CacheStats {
    /// Packets that met a megaflow.
    pub hits: u64,
    /// Packets that were translated because no megaflow knew them.
    pub misses: u64,
    /// Packets that were translated because something had changed since their megaflow was made.
    pub retranslated: u64,
    /// Translations whose result was the old one.
    pub confirmed: u64,
    /// Megaflows that were made.
    pub installed: u64,
    /// Megaflows that were not, for want of room.
    pub refused: u64,
    /// Passes beyond a packet's first one: each was a hit or a miss, too.
    pub passes: u64,
    /// Flows that packets have taught.
    pub taught: u64,
    /// Flows that were not learned, because too many were pending.
    pub not_taught: u64,
}

/// Where a packet comes from that is looked up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum From {
    /// A port.
    Port(PortId),
    /// The end of an earlier pass.
    Pass(AsideId),
}

impl From {
    /// What stands for it among ports.
    fn port(self) -> PortId {
        match self {
            Self::Port(port) => port,
            Self::Pass(aside) => Megaflows::behind(aside),
        }
    }
}

/// Sizes of one worker's caches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Megaflows, and paths.
    pub megaflows: u32,
    /// Operations of all programs together.
    pub operations: u32,
    /// Seconds without a packet after which a megaflow goes.
    pub idle: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { megaflows: 1 << 18, operations: 1 << 20, idle: 10 }
    }
}

/// One worker's way from keys to programs.
#[derive(Debug)]
pub struct Cache {
    tables: Arc<Tables>,
    /// The ports by their switch-wide number.
    ports: Vec<Option<Arc<PortView>>>,
    megaflows: Megaflows,
    pub(crate) programs: Programs,
    pub(crate) paths: Paths,
    pub(crate) asides: Asides,
    translation: Translation,
    /// The asides of the last translation, which is a user of them; of all since [`Cache::hold`].
    adopted: Vec<AsideId>,
    holds: bool,
    /// Flows taught that have been told of.
    told: u64,
    /// For the walk that only gives credit.
    scratch: Translation,
    /// For passes that are made one.
    pub(crate) room: Room,
    /// Changes that concerned a megaflow, or may have.
    epoch: u32,
    eras: Eras,
    /// Changes of what is learned, as far as they are in `epoch`.
    learned: u64,
    limits: Limits,
    stats: CacheStats,
}

impl Cache {
    /// An empty cache that credits `paths`.
    pub fn new(tables: Arc<Tables>, paths: Paths, limits: Limits) -> Self {
        let seed = tables.seed();
        let mut cache = Self {
            megaflows: Megaflows::new(limits.megaflows, seed),
            programs: Programs::new(limits.operations, seed),
            paths,
            asides: Asides::new(seed),
            translation: Translation::new(),
            adopted: Vec::new(),
            holds: false,
            told: 0,
            scratch: Translation::new(),
            room: Room::new(),
            ports: Vec::new(),
            epoch: 1,
            eras: Eras::new(),
            learned: tables.epoch().get(),
            tables: Arc::clone(&tables),
            limits,
            stats: CacheStats::default(),
        };
        cache.refresh(tables);
        cache
    }

    /// Goes over to another generation of tables; answers with the old one, to be dropped by
    /// whoever may take the time. Allocates: for the moment of a change.
    pub fn refresh(&mut self, tables: Arc<Tables>) -> Arc<Tables> {
        let changes = tables.history().since(self.tables.generation());
        match changes.map_or(Outdated::Any, |changes| self.megaflows.outdate(changes)) {
            Outdated::None => {}
            Outdated::Some => self.epoch = self.epoch.wrapping_add(1),
            Outdated::Any => self.end_era(),
        }
        self.ports.fill(None);
        for port in tables.bridges().flat_map(|(_, bridge)| bridge.ports.iter()) {
            let at = usize::from(port.id.0);
            if self.ports.len() <= at {
                self.ports.resize(at + 1, None);
            }
            self.ports[at] = Some(Arc::clone(port));
            self.megaflows.prepare(port.id);
        }
        std::mem::replace(&mut self.tables, tables)
    }

    /// Takes notice of what has been learned by now: once per batch.
    #[inline]
    pub fn begin(&mut self) {
        let learned = self.tables.epoch().get();
        if learned != self.learned {
            self.learned = learned;
            self.end_era();
        }
    }

    /// Something has changed that may concern any megaflow.
    fn end_era(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.eras.end(self.tables.generation());
    }

    /// Changes of what is learned that this cache goes by.
    #[inline]
    pub const fn learned(&self) -> u64 {
        self.learned
    }

    /// What flows know of a port; `None` if it belongs to no bridge.
    #[inline]
    pub fn port(&self, port: PortId) -> Option<&Arc<PortView>> {
        self.ports.get(usize::from(port.0))?.as_ref()
    }

    /// The tables in use.
    pub const fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// How often something has changed that concerned a megaflow, or may have: what was right at this
    /// count still is.
    #[inline]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How packets of `port` find their megaflow.
    #[inline]
    pub fn lead(&self, port: PortId) -> Lead {
        self.megaflows.lead(port)
    }

    /// The megaflows.
    pub const fn megaflows(&self) -> &Megaflows {
        &self.megaflows
    }

    /// The programs.
    pub const fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The paths.
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The paths, to be credited.
    pub const fn paths_mut(&mut self) -> &mut Paths {
        &mut self.paths
    }

    /// What programs say apart.
    pub const fn asides(&self) -> &Asides {
        &self.asides
    }

    /// What the tiers did.
    pub const fn stats(&self) -> CacheStats {
        self.stats
    }

    /// The program of a packet that no cache entry was made for.
    pub fn once(&self) -> &[Op] {
        &self.translation.ops
    }

    /// Whether carrying out what `flow` leads to may change what is right for the next packet, so that
    /// packets have to be looked up one by one.
    #[inline]
    pub fn may_change(&self, flow: MegaflowId) -> bool {
        self.megaflows.result(flow).0.has_asides()
    }

    /// Whether a program says something apart from its operations.
    #[inline]
    pub fn has_asides(&self, found: Found) -> bool {
        match found {
            Found::Cached(program, _) => program.has_asides(),
            Found::Once => self.once().iter().any(|op| op.aside().is_some()),
        }
    }

    /// The same for `packets` at once that all meet `flow`, if it is known to be right: cheap, and
    /// nearly always so.
    #[inline]
    pub fn hit(&mut self, flow: MegaflowId, packets: usize, now: Millis) -> Option<Found> {
        if !self.is_fresh(flow) {
            return None;
        }
        self.stats.hits += packets as u64;
        let (program, path) = self.megaflows.hit(flow, now);
        Some(Found::Cached(program, path))
    }

    /// Whether an entry of an upper tier that was made from `flow` is still right.
    pub fn is_right(&mut self, flow: MegaflowId, serial: Serial) -> bool {
        self.megaflows.serial(flow) == serial && self.is_current(flow)
    }

    /// Whether nothing has changed since a megaflow was known to be right.
    #[inline]
    pub fn is_fresh(&self, flow: MegaflowId) -> bool {
        self.megaflows.era(flow) == self.eras.current()
    }

    fn is_current(&mut self, flow: MegaflowId) -> bool {
        if self.is_fresh(flow) {
            return true;
        }
        // Before it is asked what has changed.
        let taught = self.taught_to(flow);
        let unaffected = self.is_unaffected(flow);
        if unaffected {
            self.megaflows.confirm(flow, self.tables.generation(), taught);
            self.megaflows.stamp(flow, self.eras.current());
        }
        unaffected
    }

    /// How many flows have been taught in the bridge of a megaflow.
    fn taught_to(&self, flow: MegaflowId) -> u64 {
        let bridge = self.megaflows.origin(flow).1.bridge;
        let bridge = bridge.and_then(|bridge| self.tables.bridge(bridge));
        bridge.map_or(0, |bridge| bridge.pending.newest())
    }

    /// Notes that an upper tier's entry of `flow` has had packets, so that it is not swept away.
    pub fn touch(&mut self, flow: MegaflowId, serial: Serial, now: Millis) {
        if self.megaflows.serial(flow) == serial {
            self.megaflows.hit(flow, now);
        }
    }

    /// Counts an upper tier's entry among the users of a program and a path.
    pub fn retain(&mut self, program: ProgramId, path: PathId) {
        self.programs.retain(program);
        self.paths.retain(path);
    }

    /// The end of that.
    pub fn release(&mut self, program: ProgramId, path: PathId) {
        let Self { programs, paths, asides, .. } = self;
        release(programs, paths, asides, Gone { program, path, pass: None });
    }

    /// What becomes of a packet with this key that came in by `port`. It stands for `packets` of
    /// `bytes` in all, which are credited here if no cache entry was made, by the caller to the
    /// path if one was.
    ///
    /// Cost: a hash per mask on the port; for the first packet of a kind, a translation. No
    /// allocation.
    pub fn resolve(
        &mut self,
        port: PortId,
        key: &Key,
        packets: u64,
        bytes: u64,
        now: Millis,
    ) -> Resolved {
        self.resolve_from(From::Port(port), key, Credit { packets, bytes, now })
    }

    /// The same for a packet that goes on behind an earlier pass, with a key that
    /// [`Frozen::complete`](crate::Frozen::complete) has made.
    pub fn resume(
        &mut self,
        behind: AsideId,
        key: &Key,
        packets: u64,
        bytes: u64,
        now: Millis,
    ) -> Resolved {
        self.stats.passes += 1;
        self.resolve_from(From::Pass(behind), key, Credit { packets, bytes, now })
    }

    /// The number of what a packet goes on with that was not frozen here; `None` if there is no room.
    /// It is kept as long as the cache holds what it says apart.
    pub fn take_up(&mut self, frozen: &Arc<Frozen>) -> Option<AsideId> {
        let number = self.asides.intern(&Aside::Frozen(Arc::clone(frozen)))?;
        self.adopted.push(number);
        Some(number)
    }

    fn resolve_from(&mut self, from: From, key: &Key, credit: Credit) -> Resolved {
        let Some(flow) = self.megaflows.lookup(from.port(), key) else {
            self.stats.misses += 1;
            return self.translate(from, key, None, credit);
        };
        if self.is_current(flow) {
            self.stats.hits += 1;
            let (program, path) = self.megaflows.hit(flow, credit.now);
            return Resolved::Cached(flow, Found::Cached(program, path));
        }
        self.stats.retranslated += 1;
        self.translate(from, key, Some(flow), credit)
    }

    /// Whether no change since `flow` was known to be right can concern it.
    fn is_unaffected(&self, flow: MegaflowId) -> bool {
        let ((generation, taught), basis, mut stations) = self.megaflows.origin(flow);
        let generation = generation.max(self.eras.end_of(self.megaflows.era(flow)));
        let (history, (key, mask)) = (self.tables.history(), self.megaflows.matching(flow));
        let bridge = basis.bridge.and_then(|bridge| self.tables.bridge(bridge));
        let learned = |(bridge, version)| {
            self.tables.bridge(bridge).is_some_and(|bridge| bridge.macs.is_current(version))
        };
        stations.all(learned)
            && !bridge.is_some_and(|bridge| bridge.pending.affects(taught, basis, &key, mask))
            && (generation == history.newest() || !history.affects(generation, basis, &key, mask))
    }

    /// Whether packets have taught flows since the last time.
    pub const fn take_news(&mut self) -> bool {
        let news = self.stats.taught != self.told;
        self.told = self.stats.taught;
        news
    }

    /// From here on what translations say apart is kept, until [`Cache::let_go`]: while the passes of
    /// one packet are carried out.
    pub fn hold(&mut self) {
        self.holds = true;
    }

    /// What the last translations have said apart has one user less.
    pub fn let_go(&mut self) {
        let Self { asides, adopted, .. } = self;
        adopted.drain(..).for_each(|aside| asides.release(aside));
        self.holds = false;
    }

    /// Forgets every megaflow; answers how many there were. For the moment of an order.
    pub fn flush(&mut self) -> usize {
        let Self { megaflows, programs, paths, asides, .. } = self;
        let all: Vec<_> = megaflows.iter(None).collect();
        for flow in &all {
            release(programs, paths, asides, megaflows.remove(*flow));
        }
        all.len()
    }

    /// Lets go of a few megaflows that nobody has hit for long.
    pub fn sweep(&mut self, now: Millis) {
        let Self { megaflows, programs, paths, asides, limits, .. } = self;
        megaflows.sweep(now, limits.idle, |gone| release(programs, paths, asides, gone));
    }
}

/// What is gone is used no more.
fn release(programs: &mut Programs, paths: &mut Paths, asides: &mut Asides, gone: Gone) {
    release_program(programs, asides, gone.program);
    paths.release(gone.path);
    if let Some(pass) = gone.pass {
        asides.release(pass);
    }
}

/// One user less of a program; without users it uses no asides.
pub(crate) fn release_program(programs: &mut Programs, asides: &mut Asides, program: ProgramId) {
    if programs.has_one_user(program) && programs.exactly(program).iter().any(has_aside) {
        let used = programs.exactly(program).iter().filter_map(|op| op.aside());
        used.for_each(|aside| asides.release(aside));
    }
    programs.release(program);
}

const fn has_aside(op: &Op) -> bool {
    op.aside().is_some()
}
