// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-c`: how many packets were dropped, by reason and place.

use anyhow::{Result, anyhow};
use common::columns::{Format, Table, Value, column, json_field};
use common::event::decode;
use common::libbpf_rs::{MapCore, MapFlags};
use common::symbols::KernelSymbols;

use crate::reasons::{Reasons, Shown, location};
use crate::skel::types::tcpdrop_key;

pub struct Counts {
    pub format: Format,
}

struct Row {
    reason: Shown,
    location: String,
    count: u64,
}

impl Counts {
    /// Writes a row per reason and place, the largest first.
    pub fn write(
        &self,
        map: &impl MapCore,
        reasons: &mut Reasons,
        symbols: &mut KernelSymbols,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut rows = Vec::new();
        for key in map.keys() {
            let (counted, _) = decode::<tcpdrop_key>(&key)?;
            let Some(value) = map.lookup(&key, MapFlags::ANY)? else {
                continue;
            };
            let value = value
                .first_chunk()
                .ok_or_else(|| anyhow!("a count is too short"))?;
            let location = location(symbols, counted.location);
            rows.push(Row {
                reason: reasons.shown(counted.reason, &location),
                location: (*location).into(),
                count: u64::from_ne_bytes(*value),
            });
        }
        rows.sort_by(|a, b| {
            let name = |row: &Row| (row.reason.name.clone(), row.location.clone());
            b.count.cmp(&a.count).then_with(|| name(a).cmp(&name(b)))
        });
        let table = table(self.format);
        table.header(out);
        for row in &rows {
            table.row(row, out);
        }
        Ok(())
    }
}

fn table(format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(
            column("REASON (CODE)", |row: &Row| {
                format!("{} ({})", row.reason.name, row.reason.code).into()
            })
            .left(32),
        )
        .add(
            column("LOCATION", |row: &Row| {
                Value::Str(row.location.as_str().into())
            })
            .left(36),
        )
        .add(json_field("reason", |row| {
            if row.reason.is_known {
                Value::Str(row.reason.name.as_str().into())
            } else {
                Value::Missing
            }
        }))
        .add(json_field("reason_code", |row| {
            Value::Uint(row.reason.code.into())
        }))
        .add(json_field("location", |row| {
            Value::Str(row.location.as_str().into())
        }))
        .add(
            column("COUNT", |row: &Row| Value::Uint(row.count))
                .right(9)
                .key("count"),
        );
    table
}
