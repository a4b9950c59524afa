//! What tells packets with short-cuts apart.

use packet::{ethernet, ipv4, ipv6, tcp, udp};

/// Words of a [`Flow`].
pub(super) const WORDS: usize = 8;

/// Where in a [`Flow`]'s bytes what stands: the Ethernet header comes first.
pub(super) mod place {
    /// Protocol; behind it TTL or hop limit.
    pub(crate) const PROTO: usize = 14;
    pub(crate) const TTL: usize = 15;
    /// Both ports.
    pub(crate) const PORTS: usize = 16;
    /// The begin of the IP header: two bytes of IPv4's (TOS), four of IPv6's (traffic class, label).
    pub(crate) const IP: usize = 20;
    /// Both addresses.
    pub(crate) const ADDRESSES: usize = 24;
    /// The two bytes of TCP with the flags, without the data offset.
    pub(crate) const FLAGS: usize = 56;
}

/// Everything about a packet that a flow can match: both Ethernet addresses, protocol, IP addresses,
/// ports, TTL, TOS, flow label, TCP flags. (Where it comes in is told by whose table it stands in.)
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Flow(pub(super) [u64; WORDS]);

impl Flow {
    /// The flow of a packet that is `len` bytes long and begins with `head`; `None` for what never
    /// has a short-cut: tags, fragments, options, whatever is neither TCP nor UDP, the begin and end
    /// of a TCP connection, lengths that contradict each other.
    ///
    /// The program in the kernel says the same ([`super::program()`]).
    pub fn of(head: &[u8], len: usize) -> Option<Self> {
        let mut bytes = [0; WORDS * 8];
        let mut put = |at: usize, value: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        };
        let (ethernet, ip) = head.split_at_checked(ethernet::LEN)?;
        put(0, ethernet);
        let ethertype = u16::from_be_bytes(*ethernet.last_chunk()?);
        let (l3, proto, ttl, total) = match ethertype {
            ethernet::IPV4 => {
                let &[0x45, tos, t0, t1, _, _, f0, f1, ttl, proto, _, _, ref addresses @ ..] =
                    ip.first_chunk::<{ ipv4::LEN }>()?
                else {
                    return None;
                };
                // Everything but don't-fragment.
                if u16::from_be_bytes([f0, f1]) & 0xbfff != 0 {
                    return None;
                }
                put(place::IP, &[0x45, tos]);
                put(place::ADDRESSES, addresses);
                (ipv4::LEN, proto, ttl, usize::from(u16::from_be_bytes([t0, t1])))
            }
            ethernet::IPV6 => {
                let &[v0, v1, v2, v3, p0, p1, proto, limit, ref addresses @ ..] =
                    ip.first_chunk::<{ ipv6::LEN }>()?;
                if v0 >> 4 != 6 {
                    return None;
                }
                put(place::IP, &[v0, v1, v2, v3]);
                put(place::ADDRESSES, addresses);
                let payload = usize::from(u16::from_be_bytes([p0, p1]));
                (ipv6::LEN, proto, limit, payload + ipv6::LEN)
            }
            _ => return None,
        };
        put(place::PROTO, &[proto, ttl]);
        let transport = &ip[l3..];
        put(place::PORTS, transport.first_chunk::<4>()?);
        let header = match proto {
            udp::PROTO => udp::LEN,
            tcp::PROTO => {
                let &[offset, flags] = transport.get(tcp::FLAGS..)?.first_chunk()?;
                if u16::from(flags) & (tcp::FIN | tcp::SYN | tcp::RST) != 0 {
                    return None;
                }
                put(place::FLAGS, &[offset & 0x0f, flags]);
                Some(usize::from(offset >> 4) * 4).filter(|header| *header >= tcp::LEN)?
            }
            _ => return None,
        };
        let least = if proto == udp::PROTO { udp::LEN } else { tcp::LEN };
        let fits = transport.len() >= least && l3 + header <= total && ethernet::LEN + total <= len;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        fits.then_some(Self(words))
    }

    /// Its hash. The table is the pod's own: flows that were chosen to meet in it harm their sender.
    pub fn hash(&self) -> u64 {
        self.0.iter().fold(0, |hash, word| (hash ^ word).wrapping_mul(FACTOR))
    }
}

/// What every word is multiplied with: odd, and without a pattern (the golden ratio's digits).
pub(super) const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
