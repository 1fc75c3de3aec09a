// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel itself counts: the fill of the table of each network
//! namespace and the statistics per CPU.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::Result;
use common::netns;

/// One namespace's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub entries: u64,
    /// The kernel has one for all namespaces, which applies to each.
    pub max: u64,
    pub drop: u64,
    pub early_drop: u64,
    pub insert_failed: u64,
    /// Of the failed insertions, those that are not in `drop` as well.
    pub chain_too_long: u64,
}

impl Stats {
    /// Packets that found the table full: what was dropped otherwise has failed
    /// to be inserted, after a clash.
    pub fn full(&self) -> u64 {
        let clashes = self.insert_failed.saturating_sub(self.chain_too_long);
        self.drop.saturating_sub(clashes)
    }

    pub fn percent(&self) -> f64 {
        match self.max {
            0 => 0.0, // no limit
            max => self.entries as f64 * 100.0 / max as f64,
        }
    }

    /// Of the namespace of the calling thread.
    fn read() -> Option<Self> {
        let number = |name| -> Option<u64> {
            let path = format!("/proc/sys/net/netfilter/{name}");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        let mut stats = Self {
            entries: number("nf_conntrack_count")?,
            max: number("nf_conntrack_max")?,
            ..Self::default()
        };
        let table = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").ok();
        stats.add_per_cpu(&table.unwrap_or_default());
        Some(stats)
    }

    /// Names, then a line of hexadecimal numbers per CPU.
    fn add_per_cpu(&mut self, table: &str) {
        let mut lines = table.lines();
        let names: Vec<_> = lines
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        for line in lines {
            for (name, value) in names.iter().zip(line.split_whitespace()) {
                let to = match *name {
                    "drop" => &mut self.drop,
                    "early_drop" => &mut self.early_drop,
                    "insert_failed" => &mut self.insert_failed,
                    "chainlength" => &mut self.chain_too_long,
                    _ => continue,
                };
                *to += u64::from_str_radix(value, 16).unwrap_or(0);
            }
        }
    }
}

/// Whether there is a table at all: nf_conntrack may be a module.
pub fn is_loaded() -> bool {
    fs::exists("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(false)
}

/// Whether the namespace of the calling thread makes events for netlink.
pub fn events_are_off() -> bool {
    fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_events")
        .is_ok_and(|text| text.trim() == "0")
}

/// The namespaces that are traced: all, or one by its inode number.
pub struct Namespaces {
    only: Option<u32>,
    /// Where the one was found, if no process is in it.
    place: RefCell<Option<PathBuf>>,
    /// When tracing began; a namespace that is not in it began after that.
    before: BTreeMap<u32, Stats>,
}

impl Namespaces {
    /// `only` is 0 for all.
    pub fn new(only: u32) -> Self {
        let mut namespaces = Self {
            only: (only != 0).then_some(only),
            place: RefCell::new(None),
            before: BTreeMap::new(),
        };
        namespaces.before = namespaces.stats();
        namespaces
    }

    /// Those that can be found now. They are not to be kept: an open file keeps
    /// a namespace alive.
    pub fn open(&self) -> BTreeMap<u32, File> {
        let at = |place: &PathBuf| {
            let file = File::open(place).ok()?;
            (inode(&file) == self.only).then_some(file)
        };
        if let (Some(only), Some(file)) = (self.only, self.place.borrow().as_ref().and_then(at)) {
            return [(only, file)].into();
        }
        let mut found = netns::all();
        if let Ok(own) = netns::own() {
            if let Some(inode) = inode(&own) {
                found.insert(inode, own);
            }
        }
        let Some(only) = self.only else {
            return found;
        };
        found.retain(|inode, _| *inode == only);
        if found.is_empty() {
            let place = netns::kept(only);
            found.extend(place.as_ref().and_then(at).map(|file| (only, file)));
            *self.place.borrow_mut() = place;
        }
        found
    }

    pub fn stats(&self) -> BTreeMap<u32, Stats> {
        self.open()
            .iter()
            .filter_map(|(inode, file)| Some((*inode, stats_of(file)?)))
            .collect()
    }

    /// The statistics of a namespace when tracing began.
    pub fn before(&self, netns: u32) -> Stats {
        self.before.get(&netns).copied().unwrap_or_default()
    }
}

pub fn inode(file: &File) -> Option<u32> {
    u32::try_from(file.metadata().ok()?.ino()).ok()
}

/// Nothing for a namespace that may not be entered.
pub fn stats_of(namespace: &File) -> Option<Stats> {
    let own = netns::own().ok().and_then(|own| inode(&own));
    if own.is_some() && own == inode(namespace) {
        return Stats::read();
    }
    netns::within(namespace, || -> Result<_> { Ok(Stats::read()) })
        .ok()
        .flatten()
}

/// Tells when a table passes 80 % and when it is full, once each time.
#[derive(Default)]
pub struct Watch {
    told: BTreeMap<u32, Fill>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    High,
    Full,
}

impl Watch {
    /// A line to tell, if it is new.
    pub fn look(&mut self, netns: u32, stats: &Stats) -> Option<String> {
        let fill = match stats.percent() {
            percent if percent >= 100.0 => Fill::Full,
            percent if percent >= 80.0 => Fill::High,
            // Not at every entry that comes and goes at the mark.
            percent if percent >= 75.0 => return None,
            _ => {
                self.told.remove(&netns);
                return None;
            }
        };
        if self.told.get(&netns).is_some_and(|told| *told >= fill) {
            return None;
        }
        self.told.insert(netns, fill);
        let Stats { entries, max, .. } = stats;
        Some(match fill {
            Fill::Full => full(netns),
            Fill::High => format!(
                "netns {netns}: the table is {:.0} % full ({entries} of {max})",
                stats.percent()
            ),
        })
    }

    /// The same, at the first packet that was refused.
    pub fn refused(&mut self, netns: u32) -> Option<String> {
        let told = self.told.insert(netns, Fill::Full);
        (told != Some(Fill::Full)).then(|| full(netns))
    }
}

fn full(netns: u32) -> String {
    format!("netns {netns}: the table is full: new connections are refused")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cpu_numbers_are_added_up_by_name() {
        let table = "entries  drop insert_failed early_drop chainlength\n\
                     00000005 0000000a 00000003 00000001 00000001\n\
                     00000005 00000010 00000000 00000001 00000000\n";
        let mut stats = Stats::default();
        stats.add_per_cpu(table);
        assert_eq!((stats.drop, stats.early_drop), (26, 2));
        assert_eq!(stats.full(), 24);
    }

    #[test]
    fn a_mark_is_told_once_until_it_is_left() {
        let at = |entries| Stats {
            entries,
            max: 100,
            ..Stats::default()
        };
        let mut watch = Watch::default();
        assert!(watch.look(1, &at(79)).is_none());
        assert!(
            watch
                .look(1, &at(80))
                .unwrap()
                .contains("80 % full (80 of 100)")
        );
        assert!(watch.look(1, &at(78)).is_none());
        assert!(watch.look(1, &at(81)).is_none());
        assert!(watch.look(2, &at(81)).is_some());
        assert!(watch.look(1, &at(100)).unwrap().contains("is full"));
        assert!(watch.refused(1).is_none());
        assert!(watch.look(1, &at(90)).is_none());
        assert!(watch.look(1, &at(10)).is_none());
        assert!(watch.refused(1).is_some());
    }
}
