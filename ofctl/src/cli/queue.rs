//! The arguments of the commands about egress queues.

use clap::Args;

pub(super) const SET_EXAMPLES: &str = "\
SETTING is one of these; what is not set is as if the queue were new:
  max-rate=RATE     bits a second that leave at most; as many as the port takes
  min-rate=RATE     bits a second that leave before other queues have their turn
  burst=BYTES       what may leave at once after a pause; 10 ms of max-rate
  weight=N          share of what the port takes, 1 to 1000; 1
  depth=PACKETS     packets that may wait, 1 to 4096; 512
  depth-bytes=BYTES bytes of them; 1048576
Numbers may end with k, M, G or T, for thousands, millions and so on. PORT is a
name or a number. With its first queue, a port also has queue 0, of packets
that no flow chooses a queue for.

Examples:
  ofctl set-queue br0 eth1 1 max-rate=100M
  ofctl set-queue br0 eth1 2 min-rate=20M max-rate=1G weight=4
  ofctl set-queue eth1 0 max-rate=50M depth=128";

pub(super) const DEL_EXAMPLES: &str = "\
What waits in the queue goes to queue 0. Without QUEUE all queues of the port
are removed, and what waits in them is sent.

Examples:
  ofctl del-queue br0 eth1 1
  ofctl del-queue br0 eth1";

pub(super) const STATS_EXAMPLES: &str = "\
Prints what `ovs-ofctl queue-stats` prints, without its line of heading, and
behind it what waits; `errors` are packets dropped because too many waited. The
first argument is the bridge of that name, if there is one, and otherwise the
port.

Examples:
  ofctl queue-stats
  ofctl queue-stats br0 eth1
  ofctl queue-stats br0 eth1 1 --format json";

pub(super) const CONFIG_EXAMPLES: &str = "\
Prints how queues were set, in the words of set-queue, behind a line for each
port. The first argument is the bridge of that name, if there is one, and
otherwise the port.

Examples:
  ofctl queue-get-config
  ofctl queue-get-config br0 eth1";

/// Arguments of `set-queue`.
#[derive(Debug, Args)]
pub struct SetQueueArgs {
    /// The bridge, the port, the queue's number, and how it is to be
    #[arg(value_name = "WORD", required = true, num_args = 2..)]
    pub words: Vec<String>,
}

/// Arguments of `del-queue`.
#[derive(Debug, Args)]
pub struct DelQueueArgs {
    /// The bridge, the port, and the queue's number
    #[arg(value_name = "WORD", required = true, num_args = 1..=3)]
    pub words: Vec<String>,
}

/// Arguments of `queue-stats` and `queue-get-config`.
#[derive(Debug, Args)]
pub struct QueueDumpArgs {
    /// The bridge, the port, and the queue's number; all if they are left out
    #[arg(value_name = "WORD", num_args = 0..=3)]
    pub words: Vec<String>,
}
