// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bitesize` against I/O of sizes that are known.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bpfcc_tests::*;
use serde_json::{Value, json};

const BANNER: &str = "Tracing block I/O... Hit Ctrl-C to end.";

/// `dd` under names of their own.
struct Programs(TempDir);

const READER: &str = "size-reader";
const WRITER: &str = "size-writer";

impl Programs {
    fn new() -> Self {
        let dir = TempDir::new("bpfcc-dd");
        let dd = ["/usr/bin/dd", "/bin/dd"].map(PathBuf::from);
        let dd = dd.iter().find(|path| path.is_file()).expect("dd");
        for name in [READER, WRITER] {
            std::fs::copy(dd, dir.join(name)).expect("copy dd");
        }
        Self(dir)
    }

    /// So many direct I/Os of this many bytes.
    fn command(&self, name: &str, device: &LoopDevice, bytes: u32, count: u32) -> Command {
        let device = device.path.display();
        let mut command = Command::new(self.0.join(name));
        command.args([&format!("bs={bytes}"), &format!("count={count}")]);
        command.arg("status=none");
        if name == READER {
            command.args([&format!("if={device}"), "of=/dev/null", "iflag=direct"]);
        } else {
            command.args([&format!("of={device}"), "if=/dev/zero", "oflag=direct"]);
        }
        command
    }

    fn run(&self, name: &str, device: &LoopDevice, bytes: u32, count: u32) {
        run_command(self.command(name, device, bytes, count)).success();
    }

    /// 3 of 512 bytes, 20 of 4 KiB, 7 of 12 KiB and 1 of 256 KiB read; 5 of 64 KiB written.
    fn all(&self, device: &LoopDevice) {
        for (bytes, count) in [(512, 3), (4 << 10, 20), (12 << 10, 7), (256 << 10, 1)] {
            self.run(READER, device, bytes, count);
        }
        self.run(WRITER, device, 64 << 10, 5);
    }
}

fn section(name: &str, rows: &[(u64, u64)], most: u64) -> String {
    let mut text = format!(
        "\nProcess Name = {name}\n     {:<19} : count     distribution\n",
        "Kbytes"
    );
    for &(low, count) in rows {
        let high = if low == 0 { 1 } else { low * 2 - 1 };
        let stars = "*".repeat((40 * count / most) as usize);
        text.push_str(&format!(
            "{low:>10} -> {high:<10} : {count:<8} |{stars:<40}|\n"
        ));
    }
    text
}

/// What [`Programs::all`] is, to the byte.
fn expected() -> String {
    let read = [3, 0, 20, 7, 0, 0, 0, 0, 1];
    let written = [0, 0, 0, 0, 0, 0, 5];
    let rows = |counts: &[u64]| -> Vec<(u64, u64)> {
        let low = |power: usize| if power == 0 { 0 } else { 1 << power };
        counts
            .iter()
            .enumerate()
            .map(|(power, n)| (low(power), *n))
            .collect()
    };
    section(READER, &rows(&read), 20) + &section(WRITER, &rows(&written), 5)
}

#[test]
fn sizes_are_the_workloads() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    let tool = Tool::start("bitesize", &["-d", device.name()]);
    programs.all(&device);
    let ended = tool.stop().success();
    assert_eq!(ended.stdout, format!("{BANNER}\n{}", expected()));
    assert_eq!(ended.lost(), 0);
}

/// Both as long as BCC's: without `-d`, others' I/O may come between.
#[test]
fn other_disks_are_seen_without_an_option() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    let tool = Tool::start("bitesize", &[]);
    programs.all(&device);
    let text = tool.stop().success().stdout;
    assert!(
        text.starts_with(&format!("{BANNER}\n\nProcess Name = ")),
        "{text}"
    );
}

fn reports_of<'a>(reports: &'a [Value], comm: &str) -> Vec<&'a Value> {
    reports
        .iter()
        .filter(|report| report["comm"] == comm)
        .collect()
}

fn counted(reports: &[&Value]) -> u64 {
    reports
        .iter()
        .map(|report| report["count"].as_u64().expect("a count"))
        .sum()
}

#[test]
fn json_has_all() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    let tool = Tool::start(
        "bitesize",
        &["--json", "--percentiles", "-d", device.name()],
    );
    programs.all(&device);
    let reports = tool.stop().success().json();
    assert_eq!(reports.len(), 2, "{reports:#?}");
    let reader = reports_of(&reports, READER)[0];
    let bytes = 3 * 512 + 20 * 4096 + 7 * 12288 + (256 << 10);
    assert_eq!(reader["count"], 31);
    assert_eq!(reader["total_bytes"], bytes);
    assert_eq!(reader["val_type"], "Kbytes");
    assert_eq!(
        reader["percentiles"],
        json!({"p50": 4, "p90": 12, "p99": 256, "p99.9": 256, "max": 256})
    );
    assert_eq!(
        reader["data"][2],
        json!({"interval-start": 4, "interval-end": 7, "count": 20})
    );
    assert_eq!(reports_of(&reports, WRITER)[0]["total_bytes"], 5 * 65536);
}

#[test]
fn percentiles_are_below_the_table() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    let tool = Tool::start("bitesize", &["--percentiles", "-d", device.name()]);
    programs.run(WRITER, &device, 64 << 10, 5);
    let text = tool.stop().success().stdout;
    assert!(
        text.ends_with("|\np50 = 64, p90 = 64, p99 = 64, p99.9 = 64, max = 64 Kbytes\n"),
        "{text}"
    );
}

/// `-c`: what the name begins with.
#[test]
fn names_are_chosen_by_their_beginning() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    for (prefix, expected) in [
        ("size-w", &[WRITER][..]),
        ("size-writer", &[WRITER]),
        ("size-", &[READER, WRITER]),
        ("size-writers", &[]),
        ("ize-", &[]),
    ] {
        let tool = Tool::start("bitesize", &["--json", "-d", device.name(), "-c", prefix]);
        programs.run(READER, &device, 4096, 2);
        programs.run(WRITER, &device, 4096, 3);
        let reports = tool.stop().success().json();
        let names: Vec<_> = reports
            .iter()
            .map(|report| report["comm"].clone())
            .collect();
        assert_eq!(names, expected, "{prefix}");
    }
    for wrong in ["", "sixteen-bytes-co"] {
        assert_eq!(
            code(run("bitesize", &["--comm", wrong]).status),
            2,
            "{wrong}"
        );
    }
}

/// What was counted in one interval is not counted again in the next; what has
/// gone quiet comes back whole.
#[test]
fn intervals_do_not_overlap() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    let tool = Tool::start("bitesize", &["--json", "-d", device.name(), "1"]);
    let other = LoopDevice::new(4 << 20);
    for round in 0..4 {
        programs.run(READER, &device, 4096, 10);
        if round % 3 == 0 {
            programs.run(WRITER, &device, 4096, 7);
        }
        programs.run(READER, &other, 4096, 3);
        tool.wait_for_line(|line| line.contains(READER));
    }
    let reports = tool.stop().success().json();
    assert!(reports_of(&reports, READER).len() >= 4, "{reports:#?}");
    assert_eq!(counted(&reports_of(&reports, READER)), 40, "{reports:#?}");
    assert_eq!(counted(&reports_of(&reports, WRITER)), 14, "{reports:#?}");
}

/// A count of reports, and `-T`: an empty line, then the time.
#[test]
fn reports_have_their_time() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    let start = Instant::now();
    let tool = Tool::start("bitesize", &["-T", "-d", device.name(), "1", "2"]);
    programs.run(WRITER, &device, 4096, 7);
    let ended = tool.wait().success();
    assert!(start.elapsed() >= Duration::from_secs(2));
    let lines = ended.lines();
    assert_eq!(lines[..2], [BANNER, ""], "{lines:#?}");
    let shape = |line: &str| -> String {
        let zero = |c: char| if c.is_ascii_digit() { '0' } else { c };
        line.chars().map(zero).collect()
    };
    let times = lines.iter().filter(|line| shape(line) == "00:00:00");
    assert_eq!(times.count(), 2, "{lines:#?}");
    assert_eq!(shape(lines[2]), "00:00:00", "{lines:#?}");
    let rows = [(0, 0), (2, 0), (4, 7)];
    assert_eq!(
        ended.stdout.matches(&section(WRITER, &rows, 7)).count(),
        1,
        "{lines:#?}"
    );

    let tool = Tool::start("bitesize", &["-d", device.name(), "1", "1"]);
    programs.run(WRITER, &device, 4096, 7);
    let ended = tool.wait().success();
    assert_eq!(
        ended.stdout,
        format!("{BANNER}\n\n{}", section(WRITER, &rows, 7))
    );
}

#[test]
fn the_cgroup_is_the_owners() {
    let (device, programs) = (LoopDevice::new(4 << 20), Programs::new());
    let (inside, outside) = (Cgroup::new(), Cgroup::new());
    let below = Cgroup::below(&inside.0);
    let args = ["--json", "-d", device.name(), "--cgroup", inside.path()];
    let tool = Tool::start("bitesize", &args);
    for (group, reads) in [(&inside, 10), (&outside, 20), (&below, 5)] {
        let command = programs.command(READER, &device, 4096, reads);
        let args: Vec<_> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        run_command(group.command(command.get_program().as_ref(), &args)).success();
    }
    let reports = tool.stop().success().json();
    assert_eq!(counted(&reports_of(&reports, READER)), 15, "{reports:#?}");
    assert_eq!(reports.len(), 1, "{reports:#?}");
}

#[test]
fn partitions_and_wrong_disks_are_told_apart() {
    let device = LoopDevice::with_partition(4 << 20, 2 << 20);
    let part = device.partition();
    let tool = Tool::start("bitesize", &["--json", "--disk", &part]);
    for (path, count) in [
        (part.as_str(), "30"),
        (device.path.to_str().expect("UTF-8"), "20"),
    ] {
        let mut command = Command::new(bin("bpfcc-workload"));
        command.args(["reads", path, count]);
        run_command(command).success();
    }
    let reports = tool.stop().success().json();
    assert_eq!(
        counted(&reports_of(&reports, "bpfcc-workload")),
        30,
        "{reports:#?}"
    );

    for disk in ["nosuchdisk", "null"] {
        let ended = run("bitesize", &["-d", disk]);
        assert_eq!(code(ended.status), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(disk), "{}", ended.stderr);
    }
}

/// A disk's scheduler hands requests over to whoever comes by; the names are still
/// those of who made them.
#[test]
fn names_are_not_of_who_issues() {
    if !in_vm() {
        return; // the module
    }
    let disk = NullBlk::new(&[
        ("irqmode", "2"),
        ("completion_nsec", "5000000"),
        ("hw_queue_depth", "1"),
        ("submit_queues", "1"),
        ("size", "16"),
    ]);
    disk.schedule("mq-deadline");
    let path = format!("/dev/{}", disk.name);
    let programs = Programs::new();
    let tool = Tool::start("bitesize", &["--json", "-d", &disk.name]);
    let mut children: Vec<_> = [(READER, "4k", 20), (WRITER, "8k", 20), (READER, "16k", 20)]
        .map(|(name, bytes, count)| {
            let mut command = Command::new(programs.0.join(name));
            command.args([&format!("bs={bytes}"), &format!("count={count}")]);
            command.args([
                &format!("if={path}"),
                "of=/dev/null",
                "iflag=direct",
                "status=none",
            ]);
            command.spawn().expect("dd")
        })
        .into();
    assert!(children.iter_mut().all(|child| wait_for(child).success()));
    let reports = tool.stop().success().json();
    assert_eq!(counted(&reports_of(&reports, READER)), 40, "{reports:#?}");
    assert_eq!(counted(&reports_of(&reports, WRITER)), 20, "{reports:#?}");
    assert_eq!(reports_of(&reports, WRITER)[0]["total_bytes"], 20 * 8192);
    assert_eq!(reports.len(), 2, "{reports:#?}");
}

/// What the driver gives back is issued again, and counts once.
#[test]
fn an_io_that_is_issued_again_counts_once() {
    if !in_vm() {
        return; // the module
    }
    let disk = ScsiDisk::new();
    let programs = Programs::new();
    let tool = Tool::start("bitesize", &["--json", "-d", &disk.name]);
    disk.be_busy();
    let mut dd = Command::new(programs.0.join(READER));
    dd.args(["bs=4k", "count=100", "of=/dev/null", "iflag=direct"]);
    dd.arg(format!("if=/dev/{}", disk.name));
    run_command(dd).success();
    drop(disk);
    let reports = tool.stop().success().json();
    assert_eq!(counted(&reports_of(&reports, READER)), 100, "{reports:#?}");
}
