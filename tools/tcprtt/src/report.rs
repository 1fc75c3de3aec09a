// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of one interval: BCC's text, or JSON.

use std::io::Write as _;
use std::net::IpAddr;

use common::columns::{Format, Table, Value, json_field};
use common::hist::{Fine, HasHist, add_hist_fields};
use common::time::{utc_now, wall_clock};

use crate::{Args, By};

/// One histogram.
pub struct Section {
    /// `None`: of all addresses.
    pub addr: Option<IpAddr>,
    /// In the report's unit; the total in microseconds.
    pub hist: Fine,
}

pub struct Report {
    format: Format,
    by: By,
    unit: &'static str,
    unit_us: u64,
    timestamp: bool,
    extension: bool,
    percentiles: bool,
}

impl Report {
    pub fn new(args: &Args) -> Self {
        let (unit, unit_us) = if args.milliseconds {
            ("msecs", 1000)
        } else {
            ("usecs", 1)
        };
        Self {
            format: args.general.format(false),
            by: args.by(),
            unit,
            unit_us,
            timestamp: args.timestamp,
            extension: args.extension,
            percentiles: args.percentiles,
        }
    }

    /// Nothing was counted where there is no section. Writing to a Vec cannot
    /// fail.
    pub fn write(&self, sections: Vec<Section>, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            return self.json(sections, out);
        }
        out.push(b'\n');
        if self.timestamp {
            let _ = writeln!(out, "{:<8}", wall_clock());
        }
        for section in &sections {
            self.text(section, out);
        }
    }

    fn text(&self, section: &Section, out: &mut Vec<u8>) {
        let _ = match (self.by, section.addr) {
            (By::Local, Some(addr)) => write!(out, "\nLocal Address = {addr}"),
            (By::Remote, Some(addr)) => write!(out, "\nRemote Address = {addr}"),
            _ => write!(out, "\nAll Addresses = *******"),
        };
        if let (true, Some(average)) = (self.extension, self.average(&section.hist)) {
            let _ = write!(out, " [AVG {average}]");
        }
        out.push(b'\n');
        section.hist.text(self.unit, self.percentiles, out);
    }

    fn average(&self, hist: &Fine) -> Option<u64> {
        Some(hist.total.checked_div(hist.count())? / self.unit_us)
    }

    /// One object per histogram and line.
    fn json(&self, sections: Vec<Section>, out: &mut Vec<u8>) {
        let mut table = Table::new(Format::Json);
        table
            .add(json_field("time", |row: &Row| {
                Value::Str(row.time.as_str().into())
            }))
            .add(json_field("val_type", |row| row.unit.into()));
        let addr = |row: &Row| row.section.addr.map_or(Value::Missing, Value::Ip);
        match self.by {
            By::None => {}
            By::Local => drop(table.add(json_field("saddr", addr))),
            By::Remote => drop(table.add(json_field("daddr", addr))),
        }
        table
            .add(json_field("count", |row| {
                Value::Uint(row.section.hist.count())
            }))
            .add(json_field("total_us", |row| {
                Value::Uint(row.section.hist.total)
            }));
        add_hist_fields(&mut table, self.percentiles);
        let time = utc_now();
        for section in sections {
            let row = Row {
                time: time.clone(),
                unit: self.unit,
                section,
            };
            table.row(&row, out);
        }
    }
}

/// A histogram as a JSON object.
struct Row {
    time: String,
    unit: &'static str,
    section: Section,
}

impl HasHist for Row {
    fn hist(&self) -> &Fine {
        &self.section.hist
    }
}
