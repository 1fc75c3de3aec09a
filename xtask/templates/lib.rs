// SPDX-License-Identifier: MIT OR Apache-2.0
//! `@NAME@`: one line per program start.

use anyhow::Result;
use clap::Parser;
use common::cli::{General, RunTime};
use common::columns::{Table, Value, column};
use common::event::decode;
use common::hooks::{Alternative, Hook};
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event};

use skel::types::@NAME@_event;

bpf_skeleton!("@NAME@");
event!(@NAME@_event);

/// Trace program starts
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  @NAME@              trace all program starts
  @NAME@ --json       one JSON object per line")]
pub struct Args {
    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

const EXEC: Hook = Hook {
    name: "exec",
    alternatives: &[Alternative::new("tp_btf", &["process_exec"])],
};

pub struct @TYPE@;

impl Tool for @TYPE@ {
    const NAME: &'static str = "@NAME@";
    const SUBSYSTEM: Subsystem = Subsystem::Processes;
    const OBJECT: &'static [u8] = bpf_object!("@NAME@");
    const HOOKS: &'static [Hook] = &[EXEC];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let attached = session.load::<skel::@TYPE@SkelBuilder>(&[&EXEC], |open| {
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.filter_cgroup = args.general.cgroup_id();
            }
            Ok(())
        })?;

        let mut table = Table::new(args.general.format(false));
        table
            .add(column("PID", |event: &@NAME@_event| Value::Uint(event.tgid.into())).left(7).key("pid"))
            .add(column("COMM", |event: &@NAME@_event| Value::Name(&event.comm)).key("comm"));
        table.header(session.out.buffer());
        session.ready()?;

        session.stream(attached, |skel| &skel.maps.events, |record, out| {
            let (event, _) = decode::<@NAME@_event>(record)?;
            table.row(&event, out);
            Ok(())
        })
    }
}
