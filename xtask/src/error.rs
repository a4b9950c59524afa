//! What keeps a check from being made at all.

use std::io;
use std::path::PathBuf;

/// Why a check could not be made. What a check finds is no error but a [`crate::report::Verdict`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program is missing or cannot be run.
    #[error("`{program}` cannot be started: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file or directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `cargo metadata` answers something unexpected.
    #[error("`cargo metadata` cannot be understood: {0}")]
    Metadata(#[from] serde_json::Error),
    /// Something needed is missing, and could not be installed.
    #[error("{0}")]
    Missing(String),
}

impl Error {
    /// For `map_err`: an error about `path`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
