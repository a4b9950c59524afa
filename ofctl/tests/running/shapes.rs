//! What is printed, beside what a real Open vSwitch prints of the same.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::switch::Switch;

/// A running OVS with a bridge `br0` of ports `p1` to `p3`.
struct Ovs {
    folder: PathBuf,
    processes: Vec<Child>,
}

impl Ovs {
    /// None if it is not installed here.
    fn start() -> Option<Self> {
        Command::new("ovs-vswitchd").arg("--version").output().ok()?;
        let folder = std::env::temp_dir().join(format!("ofctl-shapes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut ovs = Self { folder, processes: Vec::new() };
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        ovs.run("ovsdb-tool", &["create", "conf.db", schema]);
        ovs.spawn("ovsdb-server", &["conf.db", "--remote=punix:db.sock", "--unixctl=db.ctl"]);
        ovs.until("db.sock");
        let database = format!("unix:{}", ovs.folder.join("db.sock").display());
        ovs.run("ovs-vsctl", &["--db=unix:db.sock", "--no-wait", "init"]);
        ovs.spawn(
            "ovs-vswitchd",
            &[&database, "--enable-dummy=override", "--disable-system", "--unixctl=vs.ctl"],
        );
        ovs.until("vs.ctl");
        let add = "--db=unix:db.sock add-br br0 -- set bridge br0 datapath_type=dummy \
                   fail-mode=secure protocols=OpenFlow10,OpenFlow11,OpenFlow15";
        ovs.run("ovs-vsctl", &add.split_whitespace().collect::<Vec<_>>());
        for port in 1..=3 {
            let add = format!(
                "--db=unix:db.sock add-port br0 p{port} -- set interface p{port} type=dummy \
                 ofport_request={port}"
            );
            ovs.run("ovs-vsctl", &add.split_whitespace().collect::<Vec<_>>());
        }
        Some(ovs)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).args(arguments).stdin(Stdio::null());
        for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(name, &self.folder);
        }
        command
    }

    fn spawn(&mut self, program: &str, arguments: &[&str]) {
        let mut command = self.command(program, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.processes.push(command.spawn().unwrap());
    }

    fn until(&self, name: &str) {
        for _ in 0..500 {
            if self.folder.join(name).exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no {name}");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn ofctl(&self, arguments: &[&str]) -> String {
        self.run("ovs-ofctl", &[&["-O", "OpenFlow15"][..], arguments].concat())
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Lines without the heading and without times, sorted: OVS has groups in no order.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("OFPST"))
        .map(|line| match line.split_once("duration") {
            Some((before, behind)) => {
                let rest = behind
                    .trim_start_matches([':', '='])
                    .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
                format!("{before}duration{rest}")
            }
            None => line.to_owned(),
        })
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn dumps_have_the_shape_of_ovs() {
    let Some(ovs) = Ovs::start() else { return };
    let switch = Switch::with_ports();
    for change in [
        [
            "add-group",
            "group_id=5,type=select,selection_method=hash,fields(ip_src,ip_dst),bucket=weight=20,output:2,bucket=watch_port:3,output:3",
        ],
        [
            "add-group",
            "group_id=1,type=ff,bucket=watch_port:2,output:2,bucket=watch_port=3,output:3",
        ],
        ["add-group", "group_id=0,type=all"],
        ["insert-buckets", "group_id=0,command_bucket_id=last,bucket=bucket_id:4,output:1"],
        ["insert-buckets", "group_id=0,command_bucket_id=first,bucket=bucket_id:9,output:2"],
        ["remove-buckets", "group_id=5,command_bucket_id=1"],
        ["add-meter", "meter=1,pktps,burst,stats,bands=type=drop,rate=100,burst_size=10"],
        ["add-meter", "meter=7,kbps,bands=type=drop,rate=100,type=drop,rate=200"],
        [
            "add-flow",
            "table=1,priority=5,ip,cookie=5,idle_timeout=9,importance=3,actions=meter:1,group:5",
        ],
        ["add-flow", "in_port=1,actions=clone(group:5)"],
        ["add-flow", "in_port=2,actions=write_actions(group:5)"],
    ] {
        let [command, what] = change;
        ovs.ofctl(&[command, "br0", what]);
        switch.ofctl(&[command, "br0", what]).done();
    }
    for dump in ["dump-groups", "dump-group-stats", "dump-meters", "meter-stats", "dump-flows"] {
        let ours = switch.ofctl(&[dump, "br0"]).done();
        assert_eq!(lines(&ours), lines(&ovs.ofctl(&[dump, "br0"])), "{dump}");
    }
    // Blank lines between meters included.
    let theirs = ovs.ofctl(&["dump-meters", "br0"]);
    let ours = switch.ofctl(&["dump-meters", "br0"]).done();
    assert_eq!(ours, theirs.split_once('\n').unwrap().1);
    // Limits and capabilities are each one's own.
    for features in ["dump-group-features", "meter-features"] {
        let words = |text: &str| -> Vec<String> {
            let words = text.split([' ', '\n', ':', '=']).filter(|word| !word.is_empty());
            words
                .filter(|word| word.ends_with("group") || word.starts_with("max"))
                .map(str::to_owned)
                .collect()
        };
        let ours = switch.ofctl(&[features, "br0"]).done();
        assert_eq!(words(&ours), words(&ovs.ofctl(&[features, "br0"])), "{features}");
    }
}
