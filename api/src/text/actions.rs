//! Action lists, read.

use packet::{ethernet, vlan};

use super::assumed::{Assumed, Tag};
use super::error::FlowError;
use super::part::{Cursor, Part, Then, Word};
use super::ports::{self, PortNames};
use super::{MAX_ACTIONS, MAX_NESTING, value, words};
use crate::action::{Action, OutPort, Subfield};
use crate::field::Field;

/// Reads the list that is all of `text`. `assumed` says what holds at its beginning.
pub(super) fn parse(
    text: Part<'_>,
    mut assumed: Assumed<'_>,
    ports: &dyn PortNames,
) -> Result<Vec<Action>, FlowError> {
    let mut cursor = Cursor::new(text);
    let mut reader = Reader { ports, actions: 0 };
    let list = reader.list(&mut cursor, &mut assumed, 1, usize::MAX)?;
    cursor.end()?;
    Ok(list)
}

/// Reads actions.
struct Reader<'a> {
    ports: &'a dyn PortNames,
    /// How many have been read, those within others included.
    actions: usize,
}

impl Reader<'_> {
    /// Reads up to the end of the text or to a closing parenthesis, or `limit` actions.
    fn list(
        &mut self,
        cursor: &mut Cursor<'_>,
        assumed: &mut Assumed<'_>,
        depth: usize,
        limit: usize,
    ) -> Result<Vec<Action>, FlowError> {
        let mut list = Vec::new();
        let mut drop = None;
        for _ in 0..limit {
            let Some(word) = cursor.word()? else { break };
            let name = word.text().to_ascii_lowercase();
            if words::is_unsupported_action(&name) {
                return Err(FlowError::Unsupported { at: word.at(), word: name });
            } else if name == "drop" {
                refuse(word, cursor.value(word)?)?;
                drop = Some(word);
            } else if name == "clone" {
                let inner = self.clone_list(cursor, word, assumed, depth)?;
                self.push(Action::Clone(inner), word, assumed, &mut list)?;
            } else {
                let value = cursor.value(word)?;
                self.item(&name, word, value, assumed, &mut list)?;
            }
        }
        match drop {
            Some(word) if !list.is_empty() => {
                let rule = "must stand alone";
                Err(FlowError::Misplaced { at: word.at(), word: word.part.short(), rule })
            }
            _ => Ok(list),
        }
    }

    /// Reads the list of `clone(...)`, where what the copy becomes does not matter outside.
    fn clone_list(
        &mut self,
        cursor: &mut Cursor<'_>,
        word: Word<'_>,
        assumed: &Assumed<'_>,
        depth: usize,
    ) -> Result<Vec<Action>, FlowError> {
        if depth == MAX_NESTING {
            return Err(FlowError::TooDeep { at: word.at(), limit: MAX_NESTING });
        }
        let mut inside = assumed.nested();
        match word.then {
            Then::Nothing => Ok(Vec::new()),
            Then::Parenthesis => {
                let list = self.list(cursor, &mut inside, depth + 1, usize::MAX)?;
                cursor.close(word)?;
                Ok(list)
            }
            // `clone:1`: such a value ends where its only item ends.
            Then::Colon | Then::Equals if cursor.is_at_end_of_item() => Ok(Vec::new()),
            Then::Colon | Then::Equals => self.list(cursor, &mut inside, depth + 1, 1),
        }
    }

    fn push(
        &mut self,
        action: Action,
        word: Word<'_>,
        assumed: &mut Assumed<'_>,
        list: &mut Vec<Action>,
    ) -> Result<(), FlowError> {
        self.actions += 1;
        if self.actions > MAX_ACTIONS {
            return Err(FlowError::TooMany { at: word.at(), limit: MAX_ACTIONS });
        }
        assumed.follow(&action, word.part)?;
        list.push(action);
        Ok(())
    }

    /// Reads one action, which may become two.
    fn item(
        &mut self,
        name: &str,
        word: Word<'_>,
        value: Option<Part<'_>>,
        assumed: &mut Assumed<'_>,
        list: &mut Vec<Action>,
    ) -> Result<(), FlowError> {
        let given = || match value {
            Some(value) if !value.text.is_empty() => Ok(value),
            _ => Err(FlowError::MissingValue { at: word.at(), word: word.part.short() }),
        };
        let action = match name {
            "output" => Action::Output(self.output(given()?)?),
            "resubmit" => self.resubmit(word, value)?,
            "goto_table" => Action::GotoTable(value::table(given()?, name)?),
            "write_metadata" => {
                let (value, mask) = value::parse(given()?, Field::Metadata, self.ports)?;
                let half = |word: u128| u64::try_from(word).unwrap_or(0);
                Action::WriteMetadata { value: half(value), mask: half(mask) }
            }
            "push_vlan" => Action::PushVlan(tag_type(given()?)?),
            "strip_vlan" | "pop_vlan" => {
                refuse(word, value)?;
                Action::PopVlan
            }
            "mod_vlan_vid" | "set_vlan_vid" | "mod_vlan_pcp" | "set_vlan_pcp" => {
                self.tag_part(name, word, given()?, assumed, list)?
            }
            "dec_ttl" if value.is_some_and(|ids| !ids.text.is_empty()) => {
                let word = "dec_ttl with controller ids".to_owned();
                return Err(FlowError::Unsupported { at: given()?.at(), word });
            }
            "dec_ttl" => Action::DecTtl(Vec::new()),
            "set_field" => self.set_field(given()?, assumed)?,
            "load" => load(given()?, assumed)?,
            "move" => {
                let (src, dst) = arrow(given()?)?;
                Action::Move { src: subfield(src, assumed)?, dst: subfield(dst, assumed)? }
            }
            "mod_nw_tos" => {
                // The same as `ip_dscp`, with the ECN bits in place.
                let (tos, _) = self.unmasked(given()?, Field::IpTos)?;
                whole(Field::IpDscp, tos >> 2)
            }
            _ => match modified_field(name, assumed) {
                Some(field) => {
                    let (value, mask) = self.unmasked(given()?, field)?;
                    Action::SetField { field, value, mask }
                }
                None => Action::Output(self.bare_port(word, value)?),
            },
        };
        self.push(action, word, assumed, list)
    }

    /// `output:PORT`.
    fn output(&self, part: Part<'_>) -> Result<OutPort, FlowError> {
        if is_field_reference(part) {
            let word = "output to a port that a field names".to_owned();
            return Err(FlowError::Unsupported { at: part.at(), word });
        }
        if part.text.contains('=') && part.unquoted().is_none() {
            return Err(FlowError::Unsupported {
                at: part.at(),
                word: "output with max_len".to_owned(),
            });
        }
        out_port(part, ports::parse(part, "output", self.ports)?)
    }

    /// A port that stands for the action of outputting to it: `2`, `LOCAL`, `p1`.
    fn bare_port(&self, word: Word<'_>, value: Option<Part<'_>>) -> Result<OutPort, FlowError> {
        match ports::parse(word.part, "output", self.ports) {
            Ok(number) => {
                refuse(word, value)?;
                out_port(word.part, number)
            }
            Err(FlowError::UnknownPort { .. }) if word.part.unquoted().is_none() => {
                Err(words::unknown(word.part, "action", words::ACTIONS.iter().copied()))
            }
            Err(error) => Err(error),
        }
    }

    /// `resubmit:PORT`, `resubmit([PORT],[TABLE])`.
    fn resubmit(&self, word: Word<'_>, value: Option<Part<'_>>) -> Result<Action, FlowError> {
        let nothing = || {
            let (at, expected) = (word.at(), "a port or a table, as in `resubmit(,1)`");
            FlowError::Value { at, of: word.part.short(), expected, found: "neither".to_owned() }
        };
        let all = value.ok_or_else(nothing)?;
        let mut parameters = all.list();
        let mut parameter = || parameters.next().filter(|part| !part.text.is_empty());
        let (in_port, table, rest) = (parameter(), parameter(), parameter());
        if let Some(rest) = rest {
            let word = format!("resubmit with `{}`", rest.short());
            return Err(FlowError::Unsupported { at: rest.at(), word });
        }
        let in_port = in_port.map(|part| ports::parse(part, "resubmit", self.ports)).transpose()?;
        let in_port = in_port.filter(|port| *port != ports::IN_PORT);
        // 255 is the table this flow is in.
        let table = table.filter(|part| part.text != "255");
        let table = table.map(|part| value::table(part, "resubmit")).transpose()?;
        if in_port.is_none() && table.is_none() {
            return Err(nothing());
        }
        Ok(Action::Resubmit { in_port, table })
    }

    /// `set_field:VALUE[/MASK]->FIELD`.
    fn set_field(&self, part: Part<'_>, assumed: &Assumed<'_>) -> Result<Action, FlowError> {
        let (written, name) = arrow(part)?;
        let field = match words::field(name.text) {
            Some(word) => word.meant(assumed.matching()),
            None => return Err(words::unknown_field(name)),
        };
        if !field.is_writable() {
            return Err(FlowError::ReadOnly { at: name.at(), field: field.name() });
        }
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
    fn tag_part(
        &mut self,
        name: &str,
        word: Word<'_>,
        value: Part<'_>,
        assumed: &mut Assumed<'_>,
        list: &mut Vec<Action>,
    ) -> Result<Action, FlowError> {
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
            // Which will be refused.
            _ if name.starts_with("set_") => Ok(write),
            Tag::Perhaps => Ok(modify),
            Tag::No => {
                self.push(Action::PushVlan(ethernet::VLAN), word, assumed, list)?;
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
    if !field.is_writable() {
        return Err(FlowError::ReadOnly { at: target.at(), field: field.name() });
    }
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
        _ => return None,
    })
}

/// What stands before and behind the last `->`; a quoted port name may hold one too.
fn arrow(part: Part<'_>) -> Result<(Part<'_>, Part<'_>), FlowError> {
    const ARROW: &str = "->";
    let expected = "a value, `->` and a field, without blanks";
    let none = || FlowError::Syntax { at: part.at(), expected, found: part.found() };
    let at = part.text.rfind(ARROW).ok_or_else(none)?;
    Ok((part.slice(0..at), part.slice(at + ARROW.len()..part.text.len())))
}

/// `FIELD`, `FIELD[]`, `FIELD[n]` or `FIELD[a..b]`, by OVS's name or the NXM or OXM name.
fn subfield(part: Part<'_>, assumed: &Assumed<'_>) -> Result<Subfield, FlowError> {
    let (name, bits) = value::split_bits(part)?;
    let nxm = || Field::from_nxm_name(name.text);
    let known = words::field(name.text).map(|word| word.meant(assumed.matching())).or_else(nxm);
    let field = known.ok_or_else(|| words::unknown_field(name))?;
    match bits {
        None => Ok(Subfield::whole(field)),
        Some(bits) => value::range(bits, field),
    }
}

/// Whether a port is given by a field that holds its number.
fn is_field_reference(part: Part<'_>) -> bool {
    let name = part.text.split('[').next().unwrap_or_default();
    let is_field = || words::field(name).is_some() || Field::from_nxm_name(name).is_some();
    part.unquoted().is_none() && ports::reserved(part.text).is_none() && is_field()
}

fn out_port(part: Part<'_>, number: u16) -> Result<OutPort, FlowError> {
    OutPort::from_number(number).ok_or_else(|| {
        let (at, expected) = (part.at(), "a port from 1 to 65279, or a reserved one to send to");
        FlowError::Value { at, of: "output".to_owned(), expected, found: part.found() }
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

fn refuse(word: Word<'_>, value: Option<Part<'_>>) -> Result<(), FlowError> {
    match value {
        Some(value) if !value.text.is_empty() => {
            Err(FlowError::UnwantedValue { at: value.at(), word: word.part.short() })
        }
        _ => Ok(()),
    }
}
