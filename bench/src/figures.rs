// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples and what becomes of them.

use std::collections::BTreeMap;

use crate::table::Figure;

impl Figure {
    pub fn name(self, operation: &str) -> String {
        match self {
            Self::Passed => "in the kernel per event, passed".into(),
            Self::Filtered => "in the kernel per event, filtered out".into(),
            Self::Operation => format!("time per {operation}"),
            Self::Added => format!("added time per {operation}"),
            Self::AddedCpu => format!("added CPU time per {operation}"),
            Self::Slowdown => "slowdown of the workload".into(),
            Self::Lost => "lost in the flood".into(),
            Self::Reported => "of that reported as lost".into(),
            Self::Flood => "events in the flood".into(),
            Self::Lossless => "highest rate without loss".into(),
            Self::Cpu => "its CPU time per row".into(),
            Self::Start => "start".into(),
            Self::Stop => "stop: end of the process".into(),
            Self::Gone => "stop: end of the programs".into(),
            Self::Rss => "peak RSS".into(),
            Self::Size => "size of the program".into(),
            Self::Runs => "runs of programs per event".into(),
        }
    }

    /// The value with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Passed
            | Self::Filtered
            | Self::Operation
            | Self::Added
            | Self::AddedCpu
            | Self::Cpu => nanoseconds(value),
            Self::Start | Self::Stop | Self::Gone => format!("{} ms", digits(value / 1e6)),
            Self::Slowdown => format!("{value:.2} ×"),
            Self::Lost | Self::Reported => match value {
                v if v <= 0.0 => "0".into(),
                v if v < 0.001 => format!("{:.4} %", v * 100.0),
                v => format!("{:.1} %", v * 100.0),
            },
            Self::Flood | Self::Lossless => format!("{}/s", thousands(value)),
            Self::Rss => format!("{:.1} MiB", value / 1024.0),
            Self::Size => format!("{} KiB", thousands(value / 1024.0)),
            Self::Runs => format!("{value:.2}"),
        }
    }

    /// As [`show`](Self::show), without the unit where that is the same for all.
    pub fn bare(self, value: f64) -> String {
        let text = self.show(value);
        match text.strip_suffix(" ns") {
            Some(number) => number.to_owned(),
            None => text,
        }
    }

    /// Whether its spread says something.
    pub fn varies(self) -> bool {
        !matches!(self, Self::Size | Self::Runs)
    }

    /// Whether less of it is better and a ratio says something.
    pub fn compares(self) -> bool {
        !matches!(
            self,
            Self::Lost
                | Self::Reported
                | Self::Flood
                | Self::Lossless
                | Self::Slowdown
                | Self::Runs
        )
    }
}

fn nanoseconds(value: f64) -> String {
    if value.abs() < 10_000.0 {
        format!("{} ns", digits(value))
    } else {
        format!("{} µs", digits(value / 1000.0))
    }
}

/// Three digits, at most two of them behind the point.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// All that was measured of one tool: by variant (ours, a peer, the floor) and
/// figure.
#[derive(Default)]
pub struct Figures {
    samples: BTreeMap<(String, Figure), Vec<f64>>,
    /// Why a variant could not be measured.
    pub failed: BTreeMap<String, String>,
}

impl Figures {
    pub fn add(&mut self, variant: &str, figure: Figure, value: f64) {
        self.samples
            .entry((variant.to_owned(), figure))
            .or_default()
            .push(value);
    }

    /// Whether anything is known about a variant.
    pub fn has(&self, variant: &str) -> bool {
        self.samples.keys().any(|(known, _)| known == variant)
    }

    /// How often programs ran for an event, in the middle of all runs.
    pub fn note_runs(&mut self, variant: &str, figure: Figure, per_event: f64) {
        if figure == Figure::Passed {
            self.add(variant, Figure::Runs, per_event);
        }
    }

    pub fn median(&self, variant: &str, figure: Figure) -> Option<f64> {
        let mut values = self.samples.get(&(variant.to_owned(), figure))?.clone();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some((lower + upper) / 2.0)
    }

    /// Least, greatest and number of the samples.
    pub fn spread(&self, variant: &str, figure: Figure) -> Option<(f64, f64, usize)> {
        let values = self.samples.get(&(variant.to_owned(), figure))?;
        let least = values.iter().copied().reduce(f64::min)?;
        let greatest = values.iter().copied().reduce(f64::max)?;
        Some((least, greatest, values.len()))
    }

    pub fn ratio(&self, figure: Figure, against: &str) -> Option<f64> {
        let other = self.median(against, figure)?;
        let ours = self.median(crate::measure::OURS, figure)?;
        (other != 0.0).then_some(ours / other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::OURS;

    #[test]
    fn medians_and_ratios() {
        let mut figures = Figures::default();
        for value in [3.0, 100.0, 1.0] {
            figures.add(OURS, Figure::Start, value);
        }
        for value in [4.0, 8.0] {
            figures.add("peer", Figure::Start, value);
        }
        assert_eq!(figures.median(OURS, Figure::Start), Some(3.0));
        assert_eq!(figures.median("peer", Figure::Start), Some(6.0));
        assert_eq!(figures.ratio(Figure::Start, "peer"), Some(0.5));
        assert_eq!(figures.ratio(Figure::Stop, "peer"), None);
    }

    #[test]
    fn values_with_their_units() {
        assert_eq!(Figure::Passed.show(67.84), "67.8 ns");
        assert_eq!(Figure::Passed.show(12_345.0), "12.3 µs");
        assert_eq!(Figure::Start.show(4.5e6), "4.50 ms");
        assert_eq!(Figure::Lost.show(0.0), "0");
        assert_eq!(Figure::Lost.show(0.451), "45.1 %");
        assert_eq!(Figure::Flood.show(1_234_567.0), "1,234,567/s");
    }
}
