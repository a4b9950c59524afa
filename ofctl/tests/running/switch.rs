//! The real `vswitchd`, and the real `ofctl` that talks to it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::request::DummyReceive;
use api::{Client, HexBytes};

/// A running switch; it ends with its value.
pub(crate) struct Switch {
    process: Child,
    /// A folder of the test's own, in which `ofctl` runs.
    pub(crate) folder: PathBuf,
}

impl Switch {
    /// A switch without a bridge.
    pub(crate) fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ofctl-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let config = "socket = 's.sock'\nstate = ''\n[limits]\nframes = 1024\n";
        std::fs::write(folder.join("config.toml"), config).unwrap();
        let mut command = Command::new(vswitchd());
        command.current_dir(&folder).args(["--config", "config.toml", "--log", "error"]);
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        let switch = Self { process, folder };
        for _ in 0..1000 {
            if Client::connect(&switch.socket(), Duration::from_secs(1)).is_ok() {
                return switch;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("vswitchd does not answer");
    }

    /// A switch with a bridge `br0` of dummy ports `p1` to `p3`.
    pub(crate) fn with_ports() -> Self {
        let switch = Self::start();
        switch.ofctl(&["add-br", "br0"]).done();
        for port in ["p1", "p2", "p3"] {
            switch.ofctl(&["add-port", "br0", port, "--type", "dummy"]).done();
        }
        switch
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("s.sock")
    }

    /// What `ofctl` says.
    pub(crate) fn ofctl(&self, arguments: &[&str]) -> Said {
        self.ofctl_reading(arguments, "")
    }

    /// The same with something on its standard input.
    pub(crate) fn ofctl_reading(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        // It need not read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Said::from(child.wait_with_output().unwrap())
    }

    /// `ofctl` about to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ofctl(arguments);
        command.current_dir(&self.folder).env("VSWITCH_SOCKET", self.socket());
        command
    }

    /// Lets packets come in by a port and waits until they have been carried to wherever they go: a
    /// port counts them before that, and a worker behind it.
    pub(crate) fn receive(&self, port: &str, packets: &[Vec<u8>]) {
        let received = || -> u64 {
            let stats = self.ofctl(&["worker-stats", "--format", "json"]).json();
            let workers = stats["workers"].as_array().unwrap();
            workers.iter().map(|worker| worker["rx_packets"].as_u64().unwrap()).sum()
        };
        let all = received() + packets.len() as u64;
        let packets = packets.iter().cloned().map(HexBytes).collect();
        let mut client = Client::connect(&self.socket(), Duration::from_secs(20)).unwrap();
        client.call(DummyReceive { bridge: None, port: port.to_owned(), packets }).unwrap();
        testnet::eventually("packets have come in", || received() == all);
    }

    /// The flows of `br0` as they would be added again.
    pub(crate) fn flows(&self) -> String {
        self.ofctl(&["dump-flows", "br0", "--no-stats"]).done()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// `ofctl` as nobody's environment changes it.
pub(crate) fn ofctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ofctl"));
    command.args(arguments).env_remove("VSWITCH_SOCKET").env_remove("CLICOLOR_FORCE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Its answer: it did what it was told and had nothing to complain of.
    pub(crate) fn done(self) -> String {
        assert_eq!((self.code, &*self.err), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// Its answer as the one document that it is.
    pub(crate) fn json(self) -> serde_json::Value {
        let out = self.done();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Why it failed.
    pub(crate) fn refused(self) -> String {
        assert_eq!((self.code, &*self.out), (Some(1), ""), "{}", self.err);
        self.err
    }

    /// Why its command line was wrong.
    pub(crate) fn misused(self) -> String {
        assert_eq!((self.code, &*self.out), (Some(2), ""), "{}", self.err);
        self.err
    }
}

/// The switch, which is built beside the test: by whoever tests the workspace, or else here.
fn vswitchd() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let program = profile.join("vswitchd");
        if !program.exists() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--package", "vswitch", "--bin", "vswitchd"]);
            build.arg("--target-dir").arg(profile.parent().unwrap());
            if profile.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success(), "vswitchd cannot be built");
        }
        program
    })
}

/// A packet of UDP from 10.0.0.1 to this address.
pub(crate) fn udp(to: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    packet.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1]);
    packet.extend(to);
    packet.extend([0x30, 0x39, 0, 53, 0, 26, 0, 0]);
    packet.resize(60, 0);
    packet
}
