//! Ours: `vswitchd`, told everything by its file and its socket, as an operator would.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::request::{BridgeAdd, FlowChange, PortAdd, PortDel, PortKind, PortStats, PortVlan};
use api::{Client, reply, request};

use crate::clock;
use crate::harness::process::{Folder, Line, Process, await_for};
use crate::harness::usage::CpuTime;

const BRIDGE: &str = "br0";

/// A running `vswitchd` with the bridge `br0`.
#[derive(Debug)]
pub struct Ours {
    switch: Process,
    client: Client,
    _folder: Folder,
}

impl Ours {
    /// Starts it in a namespace, as it comes but for its one worker, which is on `cpu`, and with
    /// short-cuts between pods or without.
    pub fn start(programs: &Path, namespace: &str, cpu: usize, short_cuts: bool) -> Result<Self> {
        let folder = Folder::new("ours")?;
        let (file, socket) = (folder.path().join("config.toml"), folder.path().join("s.sock"));
        let workers = format!("[workers]\ncpus = [{cpu}]\nshort_cuts = {short_cuts}\n");
        let config = format!("socket = {socket:?}\nstate = \"\"\n{workers}");
        fs::write(&file, config)?;
        let mut switch = Line::new(programs.join("vswitchd"))
            .words("--config")
            .arg(&file)
            .within(namespace)
            .behind("taskset -c 0")
            .start(&folder.path().join("switch"))?;
        let client = await_for("vswitchd answers", 10, || {
            switch.check()?;
            Ok(Client::connect(&socket, Duration::from_secs(30)).ok())
        })?;
        let mut this = Self { switch, client, _folder: folder };
        this.client.call(BridgeAdd { name: BRIDGE.to_owned() })?;
        Ok(this)
    }

    /// Replaces all flows.
    pub fn flows(&mut self, flows: &[String]) -> Result<()> {
        let delete = ["delete".to_owned()];
        let flows = delete.into_iter().chain(flows.iter().cloned()).collect();
        let changed = self.client.call(FlowChange { bridge: None, flows })?;
        if !changed.late.is_empty() {
            bail!("workers are late: {:?}", changed.late);
        }
        Ok(())
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

    /// The counters of its worker.
    pub fn worker(&mut self) -> Result<reply::Worker> {
        let workers = self.client.call(request::WorkerStats {})?.workers;
        workers.into_iter().next().context("a switch without workers")
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
