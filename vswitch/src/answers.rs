//! What the switch says about itself, a module a noun: everything that only looks, and little that
//! changes.

mod cache;
mod events;
mod flows;
mod ports;
mod stations;
mod trace;
mod workers;

use api::Failure;

pub(crate) use events::Next;
pub(crate) use flows::is_meant;
pub(crate) use ports::show_port;

/// Entries on a page at most.
const PAGE: usize = 2_000;
/// Bytes of text on a page, by and large: a line has room for four times as much.
const PAGE_WEIGHT: usize = 4 << 20;

fn bad_cursor() -> Failure {
    Failure::refused("`after` is no cursor of this dump")
}
