// SPDX-License-Identifier: MIT OR Apache-2.0
fn main() -> std::process::ExitCode {
    common::tool::main::<fsslower::F2fsslower>()
}
