//! A switch as its file says: first the flows, then the packets.

use api::text::Reading;
use api::{Change, Failure};
use packet::PortId;

use crate::config::{BridgeConfig, Config, ConfigError};
use crate::control::{Control, Plan};
use crate::describe::Names;

/// Why a switch is not as its file says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The file cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The switch cannot do what it says.
    #[error("{place}: {failure}")]
    Refused {
        /// Which part.
        place: String,
        /// Why.
        failure: Failure,
    },
}

/// Makes the bridges of `config`. No packet passes before all flows are in place. A port that
/// cannot be opened is there and tried again later.
pub fn set_up(control: &mut Control, config: &Config) -> Result<(), SetupError> {
    for port in prepare(control, config)? {
        if let Err(reason) = control.open_port(port) {
            control.note_reason(port, reason);
        }
    }
    Ok(())
}

/// Says whether [`set_up`] could make what `config` says, as far as that can be told without
/// touching any interface.
pub fn check(config: &Config) -> Result<(), SetupError> {
    let plan = Plan::without_packets(config.limits.flows);
    let mut control = Control::new(plan).map_err(|error| SetupError::Refused {
        place: "the switch".to_owned(),
        failure: Failure::internal(error.to_string()),
    })?;
    prepare(&mut control, config).map(drop)
}

/// Everything but opening the ports, which it answers with.
fn prepare(control: &mut Control, config: &Config) -> Result<Vec<PortId>, SetupError> {
    config.connections.apply(control.crew.connections());
    config.nat.reserved_ports.apply(control.crew.connections());
    let mut ports = Vec::new();
    for bridge in &config.bridges {
        let refused =
            |failure| SetupError::Refused { place: format!("bridge {}", bridge.name), failure };
        control.add_bridge(&bridge.name).map_err(refused)?;
        for port in &bridge.ports {
            let mut add = port.add.clone();
            add.bridge = Some(bridge.name.clone());
            let place = format!("bridge {}, port {}", bridge.name, add.name);
            let refused = |failure| SetupError::Refused { place: place.clone(), failure };
            let (id, _) = control.register_port(add).map_err(refused)?;
            for (queue, settings) in &port.queues {
                control.set_queue_of(id, *queue, *settings).map_err(refused)?;
            }
            ports.push(id);
        }
        let flows = read_flows(control, bridge)?;
        control.make(Some(&bridge.name), &flows).map_err(refused)?;
        let (ports, flows) = (bridge.ports.len(), flows.len());
        tracing::info!(bridge = bridge.name, ports, flows, "bridge set up");
    }
    Ok(ports)
}

fn read_flows(control: &Control, bridge: &BridgeConfig) -> Result<Vec<Change>, SetupError> {
    let id = control.bridge(Some(&bridge.name));
    let view = id.ok().and_then(|id| control.tables.bridge(id));
    let lines = bridge.flow_lines()?;
    let Some(view) = view else { return Ok(Vec::new()) };
    let names = Names(&view.ports);
    let flows = lines.into_iter().map(|line| {
        Reading::new(&names).change(&line.text).map_err(|error| {
            let error = Box::new(error);
            ConfigError::Flow { place: line.place, flow: line.text, error }.into()
        })
    });
    flows.collect()
}
