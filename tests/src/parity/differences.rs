// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where ours differs from the packaged classic on purpose. Each entry undoes its
//! difference in what the two printed; what is left makes parity fail. The table
//! is printed into `docs/compat-with-bcc.md`.

use super::table::Table;
use super::{Case, Output};

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
        id: "wide-addresses",
        tools: &["tcpstates"],
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
        id: "disks-and-flags",
        tools: &["biolatency"],
        what: "`-D` with `-F`",
        classic: "refused, with exit code 0",
        ours: "a histogram for each disk and set of flags",
        why: Why::More,
        reason: "Nothing else shows which disk gets which operations.",
        undo: disks_and_flags,
    },
];

fn table(output: &mut Output) -> Option<&mut Table> {
    match output {
        Output::Rows(table) => Some(table),
        Output::Histograms(_) => None,
    }
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
