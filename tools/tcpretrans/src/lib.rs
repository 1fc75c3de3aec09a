// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpretrans`: one line per program start.

use anyhow::Result;
use clap::Parser;
use common::cli::{Family, General, NetFilter, PortFilter, RunTime};
use common::columns::{Table, Value, column};
use common::event::decode;
use common::flow::{Flow, HasFlow, add_flow_fields};
use common::hooks::{Alternative, Hook};
use common::net::Ports;
use common::origin::{HasOrigin, Known, OWNER, Owners, SOCKET_FILES, add_origin_fields};
use common::session::Session;
use common::tool::Tool;
use common::{bpf_object, bpf_skeleton, event, flow, flow_filter, origin};

use skel::types::tcpretrans_event;

bpf_skeleton!("tcpretrans");
event!(tcpretrans_event);

/// Trace program starts
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpretrans              trace all
  tcpretrans --json       one JSON object per line")]
pub struct Args {
    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    ports: PortFilter,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

const RETRANSMIT: Hook = Hook {
    name: "retransmit",
    alternatives: &[Alternative::new("tp_btf", &["retransmit"])],
};

pub struct Tcpretrans;

impl Tool for Tcpretrans {
    const NAME: &'static str = "tcpretrans";
    const OBJECT: &'static [u8] = bpf_object!("tcpretrans");
    const HOOKS: &'static [Hook] = &[RETRANSMIT, OWNER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let mut attached =
            session.load::<skel::TcpretransSkelBuilder>(&[&RETRANSMIT, &OWNER], |open| {
                flow_filter!(open, args.family, args.ports, args.net, args.general);
                Ok(())
            })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;
        attached.lost.without("note_owner");
        attached.lost.without(SOCKET_FILES);
        let mut owners = Owners::new(attached.take_link(SOCKET_FILES))?;

        let mut table = Table::new(args.general.format(false));
        table.add(
            column("PID", |row: &Row| Value::Uint(row.event.tgid.into()))
                .left(7)
                .key("pid"),
        );
        add_flow_fields(&mut table);
        add_origin_fields(&mut table);
        table.header(session.out.buffer());
        session.ready()?;

        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, _) = decode::<tcpretrans_event>(record)?;
                let row = Row {
                    event,
                    flow: flow!(event.flow),
                    known: owners.complete(origin!(event.origin))?,
                };
                table.row(&row, out);
                Ok(())
            },
        )
    }
}

struct Row {
    event: tcpretrans_event,
    flow: Flow,
    known: Known,
}
impl HasFlow for Row {
    fn flow(&self) -> &Flow {
        &self.flow
    }
}
impl HasOrigin for Row {
    fn known(&self) -> &Known {
        &self.known
    }
}
