//! Packets that wait in the egress queues of their port, on the way out.

use std::sync::Arc;
use std::time::Duration;

use api::DropReason;
use hw::Refusal;
use packet::{Batch, FramePool, Packet, PortId};

use crate::account::Account;
use crate::act::Exit as _;
use crate::outputs::Outputs;
use crate::queue::{Waiting, frames};
use crate::queues::Queues;

impl Outputs {
    /// Has packets wait in the egress queues of their port, and sends those whose turn it is.
    #[inline(never)]
    pub(super) fn enqueue(
        &mut self,
        port: PortId,
        packets: &mut Batch,
        pool: &mut FramePool,
        account: &Account,
    ) {
        for packet in packets.drain(..) {
            // When it is sent, its batch is long over: its account comes from the port it came in by.
            let answers = self.account(packet.ingress).filter(|of| std::ptr::eq(&***of, account));
            let Some(answers) = answers.map(Arc::clone) else {
                self.drop(packet, DropReason::Closed, pool, account);
                continue;
            };
            let (frames, room) = (frames(&packet), self.most_held.saturating_sub(self.held));
            let Some(queues) = self.queues(port) else { continue };
            match queues.push(packet, answers, frames <= room) {
                Ok(()) => {
                    self.held += frames;
                    account.held.add(1);
                }
                Err(Waiting { packet, .. }) => {
                    self.drop(packet, DropReason::QueueFull, pool, account);
                }
            }
        }
        self.serve_port(port, self.capture.now, pool);
    }

    /// Has a packet that its port was too full for wait again, if it came from a queue there.
    #[cold]
    pub(super) fn wait_again(
        &mut self,
        port: PortId,
        packet: Packet,
        refusal: Refusal,
    ) -> Option<Packet> {
        let now = self.capture.now;
        let Some(queues) = self.queues(port) else { return Some(packet) };
        queues.refused(&packet);
        if refusal != Refusal::Full {
            return Some(packet);
        }
        let frames = frames(&packet);
        match queues.put_back(packet, now) {
            Ok(()) => {
                self.held += frames;
                None
            }
            Err(packet) => Some(packet),
        }
    }

    /// Sends what waits in egress queues and may go by `now`. Answers whether anything did.
    #[inline]
    pub fn serve(&mut self, now: Duration, pool: &mut FramePool) -> bool {
        let sent = self.sent;
        for n in 0..self.queued.len() {
            let port = self.queued[n];
            if self.port_due(port).is_some_and(|due| due <= now) {
                self.capture.now = now;
                self.serve_port(port, now, pool);
            }
        }
        self.sent != sent
    }

    /// When a packet may go next, of those that wait in egress queues.
    pub fn due(&self) -> Option<Duration> {
        self.queued.iter().filter_map(|port| self.port_due(*port)).min()
    }

    fn port_due(&self, port: PortId) -> Option<Duration> {
        self.ports.get(usize::from(port.0))?.as_ref()?.queues.as_ref()?.due()
    }

    fn serve_port(&mut self, port: PortId, now: Duration, pool: &mut FramePool) {
        let mut run = std::mem::take(&mut self.run);
        if let Some(queues) = self.queues(port) {
            queues.begin();
        }
        while let Some(queues) = self.queues(port)
            && let Some(account) = queues.take_run(&mut run, now)
        {
            self.held -= run.iter().map(frames).sum::<usize>();
            account.held.sub(run.len() as u64);
            self.finish_and_transmit(port, &mut run, pool, &account);
        }
        if let Some(queues) = self.queues(port) {
            queues.end();
        }
        self.run = run;
    }

    fn queues(&mut self, port: PortId) -> Option<&mut Queues> {
        self.port(port)?.queues.as_deref_mut()
    }

    /// Gives a port other egress queues, or none: what waited in the old ones goes there, or out. So
    /// many frames may wait in all ports' queues together. Answers with the old queues, empty.
    pub fn set_queues(
        &mut self,
        port: PortId,
        queues: Option<Box<Queues>>,
        most_held: usize,
        pool: &mut FramePool,
    ) -> Option<Box<Queues>> {
        self.most_held = most_held;
        let output = self.ports.get_mut(usize::from(port.0))?.as_mut()?;
        self.queued.retain(|queued| *queued != port);
        if queues.is_some() {
            self.queued.push(port);
        }
        let mut old = std::mem::replace(&mut output.queues, queues);
        let mut one = Batch::new();
        for Waiting { packet, account } in old.iter_mut().flat_map(|queues| queues.drain()) {
            self.held -= frames(&packet);
            account.held.sub(1);
            one.push(packet);
            self.transmit_finished(port, &mut one, pool, &account);
        }
        old
    }

    /// Drops what waits in the egress queues of a port that goes away, and answers with them.
    pub fn close_queues(&mut self, port: PortId, pool: &mut FramePool) -> Option<Box<Queues>> {
        let output = self.ports.get_mut(usize::from(port.0))?.as_mut()?;
        let mut queues = output.queues.take()?;
        self.queued.retain(|queued| *queued != port);
        for Waiting { packet, account } in queues.drain() {
            self.held -= frames(&packet);
            account.held.sub(1);
            self.drop(packet, DropReason::TxDown, pool, &account);
        }
        Some(queues)
    }
}
