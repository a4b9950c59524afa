//! The packet generator between two ends of a veth pair, by both ways to reach them.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::time::Duration;

use serde_json::Value;
use testnet::{Host, TestNet};

type Result = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

const PKTGEN: &str = env!("CARGO_BIN_EXE_pktgen");
const BACKENDS: [&str; 2] = ["packet", "afxdp"];

/// A receiver in `host`, and a sender at the other end of its veth pair: what each says.
fn run(net: &TestNet, host: &Host, receiver: &str, sender: &str) -> [Value; 2] {
    let receiver = format!("{PKTGEN} {receiver} -i eth0 --format json");
    let mut receiver = host.spawn(&receiver).unwrap();
    // It says so on its standard error when it is ready, which goes to the terminal.
    std::thread::sleep(Duration::from_millis(700));
    let name = host.name();
    let macs = "--dst-mac 02:00:00:00:00:99 --src-mac 02:00:00:00:00:98";
    let sender = net.run(&format!("{PKTGEN} {sender} -i {name} {macs} --format json")).unwrap();
    let (succeeded, received) = receiver.wait().unwrap();
    assert!(succeeded, "{received}");
    [received, sender].map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn everything_that_is_sent_is_received_once_and_in_order() -> Result {
    const COUNT: u64 = 20_000;
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    for backend in BACKENDS {
        for packets in ["--src 10.0.0.2 --dst 10.0.0.1", "--src fd00::2 --dst fd00::1 --size 1514"]
        {
            let sink = format!("sink -b {backend} --seconds 20");
            let send =
                format!("send -b {backend} {packets} --flows 1000 --count {COUNT} --rate 40000");
            let [sink, send] = run(&net, &host, &sink, &send);
            let context = format!("{backend} {packets}: {sink} {send}");
            assert_eq!(send["sent"], COUNT, "{context}");
            assert_eq!(sink["received"], COUNT, "{context}");
            assert_eq!(sink["announced"], true, "{context}");
            for fault in ["lost", "duplicates", "reordered", "stale", "damaged"] {
                assert_eq!(sink[fault], 0, "{fault}, {context}");
            }
            assert_eq!(sink["latency"]["samples"], COUNT, "{context}");
            assert!(sink["latency"]["p50"].as_f64().unwrap() > 0.1, "{context}");
            // 20 000 packets at 40 000 a second.
            assert!((0.4..1.0).contains(&send["seconds"].as_f64().unwrap()), "{context}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn pingpong_comes_back() -> Result {
    const COUNT: u64 = 2000;
    let net = TestNet::new()?;
    let host = net.host("a", "10.0.0.1/24")?;
    for backend in BACKENDS {
        let serve = format!("pingpong -b {backend} --serve --count {COUNT} --seconds 20");
        let ask = format!(
            "pingpong -b {backend} --src 10.0.0.2 --dst 10.0.0.1 --count {COUNT} --seconds 20"
        );
        let [served, asked] = run(&net, &host, &serve, &ask);
        assert_eq!((&served["received"], &served["sent"]), (&COUNT.into(), &COUNT.into()));
        assert_eq!((&asked["received"], &asked["lost"]), (&COUNT.into(), &0.into()), "{asked}");
        assert_eq!(asked["rtt"]["samples"], COUNT, "{asked}");
    }
    Ok(())
}
