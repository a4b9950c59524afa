//! One row of a table: what was measured, and whether it is good enough.

use serde::Serialize;

use crate::harness::sample::{confidence, median, ratios, spread};

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At least so many times the peer's: what must be, and what we aim at.
    TimesMore(f64, f64),
    /// At most so many times the peer's.
    TimesLess(f64, f64),
    /// At least so many times the peer's, which must be; what we aim at stands in a row of its own.
    Beside(f64),
    /// At most so much, whatever a peer does.
    AtMost(f64, f64),
    /// At most so much is what we aim at; nothing must be.
    Aim(f64),
    /// Nothing: it is there to be known.
    Known,
}

impl Goal {
    /// Whether it is likely to be the same with other samples whether it is reached: what must be does
    /// not lie between the bounds of what is measured.
    pub fn is_decided(self, ours: &[f64], theirs: &[f64]) -> bool {
        let (Self::TimesMore(reach, _) | Self::TimesLess(reach, _) | Self::Beside(reach)) = self
        else {
            return true;
        };
        confidence(&ratios(ours, theirs)).is_none_or(|(low, high)| !(low..=high).contains(&reach))
    }
}

/// A row. Its JSON has the form that the design asks for, and every sample.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub case: String,
    /// Beside whom.
    pub peer: String,
    /// The median of ours; none if nothing could be measured.
    pub ours: Option<f64>,
    /// The median of theirs; none if there is no peer.
    pub theirs: Option<f64>,
    /// The unit of both.
    pub unit: &'static str,
    /// The median of the ratios of ours to theirs, measured side by side.
    pub ratio: Option<f64>,
    /// That median lies 19 times of 20 between this
    pub ratio_low: Option<f64>,
    /// and this.
    pub ratio_high: Option<f64>,
    /// What must be.
    pub reach: Option<f64>,
    /// What we aim at.
    pub aim: Option<f64>,
    /// Whether what must be is.
    pub pass: bool,
    /// Why not, or anything else worth knowing.
    pub note: String,
    /// Half of our samples lie within this share of their median.
    pub ours_spread: Option<f64>,
    /// The same of theirs.
    pub theirs_spread: Option<f64>,
    /// All of ours, in order.
    pub ours_samples: Vec<f64>,
    /// All of theirs, each taken beside one of ours.
    pub theirs_samples: Vec<f64>,
}

impl Row {
    /// What samples say. Without samples of a peer there is none.
    pub fn new(
        case: &str,
        peer: &str,
        unit: &'static str,
        goal: Goal,
        ours: Vec<f64>,
        theirs: Vec<f64>,
    ) -> Self {
        let some = |samples: &[f64], of: fn(&[f64]) -> f64| {
            Some(of(samples)).filter(|value| !samples.is_empty() && value.is_finite())
        };
        let ours_median = some(&ours, median);
        let ratios = ratios(&ours, &theirs);
        let (ratio, bounds) = (some(&ratios, median), confidence(&ratios).unzip());
        let (reach, aim, value, wins): (_, _, _, fn(f64, f64) -> bool) = match goal {
            Goal::TimesMore(reach, aim) => (Some(reach), Some(aim), ratio, |a, b| a >= b),
            Goal::TimesLess(reach, aim) => (Some(reach), Some(aim), ratio, |a, b| a <= b),
            Goal::Beside(reach) => (Some(reach), None, ratio, |a, b| a >= b),
            Goal::AtMost(reach, aim) => (Some(reach), Some(aim), ours_median, |a, b| a <= b),
            Goal::Aim(aim) => (None, Some(aim), ours_median, |_, _| true),
            Goal::Known => (None, None, ratio, |_, _| true),
        };
        let pass = reach.is_none_or(|reach| value.is_some_and(|value| wins(value, reach)));
        Self {
            case: case.to_owned(),
            peer: peer.to_owned(),
            ours: ours_median,
            theirs: some(&theirs, median),
            unit,
            ratio,
            ratio_low: bounds.0,
            ratio_high: bounds.1,
            reach,
            aim,
            pass,
            note: String::new(),
            ours_spread: some(&ours, spread),
            theirs_spread: some(&theirs, spread),
            ours_samples: ours,
            theirs_samples: theirs,
        }
    }

    /// A row without figures: what keeps it from having any.
    pub fn void(case: &str, peer: &str, unit: &'static str, goal: Goal, why: &str) -> Self {
        let row = Self::new(case, peer, unit, goal, Vec::new(), Vec::new());
        Self { pass: false, note: why.to_owned(), ..row }
    }

    /// The same with a note, behind those it has.
    #[must_use]
    pub fn note(mut self, note: impl AsRef<str>) -> Self {
        let between = if self.note.is_empty() || note.as_ref().is_empty() { "" } else { "; " };
        self.note = self.note + between + note.as_ref();
        self
    }
}

/// Rows as a table for people.
pub fn table(rows: &[Row]) -> String {
    let number = |value: Option<f64>| value.map_or_else(String::new, short);
    let side = |value: Option<f64>, spread: Option<f64>| match (value, spread) {
        (Some(value), Some(spread)) if spread >= 0.005 => {
            format!("{} \u{b1}{:.0}%", short(value), 100.0 * spread)
        }
        _ => number(value),
    };
    let titles = ["", "unit", "ours", "peer", "ratio", "95 %", "reach", "aim", ""];
    let mut lines = vec![titles.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let verdict = match (row.pass, row.reach) {
            (false, _) => "FAIL",
            (true, Some(_)) => "pass",
            (true, None) => "",
        };
        [
            row.case.clone(),
            row.unit.to_owned(),
            side(row.ours, row.ours_spread),
            side(row.theirs, row.theirs_spread),
            row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            bounds(row),
            number(row.reach),
            number(row.aim),
            verdict.to_owned(),
        ]
    }));
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let notes = std::iter::once("").chain(rows.iter().map(|row| row.note.as_str()));
    let mut text = String::new();
    for (line, note) in lines.iter().zip(notes) {
        let cells = line.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let cells: Vec<_> = cells.chain([note.to_owned()]).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// What the ratio lies between.
fn bounds(row: &Row) -> String {
    let bounds = row.ratio_low.zip(row.ratio_high);
    bounds.map_or_else(String::new, |(low, high)| format!("{low:.2}-{high:.2}"))
}

/// A number with as many digits as one reads.
fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. | 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_is_judged_by_what_it_is_about() {
        let row = |goal, ours: &[f64], theirs: &[f64]| {
            Row::new("case", "peer", "x", goal, ours.to_vec(), theirs.to_vec())
        };
        assert!(row(Goal::TimesMore(1.5, 2.0), &[3.0], &[2.0]).pass);
        assert!(!row(Goal::TimesMore(1.5, 2.0), &[2.9], &[2.0]).pass);
        assert!(row(Goal::TimesLess(1.0, 0.6), &[2.0], &[2.0]).pass);
        assert!(!row(Goal::TimesLess(1.0, 0.6), &[2.1], &[2.0]).pass);
        assert!(row(Goal::AtMost(80.0, 40.0), &[80.0], &[]).pass);
        assert!(!row(Goal::AtMost(80.0, 40.0), &[81.0], &[]).pass);
        assert!(row(Goal::Beside(2.0), &[4.0], &[2.0]).pass);
        assert!(!row(Goal::Beside(2.0), &[3.9], &[2.0]).pass);
        assert!(row(Goal::Aim(50.0), &[70.0], &[]).pass, "an aim need not be reached");
        assert!(row(Goal::Known, &[1.0], &[]).pass);
        assert!(!row(Goal::TimesMore(1.0, 1.0), &[], &[]).pass, "nothing is not enough");
        assert!(!row(Goal::TimesMore(1.0, 1.0), &[5.0], &[]).pass, "nor is having no peer");
    }

    #[test]
    fn a_row_has_the_members_that_were_agreed_on() {
        let row = Row::new("c", "p", "Mpps", Goal::TimesMore(1.5, 2.0), vec![4.0], vec![2.0]);
        let json = serde_json::to_value(&row).unwrap();
        for (name, value) in [("ours", 4.0), ("theirs", 2.0), ("ratio", 2.0), ("reach", 1.5)] {
            assert_eq!(json[name], value, "{name}");
        }
        assert_eq!((&json["case"], &json["pass"]), (&"c".into(), &true.into()));
    }

    #[test]
    fn a_row_says_how_sure_it_is() {
        let (ours, theirs) = (vec![4.0, 5.0, 6.0, 5.0], vec![2.0; 4]);
        let row = Row::new("c", "p", "Mpps", Goal::TimesMore(1.5, 2.0), ours, theirs);
        assert_eq!((row.ratio, row.ratio_low, row.ratio_high), (Some(2.5), Some(2.0), Some(3.0)));
        let row = row.note("one").note("").note("two");
        assert_eq!(row.note, "one; two");
        assert!(table(&[row]).contains("2.50  2.00-3.00"));
    }

    #[test]
    fn a_table_is_aligned_and_says_what_failed() {
        let good = Row::new(
            "p2p, 1 flow",
            "OVS",
            "Mpps",
            Goal::TimesMore(1.5, 2.0),
            vec![40.0],
            vec![20.0],
        );
        let bad = Row::void("l3", "OVS", "Mpps", Goal::TimesMore(1.5, 2.0), "frame 3 is ...");
        let text = table(&[good, bad]);
        assert_eq!(
            text,
            "             unit  ours  peer  ratio  95 %  reach   aim\n\
             p2p, 1 flow  Mpps  40.0  20.0   2.00         1.50  2.00  pass\n\
             l3           Mpps                            1.50  2.00  FAIL  frame 3 is ...\n"
        );
    }
}
