// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--heatmap`: a line per interval and histogram, in it a cell per range of
//! latencies, the darker the more I/Os.

use std::cell::Cell;
use std::io::Write as _;

use common::hist::{Fine, Unit};
use common::output::is_terminal;

/// What a cell shows of 1 I/O or more, of 4, of 16, …: one I/O among thousands is
/// seen, and lines compare with each other. The colours are two of xterm's 256, of
/// the mark and behind it.
const MARKS: [(char, u8, u8); 9] = [
    ('.', 252, 17),
    (':', 252, 18),
    ('-', 252, 54),
    ('=', 252, 90),
    ('+', 255, 126),
    ('*', 255, 161),
    ('#', 16, 202),
    ('%', 16, 214),
    ('@', 16, 226),
];
/// Two for a power of two; the first two are for 0 and 1.
const CELLS: usize = 48;
/// Cells from one label to the next.
const LABEL_CELLS: usize = 8;
/// After so many lines a terminal shows the header again.
const PAGE: usize = 20;

pub struct Heatmap {
    unit: Unit,
    terminal: bool,
    colours: bool,
    /// How many there are.
    lines: Cell<usize>,
}

impl Heatmap {
    /// On stdout. `NO_COLOR` is <https://no-color.org>.
    pub fn new(unit: Unit) -> Self {
        let terminal = is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            unit,
            terminal,
            colours: terminal && !no_color,
            lines: Cell::new(0),
        }
    }

    /// What the marks mean.
    pub fn legend() -> String {
        let least = |index: usize| match 1u64 << (2 * index) {
            n @ 0..1024 => format!("{n}+"),
            n => format!("{}K+", n / 1024),
        };
        let marks = MARKS.iter().enumerate();
        let marks: Vec<_> = marks
            .map(|(index, (mark, ..))| format!("{mark} {}", least(index)))
            .collect();
        format!("I/Os in a cell: {}", marks.join("  "))
    }

    fn header(&self, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{:<8} {:>8}  ", "TIME", "COUNT");
        let mut labels = String::new();
        for cell in (0..CELLS).step_by(LABEL_CELLS) {
            let label = duration(lowest(cell).saturating_mul(self.unit.ns));
            labels += &format!("{label:<LABEL_CELLS$}");
        }
        let _ = writeln!(out, "{}", labels.trim_end());
    }

    /// The line of a histogram; `about` tells it from others.
    pub fn line(&self, time: &str, hist: &Fine, about: &str, out: &mut Vec<u8>) {
        let lines = self.lines.get();
        if lines == 0 || self.terminal && lines % PAGE == 0 {
            self.header(out);
        }
        self.lines.set(lines + 1);
        let mut cells = [0u64; CELLS];
        for (value, n) in hist.used() {
            if let Some(cell) = cells.get_mut(cell_of(value)) {
                *cell += n;
            }
        }
        let _ = write!(out, "{time:<8} {:>8} |", hist.count());
        let mut last = None;
        for n in cells {
            let mark = mark_of(n);
            if self.colours && mark != last {
                let _ = match mark {
                    Some((_, text, behind)) => write!(out, "\x1b[38;5;{text};48;5;{behind}m"),
                    None => write!(out, "\x1b[0m"),
                };
            }
            last = mark;
            let _ = write!(out, "{}", mark.map_or(' ', |mark| mark.0));
        }
        if self.colours && last.is_some() {
            out.extend(b"\x1b[0m");
        }
        out.push(b'|');
        if !about.is_empty() {
            let _ = write!(out, " {about}");
        }
        out.push(b'\n');
    }
}

/// None of none.
fn mark_of(n: u64) -> Option<&'static (char, u8, u8)> {
    let power = n.checked_ilog(4)? as usize;
    MARKS.get(power).or(MARKS.last())
}

/// The cell of a value: what comes behind the last is in it.
fn cell_of(value: u64) -> usize {
    let cell = match value.checked_ilog2() {
        None | Some(0) => value as usize,
        Some(power) => 2 * power as usize + (value >> (power - 1) & 1) as usize,
    };
    cell.min(CELLS - 1)
}

/// The least value of a cell.
fn lowest(cell: usize) -> u64 {
    match cell {
        0 | 1 => cell as u64,
        _ => (2 + cell as u64 % 2) << (cell / 2 - 1),
    }
}

/// Whole seconds, milliseconds or microseconds.
fn duration(ns: u64) -> String {
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
    units
        .into_iter()
        .find(|&(_, unit)| ns >= unit)
        .map_or("0".to_owned(), |(name, unit)| {
            format!("{}{name}", ns / unit)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::hist::{MSECS, SLOTS, USECS, slot_of};

    fn hist(values: &[(u64, u64)]) -> Fine {
        let mut words = vec![0u64; 2 + SLOTS];
        for &(value, n) in values {
            words[2 + slot_of(value)] += n;
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Fine::decode(&bytes).unwrap().0
    }

    fn written(terminal: bool, colours: bool, hists: &[Fine]) -> String {
        let heatmap = Heatmap {
            unit: USECS,
            terminal,
            colours,
            lines: Cell::new(0),
        };
        let mut out = Vec::new();
        for hist in hists {
            heatmap.line("01:02:03", hist, "disk = sda", &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_value_has_its_cell() {
        for cell in 1..CELLS - 1 {
            assert!(lowest(cell) > lowest(cell - 1));
            assert_eq!(cell_of(lowest(cell)), cell);
            assert_eq!(cell_of(lowest(cell + 1) - 1), cell);
        }
        assert_eq!(
            [cell_of(0), cell_of(1), cell_of(2), cell_of(3)],
            [0, 1, 2, 3]
        );
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    #[test]
    fn a_line_has_a_mark_per_power_of_four() {
        let hist = hist(&[
            (1, 1),
            (16, 3),
            (24, 4),
            (256, 64),
            (4096, 65_536),
            (1 << 36, 1 << 40),
        ]);
        let text = written(false, false, &[hist]);
        assert_eq!(
            text,
            "TIME        COUNT  0       16us    256us   4ms     65ms    1s
01:02:03 1099511693384 | .      .:      =       @                      @| disk = sda
"
        );
        assert_eq!(
            Heatmap::legend(),
            "I/Os in a cell: . 1+  : 4+  - 16+  = 64+  + 256+  * 1K+  # 4K+  % 16K+  @ 64K+"
        );
    }

    #[test]
    fn colours_change_with_the_mark_and_end() {
        let hist = hist(&[(2, 1), (3, 1), (8, 4)]);
        let text = written(false, true, &[hist]);
        let line = text.lines().nth(1).unwrap();
        assert_eq!(
            line.matches("\x1b[38;5;252;48;5;17m..\x1b[0m").count(),
            1,
            "{line:?}"
        );
        assert_eq!(line.matches('\x1b').count(), 4);
    }

    #[test]
    fn only_a_terminal_has_the_header_again() {
        let hists = vec![hist(&[(5, 4)]); PAGE + 1];
        let headers = |terminal| written(terminal, false, &hists).matches("TIME").count();
        assert_eq!((headers(false), headers(true)), (1, 2));
    }

    #[test]
    fn durations_are_short() {
        let ns = [
            0,
            1_000,
            16_000,
            4_096_000,
            65_536_000,
            1_048_576_000,
            16 * MSECS.ns,
        ];
        let text = ns.map(duration);
        assert_eq!(text, ["0", "1us", "16us", "4ms", "65ms", "1s", "16ms"]);
    }
}
