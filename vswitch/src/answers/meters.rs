//! Meters, and what they have counted.

use api::reply::{BandStats, Cursor, MeterStats, Meters, MetersFeatures};
use api::{Action, Failure, Meter, MeterId, request};

use super::groups::users;
use super::{PAGE, bad_cursor};
use crate::control::Control;

impl Control {
    /// Meters with their counters. Cost: a look at every flow of the bridge.
    pub(crate) fn dump_meters(&self, dump: &request::MeterDump) -> Result<Meters, Failure> {
        let id = self.bridge(dump.bridge.as_deref())?;
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        if let Some(meter) = dump.meter
            && bridge.meters.get(meter).is_none()
        {
            return Err(Failure::refused(format!(
                "bridge {} has no meter {meter}; `ofctl dump-meters` lists them",
                bridge.name
            )));
        }
        let after = dump.after.as_ref().map(|cursor| cursor.0.parse::<MeterId>());
        let after = after.transpose().map_err(|_wrong| bad_cursor())?;
        let mut wanted = bridge
            .meters
            .iter()
            .map(|entry| &entry.meter)
            .filter(|meter| dump.meter.is_none_or(|only| only == meter.meter().id))
            .filter(|meter| after.is_none_or(|after| meter.meter().id > after))
            .peekable();
        let users = users(bridge, meter_of);
        let now = self.clock.now();
        let stats = |meter: &flowtable::Meter| {
            let (came, age) = (meter.came(), now.saturating_sub(meter.since()));
            let flows = match meter.meter().id {
                MeterId::Number(number) => users.get(&number).copied().unwrap_or(0),
                MeterId::Controller | MeterId::Slowpath => 0,
            };
            let band = |of: flowtable::Volume| BandStats { packets: of.packets, bytes: of.bytes };
            MeterStats {
                meter: meter.meter().clone(),
                flows,
                packets: came.packets,
                bytes: came.bytes,
                duration_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                bands: meter.exceeded().map(band).collect(),
            }
        };
        let meters: Vec<_> = wanted.by_ref().take(PAGE).map(|meter| stats(meter)).collect();
        let next = meters.last().filter(|_| wanted.peek().is_some());
        let next = next.map(|last| Cursor(last.meter.id.to_string()));
        Ok(Meters { meters, next })
    }
}

/// What meters can be.
pub(crate) fn meter_features() -> MetersFeatures {
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
    MetersFeatures {
        max_meters: flowtable::Meters::MOST as u64,
        max_bands: Meter::BANDS as u64,
        band_types: words(&["drop", "dscp_remark"]),
        capabilities: words(&["kbps", "pktps", "burst", "stats"]),
    }
}

fn meter_of(action: &Action) -> Option<u32> {
    match action {
        Action::Meter(number) => Some(*number),
        Action::Controller(controller) => controller.meter,
        _ => None,
    }
}
