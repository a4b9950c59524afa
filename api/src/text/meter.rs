//! Meters, read and printed.

use std::fmt;

use super::error::FlowError;
use super::part::{Cursor, Parameter, Part, Then};
use super::print::Printed;
use super::{actions, value, words};
use crate::meter::{BandKind, Meter, MeterBand, MeterId, MeterMod, MeterUnit};

/// The words of a meter, and those of a band.
const WORDS: [&str; 6] = ["meter", "kbps", "pktps", "burst", "stats", "bands"];
const BAND_WORDS: [&str; 4] = ["type", "rate", "burst_size", "prec_level"];

/// Reads a change of meters.
pub(super) fn parse(text: Part<'_>) -> Result<MeterMod, FlowError> {
    let (word, rest) = text.first_word();
    match word.text {
        "add" => parse_meter(rest).map(MeterMod::Add),
        "modify" => parse_meter(rest).map(MeterMod::Modify),
        "delete" => parse_deleted(rest).map(MeterMod::Delete),
        _ => parse_meter(text).map(MeterMod::Add),
    }
}

/// Reads which meter is removed; `None` is all of them.
fn parse_deleted(text: Part<'_>) -> Result<Option<MeterId>, FlowError> {
    let mut id = None;
    let mut cursor = Cursor::new(text);
    while let Some(parameter) = cursor.parameter()? {
        match parameter.name() {
            "meter" if parameter.given()?.text == "all" => id = None,
            "meter" => id = Some(number(parameter.given()?)?),
            _ => return Err(words::unknown(parameter.word.part, "word", ["meter"].into_iter())),
        }
    }
    cursor.end()?;
    Ok(id)
}

/// Reads a meter.
pub(super) fn parse_meter(text: Part<'_>) -> Result<Meter, FlowError> {
    let (mut id, mut unit, mut bands) = (None, None, Vec::new());
    let (mut burst, mut stats) = (false, false);
    let mut cursor = Cursor::new(text);
    while let Some(word) = cursor.word()? {
        if matches!(word.text(), "bands" | "band") && word.then == Then::Equals {
            bands = parse_bands(&mut cursor, burst)?;
            break;
        }
        let parameter = Parameter { word, value: cursor.value(word)? };
        match parameter.name() {
            "meter" => id = Some(number(parameter.given()?)?),
            name @ ("kbps" | "pktps") => {
                parameter.alone()?;
                let given = if name == "kbps" { MeterUnit::Kbps } else { MeterUnit::Pktps };
                if unit.replace(given).is_some_and(|unit| unit != given) {
                    let rule = "contradicts the other unit";
                    let word = name.to_owned();
                    return Err(FlowError::Misplaced { at: parameter.word.at(), word, rule });
                }
            }
            "burst" => {
                parameter.alone()?;
                burst = true;
            }
            "stats" => {
                parameter.alone()?;
                stats = true;
            }
            _ => return Err(words::unknown(parameter.word.part, "word", WORDS.into_iter())),
        }
    }
    cursor.end()?;
    let missing = |word| FlowError::Missing { at: text.end().at(), word };
    let id = id.ok_or_else(|| missing("meter"))?;
    let unit = unit.ok_or_else(|| {
        let (at, expected) = (text.end().at(), "kbps or pktps");
        FlowError::Value { at, of: "meter".to_owned(), expected, found: "neither".to_owned() }
    })?;
    if bands.is_empty() {
        return Err(missing("bands"));
    }
    Ok(Meter { id, unit, burst, stats, bands })
}

/// The number or the name of a meter.
pub(super) fn number(part: Part<'_>) -> Result<MeterId, FlowError> {
    match part.text {
        "controller" => Ok(MeterId::Controller),
        "slowpath" => Ok(MeterId::Slowpath),
        _ => actions::meter(part).map(MeterId::Number),
    }
}

/// A band that is being read.
struct Draft<'t> {
    word: Part<'t>,
    remarks: bool,
    rate: Option<u32>,
    burst_size: Option<u32>,
    level: Option<u8>,
}

/// Reads up to the end of the text: bands, each of which begins with `type`.
fn parse_bands(cursor: &mut Cursor<'_>, burst: bool) -> Result<Vec<MeterBand>, FlowError> {
    let mut bands = Vec::new();
    let mut draft: Option<Draft<'_>> = None;
    while let Some(parameter) = cursor.parameter()? {
        let (name, word) = (parameter.name(), parameter.word.part);
        if name == "type" {
            let remarks = band_type(parameter.given()?)?;
            if bands.len() + 1 >= Meter::BANDS && draft.is_some() {
                let rule = "begins one band more than a meter can have, which is 8";
                return Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule });
            }
            let next = Draft { word, remarks, rate: None, burst_size: None, level: None };
            if let Some(done) = draft.replace(next) {
                bands.push(done.finish(burst)?);
            }
            continue;
        }
        if !BAND_WORDS.contains(&name) {
            return Err(words::unknown(word, "word", BAND_WORDS.into_iter()));
        }
        let Some(draft) = &mut draft else {
            let rule = "must stand behind the `type` of a band";
            return Err(FlowError::Misplaced { at: word.at(), word: word.short(), rule });
        };
        draft.take(parameter, burst)?;
    }
    if let Some(done) = draft {
        bands.push(done.finish(burst)?);
    }
    Ok(bands)
}

/// Whether a band raises the drop precedence; otherwise it drops.
fn band_type(part: Part<'_>) -> Result<bool, FlowError> {
    match part.text {
        "drop" => Ok(false),
        "dscp_remark" => Ok(true),
        _ => {
            let (at, expected) = (part.at(), "drop or dscp_remark");
            Err(FlowError::Value { at, of: "type".to_owned(), expected, found: part.found() })
        }
    }
}

impl Draft<'_> {
    fn take(&mut self, parameter: Parameter<'_>, burst: bool) -> Result<(), FlowError> {
        let (name, word) = (parameter.name(), parameter.word.part);
        let misplaced =
            |rule| Err(FlowError::Misplaced { at: word.at(), word: name.to_owned(), rule });
        match name {
            "burst_size" if !burst => return misplaced("goes with `burst` before the bands"),
            "prec_level" if !self.remarks => return misplaced("goes with `type=dscp_remark`"),
            _ => {}
        }
        let given = parameter.given()?;
        let number: u32 = value::fit(given, name)?;
        let wrong = |expected| {
            let (at, of) = (given.at(), name.to_owned());
            FlowError::Value { at, of, expected, found: given.found() }
        };
        if number == 0 {
            return Err(wrong("a number of at least 1"));
        }
        match name {
            "rate" => self.rate = Some(number),
            "burst_size" => self.burst_size = Some(number),
            _ => {
                let level = u8::try_from(number).ok();
                self.level = Some(level.ok_or_else(|| wrong("a number up to 255"))?);
            }
        }
        Ok(())
    }

    fn finish(self, burst: bool) -> Result<MeterBand, FlowError> {
        let missing = |word| FlowError::Missing { at: self.word.at(), word };
        let kind = match self.remarks {
            true => BandKind::DscpRemark(self.level.ok_or_else(|| missing("prec_level"))?),
            false => BandKind::Drop,
        };
        let rate = self.rate.ok_or_else(|| missing("rate"))?;
        let burst_size = match burst {
            true => self.burst_size.ok_or_else(|| missing("burst_size"))?,
            false => 0,
        };
        Ok(MeterBand { kind, rate, burst_size })
    }
}

impl fmt::Display for MeterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Controller => f.write_str("controller"),
            Self::Slowpath => f.write_str("slowpath"),
        }
    }
}

impl fmt::Display for Printed<'_, MeterMod> {
    /// `[VERB ]meter=1 pktps burst stats bands=type=drop rate=100 burst_size=10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.style;
        match self.what {
            MeterMod::Add(meter) => Printed { what: meter, style }.fmt(f),
            MeterMod::Modify(meter) => write!(f, "modify {}", Printed { what: meter, style }),
            MeterMod::Delete(None) => f.write_str("delete meter=all"),
            MeterMod::Delete(Some(id)) => write!(f, "delete meter={id}"),
        }
    }
}

impl fmt::Display for Printed<'_, Meter> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meter { id, unit, burst, stats, bands } = self.what;
        let unit = if *unit == MeterUnit::Kbps { "kbps" } else { "pktps" };
        let (burst_word, stats) =
            (if *burst { " burst" } else { "" }, if *stats { " stats" } else { "" });
        write!(f, "meter={id} {unit}{burst_word}{stats} bands=")?;
        let mut between = "";
        for MeterBand { kind, rate, burst_size } in bands {
            let name = if *kind == BandKind::Drop { "drop" } else { "dscp_remark" };
            write!(f, "{between}type={name} rate={rate}")?;
            if *burst {
                write!(f, " burst_size={burst_size}")?;
            }
            if let BandKind::DscpRemark(level) = kind {
                write!(f, " prec_level={level}")?;
            }
            between = " ";
        }
        Ok(())
    }
}
