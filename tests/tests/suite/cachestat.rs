// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cachestat` against files of known size, in a cgroup where nobody else is.

use std::path::Path;
use std::time::{Duration, Instant};

use bpfcc_tests::files::{Hand, Mounted, pages};
use bpfcc_tests::*;
use serde_json::Value;

const HEADER: &str = "    HITS   MISSES  DIRTIES HITRATIO   BUFFERS_MB  CACHED_MB";

/// The ways to see accesses that this kernel allows, the tool's first choice first.
fn ways() -> Vec<&'static str> {
    let all = ["tp_btf", "fentry", "kprobe", "fentry-page", "kprobe-page"];
    // What newer kernels hardly call is no way there.
    let has_folios = kernel() >= (5, 16);
    let works = |way: &&str| {
        if has_folios && way.ends_with("-page") {
            return false;
        }
        let mut command = command("cachestat");
        command.env("BPFCC_RS_HOOKS", format!("accessed={way}"));
        command.args(["1", "1"]);
        run_command(command).status.success()
    };
    let ways: Vec<_> = all.into_iter().filter(works).collect();
    println!("ways: {ways:?}");
    assert!(!ways.is_empty());
    assert!(ways.len() >= 2 || !in_vm());
    ways
}

/// What one thing that the hand does counts.
#[track_caller]
fn counted(way: &str, hand: &mut Hand, what: &str, path: &Path, number: u64) -> Value {
    let mut command = command("cachestat");
    command.env("BPFCC_RS_HOOKS", format!("accessed={way}"));
    command.args([
        "--verbose",
        "--json",
        "1000",
        "--cgroup",
        hand.cgroup.path(),
    ]);
    let tool = Tool::spawn(command);
    hand.act(what, path, number);
    let ended = tool.stop().success();
    // Newer kernels skip a program for one that they have interrupted in the middle.
    assert!(ended.lost() <= 8, "{}", ended.stderr);
    let mut rows = ended.json();
    assert_eq!(rows.len(), 1, "{rows:?}");
    println!("{way} {what} {number}: {}", rows[0]);
    rows.remove(0)
}

/// As [`counted`], where so many pages are to come in, with the file brought into the
/// same state before. A machine that reclaims memory by itself (DAMON) takes back
/// pages in the middle: then once more.
#[track_caller]
fn measured(
    way: &str,
    hand: &mut Hand,
    (before, what): (&str, &str),
    (path, number): (&Path, u64),
    added: u64,
) -> Value {
    let mut tries = 0;
    loop {
        tries += 1;
        hand.act(before, path, 4096);
        let row = counted(way, hand, what, path, number);
        let came = row["added_pages"].as_u64().expect("added_pages");
        if came.abs_diff(added) <= 8 || tries == 5 {
            return row;
        }
    }
}

/// Within 2 %; a few for metadata.
#[track_caller]
fn is_about(row: &Value, key: &str, wanted: u64) {
    let value = row[key].as_u64().expect(key);
    let slack = wanted / 50 + 8;
    assert!(
        value.abs_diff(wanted) <= slack,
        "{key}: {value}, not {wanted}: {row}"
    );
}

#[test]
fn cold_reads_miss_and_warm_reads_hit() {
    let _alone = MayAttach::alone();
    let disk = Mounted::ext4(96 << 20);
    let file = disk.path("file");
    let mut hand = Hand::new();
    hand.act("make", &file, 32 << 20);
    let all = pages(&file);
    for way in ways() {
        for block in [128 << 10, 4096, 1000] {
            let cold = measured(way, &mut hand, ("drop", "read"), (&file, block), all);
            is_about(&cold, "misses", all);
            is_about(&cold, "hits", 0);
            is_about(&cold, "added_pages", all);
            let warm = measured(way, &mut hand, ("read", "read"), (&file, block), 0);
            is_about(&warm, "hits", all);
            is_about(&warm, "misses", 0);
            assert!(warm["hit_ratio_pct"].as_f64().expect("a ratio") > 99.0);
            for row in [&cold, &warm] {
                is_about(row, "dirties", 0);
            }
        }
        // The functions count a folio whole; sendfile's pages twice from 6.12 on.
        let most = if way == "tp_btf" { 1 } else { 2 };
        let sent = measured(way, &mut hand, ("read", "send"), (&file, 1 << 20), 0);
        let hits = sent["hits"].as_u64().expect("hits");
        assert!(
            hits >= all - all / 50 && hits <= most * all + all / 50,
            "{sent}"
        );
        let mapped = measured(way, &mut hand, ("read", "map"), (&file, all), 0);
        let hits = mapped["hits"].as_u64().expect("hits");
        assert!(hits > 0 && hits <= all + all / 50, "{mapped}");
        is_about(&mapped, "misses", 0);
        if most == 1 || kernel() < (6, 12) {
            let some = measured(way, &mut hand, ("read", "scatter"), (&file, 1000), 0);
            is_about(&some, "hits", 1000);
        }
    }
}

/// A small file that is opened anew is read anew.
#[test]
fn small_files_count_each_time() {
    let _alone = MayAttach::alone();
    let disk = Mounted::ext4(16 << 20);
    let file = disk.path("small");
    let mut hand = Hand::new();
    hand.act("make", &file, 5000);
    hand.act("read", &file, 100);
    for way in ways() {
        let row = counted(way, &mut hand, "read", &file, 100);
        assert!(
            (2..=3).contains(&row["hits"].as_u64().expect("hits")),
            "{row}"
        );
    }
}

#[test]
fn writes_dirty_and_do_not_miss() {
    let _alone = MayAttach::alone();
    let disk = Mounted::ext4(96 << 20);
    let mut hand = Hand::new();
    let bytes = 16 << 20;
    for way in ways() {
        let file = disk.path(way);
        let new = counted(way, &mut hand, "write", &file, bytes);
        let all = pages(&file);
        assert_eq!(all, bytes / 4096);
        is_about(&new, "dirties", all);
        is_about(&new, "added_pages", all);
        is_about(&new, "added_to_write_pages", all);
        is_about(&new, "misses", 0);
        // Each page makes ext4 look up the file's inode, to write to that.
        assert!(new["hits"].as_u64().expect("hits") <= all / 20, "{new}");
        let again = counted(way, &mut hand, "write", &file, bytes);
        is_about(&again, "dirties", all);
        is_about(&again, "added_pages", 0);
        is_about(&again, "misses", 0);
        // What was read first is no write's for being written to then.
        hand.act("drop", &file, 0);
        let tool = Tool::start(
            "cachestat",
            &["--json", "1000", "--cgroup", hand.cgroup.path()],
        );
        hand.act("read", &file, 4096);
        hand.act("write", &file, bytes);
        let row = &tool.stop().success().json()[0];
        is_about(row, "misses", all);
        is_about(row, "dirties", all);
        std::fs::remove_file(&file).expect("remove");
    }
}

#[test]
fn others_are_not_counted() {
    let disk = Mounted::ext4(64 << 20);
    let (mine, theirs) = (disk.path("mine"), disk.path("theirs"));
    let (mut hand, mut other) = (Hand::new(), Hand::new());
    hand.act("make", &mine, 4 << 20);
    other.act("make", &theirs, 16 << 20);
    let tool = Tool::start(
        "cachestat",
        &["--json", "1000", "--cgroup", hand.cgroup.path()],
    );
    hand.act("read", &mine, 4096);
    for _ in 0..3 {
        other.act("read", &theirs, 4096);
    }
    other.act("write", &disk.path("new"), 1 << 20);
    let row = &tool.stop().success().json()[0];
    is_about(row, "misses", 1024);
    is_about(row, "hits", 0);
    is_about(row, "dirties", 0);
}

/// What was counted in one interval is not counted again in the next.
#[test]
fn intervals_add_up() {
    let disk = Mounted::ext4(32 << 20);
    let file = disk.path("file");
    let mut hand = Hand::new();
    hand.act("make", &file, 4 << 20);
    hand.act("read", &file, 4096);
    let tool = Tool::start("cachestat", &["--json", "--cgroup", hand.cgroup.path()]);
    for _ in 0..3 {
        hand.act("read", &file, 4096);
        tool.wait_for_line(|line| line.starts_with('{'));
    }
    let rows = tool.stop().success().json();
    assert!(rows.len() >= 4, "{rows:#?}");
    let sum: u64 = rows
        .iter()
        .flat_map(|row| [&row["hits"], &row["misses"]])
        .map(|count| count.as_u64().expect("a count"))
        .sum();
    // Where memory is reclaimed, the process may fault in some of itself again.
    assert!((3072..3072 + 61).contains(&sum), "{sum}: {rows:#?}");
}

/// `8213       57       41   99.31%           96      10842`, in columns.
#[track_caller]
fn is_row(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [hits, misses, dirties, ratio, buffers, cached] = words[..] else {
        panic!("{line:?}");
    };
    let ratio = ratio.strip_suffix('%').expect("a ratio");
    assert_eq!(ratio.split_once('.').expect("a point").1.len(), 2, "{line}");
    assert_eq!(
        line,
        format!("{hits:>8} {misses:>8} {dirties:>8} {ratio:>7}% {buffers:>12} {cached:>10}")
    );
}

#[test]
fn text_is_bccs() {
    let tool = Tool::start("cachestat", &[]);
    tool.wait_for_line(|line| line.contains('%'));
    let ended = tool.stop().success();
    let lines = ended.lines();
    assert_eq!(lines[0], HEADER);
    assert!(lines.len() >= 4, "{lines:?}"); // the last row is of a part of an interval
    let (last, rows) = lines[1..].split_last().expect("rows");
    rows.iter().for_each(|line| is_row(line));
    assert_eq!(*last, "Detaching...");

    let ended = Tool::start("cachestat", &["-T", "1", "2"]).wait().success();
    let lines = ended.lines();
    assert_eq!(lines.len(), 3, "{lines:?}"); // nothing was interrupted
    assert_eq!(lines[0], format!("TIME     {HEADER}"));
    for line in &lines[1..] {
        let (time, row) = line.split_at(9);
        let parts: Vec<_> = time.trim_end().split(':').collect();
        assert!(
            parts.len() == 3 && parts.iter().all(|part| part.len() == 2),
            "{line}"
        );
        is_row(row);
    }
}

#[test]
fn counts_and_durations_end_it() {
    let start = Instant::now();
    let ended = Tool::start("cachestat", &["1", "2"]).wait().success();
    assert_eq!(ended.lines().len(), 3);
    assert!(start.elapsed() >= Duration::from_secs(2));
    // As in BCC: for ever.
    for count in ["0", "-1"] {
        let args = ["1", count, "--duration", "2"];
        let ended = Tool::start("cachestat", &args).wait().success();
        let lines = ended.lines();
        assert!(
            lines.len() >= 3 && !ended.stdout.contains("Detaching"),
            "{lines:?}"
        );
    }
}

/// The machine's own account.
#[test]
fn memory_is_as_in_meminfo() {
    let row = &run("cachestat", &["--json", "1", "1"]).success().json()[0];
    let text = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    for (key, name) in [("cached_kib", "Cached:"), ("buffers_kib", "Buffers:")] {
        let value: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))
            .and_then(|value| value.parse().ok())
            .expect(name);
        let shown = row[key].as_u64().expect(key);
        assert!(
            shown.abs_diff(value) < value / 2 + (256 << 10),
            "{key}: {shown} {value}"
        );
    }
}
