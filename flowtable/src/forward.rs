//! Where a walk sends packets: to ports, to those who watch.

use std::sync::Arc;

use api::{Controller, DropReason, MeterId, OutPort, PacketInReason, Sample, Subfield};
use packet::{Key, PortId};

use crate::frozen::{Aside, Context, Decision, Place, SampleOf, Show, notes_of};
use crate::ports::{PortView, Ports};
use crate::program::Op;
use crate::translate::{Note, Record, Stop};
use crate::walk::Walk;

/// The number that stands for those who watch.
const CONTROLLER: u16 = 0xfffd;

impl<'a, R: Record> Walk<'a, R> {
    pub(crate) fn output(&mut self, to: OutPort) -> Result<(), Stop> {
        let in_port = self.draft.look16(Key::IN_PORT);
        match to {
            OutPort::Port(number) => self.output_to(number, in_port),
            OutPort::Local => self.output_to(Ports::LOCAL, in_port),
            OutPort::InPort => match self.bridge.ports.get(in_port) {
                Some(port) => self.send(port),
                None => {
                    self.dropped(DropReason::NoSuchPort);
                    Ok(())
                }
            },
            OutPort::Flood => self.output_to_all(in_port, |port| !port.flags.no_flood),
            OutPort::All => self.output_to_all(in_port, |_| true),
            OutPort::Normal => self.normal(in_port),
        }
    }

    pub(crate) fn output_to(&mut self, number: u16, in_port: u16) -> Result<(), Stop> {
        match self.target(number, in_port) {
            Some(port) => self.send(port),
            None => Ok(()),
        }
    }

    /// The port that a packet goes to; if there is none, why is noted.
    fn target(&mut self, number: u16, in_port: u16) -> Option<&'a PortView> {
        let port = self.bridge.ports.get(number).filter(|_| number != in_port);
        if port.is_none() {
            self.dropped(match number == in_port {
                true => DropReason::OutputToIngress,
                false => DropReason::NoSuchPort,
            });
        }
        port.map(AsRef::as_ref)
    }

    fn output_to_all(
        &mut self,
        in_port: u16,
        wanted: impl Fn(&PortView) -> bool,
    ) -> Result<(), Stop> {
        let mut nowhere = true;
        for port in self.bridge.ports.iter().filter(|port| port.number != in_port && wanted(port)) {
            nowhere = false;
            self.send(port)?;
        }
        if nowhere {
            self.dropped(DropReason::NormalNowhere);
        }
        Ok(())
    }

    /// Sends the packet as it is by now.
    pub(crate) fn send(&mut self, port: &'a PortView) -> Result<(), Stop> {
        if !self.takes(port) {
            return Ok(());
        }
        self.record.note(Note::Sent(port));
        Ok(self.draft.send(port.id)?)
    }

    /// Whether a port is used to send; if not, that is noted.
    fn takes(&mut self, port: &PortView) -> bool {
        let forwards = port.flags.forwards();
        if !forwards {
            self.dropped(DropReason::NoForward);
        }
        forwards
    }

    /// Sends to the port whose number a field holds.
    pub(crate) fn output_by(&mut self, field: Subfield, context: Context) -> Result<(), Stop> {
        let number = u16::try_from(self.draft.look(field.span())).ok();
        match number.map(|number| (number, OutPort::from_number(number))) {
            Some((_, Some(to))) => self.output(to),
            Some((CONTROLLER, _)) => self.show(&Controller::default(), context),
            _ => {
                self.dropped(DropReason::NoSuchPort);
                Ok(())
            }
        }
    }

    /// Sends the first bytes of the packet.
    pub(crate) fn output_part(&mut self, to: OutPort, max_len: u32) -> Result<(), Stop> {
        let in_port = self.draft.look16(Key::IN_PORT);
        let port = match to {
            OutPort::Port(number) => self.target(number, in_port),
            OutPort::Local => self.target(Ports::LOCAL, in_port),
            OutPort::InPort => self.bridge.ports.get(in_port).map(AsRef::as_ref),
            // No text leads to several ports.
            OutPort::Normal | OutPort::Flood | OutPort::All => None,
        };
        let port: Option<PortId> = port.filter(|port| self.takes(port)).map(|port| port.id);
        match port {
            Some(port) => Ok(self.draft.effect(Op::OutputTruncated { port, max_len })?),
            None => Ok(()),
        }
    }

    /// Shows the packet to whoever watches; or has it wait for them.
    pub(crate) fn show(&mut self, controller: &Controller, context: Context) -> Result<(), Stop> {
        let show = self.shown(controller, context);
        self.record.note(Note::Shown(&show));
        if controller.pause {
            return self.freeze(Decision::Pause(Arc::new(show)));
        }
        let aside = self.aside(Aside::Show(Arc::new(show)));
        Ok(self.draft.effect(Op::Show(aside))?)
    }

    /// Shows a packet whose TTL is over; it is dropped all the same.
    pub(crate) fn show_expired(&mut self, watcher: u16, context: Context) -> Result<(), Stop> {
        let controller =
            Controller { reason: PacketInReason::InvalidTtl, id: watcher, ..Controller::default() };
        let show = self.shown(&controller, context);
        self.record.note(Note::Shown(&show));
        let aside = self.aside(Aside::Show(Arc::new(show)));
        Ok(self.draft.look_on(Op::Show(aside))?)
    }

    fn shown(&mut self, controller: &Controller, context: Context) -> Show {
        let reason = match (controller.reason, context.place) {
            (PacketInReason::Action, Place::Group) => PacketInReason::Group,
            (PacketInReason::Action, Place::ActionSet) => PacketInReason::ActionSet,
            (PacketInReason::Action, Place::PacketOut) => PacketInReason::PacketOut,
            (reason, _) => reason,
        };
        let meters = [Some(MeterId::Controller), controller.meter.map(MeterId::Number)];
        let meters = meters.map(|id| Some(self.bridge.meters.get(id?)?.slot));
        let flow = self.draft.flow();
        Show {
            meters,
            controller: Controller { reason, ..controller.clone() },
            context,
            bridge: self.id,
            in_port: u16::try_from(flow.word(Key::IN_PORT)).unwrap_or(0),
            notes: notes_of(flow),
            tracked: self.draft.tracking().shows,
        }
    }

    pub(crate) fn sample(&mut self, sample: Sample) -> Result<(), Stop> {
        let in_port = self.draft.look16(Key::IN_PORT);
        let sample = SampleOf { sample, bridge: self.id, in_port };
        let aside = self.aside(Aside::Sample(Arc::new(sample)));
        Ok(self.draft.look_on(Op::Sample(aside))?)
    }
}
