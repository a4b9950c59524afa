//! A program run by somebody who is not root, with the four capabilities a switch needs.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::TestNet;

/// What `/proc/PID/status` says of such a process: NET_ADMIN 12, NET_RAW 13, IPC_LOCK 14, BPF 39.
pub const FOUR_CAPABILITIES: &str = "0000008000007000";

/// A program to be run by nobody (65534), who may read neither the builder's folders nor lock
/// memory, and its copy, gone with this value.
///
/// `/dev/net/tun` may be opened by everybody there, as udev has it: on a machine without udev only
/// root may. That device lies in the mount namespace which `ip netns exec` makes for the process.
#[derive(Debug)]
pub struct Nobody {
    folder: PathBuf,
}

impl Nobody {
    /// Copies `program` to where everybody may run it.
    ///
    /// # Errors
    /// If the copy cannot be written.
    pub fn new(net: &TestNet, program: &Path) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("{}-nobody", net.namespace()));
        fs::create_dir_all(&folder)?;
        let nobody = Self { folder };
        fs::copy(program, nobody.program())?;
        fs::write(nobody.starter(), START)?;
        for path in [nobody.folder.clone(), nobody.program(), nobody.starter()] {
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
        Ok(nobody)
    }

    /// The copy.
    pub fn program(&self) -> PathBuf {
        self.folder.join("program")
    }

    /// What stands before a command, within `ip netns exec`, for it to be run by nobody.
    pub fn starter(&self) -> PathBuf {
        self.folder.join("start")
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const START: &str = "#!/bin/sh -e
mount -t tmpfs tun /dev/net
mknod -m 0666 /dev/net/tun c 10 200
four=-all,+net_admin,+net_raw,+bpf,+ipc_lock
exec prlimit --memlock=65536 setpriv --reuid 65534 --regid 65534 --clear-groups \\
    --no-new-privs --inh-caps $four --ambient-caps $four --bounding-set $four \"$@\"
";
