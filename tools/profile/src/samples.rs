// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was sampled. A stack comes once, with its first sample; its names are
//! looked up then, for its process may be gone when the profile is done.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write as _;
use std::rc::Rc;

use anyhow::{Context, Result};
use common::event::decode;
use common::hooks::Attached;
use common::maps::entries;
use common::output::Output;
use common::sampling::{Rate, online_cpus};
use common::session::{Session, Source};
use common::symbols::KernelSymbols;
use common::user_symbols::{Process, UserSymbols};
use libbpf_rs::{MapCore as _, RingBuffer, RingBufferBuilder};

use crate::skel::ProfileSkel;
use crate::{SAMPLE, profile_count, profile_key, profile_stack};

/// Stacks between two looks at the signals.
const BATCH: usize = 1024;

/// A stack and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stack {
    pub samples: u64,
    pub comm: [u8; 16],
    pub pid: u32,
    /// Innermost first, as the next; `None` for what has no known name.
    pub kernel: Vec<Option<Rc<str>>>,
    pub user: Vec<Option<Rc<str>>>,
}

/// By the bytes of a key.
type Frames = HashMap<Vec<u8>, (Vec<u64>, Vec<u64>)>;

pub struct Samples {
    // First: it reads the map of the second.
    ring: RingBuffer<'static>,
    attached: Attached<ProfileSkel<'static>>,
    rate: Rate,
    /// Those that are sampled, where they are all.
    cpus: Option<Vec<u32>>,
    /// Records that are not looked at yet.
    new: Rc<RefCell<Vec<Vec<u8>>>>,
    frames: Frames,
    processes: HashMap<(u32, u64, u32), Process>,
    symbols: UserSymbols,
}

impl Samples {
    pub fn new(
        attached: Attached<ProfileSkel<'static>>,
        rate: Rate,
        cpus: Option<Vec<u32>>,
    ) -> Result<Self> {
        let new = Rc::new(RefCell::new(Vec::new()));
        let records = Rc::clone(&new);
        let mut builder = RingBufferBuilder::new();
        builder.add(&attached.skel.maps.events, move |record: &[u8]| {
            records.borrow_mut().push(record.to_vec());
            0
        })?;
        let ring = builder.build().context("map the ring buffer")?;
        Ok(Self {
            ring,
            attached,
            rate,
            cpus,
            new,
            frames: HashMap::new(),
            processes: HashMap::new(),
            symbols: UserSymbols::default(),
        })
    }

    fn take_new(&mut self) -> Result<usize> {
        self.ring.consume_raw_n(BATCH);
        let records = self.new.take();
        if !records.is_empty() {
            self.symbols.look_again();
        }
        for record in &records {
            let (head, tail) = decode::<profile_stack>(record)?;
            let kernel_bytes = head.kernel_bytes as usize;
            let (kernel, user) = tail.split_at_checked(kernel_bytes).unwrap_or_default();
            let frames = (words(kernel), words(user));
            let process = self.processes.entry(process_of(&head.key));
            let process = process.or_insert_with(|| Process::new(head.key.tgid, head.key.start_ns));
            names(&mut self.symbols, process, &frames.1);
            let key = record.get(..size_of::<profile_key>()).unwrap_or_default();
            self.frames.insert(key.to_vec(), frames);
        }
        Ok(records.len())
    }

    /// Ends the sampling: every stack with its count.
    pub fn finish(mut self, session: &Session) -> Result<Vec<Stack>> {
        self.attached.stop();
        while self.take_new()? > 0 {}
        self.symbols.look_again();
        let maps = &self.attached.skel.maps;
        let counts = entries(&maps.counts)?;
        let full = counts.len() >= maps.counts.max_entries() as usize;
        let mut lost = self.attached.lost.take();
        let mut kernel_symbols = KernelSymbols::default();
        let mut stacks = HashMap::<_, u64>::new();
        for (bytes, value) in counts {
            let (key, _) = decode::<profile_key>(&bytes)?;
            let (count, _) = decode::<profile_count>(&value)?;
            let Some((kernel, user)) = self.frames.get(&bytes) else {
                lost += count.samples; // the ring was full
                continue;
            };
            let names_of_kernel = kernel.iter().map(|&addr| kernel_symbols.function(addr));
            let names_of_user = match self.processes.get_mut(&process_of(&key)) {
                Some(process) => names(&mut self.symbols, process, user),
                None => Vec::new(),
            };
            let stack = (key.comm, key.tgid, names_of_kernel.collect(), names_of_user);
            *stacks.entry(stack).or_default() += count.samples;
        }
        session.report_lost(lost, &mut Output::default())?;
        if lost > 0 && full {
            // BCC's words. A closed stderr leaves nobody to tell.
            let _ = writeln!(
                std::io::stderr(),
                "WARNING: {lost} stack traces could not be displayed. \
                 Consider increasing --stack-storage-size."
            );
        }
        let mut stacks: Vec<_> = stacks
            .into_iter()
            .map(|((comm, pid, kernel, user), samples)| Stack {
                samples,
                comm,
                pid,
                kernel,
                user,
            })
            .collect();
        stacks.sort_unstable();
        Ok(stacks)
    }
}

impl Source for Samples {
    fn drain(&mut self, _: &mut Output) -> Result<usize> {
        self.take_new()
    }

    /// Samples CPUs that have come since.
    fn tick(&mut self, _: &mut Output) -> Result<bool> {
        let Some(sampled) = &mut self.cpus else {
            return Ok(true);
        };
        let online = online_cpus()?;
        sampled.retain(|cpu| online.contains(cpu));
        for cpu in online {
            // One that is gone again may come back.
            if !sampled.contains(&cpu) && self.attached.sample(SAMPLE, self.rate, cpu).is_ok() {
                sampled.push(cpu);
            }
        }
        Ok(true)
    }

    fn lost(&mut self) -> u64 {
        0 // told at the end
    }
}

/// The process that a stack belongs to.
fn process_of(key: &profile_key) -> (u32, u64, u32) {
    (key.tgid, key.start_ns, key.exec_id)
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(size_of::<u64>())
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
        .collect()
}

/// All but the innermost frame are where a call returns to.
fn names(symbols: &mut UserSymbols, process: &mut Process, frames: &[u64]) -> Vec<Option<Rc<str>>> {
    frames
        .iter()
        .enumerate()
        .map(|(depth, &addr)| symbols.function(process, addr, depth > 0))
        .collect()
}
