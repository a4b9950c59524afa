//! Why something about a port failed.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// What failed, on which interface or queue, why, and what to do about it.
///
/// Whatever a failed call had set up, it has taken down again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The interface does not exist in this network namespace.
    #[error("there is no interface `{interface}` in this network namespace")]
    NoInterface {
        /// The name that was asked for.
        interface: String,
    },
    /// Another socket, mostly another process's, has the queue.
    #[error("queue {queue} of {interface} is used by another process")]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The queue's number.
        queue: u32,
    },
    /// An XDP program that is not ours is attached.
    #[error(
        "{interface} carries XDP program {id} of somebody else: detach it \
         (`ip link set {interface} xdp off`) or leave the interface to its owner"
    )]
    ForeignProgram {
        /// The interface.
        interface: String,
        /// The program's id, as `bpftool prog` shows it.
        id: u32,
    },
    /// A tc filter that is not ours holds the place that ours needs.
    #[error(
        "{interface} has a tc filter of somebody else at ingress priority 1 (`{filter}`): \
         it would decide before ours; delete it or leave the interface to its owner"
    )]
    ForeignFilter {
        /// The interface.
        interface: String,
        /// Kind and name of the filter.
        filter: String,
    },
    /// The process lacks a capability.
    #[error("{doing}: not permitted; the process needs {capability}")]
    Capability {
        /// What was being done.
        doing: String,
        /// The capability that allows it.
        capability: &'static str,
    },
    /// Packets of the interface's MTU do not fit.
    #[error("{interface}: MTU {mtu} is too long: {reason}; at most {limit} works")]
    MtuTooLong {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The longest MTU that works.
        limit: u32,
        /// What is missing for longer ones.
        reason: &'static str,
    },
    /// The kernel refused something about an interface.
    #[error("{interface}: {doing}: {source}{hint}")]
    Interface {
        /// The interface.
        interface: String,
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// What that means here, or what to do; empty or beginning with a separator.
        hint: String,
    },
    /// The kernel refused something that concerns no interface.
    #[error("{doing}: {source}{hint}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// What that means here, or what to do; empty or beginning with a separator.
        hint: String,
    },
    /// A netlink message of the kernel could not be read.
    #[error("netlink: {0}")]
    Netlink(String),
    /// A capture file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The port was described in a way that cannot work.
    #[error("port {port}: {reason}")]
    Spec {
        /// The port.
        port: String,
        /// What is wrong.
        reason: String,
    },
    /// A process that hands its ports over, or takes them over, broke off or said something odd.
    #[error("takeover: {0}")]
    Takeover(String),
}

impl Error {
    /// The kernel refused `doing` on `interface`.
    pub(crate) fn interface(
        interface: &str,
        doing: &'static str,
        source: impl Into<io::Error>,
    ) -> Self {
        let (interface, hint) = (interface.to_owned(), String::new());
        Self::Interface { interface, doing, source: source.into(), hint }
    }

    /// The kernel refused `doing`, which concerns no interface.
    pub(crate) fn system(doing: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System { doing, source: source.into(), hint: String::new() }
    }

    /// Adds what the failure means, or what to do about it.
    pub(crate) fn hint(mut self, text: &str) -> Self {
        if let Self::Interface { hint, .. } | Self::System { hint, .. } = &mut self
            && !text.is_empty()
        {
            *hint = format!(" ({text})");
        }
        self
    }

    /// Names `capability` if the kernel said no for want of one.
    pub(crate) fn needs(self, capability: &'static str) -> Self {
        let denied = [Errno::PERM, Errno::ACCESS].map(Errno::raw_os_error);
        let doing = match &self {
            Self::Interface { interface, doing, source, .. }
                if source.raw_os_error().is_some_and(|errno| denied.contains(&errno)) =>
            {
                format!("{interface}: {doing}")
            }
            Self::System { doing, source, .. }
                if source.raw_os_error().is_some_and(|errno| denied.contains(&errno)) =>
            {
                (*doing).to_owned()
            }
            _ => return self,
        };
        Self::Capability { doing, capability }
    }

    /// The kernel's number for the failure, if it was the kernel.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Interface { source, .. } | Self::System { source, .. } => {
                Errno::from_io_error(source)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_named() {
        let refused = || Error::interface("eth0", "opening an AF_XDP socket", Errno::PERM);
        assert_eq!(
            refused().needs("CAP_NET_RAW").to_string(),
            "eth0: opening an AF_XDP socket: not permitted; the process needs CAP_NET_RAW"
        );
        let busy = Error::interface("eth0", "binding", Errno::BUSY).needs("CAP_NET_RAW");
        assert_eq!(busy.errno(), Some(Errno::BUSY));
    }

    #[test]
    fn a_hint_follows_the_kernels_answer() {
        let error = Error::system("mapping memory", Errno::NOMEM).hint("64 MiB");
        assert!(error.to_string().starts_with("mapping memory: "), "{error}");
        assert!(error.to_string().ends_with(" (64 MiB)"), "{error}");
    }
}
