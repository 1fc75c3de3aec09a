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
const GETATTR: u8 = 4;

impl Row {
    fn operation(&self) -> &'static str {
        match self.event.op {
            READ => "read",
            WRITE => "write",
            OPEN => "open",
            FSYNC => "fsync",
            GETATTR => "getattr",
            _ => "commit",
        }
    }

    fn letter(&self, fsync: &'static str) -> &'static str {
        match self.event.op {
            READ => "R",
            WRITE => "W",
            OPEN => "O",
            FSYNC => fsync,
            GETATTR => "G",
            _ => "C",
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
            .add(json_field("comm", |row| Value::Name(&row.event.actor.comm)))
            .add(json_field("pid", |row| {
                Value::Uint(row.event.actor.tgid.into())
            }))
            .add(json_field("tid", |row| {
                Value::Uint(row.event.actor.pid.into())
            }))
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
                Value::Uint(row.event.actor.cgroup_id)
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
            .add(column("TASK", |row: &Row| {
                Value::Name(&row.event.actor.comm)
            }))
            .add(column("PID", |row: &Row| {
                Value::Uint(row.event.actor.tgid.into())
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
        let comm = column("COMM", |row: &Row| Value::Name(&row.event.actor.comm));
        let pid = column("PID", |row: &Row| Value::Uint(row.event.actor.tgid.into()));
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
            column("COMM", |row: &Row| Value::Name(&row.event.actor.comm))
                .left(14)
                .cut(),
        )
        .add(column("TID", |row: &Row| Value::Uint(row.event.actor.pid.into())).left(6))
        .add(column("D", |row: &Row| row.letter("S").into()).left(1))
        .add(column("BYTES", |row: &Row| Value::Int(row.event.length)).left(7))
        .add(column("LAT(ms)", Row::latency_ms).right(7))
        .add(column("FILENAME", Row::name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skel::types::actor;

    fn row(op: u8, result: i64) -> Row {
        let mut comm = [0; 16];
        comm[..15].copy_from_slice(b"systemd-journal");
        Row {
            event: fsslower_event {
                ts_ns: 883_104_412_907_999,
                latency_ns: 11_250_999,
                offset: 5000,
                result,
                length: if op == FSYNC { i64::MAX } else { 10_240 },
                actor: actor {
                    comm,
                    tgid: 9051,
                    pid: 9052,
                    ..Default::default()
                },
                op,
                ..Default::default()
            },
            since_ns: 73_000_000,
            clock: EventClock::now(),
            name: Some(b"photos\n.tar\0".into()),
        }
    }

    fn shown(layout: Layout, format: Format, row: &Row) -> String {
        let mut out = Vec::new();
        layout.table(format).row(row, &mut out);
        String::from_utf8(out).unwrap()
    }

    const BCC: Layout = Layout::Bcc { pid_width: 6 };

    #[test]
    fn text_is_the_classics() {
        // The hour depends on the time zone, the date on when this is run.
        let text = |layout, row: &Row| shown(layout, Format::Text, row)[9..].to_owned();
        for (layout, op, result, expected) in [
            (
                BCC,
                READ,
                32768,
                "systemd-journa 9051   R 32768   4          11.25 photos\\n.tar\n",
            ),
            (
                BCC,
                WRITE,
                -28,
                "systemd-journa 9051   W -28     4          11.25 photos\\n.tar\n",
            ),
            (
                BCC,
                FSYNC,
                0,
                "systemd-journa 9051   S 0       4          11.25 photos\\n.tar\n",
            ),
            (
                Layout::Bcc { pid_width: 7 },
                OPEN,
                0,
                "systemd-journa 9051    O 0       4          11.25 photos\\n.tar\n",
            ),
            (
                Layout::Libbpf,
                FSYNC,
                0,
                "systemd-journal  9051    F LL_MAX  4          11.25 photos\\n.tar\n",
            ),
            (
                Layout::Files,
                READ,
                7,
                "systemd-journa 9052   R 10240     11.25 photos\\n.tar\n",
            ),
        ] {
            assert_eq!(text(layout, &row(op, result)), expected);
        }
        let files = shown(Layout::Files, Format::Text, &row(READ, 1));
        assert!(files.starts_with("0.073    systemd"), "{files}");
    }

    #[test]
    fn csv_is_the_classics() {
        assert_eq!(
            shown(BCC, Format::Csv, &row(FSYNC, 0)),
            "883104412907,systemd-journal,9051,S,0,5000,11250,photos\\n.tar\n"
        );
        assert_eq!(
            shown(Layout::Libbpf, Format::Csv, &row(FSYNC, 0)),
            "883104412907999,systemd-journal,9051,F,LL_MAX,5000,11250,photos\\n.tar\n"
        );
    }

    #[test]
    fn a_name_may_be_gone() {
        let row = Row {
            name: None,
            ..row(READ, -5)
        };
        assert!(shown(BCC, Format::Text, &row).ends_with("   11.25 -\n"));
        let json = shown(BCC, Format::Json, &row);
        assert!(
            json.contains(
                r#""bytes":null,"errno":5,"offset":5000,"latency_us":11250.999,"file":null"#
            ),
            "{json}"
        );
    }
}
