// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event of the table, wherever it comes from, and its row.

use std::fmt::Write as _;
use std::net::IpAddr;

use common::columns::{Format, Table, Value, column, json_field};
use common::flow::Flow;
use common::net::protocol;
use common::origin::{HasOrigin, Known, add_place_fields, owner_comm, owner_pid};
use common::time::{EventClock, wall_clock};

/// `enum event_kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    New,
    Destroy,
    Full,
    EarlyDrop,
    InsertFailed,
}

pub const KINDS: usize = 5;

impl Kind {
    pub const ALL: [Self; KINDS] = [
        Self::New,
        Self::Destroy,
        Self::Full,
        Self::EarlyDrop,
        Self::InsertFailed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::New => "NEW",
            Self::Destroy => "DESTROY",
            Self::Full => "FULL",
            Self::EarlyDrop => "EARLY_DROP",
            Self::InsertFailed => "INSERT_FAILED",
        }
    }
}

/// What an entry is about, as one side sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    pub flow: Flow,
    pub icmp: Option<Icmp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    pub id: u16,
    pub kind: u8,
    pub code: u8,
}

impl Tuple {
    /// Whether `reply` is more than this the other way round: there is NAT.
    pub fn is_translated(&self, reply: &Self) -> bool {
        let (there, back) = (&self.flow, &reply.flow);
        (there.saddr, there.sport, there.daddr, there.dport)
            != (back.daddr, back.dport, back.saddr, back.sport)
            || self.icmp.map(|icmp| icmp.id) != reply.icmp.map(|icmp| icmp.id)
    }

    fn text(&self, separator: &str) -> String {
        let Flow {
            saddr,
            sport,
            daddr,
            dport,
            ..
        } = self.flow;
        let end = |addr: IpAddr, port: u16| match (addr, port) {
            (_, 0) => addr.to_string(),
            (IpAddr::V4(_), _) => format!("{addr}:{port}"),
            (IpAddr::V6(_), _) => format!("[{addr}]:{port}"),
        };
        format!("{}{separator}{}", end(saddr, sport), end(daddr, dport))
    }
}

/// Something has happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Monotonic clock.
    pub ts_ns: u64,
    pub kind: Kind,
    /// None: the kernel gives just the number of such events.
    pub tuple: Option<Tuple>,
    pub reply: Option<Tuple>,
    pub zone: u16,
    pub status: u32,
    pub tcp_state: Option<u8>,
    pub age_ns: Option<u64>,
    /// Packets and bytes, both directions.
    pub counters: Option<(u64, u64)>,
    pub count: u64,
}

/// `enum tcp_conntrack` (`include/uapi/linux/netfilter/nf_conntrack_tcp.h`).
pub fn tcp_state(state: u8) -> std::borrow::Cow<'static, str> {
    const NAMES: [&str; 10] = [
        "NONE",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT",
        "CLOSE_WAIT",
        "LAST_ACK",
        "TIME_WAIT",
        "CLOSE",
        "SYN_SENT2",
    ];
    NAMES
        .get(usize::from(state))
        .map_or_else(|| state.to_string().into(), |name| (*name).into())
}

/// `include/uapi/linux/netfilter/nf_conntrack_common.h`
pub const IPS_SEEN_REPLY: u32 = 1 << 1;
pub const IPS_ASSURED: u32 = 1 << 2;

/// An event as it is shown.
pub struct Row {
    pub event: Event,
    pub known: Known,
    pub clock: EventClock,
}

impl HasOrigin for Row {
    fn known(&self) -> &Known {
        &self.known
    }
}

impl Row {
    /// The reply's tuple when it is not the inverse.
    fn translated(&self) -> Option<&Tuple> {
        let reply = self.event.reply.as_ref()?;
        self.event.tuple?.is_translated(reply).then_some(reply)
    }

    /// The flow, and what else there is to tell.
    fn text(&self) -> String {
        let event = &self.event;
        let mut text = match &event.tuple {
            Some(tuple) => tuple.text(" > "),
            None => format!("- count={}", event.count),
        };
        // Writing to a String cannot fail.
        if let Some(icmp) = event.tuple.and_then(|tuple| tuple.icmp) {
            let _ = write!(
                text,
                " type={} code={} id={}",
                icmp.kind, icmp.code, icmp.id
            );
        }
        if let Some(reply) = self.translated() {
            let _ = write!(text, " reply={}", reply.text(">"));
        }
        if event.zone != 0 {
            let _ = write!(text, " zone={}", event.zone);
        }
        if let Some(age) = event.age_ns {
            let _ = write!(text, " age_ms={:.3}", age as f64 / 1e6);
        }
        if let Some((packets, bytes)) = event.counters {
            let _ = write!(text, " packets={packets} bytes={bytes}");
        }
        text
    }
}

fn number<T: Into<u64>>(value: Option<T>) -> Value<'static> {
    value.map_or(Value::Missing, |value| Value::Uint(value.into()))
}

pub fn table(format: Format) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(column("TIME", |_: &Row| wall_clock().into()).left(8))
        .add(json_field("time", |row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(
            column("PID", |row: &Row| owner_pid(row.known.owner.as_ref()))
                .left(7)
                .key("pid"),
        )
        .add(
            column("COMM", |row: &Row| owner_comm(row.known.owner.as_ref()))
                .left(16)
                .key("comm"),
        )
        .add(
            column("EVENT", |row: &Row| row.event.kind.name().into())
                .left(13)
                .key("event"),
        )
        .add(
            column("PROTO", |row: &Row| match &row.event.tuple {
                Some(tuple) => Value::Str(protocol(tuple.flow.proto)),
                None => Value::Unknown,
            })
            .left(6)
            .key("proto"),
        )
        .add(column("SADDR:SPORT > DADDR:DPORT", |row: &Row| {
            row.text().into()
        }));
    add_tuple_fields(&mut table);
    table
        .add(json_field("zone", |row| Value::Uint(row.event.zone.into())))
        .add(json_field("state", |row| match row.event.tcp_state {
            Some(state) => Value::Str(tcp_state(state)),
            None => Value::Missing,
        }))
        .add(json_field("replied", |row| {
            Value::Bool(row.event.status & IPS_SEEN_REPLY != 0)
        }))
        .add(json_field("assured", |row| {
            Value::Bool(row.event.status & IPS_ASSURED != 0)
        }))
        .add(json_field("age_ms", |row| {
            row.event.age_ns.map_or(Value::Missing, |age| Value::Fixed {
                value: age as f64 / 1e6,
                decimals: 3,
            })
        }))
        .add(json_field("packets", |row| {
            number(row.event.counters.map(|(packets, _)| packets))
        }))
        .add(json_field("bytes", |row| {
            number(row.event.counters.map(|(_, bytes)| bytes))
        }))
        .add(json_field("count", |row| Value::Uint(row.event.count)));
    add_place_fields(&mut table);
    table
}

fn add_tuple_fields(table: &mut Table<Row>) {
    fn flow(row: &Row) -> Option<Flow> {
        Some(row.event.tuple?.flow)
    }
    fn reply(row: &Row) -> Option<Flow> {
        Some(row.event.reply?.flow)
    }
    fn icmp(row: &Row) -> Option<Icmp> {
        row.event.tuple?.icmp
    }
    fn ip(addr: Option<IpAddr>) -> Value<'static> {
        addr.map_or(Value::Missing, Value::Ip)
    }
    table
        .add(json_field("ip", |row| {
            number(flow(row).map(|flow| flow.ip_version()))
        }))
        .add(json_field("saddr", |row| {
            ip(flow(row).map(|flow| flow.saddr))
        }))
        .add(json_field("sport", |row| {
            number(flow(row).map(|flow| flow.sport))
        }))
        .add(json_field("daddr", |row| {
            ip(flow(row).map(|flow| flow.daddr))
        }))
        .add(json_field("dport", |row| {
            number(flow(row).map(|flow| flow.dport))
        }))
        .add(json_field("nat", |row| {
            Value::Bool(row.translated().is_some())
        }))
        .add(json_field("reply_saddr", |row| {
            ip(reply(row).map(|flow| flow.saddr))
        }))
        .add(json_field("reply_sport", |row| {
            number(reply(row).map(|flow| flow.sport))
        }))
        .add(json_field("reply_daddr", |row| {
            ip(reply(row).map(|flow| flow.daddr))
        }))
        .add(json_field("reply_dport", |row| {
            number(reply(row).map(|flow| flow.dport))
        }))
        .add(json_field("icmp_type", |row| {
            number(icmp(row).map(|icmp| icmp.kind))
        }))
        .add(json_field("icmp_code", |row| {
            number(icmp(row).map(|icmp| icmp.code))
        }))
        .add(json_field("icmp_id", |row| {
            number(icmp(row).map(|icmp| icmp.id))
        }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(saddr: &str, sport: u16, daddr: &str, dport: u16) -> Tuple {
        Tuple {
            flow: Flow {
                saddr: saddr.parse().unwrap(),
                daddr: daddr.parse().unwrap(),
                sport,
                dport,
                proto: 6,
            },
            icmp: None,
        }
    }

    #[test]
    fn a_reply_that_is_not_the_inverse_is_translated() {
        let there = tuple("10.0.0.1", 1000, "10.0.0.2", 80);
        assert!(!there.is_translated(&tuple("10.0.0.2", 80, "10.0.0.1", 1000)));
        assert!(there.is_translated(&tuple("10.0.0.3", 80, "10.0.0.1", 1000)));
        assert!(there.is_translated(&tuple("10.0.0.2", 80, "10.0.0.1", 1001)));
    }

    #[test]
    fn ports_are_told_apart_from_addresses() {
        assert_eq!(
            tuple("10.0.0.1", 1000, "10.0.0.2", 80).text(" > "),
            "10.0.0.1:1000 > 10.0.0.2:80"
        );
        assert_eq!(tuple("::1", 7, "fd77::2", 0).text(">"), "[::1]:7>fd77::2");
    }
}
