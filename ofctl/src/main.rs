//! `ofctl`: asks and tells a running switch.

use std::process::ExitCode;

fn main() -> ExitCode {
    ofctl::main()
}
