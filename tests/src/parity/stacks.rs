// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of stacks and how often they were seen. It is taken apart and put together
//! again by a description of BCC's layout that is this module's own. No two tools take
//! the same samples: what is compared is which functions most of them are in.

use std::collections::{BTreeMap, BTreeSet};

use super::work::{BUSY_READS, BUSY_SPINS};
use super::{Case, Mode, Run};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub comm: String,
    /// Folded lines have none.
    pub pid: String,
    /// Innermost first; with the delimiter, where there is one.
    pub frames: Vec<String>,
    pub count: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Stacks {
    /// With the workload's ids in words.
    pub before: Vec<String>,
    pub folded: bool,
    pub rows: Vec<Row>,
}

/// The functions of the kernel that both kinds of kernels and tools name alike.
const KERNEL: [&str; 3] = [
    "vfs_read",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
];
/// What is between the frames of the kernel and those of the program.
const DELIMITERS: [&str; 2] = ["-", "--"];
const MARK: &str = "_[k]";

impl Stacks {
    pub fn parse(case: &Case, run: &Run) -> Result<Self, String> {
        let folded = is_folded(case);
        let mut stacks = Self {
            folded,
            ..Self::default()
        };
        let mut lines = run.stdout.split_terminator('\n').peekable();
        if !folded {
            stacks.before.extend(lines.next().map(str::to_owned));
            if lines.next() != Some("") {
                return Err("no empty line after the first".into());
            }
        }
        while lines.peek().is_some() {
            let row = if folded {
                lines.next().and_then(folded_row)
            } else {
                block(&mut lines)
            };
            stacks
                .rows
                .push(row.ok_or("a stack is not laid out as BCC does")?);
        }
        let again = stacks.text();
        if again != run.stdout {
            let line = again
                .lines()
                .zip(run.stdout.lines())
                .position(|(a, b)| a != b);
            return Err(format!("another layout in line {line:?}"));
        }
        if !stacks.rows.is_sorted_by_key(|row| row.count) {
            return Err("not by count".into());
        }
        for line in &mut stacks.before {
            for (id, word) in [(&run.facts.pid, "pid"), (&run.facts.tid, "tid")] {
                *line = line.replace(&format!("[{id}]"), &format!("[{word}]"));
            }
        }
        Ok(stacks)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.before {
            text.push_str(&format!("{line}\n\n"));
        }
        for row in &self.rows {
            if self.folded {
                let outermost_first = row.frames.iter().rev().map(String::as_str);
                let parts: Vec<_> = std::iter::once(row.comm.as_str())
                    .chain(outermost_first)
                    .collect();
                text.push_str(&format!("{} {}\n", parts.join(";"), row.count));
                continue;
            }
            for frame in &row.frames {
                text.push_str(&format!("    {frame}\n"));
            }
            text.push_str(&format!("    {:<16} {} ({})\n", "-", row.comm, row.pid));
            text.push_str(&format!("        {}\n\n", row.count));
        }
        text
    }

    /// Of each of the workload's threads: the samples, and those in each function that
    /// is to be compared.
    fn shares(&self) -> BTreeMap<&str, (u64, BTreeMap<String, u64>)> {
        let mut shares = BTreeMap::new();
        for row in self.rows.iter().filter(|row| is_workloads(&row.comm)) {
            let (all, functions): &mut (u64, BTreeMap<_, u64>) =
                shares.entry(row.comm.as_str()).or_default();
            *all += row.count;
            let names: BTreeSet<_> = row.frames.iter().filter(|name| is_compared(name)).collect();
            for name in names {
                *functions.entry(name.clone()).or_default() += row.count;
            }
        }
        shares
    }
}

fn is_folded(case: &Case) -> bool {
    case.args
        .iter()
        .any(|arg| arg.starts_with('-') && !arg.starts_with("--") && arg.contains('f'))
}

fn is_workloads(comm: &str) -> bool {
    comm == BUSY_SPINS || comm == BUSY_READS
}

/// Whether a frame has one name only, and the stack leads there in every kernel.
fn is_compared(name: &str) -> bool {
    let plain = name.strip_suffix(MARK).unwrap_or(name);
    KERNEL.contains(&plain) || DELIMITERS.contains(&plain) || plain.contains("parity::work::")
}

fn folded_row(line: &str) -> Option<Row> {
    let (stack, count) = line.rsplit_once(' ')?;
    let mut parts = stack.split(';');
    let comm = parts.next()?.to_owned();
    let mut frames: Vec<_> = parts.map(str::to_owned).collect();
    frames.reverse();
    Some(Row {
        comm,
        pid: String::new(),
        frames,
        count: count.parse().ok()?,
    })
}

fn block<'l>(lines: &mut impl Iterator<Item = &'l str>) -> Option<Row> {
    let mut frames = Vec::new();
    loop {
        let line = lines.next()?.strip_prefix("    ")?;
        let Some(end) = line.strip_prefix("-                ") else {
            frames.push(line.to_owned());
            continue;
        };
        let (comm, pid) = end.strip_suffix(')')?.rsplit_once(" (")?;
        let count = lines.next()?.strip_prefix("        ")?.parse().ok()?;
        if !lines.next()?.is_empty() {
            return None;
        }
        return Some(Row {
            comm: comm.to_owned(),
            pid: pid.to_owned(),
            frames,
            count,
        });
    }
}

/// The workload's stacks, and those of idle processors.
pub fn of_workload(stdout: &str, case: &Case) -> String {
    let run = Run {
        stdout: stdout.to_owned(),
        ..Run::default()
    };
    let Ok(mut stacks) = Stacks::parse(case, &run) else {
        return stdout.to_owned();
    };
    stacks
        .rows
        .retain(|row| is_workloads(&row.comm) || row.comm.starts_with("swapper/"));
    stacks.text()
}

pub fn compare(mode: Mode, classic: &Stacks, ours: &Stacks, faults: &mut Vec<String>) {
    if classic.before != ours.before {
        faults.push(format!(
            "the first line is {:?} in the classic, {:?} in ours",
            classic.before, ours.before
        ));
    }
    let idle = |stacks: &Stacks| {
        stacks
            .rows
            .iter()
            .any(|row| row.comm.starts_with("swapper/"))
    };
    // At another time there may be nothing idle.
    if idle(ours) && !idle(classic) || mode == Mode::Live && idle(classic) && !idle(ours) {
        faults.push(format!(
            "idle stacks: {} in the classic, {} in ours",
            idle(classic),
            idle(ours)
        ));
    }
    let (theirs, own) = (classic.shares(), ours.shares());
    if !theirs.keys().eq(own.keys()) {
        faults.push(format!(
            "threads: {:?} in the classic, {:?} in ours",
            theirs.keys(),
            own.keys()
        ));
        return;
    }
    for (comm, (all, functions)) in &theirs {
        let Some((our_all, our_functions)) = own.get(comm) else {
            continue;
        };
        let ratio = *our_all as f64 / *all as f64;
        if mode == Mode::Live && !(0.7..1.4).contains(&ratio) {
            faults.push(format!(
                "{comm}: {all} samples in the classic, {our_all} in ours"
            ));
        }
        // What most of one is in, at least much of the other is.
        let mut check = |functions: &BTreeMap<String, u64>,
                         all: u64,
                         others: &BTreeMap<String, u64>,
                         others_all: u64,
                         who: &str| {
            for (name, count) in functions {
                let other = others.get(name).copied().unwrap_or(0);
                if 100 * count >= 70 * all && 100 * other < 45 * others_all {
                    faults.push(format!(
                        "{comm}: {name} in {count} of {all} samples of {who}, in {other} of {others_all} of the other"
                    ));
                }
            }
        };
        check(functions, *all, our_functions, *our_all, "the classic");
        check(our_functions, *our_all, functions, *all, "ours");
    }
}
