//! Egress queues of a running switch: set, asked about and removed by its socket, while packets wait
//! in them and workers sleep until the next one may go.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

#[path = "common/running.rs"]
mod running;

use std::time::{Duration, Instant};

use api::reply::EgressQueue;
use api::request::{PortRef, QueueDel, QueueDump, QueueSet};
use api::{Client, ClientError, DropReason, QueueSettings};
use running::{Ask, Running};

fn set(client: &mut Client, queue: u16, settings: QueueSettings) -> Result<(), ClientError> {
    let port = PortRef::Name("p2".to_owned());
    client.call(QueueSet { bridge: None, port, queue, settings }).map(drop)
}

fn del(client: &mut Client, queue: Option<u16>) -> Result<(), ClientError> {
    let port = PortRef::Name("p2".to_owned());
    client.call(QueueDel { bridge: None, port, queue }).map(drop)
}

fn dump(client: &mut Client) -> Vec<EgressQueue> {
    client.call(QueueDump::default()).unwrap().queues
}

fn refusal(result: Result<(), ClientError>) -> String {
    match result {
        Err(ClientError::Refused(failure)) => failure.message,
        other => panic!("not refused: {other:?}"),
    }
}

/// So many packets of 1000 bytes.
fn packets(count: usize) -> Vec<Vec<u8>> {
    let mut packet = vec![2; 1000];
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    vec![packet; count]
}

#[test]
fn a_sleeping_worker_sends_what_waits_when_it_is_due() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["in_port=p1,actions=output:p2"]).unwrap();
    // A thousand of these packets a second, two at once.
    let rate =
        QueueSettings { max_rate: Some(8_000_000), burst: Some(2_000), ..QueueSettings::default() };
    set(&mut client, 0, rate).unwrap();
    let begin = Instant::now();
    client.receive("p1", &packets(402));
    let mut taken = 0;
    while taken < 402 && begin.elapsed() < Duration::from_secs(10) {
        taken += client.take("p2", 1).len();
    }
    assert_eq!(taken, 402);
    let took = begin.elapsed();
    // Nobody is sure to be looking just when the last one leaves.
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_millis(800), "{took:?}");
    let [queue] = &*dump(&mut client) else { panic!("one queue") };
    assert_eq!((queue.packets, queue.bytes, queue.drops), (402, 402_000, 0));
    assert_eq!((queue.waiting, queue.waiting_bytes), (0, 0));
    assert_eq!(client.dump()[0].packets, 402);
}

#[test]
fn queues_are_shown_as_they_were_set_and_count_what_they_drop() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    client.flows(&["in_port=p1,actions=output:p2"]).unwrap();
    assert!(dump(&mut client).is_empty());
    let slow = QueueSettings {
        max_rate: Some(1_000),
        burst: Some(1_514),
        depth: 3,
        ..QueueSettings::default()
    };
    set(&mut client, 7, slow).unwrap();
    set(&mut client, 0, slow).unwrap();
    client.receive("p1", &packets(10));
    // Too many for the queue, and one that left at once.
    assert_eq!(client.take("p2", 1).len(), 1);
    let shown = dump(&mut client);
    let [first, seventh] = &*shown else { panic!("two queues: {shown:?}") };
    assert_eq!((first.queue, first.settings, seventh.queue), (0, slow, 7));
    // The worker may have found them all at once, or some when the first had left.
    assert!(
        matches!((first.packets, first.drops, first.waiting), (1, 7, 2) | (1, 6, 3)),
        "{first:?}"
    );
    let drops = client.stats("p1").drops;
    assert_eq!((drops[0].reason, drops[0].packets), (DropReason::QueueFull, first.drops));
    // What waited is sent when the queues are gone.
    del(&mut client, None).unwrap();
    let waiting = usize::try_from(first.waiting).unwrap();
    assert_eq!(client.take("p2", waiting).len(), waiting);
    assert!(dump(&mut client).is_empty());
}

#[test]
fn what_is_wrong_with_a_queue_is_said_and_nothing_changes() {
    let switch = Running::with_ports();
    let mut client = switch.client();
    let wrong = QueueSettings { weight: 0, ..QueueSettings::default() };
    let message = refusal(set(&mut client, 3, wrong));
    assert_eq!(message, "queue 3: weight: 0 is not 1 to 1000");
    assert!(dump(&mut client).is_empty());
    assert_eq!(refusal(del(&mut client, Some(3))), "nobody has set queue 3 of port `p2`");
    assert_eq!(refusal(del(&mut client, None)), "port `p2` has no queues");
    let nowhere = QueueDump { queue: Some(9), ..QueueDump::default() };
    assert_eq!(refusal(client.call(nowhere).map(drop)), "there is no queue 9");
    let port = Some(PortRef::Name("p9".to_owned()));
    let nobody = client.call(QueueDump { port, ..QueueDump::default() }).map(drop);
    assert_eq!(refusal(nobody), "bridge br0 has no port `p9`");
}
