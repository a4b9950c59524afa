//! Messages of ICMP that ask, and those that answer (RFC 792, RFC 950, RFC 4443, RFC 4620).

/// Types of ICMP and ICMPv6 that ask, each with what answers it.
const V4: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];
const V6: [(u8, u8); 2] = [(128, 129), (139, 140)];

const fn pairs(is_ipv4: bool) -> &'static [(u8, u8)] {
    if is_ipv4 { &V4 } else { &V6 }
}

/// The type that answers this one, or that this one answers; `None` of other messages.
pub(crate) fn answer(is_ipv4: bool, kind: u8) -> Option<u8> {
    pairs(is_ipv4).iter().find_map(|(asks, answers)| match kind {
        _ if kind == *asks => Some(*answers),
        _ if kind == *answers => Some(*asks),
        _ => None,
    })
}

/// Whether a message of this type asks.
pub(crate) fn asks(is_ipv4: bool, kind: u8) -> bool {
    pairs(is_ipv4).iter().any(|(asks, _)| kind == *asks)
}

/// Whether a message of this type says what became of a packet, which it quotes.
pub(crate) const fn is_error(is_ipv4: bool, kind: u8) -> bool {
    if is_ipv4 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 }
}
