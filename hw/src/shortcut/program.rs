//! The program at a pod's veth.

use std::os::fd::{AsFd, AsRawFd};

use packet::{ethernet, ipv4, ipv6, tcp, udp};

use super::Generation;
use super::flow::{FACTOR, WORDS, place};
use super::table::{SET_BITS, SLOT, Table, WAYS, field};
use crate::bpf::{Code, Kind, Program, Register::*, Size};
use crate::error::Error;

/// Where the fields of the kernel's `struct __sk_buff` stand.
mod skb {
    pub(super) const LEN: i16 = 0;
    pub(super) const VLAN_PRESENT: i16 = 20;
    pub(super) const DATA: i16 = 76;
    pub(super) const DATA_END: i16 = 80;
    pub(super) const GSO_SEGS: i16 = 164;
    pub(super) const GSO_SIZE: i16 = 176;
}

/// Where on the stack the flow's bytes begin, what `barrier` may use, and the number of a set.
const FLOW: i16 = -64;
const SPARE: i16 = -72;
const SET: i16 = -80;

const ETHERNET: i16 = 14;

/// What an address family has where. Offsets count from the start of the packet.
struct Family {
    ethertype: u16,
    /// Bytes of its header.
    header: i16,
    proto: i16,
    ttl: i16,
    addresses: i16,
    address_bytes: i16,
    /// The length field, and how much of the header it leaves out.
    length: i16,
    left_out: i32,
    /// Where to go on if it is not this one; if it is not UDP.
    labels: [&'static str; 2],
}

const IPV4: Family = Family {
    ethertype: ethernet::IPV4,
    header: 20,
    proto: ETHERNET + 9,
    ttl: ETHERNET + 8,
    addresses: ETHERNET + 12,
    address_bytes: 8,
    length: ETHERNET + 2,
    left_out: 0,
    labels: ["ipv6", "tcp over ipv4"],
};

const IPV6: Family = Family {
    ethertype: ethernet::IPV6,
    header: 40,
    proto: ETHERNET + 6,
    ttl: ETHERNET + 7,
    addresses: ETHERNET + 8,
    address_bytes: 32,
    length: ETHERNET + 4,
    left_out: 40,
    labels: ["up", "tcp over ipv6"],
};

const _: () = assert!(ethernet::LEN == 14 && ipv4::LEN == 20 && ipv6::LEN == 40);

/// A program that sends packets with a short-cut in `table` to where it leads, and all others out
/// by the interface `up`.
pub fn program(up: u32, table: &Table) -> Result<Program, Error> {
    // R6 the context, R7 the packet, R8 its end; R9 becomes the length of all headers.
    let code =
        begin(Code::new()).load(Size::Word, R1, R6, skb::VLAN_PRESENT).jump_if_not(R1, 0, "up");
    let code = family(code, &IPV4).label("ipv6");
    let code = family(code, &IPV6);
    let code = look_up(code.label("look up"), table, table.generation());
    let code = take(code.label("found"));
    let code = code.label("up").set(R1, up.cast_signed()).set(R2, 0).call(REDIRECT).exit();
    Program::load("vswitch_up", Kind::Tc, &code)
}

/// Has the headers in one piece: those of packets from an AF_XDP socket may not be.
fn begin(code: Code) -> Code {
    const PULL: i32 = 39;
    /// The longest headers that are looked at: IPv6 and TCP.
    const HEADERS: i32 = 74;
    code.copy(R6, R1)
        .load(Size::Word, R7, R6, skb::DATA)
        .load(Size::Word, R8, R6, skb::DATA_END)
        .copy(R1, R7)
        .add(R1, HEADERS)
        .jump_if_greater(R1, R8, "short")
        .go_to("in one piece")
        .label("short")
        .load(Size::Word, R2, R6, skb::LEN)
        .jump_if_less(R2, HEADERS, "pull")
        .set(R2, HEADERS)
        .label("pull")
        .copy(R1, R6)
        .call(PULL)
        .load(Size::Word, R7, R6, skb::DATA)
        .load(Size::Word, R8, R6, skb::DATA_END)
        .label("in one piece")
}

const REDIRECT: i32 = 23;
const REDIRECT_PEER: i32 = 155;

/// Puts what tells the packet apart on the stack, and goes on at "look up".
fn family(code: Code, family: &Family) -> Code {
    let [other, tcp_label] = family.labels;
    let l4 = ETHERNET + family.header;
    let stack = |place: usize| FLOW + i16::try_from(place).unwrap_or(0);
    let proto_and_on = [udp::PROTO, tcp::PROTO].map(i32::from);
    // Ethernet header, IP header, and what is the least behind it: UDP's header.
    let mut code = code
        .copy(R2, R7)
        .add(R2, i32::from(l4) + 8)
        .jump_if_greater(R2, R8, other)
        .load(Size::Half, R1, R7, 12)
        .jump_if_not(R1, i32::from(family.ethertype.to_be()), other);
    for word in 0..WORDS {
        code = code.store_value(Size::Double, R10, stack(word * 8), 0);
    }
    code = match family.ethertype {
        ethernet::IPV4 => code
            .load(Size::Byte, R1, R7, ETHERNET)
            .jump_if_not(R1, 0x45, "up")
            // Whole, or nothing.
            .load(Size::Half, R1, R7, ETHERNET + 6)
            .and(R1, i32::from(0xbfff_u16.to_be()))
            .jump_if_not(R1, 0, "up")
            .load(Size::Half, R1, R7, ETHERNET)
            .store(Size::Half, R10, stack(place::IP), R1),
        _ => code
            .load(Size::Byte, R1, R7, ETHERNET)
            .and(R1, 0xf0)
            .jump_if_not(R1, 0x60, "up")
            .load(Size::Word, R1, R7, ETHERNET)
            .store(Size::Word, R10, stack(place::IP), R1),
    };
    for (size, at) in [(Size::Double, 0), (Size::Word, 8), (Size::Half, 12)] {
        code = code.load(size, R1, R7, at).store(size, R10, FLOW + at, R1);
    }
    code = code
        .load(Size::Byte, R3, R7, family.proto)
        .store(Size::Byte, R10, stack(place::PROTO), R3)
        .load(Size::Byte, R1, R7, family.ttl)
        .store(Size::Byte, R10, stack(place::TTL), R1)
        .load(Size::Word, R1, R7, l4)
        .store(Size::Word, R10, stack(place::PORTS), R1);
    for at in (0..family.address_bytes).step_by(8) {
        code = code.load(Size::Double, R1, R7, family.addresses + at).store(
            Size::Double,
            R10,
            stack(place::ADDRESSES) + at,
            R1,
        );
    }
    // R4: where the IP header says that the packet ends.
    code = code
        .load(Size::Half, R4, R7, family.length)
        .half_from_network(R4)
        .add(R4, i32::from(ETHERNET) + family.left_out)
        .load(Size::Word, R5, R6, skb::LEN)
        .jump_if_greater(R4, R5, "up")
        .set(R9, i32::from(l4) + 8)
        .jump_if_not(R3, proto_and_on[0], tcp_label)
        .jump_if_greater(R9, R4, "up")
        // A datagram of segments may have headers inside that we do not know.
        .load(Size::Word, R1, R6, skb::GSO_SIZE)
        .jump_if_not(R1, 0, "up")
        .go_to("look up");
    let flags = l4 + i16::try_from(tcp::FLAGS).unwrap_or(0);
    code.label(tcp_label)
        .jump_if_not(R3, proto_and_on[1], "up")
        .copy(R2, R7)
        .add(R2, i32::from(l4) + 20)
        .jump_if_greater(R2, R8, "up")
        .load(Size::Byte, R1, R7, flags + 1)
        .store(Size::Byte, R10, stack(place::FLAGS) + 1, R1)
        .and(R1, i32::from(tcp::FIN | tcp::SYN | tcp::RST))
        .jump_if_not(R1, 0, "up")
        .load(Size::Byte, R9, R7, flags)
        .copy(R1, R9)
        .and(R1, 0x0f)
        .store(Size::Byte, R10, stack(place::FLAGS), R1)
        .shift_right(R9, 4)
        .shift_left(R9, 2)
        .jump_if_less(R9, 20, "up")
        .add(R9, i32::from(l4))
        .jump_if_greater(R9, R4, "up")
        .go_to("look up")
}

/// Finds the slot with the flow on the stack, and goes on at "found", with R0 its address.
fn look_up(code: Code, table: &Table, generation: &Generation) -> Code {
    const LOOK_UP: i32 = 1;
    let word = |word: usize| i16::try_from(word * 8).unwrap_or(0);
    let mut code = code.set(R0, 0).set_wide(R1, FACTOR);
    for number in 0..WORDS {
        code = code.load(Size::Double, R2, R10, FLOW + word(number)).xor_register(R0, R2);
        code = code.multiply(R0, R1);
    }
    code = code
        .shift_right(R0, 64 - SET_BITS.cast_signed())
        .store(Size::Word, R10, SET, R0)
        .load_map(R1, table.as_fd().as_raw_fd())
        .copy(R2, R10)
        .add(R2, i32::from(SET))
        .call(LOOK_UP)
        .jump_if(R0, 0, "up")
        .load_map_value(R8, generation.as_fd().as_raw_fd(), 0)
        .load(Size::Word, R8, R8, 0);
    for (way, label) in WAY_LABELS.into_iter().enumerate() {
        // Not beyond the last: the verifier lets a process without CAP_PERFMON point nowhere else.
        code = if way > 0 { code.add(R0, SLOT) } else { code };
        code = code
            .load(Size::Word, R1, R0, field::GENERATION)
            .jump_if_differ(R1, R8, label)
            .barrier(SPARE, R1);
        for number in 0..WORDS {
            code = code
                .load(Size::Double, R1, R0, field::FLOW + word(number))
                .load(Size::Double, R2, R10, FLOW + word(number))
                .jump_if_differ(R1, R2, label);
        }
        code = code.go_to("found").label(label);
    }
    code.go_to("up")
}

/// Where the slots of a set are left behind.
const WAY_LABELS: [&str; WAYS] = ["not 0", "not 1", "not 2", "not 3"];

/// Counts the packet in the slot R0 and sends it where that leads.
fn take(code: Code) -> Code {
    code.copy(R7, R0)
        .load(Size::Word, R1, R6, skb::LEN)
        .load(Size::Word, R2, R6, skb::GSO_SIZE)
        .load(Size::Word, R4, R7, field::MAX_FRAME)
        .jump_if(R2, 0, "frame")
        // A super-frame: so long are the frames that it stands for, so many are they, and all but
        // the first have the headers once more.
        .load(Size::Word, R3, R6, skb::GSO_SEGS)
        .jump_if(R3, 0, "up")
        .add_register(R2, R9)
        .jump_if_greater(R2, R4, "up")
        .add(R3, -1)
        .count(R7, field::MORE_PACKETS, R3)
        .multiply(R3, R9)
        .count(R7, field::MORE_BYTES, R3)
        .go_to("count")
        .label("frame")
        .jump_if_greater(R1, R4, "up")
        .label("count")
        .set(R2, 1)
        .count(R7, field::FRAMES, R2)
        .count(R7, field::BYTES, R1)
        .load(Size::Word, R1, R7, field::TARGET)
        .set(R2, 0)
        .call(REDIRECT_PEER)
        .exit()
}
