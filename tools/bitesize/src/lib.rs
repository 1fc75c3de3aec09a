// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bitesize`: the sizes of block I/O as histograms, by process name.

mod report;

use anyhow::Result;
use clap::Parser;
use common::block::{Disk, MAKER, RequestLayout, forgive_makers};
use common::btf::KernelBtf;
use common::cli::{General, Interval, RunTime};
use common::event::decode;
use common::hist::Intervals;
use common::hooks::{Alternative, Hook};
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, request_filter};

use report::{Report, Section};
use skel::types::bitesize_key;
use skel::{BitesizeSkel, BitesizeSkelBuilder};

bpf_skeleton!("bitesize");
event!(bitesize_key);

/// Summarize the sizes of block device I/O by process name
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  bitesize                  sizes of block I/O by process name, until Ctrl-C
  bitesize 1 10             print 1 second summaries, 10 times
  bitesize -T 5             every 5 seconds, with the time of day
  bitesize -c fio           only processes whose names begin with fio
  bitesize -d nvme0n1       only the disk nvme0n1
  bitesize --percentiles    p50, p90, p99, p99.9 and max as well")]
pub struct Args {
    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    timestamp: bool,

    /// Only processes whose names begin so
    #[arg(short, long, value_parser = Prefix::parse)]
    comm: Option<Prefix>,

    /// Only this disk or partition: a name below /dev
    #[arg(short, long, value_parser = Disk::parse)]
    disk: Option<Disk>,

    /// The median and other percentiles of each histogram as well
    #[arg(long)]
    percentiles: bool,

    #[command(flatten)]
    interval: Interval,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// What the name of a process begins with.
#[derive(Clone, Debug)]
struct Prefix(Vec<u8>);

impl Prefix {
    fn parse(text: &str) -> Result<Self, String> {
        match text.len() {
            1..=15 => Ok(Self(text.into())),
            _ => Err("a process has a name of 1 to 15 bytes".into()),
        }
    }
}

/// tp_btf needs no tracefs and works without trampolines and kprobes.
const ISSUE: Hook = Hook {
    name: "issue",
    alternatives: &[Alternative::new("tp_btf", &["issue", "requeue"])],
};

pub struct Bitesize;

impl Tool for Bitesize {
    const NAME: &'static str = "bitesize";
    const SUBSYSTEM: Subsystem = Subsystem::Block;
    const OBJECT: &'static [u8] = bpf_object!("bitesize");
    const HOOKS: &'static [Hook] = &[ISSUE, MAKER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        if let Some(warning) = args.disk.as_ref().and_then(Disk::warning) {
            session.warn(&warning);
        }
        let layout = RequestLayout::of_kernel(&KernelBtf::load()?);
        let mut attached = session.load::<BitesizeSkelBuilder>(&[&ISSUE, &MAKER], |open| {
            request_filter!(open, layout, args.disk, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                let prefix = args.comm.as_ref().map_or(&[][..], |prefix| &prefix.0);
                rodata.filter_comm_length = prefix.len() as u8;
                for (byte, wanted) in rodata.filter_comm.iter_mut().zip(prefix) {
                    *byte = *wanted;
                }
            }
            Ok(())
        })?;

        attached.lost.without("requeue"); // what it misses counts once more
        forgive_makers(&mut attached.lost, &args.general);

        let report = Report {
            json: args.general.json,
            timestamp: args.timestamp,
            // BCC's only report, at the end, begins without an empty line.
            blank: args.timestamp || args.interval.interval.is_some(),
            percentiles: args.percentiles,
        };
        if !report.json {
            session.out.line("Tracing block I/O... Hit Ctrl-C to end.");
        }
        session.ready()?;

        let mut sizes = Intervals::default();
        session.intervals(
            attached,
            args.interval.interval,
            args.interval.count,
            |skel: &BitesizeSkel<'_>, out| {
                let hists = sizes.take(&skel.maps.sizes, |bytes| {
                    Ok(decode::<bitesize_key>(bytes)?.0.comm)
                })?;
                let sections = hists.into_iter();
                let sections = sections.map(|(comm, hist)| Section { comm, hist });
                report.write(sections.collect(), out);
                Ok(())
            },
        )
    }
}
