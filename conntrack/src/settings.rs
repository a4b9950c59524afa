//! How strict the tracking of TCP is.

use std::sync::atomic::{AtomicBool, Ordering};

/// How strict one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Segments out of window are valid, but for resets of what was acknowledged.
    pub liberal: bool,
    /// A connection may be met in its middle.
    pub picks_up: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { liberal: false, picks_up: true }
    }
}

/// [`Settings`], as all threads read them.
#[derive(Debug)]
pub(crate) struct SharedSettings {
    liberal: AtomicBool,
    picks_up: AtomicBool,
}

impl SharedSettings {
    pub(crate) const fn new(settings: Settings) -> Self {
        let Settings { liberal, picks_up } = settings;
        Self { liberal: AtomicBool::new(liberal), picks_up: AtomicBool::new(picks_up) }
    }

    pub(crate) fn get(&self) -> Settings {
        let [liberal, picks_up] =
            [&self.liberal, &self.picks_up].map(|setting| setting.load(Ordering::Relaxed));
        Settings { liberal, picks_up }
    }

    pub(crate) fn set(&self, settings: Settings) {
        let Settings { liberal, picks_up } = settings;
        self.liberal.store(liberal, Ordering::Relaxed);
        self.picks_up.store(picks_up, Ordering::Relaxed);
    }
}
