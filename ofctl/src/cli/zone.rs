//! Commands for what zones may have of connections: how many, and for how long.

use clap::{Args, Subcommand};

/// Commands for what zones may have of connections.
#[derive(Debug, Subcommand)]
pub enum ZoneCommand {
    /// Say how many connections a zone may have
    #[command(override_usage = "ofctl ct-set-limits [OPTIONS] [default=N] [zone=Z,limit=N]...")]
    #[command(after_help = "\
A zone that has no limit of its own goes by the default, for itself. 0 is as many
as there is room for. Connections that there are stay, and so do their packets:
when there are as many as there may be, packets that would begin another one are
dropped as ct-zone-limit. Limits are those of `ovs-appctl dpctl/ct-set-limits`.
`[connections]` in the configuration has the default from the beginning on.

Examples:
  ofctl ct-set-limits zone=5,limit=10000
  ofctl ct-set-limits default=50000 zone=5,limit=10000 zone=6,limit=0")]
    CtSetLimits(ChosenZonesArgs),

    /// Show how many connections zones may have, and have
    #[command(override_usage = "ofctl ct-get-limits [OPTIONS] [zone=Z[,Z]...]")]
    #[command(after_help = "\
Zones that have a limit of their own, or those that are named, by which limit
they may go. The line of the default comes first. 0 is as many as there is room
for.

Examples:
  ofctl ct-get-limits
  ofctl ct-get-limits zone=5,6
  ofctl ct-get-limits -f json | jq '.zones[] | select(.limit > 0 and .count >= .limit)'")]
    CtGetLimits(SomeZonesArgs),

    /// Have zones go by the default limit again
    #[command(override_usage = "ofctl ct-del-limits [OPTIONS] [default] [zone=Z[,Z]...]")]
    #[command(after_help = "\
With `default` the default goes: there is as much as there is room for.

Examples:
  ofctl ct-del-limits zone=5
  ofctl ct-del-limits zone=5,6,7
  ofctl ct-del-limits default")]
    CtDelLimits(ChosenZonesArgs),

    /// Say how many seconds connections may be silent
    #[command(override_usage = "ofctl ct-set-timeouts [OPTIONS] [zone=Z] KEY=SECONDS...")]
    #[command(after_help = "\
The keys are those of OVS's CT_Timeout_Policy; it has none for SCTP, and no
`generic`.

  tcp_syn_sent     a SYN has passed              tcp_syn_sent2  one either way
  tcp_syn_recv     a SYN and its answer
  tcp_established  it is established
  tcp_fin_wait     a FIN has passed              tcp_close_wait  its acknowledgement
  tcp_last_ack     a FIN either way              tcp_time_wait   its acknowledgement
  tcp_close        a reset
  tcp_unack        at most, while something that was sent is not acknowledged
  udp_first        one packet has passed
  udp_single       several, one way or for two seconds at most
  udp_multiple     it was answered, and has gone on for more than two seconds
  icmp_first       a query                       icmp_reply      it was answered
  generic          all other protocols

  sctp_closed             an INIT has passed, or what ends it
  sctp_cookie_wait        an INIT and its answer
  sctp_cookie_echoed      a COOKIE ECHO
  sctp_established        it is established
  sctp_shutdown_sent      a SHUTDOWN of who began it
  sctp_shutdown_recd      a SHUTDOWN of the other side
  sctp_shutdown_ack_sent  its answer
  sctp_heartbeat_sent     a heartbeat alone has passed

Without a zone this is what holds in all zones as far as they say nothing
themselves. What a zone says holds for connections that begin from then on. What
is said anew, and what all go by, holds for a connection from its next packet on.
There is no tcp_retransmit: retransmissions are not counted.

Examples:
  ofctl ct-set-timeouts zone=5 tcp_established=3600 tcp_unack=60
  ofctl ct-set-timeouts udp_multiple=60")]
    CtSetTimeouts(ChosenZonesArgs),

    /// Show how many seconds connections may be silent
    #[command(override_usage = "ofctl ct-get-timeouts [OPTIONS] [zone=Z]")]
    #[command(after_help = "\
The line of the default comes first, and has all; a zone's has what it says
itself. Zones that say nothing have no line. The words are those of
ct-set-timeouts.

Examples:
  ofctl ct-get-timeouts
  ofctl ct-get-timeouts zone=5
  ofctl ct-get-timeouts -f json | jq .default.tcp_established")]
    CtGetTimeouts(SomeZonesArgs),

    /// Have a zone go by the default timeouts again
    #[command(override_usage = "ofctl ct-del-timeouts [OPTIONS] {zone=Z | default}")]
    #[command(after_help = "\
Its connections do so from their next packet on. With `default` the default is
that of the Linux kernel again.

Examples:
  ofctl ct-del-timeouts zone=5
  ofctl ct-del-timeouts default")]
    CtDelTimeouts(ChosenZonesArgs),

    /// Have segments of TCP out of window be invalid, as they are unless said
    #[command(after_help = "\
Examples:
  ofctl ct-enable-tcp-seq-chk")]
    CtEnableTcpSeqChk,

    /// Have segments of TCP out of window be valid
    #[command(after_help = "\
For hosts or offloads whose windows cannot be followed: what the Linux kernel
does with nf_conntrack_tcp_be_liberal=1. Resets of what was acknowledged stay
invalid.

Examples:
  ofctl ct-disable-tcp-seq-chk")]
    CtDisableTcpSeqChk,

    /// Show whether segments of TCP out of window are invalid
    #[command(after_help = "\
Examples:
  ofctl ct-get-tcp-seq-chk
  ofctl ct-get-tcp-seq-chk -f json | jq .loose        may TCP be met in its middle")]
    CtGetTcpSeqChk,
}

/// Arguments of commands that need some.
#[derive(Debug, Args)]
pub struct ChosenZonesArgs {
    /// Which zones, and what they may have
    #[arg(value_name = "WORD", required = true)]
    pub words: Vec<String>,
}

/// Arguments of commands that show all without.
#[derive(Debug, Args)]
pub struct SomeZonesArgs {
    /// Which zones; see above
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
}
