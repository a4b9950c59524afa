//! Large pieces of memory in huge pages.
//!
//! The tables of a cache are megabytes, and a packet touches a few lines of them, none near another.
//! On pages of 4 KiB each of these costs a walk through the page tables beside the line itself, and
//! in a virtual machine two such walks.
#![expect(unsafe_code, reason = "an allocator is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags};

/// Bytes of a huge page on x86-64, and of memory for which it is worth to ask for one.
const HUGE_PAGE: usize = 2 << 20;

/// The system's allocator for what is small. What is large is mapped by itself, and the kernel asked
/// to put it into huge pages (`transparent_hugepage` must not be `never`); whether it does shows in
/// `/proc/PID/smaps`.
///
/// Memory is taken as it is touched, 2 MiB at a time. What grows is moved by its page tables, not
/// copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargeInHugePages;

// SAFETY: what is small is the system allocator's. What is large is a mapping of its own, of zeroes,
// at least as long as it was asked for and aligned to 2 MiB; the layout says alike at both ends of a
// block's life which of the two it is. A block that is resized keeps its bytes: by the kernel's doing
// if it is large before and after, else by a copy of as many as both have.
unsafe impl GlobalAlloc for LargeInHugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            return unmap(block, whole_pages(layout.size()));
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller answers for the size.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_large(layout) && !is_large(new) {
            // SAFETY: as above.
            return unsafe { System.realloc(block, layout, size) };
        }
        if is_large(layout) && is_large(new) {
            return remap(block, whole_pages(layout.size()), size);
        }
        // SAFETY: as above.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both are blocks of at least so many bytes, and the new one is nobody else's.
            unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: as above.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[inline]
const fn is_large(layout: Layout) -> bool {
    layout.size() >= HUGE_PAGE && layout.align() <= HUGE_PAGE
}

/// Maps so many bytes of zeroes, at a multiple of 2 MiB; null if there is no room.
#[cold]
fn map(len: usize) -> *mut u8 {
    let (Some(len), flags) = (len.checked_next_multiple_of(HUGE_PAGE), MapFlags::PRIVATE) else {
        return ptr::null_mut();
    };
    // The kernel aligns to a page: somewhere in this lies what is wanted, and the rest goes back.
    let Some(room) = len.checked_add(HUGE_PAGE) else { return ptr::null_mut() };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel picks an address where nothing is.
    let mapped = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), room, protection, flags) };
    let Ok(mapped) = mapped.map(<*mut _>::cast::<u8>) else { return ptr::null_mut() };
    let before = mapped.addr().next_multiple_of(HUGE_PAGE) - mapped.addr();
    let block = mapped.wrapping_add(before);
    unmap(mapped, before);
    unmap(block.wrapping_add(len), HUGE_PAGE - before);
    // SAFETY: these pages are ours, and the advice changes no content. A kernel that refuses leaves
    // everything as it was.
    let _ = unsafe { rustix::mm::madvise(block.cast(), len, Advice::LinuxHugepage) };
    block
}

/// Gives a block of [`map`] of `old` bytes, in whole pages, room for `size`; null if there is none,
/// the block then being as it was.
#[cold]
fn remap(block: *mut u8, old: usize, size: usize) -> *mut u8 {
    let new = whole_pages(size);
    if new <= old {
        unmap(block.wrapping_add(new), old - new);
        return block;
    }
    let target = map(size);
    if target.is_null() {
        return target;
    }
    let flags = MremapFlags::MAYMOVE;
    // SAFETY: both are mappings of ours, of these lengths, and whoever resizes a block looks at
    // neither meanwhile.
    let moved = unsafe { rustix::mm::mremap_fixed(block.cast(), old, new, flags, target.cast()) };
    moved.map_or(ptr::null_mut(), <*mut _>::cast)
}

/// How many bytes a block has that has room for `size`; no layout is so large that there is none.
const fn whole_pages(size: usize) -> usize {
    size.next_multiple_of(HUGE_PAGE)
}

/// Gives back a part of what [`map`] has mapped, if it is one.
fn unmap(first: *mut u8, len: usize) {
    if len > 0 {
        // SAFETY: mapped by us, and nobody uses it any more.
        let unmapped = unsafe { rustix::mm::munmap(first.cast(), len) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own was refused");
    }
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
        for (len, is_large) in [(8 * HUGE_PAGE + 5, true), (HUGE_PAGE / 2, false)] {
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

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn a_block_that_grows_and_shrinks_keeps_its_bytes() {
        let pages = [4, 9, 2, 2, 300, 1].map(|pages| pages * HUGE_PAGE);
        let sizes = [&[100], &pages[..], &[9 * HUGE_PAGE + 1, HUGE_PAGE - 1, 7]].concat();
        let mut layout = Layout::from_size_align(sizes[0], 8).unwrap();
        // SAFETY: the layout has a size.
        let mut block = unsafe { LargeInHugePages.alloc(layout) };
        // SAFETY: the first bytes of the block, which nobody else has.
        unsafe { block.cast::<[u8; 7]>().write([1, 2, 3, 4, 5, 6, 7]) };
        for size in sizes {
            // SAFETY: the block has this layout, and no size is zero or near the end of memory.
            block = unsafe { LargeInHugePages.realloc(block, layout, size) };
            layout = Layout::from_size_align(size, 8).unwrap();
            assert!(block.addr().is_multiple_of(8));
            // SAFETY: the first bytes of the block, which nobody else has.
            let bytes = unsafe { &mut *block.cast::<[u8; 7]>() };
            assert_eq!(*bytes, [1, 2, 3, 4, 5, 6, 7], "{size}");
            let last = block.wrapping_add(size - 1);
            // SAFETY: the last byte of the block.
            unsafe { last.write(7) };
            let huge = flags_of(block.addr()).split(' ').any(|flag| flag == "hg");
            assert_eq!(huge, size >= HUGE_PAGE, "{size}");
        }
        // SAFETY: the block has this layout.
        unsafe { LargeInHugePages.dealloc(block, layout) };
    }
}
