// SPDX-License-Identifier: MIT OR Apache-2.0
//! `docs/compat-with-bcc.md`: the table of differences, the cases, and where the
//! classics do not run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::capture::Capture;
use super::differences::DIFFERENCES;
use super::{CASES, TOOLS};

pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compat-with-bcc.md")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The document as the table, the cases and the captures make it.
pub fn text() -> String {
    let mut text = String::from(
        "<!-- Made by bpfcc-parity from tests/src/parity and its captures. Do not edit. -->\n\
         # Compatibility with BCC\n\n\
         `make parity` runs Debian's `bpfcc-tools` and ours at the same time on the same workload and\n\
         compares them: headers and layout byte for byte, the rows as a multiset, every column but times\n\
         equal, times within a tolerance, histograms by their counts, exit codes. `make test` compares ours\n\
         with what the classics printed then (`tests/parity/captures`).\n\n\
         What differs is in this table, or parity fails.\n\n\
         ## Differences\n",
    );
    for (tool, _) in TOOLS {
        let listed: Vec<_> = DIFFERENCES
            .iter()
            .filter(|d| d.tools.contains(tool))
            .collect();
        if listed.is_empty() {
            let _ = write!(text, "\n### {tool}\n\nNone.\n");
            continue;
        }
        let _ = write!(
            text,
            "\n### {tool}\n\n| where | the packaged classic | ours | why |\n|---|---|---|---|\n"
        );
        for d in listed {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {}: {} |",
                cell(d.what),
                cell(d.classic),
                cell(d.ours),
                d.why.text(),
                cell(d.reason)
            );
        }
    }
    text.push_str(
        "\nAll tools: ours end in order with exit code 0 on SIGTERM, when their output is closed and at the end\n\
         of `--duration`; `--ebpf` is gone; lost events are always told. The man page of each tool has more.\n\n\
         ## Cases\n\n\
         Every option that a classic's `--help` names is in one of them.\n\n| case | arguments |",
    );
    let kernels = Capture::kernels();
    for kernel in &kernels {
        let _ = write!(text, " {kernel} |");
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(kernels.len()));
    text.push('\n');
    let mut failures = BTreeMap::<(String, &str), String>::new();
    let mut versions = BTreeMap::<String, String>::new();
    for case in CASES {
        let _ = write!(text, "| {} | `{}` |", case.id(), case.command_line());
        for kernel in &kernels {
            let sign = match Capture::load(kernel, case) {
                None => "",
                Some(capture) => {
                    versions.insert(
                        kernel.clone(),
                        format!(
                            "{}, bpfcc-tools {}, {}",
                            capture.kernel, capture.version, capture.date
                        ),
                    );
                    match capture.fails {
                        Some(why) => {
                            failures.entry((kernel.clone(), case.tool)).or_insert(why);
                            "the classic fails"
                        }
                        None => "equal",
                    }
                }
            };
            let _ = write!(text, " {sign} |");
        }
        text.push('\n');
    }
    text.push_str("\n| kernel | captured with |\n|---|---|\n");
    for (kernel, version) in &versions {
        let _ = writeln!(text, "| {kernel} | {version} |");
    }
    if !failures.is_empty() {
        text.push_str("\n## Where the classics do not run\n\n| kernel | tool | what it says |\n|---|---|---|\n");
        for ((kernel, tool), why) in &failures {
            let _ = writeln!(text, "| {kernel} | {tool} | {} |", cell(why));
        }
    }
    text
}
