// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers and addresses as text, as `format!` has them, for rows that come by
//! the million.

use std::net::IpAddr;

/// What takes text.
pub trait Push {
    fn push_text(&mut self, text: &str);
}

impl Push for String {
    fn push_text(&mut self, text: &str) {
        self.push_str(text);
    }
}

impl Push for Vec<u8> {
    fn push_text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

pub fn push_integer(value: impl itoa::Integer, to: &mut impl Push) {
    to.push_text(itoa::Buffer::new().format(value));
}

pub fn push_ip(ip: IpAddr, to: &mut impl Push) {
    let IpAddr::V4(ip) = ip else {
        return to.push_text(&ip.to_string());
    };
    let mut before = "";
    for octet in ip.octets() {
        to.push_text(before);
        push_integer(octet, to);
        before = ".";
    }
}

/// `{value:.decimals$}`, quickly where it is a moderate number whose rounding is
/// not in doubt.
pub fn push_fixed(value: f64, decimals: usize, to: &mut impl Push) {
    let scale: u32 = match decimals {
        1 => 10,
        3 => 1000,
        6 => 1_000_000,
        _ => return to.push_text(&format!("{value:.decimals$}")),
    };
    // Below 2^40 the product is off by 2^-13 at most.
    let scaled = value * f64::from(scale);
    let in_doubt = (scaled - (scaled as u64) as f64 - 0.5).abs() < 1e-3;
    if in_doubt || value.is_sign_negative() || !(0.0..1e12).contains(&scaled) {
        return to.push_text(&format!("{value:.decimals$}"));
    }
    let (scaled, scale) = ((scaled + 0.5) as u64, u64::from(scale));
    push_integer(scaled / scale, to);
    to.push_text(".");
    // The leading 1 keeps the zeros that follow the point.
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(scale + scaled % scale);
    to.push_text(digits.get(1..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_decimals_are_those_of_format() {
        let odd = [
            0.0,
            -0.0,
            0.0005,
            0.0015,
            0.125,
            0.5,
            0.05,
            0.25,
            1.0005,
            999.9995,
            2.5e-7,
            1e9,
            1e12,
            1e15,
            1e300,
            -1.5,
            -0.0001,
            f64::NAN,
            f64::INFINITY,
            0.1,
            0.3,
            123_456.789,
        ];
        let many = (0..200_000_u32).map(|i| f64::from(i) / 1000.0 * 1.000_1);
        let micros = (0..100_000_u32).map(|i| f64::from(i) * 37.0 / 1000.0);
        for value in odd.into_iter().chain(many).chain(micros) {
            for decimals in [0, 1, 2, 3, 6] {
                let mut text = String::new();
                push_fixed(value, decimals, &mut text);
                assert_eq!(text, format!("{value:.decimals$}"));
            }
        }
    }

    #[test]
    fn addresses_are_those_of_format() {
        for ip in [
            "0.0.0.0",
            "10.200.30.4",
            "255.255.255.255",
            "::1",
            "2001:db8::5",
            "::ffff:1.2.3.4",
        ] {
            let mut text = String::new();
            push_ip(ip.parse().expect("an address"), &mut text);
            assert_eq!(text, ip);
        }
    }
}
