//! The peer: Open vSwitch with its userspace datapath, in a folder and a namespace of its own.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::clock;
use crate::harness::process::{Folder, Line, Process, await_for};
use crate::harness::usage::CpuTime;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const WITH_DPDK: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const WITHOUT_DPDK: &str = "/usr/lib/openvswitch-switch/ovs-vswitchd";
/// Memory in huge pages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HugeMemory {
    /// MiB that DPDK is given.
    pub dpdk_mib: u32,
    /// MiB that are left for ours: both sides' packets are to lie in huge pages.
    pub ours_mib: u32,
}

impl HugeMemory {
    /// Enough for ten thousand packets.
    pub const SMALL: Self = Self { dpdk_mib: 512, ours_mib: 128 };
    /// Enough for a million.
    pub const LARGE: Self = Self { dpdk_mib: 5120, ours_mib: 2304 };
}

/// A running OVS with the bridge `br0`. Fields are dropped from top to bottom: the switch first.
#[derive(Debug)]
pub struct Ovs {
    switch: Process,
    _database: Process,
    huge_pages: Option<HugePages>,
    folder: Folder,
    namespace: String,
    /// Whether nobody looks after its cache.
    settled: Cell<bool>,
}

impl Ovs {
    /// Starts it in a namespace, its one polling thread on `cpu`; with DPDK if there is memory for
    /// it.
    pub fn start(namespace: &str, cpu: usize, memory: Option<HugeMemory>) -> Result<Self> {
        let dpdk = memory.is_some();
        let folder = Folder::new(if dpdk { "dpdk" } else { "ovs" })?;
        let path = folder.path().to_owned();
        let line = |program: &str| environment(Line::new(program), &path);
        line("ovsdb-tool").words("create").arg(path.join("conf.db")).arg(SCHEMA).run()?;
        let socket = path.join("db.sock");
        let database = line("ovsdb-server")
            .arg(path.join("conf.db"))
            .arg(format!("--remote=punix:{}", socket.display()))
            .arg(format!("--unixctl={}", path.join("db.ctl").display()))
            .start(&path.join("database"))?;
        await_for("the database's socket", 10, || Ok(socket.exists().then_some(())))?;
        let huge_pages = memory.map(|memory| HugePages::mount(&path, memory)).transpose()?;
        let address = format!("unix:{}", socket.display());
        let mut set = line("ovs-vsctl")
            .arg(format!("--db={address}"))
            .words("--no-wait init -- set Open_vSwitch . other_config:max-idle=3600000")
            .words("other_config:flow-limit=2000000")
            .arg(format!("other_config:pmd-cpu-mask={:#x}", 1u64 << cpu));
        if let Some(pages) = &huge_pages {
            set = set
                .words("other_config:dpdk-init=true other_config:dpdk-lcore-mask=0x1")
                .arg(format!("other_config:dpdk-socket-mem={}", pages.dpdk_mib))
                .arg(format!("other_config:dpdk-extra=\"{}\"", pages.options()));
        }
        set.run()?;
        let control = path.join("switch.ctl");
        let program = if dpdk { WITH_DPDK } else { WITHOUT_DPDK };
        let switch = line(program)
            .arg(&address)
            .arg(format!("--unixctl={}", control.display()))
            .within(namespace)
            .behind("taskset -c 0")
            .start(&path.join("switch"))?;
        let mut this = Self {
            switch,
            _database: database,
            huge_pages,
            folder,
            namespace: namespace.to_owned(),
            settled: Cell::new(false),
        };
        await_for("OVS answers", 30, || {
            this.switch.check()?;
            Ok(this.ask("version", &[]).ok())
        })?;
        this.vsctl("add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=secure")?;
        Ok(this)
    }

    /// Changes the configuration, and waits until it is in force.
    pub fn vsctl(&self, words: &str) -> Result<()> {
        let database = format!("--db=unix:{}", self.folder.path().join("db.sock").display());
        let line = Line::new("ovs-vsctl").words("-t 20").arg(database).words(words);
        self.line(line).run().map(drop)
    }

    /// Replaces all flows.
    pub fn flows(&self, flows: &[String]) -> Result<()> {
        let file = self.folder.path().join("flows");
        fs::write(&file, flows.join("\n") + "\n")?;
        self.del_flows()?;
        self.add_flows(&file)
    }

    /// Removes all flows.
    pub fn del_flows(&self) -> Result<()> {
        self.line(Line::new("ovs-ofctl").words("del-flows br0")).run().map(drop)
    }

    /// Adds the flows of a file, all or none.
    pub fn add_flows(&self, file: &Path) -> Result<()> {
        let line = Line::new("ovs-ofctl").words("--bundle add-flows br0").arg(file);
        self.line(line).run().map(drop)
    }

    /// Lets its cache have as many flows as it takes, and leaves them alone; or looks after them
    /// again.
    ///
    /// Otherwise the limit begins at 10 000 and follows how long it takes to look after them, on the
    /// processor that everything else has.
    pub fn settle_cache(&self, settled: bool) -> Result<()> {
        // It never answers if it is asked to resume what goes on.
        if self.settled.replace(settled) == settled {
            return Ok(());
        }
        if settled {
            self.ask("upcall/set-flow-limit", &["2000000"])?;
        }
        let method = if settled { "revalidator/pause" } else { "revalidator/resume" };
        self.ask(method, &[]).map(drop)
    }

    /// Forgets what it has cached.
    pub fn purge(&self) -> Result<()> {
        self.ask("revalidator/purge", &[]).map(drop)
    }

    /// Thousands of ticks a second of the processor's clock, as DPDK found out.
    pub fn tsc_khz(&self) -> Result<u64> {
        let log = fs::read_to_string(self.folder.path().join("switch.err"))?;
        number_behind(&log, "TSC frequency:").context("OVS does not say how fast the clock is")
    }

    /// Adds a port of this kind, with further settings of its interface.
    pub fn add_port(&self, name: &str, number: u16, settings: &str) -> Result<()> {
        self.vsctl(&format!(
            "add-port br0 {name} -- set Interface {name} ofport_request={number} {settings}"
        ))?;
        let numbered = self.line(Line::new("ovs-ofctl").words("dump-ports-desc br0")).run()?;
        if !numbered.contains(&format!(" {number}({name})")) {
            let log = fs::read_to_string(self.folder.path().join("switch.err"))?;
            let is_told = |line: &&str| line.contains("|WARN|") || line.contains("|ERR|");
            let said: Vec<_> = log.lines().filter(is_told).collect();
            let last = said[said.len().saturating_sub(8)..].join("; ");
            bail!("OVS did not open {name}, and says last: {last}");
        }
        Ok(())
    }

    /// Removes a port.
    pub fn del_port(&self, name: &str) -> Result<()> {
        self.vsctl(&format!("--if-exists del-port br0 {name}"))
    }

    /// Flows that the datapath has cached.
    pub fn cached(&self) -> Result<u64> {
        let text = self.ask("dpctl/show", &[])?;
        number_behind(&text, "flows:").with_context(|| format!("no flows in {text}"))
    }

    /// Packets that have come in by some ports and gone out by another, by their numbers.
    pub fn passed(&self, inside: &[u16], outside: u16) -> Result<(u64, u64)> {
        let text = self.line(Line::new("ovs-ofctl").words("dump-ports br0")).run()?;
        let count = |port: u16, way: &str| {
            let (_, behind) = text.split_once(&format!("port  {port}: "))?;
            number_behind(behind.split_once(way)?.1, "pkts=")
        };
        let received = inside.iter().map(|port| count(*port, "rx")).sum::<Option<u64>>();
        let counts = received.zip(count(outside, "tx"));
        counts.with_context(|| format!("no such ports in {text}"))
    }

    /// What its polling threads have done since they were last cleared: packets that were looked up
    /// in the tables, and ticks that went into packets.
    pub fn misses(&self) -> Result<(u64, u64)> {
        self.threads_sum(["miss with success upcall:", "processing cycles:"])
            .map(<(u64, u64)>::from)
    }

    /// Sets the counters of [`Ovs::misses`] to zero.
    pub fn clear_misses(&self) -> Result<()> {
        self.ask("dpif-netdev/pmd-stats-clear", &[]).map(drop)
    }

    /// Counters of its polling threads, by the words in front of them.
    fn threads_sum<const N: usize>(&self, words: [&str; N]) -> Result<[u64; N]> {
        let text = self.ask("dpif-netdev/pmd-stats-show", &[])?;
        Ok(words.map(|word| {
            let counts = text.match_indices(word);
            counts.filter_map(|(at, word)| number_behind(&text[at..], word)).sum()
        }))
    }

    /// How many connections it has.
    pub fn connections(&self) -> Result<u64> {
        let text = self.ask("dpctl/ct-get-nconns", &[])?;
        text.trim().parse().with_context(|| format!("no number: {text}"))
    }

    /// Forgets all connections.
    pub fn flush_connections(&self) -> Result<()> {
        self.ask("dpctl/flush-conntrack", &[]).map(drop)
    }

    /// Packets that its polling threads have received, and when.
    pub fn received(&self) -> Result<(u64, u64)> {
        let [packets] = self.threads_sum(["packets received:"])?;
        Ok((packets, clock::now_ns()))
    }

    /// The time its threads have had.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of(self.switch.id())
    }

    /// Its process's number.
    pub fn id(&self) -> u32 {
        self.switch.id()
    }

    /// Stops it where it is, or lets it go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.switch.freeze(frozen)
    }

    /// What the versions of OVS and of DPDK are.
    pub fn version(&self) -> Result<String> {
        let program = if self.huge_pages.is_some() { WITH_DPDK } else { WITHOUT_DPDK };
        let text = Line::new(program).words("--version").run()?;
        Ok(text.lines().map(str::trim).collect::<Vec<_>>().join(", "))
    }

    /// Asks by the control socket: the protocol of ovs-appctl(8), JSON-RPC 1.0.
    pub fn ask(&self, method: &str, arguments: &[&str]) -> Result<String> {
        let mut stream = UnixStream::connect(self.folder.path().join("switch.ctl"))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let request = json!({"method": method, "params": arguments, "id": 0});
        stream.write_all(request.to_string().as_bytes())?;
        let mut answer = Vec::new();
        let mut chunk = [0; 65_536];
        loop {
            let count =
                stream.read(&mut chunk).with_context(|| format!("asking OVS `{method}`"))?;
            answer.extend_from_slice(&chunk[..count]);
            match serde_json::from_slice::<Value>(&answer) {
                Ok(answer) => {
                    let text = answer["result"].as_str().map(str::to_owned);
                    return text.ok_or_else(|| anyhow!("OVS answers `{method}` by {answer}"));
                }
                Err(error) if error.is_eof() && count > 0 => {}
                Err(error) => return Err(error).context("what OVS answers"),
            }
        }
    }

    fn line(&self, line: Line) -> Line {
        environment(line, self.folder.path()).within(&self.namespace)
    }
}

/// Everything of OVS's in one folder.
fn environment(line: Line, folder: &Path) -> Line {
    let names = ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"];
    names.into_iter().fold(line, |line, name| line.env(name, folder))
}

fn number_behind(text: &str, word: &str) -> Option<u64> {
    let (_, behind) = text.split_once(word)?;
    let digits = behind.trim_start().split(|digit: char| !digit.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Huge pages for DPDK: as many as it needs, and a place of our own where it finds them.
#[derive(Debug)]
struct HugePages {
    mount: PathBuf,
    prefix: String,
    dpdk_mib: u32,
    /// How many there were, if we have asked for more.
    before: Option<u64>,
}

impl HugePages {
    const ALL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

    fn mount(folder: &Path, memory: HugeMemory) -> Result<Self> {
        let read = |path: &str| {
            let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
            text.trim().parse::<u64>().with_context(|| path.to_owned())
        };
        let (all, free) = (read(Self::ALL)?, read(Self::FREE)?);
        let HugeMemory { dpdk_mib, ours_mib } = memory;
        let needed = u64::from(dpdk_mib.div_ceil(2) + ours_mib.div_ceil(2));
        let before = (free < needed).then_some(all);
        if before.is_some() {
            fs::write(Self::ALL, (all + needed - free).to_string())
                .context("asking for huge pages: is this root?")?;
            let free = read(Self::FREE)?;
            if free < needed {
                let _ = fs::write(Self::ALL, all.to_string());
                bail!("it takes {needed} free huge pages, {free} are to be had: free some memory");
            }
        }
        let mount = folder.join("huge");
        fs::create_dir_all(&mount)?;
        let prefix = format!("vsb{}", std::process::id());
        let this = Self { mount, prefix, dpdk_mib, before };
        Line::new("mount").words("-t hugetlbfs -o pagesize=2M none").arg(&this.mount).run()?;
        Ok(this)
    }

    /// Options of DPDK.
    fn options(&self) -> String {
        format!("--no-pci --file-prefix={} --huge-dir={}", self.prefix, self.mount.display())
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Err(error) = Line::new("umount").arg(&self.mount).run() {
            eprintln!("bench: {error:#}");
        }
        let _ = fs::remove_dir_all(Path::new("/var/run/dpdk").join(&self.prefix));
        if let Some(before) = self.before {
            let _ = fs::write(Self::ALL, before.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_words() {
        assert_eq!(number_behind("  flows: 17\n", "flows:"), Some(17));
        assert_eq!(number_behind("rx pkts=5, bytes=7", "bytes="), Some(7));
        assert_eq!(number_behind("rx pkts=?, bytes=7", "pkts="), None);
    }
}
