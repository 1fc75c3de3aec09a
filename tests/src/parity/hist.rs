// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of histograms. It is taken apart and put together again by a
//! description of BCC's layout that is this module's own: what does not come
//! out byte for byte is a fault, whatever the counts.

use std::collections::BTreeMap;

use super::{Case, Facts, Mode};

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
    disk: String,
}

/// What the options ask for.
struct Asked {
    time: bool,
    dict: bool,
}

impl Asked {
    fn new(args: &[&str]) -> Self {
        let has = |flag: char| {
            args.iter()
                .any(|arg| arg.starts_with('-') && !arg.starts_with("--") && arg.contains(flag))
        };
        Self {
            time: has('T'),
            dict: has('j'),
        }
    }
}

impl Reports {
    pub fn parse(stdout: &str, args: &[&str], facts: &Facts) -> Result<Self, String> {
        let asked = Asked::new(args);
        let lines: Vec<&str> = stdout.split_terminator('\n').collect();
        let mut reports = Self {
            disk: facts.disk.clone(),
            ..Self::default()
        };
        let mut rest = lines.as_slice();
        if let Some((first, after)) = rest.split_first().filter(|(first, _)| !first.is_empty()) {
            reports.before.push((*first).to_owned());
            rest = after;
        }
        while !rest.is_empty() {
            let (report, after) = parse_report(rest, &asked)?;
            rest = after;
            reports.reports.push(report);
        }
        let again = reports.text(&asked);
        if again != stdout {
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
            text.push('\n');
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

    /// Sums over all reports, of the workload's own disk where there are more.
    fn sums(&self, mode: Mode) -> BTreeMap<String, BTreeMap<u64, u64>> {
        let mut sums = BTreeMap::<String, BTreeMap<u64, u64>>::new();
        for (title, buckets) in self.reports.iter().flat_map(|report| &report.sections) {
            let title = match title.strip_prefix("disk = ") {
                Some(disk) if disk != self.disk => continue,
                Some(_) => "disk = (the workload's)".to_owned(),
                // Since Linux 5.12 a read that is waited for says so.
                None if mode == Mode::Capture => title.replace("Sync-Read", "Read"),
                None => title.clone(),
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

fn parse_report<'a>(
    lines: &'a [&'a str],
    asked: &Asked,
) -> Result<(Report, &'a [&'a str]), String> {
    let mut report = Report::default();
    let Some((&"", mut rest)) = lines.split_first() else {
        return Err(format!(
            "an empty line is missing before {:?}",
            lines.first()
        ));
    };
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
    // Elsewhere other disks are busy as well.
    let alone = mode == Mode::Live || crate::in_vm() || case.one_disk();
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
        if if alone { p != q } else { q < p } {
            faults.push(format!("{title:?}: {p} I/Os in the classic, {q} in ours"));
        }
        if mode == Mode::Live && !near(x, y) {
            faults.push(format!(
                "{title:?}: the distributions differ: {x:?} and {y:?}"
            ));
        }
    }
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
