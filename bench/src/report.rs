// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table.

use std::fmt::Write as _;
use std::fs;
use std::iter;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::figures::{Figures, thousands};
use crate::measure::{ALONE, Group, OURS, Plan};
use crate::table::{Entry, FLOOR, Figure, Peer, Target};

const FIGURES: &[Figure] = &[
    Figure::Passed,
    Figure::Runs,
    Figure::Filtered,
    Figure::Operation,
    Figure::Added,
    Figure::AddedCpu,
    Figure::Slowdown,
    Figure::Flood,
    Figure::Lost,
    Figure::Reported,
    Figure::Lossless,
    Figure::Cpu,
    Figure::Start,
    Figure::Stop,
    Figure::Gone,
    Figure::Rss,
    Figure::Size,
];

pub fn report(measured: &[(&Entry, Figures)], plan: &Plan, took: Duration) -> Result<String> {
    let mut text = String::from("# What the tools cost\n\n");
    writeln!(
        text,
        "Made by `make bench`; what the figures are stands at the end.\n"
    )?;
    for (what, value) in surroundings(plan) {
        writeln!(text, "- {what}: {value}")?;
    }
    writeln!(
        text,
        "- {} alternating runs of {:.1} s each, floods of {:.0} s; {:.0} minutes in all",
        plan.runs,
        plan.length.as_secs_f64(),
        plan.flood.as_secs_f64(),
        took.as_secs_f64() / 60.0
    )?;
    targets(&mut text, measured)?;
    for (entry, figures) in measured {
        tool(&mut text, entry, figures)?;
    }
    if plan.wants(Group::Size) {
        suite(&mut text, plan)?;
    }
    text.push_str(include_str!("legend.md"));
    Ok(text)
}

/// A table of all targets, first.
fn targets(text: &mut String, measured: &[(&Entry, Figures)]) -> Result<()> {
    text.push_str("\n## Targets\n\n| tool | figure | is | target | |\n|---|---|--:|--:|---|\n");
    for (entry, figures) in measured {
        for target in entry.targets.iter().copied().flatten() {
            if let Some((is, verdict)) = verdict(target, figures) {
                writeln!(
                    text,
                    "| {} | {} | {is} | {} | {verdict} |",
                    entry.title(),
                    target.figure.name(entry.operation.unwrap_or("operation")),
                    wanted(target),
                )?;
            }
        }
    }
    Ok(())
}

fn wanted(target: &Target) -> String {
    match target.against {
        Some(peer) => format!("≤ {} × {peer}", target.most),
        None => target.figure.show(target.most),
    }
}

/// What is, and whether that is good enough; nothing when it was not measured.
fn verdict(target: &Target, figures: &Figures) -> Option<(String, String)> {
    let (is, shown) = match target.against {
        Some(peer) => {
            let ratio = figures.ratio(target.figure, peer)?;
            (ratio, format!("{ratio:.3} ×"))
        }
        None => {
            let value = figures.median(OURS, target.figure)?;
            (value, target.figure.show(value))
        }
    };
    let verdict = if is <= target.most {
        "met".into()
    } else if target.most > 0.0 {
        format!("**missed by {:.2} times**", is / target.most)
    } else {
        "**missed**".into()
    };
    Some((shown, verdict))
}

fn tool(text: &mut String, entry: &Entry, figures: &Figures) -> Result<()> {
    let operation = entry.operation.unwrap_or("operation");
    let variants: Vec<&str> = [OURS]
        .into_iter()
        .chain(entry.peers.iter().map(|peer: &Peer| peer.name))
        .chain([FLOOR, ALONE])
        .filter(|variant| {
            FIGURES
                .iter()
                .any(|figure| figures.median(variant, *figure).is_some())
        })
        .collect();
    writeln!(text, "\n## {}\n", entry.title())?;
    let (mut head, mut rule) = (String::from("| |"), String::from("|---|"));
    for variant in &variants {
        write!(head, " {variant} |")?;
        rule.push_str("--:|");
    }
    for against in variants.iter().filter(|variant| ratioed(variant)) {
        write!(head, " ours / {against} |")?;
        rule.push_str("--:|");
    }
    writeln!(text, "{head}\n{rule}")?;
    for figure in FIGURES {
        let known = |variant: &&str| figures.median(variant, *figure).is_some();
        if !variants.iter().any(known) {
            continue;
        }
        write!(text, "| {} |", figure.name(operation))?;
        for variant in &variants {
            let value = figures.median(variant, *figure).map(|value| {
                let bound = *figure == Figure::Lossless
                    && figures.median(variant, Figure::Lost) == Some(0.0);
                format!("{}{}", if bound { "≥ " } else { "" }, figure.show(value))
            });
            let spread = figures
                .spread(variant, *figure)
                .filter(|(least, greatest, count)| {
                    *count > 1 && least != greatest && figure.varies()
                })
                .map(|(least, greatest, _)| {
                    format!(" ({}–{})", figure.bare(least), figure.bare(greatest))
                });
            write!(
                text,
                " {}{} |",
                value.unwrap_or_default(),
                spread.unwrap_or_default()
            )?;
        }
        for against in variants.iter().filter(|variant| ratioed(variant)) {
            let ratio = figures
                .ratio(*figure, against)
                .filter(|_| figure.compares())
                .map(|ratio| format!("{ratio:.3}"));
            write!(text, " {} |", ratio.unwrap_or_default())?;
        }
        text.push('\n');
    }
    for (variant, why) in &figures.failed {
        writeln!(
            text,
            "\n{variant} was not measured: {}",
            why.replace('|', "\\|")
        )?;
    }
    Ok(())
}

fn ratioed(variant: &str) -> bool {
    variant != OURS && variant != ALONE
}

/// Sizes of all programs, ours and the peers'.
fn suite(text: &mut String, plan: &Plan) -> Result<()> {
    let sizes = |files: Vec<std::path::PathBuf>| {
        let sizes: Vec<u64> = files
            .iter()
            .filter_map(|file| Some(fs::metadata(file).ok()?.len()))
            .collect();
        (sizes.len(), sizes.iter().sum::<u64>())
    };
    // A tool's folder may make several.
    let named = |dir: fs::DirEntry| {
        let more = fs::read_dir(dir.path().join("src/bin"));
        let more = more.into_iter().flatten().flatten();
        let more = more.filter_map(|source| Some(source.path().file_stem()?.to_owned()));
        iter::once(dir.file_name()).chain(more)
    };
    let tools = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools"))?
        .flatten()
        .flat_map(named)
        .map(|name| plan.programs.join(name))
        .filter(|program| program.is_file())
        .collect();
    let peers = said("dpkg", &["-L", "libbpf-tools"])
        .unwrap_or_default()
        .lines()
        .filter(|file| file.contains("/sbin/"))
        .map(Into::into)
        .filter(|file: &std::path::PathBuf| file.is_file() && !file.is_symlink())
        .collect();
    text.push_str("\n## The suite\n\n| | programs | size | each |\n|---|--:|--:|--:|\n");
    for (name, (count, bytes)) in [("ours", sizes(tools)), ("libbpf-tools", sizes(peers))] {
        if count > 0 {
            writeln!(
                text,
                "| {name} | {count} | {} KiB | {} KiB |",
                thousands(bytes as f64 / 1024.0),
                thousands(bytes as f64 / 1024.0 / count as f64)
            )?;
        }
    }
    Ok(())
}

fn surroundings(plan: &Plan) -> Vec<(&'static str, String)> {
    let read = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let cpu = read("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let commit = said(
        "git",
        &[
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "rev-parse",
            "--short",
            "HEAD",
        ],
    );
    let ours = said(
        &plan.programs.join("opensnoop").display().to_string(),
        &["--version"],
    );
    let package = |name: &str| said("dpkg-query", &["-W", "-f", "${Version}", name]);
    [
        ("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        (
            "CPUs",
            cpu.map(|name| format!("{} × {name}", crate::scene::cpus())),
        ),
        ("load average at the end", read("/proc/loadavg")),
        (
            "ours",
            ours.map(|version| format!("{version}, {}", commit.unwrap_or_default())),
        ),
        ("libbpf-tools", package("libbpf-tools")),
        ("bpftrace", package("bpftrace")),
        ("bpfcc-tools", package("bpfcc-tools")),
        ("conntrack", package("conntrack")),
    ]
    .into_iter()
    .filter_map(|(what, value)| Some((what, value.filter(|value| !value.is_empty())?)))
    .collect()
}

/// What a program prints, if it can be run.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
