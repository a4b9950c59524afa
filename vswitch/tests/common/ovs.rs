//! OVS with its datapath for tests, beside ours.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::allow_attributes, reason = "which part is unused differs between tests")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How many ports it has.
pub(crate) const PORTS: u16 = 4;

/// One bridge, `br0`, with ports `p1` to `p4`. What leaves by them is in `p1.pcap` to `p4.pcap`.
pub(crate) struct Ovs {
    pub(crate) folder: PathBuf,
    processes: Vec<Child>,
}

impl Ovs {
    pub(crate) fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("megaflows-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut ovs = Self { folder, processes: Vec::new() };
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        ovs.run(&["ovsdb-tool", "create", "conf.db", schema]);
        ovs.spawn("ovsdb-server", &["conf.db", "--remote=punix:db.sock", "--unixctl=db.ctl"]);
        ovs.until("db.sock");
        let database = format!("unix:{}", ovs.folder.join("db.sock").display());
        ovs.run(&["ovs-vsctl", "--no-wait", "init"]);
        ovs.spawn(
            "ovs-vswitchd",
            &[&database, "--enable-dummy=override", "--disable-system", "--unixctl=vswitchd.ctl"],
        );
        ovs.until("vswitchd.ctl");
        ovs.run(&[
            "ovs-vsctl",
            "add-br",
            "br0",
            "--",
            "set",
            "bridge",
            "br0",
            "datapath_type=dummy",
            "fail-mode=secure",
        ]);
        for port in 1..=PORTS {
            let (name, request) = (format!("p{port}"), format!("ofport_request={port}"));
            let sent =
                format!("options:tx_pcap={}", ovs.folder.join(format!("p{port}.pcap")).display());
            let line = ["ovs-vsctl", "add-port", "br0", &name, "--", "set", "interface", &name];
            ovs.run(&[&line[..], &["type=dummy", &request, &sent]].concat());
        }
        // As the port of that number is here.
        ovs.run(&["ovs-ofctl", "mod-port", "br0", "p4", "no-flood"]);
        ovs
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
            command.env(name, &self.folder);
        }
        // In the folder, as the current directory is.
        command.env("OVS_DB_SOCK", "db.sock");
        command
    }

    fn spawn(&mut self, program: &str, arguments: &[&str]) {
        let log = std::fs::File::create(self.folder.join(format!("{program}.log"))).unwrap();
        let mut command = self.command(program);
        command.args(arguments).arg("-vconsole:warn").stdout(Stdio::null()).stderr(log);
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

    /// Runs one of its programs.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let mut command = self.command(words[0]);
        match words[0] {
            "ovs-vsctl" => command.arg("--db=unix:db.sock"),
            "ovs-appctl" => command.arg("--target").arg(self.folder.join("vswitchd.ctl")),
            _ => &mut command,
        };
        let output = command.args(&words[1..]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Has these flows and no others, and no megaflows.
    pub(crate) fn flows(&self, flows: &[String]) {
        std::fs::write(self.folder.join("flows"), flows.join("\n")).unwrap();
        self.run(&["ovs-ofctl", "del-flows", "br0"]);
        // OpenFlow 1.0 alone can say "set the tag, or push one", and cannot say much else.
        let old = flows.iter().any(|flow| flow.contains("mod_vlan"));
        let version = if old { "OpenFlow10" } else { "OpenFlow15" };
        self.run(&["ovs-ofctl", "-O", version, "add-flows", "br0", "flows"]);
        self.forget_megaflows();
    }

    pub(crate) fn forget_megaflows(&self) {
        self.run(&["ovs-appctl", "revalidator/purge"]);
    }

    /// Takes a packet in.
    pub(crate) fn receive(&self, port: u16, bytes: &[u8]) {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.run(&["ovs-appctl", "netdev-dummy/receive", &format!("p{port}"), &hex]);
    }

    /// How many megaflows there are.
    pub(crate) fn megaflows(&self) -> usize {
        let dump = self.run(&["ovs-appctl", "dpctl/dump-flows"]);
        dump.lines().filter(|line| line.contains("recirc_id")).count()
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
