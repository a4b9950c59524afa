//! Packets in, packets out, byte for byte, in files that Wireshark opens.
//!
//! `golden/NAME.txt` has flows and, behind a line `---`, descriptions of packets. `golden/NAME.pcapng`
//! has those packets and what OVS sends for them; its interfaces are the ports. With
//! `GOLDEN=write` the test that asks OVS writes these files anew.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod common;
#[path = "common/ovs.rs"]
mod ovs;

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::NoNames;
use common::{Bench, Options};
use flowtable::VlanMode;
use ovs::{Ovs, PORTS};
use packet::{Key, compose};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgBlock as _, PcapNgReader, PcapNgWriter};

/// A packet at a port.
type At = (u16, Vec<u8>);

/// What is given, and for each packet what comes of it, by port.
struct Case {
    name: String,
    flows: Vec<String>,
    packets: Vec<At>,
}

impl Case {
    /// All of them.
    fn all() -> Vec<Self> {
        let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut texts: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|end| end == "txt")).collect();
        texts.sort();
        assert!(texts.len() >= 6, "{texts:?}");
        texts.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        let (flows, packets) = text.split_once("---\n").unwrap();
        let flows = flows.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        let packet = |line: &str| {
            let key = api::text::packet(line, &NoNames).unwrap();
            (u16::try_from(key.word(Key::IN_PORT)).unwrap(), compose(&key, 64))
        };
        Self {
            name: file.file_stem().unwrap().to_string_lossy().into_owned(),
            flows: flows.collect(),
            packets: packets.lines().map(packet).collect(),
        }
    }

    /// What we send for each packet.
    fn ours(&self) -> Vec<Vec<At>> {
        let vlans = vec![VlanMode::Trunk(Vec::new()); PORTS.into()];
        let mut bench = Bench::new(&vlans, Options::default());
        let flows: Vec<_> = self.flows.iter().map(|flow| flow.parse().unwrap()).collect();
        bench.flow_mods(&flows);
        let sent = self.packets.iter().map(|(port, bytes)| {
            bench.put(*port, bytes);
            bench.turn();
            bench.take()
        });
        sent.collect()
    }

    /// What OVS sends.
    fn theirs(&self, ovs: &Ovs) -> Vec<Vec<At>> {
        ovs.flows(&self.flows);
        ovs.run(&["ovs-appctl", "fdb/flush"]);
        let mut before = sent_by(ovs);
        let sent = self.packets.iter().map(|(port, bytes)| {
            ovs.receive(*port, bytes);
            // What it has learned from this one is to hold for the next one, not a second later.
            ovs.forget_megaflows();
            let after = sent_by(ovs);
            let new = (1..).zip(&after).zip(&before).flat_map(|((port, after), before)| {
                after[before.len()..].iter().map(move |bytes| (port, bytes.clone()))
            });
            let new: Vec<_> = new.collect();
            before = after;
            new
        });
        sent.collect()
    }

    fn golden(&self) -> PathBuf {
        folder().join(&self.name).with_extension("pcapng")
    }

    /// Each packet and what belongs to it, as the file has it.
    fn read_golden(&self) -> (Vec<At>, Vec<Vec<At>>) {
        let mut reader = PcapNgReader::new(File::open(self.golden()).unwrap()).unwrap();
        let (mut came, mut sent) = (Vec::new(), Vec::<Vec<At>>::new());
        while let Some(block) = reader.next_block() {
            let Block::EnhancedPacket(packet) = block.unwrap() else { continue };
            let at = (u16::try_from(packet.interface_id).unwrap() + 1, packet.data.into_owned());
            if packet.options.contains(&EnhancedPacketOption::Flags(INBOUND)) {
                came.push(at);
                sent.push(Vec::new());
            } else {
                sent.last_mut().unwrap().push(at);
            }
        }
        (came, sent)
    }

    fn write_golden(&self, sent: &[Vec<At>]) {
        let mut writer = PcapNgWriter::new(File::create(self.golden()).unwrap()).unwrap();
        for port in 1..=PORTS {
            let options = vec![InterfaceDescriptionOption::IfName(format!("p{port}").into())];
            let linktype = DataLink::ETHERNET;
            let port = InterfaceDescriptionBlock { linktype, snaplen: 0, options };
            writer.write_block(&port.into_block()).unwrap();
        }
        for (seconds, (came, sent)) in (0..).zip(self.packets.iter().zip(sent)) {
            let came = std::iter::once((INBOUND, came));
            for (way, (port, bytes)) in came.chain(sent.iter().map(|at| (OUTBOUND, at))) {
                let packet = EnhancedPacketBlock {
                    interface_id: u32::from(*port) - 1,
                    timestamp: Duration::from_secs(seconds),
                    original_len: u32::try_from(bytes.len()).unwrap(),
                    data: Cow::Borrowed(bytes),
                    options: vec![EnhancedPacketOption::Flags(way)],
                };
                writer.write_block(&packet.into_block()).unwrap();
            }
        }
    }
}

/// Values of `epb_flags`.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Everything that OVS's ports have sent so far.
fn sent_by(ovs: &Ovs) -> Vec<Vec<Vec<u8>>> {
    let port = |number| {
        let file = File::open(ovs.folder.join(format!("p{number}.pcap"))).unwrap();
        let mut reader = PcapReader::new(file).unwrap();
        let mut packets = Vec::new();
        while let Some(packet) = reader.next_packet() {
            packets.push(packet.unwrap().data.into_owned());
        }
        packets
    };
    (1..=PORTS).map(port).collect()
}

/// As text, since that is what one reads when it differs.
fn shown(sent: &[Vec<At>]) -> Vec<String> {
    let lines = sent.iter().enumerate().flat_map(|(number, sent)| {
        sent.iter().map(move |(port, bytes)| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("packet {number} to port {port}: {hex}")
        })
    });
    lines.collect()
}

#[test]
fn what_goes_out_is_what_the_files_say() {
    for case in Case::all() {
        let (came, sent) = case.read_golden();
        assert_eq!(case.packets, came, "{}: the packets", case.name);
        assert_eq!(shown(&case.ours()), shown(&sent), "{}", case.name);
    }
}

#[test]
#[ignore = "needs root and ovs-ofctl: run by cargo xtask test"]
fn what_the_files_say_is_what_ovs_does() {
    let ovs = Ovs::start();
    for case in Case::all() {
        let theirs = case.theirs(&ovs);
        if std::env::var_os("GOLDEN").is_some_and(|wish| wish == "write") {
            case.write_golden(&theirs);
        }
        assert_eq!(shown(&case.read_golden().1), shown(&theirs), "{}", case.name);
    }
}
