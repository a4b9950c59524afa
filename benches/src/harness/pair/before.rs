//! What both get before they are measured: packets that make connections, and answers to them.

use std::time::Duration;

use anyhow::{Result, bail};
use api::request::{NullOptions, PortKind};

use super::{OUTSIDE, Pair, REPLAYED, inside};
use crate::harness::captures;
use crate::harness::case::Case;
use crate::harness::process::{await_for, pause};
use crate::harness::progress::Progress;

impl Pair {
    /// Gives ours what comes before the packets of a case, each part once.
    pub(super) fn before_ours(&mut self, progress: &Progress, case: &Case) -> Result<()> {
        let Some(first) = case.before.first() else { return Ok(()) };
        progress.step("vswitchd makes its connections");
        self.ours.flush_connections()?;
        let made = self.ours.connections()?.made;
        self.ours.add_port(OUTSIDE.0, OUTSIDE.1, PortKind::Null(NullOptions {}))?;
        let file = self.file("before.pcap");
        for frames in case.before.iter().flat_map(|part| part.chunks(REPLAYED)) {
            captures::write(&file, frames.iter().map(Vec::as_slice))?;
            let due = self.ours.worker()?.rx_packets + frames.len() as u64;
            self.add_inside_ours(0, &file, false)?;
            await_for("vswitchd takes all packets", progress.patience(60), || {
                Ok((self.ours.worker()?.rx_packets >= due).then_some(()))
            })?;
            self.ours.del_port(inside(0)?.0)?;
        }
        self.ours.del_port(OUTSIDE.0)?;
        let counts = self.ours.connections()?;
        let (made, all) = (counts.made - made, first.len() as u64);
        if made != all || counts.connections < all {
            bail!("vswitchd has {} connections of {all}, made {made}", counts.connections);
        }
        Ok(())
    }

    /// The same for OVS, while it gets the packets of the case again and again: those are the first
    /// part. It loses some while it opens a port, so each part comes again until all have come.
    pub(super) fn before_ovs(&mut self, progress: &Progress, case: &Case) -> Result<String> {
        let Some((first, rest)) = case.before.split_first() else { return Ok(String::new()) };
        progress.step("OVS makes its connections");
        let all = first.len() as u64;
        await_for("OVS makes all connections", progress.patience(60), || {
            pause(Duration::from_millis(100))?;
            Ok((self.ovs.connections()? >= all).then_some(()))
        })?;
        // The first port's packets give way meanwhile: there is no memory for more.
        let (name, number, _) = inside(0)?;
        self.ovs.del_port(name)?;
        let file = self.file("before.pcap");
        for frames in rest.iter().flat_map(|part| part.chunks(REPLAYED)) {
            captures::write(&file, frames.iter().map(Vec::as_slice))?;
            self.add_inside_ovs(0, &file, true)?;
            let due = frames.len() as u64 * 3 / 2;
            await_for("OVS takes all answers", progress.patience(60), || {
                pause(Duration::from_millis(100))?;
                Ok((self.ovs.passed(&[number], OUTSIDE.1)?.0 >= due).then_some(()))
            })?;
            self.ovs.del_port(name)?;
        }
        self.add_inside_ovs(0, &self.file("0.pcap"), true)?;
        let there = self.ovs.connections()?;
        if there < all {
            bail!("OVS has {there} connections of {all}");
        }
        // Until here ours was still, and what is silent for long is forgotten.
        self.give_turn(true)?;
        pause(Duration::from_secs(1))?;
        let there = self.ours.connections()?.connections;
        self.give_turn(false)?;
        if there < all {
            bail!("vswitchd has {there} connections of {all} left");
        }
        Ok(format!("{all} connections made before in both, and answered"))
    }
}
