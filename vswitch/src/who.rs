//! What tells sessions from each other, and the packets that can have one from the others.

use std::num::NonZeroU64;

use bytemuck::Zeroable;
use packet::{Headers, Key, Seed, Span, ethernet, tcp};

/// What tells one session from another, but for the addresses: ports, ingress, protocol and family
/// of a packet that can have one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Who(NonZeroU64);

impl Who {
    /// The last byte, which says the family.
    const IPV4: u64 = 4;
    const IPV6: u64 = 6;

    /// Of a packet; `None` if no session is made for its kind.
    #[inline]
    pub fn of(key: &Key, headers: Headers) -> Option<Self> {
        let rest = Self::rest(key, &headers)?;
        let family = if is_of_ipv4(key) { Self::IPV4 } else { Self::IPV6 };
        NonZeroU64::new(rest | family).map(Self)
    }

    /// The same, and the hash of its tuple: [`Who::hash`].
    #[inline]
    pub(crate) fn hashed(key: &Key, headers: &Headers, seed: Seed) -> Option<(Self, u64)> {
        let rest = Self::rest(key, headers)?;
        // The family is looked at once.
        let (who, hash) = if is_of_ipv4(key) {
            let who = rest | Self::IPV4;
            (who, Self::hash_ipv4(who, key, seed))
        } else {
            let who = rest | Self::IPV6;
            (who, Self::hash_ipv6(who, key, seed))
        };
        NonZeroU64::new(who).map(|who| (Self(who), hash))
    }

    /// All but the family.
    #[inline]
    fn rest(key: &Key, headers: &Headers) -> Option<u64> {
        // Fields of one word together: in whole, with both headers, and a TTL that can be
        // decremented. Only TCP has flags.
        const PLAIN: u64 =
            Key::HAS_NETWORK.in_word(1) | Key::HAS_TRANSPORT.in_word(1) | Key::TTL_LEFT.in_word(1);
        const LOOKED: u64 = PLAIN | Key::NW_FRAG.in_word(u64::MAX);
        const ENDS: u64 = Key::TCP_FLAGS.in_word((tcp::FIN | tcp::SYN | tcp::RST) as u64);
        let is_plain = key[Key::NW_FRAG.word()] & LOOKED == PLAIN && !headers.options;
        if !is_plain || key[Key::TCP_FLAGS.word()] & ENDS != 0 {
            return None;
        }
        let ports = key[Key::TP_DST.word()] >> 32 << 32;
        let ingress = key[Key::INGRESS.word()] & Key::INGRESS.in_word(u64::MAX);
        Some(ports | ingress | key.word(Key::NW_PROTO) << 8)
    }

    const fn is_ipv4(self) -> bool {
        self.0.get() & 0xff == Self::IPV4
    }

    /// The hash of a packet's tuple.
    #[inline]
    pub fn hash(self, key: &Key, seed: Seed) -> u64 {
        match self.is_ipv4() {
            true => Self::hash_ipv4(self.0.get(), key, seed),
            false => Self::hash_ipv6(self.0.get(), key, seed),
        }
    }

    /// A word that differs for most tuples, at less cost than a hash.
    #[inline]
    pub(crate) fn mixed(self, key: &Key) -> u64 {
        // Of IPv4 and IPv6, what one has is zero for the other.
        self.0.get() ^ key[4] ^ key[8] ^ key[10]
    }

    #[inline]
    fn hash_ipv4(who: u64, key: &Key, seed: Seed) -> u64 {
        seed.hash([who, key[4]])
    }

    #[inline]
    fn hash_ipv6(who: u64, key: &Key, seed: Seed) -> u64 {
        seed.hash([who, key[7], key[8], key[9], key[10]])
    }
}

#[inline]
fn is_of_ipv4(key: &Key) -> bool {
    key.word(Key::ETH_TYPE) == u64::from(ethernet::IPV4)
}

/// What tells one session from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Zeroable)]
#[repr(C)]
pub(crate) struct SessionKey {
    /// [`Who`]; never 0.
    pub(crate) who: u64,
    /// Both addresses; IPv4's take the first word.
    addresses: [u64; 4],
}

impl SessionKey {
    pub(crate) fn new(who: Who, key: &Key) -> Self {
        let addresses = match who.is_ipv4() {
            true => [key[4], 0, 0, 0],
            false => [key[7], key[8], key[9], key[10]],
        };
        Self { who: who.0.get(), addresses }
    }

    /// Whether it is that of a packet.
    #[inline]
    pub(crate) fn is(&self, who: Who, key: &Key) -> bool {
        let [a, b, c, d] = self.addresses;
        let differ = match who.is_ipv4() {
            true => a ^ key[4],
            false => (a ^ key[7]) | (b ^ key[8]) | (c ^ key[9]) | (d ^ key[10]),
        };
        self.who == who.0.get() && differ == 0
    }

    /// The port its packets come in by.
    pub(crate) fn ingress(&self) -> u16 {
        // 16 bits of `who`.
        ((self.who >> 16) & 0xffff) as u16
    }

    /// The tuple as part of a flow's key, and the bits of the key that it is.
    pub(crate) fn spelled(&self) -> (Key, Key) {
        let (is_ipv4, proto) = (self.who & 0xff == 4, (self.who >> 8) & 0xff);
        let ethertype = if is_ipv4 { ethernet::IPV4 } else { ethernet::IPV6 };
        let mut key = Key::ZERO
            .with(Key::INGRESS, self.ingress())
            .with(Key::ETH_TYPE, ethertype)
            .with(Key::NW_PROTO, proto)
            .with(Key::TP_SRC, self.who >> 48)
            .with(Key::TP_DST, (self.who >> 32) & 0xffff);
        let mut mask = Key::ZERO;
        for span in [Key::ETH_TYPE, Key::NW_PROTO, Key::TP_SRC, Key::TP_DST] {
            mask.set_all(span);
        }
        let words = if is_ipv4 { 4..5 } else { 7..11 };
        for (word, value) in words.zip(self.addresses) {
            (key[word], mask[word]) = (value, u64::MAX);
        }
        (key, mask)
    }

    /// The hash of its tuple: [`Who::hash`].
    pub(crate) fn hash(&self, seed: Seed) -> u64 {
        let [a, b, c, d] = self.addresses;
        if self.who & 0xff == 4 {
            seed.hash([self.who, a])
        } else {
            seed.hash([self.who, a, b, c, d])
        }
    }
}

/// The words of a key that a session compares beside its own key, as far as they were looked at.
pub(crate) const REST: [usize; 4] = [1, 2, 5, 6];

/// What every packet that can have a session agrees in, so that it need not be compared.
const IMPLIED: [Span; 8] = [
    Key::ETH_TYPE,
    Key::NW_PROTO,
    Key::NW_FRAG,
    Key::HAS_NETWORK,
    Key::HAS_TRANSPORT,
    Key::TTL_LEFT,
    Key::TP_SRC,
    Key::TP_DST,
];

/// Why a packet of this kind has no session, in words.
pub(crate) fn refusal(key: &Key, headers: Headers) -> Option<&'static str> {
    let has = |span| key.word(span) != 0;
    let reasons = [
        (!has(Key::HAS_NETWORK), "no: it is not of IP"),
        (has(Key::NW_FRAG), "no: it is a fragment"),
        (headers.options, "no: its IP header has options"),
        (!has(Key::HAS_TRANSPORT), "no: it has no ports or ICMP type"),
        (!has(Key::TTL_LEFT), "no: it has no hop left, nw_ttl is 0 or 1"),
        (Who::of(key, headers).is_none(), "no: it opens or ends a connection"),
    ];
    reasons.into_iter().find(|(is, _)| *is).map(|(_, why)| why)
}

/// The bits that a session of this packet compares, if what was `looked` at lets it have one: the
/// tuple, and whatever else was looked at.
pub(crate) fn compared(key: &Key, headers: Headers, looked: &Key) -> Option<Key> {
    let (_, tuple) = SessionKey::new(Who::of(key, headers)?, key).spelled();
    rest_of(looked, key)?;
    let mut mask = *looked;
    mask.words_mut().iter_mut().zip(tuple.words()).for_each(|(word, bits)| *word |= bits);
    Some(mask)
}

/// What must be compared beside the session's key: mask and values. `None` if it does not fit.
pub(crate) fn rest_of(looked: &Key, key: &Key) -> Option<([u64; REST.len()], [u64; REST.len()])> {
    let mut mask = *looked;
    for span in IMPLIED {
        mask.set(span, 0u8);
    }
    for word in [0, 4, 7, 8, 9, 10] {
        mask[word] = 0;
    }
    // Nothing has been found out about a packet that comes in.
    mask.words_mut()[Key::TRACKED].fill(0);
    let rest_mask = REST.map(|word| mask[word]);
    for word in REST {
        mask[word] = 0;
    }
    mask.is_zero().then(|| {
        let mut rest = REST.map(|word| key[word]);
        rest.iter_mut().zip(&rest_mask).for_each(|(value, mask)| *value &= mask);
        (rest_mask, rest)
    })
}
