// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bpfcc-rs`: every tool in one program. A link with a tool's name is that tool.

pub mod doctor;
pub mod tools;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use common::cli::program_name;
use common::tool::{Entry, Subsystem, ended};

use tools::TOOLS;

pub const NAME: &str = "bpfcc-rs";

/// Run any of the kernel tracing tools, or tell what this kernel offers them
#[derive(Parser)]
#[command(after_help = "\
Examples:
  bpfcc-rs list                    the tools, by subsystem
  bpfcc-rs run opensnoop -T        a tool, with its own options
  bpfcc-rs doctor                  which tools work here, and by which hooks
  ln -s bpfcc-rs opensnoop         a link with a tool's name is that tool")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the tools by subsystem, with a line each
    List {
        /// Only the names, one per line
        #[arg(long)]
        names: bool,
    },
    /// Run a tool
    Run {
        /// Which, as `bpfcc-rs list` names it
        #[arg(value_name = "NAME", value_parser = names(), hide_possible_values = true)]
        name: String,

        /// The tool's own options and arguments
        #[arg(
            value_name = "ARG",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        args: Vec<OsString>,
    },
    /// Tell what this kernel offers, and which tools work by which hooks
    ///
    /// Each tool's hooks are loaded and attached for a moment, one alternative
    /// after the other, as the tool does. Needs the privileges of the tools.
    Doctor {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(TOOLS.iter().map(|tool| tool.name))
}

/// The command definition, for help, man page and completions.
pub fn command() -> clap::Command {
    Args::command()
        .name(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .infer_long_args(true)
}

/// What a distributor puts around the names of all tools, when this is built.
const PREFIX: Option<&str> = option_env!("PROG_PREFIX");
const SUFFIX: Option<&str> = option_env!("PROG_SUFFIX");

/// The tool of this exact name, also of the names that packages add: with
/// Debian's suffix for BCC's tools, or with the distributor's own affixes.
fn called_by(name: &str) -> Option<&'static Entry> {
    let affixes = [
        ("", ""),
        ("", "-bpfcc"),
        (PREFIX.unwrap_or(""), SUFFIX.unwrap_or("")),
    ];
    affixes
        .into_iter()
        .find_map(|(prefix, suffix)| find(name.strip_prefix(prefix)?.strip_suffix(suffix)?))
}

fn find(name: &str) -> Option<&'static Entry> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// The whole of the program; the first argument is the name of the call.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let name = program_name(args.first().cloned(), NAME);
    if let Some(tool) = called_by(&name) {
        return (tool.main)(args);
    }
    // All that follows is the tool's, --help as well.
    if let [_, run, tool, ..] = &args[..] {
        if let (true, Some(tool)) = (run == "run", tool.to_str().and_then(find)) {
            return (tool.main)(args.into_iter().skip(2).collect());
        }
    }
    let parsed = command()
        .try_get_matches_from(args)
        .and_then(|matches| Args::from_arg_matches(&matches));
    match parsed {
        Ok(args) => match args.command {
            Command::List { names } => ended(&name, list(names)),
            Command::Doctor { json } => ended(&name, doctor::run(json)),
            Command::Run { name, args } => match find(&name) {
                Some(tool) => {
                    let mut all = vec![OsString::from(name)];
                    all.extend(args);
                    (tool.main)(all)
                }
                None => ExitCode::from(2), // the parser knows the names
            },
        },
        // Help and version are "errors" with code 0.
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

/// Every tool of `subsystem`, by name.
pub fn of(subsystem: Subsystem) -> Vec<&'static Entry> {
    let mut tools: Vec<_> = TOOLS
        .iter()
        .filter(|tool| tool.subsystem == subsystem)
        .collect();
    tools.sort_unstable_by_key(|tool| tool.name);
    tools
}

fn list(names_only: bool) -> Result<()> {
    let width = TOOLS.iter().map(|tool| tool.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for subsystem in Subsystem::ALL {
        if !names_only {
            let gap = if text.is_empty() { "" } else { "\n" };
            text += &format!("{gap}{}:\n", subsystem.name());
        }
        for tool in of(subsystem) {
            let name = tool.name;
            text += &match (tool.command)().get_about() {
                Some(about) if !names_only => format!("  {name:<width$}  {about}\n"),
                _ => format!("{name}\n"),
            };
        }
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_but_for_known_affixes() {
        assert_eq!(called_by("opensnoop").unwrap().name, "opensnoop");
        assert_eq!(called_by("opensnoop-bpfcc").unwrap().name, "opensnoop");
        for other in ["bpfcc-rs", "opensnoop2", "opensnoop-", "-bpfcc", "open", ""] {
            assert!(called_by(other).is_none(), "{other}");
        }
    }

    #[test]
    fn every_tool_is_listed_once() {
        let mut listed: Vec<_> = Subsystem::ALL.into_iter().flat_map(of).collect();
        assert_eq!(listed.len(), TOOLS.len());
        listed.sort_unstable_by_key(|tool| tool.name);
        listed.dedup_by_key(|tool| tool.name);
        assert_eq!(listed.len(), TOOLS.len());
    }

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }
}
