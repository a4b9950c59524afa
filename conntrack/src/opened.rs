//! What a connection begins with, and the state it comes to, by its protocol.

use api::CtTimeout;

use crate::message::Content;
use crate::sctp::{self, Sctp};
use crate::settings::Settings;
use crate::tcp::{self, Tcp};

/// The state of a connection whose protocol has some.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// Of TCP.
    Tcp(tcp::State),
    /// Of SCTP.
    Sctp(sctp::State),
}

impl State {
    /// The name that `nf_conntrack` and ovs-dpctl have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp(state) => state.name(),
            Self::Sctp(state) => state.name(),
        }
    }
}

/// What is known of a connection behind its first packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opened {
    Tcp(Tcp),
    Sctp(Sctp),
    /// Of another protocol, nothing.
    Other,
}

impl Opened {
    /// Whether a packet begins anything.
    pub(crate) fn is_begun_by(content: &Content, settings: Settings) -> bool {
        match content {
            Content::Tcp(segment) => Tcp::opens(segment, settings),
            _ => Self::by(content, settings).is_some(),
        }
    }

    /// What a packet begins; `None` if it begins nothing.
    pub(crate) fn by(content: &Content, settings: Settings) -> Option<Self> {
        match content {
            Content::Tcp(segment) => Tcp::open(segment, settings).map(Self::Tcp),
            Content::Sctp(bundle) => Sctp::open(bundle).map(Self::Sctp),
            Content::Udp | Content::Question | Content::Other => Some(Self::Other),
            Content::Answer | Content::Error { .. } => None,
        }
    }
}

/// How long a connection of another protocol than TCP and SCTP may be silent behind the packet that
/// begins it.
pub(crate) const fn first_timeout(content: &Content) -> CtTimeout {
    match content {
        Content::Udp => CtTimeout::UdpFirst,
        Content::Question | Content::Answer => CtTimeout::IcmpFirst,
        _ => CtTimeout::Generic,
    }
}
