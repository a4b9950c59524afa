//! Changes of flows: how many a second, how soon, what they cost those who do not ask for them.
//!
//! | file | what |
//! |---|---|
//! | [`bundle`] | many at once, beside `ovs-ofctl --bundle` |
//! | [`million`] | one at a time with a million rules and a million flows; and the memory of those |
//! | [`storm`] | forwarding while they come |
//! | [`attack`] | packets crafted to make a switch look everywhere |

use anyhow::Result;

use crate::harness::ours::Ours;
use crate::harness::part::Part;
use crate::harness::progress::Progress;
use crate::harness::{Findings, Plan, machine};

pub mod attack;
pub mod bundle;
pub mod million;
pub mod storm;

const PARTS: [Part; 4] = [bundle::PART, million::PART, storm::PART, attack::PART];
/// The seconds that all rows may take if they must be quick.
const QUICK: u64 = 600;

/// Measures everything.
pub fn run(plan: &Plan) -> Result<Findings> {
    machine::leave(plan.cpu)?;
    let parts = PARTS.into_iter().filter(|part| part.is_wanted(plan));
    let parts: Vec<_> = parts.collect();
    let costs = parts.iter().flat_map(|part| part.costs(plan.quick)).collect();
    let mut progress = Progress::new(costs, plan.limit(QUICK));
    let mut findings = Findings { about: about(), ..Findings::default() };
    findings.versions = versions(plan)?;
    for part in parts {
        findings.rows.extend(part.take(plan, &mut progress)?);
    }
    Ok(findings)
}

fn about() -> String {
    let million::Sized { limits, .. } = million::SIZED;
    format!(
        "A million rules: vswitchd with limits.flows = {}, megaflows = {}, sessions = {}; else as it \
         comes. Whoever asks shares a processor with the control thread, the worker has its own",
        limits.flows, limits.megaflows, limits.sessions
    )
}

fn versions(plan: &Plan) -> Result<Vec<String>> {
    let net = testnet::TestNet::new()?;
    let mut ours = Ours::start(&plan.programs, net.namespace(), plan.cpu, true)?;
    Ok(vec![format!("vswitchd {}", ours.version()?), bundle::version()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::row::Goal;

    /// The table of what is to be reached, as it was agreed on.
    #[test]
    fn rows_and_goals_are_those_agreed_on() {
        let goals: Vec<_> = PARTS.iter().flat_map(|part| part.rows).map(|row| row.2).collect();
        let agreed = [
            Goal::TimesMore(4.0, 10.0),
            Goal::AtMost(600.0, 300.0),
            Goal::AtMost(2000.0, 100.0),
            Goal::AtMost(10.0, 2.0),
            Goal::TimesMore(0.8, 0.95),
        ];
        assert_eq!(goals, agreed);
    }

    #[test]
    fn all_rows_fit_into_twelve_minutes() {
        let cost = |part: &Part| part.cost.0 * f64::from(u32::try_from(part.rows.len()).unwrap());
        let seconds: f64 = PARTS.iter().map(cost).sum();
        assert!(seconds <= 660.0, "{seconds} s");
        const { assert!(QUICK <= 660, "a minute is for coming and going") };
    }
}
