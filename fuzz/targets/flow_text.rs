//! Any text as a flow, a match, a list of actions: nothing panics, a refusal names a place in the text,
//! and what is read is read again from what is printed.

#![no_main]

use std::fmt::Display;

use api::text::{self, print_actions};
use api::{Command, FlowError, FlowFilter, FlowMod, Match, NoNames};
use libfuzzer_sys::fuzz_target;
use packet::{Key, compose, parse};

const COMMANDS: [Command; 5] =
    [Command::Add, Command::Modify, Command::ModifyStrict, Command::Delete, Command::DeleteStrict];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(flow) = read(text, text.parse::<FlowMod>()) {
        is_read_again(&flow, flow.to_string().parse());
    }
    for command in COMMANDS {
        if let Some(flow) = read(text, text::flow(text, command, &NoNames)) {
            is_read_again(&flow, flow.to_string().parse());
        }
    }
    if let Some(filter) = read(text, text.parse::<FlowFilter>()) {
        is_read_again(&filter, filter.to_string().parse());
    }
    if let Some(matching) = read(text, text.parse::<Match>()) {
        is_read_again(&matching, matching.to_string().parse());
    }
    let anything = Match::default();
    if let Some(actions) = read(text, text::actions(text, &anything, Some(0), &NoNames)) {
        let printed = print_actions(&actions, &NoNames).to_string();
        let again = text::actions(&printed, &anything, Some(0), &NoNames);
        assert_eq!(again.as_ref(), Ok(&actions), "by way of `{printed}`");
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
