//! What code may mention where: `unsafe`, clocks, threads, sockets, logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::arrows::ENGINES;
use crate::error::Error;
use crate::source::{Mention, Source};
use crate::workspace::{Package, Workspace};

/// Where `unsafe` may stand: all of `hw`, the edge to the kernel, the packet generator, which is one of
/// its own, and one module of each of these, by name if it is settled. Each of them needs a recorded
/// measurement, and runs under loom and miri.
const UNSAFE: &[(&str, Place)] = &[
    ("hw", Place::Anywhere),
    ("benches", Place::Anywhere),
    ("packet", Place::File("src/memory.rs")),
    ("flowtable", Place::OneFile),
    ("conntrack", Place::OneFile),
    ("vswitch", Place::OneFile),
];
/// What an engine does not do: time, memory and packets are handed in.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "dbg::!",
    "eprintln::!",
    "log",
    "print::!",
    "println::!",
    "tracing",
];
/// What starts a thread, behind `thread::`.
const STARTS: &[&str] = &["Builder", "scope", "spawn"];
/// Who may: the switch, and what is not part of it.
const THREADED: &[&str] = &["vswitch", "benches", "testnet", "xtask"];
/// What else may: `ofctl ct-bench` measures in threads of its own (decision 10).
const MEASURES: &str = "ofctl/src/ct_bench.rs";

enum Place {
    Anywhere,
    File(&'static str),
    OneFile,
}

/// What stands where it should not, in words.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>, Error> {
    let mut complaints = Vec::new();
    for package in &workspace.packages {
        if !inherits_lints(&package.manifest()?) {
            let name = &package.name;
            complaints.push(format!("{name}/Cargo.toml lacks `[lints] workspace = true`"));
        }
        let files = Files::read(package)?;
        complaints.extend(unsafe_in(package, &files));
        complaints.extend(files.shipped().flat_map(|(file, mentions)| {
            let name = package.name.as_str();
            let file = format!("{name}/{}", file.display());
            mentions.iter().filter_map(move |mention| impurity(name, &file, mention))
        }));
    }
    Ok(complaints)
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]");
    lines.nth(1).is_some_and(|line| line.replace(' ', "") == "workspace=true")
}

/// The files of a crate and what they mention.
struct Files {
    /// By their paths within the crate: everything, tests too.
    all: BTreeMap<PathBuf, Vec<Mention>>,
    /// The same without tests.
    shipped: BTreeMap<PathBuf, Vec<Mention>>,
    /// Modules under `src` that are tests.
    tests: BTreeSet<PathBuf>,
}

impl Files {
    fn read(package: &Package) -> Result<Self, Error> {
        let mut files =
            Self { all: BTreeMap::new(), shipped: BTreeMap::new(), tests: BTreeSet::new() };
        let root = package.directory();
        for path in rust_files(root)? {
            let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
            let file = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.all.insert(file.clone(), Source::new(&text).mentions());
            let (source, tests) = Source::new(&text).without_tests();
            files.tests.extend(tests.iter().map(|module| home_of_modules(&file).join(module)));
            if file.starts_with("src") {
                files.shipped.insert(file, source.mentions());
            }
        }
        Ok(files)
    }

    /// What is part of the crate when it is not tested.
    fn shipped(&self) -> impl Iterator<Item = (&PathBuf, &Vec<Mention>)> {
        let is_test = |file: &Path| {
            file.ancestors().any(|part| self.tests.contains(&part.with_extension("")))
        };
        self.shipped.iter().filter(move |(file, _)| !is_test(file))
    }
}

/// The directory in which the modules are that a file declares.
fn home_of_modules(file: &Path) -> PathBuf {
    let is_root = ["lib", "main", "mod"]
        .iter()
        .any(|root| file.file_stem().is_some_and(|stem| stem == *root));
    match file.parent() {
        Some(directory) if is_root => directory.to_owned(),
        _ => file.with_extension(""),
    }
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::file(directory))? {
        let path = entry.map_err(Error::file(directory))?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Where `unsafe` stands and must not.
fn unsafe_in(package: &Package, files: &Files) -> Vec<String> {
    let is_unsafe = |mention: &&Mention| {
        mention.path.iter().any(|word| word == "unsafe" || word == "unsafe_code")
    };
    let places: Vec<_> = files
        .all
        .iter()
        .filter_map(|(file, mentions)| Some((file, mentions.iter().find(is_unsafe)?.line)))
        .collect();
    let name = package.name.as_str();
    let place = UNSAFE.iter().find(|(package, _)| *package == name).map(|(_, place)| place);
    let (wrong, rule): (Vec<_>, _) = match place {
        Some(Place::Anywhere) => return Vec::new(),
        Some(Place::File(right)) => {
            let wrong = places.into_iter().filter(|(file, _)| *file != Path::new(right));
            (wrong.collect(), format!("in {name} it stands in {right} alone"))
        }
        Some(Place::OneFile) if places.len() <= 1 => return Vec::new(),
        Some(Place::OneFile) => (places, format!("in {name} it stands in one module alone")),
        None => (places, format!("{name} does without it")),
    };
    let complaint = |(file, line): (&PathBuf, usize)| {
        format!("{name}/{}:{line}: `unsafe`: {rule}", file.display())
    };
    wrong.into_iter().map(complaint).collect()
}

/// What is wrong with mentioning this in what ships of a crate.
fn impurity(package: &str, file: &str, mention: &Mention) -> Option<String> {
    let Mention { path, line } = mention;
    let said = path.join("::");
    if ENGINES.contains(&package) && IMPURE.iter().any(|impure| reaches(path, impure)) {
        return Some(format!(
            "{file}:{line}: `{said}`: an engine has no clock, thread, socket, file or log"
        ));
    }
    let starts = |pair: &[String]| pair[0] == "thread" && STARTS.contains(&pair[1].as_str());
    let may = THREADED.contains(&package) || file == MEASURES;
    if !may && path.windows(2).any(starts) {
        return Some(format!("{file}:{line}: `{said}`: only vswitch starts threads"));
    }
    None
}

/// Whether `path` names `what` or something in it, or everything around it (`std::time::*`).
fn reaches(path: &[String], what: &str) -> bool {
    let what: Vec<_> = what.split("::").collect();
    let common = path.iter().zip(&what).take_while(|(a, b)| a == *b).count();
    // A crate is named by what is in it; alone its name may be that of a variable.
    let is_whole = common == what.len() && path.len() > 1;
    is_whole || path.get(common).is_some_and(|word| word == "*") && common > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(package: &str, code: &str) -> Vec<String> {
        let mentions = Source::new(code).without_tests().0.mentions();
        mentions.iter().filter_map(|mention| impurity(package, "f.rs", mention)).collect()
    }

    #[test]
    fn engines_are_pure() {
        let pure = "use std::net::{IpAddr, Ipv4Addr};\nuse std::time::Duration;\n\
            #[cfg(test)]\nmod tests { use std::thread; fn a() { thread::spawn(b); println!(); } }\n\
            fn log() { self.process.spawn() }";
        assert_eq!(complaints("flowtable", pure), [""; 0]);
        for code in [
            "use std::time::{Duration, Instant};",
            "use std::time::*;",
            "let socket = std::net::UdpSocket::bind(a);",
            "tracing::info!(1);",
            "println!();",
            "use std::thread;",
        ] {
            assert_eq!(complaints("flowtable", code).len(), 1, "{code}");
            assert_eq!(complaints("vswitch", code), [""; 0], "{code}");
        }
    }

    #[test]
    fn only_the_switch_starts_threads() {
        for code in ["std::thread::spawn(a);", "thread::Builder::new();", "use std::thread::scope;"]
        {
            assert_eq!(complaints("hw", code).len(), 1, "{code}");
            assert_eq!(complaints("vswitch", code), [""; 0], "{code}");
        }
        assert_eq!(complaints("hw", "std::thread::sleep(a);"), [""; 0]);
        let mentions = Source::new("thread::scope(a);").mentions();
        let one = |file| impurity("ofctl", file, &mentions[0]);
        assert_eq!((one(MEASURES), one("ofctl/src/cli.rs").is_some()), (None, true));
    }

    #[test]
    fn modules_live_beside_a_root_and_below_others() {
        assert_eq!(home_of_modules(Path::new("src/lib.rs")), Path::new("src"));
        assert_eq!(home_of_modules(Path::new("src/a/mod.rs")), Path::new("src/a"));
        assert_eq!(home_of_modules(Path::new("src/a.rs")), Path::new("src/a"));
    }

    #[test]
    fn lints_are_inherited_in_one_way() {
        assert!(inherits_lints("[package]\n\n[lints]\nworkspace = true\n"));
        assert!(!inherits_lints("[package]\n[lints.rust]\nunsafe_code = \"deny\"\n"));
    }
}
