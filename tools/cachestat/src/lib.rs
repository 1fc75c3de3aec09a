// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cachestat`: hits and misses of the page cache.

mod row;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use common::cli::{General, RunTime, seconds};
use common::columns::Format;
use common::event::decode;
use common::hooks::{Alternative, Hook};
use common::probe::page_size;
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event};
use libbpf_rs::{MapCore, MapFlags};

use row::{Memory, Row};
use skel::types::cachestat_counts;
use skel::{CachestatSkel, CachestatSkelBuilder};

bpf_skeleton!("cachestat");
event!(cachestat_counts);

/// Count hits and misses of the page cache
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  cachestat                 a line per second
  cachestat -T              with the time of day
  cachestat 5 3             3 lines, one every 5 seconds
  cachestat --cgroup /sys/fs/cgroup/a   only what this cgroup reads and writes
  cachestat --json          one JSON object per line")]
pub struct Args {
    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    timestamp: bool,

    /// Seconds between lines
    #[arg(value_name = "interval", default_value = "1", value_parser = seconds)]
    interval: Duration,

    /// Number of lines; 0 or less: until interrupted
    #[arg(
        value_name = "count",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    count: i64,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// Not on a kernel that has no block devices.
const BUFFERS: &[&str] = &["dirtied_buffer", "touched"];

/// Pages that come into the cache, and pages that are written to.
const CHANGED: Hook = Hook {
    name: "changed",
    alternatives: &[
        Alternative::new("tp_btf", &["added", "dirtied"]).optional(BUFFERS),
        Alternative::new("tp_btf-page", &["added", "dirtied_page"]).optional(BUFFERS),
    ],
};

/// Where pages are looked up (Linux 6.12), per call and to the page; or where
/// the kernel notes that they were, per folio. A kernel without folios has the
/// other function; newer ones have that as well, and hardly call it.
const ACCESSED: Hook = Hook {
    name: "accessed",
    alternatives: &[
        Alternative::new("tp_btf", &["read", "faulted", "mapped"]).maps(&["reading"]),
        Alternative::new("fentry", &["accessed_fentry"]),
        Alternative::new("kprobe", &["accessed_kprobe"]),
        Alternative::new("fentry-page", &["accessed_page_fentry"]),
        Alternative::new("kprobe-page", &["accessed_page_kprobe"]),
    ],
};

pub struct Cachestat;

impl Tool for Cachestat {
    const NAME: &'static str = "cachestat";
    const SUBSYSTEM: Subsystem = Subsystem::Files;
    const OBJECT: &'static [u8] = bpf_object!("cachestat");
    const HOOKS: &'static [Hook] = &[CHANGED, ACCESSED];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let attached = session.load::<CachestatSkelBuilder>(&[&CHANGED, &ACCESSED], |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.filter_cgroup = args.general.cgroup_id();
                rodata.page_shift = page_size().trailing_zeros() as u8;
            }
            Ok(())
        })?;
        let marks = !attached.used.contains(&("accessed", "tp_btf"));
        if !marks {
            session.warn("counts what read calls, page faults and metadata look up; not tmpfs");
        }
        let format = args.general.format(false);
        let table = row::table(format, args.timestamp);
        table.header(session.out.buffer());
        let mut last = read_counts(&attached.skel, marks)?;
        session.ready()?;
        session.intervals(
            attached,
            Some(args.interval),
            u64::try_from(args.count).ok().filter(|&count| count > 0),
            |skel: &CachestatSkel<'_>, out| {
                let now = read_counts(skel, marks)?;
                table.row(&Row::new(&last, &now, Memory::read()?), out);
                last = now;
                Ok(())
            },
        )?;
        if session.interrupted() && format == Format::Text {
            session.out.line("Detaching...");
        }
        session.out.flush()
    }
}

/// Of all CPUs together. What `marks` an access marks those of buffers as well.
fn read_counts(skel: &CachestatSkel<'_>, marks: bool) -> Result<cachestat_counts> {
    let per_cpu = skel
        .maps
        .counts
        .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
        .context("read map: counts")?;
    let mut sum = cachestat_counts::default();
    for bytes in per_cpu.unwrap_or_default() {
        let (cpu, _) = decode::<cachestat_counts>(&bytes)?;
        sum.accessed += cpu.accessed;
        sum.touched += cpu.touched;
        sum.added += cpu.added;
        sum.added_to_write += cpu.added_to_write;
        sum.dirtied_bytes += cpu.dirtied_bytes;
    }
    if marks {
        sum.accessed = sum.accessed.saturating_sub(sum.touched);
    }
    Ok(sum)
}
