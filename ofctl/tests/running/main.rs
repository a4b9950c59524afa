//! `ofctl` as its user sees it, with a switch that runs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

mod capture;
mod commands;
mod errors;
mod files;
mod monitor;
mod questions;
mod shell;
mod switch;
