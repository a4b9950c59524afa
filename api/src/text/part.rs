//! Cutting a text into words and their values, at the places where OVS cuts (`ofp-parse.c`):
//!
//! ```text
//! list := { sep } [ item { sep+ item } ]      sep := ',' | ' ' | '\t' | '\r' | '\n'
//! item := WORD | WORD (':' | '=') VALUE | WORD '(' VALUE ')'
//! ```
//!
//! A VALUE ends at a separator outside of parentheses, or at its own closing parenthesis. Unlike in
//! OVS, what stands between double quotes is never cut, and parentheses must close.

use std::borrow::Cow;
use std::ops::Range;

use super::error::FlowError;

/// A piece of the text, and where in the whole it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) text: &'a str,
    start: usize,
}

impl<'a> Part<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, start: 0 }
    }

    /// Its bytes in the whole text.
    pub(super) fn at(self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The part of it in `range`.
    pub(super) fn slice(self, range: Range<usize>) -> Self {
        let start = self.start + range.start;
        Self { text: self.text.get(range).unwrap_or_default(), start }
    }

    /// What stands before and behind the first `separator`.
    pub(super) fn split_once(self, separator: &str) -> Option<(Self, Self)> {
        let at = match separator.as_bytes() {
            [byte] => memchr::memchr(*byte, self.text.as_bytes())?,
            _ => self.text.find(separator)?,
        };
        Some((self.slice(0..at), self.slice(at + separator.len()..self.text.len())))
    }

    /// Its first word, up to a blank or a comma, and what follows.
    pub(super) fn first_word(self) -> (Self, Self) {
        let mut cursor = Cursor::new(self);
        cursor.skip(is_separator);
        let start = cursor.next;
        cursor.skip(|byte| !is_separator(byte));
        (self.slice(start..cursor.next), self.slice(cursor.next..self.text.len()))
    }

    /// The empty part at its end: where something is missing.
    pub(super) fn end(self) -> Self {
        self.slice(self.text.len()..self.text.len())
    }

    /// What stands between its commas, those in quotes and parentheses aside.
    pub(super) fn list(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let list = rest?;
            let mut cursor = Cursor::new(list);
            // An open quote goes to the end.
            let _ = cursor.skip_value(|byte| byte == b',');
            let end = cursor.next;
            rest = (end < list.text.len()).then(|| list.slice(end + 1..list.text.len()));
            Some(list.slice(0..end))
        })
    }

    /// Itself as an error quotes it.
    pub(super) fn found(self) -> String {
        match self.text {
            "" => "nothing".to_owned(),
            _ => format!("`{}`", self.short()),
        }
    }

    /// Itself, or its beginning if it is long.
    pub(super) fn short(self) -> String {
        const LIMIT: usize = 40;
        match self.text.char_indices().nth(LIMIT) {
            Some((end, _)) => format!("{}...", self.slice(0..end).text),
            None => self.text.to_owned(),
        }
    }

    /// The name between double quotes (JSON's, with its escapes), if it is one.
    pub(super) fn unquoted(self) -> Option<Result<Cow<'a, str>, FlowError>> {
        self.text.starts_with('"').then(|| {
            let name = serde_json::from_str::<String>(self.text).ok().map(Cow::Owned);
            name.ok_or_else(|| FlowError::Syntax {
                at: self.at(),
                expected: "a name in double quotes",
                found: self.found(),
            })
        })
    }
}

/// A word that begins an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub(super) part: Part<'a>,
    pub(super) then: Then,
}

/// What follows a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Then {
    /// The next item.
    Nothing,
    /// A value behind `:`.
    Colon,
    /// A value behind `=`.
    Equals,
    /// A value in parentheses.
    Parenthesis,
}

impl<'a> Word<'a> {
    pub(super) fn text(self) -> &'a str {
        self.part.text
    }

    pub(super) fn at(self) -> Range<usize> {
        self.part.at()
    }
}

/// A word with its value, as they stand in the parentheses of an action: `max_len=128`, `pause`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter<'a> {
    pub(super) word: Word<'a>,
    pub(super) value: Option<Part<'a>>,
}

impl<'a> Parameter<'a> {
    pub(super) fn name(self) -> &'a str {
        self.word.text()
    }

    /// Its value, which may not be empty.
    pub(super) fn given(self) -> Result<Part<'a>, FlowError> {
        let given = self.value.filter(|value| !value.text.is_empty());
        let (at, word) = (self.word.at(), self.word.part);
        given.ok_or_else(|| FlowError::MissingValue { at, word: word.short() })
    }

    /// Sees to it that it has no value.
    pub(super) fn alone(self) -> Result<(), FlowError> {
        match self.value {
            Some(value) if !value.text.is_empty() => {
                let word = self.word.part.short();
                Err(FlowError::UnwantedValue { at: value.at(), word })
            }
            _ => Ok(()),
        }
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    part: Part<'a>,
    next: usize,
}

fn is_separator(byte: u8) -> bool {
    byte == b',' || is_blank(byte)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> Cursor<'a> {
    pub(super) fn new(part: Part<'a>) -> Self {
        Self { part, next: 0 }
    }

    /// The word that begins the next item, with the cursor behind it and what joins it to its
    /// value; `None` at the end of the text and at a closing parenthesis.
    pub(super) fn word(&mut self) -> Result<Option<Word<'a>>, FlowError> {
        self.skip(is_separator);
        let start = self.next;
        match self.peek() {
            None | Some(b')') => return Ok(None),
            Some(b'"') => self.skip_quoted()?,
            Some(_) => self.skip(|byte| {
                !matches!(byte, b':' | b'=' | b'(' | b')' | b'"') && !is_separator(byte)
            }),
        }
        let part = self.part.slice(start..self.next);
        if part.text.is_empty() {
            return Err(self.unexpected("a word"));
        }
        let then = match self.peek() {
            Some(b':') => Then::Colon,
            Some(b'=') => Then::Equals,
            Some(b'(') => Then::Parenthesis,
            _ => {
                self.refuse_blanks_before_equals(part)?;
                return Ok(Some(Word { part, then: Then::Nothing }));
            }
        };
        self.next += 1;
        Ok(Some(Word { part, then }))
    }

    /// The next item, word and value.
    pub(super) fn parameter(&mut self) -> Result<Option<Parameter<'a>>, FlowError> {
        let Some(word) = self.word()? else { return Ok(None) };
        Ok(Some(Parameter { word, value: self.value(word)? }))
    }

    /// What stands in the parentheses of the word that was just read, and the target behind them:
    /// the two parts of `WORD(VALUE)->TARGET`, which may also be written `WORD:VALUE->TARGET`.
    pub(super) fn pointed(
        &mut self,
        word: Word<'_>,
    ) -> Result<Option<(Part<'a>, Part<'a>)>, FlowError> {
        if word.then != Then::Parenthesis {
            return Ok(self.value(word)?.and_then(|value| value.split_once("->")));
        }
        let start = self.next;
        self.skip_value(|_| false)?;
        let value = self.part.slice(start..self.next);
        match self.rest().text.strip_prefix(")->") {
            None => {
                self.close(word)?;
                Ok(value.split_once("->"))
            }
            Some(_) => {
                self.next += ")->".len();
                let start = self.next;
                self.skip_value(is_separator)?;
                Ok(Some((value, self.part.slice(start..self.next))))
            }
        }
    }

    /// The value of the word that was just read, if it has one; it may be empty.
    pub(super) fn value(&mut self, word: Word<'_>) -> Result<Option<Part<'a>>, FlowError> {
        let start = self.next;
        match word.then {
            Then::Nothing => return Ok(None),
            Then::Colon | Then::Equals => self.skip_value(is_separator)?,
            Then::Parenthesis => {
                self.skip_value(|_| false)?;
                let value = self.part.slice(start..self.next);
                self.close(word)?;
                return Ok(Some(value));
            }
        }
        let value = self.part.slice(start..self.next);
        let blank_follows = self.peek().is_some_and(is_blank);
        if value.text.is_empty() && blank_follows && word.then == Then::Equals {
            return Err(FlowError::Blanks { at: word.at(), word: word.part.short() });
        }
        Ok(Some(value))
    }

    /// Steps over the parenthesis that closes what `word` opened, and sees to it that the item
    /// ends.
    pub(super) fn close(&mut self, word: Word<'_>) -> Result<(), FlowError> {
        if self.peek() != Some(b')') {
            let opened = word.at().end;
            let at = opened..opened + 1;
            return Err(FlowError::Syntax {
                at,
                expected: "a `)` to this `(`",
                found: "nothing".to_owned(),
            });
        }
        self.next += 1;
        match self.peek() {
            None | Some(b')') => Ok(()),
            Some(byte) if is_separator(byte) => Ok(()),
            Some(_) => Err(self.unexpected("`,` behind `)`")),
        }
    }

    /// Sees to it that nothing is left: a closing parenthesis that nothing opened, say.
    pub(super) fn end(mut self) -> Result<(), FlowError> {
        self.skip(is_separator);
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    /// Whether the item that is being read ends here.
    pub(super) fn is_at_end_of_item(&self) -> bool {
        self.peek().is_none_or(|byte| byte == b')' || is_separator(byte))
    }

    /// All that follows.
    pub(super) fn rest(self) -> Part<'a> {
        self.part.slice(self.next..self.part.text.len())
    }

    fn peek(&self) -> Option<u8> {
        self.part.text.as_bytes().get(self.next).copied()
    }

    fn skip(&mut self, over: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&over) {
            self.next += 1;
        }
    }

    /// Steps to where a value ends: at what `ends` it outside of parentheses, or at a parenthesis
    /// that it did not open.
    fn skip_value(&mut self, ends: impl Fn(u8) -> bool) -> Result<(), FlowError> {
        let mut open = 0usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.skip_quoted()?;
                    continue;
                }
                b'(' => open += 1,
                b')' if open == 0 => break,
                b')' => open -= 1,
                _ if open == 0 && ends(byte) => break,
                _ => {}
            }
            self.next += 1;
        }
        Ok(())
    }

    fn skip_quoted(&mut self) -> Result<(), FlowError> {
        let start = self.next;
        self.next += 1;
        while let Some(byte) = self.peek() {
            self.next += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' if self.peek().is_some() => self.next += 1,
                _ => {}
            }
        }
        let at = self.part.slice(start..self.next);
        Err(FlowError::Syntax {
            at: at.at(),
            expected: "a closing `\"`",
            found: "nothing".to_owned(),
        })
    }

    /// `nw_dst = 1.2.3.4` would be three items.
    fn refuse_blanks_before_equals(&self, word: Part<'a>) -> Result<(), FlowError> {
        let mut ahead = *self;
        ahead.skip(is_blank);
        if ahead.peek() == Some(b'=') {
            return Err(FlowError::Blanks { at: word.at(), word: word.short() });
        }
        Ok(())
    }

    fn unexpected(&self, expected: &'static str) -> FlowError {
        let rest = self.rest();
        let end = rest.text.chars().next().map_or(0, char::len_utf8);
        let found = rest.slice(0..end);
        FlowError::Syntax { at: found.at(), expected, found: found.found() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Result<Vec<(String, Option<String>)>, FlowError> {
        let mut cursor = Cursor::new(Part::new(text));
        let mut items = Vec::new();
        while let Some(word) = cursor.word()? {
            let value = cursor.value(word)?;
            items.push((word.text().to_owned(), value.map(|value| value.text.to_owned())));
        }
        cursor.end().map(|()| items)
    }

    fn item(word: &str, value: &str) -> (String, Option<String>) {
        (word.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn the_three_forms_are_one() {
        for text in ["output:2", "output=2", "output(2)", ",, output:2 ,\t"] {
            assert_eq!(items(text), Ok(vec![item("output", "2")]), "{text}");
        }
        assert_eq!(items(" ,"), Ok(vec![]));
    }

    #[test]
    fn parentheses_nest_and_quotes_hide() {
        assert_eq!(
            items("clone(1,resubmit(,2)),a:b(c,d)e,f:\"x,) y\""),
            Ok(vec![item("clone", "1,resubmit(,2)"), item("a", "b(c,d)e"), item("f", "\"x,) y\"")]),
        );
    }

    #[test]
    fn errors_name_the_byte() {
        let at = |text: &str| items(text).unwrap_err().at();
        assert_eq!(at("ip,=5"), 3..4);
        assert_eq!(at("clone(1"), 5..6);
        assert_eq!(at("output:1)"), 8..9);
        assert_eq!(at("a(1)b"), 4..5);
        assert_eq!(at("in_port=\"p"), 8..10);
        assert_eq!(at("ip,nw_dst = 1.2.3.4"), 3..9);
        assert_eq!(at("ip,nw_dst= 1.2.3.4"), 3..9);
        assert_eq!(at("é(1)ü"), 5..7);
    }
}
