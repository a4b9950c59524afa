//! `pktgen pingpong`: round trips, one at a time.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::clock;
use crate::pktgen::cli::PingpongOptions;
use crate::pktgen::frame::{self, Header, Seen, Template};
use crate::pktgen::link::{self, BURST, Link, Use};
use crate::pktgen::report::{Returned, Watch};
use crate::pktgen::send::{route, stream};
use crate::pktgen::stop::Stop;

/// A packet that is not back after so long is lost.
const PATIENCE_NS: u64 = 100_000_000;
/// The longest packet sent back.
const LONGEST: u16 = 1792;

/// Plays one of the two parts, and says how long round trips took.
pub fn run(options: &PingpongOptions) -> Result<Returned> {
    if options.serve { serve(options) } else { ask(options) }
}

/// How long to wait for packets at a time.
const fn wait(options: &PingpongOptions) -> Duration {
    if options.spin { Duration::ZERO } else { Duration::from_millis(20) }
}

fn ask(options: &PingpongOptions) -> Result<Returned> {
    let PingpongOptions { end, ending, packets, .. } = options;
    let Some(packets) = packets else { bail!("give --src and --dst, or --serve") };
    let template = Template::new(route(packets, &end.interface)?);
    let size = u16::try_from(template.len())?;
    let mut link = link::open(end.backend, &end.interface, end.queue, size, Use::Both)?;
    let _hushed = link::hush(end.hush)?;
    let stop = Stop::after(ending.seconds)?;
    let (stream, mut watch) = (stream(), Watch::new()?);
    let (mut sent, mut received) = (0u32, 0);
    while ending.count.is_none_or(|most| u64::from(sent) < most) && !stop.has_come(clock::now_ns())
    {
        let sent_ns = clock::now_ns();
        let header = Header { stream, flow: 0, sequence: sent, sent_ns };
        let mut write = |_, frame: &mut [u8]| template.write(header, frame);
        link.send(1, &mut write).context("sending")?;
        sent = sent.wrapping_add(1);
        let back = await_return(&mut *link, header, wait(options))?;
        if let Some(back) = back {
            received += 1;
            watch.record(back - sent_ns);
        }
    }
    let sent = u64::from(sent);
    Ok(Returned { sent, received, lost: sent - received, rtt: watch.times() })
}

/// When the packet of `header` came back; never if it took too long.
fn await_return(link: &mut dyn Link, header: Header, wait: Duration) -> Result<Option<u64>> {
    let mut back = None;
    let mut now = header.sent_ns;
    while back.is_none() && now < header.sent_ns + PATIENCE_NS {
        let mut each = |frame: &mut [u8]| {
            if frame::inspect(frame, false) == Seen::Ours(header) {
                back = Some(clock::now_ns());
            }
        };
        link.receive(wait, &mut each).context("receiving")?;
        now = clock::now_ns();
    }
    Ok(back)
}

fn serve(options: &PingpongOptions) -> Result<Returned> {
    let PingpongOptions { end, ending, .. } = options;
    let mut link = link::open(end.backend, &end.interface, end.queue, LONGEST, Use::Both)?;
    let _hushed = link::hush(end.hush)?;
    let stop = Stop::after(ending.seconds)?;
    eprintln!("pktgen: receiving on {}", end.interface);
    let (mut received, mut sent) = (0, 0);
    let mut returns: Vec<Vec<u8>> = Vec::with_capacity(BURST);
    while ending.count.is_none_or(|most| sent < most) && !stop.has_come(clock::now_ns()) {
        let mut each = |frame: &mut [u8]| {
            let ours = matches!(frame::inspect(frame, false), Seen::Ours(_));
            if ours && frame::turn_round(frame) {
                returns.push(frame.to_vec());
            }
        };
        link.receive(wait(options), &mut each).context("receiving")?;
        received += returns.len() as u64;
        let mut write = |at: usize, frame: &mut [u8]| {
            let from = &returns[at];
            frame[..from.len()].copy_from_slice(from);
            from.len()
        };
        if !returns.is_empty() {
            sent += link.send(returns.len(), &mut write).context("sending")? as u64;
            returns.clear();
        }
    }
    let rtt = Watch::new()?.times();
    Ok(Returned { sent, received, lost: received - sent, rtt })
}
