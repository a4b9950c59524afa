//! How the work of workers is spread.

use serde::{Deserialize, Serialize};

/// Histograms of workers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Histograms {
    /// By number.
    pub workers: Vec<WorkerHistograms>,
}

/// The histograms of a worker.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkerHistograms {
    /// Its number.
    pub worker: u32,
    /// One for each thing that is measured.
    pub histograms: Vec<Histogram>,
}

/// How often a value was how large.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Histogram {
    /// What was measured: `batch_packets`, `turn_ns`, `wake_ns`, `translation_ns`.
    pub name: String,
    /// What it is, in a sentence.
    pub what: String,
    /// How often each power of two: `counts[0]` is of the value 0, and `counts[n]` of the values
    /// from 2^(n-1) up to but without 2^n. It ends with the last one that is not 0.
    pub counts: Vec<u64>,
}
