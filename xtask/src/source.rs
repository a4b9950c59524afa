//! A source file with only its code left: what stands in comments, in text and in tests is blank.
//!
//! Not a parser. It knows where a comment, a literal and an item end, which is all that takes to see
//! what code mentions; a macro could hide a thing from it, and nobody here hides things.

use std::ops::Range;

/// The code of one file. Blanks stand for what was taken out, so that lines keep their numbers.
#[derive(Debug)]
pub(crate) struct Source {
    code: String,
}

/// A path in code, such as `std::time::Instant`, `thread::Builder::new` or `unsafe`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mention {
    /// Its segments.
    pub(crate) path: Vec<String>,
    /// The line, from 1 on.
    pub(crate) line: usize,
}

impl Source {
    /// The code in `text`.
    pub(crate) fn new(text: &str) -> Self {
        let mut code = text.as_bytes().to_vec();
        let mut at = 0;
        while let Some(&byte) = code.get(at) {
            let literal = Literal::at(&code, at);
            match literal {
                Some(literal) => {
                    blank(&mut code, literal.blank);
                    at = literal.end;
                }
                // A word with a quote behind, such as `b` or `c`, is part of no literal's blank.
                None if is_word(byte) => at = word_end(&code, at),
                None => at += 1,
            }
        }
        // Only whole characters were blanked.
        Self { code: String::from_utf8_lossy(&code).into_owned() }
    }

    /// The same without items under `#[cfg(test)]` and its kin, and the names of the modules in other
    /// files that are thereby tests, too.
    pub(crate) fn without_tests(mut self) -> (Self, Vec<String>) {
        let mut modules = Vec::new();
        let mut from = 0;
        while let Some(at) = self.code.get(from..).and_then(|rest| rest.find("#[cfg(")) {
            let start = from + at;
            let attribute = start + 1..bracket_end(self.code.as_bytes(), start + 1);
            from = attribute.end;
            if !is_for_tests(&self.code[attribute.clone()]) {
                continue;
            }
            let item = attribute.end..item_end(self.code.as_bytes(), attribute.end);
            if let Some((_, name)) =
                self.code[item.clone()].trim_end_matches(';').rsplit_once("mod ")
            {
                modules.extend((!name.contains('{')).then(|| name.trim().to_owned()));
            }
            from = item.end;
            let mut code = self.code.into_bytes();
            blank(&mut code, start..item.end);
            self.code = String::from_utf8_lossy(&code).into_owned();
        }
        (self, modules)
    }

    /// Every path that is mentioned. `use` declarations are taken apart: `use std::{fs, net::*}`
    /// mentions `std::fs` and `std::net::*`.
    pub(crate) fn mentions(&self) -> Vec<Mention> {
        let mut tokens = tokens(&self.code);
        let mut mentions = Vec::new();
        while let Some((word, line)) = tokens.next() {
            if word == "use" {
                let tree: Vec<_> = tokens.by_ref().take_while(|(token, _)| *token != ";").collect();
                let words: Vec<_> = tree.iter().map(|(token, _)| *token).collect();
                let leaves = leaves(&words);
                mentions.extend(leaves.into_iter().map(|path| Mention { path, line }));
            } else if is_word(word.as_bytes()[0]) {
                let mut path = vec![word.to_owned()];
                while let Some((segment, _)) = tokens.next_segment() {
                    path.push(segment.to_owned());
                }
                mentions.push(Mention { path, line });
            }
        }
        mentions
    }
}

/// A comment or a literal.
struct Literal {
    /// What of it says nothing.
    blank: Range<usize>,
    end: usize,
}

impl Literal {
    /// The one that begins at `at`.
    fn at(code: &[u8], at: usize) -> Option<Self> {
        let rest = &code[at..];
        let end = match rest {
            [b'/', b'/', ..] => find(rest, b"\n").map_or(code.len(), |end| at + end),
            [b'/', b'*', ..] => at + comment_len(rest),
            [b'"', ..] => return Some(Self::between(at + 1, at + 1 + text_len(&rest[1..]), 1)),
            [b'r', b'"' | b'#', ..] | [b'b' | b'c', b'r', b'"' | b'#', ..] => {
                return Self::raw(code, at);
            }
            [b'\'', ..] => at + char_len(rest)?,
            _ => return None,
        };
        Some(Self { blank: at..end, end })
    }

    /// `r"..."`, with any number of `#` around; but `r#name` is a name.
    fn raw(code: &[u8], at: usize) -> Option<Self> {
        let prefix = code[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let hashes = code[at + prefix..].iter().take_while(|byte| **byte == b'#').count();
        let start = at + prefix + hashes;
        (code.get(start) == Some(&b'"')).then(|| {
            let closing = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let len = find(&code[start + 1..], &closing).unwrap_or(code.len() - start - 1);
            Self::between(start + 1, start + 1 + len, closing.len())
        })
    }

    fn between(start: usize, end: usize, closing: usize) -> Self {
        Self { blank: start..end, end: end + closing }
    }
}

/// A comment may contain others.
fn comment_len(comment: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < comment.len() {
        match &comment[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

/// Up to the quote that closes a text.
fn text_len(text: &[u8]) -> usize {
    let mut escaped = false;
    let closing = text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    closing.unwrap_or(text.len())
}

/// The length of `'x'`; nothing if it is a lifetime.
fn char_len(quoted: &[u8]) -> Option<usize> {
    if quoted.get(1) == Some(&b'\\') {
        // The byte behind the backslash may be a quote itself.
        return find(quoted.get(3..)?, b"'").map(|end| end + 4);
    }
    let text = String::from_utf8_lossy(quoted.get(1..quoted.len().min(6))?).into_owned();
    let len = text.chars().next()?.len_utf8();
    (quoted.get(1 + len) == Some(&b'\'')).then_some(len + 2)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn blank(code: &mut [u8], range: Range<usize>) {
    let end = range.end.min(code.len());
    for byte in code[range.start..end].iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// Whether a `cfg` holds in tests alone. Text in it is blank already.
fn is_for_tests(attribute: &str) -> bool {
    let mut words = attribute.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "test") && !attribute.replace(' ', "").contains("not(test")
}

/// The end of what the bracket at `at` opens.
fn bracket_end(code: &[u8], at: usize) -> usize {
    let mut depth = 0;
    for (n, byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 1 => return n + 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The end of the item that begins behind its attributes or with them: a body or a semicolon.
fn item_end(code: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(byte) = code.get(at) {
        match byte {
            b'(' | b'[' => at = bracket_end(code, at),
            b'{' => return bracket_end(code, at),
            b';' => return at + 1,
            // The last field or variant of something.
            b'}' => return at,
            _ => at += 1,
        }
    }
    code.len()
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_end(code: &[u8], at: usize) -> usize {
    at + code[at..].iter().take_while(|byte| is_word(**byte)).count()
}

/// Words, `::`, and single other characters, each with its line.
fn tokens(code: &str) -> Tokens<'_> {
    Tokens { rest: code, line: 1 }
}

#[derive(Clone)]
struct Tokens<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (&'a str, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let token = self.rest.trim_start();
        let skipped = &self.rest[..self.rest.len() - token.len()];
        self.line += skipped.matches('\n').count();
        let first = token.chars().next()?;
        let len = match first {
            _ if token.starts_with("::") => 2,
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => word_end(token.as_bytes(), 0),
            other => other.len_utf8(),
        };
        self.rest = &token[len..];
        Some((&token[..len], self.line))
    }
}

impl<'a> Tokens<'a> {
    /// The next segment of a path, or the `!` of a macro, if one follows.
    fn next_segment(&mut self) -> Option<(&'a str, usize)> {
        let mut ahead = self.clone();
        let segment = match ahead.next()? {
            ("::", _) => ahead.next().filter(|(word, _)| is_word(word.as_bytes()[0]))?,
            bang @ ("!", _) => bang,
            _ => return None,
        };
        *self = ahead;
        Some(segment)
    }
}

/// The paths of a `use` declaration.
fn leaves(tree: &[&str]) -> Vec<Vec<String>> {
    let mut prefixes: Vec<Vec<String>> = vec![Vec::new()];
    let mut path: Vec<String> = Vec::new();
    let mut leaves = Vec::new();
    let mut renamed = false;
    for token in tree {
        match *token {
            "::" => {}
            "{" => prefixes.push(std::mem::take(&mut path)),
            "," | "}" => {
                renamed = false;
                let leaf = std::mem::take(&mut path);
                if !leaf.is_empty() {
                    leaves.push(prefixes.concat().into_iter().chain(leaf).collect());
                }
                if *token == "}" {
                    prefixes.pop();
                }
            }
            "as" => renamed = true,
            _ if renamed => {}
            word => path.push(word.to_owned()),
        }
    }
    if !path.is_empty() {
        leaves.push(path);
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentions(text: &str) -> Vec<(String, usize)> {
        let mentions = Source::new(text).mentions();
        mentions.into_iter().map(|mention| (mention.path.join("::"), mention.line)).collect()
    }

    fn names(text: &str) -> Vec<String> {
        mentions(text).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn comments_and_literals_mention_nothing() {
        let text = r####"
            // unsafe
            /* unsafe /* unsafe */ unsafe */
            let a = "unsafe \" unsafe"; let b = r#"unsafe " unsafe"#; let c = b"unsafe";
            let d = ['"', '\'', '\\', 'ä', '\u{1F600}']; fn e<'unsafe_>(r#type: &'static str) {}
        "####;
        let words = names(text);
        assert!(
            !words.iter().any(|word| word.contains("unsafe") && word != "unsafe_"),
            "{words:?}"
        );
        assert!(words.iter().any(|word| word == "type"), "{words:?}");
    }

    #[test]
    fn paths_and_declarations_are_taken_apart() {
        let text = "use std::{\n    fs, net::{self, UdpSocket as Socket}, time::*,\n};\nuse a;\n\
            let now = std::time::Instant::now();\nprintln!(x);";
        let expected = [
            ("std::fs", 1),
            ("std::net::self", 1),
            ("std::net::UdpSocket", 1),
            ("std::time::*", 1),
            ("a", 4),
            ("let", 5),
            ("now", 5),
            ("std::time::Instant::now", 5),
            ("println::!", 6),
            ("x", 6),
        ];
        assert_eq!(mentions(text), expected.map(|(path, line)| (path.to_owned(), line)));
    }

    #[test]
    fn what_is_for_tests_is_left_out() {
        let text = "fn a() {}\n#[cfg(test)]\nmod cases;\n#[cfg(all(test, not(loom)))]\nmod tests { fn b() {} }\n\
            #[cfg(any(test, feature = \"testing\"))]\npub mod testing;\n#[cfg(not(test))]\nfn c() {}\n\
            #[cfg(test)]\n#[derive(Debug)]\nstruct D([u8; 3]);\nfn e() {}";
        let (source, modules) = Source::new(text).without_tests();
        assert_eq!(modules, ["cases", "testing"]);
        let mentions = source.mentions();
        let functions: Vec<_> = mentions.iter().filter(|m| m.path[0].len() == 1).collect();
        let functions: Vec<_> = functions.iter().map(|m| (m.path[0].as_str(), m.line)).collect();
        assert_eq!(functions, [("a", 1), ("c", 9), ("e", 13)]);
    }
}
