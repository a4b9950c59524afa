//! An end by AF_PACKET: `sendmmsg` past the queueing discipline, `recvmmsg`.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::pktgen::address::Mac;
use crate::pktgen::link::{BURST, Link};
use crate::pktgen::sys;

/// An AF_PACKET socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    /// Room for a burst of frames.
    frames: Vec<Vec<u8>>,
    lengths: Vec<usize>,
    /// Lost before the last time the kernel was asked.
    overruns: std::cell::Cell<u64>,
}

/// Bytes of frames that wait to be received.
const BUFFER: i32 = 16 << 20;

impl PacketSocket {
    /// Opens an end of `interface` for frames of up to `size` bytes.
    pub fn open(interface: &str, size: u16) -> Result<Self> {
        let socket = bound(interface)?;
        // What we send is not to come back to us, nor to wait in a queue.
        for option in [libc::PACKET_IGNORE_OUTGOING, libc::PACKET_QDISC_BYPASS] {
            sys::set_packet_option(&socket, option, 1).context("setting up an AF_PACKET socket")?;
        }
        sys::set_receive_buffer(&socket, BUFFER).context("asking for a receive buffer")?;
        let size = usize::from(size).max(2048);
        let frames = std::iter::repeat_with(|| vec![0; size]).take(BURST).collect();
        let overruns = std::cell::Cell::new(0);
        Ok(Self { socket, frames, lengths: Vec::with_capacity(BURST), overruns })
    }
}

/// An AF_PACKET socket that is bound to `interface`.
fn bound(interface: &str) -> Result<OwnedFd> {
    let any = std::net::UdpSocket::bind("0.0.0.0:0").context("opening a socket")?;
    let ifindex = rustix::net::netdevice::name_to_index(&any, interface)
        .with_context(|| format!("there is no interface {interface}"))?;
    sys::packet_socket(ifindex).context("opening an AF_PACKET socket (it takes CAP_NET_RAW)")
}

/// The Ethernet address of `interface`.
pub fn address_of(interface: &str) -> Result<Mac> {
    sys::address_of(&bound(interface)?).context("asking for the interface's address")
}

impl Link for PacketSocket {
    fn send(
        &mut self,
        count: usize,
        write: &mut dyn FnMut(usize, &mut [u8]) -> usize,
    ) -> io::Result<usize> {
        let frames = self.frames.iter_mut().take(count).enumerate();
        let mut written: Vec<_> = frames
            .map(|(at, frame)| {
                let len = write(at, frame);
                &mut frame[..len]
            })
            .collect();
        match sys::send_many(&self.socket, &mut written) {
            Ok(sent) => Ok(sent),
            // The interface is busy: nothing has gone out.
            Err(error) if is_busy(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn receive(
        &mut self,
        patience: Duration,
        each: &mut dyn FnMut(&mut [u8]),
    ) -> io::Result<usize> {
        let mut frames: Vec<_> = self.frames.iter_mut().map(Vec::as_mut_slice).collect();
        match sys::receive_many(&self.socket, &mut frames, &mut self.lengths) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let timeout = Timespec::try_from(patience).ok();
                let mut ready = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
                return match poll(&mut ready, timeout.as_ref()) {
                    Ok(0) | Err(rustix::io::Errno::INTR) => Ok(0),
                    Ok(_) if patience > Duration::ZERO => self.receive(Duration::ZERO, each),
                    Ok(_) => Ok(0),
                    Err(errno) => Err(errno.into()),
                };
            }
            Err(error) => return Err(error),
        }
        for (frame, len) in frames.into_iter().zip(&self.lengths) {
            let len = (*len).min(frame.len());
            each(&mut frame[..len]);
        }
        Ok(self.lengths.len())
    }

    fn overruns(&self) -> u64 {
        // The kernel forgets what it has told.
        let new = sys::overruns(&self.socket).unwrap_or_default();
        self.overruns.set(self.overruns.get() + u64::from(new));
        self.overruns.get()
    }
}

fn is_busy(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::WouldBlock || code == Some(libc::ENOBUFS)
}
