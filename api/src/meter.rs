//! Meters as values: how much may pass.

/// A meter (OpenFlow 1.5 §5.11).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meter {
    /// Which.
    pub id: MeterId,
    /// What is counted.
    pub unit: MeterUnit,
    /// Whether a burst was asked for; without it a band's is as long as its rate for one second.
    pub burst: bool,
    /// Whether its counters are wanted; they are kept anyway.
    pub stats: bool,
    /// Its bands, one to [`Meter::BANDS`].
    pub bands: Vec<MeterBand>,
}

impl Meter {
    /// The most bands of a meter (as in Open vSwitch).
    pub const BANDS: usize = 8;
}

/// The number of a meter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum MeterId {
    /// An ordinary one, 1 to [`MeterId::MAX`].
    Number(u32),
    /// All that is shown to watchers passes it.
    Controller,
    /// All that no cache knows passes it.
    Slowpath,
}

impl MeterId {
    /// The highest ordinary number.
    pub const MAX: u32 = 0xffff_0000;
}

/// What a meter counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MeterUnit {
    /// Thousands of bits.
    Kbps,
    /// Packets.
    Pktps,
}

/// What becomes of packets above a rate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MeterBand {
    /// What is done.
    pub kind: BandKind,
    /// Units a second, one at least.
    pub rate: u32,
    /// Units that may pass at once; 0 is as many as pass in a second.
    pub burst_size: u32,
}

/// What a band does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BandKind {
    /// Drops.
    Drop,
    /// Raises the drop precedence in the DSCP by so much.
    DscpRemark(u8),
}

/// A change of meters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MeterMod {
    /// Adds one that is not there.
    Add(Meter),
    /// Replaces one that is there.
    Modify(Meter),
    /// Removes one, or all, with the flows that use it.
    Delete(Option<MeterId>),
}
