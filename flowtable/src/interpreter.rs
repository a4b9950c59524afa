//! What flows mean, spelled out: one packet at a time, every rule looked at, every action carried
//! out on the bytes as it is written.
//!
//! Nothing that makes the switch fast is here: no tuples, masks, caches or programs, no shared
//! counters. It is what the rest is held against in tests: the same packets must leave by the same
//! ports with the same bytes, and the same rules must have counted them.

use std::collections::HashMap;

use api::{Action, Command, DropReason, FlowMod, Match, OutPort, TableId};
use packet::checksum::Sum;
use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use packet::{
    Fragment, Headers, Key, MacAddr, Network, Span, Transport, arp, ethernet, icmp, ipv4, ipv6,
    parse, sctp, tcp, udp, vlan,
};

use crate::mac::Station;
use crate::ports::{PortView, Ports, VlanMode};
use crate::walk::{DEPTH, RESUBMITS};

/// A flow, and the packets it has met.
#[derive(Clone, Debug)]
pub struct LiteralRule {
    /// The table it is in.
    pub table: TableId,
    /// Higher goes first; among equals the one that was added first.
    pub priority: u16,
    /// Which packets it is for.
    pub matching: Match,
    /// What it does.
    pub actions: Vec<Action>,
    /// Its cookie.
    pub cookie: u64,
    /// Packets it has met.
    pub packets: u64,
    /// Bytes of those packets as they came in.
    pub bytes: u64,
}

/// What became of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It left: by the ports of these OpenFlow numbers, with these bytes, in this order.
    Sent(Vec<(u16, Vec<u8>)>),
    /// It was dropped.
    Dropped(DropReason),
}

/// One bridge.
#[derive(Clone, Debug, Default)]
pub struct Interpreter {
    /// Its flows, oldest first.
    pub rules: Vec<LiteralRule>,
    /// Its ports.
    pub ports: Ports,
    /// What `normal` has learned: the number of the port each address was seen at last.
    pub stations: HashMap<Station, u16>,
    /// Packets that no flow of a table matched.
    pub misses: HashMap<TableId, u64>,
}

/// A packet on its way through the tables.
#[derive(Clone, Debug)]
struct Literal {
    bytes: Vec<u8>,
    in_port: u16,
    /// Metadata and registers.
    pipeline: Key,
}

/// What one packet has done so far.
struct Run {
    packet: Literal,
    len: u64,
    sent: Vec<(u16, Vec<u8>)>,
    reason: DropReason,
    resubmits: u32,
    depth: u32,
}

/// How a list of actions ended.
enum End {
    Done,
    Goto(TableId),
}

impl Interpreter {
    /// Carries out one change of flows.
    pub fn flow_mod(&mut self, change: &FlowMod) {
        let actions = change.actions.clone().unwrap_or_default();
        let is_same = |rule: &LiteralRule| {
            Some(rule.table) == change.table
                && rule.priority == change.priority
                && rule.matching == change.matching
        };
        let is_meant = |rule: &LiteralRule| {
            let strict = matches!(change.command, Command::ModifyStrict | Command::DeleteStrict);
            let table = change.table.is_none_or(|table| table == rule.table);
            let cookie =
                change.cookie_filter.is_none_or(|(value, mask)| (rule.cookie ^ value) & mask == 0);
            let out = |port| rule.actions.iter().any(|action| action.outputs_to(port));
            let covered = if strict {
                rule.priority == change.priority && rule.matching == change.matching
            } else {
                change.matching.contains(&rule.matching)
            };
            table && cookie && change.out_port.is_none_or(out) && covered
        };
        let reset = change.flags.reset_counts;
        match change.command {
            Command::Add => {
                let new = LiteralRule {
                    table: change.table.unwrap_or(0),
                    priority: change.priority,
                    matching: change.matching,
                    actions,
                    cookie: change.cookie.unwrap_or(0),
                    packets: 0,
                    bytes: 0,
                };
                match self.rules.iter_mut().find(|rule| is_same(rule)) {
                    Some(old) => {
                        let counts = if reset { (0, 0) } else { (old.packets, old.bytes) };
                        *old = LiteralRule { packets: counts.0, bytes: counts.1, ..new };
                    }
                    None => self.rules.push(new),
                }
            }
            Command::Modify | Command::ModifyStrict => {
                for rule in self.rules.iter_mut().filter(|rule| is_meant(rule)) {
                    rule.actions.clone_from(&actions);
                    rule.cookie = change.cookie.unwrap_or(rule.cookie);
                    if reset {
                        (rule.packets, rule.bytes) = (0, 0);
                    }
                }
            }
            Command::Delete | Command::DeleteStrict => self.rules.retain(|rule| !is_meant(rule)),
        }
    }

    /// Carries out one packet that came in by the port of this number.
    pub fn packet(&mut self, in_port: u16, bytes: &[u8]) -> Fate {
        if bytes.len() < ethernet::LEN {
            return Fate::Dropped(DropReason::Runt);
        }
        let mut run = Run {
            packet: Literal { bytes: bytes.to_vec(), in_port, pipeline: Key::ZERO },
            len: bytes.len() as u64,
            sent: Vec::new(),
            reason: DropReason::FlowDrop,
            resubmits: 0,
            depth: 0,
        };
        match self.table(&mut run, 0) {
            Err(reason) => Fate::Dropped(reason),
            Ok(()) if run.sent.is_empty() => Fate::Dropped(run.reason),
            Ok(()) => Fate::Sent(run.sent),
        }
    }

    fn table(&mut self, run: &mut Run, mut table: TableId) -> Result<(), DropReason> {
        loop {
            let actions = self.lookup(run, table);
            match self.actions(run, &actions, table)? {
                End::Done => return Ok(()),
                End::Goto(next) => table = next,
            }
        }
    }

    /// The actions of the rule the packet meets, which counts it.
    fn lookup(&mut self, run: &mut Run, table: TableId) -> Vec<Action> {
        let key = run.packet.key();
        let mut best: Option<&mut LiteralRule> = None;
        for rule in
            self.rules.iter_mut().filter(|rule| rule.table == table && rule.matching.covers(&key))
        {
            if best.as_ref().is_none_or(|best| rule.priority > best.priority) {
                best = Some(rule);
            }
        }
        let Some(rule) = best else {
            *self.misses.entry(table).or_default() += 1;
            run.reason = DropReason::TableMiss;
            return Vec::new();
        };
        rule.packets += 1;
        rule.bytes += run.len;
        if rule.actions.is_empty() {
            run.reason = DropReason::FlowDrop;
        }
        rule.actions.clone()
    }

    fn actions(
        &mut self,
        run: &mut Run,
        actions: &[Action],
        table: TableId,
    ) -> Result<End, DropReason> {
        for action in actions {
            match action {
                Action::Output(to) => self.output(run, *to)?,
                Action::SetField { field, value, mask } => {
                    run.packet.write(field.span(), *value, *mask)?
                }
                Action::WriteMetadata { value, mask } => {
                    run.packet.write(Key::METADATA, (*value).into(), (*mask).into())?;
                }
                Action::Move { src, dst } => {
                    let value = run.packet.key().get(src.span());
                    run.packet.write(dst.span(), value, dst.span().ones())?;
                }
                Action::PushVlan(tpid) => run.packet.push_vlan(*tpid)?,
                Action::PopVlan => run.packet.pop_vlan()?,
                Action::ModVlanVid(vid) => {
                    run.packet.set_tag((vid & vlan::VID).into(), vlan::VID.into())?;
                }
                Action::ModVlanPcp(pcp) => {
                    run.packet.set_tag(u128::from(*pcp) << 13, vlan::PCP.into())?;
                }
                Action::DecTtl(_) => {
                    let key = run.packet.key();
                    if run.packet.headers().network == Network::None {
                        continue;
                    }
                    let ttl = key.get(Key::NW_TTL);
                    if ttl <= 1 {
                        run.reason = DropReason::InvalidTtl;
                        return Ok(End::Done);
                    }
                    run.packet.write(Key::NW_TTL, ttl - 1, Key::NW_TTL.ones())?;
                }
                Action::Resubmit { in_port, table: to } => {
                    self.resubmit(run, *in_port, to.unwrap_or(table), table)?;
                }
                Action::GotoTable(next) => return Ok(End::Goto(*next)),
                Action::Clone(actions) => {
                    let before = run.packet.clone();
                    if let End::Goto(next) = self.actions(run, actions, table)? {
                        self.table(run, next)?;
                    }
                    run.packet = before;
                }
                _ => {}
            }
        }
        Ok(End::Done)
    }

    fn resubmit(
        &mut self,
        run: &mut Run,
        in_port: Option<u16>,
        to: TableId,
        from: TableId,
    ) -> Result<(), DropReason> {
        run.resubmits += 1;
        if run.resubmits > RESUBMITS {
            return Err(DropReason::ResubmitLimit);
        }
        let deeper = u32::from(to <= from);
        run.depth += deeper;
        if run.depth > DEPTH {
            return Err(DropReason::ResubmitDepth);
        }
        let real = run.packet.in_port;
        run.packet.in_port = in_port.unwrap_or(real);
        let actions = self.lookup(run, to);
        run.packet.in_port = real;
        if let End::Goto(next) = self.actions(run, &actions, to)? {
            self.table(run, next)?;
        }
        run.depth -= deeper;
        Ok(())
    }

    fn output(&mut self, run: &mut Run, to: OutPort) -> Result<(), DropReason> {
        let in_port = run.packet.in_port;
        let number = match to {
            OutPort::Normal => return self.normal(run),
            OutPort::Flood | OutPort::All => {
                let wanted = |port: &&PortView| {
                    port.number != in_port && (to == OutPort::All || !port.no_flood)
                };
                let ports: Vec<_> =
                    self.ports.iter().map(AsRef::as_ref).filter(wanted).map(|p| p.number).collect();
                if ports.is_empty() {
                    run.reason = DropReason::NormalNowhere;
                }
                ports.into_iter().for_each(|number| run.send(number));
                return Ok(());
            }
            OutPort::InPort => in_port,
            OutPort::Local => Ports::LOCAL,
            OutPort::Port(number) => number,
        };
        if number == in_port && to != OutPort::InPort {
            run.reason = DropReason::OutputToIngress;
        } else if self.ports.get(number).is_none() {
            run.reason = DropReason::NoSuchPort;
        } else {
            run.send(number);
        }
        Ok(())
    }

    fn normal(&mut self, run: &mut Run) -> Result<(), DropReason> {
        let Some(port) = self.ports.get(run.packet.in_port).cloned() else {
            run.reason = DropReason::NoSuchPort;
            return Ok(());
        };
        let key = run.packet.key();
        let mac = |span| MacAddr::from_u64(key.word(span));
        let (dst, src) = (mac(Key::ETH_DST), mac(Key::ETH_SRC));
        if dst.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && dst.0[5] < 0x10 {
            run.reason = DropReason::NormalReserved;
            return Ok(());
        }
        let tci = u16::try_from(key.word(Key::VLAN_TCI)).unwrap_or(0);
        let vid = tci & vlan::VID;
        let vlan = match port.vlan {
            VlanMode::Access(own) if vid == VlanMode::NONE => own,
            VlanMode::Trunk(_) if port.vlan.carries(vid) => vid,
            _ => {
                run.reason = DropReason::NormalVlan;
                return Ok(());
            }
        };
        if !src.is_multicast() {
            self.stations.insert(Station { vlan, mac: src }, port.number);
        }
        let known = self.stations.get(&Station { vlan, mac: dst }).filter(|_| !dst.is_multicast());
        let known = known.and_then(|number| self.ports.get(*number)).cloned();
        let to = match known {
            Some(to) if to.number == port.number => {
                run.reason = DropReason::NormalSamePort;
                return Ok(());
            }
            Some(to) if !to.vlan.carries(vlan) => {
                run.reason = DropReason::NormalVlan;
                return Ok(());
            }
            Some(to) => vec![to],
            None => {
                let member = |to: &&std::sync::Arc<PortView>| {
                    to.number != port.number && !to.no_flood && to.vlan.carries(vlan)
                };
                self.ports.iter().filter(member).cloned().collect()
            }
        };
        if to.is_empty() {
            run.reason = DropReason::NormalNowhere;
        }
        for to in to {
            let before = run.packet.clone();
            let wants_tag = matches!(to.vlan, VlanMode::Trunk(_)) && vlan != VlanMode::NONE;
            if !wants_tag && tci & vlan::PRESENT != 0 {
                run.packet.pop_vlan()?;
            } else if wants_tag {
                run.packet.set_tag(vlan.into(), vlan::VID.into())?;
            }
            run.send(to.number);
            run.packet = before;
        }
        Ok(())
    }
}

impl Run {
    fn send(&mut self, number: u16) {
        self.sent.push((number, self.packet.bytes.clone()));
    }
}

impl Literal {
    fn headers(&self) -> Headers {
        parse(&self.bytes, self.bytes.len(), &mut Key::default()).unwrap_or_default()
    }

    /// All fields as they are now.
    fn key(&self) -> Key {
        let mut key = self.pipeline;
        // A packet that was long enough for Ethernet stays so.
        let _ = parse(&self.bytes, self.bytes.len(), &mut key);
        key.with(Key::IN_PORT, self.in_port)
    }

    /// Writes the bits `mask` of a field, if the packet has it.
    fn write(&mut self, span: Span, value: u128, mask: u128) -> Result<(), DropReason> {
        let mut key = self.key();
        key.set(span, key.get(span) & !mask | value & mask);
        match span.word() {
            0 => self.in_port = u16::try_from(key.word(Key::IN_PORT)).unwrap_or(0),
            16.. => self.pipeline.set(span, key.get(span)),
            2 if Key::VLAN_TCI.contains(span) => {
                return self.write_tag(u16::try_from(key.word(Key::VLAN_TCI)).unwrap_or(0));
            }
            _ => self.write_header(&key),
        }
        Ok(())
    }

    fn write_tag(&mut self, tci: u16) -> Result<(), DropReason> {
        match (self.headers().vlans > 0, tci & vlan::PRESENT != 0) {
            (false, false) => Ok(()),
            (true, false) => self.pop_vlan(),
            (_, true) => self.set_tag((tci & !vlan::PRESENT).into(), u128::from(!vlan::PRESENT)),
        }
    }

    /// Writes bits of the outer tag, pushing one first if there is none.
    fn set_tag(&mut self, value: u128, mask: u128) -> Result<(), DropReason> {
        if self.headers().vlans == 0 {
            self.push_vlan(ethernet::VLAN)?;
        }
        let old = u128::from(u16::from_be_bytes([self.bytes[14], self.bytes[15]]));
        let tci = u16::try_from(old & !mask | value & mask).unwrap_or(0);
        self.bytes[14..16].copy_from_slice(&tci.to_be_bytes());
        Ok(())
    }

    fn push_vlan(&mut self, tpid: u16) -> Result<(), DropReason> {
        if self.headers().vlans > 1 {
            return Err(DropReason::VlanTags);
        }
        let [a, b] = tpid.to_be_bytes();
        self.bytes.splice(ethernet::TYPE..ethernet::TYPE, [a, b, 0, 0]);
        Ok(())
    }

    fn pop_vlan(&mut self) -> Result<(), DropReason> {
        let headers = self.headers();
        let ethertype = u16::try_from(self.key().word(Key::ETH_TYPE)).unwrap_or(0);
        if headers.vlans == 2 && vlan::is_tag(ethertype) {
            return Err(DropReason::VlanTags);
        }
        if headers.vlans > 0 {
            self.bytes.drain(ethernet::TYPE..ethernet::TYPE + vlan::LEN);
        }
        Ok(())
    }

    /// Makes the headers say what `key` says, and corrects the checksums by what changed.
    fn write_header(&mut self, key: &Key) {
        let headers = self.headers();
        let before = (self.ip_sum(&headers), self.transport_sum(&headers));
        let crc = self.sctp_crc(&headers);
        self.bytes[..6].copy_from_slice(&key.word(Key::ETH_DST).to_be_bytes()[2..]);
        self.bytes[6..12].copy_from_slice(&key.word(Key::ETH_SRC).to_be_bytes()[2..]);
        let l3 = usize::from(headers.l3);
        let (byte, half) =
            (|span| key.word(span).to_be_bytes()[7], |span| key.word(span).to_be_bytes());
        match headers.network {
            Network::None => return,
            Network::Arp => {
                let ip = &mut self.bytes[l3..];
                // An operation that does not fit the field is not written by accident.
                if ip[arp::OP] == 0 {
                    ip[arp::OP + 1] = byte(Key::NW_PROTO);
                }
                ip[arp::SPA..arp::SPA + 4].copy_from_slice(&half(Key::NW_SRC)[4..]);
                ip[arp::TPA..arp::TPA + 4].copy_from_slice(&half(Key::NW_DST)[4..]);
                ip[arp::SHA..arp::SHA + 6].copy_from_slice(&half(Key::ARP_SHA)[2..]);
                ip[arp::THA..arp::THA + 6].copy_from_slice(&half(Key::ARP_THA)[2..]);
                return;
            }
            Network::Ipv4 => {
                let ip = &mut self.bytes[l3..];
                ip[ipv4::TOS] = byte(Key::NW_TOS);
                ip[ipv4::TTL] = byte(Key::NW_TTL);
                ip[ipv4::SRC..ipv4::SRC + 4].copy_from_slice(&half(Key::NW_SRC)[4..]);
                ip[ipv4::DST..ipv4::DST + 4].copy_from_slice(&half(Key::NW_DST)[4..]);
            }
            Network::Ipv6 => {
                let ip = &mut self.bytes[l3..];
                let word = 6 << 28 | u64::from(byte(Key::NW_TOS)) << 20 | key.word(Key::IPV6_LABEL);
                ip[..4].copy_from_slice(&word.to_be_bytes()[4..]);
                ip[ipv6::HOP_LIMIT] = byte(Key::NW_TTL);
                ip[ipv6::SRC..ipv6::SRC + 16]
                    .copy_from_slice(&key.get(Key::IPV6_SRC).to_be_bytes());
                ip[ipv6::DST..ipv6::DST + 16]
                    .copy_from_slice(&key.get(Key::IPV6_DST).to_be_bytes());
            }
        }
        let l4 = usize::from(headers.l4);
        match headers.transport {
            Transport::None => {}
            // The key does not have what a fragment has there.
            _ if headers.fragment != Fragment::No => {}
            Transport::Icmp | Transport::Icmpv6 => {
                self.bytes[l4] = byte(Key::TP_SRC);
                self.bytes[l4 + 1] = byte(Key::TP_DST);
            }
            Transport::Tcp | Transport::Udp | Transport::Sctp => {
                self.bytes[l4..l4 + 2].copy_from_slice(&half(Key::TP_SRC)[6..]);
                self.bytes[l4 + 2..l4 + 4].copy_from_slice(&half(Key::TP_DST)[6..]);
            }
        }
        let after = (self.ip_sum(&headers), self.transport_sum(&headers));
        if headers.network == Network::Ipv4 {
            self.correct(l3 + ipv4::CHECKSUM, before.0, after.0, false);
        }
        if let Some(at) = checksum_at(&headers) {
            self.correct(at, before.1, after.1, headers.transport == Transport::Udp);
        }
        if let (Some(before), Some(after)) = (crc, self.sctp_crc(&headers)) {
            // A wrong checksum stays wrong by as much.
            for (n, byte) in (before ^ after).to_le_bytes().into_iter().enumerate() {
                self.bytes[l4 + sctp::CHECKSUM + n] ^= byte;
            }
        }
    }

    /// What SCTP's checksum should be (RFC 9260 appendix A), bit by bit.
    fn sctp_crc(&self, headers: &Headers) -> Option<u32> {
        if headers.transport != Transport::Sctp {
            return None;
        }
        let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
        let end = match headers.network {
            Network::Ipv4 => Ipv4::split(&self.bytes[l3..]).ok()?.0.total_len(),
            _ => Ipv6::split(&self.bytes[l3..]).ok()?.0.payload_len() + ipv6::LEN,
        };
        let mut bytes = self.bytes[l4..l3 + end].to_vec();
        bytes[sctp::CHECKSUM..sctp::LEN].fill(0);
        Some(!bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 }
            })
        }))
    }

    /// Changes the checksum at `at` by as much as what it covers has changed (RFC 1624).
    fn correct(&mut self, at: usize, before: u16, after: u16, is_udp: bool) {
        let old = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        if before == after || is_udp && old == 0 {
            return;
        }
        let new = packet::checksum::update(old, before, after);
        let new = if is_udp && new == 0 { 0xffff } else { new };
        self.bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }

    /// The sum of an IPv4 header, its checksum left out.
    fn ip_sum(&self, headers: &Headers) -> u16 {
        let l3 = usize::from(headers.l3);
        match Ipv4::split(&self.bytes[l3.min(self.bytes.len())..]) {
            Ok((ip, _)) if headers.network == Network::Ipv4 => {
                let mut header = self.bytes[l3..l3 + ip.header_len()].to_vec();
                header[ipv4::CHECKSUM..ipv4::CHECKSUM + 2].fill(0);
                Sum::default().bytes(&header).partial()
            }
            _ => 0,
        }
    }

    /// The sum of what a transport checksum covers as far as fields can change it: the addresses,
    /// unless it is ICMP's, and the first four bytes.
    fn transport_sum(&self, headers: &Headers) -> u16 {
        let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
        let addresses = match (headers.network, headers.transport) {
            (_, Transport::None | Transport::Icmp) | (Network::None | Network::Arp, _) => 0..0,
            (Network::Ipv4, _) => l3 + ipv4::SRC..l3 + ipv4::SRC + 8,
            (Network::Ipv6, _) => l3 + ipv6::SRC..l3 + ipv6::SRC + 32,
        };
        let covered = match headers.transport {
            Transport::None => 0,
            Transport::Icmp | Transport::Icmpv6 => 2,
            _ => 4,
        };
        Sum::default().bytes(&self.bytes[addresses]).bytes(&self.bytes[l4..l4 + covered]).partial()
    }
}

/// Where the transport checksum is. SCTP's is no sum of the Internet's kind, and does not cover
/// addresses.
fn checksum_at(headers: &Headers) -> Option<usize> {
    let offset = match headers.transport {
        Transport::None | Transport::Sctp => return None,
        Transport::Tcp => tcp::CHECKSUM,
        Transport::Udp => udp::CHECKSUM,
        Transport::Icmp | Transport::Icmpv6 => icmp::CHECKSUM,
    };
    Some(usize::from(headers.l4) + offset)
}
