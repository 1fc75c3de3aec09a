// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--histogram`: the latencies of an interval.

use std::io::Write as _;

use anyhow::{Context, Result};
use common::columns::{Format, Table, Value, json_field};
use common::hist::{Fine, JSON};
use common::time::utc_now;
use libbpf_rs::{MapCore, MapFlags};

/// Microseconds, as the BPF program counts them.
const UNIT: &str = "usecs";

/// The kernel's counts, which only grow, as they were last read.
#[derive(Default)]
pub struct Latencies {
    last: Fine,
}

impl Latencies {
    /// Writes what was counted since the last time.
    pub fn report(&mut self, map: &impl MapCore, format: Format, out: &mut Vec<u8>) -> Result<()> {
        let per_cpu = map
            .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
            .context("read map: latencies")?;
        let mut now = Fine::default();
        for value in per_cpu.unwrap_or_default() {
            now.add(&Fine::decode(&value)?.0);
        }
        let interval = now.since(&self.last);
        self.last = now;
        if format == Format::Json {
            json(interval, out);
        } else {
            text(&interval, out);
        }
        Ok(())
    }
}

fn text(hist: &Fine, out: &mut Vec<u8>) {
    out.push(b'\n');
    hist.log2().text(UNIT, out);
    if let Some(line) = hist.percentile_line(UNIT) {
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, "{line}");
    }
}

fn json(hist: Fine, out: &mut Vec<u8>) {
    let mut table = Table::new(Format::Json);
    table
        .add(json_field("time", |_: &Fine| utc_now().into()))
        .add(json_field("val_type", |_| UNIT.into()))
        .add(json_field("count", |hist| Value::Uint(hist.count())))
        .add(json_field("total", |hist| Value::Uint(hist.total)))
        .add(json_field("percentiles", |hist| {
            hist.percentile_object(JSON)
                .map_or(Value::Missing, Value::Json)
        }))
        .add(json_field("data", |hist| {
            Value::Json(hist.bucket_list(JSON))
        }));
    table.row(&hist, out);
}
