// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has carried how much since the last report.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use anyhow::{Context, Result};
use common::event::decode;
use common::flow::{Flow, HasFlow};
use common::hooks::Attached;
use common::maps::{entries, take};
use common::origin::{HasOrigin, Known, Origin, Owners, SOCKET_FILES};
use common::tcp_iter::Walk;
use common::{flow, origin};
use libbpf_rs::{RingBuffer, RingBufferBuilder};

use crate::Args;
use crate::skel::types::{tcptop_calls, tcptop_event, tcptop_key};
use crate::skel::{TcptopMaps, TcptopSkel};

/// A session, or one process's part in it.
#[derive(Clone, Debug)]
pub struct Row {
    pub flow: Flow,
    pub known: Known,
    /// Of the report.
    pub time: Rc<str>,
    pub sent: u64,
    pub received: u64,
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

/// Where the rows come from.
pub enum Bytes {
    Sockets(Sockets),
    Calls(Calls),
}

impl Bytes {
    pub fn new(attached: &mut Attached<TcptopSkel<'static>>, args: &Args) -> Result<Self> {
        let owners = Owners::new(attached.take_link(SOCKET_FILES))?;
        let walk = ["traffic_walk", "traffic_walk_hash"]
            .into_iter()
            .find_map(|program| attached.take_link(program));
        let Some(walk) = walk else {
            return Ok(Self::Calls(Calls {
                owners,
                last: HashMap::new(),
            }));
        };
        for program in [SOCKET_FILES, "traffic_walk", "traffic_walk_hash"] {
            attached.lost.without(program);
        }
        let mut walk = Walk::new(walk, args.net.inode());
        // What was carried until now is history.
        walk.read_traffic(&attached.skel.maps.walked)?;
        let records = Rc::new(RefCell::new(Vec::new()));
        let to = Rc::clone(&records);
        let mut ring = RingBufferBuilder::new();
        ring.add(&attached.skel.maps.events, move |record| {
            to.borrow_mut().extend_from_slice(record);
            0
        })?;
        Ok(Self::Sockets(Sockets {
            walk,
            ring: ring.build().context("map the ring buffer")?,
            records,
            ended: Vec::new(),
            owners,
            pid: args.pid,
        }))
    }

    /// Takes what sockets that have ended leave behind.
    pub fn drain(&mut self) -> Result<usize> {
        match self {
            Self::Sockets(sockets) => sockets.drain(),
            Self::Calls(_) => Ok(0),
        }
    }

    /// The next rows are the last: nobody will be known later.
    pub fn is_last(&mut self) {
        match self {
            Self::Sockets(sockets) => sockets.owners.look_again(),
            Self::Calls(_) => {}
        }
    }

    /// What was carried since the last time.
    pub fn take(&mut self, skel: &TcptopSkel<'_>) -> Result<Vec<Row>> {
        match self {
            Self::Sockets(sockets) => sockets.take(&skel.maps),
            Self::Calls(calls) => calls.take(&skel.maps),
        }
    }

    /// What of this host cannot be seen.
    pub fn unseen(&self) -> Option<String> {
        match self {
            Self::Sockets(sockets) => sockets.walk.unseen(),
            Self::Calls(_) => None,
        }
    }
}

/// By what the kernel itself counts for each socket.
pub struct Sockets {
    walk: Walk,
    ring: RingBuffer<'static>,
    /// Out of the ring.
    records: Rc<RefCell<Vec<u8>>>,
    /// Of sockets that have ended.
    ended: Vec<Row>,
    owners: Owners,
    /// `-p`
    pid: Option<u32>,
}

impl Sockets {
    fn drain(&mut self) -> Result<usize> {
        self.ring.consume().context("read the ring buffer")?;
        let records = self.records.take();
        let rows = self.rows(&records)?;
        let count = rows.len();
        self.ended.extend(rows);
        Ok(count)
    }

    fn take(&mut self, maps: &TcptopMaps<'_>) -> Result<Vec<Row>> {
        let records = self.walk.read_traffic(&maps.walked)?;
        let mut rows = self.rows(&records)?;
        // Those that have ended meanwhile as well.
        self.drain()?;
        rows.append(&mut self.ended);
        let mut merged = BTreeMap::new();
        for row in rows {
            let owner = row.known.owner.map(|owner| (owner.pid, owner.comm));
            merged
                .entry((row.flow, row.known.origin.netns, owner))
                .and_modify(|sum: &mut Row| {
                    sum.sent += row.sent;
                    sum.received += row.received;
                })
                .or_insert(row);
        }
        Ok(merged.into_values().collect())
    }

    fn rows(&mut self, mut records: &[u8]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while !records.is_empty() {
            let (event, rest) = decode::<tcptop_event>(records)?;
            records = rest;
            let known = self.owners.complete(origin!(event.origin))?;
            if self.pid.is_some() && self.pid != known.owner.map(|owner| owner.pid) {
                continue;
            }
            rows.push(Row {
                flow: flow!(event.flow),
                known,
                time: Rc::from(""),
                sent: event.sent,
                received: event.received,
            });
        }
        Ok(rows)
    }
}

/// By what the processes' calls have returned.
pub struct Calls {
    owners: Owners,
    /// Sent and received, by the kernel's key.
    last: HashMap<Vec<u8>, (u64, u64)>,
}

impl Calls {
    fn take(&mut self, maps: &TcptopMaps<'_>) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (bytes, value) in entries(&maps.calls)? {
            let (key, _) = decode::<tcptop_key>(&bytes)?;
            let (mut count, _) = decode::<tcptop_calls>(&value)?;
            let last = self.last.get(&bytes).copied().unwrap_or_default();
            if (count.sent, count.received) == last {
                // Without a call in a whole interval it makes room.
                self.last.remove(&bytes);
                // Unless there is one just now.
                if let Some(value) = take(&maps.calls, &bytes)? {
                    (count, _) = decode::<tcptop_calls>(&value)?;
                }
            } else {
                self.last.insert(bytes, (count.sent, count.received));
            }
            if (count.sent, count.received) == last {
                continue;
            }
            let origin = Origin {
                cookie: count.cookie,
                cgroup_id: count.cgroup_id,
                inode: 0,
                comm: key.comm,
                tgid: key.tgid,
                netns: key.netns,
            };
            rows.push(Row {
                flow: flow!(key.flow),
                known: self.owners.complete(origin)?,
                time: Rc::from(""),
                sent: count.sent.wrapping_sub(last.0),
                received: count.received.wrapping_sub(last.1),
            });
        }
        rows.sort_by_key(|row| row.flow);
        Ok(rows)
    }
}
