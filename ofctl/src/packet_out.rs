//! `packet-out`: packets that are sent as if they had come in.

use anyhow::Result;
use api::ClientError;
use clap::error::ErrorKind;

use crate::arguments::{bridges, misuse};
use crate::cli::PacketOutArgs;
use crate::desk::Desk;
use crate::problem::{Problem, Quote, unsure};
use crate::transaction::{Transaction, tell};

/// What a line begins with.
const WORD: &str = "packet-out ";

pub(crate) fn run(args: &PacketOutArgs, desk: &mut Desk) -> Result<()> {
    let missing = |what| misuse("packet-out", ErrorKind::MissingRequiredArgument, what);
    match &*args.words {
        [packet] => Transaction::of(None, desk).change(WORD, packet, desk),
        [bridge, packet] => Transaction::of(Some(bridge.clone()), desk).change(WORD, packet, desk),
        words => {
            // With names of its own, no port is called like its bridge.
            let there = bridges(desk.open()?.0)?;
            let has_bridge = there.iter().any(|bridge| Some(&bridge.name) == words.first());
            let (bridge, words) = match words {
                [bridge, words @ ..] if has_bridge => (Some(bridge.clone()), words),
                words => (None, words),
            };
            match words {
                [port, actions, packets @ ..] if !packets.is_empty() => {
                    send(bridge, port, actions, packets, desk)
                }
                _ => Err(missing("there is no packet behind PORT and LIST")),
            }
        }
    }
}

/// Sends packets by the same actions: all or none.
fn send(
    bridge: Option<String>,
    port: &str,
    actions: &str,
    packets: &[String],
    desk: &mut Desk,
) -> Result<()> {
    let lines: Vec<_> = packets.iter().map(|packet| Line::new(port, actions, packet)).collect();
    let texts: Vec<_> = (1..).zip(&lines).map(|(n, line)| (n, line.text.as_str())).collect();
    let sent = Transaction::of(bridge, desk).make("", &texts, desk.open()?.0);
    let about = |error| match error {
        ClientError::Refused(failure) => {
            let line = failure.data.as_ref().and_then(|place| place.flow).unwrap_or(0);
            let line = usize::try_from(line).ok().and_then(|line| lines.get(line));
            let at = failure.data.as_ref().and_then(|place| place.at);
            let part = line.zip(at).and_then(|(line, at)| line.part(at));
            match part {
                Some((text, before)) => {
                    Problem::about(failure, Quote::argument(text), before).into()
                }
                None => ClientError::Refused(failure).into(),
            }
        }
        error => unsure(error),
    };
    tell(&sent.map_err(about)?, desk)
}

/// A line of a bundle that was put together.
struct Line<'a> {
    text: String,
    /// Each argument with where it stands.
    parts: [(&'a str, usize); 3],
}

impl<'a> Line<'a> {
    fn new(port: &'a str, actions: &'a str, packet: &'a str) -> Self {
        let mut text = String::new();
        let parts = [(" in_port=", port), (" packet=", packet), (" actions=", actions)];
        text.push_str(WORD.trim_end());
        let parts = parts.map(|(name, part)| {
            text.push_str(name);
            let at = text.len();
            text.push_str(part);
            (part, at)
        });
        Self { text, parts }
    }

    /// The argument in which a place lies, and where it begins.
    fn part(&self, [start, _]: [usize; 2]) -> Option<(&'a str, usize)> {
        self.parts.iter().rev().find(|(_, at)| *at <= start).copied()
    }
}
