//! Connection tracking, as far as translation has to do with it: the pass of a packet ends, and what
//! it is to its connection decides how it goes on.

use api::{Action, Alg, Ct, CtZone, Nat, TableId};
use packet::Key;

use crate::frozen::{Context, Decision};
use crate::translate::{Record, Stop};
use crate::walk::Walk;

/// How a packet's connection is tracked: `ct(...)`, with everything in it known.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Connect {
    /// The zone.
    pub zone: u16,
    /// Whether the connection is kept, if it is new.
    pub commit: bool,
    /// Whether one that goes the other way makes room for it.
    pub force: bool,
    /// Whether addresses and ports are translated.
    pub nat: Option<Nat>,
    /// The protocol that is watched for connections which it announces.
    pub alg: Option<Alg>,
    /// The mark of the connection, and which bits of it are written.
    pub mark: (u32, u32),
    /// The label of the connection, and which bits of it are written.
    pub label: (u128, u128),
    /// Where a copy of the packet goes on, with what has been found out.
    pub table: Option<TableId>,
}

impl<'a, R: Record> Walk<'a, R> {
    /// Has the packet tracked: then it goes on, or a copy of it does in a table of its own.
    pub(crate) fn connect(&mut self, ct: &'a Ct, context: Context) -> Result<(), Stop> {
        let connect = self.known_of(ct)?;
        let Some(table) = ct.table else {
            self.draft.hide_tracked();
            // The rest of the list is kept for when that is done.
            return self.freeze(Decision::Connect(connect));
        };
        self.part(self.set.clone(), |walk| {
            let frozen = walk.freeze(Decision::Connect(connect));
            walk.keep_own([Action::GotoTable(table)].into(), context);
            frozen
        })?;
        self.draft.hide_tracked();
        Ok(())
    }

    /// What is asked for, as far as this packet decides it.
    fn known_of(&mut self, ct: &Ct) -> Result<Connect, Stop> {
        let zone = match ct.zone {
            CtZone::Number(zone) => zone,
            CtZone::Field(field) => self.draft.look16(field.span()),
        };
        let written = self.exec(&ct.exec)?;
        let flow = self.draft.flow();
        let mark = [flow, &written].map(|key| u32::try_from(key.get(Key::CT_MARK)).unwrap_or(0));
        let label = [flow, &written].map(|key| key.get(Key::CT_LABEL));
        Ok(Connect {
            zone,
            commit: ct.commit,
            force: ct.force,
            nat: ct.nat,
            alg: ct.alg,
            mark: (mark[0] & mark[1], mark[1]),
            label: (label[0] & label[1], label[1]),
            table: ct.table,
        })
    }

    /// Writes mark and label into the key, where nobody sees them; answers with the bits.
    fn exec(&mut self, actions: &[Action]) -> Result<Key, Stop> {
        let mut written = Key::ZERO;
        for action in actions {
            let (span, value, bits) = match action {
                Action::SetField { field, value, mask } => (field.span(), *value, *mask),
                Action::Move { src, dst } => {
                    (dst.span(), self.draft.look(src.span()), dst.span().ones())
                }
                _ => continue,
            };
            self.draft.write(span, value, bits)?;
            written.set(span, written.get(span) | bits);
        }
        Ok(written)
    }
}
