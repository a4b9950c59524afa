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
    /// The processor we have written to them.
    cpu: Option<usize>,
}

impl Steering {
    /// That of `link`, as far as nobody else steers it. What a predecessor of ours may have left, if
    /// one `was_ours`, is undone: steering to a single processor.
    pub(super) fn new(link: &Link, was_ours: bool) -> Self {
        let folder = Path::new("/sys/class/net").join(&link.name);
        let ifindex = fs::read_to_string(folder.join("ifindex")).unwrap_or_default();
        if ifindex.trim() != link.ifindex.to_string() {
            // What is mounted there is another namespace's.
            return Self::default();
        }
        let queues = fs::read_dir(folder.join("queues")).into_iter().flatten().flatten();
        let files = queues.map(|queue| queue.path().join("rps_cpus"));
        let is_free = |file: &PathBuf| match read(file).as_deref() {
            Some([]) => true,
            Some([_]) if was_ours => fs::write(file, "0").is_ok(),
            _ => false,
        };
        Self { files: files.filter(is_free).collect(), cpu: None }
    }

    /// Has `cpu` do the work, or, if there is none, whichever sends. A file that says something else
    /// than we have written is somebody else's from then on.
    pub(super) fn steer(&mut self, cpu: Option<usize>) -> io::Result<()> {
        if cpu == self.cpu {
            return Ok(());
        }
        let ours = self.cpu;
        self.files.retain(|file| read(file).is_some_and(|cpus| cpus.iter().eq(&ours)));
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

/// The processors in a file, which has the form of [`mask_of`].
fn read(file: &Path) -> Option<Vec<usize>> {
    cpus_of(&fs::read_to_string(file).ok()?)
}

fn cpus_of(mask: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for (place, word) in mask.trim().rsplit(',').enumerate() {
        let word = u32::from_str_radix(word, 16).ok()?;
        cpus.extend((0..32).filter(|bit| word >> bit & 1 == 1).map(|bit| 32 * place + bit));
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_words_of_32_bits() {
        assert_eq!(mask_of(0), "1");
        assert_eq!(mask_of(31), "80000000");
        assert_eq!(mask_of(33), "2,00000000");
        for cpu in [0, 31, 32, 100] {
            assert_eq!(cpus_of(&mask_of(cpu)), Some(vec![cpu]));
        }
        assert_eq!(cpus_of("00000001,80000001\n"), Some(vec![0, 31, 32]));
        assert_eq!(cpus_of("0\n"), Some(vec![]));
        assert_eq!(cpus_of("x"), None);
    }

    #[test]
    fn an_interface_of_another_namespace_is_not_steered() {
        let link = Link { name: "lo".to_owned(), ifindex: 77, ..Link::default() };
        assert!(Steering::new(&link, true).files.is_empty());
    }
}
