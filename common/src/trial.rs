// SPDX-License-Identifier: MIT OR Apache-2.0
//! One alternative of a hook, loaded and attached alone: whether it works on
//! this kernel.

use std::ffi::OsStr;

use anyhow::{Context, Result, anyhow};
use libbpf_rs::ObjectBuilder;

use crate::hooks::{Alternative, attach_program, take_messages};
use crate::object::unpack;
use crate::tool::Entry;

/// What became of one alternative.
#[derive(Debug)]
pub enum State {
    Works,
    /// The kernel lacks or refuses the hook: why.
    Absent(String),
    /// The kernel has the hook, but our program is at fault.
    Broken(String),
}

impl State {
    pub const WORKS: &str = "works";
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Works => f.write_str(Self::WORKS),
            Self::Absent(reason) => write!(f, "not here: {reason}"),
            Self::Broken(reason) => write!(f, "BROKEN: {reason}"),
        }
    }
}

/// Loads and attaches the programs of one alternative, and nothing else.
pub fn try_alternative(tool: &Entry, alternative: &Alternative) -> State {
    // As the tool does: an optional program whose hook is missing is left out.
    let mut left_out = Vec::new();
    loop {
        take_messages();
        let error = match load(tool, alternative, &left_out) {
            Ok(()) => return State::Works,
            Err(error) => format!("{error:#}"),
        };
        let messages = take_messages();
        let culprit = alternative.optional.iter().find(|name| {
            let quoted = format!("'{name}'");
            !left_out.contains(*name) && (messages.contains(&quoted) || error.contains(&quoted))
        });
        // Also of an optional program, which the tool would just do without.
        if is_our_fault(&messages) {
            return State::Broken(format!("{error}\n{messages}"));
        }
        match culprit {
            Some(name) => left_out.push(name),
            None => return State::Absent(error),
        }
    }
}

/// The verifier has read the program and did not like it, for another reason
/// than that this kernel lacks a helper, or a field that the program says only
/// some kernels have (a flavour).
fn is_our_fault(messages: &str) -> bool {
    let lacks = [
        "unknown func",
        "invalid func unknown#",
        "program of this type cannot use helper",
    ];
    let lacks_flavour = messages
        .lines()
        .any(|line| line.contains("failed to resolve CO-RE relocation") && line.contains("___"));
    messages.contains("BEGIN PROG LOAD LOG")
        && !lacks_flavour
        && !lacks.iter().any(|lack| messages.contains(lack))
}

fn load(tool: &Entry, alternative: &Alternative, left_out: &[&str]) -> Result<()> {
    let mut open = ObjectBuilder::default().open_memory(&unpack(tool.object)?)?;
    let chosen: Vec<_> = alternative
        .all_programs()
        .filter(|name| !left_out.contains(name))
        .collect();
    for mut program in open.progs_mut() {
        let wanted = chosen.iter().any(|name| program.name() == OsStr::new(name));
        program.set_autoload(wanted);
    }
    // Nor the maps of other hooks: this kernel may lack their type.
    let alternatives = tool.hooks.iter().flat_map(|hook| hook.alternatives);
    for other in alternatives {
        for mut map in open.maps_mut() {
            let theirs = other.maps.iter().any(|name| map.name() == OsStr::new(name));
            let ours = alternative
                .maps
                .iter()
                .any(|name| map.name() == OsStr::new(name));
            if theirs && !ours {
                map.set_autocreate(false)?;
            }
        }
    }
    if let Err((name, error)) = alternative.aim(&mut open, left_out) {
        return Err(error.context(format!("'{name}'")));
    }
    let object = open.load().map_err(|error| innermost(&error))?;
    let mut links = Vec::new();
    for name in chosen {
        let program = object
            .progs_mut()
            .find(|program| program.name() == OsStr::new(name))
            .ok_or_else(|| anyhow!("no program {name}"))?;
        match attach_program(&program, alternative) {
            Ok(link) => links.push(link),
            Err(_) if alternative.optional.contains(&name) => {}
            Err(error) => return Err(error).context("attach").context(name),
        }
    }
    Ok(())
}

fn innermost(error: &libbpf_rs::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    anyhow!("load: {cause}")
}

/// The first line of a reason: the verifier's log is not for everyone.
pub fn first_line(reason: &str) -> String {
    reason.lines().next().unwrap_or_default().to_owned()
}
