// SPDX-License-Identifier: MIT OR Apache-2.0
//! `biosnoop` against what was asked of a device, and the kernel's own count.

use std::process::Command;
use std::time::{Duration, Instant};

use bpfcc_tests::*;
use serde_json::Value;

const HEADER: &str = "TIME(s)     COMM           PID     DISK      T SECTOR     BYTES  ";

/// Direct I/O of 4 KiB each, from the device's start; the process that does it.
fn direct(kind: &str, device: &str, count: u32) -> u64 {
    let mut child = Command::new(bin("bpfcc-workload"))
        .args([kind, device, &count.to_string()])
        .spawn()
        .expect("bpfcc-workload");
    let pid = child.id();
    assert!(wait_for(&mut child).success());
    pid.into()
}

fn of(rows: &[Value], pid: u64) -> Vec<&Value> {
    rows.iter().filter(|row| row["pid"] == pid).collect()
}

/// Each of the process's I/Os, in its order.
#[track_caller]
fn assert_each(rows: &[Value], pid: u64, rwbs: char, blocks: u64, count: u64) {
    let rows = of(rows, pid);
    assert_eq!(rows.len() as u64, count, "{rows:#?}");
    for (row, index) in rows.iter().zip(0..) {
        assert_eq!(row["comm"], "bpfcc-workload", "{row}");
        assert_eq!(row["tid"], pid, "{row}");
        assert_eq!(row["sector"], index % blocks * 8, "{row}");
        assert_eq!(row["bytes"], 4096, "{row}");
        assert!(
            row["rwbs"].as_str().expect("rwbs").starts_with(rwbs),
            "{row}"
        );
        assert_eq!(row["error"], Value::Null, "{row}");
        assert!(
            row["latency_us"].as_f64().expect("a latency") > 0.0,
            "{row}"
        );
        assert!(row["queue_us"].as_f64().expect("a time") >= 0.0, "{row}");
    }
}

/// A row for every I/O that the kernel counts, of reads, writes, a flush and a
/// discard, and each as it was asked for.
#[test]
fn rows_are_the_ios_of_diskstats() {
    let device = LoopDevice::new(1 << 20);
    let path = device.path.to_str().expect("UTF-8");
    let _alone = MayAttach::alone();
    let tool = Tool::start("biosnoop", &["--json", "-d", device.name()]);
    let before = completed_ios(device.name());
    let reader = direct("reads", path, 300);
    let writer = direct("writes", path, 200);
    device.write_flush_discard();
    let done = completed_ios(device.name()) - before;
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0);
    let rows = ended.json();
    assert_eq!(rows.len() as u64, done, "{rows:#?}");
    assert_each(&rows, reader, 'R', 256, 300);
    assert_each(&rows, writer, 'W', 256, 200);
    let find = |letter| {
        let found = rows.iter().find(|row| {
            row["rwbs"]
                .as_str()
                .is_some_and(|text| text.starts_with(letter))
        });
        found.unwrap_or_else(|| panic!("no {letter}: {rows:#?}"))
    };
    // Loop devices of some file systems write zeros instead.
    let discard = rows
        .iter()
        .find(|row| row["comm"] == "blkdiscard" && row["bytes"] == 65536);
    assert_eq!(discard.expect("the discard")["sector"], 0);
    assert_eq!(find('F')["bytes"], 0);
    assert!(rows.iter().all(|row| row["disk"] == device.name()));
}

/// The same on a disk whose I/Os complete in an interrupt.
#[test]
fn requests_of_null_blk_are_shown() {
    if !in_vm() {
        return; // the module
    }
    let _alone = MayAttach::alone();
    let tool = Tool::start("biosnoop", &["--json", "-d", "nullb0"]);
    let before = completed_ios("nullb0");
    let reader = direct("reads", "/dev/nullb0", 300);
    let writer = direct("writes", "/dev/nullb0", 200);
    let done = completed_ios("nullb0") - before;
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0);
    let rows = ended.json();
    assert_eq!((rows.len() as u64, done), (500, 500));
    assert_each(&rows, reader, 'R', u64::MAX, 300);
    assert_each(&rows, writer, 'W', u64::MAX, 200);
}

/// Header and rows put together again by BCC's format.
#[test]
fn text_is_bccs() {
    let device = LoopDevice::new(1 << 20);
    let path = device.path.to_str().expect("UTF-8");
    for (options, more) in [
        (&[][..], "LAT(ms)"),
        (&["-P"], "P LAT(ms)"),
        (&["-Q"], "QUE(ms) LAT(ms)"),
        (&["--queued", "--pattern"], "P QUE(ms) LAT(ms)"),
    ] {
        let tool = Tool::start("biosnoop", &[&["-d", device.name()], options].concat());
        let pid = direct("writes", path, 20);
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[0], format!("{HEADER}{more}"));
        let rows: Vec<_> = lines
            .iter()
            .filter(|line| line.contains(" bpfcc-workload "))
            .collect();
        assert_eq!(rows.len(), 20, "{lines:#?}");
        for (line, index) in rows.iter().zip(0..) {
            let words: Vec<_> = line.split_whitespace().collect();
            let time: f64 = words[0].parse().expect("a time");
            let mut row = format!(
                "{time:<11.6} {:<14} {pid:<7} {:<9} W {:<10} {:<7}",
                "bpfcc-workload",
                device.name(),
                index * 8,
                4096
            );
            let mut rest = words[7..].iter();
            if more.starts_with('P') {
                row.push_str(&format!("{} ", rest.next().expect("a pattern")));
            }
            if more.contains("QUE") {
                let queue: f64 = rest.next().expect("a time").parse().expect("a time");
                row.push_str(&format!("{queue:>7.2} "));
            }
            let latency: f64 = rest.next().expect("a time").parse().expect("a time");
            row.push_str(&format!("{latency:>7.2}"));
            assert_eq!(**line, row);
        }
    }
}

/// Names and sizes that fill their columns stay apart.
#[test]
fn large_requests_have_a_gap() {
    let device = LoopDevice::new(4 << 20);
    let tool = Tool::start("biosnoop", &["-d", device.name()]);
    let status = Command::new("dd")
        .args([
            "of=/dev/null",
            "bs=1M",
            "count=1",
            "iflag=direct",
            "status=none",
        ])
        .arg(format!("if={}", device.path.display()))
        .status();
    assert!(status.expect("dd").success());
    let ended = tool.stop().success();
    let lines = ended.lines();
    let row = lines
        .iter()
        .find(|line| line.contains(" dd "))
        .expect("a row");
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words.len(), 8, "{row}");
}

/// `-P`: where the one begins, the other has ended.
#[test]
fn patterns_are_the_disks() {
    let device = LoopDevice::new(32 << 10);
    let other = LoopDevice::new(32 << 10);
    let args = ["--json", "-P"];
    let tool = Tool::start("biosnoop", &args);
    for _ in 0..10 {
        direct("reads", other.path.to_str().expect("UTF-8"), 1);
    }
    let pid = direct("reads", device.path.to_str().expect("UTF-8"), 18);
    let rows = tool.stop().success().json();
    let patterns: Vec<_> = of(&rows, pid)
        .iter()
        .map(|row| row["pattern"].as_str().unwrap_or("?"))
        .collect();
    let mut expected = vec!["sequential"; 18];
    expected[0] = "?";
    expected[8] = "random";
    expected[16] = "random";
    assert_eq!(patterns, expected);
    // Each of them begins where the last has begun.
    let others: Vec<_> = rows
        .iter()
        .filter(|row| row["disk"] == other.name())
        .collect();
    assert_eq!(others.len(), 10);
    assert!(others[1..].iter().all(|row| row["pattern"] == "random"));
}

/// Commands that have data, but no place on the disk, are no part of the pattern.
#[test]
fn commands_without_a_place_have_no_pattern() {
    if !in_vm() {
        return; // the module
    }
    let disk = ScsiDisk::new();
    let path = format!("/dev/{}", disk.name);
    // Before Linux 5.17 such a command does not name its disk, so not `-d`.
    let tool = Tool::start("biosnoop", &["--json", "-P"]);
    let read = |skip: u32| {
        let mut dd = Command::new("dd");
        dd.args(["of=/dev/null", "bs=4k", "count=1", "iflag=direct"]);
        dd.args([&format!("if={path}"), &format!("skip={skip}")]);
        run_command(dd).success();
    };
    read(4);
    disk.ask_its_size();
    read(5);
    let rows = tool.stop().success().json();
    let is_read = |row: &&Value| row["disk"] == *disk.name && row["comm"] == "dd";
    let patterns: Vec<_> = rows
        .iter()
        .filter(is_read)
        .map(|row| &row["pattern"])
        .collect();
    assert_eq!(patterns[1..], ["sequential"], "{rows:#?}");
    let commands: Vec<_> = rows.iter().filter(|row| row["sector"].is_null()).collect();
    let with_data = commands.iter().filter(|row| row["bytes"] != 0);
    assert!(with_data.count() > 0, "{rows:#?}");
    assert!(
        commands.iter().all(|row| row["pattern"].is_null()),
        "{rows:#?}"
    );
}

/// What the driver gives back is issued again, and is one I/O.
#[test]
fn an_io_that_is_issued_again_is_one() {
    if !in_vm() {
        return; // the module
    }
    let disk = ScsiDisk::new();
    let tool = Tool::start("biosnoop", &["--json", "-d", &disk.name]);
    disk.be_busy();
    let reader = direct("reads", &format!("/dev/{}", disk.name), 100);
    drop(disk);
    assert_each(&tool.stop().success().json(), reader, 'R', 2048, 100);
}

/// Partitions by their own name, and wrong disks by a usage error.
#[test]
fn disks_and_partitions_are_told_apart() {
    let device = LoopDevice::with_partition(4 << 20, 2 << 20);
    let (path, part) = (device.path.display().to_string(), device.partition());
    let name = part.trim_start_matches("/dev/");
    let tool = Tool::start("biosnoop", &["--json", "-d", name]);
    let whole = Tool::start("biosnoop", &["--json", "-d", device.name()]);
    let inside = direct("reads", &part, 30);
    let outside = direct("reads", &path, 20);
    let rows = tool.stop().success().json();
    assert_eq!((of(&rows, inside).len(), of(&rows, outside).len()), (30, 0));
    let first = of(&rows, inside)[0];
    assert_eq!(
        (&first["sector"], &first["disk"]),
        (&4096.into(), &device.name().into())
    );
    let of_part = first["dev"].clone();
    let rows = whole.stop().success().json();
    assert_eq!(
        (of(&rows, inside).len(), of(&rows, outside).len()),
        (30, 20)
    );
    assert_eq!(of(&rows, inside)[0]["dev"], of_part);
    assert_ne!(of(&rows, outside)[0]["dev"], of_part);

    for disk in ["nosuchdisk", "/dev/nosuchdisk", "null", "../etc"] {
        let ended = run("biosnoop", &["-d", disk]);
        assert_eq!(code(ended.status), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(disk), "{}", ended.stderr);
    }
}

/// The task's cgroup and those below, by either name of the option.
#[test]
fn the_cgroup_is_the_owners() {
    let device = LoopDevice::new(1 << 20);
    let (inside, outside) = (Cgroup::new(), Cgroup::new());
    let below = Cgroup::below(&inside.0);
    for option in ["-c", "--cgroup"] {
        let args = ["--json", "-d", device.name(), option, inside.path()];
        let tool = Tool::start("biosnoop", &args);
        for (group, reads) in [(&inside, "100"), (&outside, "200"), (&below, "50")] {
            let args = ["reads", device.path.to_str().expect("UTF-8"), reads];
            run_command(group.command(&bin("bpfcc-workload"), &args)).success();
        }
        let rows = tool.stop().success().json();
        let rows_of = |group: &Cgroup| {
            let path = group
                .path()
                .trim_start_matches(cgroup2_root().to_str().expect("UTF-8"));
            rows.iter().filter(|row| row["cgroup"] == path).count()
        };
        assert_eq!((rows_of(&inside), rows_of(&below)), (100, 50), "{rows:#?}");
        assert_eq!(rows.len(), 150, "{rows:#?}");
    }
}

/// An I/O of the cgroup that is not shown is told as lost: where the kernel preempts
/// programs, it skips some for the tasks that come between.
#[test]
fn what_is_lost_of_a_cgroup_is_told() {
    let device = LoopDevice::new(1 << 20);
    let group = Cgroup::new();
    let args = ["--json", "-d", device.name(), "--cgroup", group.path()];
    let tool = Tool::start("biosnoop", &args);
    let mut readers: Vec<_> = (0..4)
        .map(|_| {
            let args = ["reads", device.path.to_str().expect("UTF-8"), "1000"];
            let mut command = group.command(&bin("bpfcc-workload"), &args);
            command.spawn().expect("bpfcc-workload")
        })
        .collect();
    assert!(readers.iter_mut().all(|child| wait_for(child).success()));
    let ended = tool.stop().success();
    let shown = ended
        .json()
        .iter()
        .filter(|row| row["pid"].is_u64())
        .count() as u64;
    assert!(shown <= 4000, "{shown}");
    assert!(shown + ended.lost() >= 4000, "{shown}, {}", ended.lost());
}

/// `-m`: beside a tool that shows all.
#[test]
fn short_ios_are_left_out() {
    let device = LoopDevice::new(1 << 20);
    let path = device.path.to_str().expect("UTF-8");
    let start = |min: &[&str]| {
        Tool::start(
            "biosnoop",
            &[&["--json", "-d", device.name()], min].concat(),
        )
    };
    let [all, long, none] = [&[][..], &["-m", "1"], &["--min", "600000"]].map(start);
    direct("writes", path, 500);
    for _ in 0..20 {
        device.write_flush_discard();
    }
    let [all, long, none] = [all, long, none].map(|tool| tool.stop().success().json());
    let longer_than = |rows: &[Value], least: f64| {
        let latencies = rows.iter().filter_map(|row| row["latency_us"].as_f64());
        latencies.filter(|latency| *latency >= least).count()
    };
    assert_eq!(longer_than(&long, 1000.0), long.len());
    assert!(none.is_empty(), "{none:#?}");
    // The two see an I/O one after the other.
    assert!(long.len() >= longer_than(&all, 1500.0));
    assert!(long.len() <= longer_than(&all, 500.0));
    assert!(long.len() < all.len());
}

/// `-t`, and the end after so many seconds in either form.
#[test]
fn time_of_day_and_duration() {
    let device = LoopDevice::new(1 << 20);
    let path = device.path.to_str().expect("UTF-8");
    let tool = Tool::start("biosnoop", &["-t", "-d", device.name()]);
    direct("reads", path, 3);
    let ended = tool.stop().success();
    let lines = ended.lines();
    assert_eq!(
        lines[0],
        format!("TIMESTAMP    {}LAT(ms)", &HEADER[12..]),
        "{lines:#?}"
    );
    for line in &lines[1..] {
        let shape: String = line[..13]
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "00:00:00.000 ", "{line}");
    }
    assert_eq!(lines.len(), 4, "{lines:#?}");

    for args in [&["1"][..], &["--duration", "1"]] {
        let start = Instant::now();
        run("biosnoop", args).success();
        assert!(start.elapsed() >= Duration::from_secs(1));
    }
    for args in [&["0"][..], &["x"], &["1", "--duration", "1"], &["-m", "-1"]] {
        assert_eq!(code(run("biosnoop", args).status), 2, "{args:?}");
    }
}

/// A disk that takes its time, one request after the other, and fails some.
#[test]
fn queues_latencies_and_errors_are_the_disks() {
    if !in_vm() {
        return; // the module
    }
    let disk = NullBlk::new(&[
        ("irqmode", "2"),
        ("completion_nsec", "20000000"),
        ("hw_queue_depth", "1"),
        ("submit_queues", "1"),
        ("size", "16"),
        ("memory_backed", "1"),
        ("badblocks", "+800-807"),
    ]);
    disk.schedule("mq-deadline");
    let path = format!("/dev/{}", disk.name);
    let tool = Tool::start("biosnoop", &["--json", "-Q", "-d", &disk.name]);
    let mut readers: Vec<_> = (0..4)
        .map(|_| {
            let mut command = Command::new(bin("bpfcc-workload"));
            command
                .args(["reads", &path, "25"])
                .spawn()
                .expect("bpfcc-workload")
        })
        .collect();
    let pids: Vec<_> = readers.iter().map(|child| u64::from(child.id())).collect();
    assert!(readers.iter_mut().all(|child| wait_for(child).success()));
    let mut failing = Command::new("dd")
        .args([
            "of=/dev/null",
            "bs=4k",
            "skip=100",
            "count=1",
            "iflag=direct",
            "status=none",
        ])
        .arg(format!("if={path}"))
        .spawn()
        .expect("dd");
    let failed = u64::from(failing.id());
    assert!(!wait_for(&mut failing).success());
    let rows = tool.stop().success().json();
    for pid in pids.iter().copied() {
        assert_each(&rows, pid, 'R', 4096, 25);
    }
    let number = |row: &Value, key: &str| row[key].as_f64().expect("a number");
    let ours: Vec<_> = rows.iter().filter(|row| row["pid"] != failed).collect();
    assert!(
        ours.iter().all(|row| number(row, "latency_us") >= 20_000.0),
        "{rows:#?}"
    );
    let waited = ours
        .iter()
        .filter(|row| number(row, "queue_us") >= 10_000.0)
        .count();
    // How long the readers were at it together is a matter of time.
    assert!(waited >= 10, "{rows:#?}");
    let errors: Vec<_> = of(&rows, failed)
        .iter()
        .map(|row| row["error"].clone())
        .collect();
    assert!(
        !errors.is_empty() && errors.iter().all(|error| error == "EIO"),
        "{rows:#?}"
    );
}
