// SPDX-License-Identifier: MIT OR Apache-2.0
//! `execsnoop`: one line per execve(2) and execveat(2).

mod words;

use anyhow::Result;
use clap::{Parser, value_parser};
use common::cli::{ContainerMaps, General, RunTime, TaskFilter, user};
use common::columns::{Format, Table, Value, column, json_field};
use common::escape::c_bytes;
use common::hooks::{Alternative, Hook};
use common::session::Session;
use common::time::{EventClock, monotonic_ns, wall_clock};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, event::decode, task_filter};
use regex::bytes::{Regex, RegexBuilder};

use skel::types::execsnoop_event;
use words::{Texts, Words};

bpf_skeleton!("execsnoop");
event!(execsnoop_event);

/// Trace new processes via exec() syscalls
#[derive(Parser, Debug)]
#[command(mut_arg("cgroup", |arg| arg.short('c')))]
#[command(after_help = "\
Examples:
  execsnoop                        trace all exec() syscalls
  execsnoop -x                     include failed exec()s
  execsnoop -T                     include the time (HH:MM:SS)
  execsnoop -P 181                 only processes whose parent is PID 181
  execsnoop -U                     include UID
  execsnoop -u 1000                only trace UID 1000
  execsnoop -u user                get the UID of user and trace only that
  execsnoop -t                     include timestamps
  execsnoop -q                     add \"quotemarks\" around arguments
  execsnoop -n main                only commands whose name contains \"main\"
  execsnoop -l tpkg                only commands whose arguments contain \"tpkg\"
  execsnoop --cgroupmap MAP        only trace cgroups in this BPF map
  execsnoop --mntnsmap MAP         only trace mount namespaces in this BPF map
  execsnoop --json                 one JSON object per line")]
pub struct Args {
    /// Include the time of day
    #[arg(short = 'T', long)]
    time: bool,

    /// Include the seconds since the tool was ready
    #[arg(short, long)]
    timestamp: bool,

    /// Include failed calls
    #[arg(short = 'x', long)]
    fails: bool,

    #[command(flatten)]
    containers: ContainerMaps,

    /// Only this user, by id or name
    #[arg(short, long, value_name = "USER", value_parser = user)]
    uid: Option<u32>,

    /// Put each argument in double quotes
    #[arg(short, long)]
    quote: bool,

    /// Only commands whose name (COMM) this regular expression matches
    #[arg(short, long, value_name = "REGEX", value_parser = pattern)]
    name: Option<Regex>,

    /// Only commands whose arguments, with blanks between them, this regular
    /// expression matches
    #[arg(short, long, value_name = "REGEX", value_parser = pattern)]
    line: Option<Regex>,

    /// Include the user id
    #[arg(short = 'U', long)]
    print_uid: bool,

    /// Include the CPU
    #[arg(short = 'C', long)]
    print_cpu: bool,

    /// Include the name of the parent
    #[arg(short = 'M', long)]
    print_pcomm: bool,

    /// How many arguments are shown, the command's own name being the first
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = value_parser!(u32).range(1..=512))]
    max_args: u32,

    /// Only processes with this parent
    #[arg(short = 'P', long, value_name = "PID")]
    #[arg(value_parser = value_parser!(u32).range(..=i32::MAX as i64))]
    ppid: Option<u32>,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// A regular expression for bytes, as Python's are: names need not be UTF-8.
fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .unicode(false)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })
}

/// What starts a program passes this, with the program's memory in place.
const EXEC: Hook = Hook {
    name: "exec",
    alternatives: &[Alternative::new("tp_btf", &["succeeded"])],
};

/// For `-x` only. The raw tracepoint, which all system calls pass at their end,
/// is for where tracefs cannot be used.
const FAILED: Hook = Hook {
    name: "failed",
    alternatives: &[
        Alternative::new("tracepoint", &["failed_call"])
            .also(&[("failed_call", &["syscalls/sys_exit_execveat"])]),
        Alternative::new("raw_tp", &["failed_any"]),
    ],
};

pub struct Execsnoop;

impl Tool for Execsnoop {
    const NAME: &'static str = "execsnoop";
    const SUBSYSTEM: Subsystem = Subsystem::Processes;
    const OBJECT: &'static [u8] = bpf_object!("execsnoop");
    const HOOKS: &'static [Hook] = &[EXEC, FAILED];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let format = args.general.format(false);
        let tasks = TaskFilter {
            pid: None,
            tid: None,
            uid: args.uid,
        };
        let hooks: &[_] = if args.fails {
            &[&EXEC, &FAILED]
        } else {
            &[&EXEC]
        };
        let attached = session.load::<skel::ExecsnoopSkelBuilder>(hooks, |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.filter_ppid = args.ppid.unwrap_or(u32::MAX);
                rodata.max_args = args.max_args;
                rodata.want_cgroup = (format == Format::Json).into();
            }
            task_filter!(open, tasks, args.general, args.containers)
        })?;

        let table = table(&args, format);
        table.header(session.out.buffer());
        session.ready()?;

        let start_ns = monotonic_ns();
        let mut clock = EventClock::now();
        let mut texts = Texts::default();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, tail) = decode::<execsnoop_event>(record)?;
                let Some(text) = texts.complete(&event, tail) else {
                    return Ok(());
                };
                let words = Words::new(&event, &text, args.max_args as usize);
                let matches = |regex: &Option<Regex>, text: &[u8]| {
                    regex.as_ref().is_none_or(|regex| regex.is_match(text))
                };
                if matches(&args.name, c_bytes(&event.comm))
                    && matches(&args.line, &words.line(false))
                {
                    let row = Row {
                        event,
                        line: words.line(args.quote),
                        words,
                        since_ns: event.ts_ns.saturating_sub(start_ns),
                        clock: clock.follow(event.ts_ns),
                    };
                    table.row(&row, out);
                }
                Ok(())
            },
        )
    }
}

/// A call as it is shown.
struct Row {
    event: execsnoop_event,
    words: Words,
    line: Vec<u8>,
    since_ns: u64,
    clock: EventClock,
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    if args.time {
        let time = column("TIME", |_: &Row| wall_clock().into());
        table.add(time.left(9).separator(""));
    }
    if args.timestamp {
        let seconds = |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 3,
        };
        table.add(column("TIME(s)", seconds).left(8).separator(""));
    }
    table.add(json_field("time", |row| {
        row.clock.utc(row.event.ts_ns).into()
    }));
    let uid = column("UID", |row: &Row| Value::Uint(row.event.uid.into()))
        .left(6)
        .separator("")
        .key("uid");
    let pcomm = column("PCOMM", |row: &Row| Value::Name(&row.event.parent_comm))
        .left(16)
        .key("parent_comm");
    let cpu = column("CPU", |row: &Row| Value::Uint(row.event.cpu.into()))
        .left(4)
        .key("cpu");
    let shown = |column: common::columns::Column<Row>, wanted| {
        if wanted { column } else { column.no_text() }
    };
    table
        .add(shown(uid, args.print_uid))
        .add(
            column("COMM", |row: &Row| Value::Name(&row.event.comm))
                .left(16)
                .key("comm"),
        )
        .add(
            column("PID", |row: &Row| Value::Uint(row.event.tgid.into()))
                .left(7)
                .key("pid"),
        )
        .add(json_field("tid", |row| Value::Uint(row.event.pid.into())))
        .add(shown(pcomm, args.print_pcomm))
        .add(
            column("PPID", |row: &Row| match row.event.ppid {
                0 => "?".into(),
                ppid => Value::Uint(ppid.into()),
            })
            .left(7)
            .json("ppid", |row| Value::Uint(row.event.ppid.into())),
        )
        .add(shown(cpu, args.print_cpu))
        .add(
            column("RET", |row: &Row| Value::Int(row.event.ret.into()))
                .right(3)
                .key("ret"),
        )
        .add(
            column("ARGS", |row: &Row| Value::Name(&row.line))
                .json("filename", |row| Value::Name(&row.words.file)),
        )
        .add(json_field("argv", |row| Value::Json(row.words.argv_json())))
        .add(json_field("argv_cut", |row| Value::Bool(row.words.cut)))
        .add(json_field("cgroup_id", |row| {
            Value::Uint(row.event.cgroup_id)
        }));
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        let words = ["execsnoop"].iter().chain(line);
        let matches = common::tool::command::<Execsnoop>().try_get_matches_from(words)?;
        Args::from_arg_matches(&matches)
    }

    fn shown(line: &[&str], ret: i32, text: &[u8]) -> String {
        let args = parse(line).unwrap();
        let name = |name: &[u8]| {
            let mut field = [0; 16];
            field[..name.len()].copy_from_slice(name);
            field
        };
        let event = execsnoop_event {
            ret,
            comm: name(b"cc"),
            parent_comm: name(b"make"),
            tgid: 61013,
            pid: 61013,
            ppid: 61010,
            uid: 1000,
            cpu: 6,
            argc: 4,
            dfd: libc::AT_FDCWD,
            ..Default::default()
        };
        let words = Words::new(&event, text, args.max_args as usize);
        let row = Row {
            event,
            line: words.line(args.quote),
            words,
            since_ns: 4_118_000_000,
            clock: EventClock::now(),
        };
        let mut out = Vec::new();
        let table = table(&args, args.general.format(false));
        table.header(&mut out);
        table.row(&row, &mut out);
        String::from_utf8(out).unwrap()
    }

    const TEXT: &[u8] = b"/usr/bin/cc\0cc\0-c\0a\nb.c\0\"\0";

    #[test]
    fn the_text_is_the_classics() {
        assert_eq!(
            shown(&[], 0, TEXT),
            "COMM             PID     PPID    RET ARGS\n\
             cc               61013   61010     0 /usr/bin/cc -c a\\nb.c \"\n"
        );
        assert_eq!(
            shown(&["-tUMCq"], -13, TEXT),
            "TIME(s) UID   COMM             PID     PCOMM            PPID    CPU  RET ARGS\n\
             4.118   1000  cc               61013   make             61010   6    -13 \
             \"/usr/bin/cc\" \"-c\" \"a\\nb.c\" \"\\\"\"\n"
        );
        let timed = shown(&["-Tt"], 0, TEXT);
        assert!(
            timed.starts_with("TIME     TIME(s) COMM             PID     PPID    RET ARGS\n"),
            "{timed}"
        );
        assert!(timed.contains(" 4.118   cc  "), "{timed}");
    }

    #[test]
    fn json_is_whole() {
        let text = shown(&["--json", "--max-args", "3"], -2, TEXT);
        assert!(
            text.contains(
                r#""uid":1000,"comm":"cc","pid":61013,"tid":61013,"parent_comm":"make","ppid":61010,"cpu":6,"ret":-2,"filename":"/usr/bin/cc","argv":["cc","-c","a\nb.c"],"argv_cut":true,"cgroup_id":0}"#
            ),
            "{text}"
        );
    }

    #[test]
    fn patterns_are_for_bytes() {
        let matches = |regex: &str, text: &[u8]| pattern(regex).unwrap().is_match(text);
        assert!(matches("^.a", b"\xffa"));
        assert!(matches("(?i)MAIN|x", b"domain"));
        assert!(!matches("^main$", b"domain"));
        assert!(matches("größe", "größe".as_bytes()));
        assert_eq!(pattern("(").unwrap_err(), "unclosed group");
    }

    #[test]
    fn the_classics_options_are_taken() {
        let args = parse(&["-xqTt", "-u0", "--ppi", "7", "-n^a", "-lb c", "-UCM"]).unwrap();
        assert!(args.fails && args.quote && args.print_cpu && args.print_pcomm);
        assert_eq!((args.uid, args.ppid), (Some(0), Some(7)));
        assert_eq!(parse(&["--uid", "root"]).unwrap().uid, Some(0));
        for bad in [
            &["-u", "no such user"][..],
            &["-n", "("],
            &["--max-args", "0"],
            &["--max-args", "513"],
            &["-P", "x"],
            &["-c", "/tmp"],
            &["stray"],
        ] {
            let error = parse(bad).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }
}
