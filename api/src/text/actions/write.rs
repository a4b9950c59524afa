//! Actions that write or keep fields, read.

use packet::{ethernet, vlan};

use super::super::assumed::{Assumed, Tag};
use super::super::error::FlowError;
use super::super::part::Part;
use super::super::{value, words};
use super::{Item, List, Reader};
use crate::action::{Action, Subfield};
use crate::field::Field;

impl Reader<'_> {
    /// An action that writes, reads or keeps fields.
    pub(super) fn write(
        &self,
        item: &Item<'_, '_>,
        assumed: &Assumed<'_>,
    ) -> Result<Option<Action>, FlowError> {
        Ok(Some(match item.name {
            "push_vlan" => Action::PushVlan(tag_type(item.given()?)?),
            "strip_vlan" | "pop_vlan" => item.alone(Action::PopVlan)?,
            "set_field" => self.set_field(item.given()?, assumed)?,
            "load" => load(item.given()?, assumed)?,
            "move" => {
                let (src, dst) = arrow(item.given()?)?;
                Action::Move { src: subfield(src, assumed)?, dst: subfield(dst, assumed)? }
            }
            "push" => Action::Push(subfield(item.given()?, assumed)?),
            "pop" => Action::Pop(subfield(item.given()?, assumed)?),
            "mod_nw_tos" => {
                // The same as `ip_dscp`, with the ECN bits in place.
                let (tos, _) = self.unmasked(item.given()?, Field::IpTos)?;
                whole(Field::IpDscp, tos >> 2)
            }
            name => match modified_field(name, assumed) {
                Some(field) => {
                    let (value, mask) = self.unmasked(item.given()?, field)?;
                    Action::SetField { field, value, mask }
                }
                None => return Ok(None),
            },
        }))
    }

    /// `set_field:VALUE[/MASK]->FIELD`.
    fn set_field(&self, part: Part<'_>, assumed: &Assumed<'_>) -> Result<Action, FlowError> {
        let (written, name) = arrow(part)?;
        let field = match words::field(name.text) {
            Some(word) => word.meant(assumed.matching()),
            None => return Err(words::unknown_field(name)),
        };
        assumed.may_write(field, &name.at())?;
        let (value, mask) = value::parse(written, field, self.ports)?;
        set_bits(written, field, value, mask)
    }

    /// The value of a word that takes no mask.
    fn unmasked(&self, part: Part<'_>, field: Field) -> Result<(u128, u128), FlowError> {
        let (value, mask) = value::parse(part, field, self.ports)?;
        match part.text.contains('/') {
            true => Err(FlowError::NotMaskable { at: part.at(), field: field.name() }),
            false => Ok((value, mask)),
        }
    }

    /// The words of OpenFlow 1.0 that set part of a tag: what they become depends on whether there
    /// is one. `set_*` takes a tag for granted, `mod_*` makes one.
    pub(super) fn tag_part(
        &mut self,
        item: &Item<'_, '_>,
        assumed: &mut Assumed<'_>,
        list: &mut List<'_>,
    ) -> Result<Action, FlowError> {
        let (name, value) = (item.name, item.given()?);
        let (write, modify) = if name.ends_with("vid") {
            let vid = value::bits(value, name, 12)?;
            let modify = Action::ModVlanVid(u16::try_from(vid).unwrap_or(0));
            (whole(Field::VlanVid, vid | 0x1000), modify)
        } else {
            let pcp = value::bits(value, name, 3)?;
            let modify = Action::ModVlanPcp(u8::try_from(pcp).unwrap_or(0));
            (whole(Field::VlanPcp, pcp), modify)
        };
        match assumed.tag() {
            Tag::Yes => Ok(write),
            // Which will be refused unless nobody knows whether there is one.
            _ if name.starts_with("set_") => Ok(write),
            Tag::Perhaps => Ok(modify),
            Tag::No => {
                let push = Action::PushVlan(ethernet::VLAN);
                self.push(push, item.parameter.word, assumed, list)?;
                Ok(write)
            }
        }
    }
}

/// Writing all of a field.
fn whole(field: Field, value: u128) -> Action {
    Action::SetField { field, value, mask: field.ones() }
}

/// `load:VALUE->FIELD[a..b]`.
fn load(part: Part<'_>, assumed: &Assumed<'_>) -> Result<Action, FlowError> {
    let (number, target) = arrow(part)?;
    let Subfield { field, first, bits } = subfield(target, assumed)?;
    assumed.may_write(field, &target.at())?;
    let value = value::bits(number, field.name(), bits)?;
    let mask = u128::MAX >> (128 - u32::from(bits));
    if value << first & mask << first & !field.ones() != 0 {
        let expected = "a multiple of 4, the ECN bits being `nw_ecn`";
        let (at, of) = (number.at(), field.name().to_owned());
        return Err(FlowError::Value { at, of, expected, found: number.found() });
    }
    set_bits(target, field, value << first, mask << first & field.ones())
}

/// Writing `value` under `mask`; some fields take no other.
fn set_bits(at: Part<'_>, field: Field, value: u128, mask: u128) -> Result<Action, FlowError> {
    let wrong = |expected| {
        Err(FlowError::Value {
            at: at.at(),
            of: field.name().to_owned(),
            expected,
            found: at.found(),
        })
    };
    const PRESENT: u128 = 0x1000;
    if mask == 0 {
        return wrong("a mask with at least one bit");
    }
    if field == Field::VlanVid && mask & PRESENT != 0 && value & PRESENT == 0 {
        return wrong("a VID with the presence bit 0x1000; `pop_vlan` removes a tag");
    }
    Ok(Action::SetField { field, value, mask })
}

/// The field that a word of OpenFlow 1.0 sets.
fn modified_field(name: &str, assumed: &Assumed<'_>) -> Option<Field> {
    Some(match name {
        "mod_dl_src" => Field::EthSrc,
        "mod_dl_dst" => Field::EthDst,
        "mod_nw_src" => Field::IpSrc,
        "mod_nw_dst" => Field::IpDst,
        "mod_nw_ecn" => Field::IpEcn,
        "mod_nw_ttl" | "set_nw_ttl" => Field::IpTtl,
        "mod_tp_src" | "mod_tp_dst" => {
            words::field(if name == "mod_tp_src" { "tp_src" } else { "tp_dst" })?
                .meant(assumed.matching())
        }
        "set_tunnel" | "set_tunnel64" => Field::TunId,
        _ => return None,
    })
}

/// What stands before and behind the last `->`; a quoted port name may hold one too.
pub(in super::super) fn arrow(part: Part<'_>) -> Result<(Part<'_>, Part<'_>), FlowError> {
    const ARROW: &str = "->";
    let expected = "a value, `->` and a field, without blanks";
    let none = || FlowError::Syntax { at: part.at(), expected, found: part.found() };
    let at = part.text.rfind(ARROW).ok_or_else(none)?;
    Ok((part.slice(0..at), part.slice(at + ARROW.len()..part.text.len())))
}

/// `FIELD`, `FIELD[]`, `FIELD[n]` or `FIELD[a..b]`, by OVS's name or the NXM or OXM name.
pub(in super::super) fn subfield(
    part: Part<'_>,
    assumed: &Assumed<'_>,
) -> Result<Subfield, FlowError> {
    let (name, bits) = value::split_bits(part)?;
    let nxm = || Field::from_nxm_name(name.text);
    let known = words::field(name.text).map(|word| word.meant(assumed.matching())).or_else(nxm);
    let field = known.ok_or_else(|| words::unknown_field(name))?;
    match bits {
        None => Ok(Subfield::whole(field)),
        Some(bits) => value::range(bits, field),
    }
}

/// The same where one bit is meant.
pub(in super::super) fn bit(part: Part<'_>, assumed: &Assumed<'_>) -> Result<Subfield, FlowError> {
    let bit = subfield(part, assumed)?;
    Some(bit).filter(|bit| bit.bits == 1).ok_or_else(|| {
        let (at, of) = (part.at(), bit.field.name().to_owned());
        FlowError::Value { at, of, expected: "one bit here", found: part.found() }
    })
}

fn tag_type(part: Part<'_>) -> Result<u16, FlowError> {
    let wrong = || {
        let (at, expected) = (part.at(), "0x8100 or 0x88a8");
        FlowError::Value { at, of: "push_vlan".to_owned(), expected, found: part.found() }
    };
    let number = value::fit(part, "push_vlan")?;
    if vlan::is_tag(number) { Ok(number) } else { Err(wrong()) }
}
