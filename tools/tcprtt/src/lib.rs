// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcprtt`: the round-trip times of TCP as histograms.

mod report;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use common::cli::{Family, General, LongPortFilter, NetFilter, seconds};
use common::columns::Format;
use common::event::decode;
use common::flow::Network;
use common::hist::{Intervals, sum_percpu};
use common::hooks::{Alternative, Hook};
use common::net::{Ports, address};
use common::session::Session;
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, event, flow_filter, usage};

use report::{Report, Section};
use skel::types::tcprtt_key;
use skel::{OpenTcprttSkel, TcprttMaps, TcprttSkel, TcprttSkelBuilder};

bpf_skeleton!("tcprtt");
event!(tcprtt_key);

/// Summarize TCP round-trip times as a histogram
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcprtt                      summarize TCP round-trip times
  tcprtt -i 1 -d 10           print 1 second summaries, 10 times
  tcprtt -m -T                milliseconds, with the time of day
  tcprtt -p 80                only connections of local port 80
  tcprtt -P 80                only connections to remote port 80
  tcprtt -a 192.168.122.200   only connections of this local address
  tcprtt -A 192.168.122.100   only connections to this remote address
  tcprtt -i 10 -B             one histogram per remote address, every 10 seconds
  tcprtt -e                   with the average
  tcprtt --percentiles        p50, p90, p99, p99.9 and max as well")]
pub struct Args {
    /// Seconds between reports
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    interval: Option<Duration>,

    /// End after this many seconds
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Include the time of day (HH:MM:SS)
    #[arg(short = 'T', long)]
    timestamp: bool,

    /// Round-trip times in milliseconds
    #[arg(short, long)]
    milliseconds: bool,

    /// Only these local ports, as a comma list
    #[arg(short = 'p', long, value_name = "PORTS", value_parser = Ports::parse)]
    lport: Option<Ports>,

    /// Only these remote ports, as a comma list
    #[arg(short = 'P', long, value_name = "PORTS", value_parser = Ports::parse)]
    rport: Option<Ports>,

    /// Only connections of this local address
    #[arg(short = 'a', long, value_name = "ADDR[/LEN]", value_parser = Network::parse)]
    laddr: Option<Network>,

    /// Only connections to this remote address
    #[arg(short = 'A', long, value_name = "ADDR[/LEN]", value_parser = Network::parse)]
    raddr: Option<Network>,

    /// One histogram per local address
    #[arg(short = 'b', long)]
    byladdr: bool,

    /// One histogram per remote address
    #[arg(short = 'B', long)]
    byraddr: bool,

    /// With the average of each histogram
    #[arg(short, long)]
    extension: bool,

    /// The median and other percentiles of each histogram as well
    #[arg(long)]
    percentiles: bool,

    /// As --verbose
    #[arg(short = 'D', long)]
    debug: bool,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    general: General,
}

/// By which end there is a histogram each: the numbers of the BPF side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    None,
    Local,
    Remote,
}

impl Args {
    fn by(&self) -> By {
        match (self.byladdr, self.byraddr) {
            (true, _) => By::Local, // as in the classic
            (_, true) => By::Remote,
            _ => By::None,
        }
    }
}

/// The tracepoint is the first thing in tcp_rcv_established(): each of these
/// sees the same segments.
const RECEIVED: Hook = Hook {
    name: "received",
    alternatives: &[
        Alternative::new("tp_btf", &["probe"]),
        Alternative::new("fentry", &["received_fentry"]),
        Alternative::new("kprobe", &["received_kprobe"]),
    ],
};

pub struct Tcprtt;

impl Tool for Tcprtt {
    const NAME: &'static str = "tcprtt";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcprtt");
    const HOOKS: &'static [Hook] = &[RECEIVED];
    type Args = Args;

    fn run(name: &str, mut args: Args) -> Result<()> {
        args.general.verbose |= args.debug;
        let families = [args.laddr, args.raddr].map(|net| net.map(|net| net.is_ipv4()));
        if let [Some(local), Some(remote)] = families {
            if local != remote {
                usage!("--laddr, --raddr: no connection has an IPv4 and an IPv6 end");
            }
        }
        let mut session = Session::new(name, &args.general, args.duration)?;
        let ports = LongPortFilter {
            localport: args.lport.clone(),
            remoteport: args.rport.clone(),
        };
        let attached = session.load::<TcprttSkelBuilder>(&[&RECEIVED], |open| {
            flow_filter!(open, args.family, ports, args.net, args.general);
            configure(open, &args)
        })?;
        Ports::store(ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(ports.remoteport.as_ref(), &attached.skel.maps.dports)?;

        let report = Report::new(&args);
        if args.general.format(false) == Format::Text {
            session.out.line("Tracing TCP RTT... Hit Ctrl-C to end.");
        }
        session.ready()?;
        let mut times = Intervals::default();
        session.intervals(
            attached,
            args.interval,
            None,
            |skel: &TcprttSkel<'_>, out| {
                report.write(take(&mut times, args.by(), &skel.maps)?, out);
                Ok(())
            },
        )
    }
}

fn configure(open: &mut OpenTcprttSkel<'_>, args: &Args) -> Result<()> {
    let by = args.by();
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.by_addr = by as u8;
        rodata.unit_us = if args.milliseconds { 1000 } else { 1 };
        if let Some(net) = args.laddr {
            rodata.filter_laddrs = 1;
            (rodata.filter_laddr, rodata.filter_laddr_mask) = net.words();
        }
        if let Some(net) = args.raddr {
            rodata.filter_raddrs = 1;
            (rodata.filter_raddr, rodata.filter_raddr_mask) = net.words();
        }
    }
    // Only the histograms that are asked for take memory.
    open.maps.keyed.set_autocreate(by != By::None)?;
    open.maps.single.set_autocreate(by == By::None)?;
    Ok(())
}

/// What was counted since the last time, by address.
fn take(
    times: &mut Intervals<Option<IpAddr>>,
    by: By,
    maps: &TcprttMaps<'_>,
) -> Result<Vec<Section>> {
    if by == By::None {
        let now = sum_percpu(&maps.single).context("read map: single")?;
        let hist = times.since_last(&None, now);
        return Ok(hist
            .map(|hist| Section { addr: None, hist })
            .into_iter()
            .collect());
    }
    let hists = times.take(&maps.keyed, |bytes| {
        let (key, _) = decode::<tcprtt_key>(bytes)?;
        Ok(Some(address(key.family, &key.addr)))
    })?;
    let sections = hists.into_iter().map(|(addr, hist)| Section { addr, hist });
    Ok(sections.collect())
}
