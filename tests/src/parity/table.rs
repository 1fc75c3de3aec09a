// SPDX-License-Identifier: MIT OR Apache-2.0
//! Output of one row per event: lines before the header, the header, rows.

use super::work::is_ours;
use super::{Case, Facts, Mode, diff};

/// The first column of every header.
const FIRST: &[&str] = &[
    "SKADDR",
    "TIME",
    "TIME(s)",
    "PID",
    "TID",
    "UID",
    "LADDR:LPORT",
    "LADDR",
    "T",
    "TYPE",
    "TIME(ns)",
    "COMM",
    "PCOMM",
    "ENDTIME_us",
];

#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Banner and whatever else comes first.
    pub before: Vec<String>,
    pub header: Option<String>,
    /// The workload's rows. A row may have more lines (a stack).
    pub rows: Vec<String>,
}

impl Table {
    pub fn parse(stdout: &str) -> Self {
        let mut table = Self::default();
        let mut taken = false;
        for line in stdout.split_terminator('\n') {
            let first = line.split([' ', ',']).next().unwrap_or_default();
            if table.header.is_none() {
                if FIRST.contains(&first) {
                    table.header = Some(line.to_owned());
                } else {
                    table.before.push(line.to_owned());
                }
            } else if line.is_empty() || line.starts_with('\t') {
                if let (true, Some(row)) = (taken, table.rows.last_mut()) {
                    row.push('\n');
                    row.push_str(line);
                }
            } else {
                taken = is_ours(line);
                if taken {
                    table.rows.push(line.to_owned());
                }
            }
        }
        table
    }

    /// The values of some columns, row by row, sorted; a column may have several names.
    pub fn events(&self, columns: &[&[&str]]) -> Vec<Vec<String>> {
        let header = self.header.as_deref().unwrap_or_default();
        let titles = cells(header, false);
        let find = |names: &&[&str]| {
            let found = titles
                .iter()
                .position(|&(from, to)| names.contains(&&header[from..to]));
            found.unwrap_or_else(|| panic!("no {names:?} in {header}"))
        };
        let wanted: Vec<usize> = columns.iter().map(find).collect();
        let mut events: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let values = cells(row, false);
                wanted
                    .iter()
                    .map(|&index| {
                        values
                            .get(index)
                            .map_or("", |&(from, to)| &row[from..to])
                            .to_owned()
                    })
                    .collect()
            })
            .collect();
        events.sort();
        events
    }

    /// Back to text, without the rows of others.
    pub fn text(&self) -> String {
        let lines = self.before.iter().chain(&self.header).chain(&self.rows);
        lines.flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// What a column's values have in common between two runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Equal.
    Same,
    /// Wall clock, whole seconds.
    Clock,
    /// Seconds since some event.
    Seconds,
    /// The same, in nanoseconds.
    Nanoseconds,
    /// The same, in microseconds.
    Microseconds,
    /// Seconds since the start; the classic's is when it shows the row.
    Shown,
    /// A duration in milliseconds …
    Duration,
    /// … aligned to the right …
    DurationRight,
    /// … or in microseconds.
    DurationMicros,
    /// Equal in two runs at the same time only.
    Once,
    /// The same, aligned to the right.
    OnceRight,
    /// A process of the workload.
    Owner,
    /// A name, and its age when that is more than a tenth of a second.
    Query,
}

fn kind(tool: &str, column: &str) -> Kind {
    match column {
        "TIME" => Kind::Clock,
        "TIME(s)" if matches!(tool, "execsnoop" | "fileslower") => Kind::Shown,
        "TIME(s)" => Kind::Seconds,
        "TIME(ns)" => Kind::Nanoseconds,
        "ENDTIME_us" => Kind::Microseconds,
        "LATENCY_us" => Kind::DurationMicros,
        "LAT(ms)" if tool.ends_with("slower") => Kind::DurationRight,
        "QUE(ms)" | "LAT(ms)" if tool == "biosnoop" => Kind::DurationRight,
        "MS" | "LAT(ms)" => Kind::Duration,
        "SKADDR" | "C-PID" | "C-COMM" | "SEQ" | "NETNS" | "DISK" => Kind::Once,
        "RETRANSMITS" | "FD" => Kind::OnceRight,
        "PID" | "TID" if matches!(tool, "tcpretrans" | "tcpdrop") => Kind::Once,
        "PID" | "TID" | "PPID" => Kind::Owner,
        "QUERY" => Kind::Query,
        _ => Kind::Same,
    }
}

/// A value of a row that two runs have nearly the same.
#[derive(Clone, Copy, Debug)]
struct Time {
    kind: Kind,
    value: f64,
}

/// A row with values that vary replaced by words of the same width.
fn canonical(
    tool: &str,
    mode: Mode,
    header: &str,
    row: &str,
    facts: &Facts,
) -> (String, Vec<Time>) {
    let (line, rest) = row
        .split_once('\n')
        .map_or((row, ""), |(line, rest)| (line, rest));
    let csv = header.contains(',');
    let titles = cells(header, csv);
    let mut values = cells(line, csv);
    // A flow's arrow has no title in the table of counts.
    let arrows = line.contains("<->");
    // Whoever was on the CPU may have blanks in its name.
    let comm = titles
        .iter()
        .position(|&(from, to)| &header[from..to] == "C-COMM");
    if let Some(comm) = comm.filter(|_| values.len() > titles.len()) {
        let last = comm + values.len() - titles.len();
        values[comm].1 = values[last].1;
        values.drain(comm + 1..=last);
    }
    // Older kernels fill in the remote end of a new connection after this change.
    let opening = line.contains("LISTEN") && line.contains("SYN_RECV");
    let mut title = 0;
    let mut text = String::new();
    let mut times = Vec::new();
    let mut at = 0; // how far `line` is in `text`
    for (index, &(start, end)) in values.iter().enumerate() {
        let value = &line[start..end];
        if arrows && value == "<->" {
            continue;
        }
        let Some(&(from, to)) = titles.get(title) else {
            break;
        };
        let name = &header[from..to];
        let mut kind = kind(tool, name);
        if opening && matches!(name, "RADDR" | "RPORT") {
            kind = Kind::Once;
        }
        let next = values.get(index + 1).map(|next| next.0);
        let nominal = titles.get(title + 1).map(|next| next.0 - from);
        title += 1;
        if kind == Kind::Query {
            text.push_str(&line[at..start]);
            text.push_str(name_only(&line[start..]));
            at = line.len();
            break;
        }
        let word = match kind {
            Kind::Clock => {
                times.push(Time {
                    kind,
                    value: clock(value).unwrap_or(f64::NAN),
                });
                shape(value)
            }
            Kind::Nanoseconds | Kind::Microseconds | Kind::DurationMicros => {
                let (kind, unit) = match kind {
                    Kind::Nanoseconds => (Kind::Seconds, 1e9),
                    Kind::Microseconds => (Kind::Seconds, 1e6),
                    _ => (Kind::DurationRight, 1e3),
                };
                times.push(Time {
                    kind,
                    value: value.parse().map_or(f64::NAN, |n: u64| n as f64 / unit),
                });
                number(value)
            }
            Kind::Seconds | Kind::Shown | Kind::Duration | Kind::DurationRight => {
                times.push(Time {
                    kind,
                    value: value.parse().unwrap_or(f64::NAN),
                });
                number(value)
            }
            Kind::Once | Kind::OnceRight if mode == Mode::Capture => name.to_lowercase(),
            Kind::Owner if mode == Mode::Capture => facts.word(value),
            _ => continue,
        };
        if matches!(kind, Kind::OnceRight | Kind::DurationRight) {
            let blanks = line[..start].len() - line[..start].trim_end_matches(' ').len();
            let begin = start - blanks;
            text.push_str(&line[at..begin]);
            let width = end - begin;
            text.push_str(&format!("{word:>width$}"));
            at = end;
            continue;
        }
        text.push_str(&line[at..start]);
        let Some(next) = next.filter(|_| !csv) else {
            text.push_str(&word);
            at = end;
            continue;
        };
        // A value that is too long moves what follows; a word in its place does not.
        let mut field = next - start;
        if next == end + 1 && nominal.is_some_and(|nominal| field > nominal) {
            field = nominal.unwrap_or(field);
        }
        let room = field.saturating_sub(1).max(1);
        let word: String = word.chars().take(room).collect();
        text.push_str(&format!("{word:<field$}"));
        at = next;
    }
    text.push_str(&line[at..]);
    if !rest.is_empty() {
        text.push('\n');
        text.push_str(&match mode {
            Mode::Live => rest.to_owned(),
            Mode::Capture => stack(rest),
        });
    }
    (text, times)
}

/// A name without its age, which is ` (123.456ms)`.
fn name_only(text: &str) -> &str {
    let is_age = |age: &str| {
        age.strip_suffix("ms)")
            .is_some_and(|ms| number(ms) == "0.000" && ms.parse::<f64>().is_ok_and(|ms| ms > 100.0))
    };
    match text.rsplit_once(" (") {
        Some((name, age)) if is_age(age) => name,
        _ => text,
    }
}

/// A stack without its frames, which are another kernel's; lines that are none stay.
fn stack(lines: &str) -> String {
    let is_frame = |line: &str| {
        line.strip_prefix('\t')
            .and_then(|f| f.split_once("+0x"))
            .is_some_and(|(name, at)| {
                !name.contains([' ', '\'']) && at.bytes().all(|b| b.is_ascii_hexdigit())
            })
    };
    let mut lines: Vec<&str> = lines
        .split('\n')
        .map(|line| if is_frame(line) { "\tframe" } else { line })
        .collect();
    lines.dedup();
    lines.join("\n")
}

/// Where the cells of a line are. What is right of the last title is its cell.
fn cells(line: &str, csv: bool) -> Vec<(usize, usize)> {
    let mut cells = Vec::new();
    let mut start = None;
    for (index, byte) in line.bytes().enumerate() {
        let is_gap = byte == if csv { b',' } else { b' ' };
        match (is_gap, start) {
            (false, None) => start = Some(index),
            (true, Some(begin)) => {
                cells.push((begin, index));
                start = None;
            }
            _ => {}
        }
    }
    cells.extend(start.map(|begin| (begin, line.len())));
    cells
}

/// Seconds of the day of `HH:MM:SS`.
fn clock(text: &str) -> Option<f64> {
    let parts: Option<Vec<f64>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts?.as_slice() {
        [h, m, s] => Some((h * 60.0 + m) * 60.0 + s),
        _ => None,
    }
}

/// Digits as `0`: the shape of a clock time.
pub(super) fn shape(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect()
}

/// A number with as many decimals, and nothing else of it.
fn number(text: &str) -> String {
    match text.split_once('.') {
        Some((_, decimals)) => format!("0.{}", shape(decimals)),
        None => "0".into(),
    }
}

/// How far times may be apart: both tools stamp the same event, one after the other.
fn tolerance(kind: Kind) -> f64 {
    match kind {
        Kind::Clock | Kind::Shown => 5.0,
        Kind::Seconds => 0.1,
        _ => 20.0,
    }
}

pub fn compare(
    case: &Case,
    mode: Mode,
    classic: (&Table, &Facts),
    ours: (&Table, &Facts),
    faults: &mut Vec<String>,
) {
    diff(
        "lines before the header",
        &classic.0.before,
        &ours.0.before,
        faults,
    );
    if classic.0.header != ours.0.header {
        faults.push(format!(
            "headers differ:\n  - {:?}\n  + {:?}",
            classic.0.header.as_deref().unwrap_or(""),
            ours.0.header.as_deref().unwrap_or("")
        ));
    }
    if classic.0.rows.is_empty() && !case.no_rows {
        faults.push("the classic has no rows of the workload".into());
    }
    let rows = |(table, facts): (&Table, &Facts)| {
        let header = table.header.clone().unwrap_or_default();
        let mut rows: Vec<_> = table
            .rows
            .iter()
            .map(|row| canonical(case.tool, mode, &header, row, facts))
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        if mode == Mode::Capture && case.repeats() {
            rows.dedup_by(|a, b| a.0 == b.0);
        }
        rows
    };
    let (a, b) = (rows(classic), rows(ours));
    let texts =
        |rows: &[(String, Vec<Time>)]| rows.iter().map(|row| row.0.clone()).collect::<Vec<_>>();
    let before = faults.len();
    diff("rows", &texts(&a), &texts(&b), faults);
    if mode == Mode::Capture || faults.len() > before {
        return;
    }
    // Seconds count from an event that may be another one.
    let base = |rows: &[(String, Vec<Time>)]| {
        let all = rows.iter().flat_map(|row| &row.1);
        let seconds = all
            .filter(|time| matches!(time.kind, Kind::Seconds | Kind::Shown))
            .map(|time| time.value);
        seconds.fold(f64::INFINITY, f64::min)
    };
    let (base_a, base_b) = (base(&a), base(&b));
    // An emulated machine may be stopped for a while between one's stamp and the other's.
    let mut stops = a.len() / 10;
    for (a, b) in a.iter().zip(&b) {
        for (x, y) in a.1.iter().zip(&b.1) {
            let (p, q) = match x.kind {
                Kind::Seconds | Kind::Shown => (x.value - base_a, y.value - base_b),
                _ => (x.value, y.value),
            };
            let apart = (p - q).abs();
            let apart = if x.kind == Kind::Clock {
                apart.min(86_400.0 - apart)
            } else {
                apart
            };
            let near = apart <= tolerance(x.kind); // what is no number is not
            if !near && stops > 0 && x.kind == Kind::DurationRight && apart < 1000.0 {
                stops -= 1;
            } else if !near {
                faults.push(format!(
                    "times differ ({:?}): {p} and {q} in\n  {}",
                    x.kind, a.0
                ));
            }
        }
    }
}

/// The same text without the rows of others and without a program's source.
pub fn of_workload(stdout: &str, case: &Case) -> String {
    let mut table = Table::parse(stdout);
    if case.prints_source() {
        table.before = vec![super::SOURCE.into()];
    }
    table.text()
}
