//! What is made from the definitions: help, completions, manual pages. None of it needs a switch.

use clap::CommandFactory as _;

use crate::switch::{Said, ofctl};

fn run(arguments: &[&str]) -> String {
    Said::from(ofctl(arguments).output().unwrap()).done()
}

#[test]
fn every_shell_has_its_completions() {
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef ofctl"), ("fish", "complete -c")]
    {
        let script = run(&["completions", shell]);
        assert!(script.contains(sign) && script.contains("dump-flows"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page_with_examples() {
    let folder = std::env::temp_dir().join(format!("ofctl-man-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    run(&["man", folder.to_str().unwrap()]);
    for command in ofctl::cli::Cli::command().get_subcommands() {
        let name = command.get_name();
        let page = folder.join(format!("ofctl-{name}.1"));
        if command.is_hide_set() {
            assert!(!page.exists(), "{name}");
            continue;
        }
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("Examples:\n  ofctl"), "{name}");
    }
    assert!(folder.join("ofctl-fdb-show.1").exists());
    let whole = std::fs::read_to_string(folder.join("ofctl.1")).unwrap();
    assert!(whole.contains("VSWITCH_SOCKET") && whole.contains("Exit status"));
    std::fs::remove_dir_all(folder).unwrap();
    let said = Said::from(ofctl(&["man", "/nowhere"]).output().unwrap()).refused();
    assert!(said.contains("manual pages cannot be written to /nowhere"), "{said}");
}

#[test]
fn every_command_shows_an_example_in_its_help() {
    for command in ofctl::cli::Cli::command().get_subcommands() {
        if command.is_hide_set() {
            continue;
        }
        let help = run(&[command.get_name(), "--help"]);
        let example = format!("\n  ofctl {}", command.get_name());
        assert!(help.contains("Examples:\n") && help.contains(&example), "{help}");
        let wide = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{}", command.get_name());
    }
}
