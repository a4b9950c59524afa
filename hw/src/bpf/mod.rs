//! Programs that the kernel runs for us: each a handful of instructions, written down here.
//!
//! No compiler, no object file and no loader: [`Code`] puts instructions together,
//! [`Program::load`] gives them to the kernel (`docs/src/decisions/0001-af-xdp-layer.md`).
#![expect(unsafe_code, reason = "bpf(2) takes addresses")]

mod array;
mod code;
mod types;

pub(crate) use array::SharedArray;
pub use code::{Code, Register, Size};
pub(crate) use types::kernel_function;

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::Error;
use crate::sys;

/// What a program is attached to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A tc filter, with direct action.
    Tc,
    /// An XDP program.
    Xdp {
        /// Whether it can do with packets of several buffers (Linux 5.18).
        fragments: bool,
        /// The only interface it will be attached to; such a program may ask for the metadata of
        /// its packets (Linux 6.3).
        bound_to: Option<u32>,
    },
}

/// A program in the kernel. It stays there while it is attached, also when this value is dropped.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// Loads `code` under `name`, of which the kernel keeps 15 bytes.
    ///
    /// Errors: the kernel's, with the last line of what its verifier said.
    pub fn load(name: &str, kind: Kind, code: &Code) -> Result<Self, Error> {
        const LOAD: c_int = 5;
        const SCHED_CLS: u32 = 3;
        const XDP: u32 = 6;
        const ATTACH_XDP: u32 = 37;
        const HAS_FRAGMENTS: u32 = 1 << 5;
        const DEVICE_BOUND_ONLY: u32 = 1 << 6;
        let instructions = code.assemble();
        let mut attribute = LoadAttribute {
            count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
            instructions: instructions.as_ptr().addr() as u64,
            // The kernel lends some of its functions to none but programs of its own licence.
            license: c"Dual MIT/GPL".as_ptr().addr() as u64,
            name: short_name(name),
            kind: SCHED_CLS,
            ..LoadAttribute::default()
        };
        if let Kind::Xdp { fragments, bound_to } = kind {
            (attribute.kind, attribute.attach) = (XDP, ATTACH_XDP);
            attribute.flags |= if fragments { HAS_FRAGMENTS } else { 0 };
            attribute.flags |= if bound_to.is_some() { DEVICE_BOUND_ONLY } else { 0 };
            attribute.ifindex = bound_to.unwrap_or(0);
        }
        // SAFETY: instructions, name and licence outlive the call, and there is no log buffer.
        let loaded = unsafe { sys::bpf(LOAD, &mut attribute) };
        let descriptor = loaded.map_err(|errno| {
            let doing = "loading a BPF program";
            Error::system(doing, errno).needs("CAP_BPF and CAP_NET_ADMIN").hint(&{
                // Once more, so that the verifier can say why.
                let mut log = vec![0u8; 64 << 10];
                attribute.log_level = 1;
                attribute.log_size = u32::try_from(log.len()).unwrap_or(0);
                attribute.log = log.as_mut_ptr().addr() as u64;
                // SAFETY: as above, and the log is writable for `log_size` bytes.
                drop(unsafe { sys::bpf(LOAD, &mut attribute) }.map(|late| {
                    // SAFETY: the kernel has just made this descriptor for us.
                    unsafe { sys::own(late) }
                }));
                verdict(&log)
            })
        })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { sys::own(descriptor) }))
    }

    /// Runs it once on `packet`, for a test; answers with what it answered.
    pub fn run(&self, packet: &[u8]) -> Result<u32, Error> {
        const RUN: c_int = 10;
        let mut attribute = RunAttribute {
            program: self.0.as_raw_fd().cast_unsigned(),
            data_len: u32::try_from(packet.len()).unwrap_or(0),
            data: packet.as_ptr().addr() as u64,
            ..RunAttribute::default()
        };
        // SAFETY: the packet is readable for `data_len` bytes, and nothing is written.
        let answer = unsafe { sys::bpf(RUN, &mut attribute) };
        let answer = answer.map_err(|errno| Error::system("running a BPF program", errno));
        answer.map(|_| attribute.answer)
    }

    /// The number the kernel gave it, as `bpftool prog` shows it.
    pub fn id(&self) -> Result<u32, Error> {
        const INFORM: c_int = 15;
        let mut info = [0u32; 2];
        let mut attribute = InformAttribute {
            object: self.0.as_raw_fd().cast_unsigned(),
            len: 8,
            info: info.as_mut_ptr().addr() as u64,
        };
        // SAFETY: `info` is writable for `len` bytes.
        let answer = unsafe { sys::bpf(INFORM, &mut attribute) };
        let [_kind, id] = info;
        answer.map(|_| id).map_err(|errno| Error::system("asking for a BPF program's id", errno))
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A map from a queue's number to the AF_XDP socket that serves it.
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

impl SocketMap {
    /// An empty map for `queues` queues.
    pub fn new(queues: u32) -> Result<Self, Error> {
        const CREATE: c_int = 0;
        const XSKMAP: u32 = 17;
        let mut attribute = CreateAttribute {
            kind: XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: queues.max(1),
            name: short_name("vswitch_xsks"),
            ..CreateAttribute::default()
        };
        // SAFETY: there are no addresses in the attribute.
        let created = unsafe { sys::bpf(CREATE, &mut attribute) };
        let descriptor = created.map_err(|errno| {
            Error::system("creating a map of sockets", errno).needs("CAP_BPF and CAP_NET_ADMIN")
        })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { sys::own(descriptor) }))
    }

    /// From now on, packets of `queue` go to `socket`.
    pub fn set(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        const UPDATE: c_int = 2;
        let value = socket.as_raw_fd();
        let mut attribute = UpdateAttribute {
            map: self.0.as_raw_fd().cast_unsigned(),
            key: (&raw const queue).addr() as u64,
            value: (&raw const value).addr() as u64,
            ..UpdateAttribute::default()
        };
        // SAFETY: key and value are of the sizes that the map was created with.
        unsafe { sys::bpf(UPDATE, &mut attribute) }.map(drop)
    }
}

impl AsFd for SocketMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for SocketMap {
    /// The map behind a descriptor that a predecessor has handed over.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// As much of `union bpf_attr` as loading needs (`BPF_PROG_LOAD`).
#[repr(C)]
#[derive(Default)]
struct LoadAttribute {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach: u32,
}

/// `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct CreateAttribute {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
#[derive(Default)]
struct UpdateAttribute {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct RunAttribute {
    program: u32,
    answer: u32,
    data_len: u32,
    out_len: u32,
    data: u64,
    out: u64,
    repeat: u32,
    duration: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InformAttribute {
    object: u32,
    len: u32,
    info: u64,
}

/// A name as the kernel keeps it: at most 15 bytes, and a zero.
fn short_name(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().take(15).zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    short
}

/// The line of the verifier's log that says what is wrong: the last before its statistics.
fn verdict(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines = text.trim_end_matches('\0').lines().rev();
    lines
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("processed "))
        .map_or_else(
            || "the verifier says nothing".to_owned(),
            |line| format!("the verifier says: {line}"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_reason_is_found() {
        let log = b"0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n\0\0\0";
        assert_eq!(verdict(log), "the verifier says: R0 !read_ok");
        assert_eq!(verdict(&[0; 10]), "the verifier says nothing");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(&short_name("a_name_of_many_letters"), b"a_name_of_many_\0");
    }

    #[test]
    fn attributes_have_the_kernels_layout() {
        assert_eq!(std::mem::offset_of!(LoadAttribute, ifindex), 64);
        assert_eq!(size_of::<LoadAttribute>(), 72);
        assert_eq!(size_of::<CreateAttribute>(), 44);
        assert_eq!(size_of::<UpdateAttribute>(), 32);
        assert_eq!(size_of::<RunAttribute>(), 40);
    }
}
