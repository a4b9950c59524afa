//! Meters: `add-meter`, `del-meters`, `dump-meters` and their like.

use std::io;

use anyhow::Result;
use api::reply::{MeterStats, MetersFeatures};
use api::request::{MeterDump, MeterFeatures};
use api::{Meter, MeterId};
use clap::error::ErrorKind;

use crate::arguments::{Chosen, misuse, tell_apart, with_last};
use crate::cli::{MeterArgs, MeterCommand, OneBridgeArgs};
use crate::desk::Desk;
use crate::groups::duration;
use crate::output::Output;
use crate::problem::with_help;
use crate::transaction::Transaction;

pub(crate) fn run(command: MeterCommand, desk: &mut Desk) -> Result<()> {
    match command {
        MeterCommand::AddMeter(args) => change("add-meter", "add ", args, desk),
        MeterCommand::ModMeter(args) => change("mod-meter", "modify ", args, desk),
        MeterCommand::DelMeter(args) => remove(args, desk),
        MeterCommand::DelMeters(OneBridgeArgs { bridge }) => {
            Transaction::of(bridge, desk).change("meter delete", "", desk)
        }
        MeterCommand::DumpMeter(args) => {
            let (bridge, meter) = with_last("dump-meter", "METER", args.bridge, args.meter)?;
            let chosen = Chosen { bridge, other: Some(meter), help: None };
            pages("dump-meter", chosen, desk, print)
        }
        MeterCommand::DumpMeters(OneBridgeArgs { bridge }) => {
            pages("dump-meters", Chosen { bridge, ..Chosen::default() }, desk, print)
        }
        MeterCommand::MeterStats(args) => {
            let chosen = tell_apart(desk.open()?.0, args.bridge, args.meter)?;
            pages("meter-stats", chosen, desk, print_stats)
        }
        MeterCommand::MeterFeatures(_) => features(desk),
    }
}

fn change(command: &str, verb: &str, args: MeterArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, meter) = with_last(command, "METER", args.bridge, args.meter)?;
    Transaction::of(bridge, desk).change(&format!("meter {verb}"), &meter, desk)
}

fn remove(args: MeterArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, meter) = with_last("del-meter", "METER", args.bridge, args.meter)?;
    let before = if meter.contains('=') { "meter delete " } else { "meter delete meter=" };
    Transaction::of(bridge, desk).change(before, &meter, desk)
}

fn pages(
    command: &str,
    chosen: Chosen,
    desk: &mut Desk,
    words: fn(&mut Output, &MeterStats) -> io::Result<()>,
) -> Result<()> {
    let meter = match chosen.other.as_deref() {
        None | Some("all" | "meter=all") => None,
        Some(text) => {
            let meter = text.strip_prefix("meter=").unwrap_or(text).parse::<MeterId>();
            let wrong = format!("`{text}` is no meter: a number, controller, slowpath or meter=N");
            let misused = |_wrong| misuse(command, ErrorKind::InvalidValue, &wrong);
            Some(meter.map_err(misused).map_err(|error| with_help(error, chosen.help.clone()))?)
        }
    };
    let (client, out) = desk.open()?;
    let page = |after| {
        let dump = MeterDump { bridge: chosen.bridge.clone(), meter, after };
        let page = client.call(dump);
        let page = page.map_err(|error| with_help(error.into(), chosen.help.clone()))?;
        Ok((page.meters, page.next))
    };
    let mut is_first = true;
    out.pages("meters", page, |out, stats| {
        if !std::mem::take(&mut is_first) {
            out.end()?;
        }
        words(out, stats)
    })
}

/// `meter=1 pktps bands=` and a line for each band.
fn print(out: &mut Output, MeterStats { meter, .. }: &MeterStats) -> io::Result<()> {
    let text = meter.to_string();
    let (head, bands) = text.split_once("bands=").unwrap_or((&text, ""));
    out.line(format_args!("{head}bands="))?;
    let bands = bands.split("type=").filter(|band| !band.is_empty());
    bands.into_iter().try_for_each(|band| out.line(format_args!("type={}", band.trim_end())))
}

/// `meter:1 flow_count:2 packet_in_count:9 byte_in_count:540 duration:1.2s bands:` and a line for
/// each band.
fn print_stats(out: &mut Output, stats: &MeterStats) -> io::Result<()> {
    let MeterStats { meter: Meter { id, .. }, flows, packets, bytes, duration_ms, bands } = stats;
    out.put(format_args!("meter:{id} flow_count:{flows} packet_in_count:{packets} "))?;
    let duration = duration(*duration_ms);
    out.line(format_args!("byte_in_count:{bytes} duration:{duration} bands:"))?;
    for (at, band) in bands.iter().enumerate() {
        let (packets, bytes) = (band.packets, band.bytes);
        out.line(format_args!("{at}: packet_count:{packets} byte_count:{bytes}"))?;
    }
    Ok(())
}

fn features(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let features = client.call(MeterFeatures {})?;
    out.answer(&features, |out, features| {
        let MetersFeatures { max_meters, max_bands, band_types, capabilities } = features;
        out.line(format_args!("max_meter:{max_meters} max_bands:{max_bands} max_color:0"))?;
        out.line(format_args!("band_types: {}", band_types.join(" ")))?;
        out.line(format_args!("capabilities: {}", capabilities.join(" ")))
    })
}
