// SPDX-License-Identifier: MIT OR Apache-2.0
fn main() -> std::process::ExitCode {
    bpfcc_rs::main(std::env::args_os().collect())
}
