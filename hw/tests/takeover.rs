//! An AF_XDP port handed from one process to another, under traffic.
#![expect(clippy::expect_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::Duration;

use hw::{AfXdp, AfXdpOptions, Handover, Port, RxQueue, TxQueue};
use packet::{Batch, Depot, FramePool, Packet, PortId};
use testnet::TestNet;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Tells a second run of this program that it is not the test, and which of the two processes it
/// is.
const ROLE: &str = "VSWITCH_TAKEOVER_ROLE";
const SOCKET: &str = "VSWITCH_TAKEOVER_SOCKET";
const FRAMES: u32 = 16384;
/// The last number that is sent; whoever reads it ends.
const LAST: u32 = 6000;
/// How many the first process reads before it hands over.
const FIRST_READS: usize = 1500;
/// Where the number lies: behind Ethernet, IPv4 and UDP.
const NUMBER_AT: usize = 14 + 20 + 8;

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_port_moves_to_a_second_process_without_losing_a_packet() -> Result {
    match std::env::var(ROLE).as_deref() {
        Ok("predecessor") => return predecessor(),
        Ok("successor") => return successor(),
        _ => {}
    }
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    host.run("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent")?;
    let path = format!("/tmp/{}-takeover", net.namespace());
    let exe = std::env::current_exe()?;
    let run = |role| {
        net.spawn(&format!(
            "env {ROLE}={role} {SOCKET}={path} {} --exact --ignored --nocapture \
             a_port_moves_to_a_second_process_without_losing_a_packet",
            exe.display()
        ))
    };
    let mut predecessor = run("predecessor")?;
    wait_until(|| std::path::Path::new(&path).exists())?;
    let mut successor = run("successor")?;
    let (stop, echoes) = (AtomicBool::new(false), AtomicU32::new(0));
    let (first, second) = scope(|scope| {
        scope.spawn(|| host.inside(|| send_numbers(&stop, &echoes)).expect("the host's namespace"));
        let outputs = (predecessor.wait(), successor.wait());
        stop.store(true, Relaxed);
        outputs
    });
    std::fs::remove_file(&path)?;
    let ((first_ended, first), (second_ended, second)) = (first?, second?);
    assert!(first_ended && second_ended, "{first}\n{second}");
    let mut seen = BTreeMap::new();
    for (process, output) in [("first", &first), ("second", &second)] {
        for number in
            output.lines().filter_map(|line| line.strip_prefix("read ")?.parse::<u32>().ok())
        {
            let before = seen.insert(number, process);
            assert_eq!(before, None, "{number} read by the {process} process");
        }
    }
    let missing: Vec<_> = (1..=LAST).filter(|number| !seen.contains_key(number)).collect();
    assert_eq!(missing, [], "numbers that nobody read");
    let taken_over = seen.values().filter(|process| **process == "second").count();
    assert!(taken_over > 1000, "{taken_over} read by the second process");
    // It sends, too: what it read came back.
    assert!(echoes.load(Relaxed) > 1000, "{} came back", echoes.load(Relaxed));
    Ok(())
}

/// Sends the numbers from 1 on, five thousand a second, and counts those that come back.
fn send_numbers(stop: &AtomicBool, echoes: &AtomicU32) {
    let socket = UdpSocket::bind("10.0.0.1:4000").expect("a socket");
    socket.set_nonblocking(true).expect("without waiting");
    let to: SocketAddr = "10.0.0.9:4000".parse().expect("an address");
    let mut number = 0u32;
    while !stop.load(Relaxed) {
        if number < LAST {
            number += 1;
            socket.send_to(&number.to_be_bytes(), to).expect("sent");
        }
        while socket.recv(&mut [0; 16]).is_ok() {
            echoes.fetch_add(1, Relaxed);
        }
        sleep(Duration::from_micros(150));
    }
}

/// Opens the port, reads a part of the numbers, hands over and ends.
fn predecessor() -> Result {
    let hw::memory::SharedMemory { memory, fd, .. } = hw::memory::map(FRAMES)?;
    let depot = Depot::new(memory);
    let mut port = AfXdp::open(&AfXdpOptions::new("a"), PortId(1), &depot)?;
    let listener = UnixListener::bind(std::env::var(SOCKET)?)?;
    let mut rx = port.rx_queues().remove(0);
    let mut tx = port.tx_queue()?;
    let mut pool = FramePool::new(&depot);
    let mut read = 0;
    while read < FIRST_READS {
        read += work(&mut *rx, &mut *tx, &mut pool).len();
    }
    // From here on nobody reads; what comes waits in the rings, also while we hand over.
    drop((rx, tx));
    let (stream, _) = listener.accept()?;
    let mut handover = Handover::new(fd, FRAMES);
    handover.add(port)?;
    sleep(Duration::from_millis(100));
    handover.send(&stream)?;
    sleep(Duration::from_millis(20));
    std::process::exit(0);
}

/// Takes the port over and reads up to the last number.
fn successor() -> Result {
    let stream = UnixStream::connect(std::env::var(SOCKET)?)?;
    let handover = Handover::receive(&stream)?;
    // As late as that: the first process shall have ended.
    sleep(Duration::from_millis(50));
    let (depot, mut ports) = handover.take_over(|_| PortId(1))?;
    let mut port = ports.remove(0);
    let (mut rx, mut tx) = (port.rx_queues().remove(0), port.tx_queue()?);
    let mut pool = FramePool::new(&depot);
    while !work(&mut *rx, &mut *tx, &mut pool).contains(&LAST) {}
    drop((rx, tx, port, pool));
    let mut pool = FramePool::new(&depot);
    let free = std::iter::from_fn(|| pool.alloc()).count();
    assert_eq!(free, FRAMES as usize, "frames free in the end");
    std::process::exit(0);
}

/// Reads what there is, answers its numbers, tells them to the test, and sends everything back.
fn work(rx: &mut dyn RxQueue, tx: &mut dyn TxQueue, pool: &mut FramePool) -> Vec<u32> {
    let (mut batch, mut refused) = (Batch::new(), Vec::new());
    rx.rx(&mut batch, 64, pool);
    let memory = std::sync::Arc::clone(pool.memory());
    let mut numbers = Vec::new();
    for packet in batch.iter_mut() {
        if let Some(number) = number(packet, &memory) {
            println!("read {number}");
            numbers.push(number);
        }
        turn_round(packet.head_mut(&memory));
    }
    tx.tx(&mut batch, pool, &mut refused);
    assert!(refused.is_empty(), "{refused:?}");
    tx.flush(pool);
    numbers
}

fn number(packet: &Packet, memory: &packet::Memory) -> Option<u32> {
    let head = packet.head(memory);
    let bytes = head.get(NUMBER_AT..)?.first_chunk()?;
    (head[12..14] == [8, 0] && head[23] == 17).then(|| u32::from_be_bytes(*bytes))
}

/// Exchanges sender and receiver of a UDP packet, which changes no sum but that the kernel left
/// open.
fn turn_round(head: &mut [u8]) {
    if head.len() >= NUMBER_AT {
        for (a, b, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
            for n in 0..len {
                head.swap(a + n, b + n);
            }
        }
        // No checksum (RFC 768).
        head[40..42].fill(0);
    }
}

fn wait_until(mut done: impl FnMut() -> bool) -> Result {
    for _ in 0..500 {
        if done() {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    Err("waited in vain".into())
}
