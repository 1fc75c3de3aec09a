// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table's events over netlink, where the kernel's functions may not be
//! traced. They tell of entries that come and go; not of what is refused, nor
//! whose an entry is. The constants are those of
//! `include/uapi/linux/netfilter/nfnetlink*.h`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use common::error::errno;
use common::flow::Flow;
use common::netlink::{Message, Netlink, attributes};
use common::netns;
use netlink_packet_core::NetlinkPayload;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::kernel::events_are_off;
use crate::row::{Event, Icmp, Kind, Tuple};

const NFNLGRP_CONNTRACK_NEW: u32 = 1;
const NFNLGRP_CONNTRACK_DESTROY: u32 = 3;

/// Message types: the subsystem (ctnetlink) and the message.
const CT_NEW: u16 = 1 << 8;
const CT_DELETE: u16 = 1 << 8 | 2;
const CT_GET_STATS_CPU: u16 = 1 << 8 | 4;
/// `struct nfgenmsg`
const HEADER: usize = 4;

/// Room for some ten thousand events between two looks.
const RECEIVE_BUFFER: usize = 16 << 20;
/// An event's time is when it was read: shorter ages are not known.
const RESOLUTION_NS: u64 = 50_000_000;
/// Messages that are taken from one socket in a row.
const BATCH: usize = 4096;
/// Entries whose beginning is remembered, for their age.
const MAX_BEGINNINGS: usize = 1 << 18;

/// Sockets that listen, one per namespace.
pub struct Listeners {
    sockets: BTreeMap<u32, Netlink>,
    want_destroy: bool,
    beginnings: HashMap<(u32, Id), u64>,
    /// How often a socket's buffer has overflowed.
    overflows: u64,
}

/// The kernel's number of an entry; it may be given to another one later.
type Id = u32;

impl Listeners {
    pub fn new(want_destroy: bool) -> Self {
        Self {
            sockets: BTreeMap::new(),
            want_destroy,
            beginnings: HashMap::new(),
            overflows: 0,
        }
    }

    /// Listens in a namespace. Something to tell, if there is.
    pub fn add(&mut self, inode: u32, namespace: &File) -> Result<Option<String>> {
        let want_destroy = self.want_destroy;
        let (socket, off) =
            netns::within(namespace, || Ok((listen(want_destroy)?, events_are_off())))
                .with_context(|| format!("netns {inode}"))?;
        self.sockets.insert(inode, socket);
        Ok(off.then(|| {
            format!("netns {inode}: the kernel makes no events here; sysctl net.netfilter.nf_conntrack_events=1")
        }))
    }

    pub fn has(&self, inode: u32) -> bool {
        self.sockets.contains_key(&inode)
    }

    /// Lets go of the namespaces that are not `wanted` any more: a socket keeps
    /// its namespace alive.
    pub fn retain(&mut self, wanted: impl Fn(u32) -> bool) {
        self.sockets.retain(|inode, _| wanted(*inode));
        self.beginnings.retain(|(inode, _), _| wanted(*inode));
    }

    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// How often events were lost since this was last asked; each time, nobody
    /// knows how many.
    pub fn take_overflows(&mut self) -> u64 {
        std::mem::take(&mut self.overflows)
    }

    /// Gives what has come, with the namespace.
    pub fn drain(&mut self, now_ns: u64, mut take: impl FnMut(u32, Event)) -> Result<usize> {
        let mut taken = 0;
        for (inode, socket) in &mut self.sockets {
            for _ in 0..BATCH {
                let messages = match socket.receive() {
                    Ok(messages) => messages,
                    Err(error) => match errno(error.as_ref()) {
                        Some(libc::EAGAIN) => break,
                        Some(libc::ENOBUFS) => {
                            self.overflows += 1;
                            continue;
                        }
                        Some(libc::EINTR) => continue,
                        _ => return Err(error),
                    },
                };
                for message in messages {
                    let NetlinkPayload::InnerMessage(message) = message.payload else {
                        continue;
                    };
                    let kind = match message.kind {
                        CT_NEW => Kind::New,
                        CT_DELETE => Kind::Destroy,
                        _ => continue,
                    };
                    let body = message.bytes.get(HEADER..).unwrap_or_default();
                    let Some((mut event, id)) = decode(kind, body, now_ns) else {
                        continue;
                    };
                    taken += 1;
                    if self.want_destroy {
                        let key = (*inode, id);
                        match kind {
                            Kind::New if self.beginnings.len() < MAX_BEGINNINGS => {
                                self.beginnings.insert(key, now_ns);
                            }
                            Kind::Destroy => {
                                let began = self.beginnings.remove(&key);
                                event.age_ns = event.age_ns.or_else(|| {
                                    let age = now_ns.saturating_sub(began?);
                                    (age >= RESOLUTION_NS).then_some(age)
                                });
                            }
                            _ => {}
                        }
                    }
                    take(*inode, event);
                }
            }
        }
        Ok(taken)
    }
}

/// A socket in the namespace of the calling thread.
fn listen(want_destroy: bool) -> Result<Netlink> {
    let mut netlink = Netlink::new(libc::NETLINK_NETFILTER)?;
    // A request waits until the kernel has loaded nf_conntrack_netlink, who
    // joins a group does not: the first events would be missed.
    let request = Message {
        kind: CT_GET_STATS_CPU,
        bytes: vec![0; HEADER],
    };
    netlink
        .dump(&request)
        .context("ask ctnetlink (nf_conntrack_netlink, CAP_NET_ADMIN)")?;
    let socket = netlink.socket();
    setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER)
        .context("listen for conntrack events (CAP_NET_ADMIN)")?;
    socket.set_non_blocking(true).context("netlink socket")?;
    for group in [NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_DESTROY] {
        if group == NFNLGRP_CONNTRACK_NEW || want_destroy {
            socket
                .add_membership(group)
                .context("listen for conntrack events")?;
        }
    }
    Ok(netlink)
}

/// Type and value of the attributes in `bytes`.
struct Attributes(Vec<(u16, Vec<u8>)>);

impl Attributes {
    fn of(bytes: &[u8]) -> Self {
        Self(attributes(bytes).collect())
    }

    fn get(&self, kind: u16) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(found, _)| *found == kind)
            .map(|(_, value)| value.as_slice())
    }

    fn nested(&self, kind: u16) -> Option<Self> {
        self.get(kind).map(Self::of)
    }

    fn u8(&self, kind: u16) -> Option<u8> {
        self.get(kind)?.first().copied()
    }

    fn u16(&self, kind: u16) -> Option<u16> {
        Some(u16::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    fn u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    fn u64(&self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }
}

fn decode(kind: Kind, body: &[u8], now_ns: u64) -> Option<(Event, Id)> {
    // CTA_*
    let entry = Attributes::of(body);
    let original = entry.nested(1)?;
    let counters = |kind| -> Option<(u64, u64)> {
        let counters = entry.nested(kind)?;
        Some((counters.u64(1)?, counters.u64(2)?))
    };
    let age_ns = entry.nested(20).and_then(|stamps| {
        let (start, stop) = (stamps.u64(1)?, stamps.u64(2)?);
        stop.checked_sub(start)
    });
    let tcp_state = entry
        .nested(4)
        .and_then(|protocol| protocol.nested(1)?.u8(1));
    let event = Event {
        ts_ns: now_ns,
        kind,
        tuple: Some(tuple(&original)?),
        reply: entry.nested(2).and_then(|reply| tuple(&reply)),
        // Of the entry; or just of one direction.
        zone: entry.u16(18).or_else(|| original.u16(3)).unwrap_or(0),
        status: entry.u32(3).unwrap_or(0),
        tcp_state,
        age_ns,
        counters: match (counters(9), counters(10)) {
            (Some((packets, bytes)), Some((more, further))) => {
                Some((packets + more, bytes + further))
            }
            (one, other) => one.or(other),
        },
        count: 1,
    };
    Some((event, entry.u32(12).unwrap_or(0)))
}

fn tuple(attributes: &Attributes) -> Option<Tuple> {
    // CTA_TUPLE_*, CTA_IP_*, CTA_PROTO_*
    let (ip, proto) = (attributes.nested(1)?, attributes.nested(2)?);
    let addr = |v4: u16, v6: u16| -> Option<IpAddr> {
        match ip.get(v4) {
            Some(bytes) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            None => Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(v6)?).ok()?).into()),
        }
    };
    let icmp = |id, kind, code| -> Option<Icmp> {
        Some(Icmp {
            id: proto.u16(id)?,
            kind: proto.u8(kind)?,
            code: proto.u8(code)?,
        })
    };
    Some(Tuple {
        flow: Flow {
            saddr: addr(1, 3)?,
            daddr: addr(2, 4)?,
            sport: proto.u16(2).unwrap_or(0),
            dport: proto.u16(3).unwrap_or(0),
            proto: proto.u8(1)?,
        },
        icmp: icmp(4, 5, 6).or_else(|| icmp(7, 8, 9)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute with its padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
        attribute(kind | 0x8000, &parts.concat())
    }

    fn tcp(kind: u16, from: [u8; 4], sport: u16, to: [u8; 4], dport: u16) -> Vec<u8> {
        let ip = nested(1, &[attribute(1, &from), attribute(2, &to)]);
        let proto = nested(
            2,
            &[
                attribute(1, &[6]),
                attribute(2, &sport.to_be_bytes()),
                attribute(3, &dport.to_be_bytes()),
            ],
        );
        nested(kind, &[ip, proto])
    }

    #[test]
    fn an_entry_is_decoded() {
        let counters = |kind, packets: u64, bytes: u64| {
            nested(
                kind,
                &[
                    attribute(1, &packets.to_be_bytes()),
                    attribute(2, &bytes.to_be_bytes()),
                ],
            )
        };
        let body = [
            tcp(1, [10, 0, 0, 1], 1000, [10, 0, 0, 2], 80),
            tcp(2, [10, 0, 0, 3], 8080, [10, 0, 0, 1], 1000),
            attribute(3, &0x18e_u32.to_be_bytes()),
            nested(4, &[nested(1, &[attribute(1, &[7])])]),
            counters(9, 5, 500),
            counters(10, 3, 300),
            attribute(12, &77u32.to_be_bytes()),
            attribute(18, &9u16.to_be_bytes()),
            attribute(999, &[1, 2, 3]),
        ]
        .concat();
        let (event, id) = decode(Kind::Destroy, &body, 5).unwrap();
        assert_eq!(id, 77);
        assert_eq!(event.zone, 9);
        assert_eq!(event.counters, Some((8, 800)));
        assert_eq!(event.tcp_state, Some(7));
        let tuple = event.tuple.unwrap();
        assert_eq!(tuple.flow.saddr.to_string(), "10.0.0.1");
        assert_eq!((tuple.flow.sport, tuple.flow.dport), (1000, 80));
        assert!(tuple.is_translated(&event.reply.unwrap()));
        // Cut off anywhere, it is no panic.
        for end in 0..body.len() {
            let _ = decode(Kind::New, &body[..end], 5);
        }
    }
}
