//! How much there is of everything, and how much there may be.

use serde::{Deserialize, Serialize};

/// What memory is used for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Memory {
    /// The uses.
    pub uses: Vec<MemoryUse>,
    /// All memory of the process that is in place, in bytes (`VmRSS`); nothing if the kernel does
    /// not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
}

/// One use of memory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemoryUse {
    /// What for.
    pub name: String,
    /// Bytes that are held for it. Of a table that is reserved as a whole, parts that were never
    /// used may not be in place.
    pub bytes: u64,
    /// What is in it, counted.
    pub items: u64,
    /// What those are called.
    pub item: String,
}

/// Every limit there is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// By what they are of.
    pub limits: Vec<Limit>,
}

/// How much there may be of something, and is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limit {
    /// What is limited; the page on limits has it under this name.
    pub name: String,
    /// What each of has this limit: `switch`, `bridge`, `table`, `worker`, `port`, `client`.
    pub each: String,
    /// The most there may be.
    pub limit: u64,
    /// How much there is now, at the one that has most; nothing if that is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
    /// Which one has most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What happens when it is reached.
    pub then: String,
}
