//! A namespace that forwards between two hosts. nftables notes in the DSCP of each packet what the
//! kernel has made of it.

use conntrack::Settings;
use testnet::{Host, TestNet};

use crate::Verdict;
use crate::ends::{Family, Sender};
use crate::ours::{EACH, SCTP};
use crate::pieces::is_first;
use crate::wires::{Wire, family_of, hosts, stop_time};

/// The kernel of a namespace with what is sent to it and what comes out.
pub(crate) struct Kernel {
    /// As it was told to be.
    settings: Settings,
    /// Connections that it has at most.
    made: u32,
    wires: [Wire; 2],
    _hosts: [Host; 2],
    net: TestNet,
}

/// What the kernel says, as DSCP by its place: the first that holds is noted.
const SAYINGS: [(&str, Verdict); 7] = [
    ("state untracked", Verdict::Untracked),
    ("state invalid", Verdict::Invalid),
    ("state new", Verdict::New),
    ("state related ct direction reply", Verdict::RelatedReply),
    ("state related", Verdict::Related),
    ("direction reply", Verdict::Reply),
    ("state established", Verdict::Established),
];
/// What the TTL is set to if the first timeout of SCTP holds.
const FIRST_TTL: u8 = 100;
/// The bit of the DSCP which says that the connection is assured.
const ASSURED: u8 = 8;
/// How often one looks for a packet that does not come: some seconds.
const PATIENCE: u32 = 3_000_000;
/// The kernel has room for a few more.
const MOST: u32 = 200_000;

/// What notes verdicts.
fn rules(family: &str) -> String {
    let notes = SAYINGS.iter().zip(0..).map(|((says, _), n)| {
        let sets = |dscp| format!("{family} dscp set {dscp} accept;");
        let assured = n | ASSURED;
        format!("ct {says} ct status assured {} ct {says} {} ", sets(assured), sets(n))
    });
    lasts(family) + &notes.collect::<String>()
}

/// What notes which timeout of SCTP holds.
fn lasts(family: &str) -> String {
    let ttl = if family == "ip" { "ttl" } else { "hoplimit" };
    let notes = (1..).zip(SCTP).map(|(n, _)| {
        let (least, most) = (n * EACH - EACH / 2, n * EACH + EACH / 2);
        let ttl = format!("{family} {ttl} set {}", u32::from(FIRST_TTL) + n - 1);
        format!("ct original protocol sctp ct expiration {least}s-{most}s {ttl}; ")
    });
    notes.collect()
}

impl Kernel {
    /// Of a namespace without anything else.
    pub(crate) fn of(settings: Settings) -> Self {
        let net = TestNet::new().unwrap();
        let hosts = hosts(&net);
        for family in ["ip", "ip6"] {
            let rules = rules(family);
            let chain =
                format!("chain forward {{ type filter hook forward priority 0; {rules} }};");
            net.run(&format!("nft table {family} judge {{ {chain} }}")).unwrap();
        }
        stop_time(&net);
        for (timeout, n) in SCTP.iter().zip(1..) {
            let name = timeout.name().replacen('_', "_timeout_", 1);
            net.run(&format!("sysctl -qw net.netfilter.nf_conntrack_{name}={}", n * EACH)).unwrap();
        }
        for (name, is_on) in [("be_liberal", settings.liberal), ("loose", settings.picks_up)] {
            let value = u8::from(is_on);
            net.run(&format!("sysctl -qw net.netfilter.nf_conntrack_tcp_{name}={value}")).unwrap();
        }
        let wires = hosts.each_ref().map(Wire::of);
        Self { settings, made: 0, wires, _hosts: hosts, net }
    }

    /// As it was told to be.
    pub(crate) const fn settings(&self) -> Settings {
        self.settings
    }

    /// Begins anew if there is hardly any room left.
    pub(crate) fn make_room(&mut self) {
        if self.made > MOST {
            *self = Self::of(self.settings);
        }
    }

    /// What it knows of all connections.
    pub(crate) fn connections(&self) -> String {
        let table = self.net.run("cat /proc/net/nf_conntrack").unwrap();
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.map(|line| format!("\n    {line}")).collect()
    }

    /// What becomes of a packet, whether its connection is assured, and which of [`SCTP`] it goes by.
    pub(crate) fn judge(
        &mut self,
        from: Sender,
        pieces: &[Vec<u8>],
    ) -> (Verdict, bool, Option<u8>) {
        let [a, b] = &self.wires;
        let (inner, outer) = match from {
            Sender::A => (a, b),
            Sender::B => (b, a),
        };
        let family = family_of(&pieces[0]);
        pieces.iter().for_each(|piece| inner.send(piece));
        let mut bytes = [0; 2048];
        let comes = |_: u32| {
            notes_of_same(family, pieces, outer.receive(family, &mut bytes).unwrap_or(&[]))
        };
        let Some((dscp, ttl)) = (0..PATIENCE).find_map(comes) else {
            panic!("nothing came out for {pieces:02x?}");
        };
        let (_, verdict) = SAYINGS[usize::from(dscp & !ASSURED)];
        self.made += u32::from(verdict == Verdict::New);
        let lasts = ttl.checked_sub(FIRST_TTL).filter(|n| usize::from(*n) < SCTP.len());
        (verdict, dscp & ASSURED != 0, lasts)
    }
}

/// DSCP and TTL of what is a packet that was sent, but for what routers change; or of the first fragment
/// that comes out, which may be cut elsewhere.
fn notes_of_same(family: Family, pieces: &[Vec<u8>], bytes: &[u8]) -> Option<(u8, u8)> {
    // From the addresses on nothing is changed; in front of them there are TTL and checksum.
    let addresses = match family {
        Family::V4 => 12..20,
        Family::V6 => 8..40,
    };
    let is_same = match pieces {
        [packet] => {
            bytes.len() == packet.len()
                && bytes[addresses.start..] == packet[addresses.start..]
                // Another's last fragment may look like it.
                && is_first(bytes) == is_first(packet)
        }
        pieces => {
            bytes.len() >= addresses.end
                && bytes[addresses.clone()] == pieces[0][addresses]
                && is_first(bytes)
        }
    };
    is_same.then(|| match family {
        Family::V4 => (bytes[1] >> 2, bytes[8]),
        Family::V6 => (bytes[0] << 4 >> 2 | bytes[1] >> 6, bytes[7]),
    })
}
