//! What a test program of Rust's own harness prints.

use crate::report::Tally;

/// What can be read from the output of one or more test programs.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Results {
    /// Tests that passed and failed. Ignored ones are none of both.
    pub(crate) tally: Tally,
    /// How many summaries there were: one a program.
    pub(crate) programs: usize,
    /// The ignored tests.
    pub(crate) ignored: Vec<Ignored>,
}

/// A test that runs only when asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ignored {
    /// Its path within its program.
    pub(crate) name: String,
    /// The reason it gives.
    pub(crate) reason: String,
}

impl Results {
    /// Reads an output.
    pub(crate) fn read(output: &str) -> Self {
        let mut results = Self::default();
        for line in output.lines() {
            if let Some(summary) = line.strip_prefix("test result: ") {
                results.tally.passed += number_before(summary, " passed");
                results.tally.failed += number_before(summary, " failed");
                results.programs += 1;
            } else if let Some(ignored) = ignored(line) {
                results.ignored.push(ignored);
            }
        }
        results
    }
}

/// `test NAME ... ignored, REASON`.
fn ignored(line: &str) -> Option<Ignored> {
    let (name, state) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let reason = state.strip_prefix("ignored")?;
    let reason = reason.strip_prefix(", ").unwrap_or(reason);
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some(Ignored { name: name.to_owned(), reason: reason.to_owned() })
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before.split_whitespace().next_back().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The names in the answer to `--list --format terse`.
pub(crate) fn listed(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| line.strip_suffix(": test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_add_up_and_reasons_are_kept() {
        let output = "\n\
            running 3 tests\n\
            test a::b ... ok\n\
            test a::slow ... ignored, needs root: run by cargo xtask test\n\
            test plain - should panic ... ignored\n\
            test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 1 filtered out; finished in 0.11s\n\
            test c ... FAILED\n\
            test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s\n";
        let results = Results::read(output);
        assert_eq!(results.tally, Tally { passed: 13, failed: 3, skipped: 0 });
        assert_eq!(results.programs, 2);
        let ignored =
            |name: &str, reason: &str| Ignored { name: name.to_owned(), reason: reason.to_owned() };
        assert_eq!(
            results.ignored,
            [ignored("a::slow", "needs root: run by cargo xtask test"), ignored("plain", "")]
        );
    }

    #[test]
    fn a_list_has_tests_and_benchmarks() {
        let names: Vec<_> = listed("a::b: test\nc: benchmark\n\nd: test\n").collect();
        assert_eq!(names, ["a::b", "d"]);
    }
}
