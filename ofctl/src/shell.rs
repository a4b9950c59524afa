//! What is made from the command line's definition: completions and manual pages.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::desk::Desk;

pub(crate) fn completions(shell: Shell, desk: &mut Desk) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ofctl", &mut script);
    Ok(std::io::Write::write_all(desk.out.bytes(), &script)?)
}

/// Writes a page for the whole and one for each command, as `ofctl-add-flow.1`.
pub(crate) fn manual(directory: &Path) -> Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("manual pages cannot be written to {}", directory.display()))
}
