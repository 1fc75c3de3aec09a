// SPDX-License-Identifier: MIT OR Apache-2.0
//! The qdiscs' own counts of drops, as `tc -s` shows them, beside what was
//! traced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use anyhow::{Context, Result};
use common::columns::Format;
use common::escape::{c_bytes, printable};
use common::event::decode;
use common::netlink::{Message, Netlink, attributes};
use common::netns;
use common::time::utc_now;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::Args;
use crate::row::handle;
use crate::skel::QdiscdropMaps;
use crate::skel::types::qdiscdrop_place;

/// Parents of the qdiscs that count for all below them (linux/pkt_sched.h).
const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_H_INGRESS: u32 = 0xffff_fff1;
const TCA_KIND: u16 = 1;
const TCA_STATS2: u16 = 7;
const TCA_DUMP_INVISIBLE: u16 = 10;
/// In TCA_STATS2: struct gnet_stats_queue, whose third word is the drops.
const TCA_STATS_QUEUE: u16 = 3;
const DROPS: usize = 8;

/// Namespace, device, and whether the filters of clsact or ingress; else root.
type Place = (u32, u32, bool);

/// A qdisc as netlink lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Qdisc {
    netns: u32,
    ifindex: u32,
    handle: u32,
    parent: u32,
    kind: String,
    drops: u32,
}

impl Qdisc {
    /// Of one that counts for all below it.
    fn place(&self) -> Option<Place> {
        match self.parent {
            TC_H_ROOT => Some((self.netns, self.ifindex, false)),
            TC_H_INGRESS => Some((self.netns, self.ifindex, true)),
            _ => None,
        }
    }
}

/// Compares intervals.
pub struct Comparison {
    netns: u32,
    device: Option<String>,
    hides: bool,
    json: bool,
    traced: MapHandle,
    last: Reading,
}

#[derive(Default)]
struct Reading {
    qdiscs: Vec<Qdisc>,
    names: BTreeMap<(u32, u32), String>,
    /// Before and after the counters were read.
    traced: BTreeMap<Place, (u64, u64)>,
    uncounted: u64,
}

impl Comparison {
    pub fn begin(args: &Args, maps: &QdiscdropMaps<'_>) -> Result<Self> {
        let mut comparison = Self {
            netns: args.net.inode(),
            device: args.interface.clone(),
            hides: args.hides(),
            json: args.format() == Format::Json,
            traced: MapHandle::try_from(&maps.traced).context("map traced")?,
            last: Reading::default(),
        };
        comparison.last = comparison.read()?;
        // What was dropped in classes before now.
        for qdisc in &comparison.last.qdiscs {
            if qdisc.drops > 0 && qdisc.place().is_none() {
                let key: Vec<u8> = [qdisc.netns, qdisc.ifindex, qdisc.handle, qdisc.parent]
                    .iter()
                    .flat_map(|word| word.to_ne_bytes())
                    .collect();
                maps.leaf_drops
                    .update(&key, &qdisc.drops.to_ne_bytes(), MapFlags::NO_EXIST)
                    .ok(); // it has dropped again already
            }
        }
        Ok(comparison)
    }

    /// Says on stderr, and in JSON also on stdout, how many drops the qdiscs have
    /// counted since the last time, and how many were traced.
    pub fn tell(&mut self, tool: &str, out: &mut Vec<u8>) -> Result<()> {
        let now = self.read()?;
        let result = compare(&self.last, &now);
        self.last = now;
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "{tool}: {}", result.text(self.hides));
        if self.json {
            let object = serde_json::json!({
                "time": utc_now(),
                "qdisc_counters": {
                    "dropped": result.dropped,
                    "traced": result.traced,
                    "equal": result.differing.is_empty(),
                    "uncounted": result.uncounted,
                    "gone": result.gone,
                    "differing": result.differing.iter().map(|one| serde_json::json!({
                        "netns": one.netns, "dev": one.dev, "qdisc": one.qdisc,
                        "dropped": one.dropped, "traced": one.traced,
                    })).collect::<Vec<_>>(),
                },
            });
            // A Vec takes everything.
            let _ = writeln!(out, "{object}");
        }
        Ok(())
    }

    fn read(&self) -> Result<Reading> {
        let before = self.traced()?;
        let mut reading = Reading::default();
        for (inode, file) in netns::all() {
            if self.netns != 0 && self.netns != inode {
                continue;
            }
            // A namespace may be gone by now.
            if let Ok((qdiscs, names)) = list(inode, &file) {
                reading.qdiscs.extend(qdiscs);
                reading.names.extend(
                    names
                        .into_iter()
                        .map(|(index, name)| ((inode, index), name)),
                );
            }
        }
        if let Some(device) = &self.device {
            reading.names.retain(|_, name| name == device);
            let names = &reading.names;
            reading
                .qdiscs
                .retain(|qdisc| names.contains_key(&(qdisc.netns, qdisc.ifindex)));
        }
        for ((netns, ifindex, filters, counted), after) in self.traced()? {
            if !counted {
                reading.uncounted += after;
                continue;
            }
            let before = before
                .get(&(netns, ifindex, filters, counted))
                .copied()
                .unwrap_or(0);
            reading
                .traced
                .insert((netns, ifindex, filters), (before, after));
        }
        Ok(reading)
    }

    /// By place, and whether a qdisc counts it.
    fn traced(&self) -> Result<BTreeMap<(u32, u32, bool, bool), u64>> {
        let mut traced = BTreeMap::new();
        for key in self.traced.keys() {
            let (place, _) = decode::<qdiscdrop_place>(&key)?;
            let value = self
                .traced
                .lookup(&key, MapFlags::ANY)
                .context("read map: traced")?;
            let count = value
                .as_deref()
                .and_then(|bytes| bytes.first_chunk())
                .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            traced.insert(
                (
                    place.netns,
                    place.ifindex,
                    place.filters != 0,
                    place.counted != 0,
                ),
                count,
            );
        }
        Ok(traced)
    }
}

type Listed = (Vec<Qdisc>, BTreeMap<u32, String>);

/// The qdiscs and the devices of a namespace.
fn list(inode: u32, file: &File) -> Result<Listed> {
    netns::within(file, || {
        let mut netlink = Netlink::new(libc::NETLINK_ROUTE)?;
        let mut request = vec![0; 20]; // struct tcmsg: all devices
        request.extend(4u16.to_ne_bytes());
        request.extend(TCA_DUMP_INVISIBLE.to_ne_bytes());
        let qdiscs = netlink
            .dump(&Message {
                kind: libc::RTM_GETQDISC,
                bytes: request,
            })?
            .iter()
            .filter_map(|message| decode_qdisc(inode, &message.bytes))
            .collect();
        let names = netlink
            .dump(&Message {
                kind: libc::RTM_GETLINK,
                bytes: vec![0; 16], // struct ifinfomsg
            })?
            .iter()
            .filter_map(|message| decode_link(&message.bytes))
            .collect();
        Ok((qdiscs, names))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn text(bytes: &[u8]) -> String {
    printable(c_bytes(bytes)).into_owned()
}

/// struct tcmsg (family, index, handle, parent, info) and attributes.
fn decode_qdisc(netns: u32, bytes: &[u8]) -> Option<Qdisc> {
    let mut qdisc = Qdisc {
        netns,
        ifindex: word(bytes, 4)?,
        handle: word(bytes, 8)?,
        parent: word(bytes, 12)?,
        kind: String::new(),
        drops: 0,
    };
    for (kind, value) in attributes(bytes.get(20..)?) {
        match kind {
            TCA_KIND => qdisc.kind = text(&value),
            TCA_STATS2 => {
                let queue = attributes(&value).find(|(kind, _)| *kind == TCA_STATS_QUEUE);
                qdisc.drops = queue
                    .and_then(|(_, value)| word(&value, DROPS))
                    .unwrap_or(0);
            }
            _ => {}
        }
    }
    Some(qdisc)
}

/// struct ifinfomsg, whose second word is the index, and attributes.
fn decode_link(bytes: &[u8]) -> Option<(u32, String)> {
    let (_, name) = attributes(bytes.get(16..)?).find(|(kind, _)| *kind == libc::IFLA_IFNAME)?;
    Some((word(bytes, 4)?, text(&name)))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    dropped: u64,
    traced: u64,
    /// Dropped by what counts nothing.
    uncounted: u64,
    /// Traced where there is no qdisc any more.
    gone: u64,
    differing: Vec<Differing>,
}

#[derive(Debug, PartialEq, Eq)]
struct Differing {
    netns: u32,
    dev: String,
    qdisc: String,
    dropped: u64,
    traced: u64,
}

fn compare(last: &Reading, now: &Reading) -> Compared {
    let mut result = Compared {
        uncounted: now.uncounted.saturating_sub(last.uncounted),
        ..Compared::default()
    };
    let mut places = BTreeMap::<Place, (u64, String)>::new();
    for qdisc in &now.qdiscs {
        let Some(place) = qdisc.place() else {
            continue;
        };
        let before = last.qdiscs.iter().find(|old| {
            (old.netns, old.ifindex, old.handle, old.parent, &old.kind)
                == (
                    qdisc.netns,
                    qdisc.ifindex,
                    qdisc.handle,
                    qdisc.parent,
                    &qdisc.kind,
                )
        });
        // A new one with an old one's name begins at 0.
        let before = before.map_or(0, |old| old.drops);
        let grown = qdisc.drops.checked_sub(before).unwrap_or(qdisc.drops);
        let name = format!("{} {}", qdisc.kind, handle(qdisc.handle));
        places.insert(place, (grown.into(), name));
    }
    for (place, (dropped, qdisc)) in &places {
        let (low, high) = now.traced.get(place).copied().unwrap_or_default();
        let (old_low, old_high) = last.traced.get(place).copied().unwrap_or_default();
        // Packets may be dropped while counters are read.
        let (least, most) = (low.saturating_sub(old_high), high.saturating_sub(old_low));
        let traced = (*dropped).clamp(least, most.max(least));
        result.dropped += dropped;
        result.traced += traced;
        if traced != *dropped {
            let dev = now.names.get(&(place.0, place.1));
            result.differing.push(Differing {
                netns: place.0,
                dev: dev.cloned().unwrap_or_default(),
                qdisc: qdisc.clone(),
                dropped: *dropped,
                traced,
            });
        }
    }
    for (place, (_, high)) in &now.traced {
        if !places.contains_key(place) {
            let (_, old) = last.traced.get(place).copied().unwrap_or_default();
            result.gone += high.saturating_sub(old);
        }
    }
    result
}

/// Why the two may differ, in the order of likelihood.
const REASONS: &str = "the qdisc was replaced, reset or emptied, a packet was stolen or dropped by hardware, or what drops is no qdisc (a BPF program of tcx)";

impl Compared {
    fn text(&self, hides: bool) -> String {
        let mut text = format!(
            "qdisc counters: {} dropped, traced: {}",
            self.dropped, self.traced
        );
        if hides {
            text += " before the filters";
        }
        if self.uncounted > 0 {
            text += &format!(
                "; {} more that no qdisc counts (no carrier, or a burst)",
                self.uncounted
            );
        }
        if self.gone > 0 {
            text += &format!(
                "; {} more of qdiscs, devices or namespaces that are gone or have no name",
                self.gone
            );
        }
        for (index, one) in self.differing.iter().take(SHOWN).enumerate() {
            text += &format!(
                "{} {} {}: {} dropped, traced {}",
                if index == 0 { "; they differ:" } else { "," },
                one.dev,
                one.qdisc,
                one.dropped,
                one.traced
            );
        }
        if let Some(more @ 1..) = self.differing.len().checked_sub(SHOWN) {
            text += &format!(", and {more} more");
        }
        if !self.differing.is_empty() {
            text += &format!(" ({REASONS})");
        }
        text
    }
}

/// Qdiscs that differ, at most.
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn qdisc(ifindex: u32, parent: u32, drops: u32) -> Qdisc {
        Qdisc {
            netns: 1,
            ifindex,
            handle: 0x8001_0000,
            parent,
            kind: "tbf".into(),
            drops,
        }
    }

    fn reading(qdiscs: &[Qdisc], traced: &[(Place, (u64, u64))]) -> Reading {
        Reading {
            qdiscs: qdiscs.to_vec(),
            traced: traced.iter().copied().collect(),
            names: [((1, 2), "eth0".to_owned())].into(),
            uncounted: 0,
        }
    }

    #[test]
    fn roots_and_filters_are_compared_and_children_are_not() {
        let before = reading(&[qdisc(2, TC_H_ROOT, 10)], &[]);
        let after = reading(
            &[
                qdisc(2, TC_H_ROOT, 205),
                qdisc(2, 0x8001_0001, 195),
                qdisc(2, TC_H_INGRESS, 4),
            ],
            &[((1, 2, false), (195, 195)), ((1, 2, true), (4, 4))],
        );
        let result = compare(&before, &after);
        assert_eq!((result.dropped, result.traced), (199, 199));
        assert_eq!(
            result.text(false),
            "qdisc counters: 199 dropped, traced: 199"
        );
    }

    #[test]
    fn differences_are_told() {
        let after = reading(
            &[qdisc(2, TC_H_ROOT, 5)],
            &[((1, 2, false), (3, 3)), ((1, 9, false), (7, 7))],
        );
        let result = compare(&Reading::default(), &after);
        assert_eq!((result.dropped, result.traced, result.gone), (5, 3, 7));
        let text = result.text(true);
        assert!(
            text.contains("they differ: eth0 tbf 8001:: 5 dropped, traced 3"),
            "{text}"
        );
    }

    #[test]
    fn drops_while_counters_are_read_are_no_difference() {
        let before = reading(&[qdisc(2, TC_H_ROOT, 10)], &[((1, 2, false), (9, 11))]);
        let after = reading(&[qdisc(2, TC_H_ROOT, 20)], &[((1, 2, false), (19, 22))]);
        let result = compare(&before, &after);
        assert_eq!((result.dropped, result.traced), (10, 10));
        assert!(result.differing.is_empty());
    }

    #[test]
    fn a_new_qdisc_of_the_same_name_begins_at_nothing() {
        let before = reading(&[qdisc(2, TC_H_ROOT, 100)], &[]);
        let after = reading(&[qdisc(2, TC_H_ROOT, 5)], &[((1, 2, false), (5, 5))]);
        assert_eq!(compare(&before, &after).dropped, 5);
    }
}
