//! The system calls that no crate makes for us, each once and with its arguments checked.
#![expect(unsafe_code, reason = "system calls take addresses")]

use std::ffi::{CStr, c_int, c_ulong, c_void};
use std::fmt;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{AddressFamily, SocketType};

/// Memory mapped from a descriptor, shared with all others who map it, until it is dropped.
pub(crate) struct Mapping {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: plain memory; who may touch which part of it is up to those who use it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes from byte `offset` of `fd`, for reading and writing.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize, offset: u64) -> Result<Self, Errno> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel picks an address where nothing is.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) }?;
        NonNull::new(base).map(|base| Self { base, len }).ok_or(Errno::NOMEM)
    }

    /// The first byte.
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base.cast()
    }

    /// The address `offset` bytes behind the first, for a `T`; `None` if it does not lie inside.
    pub(crate) fn at<T>(&self, offset: u64) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        let inside = offset.checked_add(size_of::<T>())? <= self.len;
        // SAFETY: the offset was found to be inside the mapping.
        let address = inside.then(|| unsafe { self.base.byte_add(offset) })?.cast::<T>();
        address.is_aligned().then_some(address)
    }

    /// Makes all pages present, so that a shortage is an error here and not a signal later.
    pub(crate) fn populate(&self) -> Result<(), Errno> {
        let advice = rustix::mm::Advice::LinuxPopulateWrite;
        // SAFETY: the range is ours, and the advice changes no content.
        unsafe { rustix::mm::madvise(self.base.as_ptr(), self.len, advice) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; whoever got an address from us has kept us alive while using it.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own was refused");
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({:?}, {})", self.base, self.len)
    }
}

/// Turns the C convention for failure into ours.
fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets an integer option of an AF_XDP socket that rustix does not know.
pub(crate) fn set_xdp_option(
    socket: BorrowedFd<'_>,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    let (address, len) = ((&raw const value).cast::<c_void>(), size_of::<c_int>());
    let len = libc::socklen_t::try_from(len).unwrap_or_default();
    // SAFETY: the address is that of `len` readable bytes.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, address, len) };
    checked(result).map(drop)
}

/// Calls bpf(2) with `attribute`, which is the start of the kernel's `union bpf_attr`; what it
/// leaves out counts as zero.
///
/// # Safety
/// All addresses and lengths in `attribute` are valid for what `command` does with them.
pub(crate) unsafe fn bpf<T>(command: c_int, attribute: &mut T) -> io::Result<c_int> {
    /// Signals come one by one; nobody sends so many on end.
    const ATTEMPTS: u32 = 100;
    let (address, len) = (std::ptr::from_mut(attribute), size_of::<T>());
    let mut attempts = 0;
    loop {
        // SAFETY: the address is that of `len` bytes, and the caller answers for what is in them.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, address, len) };
        let result = checked(c_int::try_from(result).unwrap_or(-1));
        attempts += 1;
        match result {
            // A signal came while the verifier was at work: "just call bpf() again" (bpf(2)).
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && attempts < ATTEMPTS => {}
            result => return result,
        }
    }
}

/// Takes ownership of a descriptor that a system call has just returned.
///
/// # Safety
/// Nobody else owns it.
pub(crate) unsafe fn own(descriptor: c_int) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// The part of `struct ifreq` behind the name.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
union RequestData {
    flags: u16,
    address: *mut c_void,
    whole: [u8; 24],
}

/// `struct ifreq`.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: RequestData,
}

impl Request {
    fn new(name: &str, data: RequestData) -> io::Result<Self> {
        let mut request = Self { name: [0; libc::IFNAMSIZ], data };
        // The last byte stays zero.
        match request.name[..libc::IFNAMSIZ - 1].get_mut(..name.len()) {
            Some(place) => place.copy_from_slice(name.as_bytes()),
            None => return Err(Errno::NAMETOOLONG.into()),
        }
        Ok(request)
    }
}

/// Makes `tun`, an open `/dev/net/tun`, the other end of the TAP `name`; answers the name it got.
pub(crate) fn tun_attach(tun: BorrowedFd<'_>, name: &str, flags: u16) -> io::Result<String> {
    const TUNSETIFF: c_ulong = 0x4004_54ca;
    let mut request = Request::new(name, RequestData { whole: [0; 24] })?;
    request.data.flags = flags;
    // SAFETY: the request is a whole `struct ifreq`, which is what this call reads and writes.
    checked(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut request) })?;
    let name = CStr::from_bytes_until_nul(&request.name).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

/// Says which offloads `tun` takes (`TUN_F_*`).
pub(crate) fn tun_set_offload(tun: BorrowedFd<'_>, offload: u32) -> io::Result<()> {
    const TUNSETOFFLOAD: c_ulong = 0x4004_54d0;
    // SAFETY: this call takes a number, not an address.
    checked(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETOFFLOAD, c_ulong::from(offload)) })?;
    Ok(())
}

/// Sets how many bytes of `struct virtio_net_hdr` stand before each packet of `tun`.
pub(crate) fn tun_set_header_len(tun: BorrowedFd<'_>, len: c_int) -> io::Result<()> {
    const TUNSETVNETHDRSZ: c_ulong = 0x4004_54d8;
    // SAFETY: this call reads one integer.
    checked(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETVNETHDRSZ, &raw const len) })?;
    Ok(())
}

/// How many receive queues `interface` uses now; an error if its driver does not say.
pub(crate) fn active_rx_queues(interface: &str) -> io::Result<u32> {
    /// `struct ethtool_channels`.
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        command: u32,
        max: [u32; 4],
        rx: u32,
        tx: u32,
        other: u32,
        combined: u32,
    }
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    const SIOCETHTOOL: c_ulong = 0x8946;
    // Sockets of most families pass such calls on; those of AF_XDP do not.
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let address = (&raw mut channels).cast();
    let mut request = Request::new(interface, RequestData { address })?;
    // SAFETY: the request leads to a `struct ethtool_channels` that this command reads and writes.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
    Ok(channels.rx + channels.combined)
}

/// Reads from `fd` into the memory that `vectors` name.
///
/// # Safety
/// Each names memory that is valid for writes and that nobody else touches during the call.
pub(crate) unsafe fn readv(fd: BorrowedFd<'_>, vectors: &[libc::iovec]) -> Result<usize, Errno> {
    let count = c_int::try_from(vectors.len()).unwrap_or(c_int::MAX);
    // SAFETY: the caller's promise.
    let read = unsafe { libc::readv(fd.as_raw_fd(), vectors.as_ptr(), count) };
    usize::try_from(read).map_err(|_negative| last_errno())
}

/// Writes to `fd` from the memory that `vectors` name.
///
/// # Safety
/// Each names memory that is valid for reads and that nobody changes during the call.
pub(crate) unsafe fn writev(fd: BorrowedFd<'_>, vectors: &[libc::iovec]) -> Result<usize, Errno> {
    let count = c_int::try_from(vectors.len()).unwrap_or(c_int::MAX);
    // SAFETY: the caller's promise.
    let written = unsafe { libc::writev(fd.as_raw_fd(), vectors.as_ptr(), count) };
    usize::try_from(written).map_err(|_negative| last_errno())
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
