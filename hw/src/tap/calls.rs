//! Many reads or writes of one descriptor in one system call, where the kernel allows that.
//!
//! A TAP takes one packet a call. By io_uring, used here without its asynchronous side, up to
//! [`Calls::MOST`] calls go to the kernel together: each is made at once and not waited for
//! (`RWF_NOWAIT`), so that all have ended when the kernel returns. Where io_uring is not to be had
//! (`kernel.io_uring_disabled`, a container's filter), each is a call of its own.
#![expect(unsafe_code, reason = "the kernel reads and writes memory by address")]

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;

use crate::sys;

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    /// `readv`; the first that finds nothing ends the batch.
    Read,
    /// `writev`.
    Write,
}

/// A way to make calls on one descriptor.
pub(crate) struct Calls {
    ring: Option<IoUring>,
    /// Answers to the last batch: bytes, or the negative of an error.
    results: Vec<i32>,
    syscalls: u64,
}

/// Not read or written, because nothing is there or the device is full.
pub(crate) const NOT_NOW: i32 = -libc::EAGAIN;

impl Calls {
    /// The most calls in one batch.
    pub(crate) const MOST: usize = 128;

    /// For `fd`; `batched` if io_uring is to be tried.
    pub(crate) fn new(fd: BorrowedFd<'_>, batched: bool) -> Self {
        let ring = if batched { ring(fd).ok() } else { None };
        Self { ring, results: Vec::with_capacity(Self::MOST), syscalls: 0 }
    }

    /// Whether several calls make one system call.
    pub(crate) const fn are_batched(&self) -> bool {
        self.ring.is_some()
    }

    /// System calls made so far.
    pub(crate) const fn syscalls(&self) -> u64 {
        self.syscalls
    }

    /// Makes one call for each of the `spans` of memory, at most [`Self::MOST`], and answers one
    /// result each, in order: bytes, or the negative of an error.
    ///
    /// # Safety
    /// `fd` is the descriptor that this value was made for. Each vector names memory that is valid
    /// for reads, and when reading from `fd` for writes, and that nobody else touches during the
    /// call.
    pub(crate) unsafe fn make<'v>(
        &mut self,
        operation: Operation,
        fd: BorrowedFd<'_>,
        spans: impl ExactSizeIterator<Item = &'v [libc::iovec]>,
    ) -> &[i32] {
        self.results.clear();
        // A call or two, which is what sparse traffic takes, are quicker made directly.
        if spans.len() > 2 && self.ring.is_some() {
            // SAFETY: the caller's promise.
            unsafe { self.make_together(operation, spans) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.make_singly(operation, fd, spans) }
        }
        &self.results
    }

    /// # Safety
    /// As for [`Self::make`].
    unsafe fn make_singly<'v>(
        &mut self,
        operation: Operation,
        fd: BorrowedFd<'_>,
        spans: impl ExactSizeIterator<Item = &'v [libc::iovec]>,
    ) {
        let mut empty = false;
        for span in spans {
            if empty {
                self.results.push(NOT_NOW);
                continue;
            }
            self.syscalls += 1;
            let result = match operation {
                // SAFETY: the caller's promise.
                Operation::Read => unsafe { sys::readv(fd, span) },
                // SAFETY: the caller's promise.
                Operation::Write => unsafe { sys::writev(fd, span) },
            };
            empty = operation == Operation::Read && result == Err(Errno::AGAIN);
            self.results.push(match result {
                Ok(bytes) => i32::try_from(bytes).unwrap_or(i32::MAX),
                Err(errno) => -errno.raw_os_error(),
            });
        }
    }

    /// # Safety
    /// As for [`Self::make`].
    unsafe fn make_together<'v>(
        &mut self,
        operation: Operation,
        spans: impl ExactSizeIterator<Item = &'v [libc::iovec]>,
    ) {
        let Some(ring) = &mut self.ring else { return };
        let fixed = types::Fixed(0);
        let length = |one: libc::iovec| u32::try_from(one.iov_len).unwrap_or(0);
        let count = spans.len().min(Self::MOST);
        for (number, span) in (0..).zip(spans.take(count)) {
            let len = u32::try_from(span.len()).unwrap_or(0);
            let entry = match (operation, span) {
                (Operation::Read, &[one]) => {
                    opcode::Read::new(fixed, one.iov_base.cast(), length(one))
                        .rw_flags(libc::RWF_NOWAIT)
                        .build()
                }
                (Operation::Write, &[one]) => {
                    opcode::Write::new(fixed, one.iov_base.cast(), length(one))
                        .rw_flags(libc::RWF_NOWAIT)
                        .build()
                }
                (Operation::Read, _) => {
                    opcode::Readv::new(fixed, span.as_ptr(), len).rw_flags(libc::RWF_NOWAIT).build()
                }
                (Operation::Write, _) => opcode::Writev::new(fixed, span.as_ptr(), len)
                    .rw_flags(libc::RWF_NOWAIT)
                    .build(),
            };
            let entry = entry.user_data(number);
            // SAFETY: the memory is valid until the call has ended, which is before this one does:
            // a call that may not wait ends while it is submitted.
            let pushed = unsafe { ring.submission().push(&entry) };
            debug_assert!(pushed.is_ok(), "the ring has room for a batch");
        }
        self.results.resize(count, NOT_NOW);
        let mut left = count;
        while left > 0 {
            self.syscalls += 1;
            let submitted = ring.submit_and_wait(left);
            for entry in ring.completion() {
                let place = usize::try_from(entry.user_data()).ok();
                if let Some(place) = place.and_then(|place| self.results.get_mut(place)) {
                    *place = entry.result();
                }
                left = left.saturating_sub(1);
            }
            match submitted {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A ring that takes nothing any more is of no use; plain calls are.
                Err(_) => {
                    self.ring = None;
                    return;
                }
            }
        }
    }
}

fn ring(fd: BorrowedFd<'_>) -> io::Result<IoUring> {
    let size = u32::try_from(Calls::MOST).unwrap_or(0);
    // What the kernel wants to tell us can wait for the next call. Before Linux 5.19 it interrupts.
    let ring = IoUring::builder().setup_coop_taskrun().build(size);
    let ring = ring.or_else(|_| IoUring::new(size))?;
    ring.submitter().register_files(&[fd.as_raw_fd()])?;
    Ok(ring)
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some(ring) = &self.ring {
            // The kernel clears up behind a ring when it has time. An interface that is to vanish
            // with its port cannot wait for that.
            drop(ring.submitter().unregister_files());
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("batched", &self.are_batched())
            .field("syscalls", &self.syscalls)
            .finish_non_exhaustive()
    }
}
