//! The command line of `vswitchd`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Carries packets between ports by the flows it is given.
///
/// Runs in the foreground until it is told to end by SIGTERM or SIGINT. What it may be asked and
/// told, `ofctl` knows. Needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK, and nothing
/// else.
#[derive(Debug, Parser)]
#[command(name = "vswitchd", version)]
pub struct Arguments {
    /// The file to start from; without one, a switch without bridges that listens at the usual
    /// place
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where to listen, instead of what the file says
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Say whether the file is right, and end
    #[arg(long)]
    pub check: bool,

    /// How much to say
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Level::Info)]
    pub log: Level,

    /// How to say it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How much to say.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Level {
    /// What has failed
    Error,
    /// And what may be wrong
    Warn,
    /// And what has changed
    Info,
    /// And every request
    Debug,
}

/// How to say it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// An object a line
    Json,
}
