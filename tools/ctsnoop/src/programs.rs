// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events and counts from the BPF programs.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use anyhow::Result;
use common::event::decode;
use common::hooks::Attached;
use common::net::address;
use common::origin::{Known, Origin, Owners, SOCKET_FILES};
use common::output::Output;
use common::session::{Session, Source};
use common::{flow, origin};
use libbpf_rs::{MapCore, MapFlags};

use crate::row::{Event, Icmp, Kind, Tuple};
use crate::skel::CtsnoopSkel;
use crate::skel::types::{ctsnoop_counts, ctsnoop_event, ctsnoop_key, ctsnoop_refused, tuple};
use crate::summary::{By, Counted, Key, State, Summary};
use crate::trace::{Counts, Trace, of};

/// Programs whose skipped runs are no lost events.
pub const BYSTANDERS: [&str; 5] = [
    "note_owner",
    SOCKET_FILES,
    "confirm_enter",
    "check_insert_enter",
    "refused_freed",
];

pub fn run(
    session: &mut Session,
    mut attached: Attached<CtsnoopSkel<'static>>,
    mut trace: Trace,
    summary: Option<Summary>,
) -> Result<()> {
    let mut owners = Owners::new(attached.take_link(SOCKET_FILES))?;
    session.ready()?;
    if let Some(mut summary) = summary {
        summary.begin();
        let mut counts = CountSource {
            attached,
            owners,
            trace,
            summary,
            seen_totals: HashMap::new(),
            seen_keys: HashMap::new(),
            counted: Counted::default(),
            done: false,
        };
        session.follow(&mut counts)?;
        if !counts.done {
            counts.report(&mut session.out)?;
        }
        counts.trace.look()?;
        counts.trace.compare(&mut session.out);
        return session.out.flush();
    }
    let shared = RefCell::new(&mut trace);
    session.stream_and(
        attached,
        |skel| &skel.maps.events,
        |record, out| {
            let (event, _) = decode::<ctsnoop_event>(record)?;
            let mut known = owners.complete(origin!(event.origin))?;
            known.origin.netns = event.netns;
            shared.borrow_mut().show(of_event(&event), known, out);
            Ok(())
        },
        |skel, out| {
            let mut trace = shared.borrow_mut();
            for refused in left_over(skel)? {
                let (event, known) = of_refused(&refused);
                trace.show(event, known, out);
            }
            trace.look()
        },
    )?;
    trace.compare(&mut session.out);
    session.out.flush()
}

fn of_tuple(from: &tuple) -> Tuple {
    let flow = flow!(from.flow);
    Tuple {
        flow,
        icmp: matches!(flow.proto, 1 | 58).then_some(Icmp {
            id: from.icmp_id,
            kind: from.icmp_type,
            code: from.icmp_code,
        }),
    }
}

fn of_event(event: &ctsnoop_event) -> Event {
    let kind = Kind::ALL
        .get(usize::from(event.kind))
        .copied()
        .unwrap_or(Kind::New);
    let tuple = of_tuple(&event.tuple);
    let is_tcp = tuple.flow.proto == 6;
    Event {
        ts_ns: event.ts_ns,
        kind,
        tuple: Some(tuple),
        // What was refused has none.
        reply: (kind != Kind::Full).then(|| of_tuple(&event.reply)),
        zone: event.zone,
        status: event.status,
        tcp_state: (is_tcp && kind != Kind::Full).then_some(event.tcp_state),
        age_ns: (event.age_ns != 0).then_some(event.age_ns),
        counters: (event.accounted != 0).then_some((event.packets, event.bytes)),
        count: 1,
    }
}

/// Of a refused packet that nobody has seen being freed, so that it is not
/// known whose it was.
fn of_refused(refused: &ctsnoop_refused) -> (Event, Known) {
    let event = Event {
        ts_ns: refused.ts_ns,
        kind: Kind::Full,
        tuple: Some(of_tuple(&refused.tuple)),
        reply: None,
        zone: refused.zone,
        status: 0,
        tcp_state: None,
        age_ns: None,
        counters: None,
        count: 1,
    };
    let origin = Origin {
        netns: refused.netns,
        ..Origin::default()
    };
    let known = Known {
        origin,
        ..Known::default()
    };
    (event, known)
}

/// Takes the refused packets that were not freed where they were refused.
fn left_over(skel: &CtsnoopSkel<'_>) -> Result<Vec<ctsnoop_refused>> {
    let map = &skel.maps.refused;
    let mut found = Vec::new();
    for key in map.keys().collect::<Vec<_>>() {
        if let Some(value) = map.lookup(&key, MapFlags::ANY)? {
            // Whoever deletes it tells it.
            if map.delete(&key).is_ok() {
                found.push(decode::<ctsnoop_refused>(&value)?.0);
            }
        }
    }
    Ok(found)
}

/// `-c`: the programs count, and all counts only grow.
struct CountSource {
    attached: Attached<CtsnoopSkel<'static>>,
    owners: Owners,
    trace: Trace,
    summary: Summary,
    /// The counts as they were last seen, by the maps' keys.
    seen_totals: HashMap<Vec<u8>, Counts>,
    seen_keys: HashMap<Vec<u8>, Counts>,
    /// Since the last report.
    counted: Counted,
    /// COUNT reports were written.
    done: bool,
}

/// Keys of the summary's map from which on those that do nothing are removed.
const MANY_KEYS: usize = 8192;

impl Source for CountSource {
    fn drain(&mut self, _: &mut Output) -> Result<usize> {
        Ok(0)
    }

    fn tick(&mut self, out: &mut Output) -> Result<bool> {
        if self.summary.is_due() {
            self.report(out)?;
        } else {
            self.collect()?;
        }
        self.trace.look()?;
        Ok(!self.done)
    }

    fn lost(&mut self) -> u64 {
        self.attached.lost.take()
    }
}

impl CountSource {
    fn report(&mut self, out: &mut Output) -> Result<()> {
        self.collect()?;
        self.collect_keys()?;
        let stats = self.trace.namespaces.stats();
        let counted = std::mem::take(&mut self.counted);
        self.done = !self.summary.report(counted, &stats, out);
        Ok(())
    }

    /// Adds up what was counted since it was last looked.
    fn collect(&mut self) -> Result<()> {
        let by = self.summary.by();
        for refused in left_over(&self.attached.skel)? {
            let tuple = of_tuple(&refused.tuple);
            let key = Key::of_flow(by, &tuple.flow);
            self.counted.add_key(key, Kind::Full, 1);
            self.counted.add(refused.netns, Kind::Full, 1);
            self.trace.count(refused.netns, Kind::Full, 1);
        }
        for (key, counts) in news(&self.attached.skel.maps.totals, &mut self.seen_totals)? {
            let netns = u32::from_ne_bytes(key.as_slice().try_into().unwrap_or_default());
            for kind in Kind::ALL {
                self.counted.add(netns, kind, of(&counts, kind));
                self.trace.count(netns, kind, of(&counts, kind));
            }
        }
        Ok(())
    }

    fn collect_keys(&mut self) -> Result<()> {
        let news = news(&self.attached.skel.maps.keys, &mut self.seen_keys)?;
        if self.seen_keys.len() > MANY_KEYS {
            let busy: HashSet<_> = news.iter().map(|(key, _)| key).collect();
            self.seen_keys.retain(|key, _| {
                // Gone already: as good.
                busy.contains(key) || self.attached.skel.maps.keys.delete(key).is_err()
            });
        }
        self.owners.look_again();
        for (key, counts) in news {
            let key = self.key(&decode::<ctsnoop_key>(&key)?.0)?;
            for kind in Kind::ALL {
                self.counted.add_key(key.clone(), kind, of(&counts, kind));
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &ctsnoop_key) -> Result<Key> {
        let name = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0);
            Key::Name(
                bytes
                    .get(..end.unwrap_or(bytes.len()))
                    .unwrap_or_default()
                    .to_vec(),
            )
        };
        Ok(match self.summary.by() {
            By::Port => Key::of_port(key.number as u16),
            By::Proto => Key::Proto(key.number as u8),
            By::Addr => Key::Addr(address(key.family as u16, &key.bytes)),
            By::State => State::of_number(key.number).map_or(Key::Unknown, Key::State),
            By::Cgroup => match self.owners.cgroup(key.number) {
                Some(path) => Key::Name(path.as_bytes().to_vec()),
                None if key.number != 0 => Key::Name(key.number.to_string().into_bytes()),
                None => Key::Unknown,
            },
            By::Comm if key.bytes != [0; 16] => name(&key.bytes),
            By::Comm => {
                let origin = Origin {
                    inode: key.number,
                    ..Origin::default()
                };
                match self.owners.complete(origin)?.owner {
                    Some(owner) => name(&owner.comm),
                    None => Key::Unknown,
                }
            }
        })
    }
}

/// By how much the counts of a map have grown since they were last seen.
fn news(map: &impl MapCore, seen: &mut HashMap<Vec<u8>, Counts>) -> Result<Vec<(Vec<u8>, Counts)>> {
    let mut news = Vec::new();
    for key in map.keys() {
        let Some(value) = map.lookup(&key, MapFlags::ANY)? else {
            continue;
        };
        let now = decode::<ctsnoop_counts>(&value)?.0.counts;
        let before = seen.insert(key.clone(), now).unwrap_or_default();
        if now != before {
            let mut grown = now;
            for (count, before) in grown.iter_mut().zip(before) {
                *count = count.saturating_sub(before);
            }
            news.push((key, grown));
        }
    }
    Ok(news)
}
