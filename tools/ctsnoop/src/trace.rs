// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known while the table is traced, whichever way events come: rows,
//! counts per namespace, warnings, and the comparison at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use anyhow::{Result, bail};
use common::columns::Table;
use common::origin::Known;
use common::output::Output;
use common::time::{EventClock, utc_now};
use serde_json::json;

use crate::kernel::{Namespaces, Stats, Watch, is_loaded, stats_of};
use crate::row::{Event, KINDS, Kind, Row};

/// By [`Kind`].
pub type Counts = [u64; KINDS];

pub fn add(counts: &mut Counts, kind: Kind, count: u64) {
    if let Some(slot) = counts.get_mut(kind as usize) {
        *slot += count;
    }
}

pub fn of(counts: &Counts, kind: Kind) -> u64 {
    counts.get(kind as usize).copied().unwrap_or(0)
}

pub struct Trace {
    pub name: String,
    pub json: bool,
    pub namespaces: Namespaces,
    table: Table<Row>,
    clock: EventClock,
    watch: Watch,
    traced: BTreeMap<u32, Counts>,
    /// Namespaces with news since the fill was last looked at.
    active: BTreeSet<u32>,
}

impl Trace {
    pub fn new(name: &str, json: bool, table: Table<Row>, namespaces: Namespaces) -> Self {
        Self {
            name: name.to_owned(),
            json,
            namespaces,
            table,
            clock: EventClock::now(),
            watch: Watch::default(),
            traced: BTreeMap::new(),
            active: BTreeSet::new(),
        }
    }

    /// A line on stderr.
    pub fn warn(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "{}: {text}", self.name);
    }

    /// Writes the row of an event; `known.origin.netns` is the table's namespace.
    pub fn show(&mut self, event: Event, known: Known, out: &mut Vec<u8>) {
        self.count(known.origin.netns, event.kind, event.count);
        let row = Row {
            clock: self.clock.follow(event.ts_ns),
            event,
            known,
        };
        self.table.row(&row, out);
    }

    pub fn count(&mut self, netns: u32, kind: Kind, count: u64) {
        if count == 0 {
            return;
        }
        add(self.traced.entry(netns).or_default(), kind, count);
        self.active.insert(netns);
        if kind == Kind::Full {
            if let Some(text) = self.watch.refused(netns) {
                self.warn(&text);
            }
        }
    }

    /// Warns of tables that are nearly full. An error: there are none any more.
    pub fn look(&mut self) -> Result<()> {
        if !is_loaded() {
            bail!("nf_conntrack was unloaded: there is no table any more");
        }
        let active = std::mem::take(&mut self.active);
        if active.is_empty() {
            return Ok(());
        }
        for (netns, file) in self.namespaces.open() {
            if active.contains(&netns) {
                if let Some(stats) = stats_of(&file) {
                    self.look_at(netns, &stats);
                }
            }
        }
        Ok(())
    }

    pub fn look_at(&mut self, netns: u32, stats: &Stats) {
        if let Some(text) = self.watch.look(netns, stats) {
            self.warn(&text);
        }
    }

    /// What was traced beside what the kernel has counted, of each namespace
    /// where there was anything.
    pub fn compare(&self, out: &mut Output) {
        let now = self.namespaces.stats();
        let netnses: BTreeSet<_> = self.traced.keys().chain(now.keys()).copied().collect();
        for netns in netnses {
            let before = self.namespaces.before(netns);
            let traced = self.traced.get(&netns).copied();
            let after = now.get(&netns).copied();
            let idle = after.is_none_or(|after| {
                after
                    == Stats {
                        max: after.max,
                        ..before
                    }
            });
            if traced.is_some() || !idle {
                self.compare_one(netns, &traced.unwrap_or_default(), &before, after, out);
            }
        }
    }

    fn compare_one(
        &self,
        netns: u32,
        traced: &Counts,
        before: &Stats,
        after: Option<Stats>,
        out: &mut Output,
    ) {
        let traced = Kind::ALL.map(|kind| of(traced, kind));
        let [new, destroyed, full, early_drop, insert_failed] = traced;
        let grown = |now: u64, before: u64| now.saturating_sub(before);
        if self.json {
            let kernel = after.map(|after| {
                json!({
                    "entries_before": before.entries,
                    "entries": after.entries,
                    "max": after.max,
                    "full": grown(after.full(), before.full()),
                    "drop": grown(after.drop, before.drop),
                    "early_drop": grown(after.early_drop, before.early_drop),
                    "insert_failed": grown(after.insert_failed, before.insert_failed),
                })
            });
            let line = json!({
                "time": utc_now(),
                "netns": netns,
                "traced": {
                    "new": new,
                    "destroyed": destroyed,
                    "full": full,
                    "early_drop": early_drop,
                    "insert_failed": insert_failed,
                },
                "kernel": kernel,
            });
            out.line(&line.to_string());
            return;
        }
        let kernel = match after {
            None => "gone".to_owned(),
            Some(after) => format!(
                "{} -> {} entries (of {}), {} dropped, {} early drops, {} failed insertions",
                before.entries,
                after.entries,
                after.max,
                grown(after.drop, before.drop),
                grown(after.early_drop, before.early_drop),
                grown(after.insert_failed, before.insert_failed),
            ),
        };
        self.warn(&format!(
            "netns {netns}: traced: {new} new, {destroyed} destroyed, {full} refused (full), \
             {early_drop} early drops, {insert_failed} failed insertions; the kernel: {kernel}"
        ));
    }
}
