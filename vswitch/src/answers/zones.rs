//! What zones may have of connections, and how strict the tracking of TCP is.

use std::collections::BTreeSet;

use api::Failure;
use api::reply::{CtLimits, CtPolicies, CtTcp, Done, ZoneCount, ZoneTimeouts};
use api::request::{
    CtLimitDel, CtLimitDump, CtLimitSet, CtTcpSet, CtTimeoutDel, CtTimeoutDump, CtTimeoutSet,
    ZoneLimit,
};
use conntrack::{Settings, Zones};

use crate::control::Control;

impl Control {
    pub(crate) fn set_limits(&self, set: &CtLimitSet) -> Result<Done, Failure> {
        if set == &CtLimitSet::default() {
            return Err(Failure::refused("no limit is named"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = set.zones.iter().find(|one| !seen.insert(one.zone)) {
            return Err(Failure::refused(format!("zone {} is named twice", twice.zone)));
        }
        let zones = self.zones();
        if let Some(limit) = set.default {
            zones.set_default_limit(limit);
        }
        set.zones.iter().for_each(|ZoneLimit { zone, limit }| zones.set_limit(*zone, Some(*limit)));
        Ok(Done {})
    }

    pub(crate) fn remove_limits(&self, del: &CtLimitDel) -> Done {
        let zones = self.zones();
        if del.default {
            zones.set_default_limit(0);
        }
        del.zones.iter().for_each(|zone| zones.set_limit(*zone, None));
        Done {}
    }

    pub(crate) fn dump_limits(&self, dump: &CtLimitDump) -> CtLimits {
        let zones = self.zones();
        let default = zones.default_limit();
        let count = |zone| ZoneCount {
            zone,
            limit: zones.limit(zone).unwrap_or(default),
            count: zones.count(zone),
        };
        let zones = match &*dump.zones {
            [] => zones.limited().map(count).collect(),
            named => named.iter().copied().map(count).collect(),
        };
        CtLimits { default, zones }
    }

    pub(crate) fn set_timeouts(&self, set: &CtTimeoutSet) -> Result<Done, Failure> {
        if set.timeouts.is_empty() {
            return Err(Failure::refused("no timeout is named"));
        }
        match set.zone {
            None => self.zones().set_default_timeouts(&set.timeouts),
            Some(zone) => {
                let refused = |error: conntrack::TooManyPolicies| {
                    Failure::refused(format!(
                        "{error}; remove some, or forget such connections: \
                         `ofctl ct-del-timeouts`, `ofctl ct-flush-zone`"
                    ))
                };
                self.zones().set_timeouts(zone, &set.timeouts).map_err(refused)?;
            }
        }
        Ok(Done {})
    }

    pub(crate) fn remove_timeouts(&self, del: CtTimeoutDel) -> Done {
        match del.zone {
            None => self.zones().reset_default_timeouts(),
            Some(zone) => self.zones().reset_timeouts(zone),
        }
        Done {}
    }

    pub(crate) fn dump_timeouts(&self, dump: CtTimeoutDump) -> CtPolicies {
        let zones = self.zones();
        let own = |zone| Some(ZoneTimeouts { zone, timeouts: zones.timeouts(zone)? });
        let all = match dump.zone {
            None => zones.timed().filter_map(own).collect(),
            Some(zone) => own(zone).into_iter().collect(),
        };
        CtPolicies { default: zones.default_timeouts(), zones: all }
    }

    pub(crate) fn set_tcp(&self, set: CtTcpSet) -> Done {
        let connections = self.crew.connections();
        let Settings { liberal, picks_up } = connections.settings();
        connections.set_settings(Settings {
            liberal: set.seq_chk.map_or(liberal, |seq_chk| !seq_chk),
            picks_up: set.loose.unwrap_or(picks_up),
        });
        Done {}
    }

    pub(crate) fn show_tcp(&self) -> CtTcp {
        let Settings { liberal, picks_up } = self.crew.connections().settings();
        CtTcp { seq_chk: !liberal, loose: picks_up }
    }

    fn zones(&self) -> &Zones {
        self.crew.connections().zones()
    }
}
