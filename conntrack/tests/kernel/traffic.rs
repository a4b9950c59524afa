//! TCP packets as no endpoint alone would send them: mostly in order, sometimes anything.

use std::fmt;

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, PacketBuilder, TcpOptionElement,
};
use proptest::prelude::*;
use proptest::sample::select;

/// The identification of all packets, by which those of the kernel are told from them.
pub(crate) const ID: u16 = 7777;

/// Who sends a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    A,
    B,
}

/// A packet, by how it differs from what would be in order: so it means something whatever has been
/// left out before it.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) from: Sender,
    flags: Flags,
    data: u16,
    seq: Number,
    ack: Number,
    window: u16,
    scale: Option<u8>,
    allows_sack: bool,
    /// How far behind the acknowledgement something has arrived.
    sack: Option<u32>,
}

impl fmt::Debug for Event {
    /// On one line, without what is as usual: a failure is read by people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, flags, data, seq, ack, window, scale, allows_sack, sack } = self;
        write!(f, "{from:?} {flags:?} {data} bytes, seq {seq:?}, ack {ack:?}, window {window}")?;
        write!(f, ", scale {scale:?}, {}sack {sack:?}", if *allows_sack { "may " } else { "" })
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flags {
    Syn,
    SynAck,
    Ack,
    Fin,
    Rst,
    RstAck,
    /// What no endpoint sends.
    Odd,
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

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        30 => Just(Number::Off(0)),
        4 => select(vec![-1, 1, -500, 500, -1400, 1400]).prop_map(Number::Off),
        2 => select(vec![-66_000, -66_001, -70_000, 65_535, 70_000]).prop_map(Number::Off),
        1 => any::<i32>().prop_map(Number::Off),
        1 => Just(Number::Zero),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let flags = prop_oneof![
        12 => Just(Flags::Ack),
        3 => Just(Flags::Fin),
        2 => Just(Flags::Syn),
        2 => Just(Flags::SynAck),
        1 => Just(Flags::Rst),
        1 => Just(Flags::RstAck),
        1 => Just(Flags::Odd),
    ];
    let data = prop_oneof![3 => Just(0), 2 => select(vec![1, 500, 1400])];
    let window = prop_oneof![4 => Just(65_535), 1 => select(vec![0, 1, 500, 8192])];
    let from = prop_oneof![Just(Sender::A), Just(Sender::B)];
    let scale = prop_oneof![2 => Just(None), 1 => select(vec![0, 7, 14, 15]).prop_map(Some)];
    let sack = prop_oneof![6 => Just(None), 1 => select(vec![1, 500, 3000, 70_000]).prop_map(Some)];
    (from, flags, data, number(), number(), window, scale, any::<bool>(), sack).prop_map(
        |(from, flags, data, seq, ack, window, scale, allows_sack, sack)| {
            let data = if matches!(flags, Flags::Ack | Flags::Fin) { data } else { 0 };
            Event { from, flags, data, seq, ack, window, scale, allows_sack, sack }
        },
    )
}

/// Packets between two ports; most begin with a handshake, some with a SYN of both.
pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
    use Sender::{A, B};
    let some = prop::collection::vec(event(), 1..24);
    let opened = behind([(A, Flags::Syn), (B, Flags::SynAck), (A, Flags::Ack)]);
    let both = behind([(A, Flags::Syn), (B, Flags::Syn), (A, Flags::SynAck)]);
    prop_oneof![3 => some, 6 => opened, 1 => both]
}

/// Packets behind three that are in order.
fn behind(first: [(Sender, Flags); 3]) -> impl Strategy<Value = Vec<Event>> {
    let ordered = [event(), event(), event()];
    (ordered, prop::collection::vec(event(), 0..24)).prop_map(move |(ordered, rest)| {
        let [seq, ack] = [Number::Off(0); 2];
        let ordered = ordered.into_iter().zip(first);
        ordered
            .map(|(event, (from, flags))| Event { from, flags, data: 0, seq, ack, ..event })
            .chain(rest)
            .collect()
    })
}

/// Two ports that talk.
pub(crate) struct Conversation {
    case: u32,
    /// The number that each side would send next.
    next: [u32; 2],
}

impl Conversation {
    /// One that nobody else has had.
    pub(crate) fn new(case: u32) -> Self {
        // One of the two soon begins anew at zero.
        Self { case, next: [0xffff_f000, 7_000_000] }
    }

    /// The packet of an event, from its IP header on.
    pub(crate) fn packet(&mut self, event: &Event) -> Vec<u8> {
        let (own, other) = (event.from as usize, 1 - event.from as usize);
        let at = |base: u32, number| match number {
            Number::Off(off) => base.wrapping_add_signed(off),
            Number::Zero => 0,
        };
        let (seq, ack) = (at(self.next[own], event.seq), at(self.next[other], event.ack));
        if matches!(event.seq, Number::Off(0)) {
            let numbered = matches!(event.flags, Flags::Syn | Flags::SynAck | Flags::Fin);
            let len = u32::from(event.data) + u32::from(numbered);
            self.next[own] = self.next[own].wrapping_add(len);
        }
        let [_, high, middle, low] = self.case.to_be_bytes();
        let (a, b) = ([10, 1, high, middle], [10, 2, high, middle]);
        let (a_port, b_port) = (1024 + u16::from(low), 80);
        let (src, dst, src_port, dst_port) = match event.from {
            Sender::A => (a, b, a_port, b_port),
            Sender::B => (b, a, b_port, a_port),
        };
        let mut header = Ipv4Header::new(0, 64, IpNumber::TCP, src, dst).unwrap();
        header.identification = ID;
        let ip = IpHeaders::Ipv4(header, Ipv4Extensions::default());
        let builder = PacketBuilder::ip(ip).tcp(src_port, dst_port, seq, event.window);
        let builder = match event.flags {
            Flags::Syn => builder.syn(),
            Flags::SynAck => builder.syn().ack(ack),
            Flags::Ack => builder.ack(ack),
            Flags::Fin => builder.fin().ack(ack),
            Flags::Rst => builder.rst(),
            Flags::RstAck => builder.rst().ack(ack),
            Flags::Odd => builder.syn().fin(),
        };
        let mut options = Vec::new();
        if matches!(event.flags, Flags::Syn | Flags::SynAck) {
            options.extend(event.scale.map(TcpOptionElement::WindowScale));
            options.extend(
                event.allows_sack.then_some(TcpOptionElement::SelectiveAcknowledgementPermitted),
            );
        } else if let Some(behind) = event.sack {
            let end = ack.wrapping_add(behind);
            let block = (end.wrapping_sub(1), end);
            options.push(TcpOptionElement::SelectiveAcknowledgement(block, [None; 3]));
        }
        let builder = builder.options(&options).unwrap();
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &vec![0; usize::from(event.data)]).unwrap();
        bytes
    }
}
