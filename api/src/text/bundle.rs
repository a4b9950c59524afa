//! Choices by a hash, read and printed: `bundle(...)`, `bundle_load(...)` and `multipath(...)`.

use std::fmt;

use super::actions::subfield;
use super::assumed::Assumed;
use super::error::FlowError;
use super::part::{Cursor, Part, Then, Word};
use super::ports::{self, PortNames};
use super::print::{Bits, Printed};
use super::value;
use crate::action::{Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm, Subfield};

/// Reads `FIELDS,BASIS,ALGORITHM,ofport[,FIELD],members:PORT,...`; `load` says whether there is a
/// field to write the port's number into.
pub(super) fn parse(
    part: Part<'_>,
    load: bool,
    assumed: &Assumed<'_>,
    names: &dyn PortNames,
) -> Result<Bundle, FlowError> {
    let of = if load { "bundle_load" } else { "bundle" };
    let mut places = Places { of, all: part, cursor: Cursor::new(part) };
    let fields = places.one_of(&HashFields::ALL, HASH)?;
    let basis = value::fit(places.next()?.part, of)?;
    let algorithm = places.one_of(&BundleAlgorithm::ALL, "active_backup or hrw")?;
    places.one_of(&[((), "ofport")], "ofport as the kind of its members")?;
    let dst = if load { Some(number_place(places.next()?.part, assumed)?) } else { None };
    let members = places.next()?;
    let said = matches!(members.text(), "members" | "slaves");
    if !said || !matches!(members.then, Then::Colon | Then::Equals) {
        let expected = "`members:` and ports at its end";
        return Err(places.wrong(members.part, expected));
    }
    let list = places.cursor.rest().list().filter(|port| !port.text.trim().is_empty());
    let members = list.map(|port| ports::parse(port, of, names)).collect::<Result<_, _>>()?;
    Ok(Bundle { fields, basis, algorithm, members, dst })
}

/// Reads `FIELDS,BASIS,ALGORITHM,LINKS,ARG,FIELD`.
pub(super) fn multipath(part: Part<'_>, assumed: &Assumed<'_>) -> Result<Multipath, FlowError> {
    let of = "multipath";
    let mut places = Places { of, all: part, cursor: Cursor::new(part) };
    let fields = places.one_of(&HashFields::ALL, HASH)?;
    let basis = value::fit(places.next()?.part, of)?;
    let expected = "modulo_n, hash_threshold, hrw or iter_hash";
    let algorithm = places.one_of(&MultipathAlgorithm::ALL, expected)?;
    let count = places.next()?.part;
    let links = value::fit(count, of)?;
    let arg = value::fit(places.next()?.part, of)?;
    let dst = subfield(places.next()?.part, assumed)?;
    if !(1..=0x1_0000).contains(&links) {
        return Err(places.wrong(count, "1 to 65536 links"));
    }
    if links > 1 && u128::from(links - 1) >> dst.bits.min(127) != 0 {
        return Err(places.wrong(count, "no more links than its field has values"));
    }
    match places.cursor.word()? {
        Some(more) => Err(places.wrong(more.part, "six parameters")),
        None => {
            places.cursor.end().map(|()| Multipath { fields, basis, algorithm, links, arg, dst })
        }
    }
}

/// The words for what is hashed.
const HASH: &str = "eth_src, symmetric_l4, symmetric_l3l4, symmetric_l3l4+udp, symmetric_l3, \
                    nw_src or nw_dst";

/// Parameters that are told by their places.
struct Places<'t> {
    of: &'static str,
    all: Part<'t>,
    cursor: Cursor<'t>,
}

impl<'t> Places<'t> {
    fn next(&mut self) -> Result<Word<'t>, FlowError> {
        let end = self.all.slice(self.all.text.len()..self.all.text.len());
        let word = self.cursor.word()?;
        word.ok_or_else(|| self.wrong(end, "more parameters"))
    }

    fn one_of<T: Copy>(
        &mut self,
        known: &[(T, &str)],
        expected: &'static str,
    ) -> Result<T, FlowError> {
        let word = self.next()?;
        let found = known.iter().find(|(_, name)| *name == word.text());
        found.map(|(meant, _)| *meant).ok_or_else(|| self.wrong(word.part, expected))
    }

    fn wrong(&self, part: Part<'_>, expected: &'static str) -> FlowError {
        let (at, of) = (part.at(), self.of.to_owned());
        FlowError::Value { at, of, expected, found: part.found() }
    }
}

/// Where the number of a port is written, which has 16 bits.
fn number_place(part: Part<'_>, assumed: &Assumed<'_>) -> Result<Subfield, FlowError> {
    let place = subfield(part, assumed)?;
    Some(place).filter(|place| place.bits >= 16).ok_or_else(|| {
        let (at, of) = (part.at(), "bundle_load".to_owned());
        FlowError::Value { at, of, expected: "16 bits or more to write to", found: part.found() }
    })
}

/// The word for one of the values in a table of words.
fn word_of<T: PartialEq>(known: &[(T, &'static str)], value: &T) -> &'static str {
    known.iter().find(|(known, _)| known == value).map_or("", |(_, name)| name)
}

impl fmt::Display for Printed<'_, Bundle> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bundle { fields, basis, algorithm, members, dst } = self.what;
        let fields = word_of(&HashFields::ALL, fields);
        let algorithm = word_of(&BundleAlgorithm::ALL, algorithm);
        match dst {
            None => write!(f, "bundle({fields},{basis},{algorithm},ofport,members:")?,
            Some(dst) => {
                let dst = Bits(*dst);
                write!(f, "bundle_load({fields},{basis},{algorithm},ofport,{dst},members:")?;
            }
        }
        let mut between = "";
        for member in members {
            write!(f, "{between}{}", self.style.port(*member))?;
            between = ",";
        }
        f.write_str(")")
    }
}

impl fmt::Display for Multipath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fields, basis, algorithm, links, arg, dst } = self;
        let fields = word_of(&HashFields::ALL, fields);
        let algorithm = word_of(&MultipathAlgorithm::ALL, algorithm);
        write!(f, "multipath({fields},{basis},{algorithm},{links},{arg},{})", Bits(*dst))
    }
}
