// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dropped packet as it is shown.

use std::rc::Rc;

use common::columns::{Format, Table, Value, column, json_field};
use common::escape::c_bytes;
use common::flow::{Flow, HasFlow, add_flow_fields};
use common::net::tcp_state;
use common::origin::{HasOrigin, Known, add_origin_fields, owner_comm, owner_pid};
use common::symbols::stack_json;
use common::time::{EventClock, wall_clock};

use crate::reasons::Shown;
use crate::skel::types::tcpdrop_event;

pub struct Row {
    pub event: tcpdrop_event,
    pub flow: Flow,
    pub known: Known,
    pub reason: Shown,
    pub location: Rc<str>,
    pub stack: Vec<Rc<str>>,
    pub clock: EventClock,
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

/// In the order of their bits.
const FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

fn flags(byte: u8) -> Vec<&'static str> {
    FLAGS
        .iter()
        .enumerate()
        .filter(|(bit, _)| byte >> bit & 1 != 0)
        .map(|(_, name)| *name)
        .collect()
}

impl Row {
    fn state(&self) -> Value<'_> {
        match self.event.state {
            0 => Value::Missing,
            state => Value::Str(tcp_state(state)),
        }
    }

    fn state_and_flags(&self) -> String {
        let flags = flags(self.event.tcp_flags).join("|");
        match self.event.state {
            0 => format!("- ({flags})"),
            state => format!("{} ({flags})", tcp_state(state)),
        }
    }
}

pub fn table(format: Format, owner: bool) -> Table<Row> {
    let mut table = Table::new(format);
    table
        .add(column("TIME", |_| wall_clock().into()).left(8))
        .add(json_field("time", |row: &Row| {
            row.clock.utc(row.event.ts_ns).into()
        }))
        .add(
            column("PID", |row: &Row| Value::Uint(row.event.tgid.into()))
                .left(7)
                .key("pid"),
        );
    if owner {
        table
            .add(column("O-PID", |row: &Row| owner_pid(row.known.owner.as_ref())).left(7))
            .add(column("O-COMM", |row: &Row| owner_comm(row.known.owner.as_ref())).left(15));
    }
    table
        .add(column("IP", |row: &Row| Value::Uint(row.flow.ip_version())).left(2))
        .add(
            column("SADDR:SPORT", |row: &Row| {
                format!("{}:{}", row.flow.saddr, row.flow.sport).into()
            })
            .left(20)
            .separator(" > "),
        )
        .add(
            column("DADDR:DPORT", |row: &Row| {
                format!("{}:{}", row.flow.daddr, row.flow.dport).into()
            })
            .left(20),
        )
        .add(column("STATE (FLAGS)", |row: &Row| row.state_and_flags().into()).left(20))
        .add(column("REASON (CODE)", |row: &Row| {
            format!("{} ({})", row.reason.name, row.reason.code).into()
        }));
    add_flow_fields(&mut table);
    table
        .add(json_field("state", Row::state))
        .add(json_field("flags", |row| {
            let names: Vec<_> = flags(row.event.tcp_flags)
                .iter()
                .map(|flag| format!("\"{flag}\""))
                .collect();
            Value::Json(format!("[{}]", names.join(",")))
        }))
        .add(json_field("length", |row| {
            Value::Uint(row.event.length.into())
        }))
        .add(json_field("reason", |row| {
            if row.reason.is_known {
                Value::Str(row.reason.name.as_str().into())
            } else {
                Value::Missing
            }
        }))
        .add(json_field("reason_code", |row| {
            Value::Uint(row.reason.code.into())
        }))
        .add(json_field("location", |row| {
            Value::Str((&*row.location).into())
        }))
        .add(json_field("ifindex", |row| match row.event.ifindex {
            0 => Value::Missing,
            index => Value::Uint(index.into()),
        }))
        .add(json_field("ifname", |row| {
            match c_bytes(&row.event.ifname) {
                [] => Value::Missing,
                name => Value::Name(name),
            }
        }));
    add_origin_fields(&mut table);
    table.add(json_field("stack", |row| {
        Value::Json(stack_json(&row.stack))
    }));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_in_the_classics_order() {
        assert_eq!(flags(0x12).join("|"), "SYN|ACK");
        assert_eq!(flags(0xff).join("|"), "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR");
        assert!(flags(0).is_empty());
    }
}
