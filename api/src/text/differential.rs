//! Our text against that of `ovs-ofctl`, which parses flows without a switch and prints them.
//!
//! Generated flows go both ways in thousands; what generation cannot show (refusals, odd spellings)
//! is in lists. Where we differ on purpose, [`DEVIATIONS`] says why, and the test fails if we no
//! longer do.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::print::print_actions_in;
use super::speller::Speller;
use super::{Assumed, Dialect, cases, ct_cases, ct_refused, group_cases, pipeline_cases, refused};
use crate::action::{Action, Learn, LearnSource, LearnSpec, Subfield};
use crate::ct::{Ct, CtZone, Nat, NatRange};
use crate::field::Field;
use crate::flow::{FlowFlags, FlowMod};
use crate::group::Group;
use crate::testing::{any_ct_flow, any_ct_group, any_group, any_pipeline_flow, legal};
use crate::text::NoNames;

/// What OVS makes of each line: its canonical form, or why it refuses it.
fn ovs(lines: &[String]) -> Vec<Result<String, String>> {
    ovs_over("OpenFlow15", lines)
}

/// The same over some version of OpenFlow.
fn ovs_over(version: &str, lines: &[String]) -> Vec<Result<String, String>> {
    let mut child = Command::new("ovs-ofctl")
        .args(["-O", version, "parse-flows", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ovs-ofctl is missing: apt-get install openvswitch-switch");
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // It may have given up before it has read all.
            let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
        });
        child.wait_with_output().unwrap()
    });
    let flows = String::from_utf8(output.stdout).unwrap();
    let is_flow =
        |line: &&str| line.starts_with("OFPT_FLOW_MOD") || line.starts_with("NXT_FLOW_MOD");
    let flows: Vec<_> = flows.lines().filter(is_flow).collect();
    match lines {
        _ if output.status.success() && flows.len() == lines.len() => {
            flows.into_iter().map(canonical).collect()
        }
        [_] => vec![Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())],
        // One bad line spoils them all.
        _ => {
            let (a, b) = lines.split_at(lines.len() / 2);
            [ovs_over(version, a), ovs_over(version, b)].concat()
        }
    }
}

fn canonical(line: &str) -> Result<String, String> {
    let (_xid, flow) = line.split_once(": ").unwrap();
    flow.strip_prefix("ADD ").map(str::to_owned).ok_or_else(|| flow.to_owned())
}

/// What OVS makes of a group.
fn ovs_group(version: &str, group: &str) -> Result<String, String> {
    let output =
        Command::new("ovs-ofctl").args(["-O", version, "parse-group", group]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let added = text.lines().find_map(|line| line.strip_prefix(" ADD "));
    let why = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    added.map(str::to_owned).ok_or_else(why)
}

/// A flow as `parse-flows` prints it.
fn in_ovs_form(flow: &FlowMod) -> String {
    in_ovs_form_of(Dialect::OpenFlow15, flow)
}

fn in_ovs_form_of(dialect: Dialect, flow: &FlowMod) -> String {
    let mut parts = Vec::new();
    parts.extend(flow.table.filter(|table| *table != 0).map(|table| format!("table:{table}")));
    let priority =
        (flow.priority != FlowMod::DEFAULT_PRIORITY).then(|| format!("priority={}", flow.priority));
    let matching = flow.matching.print_in(dialect, &NoNames).to_string();
    let matching = Some(matching).filter(|text| !text.is_empty());
    let fields: Vec<_> = priority.into_iter().chain(matching).collect();
    parts.extend((!fields.is_empty()).then(|| fields.join(",")));
    parts.extend(
        flow.cookie.filter(|cookie| *cookie != 0).map(|cookie| format!("cookie:{cookie:#x}")),
    );
    let numbers =
        [("idle", flow.idle_timeout), ("hard", flow.hard_timeout), ("importance", flow.importance)];
    parts.extend(numbers.iter().filter(|(_, n)| *n != 0).map(|(name, n)| format!("{name}:{n}")));
    let flags = [
        (flow.flags.send_flow_rem, "send_flow_rem"),
        (flow.flags.check_overlap, "check_overlap"),
        (flow.flags.reset_counts, "reset_counts"),
        (flow.flags.no_packet_counts, "no_packet_counts"),
        (flow.flags.no_byte_counts, "no_byte_counts"),
    ];
    parts.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()));
    let actions = flow.actions.as_deref().unwrap();
    parts.push(format!("actions={}", print_actions_in(actions, dialect, &NoNames)));
    parts.join(" ")
}

/// `count` flows that OVS can express, the same ones in every run; half of them track connections.
fn flows(count: usize) -> Vec<FlowMod> {
    let flow = prop_oneof![any_pipeline_flow().boxed(), any_ct_flow().boxed()];
    generated(flow.prop_map(comparable))
        .filter(|flow| !has_misread_mask(flow) && is_known(flow))
        .take(count)
        .collect()
}

/// Values of a strategy, the same ones in every run.
fn generated<T>(strategy: impl Strategy<Value = T>) -> impl Iterator<Item = T> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    std::iter::repeat_with(move || strategy.new_tree(&mut runner).unwrap().current())
}

/// Whether OVS has all that the match says: no ranges, and 16 registers in its version 3.1. It takes
/// protocol 0 of a connection for none.
fn is_known(flow: &FlowMod) -> bool {
    let matching = &flow.matching;
    let others = (16..32).map(Field::Reg).chain([Field::PacketType]);
    let zero = |field: Field| matching.says(field) && matching.key().get(field.span()) == 0;
    matching.ranges() == [None; 2]
        && others.into_iter().all(|field| !matching.says(field))
        && !zero(Field::CtNwProto)
}

/// OVS takes the digits that an IPv6 mask begins with for the length of a prefix: `::1/82ff::`.
fn has_misread_mask(flow: &FlowMod) -> bool {
    let text = flow.to_string();
    let mut behind_slashes = text.split('/').skip(1);
    behind_slashes.any(|mask| {
        let word = mask.split([',', ' ', '-']).next().unwrap();
        // An Ethernet address has six parts and no `::`.
        let is_ipv6 = word.contains("::") || word.matches(':').count() > 5;
        is_ipv6 && word.starts_with(|first: char| first.is_ascii_digit())
    })
}

/// The flow without the actions that OVS has no word for.
fn comparable(mut flow: FlowMod) -> FlowMod {
    let actions = flow.actions.take().map(expressible);
    let mut assumed = Assumed::at_start(&flow.matching, flow.table);
    let actions = actions.map(|actions| legal(actions, &mut assumed));
    FlowMod { actions, ..flow }
}

/// The actions that OVS has a word for; see DEVIATIONS for the others.
fn expressible(actions: Vec<Action>) -> Vec<Action> {
    let has_tag = |part: &Subfield| part.field == Field::VlanTci;
    let one = |action| match action {
        Action::Clone(inner) => Some(Action::Clone(expressible(inner))),
        Action::WriteActions(inner) => Some(Action::WriteActions(expressible(inner))),
        Action::ModVlanVid(_) | Action::ModVlanPcp(_) => None,
        Action::SetField { field: Field::VlanTci | Field::VlanVid, mask, .. }
            if mask & 0x1000 == 0 =>
        {
            None
        }
        Action::SetField { field, mask, .. } if mask != field.ones() && !field.is_maskable() => {
            None
        }
        Action::SetField { field: Field::VlanTci, mask, .. } if mask != 0xffff => None,
        Action::SetField { field, .. } if is_late(field) => None,
        Action::Move { src, dst } if is_late(src.field) || is_late(dst.field) => None,
        Action::Move { dst, .. } | Action::Pop(dst) | Action::CheckPktLarger { dst, .. }
            if has_tag(&dst) || is_late(dst.field) =>
        {
            None
        }
        Action::OutputField(src) | Action::Push(src) if is_late(src.field) => None,
        // OpenFlow's form of these has six bits for their width.
        Action::OutputField(src) if src.bits > 64 => None,
        Action::Multipath(choice) if choice.dst.bits > 64 => None,
        Action::Multipath(choice) if has_tag(&choice.dst) || is_late(choice.dst.field) => None,
        Action::Bundle(bundle) if bundle.dst.is_some_and(|dst| is_late(dst.field)) => None,
        Action::Learn(learn) => Some(Action::Learn(Box::new(learnable(*learn)))),
        Action::Ct(ct) => trackable(*ct).map(|ct| Action::Ct(Box::new(ct))),
        action => Some(action),
    };
    actions.into_iter().filter_map(one).collect()
}

/// What OVS prints of `ct` as it was told: it loses the zero address, and all that is said without
/// one.
fn trackable(ct: Ct) -> Option<Ct> {
    let printed = |range: NatRange| match range.addresses {
        Some((first, _)) if !first.is_unspecified() => range,
        _ => NatRange::default(),
    };
    let nat = ct.nat.map(|nat| match nat {
        Nat::Existing => nat,
        Nat::Src(range) => Nat::Src(printed(range)),
        Nat::Dst(range) => Nat::Dst(printed(range)),
    });
    let is_known = |zone| !matches!(zone, CtZone::Field(part) if is_late(part.field));
    is_known(ct.zone).then(|| Ct { nat, exec: expressible(ct.exec), ..ct })
}

/// Whether OVS 3.1 does not have this register yet.
fn is_late(field: Field) -> bool {
    matches!(field, Field::Reg(16..) | Field::Xreg(8..) | Field::Xxreg(4..))
}

/// What OVS can learn.
fn learnable(learn: Learn) -> Learn {
    let known = |part: &Subfield| !is_late(part.field) && part.field != Field::ArpOp;
    let specs = learn.specs.into_iter().filter(|spec| match spec {
        LearnSpec::Match { dst, src } | LearnSpec::Load { dst, src } => {
            known(dst) && !matches!(src, LearnSource::Field(src) if !known(src))
        }
        LearnSpec::Output(src) => known(src),
    });
    Learn {
        specs: specs.collect(),
        result_dst: learn.result_dst.filter(|dst| known(dst) && dst.field != Field::VlanTci),
        ..learn
    }
}

/// What OVS says in the same way over OpenFlow 1.0.
fn old(actions: Vec<Action>, keep: &dyn Fn(&Action) -> bool) -> Vec<Action> {
    let one = |action| match action {
        Action::Clone(inner) => Some(Action::Clone(old(inner, keep))),
        Action::Ct(mut ct) => {
            ct.exec = old(ct.exec, keep);
            Some(Action::Ct(ct))
        }
        // See OLD_DEVIATIONS for each.
        Action::PushVlan(_) | Action::Meter(_) | Action::ClearActions => None,
        Action::WriteActions(_) | Action::WriteMetadata { .. } | Action::GotoTable(_) => None,
        action => {
            let text = action.print_in(Dialect::OpenFlow10, &NoNames).to_string();
            let same = !text.starts_with("set_field:") && !text.starts_with("set_vlan");
            Some(action).filter(|action| same && keep(action))
        }
    };
    actions.into_iter().filter_map(one).collect()
}

/// The same flow with nothing that OpenFlow 1.0 has no word for.
fn old_flow(mut flow: FlowMod, keep: &dyn Fn(&Action) -> bool) -> FlowMod {
    let actions = old(flow.actions.take().unwrap(), keep);
    let mut assumed = Assumed::at_start(&flow.matching, flow.table);
    let actions = Some(legal(actions, &mut assumed));
    let FlowFlags { send_flow_rem, check_overlap, .. } = flow.flags;
    let flags = FlowFlags { send_flow_rem, check_overlap, ..FlowFlags::default() };
    // Where no table is given OVS sometimes says so.
    let table = flow.table.map(|table| table.max(1));
    FlowMod { actions, flags, table, importance: 0, ..flow }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn ovs_prints_what_we_print() {
    let flows = flows(6000);
    let texts: Vec<_> = flows.iter().map(FlowMod::to_string).collect();
    let theirs = ovs(&texts);
    for ((flow, text), theirs) in flows.iter().zip(&texts).zip(&theirs) {
        assert_eq!(theirs.as_ref(), Ok(&in_ovs_form(flow)), "{text}");
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn ovs_prints_what_we_print_in_the_old_dialect() {
    let flows: Vec<_> = flows(3000).into_iter().map(|flow| old_flow(flow, &|_| true)).collect();
    let old = |flow: &FlowMod| flow.print_in(Dialect::OpenFlow10, &NoNames).to_string();
    let texts: Vec<_> = flows.iter().map(old).collect();
    for ((flow, text), theirs) in flows.iter().zip(&texts).zip(ovs_over("OpenFlow10", &texts)) {
        assert_eq!(theirs, Ok(in_ovs_form_of(Dialect::OpenFlow10, flow)), "{text}");
    }
}

/// What is written in one dialect OVS prints in the other as we do.
#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn both_dialects_say_the_same_to_ovs() {
    // Words that OVS keeps apart because it was given the one or the other.
    let kept = |action: &Action| {
        let is_tunnel = matches!(action, Action::SetField { field: Field::TunId, mask: ALL, .. });
        // A load of these, which do not fill their bytes, it prints with a mask.
        let odd = [Field::IpEcn, Field::Ipv6Label];
        let is_odd = matches!(action, Action::SetField { field, .. } if odd.contains(field));
        !is_tunnel && !is_odd && !matches!(action, Action::SetQueue(_))
    };
    const ALL: u128 = u64::MAX as u128;
    // So it does with the two ways to say that there is no tag.
    let flows = flows(3000).into_iter().filter(|flow| !flow.matching.has_no_tag());
    let flows: Vec<_> = flows.map(|flow| old_flow(flow, &kept)).collect();
    let new: Vec<_> = flows.iter().map(FlowMod::to_string).collect();
    for ((flow, text), theirs) in flows.iter().zip(&new).zip(ovs_over("OpenFlow10", &new)) {
        assert_eq!(theirs, Ok(in_ovs_form_of(Dialect::OpenFlow10, flow)), "{text}");
    }
    let old = |flow: &FlowMod| flow.print_in(Dialect::OpenFlow10, &NoNames).to_string();
    let old: Vec<_> = flows.iter().map(old).collect();
    for ((flow, text), theirs) in flows.iter().zip(&old).zip(ovs(&old)) {
        assert_eq!(theirs, Ok(in_ovs_form(flow)), "{text}");
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn ovs_prints_groups_as_we_do() {
    let comparable = |mut group: Group| {
        for bucket in &mut group.buckets {
            let actions = expressible(std::mem::take(&mut bucket.actions));
            bucket.actions = legal(actions, &mut Assumed::in_bucket());
        }
        group
    };
    let groups = prop_oneof![any_group().boxed(), any_ct_group().boxed()].prop_map(comparable);
    let groups: Vec<_> = generated(groups).take(400).collect();
    for group in groups {
        let text = group.to_string();
        assert_eq!(ovs_group("OpenFlow15", &text), Ok(text.clone()));
        let mut group = group;
        for bucket in &mut group.buckets {
            let actions = old(std::mem::take(&mut bucket.actions), &|action| {
                // Which is said by a word that OVS reads but does not print.
                let tag = [Field::VlanVid, Field::VlanPcp];
                !matches!(action, Action::SetField { field, .. } if tag.contains(field))
            });
            bucket.actions = legal(actions, &mut Assumed::in_bucket());
        }
        let text = group.print_in(Dialect::OpenFlow10, &NoNames).to_string();
        assert_eq!(ovs_group("OpenFlow10", &text), Ok(text.clone()));
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn every_spelling_means_the_same() {
    let flows = flows(6000);
    let mut runner = TestRunner::deterministic();
    let mut texts = Vec::new();
    for flow in &flows {
        let choices = vec(any::<u8>(), 97).new_tree(&mut runner).unwrap().current();
        let text = Speller { choices: choices.iter().cycle() }.flow(flow);
        assert_eq!(text.parse().as_ref(), Ok(flow), "{text}");
        texts.push(text);
    }
    for ((flow, text), theirs) in flows.iter().zip(&texts).zip(ovs(&texts)) {
        assert_eq!(theirs, Ok(in_ovs_form(flow)), "{text}");
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn ovs_takes_the_same_spellings() {
    let spellings =
        cases::SPELLINGS.iter().chain(pipeline_cases::SPELLINGS).chain(ct_cases::SPELLINGS);
    let texts: Vec<_> = spellings.map(|(text, _)| (*text).to_owned()).collect();
    for (text, theirs) in texts.iter().zip(ovs(&texts)) {
        let ours = text.parse().map(|flow| in_ovs_form(&flow));
        assert_eq!(theirs, Ok(ours.unwrap()), "{text}");
    }
    for (text, printed) in pipeline_cases::OLD_SPELLINGS.iter().chain(ct_cases::OLD_SPELLINGS) {
        let theirs = ovs_over("OpenFlow10", &[(*text).to_owned()]);
        assert_eq!(theirs, [Ok((*printed).to_owned())], "{text}");
    }
    for (text, printed) in group_cases::SPELLINGS {
        assert_eq!(ovs_group("OpenFlow15", text), Ok((*printed).to_owned()), "{text}");
    }
    for (text, printed) in group_cases::OLD_SPELLINGS {
        assert_eq!(ovs_group("OpenFlow10", text), Ok((*printed).to_owned()), "{text}");
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn ovs_refuses_what_we_refuse() {
    let flows = refused::REFUSED.iter().chain(refused::PIPELINE).chain(ct_refused::REFUSED);
    for (text, error, _) in flows {
        let theirs = ovs(&[(*text).to_owned()]);
        assert!(theirs[0].is_err(), "we say {error}, OVS {theirs:?}: {text}");
    }
    for (text, error, _) in group_cases::REFUSED {
        let theirs = ovs_group("OpenFlow15", text);
        assert!(theirs.is_err(), "we say {error}, OVS {theirs:?}: {text}");
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn every_deviation_is_one() {
    let flows = cases::DEVIATIONS.iter().chain(pipeline_cases::DEVIATIONS);
    for (text, ours, why) in flows.chain(ct_cases::DEVIATIONS) {
        let theirs = ovs(&[(*text).to_owned()]);
        let same = match ours {
            Ok(_) => theirs[0] == Ok(in_ovs_form(&text.parse().unwrap())),
            Err(_) => theirs[0].is_err(),
        };
        assert!(!same, "no longer a deviation ({why}): {text}");
    }
    for (text, ours, why) in pipeline_cases::OLD_DEVIATIONS.iter().chain(ct_cases::OLD_DEVIATIONS) {
        let theirs = ovs_over("OpenFlow10", &[(*text).to_owned()]);
        assert_ne!(theirs, [Ok((*ours).to_owned())], "no longer a deviation ({why}): {text}");
    }
    for (text, ours, why) in group_cases::DEVIATIONS {
        let theirs = ovs_group("OpenFlow15", text);
        let same = match ours {
            Ok(ours) => theirs.as_deref() == Ok(*ours),
            Err(_) => theirs.is_err(),
        };
        assert!(!same, "no longer a deviation ({why}): {text}");
    }
}
