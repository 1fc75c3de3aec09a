// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ext4slower`, `xfsslower`, `btrfsslower`, `nfsslower`, `f2fsslower`,
//! `zfsslower`, `fsslower` and `fileslower`: one line per file operation that
//! took longer than a threshold.

mod file_system;
mod row;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, builder::PossibleValuesParser, builder::TypedValueParser as _};
use common::btf::KernelBtf;
use common::cli::{General, RunTime, id, seconds};
use common::columns::Format;
use common::event::decode;
use common::hooks::Hook;
use common::session::Session;
use common::time::EventClock;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event};

use file_system::{ALL, ANY, BTRFS, CALLS, EXT4, F2FS, FUSE, FileSystem, NFS, XFS, ZFS};
use row::{Layout, Row};
use skel::types::fsslower_event;

bpf_skeleton!("fsslower");
event!(fsslower_event);

/// A threshold in milliseconds.
fn milliseconds() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(..1_000_000_000_000)
}

/// BCC's options of the tools that are for one file system, and libbpf-tools'
/// where they are others.
#[derive(Args, Debug)]
pub struct Options {
    /// Comma-separated values
    #[arg(short = 'j', long, short_aliases = ['s', 'c'], conflicts_with = "json")]
    csv: bool,

    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Only operations that take longer than this many milliseconds; 0: all
    #[arg(value_name = "min_ms", default_value = "10", value_parser = milliseconds())]
    min_ms: u64,

    /// As min_ms
    #[arg(short, long, value_name = "MS", value_parser = milliseconds(), conflicts_with = "min_ms")]
    min: Option<u64>,

    /// End after this many seconds
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    duration: Option<Duration>,

    #[command(flatten)]
    general: General,
}

/// A tool for one file system.
macro_rules! slower {
    ($tool:ident, $args:ident, $name:literal, $about:literal, $fs:ident) => {
        #[derive(Parser, Debug)]
        #[command(
                    about = concat!("Trace ", $about, " operations slower than a threshold"),
                    after_help = concat!("\
Examples:
  ", $name, "          trace operations slower than 10 ms
  ", $name, " 1        trace operations slower than 1 ms
  ", $name, " -j 1     ... as comma-separated values
  ", $name, " 0        trace all operations
  ", $name, " -p 185   only process 185
  ", $name, " --json   one JSON object per line")
                )]
        pub struct $args {
            #[command(flatten)]
            options: Options,
        }

        pub struct $tool;

        impl Tool for $tool {
            const NAME: &'static str = $name;
            const SUBSYSTEM: Subsystem = Subsystem::Files;
            const OBJECT: &'static [u8] = bpf_object!("fsslower");
            const HOOKS: &'static [Hook] = &[$fs.hook];
            type Args = $args;

            fn run(name: &str, args: $args) -> Result<()> {
                run_classic(name, &$fs, args.options)
            }
        }
    };
}

slower!(Ext4slower, Ext4Args, "ext4slower", "ext4", EXT4);
slower!(Xfsslower, XfsArgs, "xfsslower", "XFS", XFS);
slower!(Btrfsslower, BtrfsArgs, "btrfsslower", "btrfs", BTRFS);
slower!(Nfsslower, NfsArgs, "nfsslower", "NFS", NFS);
slower!(F2fsslower, F2fsArgs, "f2fsslower", "F2FS", F2FS);
slower!(Zfsslower, ZfsArgs, "zfsslower", "ZFS", ZFS);

fn run_classic(name: &str, fs: &'static FileSystem, options: Options) -> Result<()> {
    let min_ms = options.min.unwrap_or(options.min_ms);
    let title = fs.title;
    let nfs = fs.name == NFS.name;
    let banner = match (min_ms, nfs) {
        (0, false) => format!("Tracing {title} operations"),
        (_, false) => format!("Tracing {title} operations slower than {min_ms} ms"),
        (0, true) => format!("Tracing {title} operations... Ctrl-C to quit"),
        (_, true) => {
            format!("Tracing {title} operations that are slower than {min_ms} ms... Ctrl-C to quit")
        }
    };
    let pid_width = if fs.name == BTRFS.name { 7 } else { 6 };
    Trace {
        fs: Some(fs),
        hook: &fs.hook,
        layout: Layout::Bcc { pid_width },
        banner,
        pid: options.pid,
        min_ns: longer_than(min_ms),
        all_files: false,
        csv: options.csv,
        duration: options.duration,
        general: options.general,
    }
    .run(name)
}

/// Trace file system operations slower than a threshold
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  fsslower -t ext4          trace ext4 operations slower than 10 ms
  fsslower -t nfs -p 1216   trace nfs operations of process 1216
  fsslower -t xfs -c -d 1   trace xfs operations for a second, as comma-separated values
  fsslower -t btrfs -m 0    trace all btrfs operations
  fsslower -t ext4 --json   one JSON object per line")]
pub struct FsArgs {
    /// Which file system to trace
    #[arg(short = 't', long = "type", value_name = "FS", value_parser = file_systems())]
    fs: &'static str,

    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Only operations that take longer than this many milliseconds; 0: all
    #[arg(short, long, value_name = "MS", default_value = "10", value_parser = milliseconds())]
    min: u64,

    /// End after this many seconds
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Comma-separated values
    #[arg(short, long, conflicts_with = "json")]
    csv: bool,

    #[command(flatten)]
    general: General,
}

/// The names of the file systems, as clap wants them.
fn file_systems() -> impl clap::builder::TypedValueParser<Value = &'static str> {
    PossibleValuesParser::new(ALL.iter().map(|fs| fs.name)).map(|name| {
        let found = ALL.iter().find(|fs| fs.name == name);
        found.map_or("", |fs| fs.name)
    })
}

pub struct Fsslower;

impl Tool for Fsslower {
    const NAME: &'static str = "fsslower";
    const SUBSYSTEM: Subsystem = Subsystem::Files;
    const OBJECT: &'static [u8] = bpf_object!("fsslower");
    const HOOKS: &'static [Hook] = &[FUSE.hook];
    type Args = FsArgs;

    fn run(name: &str, args: FsArgs) -> Result<()> {
        let fs = ALL.iter().find(|fs| fs.name == args.fs).unwrap_or(&&EXT4);
        let slower = match args.min {
            0 => String::new(),
            ms => format!(" slower than {ms} ms"),
        };
        let end = match args.duration {
            Some(duration) => format!(" for {} secs.", duration.as_secs()),
            None => "... Hit Ctrl-C to end.".to_owned(),
        };
        Trace {
            fs: Some(fs),
            hook: &fs.hook,
            layout: Layout::Libbpf,
            banner: format!("Tracing {} operations{slower}{end}", fs.name),
            pid: args.pid,
            min_ns: longer_than(args.min),
            all_files: false,
            csv: args.csv,
            duration: args.duration,
            general: args.general,
        }
        .run(name)
    }
}

/// Trace slow synchronous file reads and writes
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  fileslower          trace reads and writes of files that take 10 ms and more
  fileslower 1        trace reads and writes that take 1 ms and more
  fileslower 0        trace all reads and writes
  fileslower -a 1     also of sockets, devices and the like
  fileslower -p 185   only process 185
  fileslower --json   one JSON object per line")]
pub struct FileArgs {
    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// Also what is no regular file: sockets, devices and the like
    #[arg(short, long)]
    all_files: bool,

    /// Only reads and writes that take at least this many milliseconds
    #[arg(value_name = "min_ms", default_value = "10", value_parser = milliseconds())]
    min_ms: u64,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

pub struct Fileslower;

impl Tool for Fileslower {
    const NAME: &'static str = "fileslower";
    const SUBSYSTEM: Subsystem = Subsystem::Files;
    const OBJECT: &'static [u8] = bpf_object!("fsslower");
    const HOOKS: &'static [Hook] = &[ANY];
    type Args = FileArgs;

    fn run(name: &str, args: FileArgs) -> Result<()> {
        Trace {
            fs: None,
            hook: &ANY,
            layout: Layout::Files,
            banner: format!("Tracing sync read/writes slower than {} ms", args.min_ms),
            pid: args.pid,
            min_ns: args.min_ms * 1_000_000,
            all_files: args.all_files,
            csv: false,
            duration: args.run_time.duration,
            general: args.general,
        }
        .run(name)
    }
}

/// The least latency that is longer than `ms`, to the microsecond, as the
/// classics compare them; 0 is for all.
fn longer_than(ms: u64) -> u64 {
    match ms {
        0 => 0,
        _ => ms * 1_000_000 + 1_000,
    }
}

/// What one of the tools is to do.
struct Trace {
    /// `None`: any.
    fs: Option<&'static FileSystem>,
    hook: &'static Hook,
    layout: Layout,
    banner: String,
    pid: Option<u32>,
    min_ns: u64,
    all_files: bool,
    csv: bool,
    duration: Option<Duration>,
    general: General,
}

impl Trace {
    fn run(self, name: &str) -> Result<()> {
        let mut session = Session::new(name, &self.general, self.duration)?;
        if let Some(fs) = self.fs {
            fs.check()?;
        }
        let format = self.general.format(self.csv);
        let mut getattr_has_idmap = false;
        let is_nfs = self.fs.is_some_and(|fs| fs.name == NFS.name);
        if is_nfs {
            let params = KernelBtf::load()?.function_params("simple_getattr");
            getattr_has_idmap = params == Some(5);
        }
        let attached = session.load::<skel::FsslowerSkelBuilder>(&[self.hook], |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.min_ns = self.min_ns;
                rodata.want_cgroup = (format == Format::Json).into();
                rodata.any_fs = self.fs.is_none().into();
                rodata.regular_only = (!self.all_files).into();
                rodata.fs_magic = self.fs.map_or(0, |fs| fs.magic);
                rodata.getattr_has_idmap = getattr_has_idmap.into();
                rodata.filter_tgid = self.pid.unwrap_or(0);
                rodata.filter_cgroup = self.general.cgroup_id();
            }
            open.maps.commits.set_autocreate(is_nfs)?;
            open.maps.cgroupset.set_autocreate(false)?;
            open.maps.mntnsset.set_autocreate(false)?;
            Ok(())
        })?;
        if attached.used.iter().any(|(_, way)| CALLS.contains(way)) {
            session.warn(
                "shows system calls, for the kernel's functions cannot be traced: \
                 not io_uring, and not the kernel's own I/O",
            );
        }
        if format == Format::Text {
            session.out.line(&self.banner);
        }
        let table = self.layout.table(format);
        table.header(session.out.buffer());
        session.ready()?;

        let mut clock = EventClock::now();
        let start_ns = common::time::monotonic_ns();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, tail) = decode::<fsslower_event>(record)?;
                let row = Row {
                    since_ns: event.ts_ns.saturating_sub(start_ns),
                    clock: clock.follow(event.ts_ns),
                    name: (event.name_size > 0).then(|| tail.to_vec()),
                    event,
                };
                table.row(&row, out);
                Ok(())
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_the_classics() {
        assert_eq!(longer_than(0), 0);
        // 10.000999 ms are 10,000 µs, which are no more than 10 ms.
        assert_eq!(longer_than(10), 10_001_000);
    }

    #[test]
    fn f2fs_has_another_letter() {
        let args = F2fsArgs::try_parse_from(["f2fsslower", "-s", "-p", "7", "3"]).unwrap();
        assert!(args.options.csv);
        assert_eq!((args.options.pid, args.options.min_ms), (Some(7), 3));
    }
}
