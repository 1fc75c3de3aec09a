// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's counts, which only grow, as those of an interval.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use common::event::decode;
use common::hist::{Fine, Intervals, sum_percpu};
use common::maps::{entries, take};
use libbpf_rs::MapCore;

use crate::By;
use crate::report::Section;
use crate::skel::RunqlatMaps;
use crate::{runqlat_key, runqlat_part};

pub struct Waits {
    by: By,
    intervals: Intervals<u32>,
}

/// What the map has of one process, thread or namespace.
#[derive(Default)]
struct Parts {
    keys: Vec<Vec<u8>>,
    hist: Fine,
    last_ns: u64,
    comm: [u8; 16],
}

impl Parts {
    fn add(&mut self, part: u32, value: &[u8]) -> Result<()> {
        self.hist.add_part(part as usize, value)?;
        let (part, _) = decode::<runqlat_part>(value)?;
        if part.last_ns >= self.last_ns {
            (self.last_ns, self.comm) = (part.last_ns, part.comm);
        }
        Ok(())
    }
}

impl Waits {
    pub fn new(by: By) -> Self {
        Self {
            by,
            intervals: Intervals::default(),
        }
    }

    /// What was counted since the last time, by id.
    pub fn take(&mut self, maps: &RunqlatMaps<'_>) -> Result<Vec<Section>> {
        if self.by == By::None {
            let now = sum_percpu(&maps.single).context("read map: single")?;
            let hist = self.intervals.since_last(&0, now);
            let (id, comm) = (0, [0; 16]);
            let section = hist.map(|hist| Section { id, comm, hist });
            return Ok(section.into_iter().collect());
        }
        let mut found = BTreeMap::<u32, Parts>::new();
        for (bytes, value) in entries(&maps.keyed)? {
            let (key, _) = decode::<runqlat_key>(&bytes)?;
            let parts = found.entry(key.id).or_default();
            parts.add(key.part, &value)?;
            parts.keys.push(bytes);
        }
        let mut sections = Vec::new();
        for (id, parts) in found {
            let take = || take_all(&maps.keyed, &parts.keys);
            let hist = self.intervals.make_room(&id, parts.hist, take)?;
            let comm = parts.comm;
            sections.extend(hist.map(|hist| Section { id, comm, hist }));
        }
        Ok(sections)
    }
}

/// Deletes all parts of a histogram. It is what they had then; `None` where the
/// kernel does not tell.
fn take_all(map: &impl MapCore, keys: &[Vec<u8>]) -> Result<Option<Fine>> {
    let mut left = Fine::default();
    let mut told = true;
    for bytes in keys {
        let (key, _) = decode::<runqlat_key>(bytes)?;
        match take(map, bytes)? {
            Some(value) => drop(left.add_part(key.part as usize, &value)?),
            None => told = false,
        }
    }
    Ok(told.then_some(left))
}
