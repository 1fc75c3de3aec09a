// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why the kernel dropped a packet: the names of its reasons, which every kernel
//! numbers anew.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::btf::{KernelBtf, module_enumerators};

/// The number of parameters of the tracepoint `kfree_skb`, for the constant of
/// that name in `common/bpf/skb.bpf.h`. With fewer than 3 there are no reasons.
pub fn kfree_skb_params(btf: &KernelBtf) -> u8 {
    btf.tracepoint_params("kfree_skb")
        .and_then(|count| u8::try_from(count).ok())
        .unwrap_or(2)
}

/// The reasons of the running kernel: those of `enum skb_drop_reason`, and those
/// of subsystems (Linux 6.4+), whose codes have the subsystem's number in their
/// upper half.
#[derive(Debug, Default)]
pub struct DropReasons {
    names: BTreeMap<u32, String>,
    /// Whether the kernel gives any.
    exist: bool,
    /// Whether the loaded modules were looked at.
    with_modules: bool,
}

impl DropReasons {
    pub fn of_kernel(btf: &KernelBtf) -> Self {
        let mut reasons = Self::default();
        reasons.add(btf.enumerators_of(is_reasons));
        reasons.exist = !reasons.names.is_empty();
        reasons
    }

    /// False on a kernel that gives none (before Linux 5.17).
    pub fn exist(&self) -> bool {
        self.exist
    }

    /// Adds a reason of the tool's own, unless the kernel has one of that name.
    /// The code to use for it.
    pub fn own(&mut self, name: &str, code: u32) -> u32 {
        self.find(name).unwrap_or_else(|| {
            self.names.insert(code, name.to_owned());
            code
        })
    }

    fn add(&mut self, enumerators: Vec<(String, u64)>) {
        for (member, value) in enumerators {
            let Some(name) = reason_name(&member) else {
                continue;
            };
            if let Ok(code) = u32::try_from(value) {
                self.names.entry(code).or_insert_with(|| name.to_owned());
            }
        }
    }

    fn add_modules(&mut self) {
        if !self.with_modules {
            self.with_modules = true;
            self.add(module_enumerators(is_reasons));
        }
    }

    /// The name of a reason, without `SKB_DROP_REASON_`; the number of one that
    /// has none.
    pub fn name(&mut self, code: u32) -> Cow<'_, str> {
        if !self.names.contains_key(&code) && code >> 16 != 0 {
            self.add_modules();
        }
        match self.names.get(&code) {
            Some(name) => name.as_str().into(),
            None => code.to_string().into(),
        }
    }

    /// The code of a name in any case, with or without `SKB_DROP_REASON_`, or of
    /// a number.
    pub fn code(&mut self, text: &str) -> Option<u32> {
        let wanted = text.to_ascii_uppercase();
        let wanted = wanted.strip_prefix(PREFIX).unwrap_or(&wanted);
        self.find(wanted).or_else(|| text.parse().ok()).or_else(|| {
            self.add_modules();
            self.find(wanted)
        })
    }

    fn find(&self, wanted: &str) -> Option<u32> {
        let mut names = self.names.iter();
        Some(*names.find(|(_, name)| *name == wanted)?.0)
    }

    /// The codes of a comma list of names; else what is wrong with it, with the
    /// names that are near.
    pub fn codes(&mut self, list: &str) -> Result<Vec<u32>, String> {
        list.split(',')
            .map(|text| {
                let text = text.trim();
                self.code(text).ok_or_else(|| {
                    let near = self.near(&text.to_ascii_uppercase()).join(", ");
                    match near.as_str() {
                        _ if !self.exist => format!(
                            "'{text}': this kernel gives no drop reasons (Linux 5.17 and newer do)"
                        ),
                        "" => format!("this kernel has no drop reason '{text}'"),
                        near => format!("this kernel has no drop reason '{text}', but {near}"),
                    }
                })
            })
            .collect()
    }

    /// Names that have `text` in them or are spelt much like it, nearest first.
    fn near(&self, text: &str) -> Vec<&str> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut near: Vec<_> = self
            .names
            .values()
            .filter_map(|name| match distance(text, name) {
                _ if name.contains(text) => Some((0, name.as_str())),
                far if far <= text.len().max(name.len()) / 3 => Some((far, name.as_str())),
                _ => None,
            })
            .collect();
        near.sort();
        near.into_iter().map(|(_, name)| name).take(8).collect()
    }
}

const PREFIX: &str = "SKB_DROP_REASON_";

/// Whether an enum of this name holds reasons: `skb_drop_reason`,
/// `mac80211_drop_reason`, `ovs_drop_reason`, `qdisc_drop_reason`.
fn is_reasons(name: &str) -> bool {
    name.ends_with("_drop_reason")
}

/// None for marks that are no reasons.
fn reason_name(member: &str) -> Option<&str> {
    let name = member.strip_prefix(PREFIX).unwrap_or(member);
    let is_mark = name.starts_with("_")
        || name.ends_with("_MASK")
        || name.ends_with("MAX")
        || name.ends_with("_NUM_REASONS");
    (!is_mark).then_some(name)
}

/// How many letters are to be put in, left out or changed to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let changed = corner + usize::from(x != y);
            corner = *cell;
            left = changed.min(corner + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons() -> DropReasons {
        let mut reasons = DropReasons::default();
        let list = [
            ("SKB_NOT_DROPPED_YET", 0),
            ("SKB_CONSUMED", 1),
            ("SKB_DROP_REASON_NOT_SPECIFIED", 2),
            ("SKB_DROP_REASON_NO_SOCKET", 3),
            ("SKB_DROP_REASON_NETFILTER_DROP", 12),
            ("SKB_DROP_REASON_MAX", 13),
            ("SKB_DROP_REASON_SUBSYS_MASK", 0xffff_0000),
            ("__QDISC_DROP_REASON", 0x3_0000),
            ("QDISC_DROP_OVERLIMIT", 0x3_0001),
            ("QDISC_DROP_MAX", 0x3_0002),
        ];
        reasons.add(list.map(|(name, code)| (name.to_owned(), code)).to_vec());
        reasons.with_modules = true;
        reasons.exist = true;
        reasons
    }

    #[test]
    fn reasons_have_names() {
        let mut reasons = reasons();
        for (code, name) in [
            (1, "SKB_CONSUMED"),
            (3, "NO_SOCKET"),
            (13, "13"),
            (0x3_0000, "196608"),
            (0x3_0001, "QDISC_DROP_OVERLIMIT"),
            (0x3_0002, "196610"),
            (0xffff_0000, "4294901760"),
        ] {
            assert_eq!(reasons.name(code), name);
        }
    }

    #[test]
    fn names_have_codes() {
        let mut reasons = reasons();
        assert_eq!(
            reasons.codes("no_socket,SKB_DROP_REASON_NETFILTER_DROP, 99,qdisc_drop_overlimit"),
            Ok(vec![3, 12, 99, 0x3_0001])
        );
        let refused = |reasons: &mut DropReasons, text: &str| reasons.codes(text).unwrap_err();
        assert!(refused(&mut reasons, "NO_SOKET").ends_with("'NO_SOKET', but NO_SOCKET"));
        assert!(refused(&mut reasons, "over").ends_with("but QDISC_DROP_OVERLIMIT"));
        assert!(refused(&mut reasons, "XYZ").ends_with("no drop reason 'XYZ'"));
        assert!(refused(&mut reasons, "").ends_with("''"));
        assert!(DropReasons::default().codes("NO_SOCKET").is_err());
    }

    #[test]
    fn own_reasons_are_for_what_the_kernel_does_not_name() {
        let mut reasons = reasons();
        assert_eq!(reasons.own("NO_SOCKET", 0x7_0001), 3);
        assert_eq!(reasons.own("NO_ROOM", 0x7_0001), 0x7_0001);
        assert_eq!(reasons.name(0x7_0001), "NO_ROOM");
        assert_eq!(reasons.codes("no_room"), Ok(vec![0x7_0001]));
    }

    #[test]
    fn the_running_kernels_reasons_are_read() {
        let Ok(btf) = KernelBtf::load() else {
            return; // a kernel without type information
        };
        let mut reasons = DropReasons::of_kernel(&btf);
        assert_eq!(reasons.exist(), kfree_skb_params(&btf) > 2);
        if let Some(code) = btf.enumerator("SKB_DROP_REASON_NETFILTER_DROP") {
            assert_eq!(reasons.name(code as u32), "NETFILTER_DROP");
        }
    }

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
