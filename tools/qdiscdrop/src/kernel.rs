// SPDX-License-Identifier: MIT OR Apache-2.0
//! How to know a qdisc's drop on the running kernel: by its reason or by the
//! code that frees the packet.

use std::fs;
use std::ops::Range;

use anyhow::{Context, Result};
use common::btf::KernelBtf;
use common::drop_reason::{DropReasons, kfree_skb_params};

/// Functions of qdiscs that free packets at dequeue, where they are no modules.
const FUNCTIONS: [&str; 12] = [
    "drop_func",
    "codel_qdisc_dequeue",
    "__codel_qdisc_dequeue",
    "fq_codel_dequeue",
    "__fq_codel_dequeue",
    "netem_dequeue",
    "cake_dequeue",
    "dualpi2_qdisc_dequeue",
    "etf_dequeue_timesortedlist",
    "timesortedlist_drop",
    "taprio_dequeue",
    "fq_pie_qdisc_dequeue",
];

/// No such reason.
const NEVER: u32 = u32::MAX;
/// A module's code begins and ends at pages.
const PAGE: u64 = 4096;

/// A set of reasons, a bit each; `REASON_WORDS` in `found.bpf.h`.
type Reasons = [u64; 8];

/// A function's code, and its unlikely part that the compiler has put elsewhere.
type Parts = [Range<u64>; 2];

pub struct Kernel {
    pub reasons: DropReasons,
    /// Linux 5.18 and newer
    pub tells_reasons: bool,
    pub params: u8,
    pub qdisc_reasons: Reasons,
    pub filter_reasons: Reasons,
    pub tc_egress: u32,
    pub tc_ingress: u32,
    pub not_specified: u32,
    pub burst: u32,
    pub subsystem: u32,
    pub congested: u32,
    pub l4s_step: u32,
    pub list: Parts,
    pub xmit: Parts,
    pub free: Parts,
    pub receive: Parts,
    pub qdiscs: Vec<Range<u64>>,
}

impl Kernel {
    pub fn read(btf: &KernelBtf) -> Result<Self> {
        let members = btf.enumerators(&["skb_drop_reason"]);
        let names: Vec<(&str, u32)> = members
            .iter()
            .filter_map(|(name, code)| {
                let name = name.strip_prefix("SKB_DROP_REASON_")?;
                Some((name, u32::try_from(*code).ok()?))
            })
            .collect();
        let code = |wanted: &str| {
            names
                .iter()
                .find(|(name, _)| *name == wanted)
                .map_or(NEVER, |(_, code)| *code)
        };
        let detail = |name: &str| {
            btf.enumerator(name)
                .and_then(|code| u32::try_from(code).ok())
                .unwrap_or(NEVER)
        };
        let symbols = fs::read_to_string("/proc/kallsyms").context("read /proc/kallsyms")?;
        let code_of = Symbols::read(&symbols);
        Ok(Self {
            reasons: DropReasons::of_kernel(btf),
            tells_reasons: code("QDISC_DROP") != NEVER,
            params: kfree_skb_params(btf),
            qdisc_reasons: set(&names, &["QDISC_", "FQ_", "CAKE_", "DUALPI2_"]),
            filter_reasons: set(&names, &["TC_"]),
            tc_egress: code("TC_EGRESS"),
            tc_ingress: code("TC_INGRESS"),
            not_specified: code("NOT_SPECIFIED"),
            burst: code("QDISC_BURST_DROP"),
            subsystem: match detail("__QDISC_DROP_REASON") {
                NEVER => NEVER,
                first => first >> 16,
            },
            congested: detail("QDISC_DROP_CONGESTED"),
            l4s_step: detail("QDISC_DROP_L4S_STEP_NON_ECN"),
            list: code_of.function(&["kfree_skb_list_reason", "kfree_skb_list"]),
            xmit: code_of.function(&["__dev_queue_xmit"]),
            free: code_of.function(&["__tcf_kfree_skb_list"]),
            receive: code_of.function(&["__netif_receive_skb_core"]),
            qdiscs: code_of.qdiscs(),
        })
    }

    /// What keeps drops from being seen.
    pub fn obstacle(&self) -> Option<&'static str> {
        self.xmit.iter().all(Range::is_empty).then_some(
            "/proc/kallsyms hides addresses (kernel.kptr_restrict): drops at dequeue may be missed",
        )
    }
}

/// The reasons whose names begin with one of `prefixes`.
fn set(names: &[(&str, u32)], prefixes: &[&str]) -> Reasons {
    let mut set = Reasons::default();
    for (name, code) in names {
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            if let Some(word) = set.get_mut(*code as usize / 64) {
                *word |= 1 << (code % 64);
            }
        }
    }
    set
}

/// The kernel's functions, by address.
struct Symbols<'t> {
    /// Address, name, module
    functions: Vec<(u64, &'t str, &'t str)>,
}

impl<'t> Symbols<'t> {
    fn read(text: &'t str) -> Self {
        let mut functions: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let addr = u64::from_str_radix(words.next()?, 16).ok()?;
                let kind = words.next()?;
                let name = words.next()?;
                let is_code = matches!(kind, "t" | "T" | "w" | "W");
                (is_code && addr != 0).then(|| (addr, name, words.next().unwrap_or("")))
            })
            .collect();
        functions.sort_unstable();
        Self { functions }
    }

    /// From `start` to the next function.
    fn range(&self, start: u64) -> Range<u64> {
        let next = self.functions.partition_point(|(addr, ..)| *addr <= start);
        start..self.functions.get(next).map_or(start, |(addr, ..)| *addr)
    }

    /// The code of the first of `names` that exists, also where the compiler has
    /// made a variant of it (`.constprop.0`).
    fn function(&self, names: &[&str]) -> Parts {
        let find = |name: &str, cold: bool| {
            let found = self.functions.iter().find(|(_, function, _)| {
                function.split('.').next() == Some(name) && function.ends_with(".cold") == cold
            })?;
            Some(self.range(found.0))
        };
        names
            .iter()
            .find_map(|name| Some([find(name, false)?, find(name, true).unwrap_or(0..0)]))
            .unwrap_or([0..0, 0..0])
    }

    /// The code of qdiscs that free packets by themselves. A module that is just
    /// being loaded has code in two places, and others may lie between.
    fn qdiscs(&self) -> Vec<Range<u64>> {
        let mut ranges = Vec::<Range<u64>>::new();
        let mut last = "";
        for (addr, name, module) in &self.functions {
            // See module_loaded() in found.bpf.h.
            if module.starts_with("[sch_") && *module != "[sch_tbf]" {
                let end = (addr + 1).next_multiple_of(PAGE);
                match ranges.last_mut() {
                    Some(range) if last == *module && *addr <= range.end + PAGE => range.end = end,
                    _ => ranges.push(*addr..end),
                }
            } else if module.is_empty() && FUNCTIONS.contains(name) {
                ranges.push(self.range(*addr));
            }
            last = module;
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "\
ffffffff81000080 t kfree_skb_list.cold
ffffffff81000100 T kfree_skb_list
ffffffff81000180 t helper
ffffffff81000200 t __netif_receive_skb_core.constprop.0
ffffffff81000300 T netem_dequeue
ffffffff81000380 D a_datum
ffffffff81000400 T last
ffffffffc0001000 t codel_init\t[sch_codel]
ffffffffc0001f10 t drop_func\t[sch_codel]
ffffffffc0005000 t drop_func\t[other]
ffffffffc0006000 t tbf_enqueue\t[sch_tbf]
ffffffffc0009000 t init_module\t[sch_codel]
";

    #[test]
    fn code_is_found_by_name_and_module() {
        let symbols = Symbols::read(SYMBOLS);
        let low = |a: u64, b: u64| 0xffff_ffff_8100_0000 + a..0xffff_ffff_8100_0000 + b;
        assert_eq!(
            symbols.function(&["kfree_skb_list_reason", "kfree_skb_list"]),
            [low(0x100, 0x180), low(0x80, 0x100)]
        );
        assert_eq!(
            symbols.function(&["__netif_receive_skb_core"]),
            [low(0x200, 0x300), 0..0]
        );
        assert_eq!(symbols.function(&["none"]), [0..0, 0..0]);
        assert_eq!(
            symbols.qdiscs(),
            [
                low(0x300, 0x400),
                0xffff_ffff_c000_1000..0xffff_ffff_c000_2000,
                0xffff_ffff_c000_9000..0xffff_ffff_c000_a000
            ]
        );
    }

    #[test]
    fn reasons_are_chosen_by_prefix() {
        let names = [("QDISC_DROP", 40), ("TC_EGRESS", 39), ("FQ_FLOW_LIMIT", 70)];
        let set = set(&names, &["QDISC_", "FQ_"]);
        assert_eq!((set[0], set[1]), (1 << 40, 1 << 6));
    }
}
