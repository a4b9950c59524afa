//! The packet generator: what `pktgen` does.
//!
//! A sender numbers its packets and writes into each when it was sent; a sink reads that back, and
//! so knows what was lost, doubled, put out of order, and how long each was under way. Both reach
//! the interface past the kernel's network stack, by AF_XDP or AF_PACKET, and neither shares code
//! with the switch: what the switch has wrong, they do not have wrong with it.

use std::fmt::Display;

use anyhow::Result;
use serde::Serialize;

use crate::pktgen::cli::{Arguments, Command, Format};

pub mod address;
pub mod cli;
pub mod frame;
pub mod link;
pub mod order;
pub mod packet_socket;
pub mod pingpong;
pub mod replay;
pub mod report;
pub mod send;
pub mod sink;
pub mod stop;
mod sys;
pub mod tally;
pub mod xdp;

/// Does what the command line says, and prints what came of it.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Send(options) => print(options.end.format, send::run(options)?),
        Command::Replay(options) => print(options.end.format, replay::run(options)?),
        Command::Sink(options) => print(options.end.format, sink::run(options)?),
        Command::Pingpong(options) => print(options.end.format, pingpong::run(options)?),
    }
}

fn print(format: Format, result: impl Display + Serialize) -> Result<()> {
    match format {
        Format::Text => println!("{result}"),
        Format::Json => println!("{}", serde_json::to_string(&result)?),
    }
    Ok(())
}
