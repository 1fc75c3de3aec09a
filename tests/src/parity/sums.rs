// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of sums, report by report: tcptop's sessions and tcpsubnet's subnets.
//! Lines are put together again by a description of BCC's layout that is this
//! module's own. Two tools cut their reports at other times: sums over all of
//! them are compared.

use std::collections::BTreeMap;

use super::table::shape;
use super::work::is_ours;
use super::{Case, Facts, Mode};

#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub before: Vec<String>,
    pub reports: Vec<Report>,
    /// What a row may have lost by being cut to a whole number.
    cut: f64,
    /// Bytes in the unit.
    pub unit: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What comes instead of an empty line, to clear the screen.
    pub clear: String,
    pub rows: Vec<Row>,
    lines: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Row {
    pub pid: String,
    pub comm: String,
    /// Addresses of a session, or a subnet.
    pub key: String,
    pub values: Vec<f64>,
}

const LOAD: &str = " loadavg: ";
const TITLES: &str = "PID     COMM         ";

impl Sums {
    pub fn parse(stdout: &str, case: &Case) -> Result<Self, String> {
        let has = |flag: char| {
            case.args
                .iter()
                .any(|arg| arg.starts_with('-') && arg.contains(flag))
        };
        let mut lines: Vec<String> = stdout.split_terminator('\n').map(str::to_owned).collect();
        let mut sums = Self {
            cut: 1.0,
            unit: 1024.0,
            ..Self::default()
        };
        let in_json = case.tool == "tcpsubnet" && has('J');
        if !in_json && !lines.is_empty() {
            sums.before.push(lines.remove(0));
        }
        if case.tool == "tcptop" {
            let mut rest = lines.as_slice();
            while !rest.is_empty() {
                let (report, after) = sessions(rest, !has('S'))?;
                sums.reports.push(report);
                rest = after;
            }
            return Ok(sums);
        }
        let unit = case.args.iter().skip_while(|arg| **arg != "-f").nth(1);
        (sums.unit, sums.cut) = match unit.copied().unwrap_or("B") {
            "b" => (1.0 / 8.0, 0.0),
            "k" => (1024.0 / 8.0, 1.0),
            "m" => (1_048_576.0 / 8.0, 1.0),
            "K" => (1024.0, 1.0),
            "M" => (1_048_576.0, 1.0),
            _ => (1.0, 0.0),
        };
        if in_json {
            let is_whole = sums.cut == 0.0;
            sums.cut = 0.0;
            for line in &lines {
                let report = object(line, is_whole);
                sums.reports
                    .push(report.ok_or_else(|| format!("{line:?} is not BCC's JSON"))?);
            }
            return Ok(sums);
        }
        for line in &lines {
            if shape(line) == "[00/00/00 00:00:00]" {
                sums.reports.push(Report::default());
            }
            let report = sums.reports.last_mut().ok_or("a report has no time")?;
            report.lines.push(line.clone());
            if report.lines.len() > 1 {
                let row = subnet(line).ok_or_else(|| format!("{line:?} is not laid out so"))?;
                report.rows.push(row);
            }
        }
        Ok(sums)
    }

    /// The first `keep` lines, and the reports that say anything; all of a tool that ends.
    pub fn of_workload(stdout: &str, case: &Case) -> String {
        let Ok(sums) = Self::parse(stdout, case) else {
            return stdout.to_owned();
        };
        let wanted = |report: &&Report| case.ends || !report.rows.is_empty();
        let lines = sums.reports.iter().filter(wanted);
        sums.before
            .iter()
            .chain(lines.flat_map(|report| &report.lines))
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }

    /// By owner, key and column: the sum, and in how many rows it was.
    pub fn sums(&self, mode: Mode, facts: &Facts) -> BTreeMap<String, (f64, f64)> {
        let mut sums = BTreeMap::<String, (f64, f64)>::new();
        for row in self.reports.iter().flat_map(|report| &report.rows) {
            let pid = match mode {
                _ if row.pid.is_empty() => String::new(),
                Mode::Live => row.pid.clone(),
                Mode::Capture => facts.word(&row.pid),
            };
            for (column, value) in row.values.iter().enumerate() {
                let key = format!("{pid} {} {} ({column})", row.comm, row.key);
                let sum = sums.entry(key).or_default();
                *sum = (sum.0 + value, sum.1 + 1.0);
            }
        }
        sums
    }

    /// Takes so many bytes from the sum of a subnet.
    pub fn subtract(&mut self, subnet: &str, bytes: f64) {
        let mut left = bytes / self.unit;
        let rows = self.reports.iter_mut().flat_map(|report| &mut report.rows);
        for row in rows.filter(|row| row.key == subnet) {
            for value in &mut row.values {
                let part = left.min(*value);
                *value -= part;
                left -= part;
            }
        }
    }
}

/// One report of tcptop, and what is after it.
fn sessions(lines: &[String], summary: bool) -> Result<(Report, &[String]), String> {
    let mut report = Report::default();
    let mut at = 0;
    let line = |at: usize| lines.get(at).map(String::as_str);
    // Where the screen is cleared no line ends.
    let mut first = line(0).unwrap_or_default();
    while let Some(letter) = first
        .starts_with('\u{1b}')
        .then(|| first.find(|c: char| c.is_ascii_alphabetic()))
        .flatten()
    {
        report.clear.push_str(&first[..=letter]);
        first = &first[letter + 1..];
    }
    if report.clear.is_empty() {
        if !first.is_empty() {
            return Err(format!("{first:?} where a report is to begin"));
        }
        at = 1;
        first = line(1).unwrap_or_default();
    }
    if summary {
        let (time, load) = first.split_once(LOAD).unwrap_or_default();
        let is_load = load.split(' ').count() == 5 && load.contains('/');
        if shape(time) != "00:00:00" || !is_load || line(at + 1) != Some("") {
            return Err(format!("{first:?} is no summary with an empty line"));
        }
        at += 2;
    }
    for (title, width, begin) in [("LADDR", 21, 0), ("LADDR6", 32, 1)] {
        let remote = title.replace('L', "R");
        let titles = format!(
            "{TITLES}{title:<width$} {remote:<width$} {:>6} {:>6}",
            "RX_KB", "TX_KB"
        );
        // Without a summary the first block is in the line that clears the screen.
        let is_first = at == 0 && begin == 0;
        let found = if is_first {
            Some(first)
        } else {
            line(at + begin)
        };
        if found != Some(&titles) || (begin == 1 && line(at) != Some("")) {
            continue;
        }
        at += begin + 1;
        let is_row = |text: &&str| !text.is_empty() && !text.starts_with('\u{1b}');
        let before = report.rows.len();
        while let Some(text) = line(at).filter(is_row) {
            if is_ours(text) {
                let row = session(text, width);
                let row = row.ok_or_else(|| format!("{text:?} is not laid out so"))?;
                report.rows.push(row);
            }
            at += 1;
        }
        // What was cut off may be as much as two.
        let size = |row: &Row| row.values.iter().sum::<f64>();
        let block = &report.rows[before..];
        if block
            .windows(2)
            .any(|two| size(&two[0]) + 2.0 <= size(&two[1]))
        {
            return Err(format!("not sorted: {block:?}"));
        }
    }
    report.lines = lines[..at.max(1)].to_vec();
    Ok((report, &lines[at.max(1)..]))
}

/// The last word of a line, and what is before it.
fn last_word(line: &str) -> Option<(&str, &str)> {
    let (rest, word) = line.rsplit_once(' ')?;
    Some((rest.trim_end(), word))
}

fn session(line: &str, width: usize) -> Option<Row> {
    let (rest, tx) = last_word(line)?;
    let (rest, rx) = last_word(rest)?;
    let (rest, remote) = last_word(rest)?;
    let (rest, local) = last_word(rest)?;
    let (pid, comm) = rest.split_once(' ')?;
    let comm = comm.trim();
    let again = format!("{pid:<7} {comm:<12.12} {local:<width$} {remote:<width$} {rx:>6} {tx:>6}");
    (again == line).then_some(Row {
        pid: pid.to_owned(),
        comm: comm.to_owned(),
        key: format!("{local} {remote}"),
        values: vec![rx.parse().ok()?, tx.parse().ok()?],
    })
}

fn subnet(line: &str) -> Option<Row> {
    let (key, value) = line.split_once(' ')?;
    let value = value.trim_start();
    (format!("{key:<21} {value:>6}") == line).then_some(Row {
        key: key.to_owned(),
        values: vec![value.parse::<u64>().ok()? as f64],
        ..Row::default()
    })
}

/// A report as Python writes JSON.
fn object(line: &str, is_whole: bool) -> Option<Report> {
    let rest = line.strip_prefix("{\"date\": \"")?;
    let (date, rest) = rest.split_once("\", \"time\": \"")?;
    let (time, rest) = rest.split_once("\", \"entries\": {")?;
    let entries = rest.strip_suffix("}}")?;
    if shape(date) != "00/00/00" || shape(time) != "00:00:00" {
        return None;
    }
    let mut rows = Vec::new();
    for entry in entries.split(", ").filter(|entry| !entry.is_empty()) {
        let (key, text) = entry.split_once(": ")?;
        let value: f64 = text.parse().ok()?;
        if text.contains('.') == is_whole || !is_whole && format!("{value:?}") != text {
            return None;
        }
        rows.push(Row {
            key: key.strip_prefix('"')?.strip_suffix('"')?.to_owned(),
            values: vec![value],
            ..Row::default()
        });
    }
    Some(Report {
        rows,
        lines: vec![line.to_owned()],
        ..Report::default()
    })
}

pub fn compare(
    case: &Case,
    mode: Mode,
    classic: (&Sums, &Facts),
    ours: (&Sums, &Facts),
    faults: &mut Vec<String>,
) {
    let ((classic, their_facts), (ours, our_facts)) = (classic, ours);
    // The interval in it may be another.
    let interval = |line: &String| match mode {
        Mode::Live => line.clone(),
        Mode::Capture => line.split(|c: char| c.is_ascii_digit()).collect(),
    };
    let before = |sums: &Sums| sums.before.iter().map(interval).collect::<Vec<_>>();
    super::diff(
        "lines before the first report",
        &before(classic),
        &before(ours),
        faults,
    );
    let clears = |sums: &Sums| -> Vec<String> {
        let mut all: Vec<_> = sums
            .reports
            .iter()
            .map(|report| report.clear.clone())
            .collect();
        all.dedup();
        all
    };
    super::diff(
        "clearing the screen",
        &clears(classic),
        &clears(ours),
        faults,
    );
    let (p, q) = (classic.reports.len(), ours.reports.len());
    if case.ends && p != q {
        faults.push(format!("reports: {p} in the classic, {q} in ours"));
    }
    // Elsewhere others send as well.
    let alone = mode == Mode::Live || crate::in_vm() || case.tool == "tcptop";
    let (a, b) = (classic.sums(mode, their_facts), ours.sums(mode, our_facts));
    if a.is_empty() && !case.no_rows {
        faults.push("the classic has nothing of the workload".into());
    }
    for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
        let get = |sums: &BTreeMap<String, (f64, f64)>| sums.get(key).copied().unwrap_or_default();
        let ((p, p_rows), (q, q_rows)) = (get(&a), get(&b));
        // What each may have cut off is between zero and so much.
        let too_little = q + q_rows * classic.cut < p || (q_rows == 0.0 && p_rows > 0.0);
        let too_much = p + p_rows * classic.cut < q || (p_rows == 0.0 && q_rows > 0.0);
        if too_little {
            faults.push(format!(
                "sums differ: {key}: {p} in the classic, {q} in ours"
            ));
        } else if too_much && alone {
            faults.push(format!(
                "rows differ: {key}: {p} in the classic, {q} in ours"
            ));
        }
    }
}
