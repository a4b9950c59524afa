//! What one switch leaves to the next is all there is.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use api::FlowMod;
use api::testing::any_flow_mod;
use flowtable::state::{State, StateError};
use flowtable::{
    BridgeId, Millis, PortView, Refused, Seed, Station, Tables, Translation, VlanMode,
};
use packet::{Key, MacAddr, PortId};
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
        is_up: true,
    }
}

/// Tables after these changes, made one a second, every flow having counted something.
fn tables(changes: &[(usize, FlowMod)]) -> Tables {
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
        if edit.flow_mod(BRIDGES[*bridge], change, Millis(now * 1000)).is_ok() {
            tables = edit.finish().0;
        }
    }
    for (n, bridge) in tables.bridges() {
        for (packets, rule) in (1..).zip(bridge.rules()) {
            rule.stats.credit(packets, 60 * packets, Millis(packets));
        }
        bridge.missed(3).credit(5, 300, Millis(9));
        let station = Station { vlan: 7, mac: MacAddr([2, 0, 0, 0, 0, n.0]) };
        bridge.macs.learn(station, PortId(u16::from(n.0) * 10 + 1), Millis(77));
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
        changes in vec((0..2usize, any_flow_mod()), 0..40),
        keys in vec(any_key(), 8),
    ) {
        let tables = tables(&changes);
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
        }
        // And it goes on as if nothing had been.
        let add = "priority=1,actions=drop".parse::<FlowMod>().unwrap();
        let mut edits = [tables.edit(), restored.edit()];
        let results = edits.each_mut().map(|edit| edit.flow_mod(BRIDGES[0], &add, Millis(1)));
        prop_assert_eq!(&results[0], &results[1]);
        let [one, other] = edits.map(|edit| State::export(&edit.finish().0));
        prop_assert_eq!(one, other);
    }
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let flow = "priority=7,ip,actions=output:1".parse::<FlowMod>().unwrap();
    let state = State::export(&tables(&[(0, flow)]));
    assert!(state.import().is_ok());
    let broken = |change: fn(&mut State)| {
        let mut state = state.clone();
        change(&mut state);
        state.import().unwrap_err()
    };
    assert_eq!(broken(|state| state.version = 9), StateError::Version { found: 9 });
    for change in [
        (|state: &mut State| state.bridges[1].id = 0) as fn(&mut State),
        |state| state.bridges[1].id = 200,
        |state| state.bridges[0].flows[0].id = state.next_rule,
        |state| state.bridges[0].flows[0].flow.actions = None,
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
