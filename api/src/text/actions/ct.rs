//! `ct(...)`, read.

use super::super::assumed::Assumed;
use super::super::error::FlowError;
use super::super::part::{Cursor, Parameter, Part, Word};
use super::super::{value, words};
use super::{Reader, nat, subfield};
use crate::ct::{Alg, Ct, CtZone, Nat};

/// The words that may stand in the parentheses.
const WORDS: [&str; 7] = ["commit", "force", "table", "zone", "nat", "exec", "alg"];

/// A `ct(...)` that is being read.
#[derive(Default)]
struct Draft<'t> {
    ct: Ct,
    /// The first word that goes with `commit`, and what is wrong with it alone.
    committing: Option<(Part<'t>, &'static str)>,
}

impl Reader<'_> {
    /// What stands in the parentheses, if there are any.
    pub(super) fn ct(
        &mut self,
        part: Option<Part<'_>>,
        assumed: &Assumed<'_>,
        depth: usize,
    ) -> Result<Ct, FlowError> {
        let mut cursor = Cursor::new(part.unwrap_or(Part::new("")));
        let mut draft = Draft::default();
        while let Some(word) = cursor.word()? {
            match word.text() {
                "exec" => self.exec(&mut cursor, word, assumed, depth, &mut draft)?,
                _ => draft.take(Parameter { word, value: cursor.value(word)? }, assumed)?,
            }
        }
        cursor.end()?;
        draft.finish()
    }

    /// The actions of `exec(...)`, among which OVS prints a `nat` that was given behind it.
    fn exec<'t>(
        &mut self,
        cursor: &mut Cursor<'t>,
        word: Word<'t>,
        assumed: &Assumed<'_>,
        depth: usize,
        draft: &mut Draft<'t>,
    ) -> Result<(), FlowError> {
        let take_nat = |word: Word<'t>, cursor: &mut Cursor<'t>| {
            let is_nat = word.text() == "nat";
            if is_nat {
                draft.take(Parameter { word, value: cursor.value(word)? }, assumed)?;
            }
            Ok(is_nat)
        };
        let exec = self.nested(cursor, word, assumed.in_exec(), depth, take_nat)?;
        if !exec.is_empty() {
            draft.commit_goes_with(word, "goes with `commit`");
        }
        draft.ct.exec.extend(exec);
        Ok(())
    }
}

impl<'t> Draft<'t> {
    /// Takes a word that does not hold actions.
    fn take(&mut self, parameter: Parameter<'t>, assumed: &Assumed<'_>) -> Result<(), FlowError> {
        let (word, ct) = (parameter.word, &mut self.ct);
        match parameter.name() {
            "commit" => {
                parameter.alone()?;
                ct.commit = true;
            }
            "force" => {
                parameter.alone()?;
                ct.force = true;
                self.commit_goes_with(word, "goes with `commit`");
            }
            name @ "table" => ct.table = Some(value::table(parameter.given()?, name)?),
            "zone" => ct.zone = zone(parameter.given()?, assumed)?,
            "nat" => {
                let nat = parameter.value.map_or(Ok(Nat::Existing), nat::parse)?;
                ct.nat = Some(nat);
                if nat != Nat::Existing {
                    self.commit_goes_with(word, "goes with `commit` if it has words of its own");
                }
            }
            "alg" => ct.alg = Some(alg(parameter.given()?)?),
            _ => return Err(words::unknown(word.part, "word", WORDS.into_iter())),
        }
        Ok(())
    }

    /// Takes note that a word is about the connection that is kept.
    fn commit_goes_with(&mut self, word: Word<'t>, rule: &'static str) {
        self.committing.get_or_insert((word.part, rule));
    }

    fn finish(self) -> Result<Ct, FlowError> {
        match self.committing {
            Some((word, rule)) if !self.ct.commit => {
                Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule })
            }
            _ => Ok(self.ct),
        }
    }
}

/// A number, or a field of sixteen bits that holds one.
fn zone(part: Part<'_>, assumed: &Assumed<'_>) -> Result<CtZone, FlowError> {
    if part.text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return value::fit(part, "zone").map(CtZone::Number);
    }
    let field = Some(subfield(part, assumed)?).filter(|field| field.bits == 16);
    field.map(CtZone::Field).ok_or_else(|| wrong(part, "zone", "a number or 16 bits of a field"))
}

fn alg(part: Part<'_>) -> Result<Alg, FlowError> {
    let known = Alg::ALL.into_iter().find(|alg| alg.name() == part.text);
    known.ok_or_else(|| wrong(part, "alg", "ftp or tftp"))
}

fn wrong(part: Part<'_>, of: &str, expected: &'static str) -> FlowError {
    FlowError::Value { at: part.at(), of: of.to_owned(), expected, found: part.found() }
}
