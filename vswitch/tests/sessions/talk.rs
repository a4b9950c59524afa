//! Two who talk across a switch.

use packet::{Headers, Key, compose, ethernet, parse, tcp, udp};

/// What one side says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Say {
    pub(crate) flags: u16,
    /// Beside what it has said before, and what the other one has.
    pub(crate) seq: i32,
    pub(crate) ack: i32,
    pub(crate) window: u16,
    pub(crate) len: u16,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
}

pub(crate) const USUAL: Say =
    Say { flags: tcp::ACK, seq: 0, ack: 0, window: 1000, len: 10, tos: 0, ttl: 64 };

/// Two who talk, and what each has said so far.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    /// What the client says to whom it asks for.
    pub(crate) client: Key,
    /// What answers what the server has heard last.
    server: Key,
    next: [u32; 2],
}

impl Talk {
    pub(crate) fn new(n: u8, is_tcp: bool, is_ipv6: bool) -> Self {
        let (proto, flags) = if is_tcp { (tcp::PROTO, tcp::ACK) } else { (udp::PROTO, 0) };
        let mut key = Key::ZERO
            .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
            .with(Key::ETH_DST, 0x0200_0000_0002_u64)
            .with(Key::NW_PROTO, proto)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::HAS_TRANSPORT, 1u8)
            .with(Key::TTL_LEFT, 1u8)
            .with(Key::TP_SRC, 1000 + u16::from(n))
            .with(Key::TP_DST, 80u16)
            .with(Key::TCP_FLAGS, flags);
        key = match is_ipv6 {
            false => key
                .with(Key::ETH_TYPE, ethernet::IPV4)
                .with(Key::NW_SRC, 0x0a00_0001_u32)
                .with(Key::NW_DST, 0x0a00_0002_u32),
            true => key
                .with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, 0xfd00_u128 << 112 | 1)
                .with(Key::IPV6_DST, 0xfd00_u128 << 112 | 2),
        };
        Self { client: key, server: answer(&key), next: [1000, 50_000] }
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.client.word(Key::NW_PROTO) == u64::from(tcp::PROTO)
    }

    /// The packet in which a side says something.
    pub(crate) fn say(&mut self, back: bool, say: &Say) -> Vec<u8> {
        let template = if back { self.server } else { self.client };
        let flags = if self.is_tcp() { say.flags } else { 0 };
        let key = template
            .with(Key::NW_TOS, say.tos)
            .with(Key::NW_TTL, say.ttl)
            .with(Key::TTL_LEFT, u8::from(say.ttl > 1))
            .with(Key::TCP_FLAGS, flags);
        let (mut bytes, mut parsed) = (compose(&key, 0), Key::ZERO);
        let len = bytes.len() + usize::from(say.len);
        bytes = compose(&key, len);
        let headers: Headers = parse(&bytes, bytes.len(), &mut parsed).unwrap();
        if self.is_tcp() {
            let [own, other] = if back { [1, 0] } else { [0, 1] };
            let seq = self.next[own].wrapping_add_signed(say.seq);
            let ack = self.next[other].wrapping_add_signed(say.ack);
            let at = usize::from(headers.l4);
            bytes[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&ack.to_be_bytes());
            bytes[at + 14..at + 16].copy_from_slice(&say.window.to_be_bytes());
            if say.seq == 0 {
                let counts = u32::from(flags & (tcp::SYN | tcp::FIN) != 0);
                self.next[own] = self.next[own].wrapping_add(u32::from(say.len) + counts);
            }
        }
        bytes
    }

    /// The server has heard something.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let mut key = Key::ZERO;
        parse(bytes, bytes.len(), &mut key).unwrap();
        self.server = answer(&key);
    }
}

/// What answers a packet.
fn answer(key: &Key) -> Key {
    let swaps = [
        (Key::ETH_SRC, Key::ETH_DST),
        (Key::TP_SRC, Key::TP_DST),
        (Key::NW_SRC, Key::NW_DST),
        (Key::IPV6_SRC, Key::IPV6_DST),
    ];
    let mut answer = *key;
    for (one, other) in swaps {
        answer.set(one, key.get(other));
        answer.set(other, key.get(one));
    }
    answer
}
