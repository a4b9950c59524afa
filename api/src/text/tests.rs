use packet::{Key, vlan};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::reply::FlowStats;
use crate::testing::{
    any_change, any_ct_flow_mod, any_flow_mod, any_group, any_group_mod, any_meter, any_meter_mod,
    any_pipeline_flow_mod, any_pipeline_match,
};

pub(super) const DIALECTS: [Dialect; 2] = [Dialect::OpenFlow15, Dialect::OpenFlow10];

#[test]
fn every_spelling_has_one_print() {
    let flows = cases::SPELLINGS.iter().chain(pipeline_cases::SPELLINGS).chain(ct_cases::SPELLINGS);
    prints::<FlowMod>(flows, FlowMod::to_string);
    prints::<Group>(group_cases::SPELLINGS, Group::to_string);
}

#[test]
fn the_old_dialect_says_the_same() {
    let old = |flow: &FlowMod| flow.print_in(Dialect::OpenFlow10, &NoNames).to_string();
    prints::<FlowMod>(pipeline_cases::OLD_SPELLINGS, old);
    prints::<FlowMod>(ct_cases::OLD_SPELLINGS, old);
    let deviations = pipeline_cases::OLD_DEVIATIONS.iter().chain(ct_cases::OLD_DEVIATIONS);
    let deviations: Vec<_> = deviations.map(|(text, printed, _)| (*text, *printed)).collect();
    prints::<FlowMod>(&deviations, old);
    prints::<Group>(group_cases::OLD_SPELLINGS, |group| {
        group.print_in(Dialect::OpenFlow10, &NoNames).to_string()
    });
}

/// What is read from each text is printed as said, and read again from there.
fn prints<'a, T: FromStr<Err = FlowError> + PartialEq>(
    spellings: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
    print: impl Fn(&T) -> String,
) {
    let mut wrong = Vec::new();
    for (text, expected) in spellings {
        match text.parse::<T>() {
            Err(error) => wrong.push(format!("{text}: {error}")),
            Ok(read) if print(&read) != *expected => {
                wrong.push(format!("{text}: {}", print(&read)));
            }
            Ok(read) => assert!(expected.parse::<T>().is_ok_and(|again| again == read), "{text}"),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_mistake_is_named_with_its_place() {
    fn check<T: FromStr<Err = FlowError> + std::fmt::Debug>(
        refused: &[(&str, &str, std::ops::Range<usize>)],
    ) {
        let mut wrong = Vec::new();
        for (text, message, at) in refused {
            match text.parse::<T>() {
                Err(error) if (&*error.to_string(), error.at()) == (*message, at.clone()) => {}
                Err(error) => wrong.push(format!("{text}: {error} at {:?}", error.at())),
                Ok(read) => wrong.push(format!("{text}: {read:?}")),
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    check::<FlowMod>(refused::REFUSED);
    check::<FlowMod>(refused::PIPELINE);
    check::<FlowMod>(ct_refused::REFUSED);
    check::<Group>(group_cases::REFUSED);
    check::<MeterMod>(refused::METERS);
    check::<Change>(refused::CHANGES);
}

#[test]
fn deviations_are_as_described() {
    fn check<T: FromStr<Err = FlowError> + std::fmt::Display>(
        deviations: &[(&str, Result<&str, &str>, &str)],
    ) {
        let mut wrong = Vec::new();
        for (text, ours, _) in deviations {
            let read = text.parse::<T>();
            let read = read.map(|read| read.to_string()).map_err(|error| error.to_string());
            if read.as_deref().map_err(String::as_str) != *ours {
                wrong.push(format!("{text}: {read:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    check::<FlowMod>(cases::DEVIATIONS);
    check::<FlowMod>(pipeline_cases::DEVIATIONS);
    check::<FlowMod>(ct_cases::DEVIATIONS);
    check::<Group>(group_cases::DEVIATIONS);
}

fn message<T: std::fmt::Debug>(result: Result<T, FlowError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_line_may_begin_with_a_verb() {
    let printed = |text: &str| text.parse::<FlowMod>().unwrap().to_string();
    assert_eq!(printed("add ip,actions=1"), "ip actions=output:1");
    assert_eq!(printed("modify,ip,actions=1"), "modify ip actions=output:1");
    assert_eq!(
        printed("modify_strict table=0,cookie=5/-1,cookie=6,priority=3,actions="),
        "modify_strict cookie=0x6, cookie=0x5/0xffffffffffffffff, priority=3 actions=drop",
    );
    assert_eq!(printed("delete"), "delete ");
    assert_eq!(printed(" delete table=255,ip"), "delete ip ");
    assert_eq!(
        printed("delete table=0,out_port=LOCAL,cookie=7/3"),
        "delete cookie=0x3/0x3, table=0, out_port=LOCAL, "
    );
    assert_eq!(
        printed("delete_strict out_port=any,priority=3,tcp"),
        "delete_strict priority=3,tcp "
    );
    assert_eq!("delete".parse::<FlowMod>().unwrap().table, None);
    assert_eq!("modify actions=1".parse::<FlowMod>().unwrap().table, Some(0));
}

#[test]
fn a_verb_decides_what_may_be_said() {
    for (text, error) in [
        ("delete ip,actions=1", "`actions` has no meaning where no flow is changed"),
        (
            "delete priority=5",
            "`priority` takes `delete_strict`: `delete` removes flows of every priority",
        ),
        ("delete cookie=5", "`cookie` needs a mask to choose flows by; `/-1` compares all of it"),
        ("delete idle_timeout=5", "`idle_timeout` has no meaning where no flow is changed"),
        ("delete_strict send_flow_rem", "`send_flow_rem` has no meaning where no flow is changed"),
        ("modify importance=5,actions=1", "`importance` is given when a flow is added"),
        ("modify table=255,actions=1", "`table` takes a table from 0 to 253, found `255`"),
        ("modify ip", "`actions=` is missing; `actions=drop` does nothing with the packet"),
        ("delete_all ip", "unknown word `delete_all`"),
        ("", "`actions=` is missing; `actions=drop` does nothing with the packet"),
    ] {
        assert_eq!(message(text.parse::<FlowMod>()), error, "{text}");
    }
    // On a command line a verb is a word like any other.
    assert_eq!(message(flow("add ip,actions=1", Command::Add, &NoNames)), "unknown word `add`");
}

#[test]
fn a_filter_chooses() {
    let read = |text| filter(text, &NoNames);
    assert_eq!(read(""), Ok(FlowFilter::default()));
    assert_eq!(read("table=255"), Ok(FlowFilter::default()));
    let all = read("table=2,cookie=5/-1,out_port=3,tcp").unwrap();
    assert_eq!((all.table, all.cookie, all.out_port), (Some(2), Some((5, u64::MAX)), Some(3)));
    assert_eq!(all.to_string(), "cookie=0x5/0xffffffffffffffff, table=2, out_port=3, tcp");
    assert_eq!(all.to_string().parse(), Ok(all));
    assert_eq!(message(read("priority=5")), "`priority` does not choose flows to dump");
    assert_eq!(
        message(read("ip,actions=drop")),
        "`actions` has no meaning where no flow is changed"
    );
}

#[test]
fn a_filter_chooses_by_group() {
    let all = filter("out_group=7,ip", &NoNames).unwrap();
    assert_eq!((all.out_group, all.to_string()), (Some(7), "out_group=7, ip".to_owned()));
    assert_eq!(all.to_string().parse(), Ok(all));
    assert_eq!(filter("out_group=any", &NoNames), Ok(FlowFilter::default()));
    let deleted: FlowMod = "delete out_group=3,out_port=2".parse().unwrap();
    assert_eq!(deleted.to_string(), "delete out_port=2, out_group=3, ");
}

#[test]
fn leniency_drops_what_lacks_its_prerequisites() {
    let reading = Reading::new(&NoNames).lenient();
    for (text, printed) in [
        ("nw_src=1.2.3.4", ""),
        ("nw_proto=6,tp_dst=80", ""),
        ("tp_dst=80-95,nw_proto=6,ip", "tcp,tp_dst=80-95"),
        ("ip,tp_dst=80-95,reg0=1", "ip,reg0=0x1"),
        ("icmp6,nd_target=fd00::1", "icmp6"),
        ("tcp,dl_type=*", ""),
        ("ct_state=+new,ip,ct_tp_dst=80", "ct_state=+new,ip"),
    ] {
        let matching = reading.matching(text).unwrap();
        assert_eq!(matching.to_string(), printed, "{text}");
    }
    for (text, error) in [
        ("arp,tp_src=5", "`tcp_src` needs `tcp` in the match"),
        ("tcp,ipv6_src=::1", "`ipv6_src` needs `ipv6` in the match"),
        ("tcp,udp_dst=5", "`udp_dst` needs `udp` in the match"),
        ("tcp,nw_frag=later,tp_dst=80", "`tcp_dst` needs `nw_frag=not_later` in the match"),
        ("icmp6,icmp_type=136,nd_sll=1:2:3:4:5:6", "`nd_sll` needs `icmp_type=135` in the match"),
        ("ip,ct_nw_src=1.2.3.4", "`ct_nw_src` needs `ct_state=+trk-inv` in the match"),
        ("ct_state=+new,ct_nw_src=1.2.3.4", "`ct_nw_src` needs `ip` in the match"),
        ("ct_nw_proto=6,ct_tp_dst=80", "`ct_nw_proto` needs `ct_state=+trk-inv` in the match"),
        (
            "vlan_vid=10",
            "this matches no packet: a VID or priority without a tag; 0x1000 says that there is one",
        ),
    ] {
        assert_eq!(message(reading.matching(text)), error, "{text}");
    }
    // What the actions need is an error all the same.
    assert!(reading.line("actions=dec_ttl").is_err());
    assert_eq!(reading.line("nw_ttl=5,actions=1").unwrap().to_string(), "actions=output:1");
    assert_eq!(
        reading.change("flow nw_ttl=5,actions=1").unwrap().to_string(),
        "flow actions=output:1"
    );
}

#[test]
fn a_bundle_has_lines_of_four_kinds() {
    for (text, printed) in [
        ("ip,actions=1", "flow ip actions=output:1"),
        ("flow delete_strict priority=5", "flow delete_strict priority=5 "),
        ("delete ip", "flow delete ip "),
        ("group group_id=1,type=all", "group group_id=1,type=all"),
        (
            "group add_or_mod group_id=1,type=indirect,bucket=2",
            "group add_or_mod group_id=1,type=indirect,bucket=bucket_id:0,actions=output:2",
        ),
        (
            "group modify group_id=1,type=select,bucket=2",
            "group modify group_id=1,type=select,bucket=bucket_id:0,actions=output:2",
        ),
        ("group delete", "group delete group_id=all"),
        ("group delete group_id=7", "group delete group_id=7"),
        (
            "group insert_bucket command_bucket_id=first,group_id=1,bucket=1,bucket=weight:0,2",
            "group insert_bucket group_id=1,command_bucket_id=first,bucket=bucket_id:0,actions=output:1,bucket=bucket_id:1,weight:0,actions=output:2",
        ),
        (
            "group remove_bucket group_id=1,command_bucket_id=all",
            "group remove_bucket group_id=1,command_bucket_id=all",
        ),
        (
            "meter meter=0x1,kbps,bands=type=drop,rate=5",
            "meter meter=1 kbps bands=type=drop rate=5",
        ),
        (
            "meter modify meter=slowpath stats burst pktps bands=type=drop burst_size=10 rate=100 type=dscp_remark rate=1 burst_size=2 prec_level=3",
            "meter modify meter=slowpath pktps burst stats bands=type=drop rate=100 burst_size=10 type=dscp_remark rate=1 burst_size=2 prec_level=3",
        ),
        ("meter delete meter=all", "meter delete meter=all"),
        ("meter delete meter=controller", "meter delete meter=controller"),
        (
            "packet_out packet=0001020304050607080910111213 actions=table,2",
            "packet-out in_port=CONTROLLER packet=0001020304050607080910111213 actions=resubmit(,0),output:2",
        ),
        (
            "packet-out in_port=none,xreg0=0x100000002,metadata=3,packet=00010203040506070809101181000005080045000014,actions=strip_vlan",
            "packet-out in_port=ANY packet=00010203040506070809101181000005080045000014 reg0=0x1,reg1=0x2,metadata=0x3 actions=pop_vlan",
        ),
    ] {
        let change = text.parse::<Change>();
        let ours = change.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        assert_eq!(ours, printed, "{text}");
        if let Ok(change) = change {
            assert_eq!(printed.parse(), Ok(change), "{text}");
        }
    }
    let names = vec![(7, "p7".to_owned())];
    let group = group("group_id=1,type=ff,bucket=watch_port:p7,p7", &names).unwrap();
    assert_eq!(
        group.print(&names).to_string(),
        "group_id=1,type=ff,bucket=bucket_id:0,watch_port:p7,actions=output:p7"
    );
}

#[test]
fn a_dump_in_the_old_dialect_tells_both_ages() {
    let stats = FlowStats {
        id: 1,
        flow: "dl_vlan=0xffff,actions=set_field:1->reg0,goto_table:3".parse().unwrap(),
        packets: 0,
        bytes: 0,
        duration_ms: 12_000,
        idle_ms: 1_000,
        hard_ms: 5_000,
    };
    assert_eq!(
        stats.print_in(Dialect::OpenFlow10, &NoNames).to_string(),
        "cookie=0x0, duration=12s, table=0, n_packets=0, n_bytes=0, idle_age=1, hard_age=5, \
         vlan_tci=0x0000 actions=load:0x1->NXM_NX_REG0[],goto_table:3",
    );
}

#[test]
fn a_file_is_read_line_by_line() {
    let text = "# all\nactions=1\r\n\n  # none\nnonsense # here\n\
                in_port=\"a#b\",actions=2#3\ndelete table=1";
    let names = vec![(7, "a#b".to_owned())];
    let flows: Vec<_> = file(text, &names).collect();
    let printed: Vec<_> = flows
        .iter()
        .map(|(n, flow)| (*n, flow.as_ref().map_or_else(ToString::to_string, ToString::to_string)))
        .collect();
    let expected = [
        (2, "actions=output:1"),
        (5, "unknown word `nonsense`"),
        (6, "in_port=7 actions=output:2"),
        (7, "delete table=1, "),
    ];
    assert_eq!(printed, expected.map(|(n, text)| (n, text.to_owned())));
}

#[test]
fn ports_go_by_their_names() {
    let names = vec![(1, "p1".to_owned()), (2, "eth0.5".to_owned()), (3, "local".to_owned())];
    let text = "in_port=\"eth0.5\" \
                actions=output:p1,output:\"local\",resubmit:p1,resubmit(\"eth0.5\",3),LOCAL";
    let flow = line(text, &names).unwrap();
    assert_eq!(flow.print(&names).to_string(), text);
    assert_eq!(
        flow.to_string(),
        "in_port=2 actions=output:1,output:3,resubmit:1,resubmit(2,3),LOCAL",
    );
    let short = line("in_port=p1,actions=p1,\"local\",set_field:p1->in_port", &names).unwrap();
    assert_eq!(short.to_string(), "in_port=1 actions=output:1,output:3,set_field:1->in_port");
    assert_eq!(message(line("actions=output:\"p9\"", &names)), "no port is named `\"p9\"`");
}

#[test]
fn a_dump_can_be_read_back() {
    let flow: FlowMod =
        "table=2,priority=5,idle_timeout=10,importance=4,send_flow_rem,tcp,actions=2"
            .parse()
            .unwrap();
    let stats = FlowStats {
        id: 1,
        flow: flow.clone(),
        packets: 3,
        bytes: 294,
        duration_ms: 12_045,
        idle_ms: 7_999,
        hard_ms: 12_045,
    };
    let text = stats.to_string();
    assert_eq!(
        text,
        "cookie=0x0, duration=12.045s, table=2, n_packets=3, n_bytes=294, idle_timeout=10, \
         send_flow_rem importance=4, idle_age=7, priority=5,tcp actions=output:2",
    );
    assert_eq!(text.parse(), Ok(FlowMod { cookie: Some(0), ..flow }));
    let whole = FlowStats { duration_ms: 5_000, ..stats };
    assert!(whole.to_string().starts_with("cookie=0x0, duration=5s, table=2, "));
}

#[test]
fn a_packet_is_described_by_its_fields() {
    let read = |text| packet(text, &NoNames);
    let key =
        read("in_port=1,tcp,nw_src=10.0.0.1,tp_dst=80,dl_vlan=5,nw_ttl=64,reg0=7,tcp_flags=syn")
            .unwrap();
    let expected = Key::ZERO
        .with(Key::IN_PORT, 1u8)
        .with(Key::ETH_TYPE, 0x0800u16)
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::HAS_TRANSPORT, 1u8)
        .with(Key::TTL_LEFT, 1u8)
        .with(Key::NW_PROTO, 6u8)
        .with(Key::NW_SRC, 0x0a00_0001u32)
        .with(Key::TP_DST, 80u8)
        .with(Key::TCP_FLAGS, 2u8)
        .with(Key::VLAN_TCI, 0x1005u16)
        .with(Key::VLAN_TPID, 0x8100u16)
        .with(Key::NW_TTL, 64u8)
        .with(Key::reg(0), 7u8);
    assert_eq!(key, expected);
    assert_eq!(read("ip,nw_frag=later").unwrap().word(Key::NW_FRAG), 3);
    assert_eq!(read("ip,nw_frag=no").unwrap().word(Key::NW_FRAG), 0);
    assert_eq!(read(""), Ok(Key::ZERO));
    for text in
        ["ip,nw_src=10.0.0.0/8", "reg0=*", "ip,nw_frag=yes", "tcp,tcp_flags=+syn", "reg0[0]=1"]
    {
        assert!(matches!(read(text), Err(FlowError::Value { .. })), "{text}");
    }
    assert_eq!(message(read("nw_src=10.0.0.1")), "`ip_src` needs `ip` in the match");
    assert_eq!(message(read("actions=1")), "unknown word `actions`");
}

#[test]
fn hostile_texts_meet_limits() {
    let nested = |depth: usize| format!("actions={}1{}", "clone(".repeat(depth), ")".repeat(depth));
    assert!(nested(MAX_NESTING - 1).parse::<FlowMod>().is_ok());
    assert_eq!(
        message(nested(MAX_NESTING).parse::<FlowMod>()),
        "actions are nested more than 100 deep"
    );
    assert!(matches!(nested(100_000).parse::<FlowMod>(), Err(FlowError::TooDeep { .. })));
    let marks = format!("ip,actions={}", "ct(exec(".repeat(100_000));
    assert!(matches!(marks.parse::<FlowMod>(), Err(FlowError::Syntax { .. })));
    let marks = format!("ip,actions={}{}", "ct(exec(".repeat(100), "))".repeat(100));
    assert!(matches!(marks.parse::<FlowMod>(), Err(FlowError::TooDeep { .. })));
    let many = |count| format!("actions={}", "1,".repeat(count));
    assert!(many(MAX_ACTIONS).parse::<FlowMod>().is_ok());
    assert!(matches!(many(MAX_ACTIONS + 1).parse::<FlowMod>(), Err(FlowError::TooMany { .. })));
    // What an action may have any number of counts like actions.
    for (head, part, tail) in [
        ("actions=learn(", "reg0=1,", ")"),
        ("actions=bundle(eth_src,0,hrw,ofport,members:", "1,", ")"),
        ("ip,actions=dec_ttl(", "1,", ")"),
        ("ip,actions=ct(commit,exec(", "load:1->ct_mark,", "))"),
        ("actions=note:", "00112233445566778899aabbccddeeff", ""),
        ("actions=controller(userdata=", "00112233445566778899aabbccddeeff", ")"),
    ] {
        let text = format!("{head}{}{tail}", part.repeat(MAX_ACTIONS + 1));
        assert!(matches!(text.parse::<FlowMod>(), Err(FlowError::TooMany { .. })), "{head}");
        let text = format!("{head}{}{tail}", part.repeat(MAX_ACTIONS - 1));
        let flow: FlowMod = text.parse().unwrap();
        assert_eq!(flow.to_string().parse(), Ok(flow), "{head}");
    }
    let buckets = |count| format!("group_id=1,type=all{}", ",bucket=drop".repeat(count));
    let group: Group = buckets(MAX_ACTIONS).parse().unwrap();
    assert_eq!(group.to_string().parse(), Ok(group));
    assert!(matches!(buckets(MAX_ACTIONS + 1).parse::<Group>(), Err(FlowError::TooMany { .. })));
    let long = " ".repeat(MAX_LEN + 1);
    assert!(matches!(long.parse::<FlowMod>(), Err(FlowError::TooLong { .. })));
    let word = "é".repeat(1000);
    let error = word.parse::<FlowMod>().unwrap_err();
    assert!(error.to_string().chars().count() < 100, "{error}");
}

#[test]
fn the_longest_flow_can_be_read_back() {
    let mask = "fd00:1111:2222:3333:4444:5555:6666:7777";
    let action = format!("set_field:{mask}/{mask}->ipv6_dst,");
    let text = format!("ipv6,actions={}", action.repeat(MAX_ACTIONS));
    let flow: FlowMod = text.parse().unwrap();
    assert_eq!(flow.to_string().parse(), Ok(flow));
}

/// Whether the text of a value says what it is.
pub(super) fn is_read_back<T>(text: &str, value: &T) -> Result<(), TestCaseError>
where
    T: FromStr<Err = FlowError> + PartialEq + std::fmt::Debug,
{
    let read = text.parse::<T>();
    prop_assert_eq!(read.as_ref(), Ok(value), "{}", text);
    Ok(())
}

/// Bytes that meet the grammar now and then: pieces of flows, cut and mixed with anything.
fn almost_flow() -> impl Strategy<Value = String> {
    let whole = prop_oneof![
        any_pipeline_flow_mod().prop_map(|flow| flow.to_string()).boxed(),
        any_ct_flow_mod().prop_map(|flow| flow.to_string()).boxed(),
        any_change().prop_map(|change| change.to_string()).boxed(),
    ];
    let pieces = whole.prop_flat_map(|text| {
        let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
        vec((cut, "[ -~]{0,3}|\\PC{0,2}"), 1..6).prop_map(move |edits| {
            let mut text: Vec<_> = text.chars().collect();
            for ((at, length), with) in edits {
                let at = at.index(text.len() + 1);
                let end = at + length.index(8.min(text.len() - at) + 1);
                text.splice(at..end, with.chars());
            }
            text.into_iter().collect()
        })
    });
    prop_oneof![4 => pieces, 1 => "\\PC{0,60}", 1 => "[a-z0-9_=:,()>/\\[\\].\"-]{0,80}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_printed_is_read_back(flow in any_flow_mod()) {
        let text = flow.to_string();
        prop_assert_eq!(text.parse(), Ok(flow), "{}", text);
    }

    #[test]
    fn a_match_is_read_back(matching in any_pipeline_match()) {
        for dialect in DIALECTS {
            let text = matching.print_in(dialect, &NoNames).to_string();
            prop_assert_eq!(text.parse(), Ok(matching), "{}", text);
        }
    }

    #[test]
    fn a_flow_is_read_back_in_either_dialect(flow in any_pipeline_flow_mod()) {
        for dialect in DIALECTS {
            let text = flow.print_in(dialect, &NoNames).to_string();
            is_read_back(&text, &flow)?;
        }
    }

    #[test]
    fn a_group_is_read_back_in_either_dialect(group in any_group_mod()) {
        for dialect in DIALECTS {
            let text = group.print_in(dialect, &NoNames).to_string();
            is_read_back(&text, &group)?;
        }
    }

    #[test]
    fn a_meter_is_read_back(meter in any_meter_mod()) {
        let text = meter.to_string();
        is_read_back(&text, &meter)?;
    }

    #[test]
    fn a_line_of_a_bundle_is_read_back_in_either_dialect(change in any_change()) {
        for dialect in DIALECTS {
            let text = change.print_in(dialect, &NoNames).to_string();
            is_read_back(&text, &change)?;
        }
    }

    #[test]
    fn everything_crosses_as_text(group in any_group(), meter in any_meter(), change in any_change()) {
        fn crosses<T>(value: &T)
        where
            T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
        {
            let json = serde_json::to_string(value).unwrap();
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *value, "{json}");
        }
        crosses(&group);
        crosses(&GroupMod::Modify(group));
        crosses(&meter);
        crosses(&MeterMod::Modify(meter));
        crosses(&change);
    }

    /// Whatever is read from whatever text has one print, and an error lies within the text.
    #[test]
    fn any_text_is_read_or_refused(text in almost_flow()) {
        let within = |error: FlowError| {
            let at = error.at();
            assert!(at.start <= at.end && at.end <= text.len(), "{error:?} of {text:?}");
            let _ = error.to_string();
        };
        match text.parse::<FlowMod>() {
            Ok(flow) => {
                let printed = flow.to_string();
                prop_assert_eq!(printed.parse(), Ok(flow), "{} from {}", printed, text);
            }
            Err(error) => within(error),
        }
        if let Err(error) = filter(&text, &NoNames) { within(error) }
        match text.parse::<Change>() {
            Ok(change) => {
                let printed = change.print_in(Dialect::OpenFlow10, &NoNames).to_string();
                prop_assert_eq!(printed.parse(), Ok(change), "{} from {}", printed, text);
            }
            Err(error) => within(error),
        }
        if let Err(error) = packet(&text, &NoNames) { within(error) }
        if let Err(error) = actions(&text, &Match::ANY, None, &NoNames) { within(error) }
        let _ = file(&text, &NoNames).count();
    }

    /// A packet's description is as good as the packet: all of it but a second tag can be said.
    #[test]
    fn a_packet_can_be_described(key in testnet::packets::any_key()) {
        let key = key.with(Key::VLAN2_TCI, 0u8).with(Key::VLAN2_TPID, 0u8);
        // An address that an option gives as zero is as good as none; only a solicitation's source
        // and an advertisement's target can be matched.
        let kind = key.word(Key::TP_SRC);
        let mut key = key;
        for (has, address, of) in
            [(Key::HAS_ND_SLL, Key::ARP_SHA, 135), (Key::HAS_ND_TLL, Key::ARP_THA, 136)]
        {
            if key.word(has) != 0 && kind != of {
                key.set(address, 0u8);
            }
            if key.word(address) == 0 {
                key.set(has, 0u8);
            }
        }
        let tagged = key.word(Key::VLAN_TCI) & u64::from(vlan::PRESENT) != 0;
        let key = if tagged { key.with(Key::VLAN_TPID, 0x8100u16) } else { key };
        let matching = Match::exactly(&key);
        prop_assert!(matching.covers(&key));
        let text = matching.to_string();
        prop_assert_eq!(text.parse(), Ok(matching), "{}", text);
        // `vlan_tci=0x0000/0x1fff` has a mask, which a packet has not.
        let text = text.replace("0x0000/0x1fff", "0");
        prop_assert_eq!(packet(&text, &NoNames), Ok(key), "{}", text);
    }
}
