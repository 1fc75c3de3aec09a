// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which alternative of which hook works on which kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use common::trial::State;

use crate::root;

/// The kernels of the matrix, beside the one that runs.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7.2"];

/// Modules that are not loaded by themselves and have functions that tools trace.
const MODULES: &str = "nf_conntrack,ext4,xfs,btrfs,f2fs,fuse,nfs,nfsv4";

/// For other kernels than those of the matrix.
const NOT_IN_MATRIX: [[&str; 3]; 5] = [
    // Debian's 5.10 has tcp_drop() inlined; 5.17 does without it.
    ["tcpdrop", "tcp", "fentry"],
    ["tcpdrop", "tcp", "kprobe"],
    // Not Debian's: the module is built where it is installed.
    ["zfsslower", "operations", "kprobe.multi"],
    ["zfsslower", "operations", "fentry"],
    ["zfsslower", "operations", "kprobe"],
];

/// Prints tool, hook, alternative and, per kernel, `used` (the first that
/// works), `works` or `-`. An alternative that works nowhere, but
/// for those of other kernels, is a failure.
pub fn run() -> Result<()> {
    let mut columns = vec!["this".to_owned()];
    let mut rows = Vec::<[String; 3]>::new();
    let mut works = BTreeSet::new();
    for (column, kernel) in std::iter::once(None).chain(KERNELS.map(Some)).enumerate() {
        if let Some(kernel) = kernel {
            columns.push(kernel.to_owned());
        }
        let output = verify(kernel)?;
        for line in output.lines() {
            let [tool, hook, alternative, state] = line.split('\t').collect::<Vec<_>>()[..] else {
                continue;
            };
            let row = [tool, hook, alternative].map(str::to_owned);
            if !rows.contains(&row) {
                rows.push(row.clone());
            }
            if state == State::WORKS {
                works.insert((row, column));
            }
        }
    }

    print!("{:<12} {:<10} {:<14}", "TOOL", "HOOK", "ALTERNATIVE");
    for column in &columns {
        print!(" {column:<6}");
    }
    println!();
    let mut used = BTreeMap::new();
    let mut nowhere = Vec::new();
    for row in &rows {
        let [tool, hook, alternative] = row;
        print!("{tool:<12} {hook:<10} {alternative:<14}");
        for column in 0..columns.len() {
            let state = match works.contains(&(row.clone(), column)) {
                true if used.insert((tool, hook, column), alternative).is_none() => "used",
                true => "works",
                false => "-",
            };
            print!(" {state:<6}");
        }
        println!();
        let expected = !NOT_IN_MATRIX.iter().any(|absent| absent == row);
        if expected && !works.iter().any(|(found, _)| found == row) {
            nowhere.push(row.join(" "));
        }
    }
    if !nowhere.is_empty() {
        bail!("work on no kernel: {}", nowhere.join(", "));
    }
    Ok(())
}

/// The table of `xtask verify`, on this kernel or in a virtual machine.
fn verify(kernel: Option<&str>) -> Result<String> {
    let own = std::env::current_exe()?;
    let mut command = match kernel {
        None => Command::new(own),
        Some(kernel) => {
            let mut command = Command::new(root().join("tests/vm/vmrun"));
            command.args(["-M", MODULES, kernel]).arg(own);
            command
        }
    };
    let name = kernel.unwrap_or("this kernel");
    let output = command
        .args(["verify", "--table"])
        .output()
        .with_context(|| format!("verify on {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "verify on {name}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}
