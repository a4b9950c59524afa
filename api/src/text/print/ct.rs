//! `ct(...)`, printed.

use std::fmt;
use std::net::IpAddr;

use super::super::value::fmt_ipv6;
use super::{Bits, Commas, List, Printed};
use crate::ct::{Ct, CtZone, Nat, NatRange};

impl fmt::Display for Printed<'_, Ct> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ct, style) = (self.what, self.style);
        f.write_str("ct(")?;
        let mut list = Commas::new(f);
        if ct.commit {
            list.item(format_args!("commit"))?;
        }
        if ct.force {
            list.item(format_args!("force"))?;
        }
        if let Some(table) = ct.table {
            list.item(format_args!("table={table}"))?;
        }
        match ct.zone {
            CtZone::Number(0) => {}
            CtZone::Number(zone) => list.item(format_args!("zone={zone}"))?,
            CtZone::Field(field) => list.item(format_args!("zone={}", Bits(field)))?,
        }
        if let Some(nat) = &ct.nat {
            list.item(format_args!("{nat}"))?;
        }
        if !ct.exec.is_empty() {
            list.item(format_args!("exec({})", List { actions: &ct.exec, style }))?;
        }
        if let Some(alg) = ct.alg {
            list.item(format_args!("alg={}", alg.name()))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Existing => f.write_str("nat"),
            Self::Src(range) => fmt_new(f, "src", range),
            Self::Dst(range) => fmt_new(f, "dst", range),
        }
    }
}

/// `nat(src=10.0.0.1-10.0.0.9:80-90,persistent,random)`.
fn fmt_new(f: &mut fmt::Formatter<'_>, end: &str, range: &NatRange) -> fmt::Result {
    write!(f, "nat({end}")?;
    if let Some((first, last)) = range.addresses {
        let in_brackets = range.ports.is_some();
        f.write_str("=")?;
        fmt_address(f, first, in_brackets)?;
        if first != last {
            f.write_str("-")?;
            fmt_address(f, last, in_brackets)?;
        }
    }
    match range.ports {
        Some((first, last)) if first == last => write!(f, ":{first}")?,
        Some((first, last)) => write!(f, ":{first}-{last}")?,
        None => {}
    }
    if range.persistent {
        f.write_str(",persistent")?;
    }
    if let Some(choice) = range.choice {
        write!(f, ",{}", choice.name())?;
    }
    f.write_str(")")
}

/// An address; one of IPv6 in brackets if ports follow.
fn fmt_address(f: &mut fmt::Formatter<'_>, address: IpAddr, in_brackets: bool) -> fmt::Result {
    match address {
        IpAddr::V4(address) => write!(f, "{address}"),
        IpAddr::V6(address) if in_brackets => {
            f.write_str("[")?;
            fmt_ipv6(f, address.to_bits())?;
            f.write_str("]")
        }
        IpAddr::V6(address) => fmt_ipv6(f, address.to_bits()),
    }
}
