//! Flows that ask about connections, here and in OVS with its datapath in userspace: what comes out of
//! the same packets is the same bytes, at the same ports.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod common;
#[path = "common/ovs.rs"]
mod ovs;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{Bench, Options};
use flowtable::VlanMode;
use ovs::{Ovs, PORTS};
use packet::checksum::Sum;
use packet::ipv4::Ipv4;
use packet::{Key, compose, ethernet, icmp, tcp, udp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

/// Packets by the port that they have left by.
type Out = Vec<(u16, Vec<u8>)>;

/// OVS, with one line open to it, and what it has written of each port so far.
struct Theirs {
    ovs: Ovs,
    line: UnixStream,
    read: [usize; PORTS as usize],
    marks: u64,
}

/// The type of frames that mark a moment.
const MARK: u16 = 0x88b5;

impl Theirs {
    fn start() -> Self {
        let ovs = Ovs::start();
        let line = UnixStream::connect(ovs.folder.join("vswitchd.ctl")).unwrap();
        line.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Behind the header of each file.
        Self { ovs, line, read: [24; PORTS as usize], marks: 0 }
    }

    fn tell(&mut self, method: &str, params: &[&str]) {
        let request = serde_json::json!({ "id": 0, "method": method, "params": params });
        self.line.write_all(request.to_string().as_bytes()).unwrap();
        let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
        loop {
            let len = self.line.read(&mut bytes).unwrap();
            assert!(len > 0, "it hangs up");
            answer.extend(&bytes[..len]);
            if let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&answer) {
                assert!(answer["error"].is_null(), "{request}: {answer}");
                return;
            }
        }
    }

    fn flows(&mut self, flows: &[String]) {
        let mark = format!("priority=65535,dl_type={MARK:#x},actions=all,in_port");
        self.ovs.flows(&[flows, &[mark]].concat());
        self.tell("dpctl/flush-conntrack", &[]);
    }

    fn receive(&mut self, port: u16, bytes: &[u8]) {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.tell("netdev-dummy/receive", &[&format!("p{port}"), &hex]);
    }

    fn carry(&mut self, port: u16, bytes: &[u8]) -> Out {
        self.receive(port, bytes);
        self.marks += 1;
        let mut mark = [[2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 8]].concat();
        mark.extend(MARK.to_be_bytes());
        mark.extend(self.marks.to_be_bytes());
        mark.resize(60, 0);
        self.receive(port, &mark);
        let mut out = Vec::new();
        for number in 1..=PORTS {
            self.take(number, &mark, &mut out);
        }
        out
    }

    /// What has left by a port up to a mark.
    fn take(&mut self, number: u16, mark: &[u8], out: &mut Out) {
        let file = self.ovs.folder.join(format!("p{number}.pcap"));
        for _ in 0..5000 {
            let bytes = std::fs::read(&file).unwrap();
            let at = &mut self.read[usize::from(number) - 1];
            while let Some(len) = bytes.get(*at + 8..*at + 12) {
                let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
                let Some(packet) = bytes.get(*at + 16..*at + 16 + len) else { break };
                *at += 16 + len;
                if packet == mark {
                    return;
                }
                out.push((number, packet.to_vec()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        panic!("the mark does not come at p{number}");
    }
}

/// Ours.
struct Ours(Bench);

impl Ours {
    fn of(flows: &[String]) -> Self {
        let vlans = vec![VlanMode::Trunk(Vec::new()); PORTS.into()];
        let mut bench = Bench::new(&vlans, Options::default());
        let flows: Vec<_> = flows
            .iter()
            .map(|flow| flow.parse().unwrap_or_else(|error| panic!("{flow}: {error}")))
            .collect();
        let before = bench.generation();
        bench.flow_mods(&flows);
        assert!(!std::sync::Arc::ptr_eq(&before, &bench.generation()), "flows are refused");
        Self(bench)
    }

    fn carry(&mut self, port: u16, bytes: &[u8]) -> Out {
        self.0.put(port, bytes);
        self.0.turn();
        self.0.take()
    }
}

/// What a flow asks for of a connection. DIFFERS: `snat` and `dnat` are of the connection, as in the
/// kernel, and in OVS of what was done to this packet.
const ASKED: [&str; 12] = [
    "ct_state=+new+trk",
    "ct_state=+est+trk",
    "ct_state=+est-rpl+trk",
    "ct_state=+rpl+trk",
    "ct_state=-new+trk",
    "ct_state=+trk",
    "ct_state=-trk",
    "ct_state=+trk,ct_mark=5",
    "ct_state=+trk,ct_mark=0x2/0x2",
    "ct_state=+trk,ct_label=0x4/0x4",
    "ct_state=+trk,ct_zone=2",
    "ct_state=+est+trk,ct_nw_src=10.0.0.1",
];
const NATS: [&str; 5] = ["src=10.9.0.1", "dst=10.9.0.2", "dst=10.9.0.3:8080", "src=10.9.0.4", ""];
const EXECS: [&str; 5] = [
    "load:0x5->NXM_NX_CT_MARK[]",
    "set_field:0x2/0x6->ct_mark",
    "load:0x1->NXM_NX_CT_LABEL[2]",
    "set_field:0x4->ct_label",
    "set_field:0->ct_mark",
];

fn any_ct(table: u8, kind: Kind) -> impl Strategy<Value = String> {
    let nat = prop::option::weighted(0.5, select(NATS.to_vec()));
    let execs = vec(select(EXECS.to_vec()), 0..3);
    let next = prop::option::weighted(0.7, (table + 1)..4);
    let zones = if kind == Kind::Zones { 1..3u16 } else { 1..2 };
    (any::<bool>(), zones, nat, execs, next).prop_map(move |(commit, zone, nat, execs, next)| {
        let mut parts = vec![format!("zone={zone}")];
        parts.extend(commit.then(|| "commit".to_owned()));
        // DIFFERS: of one that is begun with `nat` and no range, OVS expects answers from nowhere.
        parts.extend(nat.and_then(|nat| match nat {
            _ if !commit => Some("nat".to_owned()),
            _ if kind == Kind::Zones || nat.is_empty() => None,
            nat => Some(format!("nat({nat})")),
        }));
        parts.extend((commit && !execs.is_empty()).then(|| format!("exec({})", execs.join(","))));
        parts.extend(next.map(|next| format!("table={next}")));
        format!("ct({})", parts.join(","))
    })
}

fn any_action(table: u8, kind: Kind) -> BoxedStrategy<String> {
    let output = (1..=PORTS).prop_map(|port| format!("output:{port}"));
    let other = select(vec!["ct_clear", "mod_nw_tos:32", "move:NXM_NX_CT_MARK[]->NXM_NX_REG1[]"]);
    let other = other.prop_map(str::to_owned);
    if table == 3 {
        return prop_oneof![8 => output, 1 => other].boxed();
    }
    let resubmit = ((table + 1)..4).prop_map(|next| format!("resubmit(,{next})"));
    prop_oneof![4 => output, 4 => any_ct(table, kind), 3 => resubmit, 1 => other].boxed()
}

/// What flows of a table ask for, and do; the last one is for all that is left.
fn any_table(table: u8, kind: Kind) -> impl Strategy<Value = Vec<String>> {
    let proto = select(vec!["ip", "ip", "ip", "tcp", "udp", "icmp"]);
    let asked = prop::option::weighted(if table == 0 { 0.2 } else { 0.9 }, select(ASKED.to_vec()));
    let from = prop::option::weighted(0.3, 1..=PORTS);
    let flow = (proto, asked, from, vec(any_action(table, kind), 1..4));
    let flow = flow.prop_map(|(proto, asked, from, actions)| {
        let from = from.map(|from| format!(",in_port={from}")).unwrap_or_default();
        let asked = asked.map(|asked| format!(",{asked}")).unwrap_or_default();
        // DIFFERS: what is done behind `ct` with `nat` and `table`, OVS does with what is translated.
        let forks = |action: &String| {
            action.contains("nat") && action.contains("table=") || action.contains("resubmit")
        };
        let end = actions.iter().position(forks).map_or(actions.len(), |at| at + 1);
        let actions = actions[..end].join(",");
        // DIFFERS: of an echo, OVS leaves the identifier as it is.
        let actions = match proto {
            "tcp" | "udp" => actions,
            _ => actions.replace(":8080", ""),
        };
        format!("{proto}{from}{asked},actions={actions}")
    });
    let last = any_action(table, kind).prop_map(|action| {
        let action = action.replace(":8080", "");
        format!("ip,actions={action}")
    });
    (vec(flow, 0..4), last).prop_map(move |(flows, last)| {
        if (table, kind) == (0, Kind::Segments) {
            return vec!["table=0,priority=1,ip,actions=ct(zone=1,nat,table=1)".to_owned()];
        }
        let last = if table == 0 && last.contains("output") {
            "ip,actions=ct(zone=1,nat,table=1)".to_owned()
        } else {
            last
        };
        let numbered = flows.into_iter().chain([last]).rev().zip(1..);
        numbered.map(|(flow, n)| format!("table={table},priority={n},{flow}")).collect()
    })
}

fn any_pipeline(kind: Kind) -> impl Strategy<Value = Vec<String>> {
    (any_table(0, kind), any_table(1, kind), any_table(2, kind), any_table(3, kind))
        .prop_map(|(a, b, c, d)| [a, b, c, d].concat())
}

/// What is said, and by which flows it is carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Datagrams and echos, by any that translate nothing.
    Zones,
    /// The same by flows that translate in one zone (DIFFERS: who is translated in a zone and comes back
    /// to it from another one is a stranger there, but not in OVS).
    Datagrams,
    /// Segments as well, all of which one zone sees: of one whose connection has heard but one side OVS
    /// makes something else (DIFFERS).
    Segments,
}

/// What comes next in a conversation. DIFFERS: of ends out of order OVS judges as pf does; the kernel
/// judges them with us in `conntrack/tests/kernel`.
#[derive(Clone, Copy, Debug)]
enum Say {
    /// What would come in order.
    Next,
    /// Data of either side, the server's if it is `true`.
    Data(bool, u16),
}

fn any_say() -> impl Strategy<Value = (usize, Say)> {
    let say = prop_oneof![
        10 => Just(Say::Next),
        6 => (any::<bool>(), 0..40u16).prop_map(|(back, len)| Say::Data(back, len)),
    ];
    (0..TALKS, say)
}

const TALKS: usize = 6;

/// A client at port 1 and a server, who answers what it hears and where.
#[derive(Clone, Debug)]
struct Talk {
    client: Key,
    heard: Option<(u16, Key)>,
    said: u32,
    /// Of an echo, as each side has it.
    ids: [u16; 2],
    next: [u32; 2],
}

impl Talk {
    /// Two of each protocol.
    fn new(n: usize, kind: Kind) -> Self {
        let first = if kind == Kind::Segments { tcp::PROTO } else { udp::PROTO };
        let (n, proto) = (u16::try_from(n).unwrap(), [first, udp::PROTO, icmp::PROTO][n % 3]);
        let ports = if proto == icmp::PROTO { [8, 0] } else { [1000 + n, 80] };
        let client = Key::ZERO
            .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
            .with(Key::ETH_DST, 0x0200_0000_0002_u64)
            .with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_SRC, 0x0a00_0001_u32 + u32::from(n / 3))
            .with(Key::NW_DST, 0x0a00_000a_u32)
            .with(Key::NW_PROTO, proto)
            .with(Key::NW_TTL, 64u8)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::HAS_TRANSPORT, 1u8)
            .with(Key::TTL_LEFT, 1u8)
            .with(Key::TP_SRC, ports[0])
            .with(Key::TP_DST, ports[1]);
        Self { client, heard: None, said: 0, ids: [n; 2], next: [1000, 50_000] }
    }

    fn proto(&self) -> u8 {
        u8::try_from(self.client.word(Key::NW_PROTO)).unwrap()
    }

    /// The packet in which something is said, and the port it comes in by; `None` if nobody has heard
    /// what it would answer.
    fn say(&mut self, say: Say) -> Option<(u16, Vec<u8>)> {
        // DIFFERS: OVS takes whatever is behind a SYN for established.
        let is_opening = self.proto() == tcp::PROTO && self.said < 3;
        let say = if is_opening { Say::Next } else { say };
        let (back, flags, len) = match say {
            Say::Data(back, len) => (back, tcp::ACK | tcp::PSH, len),
            Say::Next => {
                self.said += 1;
                match self.said {
                    1 => (false, tcp::SYN, 0),
                    2 => (true, tcp::SYN | tcp::ACK, 0),
                    n => (n % 2 == 0, tcp::ACK, 5),
                }
            }
        };
        let Some((port, key)) = (if back { self.heard } else { Some((1, self.client)) }) else {
            self.said -= u32::from(matches!(say, Say::Next));
            return None;
        };
        let is_tcp = self.proto() == tcp::PROTO;
        let key = key.with(Key::TCP_FLAGS, if is_tcp { flags } else { 0 });
        let mut bytes = compose(&key, compose(&key, 0).len() + usize::from(len));
        let l4 = ethernet::LEN + 20;
        if is_tcp {
            let [own, other] = if back { [1, 0] } else { [0, 1] };
            let ack = if flags & tcp::ACK == 0 { 0 } else { self.next[other] };
            bytes[l4 + 4..l4 + 8].copy_from_slice(&self.next[own].to_be_bytes());
            bytes[l4 + 8..l4 + 12].copy_from_slice(&ack.to_be_bytes());
            bytes[l4 + 14..l4 + 16].copy_from_slice(&60_000_u16.to_be_bytes());
            let counts = u32::from(flags & (tcp::SYN | tcp::FIN) != 0);
            self.next[own] = self.next[own].wrapping_add(u32::from(len) + counts);
        }
        if self.proto() == icmp::PROTO {
            bytes[l4 + 4..l4 + 6].copy_from_slice(&self.ids[usize::from(back)].to_be_bytes());
        }
        seal(&mut bytes, self.proto());
        Some((port, bytes))
    }

    /// The server has heard something.
    fn hear(&mut self, port: u16, bytes: &[u8]) {
        let mut key = Key::ZERO;
        packet::parse(bytes, bytes.len(), &mut key).unwrap();
        let mut answer = key;
        for (one, other) in
            [(Key::ETH_SRC, Key::ETH_DST), (Key::NW_SRC, Key::NW_DST), (Key::TP_SRC, Key::TP_DST)]
        {
            if self.proto() != icmp::PROTO || one != Key::TP_SRC {
                answer.set(one, key.get(other));
                answer.set(other, key.get(one));
            }
        }
        if self.proto() == icmp::PROTO {
            answer.set(Key::TP_SRC, 0u8);
            let l4 = ethernet::LEN + 20;
            self.ids[1] = u16::from_be_bytes([bytes[l4 + 4], bytes[l4 + 5]]);
        }
        self.heard = Some((port, answer.with(Key::NW_TTL, 64u8)));
    }
}

/// Writes the checksum of what a packet carries.
fn seal(frame: &mut [u8], proto: u8) {
    let (ip, _) = Ipv4::split(&frame[ethernet::LEN..]).unwrap();
    let len = ip.total_len() - ip.header_len();
    let sum = Sum::pseudo_v4(ip.src(), ip.dst(), proto, len);
    let (at, sum) = match proto {
        tcp::PROTO => (tcp::CHECKSUM, sum),
        udp::PROTO => (udp::CHECKSUM, sum),
        _ => (icmp::CHECKSUM, Sum::default()),
    };
    let l4 = &mut frame[ethernet::LEN + 20..][..len];
    l4[at..at + 2].fill(0);
    let sum = sum.bytes(l4).finish();
    l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Has both carry what is said.
fn run(
    theirs: &mut Theirs,
    (kind, flows): (Kind, &[String]),
    says: &[(usize, Say)],
    lines: &mut Vec<String>,
) -> Result<[u32; 2], TestCaseError> {
    theirs.flows(flows);
    let (mut ours, mut counts) = (Ours::of(flows), [0; 2]);
    let mut talks: Vec<_> = (0..TALKS).map(|n| Talk::new(n, kind)).collect();
    for (talk, say) in says {
        let Some((port, bytes)) = talks[*talk].say(*say) else { continue };
        let [mut their, mut our] = [theirs.carry(port, &bytes), ours.carry(port, &bytes)];
        [&mut their, &mut our].into_iter().for_each(|out| out.sort());
        let show = |out: &Out| -> Vec<_> {
            out.iter().map(|(port, bytes)| format!("{port}: {:02x?}", &bytes[14..])).collect()
        };
        lines.push(format!("{talk} {say:?} at {port}: {:02x?}", &bytes[14..]));
        prop_assert_eq!(show(&our), show(&their), "talk {} {:?}", talk, say);
        counts = [counts[0] + 1, counts[1] + u32::try_from(our.len()).unwrap()];
        if let (1, Some((to, heard))) = (port, our.iter().find(|(to, _)| *to != 1)) {
            talks[*talk].hear(*to, heard);
        }
    }
    Ok(counts)
}

/// Lets both carry so many cases: the same at every run. `PROPTEST_CASES` makes them more, and
/// `PROPTEST_RNG_SEED` others.
fn carry_many(kind: Kind) {
    let theirs = std::cell::RefCell::new(Theirs::start());
    let mut config =
        Config { failure_persistence: None, max_shrink_time: 20_000, ..Config::default() };
    config.cases = config.cases.max(300);
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(7);
    }
    let counts = std::cell::Cell::new([0; 2]);
    let cases = (any_pipeline(kind), vec(any_say(), 1..60));
    let result = TestRunner::new(config).run(&cases, |(flows, says)| {
        let some = run(&mut theirs.borrow_mut(), (kind, &flows), &says, &mut Vec::new())?;
        let [packets, sent] = counts.get();
        counts.set([packets + some[0], sent + some[1]]);
        Ok(())
    });
    if let Err(TestError::Fail(why, (flows, says))) = result {
        let mut lines = Vec::new();
        let _ = run(&mut theirs.borrow_mut(), (kind, &flows), &says, &mut lines);
        lines.push(theirs.borrow().ovs.run(&["ovs-appctl", "dpctl/dump-conntrack", "-m"]));
        panic!("{why}\n{}\n{}", flows.join("\n"), lines.join("\n"));
    }
    let [packets, sent] = counts.get();
    println!("{packets} packets, of which {sent} came out");
    assert!(packets > 5000 && sent > packets / 2, "{packets} packets, {sent} came out");
}

#[test]
#[ignore = "needs root and ovs-ofctl: run by cargo xtask test"]
fn connections_are_told_as_ovs_tells_them() {
    [Kind::Zones, Kind::Datagrams, Kind::Segments].into_iter().for_each(carry_many);
}
