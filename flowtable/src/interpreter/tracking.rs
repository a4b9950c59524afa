//! Connections, as flows ask for them: somebody else knows them.

use std::fmt;
use std::time::Duration;

use api::{Action, Ct, CtZone, DropReason};
use packet::{Key, Span};

use super::{End, Interpreter, Run};
use crate::connect::Connect;
use crate::frozen::Tracked;

/// Who tracks the connections of an interpreter's packets.
pub trait Tracker: fmt::Debug + Send {
    /// Finds out what a packet is. `before` is what it has answered in that zone for this packet, if
    /// it was asked.
    fn connect(
        &mut self,
        bytes: &[u8],
        connect: &Connect,
        before: Option<u64>,
        now: Duration,
    ) -> Result<Found, DropReason>;
}

/// What a packet is.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is told.
    pub tracked: Tracked,
    /// What is to be given the next time that it is asked.
    pub judged: u64,
    /// Fields that are to be written.
    pub translation: Vec<(Span, u128)>,
    /// The identifier of a query, if it is to be another.
    pub identifier: Option<u16>,
}

impl Interpreter {
    /// Has a packet tracked: it goes on, or a copy of it does in another table.
    pub(super) fn connect(&mut self, run: &mut Run, ct: &Ct) -> Result<Option<End>, DropReason> {
        let connect = known(run.packet.key(), ct);
        let Some(table) = ct.table else {
            let end = self.track(run, &connect);
            run.hide_tracked();
            return Ok(end);
        };
        self.copy(run, run.set.clone(), |literal, run| {
            if literal.track(run, &connect).is_some() {
                return Ok(());
            }
            match literal.table(run, table)? {
                End::Exit => Ok(()),
                _ => literal.action_set(run).map(|_| ()),
            }
        })?;
        run.hide_tracked();
        Ok(None)
    }

    /// Finds out what a packet is; answers with its end if that is what it comes to.
    fn track(&mut self, run: &mut Run, connect: &Connect) -> Option<End> {
        if let Some(end) = self.decide(run) {
            return Some(end);
        }
        let before = run.judged.filter(|(zone, _)| *zone == connect.zone);
        let before = before.map(|(_, judged)| judged);
        match self.tracker.as_mut()?.connect(&run.packet.bytes, connect, before, self.now) {
            Ok(Found { tracked, judged, translation, identifier }) => {
                run.judged = Some((connect.zone, judged));
                run.packet.pipeline.words_mut()[Key::TRACKED].copy_from_slice(&tracked);
                for (span, value) in translation {
                    // An address or a port can always be written.
                    let _ = run.packet.write(span, value, span.ones());
                }
                if let Some(identifier) = identifier {
                    run.packet.write_identifier(identifier);
                }
                None
            }
            Err(reason) => Some(self.stop(run, reason)),
        }
    }
}

impl Run {
    /// Nothing shows of what has been found out.
    pub(super) fn hide_tracked(&mut self) {
        self.packet.pipeline.words_mut()[Key::TRACKED].copy_from_slice(&Tracked::default());
    }
}

/// What is asked for, of a packet that says this.
fn known(mut key: Key, ct: &Ct) -> Connect {
    let zone = match ct.zone {
        CtZone::Number(zone) => zone,
        CtZone::Field(field) => u16::try_from(key.get(field.span())).unwrap_or(0),
    };
    let mut written = Key::ZERO;
    for action in &ct.exec {
        let (span, value, mask) = match action {
            Action::SetField { field, value, mask } => (field.span(), *value, *mask),
            Action::Move { src, dst } => (dst.span(), key.get(src.span()), dst.span().ones()),
            _ => continue,
        };
        key.set(span, key.get(span) & !mask | value & mask);
        written.set(span, written.get(span) | mask);
    }
    let mark = |key: &Key| u32::try_from(key.get(Key::CT_MARK)).unwrap_or(0);
    let label = |key: &Key| key.get(Key::CT_LABEL);
    Connect {
        zone,
        commit: ct.commit,
        force: ct.force,
        nat: ct.nat,
        alg: ct.alg,
        mark: (mark(&key) & mark(&written), mark(&written)),
        label: (label(&key) & label(&written), label(&written)),
        table: ct.table,
    }
}
