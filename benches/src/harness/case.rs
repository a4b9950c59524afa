//! What both switches are to do, and how well ours is to do it.

use crate::harness::row::Goal;

/// Flows of both switches, and the packets that they get one after the other.
#[derive(Clone, Debug)]
pub struct Set {
    /// The flows.
    pub flows: Vec<String>,
    /// The same with actions that tell in the packet which flow it met; none if the flows
    /// themselves show enough. Outputs are compared under these.
    pub marked: Option<Vec<String>>,
    /// The packets, and what is to be reached with them.
    pub cases: Vec<Case>,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// What is to be reached.
    pub goal: Goal,
    /// How many ticks of the processor's clock a packet is to take at most, if that is an aim.
    pub ticks: Option<f64>,
    /// What both get before, one part after the other, so that connections are there.
    pub before: Vec<Vec<Vec<u8>>>,
    /// The packets, which come again and again in this order.
    pub packets: Packets,
    /// How many entries a cache of wildcards must have for them; none if that is only told.
    pub megaflows: Option<u64>,
    /// The least share of packets that are to meet a session of ours; none if that is as it comes.
    pub sessions: Option<f64>,
}

/// Packets in order.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    /// Their bytes.
    pub frames: Vec<Vec<u8>>,
    /// The places of those that the flows drop, rising.
    pub dropped: Vec<usize>,
}

impl Packets {
    /// How many of the first `count` come out.
    pub fn passing(&self, count: usize) -> usize {
        count.min(self.frames.len()) - self.dropped.partition_point(|place| *place < count)
    }

    /// The share that does not come out.
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    pub fn dropped_share(&self) -> f64 {
        self.dropped.len() as f64 / self.frames.len().max(1) as f64
    }
}

impl From<Vec<Vec<u8>>> for Packets {
    /// Packets that all come out.
    fn from(frames: Vec<Vec<u8>>) -> Self {
        Self { frames, dropped: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_does_not_come_out() {
        let packets = Packets { frames: vec![Vec::new(); 10], dropped: vec![0, 3, 9] };
        assert_eq!([1, 3, 4, 10, 99].map(|count| packets.passing(count)), [0, 2, 2, 7, 7]);
        assert!((packets.dropped_share() - 0.3).abs() < 1e-9);
    }
}
