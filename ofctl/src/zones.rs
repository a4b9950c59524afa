//! What zones may have of connections: `ct-set-limits`, `ct-set-timeouts` and their kin, and how
//! strict the tracking of TCP is.

mod words;

use std::fmt;

use anyhow::Result;
use api::CtTimeouts;
use api::reply::{CtLimits, CtPolicies, CtTcp, ZoneCount};
use api::request::{CtTcpSet, CtTcpShow};
use clap::error::ErrorKind;

use crate::arguments::misuse;
use crate::cli::ZoneCommand;
use crate::desk::Desk;
use crate::problem::unsure;

pub(crate) fn run(command: ZoneCommand, desk: &mut Desk) -> Result<()> {
    match command {
        ZoneCommand::CtSetLimits(args) => change("ct-set-limits", words::limits(&args.words), desk),
        ZoneCommand::CtGetLimits(args) => get_limits(&args.words, desk),
        ZoneCommand::CtDelLimits(args) => {
            change("ct-del-limits", words::without_limits(&args.words), desk)
        }
        ZoneCommand::CtSetTimeouts(args) => {
            change("ct-set-timeouts", words::timeouts(&args.words), desk)
        }
        ZoneCommand::CtGetTimeouts(args) => get_timeouts(&args.words, desk),
        ZoneCommand::CtDelTimeouts(args) => {
            change("ct-del-timeouts", words::without_timeouts(&args.words), desk)
        }
        ZoneCommand::CtEnableTcpSeqChk => change("ct-enable-tcp-seq-chk", Ok(seq_chk(true)), desk),
        ZoneCommand::CtDisableTcpSeqChk => {
            change("ct-disable-tcp-seq-chk", Ok(seq_chk(false)), desk)
        }
        ZoneCommand::CtGetTcpSeqChk => get_tcp(desk),
    }
}

/// Asks for what the words of a command say, or says what is wrong with them.
fn change<C>(command: &str, request: Result<C, String>, desk: &mut Desk) -> Result<()>
where
    C: api::Call<Reply = api::reply::Done>,
{
    let request = request.map_err(|wrong| misuse(command, ErrorKind::InvalidValue, &wrong))?;
    let (client, out) = desk.open()?;
    let done = client.call(request).map_err(unsure)?;
    out.answer(&done, |_, _| Ok(()))
}

const fn seq_chk(is_on: bool) -> CtTcpSet {
    CtTcpSet { seq_chk: Some(is_on), loose: None }
}

fn get_limits(words: &[String], desk: &mut Desk) -> Result<()> {
    let dump = words::some_limits(words)
        .map_err(|wrong| misuse("ct-get-limits", ErrorKind::InvalidValue, &wrong))?;
    let (client, out) = desk.open()?;
    let limits = client.call(dump)?;
    out.answer(&limits, |out, CtLimits { default, zones }| {
        out.line(format_args!("default limit={default}"))?;
        zones.iter().try_for_each(|ZoneCount { zone, limit, count }| {
            out.line(format_args!("zone={zone},limit={limit},count={count}"))
        })
    })
}

fn get_timeouts(words: &[String], desk: &mut Desk) -> Result<()> {
    let dump = words::some_timeouts(words)
        .map_err(|wrong| misuse("ct-get-timeouts", ErrorKind::InvalidValue, &wrong))?;
    let (client, out) = desk.open()?;
    let policies = client.call(dump)?;
    out.answer(&policies, |out, CtPolicies { default, zones }| {
        out.line(format_args!("default{}", Words(default)))?;
        zones
            .iter()
            .try_for_each(|one| out.line(format_args!("zone={}{}", one.zone, Words(&one.timeouts))))
    })
}

fn get_tcp(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let tcp = client.call(CtTcpShow {})?;
    out.answer(&tcp, |out, CtTcp { seq_chk, .. }| {
        let checks = if *seq_chk { "enabled" } else { "disabled" };
        out.line(format_args!("TCP sequence checking: {checks}"))
    })
}

/// Timeouts, as `ct-set-timeouts` takes them.
struct Words<'a>(&'a CtTimeouts);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(timeouts) = self;
        timeouts
            .iter()
            .try_for_each(|(timeout, seconds)| write!(f, " {timeout}={}", u32::from(*seconds)))
    }
}
