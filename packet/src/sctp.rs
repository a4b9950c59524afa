//! SCTP's common header (RFC 9260 §3.1) and its checksum.

/// The protocol's number.
pub const PROTO: u8 = 132;
/// Bytes of the common header.
pub const LEN: usize = 12;
/// Where the checksum stands: a CRC32c over the whole packet, least significant byte first.
pub const CHECKSUM: usize = 8;

/// CRC32c's polynomial (RFC 9260 appendix A), the coefficient of x^0 in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// Multiplies by x.
const fn times_x(a: u32) -> u32 {
    if a & 1 == 0 { a >> 1 } else { a >> 1 ^ POLYNOMIAL }
}

fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = times_x(b);
    }
    product
}

/// x to the power of eight times `bytes`.
fn x_to_the_bytes(mut bytes: usize) -> u32 {
    let (mut power, mut square) = (ONE, (0..8).fold(ONE, |x, _| times_x(x)));
    while bytes > 0 {
        if bytes & 1 == 1 {
            power = multiply(power, square);
        }
        square = multiply(square, square);
        bytes >>= 1;
    }
    power
}

/// What a byte makes of a CRC whose lowest byte it has been added to.
const OF_A_BYTE: [u32; 256] = {
    let (mut table, mut n) = ([0; 256], 0_u8);
    loop {
        let (mut crc, mut bit) = (n as u32, 0);
        while bit < 8 {
            crc = times_x(crc);
            bit += 1;
        }
        table[n as usize] = crc;
        if n == u8::MAX {
            break table;
        }
        n += 1;
    }
};

/// Whether the checksum of a packet of `len` bytes is right that lies in `pieces`.
pub(crate) fn is_right<'a>(len: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let (right, written, found) = read(pieces);
    found == len && right == written
}

/// The checksum that a packet should have. Cost: a step a byte.
pub fn checksum(packet: &[u8]) -> [u8; 4] {
    read([packet]).0
}

/// The checksum that a packet should have, that of all of it with zeros where it stands (RFC 9260 §6.8);
/// what stands there; and how long the packet is.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> ([u8; 4], [u8; 4], usize) {
    let (mut crc, mut found, mut field) = (u32::MAX, 0_usize, [0; 4]);
    for byte in pieces.into_iter().flatten() {
        let place = found.checked_sub(CHECKSUM).and_then(|at| field.get_mut(at));
        let byte = match place {
            Some(place) => {
                *place = *byte;
                0
            }
            None => *byte,
        };
        let [low, ..] = crc.to_le_bytes();
        crc = OF_A_BYTE[usize::from(low ^ byte)] ^ crc >> 8;
        found += 1;
    }
    ((!crc).to_le_bytes(), field, found)
}

/// Updates a checksum field after one of the 16-bit words it covers changed from `old` to `new`,
/// with `behind` bytes of the packet following that word.
///
/// A CRC is linear: what changes is the CRC of the difference, moved to its place.
/// Cost: about 32 steps per bit of `behind`, independent of the bytes themselves.
pub fn update(field: [u8; 4], old: u16, new: u16, behind: usize) -> [u8; 4] {
    let difference = (old ^ new).to_be_bytes();
    let crc = difference
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| times_x(crc)));
    (u32::from_le_bytes(field) ^ multiply(crc, x_to_the_bytes(behind))).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, from the RFC.
    fn plain(bytes: &[u8]) -> u32 {
        !bytes
            .iter()
            .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| times_x(crc)))
    }

    #[test]
    fn the_check_value_of_crc32c() {
        assert_eq!(plain(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn a_checksum_is_right_however_the_packet_is_cut(
            mut bytes in prop::collection::vec(any::<u8>(), 12..100),
            cut: prop::sample::Index,
            (at, bit) in (any::<prop::sample::Index>(), 0..8u32),
        ) {
            bytes[CHECKSUM..LEN].fill(0);
            let field = plain(&bytes).to_le_bytes();
            prop_assert_eq!(checksum(&bytes), field);
            bytes[CHECKSUM..LEN].copy_from_slice(&field);
            let (one, other) = bytes.split_at(cut.index(bytes.len()));
            prop_assert!(is_right(bytes.len(), [one, other]));
            prop_assert!(!is_right(bytes.len() + 1, [one, other]));
            let place = at.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert!(!is_right(bytes.len(), [&*bytes]));
        }

        #[test]
        fn an_update_is_a_new_sum(mut bytes in prop::collection::vec(any::<u8>(), 12..200), at in 0usize..2, new: u16) {
            bytes[CHECKSUM..LEN].fill(0);
            let before = plain(&bytes).to_le_bytes();
            let place = at * 2..at * 2 + 2;
            let old = u16::from_be_bytes([bytes[place.start], bytes[place.start + 1]]);
            bytes[place.clone()].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new, bytes.len() - place.end), plain(&bytes).to_le_bytes());
        }
    }
}
