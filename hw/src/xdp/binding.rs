//! Binding: a socket on every receive queue of an interface, and the program in front of them.

use packet::Memory;
use rustix::io::Errno;

use super::program::{self, Attachment, WhenAway};
use super::ring::{Consumer, Producer};
use super::socket::{BindMode, Descriptor, Socket};
use crate::bpf::SocketMap;
use crate::error::Error;
use crate::links::{Link, Links};
use crate::sys;

/// How to bind a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AfXdpOptions {
    /// The interface, in the network namespace of the thread that opens the port.
    pub interface: String,
    /// What happens to its packets while no switch runs.
    pub when_away: WhenAway,
    /// Which modes are tried.
    pub bind: BindPreference,
    /// How many receive queues there must be; any number if none is given. All are bound: what
    /// came in by one that nobody reads would be lost.
    pub queues: Option<u32>,
    /// Slots of each ring: a power of two. Each receive queue keeps as many frames.
    pub ring_size: u32,
}

impl AfXdpOptions {
    /// The best that `interface` can do.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            when_away: WhenAway::Drop,
            bind: BindPreference::Best,
            queues: None,
            ring_size: 2048,
        }
    }
}

/// Which modes are tried, best first.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BindPreference {
    /// All: zero-copy, native with copies, generic.
    #[default]
    Best,
    /// Zero-copy only.
    ZeroCopy,
    /// Native with copies only.
    Native,
    /// Generic only.
    Generic,
}

impl BindPreference {
    const fn allows_zero_copy(self) -> bool {
        matches!(self, Self::Best | Self::ZeroCopy)
    }

    const fn allows(self, mode: BindMode) -> bool {
        if mode.zero_copy { self.allows_zero_copy() } else { !matches!(self, Self::ZeroCopy) }
    }

    const fn allows_generic(self) -> bool {
        matches!(self, Self::Best | Self::Generic)
    }
}

/// An interface with all that is bound to it.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) link: Link,
    pub(crate) attachment: Attachment,
    /// From a queue to its socket; empty until the port is ready.
    pub(crate) map: SocketMap,
    pub(crate) mode: BindMode,
    /// Why it is no better mode; empty if there is none.
    pub(crate) reason: String,
    pub(crate) ring_size: u32,
    pub(crate) queues: Vec<BoundQueue>,
}

/// A queue's socket and rings.
#[derive(Debug)]
pub(crate) struct BoundQueue {
    // Before the socket, which lives until its rings are unmapped.
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
    pub(crate) rx: Consumer<Descriptor>,
    pub(crate) tx: Producer<Descriptor>,
    pub(crate) socket: Socket,
}

impl BoundQueue {
    fn new(socket: Socket, ring_size: u32) -> Result<Self, Error> {
        let (fill, completion) = socket.frame_rings(ring_size, completion_size(ring_size))?;
        let (rx, tx) = (socket.rx_ring(ring_size)?, socket.tx_ring(ring_size)?);
        Ok(Self { fill, completion, rx, tx, socket })
    }

    /// Maps the rings of a socket that a predecessor has bound.
    pub(crate) fn inherited(socket: Socket, ring_size: u32) -> Result<Self, Error> {
        let (fill, completion) = socket.map_frame_rings(ring_size, completion_size(ring_size))?;
        let (rx, tx) = (socket.map_rx_ring(ring_size)?, socket.map_tx_ring(ring_size)?);
        Ok(Self { fill, completion, rx, tx, socket })
    }
}

/// Room for what several senders have on the way. If it is not enough, the kernel sends later.
const fn completion_size(ring_size: u32) -> u32 {
    2 * ring_size
}

impl Binding {
    /// Takes the interface over: its program, then every receive queue. No packet comes yet: the
    /// map of sockets is empty.
    pub(crate) fn new(options: &AfXdpOptions, memory: &Memory) -> Result<Self, Error> {
        if !options.ring_size.is_power_of_two() || options.ring_size > 1 << 20 {
            let reason = format!("a ring of {} slots: not a power of two", options.ring_size);
            return Err(Error::Spec { port: options.interface.clone(), reason });
        }
        let mut links = Links::open()?;
        let link = links.named(&options.interface)?;
        if let Some(program) = program::foreign(&link) {
            return Err(Error::ForeignProgram { interface: link.name, id: program.id });
        }
        // The sockets come first: if another process has the queues, its program must stay in
        // place. Until ours leads to them, nothing comes in, and nobody has been done harm.
        let mut bound = Bound::new(&link, options, options.bind, memory)?;
        let (queues, when_away) =
            (u32::try_from(bound.queues.len()).unwrap_or(1), options.when_away);
        let map = SocketMap::new(queues)?;
        let attachment = match options.bind {
            BindPreference::Generic => program::attach_generic(&mut links, &link, &map, when_away)?,
            _ => match program::attach(&mut links, &link, &map, when_away) {
                Ok(attachment) => attachment,
                Err(refused) if options.bind.allows_generic() => {
                    // What runs behind the driver cannot lead to sockets that the driver serves.
                    if bound.mode.zero_copy {
                        drop(bound);
                        bound = Bound::new(&link, options, BindPreference::Generic, memory)?;
                    }
                    bound.reason = format!("no native XDP: {refused}");
                    program::attach_generic(&mut links, &link, &map, when_away)?
                }
                Err(refused) => return Err(refused),
            },
        };
        let Bound { mode, reason, queues } = bound;
        Ok(Self { link, attachment, map, mode, reason, ring_size: options.ring_size, queues })
    }

    /// Takes off what a failed opening has put on `link`, as it was before. What was there already
    /// stays: it was ours, and drops (fail closed).
    pub(crate) fn undo(links: &mut Links, link: &Link) {
        if link.program.is_none()
            && let Ok(now) = links.numbered(link.ifindex, &link.name)
            && let Some(new) = now.program
            && program::foreign(&now).is_none()
        {
            // The failure that led here is what the caller must hear of.
            drop(program::detach(links, &now, new.id));
        }
    }
}

/// Takes a program of ours off `link` whose switch is gone: it would have all packets before
/// anything else on the interface, and drop them. If the switch is still there, it keeps its queues
/// and its program, and this is refused.
pub(crate) fn take_off_left(links: &mut Links, link: &Link, memory: &Memory) -> Result<(), Error> {
    let Some(program) = link.program.filter(|_| program::foreign(link).is_none()) else {
        return Ok(());
    };
    drop(Bound::new(link, &AfXdpOptions::new(&link.name), BindPreference::Best, memory)?);
    program::detach(links, link, program.id)
}

/// A socket on each queue.
struct Bound {
    mode: BindMode,
    reason: String,
    queues: Vec<BoundQueue>,
}

impl Bound {
    fn new(
        link: &Link,
        options: &AfXdpOptions,
        preference: BindPreference,
        memory: &Memory,
    ) -> Result<Self, Error> {
        let first = Socket::new(&link.name, link.ifindex, 0)?;
        // A driver that does not say how many queues it uses uses all that it has.
        let count = sys::active_rx_queues(&link.name);
        let count = count.ok().filter(|count| *count > 0).unwrap_or(link.rx_queues.max(1));
        if let Some(wanted) = options.queues.filter(|wanted| *wanted != count) {
            let port = link.name.clone();
            let reason = format!(
                "has {count} receive queues and all must be bound, not {wanted}; `ethtool -L {port} \
                 combined {wanted}` changes that, or `rx {wanted} tx {wanted}` for a veth"
            );
            return Err(Error::Spec { port, reason });
        }
        first.register(memory)?;
        let first = BoundQueue::new(first, options.ring_size)?;
        let (mode, reason) = bind_best(&first.socket, preference)?;
        let mut queues = vec![first];
        for queue in 1..count {
            let socket = Socket::new(&link.name, link.ifindex, queue)?;
            let queue = BoundQueue::new(socket, options.ring_size)?;
            queue.socket.bind_like(&queues[0].socket)?;
            queues.push(queue);
        }
        Ok(Self { mode, reason, queues })
    }
}

/// Binds `socket` in the best mode that works, and says why no better one does.
fn bind_best(socket: &Socket, preference: BindPreference) -> Result<(BindMode, String), Error> {
    let modes = [(true, true), (true, false), (false, true), (false, false)];
    let modes = modes.map(|(zero_copy, chains)| BindMode { zero_copy, chains });
    let mut refused: Option<Error> = None;
    for mode in modes.into_iter().filter(|mode| preference.allows(*mode)) {
        match socket.bind(mode) {
            Ok(()) => {
                // Of what was refused before, only zero-copy is a loss that must be explained.
                let lost = refused.filter(|_| preference.allows_zero_copy() && !mode.zero_copy);
                let reason = lost.map(|error| format!("no zero-copy: {error}")).unwrap_or_default();
                return Ok((mode, reason));
            }
            Err(error) if !matches!(error.errno(), Some(Errno::INVAL | Errno::OPNOTSUPP)) => {
                return Err(error);
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| Error::system("binding in no mode at all", Errno::OPNOTSUPP)))
}
