// SPDX-License-Identifier: MIT OR Apache-2.0
//! Man pages and completions, from the command definitions and `man/extra`.

mod roff;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use common::tool::Entry;
use pulldown_cmark::{Event, Parser, Tag};

use crate::tools::TOOLS;
use crate::{read, root};
use roff::{Font, Roff};

#[derive(clap::Args)]
pub struct Args {
    /// Only tell whether the files are up to date
    #[arg(long)]
    check: bool,
}

/// Directories in which every file is written by us.
const GENERATED: [&str; 4] = [
    "man/man8",
    "man/completions/bash",
    "man/completions/zsh",
    "man/completions/fish",
];

pub fn run(args: &Args) -> Result<()> {
    let root = root();
    let files = generate(TOOLS)?;
    let stale: Vec<_> = files
        .iter()
        .filter(|(path, text)| fs::read(root.join(path)).ok().as_deref() != Some(text.as_bytes()))
        .collect();
    let orphans = orphans(&root, &files)?;
    if args.check {
        let names: Vec<_> = stale
            .iter()
            .map(|(path, _)| *path)
            .chain(&orphans)
            .map(|path| path.display().to_string())
            .collect();
        ensure!(
            names.is_empty(),
            "not up to date (run cargo xtask man): {}",
            names.join(", ")
        );
        return Ok(());
    }
    for (path, text) in stale {
        let file = root.join(path);
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        fs::write(&file, text).with_context(|| file.display().to_string())?;
        println!("wrote {}", path.display());
    }
    for path in orphans {
        fs::remove_file(root.join(&path)).with_context(|| path.display().to_string())?;
        println!("removed {}: no such tool", path.display());
    }
    Ok(())
}

/// Every file, by its path from the top of the repository.
fn generate(tools: &[Entry]) -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for tool in tools {
        let name = tool.name;
        let extra = Path::new("man/extra").join(format!("{name}.md"));
        let page = read(&root().join(&extra))
            .and_then(|extra| page(tool, &extra, tools))
            .with_context(|| format!("{name}: man page"))?;
        files.insert(format!("man/man8/{name}.8").into(), page);
        for (shell, path) in [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ] {
            let path = Path::new("man/completions").join(path);
            files.insert(path, completions(tool, shell)?);
        }
    }
    Ok(files)
}

/// Files of tools that are no more.
fn orphans(root: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Vec<PathBuf>> {
    let mut orphans = Vec::new();
    for directory in GENERATED {
        let Ok(entries) = fs::read_dir(root.join(directory)) else {
            continue; // not written yet
        };
        for entry in entries {
            let path = Path::new(directory).join(entry.context(directory)?.file_name());
            if !files.contains_key(&path) {
                orphans.push(path);
            }
        }
    }
    orphans.sort();
    Ok(orphans)
}

fn completions(tool: &Entry, shell: Shell) -> Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut (tool.command)(), tool.name, &mut script);
    String::from_utf8(script).with_context(|| format!("{}: {shell} completions", tool.name))
}

/// The page of `tool`; `extra` is its `man/extra` file. Text before the first
/// heading of that goes on with the description.
fn page(tool: &Entry, extra: &str, tools: &[Entry]) -> Result<String> {
    let mut command = (tool.command)();
    command.build();
    let about = command
        .get_about()
        .with_context(|| "no description")?
        .to_string();
    let (description, sections) = extra.split_at(first_heading(extra));

    let mut roff = Roff::default();
    roff.request("'\\\" t"); // tables: run tbl first
    roff.request(".\\\" Written by `cargo xtask man`.");
    roff.request(&format!(
        ".TH {} 8 \"\" \"bpfcc-rs {}\" \"System tracing tools\"",
        tool.name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    ));
    // Neither stretch lines nor break words.
    roff.request(".if n .ad l");
    roff.request(".nh");

    roff.section("Name");
    roff.paragraph();
    roff.text(&format!("{} - {}", tool.name, lower_first(&about)));
    roff.section("Synopsis");
    synopsis(&mut roff, tool.name, &command);
    roff.section("Description");
    let long = command.get_long_about().map(ToString::to_string);
    paragraphs(&mut roff, &sentence(long.as_deref().unwrap_or(&about)));
    roff.markdown(description)?;
    roff.section("Options");
    options(&mut roff, &command)?;
    roff.markdown(sections)?;
    examples(&mut roff, &command)?;
    exit_status(&mut roff, &command);
    see_also(&mut roff, tool.name, tools);
    Ok(roff.finish())
}

/// Where the first heading of a markdown text begins.
fn first_heading(markdown: &str) -> usize {
    Parser::new(markdown)
        .into_offset_iter()
        .find(|(event, _)| matches!(event, Event::Start(Tag::Heading { .. })))
        .map_or(markdown.len(), |(_, range)| range.start)
}

/// As the name line has it: no capital at the begin, unless the word is an
/// acronym.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// With a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    let ended = text.ends_with(['.', ':', '!', '?']);
    format!("{text}{}", if ended { "" } else { "." })
}

/// Text with blank lines between its paragraphs.
fn paragraphs(roff: &mut Roff, text: &str) {
    for paragraph in text.split("\n\n") {
        roff.paragraph();
        roff.text(paragraph.trim());
        roff.line();
    }
}

fn synopsis(roff: &mut Roff, name: &str, command: &Command) {
    roff.paragraph();
    roff.literal(name, Font::Bold);
    roff.text(" [");
    roff.literal("option", Font::Italic);
    roff.text(" ...]");
    // An optional argument comes only after those before it.
    let mut open = 0;
    for arg in visible(command).filter(|arg| arg.is_positional()) {
        roff.text(" ");
        if !arg.is_required_set() {
            roff.text("[");
            open += 1;
        }
        roff.literal(&value_names(arg), Font::Italic);
    }
    roff.text(&"]".repeat(open));
    roff.line();
}

fn visible(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set())
}

/// The names of an argument's values, as they are typed one after the other.
fn value_names(arg: &Arg) -> String {
    let names: Vec<_> = arg
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(|name| name.as_str())
        .collect();
    let many = arg
        .get_num_args()
        .is_some_and(|range| range.max_values() > names.len().max(1));
    format!("{}{}", names.join(" "), if many { " ..." } else { "" })
}

/// Options in the order of `--help`, under its headings; then the positional
/// arguments.
fn options(roff: &mut Roff, command: &Command) -> Result<()> {
    let (positional, named): (Vec<_>, Vec<_>) = visible(command).partition(|a| a.is_positional());
    let mut headings = vec![None];
    for arg in named.iter().chain(&positional) {
        let heading = arg.get_help_heading();
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        if let Some(title) = heading {
            roff.subsection(title);
        }
        for arg in named.iter().chain(&positional) {
            if arg.get_help_heading() == heading {
                option(roff, command, arg)?;
            }
        }
    }
    Ok(())
}

fn option(roff: &mut Roff, command: &Command, arg: &Arg) -> Result<()> {
    roff.tagged();
    let shorts = arg.get_short_and_visible_aliases().unwrap_or_default();
    let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
    let names = shorts
        .iter()
        .map(|short| format!("-{short}"))
        .chain(longs.iter().map(|long| format!("--{long}")));
    for (index, name) in names.enumerate() {
        if index > 0 {
            roff.text(", ");
        }
        roff.literal(&name, Font::Bold);
    }
    if takes_values(arg) {
        let needed = arg
            .get_num_args()
            .is_none_or(|range| range.min_values() > 0);
        let (before, after) = match (arg.is_positional(), needed, arg.is_require_equals_set()) {
            (true, _, _) => ("", ""),
            (_, true, false) => (" ", ""),
            (_, true, true) => ("=", ""),
            (_, false, false) => (" [", "]"),
            (_, false, true) => ("[=", "]"),
        };
        roff.text(before);
        roff.literal(&value_names(arg), Font::Italic);
        roff.text(after);
    }
    roff.line();

    let help = arg
        .get_long_help()
        .or_else(|| arg.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    ensure!(!help.is_empty(), "{} has no description", arg.get_id());
    for (index, paragraph) in help.split("\n\n").enumerate() {
        if index > 0 {
            roff.request(".IP");
        }
        roff.text(&sentence(paragraph.trim()));
        roff.line();
    }
    if takes_values(arg) {
        values(roff, arg);
    }
    Ok(())
}

fn takes_values(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Which values an argument takes, and which it has when it is not given.
fn values(roff: &mut Roff, arg: &Arg) {
    let hidden = arg.is_hide_possible_values_set();
    let possible: Vec<_> = arg
        .get_possible_values()
        .into_iter()
        .filter(|value| !hidden && !value.is_hide_set())
        .collect();
    let described = possible.iter().any(|value| value.get_help().is_some());
    if !possible.is_empty() && !described {
        roff.text("One of ");
        listed(roff, possible.iter().map(|value| value.get_name()));
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .filter(|_| !arg.is_hide_default_value_set())
        .map(|value| value.to_string_lossy())
        .collect();
    if !defaults.is_empty() {
        roff.text("The default is ");
        listed(roff, defaults.iter().map(AsRef::as_ref));
    }
    if described {
        roff.request(".RS");
        for value in possible {
            roff.tagged();
            roff.literal(value.get_name(), Font::Bold);
            roff.line();
            let help = value.get_help().map(ToString::to_string);
            roff.text(&sentence(&help.unwrap_or_default()));
            roff.line();
        }
        roff.request(".RE");
    }
}

/// `a, b, c.`
fn listed<'a>(roff: &mut Roff, names: impl Iterator<Item = &'a str>) {
    for (index, name) in names.enumerate() {
        if index > 0 {
            roff.text(", ");
        }
        roff.literal(name, Font::Bold);
    }
    roff.text(".");
    roff.line();
}

/// The lines of the help's `Examples:` block, each a command and what it does.
fn examples(roff: &mut Roff, command: &Command) -> Result<()> {
    let help = command
        .get_after_long_help()
        .or_else(|| command.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let lines: Vec<_> = help
        .lines()
        .skip_while(|line| line.trim() != "Examples:")
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(str::trim)
        .collect();
    if lines.is_empty() {
        bail!("the help has no \"Examples:\"");
    }
    roff.section("Examples");
    for line in lines {
        let (example, text) = line
            .split_once("  ")
            .with_context(|| format!("\"{line}\": two blanks divide an example and its text"))?;
        roff.tagged();
        roff.literal(example, Font::Bold);
        roff.line();
        roff.text(text.trim());
        roff.line();
    }
    Ok(())
}

fn exit_status(roff: &mut Roff, command: &Command) {
    let has = |id: &str| visible(command).any(|arg| arg.get_id() == id);
    let mut ends = vec!["at Ctrl-C (SIGINT) or SIGTERM"];
    if has("duration") {
        ends.push("at the end of the given duration");
    }
    if has("count") {
        ends.push("after the given number of reports");
    }
    ends.push("because the reader of its output has gone");
    let last = ends.pop().unwrap_or_default();
    let normal = format!(
        "The tool ended in order: {}, or {last}. So do --help and --version.",
        ends.join(", ")
    );
    roff.section("Exit status");
    for (code, text) in [
        ("0", normal.as_str()),
        (
            "1",
            "The tool could not start or go on: a line on standard error says what failed, \
             at what, and why.",
        ),
        ("2", "The arguments cannot be used. Nothing was traced."),
    ] {
        roff.tagged();
        roff.literal(code, Font::Bold);
        roff.line();
        roff.text(text);
        roff.line();
    }
}

fn see_also(roff: &mut Roff, name: &str, tools: &[Entry]) {
    let mut pages: Vec<_> = tools
        .iter()
        .filter(|tool| tool.name != name)
        .map(|tool| (tool.name, "8"))
        .chain([("bpf", "2"), ("capabilities", "7"), ("cgroups", "7")])
        .collect();
    pages.sort_by_key(|&(name, section)| (section, name));
    roff.section("See also");
    roff.paragraph();
    for (index, (name, section)) in pages.into_iter().enumerate() {
        if index > 0 {
            roff.text(",");
            roff.line();
        }
        roff.literal(name, Font::Bold);
        roff.text(&format!("({section})"));
    }
    roff.line();
}
