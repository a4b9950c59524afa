//! Connections that are waited for: `dump-conntrack-exp`.

use std::fmt;

use anyhow::Result;
use api::reply::Expectation;
use api::request::CtExpectDump;

use super::{Protocol, Tuple};
use crate::cli::DumpConntrackExpArgs;
use crate::desk::Desk;

pub(super) fn dump(args: DumpConntrackExpArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let page = |after| {
        let page = client.call(CtExpectDump { zone: args.zone, after, limit: None })?;
        Ok((page.expected, page.next))
    };
    out.pages("expected", page, |out, expected| out.line(Line { expected, args }))
}

/// One as `ovs-appctl dpctl/dump-conntrack-exp` has it.
struct Line<'a> {
    expected: &'a Expectation,
    args: DumpConntrackExpArgs,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expectation { zone, original, parent, helper, mark, labels, timeout_ms } =
            self.expected;
        write!(f, "{},orig=({})", Protocol(original.proto), Tuple(original))?;
        if *zone != 0 {
            write!(f, ",zone={zone}")?;
        }
        if self.args.statistics {
            write!(f, ",timeout={}", timeout_ms / 1000)?;
        }
        if *mark != 0 {
            write!(f, ",mark={mark}")?;
        }
        if *labels != 0 {
            write!(f, ",labels={labels:#x}")?;
        }
        if let Some(helper) = helper.as_ref().filter(|_| self.args.more) {
            write!(f, ",helper={helper}")?;
        }
        write!(f, ",parent=({})", Tuple(parent))
    }
}
