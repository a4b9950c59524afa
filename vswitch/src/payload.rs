//! Rewrites what packets of watched connections announce, and their sequence numbers.
//!
//! Checksums stay as right or wrong as they were, as everywhere (`act.rs`).

use conntrack::{Heard, Numbers};
use packet::checksum::{Sum, update, update_partial32};
use packet::{Checksum, Headers, Memory, Network, Packet, ipv4, ipv6, tcp};

use crate::act::write_covered;

/// Makes a segment of TCP say what it has to. Answers whether there was room; if not, it is spoilt.
#[must_use]
pub(crate) fn rewrite(
    packet: &mut Packet,
    headers: Headers,
    heard: &Heard,
    memory: &Memory,
) -> bool {
    if !heard.rewrites.is_empty() && rewrite_text(packet, headers, heard, memory).is_none() {
        return false;
    }
    if let Some(numbers) = &heard.numbers {
        // What is not there is not renumbered.
        let _ = renumber(packet, headers, numbers, memory);
    }
    true
}

/// `None` if there was no room.
fn rewrite_text(
    packet: &mut Packet,
    headers: Headers,
    heard: &Heard,
    memory: &Memory,
) -> Option<()> {
    cut_padding(packet, headers, memory)?;
    let (before, sum_before) = (packet.len(), sum(packet, headers, memory)?);
    // The last one first: so the places of the others stay.
    for rewrite in heard.rewrites.iter().rev() {
        let has_room = packet.splice(rewrite.place.clone(), rewrite.text.as_bytes(), memory);
        has_room.then_some(())?;
    }
    write_len(packet, headers, before, memory)?;
    let sum_after = sum(packet, headers, memory)?;
    let is_partial =
        matches!(packet.checksum, Checksum::Partial { start, .. } if start == headers.l4);
    let [old_len, new_len] =
        [before, packet.len()].map(|len| len.saturating_sub(usize::from(headers.l4)));
    let (old_len, new_len) = (u32::try_from(old_len).ok()?, u32::try_from(new_len).ok()?);
    let field = bytes_mut::<2>(packet, usize::from(headers.l4) + tcp::CHECKSUM, memory)?;
    let old = u16::from_be_bytes(*field);
    let new = match is_partial {
        true => update_partial32(old, old_len, new_len),
        false => update(old, sum_before, sum_after),
    };
    *field = new.to_be_bytes();
    Some(())
}

/// Cuts off what follows the packet of IP: nothing can grow in front of it.
fn cut_padding(packet: &mut Packet, headers: Headers, memory: &Memory) -> Option<()> {
    let end = usize::from(headers.l3) + ip_len(packet, headers, memory)?;
    if packet.is_chained() || end >= packet.len() {
        return Some(());
    }
    packet.splice(end..packet.len(), &[], memory).then_some(())
}

/// Bytes of the packet of IP, as it says itself.
fn ip_len(packet: &Packet, headers: Headers, memory: &Memory) -> Option<usize> {
    let bytes = packet.head(memory).get(usize::from(headers.l3)..)?;
    match headers.network {
        Network::Ipv4 => ipv4::Ipv4::split(bytes).ok().map(|(ip, _)| ip.total_len()),
        Network::Ipv6 => ipv6::Ipv6::split(bytes).ok().map(|(ip, _)| ipv6::LEN + ip.payload_len()),
        Network::None | Network::Arp => None,
    }
}

/// Has the packet of IP say how long it is, which was `before` bytes long with what is around it.
fn write_len(packet: &mut Packet, headers: Headers, before: usize, memory: &Memory) -> Option<()> {
    let l3 = usize::from(headers.l3);
    let len = ip_len(packet, headers, memory)?;
    let len = (len + packet.len()).checked_sub(before)?;
    if headers.network == Network::Ipv6 {
        let field = bytes_mut::<2>(packet, l3 + ipv6::PAYLOAD_LEN, memory)?;
        *field = u16::try_from(len.checked_sub(ipv6::LEN)?).ok()?.to_be_bytes();
        return Some(());
    }
    let field = bytes_mut::<2>(packet, l3 + ipv4::TOTAL_LEN, memory)?;
    let (old, new) = (u16::from_be_bytes(*field), u16::try_from(len).ok()?);
    *field = new.to_be_bytes();
    let sum = bytes_mut::<2>(packet, l3 + ipv4::CHECKSUM, memory)?;
    *sum = update(u16::from_be_bytes(*sum), old, new).to_be_bytes();
    Some(())
}

/// The sum of all that a transport checksum covers and that is not an address.
fn sum(packet: &Packet, headers: Headers, memory: &Memory) -> Option<u16> {
    let mut skip = usize::from(headers.l4);
    let len = u16::try_from(packet.len().checked_sub(skip)?).ok()?;
    let mut sum = Sum::default();
    for chunk in packet.chunks(memory) {
        // All headers lie in the first one.
        sum = sum.bytes(chunk.get(skip..)?);
        skip = 0;
    }
    Some(sum.partial()).map(|folded| Sum::default().word(folded).word(len).partial())
}

/// Gives a segment other numbers: its own, and those that it acknowledges.
fn renumber(
    packet: &mut Packet,
    headers: Headers,
    numbers: &Numbers,
    memory: &Memory,
) -> Option<()> {
    const SEQ: usize = tcp::SEQ;
    const ACK: usize = tcp::SEQ + 4;
    let l4 = usize::from(headers.l4);
    let (tcp, rest) = tcp::Tcp::split(packet.head(memory).get(l4..)?).ok()?;
    let has_ack = tcp.flags() & tcp::ACK != 0;
    let (seq, ack) = (numbers.seq(tcp.seq()), numbers.ack(tcp.ack()));
    let options_len = tcp.header_len().checked_sub(tcp::LEN)?;
    let blocks = blocks(rest.get(..options_len)?);
    write_word(packet, headers, l4 + SEQ, seq, memory)?;
    if !has_ack {
        return Some(());
    }
    write_word(packet, headers, l4 + ACK, ack, memory)?;
    for at in blocks.into_iter().flatten().map(|at| l4 + tcp::LEN + at) {
        for at in [at, at + 4] {
            let old = u32::from_be_bytes(*bytes_mut(packet, at, memory)?);
            write_word(packet, headers, at, numbers.ack(old), memory)?;
        }
    }
    Some(())
}

/// Where the blocks of a selective acknowledgement stand (RFC 2018 §3). There is room for four.
fn blocks(options: &[u8]) -> [Option<usize>; 4] {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const SACK: u8 = 5;
    let (mut found, mut at) = ([None; 4], 0);
    while let Some(kind) = options.get(at).filter(|kind| **kind != END) {
        if *kind == NOP {
            at += 1;
            continue;
        }
        let len = options.get(at + 1).map_or(0, |len| usize::from(*len));
        if len < 2 || at + len > options.len() {
            break;
        }
        if *kind == SACK && (len - 2).is_multiple_of(8) {
            for (place, block) in found.iter_mut().zip((at + 2..at + len).step_by(8)) {
                *place = Some(block);
            }
            // Behind the first one that has some, none counts.
            break;
        }
        at += len;
    }
    found
}

/// Writes four bytes that the transport checksum covers, wherever they stand in its words.
fn write_word(
    packet: &mut Packet,
    headers: Headers,
    at: usize,
    value: u32,
    memory: &Memory,
) -> Option<()> {
    let odd = (at - usize::from(headers.l4)) % 2;
    let first = at - odd;
    let mut words = [0; 6];
    let len = 4 + 2 * odd;
    words[..len].copy_from_slice(packet.head(memory).get(first..first + len)?);
    words[odd..odd + 4].copy_from_slice(&value.to_be_bytes());
    for (n, word) in words[..len].as_chunks::<2>().0.iter().enumerate() {
        write_covered(first + 2 * n, u16::from_be_bytes(*word), packet, headers, memory);
    }
    Some(())
}

fn bytes_mut<'a, const N: usize>(
    packet: &'a mut Packet,
    at: usize,
    memory: &'a Memory,
) -> Option<&'a mut [u8; N]> {
    packet.head_mut(memory).get_mut(at..)?.first_chunk_mut()
}
