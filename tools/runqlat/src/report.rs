// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of one interval: BCC's text, or JSON.

use std::io::Write as _;

use common::columns::{Format, Table, Value, json_field};
use common::hist::{Fine, HasHist, add_hist_fields};
use common::time::{utc_now, wall_clock};

use crate::By;

/// One histogram.
pub struct Section {
    /// Of a process, a thread, a namespace; 0 of all.
    pub id: u32,
    /// The name of the process or thread when it last waited.
    pub comm: [u8; 16],
    /// In the report's unit; the total in nanoseconds.
    pub hist: Fine,
}

pub struct Report {
    pub format: Format,
    pub by: By,
    pub unit: &'static str,
    pub timestamp: bool,
    pub percentiles: bool,
}

impl Report {
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
            if let Some(name) = self.by.name() {
                let _ = writeln!(out, "\n{name} = {}", section.id);
            }
            section.hist.text(self.unit, self.percentiles, out);
        }
    }

    /// One object per histogram and line.
    fn json(&self, sections: Vec<Section>, out: &mut Vec<u8>) {
        let mut table = Table::new(Format::Json);
        table
            .add(json_field("time", |row: &Row| {
                Value::Str(row.time.as_str().into())
            }))
            .add(json_field("val_type", |row| row.unit.into()));
        if let Some(name) = self.by.name() {
            table.add(json_field(name, |row| Value::Uint(row.section.id.into())));
        }
        if matches!(self.by, By::Process | By::Thread) {
            table.add(json_field("comm", |row| Value::Name(&row.section.comm)));
        }
        table
            .add(json_field("count", |row| {
                Value::Uint(row.section.hist.count())
            }))
            .add(json_field("total_ns", |row| {
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
