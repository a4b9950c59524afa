//! A part of a bench: rows that are measured together, by switches of their own.

use anyhow::{Result, anyhow};

use crate::harness::Plan;
use crate::harness::process::is_told_to_end;
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};

/// A part.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its rows: what they are called, their units, and what is to be reached.
    pub rows: &'static [(&'static str, &'static str, Goal)],
    /// Seconds that each takes, quick and else.
    pub cost: (f64, f64),
    /// Measures them, one row each.
    pub measure: fn(&Plan, &Progress) -> Result<Vec<Row>>,
}

impl Part {
    /// Whether one of its rows is wanted.
    pub fn is_wanted(&self, plan: &Plan) -> bool {
        self.rows.iter().any(|row| plan.wants(row.0))
    }

    /// Seconds that its rows take.
    pub fn costs(&self, quick: bool) -> Vec<f64> {
        vec![if quick { self.cost.0 } else { self.cost.1 }; self.rows.len()]
    }

    /// Its rows; those that cannot be measured say why.
    pub fn take(&self, plan: &Plan, progress: &mut Progress) -> Result<Vec<Row>> {
        let [(first, ..), ..] = self.rows else { return Ok(Vec::new()) };
        let measured = match progress.begin(first) {
            true => (self.measure)(plan, progress),
            false => Err(anyhow!("no time was left")),
        };
        self.rows.iter().for_each(|_| progress.end());
        match measured {
            Ok(rows) => Ok(rows),
            Err(error) if is_told_to_end() => Err(error),
            Err(error) => {
                let why = format!("{error:#}");
                let rows = self.rows.iter();
                let void = rows.map(|(case, unit, goal)| Row::void(case, "", unit, *goal, &why));
                Ok(void.collect())
            }
        }
    }
}
