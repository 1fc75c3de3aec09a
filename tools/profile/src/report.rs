// SPDX-License-Identifier: MIT OR Apache-2.0
//! The profile: BCC's text, folded lines, JSON, a flame graph.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use common::columns::{Format, Table, Value, json_field};
use common::escape::{c_bytes, printable};
use common::output::Output;
use common::sampling::Rate;
use common::symbols::stack_json;
use common::time::utc_now;
use inferno::flamegraph::color::MultiPalette;
use inferno::flamegraph::{Options, Palette, from_lines};

use crate::Args;
use crate::samples::Stack;

const UNKNOWN: &str = "[unknown]";
/// BCC's "until interrupted".
const FOR_EVER: Duration = Duration::from_secs(99_999_999);

pub struct Report {
    format: Format,
    folded: bool,
    annotations: bool,
    delimited: bool,
    /// Made before anything is sampled: a file that cannot be written is told at once.
    flamegraph: Option<(PathBuf, File)>,
    title: String,
}

impl Report {
    pub fn new(args: &Args) -> Result<Self> {
        let flamegraph = args
            .flamegraph
            .as_ref()
            .map(|path| {
                let file = File::create(path);
                let file = file.with_context(|| format!("--flamegraph: {}", path.display()));
                Ok::<_, anyhow::Error>((path.clone(), file?))
            })
            .transpose()?;
        Ok(Self {
            format: args.general.format(false),
            folded: args.folded,
            annotations: args.annotations,
            delimited: args.delimited,
            flamegraph,
            title: format!("profile: {}", what(args)),
        })
    }

    pub fn header(&self, args: &Args, out: &mut Output) {
        if self.folded || self.format == Format::Json {
            return;
        }
        let until = match args.duration() {
            Some(duration) if duration < FOR_EVER => format!(" for {} secs.", duration.as_secs()),
            _ => "... Hit Ctrl-C to end.".to_owned(),
        };
        out.line(&format!("Sampling at {}{until}", what(args)));
    }

    /// In the order of the list. Writing to a Vec cannot fail.
    pub fn write(self, stacks: Vec<Stack>, out: &mut Output) -> Result<()> {
        let draw = self.flamegraph.as_ref().map(|_| {
            let lines = stacks.iter().map(|stack| self.line(stack, true));
            lines.collect::<Vec<_>>()
        });
        if self.format == Format::Json {
            json(stacks, out)?;
        } else {
            if !self.folded {
                out.buffer().push(b'\n');
            }
            for stack in &stacks {
                if self.folded {
                    out.line(&self.line(stack, self.annotations));
                } else {
                    self.block(stack, out.buffer());
                }
                out.flush_much()?;
            }
        }
        out.flush()?;
        match (self.flamegraph, draw) {
            (Some((path, file)), Some(lines)) => draw_flamegraph(&lines, file, &self.title)
                .with_context(|| format!("--flamegraph: {}", path.display())),
            _ => Ok(()),
        }
    }

    fn is_delimited(&self, stack: &Stack) -> bool {
        self.delimited && !stack.kernel.is_empty() && !stack.user.is_empty()
    }

    /// One line per frame, the innermost first.
    fn block(&self, stack: &Stack, out: &mut Vec<u8>) {
        for frame in &stack.kernel {
            let mark = if self.annotations { "_[k]" } else { "" };
            let _ = writeln!(out, "    {}{mark}", shown(frame));
        }
        if self.is_delimited(stack) {
            let _ = writeln!(out, "    --");
        }
        for frame in &stack.user {
            let _ = writeln!(out, "    {}", shown(frame));
        }
        let comm = printable(c_bytes(&stack.comm));
        let _ = writeln!(out, "    {:<16} {comm} ({})", "-", stack.pid);
        let _ = writeln!(out, "        {}\n", stack.samples);
    }

    /// One line per stack, the outermost frame first.
    fn line(&self, stack: &Stack, annotations: bool) -> String {
        let comm = printable(c_bytes(&stack.comm));
        let mut frames = vec![foldable(&comm).into_owned()];
        let user = stack.user.iter().rev();
        frames.extend(user.map(|frame| foldable(shown(frame)).into_owned()));
        if self.is_delimited(stack) {
            frames.push("-".to_owned());
        }
        for frame in stack.kernel.iter().rev() {
            let mark = if annotations { "_[k]" } else { "" };
            frames.push(format!("{}{mark}", foldable(shown(frame))));
        }
        format!("{} {}", frames.join(";"), stack.samples)
    }
}

/// `49 Hertz of all threads by user + kernel stack`
fn what(args: &Args) -> String {
    let rate = match args.rate() {
        Rate::Hertz(hertz) => format!("{hertz} Hertz"),
        Rate::Period(events) => format!("every {events} events"),
    };
    // As Python shows a list.
    let who = match (&args.pid, &args.tid) {
        (Some(pids), _) => format!("PID {pids:?}"),
        (_, Some(tids)) => format!("TID {tids:?}"),
        _ => "all threads".to_owned(),
    };
    let which = match (args.user_stacks_only, args.kernel_stacks_only) {
        (true, _) => "user",
        (_, true) => "kernel",
        _ => "user + kernel",
    };
    let cpu = match args.one_cpu() {
        Some(cpu) => format!(" on CPU#{cpu}"),
        None => String::new(),
    };
    format!("{rate} of {who} by {which} stack{cpu}")
}

fn shown(frame: &Option<Rc<str>>) -> &str {
    frame.as_deref().unwrap_or(UNKNOWN)
}

/// What reads folded stacks splits them at semicolons.
fn foldable(name: &str) -> Cow<'_, str> {
    if name.contains(';') {
        name.replace(';', ":").into()
    } else {
        name.into()
    }
}

fn json(stacks: Vec<Stack>, out: &mut Output) -> Result<()> {
    let mut table = Table::new(Format::Json);
    table
        .add(json_field("time", |(time, _): &(String, Stack)| {
            Value::Str(time.as_str().into())
        }))
        .add(json_field("pid", |(_, stack)| {
            Value::Uint(stack.pid.into())
        }))
        .add(json_field("comm", |(_, stack)| Value::Name(&stack.comm)))
        .add(json_field("samples", |(_, stack)| {
            Value::Uint(stack.samples)
        }))
        .add(json_field("kernel_stack", |(_, stack)| {
            frames(&stack.kernel)
        }))
        .add(json_field("user_stack", |(_, stack)| frames(&stack.user)));
    let time = utc_now();
    for stack in stacks {
        table.row(&(time.clone(), stack), out.buffer());
        out.flush_much()?;
    }
    Ok(())
}

fn frames(stack: &[Option<Rc<str>>]) -> Value<'static> {
    let names: Vec<Rc<str>> = stack.iter().map(|frame| shown(frame).into()).collect();
    Value::Json(stack_json(&names))
}

fn draw_flamegraph(lines: &[String], file: File, title: &str) -> Result<()> {
    let mut options = Options::default();
    options.title = title.to_owned();
    // The one that tells the kernel's frames by their mark.
    options.colors = Palette::Multi(MultiPalette::Java);
    let mut writer = BufWriter::new(file);
    // Without a sample there is a picture that says so, and an error.
    match from_lines(&mut options, lines.iter().map(String::as_str), &mut writer) {
        Err(_) if lines.is_empty() => {}
        drawn => drawn?,
    }
    Ok(writer.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn stack(kernel: &[&str], user: &[&str]) -> Stack {
        let names = |names: &[&str]| {
            let name = |name: &&str| (!name.is_empty()).then(|| Rc::from(*name));
            names.iter().map(name).collect()
        };
        let mut comm = [0; 16];
        comm[..5].copy_from_slice(b"a b;c");
        Stack {
            samples: 12,
            comm,
            pid: 7,
            kernel: names(kernel),
            user: names(user),
        }
    }

    fn report(args: &[&str]) -> Report {
        Report::new(&Args::parse_from([&["profile"], args].concat())).unwrap()
    }

    fn block(args: &[&str], stack: &Stack) -> String {
        let mut out = Vec::new();
        report(args).block(stack, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn blocks_are_bccs() {
        let both = stack(&["leaf", ""], &["read", "main"]);
        assert_eq!(
            block(&[], &both),
            "    leaf\n    [unknown]\n    read\n    main\n    -                a b;c (7)\n        12\n\n"
        );
        assert_eq!(
            block(&["-d", "-a"], &both),
            "    leaf_[k]\n    [unknown]_[k]\n    --\n    read\n    main\n    -                a b;c (7)\n        12\n\n"
        );
        let user = stack(&[], &["main"]);
        assert_eq!(
            block(&["-d"], &user),
            "    main\n    -                a b;c (7)\n        12\n\n"
        );
        assert_eq!(
            block(&[], &stack(&[], &[])),
            "    -                a b;c (7)\n        12\n\n"
        );
    }

    #[test]
    fn folded_lines_are_bccs() {
        let both = stack(&["leaf", ""], &["<[u8; 4]>::read", "main"]);
        let line = |args: &[&str], stack: &Stack| {
            let report = report(args);
            report.line(stack, report.annotations)
        };
        assert_eq!(
            line(&[], &both),
            "a b:c;main;<[u8: 4]>::read;[unknown];leaf 12"
        );
        assert_eq!(
            line(&["-da"], &both),
            "a b:c;main;<[u8: 4]>::read;-;[unknown]_[k];leaf_[k] 12"
        );
        assert_eq!(line(&["-d"], &stack(&["leaf"], &[])), "a b:c;leaf 12");
    }

    #[test]
    fn banners_name_what_is_sampled() {
        let banner = |args: &[&str]| what(&Args::parse_from([&["profile"], args].concat()));
        assert_eq!(
            banner(&[]),
            "49 Hertz of all threads by user + kernel stack"
        );
        assert_eq!(
            banner(&["-c", "5", "-U", "-p", "1,22", "-C", "3"]),
            "every 5 events of PID [1, 22] by user stack on CPU#3"
        );
        assert_eq!(
            banner(&["-F", "99", "-K", "-L", "1", "--cpu=-1"]),
            "99 Hertz of TID [1] by kernel stack"
        );
    }

    #[test]
    fn a_flame_graph_has_the_frames() {
        let path = std::env::temp_dir().join(format!("flames-{}", std::process::id()));
        let lines = [
            "a;main;read;vfs_read_[k] 3".to_owned(),
            "a;main 1".to_owned(),
        ];
        draw_flamegraph(&lines, File::create(&path).unwrap(), "title").unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(
            svg.contains("<title>vfs_read (3 samples, 75.00%)</title>"),
            "{svg}"
        );
        draw_flamegraph(&[], File::create(&path).unwrap(), "title").unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
