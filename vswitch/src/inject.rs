//! Packets that are given to the switch to be sent, and those that go on after they were shown.

use std::sync::Arc;

use api::PacketOut;
use flowtable::{BridgeId, Frozen, Ports, Tracked};
use packet::{PortId, ethernet};

use crate::account::Account;
use crate::control::Control;
use crate::desk::Order;
use crate::news::Held;

/// The number of a port from which nothing comes.
const CONTROLLER: u16 = 0xfffd;

/// A packet for a worker, as if it had come in and got as far as `frozen`.
#[derive(Debug)]
pub struct Injection {
    /// The port it seems to come from.
    pub ingress: PortId,
    /// What counts it; the worker's own if it comes from no port.
    pub account: Option<Arc<Account>>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What is done with it.
    pub held: Held,
}

/// Bytes of a packet that is given to the switch, at most.
const LONGEST: usize = 65_535;

impl Control {
    /// Whether a packet can be sent.
    pub(crate) fn check(&self, bridge: BridgeId, packet: &PacketOut) -> Result<(), String> {
        let len = packet.packet.len();
        if !(ethernet::LEN..=LONGEST).contains(&len) {
            return Err(format!(
                "a packet has {} to {LONGEST} bytes, this one {len}",
                ethernet::LEN
            ));
        }
        let known = |number| self.ports.of(bridge).any(|entry| entry.number == number);
        match packet.in_port {
            number @ (1..=Ports::MAX | Ports::LOCAL) if !known(number) => {
                let port =
                    if number == Ports::LOCAL { "LOCAL".to_owned() } else { number.to_string() };
                Err(format!("there is no port {port} for it to come from"))
            }
            _ => Ok(()),
        }
    }

    /// Sends a packet on its way.
    pub(crate) fn send_out(&self, bridge: BridgeId, packet: &PacketOut) {
        let PacketOut { in_port, fields, packet, actions } = packet;
        let frozen = Frozen::packet_out(bridge, *in_port, fields, actions);
        let held = Held { frozen: Arc::new(frozen), tracked: Tracked::default() };
        self.inject(bridge, *in_port, packet.clone(), held);
    }

    /// Has a worker carry a packet on: the one that receives what comes in where it seems to come
    /// from, so that it stays behind what has come in there before.
    pub(crate) fn inject(&self, bridge: BridgeId, in_port: u16, bytes: Vec<u8>, held: Held) {
        let entry = self.ports.of(bridge).find(|entry| entry.number == in_port);
        let worker =
            entry.and_then(|entry| entry.queues.first()).map_or(0, |assigned| assigned.worker);
        let account = entry.and_then(|entry| entry.accounts.get(worker)).map(Arc::clone);
        let ingress = entry.map_or(PortId(CONTROLLER), |entry| entry.id);
        let injection = Injection { ingress, account, bytes, held };
        self.crew.order(worker, vec![Order::Inject(Box::new(injection))]);
    }
}
