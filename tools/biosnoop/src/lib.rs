// SPDX-License-Identifier: MIT OR Apache-2.0
//! `biosnoop`: one line per block I/O when it completes.

mod row;

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, value_parser};
use common::block::{Disk, MAKER, RequestLayout, RequestNames, forgive_makers};
use common::btf::KernelBtf;
use common::cgroup::CgroupPaths;
use common::cli::{CgroupLetter, General, RunTime, seconds};
use common::columns::Format;
use common::event::decode;
use common::hooks::{Alternative, Hook};
use common::session::Session;
use common::time::{EventClock, SinceFirst};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, request_filter};

use row::{Row, table};
use skel::types::biosnoop_event;

bpf_skeleton!("biosnoop");
event!(biosnoop_event);

/// Trace block device I/O and print a line per I/O
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  biosnoop              trace all block I/O
  biosnoop -Q           include the time that the I/O was queued in the operating system
  biosnoop -d sdc       only the disk sdc
  biosnoop -d sda1      only the partition sda1
  biosnoop -P           include whether the I/O is sequential or random
  biosnoop -m 10        only I/O that takes 10 ms and more
  biosnoop -t 5         with the time of day, for 5 seconds
  biosnoop --json       one JSON object per line")]
pub struct Args {
    /// Include the time that the I/O was queued in the operating system
    #[arg(short = 'Q', long, alias = "queued")]
    queue: bool,

    /// Only this disk or partition: a name below /dev
    #[arg(short, long, value_parser = Disk::parse)]
    disk: Option<Disk>,

    /// Include the pattern of the disk's I/O: S sequential, R random
    #[arg(short = 'P', long)]
    pattern: bool,

    /// Only I/O that takes at least this many milliseconds
    #[arg(short, long, value_name = "MS", default_value = "0",
          value_parser = value_parser!(u64).range(..1_000_000_000_000))]
    min: u64,

    /// The time of day (HH:MM:SS.mmm) instead of the seconds since the first I/O
    #[arg(short, long)]
    timestamp: bool,

    /// As --duration
    #[arg(value_name = "duration", value_parser = seconds, conflicts_with = "duration")]
    run_for: Option<Duration>,

    #[command(flatten)]
    letter: CgroupLetter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// tp_btf needs no tracefs and works without trampolines and kprobes.
const IO: Hook = Hook {
    name: "io",
    alternatives: &[Alternative::new("tp_btf", &["issue", "complete"])],
};

pub struct Biosnoop;

impl Tool for Biosnoop {
    const NAME: &'static str = "biosnoop";
    const SUBSYSTEM: Subsystem = Subsystem::Block;
    const OBJECT: &'static [u8] = bpf_object!("biosnoop");
    const HOOKS: &'static [Hook] = &[IO, MAKER];
    type Args = Args;

    fn run(name: &str, mut args: Args) -> Result<()> {
        args.letter.merge(&mut args.general);
        let duration = args.run_for.or(args.run_time.duration);
        let mut session = Session::new(name, &args.general, duration)?;
        if let Some(warning) = args.disk.as_ref().and_then(Disk::warning) {
            session.warn(&warning);
        }
        let format = args.general.format(false);
        let btf = KernelBtf::load()?;
        let layout = RequestLayout::of_kernel(&btf);
        let mut attached = session.load::<skel::BiosnoopSkelBuilder>(&[&IO, &MAKER], |open| {
            request_filter!(open, layout, args.disk, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.min_ns = args.min * 1_000_000;
                rodata.want_pattern = args.pattern.into();
                rodata.want_dev = (format == Format::Json).into();
                rodata.want_cgroup = (format == Format::Json).into();
                rodata.want_details = 1;
            }
            Ok(())
        })?;
        attached.lost.without("issue"); // the rest is shown
        forgive_makers(&mut attached.lost, &args.general);

        let table = table(&args, format);
        table.header(session.out.buffer());
        session.ready()?;

        let names = Rc::new(RequestNames::of_kernel(&btf));
        let mut cgroups = CgroupPaths::default();
        let mut since_first = SinceFirst::default();
        let mut clock = EventClock::now();
        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, _) = decode::<biosnoop_event>(record)?;
                let row = Row {
                    names: names.clone(),
                    since_ns: since_first.ns(event.ts_ns),
                    clock: clock.follow(event.ts_ns),
                    cgroup: match event.cgroup {
                        0 => None,
                        id => cgroups.path(id),
                    },
                    event,
                };
                table.row(&row, out);
                Ok(())
            },
        )
    }
}
