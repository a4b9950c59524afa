//! Captured packets as a pcapng file (draft-ietf-opsawg-pcapng).

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use api::reply::Captured;
use api::request::Direction;
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{PcapNgBlock as _, PcapNgWriter};

/// The resolution of times, as the power of ten by which a second is divided.
const NANOSECONDS: u8 = 9;

/// A file that is being written. Every block is written by one call: whoever reads along, or stops
/// us, finds whole packets.
pub(crate) struct Pcapng<W> {
    file: W,
    blocks: PcapNgWriter<Vec<u8>>,
    /// The ports seen so far, by their numbers as interfaces.
    ports: Vec<String>,
    snaplen: u32,
}

impl<W: Write> Pcapng<W> {
    /// Begins a file of packets of which `snaplen` bytes are kept.
    pub(crate) fn begin(file: W, snaplen: u32) -> Result<Self> {
        let blocks = PcapNgWriter::new(Vec::new())?;
        let mut pcapng = Self { file, blocks, ports: Vec::new(), snaplen };
        pcapng.flush()?;
        Ok(pcapng)
    }

    /// Adds a packet.
    pub(crate) fn add(&mut self, packet: &Captured) -> Result<()> {
        let interface_id = self.interface(&packet.port)?;
        let way = match packet.direction {
            Direction::Rx => 1,
            Direction::Tx => 2,
            Direction::Both => 0,
        };
        let mut options = vec![EnhancedPacketOption::Flags(way)];
        if packet.lost > 0 {
            options.push(EnhancedPacketOption::DropCount(packet.lost.into()));
        }
        if let Some(reason) = packet.reason {
            let comment = format!("dropped, {reason}: {}", reason.sentence());
            options.push(EnhancedPacketOption::Comment(comment.into()));
        }
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(packet.time_ns),
            original_len: packet.len,
            data: Cow::Borrowed(&packet.data),
            options,
        };
        self.blocks.write_block(&block.into_block())?;
        Ok(self.flush()?)
    }

    /// The number of a port's interface, which is described before its first packet.
    fn interface(&mut self, port: &str) -> Result<u32> {
        if let Some(known) = self.ports.iter().position(|known| known == port) {
            return Ok(u32::try_from(known)?);
        }
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(port)),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snaplen,
            options,
        };
        self.blocks.write_block(&interface.into_block())?;
        self.ports.push(port.to_owned());
        Ok(u32::try_from(self.ports.len() - 1)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        let blocks = self.blocks.get_mut();
        self.file.write_all(blocks)?;
        blocks.clear();
        self.file.flush()
    }
}
