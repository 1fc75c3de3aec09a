// SPDX-License-Identifier: MIT OR Apache-2.0
//! Histograms as BCC prints them, and percentiles from fine buckets.
//!
//! A BPF program counts values in the slots of [`slot_of`]'s layout (the same
//! function in `common/bpf/hist.bpf.h`): [`SUB_SLOTS`] slots of equal width per
//! power of two, so that a value is known to within 1/[`SUB_SLOTS`] of itself.
//! BCC's table is their sum per power of two.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use libbpf_rs::{MapCore, MapFlags};

use crate::columns::{Table, Value, json_field};
use crate::maps;

/// Slots per power of two in the fine layout.
pub const SUB_SLOTS: usize = 16;

/// Slots of the BPF side: what would come behind them is counted in the last.
pub const SLOTS: usize = 592;

/// Powers of two: BCC's slot `k` (from 1) holds `2^(k-1)` to `2^k - 1`, slot 1
/// also 0.
const LOG2_SLOTS: usize = 64;

/// The unit of a latency: its name, its length in nanoseconds.
#[derive(Clone, Copy)]
pub struct Unit {
    pub name: &'static str,
    pub ns: u64,
}

pub const USECS: Unit = Unit {
    name: "usecs",
    ns: 1_000,
};
pub const MSECS: Unit = Unit {
    name: "msecs",
    ns: 1_000_000,
};

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

/// How objects and lists are written.
#[derive(Clone, Copy)]
pub struct Style {
    quote: char,
    colon: &'static str,
    comma: &'static str,
}

/// As our other JSON: without blanks.
pub const JSON: Style = Style {
    quote: '"',
    colon: ":",
    comma: ",",
};

/// As Python prints a dictionary.
pub const PYTHON: Style = Style {
    quote: '\'',
    colon: ": ",
    comma: ", ",
};

impl Style {
    fn member(self, key: &str, value: u64) -> String {
        let Self { quote, colon, .. } = self;
        format!("{quote}{key}{quote}{colon}{value}")
    }
}

/// A histogram as a BPF program counts it: `struct hist`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fine {
    /// Of the values, in the unit of the tool's choice.
    pub total: u64,
    /// The largest value.
    pub max: u64,
    slots: Vec<u64>,
}

impl Default for Fine {
    fn default() -> Self {
        Self {
            total: 0,
            max: 0,
            slots: vec![0; SLOTS],
        }
    }
}

/// What both start with, in the kernel's bytes: total, maximum, so many slots;
/// and the bytes behind it.
fn words(value: &[u8], slots: usize) -> Result<(u64, u64, impl Iterator<Item = u64> + '_, &[u8])> {
    let Some((own, rest)) = value.split_at_checked((2 + slots) * size_of::<u64>()) else {
        bail!("decode histogram: {} bytes", value.len());
    };
    let mut words = own
        .chunks_exact(size_of::<u64>())
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
    let total = words.next().unwrap_or_default();
    let max = words.next().unwrap_or_default();
    Ok((total, max, words, rest))
}

impl Fine {
    /// The histogram at the start of `value`, and the bytes behind it.
    pub fn decode(value: &[u8]) -> Result<(Self, &[u8])> {
        let (total, max, slots, rest) = words(value, SLOTS)?;
        let slots = slots.collect();
        Ok((Self { total, max, slots }, rest))
    }

    /// Adds the `struct hist_part` at the start of `value`, which is the `part`th;
    /// gives the bytes behind it.
    pub fn add_part<'v>(&mut self, part: usize, value: &'v [u8]) -> Result<&'v [u8]> {
        let (total, max, more, rest) = words(value, SUB_SLOTS)?;
        self.total = self.total.wrapping_add(total);
        self.max = self.max.max(max);
        let slots = self.slots.iter_mut().skip(part * SUB_SLOTS);
        for (slot, more) in slots.zip(more) {
            *slot = slot.wrapping_add(more);
        }
        Ok(rest)
    }

    /// Adds the counts of another histogram: of another CPU, of another key.
    pub fn add(&mut self, other: &Self) {
        self.total = self.total.wrapping_add(other.total);
        self.max = self.max.max(other.max);
        for (slot, more) in self.slots.iter_mut().zip(&other.slots) {
            *slot = slot.wrapping_add(*more);
        }
    }

    /// What has been counted since the histogram, whose counts only grow, was
    /// `before`. The maximum is exact when it is a new one; else it is the last
    /// value of the last slot that was used.
    pub fn since(&self, before: &Self) -> Self {
        let slots: Vec<_> = self
            .slots
            .iter()
            .zip(&before.slots)
            .map(|(now, before)| now.wrapping_sub(*before))
            .collect();
        let (low, high) =
            slots
                .iter()
                .rposition(|&n| n > 0)
                .map_or((0, 0), |last| match slot_range(last) {
                    (low, _) if last == SLOTS - 1 => (low, u64::MAX),
                    range => range,
                });
        let is_new = self.max > before.max && (low..=high).contains(&self.max);
        Self {
            total: self.total.wrapping_sub(before.total),
            max: if is_new { self.max } else { high.min(self.max) },
            slots,
        }
    }

    /// All values counted.
    pub fn count(&self) -> u64 {
        self.slots.iter().sum()
    }

    /// The slots in which something was counted: the first value, the count.
    pub fn used(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|&(_, &n)| n > 0)
            .map(|(slot, &n)| (slot_range(slot).0, n))
    }

    /// As BCC's table.
    pub fn log2(&self) -> Log2 {
        let mut hist = Log2::default();
        for (value, n) in self.used() {
            hist.add(value.checked_ilog2().unwrap_or(0) as usize, n);
        }
        hist
    }

    /// The values at [`PERCENTILES`]; `None` when nothing was counted. Each is
    /// the last value of its slot: at most 1/[`SUB_SLOTS`] of itself too high,
    /// never too low, never above the maximum.
    pub fn percentiles(&self) -> Option<Vec<(&'static str, u64)>> {
        // Three digits are finer than the slots, so that a value comes back in
        // the slot that it was recorded for. It fails only without memory.
        let mut values = Histogram::<u64>::new(3).ok()?;
        for (slot, &n) in self.slots.iter().enumerate().filter(|&(_, &n)| n > 0) {
            values.record_n(slot_range(slot).1, n).ok()?;
        }
        if values.is_empty() {
            return None;
        }
        let at = |quantile| {
            let value = values.lowest_equivalent(values.value_at_quantile(quantile));
            slot_range(slot_of(value)).1.min(self.max)
        };
        Some(PERCENTILES.map(|(name, q)| (name, at(q))).to_vec())
    }

    /// The percentiles and the maximum, each by `form`; `None` when nothing was
    /// counted.
    fn each_percentile(&self, form: impl Fn(&str, u64) -> String) -> Option<Vec<String>> {
        let mut values = self.percentiles()?;
        values.push(("max", self.max));
        Some(values.iter().map(|(key, v)| form(key, *v)).collect())
    }

    /// `p50 = 1, …, max = 9 usecs`
    pub fn percentile_line(&self, unit: &str) -> Option<String> {
        let values = self.each_percentile(|key, v| format!("{key} = {v}"))?;
        Some(format!("{} {unit}", values.join(", ")))
    }

    /// BCC's table and, if they are asked for, the line of the percentiles.
    pub fn text(&self, unit: &str, percentiles: bool, out: &mut Vec<u8>) {
        self.log2().text(unit, out);
        if let Some(line) = percentiles.then(|| self.percentile_line(unit)).flatten() {
            let _ = writeln!(out, "{line}");
        }
    }

    /// An object of the percentiles and the maximum.
    pub fn percentile_object(&self, style: Style) -> Option<String> {
        let values = self.each_percentile(|key, v| style.member(key, v))?;
        Some(format!("{{{}}}", values.join(style.comma)))
    }

    /// BCC's buckets: a list of objects with `interval-start`, `interval-end`
    /// and `count`.
    pub fn bucket_list(&self, style: Style) -> String {
        let buckets: Vec<_> = self
            .log2()
            .buckets()
            .into_iter()
            .map(|(low, high, n)| {
                let members = [
                    ("interval-start", low),
                    ("interval-end", high),
                    ("count", n),
                ]
                .map(|(key, value)| style.member(key, value));
                format!("{{{}}}", members.join(style.comma))
            })
            .collect();
        format!("[{}]", buckets.join(style.comma))
    }
}

/// A row of a report with a histogram.
pub trait HasHist {
    fn hist(&self) -> &Fine;
}

/// The JSON fields `percentiles`, if they are asked for, and `data`.
pub fn add_hist_fields<R: HasHist>(table: &mut Table<R>, percentiles: bool) {
    if percentiles {
        table.add(json_field("percentiles", |row: &R| {
            let values = row.hist().percentile_object(JSON);
            values.map_or(Value::Missing, Value::Json)
        }));
    }
    table.add(json_field("data", |row: &R| {
        Value::Json(row.hist().bucket_list(JSON))
    }));
}

/// Histograms of a BPF hash, whose counts only grow, as those of an interval.
pub struct Intervals<K> {
    /// As they were last read.
    last: BTreeMap<K, Fine>,
}

impl<K> Default for Intervals<K> {
    fn default() -> Self {
        Self {
            last: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Intervals<K> {
    /// What was counted since the last time, by key; `key_of` reads the map's.
    pub fn take(
        &mut self,
        map: &impl MapCore,
        key_of: impl Fn(&[u8]) -> Result<K>,
    ) -> Result<BTreeMap<K, Fine>> {
        let mut intervals = BTreeMap::new();
        for (bytes, value) in maps::entries(map)? {
            let key = key_of(&bytes)?;
            let now = Fine::decode(&value)?.0;
            let interval = self.make_room(&key, now, || {
                let left = maps::take(map, &bytes)?;
                left.map(|value| Ok(Fine::decode(&value)?.0)).transpose()
            })?;
            intervals.extend(interval.map(|interval| (key, interval)));
        }
        Ok(intervals)
    }

    /// As [`Self::since_last`]. What has gone quiet makes room: `take` deletes it
    /// from the map, and gives its last value where the kernel tells.
    pub fn make_room(
        &mut self,
        key: &K,
        now: Fine,
        take: impl FnOnce() -> Result<Option<Fine>>,
    ) -> Result<Option<Fine>> {
        let known = self.last.contains_key(key);
        let mut interval = self.since_last(key, now);
        // What is not known is just being made.
        if interval.is_none() && known {
            interval = take()?.and_then(|left| self.since_last(key, left));
            self.last.remove(key);
        }
        Ok(interval)
    }

    /// `None`: nothing was counted.
    pub fn since_last(&mut self, key: &K, now: Fine) -> Option<Fine> {
        let last = self.last.entry(key.clone()).or_default();
        let interval = now.since(last);
        *last = now;
        (interval.count() > 0).then_some(interval)
    }
}

/// The only histogram of a per-CPU array, of all CPUs together.
pub fn sum_percpu(map: &impl MapCore) -> Result<Fine> {
    let mut sum = Fine::default();
    let per_cpu = map.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)?;
    for value in per_cpu.unwrap_or_default() {
        sum.add(&Fine::decode(&value)?.0);
    }
    Ok(sum)
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

    /// As the BPF side counts.
    fn counted(values: impl IntoIterator<Item = u64>) -> Fine {
        let mut hist = Fine::default();
        for value in values {
            hist.slots[slot_of(value).min(SLOTS - 1)] += 1;
            hist.total += value;
            hist.max = hist.max.max(value);
        }
        hist
    }

    #[test]
    fn percentiles_are_within_the_bound() {
        let values: Vec<_> = (1..=1_000_000).map(|i| i * 7).collect();
        let hist = counted(values.iter().copied());
        for (at, (name, got)) in PERCENTILES.iter().zip(hist.percentiles().unwrap()) {
            let exact = values[(values.len() as f64 * at.1) as usize - 1];
            assert!(
                got >= exact && got <= exact + exact / SUB_SLOTS as u64,
                "{name}: {got} {exact}"
            );
        }
    }

    #[test]
    fn percentiles_of_few_values() {
        assert_eq!(Fine::default().percentiles(), None);
        let all = |hist: Fine| hist.percentiles().unwrap().into_iter().map(|(_, v)| v);
        assert!(all(counted([0])).eq([0; 4]));
        // In a slot up to 1087, but none was above 1050.
        assert!(all(counted([1050])).eq([1050; 4]));
    }

    #[test]
    fn the_table_is_the_sum_of_the_fine_slots() {
        let hist = counted([0, 1, 1, 2, 3, 100, 127, 128]);
        assert_eq!(hist.count(), 8);
        let used: Vec<_> = hist
            .log2()
            .buckets()
            .into_iter()
            .filter(|&(.., n)| n > 0)
            .collect();
        assert_eq!(used, [(0, 1, 3), (2, 3, 2), (64, 127, 2), (128, 255, 1)]);
    }

    #[test]
    fn what_is_too_large_is_in_the_last_slot() {
        assert_eq!(slot_of((1 << 40) - 1), SLOTS - 1);
        let hist = counted([1 << 50]).since(&Fine::default());
        assert_eq!(
            hist.log2().buckets().last(),
            Some(&(1 << 39, (1 << 40) - 1, 1))
        );
        assert_eq!(hist.max, 1 << 50);
    }

    #[test]
    fn an_interval_is_the_difference() {
        let first = counted([10, 1000]);
        let mut second = first.clone();
        second.add(&counted([500, 501]));
        let interval = second.since(&first);
        assert_eq!(interval.count(), 2);
        assert_eq!(interval.total, 1001);
        // Not a new maximum: the end of its slot.
        assert_eq!(interval.max, 511);
        second.add(&counted([1050]));
        assert_eq!(second.since(&first).max, 1050);
        let nothing = second.since(&second);
        assert_eq!((nothing.count(), nothing.max), (0, 0));
    }

    #[test]
    fn counts_of_the_kernel_are_decoded() {
        let mut bytes = Vec::new();
        for word in [300u64, 7] {
            bytes.extend(word.to_ne_bytes());
        }
        for slot in 0..SLOTS as u64 {
            bytes.extend(slot.to_ne_bytes());
        }
        bytes.extend(b"tail");
        let (hist, rest) = Fine::decode(&bytes).unwrap();
        assert_eq!((hist.total, hist.max), (300, 7));
        assert!(hist.slots.iter().copied().eq(0..SLOTS as u64));
        assert_eq!(rest, b"tail");
        assert!(Fine::decode(&bytes[..100]).is_err());
    }
}
