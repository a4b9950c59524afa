//! What translation knows of ports: numbers, bridges, VLANs.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::PortFlags;
use packet::PortId;

/// The number of a bridge within the switch.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BridgeId(pub u8);

/// A port as flows see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortView {
    /// The switch-wide number.
    pub id: PortId,
    /// The OpenFlow number within the bridge.
    pub number: u16,
    /// The bridge it belongs to.
    pub bridge: BridgeId,
    /// Its name.
    pub name: Arc<str>,
    /// How `normal` treats its VLANs.
    pub vlan: VlanMode,
    /// How it is used.
    pub flags: PortFlags,
    /// Whether it carries packets, for groups and bundles that watch it.
    pub is_up: bool,
}

/// The VLANs of a port, for `normal` alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VlanMode {
    /// Untagged on the wire, in this VLAN inside.
    Access(u16),
    /// Tagged; untagged packets are in VLAN 0. A member of these VLANs, of all if the list is
    /// empty.
    Trunk(Vec<u16>),
}

impl VlanMode {
    /// The number that stands for "no VLAN": that of packets that come untagged into a trunk.
    pub const NONE: u16 = 0;

    /// Whether packets of VLAN `vid` may pass.
    pub fn carries(&self, vid: u16) -> bool {
        match self {
            Self::Access(own) => *own == vid,
            Self::Trunk(vids) => vids.is_empty() || vids.contains(&vid),
        }
    }
}

/// The ports of one bridge.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ports {
    by_number: BTreeMap<u16, Arc<PortView>>,
}

impl Ports {
    /// The number of the bridge's own interface.
    pub const LOCAL: u16 = 0xfffe;
    /// The highest number of an ordinary port.
    pub const MAX: u16 = 0xfeff;

    /// Adds a port, in place of one with the same number.
    pub fn insert(&mut self, port: PortView) {
        self.by_number.insert(port.number, Arc::new(port));
    }

    /// Removes the port of this number.
    pub fn remove(&mut self, number: u16) -> Option<Arc<PortView>> {
        self.by_number.remove(&number)
    }

    /// The port of this number.
    pub fn get(&self, number: u16) -> Option<&Arc<PortView>> {
        self.by_number.get(&number)
    }

    /// The port of this switch-wide number.
    pub fn by_id(&self, id: PortId) -> Option<&Arc<PortView>> {
        self.iter().find(|port| port.id == id)
    }

    /// All ports, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PortView>> {
        self.by_number.values()
    }
}
