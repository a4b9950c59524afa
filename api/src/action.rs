//! What a flow does with a packet.

use std::fmt;
use std::str::FromStr;

use packet::Span;

use crate::ct::Ct;
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
    /// The number of no port.
    pub const NONE: u16 = 0xffff;

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
    /// Sends it to the port whose number a field holds: `output:reg0[0..15]`.
    OutputField(Subfield),
    /// Sends the first bytes of it: `output(port=3,max_len=100)`.
    OutputTruncated {
        /// Where to; no group of ports but `InPort`.
        port: OutPort,
        /// The most bytes that are sent, 14 at least.
        max_len: u32,
    },
    /// Shows it to whoever watches the switch.
    Controller(Box<Controller>),
    /// Executes a group.
    Group(u32),
    /// Goes on only if a meter lets it.
    Meter(u32),
    /// Sends from here on by this queue of whatever port.
    SetQueue(u32),
    /// Sends from here on by the queue it had on arrival.
    PopQueue,
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
    /// Puts bits of a field on the stack.
    Push(Subfield),
    /// Takes the top of the stack into a field; the stack may not be empty.
    Pop(Subfield),
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
    /// zero, which is shown to these watchers.
    DecTtl(Vec<u16>),
    /// Writes into a bit whether the packet is longer than so many bytes, its VLAN tags not
    /// counted.
    CheckPktLarger {
        /// The length it is compared with.
        len: u16,
        /// One bit.
        dst: Subfield,
    },
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
    /// Ends everything that is being done with the packet; within a bucket, the bucket.
    Exit,
    /// Adds a flow that the packet has shown the need for.
    Learn(Box<Learn>),
    /// Gives the flow that this stands in shorter timeouts when a FIN or RST meets it.
    FinTimeout {
        /// Seconds without a packet; 0 leaves it as it is.
        idle: u16,
        /// Seconds in all; 0 leaves it as it is.
        hard: u16,
    },
    /// Makes this flow a clause of a conjunctive match: one that holds for a packet if for each
    /// clause some flow does.
    Conjunction {
        /// The value of `conj_id` that the match gives.
        id: u32,
        /// Which clause, from 0 on.
        clause: u8,
        /// How many there are, 2 to 64.
        clauses: u8,
    },
    /// Nothing: a remark.
    Note(Vec<u8>),
    /// Shows some of the packets to whoever watches.
    Sample(Sample),
    /// Writes which of some links the packet should take.
    Multipath(Box<Multipath>),
    /// Sends to one of some ports, or writes which one.
    Bundle(Box<Bundle>),
    /// Has the packet's connection tracked.
    Ct(Box<Ct>),
    /// Forgets what tracking has found out about the packet.
    CtClear,
    /// Forgets the action set.
    ClearActions,
    /// Adds to the action set, which is executed when the last table is done.
    WriteActions(Vec<Self>),
    /// Writes bits of `metadata`: `write_metadata:V[/M]`.
    WriteMetadata {
        /// The new bits; zero outside of `mask`.
        value: u64,
        /// Which bits are written.
        mask: u64,
    },
}

/// How a packet is shown: `controller(...)`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Controller {
    /// Why.
    pub reason: PacketInReason,
    /// The most bytes of it that are shown; 65535 is all.
    pub max_len: u16,
    /// To which watchers.
    pub id: u16,
    /// What is shown beside it.
    pub userdata: Vec<u8>,
    /// Whether it waits until it is told to go on.
    pub pause: bool,
    /// The meter that limits how many are shown.
    pub meter: Option<u32>,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            reason: PacketInReason::Action,
            max_len: u16::MAX,
            id: 0,
            userdata: Vec::new(),
            pause: false,
            meter: None,
        }
    }
}

impl Controller {
    /// Whether it says no more than how much is shown, as OpenFlow's own action does.
    pub fn is_plain(&self) -> bool {
        *self == Self { max_len: self.max_len, ..Self::default() }
    }
}

/// Why a packet is shown (OpenFlow 1.5 §7.4.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are OpenFlow's")]
pub enum PacketInReason {
    NoMatch,
    #[default]
    Action,
    InvalidTtl,
    ActionSet,
    Group,
    PacketOut,
}

impl PacketInReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::NoMatch,
        Self::Action,
        Self::InvalidTtl,
        Self::ActionSet,
        Self::Group,
        Self::PacketOut,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoMatch => "no_match",
            Self::Action => "action",
            Self::InvalidTtl => "invalid_ttl",
            Self::ActionSet => "action_set",
            Self::Group => "group",
            Self::PacketOut => "packet_out",
        }
    }
}

impl fmt::Display for PacketInReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no reason to show a packet.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no reason to show a packet")]
pub struct UnknownPacketInReason(String);

impl FromStr for PacketInReason {
    type Err = UnknownPacketInReason;

    fn from_str(name: &str) -> Result<Self, UnknownPacketInReason> {
        let known = Self::ALL.into_iter().find(|reason| reason.name() == name);
        known.ok_or_else(|| UnknownPacketInReason(name.to_owned()))
    }
}

/// A flow to be learned from a packet: `learn(...)`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Learn {
    /// In this table.
    pub table: u8,
    /// Seconds without a packet after which the flow goes; 0 is never.
    pub idle_timeout: u16,
    /// Seconds after which the flow goes; 0 is never.
    pub hard_timeout: u16,
    /// The same once a FIN or RST has met it; 0 leaves it as it is.
    pub fin_idle_timeout: u16,
    /// The same once a FIN or RST has met it; 0 leaves it as it is.
    pub fin_hard_timeout: u16,
    /// Its priority.
    pub priority: u16,
    /// Its cookie.
    pub cookie: u64,
    /// Whether its end is told.
    pub send_flow_rem: bool,
    /// Whether it goes with the flow that it was learned by.
    pub delete_learned: bool,
    /// The most flows of this cookie in that table; 0 is no limit.
    pub limit: u32,
    /// One bit that says whether there was room.
    pub result_dst: Option<Subfield>,
    /// What it matches and does.
    pub specs: Vec<LearnSpec>,
}

impl Default for Learn {
    fn default() -> Self {
        Self {
            table: 1,
            idle_timeout: 0,
            hard_timeout: 0,
            fin_idle_timeout: 0,
            fin_hard_timeout: 0,
            priority: 0x8000,
            cookie: 0,
            send_flow_rem: false,
            delete_learned: false,
            limit: 0,
            result_dst: None,
            specs: Vec::new(),
        }
    }
}

/// One thing that a learned flow matches or does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LearnSpec {
    /// It matches these bits.
    Match {
        /// Which.
        dst: Subfield,
        /// Their value.
        src: LearnSource,
    },
    /// It writes these bits.
    Load {
        /// Which.
        dst: Subfield,
        /// Their value.
        src: LearnSource,
    },
    /// It sends to the port whose number these bits are.
    Output(Subfield),
}

/// Where a value in a learned flow comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LearnSource {
    /// It is always this one.
    Value(u128),
    /// It is what the packet that teaches has here, as many bits as are written.
    Field(Subfield),
}

/// Some packets, shown to whoever watches: `sample(...)`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Sample {
    /// How many of 65535 packets.
    pub probability: u16,
    /// For which collectors.
    pub collector_set: u32,
    /// The observation domain.
    pub domain: u32,
    /// The observation point.
    pub point: u32,
    /// The port that samples are said to be from.
    pub sampling_port: Option<u16>,
    /// Which way the packet is said to pass it.
    pub direction: Option<SampleDirection>,
}

/// Which way a sampled packet passes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SampleDirection {
    Ingress,
    Egress,
}

/// Which fields choose a link or a port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum HashFields {
    /// The Ethernet source.
    EthSrc,
    /// Ethernet, VLAN, addresses, protocol and ports, the same for both directions.
    SymmetricL4,
    /// Addresses, protocol and TCP or SCTP ports, the same for both directions.
    SymmetricL3L4,
    /// The same with UDP ports.
    SymmetricL3L4Udp,
    /// Addresses, the same for both directions.
    SymmetricL3,
    /// The IP source.
    NwSrc,
    /// The IP destination.
    NwDst,
}

impl HashFields {
    /// Each with its word.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::EthSrc, "eth_src"),
        (Self::SymmetricL4, "symmetric_l4"),
        (Self::SymmetricL3L4, "symmetric_l3l4"),
        (Self::SymmetricL3L4Udp, "symmetric_l3l4+udp"),
        (Self::SymmetricL3, "symmetric_l3"),
        (Self::NwSrc, "nw_src"),
        (Self::NwDst, "nw_dst"),
    ];
}

/// A choice among links by a hash: `multipath(...)`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Multipath {
    /// By these fields.
    pub fields: HashFields,
    /// The start of the hash.
    pub basis: u16,
    /// How the hash becomes a link.
    pub algorithm: MultipathAlgorithm,
    /// How many links there are, 1 to 65536.
    pub links: u32,
    /// A parameter of `IterHash`.
    pub arg: u32,
    /// Where the number of the link is written.
    pub dst: Subfield,
}

/// How a hash becomes the number of a link.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MultipathAlgorithm {
    /// The remainder.
    ModuloN,
    /// The range of hashes it lies in.
    HashThreshold,
    /// The highest random weight.
    Hrw,
    /// The first number below the count in a series of hashes.
    IterHash,
}

impl MultipathAlgorithm {
    /// Each with its word.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::ModuloN, "modulo_n"),
        (Self::HashThreshold, "hash_threshold"),
        (Self::Hrw, "hrw"),
        (Self::IterHash, "iter_hash"),
    ];
}

/// A choice among ports that are up: `bundle(...)` and `bundle_load(...)`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Bundle {
    /// By these fields.
    pub fields: HashFields,
    /// The start of the hash.
    pub basis: u16,
    /// How one is chosen.
    pub algorithm: BundleAlgorithm,
    /// The ports.
    pub members: Vec<u16>,
    /// Where the port's number is written; the packet is sent if nowhere.
    pub dst: Option<Subfield>,
}

/// How a port of a bundle is chosen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BundleAlgorithm {
    /// The first that is up.
    ActiveBackup,
    /// That of the highest random weight.
    Hrw,
}

impl BundleAlgorithm {
    /// Each with its word.
    pub const ALL: [(Self, &'static str); 2] =
        [(Self::ActiveBackup, "active_backup"), (Self::Hrw, "hrw")];
}

impl Action {
    /// The actions within it.
    pub fn inner(&self) -> &[Self] {
        match self {
            Self::Clone(actions) | Self::WriteActions(actions) => actions,
            Self::Ct(ct) => &ct.exec,
            _ => &[],
        }
    }

    /// Whether it, or one within it, is as wanted.
    pub fn any(&self, is: &impl Fn(&Self) -> bool) -> bool {
        is(self) || self.inner().iter().any(|action| action.any(is))
    }

    /// Whether it sends to the port of this number, in a nested list or not.
    pub fn outputs_to(&self, number: u16) -> bool {
        self.any(&|action| match action {
            Self::Output(OutPort::Port(port))
            | Self::OutputTruncated { port: OutPort::Port(port), .. } => *port == number,
            _ => false,
        })
    }

    /// Whether it leads to the group of this number, in a nested list or not.
    pub fn leads_to_group(&self, number: u32) -> bool {
        self.any(&|action| matches!(action, Self::Group(group) if *group == number))
    }

    /// Whether what it does depends on the tags that the match of its flow takes for granted.
    pub fn depends_on_tags(&self) -> bool {
        self.any(&|action| {
            matches!(action, Self::PushVlan(_) | Self::ModVlanVid(_) | Self::ModVlanPcp(_))
        })
    }
}
