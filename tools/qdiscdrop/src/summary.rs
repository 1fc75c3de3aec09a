// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-c`: drops counted in the kernel, the most first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;

use anyhow::Result;
use clap::ValueEnum;
use common::columns::Format;
use common::drop_reason::DropReasons;
use common::escape::{c_bytes, printable};
use common::event::decode;
use common::maps::entries;
use common::origin::{Origin, Owners};
use common::time::{utc_now, wall_clock};
use serde_json::{Map, Value, json};

use crate::row::{flow_text, handle, ip_flow, place_name, proto_name, reason, text, why};
use crate::skel::QdiscdropMaps;
use crate::skel::types::{qdiscdrop_key, qdiscdrop_sum};
use crate::{Args, qdisc_text};

/// `--by`; the numbers are those of `enum by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    Flow = 1,
    Qdisc,
    Device,
    Cgroup,
    Process,
    Reason,
}

impl By {
    pub fn number(self) -> u8 {
        self as u8
    }

    fn name(self) -> &'static str {
        match self {
            By::Flow => "flow",
            By::Qdisc => "qdisc",
            By::Device => "device",
            By::Cgroup => "cgroup",
            By::Process => "process",
            By::Reason => "reason",
        }
    }

    fn header(self) -> String {
        match self {
            By::Flow => format!("{:<6} SADDR:SPORT > DADDR:DPORT", "PROTO"),
            By::Qdisc => format!("{:<8} QDISC", "DEV"),
            By::Device => "DEV".into(),
            By::Cgroup => "CGROUP".into(),
            By::Process => format!("{:<7} COMM", "PID"),
            By::Reason => "REASON".into(),
        }
    }
}

/// Reads the sums, and remembers them as they were last read.
pub struct Summary {
    by: By,
    top: usize,
    json: bool,
    owners: Owners,
    reasons: DropReasons,
    last: HashMap<Vec<u8>, (u64, u64)>,
}

/// A line of a report.
struct Line {
    text: String,
    json: Map<String, Value>,
    packets: u64,
    bytes: u64,
}

impl Summary {
    pub fn new(args: &Args, owners: Owners, reasons: DropReasons) -> Self {
        Self {
            by: args.by,
            top: args.top as usize,
            json: args.format() == Format::Json,
            owners,
            reasons,
            last: HashMap::new(),
        }
    }

    /// Writes what was counted since the last time.
    pub fn report(&mut self, maps: &QdiscdropMaps<'_>, out: &mut Vec<u8>) -> Result<()> {
        let lines = self.lines(maps)?;
        let packets: u64 = lines.iter().map(|line| line.packets).sum();
        let bytes: u64 = lines.iter().map(|line| line.bytes).sum();
        let hidden = lines.len().saturating_sub(self.top);
        // Writing to a Vec cannot fail.
        if self.json {
            let time = utc_now();
            for line in lines.into_iter().take(self.top) {
                let mut object = Map::new();
                object.insert("time".into(), time.as_str().into());
                object.insert("by".into(), self.by.name().into());
                object.insert("drops".into(), line.packets.into());
                object.insert("bytes".into(), line.bytes.into());
                object.extend(line.json);
                let _ = writeln!(out, "{}", Value::Object(object));
            }
            let total = json!({"time": time, "total": {
                "drops": packets, "bytes": bytes, "hidden": hidden}});
            let _ = writeln!(out, "{total}");
            return Ok(());
        }
        let _ = writeln!(out, "\n{} {packets} drops, {bytes} bytes", wall_clock());
        if packets > 0 {
            let _ = writeln!(out, "{:>9} {:>12} {}", "DROPS", "BYTES", self.by.header());
        }
        for line in lines.iter().take(self.top) {
            let _ = writeln!(out, "{:>9} {:>12} {}", line.packets, line.bytes, line.text);
        }
        if hidden > 0 {
            let _ = writeln!(out, "... and {hidden} more (--top)");
        }
        Ok(())
    }

    /// The most drops first.
    fn lines(&mut self, maps: &QdiscdropMaps<'_>) -> Result<Vec<Line>> {
        // Several keys may turn out to be the same process.
        let mut lines = BTreeMap::<String, Line>::new();
        for (bytes, value) in entries(&maps.sums)? {
            let (sum, _) = decode::<qdiscdrop_sum>(&value)?;
            let now = (sum.packets, sum.bytes);
            let (key, _) = decode::<qdiscdrop_key>(&bytes)?;
            let before = self.last.insert(bytes, now).unwrap_or_default();
            let packets = now.0.saturating_sub(before.0);
            if packets == 0 {
                continue;
            }
            let (text, json) = self.describe(&key)?;
            let identity = format!("{text} {}", Value::Object(json.clone()));
            let line = lines.entry(identity).or_insert(Line {
                text,
                json,
                packets: 0,
                bytes: 0,
            });
            line.packets += packets;
            line.bytes += now.1.saturating_sub(before.1);
        }
        let mut lines: Vec<_> = lines.into_values().collect();
        lines.sort_by_key(|line| Reverse(line.packets));
        Ok(lines)
    }

    fn describe(&mut self, key: &qdiscdrop_key) -> Result<(String, Map<String, Value>)> {
        let dev = text(&key.dev);
        let (shown, json) = match self.by {
            By::Flow => {
                let flow = ip_flow(&key.flow);
                let proto = proto_name(flow.as_ref(), key.ethertype);
                let port = |port: u16| (port != 0).then_some(port);
                (
                    format!("{proto:<6} {}", flow_text(flow.as_ref())),
                    json!({
                        "proto": proto,
                        "saddr": flow.map(|flow| flow.saddr.to_string()),
                        "sport": flow.and_then(|flow| port(flow.sport)),
                        "daddr": flow.map(|flow| flow.daddr.to_string()),
                        "dport": flow.and_then(|flow| port(flow.dport)),
                        "ethertype": format!("{:#x}", key.ethertype),
                        "vlan": port(key.vlan),
                        "netns": key.netns,
                    }),
                )
            }
            By::Qdisc => (
                format!("{dev:<8} {}", qdisc_text(&key.qdisc)),
                json!({
                    "dev": dev, "ifindex": key.ifindex, "netns": key.netns,
                    "qdisc": text(&key.qdisc.kind),
                    "handle": handle(key.qdisc.handle),
                    "class": (key.qdisc.class != 0).then(|| handle(key.qdisc.class)),
                    "leaf": (key.qdisc.class != 0).then(|| text(&key.qdisc.leaf_kind)),
                }),
            ),
            By::Device => (
                dev.clone(),
                json!({"dev": dev, "ifindex": key.ifindex, "netns": key.netns}),
            ),
            By::Cgroup => {
                let path = match key.cgroup_id {
                    0 => None,
                    id => self.owners.cgroup(id),
                };
                let shown = path.as_deref().map(|path| printable(path.as_bytes()));
                (
                    shown.map_or_else(|| "-".into(), |shown| shown.into_owned()),
                    json!({
                        "cgroup_id": (key.cgroup_id != 0).then_some(key.cgroup_id),
                        "cgroup": path.as_deref(),
                    }),
                )
            }
            By::Process => {
                let known = self.owners.complete(Origin {
                    cgroup_id: key.cgroup_id,
                    inode: key.inode,
                    tgid: key.tgid,
                    comm: key.comm,
                    ..Origin::default()
                })?;
                match known.owner {
                    None => ("-       -".into(), json!({"pid": null, "comm": null})),
                    Some(owner) => {
                        let comm = String::from_utf8_lossy(c_bytes(&owner.comm)).into_owned();
                        (
                            format!("{:<7} {}", owner.pid, printable(comm.as_bytes())),
                            json!({"pid": owner.pid, "comm": comm}),
                        )
                    }
                }
            }
            By::Reason => {
                let reason = reason(&mut self.reasons, key.reason);
                let policed = key.policed != 0;
                (
                    why(key.r#where, policed, reason.as_deref()),
                    json!({"where": place_name(key.r#where, policed), "reason": reason}),
                )
            }
        };
        match json {
            Value::Object(json) => Ok((shown, json)),
            _ => Ok((shown, Map::new())),
        }
    }
}
