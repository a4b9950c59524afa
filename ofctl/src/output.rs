//! Where answers go: words or JSON, in colour or not. What came from elsewhere reaches the terminal
//! without its control characters: a name must not be able to move the cursor or forge a line.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};
use api::reply::Cursor;
use serde::Serialize;

use crate::cli::{Format, When};

/// What leads the eye.
pub(crate) const STRONG: Style = Style::new().bold();
/// What the eye may pass over.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// What is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What is not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What perhaps is not.
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();

/// Standard output.
pub(crate) struct Output {
    out: BufWriter<io::Stdout>,
    format: Format,
    colour: bool,
    terminal: bool,
}

impl Output {
    pub(crate) fn stdout(format: Format, colour: When) -> Self {
        let stdout = io::stdout();
        Self {
            format,
            colour: is_coloured(&stdout, colour),
            terminal: stdout.is_terminal(),
            out: BufWriter::with_capacity(64 << 10, stdout),
        }
    }

    /// Whether a person is looking on.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes text as it is, but for its control characters.
    pub(crate) fn put(&mut self, text: impl fmt::Display) -> io::Result<()> {
        write!(self.out, "{}", Visible(text))
    }

    /// As [`Output::put`], in a style.
    pub(crate) fn styled(&mut self, style: Style, text: impl fmt::Display) -> io::Result<()> {
        let style = if self.colour { style } else { Style::new() };
        write!(self.out, "{style}{}{style:#}", Visible(text))
    }

    /// Ends a line.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        self.put(text)?;
        self.end()
    }

    /// Writes bytes that are no text.
    pub(crate) fn bytes(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Lets everything be seen that has been written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes JSON on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value)?;
        writeln!(self.out, "{}", VisibleJson(&text))?;
        Ok(())
    }

    /// Answers with a reply as it is, or with what `words` makes of it.
    pub(crate) fn answer<T: Serialize>(
        &mut self,
        reply: &T,
        words: impl FnOnce(&mut Self, &T) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Json => self.json(reply),
            Format::Table => Ok(words(self, reply)?),
        }
    }

    /// Answers with all pages of a list, each as soon as it is there. As JSON it is the one page
    /// that has them all, with the list in `member`.
    pub(crate) fn pages<T: Serialize>(
        &mut self,
        member: &str,
        mut page: impl FnMut(Option<Cursor>) -> anyhow::Result<(Vec<T>, Option<Cursor>)>,
        mut words: impl FnMut(&mut Self, &T) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut items, mut next) = page(None)?;
        let mut separator = format!("{{\"{member}\":[");
        loop {
            for item in &items {
                match self.format {
                    Format::Table => words(self, item)?,
                    Format::Json => {
                        let text = serde_json::to_string(item)?;
                        write!(self.out, "{separator}{}", VisibleJson(&text))?;
                        separator = ",".to_owned();
                    }
                }
            }
            if next.is_none() {
                break;
            }
            (items, next) = page(next)?;
        }
        if self.format == Format::Json {
            let start = if separator == "," { "" } else { &separator };
            writeln!(self.out, "{start}]}}")?;
        }
        Ok(())
    }
}

/// Whether to use colours on `stream`.
pub(crate) fn is_coloured<S: anstream::stream::RawStream>(stream: &S, when: When) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never,
    }
}

/// Whether a character does something else than to be seen: controls, and what turns the direction
/// of writing around.
fn is_invisible(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text with its control characters written as in Rust: `\n`, `\u{1b}`.
pub(crate) struct Visible<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Visible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |f: &mut fmt::Formatter<'_>, character: char| {
            write!(f, "{}", character.escape_default())
        };
        write!(Escaping { f, escape }, "{}", self.0)
    }
}

/// JSON with those control characters escaped that JSON itself lets pass.
pub(crate) struct VisibleJson<'a>(pub(crate) &'a str);

impl fmt::Display for VisibleJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape =
            |f: &mut fmt::Formatter<'_>, character| write!(f, "\\u{:04x}", u32::from(character));
        Escaping { f, escape }.write_str(self.0)
    }
}

struct Escaping<'a, 'f, E> {
    f: &'a mut fmt::Formatter<'f>,
    escape: E,
}

impl<E: Fn(&mut fmt::Formatter<'_>, char) -> fmt::Result> fmt::Write for Escaping<'_, '_, E> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_invisible) {
            let (before, behind) = rest.split_at(at);
            self.f.write_str(before)?;
            let mut behind = behind.chars();
            if let Some(character) = behind.next() {
                (self.escape)(self.f, character)?;
            }
            rest = behind.as_str();
        }
        self.f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        let shown = Visible("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e\tä").to_string();
        assert_eq!(shown, "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e\\tä");
        assert_eq!(Visible(format_args!("{:>3}|", 7)).to_string(), "  7|");
    }

    #[test]
    fn json_stays_json() {
        let text = "\u{1b}\u{7f}\u{9b}\u{202e}ä\n";
        let json = serde_json::to_string(text).unwrap();
        let shown = VisibleJson(&json).to_string();
        assert_eq!(shown, "\"\\u001b\\u007f\\u009b\\u202eä\\n\"");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
