//! The kernel with its NAT as oracle: what goes in on one side, and what comes out.

use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use testnet::{Host, TestNet};

use crate::ends::{Family, Sender};
use crate::ip::{Extra, ID, Ip};
use crate::setups::{Invalid, Setup};
use crate::wires::{Wire, family_of, hosts, stop_time};

/// A namespace that forwards and translates.
pub(crate) struct Kernel {
    wires: [Wire; 2],
    /// Tells it to forget connections.
    control: OwnedFd,
    sent: u16,
    _hosts: [Host; 2],
    _net: TestNet,
}

/// Addresses that are nobody's, and the side where they would be.
const ELSEWHERE: [(&str, &str); 4] = [
    ("198.51.100.0/24", "10.0.1.1"),
    ("10.96.0.0/16", "10.0.2.1"),
    ("fd00:c::/32", "fd00:1::1"),
    ("fd00:d::/32", "fd00:2::1"),
];
/// How often one looks for a packet that must come: some seconds.
const PATIENCE: u32 = 3_000_000;
/// A protocol of which nothing else is sent.
const MARKER: u8 = 200;

impl Kernel {
    pub(crate) fn of(setup: Setup, invalid: Invalid) -> Self {
        let net = TestNet::new().unwrap();
        let hosts = hosts(&net);
        for (to, via) in ELSEWHERE {
            net.run(&format!("ip route add {to} via {via}")).unwrap();
        }
        for (family, name) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
            let [at_entry, at_exit] = setup.rules(family);
            let hook = |name, priority| format!("type nat hook {name} priority {priority}");
            let table = format!(
                "chain entry {{ {}; {at_entry} }}; chain exit {{ {}; {at_exit} }};",
                hook("prerouting", -100),
                hook("postrouting", 100),
            );
            let checks = Setup::checks(invalid, family);
            let checks =
                format!("chain check {{ type filter hook forward priority 0; {checks} }};");
            let table = format!("{} {checks}", table.replace(";;", ";"));
            net.run(&format!("nft table {name} translate {{ {table} }}")).unwrap();
        }
        // A marker is of no connection.
        let unmarked = format!(
            "chain raw {{ type filter hook prerouting priority -300; ip protocol {MARKER} notrack; }};"
        );
        net.run(&format!("nft table ip unmarked {{ {unmarked} }}")).unwrap();
        stop_time(&net);
        let wires = hosts.each_ref().map(Wire::of);
        let control = net
            .inside(|| {
                let flags = SocketFlags::CLOEXEC;
                socket_with(
                    AddressFamily::NETLINK,
                    SocketType::RAW,
                    flags,
                    Some(netlink::NETFILTER),
                )
            })
            .unwrap()
            .unwrap();
        Self { wires, control, sent: 0, _hosts: hosts, _net: net }
    }

    /// Forgets all connections.
    pub(crate) fn forget(&self) {
        /// `IPCTNL_MSG_CT_DELETE` of `NFNL_SUBSYS_CTNETLINK`, to be done and acknowledged.
        const FORGET: [u8; 20] = [20, 0, 0, 0, 2, 1, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(send(&self.control, &FORGET, SendFlags::empty()).unwrap(), FORGET.len());
        let mut answer = [0; 256];
        let (len, _) = recv(&self.control, &mut answer, RecvFlags::empty()).unwrap();
        assert_eq!((len >= 20, &answer[16..20]), (true, &[0; 4][..]), "an error");
    }

    /// What comes out of a packet, and to whom.
    pub(crate) fn carry(&mut self, from: Sender, packet: &[u8]) -> Vec<(Sender, Vec<u8>)> {
        self.wires[from as usize].send(packet);
        let family = family_of(packet);
        let mut out = self.take(family);
        if out.is_empty() {
            // What comes behind it has come when it must have.
            out = self.mark(from);
            out.extend(self.take(family));
        }
        out
    }

    fn take(&self, family: Family) -> Vec<(Sender, Vec<u8>)> {
        let mut out = Vec::new();
        for (wire, side) in self.wires.iter().zip([Sender::A, Sender::B]) {
            let mut bytes = [0; 2048];
            while let Some(packet) = wire.receive(family, &mut bytes) {
                if id(packet) == ID {
                    out.push((side, packet.to_vec()));
                }
            }
        }
        out
    }

    /// Sends a marker, and waits until it is there; answers with what has come before it.
    fn mark(&mut self, from: Sender) -> Vec<(Sender, Vec<u8>)> {
        self.sent = self.sent.wrapping_add(1);
        let [src, dst] = match from {
            Sender::A => [[10, 64, 0, 9], [10, 128, 0, 9]],
            Sender::B => [[10, 128, 0, 9], [10, 64, 0, 9]],
        };
        let ip = Ip { src: src.into(), dst: dst.into(), proto: MARKER, extra: Extra::Nothing };
        self.wires[from as usize].send(&ip.packet(&self.sent.to_be_bytes()));
        let mut late = Vec::new();
        let outer = &self.wires[from.other() as usize];
        let mut bytes = [0; 2048];
        for _ in 0..PATIENCE {
            let Some(packet) = outer.receive(Family::V4, &mut bytes) else { continue };
            if packet[9] == MARKER && packet[20..22] == self.sent.to_be_bytes() {
                return late;
            }
            if id(packet) == ID && packet[9] != MARKER {
                late.push((from.other(), packet.to_vec()));
            }
        }
        panic!("the marker does not come");
    }
}

/// What all packets of a test have in common.
fn id(packet: &[u8]) -> u16 {
    let at = if packet[0] >> 4 == 4 { 4 } else { 2 };
    u16::from_be_bytes([packet[at], packet[at + 1]])
}
