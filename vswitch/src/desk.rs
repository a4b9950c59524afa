//! What control and one worker leave for each other: orders one way, things to be put away the
//! other.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use flowtable::Tables;
use hw::{Capabilities, RxQueue, TxQueue};
use packet::PortId;
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use crate::account::{Account, Counter};
use crate::capture::Watch;
use crate::dump::DumpRequest;
use crate::inject::Injection;
use crate::last_drops::DropsRequest;
use crate::publish::Seen;
use crate::queues::Queues;

/// What control wants a worker to do between two turns.
pub enum Order {
    /// Poll this queue of a port.
    Receive {
        /// The port.
        port: PortId,
        /// The queue's number within the port.
        number: u32,
        /// The queue.
        queue: Box<dyn RxQueue>,
        /// Whether packets may have a checksum still to be made that nothing marks.
        unmarked_partial: bool,
        /// What counts its packets.
        account: Arc<Account>,
        /// What counts the time they take, in nanoseconds.
        busy_ns: Arc<Counter>,
    },
    /// Send packets for a port by this queue.
    Send {
        /// The port.
        port: PortId,
        /// The queue.
        queue: Box<dyn TxQueue>,
        /// What the port can do.
        capabilities: Capabilities,
        /// What counts its packets.
        account: Arc<Account>,
    },
    /// A port can do something else now.
    Change(PortId, Capabilities),
    /// Have packets for a port wait in these egress queues, or in none.
    Queue {
        /// The port.
        port: PortId,
        /// Its queues.
        queues: Option<Box<Queues>>,
        /// Frames that may wait in all queues of this worker.
        most_held: usize,
    },
    /// Let go of a port.
    Leave(PortId),
    /// Show packets.
    Watch(Watch),
    /// Stop that.
    Unwatch(u64),
    /// Carry this packet on.
    Inject(Box<Injection>),
    /// Credit what short-cuts have carried.
    Settle,
    /// Describe some of the caches.
    Dump(DumpRequest),
    /// Show what was dropped last.
    Drops(DropsRequest),
    /// Forget what is cached, and say how many megaflows and sessions there were.
    Flush(SyncSender<(usize, usize)>),
    /// End.
    Stop,
}

/// What a worker has no use for any more. Control puts it away, since that may take time.
pub enum Returned {
    /// A receiving end.
    Rx(PortId, Box<dyn RxQueue>),
    /// A sending end.
    Tx(PortId, Box<dyn TxQueue>),
    /// A port's egress queues, with nothing in them.
    Queues(PortId, Box<Queues>),
    /// Tables of an older generation.
    Tables(Arc<Tables>),
    /// A capture's end.
    Watch(Watch),
}

/// The desk of one worker.
#[derive(Debug)]
pub struct Desk {
    /// Counts orders and generations, so that a worker need only look here.
    signal: AtomicU64,
    orders: Mutex<Vec<Order>>,
    returned: Mutex<Vec<Returned>>,
    /// The generation of tables in use.
    pub tables: Seen,
    /// The signal up to which all orders have been carried out.
    pub orders_done: Seen,
    /// Turns taken.
    pub turns: AtomicU64,
    /// The port being served, for the watchdog.
    pub serving: AtomicU32,
    /// Whether it sleeps.
    pub asleep: AtomicBool,
    wake: OwnedFd,
    /// Whether anybody wants to see packets that are shown.
    pub watched: AtomicBool,
    bell: OwnedFd,
}

impl Desk {
    /// An empty desk.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            signal: AtomicU64::new(0),
            orders: Mutex::new(Vec::new()),
            returned: Mutex::new(Vec::new()),
            tables: Seen::new(),
            orders_done: Seen::new(),
            turns: AtomicU64::new(0),
            serving: AtomicU32::new(0),
            asleep: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            watched: AtomicBool::new(false),
            bell: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    /// Leaves orders, in order, and wakes the worker. Answers with the signal to wait for.
    pub fn order(&self, orders: impl IntoIterator<Item = Order>) -> u64 {
        let mut waiting = self.orders.lock();
        waiting.extend(orders);
        // Under the lock: whoever sees the signal finds the orders.
        let signal = self.signal.fetch_add(1, Ordering::Release) + 1;
        drop(waiting);
        self.wake();
        signal
    }

    /// Makes the worker look up: there are new tables.
    pub fn ring(&self) {
        self.signal.fetch_add(1, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // It fails only if the counter is full, and then the worker is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// The worker has been woken.
    pub fn woken(&self) {
        let mut count = [0; 8];
        // Nothing to read means that somebody else's event woke it.
        let _ = rustix::io::read(&self.wake, &mut count);
    }

    /// The worker has something to tell.
    pub fn tell(&self) {
        // It fails only if the counter is full, and then control has been told.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Control has heard of it.
    pub fn heard(&self) {
        let mut count = [0; 8];
        // Nothing to read means that there is nothing to be heard.
        let _ = rustix::io::read(&self.bell, &mut count);
    }

    /// What is readable when the worker has something to tell.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The signal now.
    #[inline]
    pub fn signal(&self) -> u64 {
        self.signal.load(Ordering::Acquire)
    }

    /// Takes all orders.
    pub fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.orders.lock())
    }

    /// Leaves something to be put away.
    pub fn give_back(&self, returned: Returned) {
        self.returned.lock().push(returned);
    }

    /// Takes everything that is to be put away.
    pub fn take_returned(&self) -> Vec<Returned> {
        std::mem::take(&mut self.returned.lock())
    }
}

impl AsFd for Desk {
    /// Readable when the worker is wanted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive { port, number, .. } => {
                write!(f, "receive from port {port}, queue {number}")
            }
            Self::Send { port, .. } => write!(f, "send to port {port}"),
            Self::Change(port, _) => write!(f, "port {port} changed"),
            Self::Queue { port, .. } => write!(f, "egress queues of port {port}"),
            Self::Leave(port) => write!(f, "leave port {port}"),
            Self::Watch(watch) => write!(f, "watch {}", watch.number),
            Self::Unwatch(number) => write!(f, "unwatch {number}"),
            Self::Inject(injection) => write!(f, "inject for port {}", injection.ingress),
            Self::Settle => f.write_str("settle"),
            Self::Dump(_) => f.write_str("dump"),
            Self::Drops(_) => f.write_str("drops"),
            Self::Flush(_) => f.write_str("flush"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rx(port, _) => write!(f, "a queue of port {port}"),
            Self::Tx(port, _) => write!(f, "a way out to port {port}"),
            Self::Queues(port, _) => write!(f, "egress queues of port {port}"),
            Self::Watch(watch) => write!(f, "watch {}", watch.number),
            Self::Tables(tables) => write!(f, "tables of generation {}", tables.generation()),
        }
    }
}
