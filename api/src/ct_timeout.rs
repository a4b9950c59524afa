//! How long connections may be silent: what can be set, by the words of OVS's `CT_Timeout_Policy`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! timeouts {
    ($($variant:ident $name:literal $sentence:literal,)*) => {
        /// What a timeout of connections is about.
        #[derive(
            Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
        )]
        #[serde(try_from = "String")]
        #[repr(u8)]
        pub enum CtTimeout {
            $(#[doc = $sentence] #[serde(rename(serialize = $name))] $variant,)*
        }

        impl CtTimeout {
            /// All of them, in order.
            pub const ALL: [Self; [$($name,)*].len()] = [$(Self::$variant,)*];

            /// The word for it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

timeouts! {
    TcpSynSent "tcp_syn_sent" "TCP of which a SYN has passed.",
    TcpSynSent2 "tcp_syn_sent2" "TCP of which a SYN has passed either way.",
    TcpSynRecv "tcp_syn_recv" "TCP of which a SYN and its answer have passed.",
    TcpEstablished "tcp_established" "TCP that is established.",
    TcpFinWait "tcp_fin_wait" "TCP of which a FIN has passed.",
    TcpCloseWait "tcp_close_wait" "TCP of which a FIN and an acknowledgement behind it have passed.",
    TcpLastAck "tcp_last_ack" "TCP of which a FIN has passed either way.",
    TcpTimeWait "tcp_time_wait" "TCP of which the last FIN was acknowledged.",
    TcpClose "tcp_close" "TCP of which a reset has passed.",
    TcpUnack "tcp_unack" "TCP at most, while something that was sent is not acknowledged.",
    UdpFirst "udp_first" "UDP of which one packet has passed.",
    UdpSingle "udp_single" "UDP of which several have passed, one way or for two seconds at most.",
    UdpMultiple "udp_multiple" "UDP that was answered and has gone on for more than two seconds.",
    IcmpFirst "icmp_first" "A query of ICMP or ICMPv6.",
    IcmpReply "icmp_reply" "A query that was answered.",
    Generic "generic" "Whatever else. OVS has no word for it.",
    SctpClosed "sctp_closed" "SCTP of which an INIT has passed, or what ends it.",
    SctpCookieWait "sctp_cookie_wait" "SCTP of which an INIT and its answer have passed.",
    SctpCookieEchoed "sctp_cookie_echoed" "SCTP of which a COOKIE ECHO has passed.",
    SctpEstablished "sctp_established" "SCTP that is established.",
    SctpShutdownSent "sctp_shutdown_sent" "SCTP of which a SHUTDOWN of who began it has passed.",
    SctpShutdownRecd "sctp_shutdown_recd" "SCTP of which a SHUTDOWN of the other side has passed.",
    SctpShutdownAckSent "sctp_shutdown_ack_sent" "SCTP of which the answer to that has passed.",
    SctpHeartbeatSent "sctp_heartbeat_sent" "SCTP of which a heartbeat alone has passed.",
}

impl fmt::Display for CtTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no timeout.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is none of {all}", all = CtTimeout::ALL.map(CtTimeout::name).join(", "))]
pub struct UnknownTimeout(String);

impl TryFrom<String> for CtTimeout {
    type Error = UnknownTimeout;

    fn try_from(name: String) -> Result<Self, UnknownTimeout> {
        name.parse()
    }
}

impl FromStr for CtTimeout {
    type Err = UnknownTimeout;

    fn from_str(name: &str) -> Result<Self, UnknownTimeout> {
        let known = Self::ALL.into_iter().find(|timeout| timeout.name() == name);
        known.ok_or_else(|| UnknownTimeout(name.to_owned()))
    }
}

/// How long a connection may be silent: from a second to nearly 25 days, which is the most that its
/// deadline can say.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct CtSeconds(u32);

/// No time that a connection may be silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a timeout is 1 to {most} seconds, not {0}", most = CtSeconds::MOST)]
pub struct InvalidSeconds(u32);

impl CtSeconds {
    /// The most.
    pub const MOST: u32 = u32::MAX / 2 / 1000;
}

impl TryFrom<u32> for CtSeconds {
    type Error = InvalidSeconds;

    fn try_from(seconds: u32) -> Result<Self, InvalidSeconds> {
        (1..=Self::MOST).contains(&seconds).then_some(Self(seconds)).ok_or(InvalidSeconds(seconds))
    }
}

impl From<CtSeconds> for u32 {
    fn from(CtSeconds(seconds): CtSeconds) -> Self {
        seconds
    }
}

/// Some timeouts: a timeout policy, or a part of one.
pub type CtTimeouts = BTreeMap<CtTimeout, CtSeconds>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for (n, timeout) in CtTimeout::ALL.into_iter().enumerate() {
            assert_eq!(timeout as usize, n);
            assert_eq!(timeout.name().parse(), Ok(timeout));
            assert_eq!(serde_json::to_value(timeout).unwrap(), timeout.name());
        }
    }

    #[test]
    fn a_deadline_says_no_more_than_it_can() {
        let read = |seconds: u32| CtSeconds::try_from(seconds).map(u32::from);
        assert_eq!([read(1), read(432_000), read(2_147_483)], [Ok(1), Ok(432_000), Ok(2_147_483)]);
        assert_eq!(read(0).unwrap_err().to_string(), "a timeout is 1 to 2147483 seconds, not 0");
        assert!(read(2_147_484).is_err());
    }
}
