//! A map whose values we share with programs as plain memory.
#![expect(unsafe_code, reason = "bpf(2) takes addresses")]

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use super::{CreateAttribute, short_name};
use crate::error::Error;
use crate::sys::{self, Mapping};

/// An array of values that programs find by number, and we in memory (Linux 5.5).
#[derive(Debug)]
pub(crate) struct SharedArray {
    map: OwnedFd,
    mapping: Mapping,
}

impl SharedArray {
    /// `count` values of `size` bytes each, a multiple of eight; all are zero.
    pub(crate) fn new(name: &str, count: u32, size: u32) -> Result<Self, Error> {
        const CREATE: c_int = 0;
        const ARRAY: u32 = 2;
        const MAPPABLE: u32 = 1 << 10;
        let mut attribute = CreateAttribute {
            kind: ARRAY,
            key_size: 4,
            value_size: size,
            max_entries: count,
            flags: MAPPABLE,
            name: short_name(name),
            ..CreateAttribute::default()
        };
        let doing = "sharing memory with a BPF program";
        // SAFETY: there are no addresses in the attribute.
        let created = unsafe { sys::bpf(CREATE, &mut attribute) };
        let created = created
            .map_err(|errno| Error::system(doing, errno).needs("CAP_BPF and CAP_NET_ADMIN"))?;
        // SAFETY: the kernel has just made this descriptor for us.
        let map = unsafe { sys::own(created) };
        let len = (count as usize * size as usize).next_multiple_of(rustix::param::page_size());
        let mapping =
            Mapping::new(map.as_fd(), len, 0).map_err(|errno| Error::system(doing, errno))?;
        Ok(Self { map, mapping })
    }

    /// The same memory, that no program sees: for tests without the right to have one.
    #[cfg(test)]
    pub(crate) fn detached(count: u32, size: u32) -> Result<Self, Error> {
        let doing = "making memory for a test";
        let failed = |errno: rustix::io::Errno| Error::system(doing, errno);
        let map =
            rustix::fs::memfd_create("vswitch", rustix::fs::MemfdFlags::CLOEXEC).map_err(failed)?;
        let len = (count as usize * size as usize).next_multiple_of(rustix::param::page_size());
        rustix::fs::ftruncate(&map, len as u64).map_err(failed)?;
        let mapping = Mapping::new(map.as_fd(), len, 0).map_err(failed)?;
        Ok(Self { map, mapping })
    }

    /// The `T` that begins `offset` bytes behind the start.
    pub(crate) fn at<T>(&self, offset: u64) -> Option<NonNull<T>> {
        self.mapping.at(offset)
    }
}

impl AsFd for SharedArray {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
