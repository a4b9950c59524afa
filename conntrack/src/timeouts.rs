//! How long connections may be silent.

use std::ops::Index;

use api::CtTimeout;

/// Seconds without a packet after which connections go: all of them. Those of the Linux kernel unless
/// said otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts([u32; CtTimeout::ALL.len()]);

impl Index<CtTimeout> for Timeouts {
    type Output = u32;

    fn index(&self, timeout: CtTimeout) -> &u32 {
        &self.0[timeout as usize]
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self(CtTimeout::ALL.map(kernel))
    }
}

/// What the kernel has for it (`nf_conntrack_proto_tcp.c` and its neighbours).
const fn kernel(timeout: CtTimeout) -> u32 {
    match timeout {
        CtTimeout::TcpSynSent
        | CtTimeout::TcpSynSent2
        | CtTimeout::TcpFinWait
        | CtTimeout::TcpTimeWait
        | CtTimeout::UdpMultiple => 120,
        CtTimeout::TcpSynRecv | CtTimeout::TcpCloseWait => 60,
        CtTimeout::TcpEstablished => 432_000,
        CtTimeout::TcpLastAck
        | CtTimeout::UdpFirst
        | CtTimeout::UdpSingle
        | CtTimeout::IcmpFirst
        | CtTimeout::IcmpReply
        | CtTimeout::SctpHeartbeatSent => 30,
        CtTimeout::TcpClose | CtTimeout::SctpClosed => 10,
        CtTimeout::TcpUnack => 300,
        CtTimeout::SctpCookieWait
        | CtTimeout::SctpCookieEchoed
        | CtTimeout::SctpShutdownSent
        | CtTimeout::SctpShutdownRecd
        | CtTimeout::SctpShutdownAckSent => 3,
        CtTimeout::SctpEstablished => 210,
        CtTimeout::Generic => 600,
    }
}
