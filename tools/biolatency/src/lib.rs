// SPDX-License-Identifier: MIT OR Apache-2.0
//! `biolatency`: the latency of block I/O as histograms.

mod counts;
mod heatmap;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use common::block::{Disk, RequestLayout, RequestNames};
use common::btf::KernelBtf;
use common::cli::{General, Interval, RunTime};
use common::hist::{MSECS, USECS};
use common::hooks::{Alternative, Hook};
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, request_filter};

use counts::Counts;
use heatmap::Heatmap;
use report::{Form, Report};
use skel::types::{biolatency_disk, biolatency_key};
use skel::{BiolatencySkel, BiolatencySkelBuilder, OpenBiolatencySkel};

bpf_skeleton!("biolatency");
event!(biolatency_key);
event!(biolatency_disk);

/// Summarize block device I/O latency as a histogram
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  biolatency                    summarize block I/O latency as a histogram
  biolatency 1 10               print 1 second summaries, 10 times
  biolatency -mT 1              1s summaries, milliseconds, and timestamps
  biolatency -Q                 include OS queued time in I/O time
  biolatency -D                 show each disk device separately
  biolatency -F                 show I/O flags separately
  biolatency -DF 5              each disk and I/O flags separately, every 5s
  biolatency -d sda1            only the partition sda1
  biolatency -j                 print a dictionary
  biolatency -e                 show extension summary (total, average)
  biolatency --heatmap          a line per second, marks by latency
  biolatency --percentiles 1    p50, p90, p99, p99.9 and max as well")]
pub struct Args {
    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    timestamp: bool,

    /// Include the time that the I/O was queued in the operating system
    #[arg(short = 'Q', long)]
    queued: bool,

    /// Latencies in milliseconds
    #[arg(short, long, overrides_with = "microseconds")]
    milliseconds: bool,

    /// Latencies in microseconds (the default)
    #[arg(short = 'u', long, overrides_with = "milliseconds")]
    microseconds: bool,

    /// One histogram per disk
    #[arg(short = 'D', long)]
    disks: bool,

    /// One histogram per set of I/O flags
    #[arg(short = 'F', long)]
    flags: bool,

    /// Average, total and count as well
    #[arg(short, long)]
    extension: bool,

    /// The median and other percentiles of each histogram as well
    #[arg(long)]
    percentiles: bool,

    /// Python dictionaries, as the classic's --json
    #[arg(short = 'j', conflicts_with = "json")]
    dict: bool,

    /// A line per interval (1 second if none is given) with a mark for each range of
    /// latencies, by how many I/Os there were; in colours on a terminal
    #[arg(long, conflicts_with_all = ["dict", "json", "extension"])]
    heatmap: bool,

    /// Only this disk or partition: a name below /dev
    #[arg(short, long, value_parser = Disk::parse)]
    disk: Option<Disk>,

    #[command(flatten)]
    interval: Interval,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// tp_btf needs no tracefs and works without trampolines and kprobes.
const ISSUE: Hook = Hook {
    name: "issue",
    alternatives: &[Alternative::new("tp_btf", &["issue", "complete"]).maps(&["start", "stamps"])],
};

/// `-Q`. The tracepoint came with Linux 6.5 (5a80bd075f3b). The kernel's own
/// stamp is as good before Linux 6.9 (da4c8c3d0975), which takes the time once
/// per batch of requests.
const QUEUE: Hook = Hook {
    name: "queue",
    alternatives: &[
        Alternative::new("block_io_start", &["io_start", "complete_queued"])
            .maps(&["start", "stamps"]),
        Alternative::new("start_time_ns", &["complete_stamped"]),
    ],
};

/// Who makes a request, where no io controller knows it.
const OWNER: Hook = Hook {
    name: "owner",
    alternatives: &[Alternative::new("tp_btf", &["getrq", "frontmerge"]).maps(&["owned"])],
};

pub struct Biolatency;

impl Tool for Biolatency {
    const NAME: &'static str = "biolatency";
    const SUBSYSTEM: Subsystem = Subsystem::Block;
    const OBJECT: &'static [u8] = bpf_object!("biolatency");
    const HOOKS: &'static [Hook] = &[ISSUE, QUEUE, OWNER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let unit = if args.milliseconds { MSECS } else { USECS };
        let report = Report {
            form: match () {
                () if args.general.json => Form::Json,
                () if args.dict => Form::Dict,
                () if args.heatmap => Form::Heatmap(Heatmap::new(unit)),
                () => Form::Text,
            },
            unit,
            timestamp: args.timestamp,
            extension: args.extension,
            percentiles: args.percentiles,
            by_disk: args.disks,
            by_flags: args.flags,
        };
        if let Some(warning) = args.disk.as_ref().and_then(Disk::warning) {
            session.warn(&warning);
        }
        // Where the io controller is not in charge, the task is asked.
        let owner_is_task = args.general.cgroup.as_ref().is_some_and(|cgroup| {
            let unknown = !cgroup.has_controller("io");
            if unknown {
                session.tell(&format!(
                    "{}: no io controller: I/O belongs to the task that starts it, writeback to none",
                    cgroup.path.display()
                ));
            }
            unknown
        });
        let mut hooks = vec![if args.queued { &QUEUE } else { &ISSUE }];
        if owner_is_task {
            hooks.push(&OWNER);
        }

        let btf = KernelBtf::load()?;
        let layout = RequestLayout::of_kernel(&btf);
        let mut attached = session.load::<BiolatencySkelBuilder>(&hooks, |open| {
            configure(open, &args, &layout)?;
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.unit_ns = unit.ns;
                rodata.owner_is_task = owner_is_task.into();
            }
            if !owner_is_task {
                open.maps.owned.set_autocreate(false)?;
            }
            Ok(())
        })?;

        // A request whose start is missed is timed by the kernel's own stamp.
        attached.lost.without("issue");
        attached.lost.without("io_start");

        if matches!(report.form, Form::Text | Form::Heatmap(_)) {
            session
                .out
                .line("Tracing block device I/O... Hit Ctrl-C to end.");
        }
        if args.heatmap {
            session.out.line(&Heatmap::legend());
        }
        let second = args.heatmap.then_some(Duration::from_secs(1));
        session.ready()?;

        let mut counts = Counts {
            by_disk: args.disks,
            by_flags: args.flags,
            names: RequestNames::of_kernel(&btf),
            last: BTreeMap::new(),
        };
        session.intervals(
            attached,
            args.interval.interval.or(second),
            args.interval.count,
            |skel: &BiolatencySkel<'_>, out| {
                report.write(counts.take(&skel.maps)?, out);
                Ok(())
            },
        )
    }
}

fn configure(open: &mut OpenBiolatencySkel<'_>, args: &Args, layout: &RequestLayout) -> Result<()> {
    request_filter!(open, layout, args.disk, args.general);
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.by_disk = args.disks.into();
        rodata.by_flags = args.flags.into();
    }
    // Only the histograms that are asked for take memory.
    let is_keyed = args.disks || args.flags;
    open.maps.keyed.set_autocreate(is_keyed)?;
    open.maps.single.set_autocreate(!is_keyed)?;
    Ok(())
}
