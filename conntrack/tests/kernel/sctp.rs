//! Packets of SCTP: bundles of chunks (RFC 9260 §3).

use packet::sctp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::ends::{Ends, Sender};

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    tag: Tag,
    chunks: Vec<Chunk>,
}

/// Which verification tag it bears.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tag {
    /// What its receiver has named last.
    Receiver,
    /// What its sender has.
    Sender,
    Zero,
    Other(u8),
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    kind: u8,
    flags: u8,
    /// Which tag it names, of those that its sender might.
    names: u8,
    /// So many bytes are behind its header.
    len: u16,
    /// It says so many more.
    lie: i16,
}

/// Kinds of chunks.
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

fn chunk(kind: impl Strategy<Value = u8>) -> impl Strategy<Value = Chunk> {
    let names = prop_oneof![6 => Just(0), 1 => Just(1)];
    let flags = prop_oneof![3 => Just(0), 2 => Just(1), 1 => any::<u8>()];
    let lie = prop_oneof![40 => Just(0), 1 => select(vec![-4, -3, 1, 4, 1000])];
    let len = prop_oneof![8 => Just(None), 1 => (0..40u16).prop_map(Some)];
    (kind, flags, names, len, lie).prop_map(|(kind, flags, names, len, lie)| {
        let usual = if matches!(kind, INIT | INIT_ACK | DATA) { 16 } else { 4 };
        Chunk { kind, flags, names, len: len.unwrap_or(usual), lie }
    })
}

/// A packet; mostly one that an endpoint might send.
pub(crate) fn bundle() -> BoxedStrategy<Bundle> {
    let known = select(vec![
        INIT,
        INIT_ACK,
        HEARTBEAT,
        HEARTBEAT_ACK,
        ABORT,
        SHUTDOWN,
        SHUTDOWN_ACK,
        ERROR,
        COOKIE_ECHO,
        COOKIE_ACK,
        SHUTDOWN_COMPLETE,
    ]);
    let idle = || prop_oneof![6 => select(vec![DATA, SACK]), 1 => any::<u8>()];
    let chunks = prop_oneof![
        12 => vec(chunk(known), 1),
        4 => vec(chunk(idle()), 1..3),
        3 => (chunk(0..16u8), chunk(idle())).prop_map(|(one, other)| vec![one, other]),
        2 => (chunk(idle()), chunk(0..16u8)).prop_map(|(one, other)| vec![one, other]),
        1 => vec(chunk(any::<u8>()), 0..8),
    ];
    let tag = prop_oneof![
        8 => Just(None),
        1 => select(vec![Tag::Receiver, Tag::Sender, Tag::Zero]).prop_map(Some),
        2 => (0..2u8).prop_map(|n| Some(Tag::Other(n))),
    ];
    let tagged = |(tag, chunks): (Option<Tag>, Vec<Chunk>)| Bundle {
        tag: tag.unwrap_or(usual_tag(&chunks)),
        chunks,
    };
    (tag, chunks).prop_map(tagged).boxed()
}

/// The tag that an endpoint would write.
fn usual_tag(chunks: &[Chunk]) -> Tag {
    match chunks {
        [Chunk { kind: INIT, .. }, ..] => Tag::Zero,
        [Chunk { kind: ABORT | SHUTDOWN_COMPLETE, flags, .. }, ..] if flags & 1 == 1 => Tag::Sender,
        _ => Tag::Receiver,
    }
}

/// What is sent in order.
pub(crate) fn in_order(kinds: &[u8]) -> Vec<Bundle> {
    let one = |kind| Chunk { kind, flags: 0, names: 0, len: 16, lie: 0 };
    let bundle = |kind: &u8| {
        let chunks = vec![one(*kind)];
        Bundle { tag: usual_tag(&chunks), chunks }
    };
    kinds.iter().map(bundle).collect()
}

/// A handshake, of which A sends the first.
pub(crate) const HANDSHAKE: [u8; 4] = [INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK];
/// What is asked over another address, and its answer.
pub(crate) const BEATS: [u8; 2] = [HEARTBEAT, HEARTBEAT_ACK];

/// The tags that both sides have named last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tags([u32; 2]);

impl Default for Tags {
    fn default() -> Self {
        Self([0xa, 0xb])
    }
}

impl Tags {
    /// The tags behind a packet.
    pub(crate) fn advance(&mut self, from: Sender, bundle: &Bundle) {
        let names = |chunk: &&Chunk| matches!(chunk.kind, INIT | INIT_ACK);
        if let Some(chunk) = bundle.chunks.iter().find(names) {
            self.0[from as usize] = named(from, chunk);
        }
    }
}

/// The tag that a chunk names.
fn named(from: Sender, chunk: &Chunk) -> u32 {
    u32::from(chunk.names) << 8 | Tags::default().0[from as usize]
}

impl Bundle {
    /// How many of its chunks may change something.
    pub(crate) fn changes(&self) -> usize {
        let changes = |chunk: &&Chunk| matches!(chunk.kind, 1 | 2 | 4..=11 | 14);
        self.chunks.iter().filter(changes).count()
    }

    /// Its bytes, without a checksum.
    pub(crate) fn bytes(&self, from: Sender, ends: &Ends, Tags(tags): Tags) -> Vec<u8> {
        let tag = match self.tag {
            Tag::Receiver => tags[from.other() as usize],
            Tag::Sender => tags[from as usize],
            Tag::Zero => 0,
            Tag::Other(n) => 0x7000 | u32::from(n),
        };
        let mut bytes = [ends.port(from), ends.port(from.other())].map(u16::to_be_bytes).concat();
        bytes.extend(tag.to_be_bytes());
        bytes.resize(sctp::LEN, 0);
        for chunk in &self.chunks {
            let says = (chunk.len + 4).wrapping_add_signed(chunk.lie);
            bytes.extend([chunk.kind, chunk.flags]);
            bytes.extend(says.to_be_bytes());
            let end = bytes.len() + usize::from(chunk.len.next_multiple_of(4));
            bytes.extend(named(from, chunk).to_be_bytes());
            bytes.resize(end, 0);
        }
        bytes
    }
}
