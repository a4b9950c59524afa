//! How text is read, without a switch: `parse-flow`, `parse-flows`, `parse-group`.

use anyhow::Result;
use api::text::Reading;
use api::{FlowError, FlowMod, GroupMod, NoNames};
use serde::Serialize;

use crate::desk::Desk;
use crate::file::File;
use crate::problem::{Problem, Quote, tell, with_help};

#[derive(Serialize)]
struct Flows {
    flows: Vec<FlowMod>,
}

#[derive(Serialize)]
struct Read {
    group: GroupMod,
}

pub(crate) fn parse_flow(text: &str, desk: &mut Desk) -> Result<()> {
    let flow = reading(desk).line(text).map_err(|error| wrong(&error, Quote::argument(text)))?;
    answer(vec![flow], desk)
}

pub(crate) fn parse_flows(path: &str, desk: &mut Desk) -> Result<()> {
    let file = File::read(path)?;
    let lines = file.lines();
    let mut flows = Vec::with_capacity(lines.len());
    for line in &lines {
        match reading(desk).line(line.1) {
            Ok(flow) => flows.push(flow),
            Err(error) => {
                let wrong = wrong(&error, file.quote(*line));
                tell(&wrong, desk.options.format, desk.options.color);
            }
        }
    }
    let (all, wrong) = (lines.len(), lines.len() - flows.len());
    answer(flows, desk)?;
    match wrong {
        0 => Ok(()),
        wrong => Err(anyhow::anyhow!("of {all} flows {wrong} cannot be read")),
    }
}

pub(crate) fn parse_group(text: &str, desk: &mut Desk) -> Result<()> {
    let group: GroupMod = text.parse().map_err(|error| wrong(&error, Quote::argument(text)))?;
    let dialect = desk.options.protocols;
    desk.out
        .answer(&Read { group }, |out, Read { group }| out.line(group.print_in(dialect, &NoNames)))
}

fn reading(desk: &Desk) -> Reading<'static> {
    let strictly = Reading::new(&NoNames);
    if desk.options.lenient { strictly.lenient() } else { strictly }
}

fn answer(flows: Vec<FlowMod>, desk: &mut Desk) -> Result<()> {
    let dialect = desk.options.protocols;
    desk.out.answer(&Flows { flows }, |out, Flows { flows }| {
        flows.iter().try_for_each(|flow| out.line(flow.print_in(dialect, &NoNames)))
    })
}

/// What is wrong with a text, with a caret below it.
fn wrong(error: &FlowError, quote: Quote) -> anyhow::Error {
    let help = match error {
        FlowError::UnknownPort { .. } => {
            Some("without a switch nobody knows the names of ports: write the number".to_owned())
        }
        FlowError::Prerequisite { .. } => {
            Some("with --lenient the field is left out, as by ovs-ofctl".to_owned())
        }
        _ => None,
    };
    let quote = Some(Quote { at: Some(error.at()), ..quote });
    with_help(Problem { title: error.to_string(), quote, ..Problem::default() }.into(), help)
}
