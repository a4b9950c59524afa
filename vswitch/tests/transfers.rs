//! Files that real programs transfer by FTP and TFTP through translations of the switch.

#[path = "common/net.rs"]
mod net;

use std::path::{Path, PathBuf};

use api::DropReason;
use net::{Daemon, POD, Result, bridge, eventually, host, until_reached};
use testnet::net::Running;
use testnet::{Host, TestNet};

/// A client is `a`, a server `b`; each is known to the other by another address: 10.0.0.100, and the
/// service 10.0.0.50.
const FLOWS: [&str; 7] = [
    "table=0,priority=9,arp,actions=normal",
    "table=0,priority=5,ip,actions=ct(zone=5,nat,table=1)",
    "table=1,priority=9,ct_state=+trk+new-rel,tcp,in_port=a,nw_dst=10.0.0.50,tp_dst=21,\
     actions=ct(commit,zone=5,alg=ftp,nat(dst=10.0.0.2)),output:b",
    "table=1,priority=8,ct_state=+trk+new-rel,tcp,in_port=a,tp_dst=21,\
     actions=ct(commit,zone=5,alg=ftp,nat(src=10.0.0.100)),output:b",
    "table=1,priority=8,ct_state=+trk+new-rel,udp,in_port=a,tp_dst=69,\
     actions=ct(commit,zone=5,alg=tftp,nat(src=10.0.0.100)),output:b",
    "table=1,priority=7,ct_state=+trk+new+rel,ip,actions=ct(commit,zone=5,nat),resubmit(,2)",
    "table=1,priority=6,ct_state=+trk+est,ip,actions=resubmit(,2)",
];
const BETWEEN: [&str; 5] = [
    "table=2,priority=6,in_port=a,actions=output:b",
    "table=2,priority=6,in_port=b,actions=output:a",
    // To find that hosts are there.
    "table=0,priority=7,icmp,actions=normal",
    "table=1,priority=5,ct_state=+inv,actions=drop",
    "table=1,priority=0,actions=drop",
];

/// A folder of files that goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(net: &TestNet) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("transfers-{}", net.namespace()));
        for part in ["files", "empty"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        let folder = Self(folder);
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&folder.0, readable)?;
        let bytes: Vec<u8> =
            (0..900_000u32).map(|n| (n.wrapping_mul(n) >> 8).to_le_bytes()[0]).collect();
        std::fs::write(folder.path("files/file"), bytes)?;
        Ok(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Has `host` fetch the file, and compares it.
    fn fetch(&self, host: &Host, options: &str, url: &str) -> Result {
        let got = self.path("got");
        host.run(&format!("curl -sS -m 20 {options} -o {} {url}/file", got.display()))
            .map_err(|error| format!("{options} {url}: {error}"))?;
        assert!(std::fs::read(&got)? == std::fs::read(self.path("files/file"))?, "{options} {url}");
        std::fs::remove_file(got)?;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ftp_server(host: &Host, folder: &Folder) -> Result<Running> {
    let (files, empty) = (folder.path("files"), folder.path("empty"));
    let (files, empty) = (files.display(), empty.display());
    let config = format!(
        "listen=YES\nlisten_ipv6=NO\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
         anon_root={files}\nsecure_chroot_dir={empty}\nno_anon_password=YES\n\
         connect_from_port_20=YES\nseccomp_sandbox=NO\n"
    );
    let file = folder.path("vsftpd.conf");
    std::fs::write(&file, config)?;
    let server = host.spawn(&format!("vsftpd {}", file.display()))?;
    until_open(host, "-ltn", 21)?;
    Ok(server)
}

fn tftp_server(host: &Host, folder: &Path) -> Result<Running> {
    let command = format!("in.tftpd -L -4 -u nobody --secure {}", folder.display());
    let server = host.spawn(&command)?;
    until_open(host, "-lun", 69)?;
    Ok(server)
}

fn until_open(host: &Host, kind: &str, port: u16) -> Result {
    eventually("it listens", || {
        Ok(host.run(&format!("ss -H {kind} sport = {port}"))?.contains(&format!(":{port}")))
    })
}

#[test]
#[ignore = "needs root, curl, vsftpd and in.tftpd: run by cargo xtask test"]
fn files_come_through_translations_both_ways() -> Result {
    let net = TestNet::new()?;
    let (a, b) = (host(&net, "a", 1)?, host(&net, "b", 2)?);
    let flows = [&FLOWS[..], &BETWEEN].concat();
    let daemon = Daemon::start(&net, &bridge(&flows, &[("a", POD), ("b", POD)]))?;
    // Nobody answers for addresses that no host has.
    for (at, address, whose) in [(&a, "10.0.0.50", &b), (&b, "10.0.0.100", &a)] {
        let mac = whose.run("cat /sys/class/net/eth0/address")?;
        at.run(&format!("ip neigh replace {address} lladdr {} dev eth0", mac.trim()))?;
    }
    until_reached(&a, b.address())?;
    let folder = Folder::new(&net)?;
    let _servers = (ftp_server(&b, &folder)?, tftp_server(&b, &folder.path("files"))?);
    // Active, by EPRT and PORT, from behind another source.
    for options in ["--ftp-port -", "--ftp-port - --disable-eprt"] {
        folder.fetch(&a, options, "ftp://10.0.0.2")?;
        folder.fetch(&a, options, "ftp://10.0.0.50")?;
    }
    // Passive, by EPSV and PASV. curl takes the address of the answer only if it is told to.
    for options in ["", "--disable-epsv --no-ftp-skip-pasv-ip"] {
        folder.fetch(&a, options, "ftp://10.0.0.2")?;
        folder.fetch(&a, options, "ftp://10.0.0.50")?;
    }
    // Several announcements on one connection.
    let got = folder.path("got");
    let one = format!("-o {} ftp://10.0.0.2/file", got.display());
    a.run(&format!("curl -sS -m 20 --ftp-port - --disable-eprt {one} {one} {one}"))?;
    folder.fetch(&a, "--tftp-no-options", "tftp://10.0.0.2")?;
    folder.fetch(&a, "--tftp-blksize 1400", "tftp://10.0.0.2")?;
    // Nothing else was let in, and every file had a connection of its own.
    assert_eq!(daemon.met("table=1,ip,ct_state=+trk+new+rel")?, 4 * 2 + 3 + 2);
    for port in ["a", "b"] {
        let stats = daemon.stats(port)?;
        let by_flows = |reason| stats.drops.iter().any(|dropped| dropped.reason == reason);
        assert!(!by_flows(DropReason::FlowDrop), "{port}: {:?}", stats.drops);
    }
    Ok(())
}
