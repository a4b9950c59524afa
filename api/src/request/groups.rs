//! Groups, meters, and what tables do as such.

use serde::{Deserialize, Serialize};

use crate::bytes::as_text_if_any;
use crate::flow::TableId;
use crate::meter::MeterId;
use crate::reply::Cursor;
use crate::table::TableMiss;

/// Asks for groups with their counters, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct GroupDump {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The number of one group; all of them if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
}

/// Asks what groups can be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct GroupFeatures {}

/// Asks for meters with their counters, a page at a time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MeterDump {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// One meter: a number, `controller` or `slowpath`, as text; all of them if none is given.
    #[serde(default, with = "as_text_if_any", skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterId>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
}

/// Asks what meters can be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MeterFeatures {}

/// Says what a table does as such; what is not named stays as it is.
///
/// In a bundle it is the line `table TABLE SETTINGS`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TableChange {
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The table, 0 to 253; all of them if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableId>,
    /// What becomes of packets that no flow matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miss: Option<TableMiss>,
    /// The most flows that it holds, if that is less than what every table holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Whether a flow with a timeout makes room for a new one when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evict: Option<bool>,
}
