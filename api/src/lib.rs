//! Everything that crosses the control socket, in one vocabulary.
//!
//! * [`Field`] names what a flow can match and set; [`Match`], [`Action`] and [`FlowMod`] are flows
//!   as values: legal by construction, no text left in them.
//! * [`text`] reads and prints them in the syntax of `ovs-ofctl`.

mod action;
mod drop;
mod field;
mod flow;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;

pub use action::{Action, OutPort, Subfield};
pub use drop::{DropReason, UnknownReason};
pub use field::{Field, Format, Needs};
pub use flow::{Command, FlowFilter, FlowFlags, FlowMod, Match, Prerequisite, TableId};
pub use text::{FlowError, NoNames, PortNames};
