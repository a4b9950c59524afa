//! What is made from the command line's definition: completions and manual pages.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::desk::Desk;

pub(crate) fn completions(shell: Shell, desk: &mut Desk) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ofctl", &mut script);
    Ok(std::io::Write::write_all(desk.out.bytes(), &script)?)
}

/// Writes a page for the whole and one for each command, as `ofctl-add-flow.1`.
pub(crate) fn manual(directory: &Path) -> Result<()> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    pages(cli, directory)
        .with_context(|| format!("manual pages cannot be written to {}", directory.display()))
}

fn pages(command: Command, directory: &Path) -> std::io::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        pages(inner.clone(), directory)?;
    }
    let page = Man::new(command).manual("vswitch").section("1");
    let mut text = Vec::new();
    page.render(&mut text)?;
    // What stands below the options is no afterthought.
    let text = String::from_utf8_lossy(&text).replace(".SH EXTRA", ".SH NOTES AND EXAMPLES");
    std::fs::write(directory.join(page.get_filename()), text)
}
