// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parity with BCC's tools: the same workload under both at the same time, and
//! what each printed of it side by side. `bpfcc-parity` runs them live and
//! writes captures; the test suite compares ours with those.
//!
//! A tool is added by its cases ([`cases`]), how its output is read ([`Form`])
//! and, where it differs on purpose, an entry in [`differences`].

pub mod capture;
pub mod cases;
pub mod counts;
pub mod differences;
pub mod document;
pub mod hist;
pub mod journal;
pub mod peer;
pub mod stacks;
pub mod sums;
pub mod table;
pub mod work;

use std::fmt::Write as _;

pub use cases::{CASES, Case};
pub use work::{Facts, Work};

use counts::Counts;
use hist::Reports;
use stacks::Stacks;
use sums::Sums;
use table::Table;

/// The tools whose parity is shown, and what each prints.
pub const TOOLS: &[(&str, Form)] = &[
    ("tcpstates", Form::Rows),
    ("tcpretrans", Form::Rows),
    ("tcpconnlat", Form::Rows),
    ("tcpdrop", Form::Rows),
    ("biolatency", Form::Histograms),
    ("biosnoop", Form::Rows),
    ("bitesize", Form::Histograms),
    ("opensnoop", Form::Rows),
    ("execsnoop", Form::Rows),
    ("tcpconnect", Form::Rows),
    ("tcpaccept", Form::Rows),
    ("tcplife", Form::Rows),
    ("tcptop", Form::Sums),
    ("tcprtt", Form::Histograms),
    ("tcpsubnet", Form::Sums),
    ("tcptracer", Form::Rows),
    ("runqlat", Form::Histograms),
    ("cachestat", Form::Counts),
    ("profile", Form::Stacks),
    ("ext4slower", Form::Rows),
    ("xfsslower", Form::Rows),
    ("btrfsslower", Form::Rows),
    ("fileslower", Form::Rows),
];

/// The classics that take no arguments, not even `--help`: they trace.
pub const WITHOUT_ARGUMENTS: &[&str] = &["bitesize"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Rows,
    Histograms,
    Sums,
    Counts,
    Stacks,
}

pub fn form(tool: &str) -> Form {
    let found = TOOLS.iter().find(|(name, _)| *name == tool);
    found.unwrap_or_else(|| panic!("no such tool: {tool}")).1
}

/// What two runs have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both saw the same events: everything but times is equal.
    Live,
    /// The same workload at another time, maybe on another kernel.
    Capture,
}

/// One run of a tool: what it printed of the workload and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub stdout: String,
    pub exit: i32,
    pub facts: Facts,
}

/// What a tool printed, taken apart.
#[derive(Clone, Debug)]
pub enum Output {
    Rows(Table),
    Histograms(Reports),
    Sums(Sums),
    Counts(Counts),
    Stacks(Stacks),
}

impl Output {
    /// An error when the text is not laid out as the classic does.
    pub fn parse(case: &Case, run: &Run) -> Result<Self, String> {
        match form(case.tool) {
            Form::Rows => Ok(Self::Rows(Table::parse(&run.stdout))),
            Form::Histograms => Reports::parse(case, run).map(Self::Histograms),
            Form::Sums => Sums::parse(&run.stdout, case).map(Self::Sums),
            Form::Counts => Counts::parse(&run.stdout, case).map(Self::Counts),
            Form::Stacks => Stacks::parse(case, run).map(Self::Stacks),
        }
    }
}

/// What is kept of a classic's output: what is not the workload's, and the source of a
/// program, is left out.
pub fn of_workload(stdout: &str, case: &Case) -> String {
    match form(case.tool) {
        Form::Rows => table::of_workload(stdout, case),
        Form::Histograms => hist::without_source(stdout, case),
        Form::Sums => Sums::of_workload(stdout, case),
        Form::Counts => Counts::of_workload(stdout, case),
        Form::Stacks => stacks::of_workload(stdout, case),
    }
}

/// In the place of a program's source.
const SOURCE: &str = "(its source)";

/// Compares the classic's run with ours; what is not equal, in words, and which of
/// the listed differences there were.
pub fn compare(
    case: &Case,
    mode: Mode,
    classic: &Run,
    ours: &Run,
) -> (Vec<String>, Vec<&'static str>) {
    let mut faults = Vec::new();
    let mut listed = Vec::new();
    let (mut a, mut b) = match (Output::parse(case, classic), Output::parse(case, ours)) {
        (Ok(a), Ok(b)) => (a, b),
        (a, b) => {
            faults.extend(a.err().map(|e| format!("the classic's layout: {e}")));
            faults.extend(b.err().map(|e| format!("our layout: {e}")));
            return (faults, listed);
        }
    };
    let mut exits = (classic.exit, ours.exit);
    for difference in differences::DIFFERENCES {
        let applies = difference.tools.contains(&case.tool);
        if applies && (difference.undo)(case, (&mut a, &mut exits.0), (&mut b, &mut exits.1)) {
            listed.push(difference.id);
        }
    }
    if exits.0 != exits.1 {
        faults.push(format!(
            "exit code: {} in the classic, {} in ours",
            exits.0, exits.1
        ));
    }
    match (&a, &b) {
        (Output::Rows(a), Output::Rows(b)) => {
            table::compare(
                case,
                mode,
                (a, &classic.facts),
                (b, &ours.facts),
                &mut faults,
            );
        }
        (Output::Histograms(a), Output::Histograms(b)) => {
            hist::compare(case, mode, a, b, &mut faults)
        }
        (Output::Sums(a), Output::Sums(b)) => sums::compare(
            case,
            mode,
            (a, &classic.facts),
            (b, &ours.facts),
            &mut faults,
        ),
        (Output::Counts(a), Output::Counts(b)) => counts::compare(case, mode, a, b, &mut faults),
        (Output::Stacks(a), Output::Stacks(b)) => stacks::compare(mode, a, b, &mut faults),
        _ => unreachable!("one tool has one form"),
    }
    (faults, listed)
}

/// Whether all that was found is that the classic lacks rows. It loses some when the
/// kernel skips its programs or its buffer is full, and does not always tell.
pub fn may_be_loss(faults: &[String]) -> bool {
    !faults.is_empty()
        && faults
            .iter()
            .all(|fault| fault.starts_with("rows differ") && !fault.contains("\n  - "))
}

/// Lines that only one of two sorted lists has.
pub(crate) fn diff(what: &str, classic: &[String], ours: &[String], faults: &mut Vec<String>) {
    let only = |a: &[String], b: &[String]| {
        let mut rest = b.to_vec();
        let mut only = Vec::new();
        for line in a {
            match rest.iter().position(|other| other == line) {
                Some(index) => drop(rest.swap_remove(index)),
                None => only.push(line.clone()),
            }
        }
        only
    };
    let (left, right) = (only(classic, ours), only(ours, classic));
    if left.is_empty() && right.is_empty() {
        return;
    }
    let mut text = format!("{what} differ:");
    for (sign, lines) in [('-', left), ('+', right)] {
        for line in lines {
            let _ = write!(text, "\n  {sign} {}", line.replace('\n', "\n    "));
        }
    }
    faults.push(text);
}
