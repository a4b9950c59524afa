//! The control thread: it waits for clients, interfaces, timeouts and signals, and serves each in
//! turn.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hw::{AddressMonitor, LinkMonitor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::net::UCred;
use rustix::net::sockopt::socket_peercred;

use crate::connection::{Connection, Progress};
use crate::control::Control;
use crate::watchdog::Watchdog;

/// Clients at a time.
pub(crate) const CLIENTS: usize = 32;
/// How often workers are looked after.
const WATCH: Duration = Duration::from_secs(1);
/// How often counters are folded while workers are busy.
const FOLD: Duration = Duration::from_millis(100);
/// How often captured packets are passed on, and throttled clients get another turn.
const PASS_ON: Duration = Duration::from_millis(10);

/// The control socket.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is ours.
    _lock: std::fs::File,
    access: Access,
}

/// Who may do what.
#[derive(Clone, Copy, Debug)]
struct Access {
    /// Whether those may connect who are neither root, nor we, nor of the socket's group.
    others: bool,
    uid: u32,
    gid: u32,
}

impl Access {
    /// If only those can connect whom the socket's mode names, they may do everything. If everybody
    /// can, the others may look.
    fn may_change(self, peer: UCred) -> bool {
        let uid = peer.uid.as_raw();
        !self.others || uid == 0 || uid == self.uid || peer.gid.as_raw() == self.gid
    }
}

impl Listener {
    /// Listens at `path`, unless another switch does.
    pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let lock = std::fs::File::create(path.with_extension("lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            let error = io::Error::from(errno);
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    io::Error::other("another vswitchd listens there; it must end first")
                }
                _ => error,
            }
        })?;
        // Whoever left a socket behind is gone, or it would hold the lock.
        match std::fs::symlink_metadata(path) {
            Ok(file) if file.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::other("what is there is no socket: it stays")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Nobody else may connect until mode and group are right.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group))?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        let metadata = std::fs::metadata(path)?;
        let access = Access { others: mode & 0o002 != 0, uid: metadata.uid(), gid: metadata.gid() };
        Ok(Self { listener, path: path.to_owned(), _lock: lock, access })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // If it is gone already, all is well.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Everything the control thread waits for.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    links: LinkMonitor,
    addresses: Option<AddressMonitor>,
    /// Readable when the process is to end.
    end: UnixStream,
    connections: Vec<Connection>,
    watchdog: Watchdog,
    watched: Duration,
    ticked: Duration,
}

impl Server {
    /// A server that ends when `end` is readable.
    pub fn new(listener: Listener, links: LinkMonitor, end: UnixStream) -> Self {
        Self {
            listener,
            links,
            addresses: None,
            end,
            connections: Vec::new(),
            watchdog: Watchdog::default(),
            watched: Duration::ZERO,
            ticked: Duration::ZERO,
        }
    }

    /// The same, which has connections know the addresses that the host has.
    #[must_use]
    pub fn with_addresses(self, addresses: AddressMonitor) -> Self {
        Self { addresses: Some(addresses), ..self }
    }

    /// Serves until told to end.
    pub fn run(&mut self, control: &mut Control) -> io::Result<()> {
        let mut patience = Duration::ZERO;
        while !self.wait(control, patience)? {
            self.follow_links(control);
            self.follow_addresses(control);
            control.hear();
            self.accept(control);
            let busy = self.serve(control);
            self.tick(control);
            let busy = self.tell(control, busy);
            let bytes = self.connections.iter().map(Connection::bytes).sum();
            control.connections = (self.connections.len(), bytes);
            patience = self.patience(control, busy);
        }
        for connection in self.connections.drain(..) {
            connection.end(control);
        }
        Ok(())
    }

    /// Waits until something happens. Answers whether it is the end.
    fn wait(&self, control: &Control, patience: Duration) -> io::Result<bool> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let all: [BorrowedFd<'_>; 3] =
            [self.end.as_fd(), self.links.as_fd(), self.listener.listener.as_fd()];
        let mut fds: Vec<_> = all.map(readable).into();
        // With all places taken, others wait in the kernel's queue.
        fds.truncate(if self.connections.len() < CLIENTS { 3 } else { 2 });
        fds.extend(
            self.connections
                .iter()
                .map(|connection| PollFd::new(connection, connection.interest())),
        );
        fds.extend(self.addresses.iter().map(|addresses| readable(addresses.as_fd())));
        fds.extend(control.crew.members().iter().map(|member| readable(member.desk.bell())));
        let timeout = Timespec::try_from(patience).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn follow_links(&mut self, control: &mut Control) {
        match self.links.events() {
            Ok(events) if events.is_empty() => {}
            Ok(events) => control.links_changed(&events),
            Err(error) => tracing::warn!(%error, "changes of interfaces may have been missed"),
        }
    }

    fn follow_addresses(&mut self, control: &Control) {
        let Some(addresses) = &mut self.addresses else { return };
        match addresses.has_changed() {
            Ok(false) => {}
            Ok(true) => control.set_host_addresses(addresses.addresses()),
            Err(error) => tracing::warn!(%error, "changes of addresses may have been missed"),
        }
    }

    fn accept(&mut self, control: &Control) {
        while self.connections.len() < CLIENTS {
            let Ok((stream, _)) = self.listener.listener.accept() else { return };
            let taken_in = socket_peercred(&stream).map_err(io::Error::from).and_then(|peer| {
                let may_change = self.listener.access.may_change(peer);
                Connection::new(stream, peer, may_change, control.clock.now())
            });
            match taken_in {
                Ok(connection) => self.connections.push(connection),
                Err(error) => tracing::debug!(%error, "a client was gone before it was taken in"),
            }
        }
    }

    /// Gives every client a turn. Answers with how busy they are.
    fn serve(&mut self, control: &mut Control) -> Progress {
        let mut busy = Progress::Waiting;
        let mut over = Vec::new();
        for (at, connection) in self.connections.iter_mut().enumerate() {
            let progress = connection.serve(control);
            let over_now =
                progress == Progress::Over || connection.views() && !connection.show(control);
            match progress {
                _ if over_now => over.push(at),
                Progress::More => busy = Progress::More,
                Progress::Throttled if busy != Progress::More => busy = Progress::Throttled,
                _ => {}
            }
        }
        for at in over.into_iter().rev() {
            self.connections.swap_remove(at).end(control);
        }
        busy
    }

    /// Tells those who listen what has happened in this round. Answers with how busy they are.
    fn tell(&mut self, control: &mut Control, mut busy: Progress) -> Progress {
        for at in (0..self.connections.len()).rev() {
            match self.connections[at].tell(control) {
                Progress::Over => self.connections.swap_remove(at).end(control),
                Progress::More => busy = Progress::More,
                _ => {}
            }
        }
        busy
    }

    fn tick(&mut self, control: &mut Control) {
        let now = control.clock.now();
        if now.saturating_sub(self.ticked) >= control.until_tick() {
            self.ticked = now;
            control.tick();
        }
        control.fold();
        if now.saturating_sub(self.watched) >= WATCH {
            self.watched = now;
            for stuck in self.watchdog.look(control.crew.members(), now) {
                let port = control.ports.get(stuck.port);
                let port =
                    port.map_or_else(|| stuck.port.to_string(), |port| port.name.to_string());
                let seconds = stuck.length.as_secs();
                tracing::error!(
                    worker = stuck.worker,
                    port,
                    seconds,
                    "a worker is stuck at a port"
                );
            }
        }
    }

    /// How long there is nothing to do if nothing happens.
    fn patience(&self, control: &Control, busy: Progress) -> Duration {
        if busy == Progress::More || control.crew.connections().has_news() {
            return Duration::ZERO;
        }
        let mut patience = control.until_tick();
        if Watchdog::is_needed(control.crew.members()) {
            patience = patience.min(FOLD);
        }
        if busy == Progress::Throttled || self.connections.iter().any(Connection::views) {
            patience = patience.min(PASS_ON);
        }
        patience
    }
}
