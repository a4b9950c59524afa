//! Packets that go through a step of their way together, so that each step asks for the memory that
//! the next one needs.

use conntrack::Connections;
use flowtable::{Found, MaskId, MegaflowId, Megaflows};
use packet::{Headers, Key, Memory, Packet, parse};

use crate::session::{Sessions, Who};

/// Packets that go through a step together.
pub(crate) const LANES: usize = 64;
/// How many packets ahead of the parser their heads are fetched.
const AHEAD: usize = 6;
/// How many packets ahead their sessions are fetched, and what those lead to: of all at once, memory would
/// forget some.
const LATER: usize = 16;
const SOON: usize = 8;

/// What is known of the packets that go through a step together.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) keys: [Key; LANES],
    /// Where the headers are; of a runt, which has none, nowhere.
    pub(crate) headers: [Headers; LANES],
    /// Whether `meetings` are of these packets.
    pub(crate) want_sessions: bool,
    pub(crate) meetings: [Meeting; LANES],
    /// Of the megaflows that the packets may meet.
    pub(crate) hashes: [u64; LANES],
    pub(crate) guesses: [Option<MegaflowId>; LANES],
    /// Whether the packets agree with them.
    pub(crate) agreed: [bool; LANES],
    /// What is known of each, as far as it has been looked up.
    pub(crate) found: [Option<Found>; LANES],
}

/// A packet on its way to its session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meeting {
    /// Whose session it is, if the packet can have one.
    pub(crate) who: Option<Who>,
    /// Where a lookup begins, and where it will most likely end.
    pub(crate) hash: u64,
    pub(crate) guess: u32,
    /// Whether the session that it has met has ties.
    pub(crate) is_tied: bool,
}

/// Fetches what the packets behind the one in `lane` will most likely meet.
#[inline]
pub(crate) fn look_ahead(
    meetings: &mut [Meeting],
    lane: usize,
    sessions: &Sessions,
    connections: &Connections,
) {
    if let Some(later) = meetings.get_mut(lane + LATER) {
        later.guess = sessions.guess(later.hash);
    }
    if sessions.has_tied()
        && let Some(soon) = meetings.get(lane + SOON)
    {
        sessions.prefetch_rest(soon.guess, connections);
    }
}

impl Meeting {
    /// Notes whose session it is.
    #[inline]
    pub(crate) fn is_of(&mut self, hashed: Option<(Who, u64)>) {
        // A packet that can have none asks for that of nobody.
        (self.who, self.hash) = match hashed {
            Some((who, hash)) => (Some(who), hash),
            None => (None, 0),
        };
    }
}

impl Lanes {
    /// Nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            keys: [Key::ZERO; LANES],
            headers: [Headers::default(); LANES],
            want_sessions: false,
            meetings: [Meeting::default(); LANES],
            hashes: [0; LANES],
            guesses: [None; LANES],
            agreed: [false; LANES],
            found: [None; LANES],
        }
    }

    /// Finds the headers of packets; the first word of each key is `ingress`.
    #[inline]
    pub(crate) fn parse(&mut self, packets: &[Packet], ingress: u64, memory: &Memory) {
        let Self { keys, headers, .. } = self;
        packets.iter().take(AHEAD).for_each(|packet| packet.prefetch(memory));
        for (n, ((packet, key), headers)) in packets.iter().zip(keys).zip(headers).enumerate() {
            if let Some(later) = packets.get(n + AHEAD) {
                later.prefetch(memory);
            }
            key[0] = ingress;
            *headers = parse(packet.head(memory), packet.len(), key).unwrap_or_default();
        }
    }

    /// Hashes the keys, fetches the megaflows they will most likely meet, and compares.
    #[inline]
    pub(crate) fn find_guesses(&mut self, megaflows: &Megaflows, mask: MaskId, lanes: usize) {
        let Self { keys, hashes, guesses, agreed, .. } = self;
        megaflows.hash_all(mask, &keys[..lanes], hashes);
        let (hashes, guesses) = (&hashes[..lanes], &mut guesses[..lanes]);
        megaflows.guess_all(mask, hashes, guesses);
        megaflows.agree_each(mask, &keys[..lanes], guesses, &mut agreed[..lanes]);
    }

    /// Whether all meet this megaflow, as they do when one rule is for many packets: then there is
    /// nothing to look up. Where it is not so, the first or the last mostly shows it.
    #[inline]
    pub(crate) fn all_agree(
        &self,
        megaflows: &Megaflows,
        flow: MegaflowId,
        mask: MaskId,
        lanes: usize,
    ) -> bool {
        let keys = &self.keys[..lanes];
        let ends = [keys.first(), keys.last()];
        ends.into_iter().flatten().all(|key| megaflows.agrees(flow, mask, key))
            && megaflows.all_agree(flow, mask, keys)
    }

    /// Finds out which packets can have a session, and fetches those they will most likely meet.
    #[inline(never)]
    pub(crate) fn guess_sessions(
        &mut self,
        sessions: &Sessions,
        connections: &Connections,
        lanes: usize,
    ) {
        let Self { keys, headers, meetings, .. } = self;
        let (seed, meetings) = (sessions.seed(), &mut meetings[..lanes]);
        for ((key, headers), meeting) in keys.iter().zip(&*headers).zip(&mut *meetings) {
            meeting.is_of(Who::hashed(key, headers, seed));
            sessions.prefetch(meeting.hash);
            meeting.is_tied = false;
        }
        for meeting in meetings.iter_mut().take(LATER) {
            meeting.guess = sessions.guess(meeting.hash);
        }
        if sessions.has_tied() {
            for meeting in meetings.iter().take(SOON) {
                sessions.prefetch_rest(meeting.guess, connections);
            }
        }
    }
}
