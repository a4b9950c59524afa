//! Measurements of the switch beside its peers: what `bench` does.
//!
//! Ours and the peer run at the same time on the same processor, one of them frozen; they take
//! turns, ours, theirs, theirs, ours, so that a machine that changes its speed treats both alike.
//! What is judged is the median of the ratios of neighbours. Rates are packets per second of the
//! time that the polling thread really had a processor: what else runs on the machine counts less
//! then.
//!
//! | bench | file |
//! |---|---|
//! | `datapath` | [`datapath`]: packets from memory to memory; and [`footprint`] |
//! | `classify` | [`classify`]: many flows, and [`rules`] of our own; and [`cold`] |
//! | `conntrack` | [`conntrack`]: packets of connections |
//! | `flowmod` | [`flowmod`]: changes of flows, and what they cost others |
//! | `veth` | [`veth`]: between network namespaces |

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::harness::machine::Machine;
use crate::harness::row::Row;

pub mod beginnings;
pub mod blocks;
pub mod captures;
pub mod case;
pub mod classify;
pub mod cold;
pub mod connections;
pub mod conntrack;
pub mod datapath;
pub mod disturbance;
pub mod flowmod;
pub mod footprint;
pub mod machine;
pub mod ours;
pub mod ovs;
pub mod pair;
pub mod part;
pub mod process;
pub mod progress;
pub mod row;
pub mod rules;
pub mod sample;
pub mod traffic;
pub mod usage;
pub mod veth;

/// Measures the switch beside its peers.
///
/// Called by `cargo xtask bench`, which builds and installs what it takes. Needs root. Fails if
/// what must be reached is not.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub struct Arguments {
    /// What to measure
    pub name: Name,

    /// A few minutes at most, less exact
    #[arg(long)]
    pub quick: bool,

    /// Only rows with this in their names
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,

    /// Where `vswitchd` and `pktgen` are; beside this program if it is not given
    #[arg(long, value_name = "FOLDER")]
    pub programs: Option<PathBuf>,

    /// Where results go
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    pub results: PathBuf,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Name {
    /// Packets from memory to memory beside OVS-DPDK; memory; what an idle switch costs
    Datapath,
    /// Many flows, many megaflows, and long lists of rules beside OVS-DPDK
    Classify,
    /// Packets of connections, tracked and translated, beside OVS-DPDK
    Conntrack,
    /// Changes of flows, alone and under load; an attack by them; memory
    Flowmod,
    /// Between two network namespaces beside OVS with AF_XDP ports
    Veth,
}

impl Name {
    const fn text(self) -> &'static str {
        match self {
            Self::Datapath => "datapath",
            Self::Classify => "classify",
            Self::Conntrack => "conntrack",
            Self::Flowmod => "flowmod",
            Self::Veth => "veth",
        }
    }
}

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether there are a few minutes only.
    pub quick: bool,
    /// What the names of rows must contain, if not all are wanted.
    pub only: Option<String>,
    /// Where the programs are.
    pub programs: PathBuf,
    /// The processor for what is measured.
    pub cpu: usize,
}

impl Plan {
    /// Whether the row of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }

    /// How long the rows may take if they must be quick: so many seconds.
    pub const fn limit(&self, seconds: u64) -> Option<Duration> {
        if self.quick { Some(Duration::from_secs(seconds)) } else { None }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Who was measured.
    pub versions: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// What one must know to read them.
    pub about: String,
}

/// Measures, prints the table, and writes the results. Answers whether all that must be reached is.
pub fn run(arguments: &Arguments) -> Result<bool> {
    process::heed_signals()?;
    let beside = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
    let programs = arguments.programs.clone().or_else(beside).context("where are the programs?")?;
    let programs = programs.canonicalize().with_context(|| programs.display().to_string())?;
    let Arguments { quick, ref only, .. } = *arguments;
    let plan = Plan { quick, only: only.clone(), programs, cpu: machine::last_cpu()? };
    let machine = Machine::here()?;
    let findings = match arguments.name {
        Name::Datapath => datapath::run(&plan)?,
        Name::Classify => classify::run(&plan)?,
        Name::Conntrack => conntrack::run(&plan)?,
        Name::Flowmod => flowmod::run(&plan)?,
        Name::Veth => veth::run(&plan)?,
    };
    println!("{}({})", row::table(&findings.rows), findings.about);
    let file = arguments.results.join(arguments.name.text()).with_extension("json");
    fs::create_dir_all(&arguments.results).with_context(|| file.display().to_string())?;
    let name = arguments.name.text();
    let results = serde_json::json!({
        "bench": name,
        "quick": arguments.quick,
        "machine": machine,
        "versions": findings.versions,
        "about": findings.about,
        "rows": findings.rows,
    });
    let text = serde_json::to_string_pretty(&results)? + "\n";
    fs::write(&file, text).with_context(|| file.display().to_string())?;
    let failed = findings.rows.iter().filter(|row| !row.pass).count();
    let (rows, file) = (findings.rows.len(), file.display());
    println!("{} of {rows} rows pass, {failed} fail; every sample: {file}", rows - failed);
    Ok(failed == 0)
}

/// Says what is being done.
pub fn say(what: &str) {
    eprintln!("bench: {what}");
}
