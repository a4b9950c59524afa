//! Who spells flows as people might, for the tests that have them read again.

use super::Assumed;
use crate::action::{Action, OutPort, Subfield};
use crate::ct::{Ct, CtZone, Nat};
use crate::field::Field;
use crate::flow::{FlowFlags, FlowMod, Match};

/// Writes a flow as a person might: other names, other numbers, another order.
pub(super) struct Speller<'a> {
    pub(super) choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Speller<'_> {
    fn choose<T: Clone>(&mut self, forms: &[T]) -> T {
        let choice = usize::from(*self.choices.next().unwrap());
        forms[choice % forms.len()].clone()
    }

    /// A flow in one of its spellings.
    pub(super) fn flow(&mut self, flow: &FlowMod) -> String {
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
        self.shuffle(&mut words);
        let separator = self.choose(&[",", " ", ", ", ",,\t"]);
        let equals = self.choose(&["actions=", "action="]);
        let list = self.actions(
            flow.actions.as_deref().unwrap(),
            &mut Assumed::at_start(&flow.matching, None),
        );
        format!("{}{separator}{equals}{list}", words.join(separator))
    }

    /// Puts words in another order, where any will do.
    fn shuffle(&mut self, words: &mut [String]) {
        for n in (1..words.len()).rev() {
            let all: Vec<_> = (0..=n).collect();
            let other = self.choose(&all);
            words.swap(n, other);
        }
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
        if name == "ct_state" {
            forms.push(format!("ct_state={}", self.state(value)));
        }
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

    /// Other words for what is matched of `ct_state`.
    fn state(&mut self, value: &str) -> String {
        let matching: Match = format!("ct_state={value}").parse().unwrap();
        let span = Field::CtState.span();
        let [key, mask] = [matching.key(), matching.mask()].map(|key| self.number(key.get(span)));
        let flags = value.replace('+', "|+").replace('-', "|-");
        let backwards: Vec<_> = flags.split('|').filter(|flag| !flag.is_empty()).rev().collect();
        let joint = if value.starts_with(['+', '-']) { "" } else { "|" };
        self.choose(&[backwards.join(joint), format!("{key}/{mask}")])
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
            Action::Move { src, dst } if [src, dst].into_iter().all(is_whole) => {
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
            Action::Push(part) | Action::Pop(part) if is_whole(part) => {
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
            Action::Ct(ct) => forms = vec![self.ct(ct, assumed)],
            Action::CtClear => forms.push("CT_CLEAR()".to_owned()),
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

    fn ct(&mut self, ct: &Ct, assumed: &Assumed<'_>) -> String {
        let mut words = Vec::new();
        words.extend(ct.commit.then(|| "commit".to_owned()));
        words.extend(ct.force.then(|| "force".to_owned()));
        words.extend(ct.table.map(|table| format!("table={table}")));
        words.push(match ct.zone {
            CtZone::Number(zone) => format!("zone={}", self.number(zone.into())),
            CtZone::Field(part) => {
                let Subfield { field, first, bits } = part;
                format!("zone={field}[{first}..{}]", first + bits - 1)
            }
        });
        words.extend(ct.alg.map(|alg| format!("alg:{}", alg.name())));
        // OVS keeps the order of these two.
        let mut last: Vec<_> = ct.nat.iter().map(|nat| self.nat(nat)).collect();
        if !ct.exec.is_empty() {
            let exec = self.actions(&ct.exec, &mut assumed.in_exec());
            last.push(format!("exec({exec})"));
        }
        let separator = self.choose(&[",", " ", ", "]);
        words.push(last.join(separator));
        self.shuffle(&mut words);
        format!("{}({})", self.choose(&["ct", "CT"]), words.join(separator))
    }

    fn nat(&mut self, nat: &Nat) -> String {
        let plain = nat.to_string();
        let Some(words) = plain.strip_prefix("nat(").and_then(|rest| rest.strip_suffix(')')) else {
            return self.choose(&["nat", "nat()"]).to_owned();
        };
        let backwards: Vec<_> = words.split(',').rev().collect();
        self.choose(&[format!("nat({})", backwards.join(",")), plain])
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

/// Whether it is all of its field to OVS too, which has more bits of `arp_op`.
fn is_whole(part: &Subfield) -> bool {
    part.is_whole() && part.bits == part.field.width()
}
