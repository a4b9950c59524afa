//! Addresses: of interfaces, of neighbours, and as they are written.

use std::fmt;
use std::net::{Ipv4Addr, UdpSocket};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        let read = mac.iter_mut().try_for_each(|byte| {
            let part = parts.next().filter(|part| matches!(part.len(), 1 | 2));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or(())?;
            Ok::<_, ()>(())
        });
        match (read, parts.next()) {
            (Ok(()), None) => Ok(Self(mac)),
            _ => Err(format!("`{text}` is no Ethernet address such as 02:00:00:00:00:01")),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The Ethernet address of the neighbour `ip`, of whom the kernel is made to ask.
pub fn neighbour(ip: Ipv4Addr, interface: &str) -> Result<Mac> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("asking for a neighbour")?;
    for _ in 0..20 {
        // Sent for the question that comes before it; refused is as good.
        let _ = socket.send_to(&[], (ip, 9));
        thread::sleep(Duration::from_millis(50));
        let table =
            std::fs::read_to_string("/proc/thread-self/net/arp").context("reading neighbours")?;
        if let Some(mac) = known(&table, ip, interface) {
            return Ok(mac);
        }
    }
    bail!("nobody at {ip} answers on {interface}: give its Ethernet address by --dst-mac");
}

/// The address of `ip` in a table of the form of /proc/net/arp.
fn known(table: &str, ip: Ipv4Addr, interface: &str) -> Option<Mac> {
    const COMPLETE: u32 = 2;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, _, flags, mac, _, device] = *words else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        let fits = address.parse() == Ok(ip) && device == interface && flags & COMPLETE != 0;
        fits.then(|| mac.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let mac: Mac = "02:00:0a:ff:1:9".parse().unwrap();
        assert_eq!(mac, Mac([2, 0, 10, 255, 1, 9]));
        assert_eq!(mac.to_string(), "02:00:0a:ff:01:09");
        for wrong in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:0g", "2::1"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_complete_neighbours_are_known() {
        let table = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.0.2         0x1         0x2         02:00:00:00:00:02     *        eth0
10.0.0.3         0x1         0x0         00:00:00:00:00:00     *        eth0
";
        let at = |last| known(table, Ipv4Addr::new(10, 0, 0, last), "eth0");
        assert_eq!(at(2), Some(Mac([2, 0, 0, 0, 0, 2])));
        assert_eq!((at(3), at(4)), (None, None));
        assert_eq!(known(table, Ipv4Addr::new(10, 0, 0, 2), "eth1"), None);
    }
}
