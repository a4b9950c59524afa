//! What an AF_XDP port leaves to a successor process.

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use packet::{Depot, PortId};

use super::binding::{Binding, BoundQueue};
use super::port::AfXdp;
use super::program::Attachment;
use super::shared::Sender;
use super::socket::{BindMode, Socket};
use crate::bpf::SocketMap;
use crate::error::Error;
use crate::links::{AttachedProgram, Link, XdpPlace};
use crate::takeover::{parse_ranges, print_ranges};

/// Descriptors, and what must be known to go on with them.
#[derive(Debug)]
pub(crate) struct Estate {
    /// The interface, as far as it is described: number and name.
    pub(crate) link: Link,
    /// Frames that the kernel holds.
    pub(crate) lent: Vec<RangeInclusive<u32>>,
    attachment: Attachment,
    mode: BindMode,
    ring_size: u32,
    map: OwnedFd,
    queues: Vec<OwnedFd>,
    /// Further sockets, which only send, each with the place of its queue.
    senders: Vec<(usize, OwnedFd)>,
}

impl Estate {
    /// One line: the interface last, since a name may contain anything but a space.
    pub(crate) fn describe(&self) -> String {
        let Self { link, attachment, mode, ring_size, .. } = self;
        let AttachedProgram { id, place } = attachment.program;
        let generic = place == XdpPlace::Generic;
        let flags = [generic, attachment.tags, attachment.fragments, mode.zero_copy, mode.chains];
        let flags: String = flags.map(|flag| if flag { '1' } else { '0' }).iter().collect();
        let senders: Vec<_> = self.senders.iter().map(|(queue, _)| queue.to_string()).collect();
        format!(
            "afxdp {} {ring_size} {id} {flags} {} {}- {}- {}\n",
            link.ifindex,
            self.queues.len(),
            senders.join(","),
            print_ranges(self.lent.iter().cloned().flatten()),
            link.name,
        )
    }

    /// The descriptors, in the order in which [`Self::parse`] takes them.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let senders = self.senders.iter().map(|(_, socket)| socket);
        std::iter::once(&self.map).chain(&self.queues).chain(senders).map(AsFd::as_fd)
    }

    /// What [`Self::describe`] described; `None` for anything else.
    pub(crate) fn parse(
        line: &str,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Self> {
        let mut words = line.split(' ');
        if words.next()? != "afxdp" {
            return None;
        }
        let ifindex = words.next()?.parse().ok()?;
        let ring_size = words.next()?.parse().ok().filter(|size: &u32| size.is_power_of_two())?;
        let id = words.next()?.parse().ok()?;
        let flags: Vec<_> = words.next()?.chars().map(|flag| flag == '1').collect();
        let &[generic, tags, fragments, zero_copy, chains] = &flags[..] else { return None };
        let count: usize = words.next()?.parse().ok().filter(|count| *count > 0)?;
        let senders = words.next()?.strip_suffix('-')?.split(',').filter(|word| !word.is_empty());
        let senders: Vec<usize> = senders.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let lent = parse_ranges(words.next()?.strip_suffix('-')?)?;
        let name = words.next()?.to_owned();
        let map = descriptors.next()?;
        let queues: Vec<_> = descriptors.take(count).collect();
        let senders = senders.into_iter().filter(|queue| *queue < count);
        let senders: Vec<_> = senders.zip(descriptors).collect();
        let place = if generic { XdpPlace::Generic } else { XdpPlace::Native };
        let program = AttachedProgram { id, place };
        let attachment = Attachment { program, tags, fragments };
        let mode = BindMode { zero_copy, chains };
        let link = Link { ifindex, name, ..Link::default() };
        (queues.len() == count).then_some(Self {
            link,
            lent,
            attachment,
            mode,
            ring_size,
            map,
            queues,
            senders,
        })
    }
}

impl AfXdp {
    /// Lets go of everything without closing it. The ends of the workers must be gone.
    pub(crate) fn into_estate(self) -> Result<Estate, Error> {
        let Self { link, attachment, map, mode, ring_size, shared, rx, .. } = self;
        // Those that were never given out; the others were dropped by their workers.
        drop(rx);
        let in_use = Arc::strong_count(&shared) - 1;
        if in_use > 0 {
            let reason = format!("{in_use} ends of it are still in use");
            return Err(Error::Spec { port: link.name, reason });
        }
        // The last of our own is dropped at the end of this function, and must not free the frames.
        shared.handed_over.store(true, Relaxed);
        let again = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map_err(|error| Error::interface(&link.name, "handing its sockets over", error))
        };
        let queues = shared.queues.iter().map(|queue| again(queue.socket.as_fd()));
        let queues = queues.collect::<Result<_, _>>()?;
        let further = shared.further_sockets.lock();
        let spare = shared.spare_senders.lock();
        let senders = spare
            .iter()
            .filter(|sender| further.iter().any(|socket| Arc::ptr_eq(socket, &sender.socket)))
            .map(|sender| Ok((sender.queue, again(sender.socket.as_fd())?)))
            .collect::<Result<_, Error>>()?;
        let map = again(map.as_fd())?;
        let ranges = parse_ranges(&print_ranges(shared.loans.outstanding()));
        let lent = ranges.unwrap_or_default();
        drop((further, spare));
        Ok(Estate { link, lent, attachment, mode, ring_size, map, queues, senders })
    }

    /// Goes on with what a predecessor has left.
    pub(crate) fn from_estate(
        estate: Estate,
        port: PortId,
        depot: &Arc<Depot>,
    ) -> Result<Self, Error> {
        let Estate { link, lent, attachment, mode, ring_size, map, queues, senders } = estate;
        let mut bound = Vec::new();
        for (number, fd) in (0..).zip(queues) {
            let socket = Socket::from_parts(fd, &link.name, link.ifindex, number);
            bound.push(BoundQueue::inherited(socket, ring_size)?);
        }
        // Why it is no better mode was told when it was opened.
        let (map, reason) = (SocketMap::from(map), String::new());
        let binding = Binding { link, attachment, map, mode, reason, ring_size, queues: bound };
        let mut this = Self::assemble(binding, port, depot);
        for index in lent.into_iter().flatten() {
            this.shared.loans.inherit(index);
        }
        for (queue, fd) in senders {
            let number = this.shared.queues[queue].socket.queue();
            let socket = Socket::from_parts(fd, &this.link.name, this.link.ifindex, number);
            let ring = socket.map_tx_ring(ring_size)?;
            this.adopt_sender(Sender { queue, socket: Arc::new(socket), ring });
        }
        crate::port::Port::refresh(&mut this)?;
        Ok(this)
    }
}
