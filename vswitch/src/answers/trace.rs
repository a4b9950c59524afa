//! What would become of a packet.

use api::reply::Trace;
use api::request::{self, TracePacket};
use api::{Failure, text};
use packet::{Key, compose, parse};

use crate::control::Control;
use crate::describe::Names;
use crate::trace;

impl Control {
    pub(crate) fn trace(&self, trace: &request::Trace) -> Result<Trace, Failure> {
        let id = self.bridge(trace.bridge.as_deref())?;
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        let (mut key, headers) = match &trace.packet {
            TracePacket::Flow(flow) => {
                let key = text::packet(flow, &Names(&bridge.ports))
                    .map_err(|error| Failure::member("flow", &error))?;
                let bytes = compose(&key, 0);
                let mut parsed = Key::ZERO;
                (key, parse(&bytes, bytes.len(), &mut parsed).ok())
            }
            TracePacket::Bytes { packet, in_port } => {
                let number = self.port(id, in_port)?.number;
                let mut key = Key::ZERO.with(Key::IN_PORT, number);
                let headers = parse(&packet.0, packet.0.len(), &mut key)
                    .map_err(|runt| Failure::refused(runt.to_string()))?;
                (key, Some(headers))
            }
        };
        let number = u16::try_from(key.word(Key::IN_PORT)).unwrap_or(0);
        let port = bridge.ports.get(number).ok_or_else(|| {
            Failure::refused(format!(
                "a packet comes in by a port of {}: in_port={number} is none",
                bridge.name
            ))
        })?;
        key.set(Key::INGRESS, port.id.0);
        Ok(trace::trace(&self.tables, port, &key, headers))
    }
}
