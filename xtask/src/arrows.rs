//! Which crate may depend on which: downward, floor by floor.

use crate::workspace::{Dependency, Package, Workspace};

/// For each crate, the crates of ours that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("packet", &[]),
    ("api", &["packet"]),
    ("flowtable", &["packet", "api"]),
    ("conntrack", &["packet", "api"]),
    ("hw", &["packet"]),
    ("vswitch", &["packet", "api", "flowtable", "conntrack", "hw"]),
    ("ofctl", &["api", "conntrack", "packet"]),
    ("cni", &["api"]),
    ("controller", &["api"]),
    ("benches", &["packet", "api", "flowtable", "conntrack", "hw", "vswitch", "testnet"]),
    ("testnet", &["packet"]),
    ("xtask", &[]),
    ("fuzz", &["packet", "api", "flowtable", "conntrack"]),
];
/// Test equipment: for tests of any crate, and for who is equipment too by the table above.
const EQUIPMENT: &str = "testnet";
/// What the engines are pure of, as far as it can be told from whom they depend on.
const IMPURE: &[&str] = &["libc", "log", "nix", "rustix", "tracing"];
/// The engines.
pub(crate) const ENGINES: &[&str] = &["packet", "flowtable", "conntrack"];
/// What only the controller pays for.
const ASYNC: &[&str] = &["async-std", "futures", "kube", "smol", "tokio"];

/// The arrows that `workspace` has and should not have, in words; and how many it has.
pub(crate) fn check(workspace: &Workspace) -> (Vec<String>, usize) {
    let mut complaints = Vec::new();
    let mut arrows = 0;
    for package in &workspace.packages {
        let name = &package.name;
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| from == name) else {
            complaints.push(format!("{name} is not in the table of arrows, xtask/src/arrows.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            arrows += usize::from(dependency.path.is_some());
            complaints.extend(fault(package, allowed, dependency));
        }
    }
    (complaints, arrows)
}

/// What is wrong with one dependency.
fn fault(package: &Package, allowed: &[&str], dependency: &Dependency) -> Option<String> {
    let (from, to) = (package.name.as_str(), dependency.name.as_str());
    let in_tests = dependency.kind.as_deref() == Some("dev");
    if dependency.path.is_some() {
        return match to {
            EQUIPMENT if in_tests || allowed.contains(&to) => None,
            EQUIPMENT => Some(format!("{from} -> {to}: it is for tests, a dev-dependency only")),
            _ if allowed.contains(&to) => None,
            _ => Some(format!("{from} -> {to}: {from} may depend on {}", list(allowed))),
        };
    }
    match to {
        _ if in_tests => None,
        _ if ENGINES.contains(&from) && IMPURE.contains(&to) => {
            Some(format!("{from} -> {to}: an engine makes no system call and keeps no log"))
        }
        _ if from != "controller" && ASYNC.contains(&to) => {
            Some(format!("{from} -> {to}: only the controller is asynchronous"))
        }
        _ => None,
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no other crate of ours".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about dependencies, each as `from -> to` or `from -> to (kind)`, `/` before ours.
    fn complaints(arrows: &[&str]) -> Vec<String> {
        let complaint = |arrow: &&str| {
            let (from, to) = arrow.split_once(" -> ")?;
            let (to, kind) = to.split_once(' ').map_or((to, None), |(to, kind)| (to, Some(kind)));
            let path = to.strip_prefix('/');
            let dependency =
                serde_json::json!({"name": path.unwrap_or(to), "kind": kind, "path": path});
            let package = serde_json::json!({
                "name": from, "dependencies": [dependency], "targets": [], "features": {}, "manifest_path": "",
            });
            let workspace = serde_json::json!({
                "packages": [package], "workspace_root": "", "target_directory": "",
            });
            check(&serde_json::from_value(workspace).unwrap()).0.pop()
        };
        arrows.iter().filter_map(complaint).collect()
    }

    #[test]
    fn what_the_table_allows_is_allowed() {
        let fine = [
            "api -> /packet",
            "vswitch -> /hw",
            "packet -> /testnet dev",
            "benches -> /testnet",
            "flowtable -> hashbrown",
            "packet -> rustix dev",
            "controller -> tokio",
            "hw -> libc",
        ];
        assert_eq!(complaints(&fine), [""; 0]);
    }

    #[test]
    fn what_it_does_not_is_named() {
        let arrows = [
            "packet -> /api",
            "api -> /flowtable dev",
            "flowtable -> /hw build",
            "hw -> /testnet",
            "conntrack -> tracing",
            "vswitch -> tokio",
            "newcomer -> /packet",
        ];
        let expected = [
            "packet -> api: packet may depend on no other crate of ours",
            "api -> flowtable: api may depend on packet",
            "flowtable -> hw: flowtable may depend on packet, api",
            "hw -> testnet: it is for tests, a dev-dependency only",
            "conntrack -> tracing: an engine makes no system call and keeps no log",
            "vswitch -> tokio: only the controller is asynchronous",
            "newcomer is not in the table of arrows, xtask/src/arrows.rs",
        ];
        assert_eq!(complaints(&arrows), expected);
    }
}
