//! Ports that the host leaves to us at its own addresses.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::str::FromStr;

use conntrack::Connections;
use serde::{Deserialize, Deserializer, de};

/// A range of ports, such as `61000-65535`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReservedPorts(RangeInclusive<u16>);

/// It is no range of ports.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no range of ports, such as 61000-65535")]
pub struct NoPorts(String);

/// What Linux gives to sockets that ask for any port.
const GIVEN: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// What of it it leaves out.
const LEFT_OUT: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

impl ReservedPorts {
    /// The ports.
    pub const fn ports(&self) -> &RangeInclusive<u16> {
        &self.0
    }

    /// Has connections be given no others at addresses of the host.
    pub(crate) fn apply(&self, connections: &Connections) {
        connections.set_reserved_ports(&self.0);
    }

    /// Looks whether the kernel gives ports of it to sockets, and says in the log what keeps it from
    /// that.
    pub fn look_at_kernel(&self) {
        let read = || -> io::Result<[String; 2]> {
            let [given, left_out] = [GIVEN, LEFT_OUT].map(std::fs::read_to_string);
            Ok([given?, left_out?])
        };
        match read() {
            Ok([given, left_out]) => {
                if let Some(command) = self.remedy(&given, left_out.trim()) {
                    tracing::warn!(
                        reserved_ports = %self,
                        "sockets of the host may be given the same ports as connections that are \
                         translated to its addresses; `{command}` prevents it"
                    );
                }
            }
            Err(error) => tracing::warn!(
                %error,
                reserved_ports = %self,
                "whether sockets of the host may be given these ports is not known"
            ),
        }
    }

    /// The command that keeps a kernel that says this from giving such ports, if it does.
    fn remedy(&self, given: &str, left_out: &str) -> Option<String> {
        let mut ends = given.split_ascii_whitespace().filter_map(|port| port.parse::<u16>().ok());
        let given = ends.next()?..=ends.next()?;
        let parts = || left_out.split(',').filter(|part| !part.is_empty());
        let kept: Vec<_> = parts().filter_map(|part| part.parse::<Self>().ok()).collect();
        let is_kept = |port| kept.iter().any(|kept| kept.0.contains(&port));
        let is_given = self.0.clone().any(|port| given.contains(&port) && !is_kept(port));
        let own = self.to_string();
        let all: Vec<&str> = parts().chain([&*own]).collect();
        is_given.then(|| format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", all.join(",")))
    }
}

impl Default for ReservedPorts {
    /// Behind those that Linux gives to sockets unless it is told otherwise, 32768 to 60999.
    fn default() -> Self {
        Self(61_000..=u16::MAX)
    }
}

impl FromStr for ReservedPorts {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let ports = port(first).zip(port(last)).filter(|(first, last)| first <= last);
        ports.map(|(first, last)| Self(first..=last)).ok_or_else(|| NoPorts(text.to_owned()))
    }
}

impl fmt::Display for ReservedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

impl<'de> Deserialize<'de> for ReservedPorts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_it_is_written() {
        let read = |text: &str| text.parse::<ReservedPorts>();
        assert_eq!(read("61000-65535").unwrap(), ReservedPorts::default());
        assert_eq!(read("700").unwrap().to_string(), "700-700");
        for wrong in ["", "-", "5-", "0-9", "9-5", "1-65536", "1-2-3", "http"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}` is no range of ports")), "{error}");
        }
    }

    #[test]
    fn what_the_kernel_gives_too_is_to_be_reserved() {
        let remedy = |given: &str, left_out: &str| {
            let command = ReservedPorts::default().remedy(given, left_out)?;
            Some(command.rsplit_once('=').unwrap().1.to_owned())
        };
        assert_eq!(remedy("32768\t60999\n", ""), None);
        assert_eq!(remedy("32768\t61000\n", "").as_deref(), Some("61000-65535"));
        assert_eq!(remedy("1024\t65535\n", "8080,9000-9100").as_deref(), {
            Some("8080,9000-9100,61000-65535")
        });
        assert_eq!(remedy("1024\t65535\n", "8080,60000-65535"), None);
        assert_eq!(remedy("1024\t65535\n", "60000-62000,62001-65535"), None);
        let but_one = remedy("1024\t65535\n", "61000-65534");
        assert_eq!(but_one.as_deref(), Some("61000-65534,61000-65535"));
    }
}
