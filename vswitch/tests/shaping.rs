//! Egress queues between real stacks: what receivers measure is what was set.

#![expect(clippy::disallowed_methods, reason = "what a receiver measures takes real time")]

#[path = "common/net.rs"]
mod net;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use net::{Daemon, POD, Result, bridge, host, until_reached};
use testnet::{Host, TestNet};

/// Bytes of a datagram, and of the frame that it travels in.
const PAYLOAD: usize = 1000;
const FRAME: u64 = 1042;

/// Sends 5000 datagrams a second, which are 42 Mbit/s of frames, until it is over.
fn send(from: &Host, port: u16, over: &AtomicBool) -> Result {
    from.inside(|| -> std::io::Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        while !over.load(Ordering::Relaxed) {
            for _ in 0..5 {
                // The receiver may not listen yet.
                let _ = socket.send_to(&[7; PAYLOAD], ("10.0.0.3", port));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    })??;
    Ok(())
}

/// How many bits of frames arrive in a second, over some seconds.
fn receive(at: &Host, port: u16) -> Result<u64> {
    let rate = at.inside(|| -> std::io::Result<u64> {
        let socket = UdpSocket::bind(("0.0.0.0", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut buffer = [0; 2048];
        let mut count = |time: Duration| -> std::io::Result<(u64, Duration)> {
            let (begin, mut datagrams) = (Instant::now(), 0);
            while begin.elapsed() < time {
                socket.recv(&mut buffer)?;
                datagrams += 1;
            }
            Ok((datagrams, begin.elapsed()))
        };
        // The burst and what the sender takes to begin do not count.
        count(Duration::from_secs(1))?;
        let (datagrams, time) = count(Duration::from_secs(4))?;
        let bits = u128::from(datagrams * FRAME * 8) * 1_000_000 / time.as_micros();
        Ok(u64::try_from(bits).unwrap_or(u64::MAX))
    })??;
    Ok(rate)
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn two_flows_into_one_pod_have_the_rates_of_their_queues() -> Result {
    let net = TestNet::new()?;
    let (a, b, c) = (host(&net, "a", 1)?, host(&net, "b", 2)?, host(&net, "c", 3)?);
    let flows = &[
        "priority=10,udp,in_port=a,actions=set_queue:1,normal",
        "priority=10,udp,in_port=b,actions=set_queue:2,normal",
        "priority=0,actions=normal",
    ];
    let queues = format!(
        "{POD}\n[bridge.port.queues.1]\nmax_rate = 10_000_000\n\
         [bridge.port.queues.2]\nmax_rate = 30_000_000"
    );
    let _daemon = Daemon::start(&net, &bridge(flows, &[("a", POD), ("b", POD), ("c", &queues)]))?;
    until_reached(&a, c.address())?;
    until_reached(&b, c.address())?;
    let over = AtomicBool::new(false);
    let (first, second) = std::thread::scope(|scope| {
        let senders = [(&a, 9001), (&b, 9002)].map(|(host, port)| {
            scope.spawn({
                let over = &over;
                move || send(host, port, over)
            })
        });
        let receivers = [9001, 9002].map(|port| {
            scope.spawn({
                let c = &c;
                move || receive(c, port)
            })
        });
        let [first, second] = receivers.map(|thread| thread.join().map_err(|_panic| "a receiver"));
        over.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().map_err(|_panic| "a sender")??;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((first??, second??))
    })?;
    for (rate, expected) in [(first, 10_000_000_u64), (second, 30_000_000)] {
        assert!(rate.abs_diff(expected) <= expected / 20, "{first} and {second} bits a second");
    }
    Ok(())
}
