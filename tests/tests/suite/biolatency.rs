// SPDX-License-Identifier: MIT OR Apache-2.0
//! `biolatency` against the kernel's own count of completed I/Os.

use std::process::Command;
use std::time::{Duration, Instant};

use bpfcc_tests::*;
use serde_json::Value;

const BANNER: &str = "Tracing block device I/O... Hit Ctrl-C to end.";

fn workload(kind: &str, device: &LoopDevice, count: u32) {
    let mut command = Command::new(bin("bpfcc-workload"));
    command.arg(kind).arg(&device.path).arg(count.to_string());
    run_command(command).success();
}

/// Reads, writes, a flush and a discard.
fn mixed(device: &LoopDevice) {
    workload("reads", device, 400);
    workload("writes", device, 300);
    device.write_flush_discard();
}

fn count(report: &Value) -> u64 {
    let sum: u64 = report["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|bucket| bucket["count"].as_u64().expect("a count"))
        .sum();
    assert_eq!(report["count"], sum, "{report}");
    sum
}

/// Counts per disk while two disks are busy: with the tool's `extra` options.
#[track_caller]
fn counts_equal_diskstats(extra: &[&str]) -> Vec<Value> {
    let devices = [LoopDevice::new(8 << 20), LoopDevice::new(8 << 20)];
    let tool = Tool::start("biolatency", &[&["--json", "-D"], extra].concat());
    let before = devices
        .each_ref()
        .map(|device| completed_ios(device.name()));
    mixed(&devices[0]);
    workload("reads", &devices[1], 250);
    let done = [0, 1].map(|i| completed_ios(devices[i].name()) - before[i]);
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0);
    let reports = ended.json();
    for (device, done) in devices.iter().zip(done) {
        let counted: u64 = reports
            .iter()
            .filter(|r| r["disk"] == device.name())
            .map(count)
            .sum();
        assert_eq!(counted, done, "{}: {reports:#?}", device.name());
        assert!(done >= 250);
    }
    reports
        .into_iter()
        .filter(|r| devices.iter().any(|d| r["disk"] == d.name()))
        .collect()
}

#[test]
fn counts_per_disk_equal_diskstats() {
    counts_equal_diskstats(&[]);
}

#[test]
fn queued_counts_per_disk_equal_diskstats() {
    counts_equal_diskstats(&["-Q"]);
}

/// Each operation has its section, and they add up.
#[test]
fn flags_and_disks_together_equal_diskstats() {
    let reports = counts_equal_diskstats(&["-F"]);
    let of = |op: &str| -> u64 {
        reports
            .iter()
            .filter(|report| {
                report["flags"]
                    .as_str()
                    .is_some_and(|flags| flags.rsplit('-').next() == Some(op))
            })
            .map(count)
            .sum()
    };
    assert!(of("Read") >= 650, "{reports:#?}");
    assert!(of("Write") >= 300, "{reports:#?}");
    assert!(of("Discard") + of("WriteZeros") >= 1, "{reports:#?}");
    let mut sections: Vec<_> = reports
        .iter()
        .map(|r| (r["disk"].to_string(), r["cmd_flags"].to_string()))
        .collect();
    let all = sections.len();
    sections.sort();
    sections.dedup();
    assert_eq!(sections.len(), all, "a section twice: {reports:#?}");
}

/// A disk that appears while the tool runs has its name; `-d` shows one disk
/// alone, and without `-D` there is one histogram.
#[test]
fn disks_are_found_when_they_appear() {
    let tool = Tool::start("biolatency", &["--json", "-D"]);
    let device = LoopDevice::new(4 << 20);
    workload("reads", &device, 50);
    let reports = tool.stop().success().json();
    let mine: Vec<_> = reports
        .iter()
        .filter(|r| r["disk"] == device.name())
        .collect();
    assert!(
        mine.iter().map(|r| count(r)).sum::<u64>() >= 50,
        "{reports:#?}"
    );

    let other = LoopDevice::new(4 << 20);
    let name = device.name().to_owned();
    let tool = Tool::start("biolatency", &["--json", "-d", &name]);
    let before = completed_ios(&name);
    workload("reads", &device, 60);
    workload("reads", &other, 70);
    let done = completed_ios(&name) - before;
    let reports = tool.stop().success().json();
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!(count(&reports[0]), done);
}

/// Banner, blank lines, table, extension line: to the byte, but for the counts.
#[test]
fn text_is_bccs() {
    let device = LoopDevice::new(4 << 20);
    let name = device.name();
    let stop_after_reads = |args: &[&str]| {
        let tool = Tool::start("biolatency", args);
        workload("reads", &device, 100);
        tool.stop().success().stdout
    };

    let text = stop_after_reads(&["-d", name]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            BANNER,
            "",
            "     usecs               : count     distribution"
        ]
    );
    let rows = &lines[3..];
    assert!(rows[0].starts_with("         0 -> 1          : "), "{text}");
    let counted: u64 = rows
        .iter()
        .map(|row| {
            let after_range = row.split(':').nth(1).expect("a count");
            let count = after_range.split_whitespace().next();
            count.expect("a count").parse::<u64>().expect("a number")
        })
        .sum();
    assert_eq!(counted, 100, "{text}");
    assert!(
        rows.iter().all(|row| row.len() == 78 && row.ends_with('|')),
        "{text}"
    );

    let text = stop_after_reads(&["-m", "-e", "-d", name]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            BANNER,
            "",
            "     msecs               : count     distribution"
        ]
    );
    let last = &lines[lines.len() - 3..];
    assert_eq!((last[0], last[2]), ("", ""), "{text}");
    assert!(
        last[1].starts_with("avg = ") && last[1].ends_with(", count: 100"),
        "{text}"
    );
    assert_eq!(last[1].matches("msecs, ").count(), 2, "{text}");

    let text = stop_after_reads(&["-D", "-d", name]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..4],
        [BANNER, "", "", &format!("disk = {name}")],
        "{text}"
    );

    let text = stop_after_reads(&["-T", "-F", "-d", name]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], [BANNER, ""], "{text}");
    let clock: Vec<_> = lines[2].split(':').collect();
    assert!(
        lines[2].len() == 8
            && clock.len() == 3
            && clock.iter().all(|part| part.parse::<u8>().is_ok()),
        "{text}"
    );
    assert_eq!(lines[3], "", "{text}");
    assert!(
        lines[4].starts_with("flags = ") && lines[4].ends_with("Read"),
        "{text}"
    );

    let text = stop_after_reads(&["-j", "-d", name]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "", "{text}");
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[1].starts_with("{'ts': '20"), "{text}");
    assert!(
        lines[1].contains(
            "', 'val_type': 'usecs', 'data': [{'interval-start': 0, 'interval-end': 1, 'count': "
        ),
        "{text}"
    );
    assert!(lines[1].ends_with("}]}"), "{text}");
    // It is Python's notation; with other quotes it is JSON's.
    let dict: Value = serde_json::from_str(&lines[1].replace('\'', "\"")).expect("a dict");
    let counted: u64 = dict["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|b| b["count"].as_u64().expect("a count"))
        .sum();
    assert_eq!(counted, 100);
}

#[test]
fn intervals_are_counted() {
    let start = Instant::now();
    let ended = Tool::start("biolatency", &["1", "2"]).wait().success();
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(ended.lines()[0], BANNER);
    assert!(
        ended
            .lines()
            .iter()
            .skip(1)
            .filter(|line| line.is_empty())
            .count()
            >= 2,
        "{}",
        ended.stdout
    );
}

/// What was counted in one interval is not counted again in the next.
#[test]
fn intervals_do_not_overlap() {
    let device = LoopDevice::new(4 << 20);
    let tool = Tool::start("biolatency", &["--json", "-d", device.name(), "1"]);
    let before = completed_ios(device.name());
    for _ in 0..3 {
        workload("reads", &device, 100);
        tool.wait_for_line(|line| line.starts_with('{'));
    }
    let done = completed_ios(device.name()) - before;
    let reports = tool.stop().success().json();
    assert!(reports.len() >= 3, "{reports:#?}");
    assert_eq!(reports.iter().map(count).sum::<u64>(), done);
}

/// The lines of a heatmap: COUNT, and what is in the cells.
fn heatmap_rows(text: &str) -> Vec<(u64, String)> {
    let cells = text.lines().filter_map(|line| line.split_once('|'));
    cells
        .map(|(before, cells)| {
            let count = before.split_whitespace().nth(1).expect("a count");
            (count.parse().expect("a number"), cells.to_owned())
        })
        .collect()
}

#[test]
fn a_heatmap_has_a_line_per_interval() {
    let device = LoopDevice::new(4 << 20);
    let args = ["--heatmap", "--percentiles", "-d", device.name()];
    let tool = Tool::start("biolatency", &args);
    let before = completed_ios(device.name());
    workload("reads", &device, 1000);
    let done = completed_ios(device.name()) - before;
    // The interval with the last of them is over, and one more.
    let shown = |line: &str| !line.contains("COUNT") && line.contains('|');
    tool.wait_for_line(|line| shown(line) && !line.contains("p50"));
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0);
    let lines = ended.lines();
    assert_eq!(lines[0], BANNER);
    assert!(lines[1].starts_with("I/Os in a cell: . 1+  : 4+  "));
    assert!(lines[2].starts_with("TIME        COUNT  0       16us    256us   4ms "));
    let rows = heatmap_rows(&ended.stdout);
    assert_eq!(rows.iter().map(|row| row.0).sum::<u64>(), done);
    for (count, cells) in rows {
        let (cells, about) = cells.split_once('|').expect("the end of the cells");
        assert_eq!(cells.len(), 48, "{cells:?}");
        // A mark is of so many I/Os, and of fewer than four times as many.
        let least = |mark| 1u64 << (2 * ".:-=+*#%@".find(mark).expect("a mark"));
        let least: u64 = cells.chars().filter(|&cell| cell != ' ').map(least).sum();
        assert!(least <= count && count <= 4 * least, "{count}: {cells:?}");
        assert_eq!(about.starts_with(" p50 = "), count > 0, "{about:?}");
    }
    assert!(!ended.stdout.contains('\x1b'));
}

/// The header and, in cells that are used, colours: on a terminal that has them.
#[test]
fn a_heatmap_has_colours_on_a_terminal() {
    let device = LoopDevice::new(4 << 20);
    // Reads until the tool has ended.
    let commands = format!(
        "{} --heatmap -D 2 1 & while kill -0 $!; do {} reads {} 50; done 2>&-",
        bin("biolatency").display(),
        bin("bpfcc-workload").display(),
        device.path.display()
    );
    let shown = |term: &str, no_color: &str| {
        let mut script = Command::new("script");
        script
            .args(["-qec", &format!("{commands}; true"), "/dev/null"])
            .env("TERM", term)
            .env("NO_COLOR", no_color)
            .stdin(std::process::Stdio::null());
        let shown = run_command(script).success().stdout;
        let disk = format!("| disk = {}", device.name());
        let row = shown.lines().find(|line| line.contains(&disk));
        row.unwrap_or_else(|| panic!("no row: {shown}")).to_owned()
    };
    let row = shown("xterm-256color", "");
    assert!(
        row.contains("\x1b[38;5;252;48;5;") && row.contains("\x1b[0m"),
        "{row:?}"
    );
    for (term, no_color) in [("xterm-256color", "1"), ("dumb", "")] {
        assert!(!shown(term, no_color).contains('\x1b'));
    }
}

#[test]
fn percentiles_are_in_order_and_in_their_buckets() {
    let device = LoopDevice::new(4 << 20);
    let tool = Tool::start(
        "biolatency",
        &["--json", "--percentiles", "-d", device.name()],
    );
    workload("reads", &device, 1000);
    let reports = tool.stop().success().json();
    let report = &reports[0];
    let values: Vec<u64> = ["p50", "p90", "p99", "p99.9", "max"]
        .iter()
        .map(|key| {
            report["percentiles"][key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key}: {report}"))
        })
        .collect();
    assert!(values.is_sorted(), "{values:?}");
    let buckets = report["data"].as_array().expect("data");
    let mut seen = 0;
    let median = buckets
        .iter()
        .find(|bucket| {
            seen += bucket["count"].as_u64().expect("a count");
            seen * 2 >= count(report)
        })
        .expect("a bucket");
    let range =
        median["interval-start"].as_u64().unwrap()..=median["interval-end"].as_u64().unwrap();
    assert!(range.contains(&values[0]), "{range:?} {values:?}");

    let tool = Tool::start("biolatency", &["--percentiles", "-d", device.name()]);
    workload("reads", &device, 100);
    let text = tool.stop().success().stdout;
    let line = text
        .lines()
        .find(|line| line.starts_with("p50 = "))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains(", p99.9 = ") && line.contains(", max = ") && line.ends_with(" usecs"),
        "{line}"
    );
}

/// The owner's cgroup: with the io controller by the I/O, without it by the
/// task that makes the request.
#[test]
fn the_cgroup_is_the_owners() {
    let device = LoopDevice::new(4 << 20);
    let (inside, outside) = (Cgroup::new(), Cgroup::new());
    let below = Cgroup::below(&inside.0);
    let tool = Tool::start(
        "biolatency",
        &["--json", "-d", device.name(), "--cgroup", inside.path()],
    );
    for (group, reads) in [(&inside, "100"), (&outside, "200"), (&below, "50")] {
        let args = ["reads", device.path.to_str().expect("UTF-8"), reads];
        run_command(group.command(&bin("bpfcc-workload"), &args)).success();
    }
    let reports = tool.stop().success().json();
    assert_eq!(reports.iter().map(count).sum::<u64>(), 150, "{reports:#?}");
}

#[test]
fn partitions_and_wrong_disks_are_told_apart() {
    for disk in ["nosuchdisk", "/dev/nosuchdisk", "null", "../etc"] {
        let ended = run("biolatency", &["-d", disk]);
        assert_eq!(code(ended.status), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(disk), "{}", ended.stderr);
    }
}
