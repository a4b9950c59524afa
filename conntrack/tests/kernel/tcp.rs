//! Segments of TCP as no endpoint alone would send them: mostly in order, sometimes anything.

use std::fmt;

use etherparse::{TcpHeader, TcpOptionElement};
use packet::tcp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::ends::{Ends, Sender};

/// A segment, by how it differs from what would be in order: so it means something whatever has
/// been left out before it.
#[derive(Clone)]
pub(crate) struct Segment {
    flags: Flags,
    data: u16,
    seq: Number,
    ack: Number,
    window: u16,
    scale: Option<u8>,
    allows_sack: bool,
    /// How far behind the acknowledgement something has arrived.
    sack: Option<u32>,
    oddity: Oddity,
}

impl fmt::Debug for Segment {
    /// On one line, without what is as usual: a failure is read by people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags, data, seq, ack, window, scale, allows_sack, sack, oddity } = self;
        write!(f, "{flags:?} {data} bytes, seq {seq:?}, ack {ack:?}, window {window}")?;
        write!(f, ", scale {scale:?}, {}sack {sack:?}", if *allows_sack { "may " } else { "" })?;
        if matches!(oddity, Oddity::None) { Ok(()) } else { write!(f, ", {oddity:?}") }
    }
}

/// What no endpoint does to a header.
#[derive(Clone, Debug)]
enum Oddity {
    None,
    /// It says that it has so many words.
    Words(u8),
    /// Its options are these.
    Options(Vec<u8>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flags {
    Syn,
    SynAck,
    Ack,
    Fin,
    Rst,
    RstAck,
    /// Any, as they stand in the header.
    Odd(u8),
}

#[derive(Clone, Copy)]
enum Number {
    /// So far from the one in order.
    Off(i32),
    Zero,
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off(off) => write!(f, "{off:+}"),
            Self::Zero => f.write_str("zero"),
        }
    }
}

impl Flags {
    /// As they stand in the header.
    fn bits(self) -> u8 {
        let flags = match self {
            Self::Syn => tcp::SYN,
            Self::SynAck => tcp::SYN | tcp::ACK,
            Self::Ack => tcp::ACK,
            Self::Fin => tcp::FIN | tcp::ACK,
            Self::Rst => tcp::RST,
            Self::RstAck => tcp::RST | tcp::ACK,
            Self::Odd(bits) => bits.into(),
        };
        flags.to_be_bytes()[1]
    }
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        30 => Just(Number::Off(0)),
        4 => select(vec![-1, 1, -500, 500, -1300, 1300]).prop_map(Number::Off),
        2 => select(vec![-66_000, -66_001, -70_000, 65_535, 70_000]).prop_map(Number::Off),
        1 => any::<i32>().prop_map(Number::Off),
        1 => Just(Number::Zero),
    ]
}

pub(crate) fn segment() -> impl Strategy<Value = Segment> {
    let flags = prop_oneof![
        12 => Just(Flags::Ack),
        3 => Just(Flags::Fin),
        2 => Just(Flags::Syn),
        2 => Just(Flags::SynAck),
        1 => Just(Flags::Rst),
        1 => Just(Flags::RstAck),
        1 => any::<u8>().prop_map(Flags::Odd),
    ];
    let data = prop_oneof![3 => Just(0), 2 => select(vec![1, 500, 1300])];
    let window = prop_oneof![4 => Just(65_535), 1 => select(vec![0, 1, 500, 8192])];
    let scale = prop_oneof![2 => Just(None), 1 => select(vec![0, 7, 14, 15]).prop_map(Some)];
    let sack = prop_oneof![6 => Just(None), 1 => select(vec![1, 500, 3000, 70_000]).prop_map(Some)];
    (flags, data, number(), number(), window, scale, any::<bool>(), sack, oddity()).prop_map(
        |(flags, data, seq, ack, window, scale, allows_sack, sack, oddity)| {
            let data = if matches!(flags, Flags::Ack | Flags::Fin) { data } else { 0 };
            Segment { flags, data, seq, ack, window, scale, allows_sack, sack, oddity }
        },
    )
}

fn oddity() -> impl Strategy<Value = Oddity> {
    prop_oneof![
        30 => Just(Oddity::None),
        1 => (0..16u8).prop_map(Oddity::Words),
        2 => options().prop_map(Oddity::Options),
    ]
}

/// Options, and what looks like them.
fn options() -> impl Strategy<Value = Vec<u8>> {
    // Kinds and lengths that mean something.
    let start = select(vec![
        vec![0],
        vec![1],
        vec![2, 4],
        vec![3, 3],
        vec![4, 2],
        vec![5, 2],
        vec![5, 10],
        vec![5, 18],
        vec![8, 10],
    ]);
    let byte = select(vec![0, 1, 2, 3, 4, 5, 8, 10, 18, 0x7f, 0x80, 0xff]);
    let value =
        prop_oneof![3 => Just(8), 1 => 0..17usize].prop_flat_map(move |len| vec(byte.clone(), len));
    let option =
        (prop_oneof![9 => start, 1 => vec(any::<u8>(), 2)], value).prop_map(|(start, value)| {
            let is_bare = start.len() == 1 || start[1] == 2;
            if is_bare { start } else { [start, value].concat() }
        });
    vec(option, 1..5).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        bytes
    })
}

/// Three segments in order.
pub(crate) fn ordered(flags: [Flags; 3]) -> impl Strategy<Value = [Segment; 3]> {
    let [seq, ack] = [Number::Off(0); 2];
    let ordered = move |flags| {
        segment().prop_map(move |segment| {
            let oddity = Oddity::None;
            Segment { flags, data: 0, seq, ack, oddity, ..segment }
        })
    };
    flags.map(ordered)
}

/// The numbers that each side would send next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers([u32; 2]);

impl Default for Numbers {
    fn default() -> Self {
        // One of the two soon begins anew at zero.
        Self([0xffff_f000, 7_000_000])
    }
}

impl Numbers {
    /// The numbers behind a segment.
    pub(crate) fn advance(&mut self, from: Sender, segment: &Segment) {
        if matches!(segment.seq, Number::Off(0)) {
            let numbered = matches!(segment.flags, Flags::Syn | Flags::SynAck | Flags::Fin);
            let len = u32::from(segment.data) + u32::from(numbered);
            let next = &mut self.0[from as usize];
            *next = next.wrapping_add(len);
        }
    }

    fn of(self, side: Sender, number: Number) -> u32 {
        match number {
            Number::Off(off) => self.0[side as usize].wrapping_add_signed(off),
            Number::Zero => 0,
        }
    }
}

impl Segment {
    /// Its bytes, without a checksum.
    pub(crate) fn bytes(&self, from: Sender, ends: &Ends, numbers: Numbers) -> Vec<u8> {
        let (src, dst) = (ends.port(from), ends.port(from.other()));
        let ack = numbers.of(from.other(), self.ack);
        let mut header = TcpHeader::new(src, dst, numbers.of(from, self.seq), self.window);
        let bits = self.flags.bits();
        let has = |flag: u16| u16::from(bits) & flag != 0;
        [header.fin, header.syn, header.rst, header.psh, header.ack] =
            [tcp::FIN, tcp::SYN, tcp::RST, tcp::PSH, tcp::ACK].map(has);
        [header.urg, header.ece, header.cwr] = [0x20, 0x40, 0x80].map(has);
        if header.ack {
            header.acknowledgment_number = ack;
        }
        match &self.oddity {
            Oddity::Options(bytes) => header.set_options_raw(bytes).unwrap(),
            _ => header.set_options(&self.options(ack)).unwrap(),
        }
        let mut bytes = header.to_bytes().to_vec();
        if let Oddity::Words(words) = self.oddity {
            bytes[tcp::FLAGS] = words << 4;
        }
        bytes.resize(bytes.len() + usize::from(self.data), 0);
        bytes
    }

    fn options(&self, ack: u32) -> Vec<TcpOptionElement> {
        let mut options = Vec::new();
        if matches!(self.flags, Flags::Syn | Flags::SynAck) {
            options.extend(self.scale.map(TcpOptionElement::WindowScale));
            options.extend(
                self.allows_sack.then_some(TcpOptionElement::SelectiveAcknowledgementPermitted),
            );
        } else if let Some(behind) = self.sack {
            let end = ack.wrapping_add(behind);
            let block = (end.wrapping_sub(1), end);
            options.push(TcpOptionElement::SelectiveAcknowledgement(block, [None; 3]));
        }
        options
    }
}
