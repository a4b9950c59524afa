//! Our judgement: the connection between two ports, if there is one.

use std::fmt;

use conntrack::{Direction, Fate, Known, Segment, Settings, Tcp};

use crate::Verdict;
use crate::traffic::Sender;

pub(crate) struct Ours(Option<Connection>, Settings);

struct Connection {
    tcp: Tcp,
    began: Sender,
    known: Known,
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tcp = self.0.as_ref().map(|connection| (connection.tcp.state(), connection.known));
        write!(f, "{tcp:?}")
    }
}

impl Ours {
    /// No packet has come yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(None, settings)
    }

    pub(crate) fn judge(&mut self, from: Sender, packet: &[u8]) -> Verdict {
        let header_len = usize::from(packet[0] & 0xf) * 4;
        let segment = &packet[header_len..];
        match Segment::read(segment, segment.len()) {
            Ok(segment) => self.track(from, &segment),
            Err(_) => Verdict::Invalid,
        }
    }

    fn track(&mut self, from: Sender, segment: &Segment) -> Verdict {
        let settings = self.1;
        let Some(Connection { tcp, began, known }) = &mut self.0 else {
            let tcp = Tcp::open(segment, settings);
            self.0 = tcp.map(|tcp| Connection { tcp, began: from, known: Known::default() });
            return if self.0.is_some() { Verdict::New } else { Verdict::Invalid };
        };
        let direction = if from == *began { Direction::Original } else { Direction::Reply };
        let verdict = match direction {
            Direction::Reply => Verdict::Reply,
            Direction::Original if known.replied => Verdict::Established,
            Direction::Original => Verdict::New,
        };
        match tcp.track(direction, segment, *known, settings) {
            Fate::Invalid => return Verdict::Invalid,
            Fate::Reopens => {
                self.0 = None;
                return self.track(from, segment);
            }
            Fate::Ends => self.0 = None,
            Fate::Ignored => known.replied |= direction == Direction::Reply,
            Fate::Valid { assures } => {
                known.assured |= assures;
                known.replied |= direction == Direction::Reply;
            }
        }
        verdict
    }
}
