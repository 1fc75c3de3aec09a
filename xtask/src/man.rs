// SPDX-License-Identifier: MIT OR Apache-2.0
//! Man pages and completions, from the command definitions and `man/extra`.

mod roff;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bpfcc_rs::tools::TOOLS;
use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;
use common::tool::{Entry, Subsystem};
use pulldown_cmark::{Event, Parser, Tag};

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
    let files = generate(&programs())?;
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

/// Every tool, and the program that has them all.
fn programs() -> Vec<Entry> {
    let all = Entry {
        name: bpfcc_rs::NAME,
        subsystem: Subsystem::Processes,
        object: &[],
        hooks: &[],
        command: bpfcc_rs::command,
        main: bpfcc_rs::main,
    };
    TOOLS.iter().copied().chain([all]).collect()
}

/// Every file, by its path from the top of the repository.
fn generate(tools: &[Entry]) -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for tool in tools {
        let name = tool.name;
        let extra = Path::new("man/extra").join(format!("{name}.md"));
        let page = read_extra(&root().join(&extra))
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

/// A file of `man/extra`; in the place of a line `@include FILE` that one.
fn read_extra(path: &Path) -> Result<String> {
    let mut text = String::new();
    for line in read(path)?.lines() {
        match line.strip_prefix("@include ") {
            Some(file) => text += &read(&path.with_file_name(file))?,
            None => text.extend([line, "\n"]),
        }
    }
    Ok(text)
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
    // Do not stretch lines nor break words: names would come to pieces. The
    // register is what groff's macros go back to after a table.
    roff.request(".if n .ad l");
    roff.request(".nh");
    roff.request(".nr HY 0");

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
    commands(&mut roff, &command)?;
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
    if command.has_subcommands() {
        roff.text(" ");
        roff.literal("command", Font::Italic);
    }
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

/// What each command does, and its own options.
fn commands(roff: &mut Roff, command: &Command) -> Result<()> {
    let own = |sub: &&Command| sub.get_name() != "help";
    for sub in command.get_subcommands().filter(own) {
        roff.subsection(sub.get_name());
        let about = sub.get_long_about().or_else(|| sub.get_about());
        let about = about.with_context(|| format!("{}: no description", sub.get_name()))?;
        paragraphs(roff, &sentence(&about.to_string()));
        options(roff, &sub.clone().disable_help_flag(true))?;
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
    let others: Vec<_> = visible(command)
        .filter(|other| excludes(command, arg, other) || excludes(command, other, arg))
        .filter_map(|other| Some(format!("--{}", other.get_long()?)))
        .collect();
    if !others.is_empty() {
        roff.text("Not together with ");
        listed(roff, others.iter().map(String::as_str));
    }
    if takes_values(arg) {
        values(roff, arg);
    }
    Ok(())
}

fn excludes(command: &Command, arg: &Arg, other: &Arg) -> bool {
    command
        .get_arg_conflicts_with(arg)
        .iter()
        .any(|conflict| conflict.get_id() == other.get_id())
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{ExitCode, Stdio};

    use clap::builder::PossibleValue;

    use super::*;

    fn fake() -> Command {
        Command::new("fake")
            .version("1")
            .about("Trace what is not there")
            .after_help("Examples:\n  fake -n 3 'a b'     three of \"a b\"")
            .args([
                Arg::new("number")
                    .short('n')
                    .long("number-of")
                    .value_name("N")
                    .default_value("7")
                    .help("How many"),
                Arg::new("sort")
                    .long("sort")
                    .value_parser(["all", "io"])
                    .conflicts_with("number")
                    .help("By what"),
                Arg::new("form")
                    .long("form")
                    .num_args(0..=1)
                    .require_equals(true)
                    .value_name("FORM")
                    .value_parser([PossibleValue::new("json").help("As JSON")])
                    .help("How"),
                Arg::new("interval").value_name("interval").help("Seconds"),
                Arg::new("count").value_name("count").help("Reports"),
                Arg::new("secret").long("secret").hide(true),
            ])
    }

    const FAKE: Entry = Entry {
        name: "fake",
        subsystem: Subsystem::Files,
        object: &[],
        hooks: &[],
        command: fake,
        main: |_| ExitCode::SUCCESS,
    };

    fn fake_page() -> String {
        page(&FAKE, "More.\n\n# Fields\n\n`A`\n", &[FAKE]).unwrap()
    }

    /// What `program` makes of `input` (which fits into a pipe); none if there
    /// is no such program here.
    fn output(program: &str, args: &[&str], input: &str) -> Option<Ran> {
        let child = std::process::Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                eprintln!("not tested: {program}: {error}");
                return None;
            }
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        Some(Ran {
            ok: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        })
    }

    struct Ran {
        ok: bool,
        stdout: String,
        stderr: String,
    }

    #[test]
    fn a_page_has_its_sections_in_order() {
        let page = fake_page();
        let sections: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".SH "))
            .collect();
        assert_eq!(
            sections,
            [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "FIELDS",
                "EXAMPLES",
                "EXIT STATUS",
                "SEE ALSO"
            ]
        );
        for part in [
            "fake \\- trace what is not there\n",
            "[\\fIoption\\fR ...] [\\fIinterval\\fR [\\fIcount\\fR]]\n",
            "Trace what is not there.\n.PP\nMore.\n.SH OPTIONS\n",
            ".TP\n\\fBfake \\-n 3 \\(aqa b\\(aq\\fR\nthree of \\(dqa b\\(dq\n",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn options_have_values_and_defaults() {
        let page = fake_page();
        for part in [
            "\\fB\\-n\\fR, \\fB\\-\\-number\\-of\\fR \\fIN\\fR\nHow many.\n\
             Not together with \\fB\\-\\-sort\\fR.\nThe default is \\fB7\\fR.\n",
            "\\fB\\-\\-form\\fR[=\\fIFORM\\fR]\nHow.\n.RS\n.TP\n\\fBjson\\fR\nAs JSON.\n.RE\n",
            "One of \\fBall\\fR, \\fBio\\fR.\n",
            ".TP\n\\fIinterval\\fR\nSeconds.\n",
            "Print version.\n",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("secret"));
    }

    #[test]
    fn what_is_not_described_is_an_error() {
        let bare = Entry {
            command: || fake().arg(Arg::new("bare").long("bare")),
            ..FAKE
        };
        let error = page(&bare, "", &[]).unwrap_err();
        assert_eq!(error.to_string(), "bare has no description");
        let unshown = Entry {
            command: || fake().after_help("Nothing."),
            ..FAKE
        };
        assert!(page(&unshown, "", &[]).is_err());
    }

    #[test]
    fn pages_are_rendered_without_a_warning() {
        let mut pages = generate(&programs()).unwrap();
        pages.retain(|path, _| path.starts_with("man/man8"));
        pages.insert("fake.8".into(), fake_page());
        for (path, page) in pages {
            let path = path.display();
            let man = ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", "-"];
            if let Some(man) = output("man", &man, &page) {
                assert!(man.ok && man.stderr.is_empty(), "{path}: {}", man.stderr);
            }
            if let Some(lint) = output("mandoc", &["-T", "lint", "-W", "warning"], &page) {
                let warnings: Vec<_> = lint
                    .stdout
                    .lines()
                    .filter(|line| !line.contains("missing date")) // on purpose
                    .collect();
                assert!(warnings.is_empty(), "{path}: {warnings:#?}");
            }
        }
    }

    #[test]
    fn completions_load_and_complete() {
        for tool in programs().iter().chain([&FAKE]) {
            for (shell, program) in [
                (Shell::Bash, "bash"),
                (Shell::Zsh, "zsh"),
                (Shell::Fish, "fish"),
            ] {
                let script = completions(tool, shell).unwrap();
                if let Some(check) = output(program, &["-n"], &script) {
                    let name = tool.name;
                    assert!(check.ok, "{name}: {program}: {}", check.stderr);
                }
            }
        }
        let script = completions(&FAKE, Shell::Bash).unwrap()
            + "\nCOMP_WORDS=(fake --num) COMP_CWORD=1\n\
               _fake fake --num fake\necho \"${COMPREPLY[@]}\"\n";
        let bash = output("bash", &["-s"], &script).unwrap();
        assert_eq!(bash.stdout, "--number-of\n", "{}", bash.stderr);
    }
}
