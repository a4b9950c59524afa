//! On which processor the kernel does its part of the work.
//!
//! What a pod sends by a short-cut is carried and received on the processor that sends it: the best
//! there is for a message and its answer, but one processor's work for a stream of small packets.
//! Receive packet steering (`Documentation/networking/scaling.rst`) has another processor take over
//! at the veth.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::links::Link;

/// The steering of one interface.
#[derive(Debug, Default)]
pub(super) struct Steering {
    /// A file for each queue, of those that nobody else has written to.
    files: Vec<PathBuf>,
    /// What we have written to them.
    cpu: Option<usize>,
}

impl Steering {
    /// That of `link`, as far as nobody else steers it. What a predecessor of ours has left, if one
    /// `was_ours`, is undone.
    pub(super) fn new(link: &Link, was_ours: bool) -> Self {
        let folder = Path::new("/sys/class/net").join(&link.name);
        let ifindex = fs::read_to_string(folder.join("ifindex")).unwrap_or_default();
        if ifindex.trim() != link.ifindex.to_string() {
            // What is mounted there is another namespace's.
            return Self::default();
        }
        let queues = fs::read_dir(folder.join("queues"));
        let files =
            queues.into_iter().flatten().flatten().map(|queue| queue.path().join("rps_cpus"));
        let is_free = |file: &PathBuf| {
            fs::read_to_string(file).is_ok_and(|mask| mask.trim().chars().all(|c| "0,".contains(c)))
        };
        let files: Vec<_> = if was_ours {
            files.filter(|file| fs::write(file, "0").is_ok()).collect()
        } else {
            files.filter(is_free).collect()
        };
        Self { files, cpu: None }
    }

    /// Has `cpu` do the work, or, if there is none, whichever sends.
    pub(super) fn steer(&mut self, cpu: Option<usize>) -> io::Result<()> {
        if cpu == self.cpu {
            return Ok(());
        }
        self.cpu = cpu;
        let mask = cpu.map_or_else(|| "0".to_owned(), mask_of);
        self.files.iter().try_for_each(|file| fs::write(file, &mask))
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        // The interface may be gone, and its steering with it.
        let _ = self.steer(None);
    }
}

/// A processor as the kernel writes a set of them: words of 32 bits, the highest first.
fn mask_of(cpu: usize) -> String {
    format!("{:x}{}", 1u32 << (cpu % 32), ",00000000".repeat(cpu / 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_words_of_32_bits() {
        assert_eq!(mask_of(0), "1");
        assert_eq!(mask_of(31), "80000000");
        assert_eq!(mask_of(33), "2,00000000");
    }

    #[test]
    fn an_interface_of_another_namespace_is_not_steered() {
        let link = Link { name: "lo".to_owned(), ifindex: 77, ..Link::default() };
        assert!(Steering::new(&link, true).files.is_empty());
    }
}
