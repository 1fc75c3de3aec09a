// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the kernel lets nobody trace its functions: entries come and go over
//! netlink, and what is refused is counted by the kernel alone.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use common::flow::Network;
use common::net::{Ports, is_ipv4};
use common::origin::{Known, Origin};
use common::output::Output;
use common::session::{Session, Source};
use common::time::monotonic_ns;

use crate::Args;
use crate::ctnetlink::Listeners;
use crate::kernel::{Stats, stats_of};
use crate::row::{Event, Kind};
use crate::summary::{By, Counted, Key, State, Summary};
use crate::trace::Trace;

pub fn run(
    session: &mut Session,
    args: &Args,
    trace: Trace,
    summary: Option<Summary>,
) -> Result<()> {
    if let Some(cgroup) = &args.general.cgroup {
        bail!(
            "--cgroup {}: this kernel lets nobody trace nf_conntrack's functions, and ctnetlink \
             does not tell whose an entry is",
            cgroup.path.display()
        );
    }
    if summary.is_some() && matches!(args.by, By::Comm | By::Cgroup) {
        bail!(
            "--by: this kernel lets nobody trace nf_conntrack's functions, and ctnetlink \
             does not tell whose an entry is"
        );
    }
    let mut source = ListenSource {
        listeners: Listeners::new(args.want_destroy()),
        filter: Filter::of(args),
        want_refused: !args.new,
        refusals: BTreeMap::new(),
        trace,
        summary: summary.map(|summary| (summary, Counted::default())),
        overflows: 0,
        done: false,
    };
    source.rescan()?;
    if source.listeners.is_empty() {
        bail!("netns {}: cannot be found", args.net.inode());
    }
    session.ready()?;
    session.warn(
        "this kernel lets nobody trace nf_conntrack's functions: ctnetlink tells of entries, \
         without their processes; what is refused comes as counts, without addresses",
    );
    if let Some((summary, _)) = &mut source.summary {
        summary.begin();
    }
    session.follow(&mut source)?;
    source.refused(&mut session.out);
    source.trace.look()?;
    if !source.done {
        source.report(&mut session.out);
    }
    source.trace.compare(&mut session.out);
    if source.overflows > 0 {
        session.warn(&format!(
            "the buffer for ctnetlink's events has overflowed {} times: at least as many events \
             were lost, how many is not known",
            source.overflows
        ));
    }
    session.out.flush()
}

/// The filters of the BPF side.
struct Filter {
    proto: Option<u8>,
    family: u16,
    dport: Option<Ports>,
    addr: Option<Network>,
    zone: Option<u16>,
}

impl Filter {
    fn of(args: &Args) -> Self {
        Self {
            proto: args.proto,
            family: args.family.number(),
            dport: args.dport.clone(),
            addr: args.net.addr,
            zone: args.zone,
        }
    }

    fn takes(&self, event: &Event) -> bool {
        let Some(tuple) = &event.tuple else {
            return false;
        };
        let holds = |network: &Network| {
            [Some(tuple), event.reply.as_ref()]
                .into_iter()
                .flatten()
                .any(|tuple| {
                    network.contains(tuple.flow.saddr) || network.contains(tuple.flow.daddr)
                })
        };
        self.proto.is_none_or(|proto| proto == tuple.flow.proto)
            && (self.family == 0 || is_ipv4(self.family) == tuple.flow.saddr.is_ipv4())
            && self
                .dport
                .as_ref()
                .is_none_or(|ports| ports.contains(tuple.flow.dport))
            && self.addr.as_ref().is_none_or(holds)
            && self.zone.is_none_or(|zone| zone == event.zone)
    }

    /// What has no address passes no filter.
    fn takes_all(&self) -> bool {
        self.proto.is_none()
            && self.family == 0
            && self.dport.is_none()
            && self.addr.is_none()
            && self.zone.is_none()
    }
}

struct ListenSource {
    listeners: Listeners,
    filter: Filter,
    want_refused: bool,
    /// What the kernel had refused when it was last asked.
    refusals: BTreeMap<u32, Stats>,
    trace: Trace,
    summary: Option<(Summary, Counted)>,
    overflows: u64,
    /// COUNT reports were written.
    done: bool,
}

impl Source for ListenSource {
    fn drain(&mut self, out: &mut Output) -> Result<usize> {
        let (trace, filter, summary) = (&mut self.trace, &self.filter, &mut self.summary);
        self.listeners.drain(monotonic_ns(), |netns, event| {
            if !filter.takes(&event) {
                return;
            }
            match summary {
                None => trace.show(event, known(netns), out.buffer()),
                Some((summary, counted)) => {
                    trace.count(netns, event.kind, 1);
                    counted.add(netns, event.kind, 1);
                    counted.add_key(key(summary.by(), &event), event.kind, 1);
                }
            }
        })
    }

    fn tick(&mut self, out: &mut Output) -> Result<bool> {
        self.rescan()?;
        self.refused(out);
        self.trace.look()?;
        if self
            .summary
            .as_ref()
            .is_some_and(|(summary, _)| summary.is_due())
        {
            self.report(out);
        }
        Ok(!self.done)
    }

    fn lost(&mut self) -> u64 {
        let overflows = self.listeners.take_overflows();
        self.overflows += overflows;
        overflows
    }
}

impl ListenSource {
    /// Listens in namespaces that are new, and no more in those that are gone.
    fn rescan(&mut self) -> Result<()> {
        let found = self.trace.namespaces.open();
        self.listeners.retain(|inode| found.contains_key(&inode));
        for (inode, file) in &found {
            if self.listeners.has(*inode) {
                continue;
            }
            match self.listeners.add(*inode, file) {
                Ok(None) => {}
                Ok(Some(text)) => self.trace.warn(&text),
                // One of many may be closed to us, or gone by now.
                Err(error) if found.len() > 1 => self.trace.warn(&format!("{error:#}")),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What the kernel has refused since it was last asked.
    fn refused(&mut self, out: &mut Output) {
        if !self.want_refused || !self.filter.takes_all() {
            return;
        }
        for (netns, file) in self.trace.namespaces.open() {
            let Some(now) = stats_of(&file) else {
                continue;
            };
            let before = self.refusals.insert(netns, now);
            let before = before.unwrap_or_else(|| self.trace.namespaces.before(netns));
            for (kind, now, before) in [
                (Kind::Full, now.full(), before.full()),
                (Kind::EarlyDrop, now.early_drop, before.early_drop),
                (Kind::InsertFailed, now.insert_failed, before.insert_failed),
            ] {
                let count = now.saturating_sub(before);
                if count == 0 {
                    continue;
                }
                match &mut self.summary {
                    None => {
                        self.trace
                            .show(counted_only(kind, count), known(netns), out.buffer());
                    }
                    Some((_, counted)) => {
                        self.trace.count(netns, kind, count);
                        counted.add(netns, kind, count);
                    }
                }
            }
        }
    }

    fn report(&mut self, out: &mut Output) {
        if let Some((summary, counted)) = &mut self.summary {
            let stats = self.trace.namespaces.stats();
            self.done = !summary.report(std::mem::take(counted), &stats, out);
        }
    }
}

fn known(netns: u32) -> Known {
    let origin = Origin {
        netns,
        ..Origin::default()
    };
    Known {
        origin,
        ..Known::default()
    }
}

fn counted_only(kind: Kind, count: u64) -> Event {
    Event {
        ts_ns: monotonic_ns(),
        kind,
        tuple: None,
        reply: None,
        zone: 0,
        status: 0,
        tcp_state: None,
        age_ns: None,
        counters: None,
        count,
    }
}

fn key(by: By, event: &Event) -> Key {
    match (by, &event.tuple) {
        (By::State, _) => Key::State(match event.tcp_state {
            Some(state) => State::Tcp(state),
            None => State::of_status(event.status),
        }),
        (_, Some(tuple)) => Key::of_flow(by, &tuple.flow),
        (_, None) => Key::Unknown,
    }
}
