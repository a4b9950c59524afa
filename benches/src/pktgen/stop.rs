//! When a run ends: at a signal, or after some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock;

/// The end of a run.
#[derive(Debug)]
pub struct Stop {
    told: Arc<AtomicBool>,
    at_ns: u64,
}

impl Stop {
    /// After `seconds`, if that is given, or at SIGINT or SIGTERM.
    pub fn after(seconds: Option<f64>) -> Result<Self> {
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&told)).context("awaiting signals")?;
        }
        let at_ns = seconds.map_or(u64::MAX, |seconds| clock::now_ns() + nanos(seconds));
        Ok(Self { told, at_ns })
    }

    /// Whether it has come.
    pub fn has_come(&self, now_ns: u64) -> bool {
        now_ns >= self.at_ns || self.told.load(Relaxed)
    }
}

/// Seconds as whole nanoseconds; below zero is zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
pub fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
