//! What the kernel is known to judge otherwise: no such packet is sent.

use crate::ends::Family;
use crate::ip::Extra;
use crate::traffic::{Event, What};

/// UDP-Lite (RFC 3828).
const UDP_LITE: u8 = 136;

/// Whether both are known not to agree about a packet.
pub(crate) fn differs(event: &Event) -> bool {
    let is_ipv6 = event.ends.family == Family::V6;
    match &event.what {
        // DIFFERS: messages about neighbours and groups are not tracked.
        What::Query(query) => is_ipv6 && query.is_about_neighbours(),
        // DIFFERS: of such a packet the kernel believes some chunks whatever tag it bears, if another one
        // of them may bear a tag of its own, and what it has believed stays if it refuses the rest.
        What::Sctp(bundle) => bundle.changes() > 1,
        // DIFFERS: it has ports, and a checksum, which must be there.
        What::Other(UDP_LITE, _) => true,
        What::Error(error) => quoted_differs(&error.quoted, event.cut),
        _ => false,
    }
}

/// The same of one that is quoted, of which so much is left.
fn quoted_differs(event: &Event, left: Option<usize>) -> bool {
    match event.extra {
        // DIFFERS: a header of IPv6 may end behind the packet, if there are no ports behind it.
        _ if event.ends.family == Family::V6 && matches!(event.what, What::Other(..)) => {
            matches!(event.extra, Extra::Length(1..)) || left.is_some()
        }
        // DIFFERS: here other bytes than GRE's are taken for those of version 1.
        Extra::Length(_) => matches!(event.what, What::Other(47, _)),
        _ => false,
    }
}
