//! The version of what crosses the socket.

/// Raised whenever requests, replies or the text of flows change in a way that the other side of
/// the socket may notice. The method `version` answers it.
pub const VERSION: u32 = 1;
