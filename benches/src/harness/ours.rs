//! Ours: `vswitchd`, told everything by its file and its socket, as an operator would.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::request::{
    BridgeAdd, ConnectionFilter, CtDump, CtFlush, CtStats, FlowAppend, FlowBegin, FlowChange,
    FlowCommit, PortAdd, PortDel, PortKind, PortStats, PortVlan,
};
use api::{Client, reply, request};

use crate::clock;
use crate::harness::process::{Folder, Line, Process, await_for};
use crate::harness::usage::CpuTime;

const BRIDGE: &str = "br0";

/// How long an answer may take: a million flows are many.
const PATIENCE: Duration = Duration::from_secs(300);
/// Bytes of flows in one request, of the 4 MiB that a line may have.
const PART: usize = 1 << 20;

/// A running `vswitchd` with the bridge `br0`.
#[derive(Debug)]
pub struct Ours {
    switch: Process,
    client: Client,
    folder: Folder,
}

/// How large its tables are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Flows in one table.
    pub flows: u32,
    /// Megaflows of its worker.
    pub megaflows: u32,
    /// Sessions of its worker.
    pub sessions: u32,
    /// Connections.
    pub connections: u32,
}

impl Limits {
    /// As it comes.
    pub const USUAL: Self =
        Self { flows: 1_000_000, megaflows: 1 << 16, sessions: 1 << 16, connections: 1_000_000 };

    /// What an operator would write into the file.
    pub fn text(self) -> String {
        let Self { flows, megaflows, sessions, connections } = self;
        format!(
            "[limits]\nflows = {flows}\nmegaflows = {megaflows}\nsessions = {sessions}\n\
             connections = {connections}\n"
        )
    }
}

impl Ours {
    /// Starts it in a namespace, as it comes but for its one worker, which is on `cpu`, and with
    /// short-cuts between pods or without.
    pub fn start(programs: &Path, namespace: &str, cpu: usize, short_cuts: bool) -> Result<Self> {
        Self::configured(programs, namespace, &[cpu], &format!("short_cuts = {short_cuts}\n"))
    }

    /// Starts it with tables of such sizes.
    pub fn sized(programs: &Path, namespace: &str, cpu: usize, limits: Limits) -> Result<Self> {
        Self::configured(programs, namespace, &[cpu], &limits.text())
    }

    /// Starts it as it comes, but with a worker on each of these processors.
    pub fn with_workers(programs: &Path, namespace: &str, cpus: &[usize]) -> Result<Self> {
        Self::configured(programs, namespace, cpus, "")
    }

    /// With so much behind `[workers]`.
    fn configured(programs: &Path, namespace: &str, cpus: &[usize], rest: &str) -> Result<Self> {
        let folder = Folder::new("ours")?;
        let (file, socket) = (folder.path().join("config.toml"), folder.path().join("s.sock"));
        let config =
            format!("socket = {socket:?}\nstate = \"\"\n[workers]\ncpus = {cpus:?}\n{rest}");
        fs::write(&file, config)?;
        let mut switch = Line::new(programs.join("vswitchd"))
            .words("--config")
            .arg(&file)
            .within(namespace)
            .behind("taskset -c 0")
            .start(&folder.path().join("switch"))?;
        let client = await_for("vswitchd answers", 10, || {
            switch.check()?;
            Ok(Client::connect(&socket, PATIENCE).ok())
        })?;
        let mut this = Self { switch, client, folder };
        this.client.call(BridgeAdd { name: BRIDGE.to_owned() })?;
        Ok(this)
    }

    /// Replaces all flows.
    pub fn flows(&mut self, flows: &[String]) -> Result<()> {
        let delete = ["delete".to_owned()];
        let flows: Vec<_> = delete.into_iter().chain(flows.iter().cloned()).collect();
        let mut parts = parts(&flows);
        let changed = match (parts.next(), parts.next()) {
            (Some(only), None) => self.client.call(FlowChange {
                bridge: None,
                flows: only.to_vec(),
                lenient: false,
            })?,
            (first, second) => {
                self.client.call(FlowBegin { bridge: None, lenient: false })?;
                for part in first.into_iter().chain(second).chain(parts) {
                    self.client.call(FlowAppend { flows: part.to_vec() })?;
                }
                self.client.call(FlowCommit {})?
            }
        };
        if !changed.late.is_empty() {
            bail!("workers are late: {:?}", changed.late);
        }
        Ok(())
    }

    /// Changes flows by one request, as lines with their verbs.
    pub fn change(&mut self, lines: Vec<String>) -> Result<()> {
        self.client.call(FlowChange { bridge: None, flows: lines, lenient: false })?;
        Ok(())
    }

    /// Another client of it.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.socket(), PATIENCE)?)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s.sock")
    }

    /// Adds a port.
    pub fn add_port(&mut self, name: &str, number: u16, kind: PortKind) -> Result<()> {
        let (bridge, name, number) = (None, name.to_owned(), Some(number));
        self.client.call(PortAdd { bridge, name, number, kind, vlan: PortVlan::All })?;
        Ok(())
    }

    /// Removes a port.
    pub fn del_port(&mut self, name: &str) -> Result<()> {
        self.client.call(PortDel { bridge: None, name: name.to_owned() })?;
        Ok(())
    }

    /// The counters of a port, and when they were read.
    pub fn counters(&mut self, name: &str) -> Result<(reply::PortStats, u64)> {
        let answer = self.client.call(PortStats { bridge: None, port: None })?;
        let now = clock::now_ns();
        let mut ports = answer.ports.into_iter();
        let port =
            ports.find(|port| port.name == name).with_context(|| format!("no port {name}"))?;
        Ok((port, now))
    }

    /// The counters of its first worker.
    pub fn worker(&mut self) -> Result<reply::Worker> {
        self.workers()?.into_iter().next().context("a switch without workers")
    }

    /// The counters of all of its workers.
    pub fn workers(&mut self) -> Result<Vec<reply::Worker>> {
        Ok(self.client.call(request::WorkerStats {})?.workers)
    }

    /// How many connections there are and were.
    pub fn connections(&mut self) -> Result<reply::CtCounts> {
        Ok(self.client.call(CtStats { kinds: false })?)
    }

    /// How many of them a filter takes.
    pub fn count_connections(&mut self, filter: &ConnectionFilter) -> Result<usize> {
        let (mut count, mut after) = (0, None);
        loop {
            let dump = CtDump { filter: filter.clone(), after, limit: None };
            let page = self.client.call(dump)?;
            count += page.connections.len();
            after = page.next;
            if after.is_none() {
                return Ok(count);
            }
        }
    }

    /// Forgets all connections.
    pub fn flush_connections(&mut self) -> Result<()> {
        self.client.call(CtFlush::default())?;
        Ok(())
    }

    /// Its version.
    pub fn version(&mut self) -> Result<String> {
        Ok(self.client.call(request::Version {})?.version)
    }

    /// Its process's number.
    pub fn id(&self) -> u32 {
        self.switch.id()
    }

    /// The time its threads have had.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of(self.switch.id())
    }

    /// Stops it where it is, or lets it go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.switch.freeze(frozen)
    }
}

/// Flows in as many requests as they take.
fn parts(flows: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = flows;
    std::iter::from_fn(move || {
        let mut room = PART;
        let fits = rest.iter().take_while(|flow| {
            let fits = room > 0;
            room = room.saturating_sub(flow.len() + 3);
            fits
        });
        let (part, others) = rest.split_at(fits.count());
        rest = others;
        Some(part).filter(|part| !part.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_flows_go_in_parts() {
        let flow = "priority=1,ip,actions=drop".to_owned();
        let flows = vec![flow; 100_000];
        let split: Vec<_> = parts(&flows).collect();
        assert_eq!(split.concat(), flows);
        assert!(split.len() > 2);
        assert!(split.iter().all(|part| part.concat().len() <= PART + 100));
        assert_eq!(parts(&flows[..3]).count(), 1);
        assert_eq!(parts(&[]).count(), 0);
    }
}
