//! Which connections are meant, in the words of `ovs-ofctl ct-flush`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use api::request::{ConnectionFilter, TupleFilter};

use crate::hints::meant;

/// Everything that can stand in front of an `=`.
const KEYS: [&str; 13] = [
    "zone",
    "mark",
    "labels",
    "ct_nw_src",
    "ct_nw_dst",
    "ct_ipv6_src",
    "ct_ipv6_dst",
    "ct_nw_proto",
    "ct_tp_src",
    "ct_tp_dst",
    "icmp_type",
    "icmp_code",
    "icmp_id",
];

/// Reads `[zone=N] [mark=X[/M]] [labels=Y[/M]] [ORIG [REPLY]]`, the first three in any order. An empty
/// word is an empty tuple.
pub(super) fn read(words: &[String]) -> Result<ConnectionFilter, String> {
    let mut filter = ConnectionFilter::default();
    let mut tuples = Vec::new();
    for word in words {
        let mut tuple = TupleFilter::default();
        for pair in word.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| no_pair(pair))?;
            set(&mut filter, &mut tuple, key, value)?;
        }
        if word.is_empty() || !tuple.is_empty() {
            tuples.push(tuple);
        }
    }
    (filter.original, filter.reply) = match *tuples {
        [] => Default::default(),
        [original] => (original, TupleFilter::default()),
        [original, reply] => (original, reply),
        _ => return Err(format!("ORIG and REPLY are two; {} are too many", tuples.len())),
    };
    if filter.is_empty() && !words.is_empty() {
        // Such as a variable of a script's that is not set.
        return Err("nothing is chosen: without a word all connections are meant".to_owned());
    }
    match contradiction(&filter) {
        Some(wrong) => Err(wrong.to_owned()),
        None => Ok(filter),
    }
}

/// Sets what a key is about.
fn set(
    filter: &mut ConnectionFilter,
    tuple: &mut TupleFilter,
    key: &str,
    value: &str,
) -> Result<(), String> {
    let is_new = match key {
        "zone" => filter.zone.replace(number(key, value, u16::MAX)?).is_none(),
        "mark" => filter.mark.replace(bits(key, value)?).is_none(),
        "labels" => filter.labels.replace(bits(key, value)?).is_none(),
        "ct_nw_src" => tuple.src.replace(ipv4(key, value)?).is_none(),
        "ct_nw_dst" => tuple.dst.replace(ipv4(key, value)?).is_none(),
        "ct_ipv6_src" => tuple.src.replace(ipv6(key, value)?).is_none(),
        "ct_ipv6_dst" => tuple.dst.replace(ipv6(key, value)?).is_none(),
        "ct_nw_proto" => tuple.proto.replace(number(key, value, u8::MAX)?).is_none(),
        "ct_tp_src" => tuple.src_port.replace(number(key, value, u16::MAX)?).is_none(),
        "ct_tp_dst" => tuple.dst_port.replace(number(key, value, u16::MAX)?).is_none(),
        "icmp_type" => tuple.icmp_type.replace(number(key, value, u8::MAX)?).is_none(),
        "icmp_code" => tuple.icmp_code.replace(number(key, value, u8::MAX)?).is_none(),
        "icmp_id" => tuple.icmp_id.replace(number(key, value, u16::MAX)?).is_none(),
        _ => return Err(format!("unknown key `{key}`: {}{}", meant(Some(key), &KEYS), keys())),
    };
    if is_new { Ok(()) } else { Err(format!("`{key}` is said twice")) }
}

fn keys() -> String {
    format!("there is {}", KEYS.join(", "))
}

/// Says what is wrong with a word that says nothing; perhaps it was to be a bridge, as with
/// `ovs-ofctl`.
fn no_pair(word: &str) -> String {
    if KEYS.contains(&word) {
        return format!("`{word}` needs a value: `{word}=VALUE`");
    }
    let meant = meant(Some(word), &KEYS);
    format!("`{word}` is no KEY=VALUE, and connections belong to no bridge: {meant}{}", keys())
}

/// A number, decimal or hexadecimal behind `0x`.
pub(crate) fn number<T: TryFrom<u64> + Into<u64> + Copy>(
    key: &str,
    text: &str,
    most: T,
) -> Result<T, String> {
    let read = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let wrong = || format!("`{key}` takes a number from 0 to {}, found `{text}`", most.into());
    read.and_then(|number| T::try_from(number).ok()).ok_or_else(wrong)
}

fn bits<T: FromStr<Err = api::InvalidBits>>(key: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|wrong| format!("`{key}`: {wrong}"))
}

fn ipv4(key: &str, text: &str) -> Result<IpAddr, String> {
    let wrong = |_| format!("`{key}` takes an IPv4 address such as 10.0.0.1, found `{text}`");
    text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(wrong)
}

fn ipv6(key: &str, text: &str) -> Result<IpAddr, String> {
    let wrong = |_| format!("`{key}` takes an IPv6 address such as fd00::1, found `{text}`");
    text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(wrong)
}

/// Why no connection can be like this, where that can be told.
fn contradiction(filter: &ConnectionFilter) -> Option<&'static str> {
    let tuples = || [filter.original, filter.reply].into_iter();
    let addresses = || tuples().flat_map(|tuple| [tuple.src, tuple.dst]).flatten();
    let protos = || tuples().filter_map(|tuple| tuple.proto);
    let has_ports = tuples().any(|tuple| tuple.src_port.or(tuple.dst_port).is_some());
    let is_query = |tuple: TupleFilter| {
        tuple.icmp_id.is_some() || tuple.icmp_type.or(tuple.icmp_code).is_some()
    };
    let has_query = tuples().any(is_query);
    if addresses().any(|one| one.is_ipv4()) && addresses().any(|one| one.is_ipv6()) {
        return Some("a connection is of IPv4 or of IPv6, and not of both");
    }
    if protos().min() != protos().max() {
        return Some("both directions of a connection are of one protocol");
    }
    if has_ports && (has_query || protos().any(|proto| !matches!(proto, 6 | 17 | 132))) {
        return Some("ports are those of TCP, UDP and SCTP: ct_nw_proto=6, 17 or 132");
    }
    if has_query && protos().any(|proto| !matches!(proto, 1 | 58)) {
        return Some("icmp_type, icmp_code and icmp_id are of ICMP: ct_nw_proto=1 or 58");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<ConnectionFilter, String> {
        let words: Vec<_> =
            line.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect();
        read(&words)
    }

    #[test]
    fn words_choose_connections() {
        let any = ConnectionFilter::default;
        let tuple = TupleFilter::default();
        assert_eq!(read(&[]), Ok(any()));
        let expected = ConnectionFilter {
            zone: Some(5),
            mark: "1/0xff".parse().ok(),
            labels: "0x10".parse().ok(),
            original: TupleFilter {
                src: "10.0.0.1".parse().ok(),
                proto: Some(6),
                dst_port: Some(80),
                ..tuple
            },
            reply: TupleFilter { dst: "10.0.0.1".parse().ok(), ..tuple },
        };
        let line = "zone=5 mark=1/0xff labels=16 ct_nw_src=10.0.0.1,ct_nw_proto=6,ct_tp_dst=80 \
                    ct_nw_dst=10.0.0.1";
        assert_eq!(read_line(line), Ok(expected.clone()));
        let mixed = "labels=0x10 ct_nw_src=10.0.0.1,ct_nw_proto=0x6,ct_tp_dst=80,zone=5 mark=1/255 \
                     ct_nw_dst=10.0.0.1";
        assert_eq!(read_line(mixed), Ok(expected));
        let reply = TupleFilter { src: "fd00::1".parse().ok(), icmp_id: Some(7), ..tuple };
        let expected = ConnectionFilter { reply, ..any() };
        assert_eq!(read_line("'' ct_ipv6_src=fd00::1,icmp_id=7"), Ok(expected));
    }

    #[test]
    fn wrong_words_are_refused_with_what_is_right() {
        for (line, wrong) in [
            (
                "ct_nw_scr=10.0.0.1",
                "unknown key `ct_nw_scr`: did you mean `ct_nw_src`? there is zone",
            ),
            ("label=1", "unknown key `label`: did you mean `labels`? "),
            ("zone", "`zone` needs a value: `zone=VALUE`"),
            ("''", "nothing is chosen: without a word all connections are meant"),
            (
                "br0 zone=5",
                "`br0` is no KEY=VALUE, and connections belong to no bridge: there is zone",
            ),
            ("zone=65536", "`zone` takes a number from 0 to 65535, found `65536`"),
            ("zone=", "`zone` takes a number from 0 to 65535, found ``"),
            ("ct_nw_proto=tcp", "`ct_nw_proto` takes a number from 0 to 255, found `tcp`"),
            ("mark=0x1ffffffff", "`mark`: `0x1ffffffff` is no number of 32 bits such as "),
            ("ct_nw_src=10.0.0.0/8", "`ct_nw_src` takes an IPv4 address such as 10.0.0.1, found "),
            ("ct_ipv6_dst=10.0.0.1", "`ct_ipv6_dst` takes an IPv6 address such as fd00::1, found "),
            ("zone=1 zone=2", "`zone` is said twice"),
            ("ct_nw_src=1.1.1.1,ct_ipv6_src=::1", "`ct_ipv6_src` is said twice"),
            ("ct_tp_src=1 ct_tp_src=1 ct_tp_src=1", "ORIG and REPLY are two; 3 are too many"),
            ("ct_nw_src=1.1.1.1 ct_ipv6_src=::1", "a connection is of IPv4 or of IPv6"),
            ("ct_nw_proto=6 ct_nw_proto=17", "both directions of a connection are of one protocol"),
            ("ct_nw_proto=1 ct_tp_src=1", "ports are those of TCP, UDP and SCTP"),
            ("icmp_id=1,ct_tp_src=1", "ports are those of TCP, UDP and SCTP"),
            ("icmp_type=8,ct_nw_proto=6", "icmp_type, icmp_code and icmp_id are of ICMP"),
        ] {
            let said = read_line(line).unwrap_err();
            assert!(said.starts_with(wrong), "{line}: {said}");
        }
    }
}
