//! What went wrong, as it is told: in a sentence, with the text that is wrong and a caret below the
//! place, and with what to do.

use std::fmt;
use std::io::{self, Write as _};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use api::{ClientError, Failure};
use serde_json::json;

use crate::cli::{Format, When};
use crate::output::{Visible, is_coloured};

/// Why a command was refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problem {
    /// What is wrong, in a sentence.
    pub(crate) title: String,
    /// Where.
    pub(crate) quote: Option<Quote>,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// The switch's own words.
    pub(crate) failure: Option<Failure>,
}

/// A piece of text that somebody wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Quote {
    /// The file and the line in it; none for an argument.
    pub(crate) place: Option<(String, usize)>,
    /// The text; none if it is not at hand any more.
    pub(crate) text: Option<String>,
    /// The bytes in it that are wrong; all of them, if none are named.
    pub(crate) at: Option<Range<usize>>,
}

impl Quote {
    /// An argument of the command line.
    pub(crate) fn argument(text: &str) -> Self {
        Self { place: None, text: Some(text.to_owned()), at: None }
    }
}

impl Problem {
    /// What the switch said about a text of ours, of which it saw `prefix` bytes more than there
    /// are in `quote`.
    pub(crate) fn about(failure: Failure, mut quote: Quote, prefix: usize) -> Self {
        quote.at = failure
            .data
            .as_ref()
            .and_then(|place| place.at)
            .map(|[start, end]| start.saturating_sub(prefix)..end.saturating_sub(prefix));
        Self {
            title: reason(&failure).to_owned(),
            quote: Some(quote),
            help: None,
            failure: Some(failure),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Problem {}

/// A refusal's reason without the place, which we show.
fn reason(failure: &Failure) -> &str {
    let Some(place) = &failure.data else { return &failure.message };
    let what = match (&place.flow, &place.member) {
        (Some(flow), _) => format!("flow {flow}"),
        (None, Some(member)) => member.clone(),
        (None, None) => String::new(),
    };
    let prefix = match place.at {
        Some([start, _]) => format!("{what}, byte {start}: "),
        None => format!("{what}: "),
    };
    failure.message.strip_prefix(&prefix).unwrap_or(&failure.message)
}

/// An error about a text that was sent: with the place, if the switch refused it.
pub(crate) fn explain(error: ClientError, quote: Quote, prefix: usize) -> anyhow::Error {
    match error {
        ClientError::Refused(failure) if failure.data.is_some() => {
            Problem::about(failure, quote, prefix).into()
        }
        error => error.into(),
    }
}

/// A refusal with something to know about it.
pub(crate) fn with_help(error: anyhow::Error, help: Option<String>) -> anyhow::Error {
    let Some(help) = help else { return error };
    let problem = match error.downcast::<ClientError>() {
        Ok(ClientError::Refused(failure)) => {
            let title = failure.message.clone();
            Problem { title, failure: Some(failure), ..Problem::default() }
        }
        Ok(error) => return error.into(),
        Err(error) => match error.downcast::<Problem>() {
            Ok(problem) => problem,
            Err(error) => return error,
        },
    };
    let help = match &problem.help {
        Some(before) => format!("{before}; {help}"),
        None => help,
    };
    Problem { help: Some(help), ..problem }.into()
}

/// An error on the way to a change: with the help that is needed if nobody knows whether it was
/// made.
pub(crate) fn unsure(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused(_) | ClientError::Encode(_) | ClientError::Connect { .. } => {
            error.into()
        }
        error => Problem {
            title: error.to_string(),
            help: Some(
                "the change may have been made or not: look before you try again".to_owned(),
            ),
            ..Problem::default()
        }
        .into(),
    }
}

/// Tells what went wrong on standard error.
pub(crate) fn tell(error: &anyhow::Error, format: Format, colour: When) {
    let text = match format {
        Format::Table => render(error, is_coloured(&io::stderr(), colour)),
        Format::Json => as_json(error).to_string(),
    };
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Tells of something that is perhaps not as it should be.
pub(crate) fn warn(text: &str, colour: When) {
    let group = Group::with_title(Level::WARNING.primary_title(Visible(text).to_string()));
    let _ =
        writeln!(io::stderr(), "{}", renderer(is_coloured(&io::stderr(), colour)).render(&[group]));
}

fn renderer(colour: bool) -> Renderer {
    if colour { Renderer::styled() } else { Renderer::plain() }
}

/// The object in which the switch would have told it.
fn as_json(error: &anyhow::Error) -> serde_json::Value {
    let failure = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(failure)) => Some(failure),
        _ => error.downcast_ref::<Problem>().and_then(|problem| problem.failure.as_ref()),
    };
    match failure {
        Some(failure) => json!({ "error": failure }),
        None => json!({ "error": { "message": title(error) } }),
    }
}

/// What is wrong, in a sentence.
fn title(error: &anyhow::Error) -> String {
    // These name their causes themselves.
    if error.is::<ClientError>() || error.is::<Problem>() {
        return error.to_string();
    }
    format!("{error:#}")
}

fn render(error: &anyhow::Error, colour: bool) -> String {
    let problem = error.downcast_ref::<Problem>();
    let title = Visible(title(error)).to_string();
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    if let Some(quote) = problem.and_then(|problem| problem.quote.as_ref()) {
        group = group.element(snippet(quote));
    }
    if let Some(help) = problem.and_then(|problem| problem.help.as_ref()) {
        group = group.element(Level::HELP.message(Visible(help).to_string()));
    }
    renderer(colour).render(&[group])
}

/// The text with a caret below what is wrong.
fn snippet(quote: &Quote) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
    let text = quote.text.as_deref().unwrap_or_default();
    let at = quote.at.clone().unwrap_or(0..text.len());
    let start = text.floor_char_boundary(at.start.min(text.len()));
    let end = text.ceil_char_boundary(at.end.clamp(start, text.len()));
    // Written out, the text is longer.
    let [before, wrong, behind] =
        [&text[..start], &text[start..end], &text[end..]].map(|part| Visible(part).to_string());
    let span = before.len()..before.len() + wrong.len();
    let snippet = Snippet::source(before + &wrong + &behind)
        .annotation(AnnotationKind::Primary.span(span))
        .line_numbering(quote.place.is_some());
    match &quote.place {
        Some((name, line)) => snippet.path(Visible(name).to_string()).line_start(*line),
        None => snippet,
    }
}
