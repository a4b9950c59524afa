//! One client of the control socket.

use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use api::codec::{self, Asked, Id, Rejected};
use api::{Failure, LineError, LineReader, Notification, Reply, Request};
use rustix::event::PollFlags;
use rustix::net::UCred;

use crate::answers::Next;
use crate::changes::Session;
use crate::control::Control;
use crate::viewing::Viewing;

/// Requests that a client may make in a second, and at once if it has been quiet for one.
const RATE: u32 = 20_000;

/// A client and what it has begun.
#[derive(Debug)]
pub struct Connection {
    reader: LineReader<UnixStream>,
    peer: UCred,
    may_change: bool,
    session: Session,
    viewing: Option<Viewing>,
    /// Its number among those who listen, if it does.
    listening: Option<u64>,
    /// What it has still to read.
    outbox: Vec<u8>,
    allowance: Allowance,
    /// Nothing more is read from it; it ends when the outbox is empty.
    closing: bool,
}

/// How it goes on with a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// There may be another request at once.
    More,
    /// Something has to happen first.
    Waiting,
    /// It has had all it may have for the moment.
    Throttled,
    /// It is gone, or has to go.
    Over,
}

impl Connection {
    /// Takes a client in, who may look at everything, and change it if `may_change`.
    pub fn new(
        stream: UnixStream,
        peer: UCred,
        may_change: bool,
        now: Duration,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            reader: LineReader::with_limit(stream, codec::MAX_REQUEST),
            peer,
            may_change,
            session: Session::default(),
            viewing: None,
            listening: None,
            outbox: Vec::new(),
            allowance: Allowance { left: RATE, since: now },
            closing: false,
        })
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.reader.capacity() + self.outbox.capacity()
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    /// Answers at most one request: everybody has a turn. A client that does not read its answers
    /// is asked for nothing more until it does.
    pub fn serve(&mut self, control: &mut Control) -> Progress {
        if !self.flush() {
            return Progress::Over;
        }
        if !self.outbox.is_empty() {
            return Progress::Waiting;
        }
        if self.closing {
            return Progress::Over;
        }
        if !self.allowance.has_one(control.clock.now()) {
            return Progress::Throttled;
        }
        match self.reader.read_line() {
            Ok(None) => Progress::Over,
            // A connection that shows packets does nothing else.
            Ok(Some(_)) if self.viewing.is_some() => Progress::More,
            Ok(Some(line)) => {
                let asked = codec::decode_request(line);
                self.allowance.take_one();
                self.answer(asked, control);
                if self.flush() { Progress::More } else { Progress::Over }
            }
            Err(LineError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Progress::Waiting,
            Err(LineError::Io(_)) => Progress::Over,
            Err(error) => {
                self.closing = !matches!(error, LineError::NotUtf8 { .. });
                let failure =
                    Failure { code: Failure::NOT_JSON, message: error.to_string(), data: None };
                self.send(&Id::Null, &Err(failure));
                if self.flush() { Progress::More } else { Progress::Over }
            }
        }
    }

    fn answer(&mut self, asked: Result<Asked, Rejected>, control: &mut Control) {
        let (id, answer) = match asked {
            Ok(Asked { id, request }) => (id, self.carry_out(request, control)),
            Err(Rejected { id, failure }) => (id, Err(failure)),
        };
        if let Some(id) = id {
            self.send(&id, &answer);
        }
    }

    fn carry_out(&mut self, request: Request, control: &mut Control) -> Result<Reply, Failure> {
        let UCred { pid, uid, .. } = self.peer;
        tracing::debug!(method = request.method(), %uid, %pid, "request");
        if !self.may_change && !only_looks(&request) {
            let who = uid.as_raw();
            return Err(Failure::refused(format!(
                "user {who} may look at the switch, and neither change it nor see packets"
            )));
        }
        match request {
            Request::CaptureStart(start) => {
                self.viewing = Some(Viewing::begin(&start, control)?);
                Ok(Reply::CaptureStart(api::reply::Done {}))
            }
            Request::EventsWatch(watch) => {
                let listening = control.listen(&watch)?;
                if let Some(before) = self.listening.replace(listening) {
                    control.unlisten(before);
                }
                Ok(Reply::EventsWatch(api::reply::Done {}))
            }
            request => control.handle(request, &mut self.session),
        }
    }

    fn send(&mut self, id: &Id, answer: &Result<Reply, Failure>) {
        let line = codec::encode_reply(id, answer).or_else(|error| {
            let failure = Failure::internal(format!("the answer cannot be written: {error}"));
            codec::encode_reply(id, &Err(failure))
        });
        match line {
            Ok(line) => self.outbox.extend_from_slice(line.as_bytes()),
            Err(_) => self.closing = true,
        }
    }

    /// Whether it is shown packets as they pass.
    pub const fn views(&self) -> bool {
        self.viewing.is_some()
    }

    /// Shows packets that have been seen since the last time, as many as the client takes. Answers
    /// whether there may be more to come.
    pub fn show(&mut self, control: &Control) -> bool {
        let Some(viewing) = &mut self.viewing else { return false };
        // What is not taken from the rings stays there, and what finds them full is counted.
        while self.outbox.is_empty()
            && let Some(captured) = viewing.next(control)
        {
            if let Ok(line) = codec::encode_notification(&Notification::Captured(captured)) {
                self.outbox.extend_from_slice(line.as_bytes());
            }
            if !flush(&mut self.outbox, self.reader.source()) {
                return false;
            }
        }
        !viewing.is_over(control) || !self.outbox.is_empty()
    }

    /// Tells what has happened, as much as the client takes. Answers how it goes on.
    pub fn tell(&mut self, control: &mut Control) -> Progress {
        let Some(listening) = self.listening else { return Progress::Waiting };
        while self.outbox.is_empty() {
            match control.next_event(listening) {
                Next::Line(line) => self.outbox.extend_from_slice(line.as_bytes()),
                Next::Soon => return Progress::More,
                Next::Nothing => return Progress::Waiting,
            }
            if !self.flush() {
                return Progress::Over;
            }
        }
        Progress::Waiting
    }

    fn flush(&mut self) -> bool {
        flush(&mut self.outbox, self.reader.source())
    }

    /// Ends what the client has begun.
    pub fn end(self, control: &mut Control) {
        control.forget(self.session);
        if let Some(viewing) = self.viewing {
            viewing.end(control);
        }
        if let Some(listening) = self.listening {
            control.unlisten(listening);
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.source().as_fd()
    }
}

/// Writes what the client takes. Answers whether it is still there.
fn flush(outbox: &mut Vec<u8>, mut stream: &UnixStream) -> bool {
    let mut written = 0;
    let there = loop {
        if written == outbox.len() {
            break true;
        }
        match stream.write(&outbox[written..]) {
            Ok(0) => break false,
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
    };
    outbox.drain(..written);
    if outbox.is_empty() {
        // The answer to a dump is long; most are short.
        outbox.shrink_to(4096);
    }
    there
}

/// Whether a request changes nothing and shows no payload.
const fn only_looks(request: &Request) -> bool {
    if let Request::EventsWatch(watch) = request {
        return watch.packets.is_none();
    }
    matches!(
        request,
        Request::Version(_)
            | Request::Show(_)
            | Request::FlowDump(_)
            | Request::TableDump(_)
            | Request::GroupDump(_)
            | Request::GroupFeatures(_)
            | Request::MeterDump(_)
            | Request::MeterFeatures(_)
            | Request::PortStats(_)
            | Request::QueueDump(_)
            | Request::Trace(_)
            | Request::CacheDump(_)
            | Request::CacheDetrace(_)
            | Request::WorkerStats(_)
            | Request::RxqShow(_)
            | Request::FdbShow(_)
            | Request::FlowAggregate(_)
            | Request::FdbStats(_)
            | Request::CtDump(_)
            | Request::CtExpectDump(_)
            | Request::CtStats(_)
            | Request::CtLimitDump(_)
            | Request::CtTimeoutDump(_)
            | Request::CtTcpShow(_)
            | Request::WorkerHistograms(_)
            | Request::MemoryShow(_)
            | Request::LimitsShow(_)
    )
}

/// Requests that a client may make now.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Duration,
}

impl Allowance {
    /// Whether there is one left, after adding what the time since the last look is worth.
    fn has_one(&mut self, now: Duration) -> bool {
        const EACH: Duration = Duration::from_micros(1_000_000 / RATE as u64);
        if self.left < RATE {
            let gained = now.saturating_sub(self.since).as_micros() / EACH.as_micros();
            let gained = u32::try_from(gained).unwrap_or(RATE).min(RATE);
            self.left = (self.left + gained).min(RATE);
            self.since += EACH * gained;
        }
        if self.left == RATE {
            self.since = now;
        }
        self.left > 0
    }

    const fn take_one(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_ask_so_often_and_no_more() {
        let mut allowance = Allowance { left: RATE, since: Duration::ZERO };
        let mut granted = 0;
        for now in (0..2_000_000).step_by(7).map(Duration::from_micros) {
            if allowance.has_one(now) {
                allowance.take_one();
                granted += 1;
            }
        }
        // A burst of one second, and two seconds' worth.
        assert!((3 * RATE - RATE / 10..=3 * RATE).contains(&granted), "{granted}");
    }
}
