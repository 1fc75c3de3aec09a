// SPDX-License-Identifier: MIT OR Apache-2.0
//! `runqlat`: how long tasks wait for a CPU, as histograms.

mod report;
mod waits;

use anyhow::Result;
use clap::Parser;
use common::cli::{CgroupLetter, General, Interval, RunTime, id};
use common::columns::Format;
use common::hist::{MSECS, USECS};
use common::hooks::{Alternative, Hook};
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event};

use report::Report;
use skel::types::{runqlat_key, runqlat_part};
use skel::{RunqlatSkel, RunqlatSkelBuilder};
use waits::Waits;

bpf_skeleton!("runqlat");
event!(runqlat_key);
event!(runqlat_part);

/// Summarize run queue (scheduler) latency as a histogram
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  runqlat                     summarize run queue latency as a histogram
  runqlat 1 10                print 1 second summaries, 10 times
  runqlat -mT 1               1s summaries, milliseconds, and timestamps
  runqlat -P                  show each PID separately
  runqlat -L                  show each thread separately
  runqlat -p 185              trace PID 185 only
  runqlat --pidnss            show each PID namespace separately
  runqlat -c CG               only tasks of the cgroup at this path
  runqlat --percentiles 1     p50, p90, p99, p99.9 and max as well")]
pub struct Args {
    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    timestamp: bool,

    /// Latencies in milliseconds
    #[arg(short, long)]
    milliseconds: bool,

    /// One histogram per process
    #[arg(short = 'P', long)]
    pids: bool,

    /// One histogram per PID namespace
    #[arg(long)]
    pidnss: bool,

    /// One histogram per thread
    #[arg(short = 'L', long)]
    tids: bool,

    /// Only this process
    #[arg(short, long, value_parser = id())]
    pid: Option<u32>,

    /// The median and other percentiles of each histogram as well
    #[arg(long)]
    percentiles: bool,

    #[command(flatten)]
    letter: CgroupLetter,

    #[command(flatten)]
    interval: Interval,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// Of what there is a histogram each: the numbers of the BPF side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    None,
    Process,
    Thread,
    Pidns,
}

impl By {
    /// The first of them, as in the classic.
    fn of(args: &Args) -> Self {
        match (args.tids, args.pids, args.pidnss) {
            (true, ..) => Self::Thread,
            (_, true, _) => Self::Process,
            (.., true) => Self::Pidns,
            _ => Self::None,
        }
    }

    /// The classic's name of it.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Process => Some("pid"),
            Self::Thread => Some("tid"),
            Self::Pidns => Some("pidns"),
        }
    }
}

/// In this order: whose wake-up is seen, whose way to the CPU is seen as well.
const SWITCH: Hook = Hook {
    name: "switch",
    alternatives: &[
        Alternative::new("tp_btf", &["switch_task", "wake", "wake_new"]),
        Alternative::new("raw_tp", &["switch_task_raw", "wake_raw", "wake_new_raw"]),
    ],
};

pub struct Runqlat;

impl Tool for Runqlat {
    const NAME: &'static str = "runqlat";
    const SUBSYSTEM: Subsystem = Subsystem::Cpu;
    const OBJECT: &'static [u8] = bpf_object!("runqlat");
    const HOOKS: &'static [Hook] = &[SWITCH];
    type Args = Args;

    fn run(name: &str, mut args: Args) -> Result<()> {
        args.letter.merge(&mut args.general);
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let by = By::of(&args);
        let unit = if args.milliseconds { MSECS } else { USECS };
        let attached = session.load::<RunqlatSkelBuilder>(&[&SWITCH], |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.by = by as u8;
                rodata.unit_ns = unit.ns;
                rodata.filter_tgid = args.pid.unwrap_or(0);
                rodata.filter_cgroup = args.general.cgroup_id();
            }
            // Only the histograms that are asked for take memory.
            open.maps.keyed.set_autocreate(by != By::None)?;
            open.maps.single.set_autocreate(by == By::None)?;
            Ok(())
        })?;

        let report = Report {
            format: args.general.format(false),
            by,
            unit: unit.name,
            timestamp: args.timestamp,
            percentiles: args.percentiles,
        };
        if report.format == Format::Text {
            session
                .out
                .line("Tracing run queue latency... Hit Ctrl-C to end.");
        }
        session.ready()?;

        let mut waits = Waits::new(by);
        session.intervals(
            attached,
            args.interval.interval,
            args.interval.count,
            |skel: &RunqlatSkel<'_>, out| {
                report.write(waits.take(&skel.maps)?, out);
                Ok(())
            },
        )
    }
}
