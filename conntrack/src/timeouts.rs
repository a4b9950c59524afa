//! How long connections may be silent.

use crate::tcp::State;

/// Seconds without a packet after which connections go. Those of the Linux kernel unless said
/// otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Of TCP, by [`State`].
    pub tcp: [u32; State::ALL.len()],
    /// Of TCP at most, while something that was sent is not acknowledged.
    pub tcp_unacknowledged: u32,
    /// Of UDP, before it was answered.
    pub udp: u32,
    /// Of UDP that was answered.
    pub udp_stream: u32,
    /// Of queries of ICMP and ICMPv6.
    pub icmp: u32,
    /// Of whatever else.
    pub other: u32,
}

impl Timeouts {
    /// Of TCP that is established, by whether something that was sent is not acknowledged.
    #[inline]
    pub(crate) fn established(&self, is_owed: bool) -> u32 {
        let timeout = self.tcp[State::Established as usize];
        if is_owed { timeout.min(self.tcp_unacknowledged) } else { timeout }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: [120, 120, 60, 432_000, 120, 60, 30, 120, 10],
            tcp_unacknowledged: 300,
            udp: 30,
            udp_stream: 120,
            icmp: 30,
            other: 600,
        }
    }
}
