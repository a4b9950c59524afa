//! What holds of all that tracks connections.

use packet::Key;
use proptest::prelude::*;

use super::tests::{DIALECTS, is_read_back};
use super::{FlowError, MAX_ACTIONS, NoNames, packet};
use crate::ct::ct_state;
use crate::field::Field;
use crate::flow::{FlowMod, Match};
use crate::testing::{
    any_change, any_ct_flow_mod, any_ct_group, any_ct_match, any_flow_mod, any_pipeline_flow_mod,
};

#[test]
fn a_tracked_packet_is_described_by_its_fields() {
    let read = |text| packet(text, &NoNames);
    let key =
        read("ct_state=est|trk,ct_zone=3,ct_mark=1,ct_label=2,ct_nw_src=10.0.0.1,ip").unwrap();
    let expected = Key::ZERO
        .with(Key::ETH_TYPE, 0x0800u16)
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::CT_STATE, ct_state::EST | ct_state::TRK)
        .with(Key::CT_ZONE, 3u8)
        .with(Key::CT_MARK, 1u8)
        .with(Key::CT_LABEL, 2u8)
        .with(Key::CT_NW_SRC, 0x0a00_0001u32);
    assert_eq!(key, expected);
    for text in ["ct_state=+trk", "ct_mark=1/1", "ct_label[0]=1"] {
        assert!(matches!(read(text), Err(FlowError::Value { .. })), "{text}");
    }
}

#[test]
fn the_longest_flow_can_be_read_back() {
    let address = "fd00:1111:2222:3333:4444:5555:6666:7777";
    let action = format!(
        "ct(commit,force,table=253,zone=NXM_NX_CT_IPV6_SRC[100..115],\
         nat(src=[{address}]-[{address}]:65534-65535,persistent,random),alg=tftp),"
    );
    let text = format!("ct_state=+trk+est,udp6,actions={}", action.repeat(MAX_ACTIONS));
    let flow: FlowMod = text.parse().unwrap();
    assert_eq!(flow.to_string().parse(), Ok(flow));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_match_is_read_back(matching in any_ct_match()) {
        for dialect in DIALECTS {
            is_read_back(&matching.print_in(dialect, &NoNames).to_string(), &matching)?;
        }
    }

    #[test]
    fn a_flow_is_read_back(flow in any_ct_flow_mod()) {
        for dialect in DIALECTS {
            is_read_back(&flow.print_in(dialect, &NoNames).to_string(), &flow)?;
        }
    }

    #[test]
    fn a_group_is_read_back(group in any_ct_group()) {
        for dialect in DIALECTS {
            is_read_back(&group.print_in(dialect, &NoNames).to_string(), &group)?;
        }
    }

    /// Who cannot track connections is not asked to.
    #[test]
    fn nothing_else_that_is_generated_tracks(
        change in any_change(), flow in any_pipeline_flow_mod(), plain in any_flow_mod(),
    ) {
        for text in [change.to_string(), flow.to_string(), plain.to_string()] {
            let tracks = ["ct_", "CT_", "ct("].into_iter().any(|word| text.contains(word));
            prop_assert!(!tracks, "{}", text);
        }
    }

    /// What is known of a tracked packet can be said, as far as it hangs together.
    #[test]
    fn a_tracked_packet_can_be_described(tracked in any_ct_match(), port in 1..5u16) {
        let eth_type = tracked.eth_type().unwrap_or(0);
        let mut key = Key::ZERO.with(Key::IN_PORT, port).with(Key::ETH_TYPE, eth_type);
        for field in Field::all().filter(|field| field.is_ct()) {
            key.set(field.span(), tracked.key().get(field.span()));
        }
        let known = key & *Match::exactly(&key).mask();
        for matching in [Match::exactly(&known), Match::scratch(&known)] {
            prop_assert!(matching.covers(&known));
            is_read_back(&matching.to_string(), &matching)?;
        }
        // A tag that is not there has a mask, which a packet has not.
        let text = Match::exactly(&known).to_string().replace("0x0000/0x1fff", "0");
        let read = packet(&text, &NoNames).map(|read| Match::exactly(&read));
        prop_assert_eq!(read, Ok(Match::exactly(&known)), "{}", text);
    }
}
