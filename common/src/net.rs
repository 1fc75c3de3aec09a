// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses, ports and TCP's states.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use libbpf_rs::{MapCore, MapFlags};

/// A set of ports, given as a comma list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Vec<u16>);

impl Ports {
    /// As a clap value parser: `80` or `80,443,8080`.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|port| match u16::from_str(port.trim()) {
                Ok(port @ 1..) => Ok(port),
                _ => Err(format!("'{port}' is no port (1 to 65535)")),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }

    /// Puts the list, if there is one, into a map of `common/bpf/ports.bpf.h`.
    pub fn store(ports: Option<&Self>, bitmap: &impl MapCore) -> anyhow::Result<()> {
        for (word, bits) in ports.map(Self::bitmap).unwrap_or_default() {
            bitmap.update(&word.to_ne_bytes(), &bits.to_ne_bytes(), MapFlags::ANY)?;
        }
        Ok(())
    }

    /// The set as the words of a bitmap with one bit per port: the layout of
    /// the maps in `common/bpf/ports.bpf.h`. Gives the words that are not 0.
    pub fn bitmap(&self) -> Vec<(u32, u64)> {
        let mut words = std::collections::BTreeMap::<u32, u64>::new();
        for port in &self.0 {
            *words.entry(u32::from(port / 64)).or_default() |= 1 << (port % 64);
        }
        words.into_iter().collect()
    }
}

/// The name of an IP protocol, upper case as in `/etc/protocols`; its number when
/// it is not one of the usual.
pub fn protocol(number: u8) -> std::borrow::Cow<'static, str> {
    PROTOCOLS
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| number.to_string().into(), |(name, _)| (*name).into())
}

/// Value parser of an IP protocol: a name in any case, or a number.
pub fn parse_protocol(text: &str) -> Result<u8, String> {
    PROTOCOLS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, number)| *number)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| {
            let names: Vec<_> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
            format!("expected {} or a number from 0 to 255", names.join(", "))
        })
}

const PROTOCOLS: [(&str, u8); 10] = [
    ("ICMP", 1),
    ("IGMP", 2),
    ("TCP", 6),
    ("UDP", 17),
    ("DCCP", 33),
    ("GRE", 47),
    ("ESP", 50),
    ("AH", 51),
    ("ICMPV6", 58),
    ("SCTP", 132),
];

/// Whether `family` is AF_INET.
pub fn is_ipv4(family: u16) -> bool {
    i32::from(family) == libc::AF_INET
}

/// The address in a 16-byte field that the kernel filled for `family`: the
/// first four bytes for AF_INET, in network order.
pub fn address(family: u16, bytes: &[u8; 16]) -> IpAddr {
    if is_ipv4(family) {
        let [a, b, c, d, ..] = *bytes;
        Ipv4Addr::new(a, b, c, d).into()
    } else {
        Ipv6Addr::from(*bytes).into()
    }
}

/// The name of a TCP state (`include/net/tcp_states.h`; the numbers are part
/// of the kernel's stable interface). An unknown state is its number.
pub fn tcp_state(state: u8) -> std::borrow::Cow<'static, str> {
    match state {
        1 => "ESTABLISHED",
        2 => "SYN_SENT",
        3 => "SYN_RECV",
        4 => "FIN_WAIT1",
        5 => "FIN_WAIT2",
        6 => "TIME_WAIT",
        7 => "CLOSE",
        8 => "CLOSE_WAIT",
        9 => "LAST_ACK",
        10 => "LISTEN",
        11 => "CLOSING",
        12 => "NEW_SYN_RECV",
        other => return other.to_string().into(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_lists_in_range() {
        assert_eq!(Ports::parse("80"), Ok(Ports(vec![80])));
        assert_eq!(Ports::parse("80,443, 8080"), Ok(Ports(vec![80, 443, 8080])));
        for bad in ["0", "70000", "65536", "a", "", "80,", "-1", "80;81"] {
            assert!(Ports::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_bitmap_has_a_bit_per_port() {
        assert_eq!(
            Ports(vec![1, 63, 64, 65535]).bitmap(),
            [(0, 1 << 1 | 1 << 63), (1, 1), (1023, 1 << 63)]
        );
    }

    #[test]
    fn addresses_are_by_family() {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[192, 0, 2, 1]);
        assert_eq!(address(2, &bytes).to_string(), "192.0.2.1");
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(
            address(10, &mapped.octets()).to_string(),
            "::ffff:192.0.2.1"
        );
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!(parse_protocol("tcp"), Ok(6));
        assert_eq!(parse_protocol("99"), Ok(99));
        assert!(parse_protocol("256").is_err() && parse_protocol("x").is_err());
        assert_eq!((protocol(17), protocol(99)), ("UDP".into(), "99".into()));
    }

    #[test]
    fn unknown_states_are_numbers() {
        assert_eq!(tcp_state(1), "ESTABLISHED");
        assert_eq!(tcp_state(13), "13");
    }
}
