// SPDX-License-Identifier: MIT OR Apache-2.0
//! `profile`: where the CPUs spend their time, by stacks that are sampled.

mod report;
mod samples;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueHint, value_parser};
use common::cli::{ContainerMaps, General, RunTime, TaskFilter, seconds};
use common::hooks::{Alternative, Hook};
use common::sampling::{Rate, online_cpus};
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, task_filter};
use libbpf_rs::{MapCore as _, MapFlags};

use report::Report;
use samples::Samples;
use skel::ProfileSkelBuilder;
use skel::types::{profile_count, profile_key, profile_stack};

bpf_skeleton!("profile");
event!(profile_count);
event!(profile_key);
event!(profile_stack);

/// Profile CPU stack traces at a timed interval
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  profile                       profile stack traces at 49 Hertz until Ctrl-C
  profile -F 99                 profile stack traces at 99 Hertz
  profile -c 1000000            profile stack traces every 1 in a million events
  profile 5                     profile at 49 Hertz for 5 seconds only
  profile -f 5                  output in folded format for flame graphs
  profile --flamegraph a.svg 5  draw the flame graph
  profile -p 185                only profile process with PID 185
  profile -L 185                only profile thread with TID 185
  profile -U                    only show user space stacks (no kernel)
  profile -K                    only show kernel space stacks (no user)
  profile --cgroupmap MAP       only trace cgroups in this BPF map
  profile --mntnsmap MAP        only trace mount namespaces in this BPF map
  profile --json                one JSON object per line")]
pub struct Args {
    /// Only these processes, as a comma list
    #[arg(short, long, value_name = "PIDS", value_delimiter = ',', value_parser = number())]
    pid: Option<Vec<u32>>,

    /// Only these threads, as a comma list
    #[arg(short = 'L', long, value_name = "TIDS", value_delimiter = ',', value_parser = number(), conflicts_with = "pid")]
    tid: Option<Vec<u32>>,

    /// Show stacks from user space only (no kernel space stacks)
    #[arg(short = 'U', long)]
    user_stacks_only: bool,

    /// Show stacks from kernel space only (no user space stacks)
    #[arg(short = 'K', long, conflicts_with = "user_stacks_only")]
    kernel_stacks_only: bool,

    /// Samples per second on each CPU (default: 49)
    #[arg(short = 'F', long, value_name = "HERTZ")]
    frequency: Option<u64>,

    /// Sample every so many events of the CPU's clock, which are nanoseconds
    #[arg(short, long, value_parser = value_parser!(u64).range(..=i64::MAX as u64), conflicts_with = "frequency")]
    count: Option<u64>,

    /// Insert delimiter between kernel/user stacks
    #[arg(short, long)]
    delimited: bool,

    /// Add _[k] annotations to kernel frames
    #[arg(short, long)]
    annotations: bool,

    /// Include CPU idle stacks
    #[arg(short = 'I', long)]
    include_idle: bool,

    /// Output folded format, one line per stack (for flame graphs)
    #[arg(short, long)]
    folded: bool,

    /// Draw a flame graph in this file when the profile is done
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    flamegraph: Option<PathBuf>,

    /// The number of unique stack traces that can be stored and displayed
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = value_parser!(u32).range(1..=1 << 24))]
    stack_storage_size: u32,

    /// Frames of a stack that are kept, of kernel and user space each
    #[arg(long, value_name = "N", default_value_t = FRAMES, value_parser = value_parser!(u32).range(1..=1024))]
    perf_max_stack_depth: u32,

    /// CPU number to run profile on
    #[arg(short = 'C', long, allow_hyphen_values = true, value_parser = value_parser!(i32))]
    cpu: Option<i32>,

    /// Duration of trace, in seconds
    #[arg(value_name = "duration", value_parser = seconds, conflicts_with = "duration")]
    seconds: Option<Duration>,

    #[command(flatten)]
    containers: ContainerMaps,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// 0 is nobody's, but no mistake.
fn number() -> clap::builder::RangedI64ValueParser<u32> {
    value_parser!(u32).range(..=i64::from(i32::MAX))
}

impl Args {
    fn rate(&self) -> Rate {
        match (self.frequency, self.count) {
            (Some(hertz @ 1..), _) => Rate::Hertz(hertz),
            (_, Some(events @ 1..)) => Rate::Period(events),
            _ => Rate::Hertz(49),
        }
    }

    /// The only CPU that is asked for.
    fn one_cpu(&self) -> Option<u32> {
        self.cpu.and_then(|cpu| u32::try_from(cpu).ok())
    }

    /// How long; `None`: until interrupted.
    fn duration(&self) -> Option<Duration> {
        self.run_time.duration.or(self.seconds)
    }
}

/// What the kernel keeps of a stack by default.
const FRAMES: u32 = 127;

/// The most that it keeps at present.
fn deepest() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/perf_event_max_stack").ok()?;
    text.trim().parse().ok()
}

const SAMPLE: &str = "sample";

const CLOCK: Hook = Hook {
    name: "clock",
    alternatives: &[Alternative::new("perf_event", &[SAMPLE])],
};

pub struct Profile;

impl Tool for Profile {
    const NAME: &'static str = "profile";
    const SUBSYSTEM: Subsystem = Subsystem::Cpu;
    const OBJECT: &'static [u8] = bpf_object!("profile");
    const HOOKS: &'static [Hook] = &[CLOCK];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.duration())?;
        let report = Report::new(&args)?;
        let listed = args.pid.as_ref().or(args.tid.as_ref());
        let frames = args.perf_max_stack_depth;
        let mut attached = session.load::<ProfileSkelBuilder>(&[&CLOCK], |open| {
            let tasks = TaskFilter {
                pid: None,
                tid: None,
                uid: None,
            };
            task_filter!(open, tasks, args.general, args.containers)?;
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.max_frames = frames;
                rodata.want_kernel = (!args.user_stacks_only).into();
                rodata.want_user = (!args.kernel_stacks_only).into();
                rodata.include_idle = args.include_idle.into();
                rodata.filter_tgids = args.pid.is_some().into();
                rodata.filter_pids = args.tid.is_some().into();
            }
            open.maps.counts.set_max_entries(args.stack_storage_size)?;
            let stack = size_of::<profile_stack>() as u32;
            open.maps
                .scratch
                .set_value_size(stack + 2 * frames * size_of::<u64>() as u32)?;
            match listed {
                Some(ids) => open.maps.wanted.set_max_entries(ids.len() as u32)?,
                None => open.maps.wanted.set_autocreate(false)?,
            }
            Ok(())
        })?;
        for id in listed.into_iter().flatten() {
            let key = id.to_ne_bytes();
            let wanted = &attached.skel.maps.wanted;
            wanted
                .update(&key, &[1], MapFlags::ANY)
                .context("list the processes")?;
        }
        let rate = args.rate();
        let cpus = match args.one_cpu() {
            Some(cpu) => vec![cpu],
            None => online_cpus()?,
        };
        for &cpu in &cpus {
            attached.sample(SAMPLE, rate, cpu)?;
        }
        if let Some(most) = deepest().filter(|&most| most < frames && frames != FRAMES) {
            session.warn(&format!(
                "stacks are cut after {most} frames: sysctl kernel.perf_event_max_stack"
            ));
        }
        report.header(&args, &mut session.out);
        session.ready()?;

        let every_cpu = args.one_cpu().is_none();
        let mut samples = Samples::new(attached, rate, every_cpu.then_some(cpus))?;
        session.follow(&mut samples)?;
        let stacks = samples.finish(&session)?;
        report.write(stacks, &mut session.out)
    }
}
