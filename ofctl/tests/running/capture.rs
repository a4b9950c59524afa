//! Packets as they pass, in lines, JSON and files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use api::reply::Captured;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use testnet::eventually;

use crate::switch::{Said, Switch, udp};

/// A capture that runs.
struct Capture {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Capture {
    /// Starts one and waits until the switch shows packets. What it says goes to files, so that one
    /// can look at them meanwhile.
    fn start(switch: &Switch, arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = |what| switch.folder.join(format!("{what}-{number}"));
        let (out, err) = (path("out"), path("err"));
        let mut command = switch.command(&[&["capture"], arguments].concat());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.spawn().unwrap();
        let written = |path: &Path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let file = arguments.iter().position(|argument| *argument == "-w");
        let file = file.map(|at| switch.folder.join(arguments[at + 1]));
        eventually("it has begun", || {
            written(&out) || written(&err) || file.as_deref().is_some_and(written)
        });
        Self { child, out, err }
    }

    /// Waits for its end.
    fn end(mut self) -> Said {
        let code = self.child.wait().unwrap().code();
        let read = |path| std::fs::read_to_string(path).unwrap();
        let err = read(&self.err);
        let err = err.strip_prefix("capturing, until Ctrl-C\n").unwrap_or(&err).to_owned();
        Said { code, out: read(&self.out), err }
    }

    /// Ends it by a signal.
    fn signal(self, signal: &str) -> Said {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        self.end()
    }
}

/// The packets of a file: their bytes, lengths, ports and comments.
fn packets(path: &Path) -> Vec<(Vec<u8>, u32, String, Vec<String>)> {
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
    let child = Capture::start(&switch, &drops);
    switch.receive("p1", &[udp([10, 0, 0, 2])]);
    switch.receive("p2", &[udp([10, 0, 0, 3])]);
    let said = child.end();
    assert_eq!(said.err, "2 packets written; 0 passed too fast to be shown\n", "two are enough");
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
    let lines = Capture::start(&switch, &["br0", "p2", "--direction", "tx"]);
    let document = Capture::start(&switch, &["p1", "-f", "json"]);
    let file = Capture::start(&switch, &["p1", "-w", "p1.pcapng", "-f", "json"]);
    let mut pipe = Capture::start(&switch, &["p1", "-w", "-"]);
    let none = Capture::start(&switch, &["p3", "-f", "json"]);
    switch.receive("p1", &[udp([10, 0, 0, 2]), udp([10, 0, 0, 3])]);
    let path = switch.folder.join("p1.pcapng");
    eventually("they are written at once", || packets(&path).len() == 2);
    let lines = lines.signal("-INT").done();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let hex = api::HexBytes(udp([10, 0, 0, 2])).to_string();
    let first = lines.lines().next().unwrap();
    assert!(first.ends_with(&format!(" p2 tx 60 bytes, {hex}")), "{lines}");
    let document = document.signal("-INT").json();
    let packet: Captured = serde_json::from_value(document["packets"][1].clone()).unwrap();
    assert_eq!(packet.data, udp([10, 0, 0, 3]));
    assert_eq!(file.signal("-TERM").json(), serde_json::json!({"packets": 2, "lost": 0}));
    let piped = pipe.out.clone();
    // It is no text.
    let kill = Command::new("kill").args(["-INT", &pipe.child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert!(pipe.child.wait().unwrap().success());
    assert_eq!(packets(&piped), packets(&path));
    assert_eq!(none.signal("-INT").json(), serde_json::json!({"packets": []}));
}

#[test]
fn a_capture_of_a_port_that_goes_says_so() {
    let switch = Switch::with_ports();
    let child = Capture::start(&switch, &["p3"]);
    switch.ofctl(&["del-port", "br0", "p3"]).done();
    let said = child.end().refused();
    assert!(said.contains("the port is gone"), "{said}");
    let said = switch.ofctl(&["capture", "p1", "-w", "/nowhere/x.pcapng"]).refused();
    assert!(said.starts_with("error: cannot write /nowhere/x.pcapng: No such file"), "{said}");
}

#[test]
fn a_line_of_a_capture_can_be_traced() {
    let switch = Switch::with_ports();
    let child = Capture::start(&switch, &["--drops", "-c", "1"]);
    switch.receive("p1", &[udp([10, 0, 0, 2])]);
    let line = child.end().done();
    assert!(line.contains(" p1 rx 60 bytes, dropped: table-miss, "), "{line}");
    let bytes = line.trim_end().rsplit(' ').next().unwrap();
    let trace = switch.ofctl(&["trace", "br0", "--in-port", "p1", bytes]).done();
    assert!(trace.contains("nw_dst=10.0.0.2"), "{trace}");
    assert!(trace.contains("Verdict: dropped, table-miss"), "{trace}");
}
