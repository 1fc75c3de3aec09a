// SPDX-License-Identifier: MIT OR Apache-2.0
//! The line of an interval.

use anyhow::{Context as _, Result};
use common::columns::{Format, Table, Value, column, json_field};
use common::probe::page_size;
use common::time::{utc_now, wall_clock};

use crate::skel::types::cachestat_counts;

/// What of the whole machine's memory the cache has, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    buffers: u64,
    cached: u64,
}

impl Memory {
    pub fn read() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| value.split_whitespace().next()?.parse().ok());
            value.with_context(|| format!("/proc/meminfo: no {name}"))
        };
        Ok(Self {
            buffers: field("Buffers")?,
            cached: field("Cached")?,
        })
    }
}

pub struct Row {
    counts: cachestat_counts,
    all: u64,
    hits: u64,
    misses: u64,
    dirties: u64,
    memory: Memory,
}

impl Row {
    /// What was counted from `last` to `now`. Buffers are also looked up to be
    /// written to: as many as were dirtied are not counted, as in the classic. Of
    /// the pages that came in and were not yet looked up, read ahead, no more are
    /// misses than were looked up. What is accessed may be less than before, for it is
    /// made of two counters, and those of all CPUs are not read in one moment.
    pub fn new(last: &cachestat_counts, now: &cachestat_counts, memory: Memory) -> Self {
        let counts = cachestat_counts {
            accessed: now.accessed.saturating_sub(last.accessed),
            touched: now.touched.wrapping_sub(last.touched),
            added: now.added.wrapping_sub(last.added),
            added_to_write: now.added_to_write.wrapping_sub(last.added_to_write),
            dirtied_bytes: now.dirtied_bytes.wrapping_sub(last.dirtied_bytes),
        };
        let added_to_read = counts.added.saturating_sub(counts.added_to_write);
        let pages = |bytes| bytes / u64::from(page_size());
        let dirties = pages(now.dirtied_bytes).saturating_sub(pages(last.dirtied_bytes));
        let all = counts.accessed + counts.touched.saturating_sub(dirties);
        let misses = added_to_read.min(all);
        Self {
            all,
            hits: all - misses,
            misses,
            dirties,
            counts,
            memory,
        }
    }

    /// In percent; 0 when nothing was looked up.
    fn hit_ratio(&self) -> f64 {
        match self.all {
            0 => 0.0,
            all => 100.0 * self.hits as f64 / all as f64,
        }
    }
}

fn mib(kib: u64) -> Value<'static> {
    Value::Fixed {
        value: kib as f64 / 1024.0,
        decimals: 0,
    }
}

pub fn table(format: Format, timestamp: bool) -> Table<Row> {
    let mut table = Table::new(format);
    table.add(json_field("time", |_: &Row| utc_now().into()));
    if timestamp {
        table.add(column("TIME", |_: &Row| wall_clock().into()).left(8));
    }
    table
        .add(
            column("HITS", |r: &Row| Value::Uint(r.hits))
                .right(8)
                .key("hits"),
        )
        .add(
            column("MISSES", |r: &Row| Value::Uint(r.misses))
                .right(8)
                .key("misses"),
        )
        .add(
            column("DIRTIES", |r: &Row| Value::Uint(r.dirties))
                .right(8)
                .key("dirties"),
        )
        .add(
            column("HITRATIO", |r: &Row| {
                format!("{:.2}%", r.hit_ratio()).into()
            })
            .right(8)
            .json("hit_ratio_pct", |r| Value::Fixed {
                value: r.hit_ratio(),
                decimals: 3,
            }),
        )
        .add(
            column("BUFFERS_MB", |r: &Row| mib(r.memory.buffers))
                .right(12)
                .json("buffers_kib", |r| Value::Uint(r.memory.buffers)),
        )
        .add(
            column("CACHED_MB", |r: &Row| mib(r.memory.cached))
                .right(10)
                .json("cached_kib", |r| Value::Uint(r.memory.cached)),
        )
        .add(json_field("accessed_pages", |r| {
            Value::Uint(r.counts.accessed)
        }))
        .add(json_field("touched_buffers", |r| {
            Value::Uint(r.counts.touched)
        }))
        .add(json_field("added_pages", |r| Value::Uint(r.counts.added)))
        .add(json_field("added_to_write_pages", |r| {
            Value::Uint(r.counts.added_to_write)
        }))
        .add(json_field("dirtied_bytes", |r| {
            Value::Uint(r.counts.dirtied_bytes)
        }));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Memory = Memory {
        buffers: 98_560,
        cached: 11_102_720,
    };

    fn written(format: Format, accessed: u64, added: u64, added_to_write: u64) -> String {
        let last = cachestat_counts {
            accessed: 7,
            touched: 2,
            added: 5,
            added_to_write: 3,
            dirtied_bytes: 4096,
        };
        let now = cachestat_counts {
            accessed: 7 + accessed / 2,
            touched: 2 + accessed.div_ceil(2) + 41,
            added: 5 + added,
            added_to_write: 3 + added_to_write,
            dirtied_bytes: 4096 + 41 * u64::from(page_size()) + 1,
        };
        let table = table(format, false);
        let mut out = Vec::new();
        table.header(&mut out);
        table.row(&Row::new(&last, &now, MEMORY), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_bccs() {
        assert_eq!(
            written(Format::Text, 8270, 60, 3),
            "    HITS   MISSES  DIRTIES HITRATIO   BUFFERS_MB  CACHED_MB
    8213       57       41   99.31%           96      10842
"
        );
    }

    #[test]
    fn no_more_misses_than_accesses_and_no_ratio_of_nothing() {
        let row = |accessed, added, to_write| {
            let text = written(Format::Text, accessed, added, to_write);
            text.lines().nth(1).unwrap()[..35].to_owned()
        };
        assert_eq!(row(10, 32, 0), "       0       10       41    0.00%");
        assert_eq!(row(0, 32, 0), "       0        0       41    0.00%");
        assert_eq!(row(10, 32, 33), "      10        0       41  100.00%");
    }

    #[test]
    fn what_is_accessed_may_be_less_than_before() {
        let counts = |accessed| cachestat_counts {
            accessed,
            ..cachestat_counts::default()
        };
        let row = Row::new(&counts(9), &counts(7), MEMORY);
        assert_eq!((row.all, row.hits, row.counts.accessed), (0, 0, 0));
    }

    #[test]
    fn blocks_of_several_lines_make_a_page() {
        let counts = |blocks| cachestat_counts {
            dirtied_bytes: blocks * u64::from(page_size()) / 4,
            ..cachestat_counts::default()
        };
        let dirties = |last, now| Row::new(&counts(last), &counts(now), MEMORY).dirties;
        assert_eq!([dirties(0, 3), dirties(3, 6), dirties(6, 8)], [0, 1, 1]);
    }

    #[test]
    fn json_has_what_the_line_is_made_of() {
        let text = written(Format::Json, 8270, 60, 3);
        let (_, rest) = text.split_once(",\"hits\"").unwrap();
        let dirtied = 41 * u64::from(page_size()) + 1;
        assert_eq!(
            rest,
            format!(
                ":8213,\"misses\":57,\"dirties\":41,\"hit_ratio_pct\":99.311,\
                 \"buffers_kib\":98560,\"cached_kib\":11102720,\"accessed_pages\":4135,\"touched_buffers\":4176,\
                 \"added_pages\":60,\"added_to_write_pages\":3,\"dirtied_bytes\":{dirtied}}}\n"
            )
        );
    }

    #[test]
    fn memory_is_found_wherever_it_stands() {
        let text = "MemTotal: 1 kB\nSwapCached: 2 kB\nCached:  11102720 kB\nBuffers:   98560 kB\n";
        assert_eq!(Memory::parse(text).unwrap(), MEMORY);
        let error = Memory::parse("MemTotal: 1 kB\n").unwrap_err();
        assert_eq!(error.to_string(), "/proc/meminfo: no Buffers");
    }
}
