//! What the switch tells unasked, as it comes, until somebody wants to end. [`api::Capture`] and
//! [`api::Watch`] wait for as long as it takes; whoever presses Ctrl-C does not.

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use api::codec::{self, Answer};
use api::{ClientError, LineError, LineReader, Notification, Request};
use signal_hook::consts::{SIGINT, SIGTERM};

/// How long a signal may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a request has begun that has the connection to itself.
pub(crate) struct Notices {
    lines: LineReader<UnixStream>,
    path: PathBuf,
    /// Set by SIGINT and SIGTERM.
    end: Arc<AtomicBool>,
}

/// What comes next.
#[expect(clippy::large_enum_variant, reason = "none is kept: they are read one by one")]
pub(crate) enum Next {
    Told(Notification),
    /// The switch has no more to tell.
    Over,
    /// Somebody wants us to end.
    Stop,
}

impl Notices {
    /// Asks to be told; the switch has `timeout` to agree.
    pub(crate) fn begin(
        path: PathBuf,
        timeout: Duration,
        ask: impl Into<Request>,
    ) -> Result<Self, ClientError> {
        let connect = || {
            let end = Arc::new(AtomicBool::new(false));
            for signal in [SIGINT, SIGTERM] {
                // Whoever asks again does not want to wait for a reader that has stopped.
                let failed = 128 + signal;
                signal_hook::flag::register_conditional_shutdown(signal, failed, Arc::clone(&end))?;
                signal_hook::flag::register(signal, Arc::clone(&end))?;
            }
            let stream = UnixStream::connect(&path)?;
            stream.set_write_timeout(Some(timeout))?;
            stream.set_read_timeout(Some(timeout))?;
            Ok((stream, end))
        };
        let (mut stream, end) =
            connect().map_err(|source| ClientError::Connect { path: path.clone(), source })?;
        let failed = |source| ClientError::Io { path: path.clone(), source };
        let line = codec::encode_request(1, &ask.into())?;
        stream.write_all(line.as_bytes()).map_err(failed)?;
        let mut notices = Self { lines: LineReader::new(stream), path: path.clone(), end };
        match notices.answer() {
            Ok(Some(Answer::Reply { result, .. })) => result.map(drop)?,
            Ok(Some(Answer::Notification(_))) => {
                let why = "it tells before it has agreed to".to_owned();
                return Err(ClientError::Garbled { path, why });
            }
            Ok(None) => return Err(ClientError::Closed { path }),
            Err(ClientError::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock => {
                return Err(ClientError::TimedOut { path, timeout });
            }
            Err(error) => return Err(error),
        }
        notices.lines.source().set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(notices)
    }

    /// Waits for what comes next, or for the end.
    pub(crate) fn next(&mut self) -> Result<Next, ClientError> {
        loop {
            if self.end.load(Ordering::Relaxed) {
                return Ok(Next::Stop);
            }
            match self.answer() {
                Ok(Some(Answer::Notification(notification))) => {
                    return Ok(Next::Told(notification));
                }
                Ok(Some(Answer::Reply { .. })) => {}
                Ok(None) => return Ok(Next::Over),
                Err(ClientError::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next line from the switch; `None` at the end.
    fn answer(&mut self) -> Result<Option<Answer>, ClientError> {
        let path = || self.path.clone();
        let why = match self.lines.read_line() {
            Ok(None) => return Ok(None),
            Ok(Some(line)) => match codec::decode_answer(line) {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => error.to_string(),
            },
            Err(LineError::Io(source)) => return Err(ClientError::Io { path: path(), source }),
            Err(LineError::HalfLine) => return Err(ClientError::Closed { path: path() }),
            Err(error) => error.to_string(),
        };
        Err(ClientError::Garbled { path: path(), why })
    }
}
