//! What one worker has done, for `ofctl worker-stats`.

use flowtable::CacheStats;

use crate::account::Counter;
use crate::histogram::Histograms;
use crate::opening::OpeningStats;
use crate::session::SessionStats;

macro_rules! counters {
    ($($name:ident $sentence:literal,)*) => {
        /// Counters of one worker, which it alone writes.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct WorkerCounters {
            $(#[doc = $sentence] pub $name: Counter,)*
            /// How the work is spread.
            pub histograms: Histograms,
        }

        impl WorkerCounters {
            /// Every counter's name, value and meaning.
            pub fn all(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($name), self.$name.get(), $sentence),)*]
            }
        }
    };
}

counters! {
    turns "Turns in which there was something to do.",
    batches "Batches received.",
    packets "Packets received.",
    sent "Packets sent.",
    busy_ns "Nanoseconds spent on batches.",
    idle_ns "Nanoseconds spent looking for packets in vain.",
    longest_turn_ns "Nanoseconds of its longest turn in the last second or two that it was awake, all it did included.",
    sleeps "Times it went to sleep.",
    syscalls "System calls made for packets.",
    session_hits "Packets that met a session (tier 1).",
    session_misses "Packets that could have a session and met none.",
    sessions_made "Sessions made.",
    sessions_unfit "Sessions not made because what was looked at does not fit.",
    sessions_refused "Sessions not made for want of room.",
    opening_hits "Packets that began connections as others before them (tier 1).",
    openings_made "Openings made.",
    megaflow_hits "Packets that met a megaflow (tier 2).",
    translated "Packets that were translated because no megaflow knew them (tier 3).",
    retranslated "Packets that were translated again because something had changed.",
    passes "Passes behind a decision, each of which met a megaflow or was translated, too.",
    taught "Flows that packets have taught.",
    not_taught "Flows that were not learned because too many were pending.",
    unheard "Packets to be shown that nobody wanted to see, or that were too many.",
    confirmed "Translations whose result was the old one.",
    megaflows_made "Megaflows made.",
    megaflows_refused "Megaflows not made for want of room.",
    sessions "Sessions in use.",
    megaflows "Megaflows in use.",
    masks "Different masks among them.",
    programs "Programs in use.",
    paths "Paths in use.",
    operations "Operations of all programs, with what lies free among them.",
    megaflow_bytes "Bytes of the megaflows.",
    program_bytes "Bytes of the programs.",
    path_bytes "Bytes of the paths.",
    session_bytes "Bytes of the sessions.",
    last_drop_bytes "Bytes of the packets that were dropped last.",
    free_frames "Frames at hand.",
    short_cuts "Short-cuts in use.",
    short_cuts_made "Short-cuts made.",
    short_cut_packets "Packets that took one, and did not come here.",
}

impl WorkerCounters {
    /// Brings the counters of the caches up to date.
    pub fn follow(&self, cache: CacheStats, sessions: SessionStats, openings: OpeningStats) {
        self.session_hits.set(sessions.hits);
        self.session_misses.set(sessions.misses);
        self.sessions_made.set(sessions.made);
        self.sessions_unfit.set(sessions.unfit);
        self.sessions_refused.set(sessions.refused);
        self.opening_hits.set(openings.hits);
        self.openings_made.set(openings.made);
        self.megaflow_hits.set(cache.hits);
        self.translated.set(cache.misses);
        self.retranslated.set(cache.retranslated);
        self.confirmed.set(cache.confirmed);
        self.passes.set(cache.passes);
        self.taught.set(cache.taught);
        self.not_taught.set(cache.not_taught);
        self.megaflows_made.set(cache.installed);
        self.megaflows_refused.set(cache.refused);
    }
}
