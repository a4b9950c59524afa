//! The ten bytes in front of each packet of a TAP that say what is still to be done to it
//! (`struct virtio_net_hdr`, virtio 1.2 §5.1.6), and what the rest of the switch calls that.

use packet::{Checksum, Kind, Memory, Packet, Segmentation, tcp, udp};

/// Bytes of the header.
pub(crate) const LEN: u16 = 10;

/// A header that contradicts itself or its packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Odd;

/// The header, field by field. On a TAP all numbers are in the machine's order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Header {
    flags: u8,
    segmentation: u8,
    header_len: u16,
    segment_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`, `VIRTIO_NET_HDR_F_DATA_VALID`.
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_*`.
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
const ECN: u8 = 0x80;

/// The kernel cuts no TCP stream finer than this (`TCP_MIN_GSO_SIZE`) ...
const MIN_TCP_SIZE: u16 = 8;
/// ... and no more datagrams from one (`UDP_MAX_SEGMENTS`). Who asks for more wants to keep us
/// busy.
const MAX_DATAGRAMS: u16 = 128;

impl Header {
    /// From the bytes in front of a packet.
    pub(crate) fn from_bytes(bytes: [u8; LEN as usize]) -> Self {
        let [flags, segmentation, a, b, c, d, e, f, g, h] = bytes;
        let word = |low, high| u16::from_ne_bytes([low, high]);
        Self {
            flags,
            segmentation,
            header_len: word(a, b),
            segment_size: word(c, d),
            checksum_start: word(e, f),
            checksum_offset: word(g, h),
        }
    }

    /// The bytes in front of a packet.
    pub(crate) fn to_bytes(self) -> [u8; LEN as usize] {
        let [a, b] = self.header_len.to_ne_bytes();
        let [c, d] = self.segment_size.to_ne_bytes();
        let [e, f] = self.checksum_start.to_ne_bytes();
        let [g, h] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.segmentation, a, b, c, d, e, f, g, h]
    }

    /// Notes in `packet` what the header says of it. A pod can have any header made, so nothing in
    /// it is believed that the packet does not bear out.
    #[inline]
    pub(crate) fn describe(self, packet: &mut Packet, memory: &Memory) -> Result<(), Odd> {
        if self.flags & NEEDS_CHECKSUM != 0 {
            let (start, offset) = (self.checksum_start, self.checksum_offset);
            let end = usize::from(start) + usize::from(offset) + 2;
            if end > packet.head(memory).len() {
                return Err(Odd);
            }
            packet.checksum = Checksum::Partial { start, offset };
        } else if self.flags & DATA_VALID != 0 {
            packet.checksum = Checksum::Good;
        }
        if self.segmentation == 0 {
            return Ok(());
        }
        packet.segmentation = self.segmentation_of(packet, memory)?;
        Ok(())
    }

    #[cold]
    fn segmentation_of(self, packet: &Packet, memory: &Memory) -> Result<Segmentation, Odd> {
        let (head, start) = (packet.head(memory), usize::from(self.checksum_start));
        let kind = match self.segmentation & !ECN {
            TCP4 => Kind::Tcp4,
            TCP6 => Kind::Tcp6,
            UDP => Kind::Udp,
            _ => return Err(Odd),
        };
        // The kernel's own `hdr_len` is only a hint how much to keep together.
        let (field, header) = match kind {
            Kind::Udp => (udp::CHECKSUM, start + udp::LEN),
            _ => {
                let words = head.get(start + tcp::FLAGS).ok_or(Odd)? >> 4;
                (tcp::CHECKSUM, start + 4 * usize::from(words))
            }
        };
        // A super-frame without a checksum to be made would have one for the wrong length.
        let partial =
            self.flags & NEEDS_CHECKSUM != 0 && usize::from(self.checksum_offset) == field;
        let size = self.segment_size;
        let too_fine = size == 0 || kind != Kind::Udp && size < MIN_TCP_SIZE;
        let shortest = start + if kind == Kind::Udp { udp::LEN } else { tcp::LEN };
        let longest = head.len().min(u8::MAX.into());
        if !partial || too_fine || !(shortest..=longest).contains(&header) {
            return Err(Odd);
        }
        // What makes no second segment is an ordinary packet.
        let segmentation = Segmentation::new(kind, header, size, packet.len()).unwrap_or_default();
        let too_many = kind == Kind::Udp && segmentation.segments > MAX_DATAGRAMS;
        if too_many { Err(Odd) } else { Ok(segmentation) }
    }

    /// What `packet` needs of its receiver. A super-frame must have a checksum still to be made.
    #[inline]
    pub(crate) fn of(packet: &Packet, memory: &Memory) -> Result<Self, Odd> {
        let mut header = Self::default();
        match packet.checksum {
            Checksum::Partial { start, offset } => {
                header.flags = NEEDS_CHECKSUM;
                (header.checksum_start, header.checksum_offset) = (start, offset);
            }
            Checksum::Good => header.flags = DATA_VALID,
            Checksum::Unknown => {}
        }
        if packet.segmentation.kind == Kind::None {
            return Ok(header);
        }
        header.with_segmentation(packet, memory)
    }

    #[cold]
    fn with_segmentation(mut self, packet: &Packet, memory: &Memory) -> Result<Self, Odd> {
        let Segmentation { kind, header, size, .. } = packet.segmentation;
        if self.flags & NEEDS_CHECKSUM == 0 {
            return Err(Odd);
        }
        (self.header_len, self.segment_size) = (header.into(), size);
        self.segmentation = match kind {
            Kind::None => 0,
            Kind::Tcp4 => TCP4,
            Kind::Tcp6 => TCP6,
            Kind::Udp => UDP,
        };
        // Only the first segment may say that the window was reduced (RFC 3168 §6.1.2).
        const WINDOW_REDUCED: u8 = 0x80;
        let flags = usize::from(self.checksum_start) + tcp::FLAGS + 1;
        let flags = packet.head(memory).get(flags).copied().unwrap_or(0);
        if kind != Kind::Udp && flags & WINDOW_REDUCED != 0 {
            self.segmentation |= ECN;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Chainer, Depot, FramePool, PortId};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn pool() -> FramePool {
        FramePool::new(&Depot::new(Memory::heap(64)))
    }

    fn packet(len: usize, pool: &mut FramePool) -> Packet {
        let mut bytes = vec![0; len];
        if len > 47 {
            // A TCP header of eight words behind Ethernet and IPv4, its window reduced.
            (bytes[34 + 12], bytes[34 + 13]) = (0x80, 0x90);
        }
        Chainer::copy_of(&bytes, 256, PortId(0), pool).unwrap()
    }

    const SUPER: Header = Header {
        flags: NEEDS_CHECKSUM,
        segmentation: TCP4,
        header_len: 200,
        segment_size: 1448,
        checksum_start: 34,
        checksum_offset: 16,
    };

    #[test]
    fn the_bytes_are_those_of_linux() {
        let bytes: [u8; 10] = match cfg!(target_endian = "little") {
            true => [1, 1, 200, 0, 0xa8, 5, 34, 0, 16, 0],
            false => [1, 1, 0, 200, 5, 0xa8, 0, 34, 0, 16],
        };
        assert_eq!(SUPER.to_bytes(), bytes);
        assert_eq!(Header::from_bytes(bytes), SUPER);
    }

    #[test]
    fn a_super_frame_is_described_both_ways() {
        let mut pool = pool();
        let memory = Arc::clone(pool.memory());
        let mut packet = packet(20_000, &mut pool);
        SUPER.describe(&mut packet, &memory).unwrap();
        assert_eq!(packet.checksum, Checksum::Partial { start: 34, offset: 16 });
        let expected = Segmentation { kind: Kind::Tcp4, header: 66, size: 1448, segments: 14 };
        assert_eq!(packet.segmentation, expected);
        let back = Header::of(&packet, &memory).unwrap();
        // The true header length, and the mark that the TCP flags call for.
        assert_eq!(back, Header { header_len: 66, segmentation: TCP4 | ECN, ..SUPER });
        packet.free(&mut pool);
    }

    #[test]
    fn one_segment_is_an_ordinary_packet() {
        let mut pool = pool();
        let memory = Arc::clone(pool.memory());
        let mut packet = packet(1000, &mut pool);
        SUPER.describe(&mut packet, &memory).unwrap();
        assert_eq!(packet.segmentation, Segmentation::default());
        assert_eq!(packet.checksum, Checksum::Partial { start: 34, offset: 16 });
        packet.free(&mut pool);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mut pool = pool();
        let memory = Arc::clone(pool.memory());
        let odd = [
            Header { flags: 0, ..SUPER },
            Header { segmentation: 3, ..SUPER },
            Header { segmentation: 77, ..SUPER },
            Header { segment_size: 0, ..SUPER },
            Header { segment_size: 7, ..SUPER },
            Header { checksum_offset: 6, ..SUPER },
            Header { segmentation: UDP, ..SUPER },
            Header { segmentation: UDP, checksum_offset: 6, segment_size: 100, ..SUPER },
            Header { checksum_start: 1790, segmentation: 0, ..SUPER },
            Header { checksum_start: 230, ..SUPER },
            Header { segmentation: UDP, checksum_offset: 6, checksum_start: 250, ..SUPER },
            Header { checksum_start: u16::MAX, checksum_offset: u16::MAX, ..SUPER },
        ];
        for header in odd {
            let mut packet = packet(20_000, &mut pool);
            assert_eq!(header.describe(&mut packet, &memory), Err(Odd), "{header:?}");
            packet.free(&mut pool);
        }
        let mut packet = packet(20_000, &mut pool);
        SUPER.describe(&mut packet, &memory).unwrap();
        packet.checksum = Checksum::Good;
        assert_eq!(Header::of(&packet, &memory), Err(Odd), "a super-frame with a whole checksum");
        packet.free(&mut pool);
    }

    proptest! {
        /// Whatever a header says, a packet it is accepted for keeps what the rest relies on.
        #[test]
        fn no_header_breaks_a_packet(
            flags: u8, segmentation in prop_oneof![0..8u8, 0x80..0x88u8, any::<u8>()],
            header_len: u16, segment_size in prop_oneof![0..20u16, any::<u16>()],
            checksum_start in prop_oneof![Just(34u16), 0..300u16, any::<u16>()],
            checksum_offset in prop_oneof![Just(16u16), Just(6u16), any::<u16>()],
            len in prop_oneof![14..100usize, 14..40_000usize],
        ) {
            let mut pool = pool();
            let memory = Arc::clone(pool.memory());
            let mut packet = packet(len, &mut pool);
            let header = Header {
                flags, segmentation, header_len, segment_size, checksum_start, checksum_offset,
            };
            prop_assert_eq!(Header::from_bytes(header.to_bytes()), header);
            if header.describe(&mut packet, &memory).is_ok() {
                if let Checksum::Partial { start, offset } = packet.checksum {
                    prop_assert!(usize::from(start + offset) + 2 <= packet.head(&memory).len());
                }
                let Segmentation { kind, header, size, segments } = packet.segmentation;
                prop_assert_eq!(kind == Kind::None, segments < 2);
                prop_assert!(usize::from(header) <= packet.head(&memory).len());
                let whole = usize::from(header) + usize::from(size) * usize::from(segments);
                prop_assert!(kind == Kind::None || whole >= len);
                prop_assert!(Header::of(&packet, &memory).is_ok());
            }
            packet.free(&mut pool);
        }
    }
}
