//! Everything that crosses the control socket, in one vocabulary.
//!
//! * [`Field`] names what a flow can match and set; [`Match`], [`Action`] and [`FlowMod`] are flows
//!   as values: legal by construction, no text left in them.
//! * [`text`] reads and prints them in the syntax of `ovs-ofctl`.
//! * [`Request`] is everything one may ask the switch, [`Reply`] everything it answers; their parts
//!   are in [`request`] and [`reply`]. Neither knows how it travels.
//! * [`codec`] is how they travel: lines of JSON-RPC 2.0 on a unix socket. [`LineReader`] finds the
//!   lines, [`Client`] asks.
//!
//! The crate starts no thread and reads no clock; but for the [`Client`] it opens nothing.

mod action;
mod bits;
mod bytes;
mod change;
mod client;
pub mod codec;
mod ct;
mod ct_next;
mod ct_timeout;
mod drop;
mod field;
mod flags;
mod flow;
mod group;
mod line;
mod meter;
mod method;
mod queue;
pub mod reply;
pub mod request;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
mod version;

pub use action::{
    Action, Bundle, BundleAlgorithm, Controller, HashFields, Learn, LearnSource, LearnSpec,
    Multipath, MultipathAlgorithm, OutPort, PacketInReason, Sample, SampleDirection, Subfield,
    UnknownPacketInReason,
};
pub use bits::{Bits, InvalidBits};
pub use bytes::{HexBytes, InvalidHex};
pub use change::{Change, PacketOut};
pub use client::{Capture, Client, ClientError, DEFAULT_SOCKET, Watch};
pub use codec::Failure;
pub use ct::{Alg, Ct, CtZone, Nat, NatChoice, NatRange, ct_state};
pub use ct_next::{CtNext, InvalidCtNext};
pub use ct_timeout::{CtSeconds, CtTimeout, CtTimeouts, InvalidSeconds, UnknownTimeout};
pub use drop::{DropReason, UnknownReason};
pub use field::{Field, FlagNames, Format, Needs};
pub use flags::{PortFlagChanges, PortFlags};
pub use flow::{Command, FlowFilter, FlowFlags, FlowMod, Match, PortRange, Prerequisite, TableId};
pub use group::{Bucket, BucketPlace, Group, GroupKind, GroupMod, Selection};
pub use line::{LineError, LineReader};
pub use meter::{BandKind, Meter, MeterBand, MeterId, MeterMod, MeterUnit};
pub use method::{Call, Notification, Reply, Request};
pub use queue::QueueSettings;
pub use table::{TableMiss, TableMod};
pub use text::{Dialect, FlowError, NoNames, PortNames};
pub use version::VERSION;
