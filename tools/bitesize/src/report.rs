// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report of one interval: BCC's text, or JSON.

use std::io::Write as _;

use common::columns::{Format, Table, Value, json_field};
use common::escape::{c_bytes, printable};
use common::hist::{Fine, HasHist, add_hist_fields};
use common::time::{utc_now, wall_clock};

/// The unit of the histograms.
const UNIT: &str = "Kbytes";

/// The I/O of the processes of one name.
pub struct Section {
    pub comm: [u8; 16],
    /// In Kbytes; the total in bytes.
    pub hist: Fine,
}

pub struct Report {
    pub json: bool,
    pub timestamp: bool,
    /// An empty line before each report.
    pub blank: bool,
    pub percentiles: bool,
}

impl Report {
    /// Writes the report of one interval. Writing to a Vec cannot fail.
    pub fn write(&self, sections: Vec<Section>, out: &mut Vec<u8>) {
        if self.json {
            return self.json(sections, out);
        }
        if self.blank {
            out.push(b'\n');
        }
        if self.timestamp {
            let _ = writeln!(out, "{:<8}", wall_clock());
        }
        for section in &sections {
            let comm = printable(c_bytes(&section.comm));
            let _ = writeln!(out, "\nProcess Name = {comm}");
            section.hist.text(UNIT, self.percentiles, out);
        }
    }

    /// One object per histogram and line.
    fn json(&self, sections: Vec<Section>, out: &mut Vec<u8>) {
        let mut table = Table::new(Format::Json);
        table
            .add(json_field("time", |row: &Row| {
                Value::Str(row.time.as_str().into())
            }))
            .add(json_field("comm", |row| Value::Name(&row.section.comm)))
            .add(json_field("val_type", |_| UNIT.into()))
            .add(json_field("count", |row| {
                Value::Uint(row.section.hist.count())
            }))
            .add(json_field("total_bytes", |row| {
                Value::Uint(row.section.hist.total)
            }));
        add_hist_fields(&mut table, self.percentiles);
        let time = utc_now();
        for section in sections {
            let row = Row {
                time: time.clone(),
                section,
            };
            table.row(&row, out);
        }
    }
}

/// A histogram as a JSON object.
struct Row {
    time: String,
    section: Section,
}

impl HasHist for Row {
    fn hist(&self) -> &Fine {
        &self.section.hist
    }
}
