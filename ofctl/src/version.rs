//! Which versions talk to each other: `version`.

use anyhow::Result;
use api::{reply, request};
use serde::Serialize;

use crate::desk::Desk;
use crate::problem::warn;

/// Both sides of the socket.
#[derive(Serialize)]
struct Versions {
    ofctl: reply::Version,
    switch: reply::Version,
}

pub(crate) fn run(desk: &mut Desk) -> Result<()> {
    let ofctl = reply::Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: api::VERSION };
    if !desk.out.is_json() {
        desk.out.line(format_args!("ofctl {}, socket version {}", ofctl.version, ofctl.api))?;
        // Known whether or not a switch answers.
        desk.out.flush()?;
    }
    let (client, out) = desk.open()?;
    let switch = client.call(request::Version {})?;
    let alike = switch.api == ofctl.api;
    out.answer(&Versions { ofctl, switch }, |out, Versions { switch, .. }| {
        out.line(format_args!("vswitchd {}, socket version {}", switch.version, switch.api))
    })?;
    if !alike {
        out.flush()?;
        warn("they speak different versions: use both of one release", desk.options.color);
    }
    Ok(())
}
