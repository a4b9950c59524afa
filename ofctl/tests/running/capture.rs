//! Packets as they pass, in lines, JSON and files.

use std::fs::File;
use std::process::{Child, Command};

use api::reply::Captured;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::switch::{Said, Switch, eventually, udp};

/// Starts a capture of which the switch knows.
fn capture(switch: &Switch, arguments: &[&str]) -> Child {
    let child = switch.command(&[&["capture"], arguments].concat()).spawn().unwrap();
    // Nobody can ask the switch who looks on; the signals that end it are taken before.
    let status = format!("/proc/{}/status", child.id());
    let sigcgt = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("SigCgt:"))?.to_owned();
        u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()
    };
    eventually("the capture has begun", || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        sigcgt(&status).is_some_and(|caught| caught & 2 != 0)
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    child
}

fn end(child: Child, signal: &str) -> Said {
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    Said::from(child.wait_with_output().unwrap())
}

/// The packets of a file: their bytes, lengths, ports and comments.
fn packets(path: &std::path::Path) -> Vec<(Vec<u8>, u32, String, Vec<String>)> {
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
    let mut reader = PcapNgReader::new(File::open(path).unwrap()).unwrap();
    let (mut packets, mut ports) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(interface) => {
                ports.extend(interface.options.iter().filter_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(packet) => {
                let comments = packet.options.iter().filter_map(|option| match option {
                    EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
                    _ => None,
                });
                let port = ports[usize::try_from(packet.interface_id).unwrap()].clone();
                packets.push((packet.data.to_vec(), packet.original_len, port, comments.collect()));
            }
            _ => {}
        }
    }
    packets
}

#[test]
fn drops_are_written_with_their_reasons() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "br0", "in_port=1,udp,actions=drop"]).done();
    let drops = ["--drops", "-w", "drops.pcapng", "--count", "2", "--snaplen", "42"];
    let child = capture(&switch, &drops);
    switch.receive("p1", &[udp([10, 0, 0, 2])]);
    switch.receive("p2", &[udp([10, 0, 0, 3])]);
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.done().as_str(),), ("",), "two are enough");
    let packets = packets(&switch.folder.join("drops.pcapng"));
    let flow = "dropped, flow-drop: The flow that matched has no action that outputs.";
    let miss = "dropped, table-miss: No flow of the table matched.";
    let packet = |to, port: &str, why: &str| {
        (udp(to)[..42].to_vec(), 60, port.to_owned(), vec![why.to_owned()])
    };
    assert_eq!(packets, [packet([10, 0, 0, 2], "p1", flow), packet([10, 0, 0, 3], "p2", miss)]);
}

#[test]
fn a_capture_ends_when_it_is_told_to() {
    let switch = Switch::with_ports();
    switch.ofctl(&["add-flow", "br0", "in_port=1,actions=output:2"]).done();
    let lines = capture(&switch, &["br0", "p2", "--direction", "tx"]);
    let document = capture(&switch, &["p1", "-f", "json"]);
    let file = capture(&switch, &["p1", "-w", "p1.pcapng", "-f", "json"]);
    let pipe = capture(&switch, &["p1", "-w", "-"]);
    let none = capture(&switch, &["p3", "-f", "json"]);
    switch.receive("p1", &[udp([10, 0, 0, 2]), udp([10, 0, 0, 3])]);
    let path = switch.folder.join("p1.pcapng");
    eventually("they are written at once", || packets(&path).len() == 2);
    let lines = end(lines, "-INT").done();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let hex = api::HexBytes(udp([10, 0, 0, 2])).to_string();
    let first = lines.lines().next().unwrap();
    assert!(first.ends_with(&format!(" p2 tx 60 bytes, {hex}")), "{lines}");
    let document = end(document, "-INT").json();
    let packet: Captured = serde_json::from_value(document["packets"][1].clone()).unwrap();
    assert_eq!(packet.data, udp([10, 0, 0, 3]));
    assert_eq!(end(file, "-TERM").json(), serde_json::json!({"packets": 2, "lost": 0}));
    let mut pipe = pipe;
    let kill = Command::new("kill").args(["-INT", &pipe.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let copied = switch.folder.join("pipe.pcapng");
    let mut copy = File::create(&copied).unwrap();
    std::io::copy(&mut pipe.stdout.take().unwrap(), &mut copy).unwrap();
    assert!(pipe.wait().unwrap().success());
    assert_eq!(packets(&copied), packets(&path));
    assert_eq!(end(none, "-INT").json(), serde_json::json!({"packets": []}));
}

#[test]
fn a_capture_of_a_port_that_goes_says_so() {
    let switch = Switch::with_ports();
    let child = capture(&switch, &["p3"]);
    switch.ofctl(&["del-port", "br0", "p3"]).done();
    let said = Said::from(child.wait_with_output().unwrap()).refused();
    assert!(said.contains("the port is gone"), "{said}");
    let said = switch.ofctl(&["capture", "p1", "-w", "/nowhere/x.pcapng"]).refused();
    assert!(said.starts_with("error: cannot write /nowhere/x.pcapng: No such file"), "{said}");
}

#[test]
fn a_line_of_a_capture_can_be_traced() {
    let switch = Switch::with_ports();
    let child = capture(&switch, &["--drops", "-c", "1"]);
    switch.receive("p1", &[udp([10, 0, 0, 2])]);
    let line = Said::from(child.wait_with_output().unwrap()).done();
    assert!(line.contains(" p1 rx 60 bytes, dropped: table-miss, "), "{line}");
    let bytes = line.trim_end().rsplit(' ').next().unwrap();
    let trace = switch.ofctl(&["trace", "br0", "--in-port", "p1", bytes]).done();
    assert!(trace.contains("nw_dst=10.0.0.2"), "{trace}");
    assert!(trace.contains("Verdict: dropped, table-miss"), "{trace}");
}
