//! Egress queues: `set-queue`, `del-queue`, `queue-stats`, `queue-get-config`.

use std::io;

use anyhow::Result;
use api::QueueSettings;
use api::reply::{EgressQueue, EgressQueues};
use api::request::{QueueDel, QueueDump, QueueSet};
use clap::error::ErrorKind;

use crate::arguments::{bridges, misuse, port_ref};
use crate::cli::{DelQueueArgs, QueueDumpArgs, SetQueueArgs};
use crate::desk::Desk;
use crate::hints::meant;
use crate::output::Output;
use crate::problem::unsure;

pub(crate) fn set(args: SetQueueArgs, desk: &mut Desk) -> Result<()> {
    let wrong = |what: &str| misuse("set-queue", ErrorKind::ValueValidation, what);
    let settings_from = args.words.iter().position(|word| word.contains('='));
    let mut words = args.words;
    let written = words.split_off(settings_from.unwrap_or(words.len()));
    let (bridge, port, queue) = match <[String; 3]>::try_from(words) {
        Ok([bridge, port, queue]) => (Some(bridge), port, queue),
        Err(words) => match <[String; 2]>::try_from(words) {
            Ok([port, queue]) => (None, port, queue),
            Err(_) => return Err(wrong("a port and the number of a queue are needed")),
        },
    };
    let queue = number(&queue).map_err(|what| wrong(&what))?;
    let settings = settings(&written).map_err(|what| wrong(&what))?;
    let (client, out) = desk.open()?;
    let set = QueueSet { bridge, port: port_ref(&port), queue, settings };
    let done = client.call(set).map_err(unsure)?;
    out.answer(&done, |_, _| Ok(()))
}

pub(crate) fn remove(args: DelQueueArgs, desk: &mut Desk) -> Result<()> {
    let wrong = |what: &str| misuse("del-queue", ErrorKind::ValueValidation, what);
    let (client, out) = desk.open()?;
    let Chosen { bridge, port, queue } = choose(client, args.words).map_err(|what| match what {
        Wrong::Words(what) => wrong(&what),
        Wrong::Call(error) => error.into(),
    })?;
    let port = port.ok_or_else(|| wrong("the port is missing"))?;
    let done = client.call(QueueDel { bridge, port: port_ref(&port), queue }).map_err(unsure)?;
    out.answer(&done, |_, _| Ok(()))
}

pub(crate) fn stats(args: QueueDumpArgs, desk: &mut Desk) -> Result<()> {
    dump("queue-stats", args, desk, print_stats)
}

pub(crate) fn config(args: QueueDumpArgs, desk: &mut Desk) -> Result<()> {
    dump("queue-get-config", args, desk, print_config)
}

fn dump(
    command: &str,
    args: QueueDumpArgs,
    desk: &mut Desk,
    print: fn(&mut Output, &[EgressQueue]) -> io::Result<()>,
) -> Result<()> {
    let (client, out) = desk.open()?;
    let Chosen { bridge, port, queue } = choose(client, args.words).map_err(|what| match what {
        Wrong::Words(what) => misuse(command, ErrorKind::ValueValidation, &what),
        Wrong::Call(error) => error.into(),
    })?;
    let port = port.as_deref().map(port_ref);
    let queues = client.call(QueueDump { bridge, port, queue })?;
    out.answer(&queues, |out, EgressQueues { queues }| match &**queues {
        // It is no row, and must not be taken for one.
        [] if out.is_terminal() => out.line("No port has queues."),
        queues => print(out, queues),
    })
}

/// Which queues are meant; all of them as far as nothing is named.
#[derive(Debug, Default, Eq, PartialEq)]
struct Chosen {
    bridge: Option<String>,
    port: Option<String>,
    queue: Option<u16>,
}

enum Wrong {
    Words(String),
    Call(api::ClientError),
}

/// What words mean of which the first may be a bridge.
fn choose(client: &mut api::Client, words: Vec<String>) -> Result<Chosen, Wrong> {
    let there = match words.len() {
        0 | 3 => Vec::new(),
        _ => bridges(client).map_err(Wrong::Call)?,
    };
    let names: Vec<_> = there.iter().map(|bridge| bridge.name.as_str()).collect();
    meaning(words, &names).map_err(Wrong::Words)
}

fn meaning(words: Vec<String>, bridges: &[&str]) -> Result<Chosen, String> {
    let count = words.len();
    let mut words = words.into_iter().peekable();
    let bridge = words.next_if(|word| count == 3 || bridges.contains(&word.as_str()));
    // `ovs-ofctl` has words for all of them.
    let all = |word: &String| !["ALL", "ANY"].contains(&word.as_str());
    let port = words.next().filter(all);
    let queue = words.next().filter(all).map(|word| number(&word)).transpose()?;
    match words.next() {
        None => Ok(Chosen { bridge, port, queue }),
        Some(word) => Err(format!("`{word}` is one word too many")),
    }
}

fn number(word: &str) -> Result<u16, String> {
    word.parse().map_err(|_wrong| format!("`{word}` is no number of a queue, 0 to 65535"))
}

/// Reads settings such as `max-rate=100M`.
fn settings(words: &[String]) -> Result<QueueSettings, String> {
    let mut settings = QueueSettings::default();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` sets nothing"))?;
        let count = scaled(value).ok_or_else(|| format!("`{word}`: `{value}` is no number"))?;
        let many = || format!("`{word}` is too much");
        let small = || u32::try_from(count).map_err(|_wrong| many());
        match name {
            "max-rate" => settings.max_rate = Some(count),
            "min-rate" => settings.min_rate = Some(count),
            "burst" => settings.burst = Some(count),
            "weight" => settings.weight = u16::try_from(count).map_err(|_wrong| many())?,
            "depth" => settings.depth = small()?,
            "depth-bytes" => settings.depth_bytes = small()?,
            _ => {
                let names = ["max-rate", "min-rate", "burst", "weight", "depth", "depth-bytes"];
                let (meant, all) = (meant(Some(name), &names), names.join(", "));
                return Err(format!("`{name}` is nothing that a queue has: {meant}it has {all}"));
            }
        }
    }
    settings.check()?;
    Ok(settings)
}

const UNITS: [(char, u64); 4] =
    [('T', 1_000_000_000_000), ('G', 1_000_000_000), ('M', 1_000_000), ('k', 1_000)];

/// A number that may end with `k`, `M`, `G` or `T`.
fn scaled(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find(|(letter, _)| text.ends_with(*letter));
    let (digits, unit) = unit.map_or((text, 1), |(letter, unit)| {
        (text.strip_suffix(*letter).unwrap_or_default(), *unit)
    });
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// A number as [`scaled`] reads it.
fn short(count: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| count >= *unit && count.is_multiple_of(*unit));
    unit.map_or_else(|| count.to_string(), |(letter, unit)| format!("{}{letter}", count / unit))
}

fn print_stats(out: &mut Output, queues: &[EgressQueue]) -> io::Result<()> {
    for queue in queues {
        let EgressQueue { number, queue: id, bytes, packets, drops, .. } = queue;
        let age = match (queue.duration_ms / 1000, queue.duration_ms % 1000) {
            (seconds, 0) => seconds.to_string(),
            (seconds, ms) => format!("{seconds}.{ms:03}"),
        };
        let (waiting, waiting_bytes) = (queue.waiting, queue.waiting_bytes);
        out.line(format_args!(
            "  port {number} queue {id}: bytes={bytes}, pkts={packets}, errors={drops}, \
             duration={age}s, waiting={waiting}, waiting_bytes={waiting_bytes}"
        ))?;
    }
    Ok(())
}

fn print_config(out: &mut Output, queues: &[EgressQueue]) -> io::Result<()> {
    let mut last = None;
    for queue in queues {
        if last.replace((&queue.bridge, queue.number)) != Some((&queue.bridge, queue.number)) {
            out.line(format_args!("port={}", queue.number))?;
        }
        out.line(format_args!("queue {}:{}", queue.queue, words(&queue.settings)))?;
    }
    Ok(())
}

/// Settings as [`settings`] reads them, with a blank before each.
pub(crate) fn words(settings: &QueueSettings) -> String {
    let QueueSettings { max_rate, min_rate, burst, weight, depth, depth_bytes } = *settings;
    let given = [("min-rate", min_rate), ("max-rate", max_rate), ("burst", burst)];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let always = [("weight", weight.into()), ("depth", depth.into())];
    let all = given.chain(always).chain([("depth-bytes", depth_bytes.into())]);
    all.map(|(name, value)| format!(" {name}={}", short(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let text = " min-rate=20M max-rate=1G burst=30000 weight=4 depth=64 depth-bytes=100k";
        assert_eq!(words(&settings(&split(text)).unwrap()), text.replace("30000", "30k"));
        assert_eq!(settings(&[]), Ok(QueueSettings::default()));
    }

    #[test]
    fn a_setting_that_is_wrong_is_named() {
        let error = |text: &str| settings(&split(text)).unwrap_err();
        assert_eq!(error("max-rate=10m"), "`max-rate=10m`: `10m` is no number");
        assert_eq!(
            error("maxrate=10M"),
            "`maxrate` is nothing that a queue has: did you mean `max-rate`? it has max-rate, \
             min-rate, burst, weight, depth, depth-bytes",
        );
        assert_eq!(error("weight=70k"), "`weight=70k` is too much");
        assert_eq!(error("max-rate=1"), "max_rate: 1 is not 1000 to 1000000000000");
        assert_eq!(
            error("max-rate=99999999999G"),
            "`max-rate=99999999999G`: `99999999999G` is no number"
        );
    }

    #[test]
    fn the_first_word_is_the_bridge_of_that_name() {
        let chosen = |bridge: Option<&str>, port: Option<&str>, queue| Chosen {
            bridge: bridge.map(str::to_owned),
            port: port.map(str::to_owned),
            queue,
        };
        let meant = |text: &str| meaning(split(text), &["br0"]);
        assert_eq!(meant(""), Ok(chosen(None, None, None)));
        assert_eq!(meant("br0"), Ok(chosen(Some("br0"), None, None)));
        assert_eq!(meant("p1"), Ok(chosen(None, Some("p1"), None)));
        assert_eq!(meant("br0 p1"), Ok(chosen(Some("br0"), Some("p1"), None)));
        assert_eq!(meant("p1 7"), Ok(chosen(None, Some("p1"), Some(7))));
        assert_eq!(meant("brX p1 7"), Ok(chosen(Some("brX"), Some("p1"), Some(7))));
        assert_eq!(meant("br0 ANY ALL"), Ok(chosen(Some("br0"), None, None)));
        assert!(meant("p1 seven").unwrap_err().contains("`seven` is no number of a queue"));
    }
}
