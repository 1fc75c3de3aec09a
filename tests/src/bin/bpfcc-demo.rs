// SPDX-License-Identifier: MIT OR Apache-2.0
//! `make demo`: the tools on this machine's kernel, with events made on
//! purpose. Shows what they print; fails when one shows nothing.

use std::fs::File;
use std::process::{Command, ExitCode};

use bpfcc_tests::{Ended, LoopDevice, TempDir, Tool, bin, connect_and_close, kernel};

/// Lines shown of a tool's output.
const SHOWN: usize = 24;

fn main() -> ExitCode {
    let (major, minor) = kernel();
    println!(
        "The tools on this machine's kernel, Linux {major}.{minor}, with events made on purpose."
    );
    let silent: Vec<_> = [
        ("tcpstates", tcpstates as fn() -> bool),
        ("opensnoop", opensnoop),
        ("biolatency", biolatency),
    ]
    .into_iter()
    .filter(|(_, demonstrate)| !demonstrate())
    .map(|(tool, _)| tool)
    .collect();
    if silent.is_empty() {
        println!("\nEach tool has shown the events that were made.");
        return ExitCode::SUCCESS;
    }
    eprintln!("\nshowed nothing of what was made: {}", silent.join(", "));
    ExitCode::FAILURE
}

fn show(what: &str, command: &str, ended: &Ended) {
    println!("\n--- {what}\n# {command}");
    for line in ended.stdout.lines().take(SHOWN) {
        println!("{line}");
    }
    if let Some(more @ 1..) = ended.stdout.lines().count().checked_sub(SHOWN) {
        println!("... and {more} more lines");
    }
}

fn tcpstates() -> bool {
    let tool = Tool::start("tcpstates", &["-T"]);
    let loopback = [127, 0, 0, 1].into();
    let ports = connect_and_close(loopback, loopback);
    let ended = tool.stop();
    show(
        "a TCP connection that opens and closes",
        "tcpstates -T",
        &ended,
    );
    ended.status.success() && ended.stdout.contains(&ports.client.to_string())
}

fn opensnoop() -> bool {
    let dir = TempDir::new("demo");
    let (there, missing) = (dir.join("there.conf"), dir.join("missing.conf"));
    let args = ["-T", "-U", "-e", "-p", &std::process::id().to_string()].map(str::to_owned);
    let tool = Tool::start("opensnoop", &args.each_ref().map(String::as_str));
    drop(File::create(&there));
    for _ in 0..3 {
        drop(File::open(&there));
        drop(File::open(&missing));
    }
    let ended = tool.stop();
    show(
        "opens of a file that is there and of one that is not",
        &format!("opensnoop {}", args.join(" ")),
        &ended,
    );
    ended.status.success()
        && ended.stdout.contains("there.conf")
        && ended.stdout.contains("missing.conf")
}

fn biolatency() -> bool {
    let device = LoopDevice::new(16 << 20);
    let args = ["-D", "--percentiles", "-d", device.name()];
    let tool = Tool::start("biolatency", &args);
    for direction in ["writes", "reads"] {
        let done = Command::new(bin("bpfcc-workload"))
            .arg(direction)
            .arg(&device.path)
            .arg("2000")
            .status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("direct {direction} on {} failed", device.path.display());
            return false;
        }
    }
    let ended = tool.stop();
    show(
        "direct reads and writes of a loop device",
        &format!("biolatency {}", args.join(" ")),
        &ended,
    );
    ended.status.success() && ended.stdout.contains("->")
}
