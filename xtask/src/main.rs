// SPDX-License-Identifier: MIT OR Apache-2.0
//! The project's own chores: `cargo xtask --help`.

mod man;
mod matrix;
mod new_tool;
mod size;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "The project's own chores")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Load every BPF program, each alternative alone, and compare every
    /// declared kernel field with the running kernel's type information
    Verify(verify::Args),
    /// The same on every kernel of the matrix, as a table
    Matrix,
    /// Write man/man8/*.8 and the shell completions
    Man(man::Args),
    /// Make a new tool that builds and traces
    NewTool(new_tool::Args),
    /// How large the packaged programs are; fails over the limits
    Size(size::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Verify(args) => verify::run(&args),
        Task::Matrix => matrix::run(),
        Task::Man(args) => man::run(&args),
        Task::NewTool(args) => new_tool::run(&args),
        Task::Size(args) => size::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads a file, naming it in the error.
fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
