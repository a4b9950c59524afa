//! TAPs: interfaces whose other end is a descriptor, with all offloads.
//!
//! What the kernel sends through such an interface we read, and what we write it receives. In front
//! of each packet stands what is still to be done to it ([`header`]): so super-frames of 64 KiB and
//! checksums not yet made go either way, as they do between a kernel and a good device.

mod calls;
mod device;
mod header;
mod port;
mod rx;
mod slots;
mod tx;

pub(crate) use port::TapPort;
