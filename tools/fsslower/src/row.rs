// SPDX-License-Identifier: MIT OR Apache-2.0
//! An operation as a row.

use common::columns::{Format, Table, Value, column, json_field};
use common::time::EventClock;

use crate::skel::types::fsslower_event;

/// An operation that is over.
pub struct Row {
    pub event: fsslower_event,
    pub since_ns: u64,
    pub clock: EventClock,
    /// The last part of the path; `None` when it is not known.
    pub name: Option<Vec<u8>>,
}

/// `enum fsslower_op` of the BPF side.
const READ: u8 = 0;
const WRITE: u8 = 1;
const OPEN: u8 = 2;
const FSYNC: u8 = 3;

impl Row {
    fn operation(&self) -> &'static str {
        match self.event.op {
            READ => "read",
            WRITE => "write",
            OPEN => "open",
            FSYNC => "fsync",
            _ => "getattr",
        }
    }

    fn letter(&self, fsync: &'static str) -> &'static str {
        match self.event.op {
            READ => "R",
            WRITE => "W",
            OPEN => "O",
            FSYNC => fsync,
            _ => "G",
        }
    }

    /// How many bytes were read or written.
    fn bytes(&self) -> Option<u64> {
        let moves = matches!(self.event.op, READ | WRITE);
        u64::try_from(self.event.result).ok().filter(|_| moves)
    }

    fn errno(&self) -> Option<u64> {
        (self.event.result < 0).then(|| self.event.result.unsigned_abs())
    }

    fn latency_us(&self) -> u64 {
        self.event.latency_ns / 1000
    }

    fn latency_ms(&self) -> Value<'_> {
        Value::Fixed {
            value: self.latency_us() as f64 / 1e3,
            decimals: 2,
        }
    }

    /// What libbpf-tools show as bytes: of an fsync, how many it was for.
    fn size(&self) -> Value<'_> {
        match self.event.op {
            OPEN => Value::Uint(0),
            FSYNC if self.event.length == i64::MAX => "LL_MAX".into(),
            FSYNC => Value::Int(self.event.length),
            _ => Value::Int(self.event.result),
        }
    }

    fn name(&self) -> Value<'_> {
        self.name
            .as_ref()
            .map_or(Value::Unknown, |name| Value::Name(name))
    }

    /// The local time of day, HH:MM:SS.
    fn time_of_day(&self) -> Value<'_> {
        let mut time = self.clock.wall_clock(self.event.ts_ns);
        time.truncate("HH:MM:SS".len());
        time.into()
    }
}

/// Whose columns the text and the comma-separated values have.
#[derive(Clone, Copy)]
pub enum Layout {
    Bcc {
        pid_width: usize,
    },
    /// fsslower
    Libbpf,
    /// fileslower
    Files,
}

impl Layout {
    pub fn table(self, format: Format) -> Table<Row> {
        let mut table = Table::new(format);
        match (format, self) {
            (Format::Json, _) => self.json(&mut table),
            (Format::Csv, _) => self.csv(&mut table),
            (Format::Text, Self::Files) => files(&mut table),
            (Format::Text, _) => self.text(&mut table),
        }
        table
    }

    fn json(self, table: &mut Table<Row>) {
        table
            .add(json_field("time", |row| {
                row.clock.utc(row.event.ts_ns).into()
            }))
            .add(json_field("comm", |row| Value::Name(&row.event.comm)))
            .add(json_field("pid", |row| Value::Uint(row.event.tgid.into())))
            .add(json_field("tid", |row| Value::Uint(row.event.pid.into())))
            .add(json_field("operation", |row| row.operation().into()))
            .add(json_field("bytes", |row| {
                row.bytes().map_or(Value::Missing, Value::Uint)
            }))
            .add(json_field("errno", |row| {
                Value::Uint(row.errno().unwrap_or(0))
            }));
        if matches!(self, Self::Files) {
            table.add(json_field("requested_bytes", |row| {
                Value::Int(row.event.length)
            }));
        }
        table
            .add(json_field("offset", |row| Value::Int(row.event.offset)))
            .add(json_field("latency_us", |row| Value::Fixed {
                value: row.event.latency_ns as f64 / 1e3,
                decimals: 3,
            }))
            .add(json_field("file", |row| row.name()))
            .add(json_field("cgroup_id", |row| {
                Value::Uint(row.event.cgroup_id)
            }));
    }

    fn csv(self, table: &mut Table<Row>) {
        let bcc = matches!(self, Self::Bcc { .. });
        if bcc {
            table.add(column("ENDTIME_us", |row: &Row| {
                Value::Uint(row.event.ts_ns / 1000)
            }));
        } else {
            table.add(column("ENDTIME_ns", |row: &Row| {
                Value::Uint(row.event.ts_ns)
            }));
        }
        table
            .add(column("TASK", |row: &Row| Value::Name(&row.event.comm)))
            .add(column("PID", |row: &Row| {
                Value::Uint(row.event.tgid.into())
            }));
        if bcc {
            table
                .add(column("TYPE", |row: &Row| row.letter("S").into()))
                .add(column("BYTES", |row: &Row| Value::Int(row.event.result)));
        } else {
            table
                .add(column("TYPE", |row: &Row| row.letter("F").into()))
                .add(column("BYTES", Row::size));
        }
        table
            .add(column("OFFSET_b", |row: &Row| Value::Int(row.event.offset)))
            .add(column("LATENCY_us", |row: &Row| {
                Value::Uint(row.latency_us())
            }))
            .add(column("FILE", Row::name));
    }

    fn text(self, table: &mut Table<Row>) {
        let comm = column("COMM", |row: &Row| Value::Name(&row.event.comm));
        let pid = column("PID", |row: &Row| Value::Uint(row.event.tgid.into()));
        table.add(column("TIME", Row::time_of_day).left(8));
        if let Self::Bcc { pid_width } = self {
            table
                .add(comm.left(14).cut())
                .add(pid.left(pid_width))
                .add(column("T", |row: &Row| row.letter("S").into()).left(1))
                .add(column("BYTES", |row: &Row| Value::Int(row.event.result)).left(7));
        } else {
            table
                .add(comm.left(16))
                .add(pid.left(7))
                .add(column("T", |row: &Row| row.letter("F").into()).left(1))
                .add(column("BYTES", Row::size).left(7));
        }
        table
            .add(column("OFF_KB", |row: &Row| Value::Int(row.event.offset / 1024)).left(8))
            .add(column("LAT(ms)", Row::latency_ms).right(7))
            .add(column("FILENAME", Row::name));
    }
}

fn files(table: &mut Table<Row>) {
    table
        .add(
            column("TIME(s)", |row: &Row| Value::Fixed {
                value: row.since_ns as f64 / 1e9,
                decimals: 3,
            })
            .left(8),
        )
        .add(
            column("COMM", |row: &Row| Value::Name(&row.event.comm))
                .left(14)
                .cut(),
        )
        .add(column("TID", |row: &Row| Value::Uint(row.event.pid.into())).left(6))
        .add(column("D", |row: &Row| row.letter("S").into()).left(1))
        .add(column("BYTES", |row: &Row| Value::Int(row.event.length)).left(7))
        .add(column("LAT(ms)", Row::latency_ms).right(7))
        .add(column("FILENAME", Row::name));
}
