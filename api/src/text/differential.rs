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
use super::{Assumed, Dialect, cases, pipeline_cases, refused};
use crate::action::{Action, Learn, LearnSource, LearnSpec, OutPort, Subfield};
use crate::field::Field;
use crate::flow::{FlowFlags, FlowMod, Match};
use crate::group::Group;
use crate::testing::{any_group, any_pipeline_flow, legal};
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

/// `count` flows that OVS can express, the same ones in every run.
fn flows(count: usize) -> Vec<FlowMod> {
    let flow = || any_pipeline_flow().prop_map(comparable);
    generated(flow()).filter(|flow| !has_misread_mask(flow) && is_known(flow)).take(count).collect()
}

/// Values of a strategy, the same ones in every run.
fn generated<T>(strategy: impl Strategy<Value = T>) -> impl Iterator<Item = T> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    std::iter::repeat_with(move || strategy.new_tree(&mut runner).unwrap().current())
}

/// Whether OVS has all that the match says: no ranges, and 16 registers in its version 3.1.
fn is_known(flow: &FlowMod) -> bool {
    let matching = &flow.matching;
    let others = (16..32).map(Field::Reg).chain([Field::PacketType]);
    matching.ranges() == [None; 2] && others.into_iter().all(|field| !matching.says(field))
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
        action => Some(action),
    };
    actions.into_iter().filter_map(one).collect()
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
    let groups: Vec<_> = generated(any_group().prop_map(comparable)).take(300).collect();
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

/// Writes a flow as a person might: other names, other numbers, another order.
struct Speller<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Speller<'_> {
    fn choose<T: Clone>(&mut self, forms: &[T]) -> T {
        let choice = usize::from(*self.choices.next().unwrap());
        forms[choice % forms.len()].clone()
    }

    fn flow(&mut self, flow: &FlowMod) -> String {
        let mut words: Vec<String> = Vec::new();
        let priority = self.number(flow.priority.into());
        words.push(format!("priority={priority}"));
        words.extend(flow.table.map(|table| format!("table={table}")));
        words.extend(flow.cookie.map(|cookie| format!("cookie={}", self.number(cookie.into()))));
        words.push(format!("idle_timeout={}", self.number(flow.idle_timeout.into())));
        words.push(format!("hard_timeout={}", self.number(flow.hard_timeout.into())));
        words.push(format!("importance={}", self.number(flow.importance.into())));
        let FlowFlags {
            send_flow_rem,
            check_overlap,
            reset_counts,
            no_packet_counts,
            no_byte_counts,
        } = flow.flags;
        words.extend(send_flow_rem.then(|| "send_flow_rem".to_owned()));
        words.extend(check_overlap.then(|| "check_overlap".to_owned()));
        words.extend(reset_counts.then(|| "reset_counts".to_owned()));
        words.extend(no_packet_counts.then(|| "no_packet_counts".to_owned()));
        words.extend(no_byte_counts.then(|| "no_byte_counts".to_owned()));
        words.push("n_packets=5".to_owned());
        let matching = flow.matching.to_string();
        let fields = matching.split(',').filter(|field| !field.is_empty());
        words.extend(fields.flat_map(|field| self.field(field, &flow.matching)));
        // Any order will do.
        for n in (1..words.len()).rev() {
            let all: Vec<_> = (0..=n).collect();
            let other = self.choose(&all);
            words.swap(n, other);
        }
        let separator = self.choose(&[",", " ", ", ", ",,\t"]);
        let equals = self.choose(&["actions=", "action="]);
        let list = self.actions(
            flow.actions.as_deref().unwrap(),
            &mut Assumed::at_start(&flow.matching, None),
        );
        format!("{}{separator}{equals}{list}", words.join(separator))
    }

    fn number(&mut self, number: u128) -> String {
        self.choose(&[format!("{number}"), format!("{number:#x}"), format!("0X{number:04X}")])
    }

    /// Other words for one item of a printed match.
    fn field(&mut self, item: &str, matching: &Match) -> Vec<String> {
        let Some((name, value)) = item.split_once('=') else {
            return self.protocol(item);
        };
        let names: &[&str] = match name {
            "dl_src" => &["dl_src", "eth_src"],
            "dl_dst" => &["dl_dst", "eth_dst"],
            "dl_type" => &["dl_type", "eth_type"],
            "nw_src" => &["nw_src", "ip_src"],
            "nw_dst" => &["nw_dst", "ip_dst"],
            "nw_proto" => &["nw_proto", "ip_proto"],
            "nw_ecn" => &["nw_ecn", "ip_ecn"],
            "nw_frag" => &["nw_frag", "ip_frag"],
            "arp_spa" => &["arp_spa", "nw_src"],
            "arp_tpa" => &["arp_tpa", "nw_dst"],
            "arp_op" => &["arp_op", "nw_proto"],
            "icmp_type" => &["icmp_type", "icmpv6_type"],
            "icmp_code" => &["icmp_code", "icmpv6_code"],
            "dl_vlan_pcp" => &["dl_vlan_pcp", "vlan_pcp"],
            "tp_src" => match matching.nw_proto() {
                Some(6) => &["tp_src", "tcp_src"],
                Some(17) => &["tp_src", "udp_src"],
                _ => &["tp_src", "sctp_src"],
            },
            "tp_dst" => match matching.nw_proto() {
                Some(6) => &["tp_dst", "tcp_dst"],
                Some(17) => &["tp_dst", "udp_dst"],
                _ => &["tp_dst", "sctp_dst"],
            },
            _ => &[name],
        };
        let plain = format!("{}={value}", self.choose(names));
        let mut forms = vec![plain];
        let number = value.parse::<u128>().ok().filter(|_| name != "in_port");
        if let Some(number) = number {
            forms.push(format!("{}={}", self.choose(names), self.number(number)));
        }
        if let (Some(number), "nw_tos") = (number, name) {
            forms.push(format!("ip_dscp={}", number >> 2));
        }
        if let (Some(number), "dl_vlan") = (number, name) {
            forms.push(format!("vlan_vid={:#x}", number | 0x1000));
            forms.push(format!("vlan_vid={:#x}/0x1fff", number | 0x1000));
        }
        if value == "0x0000/0x1fff" {
            forms.extend(["dl_vlan=0xffff", "dl_vlan=65535", "vlan_tci=0"].map(str::to_owned));
        }
        if name == "dl_src" || name == "dl_dst" {
            forms.push(
                format!("{name}={}", value.replace(":0", ":").to_uppercase()).replace("::", ":0:"),
            );
        }
        if let Some((start, "24")) = value.split_once('/') {
            forms.push(format!("{name}={start}/255.255.255.0"));
        }
        if name.starts_with("reg") && !value.contains('/') {
            forms.push(format!("{name}={value}/0xffffffff"));
            forms.push(format!("{name}[]={value}"));
            forms.push(format!("{name}=*,{name}={value}"));
        }
        vec![self.choose(&forms)]
    }

    fn protocol(&mut self, word: &str) -> Vec<String> {
        let forms: &[&[&str]] = match word {
            "ip" => &[&["ip"], &["ipv4"], &["ip4"], &["dl_type=0x0800"], &["eth", "eth_type=2048"]],
            "ipv6" => &[&["ipv6"], &["ip6"], &["dl_type=0x86dd"]],
            "tcp" => &[&["tcp"], &["ip", "nw_proto=6"], &["dl_type=0x800", "ip_proto=0x6"]],
            "udp6" => &[&["udp6"], &["ipv6", "nw_proto=17"]],
            "icmp" => &[&["icmp"], &["ip", "nw_proto=1"]],
            "icmp6" => &[&["icmp6"], &["ip6", "nw_proto=58"]],
            "sctp" => &[&["sctp"], &["ip", "nw_proto=132"]],
            "arp" => &[&["arp"], &["dl_type=0x0806"]],
            word => return vec![word.to_owned()],
        };
        self.choose(forms).iter().map(|word| (*word).to_owned()).collect()
    }

    fn actions(&mut self, actions: &[Action], assumed: &mut Assumed<'_>) -> String {
        if actions.is_empty() {
            return self.choose(&["drop", "DROP", "", "drop,drop"]).to_owned();
        }
        let list: Vec<_> = actions
            .iter()
            .map(|action| {
                let text = self.action(action, assumed);
                assert!(assumed.admit(action));
                text
            })
            .collect();
        list.join(self.choose(&[",", " ", ",, "]))
    }

    /// Other words for an action.
    fn action(&mut self, action: &Action, assumed: &Assumed<'_>) -> String {
        let plain = action.to_string();
        let mut forms = vec![plain.clone()];
        match action {
            Action::Output(OutPort::Port(port)) => {
                forms.extend([
                    format!("{port}"),
                    format!("OUTPUT={port}"),
                    format!("output({port})"),
                ]);
            }
            Action::Output(_) => {
                forms.extend([
                    plain.to_lowercase(),
                    format!("output:{plain}"),
                    format!("output({plain})"),
                ]);
            }
            Action::SetField { field, value, mask } => {
                forms.push(plain.replacen("set_field:", "Set_Field(", 1) + ")");
                // OVS's loads have 64 bits.
                let (first, bits) = (mask.trailing_zeros(), mask.count_ones());
                let run = mask.leading_zeros() + first + bits == 128 && value >> first >> 64 == 0;
                let whole =
                    *mask == field.ones() && *field != Field::VlanVid && *field != Field::ArpOp;
                let value = self.number(value >> first);
                if run && whole && bits % 8 == 0 {
                    forms.push(format!("load:{value}->{field}"));
                    forms.push(format!("load:{value}->{}[]", field.nxm_name()));
                } else if run && !whole && !matches!(field, Field::VlanVid | Field::ArpOp) {
                    forms.push(format!("load:{value}->{field}[{first}..{}]", first + bits - 1));
                }
                forms.extend(whole.then(|| Self::old_word(*field, action)).flatten());
            }
            Action::Move { src, dst } if src.is_whole() && dst.is_whole() => {
                let names = [
                    (src.field.name(), dst.field.name()),
                    (src.field.nxm_name(), dst.field.nxm_name()),
                ];
                let (src, dst) = self.choose(&names);
                forms.push(format!("move:{src}->{dst}[]"));
            }
            Action::OutputTruncated { port, max_len } => {
                let port = Action::Output(*port).to_string();
                let port = port.trim_start_matches("output:");
                forms.push(format!("Output(max_len={max_len},port={port})"));
            }
            Action::Controller(controller) if controller.is_plain() => forms.extend([
                format!("controller(max_len={})", controller.max_len),
                format!("controller:{}", controller.max_len),
            ]),
            Action::Group(id) => forms.push(format!("group({id})")),
            Action::SetQueue(queue) => forms.push(format!("set_queue:{queue:#x}")),
            Action::Push(part) | Action::Pop(part) if part.is_whole() => {
                let word = if matches!(action, Action::Push(_)) { "push" } else { "pop" };
                forms.extend([
                    format!("{word}:{}[]", part.field),
                    format!("{word}({})", part.field),
                ]);
            }
            Action::Note(_) => forms.push(plain.replace('.', "")),
            Action::Multipath(_) => forms.push(plain.replace(',', " ")),
            Action::Bundle(_) => forms.push(plain.replace("members", "slaves")),
            Action::Conjunction { .. } => forms.push(plain.replace(',', ", ")),
            Action::CheckPktLarger { .. } => {
                forms.push(plain.replace('(', ":").replace(')', ""));
            }
            Action::Learn(_) => forms.push(plain.replace("NXM_NX_REG0", "reg0")),
            Action::WriteActions(inner) => {
                let list = self.actions(inner, &mut assumed.in_set());
                forms = vec![format!("write_actions({list})")];
            }
            Action::PushVlan(ethertype) => forms.push(format!("push_vlan={ethertype}")),
            Action::PopVlan => forms.extend(["strip_vlan".to_owned(), "pop_vlan()".to_owned()]),
            Action::DecTtl(ids) if ids.is_empty() => forms.push("dec_ttl()".to_owned()),
            Action::Resubmit { in_port: None, table: Some(table) } => {
                forms.push(format!("resubmit(in_port,{table})"));
            }
            Action::Resubmit { in_port: Some(port), table: None } => {
                forms.extend([
                    format!("resubmit({port})"),
                    format!("resubmit({port},)"),
                    format!("resubmit({port},255)"),
                ]);
            }
            Action::GotoTable(table) => forms.push(format!("goto_table({table})")),
            Action::Clone(inner) => {
                let list = self.actions(inner, &mut assumed.in_copy());
                forms = vec![format!("clone({list})")];
            }
            _ => {}
        }
        self.choose(&forms)
    }

    /// The same as OpenFlow 1.0 says it.
    fn old_word(field: Field, action: &Action) -> Option<String> {
        let word = match field {
            Field::EthSrc => "mod_dl_src",
            Field::EthDst => "mod_dl_dst",
            Field::IpSrc => "mod_nw_src",
            Field::IpDst => "mod_nw_dst",
            Field::IpEcn => "mod_nw_ecn",
            Field::TcpSrc | Field::UdpSrc | Field::SctpSrc => "mod_tp_src",
            Field::TcpDst | Field::UdpDst | Field::SctpDst => "mod_tp_dst",
            Field::VlanPcp => "mod_vlan_pcp",
            _ => return None,
        };
        let text = action.to_string();
        let value = text.strip_prefix("set_field:")?.split("->").next()?;
        Some(format!("{word}:{value}"))
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
    let spellings = cases::SPELLINGS.iter().chain(pipeline_cases::SPELLINGS);
    let texts: Vec<_> = spellings.map(|(text, _)| (*text).to_owned()).collect();
    for (text, theirs) in texts.iter().zip(ovs(&texts)) {
        let ours = text.parse().map(|flow| in_ovs_form(&flow));
        assert_eq!(theirs, Ok(ours.unwrap()), "{text}");
    }
    for (text, printed) in pipeline_cases::OLD_SPELLINGS {
        let theirs = ovs_over("OpenFlow10", &[(*text).to_owned()]);
        assert_eq!(theirs, [Ok((*printed).to_owned())], "{text}");
    }
    for (text, printed) in pipeline_cases::GROUPS {
        assert_eq!(ovs_group("OpenFlow15", text), Ok((*printed).to_owned()), "{text}");
    }
    for (text, printed) in pipeline_cases::OLD_GROUPS {
        assert_eq!(ovs_group("OpenFlow10", text), Ok((*printed).to_owned()), "{text}");
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn ovs_refuses_what_we_refuse() {
    for (text, error, _) in refused::REFUSED.iter().chain(refused::PIPELINE) {
        let theirs = ovs(&[(*text).to_owned()]);
        assert!(theirs[0].is_err(), "we say {error}, OVS {theirs:?}: {text}");
    }
    for (text, error, _) in pipeline_cases::REFUSED_GROUPS {
        let theirs = ovs_group("OpenFlow15", text);
        assert!(theirs.is_err(), "we say {error}, OVS {theirs:?}: {text}");
    }
}

#[test]
#[ignore = "needs ovs-ofctl: run by cargo xtask test"]
fn every_deviation_is_one() {
    for (text, ours, why) in cases::DEVIATIONS.iter().chain(pipeline_cases::DEVIATIONS) {
        let theirs = ovs(&[(*text).to_owned()]);
        let same = match ours {
            Ok(_) => theirs[0] == Ok(in_ovs_form(&text.parse().unwrap())),
            Err(_) => theirs[0].is_err(),
        };
        assert!(!same, "no longer a deviation ({why}): {text}");
    }
    for (text, ours, why) in pipeline_cases::OLD_DEVIATIONS {
        let theirs = ovs_over("OpenFlow10", &[(*text).to_owned()]);
        assert_ne!(theirs, [Ok((*ours).to_owned())], "no longer a deviation ({why}): {text}");
    }
    for (text, ours, why) in pipeline_cases::GROUP_DEVIATIONS {
        let theirs = ovs_group("OpenFlow15", text);
        let same = match ours {
            Ok(ours) => theirs.as_deref() == Ok(*ours),
            Err(_) => theirs.is_err(),
        };
        assert!(!same, "no longer a deviation ({why}): {text}");
    }
}
