//! Traces as they are printed, in files: `traces/NAME.txt` has changes of flows, groups and meters,
//! and behind a line `---` commands, each with what it prints. With `GOLDEN=write` the first test
//! writes them anew. Those that say so are held against Open vSwitch.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::Client;
use api::request::FlowChange;

use crate::ovs::Ovs;
use crate::switch::Switch;

/// How a command begins.
const COMMAND: &str = "ofctl ";

struct Case {
    file: PathBuf,
    head: String,
    /// Commands, each with what it prints.
    commands: Vec<(String, String)>,
}

impl Case {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.collect();
        files.sort();
        assert!(files.len() >= 5, "{files:?}");
        files.into_iter().map(Self::read).collect()
    }

    fn read(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap();
        let (head, rest) = text.split_once("---\n").unwrap();
        let mut commands: Vec<(String, String)> = Vec::new();
        for line in rest.lines() {
            match (line.strip_prefix(COMMAND), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_owned(), String::new())),
                (None, last) => {
                    let said = &mut last.unwrap().1;
                    said.push_str(line);
                    said.push('\n');
                }
            }
        }
        Self { file, head: head.to_owned(), commands }
    }

    fn changes(&self) -> Vec<String> {
        self.head.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn switch(&self) -> Switch {
        let switch = Switch::with_ports();
        let mut client = Client::connect(&switch.socket(), Duration::from_secs(20)).unwrap();
        client.call(FlowChange { bridge: None, flows: self.changes(), lenient: false }).unwrap();
        switch
    }

    fn write(&self) {
        let mut text = format!("{}---\n", self.head);
        for (command, said) in &self.commands {
            text.push_str(&format!("{COMMAND}{command}\n{said}"));
        }
        std::fs::write(&self.file, text).unwrap();
    }
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

#[test]
fn traces_read_as_the_files_say() {
    let writes = std::env::var_os("GOLDEN").is_some_and(|wish| wish == "write");
    for mut case in Case::all() {
        let switch = case.switch();
        for (command, expected) in &mut case.commands {
            let said = format!("{}\n", switch.ofctl(&words(command)).done());
            if writes {
                *expected = said;
            } else {
                assert_eq!(*expected, said, "{}: {command}", case.file.display());
            }
        }
        if writes {
            case.write();
        }
    }
}

/// The tree of a trace. What details say is everybody's own.
fn tree(trace: &str) -> Vec<&str> {
    let lines = trace.lines().skip(1).take_while(|line| !line.starts_with("Final flow"));
    let is_detail = |line: &&str| line.trim_start().starts_with(['-', '>']) && line.contains("> ");
    lines.filter(|line| !is_detail(line)).collect()
}

#[test]
#[ignore = "needs root and ovs-ofctl: run by cargo xtask test"]
fn traces_have_the_shape_of_ovs() {
    let ovs = Ovs::start();
    let mut compared = 0;
    for case in Case::all().iter().filter(|case| case.head.starts_with("# as Open vSwitch")) {
        ovs.run(&["ovs-ofctl", "-O", "OpenFlow15", "del-groups", "br0"]);
        ovs.run(&["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br0"]);
        std::fs::write(ovs.folder.join("bundle"), case.changes().join("\n")).unwrap();
        ovs.run(&["ovs-ofctl", "-O", "OpenFlow15", "bundle", "br0", "bundle"]);
        for (command, ours) in &case.commands {
            let flow = *words(command).last().unwrap();
            let theirs = ovs.run(&["ovs-appctl", "ofproto/trace", "--names", "br0", flow]);
            assert_eq!(tree(ours), tree(&theirs), "{}: {command}", case.file.display());
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
}
