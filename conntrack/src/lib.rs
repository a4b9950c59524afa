//! Connections and their NAT. Pure.
//!
//! What a middlebox knows of a connection it knows from packets that passed, some of which were lost
//! behind it. So nothing here is as strict as an endpoint (RFC 9293 §3.10): a packet is *invalid* only
//! if no endpoint could have sent it, or could have meant it for this connection.
//!
//! Where a standard leaves room, the Linux kernel's `nf_conntrack` is the measure: rules that were
//! written for it mean the same here. `tests/kernel.rs` lets both judge the same packets.

mod announced;
mod awaited;
mod bundle;
mod connection;
mod connections;
mod describe;
mod expectations;
mod fragments;
mod ftp;
mod gone;
mod grace;
mod hear;
mod host;
mod index;
mod kin;
mod link;
mod marks;
mod message;
mod nat;
mod news;
mod opened;
mod places;
mod policies;
mod population;
mod query;
mod quick;
mod quoted;
mod sctp;
mod segment;
mod settings;
mod shared_sctp;
mod shared_tcp;
mod shifts;
mod standing;
mod sync;
mod table;
mod take;
mod tally;
mod tcp;
mod tftp;
mod timeouts;
mod tuple;
mod window;
mod zones;

pub use announced::Expected;
pub use awaited::Awaited;
pub use bundle::{Bundle, Chunk, NoBundle, Tag};
pub use connections::{Connections, Judgement, Notes, Seen, Verdict};
pub use describe::Description;
pub use fragments::{DatagramId, Fragments, Gathered, Lost};
pub use ftp::Text;
pub use hear::{Heard, NotHeard, Numbers, Rewrite};
pub use message::{Content, Message, Untracked};
pub use nat::Pool;
pub use news::{Change, News};
pub use opened::State;
pub use policies::TooManyPolicies;
pub use sctp::State as SctpState;
pub use segment::{Kind, Malformed, Segment};
pub use settings::Settings;
pub use standing::Standing;
pub use table::{ConnectionId, NotMade, Tuples};
pub use tally::Stats;
pub use tcp::{Known, State as TcpState};
pub use timeouts::Timeouts;
pub use tuple::{Ends, Tuple};
pub use zones::Zones;

/// Which way a packet goes, seen from the one that began the connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// As the first packet did.
    Original,
    /// The other way.
    Reply,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}
