//! The page of commands is what `ofctl` says of itself. `REFERENCE=write` writes it anew.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What `ofctl` prints.
fn said(words: &[&str]) -> String {
    let mut ofctl = Command::new(env!("CARGO_BIN_EXE_ofctl"));
    let output = ofctl.args(words).env("NO_COLOR", "1").env("COLUMNS", "100").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !matches!(*name, "" | "help")).collect()
}

/// A command's help without what all commands have, which stands above.
fn own(help: &str) -> String {
    const COMMON: &str = "Options for all commands:";
    let mut parts: Vec<&str> = Vec::new();
    // The options of all commands go on, paragraph by paragraph, as long as they are further in.
    for part in help.split("\n\n") {
        if !(part.starts_with(' ') && parts.last().is_some_and(|part| part.starts_with(COMMON))) {
            parts.push(part);
        }
    }
    parts.retain(|part| {
        let option = part.strip_prefix("Options:\n").unwrap_or(part);
        !option.starts_with(COMMON) && !option.starts_with("  -h, --help\n")
    });
    parts.join("\n\n")
}

fn page(beginning: &str) -> String {
    let all = said(&["help"]);
    let mut page = format!("{beginning}```text\n{all}\n```\n");
    for command in commands(&all) {
        let help = said(&[command, "--help"]);
        write!(page, "\n## {command}\n\n```text\n{}\n```\n", own(&help)).unwrap();
        for inner in commands(&help) {
            let help = said(&[command, inner, "--help"]);
            write!(page, "\n```text\n{}\n```\n", own(&help)).unwrap();
        }
    }
    page
}

#[test]
fn the_page_of_commands_is_what_ofctl_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/ofctl.md");
    let kept = fs::read_to_string(&path).unwrap();
    let beginning = &kept[..kept.find("```text").unwrap()];
    let page = page(beginning);
    if std::env::var_os("REFERENCE").is_some_and(|wish| wish == "write") {
        fs::write(&path, &page).unwrap();
    }
    let differs = kept.lines().zip(page.lines()).find(|(kept, page)| kept != page);
    assert_eq!(differs, None, "again: REFERENCE=write cargo test -p ofctl --test reference");
    assert_eq!(kept.lines().count(), page.lines().count());
}
