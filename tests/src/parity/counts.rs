// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of cachestat: a line per interval, of the whole machine. Each is put
//! together again by a description of BCC's layout that is this module's own.
//! Two tools cut their intervals at other times: sums are compared.

use super::table::shape;
use super::{Case, Mode};

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub header: String,
    pub rows: Vec<Row>,
    /// What comes behind the rows.
    pub end: Option<String>,
    /// Whether hits and misses are to be compared.
    pub lookups: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Hits, misses, dirties.
    pub counts: [u64; 3],
    /// MiB of buffers and of the cache.
    memory: [u64; 2],
    line: String,
}

const NAMES: [&str; 3] = ["HITS", "MISSES", "DIRTIES"];

/// What the machine does by itself meanwhile.
const OTHERS: u64 = 1500;

/// What a row of the workload has at least, of anything.
const MUCH: u64 = 1000;

impl Counts {
    pub fn parse(stdout: &str, case: &Case) -> Result<Self, String> {
        let has_time = case
            .args
            .iter()
            .any(|arg| *arg == "-T" || *arg == "--timestamp");
        let mut lines = stdout.lines();
        let mut counts = Self {
            header: lines.next().unwrap_or_default().to_owned(),
            lookups: true,
            ..Self::default()
        };
        for line in lines {
            if counts.end.is_some() {
                return Err(format!("{line:?} behind the end"));
            }
            match row(line, has_time) {
                Some(row) => counts.rows.push(row),
                None if line == "Detaching..." => counts.end = Some(line.to_owned()),
                None => return Err(format!("{line:?} is not laid out so")),
            }
        }
        Ok(counts)
    }

    /// Without the rows in which little happened; all of a tool that ends.
    pub fn of_workload(stdout: &str, case: &Case) -> String {
        let Ok(counts) = Self::parse(stdout, case) else {
            return stdout.to_owned();
        };
        let wanted = |row: &&Row| case.ends || row.counts.iter().any(|&count| count >= MUCH);
        let rows = counts.rows.iter().filter(wanted).map(|row| &row.line);
        std::iter::once(&counts.header)
            .chain(rows)
            .chain(&counts.end)
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// Of the last so many rows.
    pub fn sums(&self, rows: usize) -> [u64; 3] {
        let mut sums = [0; 3];
        for row in self.rows.iter().rev().take(rows) {
            for (sum, count) in sums.iter_mut().zip(row.counts) {
                *sum += count;
            }
        }
        sums
    }
}

fn row(line: &str, has_time: bool) -> Option<Row> {
    let (time, rest) = line.split_at_checked(if has_time { 9 } else { 0 })?;
    if has_time && shape(time) != "00:00:00 " {
        return None;
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [hits, misses, dirties, ratio, buffers, cached] = words[..] else {
        return None;
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let counts = [number(hits)?, number(misses)?, number(dirties)?];
    let memory = [number(buffers)?, number(cached)?];
    let all = (counts[0] + counts[1]).max(1);
    let again = format!("{hits:>8} {misses:>8} {dirties:>8} {ratio:>8} {buffers:>12} {cached:>10}");
    let shown = ratio.strip_suffix('%')?;
    let two_decimals = shown.split_once('.')?.1.len() == 2;
    // Two that round may differ in the last place.
    let off = shown.parse::<f64>().ok()? - 100.0 * counts[0] as f64 / all as f64;
    (again == rest && two_decimals && off.abs() < 0.011).then(|| Row {
        counts,
        memory,
        line: line.to_owned(),
    })
}

pub fn compare(case: &Case, mode: Mode, classic: &Counts, ours: &Counts, faults: &mut Vec<String>) {
    let own = |counts: &Counts| vec![counts.header.clone()];
    super::diff("headers", &own(classic), &own(ours), faults);
    if classic.end != ours.end {
        faults.push(format!(
            "the end: {:?} in the classic, {:?} in ours",
            classic.end, ours.end
        ));
    }
    let (p, q) = (classic.rows.len(), ours.rows.len());
    if case.ends && p != q {
        faults.push(format!("rows differ: {p} in the classic, {q} in ours"));
    }
    // The classic begins earlier: with what starting ours reads. Of a capture only the
    // workload's rows are left.
    let theirs = if mode == Mode::Live { q + 1 } else { p };
    let (a, b) = (classic.sums(theirs), ours.sums(q));
    if classic.lookups && a.iter().all(|&count| count < MUCH) {
        faults.push("the classic has nothing of the workload".into());
    }
    let compared = if classic.lookups { 0 } else { 2 };
    let columns = NAMES.iter().zip(a.into_iter().zip(b));
    for (name, (p, q)) in columns.skip(compared) {
        // Elsewhere others read and write as well.
        let bad = match mode {
            Mode::Live => p.abs_diff(q) > p / 20 + OTHERS,
            Mode::Capture => q + OTHERS < p / 2,
        };
        // The classic loses what is counted between its reading and its clearing.
        let what = if p < q { "rows" } else { "sums" };
        if bad {
            faults.push(format!(
                "{what} differ: {name}: {p} in the classic, {q} in ours"
            ));
        }
    }
    if mode == Mode::Live {
        let last = |counts: &Counts| counts.rows.last().map(|row| row.memory).unwrap_or_default();
        for (p, q) in last(classic).into_iter().zip(last(ours)) {
            if p.abs_diff(q) > p / 20 + 8 {
                faults.push(format!("memory: {p} MiB in the classic, {q} in ours"));
            }
        }
    }
}
