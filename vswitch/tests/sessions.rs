//! Sessions of tracked packets: several passes as one, against the interpreter, which takes them one
//! after the other; and against a worker without sessions.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use api::{Command, FlowMod};
use common::{Bench, Options};
use flowtable::VlanMode;
use packet::{Headers, Key, compose, ethernet, parse, tcp, udp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pipelines between a client at port 1 and a server at port 2.
const PIPELINES: [&[&str]; 7] = [
    // A firewall.
    &[
        "table=0,priority=1,ip,actions=ct(table=1)",
        "table=0,priority=1,ipv6,actions=ct(table=1)",
        "table=1,priority=1,in_port=1,ip,ct_state=+new+trk,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,ipv6,ct_state=+new+trk,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,ct_state=+est+trk,actions=output:2",
        "table=1,priority=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
    ],
    // The client is hidden, and a hop counted.
    &[
        "table=0,priority=1,ct_state=-trk,ip,actions=ct(zone=1,nat,table=1)",
        "table=0,priority=1,ct_state=-trk,ipv6,actions=ct(zone=1,nat,table=1)",
        "table=1,priority=1,in_port=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(src=10.0.0.9:5000-5003),exec(load:5->NXM_NX_CT_MARK[])),dec_ttl,output:2",
        "table=1,priority=1,in_port=1,ipv6,ct_state=+new+trk,actions=ct(commit,zone=1,nat(src=fd00::9)),output:2",
        "table=1,priority=1,in_port=1,ip,ct_state=+est+trk,ct_mark=5,actions=dec_ttl,mod_dl_dst:02:00:00:00:00:02,output:2",
        "table=1,priority=0,in_port=1,ct_state=+est+trk,actions=mod_dl_dst:02:00:00:00:00:02,output:2",
        "table=1,priority=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
    ],
    // A service: who is asked for is somebody else.
    &[
        "table=0,priority=1,ip,actions=mod_nw_tos:16,ct(zone=1,nat,table=1)",
        "table=0,priority=1,ipv6,actions=ct(zone=1,nat,table=1)",
        "table=1,priority=1,in_port=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=10.0.0.7:8080),table=2)",
        "table=1,priority=1,in_port=1,ipv6,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=[fd00::7]:8080),table=2)",
        "table=1,priority=1,in_port=1,ct_state=+est+trk,actions=resubmit(,2)",
        "table=1,priority=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
        "table=2,priority=1,ip,nw_dst=10.0.0.7,nw_tos=16,actions=output:2",
        "table=2,priority=1,ipv6,ipv6_dst=fd00::7,actions=output:2",
    ],
    // Three zones, one behind the other; hops are counted between them; somebody sees a copy.
    &[
        "table=0,priority=1,in_port=1,ip,actions=dec_ttl,mod_dl_src:02:00:00:00:00:0a,ct(zone=1,nat,table=1)",
        "table=1,priority=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=10.0.0.7),table=2)",
        "table=1,priority=0,ip,actions=dec_ttl,resubmit(,2)",
        "table=2,priority=0,ip,actions=ct(commit,zone=2,table=3)",
        "table=3,priority=0,ip,ct_zone=2,actions=ct(commit,zone=3,exec(load:1->NXM_NX_CT_LABEL[5]),table=6)",
        "table=6,priority=1,in_port=1,ip,ct_label=0x20/0x20,actions=dec_ttl,output:3,output:2",
        "table=0,priority=1,in_port=2,ip,actions=dec_ttl,ct(zone=3,table=4)",
        "table=4,priority=1,ip,ct_state=+est+trk,actions=ct(zone=2,table=5)",
        "table=5,priority=1,ip,ct_state=+est+trk,actions=ct(zone=1,nat,table=6)",
        "table=6,priority=1,in_port=2,ip,actions=mod_nw_tos:8,output:1",
        "table=0,priority=1,in_port=1,ipv6,actions=dec_ttl,mod_dl_src:02:00:00:00:00:0a,ct(zone=1,nat,table=1)",
        "table=1,priority=1,ipv6,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=[fd00::7]),table=2)",
        "table=1,priority=0,ipv6,actions=dec_ttl,resubmit(,2)",
        "table=2,priority=0,ipv6,actions=ct(commit,zone=2,table=3)",
        "table=3,priority=0,ipv6,ct_zone=2,actions=ct(commit,zone=3,exec(load:1->NXM_NX_CT_LABEL[5]),table=6)",
        "table=6,priority=1,in_port=1,ipv6,ct_label=0x20/0x20,actions=dec_ttl,output:3,output:2",
        "table=0,priority=1,in_port=2,ipv6,actions=dec_ttl,ct(zone=3,table=4)",
        "table=4,priority=1,ipv6,ct_state=+est+trk,actions=ct(zone=2,table=5)",
        "table=5,priority=1,ipv6,ct_state=+est+trk,actions=ct(zone=1,nat,table=6)",
        "table=6,priority=1,in_port=2,ipv6,actions=output:1",
    ],
    // Who is asked for is somebody else twice: by a flow, and translated; and nobody hears who asks.
    &[
        "table=0,priority=1,in_port=1,tcp,actions=mod_nw_dst:10.0.0.3,mod_tp_src:77,ct(zone=1,nat,table=1)",
        "table=0,priority=1,in_port=1,udp,actions=mod_nw_src:10.0.0.4,ct(zone=1,nat,table=1)",
        "table=0,priority=1,in_port=2,ip,actions=ct(zone=1,nat,table=1)",
        "table=0,priority=1,ipv6,actions=ct(table=1)",
        "table=1,priority=2,in_port=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=10.0.0.7)),output:2",
        "table=1,priority=1,in_port=1,ip,actions=output:2",
        "table=1,priority=1,in_port=2,ip,actions=output:1",
        "table=1,priority=2,ipv6,ct_state=+new+trk,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,ipv6,actions=output:2",
        "table=1,priority=1,in_port=2,ipv6,actions=output:1",
    ],
    // What is behind a hop looks at a part of what is left.
    &[
        "table=0,priority=1,ip,actions=dec_ttl,ct(commit,table=1)",
        "table=0,priority=1,ipv6,actions=dec_ttl,ct(commit,table=1)",
        "table=1,priority=1,ip,actions=move:NXM_NX_IP_TTL[4..7]->NXM_NX_REG0[0..3],resubmit(,2)",
        "table=1,priority=1,ipv6,actions=move:NXM_NX_IP_TTL[4..7]->NXM_NX_REG0[0..3],resubmit(,2)",
        "table=2,priority=1,in_port=1,reg0=4,actions=output:2",
        "table=2,priority=1,in_port=1,reg0=3,actions=output:3,output:2",
        "table=2,priority=1,in_port=2,reg0=4,actions=output:1",
        "table=2,priority=1,in_port=2,reg0=3,actions=output:4",
    ],
    // What is known is let through, or not, by what it says.
    &[
        "table=0,priority=1,ip,actions=ct(commit,zone=4,table=1)",
        "table=0,priority=1,ipv6,actions=ct(commit,zone=4,table=1)",
        "table=1,priority=3,ct_state=+est+trk,tcp,tcp_flags=+psh,actions=output:3",
        "table=1,priority=2,ct_state=+est+trk,ip,nw_ttl=63,actions=drop",
        "table=1,priority=1,ct_state=+est+rpl+trk,actions=output:1",
        "table=1,priority=1,ct_state=+est-rpl+trk,actions=output:2",
        "table=1,priority=0,in_port=1,actions=output:2",
        "table=1,priority=0,in_port=2,actions=output:1",
    ],
];

/// What comes and goes meanwhile.
const CHANGES: [&str; 6] = [
    "table=1,priority=9,ip,nw_tos=32,ct_state=+est+trk,actions=ct(commit,zone=1,exec(load:7->NXM_NX_CT_MARK[])),output:4",
    "table=1,priority=8,ip,ct_mark=7,ct_state=+trk,actions=output:3",
    "table=1,priority=7,ip,ct_state=+est+trk,actions=dec_ttl,output:2",
    "table=0,priority=6,ip,nw_ttl=62,actions=output:4",
    "table=2,priority=5,ip,actions=output:1",
    "table=1,priority=5,tcp,ct_state=+est+rpl+trk,actions=mod_tp_dst:99,output:1",
];

/// What one side says.
#[derive(Clone, Copy, Debug)]
struct Say {
    flags: u16,
    /// Beside what it has said before, and what the other one has.
    seq: i32,
    ack: i32,
    window: u16,
    len: u16,
    tos: u8,
    ttl: u8,
}

#[derive(Clone, Debug)]
enum Step {
    /// One side of one of two talks says so much in a row; the server's side if it is `back`.
    Say {
        talk: usize,
        back: bool,
        says: Vec<Say>,
    },
    /// SYN, SYN and ACK, ACK.
    Open(usize),
    Wait(u64),
    Add(usize),
    Delete(usize),
}

const USUAL: Say = Say { flags: tcp::ACK, seq: 0, ack: 0, window: 1000, len: 10, tos: 0, ttl: 64 };

fn any_say() -> impl Strategy<Value = Say> {
    let flags = prop_oneof![
        20 => Just(tcp::ACK),
        4 => Just(tcp::ACK | tcp::PSH),
        1 => select(vec![tcp::SYN, tcp::SYN | tcp::ACK, tcp::FIN | tcp::ACK, tcp::RST, 0]),
    ];
    let far = || prop_oneof![12 => Just(0), 1 => -30..30, 1 => select(vec![-200_000, 200_000])];
    let rest = (
        prop_oneof![9 => Just(0u8), 1 => select(vec![16, 32])],
        prop_oneof![
            6 => Just(64u8),
            1 => 1..5u8,
            1 => 61..67u8,
        ],
    );
    (flags, far(), far(), select(vec![0, 1000, 60_000]), 0..40u16, rest).prop_map(
        |(flags, seq, ack, window, len, (tos, ttl))| Say { flags, seq, ack, window, len, tos, ttl },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..2usize, any::<bool>(), vec(any_say(), 1..6))
            .prop_map(|(talk, back, says)| Step::Say { talk, back, says }),
        6 => (0..2usize, any::<bool>(), 1..6usize)
            .prop_map(|(talk, back, n)| Step::Say { talk, back, says: vec![USUAL; n] }),
        2 => (0..2usize).prop_map(Step::Open),
        1 => select(vec![1, 11, 31, 121]).prop_map(Step::Wait),
        1 => (0..CHANGES.len()).prop_map(Step::Add),
        1 => (0..CHANGES.len()).prop_map(Step::Delete),
    ]
}

/// Two who talk, and what each has said so far.
#[derive(Clone, Debug)]
struct Talk {
    /// What the client says to whom it asks for.
    client: Key,
    /// What answers what the server has heard last.
    server: Key,
    next: [u32; 2],
}

impl Talk {
    fn new(n: u8, is_tcp: bool, is_ipv6: bool) -> Self {
        let (proto, flags) = if is_tcp { (tcp::PROTO, tcp::ACK) } else { (udp::PROTO, 0) };
        let mut key = Key::ZERO
            .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
            .with(Key::ETH_DST, 0x0200_0000_0002_u64)
            .with(Key::NW_PROTO, proto)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::HAS_TRANSPORT, 1u8)
            .with(Key::TTL_LEFT, 1u8)
            .with(Key::TP_SRC, 1000 + u16::from(n))
            .with(Key::TP_DST, 80u16)
            .with(Key::TCP_FLAGS, flags);
        key = match is_ipv6 {
            false => key
                .with(Key::ETH_TYPE, ethernet::IPV4)
                .with(Key::NW_SRC, 0x0a00_0001_u32)
                .with(Key::NW_DST, 0x0a00_0002_u32),
            true => key
                .with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, 0xfd00_u128 << 112 | 1)
                .with(Key::IPV6_DST, 0xfd00_u128 << 112 | 2),
        };
        Self { client: key, server: answer(&key), next: [1000, 50_000] }
    }

    fn is_tcp(&self) -> bool {
        self.client.word(Key::NW_PROTO) == u64::from(tcp::PROTO)
    }

    /// The packet in which a side says something.
    fn say(&mut self, back: bool, say: &Say) -> Vec<u8> {
        let template = if back { self.server } else { self.client };
        let flags = if self.is_tcp() { say.flags } else { 0 };
        let key = template
            .with(Key::NW_TOS, say.tos)
            .with(Key::NW_TTL, say.ttl)
            .with(Key::TTL_LEFT, u8::from(say.ttl > 1))
            .with(Key::TCP_FLAGS, flags);
        let (mut bytes, mut parsed) = (compose(&key, 0), Key::ZERO);
        let len = bytes.len() + usize::from(say.len);
        bytes = compose(&key, len);
        let headers: Headers = parse(&bytes, bytes.len(), &mut parsed).unwrap();
        if self.is_tcp() {
            let [own, other] = if back { [1, 0] } else { [0, 1] };
            let seq = self.next[own].wrapping_add_signed(say.seq);
            let ack = self.next[other].wrapping_add_signed(say.ack);
            let at = usize::from(headers.l4);
            bytes[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&ack.to_be_bytes());
            bytes[at + 14..at + 16].copy_from_slice(&say.window.to_be_bytes());
            if say.seq == 0 {
                let counts = u32::from(flags & (tcp::SYN | tcp::FIN) != 0);
                self.next[own] = self.next[own].wrapping_add(u32::from(say.len) + counts);
            }
        }
        bytes
    }

    /// The server has heard something.
    fn hear(&mut self, bytes: &[u8]) {
        let mut key = Key::ZERO;
        parse(bytes, bytes.len(), &mut key).unwrap();
        self.server = answer(&key);
    }
}

/// What answers a packet.
fn answer(key: &Key) -> Key {
    let swaps = [
        (Key::ETH_SRC, Key::ETH_DST),
        (Key::TP_SRC, Key::TP_DST),
        (Key::NW_SRC, Key::NW_DST),
        (Key::IPV6_SRC, Key::IPV6_DST),
    ];
    let mut answer = *key;
    for (one, other) in swaps {
        answer.set(one, key.get(other));
        answer.set(other, key.get(one));
    }
    answer
}

/// A switch whose packets the interpreter takes as well, and two talks across it.
struct Stage {
    bench: Bench,
    talks: [Talk; 2],
}

impl Stage {
    fn new(pipeline: usize, kinds: [(bool, bool); 2], options: Options) -> Self {
        let mut bench = Bench::new(&vec![VlanMode::Trunk(Vec::new()); 4], options);
        bench.flow_mods(
            &PIPELINES[pipeline].iter().map(|flow| flow.parse().unwrap()).collect::<Vec<_>>(),
        );
        let mut talks =
            (0..).zip(kinds).map(|(n, (is_tcp, is_ipv6))| Talk::new(n, is_tcp, is_ipv6));
        Self { bench, talks: [talks.next().unwrap(), talks.next().unwrap()] }
    }

    fn say(&mut self, talk: usize, back: bool, says: &[Say]) -> Result<(), TestCaseError> {
        let own = &mut self.talks[talk];
        let packets: Vec<_> = says.iter().map(|say| own.say(back, say)).collect();
        let (real, expected) = self.bench.carry(if back { 2 } else { 1 }, &packets);
        if !back && let Some((_, heard)) = real.sent.iter().rev().find(|(port, _)| *port == 2) {
            own.hear(heard);
        }
        prop_assert_eq!(real.told_apart(), expected.told_apart());
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Say { talk, back, says } => self.say(*talk, *back, says)?,
            Step::Open(talk) => self.open(*talk)?,
            Step::Wait(seconds) => self.bench.now += std::time::Duration::from_secs(*seconds),
            Step::Add(n) => self.bench.flow_mods(&[CHANGES[*n].parse().unwrap()]),
            Step::Delete(n) => {
                let flow: FlowMod = CHANGES[*n].parse().unwrap();
                let command = Command::DeleteStrict;
                self.bench.flow_mods(&[FlowMod { command, actions: None, ..flow }]);
            }
        }
        self.bench.turn();
        self.bench.check();
        prop_assert_eq!(self.bench.counts(), self.bench.expected_counts());
        Ok(())
    }

    fn open(&mut self, talk: usize) -> Result<(), TestCaseError> {
        let begins = Say { flags: tcp::SYN, len: 0, ..USUAL };
        self.say(talk, false, &[begins])?;
        self.say(talk, true, &[Say { flags: tcp::SYN | tcp::ACK, ..begins }])?;
        self.say(talk, false, &[Say { len: 0, ..USUAL }])?;
        self.say(talk, true, &[Say { len: 0, ..USUAL }])
    }

    fn hits(&self) -> u64 {
        self.bench.counters.session_hits.get()
    }
}

/// More of them where somebody waits: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_session_does_what_all_passes_do(
        pipeline in 0..PIPELINES.len(),
        kinds in any::<[(bool, bool); 2]>(),
        steps in vec(any_step(), 1..40),
        sessions in select(vec![0, 4, 256]),
    ) {
        let mut stage = Stage::new(pipeline, kinds, Options { sessions, ..Options::default() });
        stage.take(&Step::Open(0))?;
        for step in &steps {
            stage.take(step)?;
        }
    }
}

#[test]
fn packets_of_settled_connections_have_sessions() {
    // But for one in which an address is written before it is translated.
    for pipeline in [0, 1, 2, 3, 5, 6] {
        for (is_tcp, is_ipv6) in [(true, false), (true, true), (false, false), (false, true)] {
            let case = (pipeline, is_tcp, is_ipv6);
            let mut stage = Stage::new(pipeline, [(is_tcp, is_ipv6); 2], Options::default());
            stage.open(0).unwrap();
            for _ in 0..3 {
                stage.say(0, false, &[USUAL]).unwrap();
                stage.say(0, true, &[USUAL]).unwrap();
            }
            stage.bench.check();
            let before = stage.hits();
            stage.say(0, false, &[USUAL; 5]).unwrap();
            stage.say(0, true, &[USUAL; 5]).unwrap();
            stage.bench.check();
            assert_eq!(stage.hits() - before, 10, "{case:?}");
        }
    }
}

#[test]
fn what_follows_a_reset_in_one_batch_is_judged_behind_it() {
    let mut stage = Stage::new(0, [(true, false); 2], Options::default());
    stage.open(0).unwrap();
    for back in [false, true, false, true, false, true] {
        stage.say(0, back, &[USUAL]).unwrap();
    }
    stage.bench.check();
    let before = stage.hits();
    let reset = Say { flags: tcp::RST, len: 0, ..USUAL };
    stage.say(0, false, &[USUAL, reset, USUAL, USUAL]).unwrap();
    stage.bench.check();
    assert_eq!(stage.hits() - before, 1, "only what comes in front of it is as usual");
    assert_eq!(stage.bench.expected_counts(), stage.bench.counts());
}

/// A packet that met an outdated megaflow had another one made where its like was already; a change
/// then found only one of the two.
#[test]
fn there_were_two_megaflows_for_the_same_packets() {
    let options = Options { sessions: 0, ..Options::default() };
    let mut stage = Stage::new(6, [(true, false); 2], options);
    let pushes = Say { flags: tcp::ACK | tcp::PSH, ..USUAL };
    let says = |says| Step::Say { talk: 0, back: true, says };
    let steps = [
        Step::Open(0),
        Step::Add(2),
        says(vec![pushes, USUAL]),
        Step::Delete(2),
        says(vec![USUAL, USUAL]),
    ];
    steps.iter().for_each(|step| stage.take(step).unwrap());
}
