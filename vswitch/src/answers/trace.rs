//! What would become of a packet.

use api::reply::Trace;
use api::request::{self, TracePacket};
use api::{Failure, text};

use crate::control::Control;
use crate::describe::Names;
use crate::trace::{self, Assumptions, Subject};

/// Bytes of a packet, at most.
const LONGEST: usize = 65_535;

impl Control {
    pub(crate) fn trace(&self, trace: &request::Trace) -> Result<Trace, Failure> {
        let id = self.bridge(trace.bridge.as_deref())?;
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        let subject = match &trace.packet {
            TracePacket::Flow(flow) => {
                let key = text::packet(flow, &Names(&bridge.ports))
                    .map_err(|error| Failure::member("flow", &error))?;
                Subject::described(key)
            }
            TracePacket::Bytes { packet, in_port } => {
                let number = self.port(id, in_port)?.number;
                if packet.0.len() > LONGEST {
                    let len = packet.0.len();
                    let wrong = format!("a packet has at most {LONGEST} bytes, this one {len}");
                    return Err(Failure::refused(wrong));
                }
                Subject::given(&packet.0, number)
                    .map_err(|runt| Failure::refused(runt.to_string()))?
            }
        };
        let number = subject.in_port();
        let port = bridge.ports.get(number).ok_or_else(|| {
            Failure::refused(format!(
                "a packet comes in by a port of {}: in_port={number} is none",
                bridge.name
            ))
        })?;
        let assumptions = Assumptions {
            metered: trace.metered,
            all_buckets: trace.all_buckets,
            ct_next: trace.ct_next.iter().copied().collect(),
        };
        Ok(trace::trace(&self.tables, port, &subject, assumptions))
    }
}
