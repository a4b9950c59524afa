//! The action `normal`: what an ordinary switch would do (IEEE 802.1Q §8).

use api::DropReason;
use packet::{Key, MacAddr, vlan};

use crate::mac::Station;
use crate::ports::{PortView, VlanMode};
use crate::translate::{Note, Record, Stop};
use crate::walk::Walk;

/// The groups that no bridge forwards: 01:80:c2:00:00:00 to :0f (IEEE 802.1Q §8.6.3).
const RESERVED: u64 = 0x0180_c200_0000;

impl<'a, R: Record> Walk<'a, R> {
    /// Learns, then forwards or floods within the packet's VLAN.
    pub(crate) fn normal(&mut self, in_port: u16) -> Result<(), Stop> {
        let Some(port) = self.bridge.ports.get(in_port) else {
            self.dropped(DropReason::NoSuchPort);
            return Ok(());
        };
        let dst = MacAddr::from_u64(self.address(Key::ETH_DST));
        if dst.to_u64() & !0x0f == RESERVED {
            self.dropped(DropReason::NormalReserved);
            return Ok(());
        }
        let Some(vlan) = self.vlan_of(port) else {
            self.dropped(DropReason::NormalVlan);
            return Ok(());
        };
        self.record.note(Note::Vlan(vlan));
        let src = MacAddr::from_u64(self.address(Key::ETH_SRC));
        if !src.is_multicast() {
            self.learn(Station { vlan, mac: src }, port);
        }
        let known = if dst.is_multicast() { None } else { self.find(Station { vlan, mac: dst }) };
        match known {
            Some(to) if to.number == in_port => self.dropped(DropReason::NormalSamePort),
            Some(to) => {
                self.record.note(Note::Known(to));
                self.forward(to, vlan)?;
            }
            None => {
                self.record.note(Note::Flooded);
                self.flood(in_port, vlan)?;
            }
        }
        Ok(())
    }

    fn address(&mut self, span: packet::Span) -> u64 {
        u64::try_from(self.draft.look(span)).unwrap_or(0)
    }

    /// The VLAN a packet from `port` is in; `None` if the port does not take part in it.
    fn vlan_of(&mut self, port: &PortView) -> Option<u16> {
        let vid = if self.draft.has_tag() {
            self.draft.look16(Key::VLAN_TCI.slice(0, 12))
        } else {
            VlanMode::NONE
        };
        match port.vlan {
            // A tag without a VLAN only carries a priority.
            VlanMode::Access(own) => (vid == VlanMode::NONE).then_some(own),
            VlanMode::Trunk(_) => port.vlan.carries(vid).then_some(vid),
        }
    }

    fn flood(&mut self, in_port: u16, vlan: u16) -> Result<(), Stop> {
        let members = self.bridge.ports.iter().filter(|port| {
            port.number != in_port && !port.flags.no_flood && port.vlan.carries(vlan)
        });
        let mut nowhere = true;
        for port in members {
            nowhere = false;
            self.forward(port, vlan)?;
        }
        if nowhere {
            self.dropped(DropReason::NormalNowhere);
        }
        Ok(())
    }

    /// Sends to `port` with or without a tag, as the port wants it.
    fn forward(&mut self, port: &'a PortView, vlan: u16) -> Result<(), Stop> {
        if !port.vlan.carries(vlan) {
            self.dropped(DropReason::NormalVlan);
            return Ok(());
        }
        let wants_tag = matches!(port.vlan, VlanMode::Trunk(_)) && vlan != VlanMode::NONE;
        let tagged = self.draft.has_tag();
        let right = wants_tag == tagged
            && (!tagged || self.draft.look16(Key::VLAN_TCI.slice(0, 12)) == vlan);
        if right {
            return self.send(port);
        }
        // The packet itself goes on as it is: to other ports, to later actions.
        let fork = self.draft.fork()?;
        let outcome = self.retag(wants_tag.then_some(vlan)).and_then(|()| self.send(port));
        self.draft.join(fork)?;
        outcome
    }

    fn retag(&mut self, vid: Option<u16>) -> Result<(), Stop> {
        match vid {
            None => self.pop_vlan(),
            Some(vid) => self.mod_vlan(Key::VLAN_TCI.slice(0, 13), (vid | vlan::PRESENT).into()),
        }
    }
}
