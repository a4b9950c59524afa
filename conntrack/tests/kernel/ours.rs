//! Our judgement: the connections of one case.

use std::fmt;

use conntrack::{
    ConnectionId, Connections, Description, Direction, Judgement, Message, NotMade, Notes, Settings,
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

/// Time stands still.
const NOW: Millis = Millis(1);
/// Connections that the packets of a case make at most.
const ROOM: u32 = 64;

impl Ours {
    /// No packet has come yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { connections: Connections::new(ROOM, 0, Seed(7)).with_settings(settings) }
    }

    /// What becomes of a packet, and whether its connection is assured, if that is to be compared.
    pub(crate) fn judge(&mut self, pieces: &[Vec<u8>]) -> (Verdict, Option<bool>) {
        let Some(message) = read(pieces) else { return (Verdict::Invalid, None) };
        let Judgement { verdict, direction, connection } = self.connections.judge(&message, NOW);
        let verdict = match (verdict, direction) {
            (conntrack::Verdict::Invalid, _) => return (Verdict::Invalid, None),
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
        (verdict, connection.and_then(|id| self.is_assured(id)))
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
