//! What the checks need beside cargo, and how it comes onto a machine that has nothing.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::job::Job;
use crate::report::{Report, Step, Verdict};

/// Programs that builds and tests call, and the packages of Debian and Ubuntu they come from.
const PROGRAMS: &[(&str, &str)] = &[
    ("busybox", "busybox"),
    ("c++", "g++"),
    ("clang", "clang"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("ethtool", "ethtool"),
    ("in.tftpd", "tftpd-hpa"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("m4", "m4"),
    ("make", "make"),
    ("nft", "nftables"),
    ("ovs-ofctl", "openvswitch-switch"),
    ("ping", "iputils-ping"),
    ("pkg-config", "pkg-config"),
    ("ss", "iproute2"),
    ("sysctl", "procps"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("vsftpd", "vsftpd"),
];
/// Packages without programs: what `pktgen`, by xsk-rs, is built with.
const LIBRARIES: &[&str] = &["libclang-dev", "libelf-dev", "zlib1g-dev"];
/// What measurements call beside all that: load, and the peers. Names that end in `.*` stand for any
/// package that begins so: DPDK's carry a version.
const BENCHES: &[&str] = &[
    "librte-mempool-ring.*",
    "librte-net-null.*",
    "librte-net-pcap.*",
    "linux-perf",
    "openvswitch-switch",
    "openvswitch-switch-dpdk",
];
/// cargo-deny: built once, kept in target/tools.
const DENY: &str = "0.20.2";

/// Whether we are root. (What belongs to a process belongs to its effective user.)
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Why a test that needs all this cannot run here; nothing if it can. Words that name neither root nor
/// a program are for people.
pub(crate) fn unmet<'a>(mut needs: impl Iterator<Item = &'a str>) -> Option<String> {
    needs.find_map(|need| match need {
        "root" if !is_root() => Some("needs root".to_owned()),
        program if PROGRAMS.iter().any(|(known, _)| *known == program) && !is_on_path(program) => {
            Some(format!("needs {program}, which is not installed"))
        }
        _ => None,
    })
}

/// Sees to it that what builds and tests call is there.
pub(crate) fn install_for_tests(report: &mut Report) {
    install("programs", missing_packages, report);
}

/// Sees to it that what measurements call is there as well. Answers whether it is.
pub(crate) fn install_for_benches(report: &mut Report) -> bool {
    let missing = || {
        let benches = BENCHES.iter().copied().filter(|package| !is_installed(package));
        missing_packages().into_iter().chain(benches).collect()
    };
    install("programs and peers", missing, report);
    missing().is_empty()
}

fn install(name: &str, missing: impl Fn() -> Vec<&'static str>, report: &mut Report) {
    report.step(name, |step| {
        let packages = missing();
        if packages.is_empty() {
            return Ok(Verdict::done("all installed"));
        }
        let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
        if !is_root() {
            return Ok(Verdict::done(format!("not all installed: as root, {install}")));
        }
        for line in ["apt-get update", &install] {
            let job = Job::new("apt-get", line.split_whitespace().skip(1));
            let ended = job.env("DEBIAN_FRONTEND", "noninteractive").run(step)?;
            if ended.failure.is_some() {
                let verdict = Verdict::failed("cannot be installed", ended.output);
                return Ok(verdict.advise(format!("Again: {line}")));
            }
        }
        Ok(match missing().as_slice() {
            [] => Verdict::done(format!("installed {}", packages.join(" "))),
            still => Verdict::failed(format!("not there after `{install}`: {still:?}"), ""),
        })
    });
}

fn missing_packages() -> Vec<&'static str> {
    let programs = PROGRAMS.iter().filter(|(program, _)| !is_on_path(program));
    let libraries = LIBRARIES.iter().copied().filter(|library| !is_installed(library));
    let mut packages: Vec<_> = programs.map(|(_, package)| *package).chain(libraries).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Whether dpkg has a package, by the list of its files: `NAME.list` or `NAME:ARCHITECTURE.list`.
fn is_installed(package: &str) -> bool {
    let entries = fs::read_dir("/var/lib/dpkg/info").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|file| {
        let name = file.strip_suffix(".list").unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default();
        match package.strip_suffix(".*") {
            Some(beginning) => name.starts_with(beginning),
            None => name == package,
        }
    })
}

/// Sees to it that the nightly toolchain is there with miri. Answers whether it is.
pub(crate) fn install_miri(report: &mut Report) -> bool {
    report.step("nightly toolchain", |step| {
        if has_miri(step)? {
            return Ok(Verdict::done("installed"));
        }
        let line =
            "toolchain install nightly --profile minimal --component miri --component rust-src";
        let ended = Job::new("rustup", line.split_whitespace()).run(step)?;
        if has_miri(step)? {
            return Ok(Verdict::done("installed now"));
        }
        let verdict = Verdict::failed("miri cannot be installed", ended.output);
        Ok(verdict.advise(format!("Again: rustup {line}")))
    })
}

fn has_miri(step: &mut Step) -> Result<bool, Error> {
    let list = Job::new("rustup", ["+nightly", "component", "list", "--installed"]).run(step)?;
    let has = |component| list.output.lines().any(|line| line.starts_with(component));
    Ok(list.failure.is_none() && has("miri") && has("rust-src"))
}

/// Sees to it that cargo-deny is in `directory`. Answers whether it is.
pub(crate) fn install_deny(directory: &Path, report: &mut Report) -> bool {
    let program = directory.join("bin/cargo-deny");
    report.step("cargo-deny", |step| {
        if program.exists() {
            let version = Job::new(&program.to_string_lossy(), ["--version"]).run(step)?;
            if version.output.trim().ends_with(DENY) {
                return Ok(Verdict::done(DENY));
            }
        }
        // Without its default features, which fetch advisories; and built in a hurry, for it runs for
        // less than a second.
        let root = directory.to_string_lossy();
        let line = format!(
            "install cargo-deny --version {DENY} --locked --no-default-features --root {root} --target-dir {root}/build"
        );
        let mut job = Job::cargo(&line).limit(Duration::from_secs(1200));
        for (setting, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")] {
            job = job.env(&format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        let ended = job.run(step)?;
        if let Some(how) = ended.failure {
            let verdict = Verdict::failed(format!("cannot be built: {how}"), ended.output);
            return Ok(verdict.advise(format!("Again: cargo {line}")));
        }
        let build = directory.join("build");
        fs::remove_dir_all(&build).map_err(Error::file(&build))?;
        Ok(Verdict::done(format!("{DENY}, built now")))
    })
}
