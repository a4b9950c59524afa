//! Translations, as rules of nftables and as flows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ends::Family;

/// What is translated of what A's hosts begin. B's begin some as well, which are not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Setup {
    /// All of A's hosts have one address.
    Source,
    /// They have four, and few ports.
    SourceRange,
    /// They have the address of the router, and few ports.
    Masquerade,
    /// B's first host is asked for as a service.
    Service,
    /// The same, at other ports.
    ServicePorts,
    /// B's first host is asked for as a service, and does not hear by whom.
    Both,
}

/// What becomes of what is invalid: it is never translated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Invalid {
    Passes,
    Stops,
}

/// All of them.
pub(crate) const SETUPS: [Setup; 6] = [
    Setup::Source,
    Setup::SourceRange,
    Setup::Masquerade,
    Setup::Service,
    Setup::ServicePorts,
    Setup::Both,
];

/// Ports that are given if few are.
pub(crate) const FEW: (u16, u16) = (5000, 5031);

/// Flows that every setup has: what is known is translated, what is not passes as it is, unless it asks
/// for an address that is given.
const USUAL: [&str; 7] = [
    "table=1,priority=5,IP,in_port=2,DST=OUTSIDE,actions=drop",
    "table=0,priority=1,IP,actions=ct(zone=1,nat,table=1)",
    "table=1,priority=3,IP,ct_state=+inv+trk,actions=goto_table:9",
    "table=1,priority=1,IP,in_port=2,ct_state=+new+trk,actions=ct(commit,zone=1,nat(src=ANY),table=9)",
    "table=1,priority=0,IP,actions=goto_table:9",
    "table=9,IP,in_port=1,actions=dec_ttl,output:2",
    "table=9,IP,in_port=2,actions=dec_ttl,output:1",
];

/// The same where two zones translate, one behind the other.
const CHAINED: [&str; 14] = [
    "table=3,priority=5,IP,in_port=2,DST=OUTSIDE,actions=drop",
    "table=0,priority=1,IP,in_port=1,actions=ct(zone=1,nat,table=1)",
    "table=1,priority=2,IP,in_port=1,ct_state=+new+trk,DST=VIP,actions=ct(commit,zone=1,nat(dst=SERVER),table=2)",
    "table=1,priority=1,IP,in_port=1,ct_state=+new+trk,actions=ct(commit,zone=1,table=2)",
    "table=1,priority=3,IP,ct_state=+inv+trk,actions=goto_table:9",
    "table=1,priority=0,IP,actions=goto_table:2",
    "table=2,priority=1,IP,in_port=1,actions=ct(zone=2,nat,table=3)",
    "table=3,priority=1,IP,in_port=1,ct_state=+new+trk,actions=ct(commit,zone=2,nat(src=OUTER),table=9)",
    "table=3,priority=1,IP,in_port=2,ct_state=+new+trk,actions=ct(commit,zone=2,nat(src=ANY),table=4)",
    "table=3,priority=3,IP,ct_state=+inv+trk,actions=goto_table:9",
    "table=0,priority=1,IP,in_port=2,actions=ct(zone=2,nat,table=3)",
    "table=3,priority=0,IP,in_port=1,actions=goto_table:9",
    "table=3,priority=0,IP,in_port=2,actions=goto_table:4",
    "table=4,priority=1,IP,in_port=2,actions=ct(commit,zone=1,nat,table=9)",
];

/// What stands for addresses in flows and rules, by family.
const NAMES: [(&str, [&str; 2]); 10] = [
    ("IPFAMILY", ["ip", "ip6"]),
    ("OUTSIDE", ["198.51.100.0/24", "fd00:c::/32"]),
    ("DST", ["nw_dst", "ipv6_dst"]),
    ("VIP", ["10.96.0.1", "fd00:d::1"]),
    ("SERVER", ["10.128.0.0", "fd00:b::"]),
    ("ROUTER", ["10.0.2.254", "fd00:2::fe"]),
    ("OUTER", ["198.51.100.1", "fd00:c::1"]),
    ("MANY", ["198.51.100.4-198.51.100.7", "fd00:c::4-fd00:c::7"]),
    ("ANY", ["0.0.0.0", "::"]),
    ("IP", ["ip", "ipv6"]),
];

impl Setup {
    /// Whether A's hosts ask for a service instead of B's first host.
    pub(crate) const fn has_service(self) -> bool {
        matches!(self, Self::Service | Self::ServicePorts | Self::Both)
    }

    /// Whether B hears of another source.
    pub(crate) const fn hides(self) -> bool {
        !matches!(self, Self::Service | Self::ServicePorts)
    }

    /// Whether an address is one that A's hosts may have been given.
    pub(crate) fn gives(self, address: IpAddr) -> bool {
        let [first, last] = self.given(if address.is_ipv4() { Family::V4 } else { Family::V6 });
        (first..=last).contains(&address)
    }

    fn given(self, family: Family) -> [IpAddr; 2] {
        let of = |v4: [u8; 4], v6: [u16; 8]| match family {
            Family::V4 => Ipv4Addr::from(v4).into(),
            Family::V6 => Ipv6Addr::from(v6).into(),
        };
        let outer = |last| of([198, 51, 100, last], [0xfd00, 0xc, 0, 0, 0, 0, 0, last.into()]);
        match self {
            Self::SourceRange => [outer(4), outer(7)],
            Self::Masquerade => [of([10, 0, 2, 254], [0xfd00, 2, 0, 0, 0, 0, 0, 0xfe]); 2],
            _ => [outer(1); 2],
        }
    }

    /// Whether a port is one that may have been given instead of this one.
    pub(crate) fn gives_port(self, port: u16, instead_of: u16) -> bool {
        match self {
            Self::SourceRange | Self::Masquerade => (FEW.0..=FEW.1).contains(&port),
            _ => port == instead_of || port < 512,
        }
    }

    /// The service's address.
    pub(crate) fn service(family: Family) -> IpAddr {
        let text = NAMES[3].1[family as usize];
        text.parse().unwrap()
    }

    /// Rules of both chains: where packets come in, and where they go out.
    pub(crate) fn rules(self, family: Family) -> [String; 2] {
        let few = "meta l4proto { tcp, udp } oifname b";
        let range = format!("{}-{}", FEW.0, FEW.1);
        let (many, router) = match family {
            Family::V4 => (format!("MANY:{range}"), format!(":{range}")),
            Family::V6 => (format!("[fd00:c::4]-[fd00:c::7]:{range}"), format!(":{range}")),
        };
        let service = "iifname a IPFAMILY daddr VIP dnat to SERVER;".to_owned();
        let [at_entry, at_exit] = match self {
            Self::Source => [String::new(), "oifname b snat to OUTER;".to_owned()],
            Self::SourceRange => {
                [String::new(), format!("{few} snat to {many}; oifname b snat to MANY;")]
            }
            Self::Masquerade => {
                [String::new(), format!("{few} masquerade to {router}; oifname b masquerade;")]
            }
            Self::Service => [service, String::new()],
            Self::ServicePorts => {
                let to = if family == Family::V4 { "SERVER" } else { "[SERVER]" };
                let of = |port: u16| {
                    let proto = "meta l4proto { tcp, udp }";
                    let other = port + 4000;
                    format!(
                        "iifname a IPFAMILY daddr VIP {proto} th dport {port} dnat to {to}:{other};"
                    )
                };
                [format!("{} {} {service}", of(7), of(8)), String::new()]
            }
            Self::Both => [service, "oifname b snat to OUTER;".to_owned()],
        };
        [at_entry, at_exit].map(|rules| named(&rules, family))
    }

    /// Rules about what is forwarded.
    pub(crate) fn checks(invalid: Invalid, family: Family) -> String {
        let drops = if invalid == Invalid::Stops { "ct state invalid drop;" } else { "" };
        named(&format!("{drops} iifname b IPFAMILY daddr OUTSIDE drop;"), family)
    }

    /// Flows that do the same.
    pub(crate) fn flows(self, invalid: Invalid) -> Vec<String> {
        let commit = |matching: &str, nat: &str| {
            format!(
                "table=1,priority=2,{matching},in_port=1,ct_state=+new+trk,\
                 actions=ct(commit,zone=1,nat({nat}),table=9)"
            )
        };
        let first =
            |protos: &str, nat: &str| commit(protos, nat).replace("priority=2", "priority=4");
        let range = format!("{}-{}", FEW.0, FEW.1);
        let other =
            "table=1,priority=1,IP,in_port=1,ct_state=+new+trk,actions=ct(commit,zone=1,table=9)";
        let flows = |family: Family| {
            let of =
                |proto: &str| format!("{proto}{}", if family == Family::V4 { "" } else { "6" });
            let protos = ["tcp", "udp"].map(of);
            let each = |nat: &str| protos.iter().map(|proto| first(proto, nat)).collect::<Vec<_>>();
            let [open, close] = if family == Family::V4 { ["", ""] } else { ["[", "]"] };
            let mut flows = match self {
                Self::Source => vec![commit("IP", "src=OUTER")],
                Self::SourceRange => {
                    let many = match family {
                        Family::V4 => "MANY".to_owned(),
                        Family::V6 => "[fd00:c::4]-[fd00:c::7]".to_owned(),
                    };
                    [each(&format!("src={many}:{range}")), vec![commit("IP", "src=MANY")]].concat()
                }
                Self::Masquerade => {
                    let nat = format!("src={open}ROUTER{close}:{range}");
                    let own = "table=1,priority=4,IP,in_port=2,DST=ROUTER,actions=drop".to_owned();
                    [each(&nat), vec![commit("IP", "src=ROUTER"), own]].concat()
                }
                Self::Service => vec![commit("IP,DST=VIP", "dst=SERVER"), other.to_owned()],
                Self::ServicePorts => {
                    let of = |proto: &String, port: u16| {
                        let nat = format!("dst={open}SERVER{close}:{}", port + 4000);
                        first(&format!("{proto},DST=VIP,tp_dst={port}"), &nat)
                    };
                    let ports = protos.iter().flat_map(|proto| [7, 8].map(|port| of(proto, port)));
                    let rest = [commit("IP,DST=VIP", "dst=SERVER"), other.to_owned()];
                    ports.chain(rest).collect()
                }
                Self::Both => Vec::new(),
            };
            let usual = match self {
                Self::Both => [&USUAL[5..], &CHAINED].concat(),
                _ => USUAL.to_vec(),
            };
            flows.extend(usual.into_iter().map(str::to_owned));
            if invalid == Invalid::Stops {
                let drops = "ct_state=+inv+trk,actions=drop";
                flows.iter_mut().for_each(|flow| {
                    *flow = flow.replace("ct_state=+inv+trk,actions=goto_table:9", drops);
                });
            }
            flows.into_iter().map(move |flow| named(&flow, family)).collect::<Vec<_>>()
        };
        [Family::V4, Family::V6].into_iter().flat_map(flows).collect()
    }
}

/// Has names be what they stand for.
fn named(text: &str, family: Family) -> String {
    let each = |text: String, (name, values): &(&str, [&str; 2])| {
        text.replace(name, values[family as usize])
    };
    NAMES.iter().fold(text.to_owned(), each)
}
