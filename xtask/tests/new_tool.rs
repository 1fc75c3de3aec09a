// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tool made by `cargo xtask new-tool` builds and traces.

#![allow(clippy::expect_used)] // also in what tests call

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("start");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The repository's files without its history, in a place of its own.
fn copy(name: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&copy).expect("a directory");
    run(Command::new("sh")
        .args(["-c", "git ls-files --cached --others --exclude-standard -z | tar --null -cf - -T - | tar -xf - -C \"$0\""])
        .arg(&copy)
        .current_dir(top));
    copy
}

#[test]
fn a_new_tool_builds_and_traces() {
    let copy = copy("bpfcc-new-tool");
    let xtask = Path::new(env!("CARGO_BIN_EXE_xtask"));
    run(Command::new(xtask)
        .args(["new-tool", "freshtool", "--root"])
        .arg(&copy));
    // The libraries that are built already serve this copy as well.
    let target = xtask.ancestors().nth(2).expect("the target directory");
    run(Command::new("cargo")
        .args(["build", "--quiet", "--package", "freshtool"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(&copy));
    let mut tool = Command::new(target.join("debug/freshtool"))
        .arg("--json")
        .arg("--verbose")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the tool");
    let stderr = BufReader::new(tool.stderr.take().expect("piped"));
    let attached = stderr
        .lines()
        .map_while(Result::ok)
        .any(|line| line.ends_with("attached"));
    assert!(attached, "{:?}", tool.wait());

    let traced = Command::new("true").spawn().expect("true");
    let pid = traced.id();
    drop(traced.wait_with_output());
    let stdout = BufReader::new(tool.stdout.take().expect("piped"));
    let row = stdout
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains(&format!("\"pid\":{pid},")));
    let _ = tool.kill();
    let _ = tool.wait();
    assert_eq!(row, Some(format!("{{\"pid\":{pid},\"comm\":\"true\"}}")));
    std::fs::remove_dir_all(copy).expect("clean up");
}
