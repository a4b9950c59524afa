//! Changes of tables, read and printed.

use std::fmt;

use super::error::FlowError;
use super::part::{Cursor, Parameter, Part};
use super::print::{Commas, Printed};
use super::{value, words};
use crate::table::{TableMiss, TableMod};

/// The words besides those for packets that no flow matches.
const WORDS: [&str; 3] = ["limit", "evict", "noevict"];

/// Reads `TABLE SETTING,...`, where TABLE may be `all`.
pub(super) fn parse(text: Part<'_>) -> Result<TableMod, FlowError> {
    let (name, rest) = text.first_word();
    let table = match name.text {
        "" => return Err(FlowError::Missing { at: text.end().at(), word: "table" }),
        "all" | "ALL" => None,
        _ => Some(value::table(name, "table")?),
    };
    let mut change = TableMod { table, ..TableMod::default() };
    let mut cursor = Cursor::new(rest);
    while let Some(parameter) = cursor.parameter()? {
        take(&mut change, parameter)?;
    }
    cursor.end()?;
    if change == (TableMod { table, ..TableMod::default() }) {
        let (at, expected) = (text.end().at(), "drop, continue, controller, evict or limit=N");
        let (of, found) = ("table".to_owned(), "nothing".to_owned());
        return Err(FlowError::Value { at, of, expected, found });
    }
    Ok(change)
}

fn take(change: &mut TableMod, parameter: Parameter<'_>) -> Result<(), FlowError> {
    let (name, word) = (parameter.name(), parameter.word.part);
    if name == "limit" {
        change.limit = Some(value::fit(parameter.given()?, name)?);
        return Ok(());
    }
    let miss = TableMiss::ALL.iter().find(|(_, known)| *known == name);
    match name {
        "evict" => change.evict = Some(true),
        "noevict" => change.evict = Some(false),
        "name" | "vacancy" | "novacancy" => {
            return Err(FlowError::Unsupported { at: word.at(), word: word.short() });
        }
        _ => match miss {
            Some((miss, _)) => change.miss = Some(*miss),
            None => {
                let known = TableMiss::ALL.iter().map(|(_, word)| *word).chain(WORDS);
                return Err(words::unknown(word, "setting", known));
            }
        },
    }
    parameter.alone()
}

impl fmt::Display for Printed<'_, TableMod> {
    /// `3 continue,limit=1000,evict` or `all drop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TableMod { table, miss, limit, evict } = self.what;
        match table {
            Some(table) => write!(f, "{table} ")?,
            None => f.write_str("all ")?,
        }
        let mut list = Commas::new(f);
        if let Some(miss) = miss {
            list.item(format_args!("{miss}"))?;
        }
        if let Some(limit) = limit {
            list.item(format_args!("limit={limit}"))?;
        }
        match evict {
            Some(evict) => list.item(format_args!("{}", if *evict { "evict" } else { "noevict" })),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        for text in
            ["0 drop", "253 continue", "all controller", "3 drop,limit=5,evict", "3 noevict"]
        {
            let read: TableMod = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let refused = |text: &str| {
            let error = text.parse::<TableMod>().unwrap_err();
            (error.at(), error.to_string())
        };
        assert_eq!(refused(""), (0..0, "`table=` is missing".to_owned()));
        assert_eq!(refused("254 drop").0, 0..3);
        let hint = "unknown setting `contine`, did you mean `continue`?";
        assert_eq!(refused("3 contine"), (2..9, hint.to_owned()));
        let nothing = "`table` takes drop, continue, controller, evict or limit=N, found nothing";
        assert_eq!(refused("3"), (1..1, nothing.to_owned()));
        assert_eq!(refused("3 drop limit").1, "`limit` needs a value");
        assert_eq!(refused("3 limit=4294967296").0, 8..18);
        assert_eq!(refused("3 drop=1").1, "`drop` takes no value");
        assert_eq!(refused("3 vacancy:20,80").1, "`vacancy` is not supported yet");
    }
}
