// SPDX-License-Identifier: MIT OR Apache-2.0
//! `runqlat` against the kernel's own accounts of its tasks. Those count also what no
//! program sees where some task is hidden (`undisturbed`): who comes to the CPU after
//! that task, and who is woken while it is there.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use bpfcc_tests::*;
use serde_json::Value;

const BANNER: &str = "Tracing run queue latency... Hit Ctrl-C to end.";

/// A process whose threads sleep and work when told to, all on one processor
/// with one that never sleeps; else they are blocked.
struct Waits {
    child: Child,
    stdout: BufReader<ChildStdout>,
    spinner: Child,
    tids: Vec<u32>,
}

impl Waits {
    fn new(threads: usize) -> Self {
        Self::spawn(threads, Command::new)
    }

    fn spawn(threads: usize, command: impl FnOnce(&'static str) -> Command) -> Self {
        let workload = bin("bpfcc-workload");
        // The last processor that may be used: in small machines the only one.
        let cpu = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
        let cpu = cpu.to_string();
        let spinner = Command::new("taskset")
            .args(["-c", &cpu])
            .arg(&workload)
            .arg("spin")
            .spawn()
            .expect("taskset");
        let mut child = command("taskset")
            .args(["-c", &cpu])
            .arg(&workload)
            .args(["waits", &threads.to_string(), "60"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("threads");
        let tids = line.split_whitespace();
        let tids = tids.map(|tid| tid.parse().expect("a thread")).collect();
        Self {
            child,
            stdout,
            spinner,
            tids,
        }
    }

    fn pid(&self) -> u32 {
        self.tids[0]
    }

    /// Lets the threads work once, to the end.
    fn work(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        stdin.write_all(b"go\n").expect("start");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("end");
        assert_eq!(line, "done\n");
        self.settle();
    }

    /// Waits until all threads are blocked.
    fn settle(&self) {
        for &tid in &self.tids {
            let deadline = Instant::now() + PATIENCE;
            until("the thread sleeps", deadline, || {
                let status = task(self.pid(), tid, "status");
                status.contains("State:\tS").then_some(())
            });
        }
    }

    fn account(&self) -> Account {
        let of = |&tid| Account::of(self.pid(), tid);
        let sum = |sum: Account, next: Account| Account {
            switches: sum.switches + next.switches,
            timeslices: sum.timeslices + next.timeslices,
            run_delay: sum.run_delay + next.run_delay,
        };
        self.tids.iter().map(of).fold(Account::default(), sum)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        for child in [&mut self.child, &mut self.spinner] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn task(pid: u32, tid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).expect("a task's file")
}

/// What the kernel keeps of a task.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// How often it has left the CPU.
    switches: u64,
    /// How often it came there after it had waited, by `schedstat`. From Linux 5.14
    /// that leaves out the waits of a task that was preempted on its way to sleep.
    timeslices: u64,
    /// How long it has waited, by `schedstat`, in nanoseconds.
    run_delay: u64,
}

impl Account {
    fn of(pid: u32, tid: u32) -> Self {
        let status = task(pid, tid, "status");
        let switches = status
            .lines()
            .filter(|line| line.contains("_ctxt_switches"))
            .filter_map(|line| line.split_whitespace().nth(1))
            .map(|count| count.parse::<u64>().expect("a count"));
        let schedstat = task(pid, tid, "schedstat");
        let mut fields = schedstat.split_whitespace().skip(1);
        let mut next = || fields.next().expect("a field").parse().expect("a number");
        Self {
            switches: switches.sum(),
            run_delay: next(),
            timeslices: next(),
        }
    }
}

/// What a tool is to have counted: a task that is blocked at both ends has come to
/// the CPU as often as it has left it, and each time it had waited. All that has
/// happened until `done` was seen; all that was seen had happened at `end`. They
/// are mostly the same.
struct Expected {
    start: Account,
    done: Account,
    end: Account,
}

impl Expected {
    #[track_caller]
    fn is(&self, count: u64) {
        let Self { start, done, end } = self;
        let seen = done.switches - start.switches..=end.switches - start.switches;
        assert!(
            seen.contains(&count),
            "{count} of {seen:?}: {start:?} {done:?} {end:?}"
        );
        let timeslices = done.timeslices - start.timeslices;
        assert!(
            count >= timeslices && timeslices > 10,
            "{count}, {timeslices}"
        );
    }
}

fn field(row: &Value, name: &str) -> u64 {
    row[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} of {row}"))
}

fn count(row: &Value) -> u64 {
    let buckets = row["data"].as_array().expect("data");
    let sum: u64 = buckets.iter().map(|bucket| field(bucket, "count")).sum();
    assert_eq!(sum, field(row, "count"), "{row}");
    sum
}

fn start(alternative: &str, args: &[&str]) -> Tool {
    let mut command = command("runqlat");
    command
        .arg("--verbose")
        .args(args)
        .env("BPFCC_RS_HOOKS", format!("switch={alternative}"));
    Tool::spawn(command)
}

/// Rows of the tool, and what it is to have seen of each of `all`, which `work`.
fn rows_of<const N: usize>(
    tool: Tool,
    mut all: [&mut Waits; N],
    work: impl FnOnce(&mut [&mut Waits; N], &Tool),
) -> (Vec<Value>, [Expected; N]) {
    let accounts = |all: &[&mut Waits; N]| all.each_ref().map(|waits| waits.account());
    let start = accounts(&all);
    work(&mut all, &tool);
    let done = accounts(&all);
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0, "{}", ended.stderr);
    let end = accounts(&all);
    let expected = std::array::from_fn(|i| Expected {
        start: start[i],
        done: done[i],
        end: end[i],
    });
    (ended.json(), expected)
}

/// The same where all work once.
fn rows<const N: usize>(tool: Tool, all: [&mut Waits; N]) -> (Vec<Value>, [Expected; N]) {
    rows_of(tool, all, |all, _| {
        all.iter_mut().for_each(|waits| waits.work());
    })
}

/// Each time that a process comes to the CPU is counted, for as long as the
/// kernel says that it has waited.
#[test]
fn counts_and_times_are_the_kernels() {
    let _alone = MayAttach::alone();
    for alternative in ["tp_btf", "raw_tp"] {
        undisturbed(|| {
            let mut waits = Waits::new(3);
            waits.settle();
            let pid = waits.pid().to_string();
            let tool = start(alternative, &["--json", "--percentiles", "-p", &pid]);
            let (rows, expected) = rows(tool, [&mut waits]);
            assert_eq!(rows.len(), 1, "{rows:#?}");
            let row = &rows[0];
            expected[0].is(count(row));
            assert_eq!(row["val_type"], "usecs");
            // The kernel's clock stands still until the next tick in some cases, and an
            // emulated processor anywhere.
            let total = field(row, "total_ns") as f64;
            let theirs = (expected[0].done.run_delay - expected[0].start.run_delay) as f64;
            assert!(
                total > theirs * 0.5 && total < theirs * 2.0,
                "{total} {theirs}"
            );
            let percentiles = &row["percentiles"];
            let max = field(percentiles, "max");
            assert!(field(percentiles, "p50") <= max, "{row}");
            assert!(
                total <= (max + 1) as f64 * 1000.0 * count(row) as f64,
                "{row}"
            );
        });
    }
}

/// Processes and threads have their own histograms, which add up.
#[test]
fn processes_and_threads_are_told_apart() {
    let _alone = MayAttach::alone();
    undisturbed(|| {
        let (mut one, mut two) = (Waits::new(2), Waits::new(1));
        one.settle();
        two.settle();
        let threads = start("tp_btf", &["--json", "-L", "-P", "--pidnss"]);
        let (found, expected) = rows(start("tp_btf", &["--json", "-P"]), [&mut one, &mut two]);
        let by_thread = threads.stop().success().json();
        let sum_of = |rows: &[Value], key: &str, id: u32| -> u64 {
            let own: Vec<_> = rows.iter().filter(|row| row[key] == id).collect();
            assert_eq!(own.len(), 1, "{key} {id}: {own:#?}");
            assert_eq!(own[0]["comm"], "bpfcc-workload");
            count(own[0])
        };
        for (waits, expected) in [&one, &two].into_iter().zip(&expected) {
            expected.is(sum_of(&found, "pid", waits.pid()));
            let of_threads = waits.tids.iter();
            expected.is(of_threads.map(|&tid| sum_of(&by_thread, "tid", tid)).sum());
        }
        assert!(found.iter().all(|row| row["pid"] != 0), "the idle task");
    });
}

/// A process in a PID namespace of its own.
#[test]
fn namespaces_are_told_apart() {
    let _alone = MayAttach::alone();
    undisturbed(|| {
        let mut waits = Waits::spawn(2, |program| {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child", program]);
            command
        });
        waits.settle();
        let inode = |pid: u32| {
            let link = format!("/proc/{pid}/ns/pid");
            fs::metadata(link).expect("a namespace").ino()
        };
        let tool = start("tp_btf", &["--json", "--pidnss"]);
        let own = inode(waits.pid());
        let (rows, expected) = rows(tool, [&mut waits]);
        let of: Vec<_> = rows.iter().filter(|row| row["pidns"] == own).collect();
        assert_eq!(of.len(), 1, "{rows:#?}");
        expected[0].is(count(of[0]));
        let ours = inode(std::process::id());
        assert!(rows.iter().any(|row| row["pidns"] == ours), "{rows:#?}");
        assert!(rows.iter().all(|row| row["comm"].is_null()), "{rows:#?}");
    });
}

/// By the task that waits, and not by who wakes it, which is this process.
#[test]
fn the_cgroup_is_that_of_who_waits() {
    let _alone = MayAttach::alone();
    for option in ["--cgroup", "-c"] {
        undisturbed(|| {
            let group = Cgroup::new();
            let below = Cgroup::below(&group.0);
            let mut inside = Waits::spawn(1, |program| below.command(Path::new(program), &[]));
            let mut outside = Waits::new(1);
            inside.settle();
            outside.settle();
            let tool = start("tp_btf", &["--json", option, group.path()]);
            let (rows, expected) = rows(tool, [&mut inside, &mut outside]);
            assert_eq!(rows.len(), 1, "{rows:#?}");
            expected[0].is(count(&rows[0]));
            drop(inside);
        });
    }
}

/// Banner, blank lines, headings: to the byte, but for the counts.
#[test]
fn text_is_bccs() {
    let _alone = MayAttach::alone();
    let mut waits = Waits::new(1);
    let pid = waits.pid().to_string();
    let cases: [(&[&str], Option<&str>, &str); 6] = [
        (&[], None, "usecs"),
        (&["-m"], None, "msecs"),
        (&["-T", "--milliseconds"], None, "msecs"),
        (&["-P"], Some("pid"), "usecs"),
        (&["-L", "-P", "--pidnss", "-T"], Some("tid"), "usecs"),
        (
            &["--pids", "--pidnss", "--percentiles"],
            Some("pid"),
            "usecs",
        ),
    ];
    for (args, section, unit) in cases {
        waits.settle();
        let tool = start("tp_btf", &[args, &["-p", &pid]].concat());
        waits.work();
        let text = tool.stop().success().stdout;
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap_or_else(|| panic!("{args:?}: {text}"));
        assert_eq!(next(), BANNER);
        assert_eq!(next(), "");
        if args.contains(&"-T") {
            let clock = next();
            assert!(clock.len() == 8 && clock.split(':').count() == 3, "{clock}");
        }
        if let Some(name) = section {
            assert_eq!(next(), "");
            assert_eq!(next(), format!("{name} = {pid}"));
        }
        let header = format!("     {unit:<19} : count     distribution");
        assert_eq!(next(), header);
        let first = next();
        assert!(first.starts_with("         0 -> 1          : "), "{text}");
        let mut rest: Vec<_> = lines.collect();
        if args.contains(&"--percentiles") {
            let line = rest.pop().expect("percentiles");
            assert!(
                line.starts_with("p50 = ") && line.ends_with(" usecs"),
                "{line}"
            );
        }
        let is_row = |line: &str| line.len() == 78 && line.ends_with('|');
        assert!(rest.into_iter().all(is_row), "{text}");
    }
}

/// What was counted in one interval is not counted again in the next, also where
/// a quiet process makes room; and an interval without events is an empty line.
#[test]
fn intervals_do_not_overlap() {
    let _alone = MayAttach::alone();
    for by in [&[][..], &["-P"]] {
        undisturbed(|| {
            let mut waits = Waits::new(1);
            waits.settle();
            let pid = waits.pid().to_string();
            let tool = start("tp_btf", &[by, &["--json", "-p", &pid, "1"]].concat());
            let (rows, [expected]) = rows_of(tool, [&mut waits], |[waits], tool| {
                for _ in 0..3 {
                    waits.work();
                    tool.wait_for_line(|line| line.starts_with('{'));
                    std::thread::sleep(std::time::Duration::from_millis(1500));
                }
            });
            assert!(rows.len() >= 3, "{rows:#?}");
            expected.is(rows.iter().map(count).sum());
        });
    }
    let ended = start("tp_btf", &["-p", "4194304", "1", "2"])
        .wait()
        .success();
    assert_eq!(ended.lines(), [BANNER, "", ""]);
}
