//! Classes of ports, and ranges as masks.

use crate::pktgen::order::Random;

/// What rules say of a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PortClass {
    /// Any.
    Wildcard,
    /// 1024 and above: those of clients.
    High,
    /// Below 1024: those of services.
    Low,
    /// Any other range.
    Range,
    /// One port.
    Exact,
}

/// Ports of services, the common ones first.
const SERVICES: [u16; 16] =
    [80, 443, 53, 25, 22, 21, 110, 143, 123, 161, 389, 445, 1433, 1521, 3306, 8080];

impl PortClass {
    /// A range of this class: its first and its last port.
    pub fn draw(self, random: &mut Random) -> (u16, u16) {
        match self {
            Self::Wildcard => (0, u16::MAX),
            Self::High => (1024, u16::MAX),
            Self::Low => (0, 1023),
            Self::Range => {
                // Short ones, anywhere above the ports of services: 5 ports up to 260.
                let first = 1024 + below(random, 60_000);
                (first, first + 4 + below(random, 256))
            }
            // Half of them are common.
            Self::Exact => {
                let port = match random.below(2) {
                    0 => SERVICES[random.below(SERVICES.len())],
                    _ => below(random, 0xffff),
                };
                (port, port)
            }
        }
    }
}

/// A number below `end`.
fn below(random: &mut Random, end: u16) -> u16 {
    u16::try_from(random.below(usize::from(end))).unwrap_or(0)
}

/// The ports that agree with `value` in the bits of `mask`, which are its leading ones.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PortMask {
    /// The bits that count; the others are zero.
    pub value: u16,
    /// Which they are.
    pub mask: u16,
}

impl PortMask {
    /// All ports.
    pub const ANY: Self = Self { value: 0, mask: 0 };

    /// Whether `port` is one of them.
    pub const fn has(self, port: u16) -> bool {
        port & self.mask == self.value
    }

    /// Whether any port is in both.
    pub const fn overlaps(self, other: Self) -> bool {
        (self.value ^ other.value) & self.mask & other.mask == 0
    }

    /// One of them.
    pub fn draw(self, random: &mut Random) -> u16 {
        let bytes = random.number().to_le_bytes();
        self.value | u16::from_le_bytes([bytes[0], bytes[1]]) & !self.mask
    }
}

/// The fewest masks that have exactly the ports `first` to `last`, at most thirty.
pub fn masks(first: u16, last: u16) -> Vec<PortMask> {
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    let mut masks = Vec::new();
    while at < end {
        // As many as begin here at a boundary of their number, and do not go beyond the end.
        let aligned = if at == 0 { 16 } else { at.trailing_zeros() };
        let bits = aligned.min((end - at).ilog2());
        let value = u16::try_from(at).unwrap_or(u16::MAX);
        let mask = u16::try_from(0xffff_u32 & !((1 << bits) - 1)).unwrap_or(0);
        masks.push(PortMask { value, mask });
        at += 1 << bits;
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each port of the range is in one mask, every other one in none.
        #[test]
        fn masks_are_the_range(a in any::<u16>(), b in any::<u16>(), port in any::<u16>()) {
            let (first, last) = (a.min(b), a.max(b));
            let masks = masks(first, last);
            prop_assert!(masks.len() <= 30);
            for port in [port, first, last] {
                let count = masks.iter().filter(|mask| mask.has(port)).count();
                prop_assert_eq!(count, usize::from((first..=last).contains(&port)));
            }
        }

        /// Two masks overlap if some port is in both: one of two that are nested, then.
        #[test]
        fn masks_overlap_where_they_meet(
            a in (any::<u16>(), 0..17u32), b in (any::<u16>(), 0..17u32),
        ) {
            let of = |(port, bits): (u16, u32)| {
                let mask = u16::try_from(0xffff_u32 << (16 - bits) & 0xffff).unwrap();
                PortMask { value: port & mask, mask }
            };
            let (a, b) = (of(a), of(b));
            prop_assert_eq!(a.overlaps(b), a.has(b.value) || b.has(a.value));
        }
    }

    #[test]
    fn the_classes_that_have_names_are_few_masks() {
        assert_eq!(masks(0, u16::MAX), [PortMask::ANY]);
        assert_eq!(masks(0, 1023), [PortMask { value: 0, mask: 0xfc00 }]);
        assert_eq!(masks(1024, u16::MAX).len(), 6);
        assert_eq!(masks(80, 80), [PortMask { value: 80, mask: 0xffff }]);
    }
}
