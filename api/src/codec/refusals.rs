//! Lines that are no requests, or wrong ones.

use proptest::prelude::*;

use super::requests::{port_add, requests};
use super::*;
use crate::request;

fn rejected(line: &str) -> (Option<Id>, i32, String, Option<String>) {
    let Rejected { id, failure } = decode_request(line).unwrap_err();
    let member = failure.data.and_then(|place| place.member);
    (id, failure.code, failure.message, member)
}

#[test]
fn what_is_no_request_is_answered_with_the_reason() {
    for (line, code, message) in [
        ("", -32700, "no JSON: EOF while parsing a value at line 1 column 0"),
        ("{\"jsonrpc\":", -32700, "no JSON: EOF while parsing a value at line 1 column 11"),
        ("{\"jsonrpc\" 5}", -32700, "no JSON: expected `:` at line 1 column 12"),
        ("[]", -32600, "a request is one object"),
        ("5", -32600, "no JSON-RPC request: invalid type: integer `5`, expected struct Line"),
        (r#"{"id":{},"jsonrpc":"2.0"}"#, -32600, "`id` is neither a number nor a string nor null"),
    ] {
        assert_eq!(rejected(line), (Some(Id::Null), code, message.to_owned(), None), "{line}");
    }
    for (line, code, message) in [
        (r#"{"id":1,"method":"show"}"#, -32600, "`\"jsonrpc\":\"2.0\"` is missing"),
        (r#"{"id":1,"jsonrpc":"1.0","method":"show"}"#, -32600, "`\"jsonrpc\":\"2.0\"` is missing"),
        (r#"{"id":1,"jsonrpc":"2.0"}"#, -32600, "`method` is missing or no string"),
        (r#"{"id":1,"jsonrpc":"2.0","method":7}"#, -32600, "`method` is missing or no string"),
        (r#"{"id":1,"jsonrpc":"2.0","method":"shwo"}"#, -32601, "no method `shwo`"),
        (
            r#"{"id":1,"jsonrpc":"2.0","method":"show","params":[]}"#,
            -32602,
            "`params` is no object",
        ),
        (
            r#"{"id":1,"jsonrpc":"2.0","method":"show","params":null}"#,
            -32602,
            "`params` is no object",
        ),
        (r#"{"id":1,"jsonrpc":"2.0","method":"bridge.add"}"#, -32602, "missing field `name`"),
    ] {
        let id = Some(Id::Number(1.into()));
        assert_eq!(rejected(line), (id, code, message.to_owned(), None), "{line}");
    }
}

#[test]
fn a_wrong_member_is_named() {
    for (method, params, member, message) in [
        (
            "bridge.add",
            r#"{"name":5}"#,
            "name",
            "`name`: invalid type: integer `5`, expected a string",
        ),
        (
            "flow.mod",
            r#"{"x":{"y":[]},"flows":["a,]\"",5]}"#,
            "flows[1]",
            "`flows[1]`: invalid type: integer `5`, expected a string",
        ),
        (
            "flow.dump",
            r#"{"limit":-1}"#,
            "limit",
            "`limit`: invalid value: integer `-1`, expected u32",
        ),
        (
            "flow.dump",
            r#"{"limit":4294967296}"#,
            "limit",
            "`limit`: invalid value: integer `4294967296`, expected u32",
        ),
        (
            "cache.dump",
            r#"{"tier":"l1"}"#,
            "tier",
            "`tier`: unknown variant `l1`, expected `session` or `megaflow`",
        ),
        (
            "dummy.receive",
            r#"{"port":"p","packets":["00","0x"]}"#,
            "packets[1]",
            "`packets[1]`: byte 0: expected two hexadecimal digits a byte",
        ),
        (
            "port.stats",
            r#"{"port":70000}"#,
            "port",
            "`port`: invalid value: integer `70000`, expected a port's number or its name",
        ),
        (
            "capture.start",
            r#"{"source":{"port":{"name":"p","direction":"up"}}}"#,
            "source.port.direction",
            "`source.port.direction`: unknown variant `up`, expected one of `rx`, `tx`, `both`",
        ),
        ("ct.flush", r#"{"zone":5}"#, "zone", "`zone`: unknown field `zone`, expected `filter`"),
        (
            "ct.flush",
            r#"{"filter":{"zoen":5}}"#,
            "filter.zoen",
            "`filter.zoen`: unknown field `zoen`, expected one of `zone`, `mark`, `labels`, \
             `original`, `reply`",
        ),
        (
            "ct.timeout.set",
            r#"{"timeouts":{"tcp_established":0}}"#,
            "timeouts",
            "`timeouts`: a timeout is 1 to 2147483 seconds, not 0",
        ),
        (
            "ct.timeout.set",
            r#"{"timeouts":{"tcp_estab":5}}"#,
            "timeouts.tcp_estab",
            "`timeouts.tcp_estab`: `tcp_estab` is none of tcp_syn_sent, tcp_syn_sent2, tcp_syn_recv, \
             tcp_established, tcp_fin_wait, tcp_close_wait, tcp_last_ack, tcp_time_wait, tcp_close, \
             tcp_unack, udp_first, udp_single, udp_multiple, icmp_first, icmp_reply, generic, \
             sctp_closed, sctp_cookie_wait, sctp_cookie_echoed, sctp_established, sctp_shutdown_sent, \
             sctp_shutdown_recd, sctp_shutdown_ack_sent, sctp_heartbeat_sent",
        ),
        (
            "ct.limit.set",
            r#"{"zone":[{"zone":5,"limit":5}]}"#,
            "zone",
            "`zone`: unknown field `zone`, expected `default` or `zones`",
        ),
        (
            "ct.dump",
            r#"{"filter":{"original":{"src":"10.0.0.256"}}}"#,
            "filter.original.src",
            "`filter.original.src`: invalid IP address syntax",
        ),
        (
            "ct.dump",
            r#"{"filter":{"mark":"1/0x1ffffffff"}}"#,
            "filter.mark",
            "`filter.mark`: `1/0x1ffffffff` is no number of 32 bits such as 1, 0x1 or 0x1/0xff",
        ),
        (
            "port.add",
            r#"{"name":7,"type":"null"}"#,
            "name",
            "`name`: invalid type: integer `7`, expected a string",
        ),
    ] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":"a","method":"{method}","params":{params}}}"#);
        let (id, code, read, at) = rejected(&line);
        assert_eq!((id, code), (Some(Id::Text("a".to_owned())), Failure::BAD_PARAMS), "{line}");
        assert_eq!((read.as_str(), at.as_deref()), (message, Some(member)), "{line}");
    }
}

/// What is read of a port depends on its type, so that the member is named in the message alone.
#[test]
fn a_wrong_option_is_named() {
    for (params, message) in [
        (r#"{"name":"p"}"#, "missing field `type`"),
        (
            r#"{"name":"p","type":"tap"}"#,
            "type: `tap` is none of afxdp, pod, internal, pcap, null and dummy",
        ),
        (
            r#"{"name":"p","type":"afxdp","options":{"mode":"x"}}"#,
            "`options.mode`: unknown variant `x`, expected one of `native`, `generic`, `auto`",
        ),
        (
            r#"{"name":"p","type":"afxdp","options":{"queues":"4"}}"#,
            "`options.queues`: invalid type: string \"4\", expected u32",
        ),
        (
            r#"{"name":"p","type":"internal","options":{"mac":"1"}}"#,
            "`options.mac`: an Ethernet address is six hexadecimal bytes, such as 02:00:00:00:00:01",
        ),
        (
            r#"{"name":"p","type":"null","vlan":{"access":4095}}"#,
            "`vlan`: 4095 is no VLAN from 1 to 4094",
        ),
    ] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"port.add","params":{params}}}"#);
        let (_, code, read, _) = rejected(&line);
        assert_eq!((code, read.as_str()), (Failure::BAD_PARAMS, message), "{line}");
    }
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"trace","params":{"packet":"00"}}"#;
    assert_eq!(rejected(line).2, "in_port: a packet needs the port it comes in by");
}

#[test]
fn an_option_that_nobody_knows_is_refused() {
    let line = r#"{"jsonrpc":"2.0","method":"port.add","params":{"name":"p","type":"afxdp","options":{"quues":1}}}"#;
    let refused = rejected(line).2;
    assert!(refused.starts_with("`options.quues`: unknown"), "{refused}");
}

#[test]
fn what_nobody_knows_is_ignored() {
    let line = r#"{"x":[{}],"jsonrpc":"2.0","method":"port.add","params":{"name":"p","y":{"z":1},"type":"afxdp"}}"#;
    let Asked { id, request } = decode_request(line).unwrap();
    assert_eq!(id, None, "nobody waits for an answer");
    assert_eq!(request.method(), "port.add");
    let line = r#"{"jsonrpc":"2.0","method":"version","id":null}"#;
    assert_eq!(decode_request(line).unwrap().id, Some(Id::Null));
}

#[test]
fn a_path_that_is_no_text_is_no_request() {
    use std::os::unix::ffi::OsStringExt as _;
    let rx = std::ffi::OsString::from_vec(vec![b'/', 0xff]);
    let pcap = request::PcapOptions { rx: Some(rx.into()), ..request::PcapOptions::default() };
    let request = port_add(request::PortKind::Pcap(pcap));
    assert!(matches!(encode_request(1, &request), Err(EncodeError::Unwritable(_))));
}

#[test]
fn a_line_has_a_limit() {
    let flows = vec!["x".repeat(MAX_LINE)];
    let request = request::FlowChange { bridge: None, flows, lenient: false }.into();
    assert!(matches!(encode_request(1, &request), Err(EncodeError::TooLong { .. })));
}

#[test]
fn deep_json_is_refused() {
    let deep = "[".repeat(1_000_000);
    let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"show","params":{deep}"#);
    assert_eq!(rejected(&line).1, Failure::NOT_JSON);
    let closed = "]".repeat(1_000_000);
    let line =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"show","params":{{"x":{deep}{closed}}}}}"#);
    // Ignored without being built, or refused for its depth: either way without harm.
    let _ = decode_request(&line);
    let _ = decode_answer(&line);
}

fn almost_request() -> impl Strategy<Value = String> {
    let lines: Vec<_> =
        requests().iter().map(|(request, _)| encode_request(1, request).unwrap()).collect();
    let edits = prop::collection::vec(
        (any::<(prop::sample::Index, prop::sample::Index)>(), "[ -~]{0,3}|\\PC{0,2}"),
        1..4,
    );
    let edited = (prop::sample::select(lines), edits).prop_map(|(line, edits)| {
        let mut line: Vec<_> = line.chars().collect();
        for ((at, length), with) in edits {
            let at = at.index(line.len() + 1);
            let end = at + length.index(8.min(line.len() - at) + 1);
            line.splice(at..end, with.chars());
        }
        line.into_iter().collect()
    });
    prop_oneof![4 => edited, 1 => "\\PC{0,60}", 1 => "[\\[\\]{}\":,a-z0-9\\\\-]{0,60}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_line_is_read_or_refused(line in almost_request()) {
        match decode_request(&line) {
            Ok(asked) => {
                let again = encode_request(1, &asked.request).unwrap();
                prop_assert_eq!(decode_request(again.trim_end()).unwrap().request, asked.request);
            }
            Err(rejected) => prop_assert!(!rejected.failure.message.is_empty()),
        }
        let _ = decode_answer(&line);
    }
}
