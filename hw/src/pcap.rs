//! A port made of capture files: it receives what one file holds, and writes what it is sent to
//! another.
//!
//! Received packets are copies: the packets of the file lie in memory, and each is copied into a
//! fresh frame whenever it is its turn. So a file that is replayed for ever is also the source of our
//! benches: no device, no system call, and little more cost than that of 64 bytes from memory to
//! memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use packet::memory::prefetch;
use packet::{Batch, Chainer, FRAME_SIZE, FramePool, HEADROOM, Memory, Packet, PortId};
use parking_lot::Mutex;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError};

use crate::error::Error;
use crate::port::{
    Capabilities, Capability, Port, PortCounters, QueueStatus, Refusal, RxQueue, TxQueue, Wake,
};

/// Which files.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PcapOptions {
    /// The file to receive from, in pcap or pcapng format; without one nothing comes in.
    pub receive: Option<PathBuf>,
    /// Whether it begins anew at its end, for ever.
    pub repeat: bool,
    /// The file to write what is sent to, made anew; without one it is swallowed.
    pub send: Option<PathBuf>,
    /// How many packets are written at most; those behind them are swallowed.
    pub limit: Option<u64>,
}

/// A port made of files.
#[derive(Debug)]
pub struct Pcap {
    rx: Option<PcapRx>,
    sink: Arc<Sink>,
    no_frames: Arc<AtomicU64>,
}

impl Pcap {
    /// Reads the one file and creates the other.
    ///
    /// Errors: files that cannot be read, are no captures, or not of Ethernet, or are too long.
    pub fn open(options: &PcapOptions, port: PortId) -> Result<Self, Error> {
        let no_frames = Arc::new(AtomicU64::new(0));
        let rx = options.receive.as_ref().map(|path| {
            let templates = Templates::read(path)?;
            let (repeat, no_frames) = (options.repeat, Arc::clone(&no_frames));
            Ok(PcapRx { templates, next: 0, repeat, port, no_frames })
        });
        let sink = Sink::create(options.send.as_deref(), options.limit)?;
        Ok(Self { rx: rx.transpose()?, sink: Arc::new(sink), no_frames })
    }
}

impl Port for Pcap {
    fn capabilities(&self) -> Capabilities {
        let as_on_the_wire = "a capture holds packets as they are on the wire";
        Capabilities {
            checksum: Capability::No(as_on_the_wire.to_owned()),
            segmentation: Capability::No(as_on_the_wire.to_owned()),
            chains: Capability::Yes,
            zero_copy: Capability::No("a file is copied from and to".to_owned()),
            unmarked_partial: false,
            max_frame: usize::from(u16::MAX),
            short_cut: None,
        }
    }

    fn rx_queues(&mut self) -> Vec<Box<dyn RxQueue>> {
        self.rx.take().map(|rx| Box::new(rx) as Box<dyn RxQueue>).into_iter().collect()
    }

    fn tx_queue(&mut self) -> Result<Box<dyn TxQueue>, Error> {
        Ok(Box::new(PcapTx { sink: Arc::clone(&self.sink) }))
    }

    fn queues(&self) -> Vec<QueueStatus> {
        vec![QueueStatus { queue: 0, mode: "memory", reason: String::new() }]
    }

    fn counters(&self) -> PortCounters {
        PortCounters {
            rx_no_frames: self.no_frames.load(Relaxed),
            tx_invalid: self.sink.failed.load(Relaxed),
            ..PortCounters::default()
        }
    }
}

/// The packets of a file, [`STRIDE`] lines apart, or as many times that as one needs.
#[derive(Debug)]
struct Templates {
    lines: Vec<Line>,
    packets: Vec<Template>,
}

/// Bytes that lie in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u8; LINE]);

/// A packet: its lines in [`Templates::lines`], and its bytes.
#[derive(Clone, Copy, Debug)]
struct Template {
    first: u32,
    end: u32,
    len: u32,
}

impl Templates {
    /// Lines of the longest file: 2 GiB.
    const MOST: usize = (2 << 30) / LINE;

    fn read(path: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::File { path: path.to_owned(), reason };
        let file = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        Self::new(&packets(&file).map_err(failed)?).map_err(failed)
    }

    fn new(packets: &[Vec<u8>]) -> Result<Self, String> {
        let lines_of = |bytes: &Vec<u8>| bytes.len().div_ceil(LINE).next_multiple_of(STRIDE);
        let needed = packets.iter().map(lines_of).sum::<usize>();
        if needed > Self::MOST {
            let [needed, most] = [needed, Self::MOST].map(|lines| (lines * LINE) >> 20);
            return Err(format!("its packets take {needed} MiB, {most} are the limit"));
        }
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut lines = Vec::with_capacity(needed);
        let template = |bytes: &Vec<u8>| {
            let first = lines.len();
            lines.resize(first + lines_of(bytes), Line([0; LINE]));
            for (Line(line), bytes) in lines[first..].iter_mut().zip(bytes.chunks(LINE)) {
                line[..bytes.len()].copy_from_slice(bytes);
            }
            let end = first + bytes.len().div_ceil(LINE);
            Template { first: number(first), end: number(end), len: number(bytes.len()) }
        };
        let packets = packets.iter().map(template).collect();
        Ok(Self { lines, packets })
    }

    #[inline]
    fn lines(&self, template: Template) -> &[Line] {
        &self.lines[template.first as usize..template.end as usize]
    }

    /// Fetches the first line of the packet at `at`, if there is one.
    #[inline]
    fn prefetch(&self, at: usize) {
        if let Some(template) = self.packets.get(at)
            && let Some(line) = self.lines.get(template.first as usize)
        {
            prefetch(line);
        }
    }
}

/// The packets of a capture, in whichever format.
fn packets(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
    let said = |error: PcapError| error.to_string();
    let mut packets = Vec::new();
    if file.starts_with(&PCAPNG) {
        let mut reader = PcapNgReader::new(file).map_err(said)?;
        while let Some(block) = reader.next_block() {
            match block.map_err(said)? {
                Block::EnhancedPacket(packet) => packets.push(packet.data.into_owned()),
                Block::SimplePacket(packet) => packets.push(packet.data.into_owned()),
                Block::InterfaceDescription(interface) => ethernet(interface.linktype)?,
                _ => {}
            }
        }
    } else {
        let mut reader = PcapReader::new(file).map_err(said)?;
        ethernet(reader.header().datalink)?;
        while let Some(packet) = reader.next_packet() {
            packets.push(packet.map_err(said)?.data.into_owned());
        }
    }
    packets.retain(|bytes| !bytes.is_empty());
    Ok(packets)
}

fn ethernet(link: DataLink) -> Result<(), String> {
    match link {
        DataLink::ETHERNET => Ok(()),
        other => Err(format!("it was captured on {other:?}, not on Ethernet")),
    }
}

#[derive(Debug)]
struct PcapRx {
    templates: Templates,
    next: usize,
    repeat: bool,
    port: PortId,
    no_frames: Arc<AtomicU64>,
}

/// Bytes copied at once: a cache line.
const LINE: usize = 64;
/// Lines from one packet to the next, at least: 2 KiB, as far apart as DPDK's are. Side by side they
/// would come out of the cache sooner, and a bench that replays them would compare two memories
/// rather than two switches.
const STRIDE: usize = 2048 / LINE;
/// How many packets ahead the source is fetched into the cache.
const AHEAD: usize = 16;

impl PcapRx {
    /// Appends a copy of `template` to `batch`; answers whether there was a frame for it.
    #[inline]
    fn copy(
        &self,
        template: Template,
        memory: &Memory,
        pool: &mut FramePool,
        batch: &mut Batch,
    ) -> bool {
        let from = self.templates.lines(template);
        if from.len() > (FRAME_SIZE - usize::from(HEADROOM)) / LINE {
            return self.copy_long(from, template.len as usize, pool, batch);
        }
        let Some(mut frame) = pool.alloc() else { return false };
        let (to, _) = memory.bytes_mut(&mut frame)[usize::from(HEADROOM)..].as_chunks_mut();
        // Whole lines: what is behind the packet is free. The first, mostly the only one, is of fixed
        // length: a move or two.
        if let ([to, more_to @ ..], [from, more @ ..]) = (to, from) {
            *to = from.0;
            more_to.iter_mut().zip(more).for_each(|(to, from)| *to = from.0);
        }
        let len = u16::try_from(template.len).unwrap_or(0);
        // Pushed right here: a packet handed round first would be read back before it is written.
        batch.push(Packet::new(frame, HEADROOM, len, self.port));
        true
    }

    #[cold]
    fn copy_long(
        &self,
        lines: &[Line],
        len: usize,
        pool: &mut FramePool,
        batch: &mut Batch,
    ) -> bool {
        let bytes: Vec<_> = lines.iter().flat_map(|line| line.0).take(len).collect();
        let packet = Chainer::copy_of(&bytes, HEADROOM, self.port, pool);
        let copied = packet.is_some();
        batch.extend(packet);
        copied
    }
}

impl RxQueue for PcapRx {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let memory = Arc::clone(pool.memory());
        for _ in 0..limit {
            if self.next >= self.templates.packets.len() && self.repeat {
                self.next = 0;
            }
            let Some(template) = self.templates.packets.get(self.next) else { return };
            self.templates.prefetch(self.next + AHEAD);
            if !self.copy(*template, &memory, pool, batch) {
                self.no_frames.fetch_add(1, Relaxed);
                return;
            }
            self.next += 1;
        }
    }

    fn wake(&self) -> Wake<'_> {
        let count = self.templates.packets.len();
        let more = self.next < count || (self.repeat && count > 0);
        if more { Wake::Always } else { Wake::Never }
    }

    fn syscalls(&self) -> u64 {
        0
    }
}

/// What all workers write to.
struct Sink {
    writer: Mutex<Writer>,
    failed: AtomicU64,
    syscalls: AtomicU64,
}

/// A file in the classic pcap format.
struct Writer {
    file: Option<BufWriter<File>>,
    written: u64,
    limit: u64,
    dirty: bool,
}

impl Sink {
    fn create(path: Option<&Path>, limit: Option<u64>) -> Result<Self, Error> {
        let create = |path: &Path| {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(&Writer::HEADER)?;
            Ok(file)
        };
        let file = path.map(|path| {
            create(path).map_err(|error: io::Error| Error::File {
                path: path.to_owned(),
                reason: error.to_string(),
            })
        });
        let (written, limit) = (0, limit.unwrap_or(u64::MAX));
        let writer = Writer { file: file.transpose()?, written, limit, dirty: true };
        Ok(Self {
            writer: Mutex::new(writer),
            failed: AtomicU64::new(0),
            syscalls: AtomicU64::new(0),
        })
    }
}

impl Writer {
    /// Magic number (times in microseconds, little-endian), version 2.4, no time zone, packets of
    /// up to 65535 bytes, Ethernet (draft-ietf-opsawg-pcap §4).
    #[rustfmt::skip]
    const HEADER: [u8; 24] = [
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
    ];

    fn write<'a>(&mut self, len: usize, chunks: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.written == self.limit {
            return Ok(());
        }
        // The time of a packet is its number: the same traffic makes the same file.
        let (seconds, micros) = (self.written / 1_000_000, self.written % 1_000_000);
        let len = len as u64;
        for word in [seconds, micros, len, len] {
            file.write_all(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes())?;
        }
        for chunk in chunks {
            file.write_all(chunk)?;
        }
        self.written += 1;
        self.dirty = true;
        Ok(())
    }

    /// Hands what has been written to the kernel; answers whether that took a system call.
    fn flush(&mut self) -> io::Result<bool> {
        match &mut self.file {
            Some(file) if std::mem::take(&mut self.dirty) => file.flush().map(|()| true),
            _ => Ok(false),
        }
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("written", &self.writer.lock().written).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct PcapTx {
    sink: Arc<Sink>,
}

impl TxQueue for PcapTx {
    fn tx(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        refused: &mut Vec<(Packet, Refusal)>,
    ) {
        if batch.is_empty() {
            return;
        }
        let mut writer = self.sink.writer.lock();
        for packet in batch.drain(..) {
            if writer.write(packet.len(), packet.chunks(pool.memory())).is_ok() {
                packet.free(pool);
            } else {
                self.sink.failed.fetch_add(1, Relaxed);
                refused.push((packet, Refusal::Error));
            }
        }
    }

    fn flush(&mut self, _pool: &mut FramePool) -> bool {
        match self.sink.writer.lock().flush() {
            Ok(called) => self.sink.syscalls.fetch_add(called.into(), Relaxed),
            Err(_) => self.sink.failed.fetch_add(1, Relaxed),
        };
        false
    }

    fn syscalls(&self) -> u64 {
        self.sink.syscalls.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Depot;

    /// A file that is gone when the test is.
    struct TemporaryFile(PathBuf);

    impl TemporaryFile {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("vswitch-{}-{name}", std::process::id())))
        }
    }

    impl Drop for TemporaryFile {
        fn drop(&mut self) {
            drop(std::fs::remove_file(&self.0));
        }
    }

    fn pool(frames: u32) -> FramePool {
        FramePool::new(&Depot::new(Memory::heap(frames)))
    }

    fn all_packets(rx: &mut dyn RxQueue, limit: usize, pool: &mut FramePool) -> Vec<Vec<u8>> {
        let mut batch = Batch::new();
        rx.rx(&mut batch, limit, pool);
        let memory = Arc::clone(pool.memory());
        let bytes = batch.iter().map(|packet| packet.to_vec(&memory)).collect();
        batch.drain(..).for_each(|packet| packet.free(pool));
        bytes
    }

    #[test]
    fn what_is_written_is_read_again() {
        let file = TemporaryFile::new("written.pcap");
        let mut pool = pool(64);
        let sent: Vec<Vec<u8>> = [60, 64, 65, 1514, 1792, 1793, 9014, 61, 2048, 62]
            .map(|len: usize| (0..=250).cycle().take(len).collect())
            .into();
        let options =
            PcapOptions { send: Some(file.0.clone()), limit: Some(10), ..PcapOptions::default() };
        let mut port = Pcap::open(&options, PortId(1)).unwrap();
        let mut tx = port.tx_queue().unwrap();
        let (mut batch, mut refused) = (Batch::new(), Vec::new());
        for bytes in sent.iter().chain(&sent) {
            batch.push(Chainer::copy_of(bytes, HEADROOM, PortId(1), &mut pool).unwrap());
        }
        tx.tx(&mut batch, &mut pool, &mut refused);
        assert!(refused.is_empty() && !tx.flush(&mut pool));
        let options = PcapOptions { receive: Some(file.0.clone()), ..PcapOptions::default() };
        let mut port = Pcap::open(&options, PortId(2)).unwrap();
        let mut rx = port.rx_queues().remove(0);
        assert!(matches!(rx.wake(), Wake::Always));
        assert_eq!(all_packets(&mut *rx, 256, &mut pool), sent, "ten were the limit");
        assert!(matches!(rx.wake(), Wake::Never));
        assert!(all_packets(&mut *rx, 256, &mut pool).is_empty());
        assert_eq!(std::iter::from_fn(|| pool.alloc()).count(), 64);
    }

    #[test]
    fn a_repeated_file_has_no_end() {
        let file = TemporaryFile::new("repeated.pcap");
        let mut bytes = Writer::HEADER.to_vec();
        for fill in [1u8, 2, 3] {
            bytes.extend([0; 8].into_iter().chain([60, 0, 0, 0, 60, 0, 0, 0]).chain([fill; 60]));
        }
        std::fs::write(&file.0, bytes).unwrap();
        let options =
            PcapOptions { receive: Some(file.0.clone()), repeat: true, ..PcapOptions::default() };
        let mut port = Pcap::open(&options, PortId(1)).unwrap();
        let mut rx = port.rx_queues().remove(0);
        let mut pool = pool(16);
        let fills =
            |packets: Vec<Vec<u8>>| packets.iter().map(|bytes| bytes[59]).collect::<Vec<_>>();
        assert_eq!(fills(all_packets(&mut *rx, 4, &mut pool)), [1, 2, 3, 1]);
        assert_eq!(fills(all_packets(&mut *rx, 5, &mut pool)), [2, 3, 1, 2, 3]);
        assert_eq!(all_packets(&mut *rx, 256, &mut pool).len(), 16, "as many as there are frames");
        assert_eq!(port.counters().rx_no_frames, 1);
    }

    #[test]
    fn the_newer_format_is_read_too() {
        let mut file = Vec::new();
        let mut block = |kind: u32, body: &[u8]| {
            let len = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            file.extend(
                kind.to_le_bytes().into_iter().chain(len).chain(body.iter().copied()).chain(len),
            );
        };
        block(
            0x0a0d_0d0a,
            &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
        let mut packet = vec![0; 12];
        packet.extend([60, 0, 0, 0, 60, 0, 0, 0]);
        packet.extend([9; 60]);
        block(6, &packet);
        assert_eq!(packets(&file).unwrap(), [vec![9; 60]]);
    }

    #[test]
    fn what_is_no_capture_is_an_error_that_names_it() {
        let file = TemporaryFile::new("text");
        let options = PcapOptions { receive: Some(file.0.clone()), ..PcapOptions::default() };
        let error = Pcap::open(&options, PortId(1)).unwrap_err();
        assert!(error.to_string().contains("vswitch-"), "{error}");
        std::fs::write(&file.0, "no packets here, only text that goes on for a while").unwrap();
        let error = Pcap::open(&options, PortId(1)).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
        let mut raw_ip = Writer::HEADER;
        raw_ip[20] = 101;
        assert!(packets(&raw_ip).unwrap_err().contains("not on Ethernet"));
    }
}
