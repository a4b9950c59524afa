//! The long way: a packet is led through the tables, and what becomes of it is kept.

use std::sync::Arc;

use api::DropReason;
use packet::{Key, Millis, PortId};

use crate::asides::Asides;
use crate::cache::{Cache, Found, From, Resolved, release, release_program};
use crate::credit::{Credit, Meeting, Met};
use crate::mac::Outcome;
use crate::megaflow::{Gone, MegaflowId, Megaflows, NoRoom, Stamp};
use crate::paths::Paths;
use crate::pending::Walked;
use crate::ports::PortView;
use crate::program::Op;
use crate::programs::Programs;
use crate::rule::Rule;
use crate::tables::{Bridge, Tables};
use crate::translate::{Record, Translation};

impl Cache {
    /// So often a packet is walked that teaches something while others do; then it does not.
    const TRIES: u32 = 16;

    /// The long way. `old` is the megaflow that the packet met, if what it says must be checked.
    #[cold]
    pub(super) fn translate(
        &mut self,
        from: From,
        key: &Key,
        old: Option<MegaflowId>,
        credit: Credit,
    ) -> Resolved {
        if !self.holds {
            self.let_go();
        }
        // What others learn meanwhile ends it.
        let era = self.eras.current();
        let mut tries = 0..Self::TRIES;
        let teaches = loop {
            let Self { translation, tables, ports, asides, .. } = self;
            if !walk(translation, tables, ports, asides, from, key, &mut ()) {
                self.translation.close();
                return Resolved::Once;
            }
            if self.translation.flows.is_empty() {
                break false;
            }
            if self.teach(from, key, credit, tries.next().is_some()) {
                break true;
            }
        };
        self.adopt();
        let taught = self.learn(credit.now) || teaches;
        if let Some(old) = old {
            if !taught && self.is_same(old) {
                self.stats.confirmed += 1;
                let generation = self.tables.generation();
                self.megaflows.renew(old, generation, &self.translation);
                self.megaflows.stamp(old, era);
                let (program, path) = self.megaflows.hit(old, credit.now);
                return Resolved::Cached(old, Found::Cached(program, path));
            }
            let gone = self.megaflows.remove(old);
            release(&mut self.programs, &mut self.paths, &mut self.asides, gone);
        }
        if teaches {
            return Resolved::Once;
        }
        // A packet that teaches is the only one of its kind: from now on its source is known.
        if taught || !self.translation.is_cacheable() {
            return self.credit(from, key, credit);
        }
        match self.install(from, key, era, credit.now) {
            Ok(found) => {
                self.stats.installed += 1;
                found
            }
            Err(NoRoom) => {
                self.stats.refused += 1;
                self.credit(from, key, credit)
            }
        }
    }

    /// Makes what the translation says apart known under the numbers of this worker.
    fn adopt(&mut self) {
        let Self { asides, translation, adopted, .. } = self;
        let first = adopted.len();
        let numbers = translation.asides.iter().map_while(|aside| asides.intern(aside));
        adopted.extend(numbers);
        if adopted.len() - first < translation.asides.len() {
            // It says nothing apart then.
            translation.asides.clear();
            translation.ops.clear();
            translation.ops.push(Op::Drop(DropReason::DecisionLimit));
            return;
        }
        for op in &mut translation.ops {
            if let Some(aside) = op.aside() {
                *op = op.renamed(adopted[first + aside.0 as usize]);
            }
        }
    }

    /// Leaves the flows that the packet has taught with those that are pending, and credits what it
    /// has met. Answers whether that was done: not if the packet might go another way by now, and
    /// is to be walked `again` then.
    fn teach(&mut self, from: From, key: &Key, credit: Credit, again: bool) -> bool {
        // What is learned might be met on the way: what has been met comes first.
        let mut met = Vec::new();
        self.meet(from, key, |_, one| met.push(one));
        let Translation { flows, basis, looked, taught, .. } = &self.translation;
        let bridge = basis.bridge.and_then(|id| Some((id, self.tables.bridge(id)?)));
        let Some((id, bridge)) = bridge else { return true };
        let now = credit.now;
        let timed = |(_, rule): &(_, Arc<Rule>)| {
            Arc::new(Rule { created: now, modified: now, ..Rule::clone(rule) })
        };
        let rules: Vec<_> = flows.iter().map(timed).collect();
        let walked = Walked { since: *taught, basis, key, mask: looked };
        let added = match bridge.pending.add(id, &rules, walked) {
            Some(added) => added,
            None if again => return false,
            None => 0,
        };
        met.iter().for_each(|one| one.credit(bridge, credit));
        self.stats.taught += added as u64;
        self.stats.not_taught += (rules.len() - added) as u64;
        self.begin();
        true
    }

    /// Learns what the translation found out, before the packet that showed it leaves. Answers
    /// whether anything is known now that was not.
    fn learn(&mut self, now: Millis) -> bool {
        let mut taught = false;
        for lesson in &self.translation.lessons {
            if let Some(bridge) = self.tables.bridge(lesson.bridge) {
                taught |= bridge.macs.learn(lesson.station, lesson.port, now) == Outcome::Changed;
            }
        }
        // The very next packet of the batch must not be answered from before.
        self.begin();
        taught
    }

    /// Whether the translation says what `flow` says, for all of its packets.
    fn is_same(&self, flow: MegaflowId) -> bool {
        let (program, path) = self.megaflows.result(flow);
        self.translation.is_cacheable()
            && self.megaflows.depends_on(flow, &self.translation.looked)
            && self.programs.exactly(program) == self.translation.ops
            && self.paths.is(path, &self.translation.path)
    }

    fn install(
        &mut self,
        from: From,
        key: &Key,
        era: u32,
        now: Millis,
    ) -> Result<Resolved, NoRoom> {
        let Self { megaflows, programs, paths, asides, translation, .. } = self;
        let port = from.port();
        if let From::Pass(behind) = from {
            megaflows.prepare(port);
            // The megaflow will be a user of what it goes on behind.
            asides.retain(behind);
        }
        let installed = Self::install_at(
            megaflows,
            programs,
            paths,
            asides,
            (port, key, &*translation),
            Stamp { era, generation: self.tables.generation(), now },
        );
        if let (Err(NoRoom), From::Pass(behind)) = (&installed, from) {
            asides.release(behind);
        }
        installed
    }

    fn install_at(
        megaflows: &mut Megaflows,
        programs: &mut Programs,
        paths: &mut Paths,
        asides: &mut Asides,
        (port, key, translation): (PortId, &Key, &Translation),
        stamp: Stamp,
    ) -> Result<Resolved, NoRoom> {
        let gone = |gone| release(programs, paths, asides, gone);
        let place = megaflows.make_room(port, &translation.looked, key, gone)?;
        let program = programs.intern(&translation.ops).ok_or(NoRoom)?;
        if programs.has_one_user(program) {
            let used = translation.ops.iter().filter_map(|op| op.aside());
            used.for_each(|aside| asides.retain(aside));
        }
        let Some(path) = paths.intern(&translation.path) else {
            release_program(programs, asides, program);
            return Err(NoRoom);
        };
        match megaflows.insert(place, key, translation, (program, path), stamp) {
            Ok(flow) => Ok(Resolved::Cached(flow, Found::Cached(program, path))),
            Err(NoRoom) => {
                release(programs, paths, asides, Gone { program, path, pass: None });
                Err(NoRoom)
            }
        }
    }

    /// Gives everything the packet passes its credit, one by one, by walking the same way again:
    /// what the packet has taught meanwhile changes where it goes, not which rules it meets.
    fn credit(&mut self, from: From, key: &Key, credit: Credit) -> Resolved {
        self.meet(from, key, |bridge, met| met.credit(bridge, credit));
        Resolved::Once
    }

    /// Walks the same way again, to show what the packet meets.
    fn meet(&mut self, from: From, key: &Key, mut show: impl FnMut(&Bridge, Met)) {
        let Self { scratch, tables, ports, asides, .. } = self;
        let bridge = match from {
            From::Port(port) => ports.get(usize::from(port.0)).and_then(Option::as_ref),
            From::Pass(_) => None,
        };
        let bridge = match from {
            From::Port(_) => bridge.map(|view| view.bridge),
            From::Pass(behind) => asides.frozen(behind).map(|frozen| frozen.bridge),
        };
        if let Some(bridge) = bridge.and_then(|bridge| tables.bridge(bridge)) {
            let mut meeting = Meeting(|met| show(bridge, met));
            walk(scratch, tables, ports, asides, from, key, &mut meeting);
        }
    }
}

/// Translates a packet from a port, or from the end of an earlier pass. Answers whether there is
/// such a port or pass.
fn walk<R: Record>(
    translation: &mut Translation,
    tables: &Tables,
    ports: &[Option<Arc<PortView>>],
    asides: &Asides,
    from: From,
    key: &Key,
    record: &mut R,
) -> bool {
    match from {
        From::Port(port) => {
            let view = ports.get(usize::from(port.0)).and_then(Option::as_ref);
            view.map(|view| translation.translate(tables, view, key, record)).is_some()
        }
        From::Pass(behind) => {
            let frozen = asides.frozen(behind);
            frozen.map(|frozen| translation.resume(tables, frozen, key, record)).is_some()
        }
    }
}
