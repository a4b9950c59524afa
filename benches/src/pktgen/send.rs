//! `pktgen send`.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::clock;
use crate::pktgen::address;
use crate::pktgen::cli::{PacketOptions, SendOptions};
use crate::pktgen::frame::{Header, Hosts, Route, Template};
use crate::pktgen::link::{self, BURST, Link, Use};
use crate::pktgen::order::Order;
use crate::pktgen::packet_socket;
use crate::pktgen::report::{Sent, rate};
use crate::pktgen::stop::{Stop, nanos};

/// Sends, and says what was sent.
pub fn run(options: &SendOptions) -> Result<Sent> {
    let SendOptions { end, ending, packets, flows, seed, .. } = options;
    let template = Template::new(route(packets, &end.interface)?);
    let size = u16::try_from(template.len())?;
    let mut link = link::open(end.backend, &end.interface, end.queue, size, Use::Send)?;
    let mut order = Order::new(*flows, *seed);
    let stream = stream();
    let stop = Stop::after(ending.seconds)?;
    let most = ending.count.unwrap_or(u64::MAX);
    let pace = Pace::new(options.rate);
    let begun = clock::now_ns();
    let (mut sent, mut busy, mut last) = (0, 0, begun);
    while sent < most && !stop.has_come(last) {
        let due = pace.due(begun, sent).min(most - sent);
        let count = usize::try_from(due).unwrap_or(BURST).min(BURST);
        if count == 0 {
            pace.rest(begun, sent);
            last = clock::now_ns();
            continue;
        }
        last = clock::now_ns();
        let mut write = |ahead, frame: &mut [u8]| {
            let sequence = low_bits(sent + ahead as u64);
            let header = Header { stream, flow: order.peek(ahead), sequence, sent_ns: last };
            template.write(header, frame)
        };
        let taken = link.send(count, &mut write).context("sending")?;
        order.advance(taken);
        sent += taken as u64;
        busy += u64::from(taken == 0);
    }
    link.flush().context("sending")?;
    let seconds = clock::seconds(begun, clock::now_ns());
    announce(&mut *link, &template, stream, sent)?;
    Ok(Sent { sent, size, seconds, pps: rate(sent, seconds), busy })
}

/// Tells the sink how many there were: now and a little later, in case that is lost.
fn announce(link: &mut dyn Link, template: &Template, stream: u16, sent: u64) -> Result<()> {
    let (flow, sequence) = (Header::END, low_bits(sent));
    for _ in 0..5 {
        // Behind what still waits on the way.
        thread::sleep(Duration::from_millis(10));
        let mut write = |_, frame: &mut [u8]| {
            let header = Header { stream, flow, sequence, sent_ns: clock::now_ns() };
            template.write(header, frame)
        };
        link.send(1, &mut write).context("sending")?;
    }
    link.flush().context("sending")
}

/// Where packets go, as the options say and as the interface has it.
pub fn route(options: &PacketOptions, interface: &str) -> Result<Route> {
    let PacketOptions { dst, src, src_port, dst_port, size, .. } = *options;
    let hosts = Hosts::new(src, dst).map_err(|why| anyhow!(why))?;
    let dst_mac = match (options.dst_mac, dst) {
        (Some(mac), _) => mac,
        (None, IpAddr::V4(dst)) => address::neighbour(dst, interface)?,
        (None, IpAddr::V6(_)) => bail!("IPv6 takes the receiver's Ethernet address, by --dst-mac"),
    };
    let src_mac = match options.src_mac {
        Some(mac) => mac,
        None => packet_socket::address_of(interface)?,
    };
    Ok(Route { src_mac, dst_mac, hosts, src_port, dst_port, size })
}

/// A number that hardly another run has.
pub fn stream() -> u16 {
    low_bits(clock::now_ns() / 1000)
        .to_le_bytes()
        .first_chunk()
        .map_or(0, |b| u16::from_le_bytes(*b))
}

/// A number modulo 2³².
fn low_bits(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

/// How fast to send.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Nanoseconds from one packet to the next; none if there is no limit.
    gap: Option<f64>,
}

impl Pace {
    /// So many packets a second; as many as can be if there is no rate.
    pub fn new(rate: Option<f64>) -> Self {
        Self { gap: rate.map(|rate| 1e9 / rate) }
    }

    /// How many packets may go out now, after so many.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and a rate need not be exact"
    )]
    pub fn due(&self, begun: u64, sent: u64) -> u64 {
        let Some(gap) = self.gap else { return u64::MAX };
        let elapsed = clock::now_ns().saturating_sub(begun);
        ((elapsed as f64 / gap) as u64 + 1).saturating_sub(sent)
    }

    /// Sleeps until the next packet if that is worth it.
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    pub fn rest(&self, begun: u64, sent: u64) {
        const WORTH: u64 = 100_000;
        let next = begun + self.gap.map_or(0, |gap| nanos(gap * sent as f64 / 1e9));
        let left = next.saturating_sub(clock::now_ns());
        if left > WORTH {
            // At most so long that a signal is heard.
            thread::sleep(Duration::from_nanos((left - WORTH / 2).min(100_000_000)));
        } else {
            std::hint::spin_loop();
        }
    }
}
