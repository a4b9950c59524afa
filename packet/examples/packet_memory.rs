//! What the layout of packets in memory costs, beside the layouts it was chosen over.
//!
//! `cargo run --release -p packet --example packet_memory [rounds]`; the figures of
//! `docs/src/decisions/0003-packet-memory.md`. The sides of a comparison have their turns one after
//! the other in every round; each figure is the median of all rounds, the best in brackets.
#![expect(clippy::expect_used, reason = "a measurement that cannot be taken ends the program")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock and starts threads")]

use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Instant;

use packet::memory::prefetch;
use packet::{Chainer, Depot, FRAME_SIZE, Frame, FramePool, HEADROOM, Memory, Packet, PortId};

/// Frames that are taken and given back at once.
const BURST: usize = 64;
/// How many packets ahead heads are fetched, as by the switch's parser.
const AHEAD: usize = 6;
/// Bytes of a cache line.
const LINE: usize = 64;

/// One side of a comparison: answers with nanoseconds a packet.
type Side<'a> = (&'a str, Box<dyn FnMut() -> f64 + 'a>);

fn side<'a>(name: &'a str, side: impl FnMut() -> f64 + 'a) -> Side<'a> {
    (name, Box::new(side))
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(15);
    println!("{rounds} rounds; ns a packet: median (best)");
    pools(rounds);
    metadata(rounds);
    heads(rounds);
    sizes();
}

/// Lets all sides have their turn in each round, and prints what came out.
fn compare(title: &str, rounds: usize, mut sides: Vec<Side<'_>>) {
    println!("\n{title}");
    let mut figures = vec![Vec::with_capacity(rounds); sides.len()];
    for _ in 0..rounds {
        for ((_, side), figures) in sides.iter_mut().zip(&mut figures) {
            figures.push(side());
        }
    }
    for ((name, _), figures) in sides.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        let best = figures.first().copied().unwrap_or_default();
        println!("  {name:<62} {:6.2} ({best:.2})", figures[figures.len() / 2]);
    }
}

/// Nanoseconds for each of `packets`.
#[expect(clippy::cast_precision_loss, reason = "no figure here has 52 bits")]
fn per_packet(begin: Instant, packets: usize) -> f64 {
    begin.elapsed().as_nanos() as f64 / packets as f64
}

// Where free frames wait.

/// A pool for each worker in front of a common depot, beside one common list behind a lock.
fn pools(rounds: usize) {
    const FRAMES: u32 = 16_384;
    for workers in [1, 2] {
        let depot = Depot::new(Memory::heap(FRAMES));
        let memory = Memory::heap(FRAMES);
        let list = Mutex::new(memory.take_frames().collect::<Vec<_>>());
        let pooled = |burst| {
            let depot = Arc::clone(&depot);
            move || {
                by_workers(workers, burst, || {
                    let mut pool = FramePool::new(&depot);
                    move |held: &mut Vec<Frame>| {
                        held.extend((0..burst).map_while(|_| pool.alloc()));
                        held.drain(..).for_each(|frame| pool.free(frame));
                    }
                })
            }
        };
        let locked = |burst: usize| {
            let list = &list;
            move || {
                by_workers(workers, burst, || {
                    move |held: &mut Vec<Frame>| {
                        let mut free = list.lock().expect("nobody panics");
                        let left = free.len() - burst;
                        held.extend(free.drain(left..));
                        drop(free);
                        list.lock().expect("nobody panics").append(held);
                    }
                })
            }
        };
        let locked_each = |burst: usize| {
            let list = &list;
            move || {
                by_workers(workers, burst, || {
                    move |held: &mut Vec<Frame>| {
                        let one = |_| list.lock().expect("nobody panics").pop();
                        held.extend((0..burst).map_while(one));
                        for frame in held.drain(..) {
                            list.lock().expect("nobody panics").push(frame);
                        }
                    }
                })
            }
        };
        let title = format!("A frame taken and given back, workers: {workers}");
        compare(
            &title,
            rounds,
            vec![
                side("pool of the worker, bursts of 64", pooled(BURST)),
                side("pool of the worker, bursts of 2048 (through the depot)", pooled(2048)),
                side("list behind a lock, taken once a burst of 64", locked(BURST)),
                side("list behind a lock, taken for each frame", locked_each(BURST)),
            ],
        );
    }
}

/// Has each of `workers` take and give back `burst` frames, again and again.
fn by_workers<W: FnMut(&mut Vec<Frame>)>(
    workers: usize,
    burst: usize,
    make: impl Fn() -> W + Sync,
) -> f64 {
    const PACKETS: usize = 1 << 20;
    let barrier = Barrier::new(workers);
    let times = std::thread::scope(|scope| {
        let work = || {
            let mut work = make();
            let mut held = Vec::with_capacity(burst);
            work(&mut held);
            barrier.wait();
            let begin = Instant::now();
            for _ in 0..PACKETS / burst {
                work(&mut held);
            }
            per_packet(begin, PACKETS)
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let times = threads.into_iter().map(|thread| thread.join().expect("nobody panics"));
        times.collect::<Vec<_>>()
    });
    times.into_iter().fold(0.0, f64::max)
}

// Where what is known of a packet beside its bytes is kept.

/// Start, length and so on, as eight words, the size of a [`Packet`].
type Words = [u32; 8];

/// Four stages go over bursts of packets that come from a ring of `frames` frames in turn.
fn metadata(rounds: usize) {
    for frames in [512_usize, 8192] {
        let title = format!("Four stages over bursts of {BURST}, frames in turn: {frames}");
        let memory = Memory::heap(u32::try_from(frames).expect("few"));
        let ring: Vec<_> = memory.take_frames().map(Some).collect();
        let ring = std::cell::RefCell::new(shuffled(ring));
        let beside = std::cell::RefCell::new(vec![[0; 8]; frames]);
        let (memory, ring, beside) = (&memory, &ring, &beside);
        compare(
            &title,
            rounds,
            vec![
                side("in the packet, which moves by value", move || {
                    by_value(memory, &mut ring.borrow_mut())
                }),
                side("in the first line of its frame", move || {
                    in_frame(memory, &mut ring.borrow_mut())
                }),
                side("in an array, by the frame's number", move || {
                    in_array(memory, &mut ring.borrow_mut(), &mut beside.borrow_mut())
                }),
            ],
        );
    }
}

/// How often all frames of a ring go through the stages.
fn laps(frames: usize) -> usize {
    (1 << 19) / frames
}

fn by_value(memory: &Memory, ring: &mut [Option<Frame>]) -> f64 {
    let packets = laps(ring.len()) * ring.len();
    let mut batch: Vec<Packet> = Vec::with_capacity(BURST);
    let begin = Instant::now();
    let mut sum = 0;
    for _ in 0..laps(ring.len()) {
        for burst in ring.chunks_mut(BURST) {
            for place in burst.iter_mut() {
                let frame = place.take().expect("it was put back");
                batch.push(Packet::new(frame, HEADROOM, 60, PortId(1)));
            }
            for (n, packet) in batch.iter().enumerate() {
                if let Some(later) = batch.get(n + AHEAD) {
                    later.prefetch(memory);
                }
                sum += usize::from(packet.head(memory)[12]) + packet.len();
            }
            batch.iter_mut().for_each(|packet| sum += usize::from(packet.push_front(4)));
            batch.iter_mut().for_each(|packet| sum += usize::from(packet.pull_front(4)));
            batch.iter().for_each(|packet| sum += packet.len() + usize::from(packet.ingress.0));
            for (packet, place) in batch.drain(..).zip(burst) {
                packet.into_frames(memory, |frame, _, _| *place = Some(frame));
            }
        }
    }
    black_box(sum);
    per_packet(begin, packets)
}

fn in_frame(memory: &Memory, ring: &mut [Option<Frame>]) -> f64 {
    let packets = laps(ring.len()) * ring.len();
    let mut batch: Vec<Frame> = Vec::with_capacity(BURST);
    let begin = Instant::now();
    let mut sum = 0;
    for _ in 0..laps(ring.len()) {
        for burst in ring.chunks_mut(BURST) {
            for (n, place) in burst.iter_mut().enumerate() {
                let mut frame = place.take().expect("it was put back");
                put(memory.bytes_mut(&mut frame), [u32::from(HEADROOM), 60, 60, 1, 0, 0, 0, 0]);
                // What is known there is to be read soon, and so are the headers.
                if n < AHEAD {
                    prefetch(&memory.bytes(&frame)[usize::from(HEADROOM)]);
                }
                batch.push(frame);
            }
            for (n, frame) in batch.iter().enumerate() {
                if let Some(later) = batch.get(n + AHEAD) {
                    prefetch(&memory.bytes(later)[usize::from(HEADROOM)]);
                }
                let bytes = memory.bytes(frame);
                let words = get(bytes);
                sum += usize::from(bytes[words[0] as usize + 12]) + words[2] as usize;
            }
            for by in [4_u32.wrapping_neg(), 4] {
                for frame in &mut batch {
                    let bytes = memory.bytes_mut(frame);
                    let words = moved(get(bytes), by);
                    put(bytes, words);
                    sum += 1;
                }
            }
            for frame in &batch {
                let words = get(memory.bytes(frame));
                sum += (words[2] + words[3]) as usize;
            }
            batch.drain(..).zip(burst).for_each(|(frame, place)| *place = Some(frame));
        }
    }
    black_box(sum);
    per_packet(begin, packets)
}

fn in_array(memory: &Memory, ring: &mut [Option<Frame>], beside: &mut [Words]) -> f64 {
    let packets = laps(ring.len()) * ring.len();
    let mut batch: Vec<Frame> = Vec::with_capacity(BURST);
    let begin = Instant::now();
    let mut sum = 0;
    for _ in 0..laps(ring.len()) {
        for burst in ring.chunks_mut(BURST) {
            for place in burst.iter_mut() {
                let frame = place.take().expect("it was put back");
                beside[frame.index() as usize] = [u32::from(HEADROOM), 60, 60, 1, 0, 0, 0, 0];
                batch.push(frame);
            }
            for (n, frame) in batch.iter().enumerate() {
                if let Some(later) = batch.get(n + AHEAD) {
                    prefetch(&memory.bytes(later)[usize::from(HEADROOM)]);
                }
                let words = beside[frame.index() as usize];
                sum += usize::from(memory.bytes(frame)[words[0] as usize + 12]);
                sum += words[2] as usize;
            }
            for by in [4_u32.wrapping_neg(), 4] {
                for frame in &batch {
                    let words = &mut beside[frame.index() as usize];
                    *words = moved(*words, by);
                    sum += 1;
                }
            }
            for frame in &batch {
                let words = beside[frame.index() as usize];
                sum += (words[2] + words[3]) as usize;
            }
            batch.drain(..).zip(burst).for_each(|(frame, place)| *place = Some(frame));
        }
    }
    black_box(sum);
    per_packet(begin, packets)
}

/// The front moves.
fn moved(words: Words, by: u32) -> Words {
    let [start, head, len, rest @ ..] = words;
    let [ingress, a, b, c, d] = rest;
    let (head, len) = (head.wrapping_sub(by), len.wrapping_sub(by));
    [start.wrapping_add(by), head, len, ingress, a, b, c, d]
}

fn put(bytes: &mut [u8; FRAME_SIZE], words: Words) {
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
}

fn get(bytes: &[u8; FRAME_SIZE]) -> Words {
    let mut words = [0; 8];
    for (word, place) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_ne_bytes(*place);
    }
    words
}

// Where in its frame a packet begins.

/// Reads the head of every packet of a working set, packets lying in frames in no order.
fn heads(rounds: usize) {
    const SPREAD: u32 = 8;
    for packets in [256_u32, 1024, 4096, 16_384] {
        let title = format!("The first line of each of {packets} packets, read in turn");
        let memory = Memory::heap(2 * packets);
        let frames: Vec<_> = memory.take_frames().collect();
        let order = shuffled((0..packets).collect());
        // Frame `apart * n` has packet `n`, which begins on one of `spread` lines.
        let places = |apart: u32, spread: u32| -> Vec<Place> {
            let place = |n: &u32| Place {
                frame: (apart * n) as usize,
                start: usize::from(HEADROOM) + (n % spread) as usize * LINE,
            };
            order.iter().map(place).collect()
        };
        let read = |apart, spread, ahead| {
            let (memory, frames, places) = (&memory, &frames, places(apart, spread));
            move || first_lines(memory, frames, &places, ahead)
        };
        compare(
            &title,
            rounds,
            vec![
                side("2 KiB apart, prefetched", read(1, 1, AHEAD)),
                side("2 KiB apart, not prefetched", read(1, 1, 0)),
                side("2 KiB apart, on 8 lines in turn, prefetched", read(1, SPREAD, AHEAD)),
                side("2 KiB apart, on 8 lines in turn, not prefetched", read(1, SPREAD, 0)),
                side("4 KiB apart, prefetched", read(2, 1, AHEAD)),
                side("4 KiB apart, not prefetched", read(2, 1, 0)),
            ],
        );
    }
}

/// Where a packet begins.
#[derive(Clone, Copy, Debug)]
struct Place {
    frame: usize,
    start: usize,
}

fn first_lines(memory: &Memory, frames: &[Frame], order: &[Place], ahead: usize) -> f64 {
    let line =
        |place: &Place| memory.bytes(&frames[place.frame])[place.start..].first_chunk::<LINE>();
    let laps = (1 << 18) / order.len();
    let mut sum = 0_u64;
    let begin = Instant::now();
    for _ in 0..laps {
        for (n, place) in order.iter().enumerate() {
            if ahead > 0
                && let Some(later) = order.get(n + ahead).and_then(line)
            {
                prefetch(later);
            }
            // What a parser does: each step depends on the one before, within a packet.
            let Some(line) = line(place) else { continue };
            let mut hash = u64::from(line[12]);
            for byte in [13, 14, 23, 26, 30, 34, 36] {
                hash =
                    hash.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(line[byte]);
            }
            sum = sum.wrapping_add(hash);
        }
    }
    black_box(sum);
    per_packet(begin, laps * order.len())
}

/// The same in an order that no prefetcher knows, and that is the same each time.
fn shuffled<T>(mut all: Vec<T>) -> Vec<T> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for last in (1..all.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.swap(last, usize::try_from(state % (last as u64 + 1)).unwrap_or(0));
    }
    all
}

// How much memory packets take.

/// Frames and bytes for packets of usual lengths, and what frames of 4 KiB would take.
fn sizes() {
    println!("\nBytes of memory a packet of this length takes, and the share of it that is used");
    let depot = Depot::new(Memory::heap(64));
    let mut pool = FramePool::new(&depot);
    for len in [64_usize, 1514, 9014, 65_549] {
        let bytes = vec![0; len];
        let packet = Chainer::copy_of(&bytes, HEADROOM, PortId(1), &mut pool).expect("room");
        let frames = packet.chunks(pool.memory()).count();
        packet.free(&mut pool);
        let large = 2 * FRAME_SIZE;
        let others = 1 + len.saturating_sub(large - usize::from(HEADROOM)).div_ceil(large);
        let share = |frames: usize, size: usize| 100 * len / (frames * size);
        println!(
            "  {len:>6}: {frames:>2} frames of 2 KiB = {:>6} ({:>2} %)   {others:>2} frames of 4 KiB = {:>6} ({:>2} %)",
            frames * FRAME_SIZE,
            share(frames, FRAME_SIZE),
            others * large,
            share(others, large),
        );
    }
}
