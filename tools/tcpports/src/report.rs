// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows: of a report, and of a call that has failed.

use std::net::SocketAddr;
use std::rc::Rc;

use common::columns::{Format, Table, Value, column, json_field};
use common::escape::{c_bytes, printable};
use common::flow::Flow;
use common::time::{EventClock, utc_now, wall_clock};
use nix::errno::Errno;

use crate::By;
use crate::count::{Key, Use, Whose};
use crate::settings::Ports;
use crate::skel::types::tcpports_failure;
use crate::socket::Class;

/// One key's numbers in a report.
pub struct Row {
    pub by: By,
    pub key: Key,
    pub comm: Option<[u8; 16]>,
    pub cgroup: Option<Rc<str>>,
    pub ports: Rc<Ports>,
    pub now: Use,
    /// Ports in use at the last report.
    pub before: u32,
    pub uses: u64,
    pub failed: u64,
    /// Since the last report.
    pub seconds: f64,
}

impl Row {
    pub fn percent(&self) -> f64 {
        f64::from(self.now.used) * 100.0 / f64::from(self.ports.count.max(1))
    }

    fn class(&self, class: Class) -> Value<'_> {
        let count = self.now.classes.get(class as usize);
        Value::Uint(count.copied().unwrap_or_default().into())
    }

    fn per_second(&self, count: i64) -> Value<'_> {
        Value::Fixed {
            value: count.max(0) as f64 / self.seconds,
            decimals: 1,
        }
    }

    /// What was taken less what more is in use now.
    fn freed(&self) -> i64 {
        whole(self.uses) - (i64::from(self.now.used) - i64::from(self.before))
    }

    /// Seconds until no port is left, if it goes on like this.
    fn left(&self) -> Option<f64> {
        let left = self.ports.count.saturating_sub(self.now.used);
        let growth = i64::from(self.now.used) - i64::from(self.before);
        match (left, growth) {
            (0, _) => Some(0.0),
            (_, ..=0) => None,
            (left, growth) => Some(f64::from(left) * self.seconds / growth as f64),
        }
    }

    /// What is counted together, in text.
    fn name(&self) -> String {
        let name = |bytes| printable(c_bytes(bytes)).into_owned();
        match &self.key.1 {
            Whose::All => String::new(),
            Whose::Laddr(addr) => addr.to_string(),
            Whose::Raddr(laddr, raddr, port) => {
                format!("{laddr} > {}", SocketAddr::new(*raddr, *port))
            }
            Whose::Process(None) | Whose::Cgroup(0) => "-".into(),
            Whose::Process(Some(pid)) => match &self.comm {
                Some(comm) => format!("{pid} {}", name(comm)),
                None => pid.to_string(),
            },
            Whose::Cgroup(id) => match &self.cgroup {
                Some(path) => name(path.as_bytes()),
                None => id.to_string(),
            },
        }
    }

    /// For a warning.
    pub fn title(&self) -> String {
        match (self.by, self.name()) {
            (By::Netns, _) => format!("netns {}", self.key.0),
            (By::Process, name) => format!("netns {}, process {name}", self.key.0),
            (By::Cgroup, name) => format!("netns {}, cgroup {name}", self.key.0),
            (_, name) => format!("netns {}, {name}", self.key.0),
        }
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// `12s`, `5m`, `3h`, `2d`; in whole ones, cut off.
fn rough(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..600 => format!("{seconds}s"),
        600..36_000 => format!("{}m", seconds / 60),
        36_000..864_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", (seconds / 86_400).min(9999)),
    }
}

pub fn table(format: Format, by: By) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(json_field("time", |_| utc_now().into()))
        .add(json_field("by", |row: &Row| row.by.name().into()))
        .add(
            column("PORTS", |row: &Row| Value::Uint(row.ports.count.into()))
                .right(5)
                .key("ports"),
        )
        .add(
            column("USED", |row: &Row| Value::Uint(row.now.used.into()))
                .right(5)
                .key("used"),
        )
        .add(
            column("%", |row: &Row| Value::Fixed {
                value: row.percent(),
                decimals: 1,
            })
            .right(5)
            .key("percent"),
        )
        .add(
            column("ESTAB", |row: &Row| row.class(Class::Established))
                .right(5)
                .key("established"),
        )
        .add(
            column("TWAIT", |row: &Row| row.class(Class::TimeWait))
                .right(5)
                .key("time_wait"),
        )
        .add(match by {
            By::Raddr => column("BOUND", |row: &Row| row.class(Class::Listen))
                .right(5)
                .key("bound"),
            _ => column("LISTEN", |row: &Row| row.class(Class::Listen))
                .right(6)
                .key("listen"),
        })
        .add(
            column("OTHER", |row: &Row| row.class(Class::Other))
                .right(5)
                .key("other"),
        )
        .add(
            column("USE/s", |row: &Row| row.per_second(whole(row.uses)))
                .right(7)
                .key("use_per_s"),
        )
        .add(
            column("FREE/s", |row: &Row| row.per_second(row.freed()))
                .right(7)
                .key("free_per_s"),
        )
        .add(
            column("FAILED", |row: &Row| Value::Uint(row.failed))
                .right(6)
                .key("failed"),
        )
        .add(
            column("LEFT", |row: &Row| match row.left() {
                Some(seconds) => rough(seconds).into(),
                None => Value::Unknown,
            })
            .right(5)
            .json("seconds_left", |row| match row.left() {
                Some(value) => Value::Fixed { value, decimals: 1 },
                None => Value::Unknown,
            }),
        )
        .add(json_field("uses", |row| Value::Uint(row.uses)))
        .add(json_field("seconds", |row| Value::Fixed {
            value: row.seconds,
            decimals: 3,
        }))
        .add(json_field("range_low", |row| {
            Value::Uint(row.ports.low.into())
        }))
        .add(json_field("range_high", |row| {
            Value::Uint(row.ports.high.into())
        }))
        .add(
            column("NETNS", |row: &Row| Value::Uint(row.key.0.into()))
                .left(if by == By::Netns { 0 } else { 10 })
                .key("netns"),
        );
    let title = match by {
        By::Netns => return table,
        By::Laddr => "LADDR",
        By::Raddr => "LADDR > RADDR:RPORT",
        By::Process => "PID COMM",
        By::Cgroup => "CGROUP",
    };
    table.add(column(title, |row: &Row| row.name().into()));
    match by {
        By::Netns => {}
        By::Laddr | By::Raddr => {
            table.add(json_field("laddr", |row| match row.key.1 {
                Whose::Laddr(laddr) | Whose::Raddr(laddr, ..) => Value::Ip(laddr),
                _ => Value::Missing,
            }));
        }
        By::Process => {
            table
                .add(json_field("pid", |row| match row.key.1 {
                    Whose::Process(Some(pid)) => Value::Uint(pid.into()),
                    _ => Value::Missing,
                }))
                .add(json_field("comm", |row| match &row.comm {
                    Some(comm) => Value::Name(comm),
                    None => Value::Missing,
                }));
        }
        By::Cgroup => {
            table
                .add(json_field("cgroup_id", |row| match row.key.1 {
                    Whose::Cgroup(id @ 1..) => Value::Uint(id),
                    _ => Value::Missing,
                }))
                .add(json_field("cgroup", |row| match &row.cgroup {
                    Some(path) => Value::Name(path.as_bytes()),
                    None => Value::Missing,
                }));
        }
    }
    if by == By::Raddr {
        table
            .add(json_field("raddr", |row| match row.key.1 {
                Whose::Raddr(_, raddr, _) => Value::Ip(raddr),
                _ => Value::Missing,
            }))
            .add(json_field("rport", |row| match row.key.1 {
                Whose::Raddr(_, _, rport) => Value::Uint(rport.into()),
                _ => Value::Missing,
            }));
    }
    table
}

/// A call that has failed.
pub struct Failure {
    pub event: tcpports_failure,
    pub flow: Flow,
    pub cgroup: Option<Rc<str>>,
    pub clock: EventClock,
}

impl Failure {
    fn call(&self) -> Value<'_> {
        let name = ["connect", "bind", "listen"].get(usize::from(self.event.call));
        name.copied().unwrap_or("?").into()
    }

    fn error(&self) -> Value<'_> {
        format!("{:?}", Errno::from_raw(self.event.error.into())).into()
    }

    /// Both ends of a connect(), else the local one.
    fn ends(&self) -> Value<'_> {
        let local = SocketAddr::new(self.flow.saddr, self.flow.sport);
        match self.event.call {
            0 => {
                let remote = SocketAddr::new(self.flow.daddr, self.flow.dport);
                format!("{local} > {remote}").into()
            }
            _ => local.to_string().into(),
        }
    }
}

pub fn failure_table(format: Format, time: bool) -> Table<Failure> {
    let mut table = Table::new(format);
    if time {
        table.add(column("TIME", |_| wall_clock().into()).left(8));
    }
    table
        .add(json_field("time", |row: &Failure| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(column("CALL", Failure::call).left(7).key("call"))
        .add(column("ERROR", Failure::error).left(13).key("error"))
        .add(
            column("PID", |row: &Failure| Value::Uint(row.event.tgid.into()))
                .left(7)
                .key("pid"),
        )
        .add(
            column("COMM", |row: &Failure| Value::Name(&row.event.comm))
                .left(16)
                .key("comm"),
        )
        .add(
            column("NETNS", |row: &Failure| Value::Uint(row.event.netns.into()))
                .left(10)
                .key("netns"),
        )
        .add(column("LADDR:LPORT > RADDR:RPORT", Failure::ends))
        .add(json_field("ip", |row| Value::Uint(row.flow.ip_version())))
        .add(json_field("saddr", |row| Value::Ip(row.flow.saddr)))
        .add(json_field("sport", |row| {
            Value::Uint(row.flow.sport.into())
        }))
        .add(json_field("daddr", |row| match row.event.call {
            0 => Value::Ip(row.flow.daddr),
            _ => Value::Missing,
        }))
        .add(json_field("dport", |row| match row.event.call {
            0 => Value::Uint(row.flow.dport.into()),
            _ => Value::Missing,
        }))
        .add(json_field("cgroup_id", |row| {
            Value::Uint(row.event.cgroup_id)
        }))
        .add(json_field("cgroup", |row| match &row.cgroup {
            Some(path) => Value::Name(path.as_bytes()),
            None => Value::Missing,
        }));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ports: u32, used: u32, before: u32, uses: u64, seconds: f64) -> Row {
        Row {
            by: By::Netns,
            key: (1, Whose::All),
            comm: None,
            cgroup: None,
            ports: Rc::new(Ports {
                count: ports,
                ..Ports::default()
            }),
            now: Use {
                classes: [0, used, 0, 0],
                used,
            },
            before,
            uses,
            failed: 0,
            seconds,
        }
    }

    #[test]
    fn the_time_left_is_that_of_the_net_growth() {
        assert_eq!(row(100, 60, 40, 30, 2.0).left(), Some(4.0));
        assert_eq!(row(100, 60, 40, 30, 2.0).freed(), 10);
        assert_eq!(row(100, 60, 60, 30, 2.0).left(), None);
        assert_eq!(row(100, 40, 60, 0, 2.0).left(), None);
        assert_eq!(row(100, 100, 100, 0, 2.0).left(), Some(0.0));
        assert_eq!(row(0, 0, 0, 0, 1.0).percent(), 0.0);
    }

    #[test]
    fn times_fit_their_column() {
        assert_eq!(rough(0.4), "0s");
        assert_eq!(rough(599.9), "599s");
        assert_eq!(rough(600.0), "10m");
        assert_eq!(rough(35_999.0), "599m");
        assert_eq!(rough(36_000.0), "10h");
        assert_eq!(rough(864_000.0), "10d");
        assert_eq!(rough(1e18), "9999d");
    }
}
