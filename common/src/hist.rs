// SPDX-License-Identifier: MIT OR Apache-2.0
//! Histograms as BCC prints them, and percentiles from fine buckets.
//!
//! A BPF program counts values in the slots of [`slot_of`]'s layout (the same
//! function in `common/bpf/hist.bpf.h`): [`SUB_SLOTS`] slots of equal width per
//! power of two, so that a value is known to within 1/[`SUB_SLOTS`] of itself.
//! BCC's table is their sum per power of two.

use std::io::Write as _;

use hdrhistogram::Histogram;

/// Slots per power of two in the fine layout.
pub const SUB_SLOTS: usize = 16;

/// Powers of two: BCC's slot `k` (from 1) holds `2^(k-1)` to `2^k - 1`, slot 1
/// also 0.
const LOG2_SLOTS: usize = 64;

/// A log2 histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Log2 {
    /// Values per power of two: index `k` counts `2^k` to `2^(k+1) - 1`, index
    /// 0 also the value 0.
    counts: [u64; LOG2_SLOTS],
}

impl Default for Log2 {
    fn default() -> Self {
        Self {
            counts: [0; LOG2_SLOTS],
        }
    }
}

impl Log2 {
    /// Counts `n` values whose floor(log2) is `power` (0 for the value 0).
    pub fn add(&mut self, power: usize, n: u64) {
        if let Some(count) = self.counts.get_mut(power) {
            *count += n;
        }
    }

    /// All values counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn rows(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let used = self
            .counts
            .iter()
            .rposition(|&n| n > 0)
            .map_or(0, |i| i + 1);
        self.counts
            .iter()
            .take(used)
            .enumerate()
            .map(|(power, &n)| {
                let low = if power == 0 { 0 } else { 1u64 << power };
                (low, (1u64 << power).wrapping_mul(2).wrapping_sub(1), n)
            })
    }

    /// BCC's text: nothing at all when nothing was counted.
    pub fn text(&self, label: &str, out: &mut Vec<u8>) {
        let max = self.counts.iter().copied().max().unwrap_or(0);
        if max == 0 {
            return;
        }
        // BCC's slot number is one above the power; above 32 its table is wide.
        let wide = self.counts.iter().skip(32).any(|&n| n > 0);
        let (indent, title, number, bar) = if wide {
            (15, 29, 20, 20)
        } else {
            (5, 19, 10, 40)
        };
        let _ = writeln!(
            out,
            "{:indent$}{label:<title$} : count     distribution",
            ""
        );
        for (low, high, n) in self.rows() {
            let stars = "*".repeat(stars(n, max, bar));
            let _ = writeln!(
                out,
                "{low:>number$} -> {high:<number$} : {n:<8} |{stars:<bar$}|"
            );
        }
    }

    /// The buckets from 0 to the last used one: first and last value, count.
    pub fn buckets(&self) -> Vec<(u64, u64, u64)> {
        self.rows().collect()
    }
}

/// floor(width * n / max), as BCC's `_stars`.
fn stars(n: u64, max: u64, width: usize) -> usize {
    (u128::from(n) * width as u128 / u128::from(max.max(1))) as usize
}

/// BCC's linear histogram: `counts[i]` values of `i`; nothing when all are 0.
pub fn linear(counts: &[u64], label: &str, out: &mut Vec<u8>) {
    let Some(last) = counts.iter().rposition(|&n| n > 0) else {
        return;
    };
    let max = counts.iter().copied().max().unwrap_or(0);
    let _ = writeln!(out, "     {label:<13} : count     distribution");
    for (value, &n) in counts.iter().enumerate().take(last + 1) {
        let stars = "*".repeat(stars(n, max, 40));
        let _ = writeln!(out, "        {value:<10} : {n:<8} |{stars:<40}|");
    }
}

/// The fine slot of `value`.
pub fn slot_of(value: u64) -> usize {
    let sub_bits = SUB_SLOTS.trailing_zeros();
    if value < SUB_SLOTS as u64 {
        return value as usize;
    }
    let power = value.ilog2();
    let sub = (value >> (power - sub_bits)) as usize & (SUB_SLOTS - 1);
    (power - sub_bits + 1) as usize * SUB_SLOTS + sub
}

/// First and last value of a fine slot.
pub fn slot_range(slot: usize) -> (u64, u64) {
    if slot < SUB_SLOTS {
        return (slot as u64, slot as u64);
    }
    let shift = (slot / SUB_SLOTS - 1) as u32;
    let low = ((SUB_SLOTS + slot % SUB_SLOTS) as u64) << shift;
    (low, low + ((1u64 << shift) - 1))
}

/// The percentiles that the tools print.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Percentiles of values counted in fine slots: each is the last value of its
/// slot, so at most 1/[`SUB_SLOTS`] of itself too high and never too low, and
/// never above the maximum.
pub struct Percentiles {
    values: Histogram<u64>,
    max: u64,
}

impl Percentiles {
    /// `max` is the exact largest value.
    pub fn new(slots: &[u64], max: u64) -> Option<Self> {
        // Three digits: finer than the slots, so recording adds no error of
        // its own that matters; None only if memory runs out.
        let mut values = Histogram::new(3).ok()?;
        for (slot, &n) in slots.iter().enumerate().filter(|&(_, &n)| n > 0) {
            values.record_n(slot_range(slot).1, n).ok()?;
        }
        Some(Self { values, max })
    }

    pub fn at(&self, quantile: f64) -> u64 {
        self.values.value_at_quantile(quantile).min(self.max)
    }

    pub fn max(&self) -> u64 {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log2_is_bcc_narrow() {
        let mut hist = Log2::default();
        hist.add(3, 3);
        hist.add(4, 12);
        hist.add(5, 7);
        let mut out = Vec::new();
        hist.text("usecs", &mut out);
        let expected = "     usecs               : count     distribution
         0 -> 1          : 0        |                                        |
         2 -> 3          : 0        |                                        |
         4 -> 7          : 0        |                                        |
         8 -> 15         : 3        |**********                              |
        16 -> 31         : 12       |****************************************|
        32 -> 63         : 7        |***********************                 |
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn log2_is_bcc_wide_from_2_to_the_32() {
        let mut hist = Log2::default();
        hist.add(31, 1);
        let mut out = Vec::new();
        hist.text("nsecs", &mut out);
        assert!(out.starts_with(b"     nsecs               : count     distribution\n"));

        hist.add(32, 20);
        out.clear();
        hist.text("nsecs", &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "               nsecs                         : count     distribution"
        );
        assert_eq!(
            lines[1],
            "                   0 -> 1                    : 0        |                    |"
        );
        assert_eq!(
            lines[32],
            "          2147483648 -> 4294967295           : 1        |*                   |"
        );
        assert_eq!(
            lines[33],
            "          4294967296 -> 8589934591           : 20       |********************|"
        );
        assert_eq!(lines.len(), 34);
    }

    #[test]
    fn nothing_counted_prints_nothing() {
        let mut out = Vec::new();
        Log2::default().text("usecs", &mut out);
        linear(&[0, 0], "value", &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn linear_is_bcc() {
        let mut out = Vec::new();
        linear(&[0, 2, 0, 4, 0], "value", &mut out);
        let expected = "     value         : count     distribution
        0          : 0        |                                        |
        1          : 2        |********************                    |
        2          : 0        |                                        |
        3          : 4        |****************************************|
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_largest_slot_ends_at_the_largest_value() {
        let mut hist = Log2::default();
        hist.add(63, 1);
        assert_eq!(hist.buckets().last(), Some(&(1 << 63, u64::MAX, 1)));
    }

    #[test]
    fn fine_slots_are_contiguous_and_narrow() {
        let mut next = 0;
        for slot in 0..=slot_of(u64::MAX) {
            let (low, high) = slot_range(slot);
            assert_eq!(low, next);
            assert_eq!(slot_of(low), slot);
            assert_eq!(slot_of(high), slot);
            assert!((high - low) as f64 <= low as f64 / SUB_SLOTS as f64);
            next = high.wrapping_add(1);
        }
        assert_eq!(next, 0);
    }

    #[test]
    fn percentiles_are_within_the_bound() {
        let mut slots = vec![0; slot_of(u64::MAX) + 1];
        for value in 1..=10_000u64 {
            slots[slot_of(value)] += 1;
        }
        let found = Percentiles::new(&slots, 10_000).unwrap();
        for (_, q) in PERCENTILES {
            let exact = 10_000.0 * q;
            let got = found.at(q) as f64;
            assert!(
                got >= exact * 0.999 && got <= exact * (1.0 + 1.0 / SUB_SLOTS as f64) + 1.0,
                "{q}: {got}"
            );
        }
        assert_eq!(found.max(), 10_000);
    }
}
