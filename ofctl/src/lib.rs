//! The command line of the switch.
//!
//! [`cli`] says what can be written, from which come the help, the completions and the manual
//! pages; a module a noun carries it out. Flows are read by the switch alone, which knows the names
//! of ports: what it refuses comes back with its place and is shown below the text.

pub mod cli;

mod arguments;
mod bridges;
mod cache;
mod capture;
mod change;
mod compare;
mod connections;
mod ct_bench;
mod desk;
mod detrace;
mod drops;
mod fdb;
mod file;
mod flows;
mod grid;
mod groups;
mod hints;
mod meters;
mod mod_port;
mod mod_table;
mod monitor;
mod notices;
mod offline;
mod output;
mod packet_out;
mod pcapng;
mod ports;
mod problem;
mod progress;
mod queues;
mod save;
mod shell;
mod sizes;
mod sorting;
mod trace;
mod transaction;
mod version;
mod vlan;
mod workers;
mod zones;

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use api::ClientError;
use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};

use cli::{Cli, Command, FdbCommand, FlowCommand};
use desk::Desk;

/// Carries out the command line of this process.
pub fn main() -> ExitCode {
    let Cli { options, command } = parse();
    let (format, colour) = (options.format, options.color);
    let mut desk = Desk::new(options);
    let result = run(command, &mut desk).and_then(|()| Ok(desk.out.flush()?));
    let Err(error) = result else { return ExitCode::from(if desk.differs { 2 } else { 0 }) };
    match error.downcast::<clap::Error>() {
        Ok(usage) => usage.exit(),
        Err(error) if nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // What was answered before it failed comes first. If that fails, too, so be it.
            let _ = desk.out.flush();
            problem::tell(&hints::with_help(error, &mut desk), format, colour);
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; whoever writes it wrong is told in the colours that it asks for.
fn parse() -> Cli {
    let words: Vec<_> = std::env::args_os().collect();
    let colour = words.iter().enumerate().find_map(|(at, word)| match word.to_str()? {
        "--color" => words.get(at + 1)?.to_str(),
        word => word.strip_prefix("--color="),
    });
    let colour = match colour {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    };
    let read = Cli::command().color(colour).get_matches_from(words);
    Cli::from_arg_matches(&read).unwrap_or_else(|error| error.exit())
}

fn run(command: Command, desk: &mut Desk) -> Result<()> {
    match command {
        Command::Show(args) => bridges::show(args, desk),
        Command::AddBr(args) => bridges::add(args, desk),
        Command::DelBr(args) => bridges::remove(args, desk),
        Command::AddPort(args) => ports::add(args, desk),
        Command::DelPort(args) => ports::remove(args, desk),
        Command::ModPort(args) => mod_port::run(&args, desk),
        Command::DumpPorts(args) => ports::dump(args, desk),
        Command::SetQueue(args) => queues::set(args, desk),
        Command::DelQueue(args) => queues::remove(args, desk),
        Command::QueueStats(args) => queues::stats(args, desk),
        Command::QueueGetConfig(args) => queues::config(args, desk),
        Command::Flow(FlowCommand::AddFlow(args)) => change::add_flow(args, desk),
        Command::Flow(FlowCommand::AddFlows(args)) => change::add_flows(args, desk),
        Command::Flow(FlowCommand::ModFlows(args)) => change::mod_flows(args, desk),
        Command::Flow(FlowCommand::DelFlows(args)) => change::del_flows(args, desk),
        Command::Flow(FlowCommand::DumpFlows(args)) => flows::dump(args, desk),
        Command::Compare(command) => compare::run(command, desk),
        Command::ModTable(args) => mod_table::run(&args, desk),
        Command::Group(command) => groups::run(command, desk),
        Command::Meter(command) => meters::run(command, desk),
        Command::Bundle(command) => save::run(command, desk),
        Command::DumpAggregate(args) => flows::aggregate(args, desk),
        Command::DumpTables(args) => flows::dump_tables(args, desk),
        Command::Trace(args) => trace::run(args, desk),
        Command::Cache(command) => cache::run(command, desk),
        Command::ExplainDrop(args) => drops::explain(args, desk),
        Command::Memory => sizes::memory(desk),
        Command::Limits => sizes::limits(desk),
        Command::WorkerStats(args) if args.histograms => workers::histograms(desk),
        Command::WorkerStats(_) => workers::stats(desk),
        Command::RxqShow => workers::queues(desk),
        Command::Fdb(FdbCommand::Show(args)) => fdb::show(args, desk),
        Command::Fdb(FdbCommand::Add(args)) => fdb::add(&args, desk),
        Command::Fdb(FdbCommand::Del(args)) => fdb::remove(&args, desk),
        Command::Fdb(FdbCommand::Flush(args)) => fdb::flush(args, desk),
        Command::Fdb(FdbCommand::Stats(args)) => fdb::stats(args, desk),
        Command::Connection(command) => connections::run(command, desk),
        Command::Zone(command) => zones::run(command, desk),
        Command::Monitor(args) => monitor::run(&args, desk),
        Command::Capture(args) => capture::run(args, desk),
        Command::Version => version::run(desk),
        Command::Completions { shell } => shell::completions(shell, desk),
        Command::Man { directory } => shell::manual(&directory),
    }
}

/// Whether whoever was to read the output has gone, such as `head`.
fn nobody_reads(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    !error.is::<ClientError>()
        && error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}
