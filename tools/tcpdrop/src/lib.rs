// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpdrop`: one line per dropped TCP packet.

use anyhow::Result;
use clap::Parser;
use common::btf::KernelBtf;
use common::cli::{Family, General, NetFilter, PortFilter, RunTime};
use common::columns::{Table, Value, column};
use common::drop_reason::{DropReasons, kfree_skb_params};
use common::event::decode;
use common::flow::{Flow, HasFlow, add_flow_fields};
use common::hooks::{Alternative, Hook};
use common::net::Ports;
use common::origin::{HasOrigin, Known, OWNER, Owners, SOCKET_FILES, add_origin_fields};
use common::session::Session;
use common::tool::Tool;
use common::{bpf_object, bpf_skeleton, event, flow, flow_filter, origin};

use skel::types::tcpdrop_event;

bpf_skeleton!("tcpdrop");
event!(tcpdrop_event);

/// Trace TCP packets that the kernel drops
#[derive(Parser, Debug)]
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

const DROP: Hook = Hook {
    name: "drop",
    alternatives: &[
        Alternative::new("tp_btf", &["kfree_skb"]),
        Alternative::new("raw_tp", &["kfree_skb_raw"]),
    ],
};

pub struct Tcpdrop;

impl Tool for Tcpdrop {
    const NAME: &'static str = "tcpdrop";
    const OBJECT: &'static [u8] = bpf_object!("tcpdrop");
    const HOOKS: &'static [Hook] = &[DROP, OWNER];
    type Args = Args;

    fn run(name: &str, args: Args) -> Result<()> {
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let btf = KernelBtf::load()?;
        let mut reasons = DropReasons::of_kernel(&btf);
        let mut attached = session.load::<skel::TcpdropSkelBuilder>(&[&DROP, &OWNER], |open| {
            flow_filter!(open, args.family, args.ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.kfree_skb_params = kfree_skb_params(&btf);
            }
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
        table.add(column("REASON", |row: &Row| row.reason.clone().into()).key("reason"));
        add_flow_fields(&mut table);
        add_origin_fields(&mut table);
        table.add(column("IFNAME", |row: &Row| Value::Name(&row.event.ifname)).key("ifname"));
        table.add(column("LEN", |row: &Row| Value::Uint(row.event.length.into())).key("length"));
        table.add(column("STATE", |row: &Row| Value::Uint(row.event.state.into())).key("state"));
        table
            .add(column("FLAGS", |row: &Row| Value::Uint(row.event.tcp_flags.into())).key("flags"));
        table.header(session.out.buffer());
        session.ready()?;

        session.stream(
            attached,
            |skel| &skel.maps.events,
            |record, out| {
                let (event, _) = decode::<tcpdrop_event>(record)?;
                let row = Row {
                    reason: reasons.name(event.reason).into_owned(),
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
    event: tcpdrop_event,
    reason: String,
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
