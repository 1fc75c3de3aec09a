// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows as the network tools show them, and `--addr`: the user side of
//! `common/bpf/flow.bpf.h`.

use std::net::{IpAddr, Ipv4Addr};

use crate::columns::{Table, Value, json_field};

/// Two ends and a protocol: `struct flow`, read with [`crate::flow!`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub saddr: IpAddr,
    pub daddr: IpAddr,
    /// Host order; 0 for a protocol without ports.
    pub sport: u16,
    pub dport: u16,
    /// `IPPROTO_*`
    pub proto: u8,
}

/// A [`Flow`] from the `struct flow` that a skeleton generated.
#[macro_export]
macro_rules! flow {
    ($flow:expr) => {
        $crate::flow::Flow {
            saddr: $crate::net::address($flow.family, &$flow.saddr),
            daddr: $crate::net::address($flow.family, &$flow.daddr),
            sport: $flow.sport,
            dport: $flow.dport,
            proto: $flow.proto,
        }
    };
}

impl Flow {
    /// 4 or 6: the family of the addresses; v4-mapped ones are 6.
    pub fn ip_version(&self) -> u64 {
        if self.saddr.is_ipv4() { 4 } else { 6 }
    }
}

/// A row of a tool that shows flows.
pub trait HasFlow {
    fn flow(&self) -> &Flow;
}

/// The JSON fields `ip`, `proto`, `saddr`, `sport`, `daddr`, `dport`.
pub fn add_flow_fields<R: HasFlow>(table: &mut Table<R>) {
    table
        .add(json_field("ip", |row: &R| {
            Value::Uint(row.flow().ip_version())
        }))
        .add(json_field("proto", |row| {
            Value::Str(crate::net::protocol(row.flow().proto))
        }))
        .add(json_field("saddr", |row| Value::Ip(row.flow().saddr)))
        .add(json_field("sport", |row| {
            Value::Uint(row.flow().sport.into())
        }))
        .add(json_field("daddr", |row| Value::Ip(row.flow().daddr)))
        .add(json_field("dport", |row| {
            Value::Uint(row.flow().dport.into())
        }));
}

/// `--addr ADDR[/LEN]`. An IPv4 network also holds its v4-mapped addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    addr: u128,
    mask: u128,
}

impl Network {
    /// As a clap value parser.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (addr, length) = match text.split_once('/') {
            Some((addr, length)) => (addr, Some(length)),
            None => (text, None),
        };
        let addr: IpAddr = addr
            .parse()
            .map_err(|_| format!("'{addr}' is no IPv4 or IPv6 address"))?;
        let most: u32 = if addr.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(text) => text
                .parse()
                .ok()
                .filter(|length| *length <= most)
                .ok_or_else(|| format!("'{text}' is no prefix length (0 to {most})"))?,
        };
        let addr = match addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        // All but the last (most - length) bits.
        let mask = u128::MAX.checked_shl(most - length).unwrap_or(0);
        Ok(Self {
            addr: u128::from(addr) & mask,
            mask,
        })
    }

    /// Whether it was given as an IPv4 network, or as what is one.
    pub fn is_ipv4(&self) -> bool {
        let mapped = u128::from(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
        self.addr & !u128::from(u32::MAX) == mapped && self.mask >> 32 == u128::MAX >> 32
    }

    /// As `addr_matches()` of the BPF side.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = match addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        u128::from(addr) & self.mask == self.addr
    }

    /// The words of `filter_addr` and `filter_addr_mask`: as they stand in
    /// memory, in network order.
    pub fn words(&self) -> ([u32; 4], [u32; 4]) {
        let words = |value: u128| {
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(value.to_be_bytes().chunks_exact(4)) {
                *word = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
            }
            words
        };
        (words(self.addr), words(self.mask))
    }
}

/// Sets the filters of an open skeleton whose BPF file includes `flow.bpf.h`,
/// from the groups [`Family`](crate::cli::Family),
/// [`NetFilter`](crate::cli::NetFilter) and [`General`](crate::cli::General)
/// and, as `localport` and `remoteport`, the ports; the port lists
/// themselves are for [`crate::net::Ports::store`], after the load.
#[macro_export]
macro_rules! flow_filter {
    ($open:expr, $family:expr, $ports:expr, $net:expr, $general:expr) => {
        if let Some(rodata) = $open.maps.rodata_data.as_deref_mut() {
            rodata.filter_family = $family.number();
            rodata.filter_sports = $ports.localport.is_some().into();
            rodata.filter_dports = $ports.remoteport.is_some().into();
            rodata.filter_netns = $net.inode();
            rodata.filter_cgroup = $general.cgroup_id();
            if let Some(network) = $net.addr {
                let (addr, mask) = network.words();
                rodata.filter_addr = addr;
                rodata.filter_addr_mask = mask;
                rodata.filter_addrs = 1;
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: [u32; 4]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn networks_are_masked_in_network_order() {
        let (addr, mask) = Network::parse("192.0.2.77/24").unwrap().words();
        assert_eq!(
            bytes(addr),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 0]
        );
        assert_eq!(bytes(mask)[..15], [255; 15]);
        assert_eq!(bytes(mask)[15], 0);
        let (addr, mask) = Network::parse("2001:db8::1").unwrap().words();
        assert_eq!(bytes(addr)[..4], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(bytes(mask), [255; 16]);
        assert_eq!(Network::parse("::/0").unwrap().words(), ([0; 4], [0; 4]));
        assert_eq!(
            bytes(Network::parse("0.0.0.0/0").unwrap().words().1),
            [[255; 12].as_slice(), &[0; 4]].concat()
        );
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, addr: &str| {
            let network = Network::parse(network).unwrap();
            network.contains(addr.parse().unwrap())
        };
        assert!(holds("192.0.2.0/24", "192.0.2.255"));
        assert!(holds("192.0.2.0/24", "::ffff:192.0.2.1"));
        assert!(!holds("192.0.2.0/24", "192.0.3.0"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "192.0.2.1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "x",
            "1.2.3",
            "1.2.3.4/33",
            "::1/129",
            "1.2.3.4/",
            "::/-1",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }
}
