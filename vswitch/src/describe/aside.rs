//! What programs say apart, in words: how a packet is shown or sampled, and what it goes on behind.

use api::reply::Behind;
use api::{Action, MeterId, NoNames};
use flowtable::{Aside, AsideId, BridgeId, Decision, Frozen, MeterSlot, Op, Show, Tables};

use super::Vocabulary;

/// An operation that says something apart.
pub(super) fn op(op: Op, AsideId(number): AsideId, words: &Vocabulary<'_>) -> String {
    match (op, (words.aside)(AsideId(number))) {
        (Op::Show(_), Some(Aside::Show(show))) => format!("show({})", shown(show)),
        (Op::Sample(_), Some(Aside::Sample(of))) => {
            Action::Sample(of.sample).print(&NoNames).to_string()
        }
        (Op::Resume(_), Some(Aside::Frozen(frozen))) => {
            let asked = decision(&frozen.decision, words.tables);
            format!("resume({number}: {asked})")
        }
        (Op::Show(_), _) => format!("show({number})"),
        (Op::Sample(_), _) => format!("sample({number})"),
        _ => format!("resume({number})"),
    }
}

/// To whom and why a packet is shown: what `controller(...)` says, and always the reason.
pub fn shown(show: &Show) -> String {
    let api::Controller { reason, max_len, id, userdata, .. } = &show.controller;
    let mut text = format!("reason={}", reason.name());
    if *max_len != u16::MAX {
        text.push_str(&format!(",max_len={max_len}"));
    }
    if *id != 0 {
        text.push_str(&format!(",id={id}"));
    }
    if !userdata.is_empty() {
        text.push_str(&format!(",userdata={}", api::HexBytes(userdata.clone())));
    }
    text
}

/// A decision that is to be taken.
fn decision(decision: &Decision, tables: &Tables) -> String {
    match decision {
        Decision::Meter(slot) => meter(*slot, tables),
        Decision::Larger { len, .. } => format!("longer than {len} bytes"),
        Decision::Select(selector) => format!("select group {}", selector.group()),
        Decision::Pause(show) => format!("pause, {}", shown(show)),
        Decision::Connect(connect) => format!("ct, zone {}", connect.zone),
        Decision::Nothing => "packet-out".to_owned(),
    }
}

/// The end of a pass whose decision has come to `outcome`; `number` is that of its frozen state.
pub fn behind(frozen: &Frozen, number: u32, outcome: u16, tables: &Tables) -> Behind {
    let asked = decision(&frozen.decision, tables);
    let decision = match &frozen.decision {
        Decision::Meter(_) if outcome > 0 => {
            format!("{asked}, passed with a drop precedence {outcome} higher")
        }
        Decision::Meter(_) => format!("{asked}, passed"),
        Decision::Larger { .. } if outcome > 0 => asked,
        Decision::Larger { .. } => format!("not {asked}"),
        Decision::Select(selector) => {
            let group = (frozen.bridge, selector.group());
            format!("{asked}, bucket {}", bucket_id(group, outcome, tables))
        }
        Decision::Pause(_) => format!("{asked}, resumed"),
        Decision::Connect(_) | Decision::Nothing => asked,
    };
    Behind { resume: number, decision }
}

/// The number of the bucket that stands at a place of a group; the place if there is none any more.
fn bucket_id((bridge, group): (BridgeId, u32), at: u16, tables: &Tables) -> u32 {
    let group = tables.bridge(bridge).and_then(|bridge| bridge.groups.get(group));
    let bucket = group.and_then(|entry| entry.group.buckets.get(usize::from(at)));
    bucket.map_or_else(|| at.into(), |bucket| bucket.id)
}

fn meter(slot: MeterSlot, tables: &Tables) -> String {
    match tables.meter(slot).map(|meter| meter.meter().id) {
        Some(MeterId::Number(number)) => format!("meter {number}"),
        Some(other) => format!("meter {other}"),
        None => "a meter that is gone".to_owned(),
    }
}
