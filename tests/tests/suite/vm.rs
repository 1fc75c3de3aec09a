// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel matrix: this test program again, in a virtual machine per
//! kernel. A kernel that cannot be had is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::basics::LOCK_DOWN;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository")
}

#[track_caller]
fn vm(kernel: &str, script: &str) {
    let output = Command::new(root().join("tests/vm/vmrun"))
        .args([
            "-t",
            "2400",
            "-M",
            "loop,ext4,xfs,btrfs,null_blk,nf_conntrack,nfsd,nfs,nfsv4",
            kernel,
            "-s",
            script,
        ])
        .current_dir(root())
        .output()
        .expect("vmrun");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{stdout}{stderr}");
    assert!(output.status.success(), "Linux {kernel}: {}", output.status);
}

/// Every BPF program and every kernel field, then the live tests: one after the
/// other, for where the kernel preempts BPF programs it skips them for the
/// events of other tests, and the emulator gives a machine one processor anyway.
/// What of `multicall::` concerns the kernel, `verify` has tried.
fn kernel(series: &str) {
    let exe = std::env::current_exe().expect("own path");
    let exe = exe.display();
    let xtask = bpfcc_tests::bin("xtask");
    let xtask = xtask.display();
    vm(
        series,
        &format!(
            "{xtask} verify && {exe} --skip vm:: --skip multicall:: --test-threads=1 && \
             {LOCK_DOWN}=1 {exe} --exact basics::lockdown_is_named"
        ),
    );
}

#[test]
fn linux_5_10() {
    kernel("5.10");
}

#[test]
fn linux_6_1() {
    kernel("6.1");
}

#[test]
fn linux_6_12() {
    kernel("6.12");
}

#[test]
fn linux_7_2() {
    kernel("7.2");
}
