//! `sample(...)`, read and printed.

use std::fmt;

use super::error::FlowError;
use super::part::{Cursor, Part};
use super::ports::{self, PortNames};
use super::print::Printed;
use super::{value, words};
use crate::action::{Sample, SampleDirection};

/// The words that may stand in the parentheses.
const WORDS: [&str; 7] = [
    "probability",
    "collector_set_id",
    "obs_domain_id",
    "obs_point_id",
    "sampling_port",
    "ingress",
    "egress",
];

/// Reads what stands in the parentheses.
pub(super) fn parse(part: Part<'_>, names: &dyn PortNames) -> Result<Sample, FlowError> {
    let mut probability = None;
    let mut sample = Sample {
        probability: 0,
        collector_set: 0,
        domain: 0,
        point: 0,
        sampling_port: None,
        direction: None,
    };
    let mut cursor = Cursor::new(part);
    while let Some(parameter) = cursor.parameter()? {
        let name = parameter.name();
        match name {
            "probability" => {
                let (given, expected) = (parameter.given()?, "1 to 65535");
                let (at, of) = (given.at(), name.to_owned());
                let some = Some(value::fit::<u16>(given, name)?).filter(|some| *some != 0);
                let wrong = || FlowError::Value { at, of, expected, found: given.found() };
                probability = Some(some.ok_or_else(wrong)?);
            }
            "collector_set_id" => sample.collector_set = value::fit(parameter.given()?, name)?,
            "obs_domain_id" => sample.domain = value::fit(parameter.given()?, name)?,
            "obs_point_id" => sample.point = value::fit(parameter.given()?, name)?,
            "sampling_port" => {
                let port = ports::parse(parameter.given()?, name, names)?;
                sample.sampling_port = Some(port).filter(|port| *port != ports::ANY);
            }
            "ingress" | "egress" => {
                parameter.alone()?;
                sample.direction = Some(match name {
                    "ingress" => SampleDirection::Ingress,
                    _ => SampleDirection::Egress,
                });
            }
            _ => return Err(words::unknown(parameter.word.part, "word", WORDS.into_iter())),
        }
    }
    cursor.end()?;
    let missing = FlowError::Missing { at: part.at(), word: "probability" };
    Ok(Sample { probability: probability.ok_or(missing)?, ..sample })
}

impl fmt::Display for Printed<'_, Sample> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { probability, collector_set, domain, point, sampling_port, direction } =
            self.what;
        write!(f, "sample(probability={probability},collector_set_id={collector_set}")?;
        write!(f, ",obs_domain_id={domain},obs_point_id={point}")?;
        if let Some(number) = sampling_port {
            write!(f, ",sampling_port={}", self.style.port(*number))?;
        }
        match direction {
            Some(SampleDirection::Ingress) => f.write_str(",ingress)"),
            Some(SampleDirection::Egress) => f.write_str(",egress)"),
            None => f.write_str(")"),
        }
    }
}
