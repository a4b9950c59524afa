//! Large pieces of memory in huge pages.
//!
//! The tables of a cache are megabytes, and a packet touches a few lines of them, none near another.
//! On pages of 4 KiB each of these costs a walk through the page tables beside the line itself, and
//! in a virtual machine two such walks.
#![expect(unsafe_code, reason = "an allocator is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes of a huge page on x86-64, and of memory for which it is worth to ask for one.
const HUGE_PAGE: usize = 2 << 20;
/// Bytes of the smallest page there is: advice is about whole ones.
const PAGE: usize = 4096;

/// The system's allocator, which asks the kernel to put whatever is large into huge pages
/// (`transparent_hugepage` must not be `never`). Whether it does shows in `/proc/PID/smaps`.
///
/// Memory is still taken as it is touched: 2 MiB at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargeInHugePages;

// SAFETY: all memory is the system allocator's, and handed on as it is: the advice changes no byte.
unsafe impl GlobalAlloc for LargeInHugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract, which is the same.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        advised(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Asks for huge pages for the whole pages of a block, if it is large.
#[inline]
fn advised(block: *mut u8, len: usize) -> *mut u8 {
    if len >= HUGE_PAGE && !block.is_null() {
        advise(block, len);
    }
    block
}

#[cold]
fn advise(block: *mut u8, len: usize) {
    let before = block.align_offset(PAGE);
    let Some(whole) = len.checked_sub(before).map(|len| len / PAGE * PAGE) else { return };
    let first = block.wrapping_add(before).cast();
    // SAFETY: these pages lie inside the block, and the advice changes no content. A kernel that
    // refuses leaves everything as it was.
    let _ = unsafe { rustix::mm::madvise(first, whole, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of the mapping that an address lies in.
    fn flags_of(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let ends = range.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
            if let Some([Ok(from), Ok(to)]) = ends {
                inside = (from..to).contains(&address);
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.to_owned();
            }
        }
        String::new()
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn what_is_large_is_to_be_in_huge_pages() {
        for (len, is_large) in [(8 * HUGE_PAGE, true), (HUGE_PAGE / 2, false)] {
            let layout = Layout::from_size_align(len, 64).unwrap();
            // SAFETY: the layout has a size, and the block is given back with it.
            let block = unsafe { LargeInHugePages.alloc_zeroed(layout) };
            assert!(!block.is_null());
            let flags = flags_of(block.addr() + len / 2);
            // SAFETY: the block was allocated with this layout.
            unsafe { LargeInHugePages.dealloc(block, layout) };
            assert_eq!(flags.split(' ').any(|flag| flag == "hg"), is_large, "{flags}");
        }
    }
}
