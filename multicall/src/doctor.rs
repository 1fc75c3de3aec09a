// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bpfcc-rs doctor`: what this kernel and this process can do, and which tools
//! work by which hooks. Nothing of it is guessed: what can be tried is tried.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Result;
use common::hooks::capture_libbpf_messages;
use common::object::unpack;
use common::probe::{Capability, Probe};
use common::tool::{Entry, Subsystem};
use common::trial::{self, State, try_alternative};
use libbpf_rs::{MapType, ObjectBuilder};
use serde_json::{Value, json};

use crate::of;

/// The options that decide whether a hook exists.
const OPTIONS: [&str; 17] = [
    "CONFIG_BPF_SYSCALL",
    "CONFIG_BPF_JIT",
    "CONFIG_BPF_EVENTS",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_DEBUG_INFO_BTF_MODULES",
    "CONFIG_KPROBES",
    "CONFIG_KPROBE_EVENTS",
    "CONFIG_UPROBE_EVENTS",
    "CONFIG_FUNCTION_TRACER",
    "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
    "CONFIG_FTRACE_SYSCALLS",
    "CONFIG_PERF_EVENTS",
    "CONFIG_CGROUPS",
    "CONFIG_NF_CONNTRACK",
    "CONFIG_NF_CONNTRACK_EVENTS",
    "CONFIG_NF_CT_NETLINK",
    "CONFIG_SECURITY_LOCKDOWN_LSM",
];

pub fn run(as_json: bool) -> Result<()> {
    capture_libbpf_messages();
    let report = Report::new(&Probe::default());
    let text = if as_json {
        format!("{}\n", report.json())
    } else {
        report.text()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

struct Report {
    kernel: Kernel,
    tools: Vec<Tool>,
}

struct Kernel {
    release: String,
    btf: bool,
    lockdown: &'static str,
    missing_capabilities: Vec<&'static str>,
    tracefs: Option<String>,
    kprobes: bool,
    /// By trial: `Err` says why not. `None`: nothing could be tried.
    fentry: Option<Result<(), String>>,
    ring_buffer: bool,
    conntrack: bool,
    /// `None`: neither /proc/config.gz nor /boot has it.
    config: Option<BTreeMap<&'static str, String>>,
    /// Why no tool can work.
    obstacle: Option<String>,
}

struct Tool {
    name: &'static str,
    subsystem: Subsystem,
    hooks: Vec<Found>,
}

/// How a hook can be seen here.
struct Found {
    hook: &'static str,
    /// The best alternative that works.
    used: Option<&'static str>,
    /// Those before it, and why not.
    refused: Vec<(&'static str, String)>,
}

impl Report {
    fn new(probe: &Probe) -> Self {
        let obstacle = probe.obstacle();
        let mut fentry = None;
        let tools = Subsystem::ALL
            .into_iter()
            .flat_map(of)
            .map(|tool| Tool {
                name: tool.name,
                subsystem: tool.subsystem,
                hooks: if obstacle.is_none() {
                    try_hooks(tool, &mut fentry)
                } else {
                    Vec::new()
                },
            })
            .collect();
        Self {
            kernel: Kernel {
                release: probe.release(),
                btf: probe.has_btf(),
                lockdown: probe.lockdown().name(),
                missing_capabilities: Capability::ALL
                    .into_iter()
                    .filter(|&capability| !probe.has(capability))
                    .map(Capability::name)
                    .collect(),
                tracefs: probe.tracefs().map(|path| path.display().to_string()),
                kprobes: probe.kprobes(),
                fentry,
                ring_buffer: MapType::RingBuf.is_supported().unwrap_or(false),
                conntrack: probe.conntrack(),
                config: probe.config().map(|config| chosen(&config)),
                obstacle,
            },
            tools,
        }
    }

    fn json(&self) -> Value {
        let kernel = &self.kernel;
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "kernel": {
                "release": kernel.release,
                "btf": kernel.btf,
                "lockdown": kernel.lockdown,
                "missing_capabilities": kernel.missing_capabilities,
                "tracefs": kernel.tracefs,
                "kprobes": kernel.kprobes,
                "fentry": kernel.fentry.as_ref().map(Result::is_ok),
                "fentry_refusal": kernel.fentry.as_ref().and_then(|tried| tried.as_ref().err()),
                "ring_buffer": kernel.ring_buffer,
                "conntrack": kernel.conntrack,
                "config": kernel.config,
                "obstacle": kernel.obstacle,
            },
            "tools": self.tools.iter().map(Tool::json).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let kernel = &self.kernel;
        let mut text = String::new();
        let mut line = |name: &str, value: &str| text += &format!("{name:<14}{value}\n");
        line("kernel", &kernel.release);
        line("BTF", yes(kernel.btf));
        line("lockdown", kernel.lockdown);
        line(
            "capabilities",
            &match kernel.missing_capabilities[..] {
                [] => "all that tools ask for".to_owned(),
                _ => format!("without {}", kernel.missing_capabilities.join(", ")),
            },
        );
        line(
            "tracefs",
            kernel
                .tracefs
                .as_deref()
                .unwrap_or("not mounted (no need: tools mount it for themselves)"),
        );
        line("kprobes", yes(kernel.kprobes));
        line(
            "fentry",
            match &kernel.fentry {
                Some(Ok(())) => "yes",
                Some(Err(reason)) => reason,
                None => "not tried",
            },
        );
        line("ring buffer", yes(kernel.ring_buffer));
        line(
            "conntrack",
            if kernel.conntrack {
                "yes"
            } else {
                "not loaded (modprobe nf_conntrack)"
            },
        );
        match &kernel.config {
            Some(config) => {
                for (option, value) in config {
                    text += &format!("{option}={value}\n");
                }
            }
            None => line("CONFIG", "not found: no /proc/config.gz, none in /boot"),
        }
        if let Some(obstacle) = &kernel.obstacle {
            text += &format!("\nNo tool can work: {obstacle}\n");
            return text;
        }
        for subsystem in Subsystem::ALL {
            let mut tools = self
                .tools
                .iter()
                .filter(|tool| tool.subsystem == subsystem)
                .peekable();
            if tools.peek().is_some() {
                text += &format!("\n{}:\n", subsystem.name());
            }
            for tool in tools {
                text += &tool.text();
            }
        }
        text
    }
}

impl Tool {
    fn state(&self) -> &'static str {
        let seen = self.hooks.iter().filter(|hook| hook.used.is_some()).count();
        match seen {
            0 => "cannot",
            _ if seen == self.hooks.len() => "runs",
            _ => "in part",
        }
    }

    fn json(&self) -> Value {
        let hooks = self.hooks.iter().map(|found| {
            let refused = found
                .refused
                .iter()
                .map(|(alternative, reason)| json!({"alternative": alternative, "reason": reason}));
            json!({
                "hook": found.hook,
                "alternative": found.used,
                "refused": refused.collect::<Vec<_>>(),
            })
        });
        json!({
            "name": self.name,
            "subsystem": self.subsystem.name(),
            "state": self.state(),
            "hooks": hooks.collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let ways: Vec<_> = self
            .hooks
            .iter()
            .filter_map(|found| Some(format!("{} by {}", found.hook, found.used?)))
            .collect();
        let mut text = format!(
            "  {:<14} {:<8} {}\n",
            self.name,
            self.state(),
            ways.join(", ")
        );
        for found in self.hooks.iter().filter(|found| found.used.is_none()) {
            for (alternative, reason) in &found.refused {
                text += &format!("  {:<23} {}: no {alternative}: {reason}\n", "", found.hook);
            }
        }
        text
    }
}

/// As the tool does: the alternatives in their order, up to the first that works.
fn try_hooks(tool: &Entry, fentry: &mut Option<Result<(), String>>) -> Vec<Found> {
    tool.hooks
        .iter()
        .map(|hook| {
            let mut found = Found {
                hook: hook.name,
                used: None,
                refused: Vec::new(),
            };
            for alternative in hook.alternatives {
                let state = try_alternative(tool, alternative);
                let is_fentry =
                    !matches!(fentry, Some(Ok(()))) && uses_fentry(tool, alternative.programs);
                match state {
                    State::Works => {
                        if is_fentry {
                            *fentry = Some(Ok(()));
                        }
                        found.used = Some(alternative.name);
                        break;
                    }
                    State::Absent(reason) | State::Broken(reason) => {
                        let reason = trial::first_line(&reason);
                        if is_fentry && fentry.is_none() {
                            *fentry = Some(Err(reason.clone()));
                        }
                        found.refused.push((alternative.name, reason));
                    }
                }
            }
            found
        })
        .collect()
}

/// Whether one of `programs` is called at a function's entry or end.
fn uses_fentry(tool: &Entry, programs: &[&str]) -> bool {
    let Ok(object) = unpack(tool.object) else {
        return false;
    };
    let Ok(open) = ObjectBuilder::default().open_memory(&object) else {
        return false;
    };
    open.progs().any(|program| {
        let section = program.section().to_string_lossy();
        let is_fentry = section.starts_with("fentry") || section.starts_with("fexit");
        is_fentry && programs.iter().any(|name| program.name() == *name)
    })
}

/// Of a kernel's configuration, what matters: `n` where an option is not set.
fn chosen(config: &str) -> BTreeMap<&'static str, String> {
    OPTIONS
        .into_iter()
        .map(|option| {
            let value = config
                .lines()
                .find_map(|line| line.strip_prefix(option)?.strip_prefix('='));
            (option, value.unwrap_or("n").to_owned())
        })
        .collect()
}

fn yes(it_is: bool) -> &'static str {
    if it_is { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_their_values() {
        let config = "# CONFIG_KPROBES is not set\nCONFIG_BPF_JIT=y\nCONFIG_NF_CONNTRACK=m\n";
        let chosen = chosen(config);
        assert_eq!(chosen["CONFIG_BPF_JIT"], "y");
        assert_eq!(chosen["CONFIG_NF_CONNTRACK"], "m");
        assert_eq!(chosen["CONFIG_KPROBES"], "n");
        assert_eq!(chosen.len(), OPTIONS.len());
    }

    #[test]
    fn a_tool_runs_in_part_when_one_hook_cannot_be_seen() {
        let found = |used, refused: &[(&'static str, String)]| Found {
            hook: "open",
            used,
            refused: refused.to_vec(),
        };
        let tool = |hooks| Tool {
            name: "opensnoop",
            subsystem: Subsystem::Files,
            hooks,
        };
        let refused = [("fentry", "EPERM".to_owned())];
        let runs = tool(vec![found(Some("tp_btf"), &refused)]);
        assert_eq!(runs.text(), "  opensnoop      runs     open by tp_btf\n");
        let part = tool(vec![found(Some("tp_btf"), &[]), found(None, &refused)]);
        assert_eq!(
            part.text(),
            format!(
                "  opensnoop      in part  open by tp_btf\n  {:23} open: no fentry: EPERM\n",
                ""
            )
        );
        assert_eq!(part.json()["hooks"][1]["refused"][0]["reason"], "EPERM");
        assert_eq!(tool(vec![found(None, &refused)]).state(), "cannot");
    }
}
