// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tool as the rest of the suite sees it, and `main`.

use std::env;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use crate::cli::program_name;
use crate::error::{Usage, is_closed_pipe};
use crate::hooks::Hook;

/// One tool: its command line, its BPF object, the hooks that it attaches to.
pub trait Tool {
    /// The name of the command, of the package and of the BPF object.
    const NAME: &'static str;
    /// The BPF object, [`crate::bpf_object!`].
    const OBJECT: &'static [u8];
    /// Every hook that any option uses.
    const HOOKS: &'static [Hook];
    /// The arguments: the source of parsing, help, man page and completions.
    type Args: Parser;

    /// Runs until told to end. `Ok` is exit code 0, [`Usage`] 2, any other
    /// error 1. `name` is what the tool was called by.
    fn run(name: &str, args: Self::Args) -> Result<()>;
}

/// A tool as a value, for programs that handle all of them.
#[derive(Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub object: &'static [u8],
    pub hooks: &'static [Hook],
    pub command: fn() -> Command,
}

impl Entry {
    pub const fn of<T: Tool>() -> Self {
        Self {
            name: T::NAME,
            object: T::OBJECT,
            hooks: T::HOOKS,
            command: command::<T>,
        }
    }
}

/// The command definition: what all tools have in common is set here.
pub fn command<T: Tool>() -> Command {
    T::Args::command()
        .name(T::NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .infer_long_args(true) // as argparse and getopt_long
        .args_override_self(true) // the last of a repeated option wins
}

/// The whole of a tool's `main`.
pub fn main<T: Tool>() -> ExitCode {
    let name = program_name(env::args_os().next(), T::NAME);
    let matches = match command::<T>().try_get_matches_from(env::args_os()) {
        Ok(matches) => matches,
        // Help and version are "errors" with code 0 that go to stdout; a
        // reader that has gone away already is no failure.
        Err(error) => {
            let _ = error.print();
            return exit_code(error.exit_code());
        }
    };
    match parse_and_run::<T>(&name, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = error.downcast_ref::<Usage>().is_some();
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
            exit_code(if usage { 2 } else { 1 })
        }
    }
}

fn parse_and_run<T: Tool>(name: &str, matches: &ArgMatches) -> Result<()> {
    T::run(name, T::Args::from_arg_matches(matches)?)
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
