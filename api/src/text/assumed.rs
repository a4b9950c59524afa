//! What may be taken for granted at a place in an action list: which headers the packet has, and
//! which instructions may still come. OVS does the same in `ofpacts_check`.
//!
//! The match says it at the beginning; then pushing and popping tags changes it. A resubmit may
//! change the packet too, but OVS lets flows rely on the match beyond one, and so do we: only the
//! certainty that there is *no* tag ends there, because it decides whether `mod_vlan_vid` pushes
//! one.

use std::ops::Range;

use super::error::FlowError;
use super::part::Part;
use crate::action::{Action, Subfield};
use crate::field::{Field, Needs};
use crate::flow::{Match, TableId};

/// Whether there is a tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tag {
    No,
    Perhaps,
    Yes,
}

/// How far the instructions have come; they stand in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    Actions,
    WriteMetadata,
    GotoTable,
}

/// What holds at a place in an action list.
#[derive(Clone, Debug)]
pub(crate) struct Assumed<'a> {
    matching: &'a Match,
    table: Option<TableId>,
    /// The outermost tag, and the one behind it.
    tags: [Tag; 2],
    stage: Stage,
    nested: bool,
}

impl<'a> Assumed<'a> {
    /// At the beginning of the actions of a flow in `table`, if that is known.
    pub(crate) fn at_start(matching: &'a Match, table: Option<TableId>) -> Self {
        let tags = match (matching.has_tag(), matching.has_no_tag()) {
            (true, _) => [Tag::Yes, Tag::Perhaps],
            (_, true) => [Tag::No; 2],
            _ => [Tag::Perhaps; 2],
        };
        Self { matching, table, tags, stage: Stage::Actions, nested: false }
    }

    /// At the beginning of a list within this one, whose effects end with it.
    pub(crate) fn nested(&self) -> Self {
        Self { stage: Stage::Actions, nested: true, ..self.clone() }
    }

    /// The match of the flow.
    pub(crate) fn matching(&self) -> &'a Match {
        self.matching
    }

    /// Whether the packet has a tag here.
    pub(crate) fn tag(&self) -> Tag {
        self.tags[0]
    }

    /// Goes on behind `action` if it may stand here.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn admit(&mut self, action: &Action) -> bool {
        self.follow(action, Part::new("")).is_ok()
    }

    /// Goes on behind `action`, which `word` begins, or says why it may not stand here. What is
    /// inside of a clone has been looked at already.
    pub(super) fn follow(&mut self, action: &Action, word: Part<'_>) -> Result<(), FlowError> {
        self.advance(action, word)?;
        let at = word.at();
        match action {
            Action::SetField { field, value, mask } => {
                if !field.is_writable() {
                    return Err(FlowError::ReadOnly { at, field: field.name() });
                }
                self.require_written(*field, &at)?;
                self.written(*field, *value, *mask);
            }
            Action::Move { src, dst } => self.follow_move(*src, *dst, &at)?,
            Action::PushVlan(_) if self.tags == [Tag::Yes; 2] => {
                let rule = "would push a third tag";
                return Err(FlowError::Misplaced { at, word: word.short(), rule });
            }
            Action::PushVlan(_) => self.tags = [Tag::Yes, self.tags[0]],
            Action::PopVlan if self.tags[0] != Tag::Yes => {
                return Err(FlowError::Prerequisite { at, field: "pop_vlan", needs: "dl_vlan" });
            }
            Action::PopVlan if self.tags[1] == Tag::No => self.tags = [Tag::No; 2],
            Action::PopVlan => self.tags = [self.tags[1], Tag::Perhaps],
            Action::ModVlanVid(_) | Action::ModVlanPcp(_) => self.tags[0] = Tag::Yes,
            Action::DecTtl(_) => self.require_needs("dec_ttl", Needs::Ip, &at)?,
            Action::Resubmit { .. } => {
                self.tags = self.tags.map(|tag| if tag == Tag::No { Tag::Perhaps } else { tag });
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps the instructions in their order.
    fn advance(&mut self, action: &Action, word: Part<'_>) -> Result<(), FlowError> {
        let stage = match action {
            Action::WriteMetadata { .. } => Stage::WriteMetadata,
            Action::GotoTable(_) => Stage::GotoTable,
            _ => Stage::Actions,
        };
        let misplaced =
            |rule| Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule });
        if let (Action::GotoTable(to), Some(from)) = (action, self.table)
            && *to <= from
        {
            return misplaced("must lead to a later table");
        }
        match (stage, self.stage) {
            (Stage::Actions, Stage::WriteMetadata) => {
                misplaced("must stand before `write_metadata`")
            }
            (Stage::Actions, Stage::Actions) => Ok(()),
            _ if self.nested => misplaced("cannot stand within another action"),
            (stage, before) if stage == before => misplaced("can stand there only once"),
            (stage, before) if stage < before => misplaced("must stand before `goto_table`"),
            _ => {
                self.stage = stage;
                Ok(())
            }
        }
    }

    fn follow_move(
        &mut self,
        src: Subfield,
        dst: Subfield,
        at: &Range<usize>,
    ) -> Result<(), FlowError> {
        if src.bits != dst.bits {
            return Err(FlowError::Widths { at: at.clone(), src: src.bits, dst: dst.bits });
        }
        if !dst.field.is_writable() {
            return Err(FlowError::ReadOnly { at: at.clone(), field: dst.field.name() });
        }
        self.require(src.field, at)?;
        self.require_written(dst.field, at)?;
        let presence =
            dst.field == Field::VlanTci && (dst.first..dst.first + dst.bits).contains(&12);
        if presence {
            self.tags[0] = Tag::Perhaps;
        }
        Ok(())
    }

    /// Whether the packet has `field`.
    fn require(&self, field: Field, at: &Range<usize>) -> Result<(), FlowError> {
        self.require_needs(field.name(), field.needs(), at)
    }

    /// Whether the packet has `field` and it can be written; the VID takes a tag to be written
    /// into.
    fn require_written(&self, field: Field, at: &Range<usize>) -> Result<(), FlowError> {
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
            Needs::Vlan => (self.tags[0] != Tag::Yes).then_some("dl_vlan"),
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
