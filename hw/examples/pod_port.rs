//! What a pod's port could be made of, side by side: throughput, small packets, round trips.
//!
//! `cargo run --release -p hw --example pod_port [rounds [seconds [candidate]]]`, as root; the
//! figures of `docs/src/decisions/0002-pod-port.md`. Every candidate has its turn in every round,
//! so that a disturbance meets all; the table shows medians, and the best in brackets.
#![expect(clippy::expect_used, reason = "a measurement that cannot be taken ends the program")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::sockets::{packet_socket, received, small_packet};
use common::{Forwarder, Frames, Result};
use hw::bpf::{Code, Kind, Program, Register::*, Size};
use hw::tc::{self, Hook};
use hw::{AfXdp, AfXdpOptions, Internal, InternalOptions, Links, Pod, PodOptions, Port};
use packet::{Batch, FramePool, PortId};
use testnet::{Host, TestNet};

/// A way to join two pods.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Candidate {
    Bridge,
    TapInPod { batched: bool },
    TapPerPod { batched: bool },
    SharedTap,
    PacketSocket,
    AfXdp,
}

const CANDIDATES: [Candidate; 8] = [
    Candidate::Bridge,
    Candidate::TapInPod { batched: false },
    Candidate::TapInPod { batched: true },
    Candidate::TapPerPod { batched: false },
    Candidate::TapPerPod { batched: true },
    Candidate::SharedTap,
    Candidate::PacketSocket,
    Candidate::AfXdp,
];

/// Figures of one candidate in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    gbit: f64,
    packets: f64,
    round_trip: [f64; 2],
    syscalls: f64,
    processor_ns: f64,
}

fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual| arguments.next().map_or(Ok(usual), |argument| argument.parse());
    let (rounds, seconds) = (number(3)?, number(2)?);
    let only = arguments.next().unwrap_or_default();
    calls()?;
    let wanted = |candidate: &&Candidate| format!("{candidate:?}").contains(&only);
    let mut table = BTreeMap::<(bool, Candidate), Vec<Figures>>::new();
    for round in 0..rounds {
        for sleeps in [true, false] {
            for &candidate in CANDIDATES.iter().filter(wanted) {
                if candidate == Candidate::Bridge && !sleeps {
                    continue;
                }
                let figures = measure(candidate, sleeps, seconds)?;
                eprintln!("round {round} sleeps {sleeps} {candidate:?}: {figures:.1?}");
                table.entry((!sleeps, candidate)).or_default().push(figures);
            }
        }
    }
    println!(
        "| forwarder | candidate | TCP Gbit/s | 60-byte kpps | calls/packet | RTT p50 us | p99 us |"
    );
    println!("|---|---|---|---|---|---|---|");
    for ((spins, candidate), figures) in table {
        // The middle of the rounds, and the best: what disturbs only ever makes worse.
        let both = |of: fn(&Figures) -> f64, digits: usize, more_is_better: bool| {
            let mut values: Vec<_> = figures.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            let best = if more_is_better { values[values.len() - 1] } else { values[0] };
            format!("{:.digits$} ({best:.digits$})", values[values.len() / 2])
        };
        println!(
            "| {} | {candidate:?} | {} | {} | {} | {} | {} | {} |",
            if spins { "spins" } else { "sleeps" },
            both(|figures| figures.gbit, 1, true),
            both(|figures| figures.packets / 1000.0, 0, true),
            both(|figures| figures.syscalls, 2, false),
            both(|figures| figures.processor_ns, 0, false),
            both(|figures| figures.round_trip[0], 1, false),
            both(|figures| figures.round_trip[1], 1, false),
        );
    }
    Ok(())
}

/// What reading and writing a packet of a TAP costs, singly and batched: nanoseconds, the best of
/// many turns, each of which moves a thousand packets that lie ready.
fn calls() -> Result {
    const TURNS: usize = 400;
    const PACKETS: usize = 1000;
    let net = TestNet::new()?;
    let frames = Frames::new(16384);
    let ports = [false, true].map(|batched| {
        let options =
            InternalOptions { batched, ..InternalOptions::new(["t0", "t1"][usize::from(batched)]) };
        net.inside(|| Internal::open(&options, PortId(1), &frames.depot))
    });
    let mut best = [[f64::MAX; 2]; 2];
    for (n, port) in ports.into_iter().enumerate() {
        let (mut port, name) = (port??, format!("t{n}"));
        let (mut rx, mut tx) = (port.rx_queues().remove(0), port.tx_queue()?);
        let mut pool = FramePool::new(&frames.depot);
        let (mut batch, mut refused) = (Batch::new(), Vec::new());
        for _ in 0..TURNS {
            net.inside(|| -> Result {
                let socket = packet_socket(&name)?;
                for _ in 0..PACKETS {
                    rustix::net::send(&socket, &[0; 70], rustix::net::SendFlags::empty())?;
                }
                Ok(())
            })??;
            let (begun, mut read) = (now(), 0);
            let mut written = Duration::ZERO;
            while read < PACKETS {
                rx.rx(&mut batch, 250, &mut pool);
                read += batch.len();
                let paused = now();
                tx.tx(&mut batch, &mut pool, &mut refused);
                written += paused.elapsed();
            }
            let both = [begun.elapsed() - written, written];
            for (best, took) in best[n].iter_mut().zip(both) {
                *best = best.min(took.as_secs_f64() * 1e9 / PACKETS as f64);
            }
        }
    }
    println!("| calls | read ns/packet | write ns/packet |\n|---|---|---|");
    for (name, [read, write]) in ["singly", "batched"].iter().zip(best) {
        println!("| {name} | {read:.0} | {write:.0} |");
    }
    Ok(())
}

fn measure(candidate: Candidate, sleeps: bool, seconds: u32) -> Result<Figures> {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let frames = Frames::new(16384);
    let joint = join(candidate, sleeps, &net, [&a, &b], &frames)?;
    let mut arrived = 0;
    for _ in 0..100 {
        arrived = a.ping(&b, 1)?;
        if arrived == 1 {
            break;
        }
    }
    assert_eq!(arrived, 1, "{candidate:?} carries nothing");
    let round_trip = round_trips(&a, &b)?;
    let server = b.iperf3_server()?;
    let gbit = a.iperf3(b.address(), seconds, "")? / 1000.0;
    drop(server);
    let before = joint.costs();
    let packets = small_packets(&a, &b, seconds)?;
    let after = joint.costs();
    let [syscalls, processor_ns] =
        [0, 1].map(|cost| (after[cost] - before[cost]) / (packets * f64::from(seconds)));
    Ok(Figures { gbit, packets, round_trip, syscalls, processor_ns })
}

/// Whatever joins the pods, for as long as it lives.
struct Joint {
    _ports: Vec<Box<dyn Port>>,
    _thread: Option<Thread>,
    forwarder: Option<Forwarder>,
}

impl Joint {
    /// System calls and nanoseconds of the forwarder so far.
    fn costs(&self) -> [f64; 2] {
        let costs = |forwarder: &Forwarder| [forwarder.syscalls() as f64, forwarder.processor_ns()];
        self.forwarder.as_ref().map_or([0.0; 2], costs)
    }
}

impl Drop for Joint {
    fn drop(&mut self) {
        // Before the ports whose ends it has.
        drop(self.forwarder.take());
    }
}

fn join(
    candidate: Candidate,
    sleeps: bool,
    net: &TestNet,
    [a, b]: [&Host; 2],
    frames: &Frames,
) -> Result<Joint> {
    let mut ports: Vec<Box<dyn Port>> = Vec::new();
    let mut thread = None;
    for (host, id) in [(a, PortId(1)), (b, PortId(2))] {
        let name = host.name();
        match candidate {
            Candidate::Bridge => {
                if id == PortId(1) {
                    net.run("ip link add br0 type bridge forward_delay 0")?;
                    net.run("ip link set dev br0 up")?;
                }
                net.run(&format!("ip link set dev {name} master br0"))?;
            }
            Candidate::TapInPod { batched } => {
                host.run("ip link delete dev eth0")?;
                let options = InternalOptions { batched, ..InternalOptions::new("eth0") };
                ports.push(Box::new(host.inside(|| Internal::open(&options, id, &frames.depot))??));
                host.run(&format!("ip address add {}/24 dev eth0", host.address()))?;
            }
            Candidate::TapPerPod { batched } => {
                let options = PodOptions { batched, ..PodOptions::new(name) };
                ports.push(Box::new(net.inside(|| Pod::open(&options, id, &frames.depot, None))??));
            }
            Candidate::AfXdp => {
                let options = AfXdpOptions::new(name);
                ports.push(Box::new(net.inside(|| AfXdp::open(&options, id, &frames.depot))??));
            }
            Candidate::SharedTap | Candidate::PacketSocket => {}
        }
    }
    if candidate == Candidate::SharedTap {
        let options = InternalOptions { batched: true, ..InternalOptions::new("punt") };
        let mut tap = net.inside(|| Internal::open(&options, PortId(1), &frames.depot))??;
        net.inside(|| shared_tap([a.name(), b.name()]))??;
        let forwarder = Forwarder::reflect(&mut tap, &frames.depot, sleeps);
        return Ok(Joint {
            _ports: vec![Box::new(tap)],
            _thread: None,
            forwarder: Some(forwarder),
        });
    }
    if candidate == Candidate::PacketSocket {
        thread = Some(net.inside(|| packet_sockets([a.name(), b.name()], sleeps))??);
    }
    let forwarder = match &mut ports[..] {
        [p, q] => Some(Forwarder::start_with([p.as_mut(), q.as_mut()], &frames.depot, sleeps)),
        _ => None,
    };
    Ok(Joint { _ports: ports, _thread: thread, forwarder })
}

/// Programs that lead two pods to the TAP `punt`, each with its number as VLAN tag, and back. The
/// forwarder turns tag 1 into 2 and the other way round, so that each hears the other.
fn shared_tap(names: [&str; 2]) -> Result<(), hw::Error> {
    const VLAN_PUSH: i32 = 18;
    const VLAN_POP: i32 = 19;
    const REDIRECT: i32 = 23;
    const REDIRECT_PEER: i32 = 155;
    const PROTOCOL: i32 = 0x8100_u16.to_be() as i32;
    /// `vlan_tci` in `struct __sk_buff`.
    const TAG: i16 = 24;
    let mut links = Links::open()?;
    let punt = links.named("punt")?;
    links.set_mtu(&punt, 1504)?;
    let mut pods = Vec::new();
    for (tag, name) in (1..).zip(names) {
        let pod = links.named(name)?;
        let code = Code::new().set(R2, PROTOCOL).set(R3, tag).call(VLAN_PUSH);
        let code = code.set(R1, punt.ifindex.cast_signed()).set(R2, 0).call(REDIRECT).exit();
        let program = Program::load("vswitch_up", Kind::Tc, &code)?;
        tc::attach(&pod, Hook::Ingress, "vswitch_up", &program)?;
        pods.push(pod.ifindex.cast_signed());
    }
    let code = Code::new()
        .copy(R6, R1)
        .load(Size::Word, R7, R6, TAG)
        .call(VLAN_POP)
        .set(R1, pods[0])
        .jump_if_not(R7, 2, "go")
        .set(R1, pods[1])
        .label("go")
        .set(R2, 0)
        .call(REDIRECT_PEER)
        .exit();
    let program = Program::load("vswitch_down", Kind::Tc, &code)?;
    tc::attach(&punt, Hook::Ingress, "vswitch_down", &program)
}

/// UDP round trips one after the other, in microseconds: the median and the 99th of a hundred.
fn round_trips(a: &Host, b: &Host) -> Result<[f64; 2]> {
    const COUNT: usize = 4000;
    let stop = AtomicBool::new(false);
    let (client, server) = (a.address(), b.address());
    thread::scope(|scope| {
        let stopped = &stop;
        let echo = move || {
            let socket = UdpSocket::bind((server, 7)).expect("a socket");
            let limit = Some(Duration::from_millis(100));
            socket.set_read_timeout(limit).expect("a time limit");
            let mut bytes = [0; 64];
            while !stopped.load(Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut bytes) {
                    socket.send_to(&bytes[..len], from).expect("sent");
                }
            }
        };
        scope.spawn(move || b.inside(echo));
        let times = a.inside(|| {
            let socket = UdpSocket::bind((client, 0)).expect("a socket");
            socket.connect((server, 7)).expect("connected");
            let limit = Some(Duration::from_millis(100));
            socket.set_read_timeout(limit).expect("a time limit");
            let mut times = Vec::new();
            for _ in 0..COUNT {
                let begun = now();
                let sent = socket.send(b"ping").and_then(|_| socket.recv(&mut [0; 64]));
                times.push(if sent.is_ok() { begun.elapsed().as_secs_f64() * 1e6 } else { 1e5 });
            }
            times
        });
        stop.store(true, Relaxed);
        let mut times = times?;
        times.sort_by(f64::total_cmp);
        Ok([times[COUNT / 2], times[COUNT * 99 / 100]])
    })
}

/// Packets a second that arrive when one thread sends as many as it can, of 60 bytes each, past its
/// network stack.
fn small_packets(a: &Host, b: &Host, seconds: u32) -> Result<f64> {
    // The header of an ordinary packet, and the packet.
    let bytes = [vec![0; 10], small_packet(a, b)?].concat();
    let server = b.address();
    let _sink = b.inside(|| UdpSocket::bind((server, 9)))??;
    let before = received(b)?;
    a.inside(|| -> Result {
        let socket = packet_socket("eth0")?;
        let end = now() + Duration::from_secs(seconds.into());
        while now() < end {
            for _ in 0..100 {
                // What does not fit is lost, as anything beyond the forwarder's measure.
                let _ = rustix::net::send(&socket, &bytes, rustix::net::SendFlags::empty());
            }
        }
        Ok(())
    })??;
    Ok((received(b)? - before) / f64::from(seconds))
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}

/// A thread that ends with this value.
struct Thread(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        self.1.take().map(thread::JoinHandle::join);
    }
}

/// A forwarder between two packet sockets with offload headers, as small as can be.
fn packet_sockets(names: [&str; 2], sleeps: bool) -> Result<Thread> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{RecvFlags, SendFlags, recv, send};
    let sockets = [packet_socket(names[0])?, packet_socket(names[1])?];
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let work = move || {
        common::pin_to_last_cpu();
        let mut bytes = vec![0; 1 << 17];
        let mut idle = 0;
        while !stopped.load(Relaxed) {
            idle += 1;
            for [from, to] in [[0, 1], [1, 0]] {
                for _ in 0..64 {
                    let read = recv(&sockets[from], &mut bytes, RecvFlags::TRUNC);
                    let Ok((len, _)) = read else { break };
                    idle = 0;
                    let _ = send(&sockets[to], &bytes[..len], SendFlags::empty());
                }
            }
            if idle > 50 && sleeps {
                let mut fds = sockets.each_ref().map(|socket| PollFd::new(socket, PollFlags::IN));
                let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
            }
        }
    };
    let thread = thread::Builder::new().name("sockets".to_owned()).spawn(work)?;
    Ok(Thread(stop, Some(thread)))
}
