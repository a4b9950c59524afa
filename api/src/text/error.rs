//! Why a text was refused, and where.

use std::ops::Range;

use crate::flow::Prerequisite;

/// Why the text of a flow, a match, an action list, a packet, a group, a meter or a line of a bundle
/// was refused. Nothing has changed when one is returned.
///
/// Every variant says in `at` which bytes of the text it is about, for a caret below them; the
/// range is empty where something is missing. Texts quoted in an error are shortened to 40
/// characters.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum FlowError {
    /// The text goes on otherwise than the grammar allows.
    #[error("expected {expected}, found {found}")]
    Syntax { at: Range<usize>, expected: &'static str, found: String },
    /// OVS would take the value for empty, and what follows for another word.
    #[error("`{word}` and its value must be joined by `=` without blanks")]
    Blanks { at: Range<usize>, word: String },
    /// A word that is not in the vocabulary.
    #[error("unknown {kind} `{word}`{}", hint(.similar.as_deref()))]
    Unknown { at: Range<usize>, kind: &'static str, word: String, similar: Option<&'static str> },
    /// A word of OVS's that this version does not have.
    #[error("`{word}` is not supported yet")]
    Unsupported { at: Range<usize>, word: String },
    /// A word stands alone that must not.
    #[error("`{word}` needs a value")]
    MissingValue { at: Range<usize>, word: String },
    /// A value where none belongs.
    #[error("`{word}` takes no value")]
    UnwantedValue { at: Range<usize>, word: String },
    /// A value that cannot be read, or is none of those allowed.
    #[error("`{of}` takes {expected}, found {found}")]
    Value { at: Range<usize>, of: String, expected: &'static str, found: String },
    /// OVS would cut it silently.
    #[error("{found} does not fit the {bits} bits of `{of}`")]
    TooWide { at: Range<usize>, of: String, bits: u8, found: String },
    /// OVS would read it as octal.
    #[error("{found} is octal to some and decimal to others: drop the leading zero, or use 0x")]
    LeadingZero { at: Range<usize>, found: String },
    /// A mask on a field that matches whole or not at all.
    #[error("`{field}` is matched whole or not at all")]
    NotMaskable { at: Range<usize>, field: &'static str },
    /// An action that writes what actions cannot.
    #[error("`{field}` is read-only")]
    ReadOnly { at: Range<usize>, field: &'static str },
    /// A field was matched or used without what announces it. OVS drops such a field from a match.
    #[error("`{field}` needs `{needs}` in the match")]
    Prerequisite { at: Range<usize>, field: &'static str, needs: &'static str },
    /// A match that no packet can meet.
    #[error("this matches no packet: {why}")]
    NeverMatches { at: Range<usize>, why: &'static str },
    /// A word at a place where it means nothing.
    #[error("`{word}` {rule}")]
    Misplaced { at: Range<usize>, word: String, rule: &'static str },
    /// A part of a field that the field does not have.
    #[error("`{field}` has only the bits 0 to {last}")]
    NoSuchBits { at: Range<usize>, field: &'static str, last: u8 },
    /// Two parts of fields that should be of one width.
    #[error("the source has {src} bits and the destination {dst}")]
    Widths { at: Range<usize>, src: u8, dst: u8 },
    /// A port that neither is a number nor has a name anybody knows.
    #[error("no port is named `{name}`")]
    UnknownPort { at: Range<usize>, name: String },
    /// A word without which the text says too little.
    #[error("`{word}=` is missing")]
    Missing { at: Range<usize>, word: &'static str },
    /// A command that changes flows says nothing about actions.
    #[error("`actions=` is missing; `actions=drop` does nothing with the packet")]
    NoActions { at: Range<usize> },
    /// Lists within lists within lists.
    #[error("actions are nested more than {limit} deep")]
    TooDeep { at: Range<usize>, limit: usize },
    /// More actions than a flow or a group may have, or within them more of what counts as such.
    #[error("a flow or a group has at most {limit} actions, buckets and parts of actions")]
    TooMany { at: Range<usize>, limit: usize },
    /// A text longer than any flow needs.
    #[error("a flow's text has at most {limit} bytes")]
    TooLong { at: Range<usize>, limit: usize },
}

fn hint(similar: Option<&str>) -> String {
    similar.map(|word| format!(", did you mean `{word}`?")).unwrap_or_default()
}

impl FlowError {
    /// The bytes of the text that it is about.
    pub fn at(&self) -> Range<usize> {
        match self {
            Self::Syntax { at, .. }
            | Self::Blanks { at, .. }
            | Self::Unknown { at, .. }
            | Self::Unsupported { at, .. }
            | Self::MissingValue { at, .. }
            | Self::UnwantedValue { at, .. }
            | Self::Value { at, .. }
            | Self::TooWide { at, .. }
            | Self::LeadingZero { at, .. }
            | Self::NotMaskable { at, .. }
            | Self::ReadOnly { at, .. }
            | Self::Prerequisite { at, .. }
            | Self::NeverMatches { at, .. }
            | Self::Misplaced { at, .. }
            | Self::NoSuchBits { at, .. }
            | Self::Widths { at, .. }
            | Self::UnknownPort { at, .. }
            | Self::Missing { at, .. }
            | Self::NoActions { at }
            | Self::TooDeep { at, .. }
            | Self::TooMany { at, .. }
            | Self::TooLong { at, .. } => at.clone(),
        }
    }

    /// The same about a value of what the text calls `word`, whatever the name of that field is.
    #[must_use]
    pub(super) fn called(mut self, word: &str) -> Self {
        if let Self::Value { of, .. } | Self::TooWide { of, .. } = &mut self {
            word.clone_into(of);
        }
        self
    }

    /// The same as told by a match, with its place in the text.
    pub(super) fn prerequisite(at: Range<usize>, missing: Prerequisite) -> Self {
        Self::Prerequisite { at, field: missing.field, needs: missing.needs }
    }
}
