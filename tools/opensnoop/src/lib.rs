// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opensnoop`: one line per open(2), openat(2), openat2(2) and creat(2), with
//! its result.

mod flags;
mod names;
mod path;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use common::child::Child;
use common::cli::{ContainerMaps, General, TaskFilter, seconds};
use common::columns::{Format, Table, Value, column, json_field};
use common::escape::c_bytes;
use common::hooks::{Alternative, Hook};
use common::probe::page_size;
use common::session::Session;
use common::time::{EventClock, SinceFirst};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, event::decode, task_filter};

use flags::{Filter, Flag};
use names::NameFilter;
use skel::types::opensnoop_event;

bpf_skeleton!("opensnoop");
event!(opensnoop_event);

/// Trace open() family syscalls
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  opensnoop                        trace all open() syscalls
  opensnoop -T                     include timestamps
  opensnoop -U                     include UID
  opensnoop -x                     only show failed opens
  opensnoop -p 181                 only trace PID 181
  opensnoop -t 123                 only trace TID 123
  opensnoop -u 1000                only trace UID 1000
  opensnoop -d 10                  trace for 10 seconds only
  opensnoop -n main                only processes with \"main\" in their name
  opensnoop -n '*.log'             only processes or files whose name ends in .log
  opensnoop -e                     show extended fields
  opensnoop -f O_WRONLY -f O_RDWR  only show opens for writing
  opensnoop -F                     show full path for an open file with relative path
  opensnoop --exec ls -l /         only trace this command
  opensnoop --cgroupmap MAP        only trace cgroups in this BPF map
  opensnoop --mntnsmap MAP         only trace mount namespaces in this BPF map
  opensnoop --json                 one JSON object per line")]
pub struct Args {
    /// Include the seconds since the first event
    #[arg(short = 'T', long)]
    timestamp: bool,

    /// Include the user id
    #[arg(short = 'U', long)]
    print_uid: bool,

    /// Only show failed opens
    #[arg(short = 'x', long)]
    failed: bool,

    #[command(flatten)]
    tasks: TaskFilter,

    #[command(flatten)]
    containers: ContainerMaps,

    /// End after this many seconds
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Only processes with NAME in their name; with any of *?[ a glob that the
    /// name of the process or of the file matches
    #[arg(short, long, value_name = "NAME")]
    name: Option<OsString>,

    /// Include the flags and the mode
    #[arg(short, long = "extended_fields", alias = "extended-fields")]
    extended_fields: bool,

    /// Only opens with this flag (O_WRONLY, O_CREAT, ...) or another that is given
    #[arg(
        short,
        long = "flag_filter",
        alias = "flag-filter",
        value_name = "FLAG"
    )]
    #[arg(value_parser = Flag::parse)]
    flag_filter: Vec<Flag>,

    /// Show relative paths in full, by the directory they are relative to
    #[arg(short = 'F', long)]
    full_path: bool,

    /// Size of the ring buffer in pages, a power of two [default: 2 MiB;
    /// the classic's was 64 pages]
    #[arg(short, long = "buffer-pages", value_name = "PAGES", value_parser = pages)]
    buffer_bytes: Option<u32>,

    /// Run this command, trace just its process, end with it; takes the rest of
    /// the line
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    #[arg(conflicts_with = "pid")]
    exec: Option<Vec<OsString>>,

    #[command(flatten)]
    general: General,
}

/// A ring buffer's size in bytes from its pages.
fn pages(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|pages: &u32| pages.is_power_of_two())
        .and_then(|pages| pages.checked_mul(page_size()))
        .ok_or_else(|| "expected a power of two, and less than 4 GiB in all".into())
}

/// The tracepoint of each call finds the arguments in the task's saved
/// registers, which programs may ask for since Linux 5.15 (dd6e10fbd9fb).
///
/// fexit on the calls' own functions is cheaper by the tracepoint's record, but
/// not first: its program can be preempted (always on 5.12 and newer kernels
/// that preempt), and the kernel skips it for whoever opens on that CPU until
/// it goes on, 6 % of all opens by four threads in a trial. And calls that are
/// under way when another tracer comes or goes skip it without being counted.
///
/// The raw tracepoint is given the arguments, needs no tracefs and fewer
/// privileges, but runs at the end of every system call.
const OPEN: Hook = Hook {
    name: "open",
    alternatives: &[
        Alternative::new("kretprobe", &["kret_openat"]).optional(&[
            "kret_openat2",
            "kret_open",
            "kret_creat",
        ]),
        Alternative::new("tracepoint", &["tp_exit"]).also(&[(
            "tp_exit",
            &[
                "syscalls/sys_exit_openat2",
                "syscalls/sys_exit_open",
                "syscalls/sys_exit_creat",
            ],
        )]),
        Alternative::new("fexit", &["fexit_openat"]).optional(&[
            "fexit_openat2",
            "fexit_open",
            "fexit_creat",
        ]),
        Alternative::new("raw_tp", &["raw_exit"]),
    ],
};

pub struct Opensnoop;

impl Tool for Opensnoop {
    const NAME: &'static str = "opensnoop";
    const SUBSYSTEM: Subsystem = Subsystem::Files;
    const OBJECT: &'static [u8] = bpf_object!("opensnoop");
    const HOOKS: &'static [Hook] = &[OPEN];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut child = args.exec.as_deref().map(Child::prepare).transpose()?;
        let mut session = Session::new(name, &args.general, args.duration)?;

        let mut tasks = args.tasks;
        tasks.pid = child.as_ref().map(Child::pid).or(tasks.pid);
        if tasks.tid.is_some() {
            tasks.pid = None; // as the classic
        }
        let by_flags = Filter::any_of(&args.flag_filter);
        let format = args.general.format(false);

        let attached = session.load::<skel::OpensnoopSkelBuilder>(&[&OPEN], |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.failed_only = args.failed.into();
                rodata.full_path = args.full_path.into();
                rodata.want_cgroup = (format == Format::Json).into();
                rodata.filter_open = (!args.flag_filter.is_empty()).into();
                rodata.filter_flags = by_flags.flags;
                rodata.filter_modes = by_flags.modes;
                if let Some(bytes) = args.buffer_bytes {
                    rodata.ring_wakeup_bytes = u64::from(bytes / 8);
                }
            }
            if let Some(bytes) = args.buffer_bytes {
                open.maps.events.set_max_entries(bytes)?;
            }
            task_filter!(open, tasks, args.general, args.containers)
        })?;

        let table = table(&args, format);
        table.header(session.out.buffer());
        session.ready()?;
        if let Some(mut child) = child.take() {
            child.start()?;
            session.end_with_child(move || child.has_ended());
        }

        let name = args
            .name
            .map(|name| NameFilter::new(&name.to_string_lossy()));
        let mut since_first = SinceFirst::default();
        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, tail) = decode::<opensnoop_event>(record)?;
                let row = Row {
                    event,
                    since_ns: since_first.ns(event.ts_ns),
                    clock: clock.follow(event.ts_ns),
                    path: path::given(&event, tail),
                    full_path: path::full(&event, tail).filter(|_| args.full_path),
                };
                if name
                    .as_ref()
                    .is_none_or(|name| name.matches(row.comm(), row.shown_path()))
                {
                    table.row(&row, out);
                }
                Ok(())
            },
        )
    }
}

/// A call as it is shown.
struct Row {
    event: opensnoop_event,
    since_ns: u64,
    clock: EventClock,
    path: Option<Vec<u8>>,
    /// Only when asked for.
    full_path: Option<Vec<u8>>,
}

impl Row {
    fn comm(&self) -> &[u8] {
        c_bytes(&self.event.comm)
    }

    fn shown_path(&self) -> &[u8] {
        let path = self.full_path.as_ref().or(self.path.as_ref());
        path.map_or(&[], Vec::as_slice)
    }

    /// The file descriptor, or the number of the error.
    fn result(&self) -> Result<u32, u32> {
        u32::try_from(self.event.ret).map_err(|_| self.event.ret.unsigned_abs())
    }

    fn mode(&self) -> Option<u64> {
        flags::mode(self.event.flags, self.event.mode)
    }
}

fn name_or_null(path: Option<&Vec<u8>>) -> Value<'_> {
    path.map_or(Value::Missing, |path| Value::Name(path))
}

fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    if args.timestamp {
        let seconds = |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 9,
        };
        table.add(column("TIME(s)", seconds).left(14).separator(""));
    }
    if args.print_uid {
        let uid = |row: &Row| Value::Uint(row.event.uid.into());
        table.add(column("UID", uid).left(6).separator(""));
    }
    table
        .add(json_field("time", |row: &Row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(json_field("pid", |row| Value::Uint(row.event.tgid.into())))
        .add(json_field("tid", |row| Value::Uint(row.event.pid.into())))
        .add(json_field("uid", |row| Value::Uint(row.event.uid.into())));
    table.add(if args.tasks.tid.is_some() {
        column("TID", |row: &Row| Value::Uint(row.event.pid.into())).left(6)
    } else {
        column("PID", |row: &Row| Value::Uint(row.event.tgid.into())).left(6)
    });
    table
        .add(
            column("COMM", |row: &Row| Value::Name(row.comm()))
                .left(16)
                .key("comm"),
        )
        .add(
            column("FD", |row: &Row| {
                Value::Int(row.result().map_or(-1, i64::from))
            })
            .right(4)
            .json("fd", |row| {
                row.result()
                    .map_or(Value::Missing, |fd| Value::Uint(fd.into()))
            }),
        )
        .add(
            column("ERR", |row: &Row| {
                Value::Uint(row.result().err().unwrap_or(0).into())
            })
            .right(3)
            .key("errno"),
        );
    if args.extended_fields {
        let flags = |row: &Row| Value::Octal {
            value: row.event.flags,
            digits: 8,
        };
        let mode = |row: &Row| match row.mode() {
            Some(value) => Value::Octal { value, digits: 4 },
            None => "n/a".into(),
        };
        table
            .add(column("FLAGS", flags).left(8))
            .add(column("MODE", mode).left(4));
    }
    table
        .add(json_field("flags", |row| Value::Uint(row.event.flags)))
        .add(json_field("mode", |row| {
            row.mode().map_or(Value::Missing, Value::Uint)
        }))
        .add(
            column("PATH", |row: &Row| Value::Name(row.shown_path()))
                .json("path", |row| name_or_null(row.path.as_ref())),
        );
    if args.full_path {
        table.add(json_field("full_path", |row| {
            name_or_null(row.full_path.as_ref())
        }));
    }
    table.add(json_field("cgroup_id", |row| {
        Value::Uint(row.event.cgroup_id)
    }));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        let line = format!("opensnoop {line}");
        let words = line.split_whitespace();
        let matches = common::tool::command::<Opensnoop>().try_get_matches_from(words);
        clap::FromArgMatches::from_arg_matches(&matches.unwrap()).unwrap()
    }

    fn refused(line: &str) -> bool {
        let words = ["opensnoop"].into_iter().chain(line.split_whitespace());
        common::tool::command::<Opensnoop>()
            .try_get_matches_from(words)
            .is_err_and(|error| error.exit_code() == 2)
    }

    fn row(ret: i32) -> Row {
        let mut comm = [0; 16];
        comm[..5].copy_from_slice(b"nginx");
        let event = opensnoop_event {
            ret,
            comm,
            tgid: 2044,
            pid: 2045,
            uid: 33,
            ..Default::default()
        };
        Row {
            event,
            since_ns: 20_117_000,
            clock: EventClock::now(),
            path: Some(b"a\n.log".into()),
            full_path: None,
        }
    }

    fn shown(line: &str, row: &Row) -> String {
        let args = args(line);
        let mut out = Vec::new();
        let table = table(&args, args.general.format(false));
        table.header(&mut out);
        table.row(row, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_text_is_the_classics() {
        assert_eq!(
            shown("", &row(14)),
            "PID    COMM               FD ERR PATH\n\
             2044   nginx              14   0 a\\n.log\n"
        );
        assert_eq!(
            shown("-t 1", &row(-2)),
            "TID    COMM               FD ERR PATH\n\
             2045   nginx              -1   2 a\\n.log\n"
        );
    }

    #[test]
    fn the_extended_text_is_the_classics() {
        let mut row = row(15);
        row.event.flags = 0o2101;
        row.event.mode = 0o640;
        assert_eq!(
            shown("-TUe", &row),
            "TIME(s)       UID   PID    COMM               FD ERR FLAGS    MODE PATH\n\
             0.020117000   33    2044   nginx              15   0 00002101 0640 a\\n.log\n"
        );
        row.event.flags = 0;
        row.event.mode = 0;
        assert!(shown("-e", &row).contains("   0 00000000 n/a  a"));
    }

    #[test]
    fn wide_ids_do_not_touch_their_neighbours() {
        let mut row = row(0);
        row.event.uid = 4_000_000_000;
        row.since_ns = 123_456_000_000_000;
        let text = shown("-TU", &row);
        assert!(
            text.contains("\n123456.000000000 4000000000 2044   nginx"),
            "{text}"
        );
    }

    #[test]
    fn json_is_whole() {
        let mut row = row(-13);
        row.event.flags = 0o2000000;
        let text = shown("--json -F", &row);
        assert!(
            text.contains(
                r#""pid":2044,"tid":2045,"uid":33,"comm":"nginx","fd":null,"errno":13,"flags":524288,"mode":null,"path":"a\n.log","full_path":null,"cgroup_id":0}"#
            ),
            "{text}"
        );
    }

    #[test]
    fn wrong_arguments_are_usage_errors() {
        for line in [
            "-f O_NOPE",
            "-p -1",
            "-p 0",
            "-b 3",
            "-b 0",
            "-d 0",
            "-u -1",
            "-p 1 --exec true",
            "--exec",
            "stray",
        ] {
            assert!(refused(line), "{line}");
        }
    }

    #[test]
    fn exec_takes_the_rest_of_the_line() {
        let args = args("-x --exec ls -l --json -- /");
        assert_eq!(args.exec.unwrap(), ["ls", "-l", "--json", "--", "/"]);
        assert!(args.failed && !args.general.json);
    }

    #[test]
    fn the_classics_spellings_are_taken() {
        let all = args("--extended_fields --flag_filter O_CREAT --flag-filter O_RDWR --full-path");
        assert!(all.extended_fields && all.full_path && all.flag_filter.len() == 2);
        assert!(args("--extended-fields --time").timestamp);
    }
}
