//! The program that finds short-cuts says what its twin in Rust says.

use std::sync::Arc;

use hw::Links;
use hw::bpf::Program;
use hw::shortcut::{Carried, Flow, Generation, Table, Target, program};
use packet::{Key, compose, ethernet, ipv4, ipv6, tcp, udp};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The slot that the tests use is the first of its set.
const LO: u32 = 1;

struct Bench {
    generation: Arc<Generation>,
    table: Table,
    program: Program,
}

impl Bench {
    fn new() -> Result<Self> {
        let generation = Arc::new(Generation::new()?);
        let lo = Links::open()?.named("lo")?;
        let table = Table::new(&generation, &lo, false)?;
        let program = program(LO, &table)?;
        Ok(Self { generation, table, program })
    }

    /// Whether the program finds a short-cut for this packet in `slot`.
    fn finds(&self, slot: usize, packet: &[u8]) -> Result<bool> {
        const REDIRECTED: u32 = 7;
        let before = self.table.carried(slot);
        assert_eq!(self.program.run(packet)?, REDIRECTED, "everything goes somewhere");
        let after = self.table.carried(slot);
        let expected = Carried {
            frames: before.frames + 1,
            bytes: before.bytes + packet.len() as u64,
            ..before
        };
        assert!(after == before || after == expected, "{before:?}, {after:?}");
        Ok(after != before)
    }
}

fn target(max_frame: u32) -> Target {
    Target { ifindex: LO, max_frame }
}

/// TCP and UDP over IPv4 and IPv6, of `len` bytes.
fn packets(len: usize) -> Vec<Vec<u8>> {
    let ends = Key::ZERO
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
        .with(Key::NW_TTL, 64_u8)
        .with(Key::NW_TOS, 0x28_u8)
        .with(Key::TP_SRC, 40_000_u16)
        .with(Key::TP_DST, 443_u16)
        .with(Key::TCP_FLAGS, tcp::ACK);
    let v6 = ends
        .with(Key::ETH_TYPE, ethernet::IPV6)
        .with(Key::IPV6_LABEL, 0x12345_u32)
        .with(Key::IPV6_SRC, 0xfd00_u128 << 112 | 1)
        .with(Key::IPV6_DST, 0xfd00_u128 << 112 | 2);
    let v4 = ends
        .with(Key::ETH_TYPE, ethernet::IPV4)
        .with(Key::NW_SRC, 0x0a00_0001_u32)
        .with(Key::NW_DST, 0x0a00_0002_u32);
    let of = |key: Key| {
        [tcp::PROTO, udp::PROTO].map(|proto| compose(&key.with(Key::NW_PROTO, proto), len))
    };
    [of(v4), of(v6)].concat()
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn every_bit_of_the_headers_counts_as_the_twin_says() -> Result {
    let bench = Bench::new()?;
    for packet in packets(100) {
        let flow = Flow::of(&packet, packet.len()).ok_or("no flow")?;
        let slot = Table::places(&flow).start + 1;
        bench.table.begin(slot, &flow, target(1514), bench.generation.get());
        assert!(bench.finds(slot, &packet)?, "{packet:02x?}");
        let mut missed = 0;
        for bit in 0..8 * 78 {
            let mut other = packet.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let expected = Flow::of(&other, other.len()) == Some(flow);
            assert_eq!(bench.finds(slot, &other)?, expected, "bit {bit}: {other:02x?}");
            missed += usize::from(!expected);
        }
        // Checksums, lengths, identification, sequence numbers and payload do not count.
        let headers = if packet[12] == 8 { 20 } else { 40 };
        assert!(missed > 8 * (14 + headers - 8) && missed < 8 * 78 - 64, "{missed} bits");
        // The kernel runs nothing on less than an IP header.
        for len in ethernet::LEN + headers..packet.len() {
            let short = &packet[..len];
            let expected = Flow::of(short, len) == Some(flow);
            assert_eq!(bench.finds(slot, short)?, expected, "{len} bytes");
        }
        bench.table.end(slot);
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn connections_begin_and_end_before_our_eyes() -> Result {
    let bench = Bench::new()?;
    for packet in packets(100).into_iter().step_by(2) {
        let l4 = ethernet::LEN + if packet[12] == 8 { ipv4::LEN } else { ipv6::LEN };
        for flags in 0..=u8::MAX {
            let mut packet = packet.clone();
            packet[l4 + tcp::FLAGS + 1] = flags;
            let flow = Flow::of(&packet, packet.len());
            let middle = u16::from(flags) & (tcp::SYN | tcp::FIN | tcp::RST) == 0;
            assert_eq!(flow.is_some(), middle, "flags {flags:#x}");
            let Some(flow) = flow else { continue };
            let slot = Table::places(&flow).start;
            bench.table.begin(slot, &flow, target(1514), bench.generation.get());
            assert!(bench.finds(slot, &packet)?, "flags {flags:#x}");
            bench.table.end(slot);
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_change_ends_all_of_them_and_a_renewed_one_is_right_again() -> Result {
    let bench = Bench::new()?;
    let packet = &packets(100)[0];
    let flow = Flow::of(packet, packet.len()).unwrap();
    for slot in Table::places(&flow) {
        let generation = bench.generation.get();
        assert!(!bench.finds(slot, packet)?, "nothing is there yet");
        bench.table.begin(slot, &flow, target(1514), generation);
        assert!(bench.finds(slot, packet)?);
        bench.generation.end();
        assert!(!bench.finds(slot, packet)?);
        bench.table.renew(slot, target(1514), generation);
        assert!(!bench.finds(slot, packet)?, "it was found under the old generation");
        bench.table.renew(slot, target(1514), bench.generation.get());
        assert!(bench.finds(slot, packet)?);
        bench.table.renew(slot, target(99), bench.generation.get());
        assert!(!bench.finds(slot, packet)?, "too long for where it leads");
        bench.table.end(slot);
        assert!(!bench.finds(slot, packet)?);
    }
    Ok(())
}
