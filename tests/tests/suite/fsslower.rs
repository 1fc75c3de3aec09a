// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ext4slower` and its kin against files that are read, written, opened and
//! synced on file systems of their own.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bpfcc_tests::files::{Hand, Mounted};
use bpfcc_tests::nfs::Nfs;
use bpfcc_tests::*;
use nix::sys::stat::Mode;
use nix::unistd::{gettid, mkfifo};
use serde_json::{Value, json};

fn own_pid() -> String {
    std::process::id().to_string()
}

fn own_comm() -> String {
    let comm = fs::read_to_string("/proc/thread-self/comm").expect("comm");
    comm.trim_end().to_owned()
}

/// What is to be seen of an operation: which, bytes, errno and offset.
type Seen = (&'static str, Option<u64>, i32, u64);

/// One of each kind of operation on the file `name` of `dir`, in this thread.
fn operate(dir: &Path, name: &str) -> Vec<Seen> {
    let path = dir.join(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .open(&path)
        .expect("open");
    file.write_all(&[1; 5000]).expect("write");
    file.write_all_at(&[2; 100], 8192).expect("pwrite");
    let parts = [IoSlice::new(&[3; 10]), IoSlice::new(&[4; 20])];
    assert_eq!(file.write_vectored(&parts).expect("writev"), 30);
    file.seek(SeekFrom::Start(1024)).expect("seek");
    assert_eq!(file.read(&mut [0; 2048]).expect("read"), 2048);
    assert_eq!(file.read_at(&mut [0; 500], 8100).expect("pread"), 192);
    assert_eq!(file.read_at(&mut [0; 7], 1 << 20).expect("pread"), 0);
    file.sync_all().expect("fsync");
    file.sync_data().expect("fdatasync");
    drop(File::open(&path).expect("open"));
    vec![
        ("open", None, 0, 0),
        ("write", Some(5000), 0, 0),
        ("write", Some(100), 0, 8192),
        ("write", Some(30), 0, 5000),
        ("read", Some(2048), 0, 1024),
        ("read", Some(192), 0, 8100),
        ("read", Some(0), 0, 1 << 20),
        ("fsync", None, 0, 0),
        ("fsync", None, 0, 0),
        ("open", None, 0, 0),
    ]
}

/// The rows of this thread and the file `name`.
fn own_rows<'r>(rows: &'r [Value], name: &str) -> Vec<&'r Value> {
    let tid = gettid().as_raw();
    let own = |row: &&Value| row["tid"] == tid && row["file"] == name;
    rows.iter().filter(own).collect()
}

/// A line for each operation, with everything right, and no other.
#[track_caller]
fn every_operation(tool: Tool, dir: &Path) {
    let name = unique("of\nthis");
    let start = Instant::now();
    let made = operate(dir, &name);
    let took_us = start.elapsed().as_nanos() as f64 / 1e3;
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0, "{}", ended.stderr);
    let rows = ended.json();
    let rows = own_rows(&rows, &name);
    assert_eq!(rows.len(), made.len(), "{rows:#?} {}", ended.stderr);
    let mut sum_us = 0.0;
    for (row, (operation, bytes, errno, offset)) in rows.iter().zip(made) {
        assert_eq!(row["operation"], operation, "{row}");
        assert_eq!(row["bytes"], json!(bytes), "{row}");
        assert_eq!(
            (&row["errno"], &row["offset"]),
            (&json!(errno), &json!(offset)),
            "{row}"
        );
        assert_eq!(
            (&row["pid"], &row["comm"]),
            (&json!(std::process::id()), &json!(own_comm()))
        );
        sum_us += row["latency_us"].as_f64().expect("a number");
    }
    assert!(sum_us > 0.0 && sum_us <= took_us, "{sum_us} of {took_us}");
}

/// The command of a tool that uses this way to trace.
fn forced(tool: &str, way: &str) -> Command {
    let mut command = command(tool);
    command.env("BPFCC_RS_HOOKS", format!("operations={way}"));
    command
}

/// By each way to trace that this kernel has.
#[test]
fn every_way_shows_every_operation() {
    let disk = Mounted::ext4(32 << 20);
    let mut works = Vec::new();
    for way in ["kprobe.multi", "fentry", "kprobe", "tracepoint", "raw_tp"] {
        let mut trial = forced("ext4slower", way);
        trial.args(["-d", "1"]);
        let trial = run_command(trial);
        if !trial.status.success() {
            assert_eq!(code(trial.status), 1, "{}", trial.stderr);
            let says = format!("ext4slower: cannot trace operations: {way}: ");
            assert!(trial.stderr.starts_with(&says), "{}", trial.stderr);
            continue;
        }
        works.push(way);
        let mut command = forced("ext4slower", way);
        command.args(["--verbose", "--json", "-p", &own_pid(), "0"]);
        every_operation(Tool::spawn(command), &disk.dir.0);
    }
    assert!(works.ends_with(&["tracepoint", "raw_tp"]), "{works:?}");
    assert!(!in_vm() || works.contains(&"kprobe"), "{works:?}");
    let ended = Tool::start("ext4slower", &[]).stop().success();
    let used = format!("operations: using {}", works[0]);
    assert!(ended.stderr.contains(&used), "{works:?} {}", ended.stderr);
    // Once, and only when it is so.
    let calls_only = usize::from(works[0] == "tracepoint");
    let notes = ended.stderr.matches("shows system calls").count();
    assert_eq!(notes, calls_only, "{}", ended.stderr);
}

/// Each file system by its tool and by fsslower, and no other.
#[test]
fn every_file_system_has_its_own() {
    let disks = [
        ("ext4", Mounted::ext4(32 << 20)),
        ("xfs", Mounted::xfs()),
        ("btrfs", Mounted::btrfs()),
    ];
    for (kind, disk) in &disks {
        let tool = format!("{kind}slower");
        let pid = own_pid();
        every_operation(
            Tool::start(&tool, &["--json", "-p", &pid, "0"]),
            &disk.dir.0,
        );
        let args = ["-t", kind, "--json", "-p", &pid, "-m", "0"];
        every_operation(Tool::start("fsslower", &args), &disk.dir.0);

        let running = Tool::start(&tool, &["--json", "-p", &pid, "0"]);
        let name = unique("elsewhere");
        for (other, disk) in &disks {
            operate(&disk.dir.0, &format!("{name}-{other}"));
        }
        let rows = running.stop().success().json();
        for (other, _) in &disks {
            let shown = own_rows(&rows, &format!("{name}-{other}")).len();
            assert_eq!(shown, if other == kind { 10 } else { 0 }, "{tool}: {other}");
        }
    }
}

/// A file on a server: also the commits and getattrs, by each way to trace.
#[test]
fn nfs_has_commits() {
    if !in_vm() {
        return; // no NFS in this kernel; the guests have its modules
    }
    let nfs = Nfs::new();
    let mut works = Vec::new();
    for way in ["kprobe.multi", "fentry", "kprobe", "tracepoint", "raw_tp"] {
        let mut trial = forced("nfsslower", way);
        trial.args(["-d", "1"]);
        if !run_command(trial).status.success() {
            continue;
        }
        works.push(way);
        undisturbed(|| {
            let name = unique("remote");
            let path = nfs.dir.join(&name);
            let before = nfs.commits();
            let mut command = forced("nfsslower", way);
            command.args(["--verbose", "--json", "0"]);
            let tool = Tool::spawn(command);
            let mut file = File::create(&path).expect("create");
            // More than one call to the server: they leave it to a commit.
            file.write_all(&[1; 600_000]).expect("write");
            file.sync_all().expect("fsync");
            drop(file);
            fs::metadata(&path).expect("stat");
            let file = File::open(&path).expect("open");
            assert_eq!(file.read_at(&mut [0; 100], 5000).expect("pread"), 100);
            drop(file);
            let ended = tool.stop().success();
            assert_eq!(ended.lost(), 0, "{}", ended.stderr);
            let rows = ended.json();
            let commits = rows.iter().filter(|row| row["operation"] == "commit");
            let commits: Vec<_> = commits.collect();
            assert_eq!(commits.len() as u64, nfs.commits() - before, "{rows:#?}");
            assert!(!commits.is_empty(), "{rows:#?}");
            for row in &commits {
                assert_eq!(
                    (&row["file"], &row["bytes"]),
                    (&json!(name), &Value::Null),
                    "{row}"
                );
                assert_eq!((&row["errno"], &row["offset"]), (&json!(0), &json!(0)));
            }
            let of_file = own_rows(&rows, &name);
            let seen = |operation: &str| {
                let of_kind = of_file.iter().filter(|row| row["operation"] == operation);
                of_kind
                    .map(|row| (row["bytes"].as_u64(), row["offset"].as_u64()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                seen("write"),
                [(Some(600_000), Some(0))],
                "{way}: {rows:#?}"
            );
            assert_eq!(seen("read"), [(Some(100), Some(5000))], "{way}: {rows:#?}");
            assert_eq!(seen("fsync").len(), 1, "{way}: {rows:#?}");
            assert!(!seen("open").is_empty(), "{way}: {rows:#?}");
            let by_calls = ["tracepoint", "raw_tp"].contains(&way);
            assert_eq!(seen("getattr").is_empty(), by_calls, "{way}: {rows:#?}");
        });
    }
    assert!(
        works.contains(&"kprobe") && works.contains(&"raw_tp"),
        "{works:?}"
    );
}

/// What the file system refuses has its error; what never gets there is not shown.
#[test]
fn errors_are_told() {
    let disk = Mounted::ext4(32 << 20);
    let tool = Tool::start("ext4slower", &["--json", "-p", &own_pid(), "0"]);
    let name = unique("errors");
    let path = disk.path(&name);
    let file = File::create(&path).expect("create");
    let refused = file.write_at(b"x", 1 << 45).expect_err("beyond the end");
    assert_eq!(refused.raw_os_error(), Some(libc::EFBIG));
    let refused = file.read_at(&mut [0], 0).expect_err("not open to read");
    assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
    File::open(disk.path("missing")).expect_err("no such file");
    let rows = tool.stop().success().json();
    let rows: Vec<_> = own_rows(&rows, &name)
        .iter()
        .map(|row| {
            (
                row["operation"].clone(),
                row["bytes"].clone(),
                row["errno"].clone(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            (json!("open"), Value::Null, json!(0)),
            (json!("write"), Value::Null, json!(libc::EFBIG)),
        ]
    );
}

/// Whether programs that trace functions may be preempted here: then the kernel
/// skips them for others on that CPU, and counts that.
fn may_skip(stderr: &str) -> bool {
    stderr.contains("operations: using fentry")
}

#[test]
fn ten_thousand_writes_are_ten_thousand_rows() {
    let _alone = MayAttach::alone();
    let disk = Mounted::ext4(32 << 20);
    let name = unique("many");
    let file = File::create(disk.path(&name)).expect("create");
    let tool = Tool::start("ext4slower", &["--json", "-p", &own_pid(), "0"]);
    for i in 0..10_000 {
        file.write_all_at(&[1; 10], i * 10).expect("write");
    }
    let ended = tool.stop().success();
    let rows = ended.json();
    let rows = own_rows(&rows, &name);
    for row in &rows {
        assert_eq!(
            (&row["operation"], &row["bytes"]),
            (&json!("write"), &json!(10))
        );
    }
    let mut offsets: Vec<_> = rows.iter().map(|row| row["offset"].as_u64()).collect();
    offsets.dedup();
    assert!(offsets.is_sorted());
    assert_eq!(offsets.len(), rows.len());
    ended.assert_rows(rows.len(), 10_000, may_skip(&ended.stderr));
}

/// Only what takes longer is shown: a sync of much is, and nothing fast.
#[test]
fn thresholds_are_obeyed() {
    let disk = Mounted::ext4(256 << 20);
    let name = unique("much");
    let pid = own_pid();
    let tools = [
        Tool::start("ext4slower", &["--json", "-p", &pid, "1"]),
        Tool::start("ext4slower", &["--json", "-p", &pid, "1000000"]),
        Tool::start("ext4slower", &["--json", "-p", &pid, "-m", "1"]),
        Tool::start("fsslower", &["-t", "ext4", "--json", "-p", &pid, "-m", "1"]),
    ];
    let mut file = File::create(disk.path(&name)).expect("create");
    for _ in 0..128 {
        file.write_all(&[5; 1 << 20]).expect("write");
    }
    let start = Instant::now();
    file.sync_all().expect("fsync");
    let took = start.elapsed();
    for (index, tool) in tools.into_iter().enumerate() {
        let rows = tool.stop().success().json();
        if index == 1 {
            assert_eq!(rows, [json!(null); 0]);
            continue;
        }
        for row in &rows {
            let latency_us = row["latency_us"].as_f64().expect("a number");
            assert!(latency_us >= 1001.0, "{row}");
        }
        let rows = own_rows(&rows, &name);
        let syncs: Vec<_> = rows
            .iter()
            .filter(|row| row["operation"] == "fsync")
            .collect();
        assert_eq!(syncs.len(), 1, "{took:?} {rows:#?}");
        let latency_us = syncs[0]["latency_us"].as_f64().expect("a number");
        assert!(latency_us <= took.as_nanos() as f64 / 1e3, "{took:?}");
    }
}

#[test]
fn processes_and_cgroups_are_filtered() {
    let disk = Mounted::ext4(32 << 20);
    let mut hand = Hand::new();
    let path = disk.path(&unique("theirs"));
    let group = hand.cgroup.path().to_owned();
    for args in [
        &["-p", "1"][..],
        &["-p", &own_pid()],
        &["--cgroup", &group],
        &[],
    ] {
        for (tool, more) in [
            ("ext4slower", &["0"][..]),
            ("fsslower", &["-t", "ext4", "-m", "0"]),
            ("fileslower", &["0"]),
        ] {
            let tool = Tool::start(tool, &[&["--json"], more, args].concat());
            hand.act("write", &path, 300);
            let rows = tool.stop().success().json();
            let file = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("UTF-8");
            let writes = rows.iter().filter(|row| {
                row["file"] == file && row["operation"] == "write" && row["bytes"] == 300
            });
            let shown = !args.contains(&"-p");
            assert_eq!(writes.count(), usize::from(shown), "{args:?}");
            if args.contains(&"--cgroup") {
                let ids: Vec<_> = rows.iter().map(|row| &row["cgroup_id"]).collect();
                assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
            }
        }
    }
}

/// The row of a write of 2,000 bytes at 3 KiB by this thread, as it must be.
fn write_once(disk: &Mounted, name: &str) {
    let file = File::create(disk.path(name)).expect("create");
    file.write_all_at(&[6; 2000], 3072).expect("write");
}

/// `HH:MM:SS` and a blank at the start of the line.
fn has_time(line: &str) -> bool {
    let shape = line
        .chars()
        .take(9)
        .map(|c| if c.is_ascii_digit() { '9' } else { c });
    shape.eq("99:99:99 ".chars())
}

/// Banner, header and row of each tool, to the byte but for time and latency.
#[test]
fn text_is_the_classics() {
    let disks = [
        ("ext4", Mounted::ext4(32 << 20)),
        ("xfs", Mounted::xfs()),
        ("btrfs", Mounted::btrfs()),
    ];
    let (pid, comm) = (own_pid(), own_comm());
    let short: String = comm.chars().take(14).collect();
    let bcc = "TIME     COMM           PID    T BYTES   OFF_KB   LAT(ms) FILENAME";
    let wide = "TIME     COMM           PID     T BYTES   OFF_KB   LAT(ms) FILENAME";
    let libbpf = "TIME     COMM             PID     T BYTES   OFF_KB   LAT(ms) FILENAME";
    let cases: [(&str, &[&str], &str, &str, String); 4] = [
        (
            "ext4",
            &["ext4slower", "0"],
            "Tracing ext4 operations",
            bcc,
            format!("{short:<14} {pid:<6}"),
        ),
        (
            "xfs",
            &["xfsslower", "0"],
            "Tracing XFS operations",
            bcc,
            format!("{short:<14} {pid:<6}"),
        ),
        (
            "btrfs",
            &["btrfsslower", "0"],
            "Tracing btrfs operations",
            wide,
            format!("{short:<14} {pid:<7}"),
        ),
        (
            "xfs",
            &["fsslower", "-m", "0", "-t", "xfs"],
            "Tracing xfs operations... Hit Ctrl-C to end.",
            libbpf,
            format!("{comm:<16} {pid:<7}"),
        ),
    ];
    for (kind, args, banner, header, who) in cases {
        let name = unique("text\n");
        let disk = disks
            .iter()
            .find(|(found, _)| *found == kind)
            .map(|(_, disk)| disk);
        let tool = Tool::start(args[0], &[&args[1..], &["-p", &pid]].concat());
        write_once(disk.expect("a disk"), &name);
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[..2], [banner, header]);
        let shown = name.replace('\n', "\\n");
        let rows: Vec<_> = lines.iter().filter(|line| line.ends_with(&shown)).collect();
        let row = rows.iter().find(|row| row.contains(" W ")).expect("a row");
        assert!(has_time(row), "{row}");
        let begin = format!("{who} W 2000    3        ");
        assert!(row[9..].starts_with(&begin), "{row:?} {begin:?}");
        let rest = &row[9 + begin.len()..];
        // "%7.2f"
        let (latency, file) = rest.split_at(7);
        assert!(
            latency.trim().parse::<f64>().is_ok() && latency.as_bytes()[4] == b'.',
            "{row:?}"
        );
        assert_eq!(file, format!(" {shown}"));
        assert_eq!(rows.len(), 2, "{rows:#?}");
        assert!(rows[0].contains(" O 0       0        "), "{rows:#?}");
    }
    let banner = |args: &[&str]| {
        let ended = run(
            args[0],
            &[&args[1..], &["--duration", "1", "-p", "1"]].concat(),
        )
        .success();
        ended.lines()[0].to_owned()
    };
    assert_eq!(
        banner(&["ext4slower"]),
        "Tracing ext4 operations slower than 10 ms"
    );
    assert_eq!(
        banner(&["xfsslower", "7"]),
        "Tracing XFS operations slower than 7 ms"
    );
    assert_eq!(
        banner(&["fsslower", "-t", "ext4"]),
        "Tracing ext4 operations slower than 10 ms for 1 secs."
    );
    assert_eq!(
        banner(&["fileslower"]),
        "Tracing sync read/writes slower than 10 ms"
    );
}

#[test]
fn csv_is_the_classics() {
    let disk = Mounted::ext4(32 << 20);
    let (pid, comm) = (own_pid(), own_comm());
    for (args, header, sync) in [
        (
            &["ext4slower", "-j", "0"][..],
            "ENDTIME_us,TASK,PID,TYPE,BYTES,OFFSET_b,LATENCY_us,FILE",
            "S,0",
        ),
        (
            &["fsslower", "-t", "ext4", "-c", "-m", "0"],
            "ENDTIME_ns,TASK,PID,TYPE,BYTES,OFFSET_b,LATENCY_us,FILE",
            "F,LL_MAX",
        ),
    ] {
        let name = unique("csv");
        let tool = Tool::start(args[0], &[&args[1..], &["-p", &pid]].concat());
        let file = File::create(disk.path(&name)).expect("create");
        file.write_all_at(&[6; 2000], 3072).expect("write");
        file.sync_all().expect("fsync");
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[0], header);
        let rows: Vec<_> = lines.iter().filter(|line| line.ends_with(&name)).collect();
        assert_eq!(rows.len(), 3, "{rows:#?}");
        for (row, middle) in rows
            .iter()
            .zip(["O,0,0", "W,2000,3072", &format!("{sync},0")])
        {
            let (time, rest) = row.split_once(',').expect("a time");
            assert!(time.parse::<u64>().is_ok(), "{row}");
            let rest = rest.strip_prefix(&format!("{comm},{pid},{middle},"));
            let rest = rest.unwrap_or_else(|| panic!("{row}: {middle}"));
            let latency = rest.strip_suffix(&format!(",{name}")).expect("the name");
            assert!(latency.parse::<u64>().is_ok(), "{row}");
        }
    }
}

/// Reads and writes of any file system, by thread, with what was asked for.
#[test]
fn fileslower_shows_plain_reads_and_writes() {
    let disk = Mounted::xfs();
    let (name, tid) = (unique("plain"), gettid().as_raw().to_string());
    let dir = TempDir::new("fileslower");
    let pid = own_pid();
    let json = Tool::start("fileslower", &["--json", "-p", &pid, "0"]);
    let text = Tool::start("fileslower", &["-p", &pid, "0"]);
    for dir in [&disk.dir.0, &dir.0] {
        operate(dir, &name);
    }
    let rows = json.stop().success().json();
    let rows: Vec<_> = own_rows(&rows, &name)
        .iter()
        .map(|row| {
            assert_eq!(row["errno"], 0, "{row}");
            let number = |key: &str| row[key].as_u64().expect("a number");
            (
                row["operation"].as_str().expect("an operation").to_owned(),
                number("requested_bytes"),
                number("bytes"),
                number("offset"),
            )
        })
        .collect();
    let expected = [
        ("write", 5000, 5000, 0),
        ("write", 100, 100, 8192),
        ("read", 2048, 2048, 1024),
        ("read", 500, 192, 8100),
        ("read", 7, 0, 1 << 20),
    ];
    let expected = expected.map(|(what, asked, done, at)| (what.to_owned(), asked, done, at));
    assert_eq!(rows, [expected.clone(), expected].concat());

    let ended = text.stop().success();
    let lines = ended.lines();
    assert_eq!(
        lines[..2],
        [
            "Tracing sync read/writes slower than 0 ms",
            "TIME(s)  COMM           TID    D BYTES   LAT(ms) FILENAME"
        ]
    );
    let comm: String = own_comm().chars().take(14).collect();
    let rows: Vec<_> = lines
        .iter()
        .filter(|line| line.ends_with(&format!(" {name}")))
        .collect();
    assert_eq!(rows.len(), 10, "{rows:#?}");
    for (row, what) in rows.iter().zip([
        "W 5000   ",
        "W 100    ",
        "R 2048   ",
        "R 500    ",
        "R 7      ",
    ]) {
        let (seconds, rest) = row.split_at(9);
        let decimals = seconds
            .trim_end()
            .split_once('.')
            .map(|(_, decimals)| decimals.len());
        assert_eq!(decimals, Some(3), "{row}");
        assert!(
            rest.starts_with(&format!("{comm:<14} {tid:<6} {what}")),
            "{row:?}"
        );
    }
}

/// A read from a FIFO takes as long as nobody writes.
#[test]
fn fileslower_waits_for_other_files_with_a() {
    let dir = TempDir::new("fifo");
    let name = unique("fifo");
    let path = dir.join(&name);
    mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
    let pid = own_pid();
    let args = |more: &[&'static str]| {
        let mut args = vec!["--json", "-p", &pid];
        args.extend(more);
        Tool::start("fileslower", &args)
    };
    let tools = [args(&["20"]), args(&["-a", "20"]), args(&["-a", "100000"])];
    let wait = Duration::from_millis(50);
    let writer = thread::spawn({
        let path = path.clone();
        move || {
            let mut fifo = OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .expect("open");
            thread::sleep(wait); // what the reader is to wait for
            fifo.write_all(b"at last").expect("write");
            fifo
        }
    });
    let mut fifo = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .expect("open");
    let start = Instant::now();
    assert_eq!(fifo.read(&mut [0; 100]).expect("read"), 7);
    let took = start.elapsed();
    drop(writer.join().expect("the writer"));
    // It may have begun to read late, on a busy machine.
    if took < Duration::from_millis(25) {
        eprintln!("not tested: the read took {took:?}");
        return;
    }
    let counts = tools.map(|tool| own_rows(&tool.stop().success().json(), &name).len());
    assert_eq!(counts, [0, 1, 0], "{took:?}");
}

/// What the kernel has not, the tool says.
#[test]
fn a_missing_file_system_is_named() {
    let known = fs::read_to_string("/proc/filesystems").expect("file systems");
    let mut tested = 0;
    for kind in ["nfs", "f2fs", "zfs", "bcachefs"] {
        if known
            .lines()
            .any(|line| line.split('\t').nth(1) == Some(kind))
        {
            continue;
        }
        tested += 1;
        let tool = format!("{kind}slower");
        let own = (kind != "bcachefs").then(|| run(&tool, &["-d", "1"]));
        for (name, ended) in [
            (tool.as_str(), own),
            ("fsslower", Some(run("fsslower", &["-t", kind, "-d", "1"]))),
        ] {
            let Some(ended) = ended else { continue };
            assert_eq!(code(ended.status), 1);
            assert_eq!(ended.stdout, "");
            let says = format!(
                "{name}: cannot trace {kind}: this kernel has no {kind} now; load its module: modprobe {kind}\n"
            );
            assert_eq!(ended.stderr, says);
        }
    }
    assert!(tested >= 2, "{known}");
}
