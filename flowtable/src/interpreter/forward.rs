//! Where packets are sent, port by port.

use api::{DropReason, OutPort};
use packet::{Key, MacAddr, vlan};

use super::{Interpreter, Run};
use crate::mac::Station;
use crate::ports::{PortView, Ports, VlanMode};

impl Interpreter {
    pub(super) fn output(&mut self, run: &mut Run, to: OutPort) -> Result<(), DropReason> {
        let in_port = run.packet.in_port;
        let number = match to {
            OutPort::Normal => return self.normal(run),
            OutPort::Flood | OutPort::All => {
                let wanted = |port: &&PortView| {
                    port.number != in_port && (to == OutPort::All || !port.flags.no_flood)
                };
                let ports: Vec<_> =
                    self.ports.iter().map(AsRef::as_ref).filter(wanted).map(|p| p.number).collect();
                if ports.is_empty() {
                    run.reason = DropReason::NormalNowhere;
                }
                ports.into_iter().for_each(|number| self.send(run, number));
                return Ok(());
            }
            OutPort::InPort => in_port,
            OutPort::Local => Ports::LOCAL,
            OutPort::Port(number) => number,
        };
        if number == in_port && to != OutPort::InPort {
            run.reason = DropReason::OutputToIngress;
        } else if self.ports.get(number).is_none() {
            run.reason = DropReason::NoSuchPort;
        } else {
            self.send(run, number);
        }
        Ok(())
    }

    fn send(&self, run: &mut Run, number: u16) {
        if self.ports.get(number).is_some_and(|port| !port.flags.forwards()) {
            run.reason = DropReason::NoForward;
        } else {
            run.send(number);
        }
    }

    fn normal(&mut self, run: &mut Run) -> Result<(), DropReason> {
        let Some(port) = self.ports.get(run.packet.in_port).cloned() else {
            run.reason = DropReason::NoSuchPort;
            return Ok(());
        };
        let key = run.packet.key();
        let mac = |span| MacAddr::from_u64(key.word(span));
        let (dst, src) = (mac(Key::ETH_DST), mac(Key::ETH_SRC));
        if dst.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && dst.0[5] < 0x10 {
            run.reason = DropReason::NormalReserved;
            return Ok(());
        }
        let tci = u16::try_from(key.word(Key::VLAN_TCI)).unwrap_or(0);
        let vid = tci & vlan::VID;
        let vlan = match port.vlan {
            VlanMode::Access(own) if vid == VlanMode::NONE => own,
            VlanMode::Trunk(_) if port.vlan.carries(vid) => vid,
            _ => {
                run.reason = DropReason::NormalVlan;
                return Ok(());
            }
        };
        if !src.is_multicast() {
            self.stations.insert(Station { vlan, mac: src }, port.number);
        }
        let known = self.stations.get(&Station { vlan, mac: dst }).filter(|_| !dst.is_multicast());
        let known = known.and_then(|number| self.ports.get(*number)).cloned();
        let to = match known {
            Some(to) if to.number == port.number => {
                run.reason = DropReason::NormalSamePort;
                return Ok(());
            }
            Some(to) if !to.vlan.carries(vlan) => {
                run.reason = DropReason::NormalVlan;
                return Ok(());
            }
            Some(to) => vec![to],
            None => {
                let member = |to: &&std::sync::Arc<PortView>| {
                    to.number != port.number && !to.flags.no_flood && to.vlan.carries(vlan)
                };
                self.ports.iter().filter(member).cloned().collect()
            }
        };
        if to.is_empty() {
            run.reason = DropReason::NormalNowhere;
        }
        for to in to {
            let before = run.packet.clone();
            let wants_tag = matches!(to.vlan, VlanMode::Trunk(_)) && vlan != VlanMode::NONE;
            if !wants_tag && tci & vlan::PRESENT != 0 {
                run.packet.pop_vlan()?;
            } else if wants_tag {
                run.packet.set_tag(vlan.into(), vlan::VID.into())?;
            }
            self.send(run, to.number);
            run.packet = before;
        }
        Ok(())
    }
}

impl Run {
    pub(super) fn send(&mut self, number: u16) {
        self.sent.push((number, self.packet.bytes.clone()));
    }
}
