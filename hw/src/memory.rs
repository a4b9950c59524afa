//! Memory for frames, in a file that has no name: a successor process can be given it.
#![expect(unsafe_code, reason = "the region becomes frames")]

use std::os::fd::{AsFd, OwnedFd};

use packet::{FRAME_SIZE, Memory};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::sys::Mapping;

/// Bytes of a huge page, the only size we ask for.
const HUGE_PAGE: usize = 2 << 20;

/// Frames, and the descriptor behind them.
#[derive(Debug)]
pub struct SharedMemory {
    /// The frames.
    pub memory: Memory,
    /// The memfd: whoever has it can map the same bytes.
    pub fd: OwnedFd,
    /// Whether it lies in huge pages.
    pub huge: bool,
}

/// Maps `frames` new frames of zeroes, in huge pages if there are enough of them.
///
/// Cost: huge pages are filled at once; of normal ones, those that are touched.
pub fn map(frames: u32) -> Result<SharedMemory, Error> {
    if let Ok((memory, fd)) = create(frames, true) {
        return Ok(SharedMemory { memory, fd, huge: true });
    }
    let (memory, fd) = create(frames, false).map_err(|errno| {
        let size = (frames as usize * FRAME_SIZE) >> 20;
        Error::system("mapping memory for packets", errno).hint(&format!("{size} MiB"))
    })?;
    Ok(SharedMemory { memory, fd, huge: false })
}

/// Maps the frames that another process has mapped and handed over as `fd`.
///
/// The caller says which of them are free ([`packet::Depot::with_frames`]); the other process uses
/// none of those any more.
pub fn map_again(fd: OwnedFd, frames: u32) -> Result<Memory, Error> {
    let refused = |errno| Error::system("mapping the memory of the predecessor", errno);
    let stat = rustix::fs::fstat(&fd).map_err(refused)?;
    let len = frames as usize * FRAME_SIZE;
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(refused)?;
    if usize::try_from(stat.st_size).unwrap_or(0) < len || !seals.contains(SealFlags::SHRINK) {
        let said = format!("{frames} frames announced, {} bytes sent", stat.st_size);
        return Err(Error::Takeover(said));
    }
    let mapping = Mapping::new(fd.as_fd(), whole_pages(len), 0).map_err(refused)?;
    Ok(carve(mapping, frames))
}

fn create(frames: u32, huge: bool) -> Result<(Memory, OwnedFd), Errno> {
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if huge {
        flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    }
    let fd = rustix::fs::memfd_create("vswitch-frames", flags)?;
    let len = whole_pages(frames as usize * FRAME_SIZE);
    rustix::fs::ftruncate(&fd, len as u64)?;
    // So that a mapping can never lose its pages below it.
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
    let mapping = Mapping::new(fd.as_fd(), len, 0)?;
    if huge {
        match mapping.populate() {
            // Before Linux 5.14 there is no such advice; the reservation has to do.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok((carve(mapping, frames), fd))
}

/// The length of a file of huge pages must be a multiple of their size; the same for normal pages
/// is simpler than asking, and costs nothing, since what is not touched is not there.
const fn whole_pages(len: usize) -> usize {
    let len = if len == 0 { 1 } else { len };
    len.next_multiple_of(HUGE_PAGE)
}

fn carve(mapping: Mapping, frames: u32) -> Memory {
    let base = mapping.base();
    // SAFETY: page-aligned, initialised by the kernel, at least so long (`whole_pages`), mapped
    // until the box is dropped, and touched by nobody else but as the holder of a frame.
    unsafe { Memory::new(base, frames, Box::new(mapping)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_show_the_same_bytes() {
        let SharedMemory { memory, fd, .. } = map(3).unwrap();
        let mut frame = memory.take_frames().nth(2).unwrap();
        memory.bytes_mut(&mut frame)[2047] = 0x5a;
        let again = map_again(fd, 3).unwrap();
        let frame = again.take_frames().nth(2).unwrap();
        assert_eq!(again.bytes(&frame)[2047], 0x5a);
    }

    #[test]
    fn a_file_too_short_is_refused() {
        let SharedMemory { fd, .. } = map(1).unwrap();
        let error = map_again(fd, 1 << 20).unwrap_err();
        assert!(matches!(error, Error::Takeover(_)), "{error}");
    }

    #[test]
    fn no_frames_are_no_error() {
        assert_eq!(map(0).unwrap().memory.frames(), 0);
    }
}
