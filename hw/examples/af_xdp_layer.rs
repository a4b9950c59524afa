//! What our own AF_XDP layer costs and can do, beside xsk-rs.
//!
//! `cargo run --release -p hw --example af_xdp_layer --features peer-xsk-rs [rounds]`, as root; the
//! figures of `docs/src/decisions/0001-af-xdp-layer.md`. Both sides have their turn in every round.
#![expect(clippy::expect_used, reason = "a measurement that cannot be taken ends the program")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::sockets::{packet_socket, received, small_packet};
use common::{Frames, Result, pin_to_last_cpu};
use hw::{AfXdp, AfXdpOptions, Handover, Port, TxQueue};
use packet::{Batch, Chainer, Depot, FramePool, HEADROOM, Memory, PortId};
use testnet::{Host, TestNet};

/// Packets taken from a ring at once.
const BURST: usize = 64;
/// How long one side has its turn.
const TURN: Duration = Duration::from_millis(500);

fn main() -> Result {
    let rounds = std::env::args().nth(1).map_or(Ok(5), |argument| argument.parse())?;
    println!("Forwarding between two veths, 60-byte packets, best of {rounds} turns:\n");
    println!("| layer | receive and queue ns/packet | send and reclaim ns/packet | kpps |");
    println!("|---|---|---|---|");
    let mut best = [Turn::WORST; 2];
    for _ in 0..rounds {
        best[0] = best[0].better(turn(ours)?);
        #[cfg(feature = "peer-xsk-rs")]
        {
            best[1] = best[1].better(turn(peer::theirs)?);
        }
    }
    for (name, turn) in ["ours", "xsk-rs 0.11"].iter().zip(best) {
        if turn.packets > 0.0 {
            let Turn { queue, send, packets } = turn;
            println!("| {name} | {queue:.1} | {send:.0} | {:.0} |", packets / 1000.0);
        }
    }
    moving_the_start();
    takeover()?;
    senders()
}

/// What one side has done in its turn.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Nanoseconds a packet for rings and frames, and for sending, which is the kernel's work.
    queue: f64,
    send: f64,
    /// Packets a second.
    packets: f64,
}

impl Turn {
    const WORST: Self = Self { queue: f64::MAX, send: f64::MAX, packets: 0.0 };

    const fn better(self, other: Self) -> Self {
        Self {
            queue: self.queue.min(other.queue),
            send: self.send.min(other.send),
            packets: self.packets.max(other.packets),
        }
    }
}

/// Times spent on bursts.
#[derive(Clone, Debug, Default)]
struct Spent {
    queue: Vec<Duration>,
    send: Vec<Duration>,
}

impl Spent {
    /// Counts a burst; after a small one, lets packets gather, so that full bursts are measured.
    fn add(&mut self, count: usize, [begun, queued, sent]: [Instant; 3]) {
        if count == BURST {
            self.queue.push(queued - begun);
            self.send.push(sent - queued);
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Nanoseconds a packet in the middle one of `bursts`, which interruptions do not touch.
    fn median(mut bursts: Vec<Duration>) -> f64 {
        bursts.sort();
        let middle = bursts.get(bursts.len() / 2).copied().unwrap_or(Duration::MAX);
        middle.as_secs_f64() * 1e9 / BURST as f64
    }
}

/// How far a forwarder is, and whether it is to end.
#[derive(Debug, Default)]
struct State {
    ready: AtomicBool,
    stop: AtomicBool,
}

/// Lets one side forward from a host that sends all it can to another.
fn turn(side: fn(&TestNet, &State) -> Result<Spent>) -> Result<Turn> {
    let net = TestNet::new()?;
    let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
    let bytes = [vec![0; 10], small_packet(&a, &b)?].concat();
    let server = b.address();
    let _sink = b.inside(|| UdpSocket::bind((server, 9)))??;
    let state = State::default();
    thread::scope(|scope| {
        let forwarder = scope.spawn(|| side(&net, &state));
        while !state.ready.load(Relaxed) && !forwarder.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        let before = received(&b)?;
        send_for(&a, &bytes, TURN)?;
        let arrived = received(&b)? - before;
        state.stop.store(true, Relaxed);
        let spent = forwarder.join().expect("the forwarder lives")?;
        let (queue, send) = (Spent::median(spent.queue), Spent::median(spent.send));
        Ok(Turn { queue, send, packets: arrived / TURN.as_secs_f64() })
    })
}

fn send_for(host: &Host, bytes: &[u8], time: Duration) -> Result {
    host.inside(|| -> Result {
        let socket = packet_socket("eth0")?;
        let end = now() + time;
        while now() < end {
            for _ in 0..100 {
                let _ = rustix::net::send(&socket, bytes, rustix::net::SendFlags::empty());
            }
        }
        Ok(())
    })?
}

fn ours(net: &TestNet, state: &State) -> Result<Spent> {
    let frames = Frames::new(16384);
    let open = |name: &str, id| AfXdp::open(&AfXdpOptions::new(name), PortId(id), &frames.depot);
    let (mut p, mut q) = net.inside(|| Ok::<_, hw::Error>((open("a", 1)?, open("b", 2)?)))??;
    let (mut rx, mut tx) = (p.rx_queues().remove(0), q.tx_queue()?);
    let mut pool = FramePool::new(&frames.depot);
    let (mut batch, mut refused) = (Batch::new(), Vec::new());
    let mut spent = Spent::default();
    pin_to_last_cpu();
    state.ready.store(true, Relaxed);
    while !state.stop.load(Relaxed) {
        let begun = now();
        rx.rx(&mut batch, BURST, &mut pool);
        let count = batch.len();
        tx.tx(&mut batch, &mut pool, &mut refused);
        let queued = now();
        while tx.flush(&mut pool) {}
        let sent = now();
        refused.drain(..).for_each(|(packet, _)| packet.free(&mut pool));
        spent.add(count, [begun, queued, sent]);
    }
    Ok(spent)
}

#[cfg(feature = "peer-xsk-rs")]
mod peer {
    #![expect(unsafe_code, reason = "the peer's interface")]

    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

    use hw::bpf::{Code, Kind, Program, Register::*, Size, SocketMap};
    use hw::{Links, XdpPlace};
    use xsk_rs::config::{BindFlags, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
    use xsk_rs::{FrameDesc, Socket, Umem};

    use super::*;

    /// The same with xsk-rs: one memory, two sockets, a list of free descriptors.
    pub(super) fn theirs(net: &TestNet, state: &State) -> Result<Spent> {
        const RING: u32 = 2048;
        let size = QueueSize::new(RING)?;
        let memory = UmemConfig::builder().fill_queue_size(size).comp_queue_size(size).build()?;
        // The memory's socket becomes that of the first port: it must be made where that is.
        let made = net.inside(|| Umem::new(memory, 16384.try_into().expect("a number"), false))?;
        let (umem, mut free) = made?;
        let config = SocketConfig::builder()
            .rx_queue_size(size)
            .tx_queue_size(size)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .build();
        // SAFETY: each socket is the only one on its queue.
        let open =
            |name: &str| unsafe { Socket::new(config, &umem, &name.parse().expect("a name"), 0) };
        let (p, q) = net.inside(|| (open("a"), open("b")))?;
        let ((_, mut rx, rings), (mut tx, _, sent_rings)) = (p?, q?);
        let (mut fill, _) = rings.expect("the first socket of its queue");
        let (_, mut completion) = sent_rings.expect("the first socket of its queue");
        let (mut batch, mut done) = ([FrameDesc::default(); BURST], [FrameDesc::default(); 256]);
        let first: Vec<_> = free.drain(..RING as usize).collect();
        // SAFETY: they are in no ring.
        unsafe { fill.produce(&first) };
        // SAFETY: the descriptor lives as long as the socket, which outlives the call.
        let socket = unsafe { BorrowedFd::borrow_raw(rx.fd().as_raw_fd()) };
        net.inside(|| lead(socket))??;
        let mut spent = Spent::default();
        pin_to_last_cpu();
        state.ready.store(true, Relaxed);
        while !state.stop.load(Relaxed) {
            let begun = now();
            // SAFETY: the memory is that of the socket.
            let count = unsafe { rx.consume(&mut batch) };
            if free.len() >= count {
                let fresh: Vec<_> = free.drain(free.len() - count..).collect();
                // SAFETY: they are in no ring.
                unsafe { fill.produce(&fresh) };
            }
            // SAFETY: they came out of the rx ring.
            let queued_count = unsafe { tx.produce(&batch[..count]) };
            free.extend_from_slice(&batch[queued_count..count]);
            let queued = now();
            while tx.nb_free_exact() < RING {
                tx.wakeup()?;
            }
            // SAFETY: the memory is that of the socket.
            let back = unsafe { completion.consume(&mut done) };
            free.extend_from_slice(&done[..back]);
            let sent = now();
            spent.add(count, [begun, queued, sent]);
        }
        Ok(spent)
    }

    /// Leads the packets of `a` to `socket`, by our program: the one of libxdp carries none here.
    fn lead(socket: BorrowedFd<'_>) -> Result<()> {
        let map = SocketMap::new(1)?;
        map.set(0, socket)?;
        let code = Code::new().load(Size::Word, R2, R1, 16).load_map(R1, map.as_fd().as_raw_fd());
        let code = code.set(R3, 1).call(51).exit();
        let kind = Kind::Xdp { fragments: true, bound_to: None };
        let program = Program::load("xsk_rs", kind, &code)?;
        let mut links = Links::open()?;
        let link = links.named("a")?;
        Ok(links.set_xdp(&link, Some(&program), XdpPlace::Native, true)?)
    }
}

/// Pushing 50 bytes of headers: by moving the start, which a descriptor that may begin anywhere
/// allows, and by moving 1450 bytes.
fn moving_the_start() {
    const PACKETS: u32 = 8192;
    let mut pool = FramePool::new(&Depot::new(Memory::heap(PACKETS)));
    let memory = std::sync::Arc::clone(pool.memory());
    let bytes = vec![7; 1450];
    let packets = std::iter::from_fn(|| Chainer::copy_of(&bytes, HEADROOM, PortId(0), &mut pool));
    let mut packets: Vec<_> = packets.collect();
    let mut best = [f64::MAX; 2];
    for _ in 0..20 {
        let begun = now();
        for packet in &mut packets {
            assert!(packet.push_front(50), "there are 256 bytes");
            packet.head_mut(&memory)[..50].fill(1);
            assert!(packet.pull_front(50), "they have just been pushed");
        }
        let moved = begun.elapsed();
        let begun = now();
        for packet in &mut packets {
            let head = packet.head_mut(&memory);
            head.copy_within(..1400, 50);
            head[..50].fill(1);
        }
        for (best, time) in best.iter_mut().zip([moved, begun.elapsed()]) {
            *best = best.min(time.as_secs_f64() * 1e9 / f64::from(PACKETS));
        }
    }
    packets.into_iter().for_each(|packet| packet.free(&mut pool));
    let [start, payload] = best;
    println!(
        "\n50 bytes in front, over 16 MiB of frames: by moving the start {start:.0} ns, \
         by moving 1400 bytes {payload:.0} ns"
    );
}

/// Handing a port over, within one process.
fn takeover() -> Result {
    const FRAMES: u32 = 32768;
    let net = TestNet::new()?;
    net.host("a", "10.0.0.1/24")?;
    let host = net.host("b", "10.0.0.2/24")?;
    let begun = now();
    let memory = hw::memory::map(FRAMES)?;
    let (depot, mapped) = (Depot::new(memory.memory), begun.elapsed());
    let begun = now();
    let options = AfXdpOptions::new(host.name());
    let port = net.inside(|| AfXdp::open(&options, PortId(1), &depot))??;
    let opened = begun.elapsed();
    let begun = now();
    let (ours, theirs) = UnixStream::pair()?;
    let mut handover = Handover::new(memory.fd, FRAMES);
    handover.add(port)?;
    handover.send(&ours)?;
    let handover = Handover::receive(&theirs)?;
    let (_depot, ports) = net.inside(|| handover.take_over(|_| PortId(1)))??;
    println!(
        "\n64 MiB of frames mapped in {:.1} ms (huge pages: {}); a port opened on them in \
         {:.1} ms; {} port handed over in {:.1} ms",
        mapped.as_secs_f64() * 1e3,
        memory.huge,
        opened.as_secs_f64() * 1e3,
        ports.len(),
        begun.elapsed().as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Threads that send on one queue at the same time, each by its own ring, and take frames back from
/// the one completion ring.
fn senders() -> Result {
    println!("\n| threads sending on one queue | kpps | frames lost |\n|---|---|---|");
    for count in 1..=3 {
        let net = TestNet::new()?;
        let (a, b) = (net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?);
        let bytes = small_packet(&a, &b)?;
        let frames = Frames::new(16384);
        let options = AfXdpOptions::new("b");
        let mut port = net.inside(|| AfXdp::open(&options, PortId(1), &frames.depot))??;
        let ends: Vec<_> = net.inside(|| {
            (0..count).map(|_| port.tx_queue()).collect::<std::result::Result<_, _>>()
        })??;
        let server = b.address();
        let _sink = b.inside(|| UdpSocket::bind((server, 9)))??;
        let before = received(&b)?;
        thread::scope(|scope| {
            for mut tx in ends {
                let (bytes, depot) = (&bytes, &frames.depot);
                scope.spawn(move || send_all_the_time(&mut *tx, bytes, &mut FramePool::new(depot)));
            }
        });
        let packets = (received(&b)? - before) / TURN.as_secs_f64();
        drop(port);
        let lost = frames.total() - frames.free();
        println!("| {count} | {:.0} | {lost} |", packets / 1000.0);
    }
    Ok(())
}

fn send_all_the_time(tx: &mut dyn TxQueue, bytes: &[u8], pool: &mut FramePool) {
    let (mut batch, mut refused) = (Batch::new(), Vec::new());
    let end = now() + TURN;
    while now() < end {
        let packets = std::iter::from_fn(|| Chainer::copy_of(bytes, HEADROOM, PortId(0), pool));
        batch.extend(packets.take(BURST));
        tx.tx(&mut batch, pool, &mut refused);
        while tx.flush(pool) {}
        refused.drain(..).for_each(|(packet, _)| packet.free(pool));
    }
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}
