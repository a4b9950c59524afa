//! Any text as a flow, a match, a list of actions, a group, a meter, a line of a bundle: nothing
//! panics, a refusal names a place in the text, and what is read is read again from what is printed,
//! in either dialect.

#![no_main]

use std::fmt::Display;

use api::text::{self, Reading, print_actions_in};
use api::{Change, Command, Dialect, FlowError, FlowFilter, GroupMod, Match, MeterMod, NoNames};
use libfuzzer_sys::fuzz_target;
use packet::{Key, compose, parse};

const COMMANDS: [Command; 5] =
    [Command::Add, Command::Modify, Command::ModifyStrict, Command::Delete, Command::DeleteStrict];

const DIALECTS: [Dialect; 2] = [Dialect::OpenFlow15, Dialect::OpenFlow10];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for command in COMMANDS {
        for reading in [Reading::new(&NoNames), Reading::new(&NoNames).lenient()] {
            if let Some(flow) = read(text, reading.flow(text, command)) {
                for dialect in DIALECTS {
                    let printed = flow.print_in(dialect, &NoNames).to_string();
                    is_read_again(&flow, printed.parse());
                }
            }
        }
    }
    if let Some(change) = read(text, text.parse::<Change>()) {
        for dialect in DIALECTS {
            is_read_again(&change, change.print_in(dialect, &NoNames).to_string().parse());
        }
    }
    if let Some(group) = read(text, text.parse::<GroupMod>()) {
        for dialect in DIALECTS {
            is_read_again(&group, group.print_in(dialect, &NoNames).to_string().parse());
        }
    }
    if let Some(meter) = read(text, text.parse::<MeterMod>()) {
        is_read_again(&meter, meter.to_string().parse());
    }
    if let Some(filter) = read(text, text.parse::<FlowFilter>()) {
        is_read_again(&filter, filter.to_string().parse());
    }
    if let Some(matching) = read(text, text.parse::<Match>()) {
        is_read_again(&matching, matching.to_string().parse());
    }
    let anything = Match::default();
    if let Some(actions) = read(text, text::actions(text, &anything, Some(0), &NoNames)) {
        for dialect in DIALECTS {
            let printed = print_actions_in(&actions, dialect, &NoNames).to_string();
            let again = text::actions(&printed, &anything, Some(0), &NoNames);
            assert_eq!(again.as_ref(), Ok(&actions), "by way of `{printed}`");
        }
    }
    for (number, _) in text::file(text, &NoNames) {
        assert!(number <= text.lines().count());
    }
    if let Some(key) = read(text, text::packet(text, &NoNames)) {
        exists(&key);
    }
});

/// What was read. A refusal must name a part of the text.
fn read<T>(text: &str, result: Result<T, FlowError>) -> Option<T> {
    result
        .map_err(|error| {
            assert!(text.get(error.at()).is_some(), "`{error}` at {:?}", error.at());
            assert!(!error.to_string().is_empty());
        })
        .ok()
}

fn is_read_again<T: Display + Eq + std::fmt::Debug>(value: &T, again: Result<T, FlowError>) {
    assert_eq!(again.as_ref(), Ok(value), "by way of `{value}`");
}

/// A packet that can be described is one that can be made, if it says which kind it is.
fn exists(key: &Key) {
    let ethertype = key.word(Key::ETH_TYPE);
    if ethertype != 0 {
        let composed = compose(key, 60);
        let mut found = Key::ZERO;
        assert!(parse(&composed, composed.len(), &mut found).is_ok(), "{key:?}");
        assert_eq!(found.word(Key::ETH_TYPE), ethertype, "{key:?} by way of {composed:02x?}");
    }
}
