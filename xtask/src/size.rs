// SPDX-License-Identifier: MIT OR Apache-2.0
//! How large the packaged programs are, and whether that is within the limits.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bpfcc_rs::tools::TOOLS;

/// A program of one tool.
const TOOL: u64 = 1_200_000;
/// The program of all tools.
const ALL: u64 = 4_000_000;

#[derive(clap::Args)]
pub struct Args {
    /// Where the programs are
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let mut sizes = Vec::new();
    for (name, limit) in TOOLS
        .iter()
        .map(|tool| (tool.name, TOOL))
        .chain([(bpfcc_rs::NAME, ALL)])
    {
        let path = args.dir.join(name);
        let bytes = fs::metadata(&path)
            .with_context(|| path.display().to_string())?
            .len();
        sizes.push((bytes, name, limit));
    }
    sizes.sort_unstable();
    let mut large = Vec::new();
    for (bytes, name, limit) in sizes {
        println!("{bytes:>9} {name}");
        if bytes > limit {
            large.push(format!("{name}: {bytes} bytes, more than {limit}"));
        }
    }
    ensure!(large.is_empty(), "{}", large.join("; "));
    Ok(())
}
