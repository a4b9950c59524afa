//! The generator's side of an interface.

use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::pktgen::packet_socket::PacketSocket;
use crate::pktgen::xdp::Xdp;

/// How frames reach an interface, and how they come from there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Backend {
    /// AF_PACKET sockets: any interface; nothing about it changes
    Packet,
    /// AF_XDP sockets: faster; a receiver takes all packets of its queue away from the kernel
    Afxdp,
}

/// What an end is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Use {
    /// Sending alone.
    Send,
    /// Receiving, and sending too.
    Both,
}

/// An end.
pub trait Link {
    /// Sends up to `count` frames, each written by `write`, which is told how many were written
    /// before it and answers the frame's length. Answers how many the kernel took, in order: those
    /// behind them were not sent and may be written again.
    fn send(
        &mut self,
        count: usize,
        write: &mut dyn FnMut(usize, &mut [u8]) -> usize,
    ) -> io::Result<usize>;

    /// Waits until all that was taken has gone out.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Hands received frames to `each`, waiting for `patience` if there is none. Answers how many
    /// there were.
    fn receive(&mut self, patience: Duration, each: &mut dyn FnMut(&mut [u8]))
    -> io::Result<usize>;

    /// Frames that this end knows to have lost: they came, and it was too slow.
    fn overruns(&self) -> u64;
}

/// A socket that the kernel may leave packets to a UDP port at, for nobody to read: without one it
/// would answer each by ICMP. AF_PACKET sockets see them all the same.
pub fn hush(port: Option<u16>) -> Result<Option<UdpSocket>> {
    let bind = |port| {
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
            .with_context(|| format!("UDP port {port} is taken: nothing need be hushed there"))
    };
    port.map(bind).transpose()
}

/// Most frames sent or received in one go.
pub const BURST: usize = 64;

/// Opens an end of `interface` for frames of up to `size` bytes.
pub fn open(
    backend: Backend,
    interface: &str,
    queue: u32,
    size: u16,
    wanted: Use,
) -> Result<Box<dyn Link>> {
    let link: Result<Box<dyn Link>> = match backend {
        Backend::Packet => PacketSocket::open(interface, size).map(|link| Box::new(link) as _),
        Backend::Afxdp => Xdp::open(interface, queue, size, wanted).map(|link| Box::new(link) as _),
    };
    link.with_context(|| format!("cannot open {interface}"))
}
