//! Where the packets of a port ask for their connections: the next one mostly asks in the same zones
//! as the one before, so that what it needs can be fetched while others are carried out.

use arrayvec::ArrayVec;

/// So many are remembered of a packet.
const MOST: usize = 4;

/// The zones in which a packet has asked, each once, and the one before it.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    before: ArrayVec<u16, MOST>,
    now: ArrayVec<u16, MOST>,
}

impl Zones {
    /// Another packet comes: answers where the one before it has asked.
    pub(crate) fn begin(&mut self) -> &[u16] {
        if !self.now.is_empty() {
            self.before = self.now.take();
        }
        &self.before
    }

    /// The packet asks for its connection.
    pub(crate) fn ask(&mut self, zone: u16) {
        if !self.now.contains(&zone) {
            // What finds no room is not fetched.
            let _ = self.now.try_push(zone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zones_of_the_packet_before_are_remembered() {
        let mut zones = Zones::default();
        assert!(zones.begin().is_empty());
        [3, 5, 3].into_iter().for_each(|zone| zones.ask(zone));
        assert_eq!(zones.begin(), [3, 5]);
        assert_eq!(zones.begin(), [3, 5], "one that has not asked says nothing");
        (0..9).for_each(|zone| zones.ask(zone));
        assert_eq!(zones.begin(), [0, 1, 2, 3]);
    }
}
