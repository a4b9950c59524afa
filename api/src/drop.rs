//! Why a packet was dropped: every reason the switch has, each with its sentence.

use std::fmt;
use std::str::FromStr;

macro_rules! reasons {
    ($($variant:ident $name:literal $sentence:literal,)*) => {
        /// Why a packet was dropped. Counted per ingress port, and told with every captured drop.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $sentence] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it in counters and captures.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

reasons! {
    // What the flows decided.
    TableMiss "table-miss" "No flow of the table matched.",
    FlowDrop "flow-drop" "The flow that matched has no action that outputs.",
    InvalidTtl "invalid-ttl" "The TTL or hop limit was 0 or 1 where dec_ttl had to take one off.",
    NoSuchPort "no-such-port" "A flow outputs to a port number that the bridge does not have.",
    OutputToIngress "output-to-ingress" "A flow outputs to the port the packet came from; that takes in_port.",
    NoSuchGroup "no-such-group" "An action leads to a group that the bridge does not have.",
    NoLiveBucket "no-live-bucket" "No bucket of the group was live, or it had none.",
    NoSuchMeter "no-such-meter" "An action names a meter that the bridge does not have.",
    Metered "metered" "A meter was exceeded.",
    ResubmitDepth "resubmit-depth" "Resubmits and groups were nested more than 64 deep.",
    ResubmitLimit "resubmit-limit" "One packet was resubmitted more than 4096 times.",
    StackLimit "stack-limit" "More than 4096 values were pushed on the stack.",
    PassLimit "pass-limit" "The packet took more than 8 passes through the tables.",
    DecisionLimit "decision-limit" "A worker had no room for another way to go on behind a meter, a select group or the like.",
    ProgramLimit "program-limit" "The actions for one packet are more than a program holds.",
    VlanTags "vlan-tags" "A third VLAN tag would have been pushed, or one lies beneath a tag that was popped.",
    NoReceive "no-receive" "The port the packet came in by is set down, or to receive nothing.",
    NoForward "no-forward" "The port it should leave by is set down, or to send nothing.",
    // What connection tracking decided.
    CtNoPort "ct-no-port" "Every port that the connection could have been given is taken.",
    CtClash "ct-clash" "The answers to this connection would be those of another one.",
    CtFull "ct-full" "There is no room for another connection.",
    CtZoneLimit "ct-zone-limit" "The zone has as many connections as it may have.",
    CtExpectFull "ct-expect-full" "There is no room for another connection that one announces.",
    CtLineCut "ct-line-cut" "A line of FTP that may announce a connection is not all in this segment.",
    CtRewrite "ct-rewrite" "An announcement could not be rewritten: the packet has no room, or was another one when it was sent before.",
    FragmentBad "fragment-bad" "A fragment says that it is a part which no datagram can have.",
    FragmentOverlap "fragment-overlap" "Fragments of one datagram overlap or contradict each other.",
    FragmentTimeout "fragment-timeout" "The rest of a datagram did not come in time.",
    FragmentLimit "fragment-limit" "Too many fragments waited for the rest of their datagrams.",
    // What NORMAL decided.
    NormalVlan "normal-vlan" "The port is not a member of the packet's VLAN.",
    NormalReserved "normal-reserved" "The destination is a link-local group that bridges do not forward (IEEE 802.1D).",
    NormalSamePort "normal-same-port" "The destination was learned on the port the packet came from.",
    NormalNowhere "normal-nowhere" "There is no other port to flood to.",
    // What the switch could not do.
    Runt "runt" "The frame is too short for an Ethernet header.",
    Closed "closed" "The port belongs to no bridge yet, or the first flows are not committed.",
    NoFrames "no-frames" "No free frame was left for a copy or a segment.",
    NoHeadroom "no-headroom" "A header to be pushed did not fit in front of the packet.",
    NotSegmentable "not-segmentable" "A super-frame's headers do not fit its segmentation.",
    ChecksumPlace "checksum-place" "The checksum to be made belongs outside of the headers.",
    TxTooLong "tx-too-long" "The packet is longer than the output port's MTU allows.",
    QueueFull "queue-full" "Too many packets waited in the egress queue already.",
    TxFull "tx-full" "The output port's ring or queue was full.",
    TxDown "tx-down" "The output port was down or gone.",
    TxError "tx-error" "The kernel refused to send the packet.",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no reason.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no drop reason")]
pub struct UnknownReason(String);

impl FromStr for DropReason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Self, UnknownReason> {
        let known = Self::ALL.iter().find(|reason| reason.name() == name);
        known.copied().ok_or_else(|| UnknownReason(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_sentences_end() {
        for (n, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, n);
            assert_eq!(reason.name().parse(), Ok(*reason));
            assert!(reason.sentence().ends_with('.'), "{reason}");
        }
    }
}
