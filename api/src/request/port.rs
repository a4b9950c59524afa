//! Ports: what they are made of and how they are used.

use std::fmt;
use std::path::PathBuf;

use packet::MacAddr;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bytes::as_text_if_any;
use crate::flags::PortFlagChanges;

/// Adds a port to a bridge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortAdd {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port's name, for `afxdp` that of the network interface.
    pub name: String,
    /// Its OpenFlow number, 1 to 65279; a free one is chosen if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
    /// What it is made of.
    #[serde(flatten)]
    pub kind: PortKind,
    /// Its VLANs, for `NORMAL`.
    #[serde(default)]
    pub vlan: PortVlan,
}

/// What a port is made of: `"type": "afxdp", "options": {...}`. An option that nobody knows is
/// refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "TypeAndOptions")]
pub enum PortKind {
    /// A network interface by AF_XDP.
    Afxdp(AfxdpOptions),
    /// A pod's interface.
    Pod(PodOptions),
    /// An interface of the host's own.
    Internal(InternalOptions),
    /// Files of packets.
    Pcap(PcapOptions),
    /// Nothing: what is sent there is gone.
    Null(NullOptions),
    /// A port for tests, driven by `dummy.receive` and `dummy.take`.
    Dummy(DummyOptions),
}

/// Options of [`PortKind::Afxdp`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AfxdpOptions {
    /// How many receive queues; as many as the interface has if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<u32>,
    /// How the XDP program is attached.
    pub mode: AfxdpMode,
    /// What becomes of packets while no switch runs.
    pub when_away: WhenAway,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AfxdpMode {
    /// In the driver, or not at all.
    Native,
    /// In the kernel's own receive path, which is slow and takes every driver.
    Generic,
    /// The best that works.
    #[default]
    Auto,
}

/// What becomes of packets while no switch runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAway {
    /// They are dropped.
    #[default]
    Drop,
    /// The kernel has them.
    Pass,
}

/// Options of [`PortKind::Pod`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PodOptions {}

/// Options of [`PortKind::Internal`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalOptions {
    /// The interface's MTU in bytes, 1500 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its Ethernet address, a random one unless given.
    #[serde(with = "as_text_if_any", skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
}

/// Options of [`PortKind::Pcap`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PcapOptions {
    /// The file whose packets come in; none if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx: Option<PathBuf>,
    /// Whether that file begins again at its end.
    #[serde(rename = "loop")]
    pub repeat: bool,
    /// The file that takes what is sent; nothing is kept if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx: Option<PathBuf>,
    /// The most packets that file takes; what is sent behind them is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Options of [`PortKind::Null`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NullOptions {}

/// Options of [`PortKind::Dummy`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DummyOptions {}

impl PortKind {
    /// The word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Afxdp(_) => "afxdp",
            Self::Pod(_) => "pod",
            Self::Internal(_) => "internal",
            Self::Pcap(_) => "pcap",
            Self::Null(_) => "null",
            Self::Dummy(_) => "dummy",
        }
    }
}

/// A [`PortKind`] as it is written: the type decides what the options are.
#[derive(Deserialize)]
struct TypeAndOptions {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
}

impl TryFrom<TypeAndOptions> for PortKind {
    type Error = String;

    fn try_from(written: TypeAndOptions) -> Result<Self, String> {
        fn read<T: de::DeserializeOwned>(
            options: serde_json::Map<String, serde_json::Value>,
        ) -> Result<T, String> {
            let text = serde_json::Value::from(options).to_string();
            let options = crate::codec::from_json(&text);
            options.map_err(|wrong| wrong.within("options").to_string())
        }
        let options = written.options;
        match written.kind.as_str() {
            "afxdp" => read(options).map(Self::Afxdp),
            "pod" => read(options).map(Self::Pod),
            "internal" => read(options).map(Self::Internal),
            "pcap" => read(options).map(Self::Pcap),
            "null" => read(options).map(Self::Null),
            "dummy" => read(options).map(Self::Dummy),
            other => Err(format!(
                "type: `{other}` is none of afxdp, pod, internal, pcap, null and dummy"
            )),
        }
    }
}

impl Serialize for PortKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = serializer.serialize_struct("PortKind", 2)?;
        written.serialize_field("type", self.name())?;
        match self {
            Self::Afxdp(options) => written.serialize_field("options", options)?,
            Self::Pod(options) => written.serialize_field("options", options)?,
            Self::Internal(options) => written.serialize_field("options", options)?,
            Self::Pcap(options) => written.serialize_field("options", options)?,
            Self::Null(options) => written.serialize_field("options", options)?,
            Self::Dummy(options) => written.serialize_field("options", options)?,
        }
        written.end()
    }
}

/// The VLANs of a port, for `NORMAL`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortVlan {
    /// All of them, tagged.
    #[default]
    All,
    /// One, without tags.
    Access(VlanId),
    /// These, tagged.
    Trunk(Vec<VlanId>),
}

/// The identifier of a VLAN, 1 to 4094.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

impl TryFrom<u16> for VlanId {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        match number {
            1..=4094 => Ok(Self(number)),
            _ => Err(format!("{number} is no VLAN from 1 to 4094")),
        }
    }
}

impl From<VlanId> for u16 {
    fn from(vlan: VlanId) -> Self {
        vlan.0
    }
}

/// Changes how a port is used: what is not named stays as it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortMod {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port.
    pub port: PortRef,
    /// What changes. A flag that nobody knows is refused.
    pub flags: PortFlagChanges,
}

/// Removes a port.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortDel {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port's name.
    pub name: String,
}

/// Asks for the counters of ports.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortStats {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The port; all if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRef>,
}

/// A port of a bridge: a number or a string.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PortRef {
    /// By its OpenFlow number.
    Number(u16),
    /// By its name.
    Name(String),
}

impl<'de> Deserialize<'de> for PortRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrName;

        impl de::Visitor<'_> for NumberOrName {
            type Value = PortRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port's number or its name")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortRef, E> {
                let fits = u16::try_from(number).ok().map(PortRef::Number);
                fits.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<PortRef, E> {
                Ok(PortRef::Name(name.to_owned()))
            }
        }

        // Derived, an error would not say which member of the request it is about.
        deserializer.deserialize_any(NumberOrName)
    }
}
