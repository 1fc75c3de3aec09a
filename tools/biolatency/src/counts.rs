// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's counts, which only grow, as those of an interval.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use common::block::RequestNames;
use common::escape::c_bytes;
use common::event::decode;
use common::hist::{Fine, sum_percpu};
use libbpf_rs::{MapCore, MapFlags};

use crate::report::Section;
use crate::skel::BiolatencyMaps;
use crate::skel::types::{biolatency_disk, biolatency_key};

/// Reads the counts, and remembers them as they were last read.
pub struct Counts {
    pub by_disk: bool,
    pub by_flags: bool,
    pub names: RequestNames,
    /// By device number and flags.
    pub last: BTreeMap<(u32, u32), Fine>,
}

impl Counts {
    /// What was counted since the last time, by device number and flags.
    pub fn take(&mut self, maps: &BiolatencyMaps<'_>) -> Result<Vec<Section>> {
        if self.by_disk || self.by_flags {
            self.keyed(&maps.keyed)
        } else {
            Ok(vec![self.single(&maps.single)?])
        }
    }

    fn since_last(&mut self, key: (u32, u32), now: Fine) -> Fine {
        let last = self.last.entry(key).or_default();
        let interval = now.since(last);
        *last = now;
        interval
    }

    /// The sum of all CPUs, also when nothing was counted.
    fn single(&mut self, map: &impl MapCore) -> Result<Section> {
        let now = sum_percpu(map).context("read map: single")?;
        Ok(Section {
            hist: self.since_last((0, 0), now),
            ..Section::default()
        })
    }

    /// The histograms in which something was counted.
    fn keyed(&mut self, map: &impl MapCore) -> Result<Vec<Section>> {
        let mut sections = BTreeMap::new();
        for bytes in map.keys() {
            let Some(value) = map
                .lookup(&bytes, MapFlags::ANY)
                .context("read map: keyed")?
            else {
                continue;
            };
            let (key, _) = decode::<biolatency_key>(&bytes)?;
            let (now, rest) = Fine::decode(&value)?;
            let (disk, _) = decode::<biolatency_disk>(rest)?;
            let hist = self.since_last((key.dev, key.cmd_flags), now);
            if hist.count() == 0 {
                continue;
            }
            let name = match c_bytes(&disk.name) {
                b"" => b"?",
                name => name,
            };
            let flags = || (self.names.text(key.cmd_flags), key.cmd_flags);
            let section = Section {
                disk: self.by_disk.then(|| name.to_vec()),
                flags: self.by_flags.then(flags),
                hist,
            };
            sections.insert((key.dev, key.cmd_flags), section);
        }
        Ok(sections.into_values().collect())
    }
}
