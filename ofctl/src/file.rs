//! Files of flows: their lines, and where each of them stands.

use std::io::Read as _;

use anyhow::Result;

use crate::problem::{Problem, Quote};

/// What stands for standard input.
pub(crate) const STDIN: &str = "-";

/// A file that has been read.
pub(crate) struct File {
    name: String,
    text: String,
}

impl File {
    /// Reads the file of this name.
    pub(crate) fn read(path: &str) -> Result<Self> {
        let name = if path == STDIN { "standard input" } else { path }.to_owned();
        let mut bytes = Vec::new();
        let read = match path {
            STDIN => std::io::stdin().lock().read_to_end(&mut bytes),
            path => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
        };
        // Its text alone: a broken pipe here is no reader that went away.
        read.map_err(|error| anyhow::anyhow!("{name} cannot be read: {error}"))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text: without_mark(text) }),
            Err(error) => {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                let title = format!("{name}:{line} is no UTF-8: is it a file of flows?");
                Err(Problem { title, ..Problem::default() }.into())
            }
        }
    }

    /// Its lines that have something to say, each with its number.
    pub(crate) fn lines(&self) -> Vec<(usize, &str)> {
        api::text::lines(&self.text).collect()
    }

    /// Its lines that are comments.
    pub(crate) fn comments(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| line.starts_with('#'))
    }

    /// A line as it is shown to whoever wrote it.
    pub(crate) fn quote(&self, (number, text): (usize, &str)) -> Quote {
        let text = Some(text.trim_end().to_owned());
        Quote { place: Some((self.name.clone(), number)), text, at: None }
    }
}

/// A text without the mark that some editors put before it, which nobody sees.
fn without_mark(mut text: String) -> String {
    const MARK: char = '\u{feff}';
    if text.starts_with(MARK) {
        text.remove(0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `unknown word ip, did you mean ip?` was all that one saw of it.
    #[test]
    fn a_mark_before_a_text_is_no_part_of_its_first_word() {
        assert_eq!(without_mark("\u{feff}ip".to_owned()), "ip");
        assert_eq!(without_mark("ip\u{feff}".to_owned()), "ip\u{feff}");
    }
}
