//! Changes that are made together: a line of them, or a file.

use anyhow::Result;
use api::reply::Changed;
use api::request::{FlowAppend, FlowBegin, FlowChange, FlowCommit};
use api::{Client, ClientError, text};

use crate::desk::Desk;
use crate::file::{File, STDIN};
use crate::problem::{Problem, Quote, explain, unsure, warn, with_help};
use crate::progress::Progress;

/// Bytes of a request that carries a part of a file: far below what the switch takes, so that one
/// sees how it goes on.
const PART: usize = 1 << 20;
const _: () = assert!(PART + text::MAX_LEN * 2 < api::codec::MAX_REQUEST);

/// Lines with their numbers.
pub(crate) type Lines<'a> = &'a [(usize, &'a str)];

/// Where a transaction takes place, and how its lines are read.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    bridge: Option<String>,
    lenient: bool,
}

impl Transaction {
    pub(crate) fn of(bridge: Option<String>, desk: &Desk) -> Self {
        Self { bridge, lenient: desk.options.lenient }
    }

    /// Makes the change that `before` and an argument of the command line are together; with `-` as
    /// the argument, those of standard input.
    pub(crate) fn change(self, before: &str, argument: &str, desk: &mut Desk) -> Result<()> {
        if argument == STDIN {
            return self.change_file(before, &File::read(STDIN)?, desk);
        }
        let line = format!("{before}{argument}");
        let changed = self.make("", &[(1, &line)], desk.open()?.0);
        let about = |error| match error {
            ClientError::Refused(_) => explain(error, Quote::argument(argument), before.len()),
            error => unsure(error),
        };
        tell(&changed.map_err(about)?, desk)
    }

    /// Makes the changes that `before` and each line of a file are together: all or none.
    pub(crate) fn change_file(self, before: &str, file: &File, desk: &mut Desk) -> Result<()> {
        let changed = self.lines(before, file, &file.lines(), desk)?;
        tell(&changed, desk)
    }

    /// The same with some of its lines; whoever calls tells what has come of it.
    pub(crate) fn lines(
        self,
        before: &str,
        file: &File,
        lines: Lines<'_>,
        desk: &mut Desk,
    ) -> Result<Changed> {
        if let Some(line) = lines.iter().find(|(_, line)| line.len() > text::MAX_LEN) {
            let title = format!("a flow's text has at most {} bytes", text::MAX_LEN);
            let place = Quote { text: None, ..file.quote(*line) };
            return Err(Problem { title, quote: Some(place), ..Problem::default() }.into());
        }
        let changed = self.make(before, lines, desk.open()?.0);
        changed.map_err(|error| match error {
            ClientError::Refused(failure) => {
                let place = failure.data.as_ref().and_then(|place| place.flow);
                let line = place.and_then(|at| lines.get(usize::try_from(at).ok()?));
                match line {
                    Some(line) => with_help(
                        Problem::about(failure, file.quote(*line), before.len()).into(),
                        Some("nothing has been changed".to_owned()),
                    ),
                    None => ClientError::Refused(failure).into(),
                }
            }
            error => unsure(error),
        })
    }

    /// Sends lines as one change, in parts if there are many.
    pub(crate) fn make(
        self,
        before: &str,
        lines: Lines<'_>,
        client: &mut Client,
    ) -> Result<Changed, ClientError> {
        let Self { bridge, lenient } = self;
        let whole = |lines: Lines<'_>| -> Vec<String> {
            lines.iter().map(|(_, line)| [before, line].concat()).collect()
        };
        let mut rest = split(before, lines);
        if rest.1.is_empty() {
            return client.call(FlowChange { bridge, flows: whole(rest.0), lenient });
        }
        let mut progress = Progress::of("lines sent", false);
        client.call(FlowBegin { bridge, lenient })?;
        // The next part is made and sent while the switch reads one.
        let mut asked = client.ask(FlowAppend { flows: whole(rest.0) })?;
        while !rest.1.is_empty() {
            rest = split(before, rest.1);
            let next = client.ask(FlowAppend { flows: whole(rest.0) })?;
            client.answer(std::mem::replace(&mut asked, next))?;
            progress.at(lines.len() - rest.1.len(), Some(lines.len()));
        }
        client.answer(asked)?;
        client.call(FlowCommit {})
    }
}

/// As many lines as go into one request, and the others.
fn split<'a>(before: &str, lines: Lines<'a>) -> (Lines<'a>, Lines<'a>) {
    let mut room = PART;
    let fits = lines.iter().take_while(|(_, line)| {
        let fits = room > 0;
        room = room.saturating_sub(before.len() + weight(line));
        fits
    });
    lines.split_at(fits.count())
}

/// The most bytes that a text has as JSON.
fn weight(text: &str) -> usize {
    let escaped = |byte: u8| matches!(byte, 0..0x20 | b'"' | b'\\');
    3 + text.bytes().map(|byte| if escaped(byte) { 6 } else { 1 }).sum::<usize>()
}

/// Answers with what has come of a change, and with what is perhaps not as it was meant.
pub(crate) fn tell(changed: &Changed, desk: &mut Desk) -> Result<()> {
    warn_of(changed, desk);
    desk.out.answer(changed, |_, _| Ok(()))
}

/// Tells of what is perhaps not as it was meant.
pub(crate) fn warn_of(changed: &Changed, desk: &Desk) {
    if desk.out.is_json() {
        return;
    }
    let colour = desk.options.color;
    match changed.orphans {
        0 => {}
        1 => warn("1 flow went with the groups and meters that it used", colour),
        flows => warn(&format!("{flows} flows went with the groups and meters they used"), colour),
    }
    if !changed.late.is_empty() {
        let late: Vec<_> = changed.late.iter().map(ToString::to_string).collect();
        let late = late.join(", ");
        warn(&format!("the flows are changed, but worker {late} does not use them yet"), colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_fits_a_request() {
        let nasty = "\u{1}\"\\x".repeat(200);
        let lines: Vec<_> = (1..20_000).map(|number| (number, nasty.as_str())).collect();
        let (mut parts, mut sent, mut rest) = (0, 0, &lines[..]);
        while !rest.is_empty() {
            let (part, others) = split("delete_strict ", rest);
            assert!(!part.is_empty());
            let flows = part.iter().map(|(_, line)| format!("delete_strict {line}")).collect();
            let request = FlowAppend { flows }.into();
            assert!(api::codec::encode_request(1, &request).is_ok());
            (parts, sent, rest) = (parts + 1, sent + part.len(), others);
        }
        assert!(parts > 1 && sent == lines.len(), "{parts} parts, {sent} lines");
    }
}
