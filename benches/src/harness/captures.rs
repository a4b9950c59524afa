//! Files of packets: what both sides are fed, and what comes out of them.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};

/// Writes frames.
pub fn write<'a>(path: &Path, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
    let create = || {
        let mut writer = PcapWriter::new(BufWriter::new(File::create(path)?))?;
        for frame in frames {
            let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            writer.write_packet(&PcapPacket::new(Duration::ZERO, len, frame))?;
        }
        Ok::<_, anyhow::Error>(())
    };
    create().with_context(|| path.display().to_string())
}

/// Reads them again. A file that ends within a frame, since it is still being written, ends before
/// that.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut reader = PcapReader::new(BufReader::new(file))?;
    let mut frames = Vec::new();
    while let Some(Ok(packet)) = reader.next_packet() {
        frames.push(packet.data.into_owned());
    }
    Ok(frames)
}

/// What is wrong with two outputs that should be the same; nothing if they are, in whatever order.
pub fn difference(ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} frames here, {} there", ours.len(), theirs.len()));
    }
    let at = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs)?;
    let sorted = |frames: &[Vec<u8>]| {
        let mut frames = frames.to_vec();
        frames.sort_unstable();
        frames
    };
    (sorted(ours) != sorted(theirs)).then(|| {
        let (ours, theirs) = (hex(&ours[at]), hex(&theirs[at]));
        format!("frame {at} is {ours} here, {theirs} there")
    })
}

fn hex(frame: &[u8]) -> String {
    use std::fmt::Write as _;
    frame.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_other_frame_is_shown() {
        let frame = |byte| vec![byte; 3];
        let (a, b, c) = (frame(1), frame(2), frame(0xf3));
        let ours = [a.clone(), b.clone()];
        assert_eq!(difference(&ours, &[b.clone(), a.clone()]), None, "another order");
        assert_eq!(difference(&ours, &ours[..1]).unwrap(), "2 frames here, 1 there");
        let wrong = difference(&ours, &[a, c]).unwrap();
        assert_eq!(wrong, "frame 1 is 020202 here, f3f3f3 there");
    }
}
