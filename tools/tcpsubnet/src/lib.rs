// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpsubnet`: bytes that TCP sends, summed per subnet.

use std::cmp::Reverse;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use common::cli::{Family, General, LongPortFilter, NetFilter, RunTime, seconds};
use common::flow::Network;
use common::hooks::{Alternative, Hook};
use common::net::Ports;
use common::session::Session;
use common::tcp_iter::{Walk, unwalked};
use common::time::{short_date, wall_clock};
use common::tool::{Subsystem, Tool};
use common::{bpf_object, bpf_skeleton, flow_filter, usage};
use libbpf_rs::{MapCore, MapFlags};

use skel::{TcpsubnetSkel, TcpsubnetSkelBuilder};

bpf_skeleton!("tcpsubnet");

/// Summarize the bytes that TCP sends, by subnet
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  tcpsubnet                            bytes to the default subnets, every second
  tcpsubnet -f K                       in KiB
  tcpsubnet 10.80.0.0/24               only this subnet
  tcpsubnet 10.0.0.0/8,2001:db8::/32   IPv6 as well
  tcpsubnet -f m -i 5 0.0.0.0/0        all of IPv4 in Mibit, every 5 seconds
  tcpsubnet -J                         one JSON object per report")]
pub struct Args {
    /// Subnets, as a comma list; an address counts for the first that holds it
    #[arg(
        value_name = "subnets",
        value_delimiter = ',',
        value_parser = Subnet::parse,
        default_value = "127.0.0.1/32,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,0.0.0.0/0"
    )]
    subnets: Vec<Subnet>,

    /// The unit of the counts: bits, Kibit, Mibit, bytes, KiB, MiB
    #[arg(short, long, default_value = "B", value_name = "UNIT")]
    format: Unit,

    /// Seconds between reports
    #[arg(short, long, default_value = "1", value_name = "SECS", value_parser = seconds)]
    interval: Duration,

    /// As --json
    #[arg(short = 'J')]
    short_json: bool,

    #[command(flatten)]
    family: Family,

    #[command(flatten)]
    ports: LongPortFilter,

    #[command(flatten)]
    net: NetFilter,

    #[command(flatten)]
    run_time: RunTime,

    #[command(flatten)]
    general: General,
}

/// As it was given, and what it means.
#[derive(Clone, Debug)]
struct Subnet {
    name: String,
    network: Network,
}

impl Subnet {
    /// As a clap value parser.
    fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim();
        if !name.contains('/') {
            return Err("expected ADDR/LEN".into());
        }
        Ok(Self {
            name: name.to_owned(),
            network: Network::parse(name)?,
        })
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Unit {
    #[value(name = "b")]
    Bits,
    #[value(name = "k")]
    Kibit,
    #[value(name = "m")]
    Mibit,
    #[value(name = "B")]
    Bytes,
    #[value(name = "K")]
    KiB,
    #[value(name = "M")]
    MiB,
}

impl Unit {
    /// By which bytes are multiplied and divided.
    fn factors(self) -> (u64, u64) {
        match self {
            Self::Bits => (8, 1),
            Self::Kibit => (8, 1 << 10),
            Self::Mibit => (8, 1 << 20),
            Self::Bytes => (1, 1),
            Self::KiB => (1, 1 << 10),
            Self::MiB => (1, 1 << 20),
        }
    }

    /// Cut off, for text.
    fn whole(self, bytes: u64) -> u64 {
        let (multiply, divide) = self.factors();
        bytes.saturating_mul(multiply) / divide
    }

    /// For JSON, where all but bits and bytes have a fraction.
    fn exact(self, bytes: u64) -> String {
        let (multiply, divide) = self.factors();
        match divide {
            1 => self.whole(bytes).to_string(),
            _ => format!(
                "{:?}",
                bytes.saturating_mul(multiply) as f64 / divide as f64
            ),
        }
    }
}

/// `TCPSUBNET_MAX` of the BPF side.
const MOST_SUBNETS: usize = 256;

/// What the sockets have sent: no work per packet or call; or what the calls
/// have handed over.
const TRAFFIC: Hook = Hook {
    name: "traffic",
    alternatives: &[
        Alternative::new("iter", &["traffic_end", "traffic_walk"]).maps(&["traffic", "walked"]),
        Alternative::new("iter-hash", &["traffic_end_hash", "traffic_walk_hash"])
            .maps(&["traffic_hash", "walked"]),
        Alternative::new("tp_btf", &["call_send"]),
        Alternative::new("fexit", &["call_sendmsg"]).optional(&["call_sendpage"]),
    ],
};

pub struct Tcpsubnet;

impl Tool for Tcpsubnet {
    const NAME: &'static str = "tcpsubnet";
    const SUBSYSTEM: Subsystem = Subsystem::Network;
    const OBJECT: &'static [u8] = bpf_object!("tcpsubnet");
    const HOOKS: &'static [Hook] = &[TRAFFIC];
    type Args = Args;

    fn run(name: &str, mut args: Args) -> Result<()> {
        args.general.json |= args.short_json;
        if args.subnets.len() > MOST_SUBNETS {
            usage!(
                "{} subnets: no more than {MOST_SUBNETS}",
                args.subnets.len()
            );
        }
        let mut session = Session::new(name, &args.general, args.run_time.duration)?;
        let mut attached = session.load::<TcpsubnetSkelBuilder>(&[&TRAFFIC], |open| {
            flow_filter!(open, args.family, args.ports, args.net, args.general);
            if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
                rodata.subnet_count = args.subnets.len() as u32;
            }
            Ok(())
        })?;
        Ports::store(args.ports.localport.as_ref(), &attached.skel.maps.sports)?;
        Ports::store(args.ports.remoteport.as_ref(), &attached.skel.maps.dports)?;
        for (index, subnet) in (0u32..).zip(&args.subnets) {
            store(&attached.skel, index, &subnet.network)?;
        }
        let mut walk = ["traffic_walk", "traffic_walk_hash"]
            .into_iter()
            .find_map(|program| attached.take_link(program))
            .map(|link| Walk::new(link, args.net.inode()));
        if let Some(walk) = &mut walk {
            // What was sent until now is history.
            walk.read_traffic(&attached.skel.maps.walked)?;
            if let Some(line) = walk.unseen() {
                session.warn(&line);
            }
        }
        let mut sums = Sums {
            last: read_sums(&attached.skel, args.subnets.len())?,
            walk,
        };
        if !args.general.json {
            session.out.line(&format!(
                "Tracing... Output every {} secs. Hit Ctrl-C to end",
                args.interval.as_secs()
            ));
        }
        session.ready()?;
        let mut ended_unwalked = 0;
        session.intervals(
            attached,
            Some(args.interval),
            None,
            |skel: &TcpsubnetSkel<'_>, out| {
                report(&args, &sums.take(skel)?, out);
                ended_unwalked = skel.maps.bss_data.as_ref().map_or(0, |bss| bss.unwalked);
                Ok(())
            },
        )?;
        if let Some(line) = unwalked(ended_unwalked) {
            session.warn(&line);
        }
        Ok(())
    }
}

fn store(skel: &TcpsubnetSkel<'_>, index: u32, network: &Network) -> Result<()> {
    let (addr, mask) = network.words();
    let value: Vec<u8> = [addr, mask]
        .into_iter()
        .flatten()
        .flat_map(u32::to_ne_bytes)
        .collect();
    skel.maps
        .subnets
        .update(&index.to_ne_bytes(), &value, MapFlags::ANY)
        .context("write map: subnets")
}

fn read_sums(skel: &TcpsubnetSkel<'_>, count: usize) -> Result<Vec<u64>> {
    (0u32..)
        .take(count)
        .map(|index| {
            let value = skel
                .maps
                .sent
                .lookup(&index.to_ne_bytes(), MapFlags::ANY)
                .context("read map: sent")?;
            let bytes = value.and_then(|value| value.try_into().ok());
            Ok(bytes.map_or(0, u64::from_ne_bytes))
        })
        .collect()
}

/// The kernel's sums, which only grow, as those of an interval.
struct Sums {
    last: Vec<u64>,
    walk: Option<Walk>,
}

impl Sums {
    /// Bytes since the last time, by subnet.
    fn take(&mut self, skel: &TcpsubnetSkel<'_>) -> Result<Vec<u64>> {
        if let Some(walk) = &mut self.walk {
            walk.read_traffic(&skel.maps.walked)?;
        }
        let now = read_sums(skel, self.last.len())?;
        let new = now
            .iter()
            .zip(&self.last)
            .map(|(now, last)| now.wrapping_sub(*last))
            .collect();
        self.last = now;
        Ok(new)
    }
}

/// Writing to a Vec cannot fail.
fn report(args: &Args, bytes: &[u64], out: &mut Vec<u8>) {
    let mut sent: Vec<_> = args
        .subnets
        .iter()
        .zip(bytes)
        .filter(|&(_, &bytes)| bytes > 0)
        .collect();
    sent.sort_by_key(|&(_, &bytes)| Reverse(bytes));
    let (date, time) = (short_date(), wall_clock());
    if args.general.json {
        let entries: Vec<_> = sent
            .iter()
            .map(|&(subnet, &bytes)| format!("\"{}\": {}", subnet.name, args.format.exact(bytes)))
            .collect();
        let _ = writeln!(
            out,
            "{{\"date\": \"{date}\", \"time\": \"{time}\", \"entries\": {{{}}}}}",
            entries.join(", ")
        );
        return;
    }
    let _ = writeln!(out, "[{date} {time}]");
    for (subnet, &bytes) in sent {
        let _ = writeln!(out, "{:<21} {:>6}", subnet.name, args.format.whole(bytes));
    }
}
