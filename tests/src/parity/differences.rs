// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where ours differs from the packaged classic on purpose. Each entry undoes its
//! difference in what the two printed; what is left makes parity fail. The table
//! is printed into `docs/compat-with-bcc.md`.

use super::counts::Counts;
use super::hist::{Buckets, without_average};
use super::stacks::{Row, Stacks};
use super::sums::Sums;
use super::table::Table;
use super::work::{IO_NAME, MAPPED_BYTES};
use super::{Case, Output, Work};

/// A tool's output and exit code.
type Side<'a> = (&'a mut Output, &'a mut i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The classic is wrong.
    Wrong,
    /// A later BCC than the packaged one does as ours.
    Newer,
    /// Ours shows or allows more.
    More,
}

impl Why {
    pub fn text(self) -> &'static str {
        match self {
            Self::Wrong => "wrong in BCC",
            Self::Newer => "newer BCC",
            Self::More => "more in ours",
        }
    }
}

pub struct Difference {
    pub id: &'static str,
    pub tools: &'static [&'static str],
    /// What the option or situation is.
    pub what: &'static str,
    pub classic: &'static str,
    pub ours: &'static str,
    pub why: Why,
    pub reason: &'static str,
    /// Makes both alike; whether there was anything to do. First is the classic's.
    pub undo: fn(&Case, Side, Side) -> bool,
}

pub static DIFFERENCES: &[Difference] = &[
    Difference {
        id: "vfs-note",
        tools: &["fileslower"],
        what: "kernels without `__vfs_read()`",
        classic: "begins with two lines on standard output that say so",
        ours: "`--verbose` tells the hooks on standard error",
        why: Why::More,
        reason: "No kernel has had it since 5.10, and standard output is for rows.",
        undo: |_, theirs, _| {
            drop_before(theirs.0, |line| line.starts_with("Current kernel does not"))
        },
    },
    Difference {
        id: "xfs-literals",
        tools: &["xfsslower"],
        what: "names",
        classic: "Python literals, such as `b'name'`",
        ours: "the names",
        why: Why::Wrong,
        reason: "The literals come of Python 3; the columns do not fit them.",
        undo: xfs_literals,
    },
    Difference {
        id: "btrfs-reads",
        tools: &["btrfsslower"],
        what: "reads",
        classic: "not shown",
        ours: "shown",
        why: Why::Wrong,
        reason: "BCC traces a function that btrfs has not read by since Linux 5.10.",
        undo: btrfs_reads,
    },
    Difference {
        id: "kretprobe-reads",
        tools: &["fileslower"],
        what: "reads on 5.10",
        classic: "not shown; the last is shown as a write, at the next write that is none of a file",
        ours: "shown",
        why: Why::Wrong,
        reason: "Whoever waits in a read holds one of the few slots that the kernel has for returns.",
        undo: kretprobe_reads,
    },
    Difference {
        id: "wide-addresses",
        tools: &["tcpstates", "tcplife"],
        what: "`-w`",
        classic: "addresses have 26 columns",
        ours: "39 columns",
        why: Why::Newer,
        reason: "An IPv6 address has up to 39 characters; BCC has the wider columns since 0.29.",
        undo: wide_addresses,
    },
    Difference {
        id: super::journal::NO_IPV6,
        tools: &["tcpstates"],
        what: "`-Y` with IPv6",
        classic: "no entry in the journal",
        ours: "an entry for every row",
        why: Why::Wrong,
        reason: "BCC packs the address as if it had 32 bits; the exception is lost in its callback.",
        undo: |_, _, _| false, // what is in the journal is compared apart
    },
    Difference {
        id: "source",
        tools: &["tcpconnlat"],
        what: "`-v`",
        classic: "its BPF program in C",
        ours: "its own BPF program in C",
        why: Why::More,
        reason: "Each prints the program that it runs.",
        undo: |case, theirs, ours| {
            case.prints_source() && drop_before(theirs.0, |_| true) & drop_before(ours.0, |_| true)
        },
    },
    Difference {
        id: "tracepoint-warning",
        tools: &["tcpdrop"],
        what: "where `tcp_drop()` cannot be traced",
        classic: "begins with a warning on standard output",
        ours: "`--verbose` tells the hooks on standard error",
        why: Why::More,
        reason: "Every kernel from 5.19 on lacks that function, and standard output is for rows.",
        undo: |_, theirs, _| drop_before(theirs.0, |line| line.starts_with("WARNING: tcp_drop()")),
    },
    Difference {
        id: "reason",
        tools: &["tcpdrop"],
        what: "all modes",
        classic: "no reason",
        ours: "column `REASON (CODE)`",
        why: Why::Newer,
        reason: "BCC has the column since 0.34.",
        undo: drop_reason,
    },
    Difference {
        id: "frames",
        tools: &["tcpdrop"],
        what: "stacks",
        classic: "frames as Python literals, `b'name+0x1'`, the first of them the tracing's own",
        ours: "`name+0x1`, from the function that freed the packet on",
        why: Why::Wrong,
        reason: "The literals come of Python 3; the tracing's frames say nothing of the drop.",
        undo: frames,
    },
    Difference {
        id: "stack-collision",
        tools: &["tcpdrop"],
        what: "stacks whose hashes are alike",
        classic: "a row without a stack and without the empty line",
        ours: "every row has its stack",
        why: Why::Wrong,
        reason: "BCC's table of stacks takes none that collides with another, and Python's callback ends there.",
        undo: collisions,
    },
    Difference {
        id: "no-socket",
        tools: &["tcpdrop"],
        what: "packets that no socket owns",
        classic: "not shown",
        ours: "shown, with state `-`",
        why: Why::More,
        reason: "Most drops of packets that come in have no socket yet, such as SYNs to a closed port.",
        undo: no_socket,
    },
    Difference {
        id: "mode",
        tools: &["opensnoop"],
        what: "`-e`",
        classic: "column `FLAGS`",
        ours: "columns `FLAGS` and `MODE`",
        why: Why::Newer,
        reason: "Later versions of BCC have the column.",
        undo: mode_column,
    },
    Difference {
        id: "long-names",
        tools: &["opensnoop"],
        what: "names of more than 254 bytes",
        classic: "cut",
        ours: "up to 4095 bytes",
        why: Why::More,
        reason: "The beginning of a name does not tell the file.",
        undo: long_names,
    },
    Difference {
        id: "full-path",
        tools: &["opensnoop"],
        what: "`-F` below a mount point or a directory descriptor",
        classic: "the path ends at the root of the file system, and begins at the working directory",
        ours: "goes on across mount points, and begins at the descriptor's directory",
        why: Why::Wrong,
        reason: "Later versions of BCC cross mount points; none knows directory descriptors.",
        undo: full_path,
    },
    Difference {
        id: "comm-title",
        tools: &["execsnoop"],
        what: "the name of the program",
        classic: "column `PCOMM`",
        ours: "column `COMM`",
        why: Why::Newer,
        reason: "BCC calls it so since it has `-M`, which shows the parent's name as `PCOMM`.",
        undo: comm_title,
    },
    Difference {
        id: "execveat",
        tools: &["execsnoop"],
        what: "execveat(2), fexecve(3)",
        classic: "not shown",
        ours: "shown",
        why: Why::Wrong,
        reason: "They start programs, too.",
        undo: execveat,
    },
    Difference {
        id: "control-characters",
        tools: &["execsnoop"],
        what: "control characters",
        classic: "as they are, but for newlines",
        ours: "escaped, such as `\\t`",
        why: Why::Wrong,
        reason: "Whoever starts a program could drive the terminal.",
        undo: control_characters,
    },
    Difference {
        id: "long-arguments",
        tools: &["execsnoop"],
        what: "arguments of more than 128 bytes",
        classic: "cut",
        ours: "whole",
        why: Why::More,
        reason: "What tells two commands apart is often at the end.",
        undo: long_arguments,
    },
    Difference {
        id: "more-arguments",
        tools: &["execsnoop"],
        what: "`--max-args` arguments and more",
        classic: "an empty one behind them, also when there are no more",
        ours: "`...` behind them when there are more",
        why: Why::Wrong,
        reason: "BCC has its `...` in the kernel's memory, and looks for it in the program's.",
        undo: more_arguments,
    },
    Difference {
        id: "disks-and-flags",
        tools: &["biolatency"],
        what: "`-D` with `-F`",
        classic: "refused, with exit code 0",
        ours: "a histogram for each disk and set of flags",
        why: Why::More,
        reason: "Nothing else shows which disk gets which operations.",
        undo: disks_and_flags,
    },
    Difference {
        id: "no-disk",
        tools: &["biosnoop"],
        what: "`-d` with a disk that is not there",
        classic: "refused, on standard output and with exit code 1",
        ours: "refused, on standard error and with exit code 2",
        why: Why::More,
        reason: "It is a usage error, as other wrong arguments are.",
        undo: no_disk,
    },
    Difference {
        id: "makers",
        tools: &["bitesize"],
        what: "`Process Name`",
        classic: "the task that hands the request to the driver, often a thread of the kernel",
        ours: "the process that made it",
        why: Why::Wrong,
        reason: "Schedulers and busy devices leave requests to whoever comes by.",
        undo: makers,
    },
    Difference {
        id: "arguments",
        tools: &["bitesize"],
        what: "any argument, also `--help`",
        classic: "none is looked at",
        ours: "`--help`, an interval and a count, and options",
        why: Why::More,
        reason: "The options are those of libbpf-tools.",
        undo: |_, _, _| false, // the classic has no case with arguments
    },
    Difference {
        id: "count-dns",
        tools: &["tcpconnect"],
        what: "`-c` with `-d`",
        classic: "refused, on standard output and with exit code 0",
        ours: "refused, on standard error and with exit code 2",
        why: Why::Wrong,
        reason: "Scripts take 0 for success; later versions of BCC exit with 1.",
        undo: count_dns,
    },
    Difference {
        id: "count-ports",
        tools: &["tcpconnect"],
        what: "`-c` with `-L`",
        classic: "as without `-L`",
        ours: "counts by local port as well, in a column of its own",
        why: Why::More,
        reason: "What is asked for; libbpf-tools does so, too.",
        undo: count_ports,
    },
    Difference {
        id: "failed-connects",
        tools: &["tcplife"],
        what: "`-L` and connects that fail",
        classic: "not shown",
        ours: "shown",
        why: Why::Wrong,
        reason: "BCC looks for the local port when a connect begins, before the kernel has chosen it.",
        undo: failed_connects,
    },
    Difference {
        id: "clear",
        tools: &["tcptop"],
        what: "without `-C`, where the output is no terminal",
        classic: "the terminal's sequences that clear the screen",
        ours: "an empty line, as with `-C`",
        why: Why::Wrong,
        reason: "There is no screen in a file or a pipe.",
        undo: clear,
    },
    Difference {
        id: "comm-literal",
        tools: &["tcptop"],
        what: "`COMM`",
        classic: "a Python literal, `b'wget'`, cut to 12 characters",
        ours: "`wget`",
        why: Why::Wrong,
        reason: "The literals come of Python 3.",
        undo: comm_literal,
    },
    Difference {
        id: "debug",
        tools: &["tcprtt"],
        what: "`-D`",
        classic: "its BPF program in C comes first, on standard output",
        ours: "as `--verbose`: the hooks, on standard error",
        why: Why::More,
        reason: "Ours is not compiled at run time, and standard output is for reports.",
        undo: debug,
    },
    Difference {
        id: "remote-address",
        tools: &["tcprtt"],
        what: "`-B`",
        classic: "`Remote Addres = `",
        ours: "`Remote Address = `",
        why: Why::Newer,
        reason: "BCC has the letter since 0.36.",
        undo: remote_address,
    },
    Difference {
        id: "ipv6-addresses",
        tools: &["tcprtt"],
        what: "`-b`, `-B` with IPv6",
        classic: "one histogram, of `*******`, and one of 127.0.0.6",
        ours: "one for each address",
        why: Why::Wrong,
        reason: "BCC takes the socket's IPv4 address, which the kernel fills with a word of no meaning.",
        undo: ipv6_addresses,
    },
    Difference {
        id: "mapped-addresses",
        tools: &["tcprtt"],
        what: "`-b`, `-B` with v4-mapped addresses",
        classic: "counted with the IPv4 address",
        ours: "a histogram of its own, of `::ffff:192.0.2.1`",
        why: Why::More,
        reason: "The socket is one of IPv6, as `-6` has it.",
        undo: mapped_addresses,
    },
    Difference {
        id: "average",
        tools: &["tcprtt"],
        what: "`-e` with `-m`",
        classic: "the average of milliseconds that are cut off already",
        ours: "the average, cut off",
        why: Why::Wrong,
        reason: "Round-trip times of 900 microseconds are not 0 on average.",
        undo: average,
    },
    Difference {
        id: "mapped-bytes",
        tools: &["tcpsubnet"],
        what: "v4-mapped addresses",
        classic: "not counted",
        ours: "counted for the IPv4 subnet",
        why: Why::More,
        reason: "The packets go to that subnet.",
        undo: mapped_bytes,
    },
    Difference {
        id: "mapped-connects",
        tools: &["tcptracer"],
        what: "connects to v4-mapped addresses",
        classic: "not shown, but with `-6`",
        ours: "shown",
        why: Why::Wrong,
        reason: "BCC notes the connect as one of IPv4 and looks for one of IPv6.",
        undo: mapped_connects,
    },
    Difference {
        id: "previous-namespace",
        tools: &["runqlat"],
        what: "`--pidnss`",
        classic: "by the namespace of the task that was on the CPU before",
        ours: "by that of the task that has waited",
        why: Why::Wrong,
        reason: "The wait is that of the other; libbpf-tools has it so as well.",
        undo: previous_namespace,
    },
    Difference {
        id: "ranges",
        tools: &["runqlat"],
        what: "`-P`, `-L`, `--pidnss`",
        classic: "64 ranges of all histograms together, and of a range often only a part, without a word",
        ours: "all waits; up to 65536 parts of 16 ranges each, and what comes after is told as lost",
        why: Why::Wrong,
        reason: "BCC's table has room for 64 ranges, and a range is in it several times, by what happens \
                 to be in the gap of its key; the last of them is shown.",
        undo: ranges,
    },
    Difference {
        id: "on-its-way-to-sleep",
        tools: &["runqlat"],
        what: "a task that has to leave the CPU on its way to sleep, in kernels that preempt themselves",
        classic: "its wait is not counted",
        ours: "counted",
        why: Why::Wrong,
        reason: "It can run, and comes back to the CPU before it sleeps.",
        undo: |_, _, _| false, // the kernels that all modes are captured on do not
    },
    Difference {
        id: "folios",
        tools: &["cachestat"],
        what: "hits and misses from Linux 5.16 on",
        classic: "next to none: it counts functions that are hardly called any more",
        ours: "counted where pages are looked up and come into the cache, page by page",
        why: Why::Newer,
        reason: "A later BCC counts calls of the functions for folios, whatever their pages.",
        undo: folios,
    },
    Difference {
        id: "lookups-of-writes",
        tools: &["cachestat"],
        what: "reads while files are written",
        classic: "hits are fewer by the buffers that were dirtied, misses by the pages",
        ours: "only lookups of metadata are fewer, and misses by the pages that a write made",
        why: Why::Wrong,
        reason: "Linux has not noted an access for the data of a write since 4.7.",
        undo: lookups_of_writes,
    },
    Difference {
        id: "equal-stacks",
        tools: &["profile"],
        what: "stacks of the same functions",
        classic: "one for each instruction that was sampled, which look alike",
        ours: "one",
        why: Why::More,
        reason: "What is shown twice is one place; folded stacks are summed up by who reads them anyway.",
        undo: equal_stacks,
    },
    Difference {
        id: "innermost-twice",
        tools: &["profile"],
        what: "the innermost function of the kernel",
        classic: "shown twice",
        ours: "shown once",
        why: Why::Wrong,
        reason: "BCC adds it for kernels that left it out.",
        undo: innermost_twice,
    },
    Difference {
        id: "rust-names",
        tools: &["profile"],
        what: "names of Rust functions",
        classic: "read as C++, with a hash at the end, or not at all",
        ours: "as Rust has them",
        why: Why::More,
        reason: "The hash is nobody's name.",
        undo: rust_names,
    },
];

fn counts(output: &mut Output) -> Option<&mut Counts> {
    match output {
        Output::Counts(counts) => Some(counts),
        _ => None,
    }
}

fn folios(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (counts(theirs.0), counts(ours.0)) else {
        return false;
    };
    let lookups = |counts: &Counts| counts.sums(usize::MAX).iter().take(2).sum::<u64>();
    let differ = lookups(theirs) < lookups(ours) / 4;
    theirs.lookups &= !differ;
    differ
}

fn lookups_of_writes(case: &Case, theirs: Side, _: Side) -> bool {
    let Some(theirs) = counts(theirs.0) else {
        return false;
    };
    let writes = case.work == Work::Dirties;
    theirs.lookups &= !writes;
    writes
}

fn stacks(output: &mut Output) -> Option<&mut Stacks> {
    match output {
        Output::Stacks(stacks) => Some(stacks),
        _ => None,
    }
}

/// Those of the classic that look alike, added up.
fn equal_stacks(_: &Case, (theirs, _): Side, _: Side) -> bool {
    let Some(stacks) = stacks(theirs) else {
        return false;
    };
    let before = stacks.rows.len();
    let mut rows = Vec::<Row>::new();
    for row in std::mem::take(&mut stacks.rows) {
        let same = |other: &&mut Row| {
            (&other.comm, &other.pid, &other.frames) == (&row.comm, &row.pid, &row.frames)
        };
        match rows.iter_mut().find(same) {
            Some(same) => same.count += row.count,
            None => rows.push(row),
        }
    }
    stacks.rows = rows;
    stacks.rows.len() < before
}

fn innermost_twice(case: &Case, (theirs, _): Side, _: Side) -> bool {
    let Some(stacks) = stacks(theirs) else {
        return false;
    };
    if case.args.contains(&"-U") {
        return false;
    }
    let mut changed = false;
    for row in &mut stacks.rows {
        let innermost = row.frames.first();
        if innermost.is_some() && innermost == row.frames.get(1) {
            row.frames.remove(0);
            changed = true;
        }
    }
    changed
}

fn rust_names(_: &Case, (theirs, _): Side, (ours, _): Side) -> bool {
    let without_hash = |frame: &mut String| {
        let found = frame.rsplit_once("::h").filter(|(_, hash)| {
            hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let name = found.map(|(name, _)| name.to_owned());
        name.map(|name| *frame = name).is_some()
    };
    // Ours have none; a capture takes the part of both in a test.
    [ours, theirs].map(|output| {
        let rows = stacks(output).map(|stacks| stacks.rows.iter_mut());
        let frames = rows.into_iter().flatten().flat_map(|row| &mut row.frames);
        frames.map(without_hash).filter(|changed| *changed).count() > 0
    })[1]
}

fn table(output: &mut Output) -> Option<&mut Table> {
    match output {
        Output::Rows(table) => Some(table),
        _ => None,
    }
}

fn sums(output: &mut Output) -> Option<&mut Sums> {
    match output {
        Output::Sums(sums) => Some(sums),
        _ => None,
    }
}

/// Gives histograms other titles; whether there were any.
fn rename(output: &mut Output, new: impl Fn(&str) -> Option<String>) -> bool {
    let Output::Histograms(reports) = output else {
        return false;
    };
    let mut changed = false;
    let reports = reports.reports.iter_mut();
    for (title, _) in reports.flat_map(|report| &mut report.sections) {
        if let Some(new) = new(title) {
            *title = new;
            changed = true;
        }
    }
    changed
}

/// Removes lines before the header.
fn drop_before(output: &mut Output, which: fn(&str) -> bool) -> bool {
    let Some(table) = table(output) else {
        return false;
    };
    let lines = table.before.len();
    table.before.retain(|line| !which(line));
    table.before.len() < lines
}

/// `b'name'` as `name`, in columns of the same width.
fn xfs_literals(case: &Case, theirs: Side, _: Side) -> bool {
    let Some(table) = table(theirs.0) else {
        return false;
    };
    let csv = case.args.iter().any(|arg| ["-j", "--csv"].contains(arg));
    let mut found = false;
    for row in &mut table.rows {
        let Some((before, comm, rest)) = literal(row) else {
            continue;
        };
        let Some((between, file, after)) = literal(&rest) else {
            continue;
        };
        let comm = if csv { comm } else { format!("{comm}   ") };
        *row = format!("{before}{comm}{between}{file}{after}");
        found = true;
    }
    found
}

/// What is before the first `b'...'`, what is in it, and what is behind.
fn literal(text: &str) -> Option<(String, String, String)> {
    let (before, rest) = text.split_once("b'")?;
    let (name, after) = rest.split_once('\'')?;
    Some((before.to_owned(), name.to_owned(), after.to_owned()))
}

fn btrfs_reads(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (table(theirs.0), table(ours.0)) else {
        return false;
    };
    let is_read = |row: &String| row.contains(" R ") || row.contains(",R,");
    if theirs.rows.iter().any(is_read) {
        return false;
    }
    let rows = ours.rows.len();
    ours.rows.retain(|row| !is_read(row));
    ours.rows.len() < rows
}

fn kretprobe_reads(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (table(theirs.0), table(ours.0)) else {
        return false;
    };
    if theirs.rows.iter().any(|row| row.contains(" R ")) {
        return false;
    }
    let all = std::mem::take(&mut ours.rows);
    let (reads, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|row| row.contains(" R "));
    ours.rows = others;
    let reads: Vec<_> = reads
        .iter()
        .filter_map(|row| what_and_where(row, "R"))
        .collect();
    theirs
        .rows
        .retain(|row| what_and_where(row, "W").is_none_or(|write| !reads.contains(&write)));
    !reads.is_empty()
}

/// Bytes and file of a row of that type.
fn what_and_where(row: &str, kind: &str) -> Option<(String, String)> {
    let mut cells = row.split_whitespace().skip_while(|cell| *cell != kind);
    let (bytes, _latency) = (cells.nth(1)?, cells.next()?);
    Some((bytes.to_owned(), cells.next()?.to_owned()))
}

fn wide_addresses(_: &Case, theirs: Side, _: Side) -> bool {
    let Some(table) = table(theirs.0) else {
        return false;
    };
    let Some(header) = &mut table.header else {
        return false;
    };
    // Cells of one width to the other: blanks after each.
    let narrow = format!("{:<26} ", "LADDR");
    if !header.contains(&format!(" {narrow}LPORT")) {
        return false;
    }
    let left = header.find("LADDR").unwrap_or(0);
    let right = header.find("RADDR").unwrap_or(0);
    let widen = |line: &mut String| {
        for at in [right + 26, left + 26] {
            if line.is_char_boundary(at) {
                line.insert_str(at, &" ".repeat(13));
            }
        }
    };
    widen(header);
    table.rows.iter_mut().for_each(widen);
    true
}

fn drop_reason(_: &Case, _: Side, ours: Side) -> bool {
    let Some(table) = table(ours.0) else {
        return false;
    };
    let Some(header) = &mut table.header else {
        return false;
    };
    let Some(cut) = header.find(" REASON (CODE)") else {
        return false;
    };
    let text = header[..cut].trim_end().to_owned();
    *header = text;
    for row in &mut table.rows {
        let (line, rest) = row.split_once('\n').unwrap_or((row, ""));
        if let Some(end) = line.find(')') {
            *row = format!("{}\n{rest}", &line[..=end]);
        }
    }
    true
}

/// What a stack that BCC takes in a tracepoint begins with.
const TRACING: &[&str] = &[
    "__traceiter_",
    "__bpf_trace_",
    "bpf_trace_run",
    "bpf_prog_",
    "perf_",
    "trace_call_bpf",
];

fn frames(_: &Case, theirs: Side, _: Side) -> bool {
    let Some(table) = table(theirs.0) else {
        return false;
    };
    let mut changed = false;
    for row in &mut table.rows {
        let mut is_tracing = true;
        let lines = row.split('\n').filter_map(|line| {
            let Some(name) = line
                .strip_prefix("\tb'")
                .and_then(|rest| rest.strip_suffix('\''))
            else {
                return Some(line.to_owned());
            };
            changed = true;
            is_tracing &= TRACING.iter().any(|prefix| name.starts_with(prefix));
            (!is_tracing).then(|| format!("\t{name}"))
        });
        *row = lines.collect::<Vec<_>>().join("\n");
    }
    changed
}

fn collisions(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (table(theirs.0), table(ours.0)) else {
        return false;
    };
    // Without the time.
    let event = |row: &str| {
        row.lines()
            .next()
            .and_then(|line| line.get(9..))
            .map(str::to_owned)
    };
    let mut changed = false;
    for bare in theirs.rows.iter().filter(|row| !row.contains('\n')) {
        let same = |row: &&mut String| row.contains('\n') && event(row) == event(bare);
        if let Some(row) = ours.rows.iter_mut().find(same) {
            let line = row.lines().next().unwrap_or_default().to_owned();
            *row = line;
            changed = true;
        }
    }
    changed
}

fn no_socket(_: &Case, _: Side, ours: Side) -> bool {
    let Some(table) = table(ours.0) else {
        return false;
    };
    let rows = table.rows.len();
    table.rows.retain(|row| !row.contains(":7009 "));
    table.rows.len() < rows
}

fn mode_column(_: &Case, _: Side, ours: Side) -> bool {
    let Some(table) = table(ours.0) else {
        return false;
    };
    let Some(header) = &mut table.header else {
        return false;
    };
    let Some(at) = header.find("MODE ") else {
        return false;
    };
    let cut = |line: &mut String| {
        if line.is_char_boundary(at) && line.is_char_boundary(at + 5) && line.len() > at + 5 {
            line.replace_range(at..at + 5, "");
        }
    };
    cut(header);
    table.rows.iter_mut().for_each(cut);
    true
}

fn long_names(_: &Case, _: Side, ours: Side) -> bool {
    let Some(table) = table(ours.0) else {
        return false;
    };
    let mut changed = false;
    for row in &mut table.rows {
        let end = row.rfind(" /").map(|blank| blank + 1 + 254);
        if let Some(end) = end.filter(|&end| row.len() > end && row.is_char_boundary(end)) {
            row.truncate(end);
            changed = true;
        }
    }
    changed
}

fn full_path(case: &Case, theirs: Side, ours: Side) -> bool {
    if !case.args.contains(&"-F") {
        return false;
    }
    // What the workload opens by relative names; the classic leaves out the mount point,
    // and knows the working directory alone.
    let right = [
        " /tmp/like-bcc/like-bcc.relative",
        " /tmp/like-bcc/sub/like-bcc.relative",
    ];
    let wrong = [" /like-bcc/like-bcc.relative", right[0]];
    let mut changed = false;
    for (output, names) in [(theirs.0, wrong), (ours.0, right)] {
        for row in table(output).into_iter().flat_map(|table| &mut table.rows) {
            if let Some(name) = names.iter().find(|name| row.ends_with(*name)) {
                row.truncate(row.len() - name.len());
                row.push_str(" (relative)");
                changed = true;
            }
        }
    }
    changed
}

fn comm_title(_: &Case, theirs: Side, _: Side) -> bool {
    let header = table(theirs.0).and_then(|table| table.header.as_mut());
    let Some(header) = header.filter(|header| header.contains("PCOMM ")) else {
        return false;
    };
    *header = header.replace("PCOMM ", "COMM  ");
    true
}

fn execveat(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (table(theirs.0), table(ours.0)) else {
        return false;
    };
    let is_one = |row: &String| row.starts_with("below ") || row.contains(" below ");
    if theirs.rows.iter().any(is_one) {
        return false;
    }
    let rows = ours.rows.len();
    ours.rows.retain(|row| !is_one(row));
    ours.rows.len() < rows
}

fn control_characters(_: &Case, theirs: Side, _: Side) -> bool {
    let mut changed = false;
    for row in table(theirs.0)
        .into_iter()
        .flat_map(|table| &mut table.rows)
    {
        if row.contains('\t') {
            *row = row.replace('\t', "\\t");
            changed = true;
        }
    }
    changed
}

fn long_arguments(_: &Case, _: Side, ours: Side) -> bool {
    // The workload's only one.
    let cut = "z".repeat(128);
    let mut changed = false;
    for row in table(ours.0).into_iter().flat_map(|table| &mut table.rows) {
        if let Some((before, rest)) = row.split_once(&cut) {
            *row = format!("{before}{cut}{}", rest.trim_start_matches('z'));
            changed = true;
        }
    }
    changed
}

fn more_arguments(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (table(theirs.0), table(ours.0)) else {
        return false;
    };
    // From the name of the file on.
    let command = |row: &str| row.split_once("/bin/").map(|(_, rest)| rest.to_owned());
    let own: Vec<_> = ours.rows.iter().map(|row| command(row)).collect();
    let mut changed = false;
    for row in &mut theirs.rows {
        let (all, dots) = match row.strip_suffix(" \"\"") {
            Some(all) => (all, " \"...\""),
            None => (row.strip_suffix(' ').unwrap_or(row), " ..."),
        };
        let same = [all.to_owned(), format!("{all}{dots}")];
        let same = same.into_iter().find(|same| own.contains(&command(same)));
        if let Some(same) = same.filter(|same| same != row) {
            *row = same;
            changed = true;
        }
    }
    changed
}

fn disks_and_flags(case: &Case, theirs: Side, ours: Side) -> bool {
    let (Output::Histograms(classic), Output::Histograms(own)) = (theirs.0, ours.0) else {
        return false;
    };
    if !(case.args.contains(&"-D") && case.args.contains(&"-F")) {
        return false;
    }
    let refused = classic
        .before
        .iter()
        .any(|line| line.starts_with("ERROR: can only use -D or -F"));
    if refused {
        classic.before.clear();
        own.before.clear();
        own.reports.clear();
    }
    refused
}

/// What a thread of the kernel has issued, here always for the workload.
fn makers(_: &Case, theirs: Side, _: Side) -> bool {
    let issuers = "Process Name = kworker/";
    rename(theirs.0, |title| {
        title
            .starts_with(issuers)
            .then(|| format!("Process Name = {IO_NAME}"))
    })
}

fn no_disk(case: &Case, theirs: Side, ours: Side) -> bool {
    let refused = case.name == "no-disk" && (*theirs.1, *ours.1) == (1, 2);
    refused && {
        *ours.1 = *theirs.1;
        drop_before(theirs.0, |line| line.starts_with("no such disk "))
    }
}

fn count_dns(case: &Case, theirs: Side, ours: Side) -> bool {
    let refused = case.args == ["-c", "-d"] && (*theirs.1, *ours.1) == (0, 2);
    refused && {
        *ours.1 = *theirs.1;
        drop_before(theirs.0, |line| line.starts_with("Error: you may not"))
    }
}

fn count_ports(case: &Case, _: Side, ours: Side) -> bool {
    if !case.args.contains(&"-ctUL") {
        return false;
    }
    let Some(table) = table(ours.0) else {
        return false;
    };
    let Some(header) = &mut table.header else {
        return false;
    };
    let column = format!("{:<20} ", "LPORT");
    let Some(at) = header.find(&column) else {
        return false;
    };
    for line in table.rows.iter_mut().chain([header]) {
        line.replace_range(at..at + column.len(), "");
    }
    true
}

fn failed_connects(case: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (table(theirs.0), table(ours.0)) else {
        return false;
    };
    let failed = |row: &String| row.contains(" 7109 ");
    if !case.args.contains(&"-L") || theirs.rows.iter().any(failed) {
        return false;
    }
    let rows = ours.rows.len();
    ours.rows.retain(|row| !failed(row));
    ours.rows.len() < rows
}

fn clear(case: &Case, theirs: Side, _: Side) -> bool {
    if case
        .args
        .iter()
        .any(|arg| arg.starts_with('-') && arg.contains('C'))
    {
        return false;
    }
    let Some(sums) = sums(theirs.0) else {
        return false;
    };
    let mut changed = false;
    for report in &mut sums.reports {
        changed |= !std::mem::take(&mut report.clear).is_empty();
    }
    changed
}

fn comm_literal(_: &Case, theirs: Side, _: Side) -> bool {
    let Some(sums) = sums(theirs.0) else {
        return false;
    };
    let mut changed = false;
    for row in sums.reports.iter_mut().flat_map(|report| &mut report.rows) {
        let name = row
            .comm
            .strip_prefix("b'")
            .and_then(|name| name.strip_suffix('\''));
        if let Some(name) = name.map(str::to_owned) {
            row.comm = name;
            changed = true;
        }
    }
    changed
}

fn debug(case: &Case, theirs: Side, _: Side) -> bool {
    let Output::Histograms(reports) = theirs.0 else {
        return false;
    };
    let source = reports.before.len().saturating_sub(1);
    case.prints_source() && reports.before.drain(..source).count() > 0
}

fn remote_address(_: &Case, theirs: Side, _: Side) -> bool {
    rename(theirs.0, |title| {
        title
            .strip_prefix("Remote Addres = ")
            .map(|rest| format!("Remote Address = {rest}"))
    })
}

/// By which address a histogram is, and that address.
fn by_address(title: &str) -> Option<(&str, &str)> {
    let title = without_average(title).0;
    let (label, addr) = title.split_once(" = ")?;
    label.ends_with("Address").then_some((label, addr))
}

fn ipv6_addresses(_: &Case, theirs: Side, ours: Side) -> bool {
    let one = |is_v6: fn(&str) -> bool| {
        move |title: &str| {
            let (label, addr) = by_address(title)?;
            is_v6(addr).then(|| format!("{label} = (IPv6)"))
        }
    };
    rename(
        theirs.0,
        one(|addr| matches!(addr, "*******" | "127.0.0.6")),
    ) & rename(
        ours.0,
        one(|addr| addr.contains(':') && !addr.contains('.')),
    )
}

fn mapped_addresses(_: &Case, _: Side, ours: Side) -> bool {
    rename(ours.0, |title| {
        title
            .contains(" = ::ffff:")
            .then(|| title.replace("::ffff:", ""))
    })
}

fn average(case: &Case, theirs: Side, ours: Side) -> bool {
    let (Output::Histograms(theirs), Output::Histograms(ours)) = (theirs.0, ours.0) else {
        return false;
    };
    let in_ms = |arg: &&str| arg.starts_with('-') && arg.contains('m');
    if !case.args.iter().any(in_ms) {
        return false;
    }
    let sections = |output| -> Vec<&mut String> {
        let reports: &mut super::hist::Reports = output;
        let sections = reports
            .reports
            .iter_mut()
            .flat_map(|report| &mut report.sections);
        sections.map(|(title, _)| title).collect()
    };
    let (mut changed, mut own) = (false, sections(ours));
    for theirs in sections(theirs) {
        let (title, Some(average)) = without_average(theirs) else {
            continue;
        };
        let same = own.iter_mut().find(|own| {
            let (name, own) = without_average(own);
            name == title && own == Some(average + 1)
        });
        if let Some(own) = same {
            **own = theirs.clone();
            changed = true;
        }
    }
    changed
}

fn mapped_bytes(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (sums(theirs.0), sums(ours.0)) else {
        return false;
    };
    let mapped = MAPPED_BYTES as f64;
    let sum = |sums: &Sums, subnet: &str| {
        let rows = sums.reports.iter().flat_map(|report| &report.rows);
        let values = rows
            .filter(|row| row.key == subnet)
            .flat_map(|row| &row.values);
        values.sum::<f64>() * sums.unit
    };
    let rows = ours.reports.iter().flat_map(|report| &report.rows);
    let subnets = rows
        .map(|row| row.key.clone())
        .collect::<std::collections::BTreeSet<_>>();
    let has_more = |subnet: &&String| sum(ours, subnet) - sum(theirs, subnet) > mapped / 2.0;
    let Some(subnet) = subnets.iter().find(has_more).cloned() else {
        return false;
    };
    ours.subtract(&subnet, mapped);
    true
}

fn mapped_connects(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Some(theirs), Some(ours)) = (table(theirs.0), table(ours.0)) else {
        return false;
    };
    let is_one = |row: &String| {
        row.contains("[::ffff:") && row.split(' ').any(|word| matches!(word, "C" | "connect"))
    };
    if theirs.rows.iter().any(is_one) {
        return false;
    }
    let rows = ours.rows.len();
    ours.rows.retain(|row| !is_one(row));
    ours.rows.len() < rows
}

fn previous_namespace(_: &Case, theirs: Side, ours: Side) -> bool {
    let any = |title: &str| {
        let id = title.strip_prefix("pidns = ");
        id.map(|_| "pidns = (any)".to_owned())
    };
    rename(theirs.0, any) & rename(ours.0, any)
}

/// All cases of these have `-p`: the table has room for each of that process's threads,
/// if not for all ranges.
fn ranges(_: &Case, theirs: Side, ours: Side) -> bool {
    let (Output::Histograms(theirs), Output::Histograms(ours)) = (theirs.0, ours.0) else {
        return false;
    };
    let total = |buckets: &Buckets| buckets.iter().map(|bucket| bucket.1).sum::<u64>();
    let all = ours.reports.iter().map(|report| &report.sections);
    let mut changed = false;
    for (at, of_ours) in all.enumerate().take(theirs.reports.len()) {
        for section in 0..theirs.reports[at].sections.len() {
            let (title, buckets) = &theirs.reports[at].sections[section];
            let Some(task) = theirs.task(title) else {
                continue;
            };
            let same = of_ours
                .iter()
                .find(|same| ours.task(&same.0).as_ref() == Some(&task));
            if let Some((_, more)) = same.filter(|same| total(&same.1) > total(buckets)) {
                theirs.reports[at].sections[section].1.clone_from(more);
                changed = true;
            }
        }
    }
    changed
}
