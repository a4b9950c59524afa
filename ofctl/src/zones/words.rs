//! Zones, limits and timeouts, as they are written.

use std::collections::BTreeSet;

use api::request::{
    CtLimitDel, CtLimitDump, CtLimitSet, CtTimeoutDel, CtTimeoutDump, CtTimeoutSet, ZoneLimit,
};
use api::{CtSeconds, CtTimeout, CtTimeouts};

use crate::connections::number;
use crate::hints::meant;

/// Reads `[default=N] [zone=Z,limit=N]...`.
pub(super) fn limits(words: &[String]) -> Result<CtLimitSet, String> {
    let mut set = CtLimitSet::default();
    let mut seen = BTreeSet::new();
    for word in words {
        let (mut zone, mut limit) = (None, None);
        for pair in word.split(',') {
            let keys = ["default", "zone", "limit"];
            let (key, value) = pair.split_once('=').ok_or_else(|| no_pair(pair, &keys))?;
            let is_new = match key {
                "default" => set.default.replace(number(key, value, u32::MAX)?).is_none(),
                "zone" => zone.replace(number(key, value, u16::MAX)?).is_none(),
                "limit" => limit.replace(number(key, value, u32::MAX)?).is_none(),
                _ => return Err(unknown(key, &keys)),
            };
            if !is_new {
                return Err(format!("`{key}` is said twice"));
            }
        }
        match (zone, limit) {
            (Some(zone), Some(limit)) if seen.insert(zone) => {
                set.zones.push(ZoneLimit { zone, limit });
            }
            (Some(zone), Some(_)) => return Err(format!("zone {zone} is said twice")),
            (Some(zone), None) => {
                return Err(format!("zone {zone} needs its limit: `zone={zone},limit=N`"));
            }
            (None, Some(limit)) => {
                return Err(format!(
                    "`limit={limit}` needs its zone: `zone=Z,limit={limit}`, or \
                     `default={limit}` for all that have none of their own"
                ));
            }
            (None, None) => {}
        }
    }
    Ok(set)
}

/// Reads `[default] [zone=Z[,Z]...]`.
pub(super) fn without_limits(words: &[String]) -> Result<CtLimitDel, String> {
    let mut del = CtLimitDel::default();
    for word in words {
        match &**word {
            "default" => del.default = true,
            word => del.zones.extend(zones(word, &["default", "zone"])?),
        }
    }
    Ok(del)
}

/// Reads `[zone=Z[,Z]...]`.
pub(super) fn some_limits(words: &[String]) -> Result<CtLimitDump, String> {
    let zones: Result<Vec<_>, _> = words.iter().map(|word| zones(word, &["zone"])).collect();
    Ok(CtLimitDump { zones: zones?.concat() })
}

/// Reads `[zone=Z] KEY=SECONDS...`, with blanks or commas between them.
pub(super) fn timeouts(words: &[String]) -> Result<CtTimeoutSet, String> {
    let mut set = CtTimeoutSet { zone: None, timeouts: CtTimeouts::new() };
    let keys: Vec<_> = ["zone"].into_iter().chain(CtTimeout::ALL.map(CtTimeout::name)).collect();
    for pair in words.iter().flat_map(|word| word.split(',')) {
        let (key, value) = pair.split_once('=').ok_or_else(|| no_pair(pair, &keys))?;
        let is_new = match key {
            "zone" => set.zone.replace(number(key, value, u16::MAX)?).is_none(),
            "tcp_retransmit" => {
                return Err("there is no `tcp_retransmit`: retransmissions are not counted".into());
            }
            _ => {
                let timeout = key.parse().map_err(|_wrong| unknown(key, &keys))?;
                set.timeouts.insert(timeout, seconds(key, value)?).is_none()
            }
        };
        if !is_new {
            return Err(format!("`{key}` is said twice"));
        }
    }
    match set.timeouts.is_empty() {
        true => Err("a timeout is missing: KEY=SECONDS, such as `tcp_established=3600`".into()),
        false => Ok(set),
    }
}

/// Reads `zone=Z` or `default`.
pub(super) fn without_timeouts(words: &[String]) -> Result<CtTimeoutDel, String> {
    match words {
        [word] if word == "default" => Ok(CtTimeoutDel { zone: None }),
        words => Ok(CtTimeoutDel { zone: Some(one_zone(words, &["default", "zone"])?) }),
    }
}

/// Reads `[zone=Z]`.
pub(super) fn some_timeouts(words: &[String]) -> Result<CtTimeoutDump, String> {
    let zone = (!words.is_empty()).then(|| one_zone(words, &["zone"])).transpose()?;
    Ok(CtTimeoutDump { zone })
}

fn one_zone(words: &[String], keys: &[&str]) -> Result<u16, String> {
    match words {
        [word] => match *zones(word, keys)? {
            [zone] => Ok(zone),
            _ => Err("one zone at a time".to_owned()),
        },
        _ => Err("one zone at a time".to_owned()),
    }
}

/// Reads `zone=Z[,Z]...`.
fn zones(word: &str, keys: &[&str]) -> Result<Vec<u16>, String> {
    let (key, list) = word.split_once('=').ok_or_else(|| no_pair(word, keys))?;
    if key != "zone" {
        return Err(unknown(key, keys));
    }
    list.split(',').map(|zone| number(key, zone, u16::MAX)).collect()
}

fn seconds(key: &str, text: &str) -> Result<CtSeconds, String> {
    let wrong = || format!("`{key}` takes 1 to {} seconds, found `{text}`", CtSeconds::MOST);
    let seconds: u32 = text.parse().map_err(|_wrong| wrong())?;
    seconds.try_into().map_err(|_wrong| wrong())
}

fn unknown(key: &str, keys: &[&str]) -> String {
    format!("unknown key `{key}`: {}there is {}", meant(Some(key), keys), keys.join(", "))
}

/// Says what is wrong with a word that says nothing; perhaps it was to be a datapath, as with OVS.
fn no_pair(word: &str, keys: &[&str]) -> String {
    if keys.contains(&word) {
        return format!("`{word}` needs a value: `{word}=VALUE`");
    }
    let meant = meant(Some(word), keys);
    format!("`{word}` is no KEY=VALUE: {meant}there is {}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_say_what_zones_may_have() {
        let zone = |zone, limit| ZoneLimit { zone, limit };
        let set = CtLimitSet { default: Some(9), zones: vec![zone(5, 7), zone(65535, 0)] };
        assert_eq!(limits(&words("zone=5,limit=7 default=9 zone=65535,limit=0")), Ok(set));
        let del = CtLimitDel { default: true, zones: vec![5, 6, 7] };
        assert_eq!(without_limits(&words("zone=5,6 default zone=7")), Ok(del));
        assert_eq!(some_limits(&words("zone=5,6")), Ok(CtLimitDump { zones: vec![5, 6] }));
        assert_eq!(some_limits(&[]), Ok(CtLimitDump::default()));
        let seconds = |seconds: u32| CtSeconds::try_from(seconds).unwrap();
        let policy = [(CtTimeout::TcpClose, seconds(3)), (CtTimeout::Generic, seconds(2_147_483))];
        let set = CtTimeoutSet { zone: Some(5), timeouts: policy.into() };
        assert_eq!(timeouts(&words("zone=5 tcp_close=3,generic=2147483")), Ok(set));
        assert_eq!(without_timeouts(&words("zone=5")), Ok(CtTimeoutDel { zone: Some(5) }));
        assert_eq!(without_timeouts(&words("default")), Ok(CtTimeoutDel { zone: None }));
        assert_eq!(some_timeouts(&words("zone=5")), Ok(CtTimeoutDump { zone: Some(5) }));
    }

    #[test]
    fn wrong_words_are_refused_with_what_is_right() {
        for (read, line, wrong) in [
            (limits(&words("zone=5")).err(), "zone=5", "zone 5 needs its limit: `zone=5,limit=N`"),
            (limits(&words("limit=5")).err(), "limit=5", "`limit=5` needs its zone: "),
            (
                limits(&words("zone=5,limt=7")).err(),
                "limt",
                "unknown key `limt`: did you mean `limit`? there is default, zone, limit",
            ),
            (limits(&words("zone=5,limit=1 zone=5,limit=2")).err(), "5", "zone 5 is said twice"),
            (limits(&words("default=1 default=2")).err(), "d", "`default` is said twice"),
            (
                limits(&words("system@br zone=5,limit=1")).err(),
                "dp",
                "`system@br` is no KEY=VALUE: there is ",
            ),
            (
                limits(&words("default=4294967296")).err(),
                "d",
                "`default` takes a number from 0 to 4294967295, found ",
            ),
            (
                without_limits(&words("zone=5,limit=7")).err(),
                "del",
                "`zone` takes a number from 0 to 65535, found `limit=7`",
            ),
            (timeouts(&words("zone=5")).err(), "none", "a timeout is missing: "),
            (
                timeouts(&words("tcp_estab=5")).err(),
                "estab",
                "unknown key `tcp_estab`: did you mean `tcp_established`? there is zone, tcp_syn_sent, ",
            ),
            (
                timeouts(&words("tcp_close=0")).err(),
                "0",
                "`tcp_close` takes 1 to 2147483 seconds, found `0`",
            ),
            (
                timeouts(&words("tcp_close=5s")).err(),
                "5s",
                "`tcp_close` takes 1 to 2147483 seconds, found `5s`",
            ),
            (
                timeouts(&words("tcp_retransmit=5")).err(),
                "retransmit",
                "there is no `tcp_retransmit`: ",
            ),
            (
                timeouts(&words("udp_first=5 udp_first=6")).err(),
                "twice",
                "`udp_first` is said twice",
            ),
            (without_timeouts(&words("zone=5,6")).err(), "two", "one zone at a time"),
            (some_timeouts(&words("zone")).err(), "zone", "`zone` needs a value: `zone=VALUE`"),
        ] {
            let said = read.unwrap_or_default();
            assert!(said.starts_with(wrong), "{line}: {said}");
        }
    }
}
