//! What may be taken for granted at a place in an action list: which headers the packet has, and
//! which instructions may still come. OVS does the same in `ofpacts_check`.
//!
//! The match says it at the beginning; then pushing and popping tags changes it. A resubmit may
//! change the packet too, but OVS lets flows rely on the match beyond one, and so do we: only the
//! certainty that there is *no* tag ends there, because it decides whether `mod_vlan_vid` pushes
//! one. Nor does it matter that `ct` and `ct_clear` forget what was found out about a connection: it
//! is zero then. A bucket has no match: whatever its actions need is taken for granted.

use std::net::IpAddr;
use std::ops::Range;

use super::error::FlowError;
use super::part::Part;
use crate::action::{Action, Learn, LearnSource, LearnSpec, Subfield};
use crate::ct::{Alg, Ct, CtZone, Nat};
use crate::field::{Field, Needs};
use crate::flow::{Match, TableId};

/// Whether there is a tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tag {
    No,
    Perhaps,
    Yes,
}

/// What a list of actions belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Flow,
    /// An action that executes it on a copy.
    Copy,
    /// An action set.
    Set,
    /// What is written into a connection.
    Exec,
    /// A group, of which it is an action set too.
    Bucket,
    PacketOut,
}

/// How far the instructions have come; they stand in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    Meter,
    Actions,
    ClearActions,
    WriteActions,
    WriteMetadata,
    GotoTable,
}

impl Stage {
    fn of(action: &Action) -> Self {
        match action {
            Action::Meter(_) => Self::Meter,
            Action::ClearActions => Self::ClearActions,
            Action::WriteActions(_) => Self::WriteActions,
            Action::WriteMetadata { .. } => Self::WriteMetadata,
            Action::GotoTable(_) => Self::GotoTable,
            _ => Self::Actions,
        }
    }

    /// What is wrong with an earlier one behind it.
    const fn rule(self) -> &'static str {
        match self {
            Self::Meter | Self::Actions => "must stand before all other actions",
            Self::ClearActions => "must stand before `clear_actions`",
            Self::WriteActions => "must stand before `write_actions`",
            Self::WriteMetadata => "must stand before `write_metadata`",
            Self::GotoTable => "must stand before `goto_table`",
        }
    }
}

/// What a list has been up to now, notes aside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Company {
    Nothing,
    Conjunctions,
    Others,
}

/// What holds at a place in an action list.
#[derive(Clone, Debug)]
pub(crate) struct Assumed<'a> {
    matching: &'a Match,
    table: Option<TableId>,
    /// The outermost tag, and the one behind it.
    tags: [Tag; 2],
    stage: Option<Stage>,
    company: Company,
    place: Place,
    /// Whether what the packet is was left to the match to say.
    matched: bool,
}

impl<'a> Assumed<'a> {
    /// At the beginning of the actions of a flow in `table`, if that is known.
    pub(crate) fn at_start(matching: &'a Match, table: Option<TableId>) -> Self {
        let tags = match (matching.has_tag(), matching.has_no_tag()) {
            (true, _) => [Tag::Yes, Tag::Perhaps],
            (_, true) => [Tag::No; 2],
            _ => [Tag::Perhaps; 2],
        };
        let (stage, company, place) = (None, Company::Nothing, Place::Flow);
        Self { matching, table, tags, stage, company, place, matched: true }
    }

    /// At the beginning of the actions for a packet with this match, which are no flow's.
    pub(crate) fn in_packet_out(matching: &'a Match) -> Self {
        Self { place: Place::PacketOut, ..Self::at_start(matching, None) }
    }

    /// At the beginning of a bucket.
    pub(crate) fn in_bucket() -> Self {
        const ANY: &Match = &Match::ANY;
        Self { place: Place::Bucket, matched: false, ..Self::at_start(ANY, None) }
    }

    /// At the beginning of a list within this one that works on a copy.
    pub(crate) fn in_copy(&self) -> Self {
        self.inside(Place::Copy)
    }

    /// At the beginning of an action set within this list.
    pub(crate) fn in_set(&self) -> Self {
        self.inside(Place::Set)
    }

    /// At the beginning of what `ct` writes into a connection.
    pub(crate) fn in_exec(&self) -> Self {
        self.inside(Place::Exec)
    }

    fn inside(&self, place: Place) -> Self {
        Self { stage: None, company: Company::Nothing, place, ..self.clone() }
    }

    /// The match of the flow.
    pub(crate) fn matching(&self) -> &'a Match {
        self.matching
    }

    /// Whether the packet has a tag here.
    pub(crate) fn tag(&self) -> Tag {
        self.tags[0]
    }

    /// Whether the packet is none that a flow matched, but one that is sent out.
    pub(super) fn is_packet_out(&self) -> bool {
        self.place == Place::PacketOut
    }

    /// Goes on behind `action` if it may stand here.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn admit(&mut self, action: &Action) -> bool {
        self.follow(action, Part::new("")).is_ok()
    }

    /// Goes on behind `action`, which `word` begins, or says why it may not stand here. What is
    /// inside of another action has been looked at already.
    pub(super) fn follow(&mut self, action: &Action, word: Part<'_>) -> Result<(), FlowError> {
        let at = word.at();
        self.advance(action, word)?;
        self.accompany(action, word)?;
        if let Some(rule) = self.unfit(action) {
            return Err(FlowError::Misplaced { at, word: word.short(), rule });
        }
        match action {
            Action::SetField { field, value, mask } => {
                self.require_written(*field, &at)?;
                self.written(*field, *value, *mask);
            }
            Action::Move { src, dst } => {
                if src.bits != dst.bits {
                    return Err(FlowError::Widths { at, src: src.bits, dst: dst.bits });
                }
                self.require(src.field, &at)?;
                self.overwrite(*dst, &at)?;
            }
            Action::OutputField(src) | Action::Push(src) => self.require(src.field, &at)?,
            Action::Pop(dst) | Action::CheckPktLarger { dst, .. } => self.overwrite(*dst, &at)?,
            Action::Multipath(multipath) => self.overwrite(multipath.dst, &at)?,
            Action::Bundle(bundle) => {
                bundle.dst.map_or(Ok(()), |dst| self.overwrite(dst, &at))?;
            }
            Action::Learn(learn) => self.follow_learn(learn, &at)?,
            Action::Ct(ct) => self.follow_ct(ct, &at)?,
            Action::PushVlan(_) if self.tags == [Tag::Yes; 2] => {
                let rule = "would push a third tag";
                return Err(FlowError::Misplaced { at, word: word.short(), rule });
            }
            Action::PushVlan(_) => self.tags = [Tag::Yes, self.tags[0]],
            Action::PopVlan => {
                self.require_needs("pop_vlan", Needs::Vlan, &at)?;
                let next = if self.tags[1] == Tag::No { Tag::No } else { Tag::Perhaps };
                self.tags = [self.tags[1], next];
            }
            Action::ModVlanVid(_) | Action::ModVlanPcp(_) => self.tags[0] = Tag::Yes,
            Action::DecTtl(_) => self.require_needs("dec_ttl", Needs::Ip, &at)?,
            Action::FinTimeout { .. } => self.require_needs("fin_timeout", Needs::Tcp, &at)?,
            Action::Resubmit { .. } => {
                self.tags = self.tags.map(|tag| if tag == Tag::No { Tag::Perhaps } else { tag });
            }
            _ => {}
        }
        Ok(())
    }

    /// What is wrong with an action of this kind in this list, if anything is.
    fn unfit(&self, action: &Action) -> Option<&'static str> {
        match self.place {
            Place::Set | Place::Bucket if !is_of_set(action) => {
                Some("cannot be part of an action set")
            }
            Place::Exec if !is_of_exec(action) => Some(EXEC_WRITES),
            _ => None,
        }
    }

    /// Keeps the instructions in their order.
    fn advance(&mut self, action: &Action, word: Part<'_>) -> Result<(), FlowError> {
        let stage = Stage::of(action);
        let misplaced =
            |rule| Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule });
        if let (Action::GotoTable(to), Some(from)) = (action, self.table)
            && *to <= from
        {
            return misplaced("must lead to a later table");
        }
        match self.stage {
            _ if stage == Stage::Actions && self.stage == Some(Stage::Actions) => {}
            // OpenFlow 1.5 has it as an action.
            _ if stage == Stage::Meter
                && self.place == Place::PacketOut
                && self.stage.is_none() => {}
            _ if stage != Stage::Actions && self.place != Place::Flow => {
                return misplaced(match self.place {
                    Place::Bucket => "cannot stand in a bucket: only flows have instructions",
                    Place::PacketOut => "cannot go with a packet: only flows have instructions",
                    _ => "cannot stand within another action",
                });
            }
            Some(before) if stage == before => return misplaced("can stand there only once"),
            Some(before) if stage < before => return misplaced(before.rule()),
            _ => {}
        }
        self.stage = Some(stage);
        Ok(())
    }

    /// Keeps the clauses of conjunctive matches, which are no actions to be executed, apart from
    /// those that are.
    fn accompany(&mut self, action: &Action, word: Part<'_>) -> Result<(), FlowError> {
        let now = match action {
            Action::Note(_) => return Ok(()),
            Action::Conjunction { .. } => Company::Conjunctions,
            _ => Company::Others,
        };
        let rule = match (self.company, now) {
            (_, Company::Conjunctions) if self.place != Place::Flow => "is for flows alone",
            (Company::Others, Company::Conjunctions) => "stands beside its like and `note` only",
            (Company::Conjunctions, Company::Others) => "cannot stand beside `conjunction`",
            _ => {
                self.company = now;
                return Ok(());
            }
        };
        Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule })
    }

    /// Whether the packet has what is learned from it, and the learned flow what it is about. The
    /// constants that it matches say which packets it is for.
    fn follow_learn(&mut self, learn: &Learn, at: &Range<usize>) -> Result<(), FlowError> {
        if let Some(dst) = learn.result_dst {
            self.overwrite(dst, at)?;
        }
        let mut learned = Match::ANY;
        for spec in &learn.specs {
            match *spec {
                LearnSpec::Match { dst, src } => {
                    let unmet = |unmet| FlowError::prerequisite(at.clone(), unmet);
                    learned.require(dst.field).map_err(unmet)?;
                    self.require_source(src, dst, at)?;
                    if let LearnSource::Value(value) = src {
                        learned.put_part(dst, value);
                    }
                }
                LearnSpec::Load { dst, src } => {
                    Assumed::at_start(&learned, None).require_written(dst.field, at)?;
                    self.require_source(src, dst, at)?;
                }
                LearnSpec::Output(src) => self.require(src.field, at)?,
            }
        }
        Ok(())
    }

    /// Whether a packet has what it is tracked by, and can be what its new connection is given.
    fn follow_ct(&self, ct: &Ct, at: &Range<usize>) -> Result<(), FlowError> {
        self.require_needs("ct", Needs::Ip, at)?;
        match ct.alg {
            Some(Alg::Ftp) => self.require_needs("alg=ftp", Needs::Tcp, at)?,
            Some(Alg::Tftp) => self.require_needs("alg=tftp", Needs::Udp, at)?,
            None => {}
        }
        match ct.nat.as_ref().and_then(Nat::range).and_then(|range| range.addresses) {
            Some((IpAddr::V4(_), _)) => self.require_needs("nat", Needs::Ipv4, at)?,
            Some((IpAddr::V6(_), _)) => self.require_needs("nat", Needs::Ipv6, at)?,
            None => {}
        }
        if let CtZone::Field(src) = ct.zone {
            self.require(src.field, at)?;
        }
        if ct.commit && self.matching.is_invalid() {
            let rule = "keeps no connection where the match says `+inv`";
            return Err(FlowError::Misplaced { at: at.clone(), word: "commit".to_owned(), rule });
        }
        Ok(())
    }

    fn require_source(
        &self,
        src: LearnSource,
        dst: Subfield,
        at: &Range<usize>,
    ) -> Result<(), FlowError> {
        match src {
            LearnSource::Field(src) if src.bits != dst.bits => {
                Err(FlowError::Widths { at: at.clone(), src: src.bits, dst: dst.bits })
            }
            LearnSource::Field(src) => self.require(src.field, at),
            LearnSource::Value(_) => Ok(()),
        }
    }

    /// Goes on behind an action that writes anything there.
    fn overwrite(&mut self, dst: Subfield, at: &Range<usize>) -> Result<(), FlowError> {
        self.require_written(dst.field, at)?;
        if dst.field == Field::VlanTci && (dst.first..dst.first + dst.bits).contains(&12) {
            self.tags[0] = Tag::Perhaps;
        }
        Ok(())
    }

    /// Whether the packet has `field`; a connection has ports, or zero in their place, whatever its
    /// protocol.
    fn require(&self, field: Field, at: &Range<usize>) -> Result<(), FlowError> {
        let needs = if field.needs() == Needs::CtPorts { Needs::Ct } else { field.needs() };
        self.require_needs(field.name(), needs, at)
    }

    /// Whether actions at this place may write `field`, of which `at` speaks.
    pub(super) fn may_write(&self, field: Field, at: &Range<usize>) -> Result<(), FlowError> {
        let rule = match (self.place == Place::Exec, field.is_of_connection()) {
            (true, true) => return Ok(()),
            (false, false) if field.is_writable() => return Ok(()),
            (false, true) => "is written within `ct(exec(...))` alone",
            (true, false) if field.is_writable() => EXEC_WRITES,
            _ => return Err(FlowError::ReadOnly { at: at.clone(), field: field.name() }),
        };
        Err(FlowError::Misplaced { at: at.clone(), word: field.name().to_owned(), rule })
    }

    /// Whether the packet has `field` and it can be written; the VID takes a tag to be written
    /// into.
    fn require_written(&self, field: Field, at: &Range<usize>) -> Result<(), FlowError> {
        self.may_write(field, at)?;
        let needs = if field == Field::VlanVid { Needs::Vlan } else { field.needs() };
        self.require_needs(field.name(), needs, at)
    }

    fn require_needs(
        &self,
        field: &'static str,
        needs: Needs,
        at: &Range<usize>,
    ) -> Result<(), FlowError> {
        let missing = match needs {
            Needs::Vlan => match self.tags[0] {
                Tag::Yes => None,
                Tag::Perhaps if !self.matched => None,
                _ => Some("dl_vlan"),
            },
            _ if !self.matched => None,
            _ => self.matching.missing(needs),
        };
        match missing {
            None => Ok(()),
            Some(needs) => Err(FlowError::Prerequisite { at: at.clone(), field, needs }),
        }
    }

    /// Takes note of a write into the bit that says whether there is a tag.
    fn written(&mut self, field: Field, value: u128, mask: u128) {
        const PRESENT: u128 = 0x1000;
        if field == Field::VlanTci && mask & PRESENT != 0 {
            self.tags[0] = if value & PRESENT != 0 { Tag::Yes } else { Tag::No };
        }
    }
}

/// What is wrong with anything else in `exec`.
const EXEC_WRITES: &str = "has no place in `exec`, which writes `ct_mark` and `ct_label` alone";

/// Whether it writes fields and does nothing else.
fn is_of_exec(action: &Action) -> bool {
    matches!(action, Action::SetField { .. } | Action::Move { .. })
}

/// Whether an action set may have it (OpenFlow 1.5 §5.6).
fn is_of_set(action: &Action) -> bool {
    match action {
        Action::Ct(_)
        | Action::CtClear
        | Action::Output(_)
        | Action::Group(_)
        | Action::Resubmit { .. }
        | Action::SetQueue(_)
        | Action::SetField { .. }
        | Action::Move { .. }
        | Action::PushVlan(_)
        | Action::PopVlan
        | Action::ModVlanVid(_)
        | Action::ModVlanPcp(_)
        | Action::DecTtl(_) => true,
        // Sending it there, which is all that OpenFlow's own action says.
        Action::Controller(controller) => controller.is_plain(),
        _ => false,
    }
}
