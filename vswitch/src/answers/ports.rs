//! Bridges and ports, what they can do and have counted; and the packets of dummy ports.

use api::reply::{
    Bridge, Bridges, Capability, Done, Dropped, Port, PortState, PortStats, Ports, Queue, Taken,
};
use api::{Failure, HexBytes, request};

use crate::account::{Account, Counter};
use crate::control::Control;
use crate::ports::Entry;

impl Control {
    pub(crate) fn show(&self, bridge: Option<&str>) -> Result<Bridges, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let bridges = self.tables.bridges().filter(|(id, _)| only.is_none_or(|only| only == *id));
        let bridges = bridges.map(|(id, bridge)| {
            let mut ports: Vec<_> = self.ports.of(id).map(show_port).collect();
            ports.sort_by_key(|port| port.number);
            Bridge { name: bridge.name.to_string(), ports }
        });
        Ok(Bridges { bridges: bridges.collect() })
    }

    pub(crate) fn port_stats(&self, stats: &request::PortStats) -> Result<Ports, Failure> {
        let ports = match (&stats.port, &stats.bridge) {
            (Some(port), bridge) => vec![self.port(self.bridge(bridge.as_deref())?, port)?],
            (None, Some(bridge)) => self.ports.of(self.bridge(Some(bridge))?).collect(),
            (None, None) => self.ports.iter().collect(),
        };
        let mut ports: Vec<_> = ports.into_iter().map(|entry| self.stats_of(entry)).collect();
        ports.sort_by(|a, b| (&a.bridge, a.number).cmp(&(&b.bridge, b.number)));
        Ok(Ports { ports })
    }

    fn stats_of(&self, entry: &Entry) -> PortStats {
        let sum = |counter: fn(&Account) -> &Counter| {
            entry.accounts.iter().map(|account| counter(account).get()).sum::<u64>()
        };
        let lost = entry.lost();
        let mut drops: Vec<Dropped> = Vec::new();
        for (reason, packets) in entry.accounts.iter().flat_map(|account| account.drops()) {
            match drops.iter_mut().find(|dropped| dropped.reason == reason) {
                Some(dropped) => dropped.packets += packets,
                None => drops.push(Dropped { reason, packets }),
            }
        }
        drops.sort_by_key(|dropped| dropped.reason);
        PortStats {
            bridge: self.bridge_name(entry.bridge),
            number: entry.number,
            name: entry.name.to_string(),
            rx_packets: sum(|account| &account.rx),
            rx_bytes: sum(|account| &account.rx_bytes),
            rx_errors: lost.rx_ring_full + lost.rx_dropped + lost.rx_invalid + lost.rx_no_frames,
            tx_packets: sum(|account| &account.out),
            tx_bytes: sum(|account| &account.out_bytes),
            tx_errors: lost.tx_invalid,
            drops,
        }
    }

    pub(crate) fn dummy_receive(&self, receive: request::DummyReceive) -> Result<Done, Failure> {
        /// Packets that may wait for a worker to receive them.
        const WAITING: usize = 4096;
        let handle = self.dummy(receive.bridge.as_deref(), &receive.port)?;
        if handle.waiting() + receive.packets.len() > WAITING {
            let what = format!("{WAITING} packets may wait at a dummy port, and no more");
            return Err(Failure::refused(what));
        }
        receive.packets.iter().for_each(|packet| handle.inject(packet.0.as_slice()));
        Ok(Done {})
    }

    pub(crate) fn dummy_take(&self, take: &request::DummyTake) -> Result<Taken, Failure> {
        let sent = self.dummy(take.bridge.as_deref(), &take.port)?.take_sent();
        Ok(Taken { packets: sent.into_iter().map(|packet| HexBytes(packet.bytes)).collect() })
    }

    fn dummy(&self, bridge: Option<&str>, port: &str) -> Result<&hw::DummyHandle, Failure> {
        let entry = self.port(self.bridge(bridge)?, &request::PortRef::Name(port.to_owned()))?;
        entry.dummy.as_ref().ok_or_else(|| Failure::refused(format!("{port} is no dummy port")))
    }
}

/// A port as it is.
pub(crate) fn show_port(entry: &Entry) -> Port {
    let opened = entry.port.as_ref().ok();
    let reason = entry.why_down();
    let capabilities = opened.map(|port| port.capabilities());
    let queues = opened.map_or_else(Vec::new, |port| port.queues());
    let queues = queues.into_iter().map(|status| Queue {
        queue: status.queue,
        worker: entry
            .queues
            .iter()
            .find(|queue| queue.number == status.queue)
            .and_then(|queue| u32::try_from(queue.worker).ok()),
        mode: status.mode.to_owned(),
        reason: Some(status.reason).filter(|reason| !reason.is_empty()),
    });
    Port {
        number: entry.number,
        name: entry.name.to_string(),
        kind: entry.kind.clone(),
        vlan: entry.vlan.clone(),
        flags: entry.flags,
        state: if reason.is_none() { PortState::Up } else { PortState::Down },
        reason,
        mtu: capabilities.as_ref().map_or(0, |can| {
            u32::try_from(can.max_frame.saturating_sub(packet::ethernet::LEN)).unwrap_or(u32::MAX)
        }),
        mac: opened.and_then(|port| port.mac()),
        queues: queues.collect(),
        capabilities: capabilities.map_or_else(Vec::new, |can| capabilities_of(&can)),
    }
}

fn capabilities_of(can: &hw::Capabilities) -> Vec<Capability> {
    let one = |name: &str, capability: &hw::Capability| Capability {
        name: name.to_owned(),
        available: capability.is_yes(),
        reason: match capability {
            hw::Capability::Yes => None,
            hw::Capability::No(reason) => Some(reason.clone()),
        },
    };
    vec![
        one("checksum", &can.checksum),
        one("segmentation", &can.segmentation),
        one("chains", &can.chains),
        one("zero_copy", &can.zero_copy),
    ]
}
