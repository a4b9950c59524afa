//! Which bridge a command means, and what its other argument is.
//!
//! Where the other argument is needed (a flow, a file, a port), a lone argument is that one. Where
//! it may be left out, too, the switch is asked: a lone argument is the bridge of that name, if
//! there is one.

use anyhow::Result;
use api::reply::Bridge;
use api::request::{PortRef, Show};
use api::{Client, ClientError};
use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::cli::Cli;

/// The number of the bridge's own port.
const LOCAL: u16 = 0xfffe;

/// Bridge and other argument of `command`, which cannot do without the other one, called `what`.
pub(crate) fn with_last(
    command: &str,
    what: &str,
    first: Option<String>,
    second: Option<String>,
) -> Result<(Option<String>, String)> {
    match (first, second) {
        (bridge, Some(last)) => Ok((bridge, last)),
        (Some(last), None) => Ok((None, last)),
        (None, None) => {
            let wrong = format!("{what} is missing");
            Err(misuse(command, ErrorKind::MissingRequiredArgument, &wrong))
        }
    }
}

/// An error in the use of `command`.
pub(crate) fn misuse(command: &str, kind: ErrorKind, wrong: &str) -> anyhow::Error {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand_mut(command);
    let error = match command {
        Some(command) => command.error(kind, wrong),
        None => clap::Error::raw(kind, wrong),
    };
    error.into()
}

/// What two arguments mean that may both be left out.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) bridge: Option<String>,
    pub(crate) other: Option<String>,
    /// What to know if the other one turns out to be wrong.
    pub(crate) help: Option<String>,
}

/// What `first` and `second` mean; `other` says what the second one is.
pub(crate) fn tell_apart(
    client: &mut Client,
    first: Option<String>,
    second: Option<String>,
) -> Result<Chosen, ClientError> {
    match (first, second) {
        (Some(lone), None) => Ok(meaning(lone, &bridges(client)?)),
        (bridge, other) => Ok(Chosen { bridge, other, help: None }),
    }
}

fn meaning(lone: String, bridges: &[Bridge]) -> Chosen {
    if bridges.iter().any(|bridge| bridge.name == lone) {
        return Chosen { bridge: Some(lone), ..Chosen::default() };
    }
    let help = match bridges {
        [only] => format!("`{lone}` is no bridge either; there is {}", only.name),
        // The switch will say that there is none, or which there are.
        _ => format!("`{lone}` is no bridge either"),
    };
    Chosen { bridge: None, other: Some(lone), help: Some(help) }
}

/// All bridges with their ports.
pub(crate) fn bridges(client: &mut Client) -> Result<Vec<Bridge>, ClientError> {
    client.call(Show { bridge: None }).map(|shown| shown.bridges)
}

/// The numbers and names of the ports of a bridge, or of the only one there is.
pub(crate) fn port_names(
    client: &mut Client,
    bridge: Option<&str>,
) -> Result<Vec<(u16, String)>, ClientError> {
    let bridges = client.call(Show { bridge: bridge.map(str::to_owned) })?.bridges;
    // With several, the switch will ask which one is meant.
    let ports = bridges.into_iter().next().map_or_else(Vec::new, |bridge| bridge.ports);
    Ok(ports.into_iter().map(|port| (port.number, port.name)).collect())
}

/// A port by its number or its name.
pub(crate) fn port_ref(text: &str) -> PortRef {
    match text.parse() {
        Ok(number) => PortRef::Number(number),
        Err(_) if text == "LOCAL" => PortRef::Number(LOCAL),
        Err(_) => PortRef::Name(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &str) -> Bridge {
        Bridge { name: name.to_owned(), ports: Vec::new() }
    }

    #[test]
    fn a_lone_argument_is_the_one_that_is_needed() {
        let some = |text: &str| Some(text.to_owned());
        let split = |first, second| with_last("add-flow", "FLOW", first, second);
        assert_eq!(split(some("br0"), some("f")).unwrap(), (some("br0"), "f".to_owned()));
        assert_eq!(split(some("f"), None).unwrap(), (None, "f".to_owned()));
        let error = split(None, None).unwrap_err().to_string();
        assert!(error.contains("FLOW is missing"), "{error}");
        assert!(error.contains("[BRIDGE] FLOW"), "{error}");
    }

    #[test]
    fn a_lone_argument_is_the_bridge_of_that_name() {
        let bridges = [bridge("br0"), bridge("tcp")];
        assert_eq!(meaning("tcp".to_owned(), &bridges).bridge.as_deref(), Some("tcp"));
        let chosen = meaning("udp".to_owned(), &bridges);
        assert_eq!((chosen.bridge, chosen.other.as_deref()), (None, Some("udp")));
        assert_eq!(chosen.help.as_deref(), Some("`udp` is no bridge either"));
        let help = "`udp` is no bridge either; there is br0";
        assert_eq!(meaning("udp".to_owned(), &bridges[..1]).help.as_deref(), Some(help));
    }

    #[test]
    fn ports_go_by_number_or_name() {
        assert_eq!(port_ref("7"), PortRef::Number(7));
        assert_eq!(port_ref("LOCAL"), PortRef::Number(0xfffe));
        assert_eq!(port_ref("70000"), PortRef::Name("70000".to_owned()));
        assert_eq!(port_ref("eth0"), PortRef::Name("eth0".to_owned()));
    }
}
