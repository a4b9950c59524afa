//! What workers have to tell: packets that are shown to whoever watches, and that packets have taught
//! flows.
//!
//! A worker never waits for it to be heard: shown packets go through a ring, and what finds it full
//! is counted. It rings a bell at most once a turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::reply::{Event, PacketIn, Sampled};
use api::request::PacketResume;
use api::{Failure, HexBytes, Match};
use flowtable::{BridgeId, Edit, Frozen, SampleOf, Show, Tracked};
use packet::{Key, Memory, Packet, PortId, parse};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::control::Control;

/// Packets that may wait to be heard of, of one worker.
const WAITING: usize = 1024;
/// Packets that may wait for whoever watches to let them go on.
const PAUSED: usize = 1024;
/// How long a packet may wait so.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a worker shows.
#[derive(Debug)]
pub enum Shown {
    /// A packet, for a reason; with what connection tracking has found out about it, and what it waits
    /// for, if it does.
    Packet(Arc<Show>, Tracking, Option<Held>, Copied),
    /// A packet among many.
    Sample(Arc<SampleOf>, Copied),
}

/// What connection tracking has found out about a packet, and its Ethertype, which says what its
/// addresses are: all zero if nothing was, or if that does not show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracking {
    tracked: Tracked,
    eth_type: u16,
}

impl Tracking {
    fn of(packet: &Packet, tracked: &Tracked, memory: &Memory) -> Self {
        let mut key = Key::ZERO;
        // The key of a runt has none.
        let _ = parse(packet.head(memory), packet.len(), &mut key);
        let eth_type = u16::try_from(key.word(Key::ETH_TYPE)).unwrap_or(0);
        Self { tracked: *tracked, eth_type }
    }
}

/// The first bytes of a packet.
#[derive(Debug)]
pub struct Copied {
    bytes: Vec<u8>,
    len: usize,
    /// The port it came in by.
    ingress: PortId,
}

impl Copied {
    fn of(packet: &Packet, most: usize, memory: &Memory) -> Self {
        let mut bytes = packet.to_vec(memory);
        bytes.truncate(most);
        Self { bytes, len: packet.len(), ingress: packet.ingress }
    }
}

/// The worker's side.
#[derive(Debug)]
pub struct Teller {
    ring: Producer<Shown>,
    /// Packets that were shown to nobody, since nobody watched or heard.
    pub unheard: u64,
    has_news: bool,
}

/// The side of the control thread.
pub type Hearing = Consumer<Shown>;

/// How a packet goes on that waits.
#[derive(Clone, Debug)]
pub struct Held {
    /// What is done with it.
    pub frozen: Arc<Frozen>,
    /// What connection tracking has found out about it.
    pub tracked: Tracked,
}

/// Both sides.
pub fn news() -> (Teller, Hearing) {
    let (ring, hearing) = RingBuffer::new(WAITING);
    (Teller { ring, unheard: 0, has_news: false }, hearing)
}

impl Teller {
    /// Shows a packet if somebody watches, of which connection tracking has found this out. Copies it:
    /// those who watch are not on the fast path.
    pub(crate) fn show(
        &mut self,
        watched: bool,
        (show, tracked): (&Arc<Show>, &Tracked),
        held: Option<Held>,
        packet: &Packet,
        memory: &Memory,
    ) {
        let most = match held {
            Some(_) => usize::MAX,
            None => show.controller.max_len.into(),
        };
        self.tell(watched, || {
            let tracking = show.tracked.then(|| Tracking::of(packet, tracked, memory));
            let copied = Copied::of(packet, most, memory);
            Shown::Packet(Arc::clone(show), tracking.unwrap_or_default(), held, copied)
        });
    }

    /// Shows one packet among many.
    pub(crate) fn sample(
        &mut self,
        watched: bool,
        sample: &Arc<SampleOf>,
        packet: &Packet,
        memory: &Memory,
    ) {
        /// Bytes of a sample: the headers.
        const HEAD: usize = 128;
        let copied = || Shown::Sample(Arc::clone(sample), Copied::of(packet, HEAD, memory));
        self.tell(watched, copied);
    }

    fn tell(&mut self, watched: bool, what: impl FnOnce() -> Shown) {
        if !watched || self.ring.is_full() {
            self.unheard += 1;
            return;
        }
        // It has room: this is the only producer.
        let _ = self.ring.push(what());
        self.has_news = true;
    }

    /// Whether there is something to be heard since the last time.
    pub(crate) const fn take_news(&mut self) -> bool {
        std::mem::replace(&mut self.has_news, false)
    }
}

/// Packets that wait for whoever watches.
#[derive(Debug, Default)]
pub struct Paused {
    packets: BTreeMap<u64, Waiting>,
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    bridge: BridgeId,
    held: Held,
    bytes: Vec<u8>,
    ingress: PortId,
    since: Duration,
}

impl Paused {
    /// One packet more, in place of the one that has waited longest if there are too many.
    fn add(&mut self, waiting: Waiting) -> u64 {
        if self.packets.len() >= PAUSED {
            self.packets.pop_first();
        }
        self.last += 1;
        self.packets.insert(self.last, waiting);
        self.last
    }

    /// Forgets those that have waited for too long.
    pub(crate) fn forget(&mut self, now: Duration) {
        self.packets.retain(|_, waiting| now.saturating_sub(waiting.since) < PATIENCE);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

impl Control {
    /// Takes notice of whatever workers have to tell.
    pub fn hear(&mut self) {
        let shown = self.crew.hear();
        shown.into_iter().for_each(|shown| self.tell_shown(shown));
        self.tell_of_connections();
        self.take_in_taught();
    }

    /// Puts the flows that packets have taught among the others.
    pub(crate) fn take_in_taught(&mut self) {
        let taught: Vec<_> = self
            .tables
            .bridges()
            .filter_map(|(id, bridge)| Some((id, bridge.pending.rules()?)))
            .collect();
        for (bridge, rules) in taught {
            let now = self.clock.millis();
            let mut edit: Edit = self.tables.edit();
            for rule in rules.iter() {
                if let Err(refused) = edit.learn(bridge, rule, now) {
                    tracing::warn!(flow = %rule.flow_mod(), %refused, "a flow is not learned");
                }
            }
            self.publish(Some(bridge), edit);
            if let Some(bridge) = self.tables.bridge(bridge) {
                bridge.pending.remove(&rules);
            }
        }
    }

    fn tell_shown(&mut self, shown: Shown) {
        match shown {
            Shown::Packet(show, tracking, held, copied) => {
                self.tell_packet((&show, &tracking), held, copied);
            }
            Shown::Sample(sample, copied) => {
                let name = self.bridge_name(sample.bridge);
                let event = Event::Sampled(Sampled {
                    bridge: name.clone(),
                    collector_set: sample.sample.collector_set,
                    domain: sample.sample.domain,
                    point: sample.sample.point,
                    probability: sample.sample.probability,
                    in_port: sample.in_port,
                    len: copied.len as u64,
                    packet: HexBytes(copied.bytes),
                });
                self.events.tell_packet(&name, None, || event.clone());
            }
        }
    }

    fn tell_packet(
        &mut self,
        (show, tracking): (&Show, &Tracking),
        held: Option<Held>,
        copied: Copied,
    ) {
        let Copied { mut bytes, len, ingress } = copied;
        let paused = held.map(|held| {
            let (bridge, since) = (show.bridge, self.clock.now());
            let whole = bytes.clone();
            self.paused.add(Waiting { bridge, held, bytes: whole, ingress, since })
        });
        bytes.truncate(show.controller.max_len.into());
        let name = self.bridge_name(show.bridge);
        let event = Event::PacketIn(PacketIn {
            bridge: name.clone(),
            reason: show.controller.reason,
            watcher: show.controller.id,
            table: show.context.table,
            cookie: show.context.cookie,
            in_port: show.in_port,
            fields: fields_of(show, tracking).to_string(),
            userdata: HexBytes(show.controller.userdata.clone()),
            paused,
            len: len as u64,
            packet: HexBytes(bytes),
        });
        self.events.tell_packet(&name, Some(show.controller.id), || event.clone());
    }

    /// Lets a packet go on that waits, with these bytes instead of its own if there are any.
    pub(crate) fn resume(&mut self, resume: PacketResume) -> Result<api::reply::Done, Failure> {
        let waiting = self.paused.packets.remove(&resume.paused).ok_or_else(|| {
            let number = resume.paused;
            let seconds = PATIENCE.as_secs();
            Failure::refused(format!(
                "no packet {number} waits: it went on, or waited for more than {seconds} s"
            ))
        })?;
        let Waiting { bridge, held, bytes, ingress, .. } = waiting;
        let bytes = resume.packet.map_or(bytes, |packet| packet.0);
        let port = self.ports.get(ingress).map_or(0, |entry| entry.number);
        self.inject(bridge, port, bytes, held);
        Ok(api::reply::Done {})
    }
}

/// What the pipeline knew of a packet that is shown.
fn fields_of(show: &Show, tracking: &Tracking) -> Match {
    let mut key = Key::ZERO;
    key.words_mut()[Key::PARSED_WORDS..].copy_from_slice(&show.notes);
    key.words_mut()[Key::TRACKED].copy_from_slice(&tracking.tracked);
    key.set(Key::ETH_TYPE, tracking.eth_type);
    key.set(Key::OUTCOME, 0u8);
    Match::scratch(&key)
}
