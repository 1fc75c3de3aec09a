// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of histograms. It is taken apart and put together again by a
//! description of BCC's layout that is this module's own: what does not come
//! out byte for byte is a fault, whatever the counts.

use std::collections::BTreeMap;

use super::work::WAITS;
use super::{Case, Facts, Mode, Run, SOURCE, Work};

/// Counts by the lower bound of their range.
pub type Buckets = Vec<(u64, u64)>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub time: Option<String>,
    /// By title, in the order printed; a lone histogram's title is empty.
    pub sections: Vec<(String, Buckets)>,
    pub unit: String,
    /// The line that `-e` adds: average, total, count.
    pub extension: Option<[u64; 3]>,
    /// `ts` of every dictionary.
    pub stamps: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Reports {
    pub before: Vec<String>,
    pub reports: Vec<Report>,
    facts: Facts,
}

/// What the options ask for.
struct Asked {
    time: bool,
    dict: bool,
    /// An empty line before each report.
    apart: bool,
}

impl Asked {
    fn new(case: &Case) -> Self {
        let has = |flag: char| {
            case.args
                .iter()
                .any(|arg| arg.starts_with('-') && !arg.starts_with("--") && arg.contains(flag))
        };
        Self {
            time: has('T'),
            dict: has('j'),
            apart: case.tool != "bitesize",
        }
    }
}

impl Reports {
    pub fn parse(case: &Case, run: &Run) -> Result<Self, String> {
        let asked = Asked::new(case);
        let stdout = &run.stdout;
        let lines: Vec<&str> = stdout.split_terminator('\n').collect();
        let mut reports = Self {
            facts: run.facts.clone(),
            ..Self::default()
        };
        let banner = match lines.first() {
            _ if case.prints_source() => lines.iter().position(|line| line.starts_with(BANNER)),
            Some(first) if !first.is_empty() => Some(0),
            _ => None,
        };
        let (before, mut rest) = lines.split_at(banner.map_or(0, |at| at + 1));
        reports.before = before.iter().map(|line| (*line).to_owned()).collect();
        while !rest.is_empty() {
            let (report, after) = parse_report(rest, &asked)?;
            if after.len() == rest.len() {
                return Err(format!("{:?} is no part of a report", rest.first()));
            }
            rest = after;
            reports.reports.push(report);
        }
        let again = reports.text(&asked);
        if again != *stdout {
            let line = again.lines().zip(stdout.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| again.lines().count().min(stdout.lines().count()));
            return Err(format!(
                "line {} is {:?}, BCC's layout is {:?}",
                line + 1,
                stdout.lines().nth(line),
                again.lines().nth(line)
            ));
        }
        Ok(reports)
    }

    fn text(&self, asked: &Asked) -> String {
        let mut text = String::new();
        for line in &self.before {
            text.push_str(&format!("{line}\n"));
        }
        for report in &self.reports {
            if asked.apart {
                text.push('\n');
            }
            if let Some(time) = &report.time {
                text.push_str(&format!("{time:<8}\n"));
            }
            for (index, (title, buckets)) in report.sections.iter().enumerate() {
                if asked.dict {
                    text.push_str(&dictionary(report, index, title, buckets));
                } else {
                    text.push_str(&section(&report.unit, title, buckets));
                }
            }
            if let Some([average, total, count]) = report.extension {
                let unit = &report.unit;
                text.push_str(&format!(
                    "\navg = {average} {unit}, total: {total} {unit}, count: {count}\n\n"
                ));
            }
        }
        text
    }

    /// Which of the workload's tasks a title means, the same in every run of it.
    pub fn task(&self, title: &str) -> Option<String> {
        let (what @ ("pid" | "tid"), id) = title.split_once(" = ")? else {
            return None;
        };
        match self.facts.word(id).as_str() {
            "other" => None,
            word => Some(format!("{what} = (the workload's {word})")),
        }
    }

    /// Sums over all reports, of the workload's own disk, process and threads where
    /// there are more.
    fn sums(&self, mode: Mode) -> BTreeMap<String, BTreeMap<u64, u64>> {
        let mut sums = BTreeMap::<String, BTreeMap<u64, u64>>::new();
        for (title, buckets) in self.reports.iter().flat_map(|report| &report.sections) {
            let (title, _) = without_average(title);
            let title = match title.split_once(" = ") {
                Some(("disk", disk)) if disk != self.facts.disk => continue,
                Some(("disk", _)) => "disk = (the workload's)".to_owned(),
                Some(("pid" | "tid", _)) => match self.task(title) {
                    Some(task) => task,
                    None => continue,
                },
                // Since Linux 5.12 a read that is waited for says so.
                _ if mode == Mode::Capture => title.replace("Sync-Read", "Read"),
                _ => title.to_owned(),
            };
            let sum = sums.entry(title).or_default();
            for &(low, count) in buckets {
                *sum.entry(low).or_default() += count;
            }
        }
        sums.retain(|_, buckets| buckets.values().any(|&count| count > 0));
        sums
    }
}

/// What every classic of these begins with.
const BANNER: &str = "Tracing ";

/// The same text, but a program's source.
pub fn without_source(stdout: &str, case: &Case) -> String {
    match stdout.find(&format!("\n{BANNER}")) {
        Some(at) if case.prints_source() => format!("{SOURCE}{}", &stdout[at..]),
        _ => stdout.to_owned(),
    }
}

/// A title and the average that `-e` of tcprtt adds to it.
pub fn without_average(title: &str) -> (&str, Option<u64>) {
    let average = title
        .strip_suffix(']')
        .and_then(|title| title.split_once(" [AVG "));
    match average.and_then(|(title, value)| Some((title, value.parse().ok()?))) {
        Some((title, value)) => (title, Some(value)),
        None => (title, None),
    }
}

fn parse_report<'a>(
    lines: &'a [&'a str],
    asked: &Asked,
) -> Result<(Report, &'a [&'a str]), String> {
    let mut report = Report::default();
    let mut rest = lines;
    if asked.apart {
        let Some((&"", after)) = lines.split_first() else {
            return Err(format!(
                "an empty line is missing before {:?}",
                lines.first()
            ));
        };
        rest = after;
    }
    if asked.time {
        let (time, after) = rest.split_first().ok_or("the time is missing")?;
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        if shape != "00:00:00" {
            return Err(format!("{time:?} is no time"));
        }
        report.time = Some((*time).to_owned());
        rest = after;
    }
    if asked.dict {
        while let Some((line, after)) = rest.split_first().filter(|(line, _)| line.starts_with('{'))
        {
            parse_dictionary(line, &mut report)?;
            rest = after;
        }
        return Ok((report, rest));
    }
    loop {
        match rest {
            ["", line, after @ ..] if line.starts_with("avg = ") => {
                report.extension = Some(parse_extension(line)?);
                rest = match after {
                    ["", after @ ..] => after,
                    _ => return Err("an empty line is missing after the average".into()),
                };
                return Ok((report, rest));
            }
            ["", title, header, after @ ..]
                if title.contains(" = ") && header.contains(" : count") =>
            {
                rest = parse_rows(title, header, after, &mut report)?;
            }
            [header, after @ ..] if header.contains(" : count") => {
                rest = parse_rows("", header, after, &mut report)?;
            }
            _ => return Ok((report, rest)),
        }
    }
}

fn parse_rows<'a>(
    title: &str,
    header: &str,
    mut rest: &'a [&'a str],
    report: &mut Report,
) -> Result<&'a [&'a str], String> {
    report.unit = header
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut buckets = Buckets::new();
    let parts = |line: &'a str| {
        let (range, counts) = line.split_once(" : ")?;
        Some((range.split_once("->")?.0, counts))
    };
    while let Some((line, after)) = rest.split_first() {
        let Some((low, counts)) = parts(line) else {
            break;
        };
        let low = low
            .trim()
            .parse()
            .map_err(|_| format!("no range in {line:?}"))?;
        let count = counts.split_whitespace().next().unwrap_or_default();
        let count = count.parse().map_err(|_| format!("no count in {line:?}"))?;
        buckets.push((low, count));
        rest = after;
    }
    report.sections.push((title.to_owned(), buckets));
    Ok(rest)
}

fn parse_extension(line: &str) -> Result<[u64; 3], String> {
    let numbers: Vec<u64> = line
        .split([' ', ','])
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers
        .try_into()
        .map_err(|_| format!("not three numbers: {line:?}"))
}

/// A line as Python prints a dictionary. The words in it have no quotes.
fn parse_dictionary(line: &str, report: &mut Report) -> Result<(), String> {
    let value: serde_json::Value =
        serde_json::from_str(&line.replace('\'', "\"")).map_err(|e| format!("{e}: {line}"))?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    report.unit = text("val_type").ok_or("no val_type")?;
    report.stamps.push(text("ts").ok_or("no ts")?);
    let title = ["disk", "flags"]
        .iter()
        .find_map(|key| Some(format!("{key} = {}", value[key].as_str()?)));
    let data = value["data"].as_array().ok_or("no data")?;
    let buckets = data
        .iter()
        .map(|row| Some((row["interval-start"].as_u64()?, row["count"].as_u64()?)))
        .collect::<Option<_>>()
        .ok_or("no counts")?;
    report.sections.push((title.unwrap_or_default(), buckets));
    Ok(())
}

fn high(low: u64) -> u64 {
    if low == 0 { 1 } else { low * 2 - 1 }
}

/// BCC's text of one histogram, with its title.
fn section(unit: &str, title: &str, buckets: &Buckets) -> String {
    let mut text = String::new();
    if !title.is_empty() {
        text.push_str(&format!("\n{title}\n"));
    }
    text.push_str(&format!("     {unit:<19} : count     distribution\n"));
    let most = buckets
        .iter()
        .map(|bucket| bucket.1)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut expected = 0;
    for &(low, count) in buckets {
        debug_assert!(low >= expected || expected == 0);
        let stars = "*".repeat((40 * count / most) as usize);
        // The row that belongs here: a missing one shows as a difference.
        let low = if low == expected { low } else { expected };
        text.push_str(&format!(
            "{low:>10} -> {:<10} : {count:<8} |{stars:<40}|\n",
            high(low)
        ));
        expected = high(low) + 1;
    }
    text
}

fn dictionary(report: &Report, index: usize, title: &str, buckets: &Buckets) -> String {
    let data: Vec<_> = buckets
        .iter()
        .map(|&(low, count)| {
            format!(
                "{{'interval-start': {low}, 'interval-end': {}, 'count': {count}}}",
                high(low)
            )
        })
        .collect();
    let title = title
        .split_once(" = ")
        .map(|(key, value)| format!(", '{key}': '{value}'"))
        .unwrap_or_default();
    let stamp = report.stamps.get(index).cloned().unwrap_or_default();
    let (unit, data) = (&report.unit, data.join(", "));
    format!("{{'ts': '{stamp}', 'val_type': '{unit}', 'data': [{data}]{title}}}\n")
}

/// Samples that two hooks may have put into ranges next to each other.
fn near(a: &BTreeMap<u64, u64>, b: &BTreeMap<u64, u64>) -> bool {
    let total: u64 = a.values().sum();
    let slack = 3 + total / 20;
    let below = |buckets: &BTreeMap<u64, u64>, low: u64| -> u64 {
        buckets.range(..low).map(|(_, n)| n).sum()
    };
    (0..63).all(|power| {
        let (low, next) = (1u64 << power, 1u64 << (power + 1));
        below(a, low) <= below(b, next) + slack && below(b, low) <= below(a, next) + slack
    })
}

pub fn compare(
    case: &Case,
    mode: Mode,
    classic: &Reports,
    ours: &Reports,
    faults: &mut Vec<String>,
) {
    super::diff(
        "lines before the first report",
        &classic.before,
        &ours.before,
        faults,
    );
    if classic.reports.len() != ours.reports.len() {
        faults.push(format!(
            "reports: {} in the classic, {} in ours",
            classic.reports.len(),
            ours.reports.len()
        ));
    }
    let unit = |reports: &Reports| -> Vec<String> {
        let mut units: Vec<_> = reports
            .reports
            .iter()
            .map(|report| report.unit.clone())
            .collect();
        units.retain(|unit| !unit.is_empty());
        units.dedup();
        units
    };
    super::diff("units", &unit(classic), &unit(ours), faults);
    let (a, b) = (classic.sums(mode), ours.sums(mode));
    let titles =
        |sums: &BTreeMap<String, BTreeMap<u64, u64>>| sums.keys().cloned().collect::<Vec<_>>();
    // Elsewhere others are busy as well.
    let alone = mode == Mode::Live || crate::in_vm() || case.only_ours();
    if a.is_empty() && !case.no_rows {
        faults.push("the classic has no histogram of the workload".into());
    }
    if alone {
        super::diff("titles", &titles(&a), &titles(&b), faults);
    }
    for (title, x) in &a {
        let Some(y) = b.get(title) else {
            if !alone {
                faults.push(format!("{title:?}: no such histogram in ours"));
            }
            continue;
        };
        let (p, q): (u64, u64) = (x.values().sum(), y.values().sum());
        // Of all tasks, in times that are not quite the same.
        let all = case.work == Work::Waits && title.is_empty() && !case.args.contains(&"{pid}");
        let same = match (case.work, alone) {
            _ if all => p >= WAITS && q >= WAITS,
            // How many segments a session takes is a matter of time, and how often the
            // scheduler has tasks wait.
            (Work::Sessions | Work::Waits, _) if mode == Mode::Capture => {
                q * 2 >= p && (q <= p * 2 || !alone)
            }
            (_, true) => p == q,
            (_, false) => q >= p,
        };
        if !same {
            faults.push(format!("{title:?}: {p} in the classic, {q} in ours"));
        }
        // Where the hook is the same, each sample is.
        let alike = if case.work == Work::Sessions {
            x == y
        } else {
            near(x, y)
        };
        if mode == Mode::Live && !alike && !all {
            faults.push(format!(
                "{title:?}: the distributions differ: {x:?} and {y:?}"
            ));
        }
    }
    averages(case, mode, classic, ours, faults);
    let extensions = |reports: &Reports| -> Vec<[u64; 3]> {
        reports
            .reports
            .iter()
            .filter_map(|report| report.extension)
            .collect()
    };
    let (x, y) = (extensions(classic), extensions(ours));
    if x.len() != y.len() {
        faults.push(format!(
            "averages: {} in the classic, {} in ours",
            x.len(),
            y.len()
        ));
    }
    for (x, y) in x.iter().zip(&y) {
        for [average, total, count] in [x, y] {
            if *average != total / count {
                faults.push(format!(
                    "{average} is not the average of {total} in {count}"
                ));
            }
        }
        if alone && x[2] != y[2] {
            faults.push(format!("counts: {} in the classic, {} in ours", x[2], y[2]));
        }
        // The hooks are some instructions apart, in an emulator tens of microseconds.
        let (least, most) = (x[1].min(y[1]), x[1].max(y[1]));
        if mode == Mode::Live && most - least > most / 2 + 10 * x[2] {
            faults.push(format!("totals: {} in the classic, {} in ours", x[1], y[1]));
        }
    }
}

/// What is in the titles.
fn averages(case: &Case, mode: Mode, classic: &Reports, ours: &Reports, faults: &mut Vec<String>) {
    let all = |reports: &Reports| -> Vec<(String, Option<u64>, (u64, u64))> {
        let sections = reports.reports.iter().flat_map(|report| &report.sections);
        let mut all: Vec<_> = sections
            .map(|(title, buckets)| {
                let (title, average) = without_average(title);
                let used = || buckets.iter().filter(|bucket| bucket.1 > 0);
                let bounds = (
                    used().next().map_or(0, |bucket| bucket.0),
                    used().next_back().map_or(0, |bucket| high(bucket.0)),
                );
                (title.to_owned(), average, bounds)
            })
            .collect();
        all.sort();
        all
    };
    let (a, b) = (all(classic), all(ours));
    for (title, average, (low, high)) in a.iter().chain(&b) {
        if average.is_some_and(|average| average < *low || average > *high) {
            faults.push(format!("{title:?}: {average:?} is not in the histogram"));
        }
    }
    let are_in = |all: &[(_, Option<u64>, _)]| all.iter().any(|(_, average, _)| average.is_some());
    if are_in(&a) != are_in(&b) {
        faults.push("averages are in one only".into());
    }
    // The samples of a report are the same when it is the only one.
    if mode == Mode::Live && !case.ends {
        let averages = |all: &[(String, Option<u64>, _)]| -> Vec<String> {
            let averages = all.iter().filter_map(|row| Some((&row.0, row.1?)));
            averages
                .map(|(title, value)| format!("{title}: {value}"))
                .collect()
        };
        super::diff("averages", &averages(&a), &averages(&b), faults);
    }
}
