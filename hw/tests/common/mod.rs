//! What the tests of ports share: frames, and a forwarder that joins two ports.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses its part")]
#![allow(unreachable_pub, reason = "a module of several programs")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "this is test code")]

pub mod sockets;
pub mod tags;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};

use hw::{Capabilities, Port, Refusal, RxQueue, TxQueue, Wake};
use packet::checksum::Sum;
use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use packet::segment::{fill_checksum, segment};
use packet::{
    Batch, Chainer, Checksum, Depot, FramePool, HEADROOM, Key, Kind, Memory, Network, Packet,
    PortId, Transport, parse,
};
use rustix::event::epoll;

/// What a test answers.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Sends packets with these bytes, as far as the port takes them, and answers why others were
/// refused.
pub fn send_all(tx: &mut dyn TxQueue, packets: &[Vec<u8>], pool: &mut FramePool) -> Vec<Refusal> {
    let mut batch = Batch::new();
    for bytes in packets {
        batch.push(Chainer::copy_of(bytes, HEADROOM, PortId(0), pool).expect("a frame"));
    }
    let mut refused = Vec::new();
    tx.tx(&mut batch, pool, &mut refused);
    while tx.flush(pool) {}
    let reasons = refused.iter().map(|(_, refusal)| *refusal).collect();
    refused.into_iter().for_each(|(packet, _)| packet.free(pool));
    reasons
}

/// The frames of a test, and their number.
pub struct Frames {
    pub depot: Arc<Depot>,
    total: usize,
}

impl Frames {
    pub fn new(frames: u32) -> Self {
        let memory = hw::memory::map(frames).expect("memory for frames");
        Self { depot: Depot::new(memory.memory), total: frames as usize }
    }

    /// Every frame is back where it came from.
    pub fn assert_all_back(&self) {
        assert_eq!(self.free(), self.total, "frames free in the end");
    }

    pub const fn total(&self) -> usize {
        self.total
    }

    pub fn free(&self) -> usize {
        let mut pool = FramePool::new(&self.depot);
        let frames: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        let count = frames.len();
        frames.into_iter().for_each(|frame| pool.free(frame));
        count
    }
}

/// What a forwarder has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub received: u64,
    pub super_frames: u64,
    pub filled: u64,
    pub tagged: u64,
    pub chained: u64,
    pub refused: u64,
    pub last_refusal: Option<Refusal>,
    pub syscalls: u64,
}

/// A thread that carries everything from each of two ports to the other.
pub struct Forwarder {
    stop: Arc<AtomicBool>,
    /// System calls of its ports, and the kernel's number for its thread.
    shared: Arc<[AtomicU64; 2]>,
    thread: Option<JoinHandle<Tally>>,
}

impl Forwarder {
    /// Joins two ports; waits for packets when there are none.
    pub fn start(ports: [&mut dyn Port; 2], depot: &Arc<Depot>) -> Self {
        Self::start_with(ports, depot, true)
    }

    /// `sleeps`: whether it waits for packets when there are none, or asks again and again.
    pub fn start_with(ports: [&mut dyn Port; 2], depot: &Arc<Depot>, sleeps: bool) -> Self {
        Self::spawn(ports.map(Side::of).into(), depot, sleeps)
    }

    /// Sends everything back by the port it came from, with VLAN tag 1 turned into 2 and 2 into 1.
    pub fn reflect(port: &mut dyn Port, depot: &Arc<Depot>, sleeps: bool) -> Self {
        Self::spawn(vec![Side::of(port)], depot, sleeps)
    }

    fn spawn(sides: Vec<Side>, depot: &Arc<Depot>, sleeps: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new([const { AtomicU64::new(0) }; 2]);
        let (depot, stopped, told) = (Arc::clone(depot), Arc::clone(&stop), Arc::clone(&shared));
        let work = move || forward(sides, &depot, &stopped, sleeps, &told);
        let thread = Builder::new().name("forwarder".to_owned()).spawn(work).expect("a thread");
        Self { stop, shared, thread: Some(thread) }
    }

    /// System calls its ports have made so far.
    pub fn syscalls(&self) -> u64 {
        self.shared[0].load(Relaxed)
    }

    /// Processor time its thread has used so far, in nanoseconds.
    pub fn processor_ns(&self) -> f64 {
        let path = format!("/proc/self/task/{}/schedstat", self.shared[1].load(Relaxed));
        let text = std::fs::read_to_string(path).expect("the thread's account");
        text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// Ends it; its ends of the ports are dropped.
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Relaxed);
        self.thread.take().expect("once").join().expect("the forwarder lives")
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Keeps the calling thread on the machine's last processor.
pub fn pin_to_last_cpu() {
    let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let mut set = rustix::thread::CpuSet::new();
    set.set(last);
    rustix::thread::sched_setaffinity(None, &set).expect("a processor of our own");
}

struct Side {
    rx: Vec<Box<dyn RxQueue>>,
    tx: Box<dyn TxQueue>,
    capabilities: Capabilities,
}

impl Side {
    fn of(port: &mut dyn Port) -> Self {
        Self {
            rx: port.rx_queues(),
            tx: port.tx_queue().expect("a way to send"),
            capabilities: port.capabilities(),
        }
    }
}

fn forward(
    mut sides: Vec<Side>,
    depot: &Arc<Depot>,
    stop: &AtomicBool,
    sleeps: bool,
    [syscalls, thread]: &[AtomicU64; 2],
) -> Tally {
    const IDLE_ROUNDS: u32 = 50;
    pin_to_last_cpu();
    let id = rustix::thread::gettid().as_raw_nonzero().get();
    thread.store(id.unsigned_abs().into(), Relaxed);
    let mut tally = Tally::default();
    let mut pool = FramePool::new(depot);
    let (mut batch, mut out, mut refused) = (Batch::new(), Batch::new(), Vec::new());
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    for queue in sides.iter().flat_map(|side| &side.rx) {
        if let Wake::Readable(fd) = queue.wake() {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&epoll, fd, data, epoll::EventFlags::IN).expect("epoll");
        }
    }
    let pairs: &[[usize; 2]] = if sides.len() == 2 { &[[0, 1], [1, 0]] } else { &[[0, 0]] };
    let mut idle = 0;
    while !stop.load(Relaxed) {
        let mut busy = false;
        for &[from, to] in pairs {
            let mut queues = std::mem::take(&mut sides[from].rx);
            for queue in &mut queues {
                queue.rx(&mut batch, 128, &mut pool);
                busy |= !batch.is_empty();
                tally.received += batch.len() as u64;
                let ends = [&sides[from].capabilities, &sides[to].capabilities];
                for mut packet in batch.drain(..) {
                    if from == to {
                        exchange_tags(packet.head_mut(&Arc::clone(pool.memory())));
                    }
                    finish(packet, ends, &mut pool, &mut out, &mut tally);
                }
            }
            sides[from].rx = queues;
            sides[to].tx.tx(&mut out, &mut pool, &mut refused);
            busy |= sides[to].tx.flush(&mut pool);
            for (packet, why) in refused.drain(..) {
                tally.refused += 1;
                tally.last_refusal = Some(why);
                packet.free(&mut pool);
            }
        }
        idle = if busy { 0 } else { idle + 1 };
        tally.syscalls = sides.iter().map(Side::syscalls).sum();
        syscalls.store(tally.syscalls, Relaxed);
        if idle > IDLE_ROUNDS && sleeps {
            let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let mut events = [const { std::mem::MaybeUninit::uninit() }; 8];
            drop(epoll::wait(&epoll, &mut events, Some(&timeout)));
        }
    }
    tally
}

impl Side {
    fn syscalls(&self) -> u64 {
        self.rx.iter().map(|queue| queue.syscalls()).sum::<u64>() + self.tx.syscalls()
    }
}

fn exchange_tags(head: &mut [u8]) {
    if let Some([0x81, 0, _, tag]) = head.get_mut(12..16) {
        *tag = 3 - *tag;
    }
}

/// Does for `packet` what the port it leaves by cannot.
fn finish(
    mut packet: Packet,
    [from, to]: [&Capabilities; 2],
    pool: &mut FramePool,
    out: &mut Batch,
    tally: &mut Tally,
) {
    let memory = Arc::clone(pool.memory());
    tally.tagged += u64::from(packet.head(&memory).get(12..14) == Some(&[0x81, 0]));
    tally.chained += u64::from(packet.is_chained());
    if from.unmarked_partial && packet.checksum == Checksum::Unknown {
        packet.checksum = looks_partial(&packet, &memory);
    }
    if packet.segmentation.kind != Kind::None {
        tally.super_frames += 1;
        if !to.segmentation.is_yes() {
            if let Err((packet, _)) = segment(packet, pool, |segment| out.push(segment)) {
                packet.free(pool);
            }
            return;
        }
    } else if matches!(packet.checksum, Checksum::Partial { .. }) && !to.checksum.is_yes() {
        tally.filled += 1;
        if fill_checksum(&mut packet, &memory).is_err() {
            return packet.free(pool);
        }
    }
    out.push(packet);
}

/// A checksum that is the pseudo-header's sum is one that a stack has left to a device. That a
/// whole one happens to be the same number is one packet in 65536, and filling it again is
/// harmless.
fn looks_partial(packet: &Packet, memory: &Memory) -> Checksum {
    let head = packet.head(memory);
    let Ok(found) = parse(head, packet.len(), &mut Key::default()) else {
        return Checksum::Unknown;
    };
    let (offset, proto) = match found.transport {
        Transport::Tcp => (16, 6),
        Transport::Udp => (6, 17),
        _ => return Checksum::Unknown,
    };
    let (l3, l4) = (usize::from(found.l3), usize::from(found.l4));
    let sum = match found.network {
        Network::Ipv4 => Ipv4::split(&head[l3..])
            .map(|(ip, _)| Sum::pseudo_v4(ip.src(), ip.dst(), proto, packet.len() - l4)),
        _ => Ipv6::split(&head[l3..])
            .map(|(ip, _)| Sum::pseudo_v6(ip.src(), ip.dst(), proto, packet.len() - l4)),
    };
    let place = l4 + offset;
    let field = head.get(place..place + 2);
    match sum {
        Ok(sum) if field == Some(&sum.partial().to_be_bytes()[..]) => {
            let short = |at: usize| u16::try_from(at).unwrap();
            Checksum::Partial { start: short(l4), offset: short(offset) }
        }
        _ => Checksum::Unknown,
    }
}
