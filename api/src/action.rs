//! What a flow does with a packet.

use packet::Span;

use crate::field::Field;

/// A part of a field: `NXM_OF_ETH_SRC[0..15]`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Subfield {
    /// The field.
    pub field: Field,
    /// Its lowest bit that is meant.
    pub first: u8,
    /// How many bits are meant, at least one.
    pub bits: u8,
}

impl Subfield {
    /// All of a field, which is [`Field::width`] bits or as many as a key holds.
    pub fn whole(field: Field) -> Self {
        Self { field, first: 0, bits: field.width().min(field.span().bits()) }
    }

    /// Where it lies in the key.
    pub fn span(self) -> Span {
        self.field.span().slice(self.first, self.bits)
    }

    /// Whether it is all of its field.
    pub fn is_whole(self) -> bool {
        self == Self::whole(self.field)
    }
}

/// Where a packet can be sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OutPort {
    /// The port of this OpenFlow number, 1 to 65279. Sending back where the packet came from needs
    /// `InPort`.
    Port(u16),
    /// Where the packet came from.
    InPort,
    /// What an ordinary switch would do: learn, and forward or flood within the VLAN.
    Normal,
    /// All ports that take part in flooding, but the one it came from.
    Flood,
    /// All ports but the one it came from.
    All,
    /// The bridge's own interface.
    Local,
}

impl OutPort {
    /// Its number in OpenFlow: 0xfff8 for `InPort`, 0xfffa for `Normal` and so on.
    pub const fn number(self) -> u16 {
        match self {
            Self::Port(number) => number,
            Self::InPort => 0xfff8,
            Self::Normal => 0xfffa,
            Self::Flood => 0xfffb,
            Self::All => 0xfffc,
            Self::Local => 0xfffe,
        }
    }

    /// What the number stands for; `None` if packets cannot be sent there, as with 0 and `ANY`.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1..=0xfeff => Some(Self::Port(number)),
            0xfff8 => Some(Self::InPort),
            0xfffa => Some(Self::Normal),
            0xfffb => Some(Self::Flood),
            0xfffc => Some(Self::All),
            0xfffe => Some(Self::Local),
            _ => None,
        }
    }
}

/// One action. A list of them is executed in order; an empty list drops the packet.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Sends the packet as it is now.
    Output(OutPort),
    /// Writes bits of a field: `set_field:V[/M]->F`, `load:V->F[a..b]` and the `mod_*` words.
    SetField {
        /// The field; it is writable.
        field: Field,
        /// The new bits, at their place in the field; zero outside of `mask`.
        value: u128,
        /// Which bits are written, at least one.
        mask: u128,
    },
    /// Copies bits from field to field; both parts are of one width.
    Move {
        /// Read.
        src: Subfield,
        /// Written.
        dst: Subfield,
    },
    /// Puts a tag in front, VID and priority zero: 0x8100 or 0x88a8.
    PushVlan(u16),
    /// Takes the outer tag off.
    PopVlan,
    /// Sets the VID, pushing a tag first if there is none: `mod_vlan_vid` where the match does not
    /// say whether there is one.
    ModVlanVid(u16),
    /// Sets the priority, pushing a tag first if there is none.
    ModVlanPcp(u8),
    /// Takes one off TTL or hop limit; the action list ends here for a packet that would reach
    /// zero.
    DecTtl,
    /// Looks the packet up again and executes what is found, then goes on here.
    Resubmit {
        /// The port it seems to come from; as it is if none is given.
        in_port: Option<u16>,
        /// The table; the current one if none is given.
        table: Option<u8>,
    },
    /// Goes on in a later table, as the last thing this flow does.
    GotoTable(u8),
    /// Executes a list on a copy; whatever it changes does not outlast it.
    Clone(Vec<Self>),
    /// Writes bits of `metadata`: `write_metadata:V[/M]`.
    WriteMetadata {
        /// The new bits; zero outside of `mask`.
        value: u64,
        /// Which bits are written.
        mask: u64,
    },
}

impl Action {
    /// Whether it sends to the port of this number, in a nested list or not.
    pub fn outputs_to(&self, port: u16) -> bool {
        match self {
            Self::Output(OutPort::Port(number)) => *number == port,
            Self::Clone(actions) => actions.iter().any(|action| action.outputs_to(port)),
            _ => false,
        }
    }

    /// Whether what it does depends on the tags that the match of its flow takes for granted.
    pub fn depends_on_tags(&self) -> bool {
        match self {
            Self::PushVlan(_) | Self::ModVlanVid(_) | Self::ModVlanPcp(_) => true,
            Self::Clone(actions) => actions.iter().any(Self::depends_on_tags),
            _ => false,
        }
    }
}
