//! Asking the switch.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::codec::{self, Answer, EncodeError, Failure, Id};
use crate::line::{LineError, LineReader};
use crate::method::{Call, Notification};
use crate::{reply, request};

/// Where a switch listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/vswitch/vswitch.sock";

/// A connection to a switch, on which one request is answered after the other.
#[derive(Debug)]
pub struct Client {
    reader: LineReader<UnixStream>,
    path: PathBuf,
    timeout: Duration,
    last_id: u64,
}

/// A request that was sent and whose answer is to come.
#[derive(Debug)]
#[must_use = "its answer is still to come"]
pub struct Asked<C> {
    id: u64,
    call: PhantomData<C>,
}

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens at the path.
    #[error("no switch answers at {}: {} ({source})", .path.display(), advice(.source))]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The request was refused, or could not be carried out.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The switch took too long.
    #[error(
        "the switch at {} has not answered for {} s; `vswitchd` may be overloaded or stopped, or \
         as many clients connected as it takes",
        .path.display(),
        .timeout.as_secs_f32()
    )]
    TimedOut {
        /// The socket's path.
        path: PathBuf,
        /// How long it had.
        timeout: Duration,
    },
    /// The connection ended before the answer.
    #[error("the switch at {} ended the connection: its log may say why", .path.display())]
    Closed {
        /// The socket's path.
        path: PathBuf,
    },
    /// The request has no form on the socket.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The answer cannot be read.
    #[error(
        "the switch at {} answers what this program does not understand: {why}; \
         are both of one release?",
        .path.display()
    )]
    Garbled {
        /// The socket's path.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The connection failed.
    #[error("the connection to {} failed: {source}", .path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What to do about a socket that cannot be opened.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "is `vswitchd` running, and is this its socket?",
        io::ErrorKind::ConnectionRefused => "`vswitchd` has stopped and left its socket behind",
        io::ErrorKind::PermissionDenied => {
            "this user may not; try as root or join the socket's group"
        }
        _ => "is `vswitchd` running?",
    }
}

impl Client {
    /// Connects to the switch that listens at `path`. Each request may take `timeout`, which must
    /// not be zero.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let open = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        let stream =
            open().map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        Ok(Self { reader: LineReader::new(stream), path: path.to_owned(), timeout, last_id: 0 })
    }

    /// Asks, and waits for the answer. After any error but [`ClientError::Refused`] and
    /// [`ClientError::Encode`] the connection should be dropped: what was asked may have been done,
    /// and its answer may still come.
    pub fn call<C: Call>(&mut self, call: C) -> Result<C::Reply, ClientError> {
        let asked = self.ask(call)?;
        self.answer(asked)
    }

    /// Asks, and does not wait: the switch answers one request after the other, in their order.
    /// Errors are those of [`Client::call`].
    pub fn ask<C: Call>(&mut self, call: C) -> Result<Asked<C>, ClientError> {
        self.last_id += 1;
        let line = codec::encode_request(self.last_id, &call.into())?;
        let sent = self.reader.source().write_all(line.as_bytes());
        sent.map_err(|source| self.failed(source))?;
        Ok(Asked { id: self.last_id, call: PhantomData })
    }

    /// Waits for the answer. Those that were to come before it are lost.
    pub fn answer<C: Call>(&mut self, asked: Asked<C>) -> Result<C::Reply, ClientError> {
        loop {
            match self.receive()? {
                Some(Answer::Reply { id, result }) if id == Id::Number(asked.id.into()) => {
                    let result = codec::from_json(result?.get());
                    return result.map_err(|malformed| self.garbled(malformed.to_string()));
                }
                // Not even the request's number could be read: this is about our line all the same.
                Some(Answer::Reply { id: Id::Null, result: Err(failure) }) => {
                    return Err(failure.into());
                }
                // A late answer, or a capture's packet that nobody waits for here.
                Some(_) => {}
                None => return Err(ClientError::Closed { path: self.path.clone() }),
            }
        }
    }

    /// Begins a capture, which then has the connection to itself.
    pub fn capture(mut self, start: request::CaptureStart) -> Result<Capture, ClientError> {
        self.call(start)?;
        self.wait_for_ever()?;
        Ok(Capture { client: self })
    }

    /// Asks to be told what happens; that has the connection to itself then.
    pub fn watch(mut self, watch: request::EventsWatch) -> Result<Watch, ClientError> {
        // Events may come in front of the answer to whatever else were asked here.
        self.call(watch)?;
        self.wait_for_ever()?;
        Ok(Watch { client: self })
    }

    fn wait_for_ever(&self) -> Result<(), ClientError> {
        let endless = self.reader.source().set_read_timeout(None);
        endless.map_err(|source| self.failed(source))
    }

    /// The next notification that `wanted` takes.
    fn next_of<T>(
        &mut self,
        wanted: impl Fn(Notification) -> Option<T>,
    ) -> Option<Result<T, ClientError>> {
        loop {
            match self.receive() {
                Ok(Some(Answer::Notification(notification))) => {
                    if let Some(item) = wanted(notification) {
                        return Some(Ok(item));
                    }
                }
                Ok(Some(Answer::Reply { .. })) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next line; `None` at the end.
    fn receive(&mut self) -> Result<Option<Answer>, ClientError> {
        let line = match self.reader.read_line() {
            Ok(Some(line)) => codec::decode_answer(line).map_err(|error| error.to_string()),
            Ok(None) => return Ok(None),
            Err(LineError::Io(source)) => return Err(self.failed(source)),
            Err(LineError::HalfLine) => {
                return Err(ClientError::Closed { path: self.path.clone() });
            }
            Err(error) => Err(error.to_string()),
        };
        line.map(Some).map_err(|why| self.garbled(why))
    }

    fn failed(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::TimedOut { path, timeout: self.timeout }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                ClientError::Closed { path }
            }
            _ => ClientError::Io { path, source },
        }
    }

    fn garbled(&self, why: String) -> ClientError {
        ClientError::Garbled { path: self.path.clone(), why }
    }
}

/// Captured packets as they come. Ends when the switch ends the capture; dropping it ends it, too.
#[derive(Debug)]
pub struct Capture {
    client: Client,
}

impl Iterator for Capture {
    type Item = Result<reply::Captured, ClientError>;

    /// Waits for the next packet, for as long as it takes.
    fn next(&mut self) -> Option<Self::Item> {
        self.client.next_of(|notification| match notification {
            Notification::Captured(packet) => Some(packet),
            Notification::Event(_) => None,
        })
    }
}

/// What happens, as it is told. Ends when the switch does; dropping it ends it, too.
#[derive(Debug)]
pub struct Watch {
    client: Client,
}

impl Iterator for Watch {
    type Item = Result<reply::Event, ClientError>;

    /// Waits for the next event, for as long as it takes.
    fn next(&mut self) -> Option<Self::Item> {
        self.client.next_of(|notification| match notification {
            Notification::Event(event) => Some(event),
            Notification::Captured(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::codec::{decode_request, encode_notification, encode_reply};
    use crate::{DropReason, Reply};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A socket path that no other test uses.
    fn some_path() -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("vswitch-client-{}-{count}", std::process::id()))
    }

    /// Runs `ask` against a switch that reads one request and goes on as `answer` says.
    fn with_switch<T>(
        timeout: Duration,
        answer: impl FnOnce(&mut UnixStream, &str) + Send,
        ask: impl FnOnce(Client) -> T,
    ) -> T {
        let path = some_path();
        let listener = UnixListener::bind(&path).unwrap();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = LineReader::new(stream.try_clone().unwrap());
                let line = reader.read_line().unwrap().unwrap().to_owned();
                answer(&mut stream, &line);
            });
            ask(Client::connect(&path, timeout).unwrap())
        });
        std::fs::remove_file(path).unwrap();
        result
    }

    fn version() -> reply::Version {
        reply::Version { version: "0.1.0".to_owned(), api: 1 }
    }

    /// The right answer to `line`, which asks for the version.
    fn right_answer(line: &str) -> String {
        let id = decode_request(line).unwrap().id.unwrap();
        encode_reply(&id, &Ok(Reply::Version(version()))).unwrap()
    }

    fn packet() -> reply::Captured {
        reply::Captured {
            time_ns: 1,
            port: "p".to_owned(),
            direction: request::Direction::Rx,
            reason: Some(DropReason::Runt),
            len: 3,
            lost: 0,
            data: vec![1, 2, 3],
        }
    }

    #[test]
    fn an_answer_is_read_as_its_type() {
        let answer = with_switch(
            PATIENCE,
            |stream, line| {
                // In pieces, and behind what the client does not wait for.
                let unasked = encode_notification(&Notification::Captured(packet())).unwrap();
                let late =
                    encode_reply(&Id::Number(7.into()), &Ok(Reply::Version(version()))).unwrap();
                for piece in (unasked + &late + &right_answer(line)).as_bytes().chunks(7) {
                    stream.write_all(piece).unwrap();
                }
            },
            |mut client| client.call(request::Version {}),
        );
        assert_eq!(answer.unwrap(), version());
    }

    #[test]
    fn a_refusal_is_told_as_it_is() {
        let refusal = || Failure::refused("no bridge `br1`");
        let answer = with_switch(
            PATIENCE,
            |stream, _| {
                let line = encode_reply(&Id::Null, &Err(refusal())).unwrap();
                stream.write_all(line.as_bytes()).unwrap();
            },
            |mut client| client.call(request::Show::default()),
        );
        match answer {
            Err(ClientError::Refused(failure)) => assert_eq!(failure, refusal()),
            other => panic!("{other:?}"),
        }
    }

    fn error_of(timeout: Duration, answer: impl FnOnce(&mut UnixStream, &str) + Send) -> String {
        let ask = |mut client: Client| client.call(request::Version {});
        let error = with_switch(timeout, answer, ask).unwrap_err().to_string();
        // Paths differ from run to run.
        error
            .split(' ')
            .map(|word| if word.contains('/') { "PATH" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn errors_say_what_to_do() {
        let closed = "the switch at PATH ended the connection: its log may say why";
        assert_eq!(error_of(PATIENCE, |_, _| {}), closed);
        let half = |stream: &mut UnixStream, line: &str| {
            stream.write_all(&right_answer(line).as_bytes()[..20]).unwrap();
        };
        assert_eq!(error_of(PATIENCE, half), closed);
        let garbled = "the switch at PATH answers what this program does not understand: \
                       missing field `api`; are both of one release?";
        let other = |stream: &mut UnixStream, line: &str| {
            let line = right_answer(line).replace("api", "apis");
            stream.write_all(line.as_bytes()).unwrap();
        };
        assert_eq!(error_of(PATIENCE, other), garbled);
        let late = "the switch at PATH has not answered for 0.05 s; \
                    `vswitchd` may be overloaded or stopped, or \
                    as many clients connected as it takes";
        let wait = |stream: &mut UnixStream, _: &str| {
            // Until the client gives up.
            stream.read_to_end(&mut Vec::new()).unwrap();
        };
        assert_eq!(error_of(Duration::from_millis(50), wait), late);
    }

    #[test]
    fn a_socket_without_a_switch_is_explained() {
        let path = some_path();
        let error = |path: &Path| Client::connect(path, PATIENCE).unwrap_err().to_string();
        assert_eq!(
            error(&path),
            format!(
                "no switch answers at {}: is `vswitchd` running, and is this its socket? \
                 (No such file or directory (os error 2))",
                path.display()
            )
        );
        drop(UnixListener::bind(&path).unwrap());
        let stale = error(&path);
        assert!(stale.contains("`vswitchd` has stopped and left its socket behind"), "{stale}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_capture_ends_with_its_connection() {
        let start = request::CaptureStart {
            bridge: None,
            source: request::CaptureSource::Drops,
            snaplen: None,
            count: Some(2),
        };
        let packets: Result<Vec<_>, _> = with_switch(
            PATIENCE,
            |stream, line| {
                let id = decode_request(line).unwrap().id.unwrap();
                let begun = encode_reply(&id, &Ok(Reply::CaptureStart(reply::Done {}))).unwrap();
                let packet = encode_notification(&Notification::Captured(packet())).unwrap();
                stream.write_all((begun + &packet + &packet).as_bytes()).unwrap();
            },
            |client| client.capture(start).unwrap().collect(),
        );
        assert_eq!(packets.unwrap(), [packet(), packet()]);
    }
}
