//! Our judgement: the connections of one case.

use std::fmt;

use api::CtTimeout;
use conntrack::{
    ConnectionId, Connections, Content, Description, Direction, Judgement, Message, NotMade, Notes,
    Settings,
};
use packet::{Key, Millis, Part, Seed, ethernet, parse};

use crate::Verdict;
use crate::pieces::is_first;

/// The connections of one case.
pub(crate) struct Ours {
    connections: Connections,
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let described = self.connections.iter().filter_map(|id| self.connections.describe(id, NOW));
        for connection in described {
            let (tuple, known) = (connection.tuples.original, connection.known);
            write!(f, "\n    {tuple:?} {:?} {known:?}", connection.state)?;
        }
        Ok(())
    }
}

/// Timeouts of SCTP by which its states are told from each other.
pub(crate) const SCTP: [CtTimeout; 8] = [
    CtTimeout::SctpClosed,
    CtTimeout::SctpCookieWait,
    CtTimeout::SctpCookieEchoed,
    CtTimeout::SctpEstablished,
    CtTimeout::SctpShutdownSent,
    CtTimeout::SctpShutdownRecd,
    CtTimeout::SctpShutdownAckSent,
    CtTimeout::SctpHeartbeatSent,
];
/// Seconds of the first, and from one to the next.
pub(crate) const EACH: u32 = 100_000;
/// Time stands still.
const NOW: Millis = Millis(1);
/// Connections that the packets of a case make at most.
const ROOM: u32 = 64;

impl Ours {
    /// No packet has come yet.
    pub(crate) fn new(settings: Settings) -> Self {
        let connections = Connections::new(ROOM, 0, Seed(7)).with_settings(settings);
        let lasts = SCTP.iter().zip(1u32..).map(|(timeout, n)| (*timeout, n * EACH));
        let timeouts = lasts.map(|(timeout, seconds)| (timeout, seconds.try_into().unwrap()));
        connections.zones().set_default_timeouts(&timeouts.collect());
        Self { connections }
    }

    /// What becomes of a packet, and whether its connection is assured and how it lasts, if that is to
    /// be compared.
    pub(crate) fn judge(&mut self, pieces: &[Vec<u8>]) -> (Verdict, Option<bool>, Option<u8>) {
        let Some(message) = read(pieces) else { return (Verdict::Invalid, None, None) };
        let Judgement { verdict, direction, connection } = self.connections.judge(&message, NOW);
        let verdict = match (verdict, direction) {
            (conntrack::Verdict::Invalid, _) => return (Verdict::Invalid, None, None),
            (conntrack::Verdict::Related, Direction::Original) => Verdict::Related,
            (conntrack::Verdict::Related, Direction::Reply) => Verdict::RelatedReply,
            (_, Direction::Reply) => Verdict::Reply,
            (conntrack::Verdict::Established, Direction::Original) => Verdict::Established,
            (conntrack::Verdict::New, Direction::Original) => {
                if connection.is_none() {
                    let made = self.connections.commit(&message, None, &Notes::default(), NOW);
                    // A reset has ended it.
                    assert!(matches!(made, Ok(_) | Err(NotMade::BeginsNone)), "{made:?}");
                }
                Verdict::New
            }
        };
        let is_assured = connection.and_then(|id| self.is_assured(id));
        let lasts = connection.filter(|_| matches!(message.content, Content::Sctp(_)));
        (verdict, is_assured, lasts.and_then(|id| self.lasts(id)))
    }

    /// Which of [`SCTP`] a connection goes by.
    fn lasts(&self, id: ConnectionId) -> Option<u8> {
        let left = self.connections.describe(id, NOW)?.left;
        u8::try_from(left / 1000 / EACH - 1).ok()
    }

    fn is_assured(&self, id: ConnectionId) -> Option<bool> {
        let Description { state, known, .. } = self.connections.describe(id, NOW)?;
        // DIFFERS: of GRE what was answered and goes on is assured, of other protocols nothing. Of UDP
        // it depends on time, which stands still here.
        state.is_some().then_some(known.assured)
    }
}

/// What a packet says to connections, or all of its fragments together.
fn read(pieces: &[Vec<u8>]) -> Option<Message> {
    let packet = pieces.iter().find(|piece| is_first(piece))?;
    let ethertype = if packet[0] >> 4 == 4 { ethernet::IPV4 } else { ethernet::IPV6 };
    let mut frame = vec![0; ethernet::LEN];
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    frame.extend(packet);
    let mut key = Key::ZERO;
    let headers = parse(&frame, frame.len(), &mut key).unwrap();
    if pieces.len() == 1 {
        return Message::read(&key, headers, &frame, frame.len(), 0).ok();
    }
    let ends = pieces.iter().map(|piece| {
        let mut frame = frame[..ethernet::LEN].to_vec();
        frame.extend(piece);
        let headers = parse(&frame, frame.len(), &mut Key::ZERO.clone()).unwrap();
        Part::read(headers, &frame).unwrap()
    });
    let len = ends.map(|part| part.bytes.end).max()?;
    let start = Part::read(headers, &frame)?.at;
    Message::read_fragmented(&key, headers, &frame, (start, len as usize), 0).ok()
}
