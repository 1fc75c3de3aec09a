// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-d`: which name was asked for when a name server told an address.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

/// As many addresses as BCC keeps, and as long.
const ADDRESSES: usize = 10_240;
const KEPT_NS: u64 = 24 * 3600 * 1_000_000_000;

/// The name that an address was last the answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub name: Rc<[u8]>,
    /// When the answer was received, by the kernel's monotonic clock.
    pub ts_ns: u64,
}

/// The answers seen.
#[derive(Default)]
pub struct Cache {
    by_address: HashMap<IpAddr, Query>,
    /// In the order of their coming; of an address that came again only the
    /// last one counts.
    order: VecDeque<(IpAddr, u64)>,
}

impl Cache {
    /// Keeps the addresses of an answer; what is none is left.
    pub fn learn(&mut self, message: &[u8], ts_ns: u64) {
        let Some((name, addresses)) = answer(message) else {
            return;
        };
        let name: Rc<[u8]> = name.into();
        for address in addresses {
            let name = Rc::clone(&name);
            self.by_address.insert(address, Query { name, ts_ns });
            self.order.push_back((address, ts_ns));
        }
        while let Some(&(address, stamp)) = self.order.front() {
            let last = self
                .by_address
                .get(&address)
                .is_some_and(|q| q.ts_ns == stamp);
            let too_many = self.by_address.len() > ADDRESSES;
            let too_old = ts_ns.saturating_sub(stamp) > KEPT_NS;
            if last && !too_many && !too_old {
                break;
            }
            self.order.pop_front();
            if last {
                self.by_address.remove(&address);
            }
        }
    }

    pub fn query(&self, address: IpAddr, now_ns: u64) -> Option<&Query> {
        self.by_address
            .get(&address)
            .filter(|query| now_ns.saturating_sub(query.ts_ns) <= KEPT_NS)
    }
}

/// The name that was asked for, and the addresses in the answer. `None` for what
/// is no answer to one question; the addresses before a broken or cut off record
/// count.
fn answer(message: &[u8]) -> Option<(Vec<u8>, Vec<IpAddr>)> {
    let mut reader = Reader { message, at: 2 };
    let flags = reader.u16()?;
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    if flags & 0x8000 == 0 || questions != 1 {
        return None;
    }
    reader.at = 12;
    let name = reader.name()?;
    reader.at += 4; // type and class
    let mut addresses = Vec::new();
    for _ in 0..answers {
        match reader.record() {
            Some(address) => addresses.extend(address),
            None => break,
        }
    }
    Some((name, addresses))
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    fn bytes(&mut self, count: usize) -> Option<&'m [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    /// A name that is written out, as that of the question is.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        loop {
            match self.bytes(1)? {
                [0] => return Some(name),
                [length @ 1..=63] => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend_from_slice(self.bytes(usize::from(*length))?);
                }
                _ => return None,
            }
        }
    }

    /// Goes on behind a name, which may end with a pointer to another.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.bytes(1)? {
                [0] => return Some(()),
                [length @ 1..=63] => self.bytes(usize::from(*length))?,
                [192..=255] => return self.bytes(1).map(|_| ()),
                _ => return None,
            };
        }
    }

    /// The address in a record, if it is one of the Internet's.
    fn record(&mut self) -> Option<Option<IpAddr>> {
        self.skip_name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        self.bytes(4)?; // time to live
        let length = self.u16()?;
        let data = self.bytes(usize::from(length))?;
        Some(match (kind, class) {
            (1, 1) => <[u8; 4]>::try_from(data)
                .ok()
                .map(|a| Ipv4Addr::from(a).into()),
            (28, 1) => <[u8; 16]>::try_from(data)
                .ok()
                .map(|a| Ipv6Addr::from(a).into()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer for www.example.com: an alias, an IPv4 and an IPv6 address.
    fn message() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
        message.extend(b"\x03www\x07example\x03com\0\0\x01\0\x01");
        message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10");
        message.extend(b"\xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
        message.extend(b"\x01a\xc0\x10\0\x1c\0\x01\0\0\0\x3c\0\x10");
        message.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        message
    }

    fn names(cache: &Cache, now_ns: u64) -> [Option<String>; 2] {
        ["192.0.2.1", "2001:db8::1"].map(|address| {
            let query = cache.query(address.parse().unwrap(), now_ns)?;
            Some(String::from_utf8(query.name.to_vec()).unwrap())
        })
    }

    #[test]
    fn addresses_are_the_questions() {
        let mut cache = Cache::default();
        cache.learn(&message(), 5);
        assert_eq!(
            names(&cache, 6),
            [(); 2].map(|()| Some("www.example.com".into()))
        );
        assert_eq!(names(&cache, 6 + KEPT_NS), [None, None]);
    }

    #[test]
    fn what_is_cut_off_counts_as_far_as_it_goes() {
        let whole = message();
        for length in 0..whole.len() {
            let mut cache = Cache::default();
            cache.learn(&whole[..length], 5);
            let [v4, v6] = names(&cache, 6);
            assert_eq!(v4.is_some(), length >= whole.len() - 30, "{length}");
            assert_eq!(v6, None);
        }
    }

    #[test]
    fn what_is_no_answer_is_left() {
        let change = |at: usize, value: u8| {
            let mut message = message();
            message[at] = value;
            let mut cache = Cache::default();
            cache.learn(&message, 5);
            cache.by_address.len()
        };
        assert_eq!(change(2, 0x01), 0, "a question");
        assert_eq!(change(5, 2), 0, "two questions");
        assert_eq!(change(12, 0xc0), 0, "a pointer in the question");
        assert_eq!(change(12, 64), 0, "no label");
        assert_eq!(change(7, 2), 1, "two records");
    }

    #[test]
    fn the_oldest_go_first() {
        let mut cache = Cache::default();
        let mut message = message();
        let v4 = message.len() - 34;
        assert_eq!(message[v4..v4 + 2], [192, 0]);
        for i in 0..20_000_u16 {
            message[v4 + 2..v4 + 4].copy_from_slice(&i.to_be_bytes());
            cache.learn(&message, u64::from(i));
        }
        assert_eq!(cache.by_address.len(), ADDRESSES);
        assert!(cache.order.len() <= 2 * ADDRESSES);
        let there = |i: u16| {
            let [a, b] = i.to_be_bytes();
            cache.query([192, 0, a, b].into(), 20_000).is_some()
        };
        assert!(there(19_999) && there(9_761) && !there(9_000));
    }
}
