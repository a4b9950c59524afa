//! What one transaction is made of.

use packet::Key;

use crate::action::Action;
use crate::field::Field;
use crate::flow::FlowMod;
use crate::group::GroupMod;
use crate::meter::MeterMod;
use crate::table::TableMod;

/// One change of a transaction: a line of a bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
pub enum Change {
    /// Of flows.
    Flow(FlowMod),
    /// Of groups.
    Group(GroupMod),
    /// Of meters.
    Meter(MeterMod),
    /// Of tables as such.
    Table(TableMod),
    /// None: a packet that is sent when the others have taken place.
    PacketOut(PacketOut),
}

/// A packet to be treated as if it had come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PacketOut {
    /// The OpenFlow number of the port it seems to come from; `CONTROLLER` is none.
    pub in_port: u16,
    /// What it begins with of [`PacketOut::fields`]; everything else is zero.
    pub fields: Key,
    /// Its bytes.
    pub packet: Vec<u8>,
    /// What is done with it.
    pub actions: Vec<Action>,
}

impl PacketOut {
    /// The fields that a packet can begin with: the registers, `metadata`, `tun_id` and `pkt_mark`.
    pub fn fields() -> impl Iterator<Item = Field> {
        Field::all().filter(|field| field.is_scratch() && field.is_writable() && !field.is_view())
    }
}
