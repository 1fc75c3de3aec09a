// SPDX-License-Identifier: MIT OR Apache-2.0
//! An I/O as a row.

use std::rc::Rc;

use common::block::{RequestNames, dev_text, error_name};
use common::columns::{Column, Format, Table, Value, column, json_field};
use common::time::EventClock;

use crate::Args;
use crate::skel::types::biosnoop_event;

/// A request that has completed.
pub struct Row {
    pub event: biosnoop_event,
    pub names: Rc<RequestNames>,
    pub since_ns: u64,
    pub clock: EventClock,
    /// The owner's, while it is there.
    pub cgroup: Option<Rc<str>>,
}

/// `PATTERN_*`, `NOT_SEEN` and `NOWHERE` of the BPF side.
const SEQUENTIAL: u16 = 1;
const RANDOM: u16 = 2;
const NOT_SEEN: u64 = u64::MAX;
const NOWHERE: u64 = u64::MAX;

impl Row {
    fn has_maker(&self) -> bool {
        self.event.has_maker != 0
    }

    fn sector(&self) -> Option<u64> {
        (self.event.sector != NOWHERE).then_some(self.event.sector)
    }

    fn queue_ns(&self) -> Option<u64> {
        (self.event.queue_ns != NOT_SEEN).then_some(self.event.queue_ns)
    }
}

fn milliseconds<'a>(ns: u64) -> Value<'a> {
    Value::Fixed {
        value: ns as f64 / 1e6,
        decimals: 2,
    }
}

fn microseconds<'a>(ns: u64) -> Value<'a> {
    Value::Fixed {
        value: ns as f64 / 1e3,
        decimals: 3,
    }
}

/// BCC's columns, and the keys of JSON.
pub fn table(args: &Args, format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(time_column(args.timestamp))
        .add(
            column("COMM", |row: &Row| match row.has_maker() {
                true => Value::Name(&row.event.comm),
                false => "?".into(),
            })
            .left(14)
            .cut()
            .json("comm", |row| match row.has_maker() {
                true => Value::Name(&row.event.comm),
                false => Value::Missing,
            }),
        )
        .add(
            column("PID", |row: &Row| Value::Uint(row.event.tgid.into()))
                .left(7)
                .json("pid", |row| match row.has_maker() {
                    true => Value::Uint(row.event.tgid.into()),
                    false => Value::Missing,
                }),
        )
        .add(json_field("tid", |row| match row.has_maker() {
            true => Value::Uint(row.event.pid.into()),
            false => Value::Missing,
        }))
        .add(
            column("DISK", |row: &Row| match row.event.disk_dev {
                0 => "<unknown>".into(),
                _ => Value::Name(&row.event.disk),
            })
            .left(9)
            .json("disk", |row| match row.event.disk_dev {
                0 => Value::Missing,
                _ => Value::Name(&row.event.disk),
            }),
        )
        .add(json_field("dev", |row| match row.event.dev {
            0 => Value::Missing,
            dev => dev_text(dev).into(),
        }))
        .add(
            column("T", |row: &Row| {
                let is_write = row.names.operation(row.event.cmd_flags) == "Write";
                if is_write { "W" } else { "R" }.into()
            })
            .left(1),
        )
        .add(json_field("rwbs", |row| {
            row.names.rwbs(row.event.cmd_flags).into()
        }))
        .add(json_field("flags", |row| {
            row.names.text(row.event.cmd_flags).into()
        }))
        .add(json_field("cmd_flags", |row| {
            Value::Uint(row.event.cmd_flags.into())
        }))
        .add(
            column("SECTOR", |row: &Row| Value::Uint(row.sector().unwrap_or(0)))
                .left(10)
                .json("sector", |row| {
                    row.sector().map_or(Value::Missing, Value::Uint)
                }),
        )
        .add(
            column("BYTES", |row: &Row| Value::Uint(row.event.bytes.into()))
                .left(7)
                .separator("") // as in BCC
                .key("bytes"),
        );
    if args.pattern {
        table.add(pattern_column());
    }
    let queue = column("QUE(ms)", |row: &Row| {
        milliseconds(row.queue_ns().unwrap_or(0))
    })
    .right(7)
    .json("queue_us", |row| {
        row.queue_ns().map_or(Value::Missing, microseconds)
    });
    table
        .add(if args.queue { queue } else { queue.no_text() })
        .add(
            column("LAT(ms)", |row: &Row| milliseconds(row.event.latency_ns))
                .right(7)
                .json("latency_us", |row| microseconds(row.event.latency_ns)),
        )
        .add(json_field("error", |row| {
            error_name(row.event.error).map_or(Value::Missing, Value::from)
        }))
        .add(json_field("cgroup_id", |row| match row.event.cgroup {
            0 => Value::Missing,
            id => Value::Uint(id),
        }))
        .add(json_field("cgroup", |row| match &row.cgroup {
            Some(path) => Value::Str((**path).into()),
            None => Value::Missing,
        }));
    table
}

/// When the I/O has completed: BCC's column, or the one of libbpf-tools' `-t`.
fn time_column(timestamp: bool) -> Column<Row> {
    let column = if timestamp {
        column("TIMESTAMP", |row: &Row| {
            row.clock.wall_clock(row.event.ts_ns).into()
        })
        .left(12)
    } else {
        column("TIME(s)", |row: &Row| Value::Fixed {
            value: row.since_ns as f64 / 1e9,
            decimals: 6,
        })
        .left(11)
    };
    column.json("time", |row| row.clock.utc(row.event.ts_ns).into())
}

fn pattern_column() -> Column<Row> {
    column("P", |row: &Row| {
        match row.event.pattern {
            SEQUENTIAL => "S",
            RANDOM => "R",
            _ => "?",
        }
        .into()
    })
    .left(1)
    .json("pattern", |row| match row.event.pattern {
        SEQUENTIAL => "sequential".into(),
        RANDOM => "random".into(),
        _ => Value::Missing,
    })
}
