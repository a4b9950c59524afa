//! How far a long operation is, for whoever waits at a terminal.

use std::io::{self, IsTerminal as _, Write as _};

/// A line on standard error that is written over again and again; nothing if nobody is there to see
/// it.
pub(crate) struct Progress {
    shown: bool,
    is_seen: bool,
    what: &'static str,
}

impl Progress {
    /// Counts `what`, unless `quiet`.
    pub(crate) fn of(what: &'static str, quiet: bool) -> Self {
        Self { shown: false, is_seen: !quiet && io::stderr().is_terminal(), what }
    }

    /// So many there are by now, of `all` if that is known.
    pub(crate) fn at(&mut self, count: usize, all: Option<usize>) {
        if !self.is_seen {
            return;
        }
        self.shown = true;
        let all = all.map(|all| format!(" of {all}")).unwrap_or_default();
        // Progress that cannot be shown is none.
        let _ = write!(io::stderr(), "\r\x1b[K{count}{all} {}", self.what);
    }
}

impl Drop for Progress {
    /// Leaves nothing behind.
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
