// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sockets of each network namespace: walked when something in it has
//! changed, and otherwise known from the last walk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use common::netns;
use common::tcp_iter::read_here;
use libbpf_rs::{Link, MapCore, MapFlags};

use crate::settings::Settings;
use crate::socket::{Form, Socket};

/// How often a namespace that cannot be found is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

pub struct Namespace {
    /// `None`: the tool's own.
    place: Option<PathBuf>,
    pub settings: Settings,
    pub sockets: Vec<Socket>,
    /// Not walked yet, or with sockets of which the kernel does not tell when
    /// they end.
    is_stale: bool,
}

pub struct Namespaces {
    /// Of the iterator's program.
    link: Link,
    form: Form,
    own: u32,
    only: Option<u32>,
    known: BTreeMap<u32, Namespace>,
    /// Cannot be found or entered.
    unseen: BTreeSet<u32>,
    looked: Instant,
}

impl Namespaces {
    /// `only` is the inode number of the one to look at, 0 for all.
    pub fn new(link: Link, form: Form, only: u32) -> Result<Self> {
        let own = netns::own()?
            .metadata()
            .context("own network namespace")
            .map(|meta| netns::inode(&meta).unwrap_or_default())?;
        let mut namespaces = Self {
            link,
            form,
            own,
            only: (only != 0).then_some(only),
            known: BTreeMap::new(),
            unseen: BTreeSet::new(),
            looked: Instant::now(),
        };
        match namespaces.only {
            Some(only) => namespaces.look_for(&[only].into()),
            None => {
                let all = netns::places().map(|(inode, _)| inode).chain([own]);
                namespaces.look_for(&all.collect());
            }
        }
        Ok(namespaces)
    }

    /// The one that is always shown.
    pub fn main(&self) -> u32 {
        self.only.unwrap_or(self.own)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Namespace)> {
        self.known
            .iter()
            .map(|(inode, namespace)| (*inode, namespace))
    }

    pub fn get(&self, inode: u32) -> Option<&Namespace> {
        self.known.get(&inode)
    }

    /// Those that cannot be shown.
    pub fn unseen(&self) -> usize {
        self.unseen.len()
    }

    /// Brings all up to date. `changed` is the map of what has changed.
    pub fn refresh(&mut self, changed: &impl MapCore) -> Result<()> {
        // What is gone takes its settings along.
        self.known
            .retain(|_, namespace| namespace.settings.refresh().is_ok());
        let mut changes = BTreeSet::new();
        for key in changed.keys() {
            let Some(inode) = key.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) else {
                continue;
            };
            let value = changed.lookup(&key, MapFlags::ANY)?;
            if value.is_some_and(|value| value.iter().any(|byte| *byte != 0)) {
                // First: a change during the walk is one for the next.
                changed.update(&key, &[0; 4], MapFlags::ANY)?;
                changes.insert(inode);
            }
        }
        let again = self.looked.elapsed() > LOOK_AGAIN;
        let missing: BTreeSet<u32> = changes
            .iter()
            .chain(&self.only)
            .filter(|inode| !self.unseen.contains(inode))
            .chain(self.unseen.iter().filter(|_| again))
            .filter(|inode| !self.known.contains_key(inode))
            .copied()
            .collect();
        if !missing.is_empty() {
            self.look_for(&missing);
        }
        if again {
            for gone in &self.unseen {
                // Its number may be another's one day.
                let _ = changed.delete(&gone.to_ne_bytes());
            }
        }
        for (inode, namespace) in &mut self.known {
            if namespace.is_stale || changes.contains(inode) {
                namespace.walk(*inode, &self.link, self.form)?;
            }
        }
        Ok(())
    }

    /// Finds namespaces by their numbers.
    fn look_for(&mut self, wanted: &BTreeSet<u32>) {
        self.looked = Instant::now();
        let mut places = BTreeMap::new();
        if wanted.iter().any(|inode| *inode != self.own) {
            places.extend(netns::places().filter(|(inode, _)| wanted.contains(inode)));
        }
        for inode in wanted {
            let place = match places.remove(inode) {
                _ if *inode == self.own => None,
                None => match netns::kept(*inode) {
                    None => {
                        self.unseen.insert(*inode);
                        continue;
                    }
                    place => place,
                },
                place => place,
            };
            let opened = within(place.as_ref(), *inode, || Ok(Settings::open()?));
            match opened {
                Ok(settings) => {
                    let namespace = Namespace {
                        place,
                        settings,
                        sockets: Vec::new(),
                        is_stale: true,
                    };
                    self.unseen.remove(inode);
                    self.known.insert(*inode, namespace);
                }
                Err(_) => {
                    self.unseen.insert(*inode);
                }
            }
        }
    }
}

impl Namespace {
    fn walk(&mut self, inode: u32, link: &Link, form: Form) -> Result<()> {
        let mut records = Vec::new();
        if within(self.place.as_ref(), inode, || read_here(link, &mut records)).is_err() {
            // The process by which it was found may have gone: it is looked
            // for again as one that has changed.
            self.is_stale = true;
            if let Some(place) = netns::places()
                .find(|(found, _)| *found == inode)
                .map(|(_, place)| place)
                .or_else(|| netns::kept(inode))
            {
                self.place = Some(place);
                within(self.place.as_ref(), inode, || read_here(link, &mut records))?;
            }
        }
        self.sockets = form.decode(&records)?;
        self.is_stale = self.sockets.iter().any(Socket::ends_unseen);
        Ok(())
    }
}

/// Runs `work` in the namespace at `place`, if that is still the one.
fn within<T: Send>(
    place: Option<&PathBuf>,
    inode: u32,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some(place) = place else {
        return work();
    };
    let file = File::open(place).with_context(|| place.display().to_string())?;
    if netns::inode(&file.metadata()?) != Some(inode) {
        anyhow::bail!("{}: another network namespace", place.display());
    }
    netns::within(&file, work)
}
