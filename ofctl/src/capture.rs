//! Packets as they pass or are dropped: `capture`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use api::reply::Captured;
use api::request::{CaptureSource, CaptureStart, Direction};
use api::{HexBytes, Notification};
use serde_json::json;

use crate::arguments::with_last;
use crate::cli::{CaptureArgs, DirectionName, Options};
use crate::desk::Desk;
use crate::notices::{Next, Notices};
use crate::output::{BAD, FAINT, Output, VisibleJson};
use crate::pcapng::Pcapng;
use crate::problem::Problem;

pub(crate) fn run(args: CaptureArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, source) = if args.drops {
        (None, CaptureSource::Drops)
    } else {
        let (bridge, name) = with_last("capture", "PORT (or --drops)", args.bridge, args.port)?;
        let direction = match args.direction {
            DirectionName::Rx => Direction::Rx,
            DirectionName::Tx => Direction::Tx,
            DirectionName::Both => Direction::Both,
        };
        (bridge, CaptureSource::Port { name, direction })
    };
    let start = CaptureStart { bridge, source, snaplen: Some(args.snaplen), count: args.count };
    let to_stdout = args.write.as_deref().is_some_and(|file| file == Path::new("-"));
    if to_stdout && desk.out.is_terminal() {
        let title = "a pcapng file is nothing to look at: redirect it, or leave -w out".to_owned();
        return Err(Problem { title, ..Problem::default() }.into());
    }
    // Whoever asks what there is instead finds a switch to ask.
    desk.open()?;
    let Options { socket, timeout, .. } = desk.options.clone();
    let mut packets = Notices::begin(socket, timeout, start)?;
    let mut sink = match &args.write {
        None => Sink::Stream { first: true },
        Some(file) => {
            let file: Box<dyn Write> = if to_stdout {
                Box::new(io::stdout())
            } else {
                let created = std::fs::File::create(file);
                Box::new(created.with_context(|| format!("cannot write {}", file.display()))?)
            };
            Sink::File(Pcapng::begin(file, args.snaplen)?)
        }
    };
    let mut tally = Tally::default();
    sink.begin(&mut desk.out)?;
    let followed = follow(&mut packets, &mut sink, &mut desk.out, &mut tally);
    // Whatever has happened, a document has an end.
    let ended = sink.end(tally, to_stdout, &mut desk.out);
    let is_cut = followed?;
    ended?;
    if is_cut && args.count.is_none_or(|count| tally.packets < count) {
        let title = "the switch has ended the capture: it ends, or the port is gone".to_owned();
        return Err(Problem { title, ..Problem::default() }.into());
    }
    Ok(())
}

/// What has been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    packets: u64,
    lost: u64,
}

/// Passes packets on until the end; answers whether the switch made it.
fn follow(
    packets: &mut Notices,
    sink: &mut Sink,
    out: &mut Output,
    tally: &mut Tally,
) -> Result<bool> {
    loop {
        match packets.next()? {
            Next::Told(Notification::Captured(packet)) => {
                tally.packets += 1;
                tally.lost += u64::from(packet.lost);
                sink.add(&packet, out)?;
            }
            Next::Told(_) => {}
            Next::Stop => return Ok(false),
            Next::Over => return Ok(true),
        }
    }
}

/// Where packets go.
enum Sink {
    /// To whoever reads: lines, or the one document.
    Stream {
        first: bool,
    },
    File(Pcapng<Box<dyn Write>>),
}

impl Sink {
    /// Begins a document, or says that packets are seen from now on.
    fn begin(&self, out: &mut Output) -> Result<()> {
        if !out.is_json() {
            tell("capturing, until Ctrl-C");
        } else if let Self::Stream { .. } = self {
            write!(out.bytes(), "{{\"packets\":[")?;
            out.flush()?;
        }
        Ok(())
    }

    fn add(&mut self, packet: &Captured, out: &mut Output) -> Result<()> {
        match self {
            Self::File(file) => return file.add(packet),
            Self::Stream { first } if out.is_json() => {
                let comma = if std::mem::take(first) { "" } else { "," };
                let text = serde_json::to_string(packet)?;
                write!(out.bytes(), "{comma}{}", VisibleJson(&text))?;
            }
            Self::Stream { .. } => print(out, packet)?,
        }
        Ok(out.flush()?)
    }

    /// Ends a document, and says what a file has.
    fn end(self, tally: Tally, to_stdout: bool, out: &mut Output) -> Result<()> {
        let Tally { packets, lost } = tally;
        match self {
            Self::Stream { .. } if out.is_json() => writeln!(out.bytes(), "]}}")?,
            Self::File(_) if out.is_json() && !to_stdout => {
                out.json(&json!({ "packets": packets, "lost": lost }))?;
            }
            Self::File(_) if !out.is_json() => {
                tell(&format!("{packets} packets written; {lost} passed too fast to be shown"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Tells whoever looks on; nobody waits for it.
fn tell(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// `1763690000.000000001 eth1 rx 64 bytes, dropped: table-miss, 0200...`.
fn print(out: &mut Output, packet: &Captured) -> io::Result<()> {
    let Captured { time_ns, port, len, lost, .. } = packet;
    let way = match packet.direction {
        Direction::Rx => "rx",
        Direction::Tx => "tx",
        Direction::Both => "-",
    };
    if *lost > 0 {
        out.styled(BAD, format_args!("({lost} packets passed too fast to be shown)"))?;
        out.end()?;
    }
    let (seconds, nanoseconds) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
    out.styled(FAINT, format_args!("{seconds}.{nanoseconds:09}"))?;
    out.put(format_args!(" {port} {way} {len} bytes"))?;
    if let Some(reason) = packet.reason {
        out.styled(BAD, format_args!(", dropped: {reason}"))?;
    }
    out.put(", ")?;
    out.styled(FAINT, HexBytes(packet.data.clone()))?;
    out.end()
}
