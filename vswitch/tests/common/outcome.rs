//! What becomes of packets, as two that carry them can be compared.

use api::DropReason;

/// What became of some packets, in an order that does not depend on how they were carried: the
/// packets of each port in theirs.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) sent: Vec<(u16, Vec<u8>)>,
    pub(crate) dropped: Vec<(u16, DropReason, u64)>,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (port, bytes) in &self.sent {
            let hex: String = bytes.iter().take(54).map(|byte| format!("{byte:02x}")).collect();
            writeln!(f, "\n  port {port}: {} bytes {hex}", bytes.len())?;
        }
        write!(f, "  dropped: {:?}", self.dropped)
    }
}

impl Outcome {
    /// With one reason for all that the flows decide: of a packet whose copies end in different ways
    /// any of them is as good.
    pub(crate) fn told_apart(mut self) -> Self {
        for (_, reason, _) in &mut self.dropped {
            let apart = [DropReason::Metered, DropReason::PassLimit, DropReason::Runt];
            if !apart.contains(reason) {
                *reason = DropReason::FlowDrop;
            }
        }
        self.sorted()
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.sent.sort_by_key(|(port, _)| *port);
        self.dropped.sort_unstable();
        let mut sums: Vec<(u16, DropReason, u64)> = Vec::new();
        for (port, reason, packets) in self.dropped.drain(..) {
            match sums.last_mut() {
                Some(last) if (last.0, last.1) == (port, reason) => last.2 += packets,
                _ => sums.push((port, reason, packets)),
            }
        }
        self.dropped = sums;
        self
    }
}
