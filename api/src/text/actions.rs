//! Action lists, read.

mod ct;
mod nat;
mod output;
mod write;

use super::assumed::Assumed;
use super::error::FlowError;
use super::part::{Cursor, Parameter, Part, Then, Word};
use super::ports::PortNames;
use super::{MAX_ACTIONS, MAX_NESTING, bundle, controller, learn, sample, value, words};
use crate::action::Action;
use crate::field::Field;
use crate::meter::MeterId;

pub(super) use write::{arrow, bit, subfield};

/// Reads the list that is all of `text`. `assumed` says what holds at its beginning.
pub(super) fn parse(
    text: Part<'_>,
    mut assumed: Assumed<'_>,
    ports: &dyn PortNames,
) -> Result<Vec<Action>, FlowError> {
    let mut cursor = Cursor::new(text);
    let list = Reader::new(ports).list(&mut cursor, &mut assumed, 1, usize::MAX, only_actions)?;
    cursor.end()?;
    Ok(list)
}

/// Reads actions.
pub(super) struct Reader<'a> {
    ports: &'a dyn PortNames,
    /// How many have been read, those within others included, and whatever else counts as one.
    actions: usize,
}

/// A list that is being read.
#[derive(Default)]
struct List<'t> {
    actions: Vec<Action>,
    /// Where it says `drop`.
    drop: Option<Word<'t>>,
}

impl List<'_> {
    fn finish(self) -> Result<Vec<Action>, FlowError> {
        match self.drop {
            Some(word) if !self.actions.is_empty() => {
                let rule = "must stand alone";
                Err(FlowError::Misplaced { at: word.at(), word: word.part.short(), rule })
            }
            _ => Ok(self.actions),
        }
    }
}

/// A word that makes an action, and what is known where it stands.
struct Item<'a, 't> {
    /// In lower case.
    name: &'a str,
    parameter: Parameter<'t>,
}

impl<'t> Item<'_, 't> {
    /// Its value, which may not be empty.
    fn given(&self) -> Result<Part<'t>, FlowError> {
        self.parameter.given()
    }

    /// Its value, if that is not empty.
    fn if_given(&self) -> Option<Part<'t>> {
        self.parameter.value.filter(|value| !value.text.is_empty())
    }

    /// The same action for a word that takes no value.
    fn alone(&self, action: Action) -> Result<Action, FlowError> {
        self.parameter.alone().map(|()| action)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(ports: &'a dyn PortNames) -> Self {
        Self { ports, actions: 0 }
    }

    /// Counts what stands at a word, be it an action or a part of one.
    pub(super) fn count(&mut self, parts: usize, word: Part<'_>) -> Result<(), FlowError> {
        self.actions = self.actions.saturating_add(parts);
        match self.actions {
            ..=MAX_ACTIONS => Ok(()),
            _ => Err(FlowError::TooMany { at: word.at(), limit: MAX_ACTIONS }),
        }
    }

    /// Reads up to the end of the text or to a closing parenthesis, or `limit` items. Words may stand
    /// among the actions that are none: `beside` takes them.
    fn list<'t>(
        &mut self,
        cursor: &mut Cursor<'t>,
        assumed: &mut Assumed<'_>,
        depth: usize,
        limit: usize,
        mut beside: impl FnMut(Word<'t>, &mut Cursor<'t>) -> Result<bool, FlowError>,
    ) -> Result<Vec<Action>, FlowError> {
        let mut list = List::default();
        for _ in 0..limit {
            let Some(word) = cursor.word()? else { break };
            if !beside(word, cursor)? {
                self.action(word, cursor, assumed, depth, &mut list)?;
            }
        }
        list.finish()
    }

    /// Reads a bucket, in which words may stand that are no actions: `attribute` takes them. `None`
    /// if it has neither an action nor `actions=`.
    pub(super) fn bucket<'t>(
        &mut self,
        text: Part<'t>,
        mut attribute: impl FnMut(Word<'t>, &mut Cursor<'t>) -> Result<bool, FlowError>,
    ) -> Result<Option<Vec<Action>>, FlowError> {
        let mut cursor = Cursor::new(text);
        let (mut list, mut assumed, mut said) = (List::default(), Assumed::in_bucket(), false);
        while let Some(word) = cursor.word()? {
            if attribute(word, &mut cursor)? {
                continue;
            }
            said = true;
            match word.text() {
                // The first action follows as if it stood alone.
                "actions" | "action" if matches!(word.then, Then::Equals | Then::Colon) => {}
                _ => self.action(word, &mut cursor, &mut assumed, 1, &mut list)?,
            }
        }
        cursor.end()?;
        Ok(Some(list.finish()?).filter(|_| said))
    }

    /// Reads the action, or the few actions, that `word` begins.
    fn action<'t>(
        &mut self,
        word: Word<'t>,
        cursor: &mut Cursor<'t>,
        assumed: &mut Assumed<'_>,
        depth: usize,
        list: &mut List<'t>,
    ) -> Result<(), FlowError> {
        let name = word.text().to_ascii_lowercase();
        if words::is_unsupported_action(&name) {
            return Err(FlowError::Unsupported { at: word.at(), word: name });
        }
        match &*name {
            "clone" => {
                let inner = self.nested(cursor, word, assumed.in_copy(), depth, only_actions)?;
                self.push(Action::Clone(inner), word, assumed, list)
            }
            "write_actions" => {
                match self.nested(cursor, word, assumed.in_set(), depth, only_actions)? {
                    inner if inner.is_empty() => Ok(()),
                    inner => self.push(Action::WriteActions(inner), word, assumed, list),
                }
            }
            "ct" => {
                let ct = self.ct(cursor.value(word)?, assumed, depth)?;
                self.push(Action::Ct(Box::new(ct)), word, assumed, list)
            }
            "nat" | "exec" => {
                let rule = "stands in `ct(...)`, not in a list of actions";
                Err(FlowError::Misplaced { at: word.at(), word: name, rule })
            }
            "check_pkt_larger" => {
                let missing = || FlowError::MissingValue { at: word.at(), word: word.part.short() };
                let (len, dst) = cursor.pointed(word)?.ok_or_else(missing)?;
                let (len, dst) = (value::fit(len, &name)?, bit(dst, assumed)?);
                self.push(Action::CheckPktLarger { len, dst }, word, assumed, list)
            }
            "drop" => {
                let value = cursor.value(word)?;
                Parameter { word, value }.alone()?;
                list.drop = Some(word);
                Ok(())
            }
            _ => {
                let parameter = Parameter { word, value: cursor.value(word)? };
                self.item(&Item { name: &name, parameter }, assumed, list)
            }
        }
    }

    /// Reads the list within an action, where what the packet becomes does not matter outside.
    fn nested<'t>(
        &mut self,
        cursor: &mut Cursor<'t>,
        word: Word<'_>,
        mut inside: Assumed<'_>,
        depth: usize,
        beside: impl FnMut(Word<'t>, &mut Cursor<'t>) -> Result<bool, FlowError>,
    ) -> Result<Vec<Action>, FlowError> {
        if depth == MAX_NESTING {
            return Err(FlowError::TooDeep { at: word.at(), limit: MAX_NESTING });
        }
        match word.then {
            Then::Nothing => Ok(Vec::new()),
            Then::Parenthesis => {
                let list = self.list(cursor, &mut inside, depth + 1, usize::MAX, beside)?;
                cursor.close(word)?;
                Ok(list)
            }
            // `clone:1`: such a value ends where its only item ends.
            Then::Colon | Then::Equals if cursor.is_at_end_of_item() => Ok(Vec::new()),
            Then::Colon | Then::Equals => self.list(cursor, &mut inside, depth + 1, 1, beside),
        }
    }

    fn push(
        &mut self,
        action: Action,
        word: Word<'_>,
        assumed: &mut Assumed<'_>,
        list: &mut List<'_>,
    ) -> Result<(), FlowError> {
        self.count(1 + parts(&action), word.part)?;
        assumed.follow(&action, word.part)?;
        list.actions.push(action);
        Ok(())
    }

    /// Reads one action, which may become several.
    fn item(
        &mut self,
        item: &Item<'_, '_>,
        assumed: &mut Assumed<'_>,
        list: &mut List<'_>,
    ) -> Result<(), FlowError> {
        let word = item.parameter.word;
        let action = match item.name {
            "enqueue" => {
                let (queue, port) = self.enqueue(item.given()?)?;
                self.push(Action::SetQueue(queue), word, assumed, list)?;
                self.push(Action::Output(port), word, assumed, list)?;
                Action::PopQueue
            }
            "mod_vlan_vid" | "set_vlan_vid" | "mod_vlan_pcp" | "set_vlan_pcp" => {
                self.tag_part(item, assumed, list)?
            }
            _ => match self.simple(item, assumed)? {
                Some(action) => action,
                None => match self.write(item, assumed)? {
                    Some(action) => action,
                    None => self.bare_port(item, assumed)?,
                },
            },
        };
        self.push(action, word, assumed, list)
    }

    /// An action that neither writes a field nor is a port.
    fn simple(
        &self,
        item: &Item<'_, '_>,
        assumed: &Assumed<'_>,
    ) -> Result<Option<Action>, FlowError> {
        let name = item.name;
        Ok(Some(match name {
            "output" => self.output(item.given()?, assumed)?,
            "controller" => Action::Controller(Box::new(controller::parse(item.if_given())?)),
            "resubmit" => self.resubmit(item)?,
            "goto_table" => Action::GotoTable(value::table(item.given()?, name)?),
            "group" => Action::Group(value::group(item.given()?, name)?),
            "meter" => Action::Meter(meter(item.given()?)?),
            "set_queue" => Action::SetQueue(value::fit(item.given()?, name)?),
            "pop_queue" => item.alone(Action::PopQueue)?,
            "exit" => item.alone(Action::Exit)?,
            "ct_clear" => item.alone(Action::CtClear)?,
            "clear_actions" => item.alone(Action::ClearActions)?,
            "write_metadata" => {
                let (value, mask) = value::parse(item.given()?, Field::Metadata, self.ports)?;
                let half = |word: u128| u64::try_from(word).unwrap_or(0);
                Action::WriteMetadata { value: half(value), mask: half(mask) }
            }
            "dec_ttl" => Action::DecTtl(match item.if_given() {
                Some(ids) => watchers(ids)?,
                None => Vec::new(),
            }),
            "learn" => Action::Learn(Box::new(learn::parse(item.if_given(), assumed, self.ports)?)),
            "fin_timeout" => fin_timeout(item.if_given())?,
            "conjunction" => conjunction(item.given()?)?,
            "note" => Action::Note(note(item.if_given())?),
            "sample" => Action::Sample(sample::parse(item.given()?, self.ports)?),
            "multipath" => Action::Multipath(Box::new(bundle::multipath(item.given()?, assumed)?)),
            "bundle" | "bundle_load" => {
                let load = name == "bundle_load";
                let bundle = bundle::parse(item.given()?, load, assumed, self.ports)?;
                Action::Bundle(Box::new(bundle))
            }
            _ => return Ok(None),
        }))
    }
}

/// Takes no word for anything but an action.
fn only_actions<'t>(_: Word<'t>, _: &mut Cursor<'t>) -> Result<bool, FlowError> {
    Ok(false)
}

/// How many actions the parts of one count as: whatever may be written any number of times, so that
/// no text grows without bound when it is printed.
fn parts(action: &Action) -> usize {
    const BYTES: usize = 16;
    match action {
        Action::DecTtl(ids) => ids.len(),
        Action::Learn(learn) => learn.specs.len(),
        Action::Bundle(bundle) => bundle.members.len(),
        Action::Note(bytes) => bytes.len() / BYTES,
        Action::Controller(controller) => controller.userdata.len() / BYTES,
        _ => 0,
    }
}

/// The number of a meter that a flow may name.
pub(super) fn meter(part: Part<'_>) -> Result<u32, FlowError> {
    let number = value::fit(part, "meter")?;
    let known = (1..=MeterId::MAX).contains(&number);
    known.then_some(number).ok_or_else(|| {
        let (at, expected) = (part.at(), "a number from 1 to 4294901760");
        FlowError::Value { at, of: "meter".to_owned(), expected, found: part.found() }
    })
}

/// The watchers of `dec_ttl(1,2)`.
fn watchers(part: Part<'_>) -> Result<Vec<u16>, FlowError> {
    let mut cursor = Cursor::new(part);
    let mut ids = Vec::new();
    while let Some(id) = cursor.parameter()? {
        id.alone()?;
        ids.push(value::fit(id.word.part, "dec_ttl")?);
    }
    cursor.end()?;
    match ids.is_empty() {
        true => Err(FlowError::MissingValue { at: part.at(), word: "dec_ttl".to_owned() }),
        false => Ok(ids),
    }
}

/// `fin_timeout([idle_timeout=S][,hard_timeout=S])`.
fn fin_timeout(part: Option<Part<'_>>) -> Result<Action, FlowError> {
    let (mut idle, mut hard) = (0, 0);
    let mut cursor = Cursor::new(part.unwrap_or(Part::new("")));
    while let Some(parameter) = cursor.parameter()? {
        match parameter.name() {
            name @ "idle_timeout" => idle = value::fit(parameter.given()?, name)?,
            name @ "hard_timeout" => hard = value::fit(parameter.given()?, name)?,
            _ => {
                let known = ["idle_timeout", "hard_timeout"];
                return Err(words::unknown(parameter.word.part, "word", known.into_iter()));
            }
        }
    }
    cursor.end()?;
    Ok(Action::FinTimeout { idle, hard })
}

/// `conjunction(ID,K/N)`, where K counts from 1.
fn conjunction(part: Part<'_>) -> Result<Action, FlowError> {
    let wrong = |at: Part<'_>, expected| FlowError::Value {
        at: at.at(),
        of: "conjunction".to_owned(),
        expected,
        found: at.found(),
    };
    let blank = |byte: char| byte.is_ascii_whitespace();
    let split = part.split_once(",").and_then(|(id, clause)| {
        let clause = clause.slice(
            clause.text.len() - clause.text.trim_start_matches(blank).len()..clause.text.len(),
        );
        Some((id, clause, clause.split_once("/")?))
    });
    let (id, clause, (k, n)) =
        split.ok_or_else(|| wrong(part, "`ID,K/N`, as in `conjunction(7,1/2)`"))?;
    let id = value::fit(id, "conjunction")?;
    let (k, n): (u8, u8) = (value::fit(k, "conjunction")?, value::fit(n, "conjunction")?);
    if !(2..=64).contains(&n) {
        return Err(wrong(clause, "2 to 64 clauses"));
    }
    let clause = k
        .checked_sub(1)
        .filter(|_| k <= n)
        .ok_or_else(|| wrong(clause, "a clause from 1 to the number of clauses"))?;
    Ok(Action::Conjunction { id, clause, clauses: n })
}

/// The bytes of `note:aa.bb`, with as many zeros as OpenFlow's form of it has.
fn note(part: Option<Part<'_>>) -> Result<Vec<u8>, FlowError> {
    let mut bytes = part.map_or(Ok(Vec::new()), |part| value::hex(part, "note"))?;
    // A header of ten bytes stands before it, and the whole is a multiple of eight.
    while bytes.len() < 6 || bytes.len() % 8 != 6 {
        bytes.push(0);
    }
    Ok(bytes)
}
