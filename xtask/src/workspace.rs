//! The workspace as `cargo metadata` describes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::Error;

/// Features that nothing of ours is tested with: those that build somebody else's C code to compare
/// with (needs clang and libbpf).
const FOREIGN_FEATURES: &[(&str, &str)] = &[("hw", "peer-xsk-rs")];

/// The crates of this repository.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// Its members.
    pub(crate) packages: Vec<Package>,
    #[serde(rename = "workspace_root")]
    root: PathBuf,
    #[serde(rename = "target_directory")]
    target: PathBuf,
}

/// A crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name, which is that of its folder.
    pub(crate) name: String,
    /// What its Cargo.toml asks for, whatever the kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its programs, libraries and tests.
    pub(crate) targets: Vec<Target>,
    features: BTreeMap<String, Vec<String>>,
    manifest_path: PathBuf,
}

/// One line under `[dependencies]` or its kin.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The crate.
    pub(crate) name: String,
    /// `dev`, `build`, or nothing.
    pub(crate) kind: Option<String>,
    /// Where it is, if it is a crate of this repository.
    pub(crate) path: Option<PathBuf>,
}

/// One thing that is built from a crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test` and so on.
    pub(crate) kind: Vec<String>,
}

impl Workspace {
    /// The workspace around the current directory; its root becomes the current directory.
    pub(crate) fn load() -> Result<Self, Error> {
        let workspace = Self::read(&[])?;
        std::env::set_current_dir(&workspace.root).map_err(Error::file(&workspace.root))?;
        Ok(workspace)
    }

    /// The workspace of fuzz targets, which is one of its own; nothing if it is not there.
    pub(crate) fn load_fuzz(&self) -> Result<Option<Self>, Error> {
        let manifest = self.root.join("fuzz/Cargo.toml");
        if !manifest.exists() {
            return Ok(None);
        }
        Self::read(&["--manifest-path", &manifest.to_string_lossy()]).map(Some)
    }

    fn read(arguments: &[&str]) -> Result<Self, Error> {
        let mut command = Command::new("cargo");
        command.args(["metadata", "--no-deps", "--format-version", "1"]).args(arguments);
        let output = command.output();
        let output =
            output.map_err(|source| Error::Start { program: "cargo metadata".into(), source })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Missing(format!("`cargo metadata` fails:\n{said}")));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A directory for what is built for a purpose of its own, such as `loom`.
    pub(crate) fn target(&self, purpose: &str) -> PathBuf {
        self.target.join(purpose)
    }

    /// The member of this name, if there is one yet.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Options of cargo that choose all members with all features that are ours.
    pub(crate) fn everything(&self) -> String {
        let features: Vec<_> = self.packages.iter().flat_map(Package::own_features).collect();
        match features.is_empty() {
            true => "--workspace".to_owned(),
            false => format!("--workspace --features {}", features.join(",")),
        }
    }
}

impl Package {
    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    /// Its Cargo.toml.
    pub(crate) fn manifest(&self) -> Result<String, Error> {
        fs::read_to_string(&self.manifest_path).map_err(Error::file(&self.manifest_path))
    }

    /// Whether any kind of dependency on the crate `name` is there.
    pub(crate) fn depends_on(&self, name: &str) -> bool {
        self.dependencies.iter().any(|dependency| dependency.name == name)
    }

    /// Its features, as `package/feature`.
    fn own_features(&self) -> impl Iterator<Item = String> {
        let foreign = |feature| FOREIGN_FEATURES.contains(&(self.name.as_str(), feature));
        let features = self.features.keys().filter(move |feature| !foreign(feature.as_str()));
        features.map(|feature| format!("{}/{feature}", self.name))
    }
}
