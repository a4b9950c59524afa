//! How a port is used: `mod-port`.

use anyhow::Result;
use api::PortFlagChanges;
use api::request::PortMod;
use clap::error::ErrorKind;

use crate::arguments::{misuse, port_ref};
use crate::cli::{ModPortArgs, WORDS};
use crate::desk::Desk;
use crate::hints::meant;
use crate::problem::unsure;

pub(crate) fn run(args: &ModPortArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, port, words) = split(&args.words);
    let flags = read(words).map_err(|wrong| misuse("mod-port", ErrorKind::InvalidValue, &wrong))?;
    let (client, out) = desk.open()?;
    let change = PortMod { bridge: bridge.map(str::to_owned), port: port_ref(port), flags };
    let done = client.call(change).map_err(unsure)?;
    out.answer(&done, |_, _| Ok(()))
}

/// Bridge, port and the words for how it is used: the second word is the port unless it is one of
/// those.
fn split(words: &[String]) -> (Option<&str>, &str, &[String]) {
    match words {
        [port, second, ..] if is_word(second) => (None, port, &words[1..]),
        [bridge, port, rest @ ..] if !rest.is_empty() => (Some(bridge), port, rest),
        [port, rest @ ..] => (None, port, rest),
        [] => (None, "", words),
    }
}

fn is_word(text: &str) -> bool {
    WORDS.iter().any(|(word, ..)| *word == text)
}

fn read(words: &[String]) -> Result<PortFlagChanges, String> {
    let mut flags = PortFlagChanges::default();
    for text in words {
        let Some((_, flag, value)) = WORDS.iter().find(|(word, ..)| word == text) else {
            let all = WORDS.map(|(word, ..)| word);
            let meant = meant(Some(text), &all);
            return Err(format!(
                "`{text}` is no use of a port: {meant}there is {}",
                all.join(", ")
            ));
        };
        if flag(&mut flags).replace(*value).is_some_and(|before| before != *value) {
            return Err(format!("`{text}` contradicts a word before it"));
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_bridge_may_be_left_out() {
        for (text, bridge, port, rest) in [
            ("eth1 down", None, "eth1", 1),
            ("br0 eth1 down", Some("br0"), "eth1", 1),
            ("eth1 up no-flood", None, "eth1", 2),
            ("br0 2 up no-flood", Some("br0"), "2", 2),
        ] {
            let words = words(text);
            let (b, p, r) = split(&words);
            assert_eq!((b, p, r.len()), (bridge, port, rest), "{text}");
        }
    }

    #[test]
    fn words_are_read_and_wrong_ones_named() {
        let flags = read(&words("up no-flood no-receive")).unwrap();
        let expected = PortFlagChanges {
            down: Some(false),
            no_flood: Some(true),
            no_receive: Some(true),
            ..PortFlagChanges::default()
        };
        assert_eq!(flags, expected);
        let wrong = read(&words("no-floood")).unwrap_err();
        assert!(
            wrong.starts_with("`no-floood` is no use of a port: did you mean `no-flood`? "),
            "{wrong}"
        );
        assert_eq!(read(&words("up down")).unwrap_err(), "`down` contradicts a word before it");
    }
}
