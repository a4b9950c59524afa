//! Handing AF_XDP ports to a successor process without losing a packet.
//!
//! What the kernel knows of a port hangs on descriptors: the memory for packets (a memfd), a socket
//! for each queue with its rings, the map in front of them. A process that is to be replaced stops
//! reading, sends all of these through a unix socket ([`Handover::send`]), with a description in
//! words, and ends. Its successor maps the same memory and the same rings ([`Handover::take_over`])
//! and goes on where they stand. Packets that come in between wait in the rings.
//!
//! Frames that the kernel holds are named in the description; all others are free for the
//! successor.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use packet::{Depot, PortId};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::error::Error;
use crate::xdp::{AfXdp, Estate};

/// Everything that one process leaves to the next.
#[derive(Debug)]
pub struct Handover {
    memory: OwnedFd,
    frames: u32,
    estates: Vec<Estate>,
}

/// The first word of the description, with the version of what follows.
const GREETING: &str = "vswitch-handover-1";
/// Descriptors in one message: the kernel takes 253.
const AT_ONCE: usize = 64;
/// The longest description: so that a peer that lies does not take our memory.
const MOST_WORDS: u32 = 16 << 20;

impl Handover {
    /// The memory, of `frames` frames, and no port yet.
    pub const fn new(memory: OwnedFd, frames: u32) -> Self {
        Self { memory, frames, estates: Vec::new() }
    }

    /// Adds a port, whose ends the workers have dropped. From now on packets that come wait in its
    /// rings.
    pub fn add(&mut self, port: AfXdp) -> Result<(), Error> {
        self.estates.push(port.into_estate()?);
        Ok(())
    }

    /// Sends everything to the process at the other end of `stream`. Afterwards this process must
    /// not touch the frames any more: it ends.
    pub fn send(&self, mut stream: &UnixStream) -> Result<(), Error> {
        let (mut words, mut descriptors) =
            (format!("{GREETING} {}\n", self.frames), vec![self.memory.as_fd()]);
        for estate in &self.estates {
            words += &estate.describe();
            descriptors.extend(estate.descriptors());
        }
        let failed = |error: std::io::Error| Error::system("handing ports over", error);
        let counts = [words.len(), descriptors.len()];
        for count in counts {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            stream.write_all(&count.to_ne_bytes()).map_err(failed)?;
        }
        for descriptors in descriptors.chunks(AT_ONCE) {
            send_descriptors(stream, descriptors).map_err(failed)?;
        }
        stream.write_all(words.as_bytes()).map_err(failed)
    }

    /// Receives what the process at the other end of `stream` sends.
    pub fn receive(mut stream: &UnixStream) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::system("receiving ports", error);
        let mut counts = [[0; 4]; 2];
        for count in &mut counts {
            stream.read_exact(count).map_err(failed)?;
        }
        let [words_len, count] = counts.map(u32::from_ne_bytes);
        if words_len > MOST_WORDS {
            return Err(Error::Takeover(format!("a description of {words_len} bytes")));
        }
        let mut descriptors = Vec::new();
        while descriptors.len() < count as usize {
            let before = descriptors.len();
            receive_descriptors(stream, &mut descriptors).map_err(failed)?;
            if descriptors.len() == before {
                let said = format!("{before} of {count} descriptors came");
                return Err(Error::Takeover(said));
            }
        }
        let mut words = vec![0; words_len as usize];
        stream.read_exact(&mut words).map_err(failed)?;
        let words = String::from_utf8_lossy(&words);
        Self::parse(&words, descriptors)
            .ok_or_else(|| Error::Takeover(format!("cannot read `{}`", words.escape_default())))
    }

    fn parse(words: &str, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut lines = words.lines();
        let frames = lines.next()?.strip_prefix(GREETING)?.trim_start().parse().ok()?;
        let mut this = Self::new(descriptors.next()?, frames);
        for line in lines {
            this.estates.push(Estate::parse(line, &mut descriptors)?);
        }
        descriptors.next().is_none().then_some(this)
    }

    /// Maps the memory and goes on with the ports, of which `number` says the switch-wide number.
    pub fn take_over(
        self,
        number: impl Fn(&str) -> PortId,
    ) -> Result<(Arc<Depot>, Vec<AfXdp>), Error> {
        let memory = Arc::new(crate::memory::map_again(self.memory, self.frames)?);
        let mut held = vec![false; self.frames as usize];
        for range in self.estates.iter().flat_map(|estate| &estate.lent) {
            for index in range.clone() {
                match held.get_mut(index as usize) {
                    Some(held) if !*held => *held = true,
                    _ => return Err(Error::Takeover(format!("frame {index} is named twice"))),
                }
            }
        }
        // A new memory yields each frame once; those that the kernel holds stay mere numbers.
        let free = memory.take_frames().zip(held).filter(|(_, held)| !held).map(|(frame, _)| frame);
        let depot = Depot::with_frames(Arc::clone(&memory), free.collect::<Vec<_>>());
        let ports = self.estates.into_iter().map(|estate| {
            let id = number(&estate.link.name);
            AfXdp::from_estate(estate, id, &depot)
        });
        let ports = ports.collect::<Result<_, _>>()?;
        Ok((depot, ports))
    }
}

fn send_descriptors(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    // Descriptors need a byte to travel with.
    let sent =
        rustix::net::sendmsg(stream, &[IoSlice::new(b".")], &mut ancillary, SendFlags::empty());
    sent.map(drop).map_err(Into::into)
}

fn receive_descriptors(stream: &UnixStream, into: &mut Vec<OwnedFd>) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            into.extend(descriptors);
        }
    }
    Ok(())
}

/// Numbers in order as ranges, the shortest way to say them: `0-2047,4096`.
pub(crate) fn print_ranges(numbers: impl Iterator<Item = u32>) -> String {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(number) => {
                *last = *last.start()..=number
            }
            _ => ranges.push(number..=number),
        }
    }
    let words: Vec<_> =
        ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
    words.join(",")
}

/// What [`print_ranges`] printed; `None` for anything else.
pub(crate) fn parse_ranges(words: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let words = words.split(',').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (start, end) = word.split_once('-')?;
            Some(start.parse().ok()?..=end.parse().ok()?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_read_as_they_were_printed(
            numbers in prop::collection::btree_set(0..300u32, 0..200)
        ) {
            let words = print_ranges(numbers.iter().copied());
            let read: Vec<u32> = parse_ranges(&words).unwrap().into_iter().flatten().collect();
            prop_assert_eq!(read, numbers.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!(print_ranges([0, 1, 2, 7, 9, 10].into_iter()), "0-2,7-7,9-10");
        assert_eq!(parse_ranges("1-x"), None);
    }

    #[test]
    fn nonsense_from_the_other_process_is_an_error() {
        for (words, count) in
            [("hello", 1), ("vswitch-handover-1 x\n", 1), ("vswitch-handover-1 5\n", 2)]
        {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut stream = &theirs;
            stream.write_all(&u32::try_from(words.len()).unwrap().to_ne_bytes()).unwrap();
            stream.write_all(&u32::try_from(count).unwrap().to_ne_bytes()).unwrap();
            send_descriptors(&theirs, &vec![theirs.as_fd(); count]).unwrap();
            stream.write_all(words.as_bytes()).unwrap();
            let error = Handover::receive(&ours).unwrap_err();
            assert!(matches!(error, Error::Takeover(_)), "{error}");
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        Handover::receive(&ours).unwrap_err();
    }
}
