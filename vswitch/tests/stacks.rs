//! Two TCP stacks of another make (smoltcp), joined by a switch in memory: no kernel, no clock but
//! the test's own. They verify every checksum themselves.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

#[path = "common/running.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod running;

use std::collections::VecDeque;

use api::Client;
use running::{Ask, Running};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

/// A wire to the switch: frames that wait for the stack, and for the switch.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct ToSend<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, ToSend<'_>)> {
        Some((Received(self.incoming.pop_front()?), ToSend(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_>> {
        Some(ToSend(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // Checksums are its own affair, both ways: that is the default.
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A host with one connection.
struct Stack {
    port: &'static str,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    sends: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

impl Stack {
    fn new(port: &'static str, number: u8, bytes: usize) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 0, number]).into());
        config.random_seed = number.into();
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::v4(10, 0, 0, number), 24)).unwrap();
            let v6 = IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, number.into());
            addresses.push(IpCidr::new(v6, 64)).unwrap();
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 16]);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let mut state = u64::from(number);
        let noise = (0..bytes).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        let sends = noise.collect();
        Self { port, wire, interface, sockets, socket, sends, sent: 0, received: Vec::new() }
    }

    fn listen(&mut self, port: u16) {
        self.sockets.get_mut::<tcp::Socket>(self.socket).listen(port).unwrap();
    }

    fn connect(&mut self, to: IpAddress, port: u16) {
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        socket.connect(self.interface.context(), (to, port), 49152).unwrap();
    }

    /// One step: sends and receives what the connection takes and has.
    fn step(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        if socket.can_send() {
            self.sent += socket.send_slice(&self.sends[self.sent..]).unwrap();
        }
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), self.received.extend_from_slice(bytes))).unwrap();
        }
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }
}

/// Carries what each stack has sent to the other. With two ports, every frame is one frame on the
/// other side. `is_lost` says which the test itself loses.
fn carry(client: &mut Client, stacks: &mut [Stack; 2], mut is_lost: impl FnMut() -> bool) {
    for from in [0, 1] {
        let mut frames = std::mem::take(&mut stacks[from].wire.outgoing);
        frames.retain(|_| !is_lost());
        if frames.is_empty() {
            continue;
        }
        client.receive(stacks[from].port, &frames);
        let to = &mut stacks[1 - from];
        let mut missing = frames.len();
        for _ in 0..25 {
            let taken = client.take(to.port, missing);
            missing -= taken.len();
            to.wire.incoming.extend(taken);
            if missing == 0 {
                break;
            }
        }
        let mut stats = || client.stats(stacks[from].port);
        assert!(missing == 0, "{missing} frames are missing: {:?}", stats());
    }
}

/// A connection over which each side sends `bytes` random bytes; answers in how many steps.
fn transfer(
    client: &mut Client,
    to: IpAddress,
    bytes: usize,
    mut is_lost: impl FnMut() -> bool,
) -> u32 {
    let mut stacks = [Stack::new("p1", 1, bytes), Stack::new("p2", 2, bytes)];
    stacks[1].listen(80);
    stacks[0].connect(to, 80);
    for step in 0..20_000 {
        for stack in &mut stacks {
            stack.step(Instant::from_millis(i64::from(step)));
        }
        carry(client, &mut stacks, &mut is_lost);
        if stacks.iter().all(|stack| stack.received.len() == bytes) {
            for [a, b] in [[0, 1], [1, 0]] {
                assert!(stacks[a].received == stacks[b].sends, "what was sent arrives");
            }
            return step;
        }
    }
    let got = stacks.map(|stack| stack.received.len());
    panic!("of {bytes} bytes each arrived {got:?}");
}

fn switch(flows: &[&str]) -> (Running, Client) {
    let switch = Running::with_workers(1);
    switch.make_bridge("br0", 2);
    let mut client = switch.client();
    client.flows(flows).unwrap();
    (switch, client)
}

fn v4(last: u8) -> IpAddress {
    IpAddress::v4(10, 0, 0, last)
}

fn v6(last: u16) -> IpAddress {
    IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

#[test]
fn two_stacks_exchange_a_mebibyte_and_it_takes_the_same_steps_each_time() {
    for to in [v4(2), v6(2)] {
        let (_switch, mut client) = switch(&["priority=0,actions=normal"]);
        let steps = [(); 2].map(|()| transfer(&mut client, to, 1 << 20, || false));
        assert_eq!(steps[0], steps[1]);
        assert!(steps[0] < 200, "without loss no time is waited for: {} steps", steps[0]);
    }
}

#[test]
fn stacks_recover_from_loss() {
    let (_switch, mut client) = switch(&["priority=0,actions=normal"]);
    let mut count = 0u32;
    transfer(&mut client, v4(2), 1 << 18, || {
        count += 1;
        count.is_multiple_of(29)
    });
}

#[test]
fn stacks_that_know_each_other_by_other_names_find_checksums_right() {
    // p1 believes that p2 is 10.0.0.9 and fd00::9, port 80 is 8080 there, and a router lies between.
    let flows = [
        "priority=9,arp,in_port=p1,arp_tpa=10.0.0.9,actions=set_field:10.0.0.2->arp_tpa,output:p2",
        "priority=9,arp,in_port=p2,arp_op=2,arp_tpa=10.0.0.1,\
         actions=set_field:10.0.0.9->arp_spa,output:p1",
        "priority=9,tcp,in_port=p1,nw_dst=10.0.0.9,\
         actions=mod_nw_dst:10.0.0.2,dec_ttl,mod_nw_tos:32,output:p2",
        "priority=9,tcp,in_port=p2,nw_dst=10.0.0.1,\
         actions=mod_nw_src:10.0.0.9,dec_ttl,mod_nw_tos:64,output:p1",
        "priority=8,actions=normal",
    ];
    let (_switch, mut client) = switch(&flows);
    transfer(&mut client, v4(9), 1 << 18, || false);
    let met = client.dump().into_iter().filter(|flow| flow.packets > 0).count();
    assert!(met >= 4, "all four rewrote something");
}
