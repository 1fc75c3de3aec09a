// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of one interval, in BCC's text, as BCC's Python dictionaries, and
//! as JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;

use common::columns::{Format, Table, Value, json_field};
use common::escape::printable;
use common::hist::{Fine, HasHist, PYTHON, Style, Unit, add_hist_fields};
use common::time::{utc_now, wall_clock, wall_date};

use crate::heatmap::Heatmap;

/// One histogram.
#[derive(Clone, Default)]
pub struct Section {
    /// With `-D`. A name from the kernel: escaped when shown.
    pub disk: Option<Vec<u8>>,
    /// With `-F`: as text, and the kernel's number.
    pub flags: Option<(String, u32)>,
    /// Latencies in the report's unit; their total in nanoseconds.
    pub hist: Fine,
}

impl Section {
    fn disk(&self) -> Option<Cow<'_, str>> {
        self.disk.as_deref().map(printable)
    }

    fn flags(&self) -> Option<&str> {
        self.flags.as_ref().map(|(text, _)| text.as_str())
    }

    /// What tells the histogram from others.
    fn names(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let disk = self.disk().map(|disk| ("disk", disk));
        let flags = self.flags().map(|flags| ("flags", flags.into()));
        disk.into_iter().chain(flags).collect()
    }

    /// `disk = sda, flags = Read`
    fn title(&self) -> Option<String> {
        let names: Vec<_> = self
            .names()
            .iter()
            .map(|(key, name)| format!("{key} = {name}"))
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// In which form.
pub enum Form {
    Text,
    Heatmap(Heatmap),
    Dict,
    Json,
}

/// How intervals are reported.
pub struct Report {
    pub form: Form,
    pub unit: Unit,
    pub timestamp: bool,
    pub extension: bool,
    pub percentiles: bool,
    pub by_disk: bool,
    pub by_flags: bool,
}

impl Report {
    /// Writes the report of one interval.
    pub fn write(&self, sections: Vec<Section>, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        match &self.form {
            Form::Json => return self.json(sections, out),
            Form::Heatmap(heatmap) => return self.heatmap(heatmap, sections, out),
            Form::Dict | Form::Text => {}
        }
        out.push(b'\n');
        if self.timestamp {
            let _ = writeln!(out, "{:<8}", wall_clock());
        }
        let sections = merged(sections);
        if matches!(self.form, Form::Dict) {
            let now = wall_date();
            for section in &sections {
                self.dict(section, &now, out);
            }
            return;
        }
        for section in &sections {
            self.text(section, out);
        }
        if self.extension {
            self.extension(&sections, out);
        }
    }

    /// A line per histogram, and one where there is none: time goes on.
    fn heatmap(&self, heatmap: &Heatmap, sections: Vec<Section>, out: &mut Vec<u8>) {
        let now = wall_clock();
        let mut sections = merged(sections);
        if sections.is_empty() {
            sections.push(Section::default());
        }
        for section in &sections {
            let percentiles = self
                .percentiles
                .then(|| section.hist.percentile_line(self.unit.name))
                .flatten();
            let about: Vec<_> = [section.title(), percentiles]
                .into_iter()
                .flatten()
                .collect();
            heatmap.line(&now, &section.hist, &about.join("  "), out);
        }
    }

    fn text(&self, section: &Section, out: &mut Vec<u8>) {
        if let Some(title) = section.title() {
            let _ = writeln!(out, "\n{title}");
        }
        section.hist.text(self.unit.name, self.percentiles, out);
    }

    fn extension(&self, sections: &[Section], out: &mut Vec<u8>) {
        let count: u64 = sections.iter().map(|section| section.hist.count()).sum();
        let total_ns: u64 = sections.iter().map(|section| section.hist.total).sum();
        let total = total_ns / self.unit.ns;
        let Some(avg) = total.checked_div(count) else {
            return;
        };
        let unit = self.unit.name;
        let _ = writeln!(
            out,
            "\navg = {avg} {unit}, total: {total} {unit}, count: {count}\n"
        );
    }

    /// As Python prints BCC's dictionary.
    fn dict(&self, section: &Section, now: &str, out: &mut Vec<u8>) {
        let _ = write!(
            out,
            "{{'ts': '{now}', 'val_type': '{}', 'data': {}",
            self.unit.name,
            section.hist.bucket_list(PYTHON)
        );
        for (key, name) in section.names() {
            let name = name.replace('\\', "\\\\").replace('\'', "\\'");
            let _ = write!(out, ", '{key}': '{name}'");
        }
        if let Some(values) = self.percentile_object(section, PYTHON) {
            let _ = write!(out, ", 'percentiles': {values}");
        }
        let _ = writeln!(out, "}}");
    }

    /// One object per histogram and line; unlike the other forms one per raw
    /// value of the flags, also where their texts are the same.
    fn json(&self, sections: Vec<Section>, out: &mut Vec<u8>) {
        let mut table = Table::new(Format::Json);
        table
            .add(json_field("time", |row: &Row| {
                Value::Str(row.time.as_str().into())
            }))
            .add(json_field("ts", |row| Value::Str(row.ts.as_str().into())))
            .add(json_field("val_type", |row| row.unit.name.into()));
        if self.by_disk {
            table.add(json_field("disk", |row| {
                row.section.disk().map_or(Value::Missing, Value::Str)
            }));
        }
        if self.by_flags {
            table
                .add(json_field("flags", |row| {
                    let text = row.section.flags();
                    text.map_or(Value::Missing, |text| Value::Str(text.into()))
                }))
                .add(json_field("cmd_flags", |row| {
                    let number = |&(_, number): &(_, u32)| Value::Uint(number.into());
                    row.section.flags.as_ref().map_or(Value::Missing, number)
                }));
        }
        table
            .add(json_field("count", |row| {
                Value::Uint(row.section.hist.count())
            }))
            .add(json_field("total", |row| {
                Value::Uint(row.section.hist.total / row.unit.ns)
            }));
        add_hist_fields(&mut table, self.percentiles);

        let (time, ts) = (utc_now(), wall_date());
        for section in sections {
            let row = Row {
                time: time.clone(),
                ts: ts.clone(),
                unit: self.unit,
                section,
            };
            table.row(&row, out);
        }
    }

    /// The percentiles and the maximum, if they are asked for.
    fn percentile_object(&self, section: &Section, style: Style) -> Option<String> {
        self.percentiles
            .then(|| section.hist.percentile_object(style))?
    }
}

/// A histogram as a JSON object.
struct Row {
    time: String,
    ts: String,
    unit: Unit,
    section: Section,
}

impl HasHist for Row {
    fn hist(&self) -> &Fine {
        &self.section.hist
    }
}

/// Sections whose names read the same become one, at the place of the first.
fn merged(sections: Vec<Section>) -> Vec<Section> {
    let mut merged: Vec<Section> = Vec::with_capacity(sections.len());
    let mut places = HashMap::new();
    for section in sections {
        let name = (section.disk.clone(), section.flags().map(str::to_owned));
        let place = *places.entry(name).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(same) => same.hist.add(&section.hist),
            None => merged.push(section),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::hist::{MSECS, USECS};

    /// Values 5, 5 and 9, in 20 microseconds.
    fn hist() -> Fine {
        let mut bytes = vec![0; 8 * (2 + common::hist::SLOTS)];
        let mut put = |word: usize, value: u64| {
            bytes[8 * word..8 * (word + 1)].copy_from_slice(&value.to_ne_bytes());
        };
        put(0, 19_999);
        put(1, 9);
        put(2 + 5, 2);
        put(2 + 9, 1);
        Fine::decode(&bytes).unwrap().0
    }

    fn section(disk: Option<&str>, flags: Option<(&str, u32)>) -> Section {
        Section {
            disk: disk.map(Into::into),
            flags: flags.map(|(text, number)| (text.into(), number)),
            hist: hist(),
        }
    }

    const REPORT: Report = Report {
        form: Form::Text,
        unit: USECS,
        timestamp: false,
        extension: false,
        percentiles: false,
        by_disk: false,
        by_flags: false,
    };

    fn written(report: &Report, sections: Vec<Section>) -> String {
        let mut out = Vec::new();
        report.write(sections, &mut out);
        String::from_utf8(out).unwrap()
    }

    const TABLE: &str = "     usecs               : count     distribution
         0 -> 1          : 0        |                                        |
         2 -> 3          : 0        |                                        |
         4 -> 7          : 2        |****************************************|
         8 -> 15         : 1        |********************                    |
";

    #[test]
    fn a_histogram_is_bccs() {
        let text = written(&REPORT, vec![section(None, None)]);
        assert_eq!(text, format!("\n{TABLE}"));
    }

    #[test]
    fn an_empty_interval_is_an_empty_line() {
        let empty = || vec![Section::default()];
        let with_all = Report {
            extension: true,
            percentiles: true,
            ..REPORT
        };
        assert_eq!(written(&with_all, empty()), "\n");
        assert_eq!(written(&with_all, Vec::new()), "\n");
        let dict = Report {
            form: Form::Dict,
            ..REPORT
        };
        let text = written(&dict, empty());
        assert!(
            text.ends_with("', 'val_type': 'usecs', 'data': []}\n"),
            "{text}"
        );
    }

    #[test]
    fn the_time_is_a_line() {
        let report = Report {
            timestamp: true,
            ..REPORT
        };
        let text = written(&report, Vec::new());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "");
        assert_eq!(lines[1].len(), 8);
    }

    #[test]
    fn headers_say_what_the_histogram_is_of() {
        let header = |section| {
            let text = written(&REPORT, vec![section]);
            text.strip_suffix(TABLE).unwrap().to_owned()
        };
        assert_eq!(header(section(Some("sda"), None)), "\n\ndisk = sda\n");
        assert_eq!(
            header(section(None, Some(("Sync-Write", 1)))),
            "\n\nflags = Sync-Write\n"
        );
        assert_eq!(
            header(section(Some("sda"), Some(("Read", 0)))),
            "\n\ndisk = sda, flags = Read\n"
        );
        assert_eq!(
            header(section(Some("a\n\x1b"), None)),
            "\n\ndisk = a\\n\\x1b\n"
        );
    }

    #[test]
    fn sections_that_read_the_same_are_one() {
        let sections = || {
            vec![
                section(Some("sda"), Some(("Read", 0))),
                section(Some("sda"), Some(("Write", 1))),
                section(Some("sda"), Some(("Read", 1 << 25))),
                section(Some("sdb"), Some(("Read", 0))),
            ]
        };
        let text = written(&REPORT, sections());
        assert_eq!(text.matches("disk = ").count(), 3);
        assert!(text.starts_with("\n\ndisk = sda, flags = Read\n"));
        assert!(text.contains("4 -> 7          : 4 "));
        let json = Report {
            form: Form::Json,
            ..REPORT
        };
        assert_eq!(written(&json, sections()).lines().count(), 4);
    }

    #[test]
    fn the_extension_is_bccs() {
        let report = Report {
            extension: true,
            ..REPORT
        };
        let text = written(&report, vec![section(None, None)]);
        assert_eq!(
            text,
            format!("\n{TABLE}\navg = 6 usecs, total: 19 usecs, count: 3\n\n")
        );
        // One for all histograms; 39.998 microseconds are not 38.
        let both = vec![section(Some("sda"), None), section(Some("sdb"), None)];
        let text = written(&report, both);
        assert!(text.ends_with("\n\navg = 6 usecs, total: 39 usecs, count: 6\n\n"));
    }

    #[test]
    fn percentiles_are_a_line() {
        let report = Report {
            percentiles: true,
            extension: true,
            ..REPORT
        };
        let text = written(&report, vec![section(None, None)]);
        let rest = text.strip_prefix(&format!("\n{TABLE}")).unwrap();
        assert_eq!(
            rest,
            "p50 = 5, p90 = 9, p99 = 9, p99.9 = 9, max = 9 usecs
\navg = 6 usecs, total: 19 usecs, count: 3\n\n"
        );
    }

    #[test]
    fn dictionaries_are_as_python_prints_them() {
        let report = Report {
            form: Form::Dict,
            extension: true, // BCC has none here
            ..REPORT
        };
        let data = "'val_type': 'usecs', 'data': [\
            {'interval-start': 0, 'interval-end': 1, 'count': 0}, \
            {'interval-start': 2, 'interval-end': 3, 'count': 0}, \
            {'interval-start': 4, 'interval-end': 7, 'count': 2}, \
            {'interval-start': 8, 'interval-end': 15, 'count': 1}]";
        let line = |report: &Report, section| {
            let text = written(report, vec![section]);
            let (before, line) = text.split_at(1);
            assert_eq!(before, "\n");
            assert!(line.starts_with("{'ts': '"), "{line}");
            // 2026-01-02 03:04:05
            line[8 + 19..].to_owned()
        };
        assert_eq!(line(&report, section(None, None)), format!("', {data}}}\n"));
        assert_eq!(
            line(&report, section(Some("s'da"), None)),
            format!("', {data}, 'disk': 's\\'da'}}\n")
        );
        assert_eq!(
            line(&report, section(None, Some(("Read", 0)))),
            format!("', {data}, 'flags': 'Read'}}\n")
        );
        let report = Report {
            percentiles: true,
            unit: MSECS,
            ..report
        };
        assert!(line(&report, section(None, None)).ends_with(
            "], 'percentiles': {'p50': 5, 'p90': 9, 'p99': 9, 'p99.9': 9, 'max': 9}}\n"
        ));
    }

    #[test]
    fn json_has_everything() {
        let report = Report {
            form: Form::Json,
            by_disk: true,
            by_flags: true,
            percentiles: true,
            ..REPORT
        };
        let text = written(
            &report,
            vec![section(Some("sda"), Some(("Sync-Read", 2048)))],
        );
        let (times, rest) = text.split_once(",\"val_type\"").unwrap();
        assert!(times.starts_with("{\"time\":\"2") && times.contains("Z\",\"ts\":\"2"));
        assert_eq!(
            rest,
            ":\"usecs\",\"disk\":\"sda\",\"flags\":\"Sync-Read\",\"cmd_flags\":2048,\
             \"count\":3,\"total\":19,\
             \"percentiles\":{\"p50\":5,\"p90\":9,\"p99\":9,\"p99.9\":9,\"max\":9},\
             \"data\":[{\"interval-start\":0,\"interval-end\":1,\"count\":0},\
             {\"interval-start\":2,\"interval-end\":3,\"count\":0},\
             {\"interval-start\":4,\"interval-end\":7,\"count\":2},\
             {\"interval-start\":8,\"interval-end\":15,\"count\":1}]}\n"
        );
    }

    #[test]
    fn json_of_an_empty_interval() {
        let report = Report {
            form: Form::Json,
            percentiles: true,
            ..REPORT
        };
        let text = written(&report, vec![Section::default()]);
        assert!(
            text.ends_with("\"count\":0,\"total\":0,\"percentiles\":null,\"data\":[]}\n"),
            "{text}"
        );
        assert_eq!(written(&report, Vec::new()), "");
    }
}
