//! What one switch leaves to the next is all there is.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::sync::Arc;
use std::time::Duration;

use api::testing::{any_flow_mod, any_group_mod, any_meter_mod, any_pipeline_flow_mod};
use api::{FlowMod, GroupMod, MeterId, MeterMod};
use flowtable::state::{State, StateError};
use flowtable::{
    BridgeId, Cache, Edit, Limits, Overflow, PortView, Refused, Station, TableLimit, Tables,
    Translation, VlanMode, paths,
};
use packet::{Key, MacAddr, Millis, PortId, Seed};
use proptest::collection::vec;
use proptest::prelude::*;
use testnet::packets::any_key;

const BRIDGES: [BridgeId; 2] = [BridgeId(0), BridgeId(1)];

fn port(number: u16, bridge: BridgeId) -> PortView {
    let vlan = match number {
        1 => VlanMode::Access(7),
        2 => VlanMode::Trunk(vec![7, 8]),
        _ => VlanMode::Trunk(Vec::new()),
    };
    let id = PortId(u16::from(bridge.0) * 10 + number);
    PortView {
        id,
        number,
        bridge,
        name: format!("p{id}").into(),
        vlan,
        flags: api::PortFlags { no_flood: number == 3, down: number == 2, ..Default::default() },
        is_up: number != 4,
    }
}

/// A change of anything that tables hold.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
enum Change {
    Flow(FlowMod),
    Group(GroupMod),
    Meter(MeterMod),
    Limit(u8, Option<TableLimit>),
    /// By port 1, of its bridge.
    Learn(u64),
}

fn any_limit() -> impl Strategy<Value = Option<TableLimit>> {
    let overflow = prop_oneof![Just(Overflow::Evict), Just(Overflow::Refuse)];
    let limit = (0..5usize, overflow).prop_map(|(flows, overflow)| TableLimit { flows, overflow });
    prop::option::weighted(0.8, limit)
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => any_flow_mod().prop_map(Change::Flow),
        6 => any_pipeline_flow_mod().prop_map(Change::Flow),
        4 => any_group_mod().prop_map(Change::Group),
        3 => any_meter_mod().prop_map(Change::Meter),
        1 => (0..4u8, any_limit()).prop_map(|(table, limit)| Change::Limit(table, limit)),
        1 => (0..9u64).prop_map(Change::Learn),
    ]
}

fn make(edit: &mut Edit, bridge: BridgeId, change: &Change, now: u64) -> Result<(), Refused> {
    match change {
        Change::Flow(change) => edit.flow_mod(bridge, change, Millis(now * 1000)),
        Change::Group(change) => edit.group_mod(bridge, change, Millis(now * 1000)),
        Change::Meter(change) => {
            edit.meter_mod(bridge, change, Duration::from_nanos(now * 1_000_000_007))
        }
        Change::Limit(table, limit) => edit.limit_table(bridge, *table, *limit),
        Change::Learn(mac) => {
            let station = Station { vlan: 5, mac: MacAddr::from_u64(*mac) };
            let macs = &edit.tables().bridge(bridge).unwrap().macs;
            macs.learn(station, port(1, bridge).id, Millis(now * 1000));
            Ok(())
        }
    }
}

/// Tables after these changes of flows, made one a second, every flow having counted something.
fn tables(changes: &[(usize, FlowMod)]) -> Tables {
    let changes = changes.iter().map(|(bridge, flow)| (*bridge, Change::Flow(flow.clone())));
    tables_of(&changes.collect::<Vec<_>>())
}

/// The same after changes of anything.
fn tables_of(changes: &[(usize, Change)]) -> Tables {
    let mut edit = Tables::new(Seed(99)).with_table_limit(500).edit();
    for bridge in ["br0", "br1"] {
        edit.add_bridge(bridge.into()).unwrap();
    }
    for (bridge, number) in BRIDGES.into_iter().flat_map(|id| (1..=4).map(move |n| (id, n))) {
        edit.set_port(port(number, bridge)).unwrap();
    }
    let mut tables = edit.finish().0;
    for (now, (bridge, change)) in (1..).zip(changes) {
        let mut edit = tables.edit();
        // Some are refused, and change nothing.
        if make(&mut edit, BRIDGES[*bridge], change, now).is_ok() {
            tables = edit.finish().0;
        }
    }
    for (n, bridge) in tables.bridges() {
        for (packets, rule) in (1..).zip(bridge.rules()) {
            rule.stats.credit(packets, 60 * packets, Millis(packets));
        }
        for (packets, entry) in (1..).zip(bridge.groups.iter()) {
            entry.stats.group.credit(packets, 70 * packets, Millis(packets));
            let buckets = (0..packets).zip(&entry.stats.buckets);
            buckets.for_each(|(packets, stats)| stats.credit(packets, packets, Millis(packets)));
        }
        for entry in bridge.meters.iter() {
            let later = Duration::from_hours(1);
            for packets in 0..9 {
                entry.meter.admit(packets, 1500 * packets, later);
            }
        }
        bridge.missed(3).credit(5, 300, Millis(9));
        let station = |last| Station { vlan: 7, mac: MacAddr([2, 0, 0, 0, last, n.0]) };
        bridge.macs.learn(station(0), port(1, n).id, Millis(77));
        bridge.macs.add(station(1), port(2, n).id).unwrap();
    }
    tables
}

fn translated(tables: &Tables, key: &Key) -> Translation {
    let mut translation = Translation::new();
    let key = key.with(Key::IN_PORT, 1u8).with(Key::INGRESS, 1u8);
    translation.translate(tables, &port(1, BRIDGES[0]), &key, &mut ());
    translation
}

proptest! {
    #[test]
    fn export_and_import_are_the_identity(
        changes in vec((0..2usize, any_change()), 0..60),
        keys in vec(any_key(), 8),
    ) {
        let tables = tables_of(&changes);
        let state = State::export(&tables);
        let written = serde_json::to_string(&state).unwrap();
        let read: State = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&read, &state);
        let restored = read.import().unwrap();
        prop_assert_eq!(State::export(&restored), state);
        for key in keys {
            let (before, after) = (translated(&tables, &key), translated(&restored, &key));
            prop_assert_eq!(&before.ops, &after.ops);
            prop_assert_eq!(&before.looked, &after.looked);
            prop_assert_eq!(&before.path, &after.path);
            prop_assert_eq!(before.asides.len(), after.asides.len());
        }
        // And it goes on as if nothing had been.
        let flow = "idle_timeout=7,priority=1,actions=drop".parse().unwrap();
        let group = "group_id=1,type=all,bucket=actions=output:1".parse().unwrap();
        let meter = "meter=1,pktps,bands=type=drop,rate=5".parse().unwrap();
        let delete = MeterMod::Delete(Some(MeterId::Number(2)));
        let mut edits = [tables.edit(), restored.edit()];
        for change in [
            Change::Flow(flow),
            Change::Group(GroupMod::AddOrModify(group)),
            Change::Meter(MeterMod::Add(meter)),
            Change::Meter(delete),
        ] {
            let results = edits.each_mut().map(|edit| make(edit, BRIDGES[0], &change, 99));
            prop_assert_eq!(&results[0], &results[1]);
        }
        let [one, other] = edits.map(|edit| State::export(&edit.finish().0));
        prop_assert_eq!(one, other);
    }
}

#[test]
fn flows_with_ranges_of_ports_are_read_back() {
    let flow = "tcp,tp_dst=80-95,actions=output:1".parse().unwrap();
    let state = State::export(&tables(&[(0, flow)]));
    let restored = State::export(&state.import().unwrap());
    assert_eq!(restored, state);
    assert!(state.bridges[0].flows[0].flow.to_string().contains("tp_dst=80-95"), "{state:?}");
}

/// Nobody has put them among the others yet.
#[test]
fn flows_that_packets_have_taught_are_there() {
    let learn = "table=1,idle_timeout=5,in_port=1,eth_type=0x800,ip_src,load:2->reg0";
    let flows = [
        format!("table=0,ip,actions=learn({learn}),output:2"),
        "table=1,priority=1,actions=drop".to_owned(),
    ];
    let flows = flows.map(|flow| (0, flow.parse().unwrap()));
    let tables = tables(&flows);
    let (paths, _reader) = paths(64, Seed(1));
    let limits = Limits { megaflows: 64, ..Limits::default() };
    let mut cache = Cache::new(Arc::new(tables.clone()), paths, limits);
    let key = Key::ZERO
        .with(Key::ETH_TYPE, 0x800u16)
        .with(Key::NW_SRC, 7u32)
        .with(Key::IN_PORT, 1u8)
        .with(Key::INGRESS, 1u8);
    cache.resolve(PortId(1), &key, 1, 60, Millis(4_321));
    let state = State::export(&tables);
    let taught = &state.bridges[0].flows[1];
    assert!(taught.flow.to_string().contains("nw_src=0.0.0.7"), "{taught:?}");
    assert_eq!((taught.created_ms, taught.modified_ms), (4_321, 4_321));
    let restored = state.import().unwrap();
    assert_eq!(State::export(&restored), state);
    // As they are once they have been put there.
    let mut edit = tables.edit();
    let bridge = tables.bridge(BRIDGES[0]).unwrap();
    let pending = bridge.pending.rules().unwrap();
    edit.learn(BRIDGES[0], &pending[0], Millis(4_321)).unwrap();
    bridge.pending.remove(&pending);
    let settled = State::export(&edit.finish().0);
    assert_eq!(settled.bridges, state.bridges);
}

#[test]
fn buckets_of_meters_begin_full() {
    let meter = "meter=1,pktps,burst,bands=type=drop,rate=1,burst_size=3".parse().unwrap();
    let tables = tables_of(&[(0, Change::Meter(MeterMod::Add(meter)))]);
    let restored = State::export(&tables).import().unwrap();
    let meter = &restored.bridge(BRIDGES[0]).unwrap().meters.iter().next().unwrap().meter;
    // An hour later nothing was in it, as `tables_of` has left it.
    let later = Duration::from_hours(1);
    let passed = (0..9).filter(|_| meter.admit(1, 60, later) == flowtable::Metered::Passes);
    assert_eq!(passed.count(), 3);
    assert_eq!(meter.since(), Duration::from_nanos(1_000_000_007));
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let flow = "priority=7,ip,actions=output:1".parse::<FlowMod>().unwrap();
    let group = |id| format!("group_id={id},type=all,bucket=actions=output:1").parse().unwrap();
    let meter = "meter=1,pktps,bands=type=drop,rate=5".parse().unwrap();
    let state = State::export(&tables_of(&[
        (0, Change::Flow(flow)),
        (0, Change::Group(GroupMod::Add(group(1)))),
        (0, Change::Group(GroupMod::Add(group(2)))),
        (0, Change::Meter(MeterMod::Add(meter))),
    ]));
    assert!(state.import().is_ok());
    let broken = |change: fn(&mut State)| {
        let mut state = state.clone();
        change(&mut state);
        state.import().unwrap_err()
    };
    for version in [1, 9] {
        let mut state = state.clone();
        state.version = version;
        let error = state.import().unwrap_err();
        assert_eq!(error, StateError::Version { found: version });
        assert!(error.to_string().contains(&format!("version {version}")), "{error}");
    }
    for change in [
        (|state: &mut State| state.bridges[1].id = 0) as fn(&mut State),
        |state| state.bridges[1].id = 200,
        |state| state.bridges[0].flows[0].id = state.next_rule,
        |state| state.bridges[0].flows[0].flow.actions = None,
        |state| state.bridges[0].flows[0].flow = "actions=group:9".parse().unwrap(),
        |state| state.bridges[0].flows[0].flow = "actions=meter:9,output:1".parse().unwrap(),
        |state| state.bridges[0].groups[1].group.id = 1,
        |state| state.bridges[0].groups[1].serial = state.bridges[0].groups[0].serial,
        |state| state.bridges[0].groups[1].serial = state.next_group,
        |state| state.bridges[0].groups[1].buckets.clear(),
        |state| {
            let bucket = "group_id=1,type=all,bucket=actions=group:1".parse().unwrap();
            state.bridges[0].groups[0].group = bucket;
        },
        |state| state.bridges[0].meters[0].exceeded.clear(),
        |state| {
            let twice = state.bridges[0].meters[0].clone();
            state.bridges[0].meters.push(twice);
        },
        |state| state.bridges[0].stations[0].slot ^= 1 << 11,
        |state| state.bridges[0].stations[0].vlan = 4096 + 7,
        |state| state.bridges[0].stations[1].is_static = false,
        |state| state.table_limit = 0,
    ] {
        assert!(matches!(broken(change), StateError::Wrong { .. }));
    }
}

/// The actions of the only flow, after a flow was added and all were modified.
fn modified(flow: &str, actions: &str) -> Result<String, Refused> {
    let tables = tables(&[(0, format!("table=0,{flow},actions=drop").parse().unwrap())]);
    let change = format!("modify table=0,actions={actions}");
    let mut edit = tables.edit();
    edit.flow_mod(BRIDGES[0], &change.parse().unwrap(), Millis(1))?;
    let state = State::export(&edit.finish().0);
    state.import().unwrap();
    Ok(state.bridges[0].flows[0].flow.to_string())
}

#[test]
fn a_modified_flow_was_not_read_back_as_the_same() {
    let text = modified("dl_vlan=7", "mod_vlan_vid:9").unwrap();
    assert!(text.ends_with("actions=set_field:4105->vlan_vid"), "{text}");
}

#[test]
fn a_modified_flow_could_not_be_read_back() {
    let refused = modified("dl_vlan=7", "push_vlan:0x8100,push_vlan:0x8100").unwrap_err();
    assert!(refused.to_string().contains("third tag"), "{refused}");
}

/// The group of this kind, once such a bucket was inserted.
fn with_bucket(kind: &str, bucket: &str) -> Result<String, String> {
    let group = format!("group_id=1,type={kind},bucket=watch_port=1,actions=output:1");
    let group = group.replace("watch_port=1,", if kind == "all" { "" } else { "watch_port=1," });
    let insert = format!("insert_bucket group_id=1,command_bucket_id=last,bucket={bucket}");
    let insert = Change::Group(insert.parse().unwrap());
    let tables = tables_of(&[(0, Change::Group(group.parse().unwrap()))]);
    let mut edit = tables.edit();
    make(&mut edit, BRIDGES[0], &insert, 1).map_err(|why| why.to_string())?;
    let state = State::export(&edit.finish().0);
    let read: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    assert_eq!(read, state);
    Ok(state.bridges[0].groups[0].group.to_string())
}

#[test]
fn an_inserted_bucket_made_a_group_that_could_not_be_read_back() {
    let refused = with_bucket("all", "bucket_id=7,watch_port=2,actions=output:2").unwrap_err();
    assert!(refused.contains("bucket 7") && refused.contains("select and ff"), "{refused}");
    let refused = with_bucket("ff", "bucket_id=7,actions=output:2").unwrap_err();
    assert!(refused.contains("watch a port or a group"), "{refused}");
    let group = with_bucket("ff", "bucket_id=7,weight=5,watch_port=2,actions=output:2").unwrap();
    assert!(!group.contains("weight"), "it says nothing there: {group}");
    let group = with_bucket("select", "bucket_id=7,weight=5,actions=output:2").unwrap();
    assert!(group.contains("weight:5"), "{group}");
}
