//! `pktgen replay`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use pcap_file::pcap::PcapReader;

use crate::clock;
use crate::pktgen::cli::ReplayOptions;
use crate::pktgen::link::{self, BURST, Use};
use crate::pktgen::report::{Sent, rate};
use crate::pktgen::send::Pace;
use crate::pktgen::stop::Stop;

/// Sends what a capture holds, again and again, and says how much that was.
pub fn run(options: &ReplayOptions) -> Result<Sent> {
    let ReplayOptions { end, ending, file, rate: wanted } = options;
    let frames = read(file)?;
    let size = frames.iter().map(Vec::len).max().unwrap_or(0);
    let size = u16::try_from(size).context("a packet is too long")?;
    let mut link = link::open(end.backend, &end.interface, end.queue, size, Use::Send)?;
    let stop = Stop::after(ending.seconds)?;
    let most = ending.count.unwrap_or(u64::MAX);
    let pace = Pace::new(*wanted);
    let begun = clock::now_ns();
    let (mut sent, mut busy, mut next) = (0, 0, 0);
    while sent < most && !stop.has_come(clock::now_ns()) {
        let due = pace.due(begun, sent).min(most - sent);
        let count = usize::try_from(due).unwrap_or(BURST).min(BURST);
        if count == 0 {
            pace.rest(begun, sent);
            continue;
        }
        let mut write = |ahead, to: &mut [u8]| {
            let frame: &Vec<u8> = &frames[(next + ahead) % frames.len()];
            to[..frame.len()].copy_from_slice(frame);
            frame.len()
        };
        let taken = link.send(count, &mut write).context("sending")?;
        next = (next + taken) % frames.len();
        sent += taken as u64;
        busy += u64::from(taken == 0);
    }
    link.flush().context("sending")?;
    let seconds = clock::seconds(begun, clock::now_ns());
    Ok(Sent { sent, size, seconds, pps: rate(sent, seconds), busy })
}

/// The packets of a capture, of which there must be one.
fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    let about = || path.display().to_string();
    let file = File::open(path).with_context(about)?;
    let mut reader = PcapReader::new(BufReader::new(file)).with_context(about)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.with_context(about)?.data.into_owned());
    }
    frames.retain(|frame| !frame.is_empty());
    if frames.is_empty() {
        bail!("{}: there are no packets in it", path.display());
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_capture_is_named() {
        let error = read(Path::new("/nowhere/x.pcap")).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/x.pcap"));
        let file = std::env::temp_dir().join(format!("replay-{}.pcap", std::process::id()));
        crate::harness::captures::write(&file, []).unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("no packets"), "{error}");
        crate::harness::captures::write(&file, [&[1_u8, 2, 3][..]]).unwrap();
        assert_eq!(read(&file).unwrap(), [[1, 2, 3]]);
        std::fs::remove_file(file).unwrap();
    }
}
