//! `ofctl` as its user sees it, with a switch that runs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod bundles;
mod capture;
mod commands;
mod compare;
mod connections;
mod detrace;
mod errors;
mod expected;
mod files;
mod groups;
mod monitor;
#[path = "../../../vswitch/tests/common/ovs.rs"]
mod ovs;
mod questions;
mod shapes;
mod shell;
mod switch;
mod traces;
mod zones;
