// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-c`: the fill of the tables, rates, and who is behind them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use common::columns::{Format, Table, Value, column, json_field};
use common::flow::Flow;
use common::net::protocol;
use common::output::Output;
use common::time::{utc_now, wall_clock};

use crate::kernel::Stats;
use crate::row::{IPS_ASSURED, IPS_SEEN_REPLY, Kind, tcp_state};
use crate::trace::{Counts, add, of};

/// `--by`, in the order of `enum key_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The port that the first packet goes to
    Port,
    /// The protocol
    Proto,
    /// The name of the process that owns the socket
    Comm,
    /// The cgroup of the socket
    Cgroup,
    /// The address that the first packet comes from
    Addr,
    /// The state at the time
    State,
}

impl By {
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    fn title(self) -> &'static str {
        match self {
            Self::Port => "PORT",
            Self::Proto => "PROTO",
            Self::Comm => "COMM",
            Self::Cgroup => "CGROUP",
            Self::Addr => "ADDR",
            Self::State => "STATE",
        }
    }

    fn name(self) -> String {
        self.title().to_ascii_lowercase()
    }
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Port(u16),
    Proto(u8),
    Name(Vec<u8>),
    Addr(IpAddr),
    State(State),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Tcp(u8),
    Unreplied,
    Replied,
    Assured,
}

impl State {
    /// `KEY_STATE_*` of the BPF side.
    pub fn of_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Unreplied),
            2 => Some(Self::Replied),
            3 => Some(Self::Assured),
            16.. => u8::try_from(number - 16).ok().map(Self::Tcp),
            _ => None,
        }
    }

    /// Of a protocol without states of its own.
    pub fn of_status(status: u32) -> Self {
        match (status & IPS_ASSURED != 0, status & IPS_SEEN_REPLY != 0) {
            (true, _) => Self::Assured,
            (_, true) => Self::Replied,
            _ => Self::Unreplied,
        }
    }

    pub fn name(self) -> String {
        match self {
            Self::Tcp(state) => tcp_state(state).into_owned(),
            Self::Unreplied => "UNREPLIED".into(),
            Self::Replied => "REPLIED".into(),
            Self::Assured => "ASSURED".into(),
        }
    }
}

/// What was counted since the last report.
#[derive(Default)]
pub struct Counted {
    pub totals: BTreeMap<u32, Counts>,
    pub keys: HashMap<Key, Counts>,
}

impl Counted {
    pub fn add(&mut self, netns: u32, kind: Kind, count: u64) {
        add(self.totals.entry(netns).or_default(), kind, count);
    }

    pub fn add_key(&mut self, key: Key, kind: Kind, count: u64) {
        add(self.keys.entry(key).or_default(), kind, count);
    }
}

impl Key {
    /// 0 is that of protocols without ports.
    pub fn of_port(port: u16) -> Self {
        match port {
            0 => Self::Unknown,
            port => Self::Port(port),
        }
    }

    /// Where just the flow is known, and not whose it is.
    pub fn of_flow(by: By, flow: &Flow) -> Self {
        match by {
            By::Port => Self::of_port(flow.dport),
            By::Proto => Self::Proto(flow.proto),
            By::Addr => Self::Addr(flow.saddr),
            By::Comm | By::Cgroup | By::State => Self::Unknown,
        }
    }
}

pub struct Summary {
    by: By,
    top: usize,
    interval: Option<Duration>,
    left: Option<u64>,
    began: Instant,
    last: Instant,
    reports: u32,
    format: Format,
}

struct Total {
    netns: u32,
    stats: Option<Stats>,
    counts: Counts,
    seconds: f64,
}

struct Top {
    by: By,
    key: Key,
    counts: Counts,
}

impl Summary {
    pub fn new(
        by: By,
        top: usize,
        interval: Option<Duration>,
        count: Option<u64>,
        format: Format,
    ) -> Self {
        Self {
            by,
            top,
            interval,
            left: count,
            began: Instant::now(),
            last: Instant::now(),
            reports: 0,
            format,
        }
    }

    pub fn by(&self) -> By {
        self.by
    }

    /// Tracing begins now.
    pub fn begin(&mut self) {
        self.began = Instant::now();
        self.last = self.began;
    }

    /// Whether a report is to be written.
    pub fn is_due(&self) -> bool {
        self.interval.is_some_and(|interval| {
            Instant::now() >= self.began + interval.saturating_mul(self.reports + 1)
        })
    }

    /// Writes a report; false after the last one.
    pub fn report(
        &mut self,
        counted: Counted,
        stats: &BTreeMap<u32, Stats>,
        out: &mut Output,
    ) -> bool {
        let seconds = self.last.elapsed().as_secs_f64().max(1e-6);
        self.last = Instant::now();
        self.reports += 1;
        if self.format == Format::Text {
            out.line(&wall_clock());
        }
        let totals = totals_table(self.format);
        totals.header(out.buffer());
        for row in total_rows(&counted.totals, stats, seconds) {
            totals.row(&row, out.buffer());
        }
        let mut top: Vec<_> = counted.keys.into_iter().collect();
        top.retain(|(_, counts)| counts.iter().any(|count| *count > 0));
        // The largest first, then by key: the same order each time.
        top.sort_by(|(a, left), (b, right)| {
            let sum = |counts: &Counts| counts.iter().sum::<u64>();
            sum(right).cmp(&sum(left)).then_with(|| a.cmp(b))
        });
        if self.format == Format::Text {
            out.line("");
        }
        let table = top_table(self.format, self.by);
        table.header(out.buffer());
        for (key, counts) in top.into_iter().take(self.top) {
            let by = self.by;
            table.row(&Top { by, key, counts }, out.buffer());
        }
        if self.format == Format::Text {
            out.line("");
        }
        match &mut self.left {
            None => true,
            Some(left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
        }
    }
}

/// Namespaces that have entries or where something has happened.
fn total_rows(
    totals: &BTreeMap<u32, Counts>,
    stats: &BTreeMap<u32, Stats>,
    seconds: f64,
) -> Vec<Total> {
    let mut rows = BTreeMap::new();
    for (netns, stats) in stats.iter().filter(|(_, stats)| stats.entries > 0) {
        rows.insert(*netns, (Some(*stats), Counts::default()));
    }
    for (netns, counts) in totals {
        if counts.iter().any(|count| *count > 0) {
            rows.insert(*netns, (stats.get(netns).copied(), *counts));
        }
    }
    rows.into_iter()
        .map(|(netns, (stats, counts))| Total {
            netns,
            stats,
            counts,
            seconds,
        })
        .collect()
}

fn totals_table(format: Format) -> Table<Total> {
    let mut table = Table::new(format);
    table
        .add(json_field("time", |_: &Total| utc_now().into()))
        .add(
            column("NETNS", |row: &Total| Value::Uint(row.netns.into()))
                .left(10)
                .key("netns"),
        )
        .add(
            column("ENTRIES", |row: &Total| {
                row.stats
                    .map_or(Value::Unknown, |stats| Value::Uint(stats.entries))
            })
            .right(8)
            .key("entries"),
        )
        .add(
            column("MAX", |row: &Total| {
                row.stats
                    .map_or(Value::Unknown, |stats| Value::Uint(stats.max))
            })
            .right(8)
            .key("max"),
        )
        .add(
            column("%", |row: &Total| {
                row.stats.map_or(Value::Unknown, |stats| Value::Fixed {
                    value: stats.percent(),
                    decimals: 1,
                })
            })
            .right(5)
            .key("percent"),
        )
        .add(
            column("NEW/s", |row: &Total| Value::Fixed {
                value: of(&row.counts, Kind::New) as f64 / row.seconds,
                decimals: 1,
            })
            .right(9)
            .key("new_per_s"),
        );
    add_counts(&mut table);
    table
}

fn top_table(format: Format, by: By) -> Table<Top> {
    let mut table = Table::new(format);
    table
        .add(json_field("time", |_: &Top| utc_now().into()))
        .add(json_field("by", |row| row.by.name().into()))
        .add(column(by.title(), key_value).left(44).key("key"));
    add_counts(&mut table);
    table
}

fn key_value(row: &Top) -> Value<'_> {
    match &row.key {
        Key::Port(port) => Value::Uint((*port).into()),
        Key::Proto(proto) => Value::Str(protocol(*proto)),
        Key::Name(name) => Value::Name(name),
        Key::Addr(addr) => Value::Ip(*addr),
        Key::State(state) => state.name().into(),
        Key::Unknown => Value::Unknown,
    }
}

/// Rows with counts.
trait HasCounts {
    fn counts(&self) -> &Counts;
}

impl HasCounts for Total {
    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl HasCounts for Top {
    fn counts(&self) -> &Counts {
        &self.counts
    }
}

fn add_counts<R: HasCounts>(table: &mut Table<R>) {
    fn value<R: HasCounts>(row: &R, kind: Kind) -> Value<'static> {
        Value::Uint(of(row.counts(), kind))
    }
    table
        .add(
            column("NEW", |row: &R| value(row, Kind::New))
                .right(9)
                .key("new"),
        )
        .add(
            column("DESTROYED", |row: &R| value(row, Kind::Destroy))
                .right(9)
                .key("destroyed"),
        )
        .add(
            column("FULL", |row: &R| value(row, Kind::Full))
                .right(9)
                .key("full"),
        )
        .add(
            column("EARLY_DROP", |row: &R| value(row, Kind::EarlyDrop))
                .right(10)
                .key("early_drop"),
        )
        .add(
            column("INSERT_FAILED", |row: &R| value(row, Kind::InsertFailed))
                .right(13)
                .key("insert_failed"),
        );
}
