//! What a connection begins with, and the state it comes to, by its protocol.

use api::CtTimeout;

use crate::message::Content;
use crate::policies::Policy;
use crate::sctp::{self, Sctp};
use crate::segment::Kind;
use crate::settings::Settings;
use crate::shared_tcp::Words;
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
    /// Of TCP that begins with a SYN.
    Syn(Words),
    /// Of TCP that was met later.
    Midstream(Tcp),
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
    #[expect(clippy::inline_always, reason = "of a SYN it is six words")]
    #[inline(always)]
    pub(crate) fn by(content: &Content, settings: Settings) -> Option<Self> {
        match content {
            Content::Tcp(syn) if syn.kind == Kind::Syn => Some(Self::Syn(Words::of_syn(syn))),
            Content::Tcp(segment) => Tcp::open(segment, settings).map(Self::Midstream),
            Content::Sctp(bundle) => Sctp::open(bundle).map(Self::Sctp),
            Content::Udp | Content::Question | Content::Other => Some(Self::Other),
            Content::Answer | Content::Error { .. } => None,
        }
    }

    /// Seconds that it may be silent behind the packet that has begun it.
    pub(crate) fn timeout(&self, content: &Content, policy: &Policy) -> u32 {
        match self {
            Self::Syn(_) => policy.get(CtTimeout::TcpSynSent),
            Self::Midstream(tcp) => tcp.timeout(Kind::Ack, policy),
            Self::Sctp(sctp) => policy.get(sctp.state.timeout()),
            Self::Other => policy.get(first_timeout(content)),
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::segment::Segment;
    use crate::tcp::Known;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_syn_begins_is_what_tcp_makes_of_it(
            [seq, len, ack] in any::<[u32; 3]>(),
            window: u16,
            (scale, allows_sack) in (prop::option::of(0..=14u8), any::<bool>()),
            [has_ack, has_others] in any::<[bool; 2]>(),
        ) {
            let end = seq.wrapping_add(len % 0x1_0000);
            let has_options = has_others || scale.is_some() || allows_sack;
            let (kind, sack) = (Kind::Syn, ack);
            let syn = Segment {
                kind, has_ack, seq, end, ack, sack, window, has_options, scale, allows_sack,
            };
            let settings = Settings::default();
            let tcp = Tcp::open(&syn, settings).unwrap();
            let words = Words::of_syn(&syn);
            prop_assert_eq!(words, Words::of(&tcp, Known::default()));
            let (policies, content) = (crate::policies::Policies::new(), Content::Tcp(syn));
            let opened = Opened::by(&content, settings).unwrap();
            let seconds = opened.timeout(&content, policies.get(0));
            prop_assert_eq!(seconds, tcp.timeout(kind, policies.get(0)));
        }
    }
}
