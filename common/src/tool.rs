// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tool as the rest of the suite sees it, and `main`.

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use crate::cli::program_name;
use crate::error::{Usage, is_closed_pipe};
use crate::hooks::Hook;

/// What part of the system a tool looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    Block,
    Cpu,
    Files,
    Network,
    Processes,
}

impl Subsystem {
    pub const ALL: [Self; 5] = [
        Self::Processes,
        Self::Cpu,
        Self::Files,
        Self::Block,
        Self::Network,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "Block devices",
            Self::Cpu => "CPUs",
            Self::Files => "Files",
            Self::Network => "Network",
            Self::Processes => "Processes",
        }
    }
}

/// One tool: its command line, its BPF object, the hooks that it attaches to.
pub trait Tool {
    /// The name of the command, of the package and of the BPF object.
    const NAME: &'static str;
    const SUBSYSTEM: Subsystem;
    /// The BPF object, [`crate::bpf_object!`], to be [unpacked](crate::object::unpack).
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
    pub subsystem: Subsystem,
    /// Packed.
    pub object: &'static [u8],
    pub hooks: &'static [Hook],
    pub command: fn() -> Command,
    /// The tool's `main`, with its arguments; the first is the name of the call.
    pub main: fn(Vec<OsString>) -> ExitCode,
}

impl Entry {
    pub const fn of<T: Tool>() -> Self {
        Self {
            name: T::NAME,
            subsystem: T::SUBSYSTEM,
            object: T::OBJECT,
            hooks: T::HOOKS,
            command: command::<T>,
            main: main_with::<T>,
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
    main_with::<T>(env::args_os().collect())
}

fn main_with<T: Tool>(args: Vec<OsString>) -> ExitCode {
    let name = program_name(args.first().cloned(), T::NAME);
    let matches = match command::<T>().try_get_matches_from(args) {
        Ok(matches) => matches,
        // Help and version are "errors" with code 0 that go to stdout; a
        // reader that has gone away already is no failure.
        Err(error) => {
            let _ = error.print();
            return exit_code(error.exit_code());
        }
    };
    ended(&name, parse_and_run::<T>(&name, &matches))
}

/// The exit code of what a program's `main` did; tells an error.
pub fn ended(name: &str, result: Result<()>) -> ExitCode {
    match result {
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
