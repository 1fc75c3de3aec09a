// SPDX-License-Identifier: MIT OR Apache-2.0
//! `profile` beside programs that are busy where we know it, and the kernel's account
//! of their time.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bpfcc_tests::maps::{BpfFs, container_options};
use bpfcc_tests::*;
use serde_json::Value;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/profile/busy.c");

/// The busy program with all its symbols.
static BUSY: LazyLock<PathBuf> = LazyLock::new(|| {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("busy");
    let new = program.with_extension(std::process::id().to_string());
    compile(&new, &[]);
    fs::rename(&new, &program).expect("the program's place");
    program
});

fn compile(program: &Path, flags: &[&str]) {
    let mut command = Command::new("cc");
    command
        .args(["-O0", "-fno-omit-frame-pointer", "-pthread"])
        .args(["-Wl,--build-id=sha1", SOURCE, "-o"])
        .arg(program)
        .args(flags);
    call(&mut command);
}

fn call(command: &mut Command) -> String {
    let output = command.output().expect("start");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A program that is busy until it is dropped.
struct Busy(Child);

impl Busy {
    fn new(args: &[&str]) -> Self {
        Self::of(&BUSY, args)
    }

    fn of(program: &Path, args: &[&str]) -> Self {
        Self::spawn(Command::new(program).args(args))
    }

    fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("start"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has used so much more time of a CPU. How much that was.
    fn work(&self, time: Duration) -> Duration {
        let start = self.used();
        let deadline = Instant::now() + PATIENCE;
        until("the program is busy", deadline, || {
            let used = self.used() - start;
            std::thread::sleep(Duration::from_millis(5)); // not to be busy as well
            (used >= time).then_some(used)
        })
    }

    /// By the scheduler's account.
    fn used(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
        tasks
            .map(|task| used(&task.expect("a thread").path()))
            .sum()
    }
}

/// The time that a thread has had a CPU.
fn used(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).expect("schedstat");
    let ns = text.split(' ').next().expect("a field");
    Duration::from_nanos(ns.parse().expect("a number"))
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Enough samples at 199 Hertz to tell shares.
const A_WHILE: Duration = Duration::from_millis(1000);

fn start(args: &[&str]) -> Tool {
    Tool::start("profile", &[&["-F", "199"], args].concat())
}

/// The tool with JSON, of one process while that is busy.
fn profile_of(busy: &Busy, args: &[&str]) -> Vec<Value> {
    let pid = busy.pid().to_string();
    let tool = start(&[&["--json", "-p", &pid], args].concat());
    busy.work(A_WHILE);
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0, "{}", ended.stderr);
    let rows = ended.json();
    assert!(samples(&rows) > 20, "{rows:?}");
    for row in &rows {
        assert_eq!(row["pid"], busy.pid(), "{row}");
    }
    rows
}

fn samples(rows: &[Value]) -> u64 {
    rows.iter()
        .map(|row| row["samples"].as_u64().expect("samples"))
        .sum()
}

fn frames<'r>(row: &'r Value, stack: &str) -> Vec<&'r str> {
    let frames = row[stack].as_array().expect("a stack");
    frames
        .iter()
        .map(|frame| frame.as_str().expect("a name"))
        .collect()
}

/// Most samples have what is wanted.
#[track_caller]
fn most(rows: &[Value], percent: u64, wanted: impl Fn(&Value) -> bool) {
    let with: Vec<Value> = rows.iter().filter(|row| wanted(row)).cloned().collect();
    assert!(
        100 * samples(&with) >= percent * samples(rows),
        "{} of {}: {rows:#?}",
        samples(&with),
        samples(rows)
    );
}

const CHAIN: [&str; 4] = ["busy_innermost", "busy_inner", "busy_outer", "main"];

fn is_chain(row: &Value) -> bool {
    frames(row, "user_stack").starts_with(&CHAIN)
}

#[test]
fn a_hot_function_is_found_with_its_callers() {
    undisturbed(|| {
        let busy = Busy::new(&[]);
        let rows = profile_of(&busy, &[]);
        most(&rows, 95, is_chain);
        for row in &rows {
            assert_eq!(row["comm"], "busy");
        }
        // The same stack is one row, wherever in the functions it was.
        let stacks: Vec<_> = rows
            .iter()
            .map(|row| (&row["kernel_stack"], &row["user_stack"]))
            .collect();
        for (index, stack) in stacks.iter().enumerate() {
            assert!(!stacks[..index].contains(stack), "{rows:#?}");
        }
        // The fewest first.
        assert!(rows.is_sorted_by_key(|row| row["samples"].as_u64()));
    });
}

#[test]
fn samples_are_as_many_as_the_time_says() {
    // An emulated machine's clock is late at times: then one sample stands for several.
    let (hertz, allowed) = if in_vm() {
        (199.0, 0.4..1.1)
    } else {
        (997.0, 0.92..1.08)
    };
    for period in [false, true] {
        undisturbed(|| {
            let busy = Busy::new(&[]);
            let pid = busy.pid().to_string();
            let rate = if period {
                ["-c".to_owned(), format!("{:.0}", 1e9 / hertz)]
            } else {
                ["-F".to_owned(), hertz.to_string()]
            };
            let tool = Tool::start("profile", &["--json", "-p", &pid, &rate[0], &rate[1]]);
            let used = busy.work(2 * A_WHILE);
            let rows = tool.stop().success().json();
            let expected = used.as_secs_f64() * hertz;
            let ratio = samples(&rows) as f64 / expected;
            assert!(
                allowed.contains(&ratio),
                "{} samples, expected {expected}",
                samples(&rows)
            );
        });
    }
}

#[test]
fn a_busy_kernel_function_is_found() {
    undisturbed(|| {
        let busy = Busy::new(&["read"]);
        let rows = profile_of(&busy, &["-K"]);
        most(&rows, 85, |row| {
            let stack = frames(row, "kernel_stack");
            stack.contains(&"vfs_read") && !stack.contains(&"[unknown]")
        });
        for row in &rows {
            assert_eq!(frames(row, "user_stack"), [""; 0], "{row}");
        }
        let rows = profile_of(&busy, &[]);
        most(&rows, 85, |row| {
            frames(row, "kernel_stack").contains(&"vfs_read")
                && frames(row, "user_stack").contains(&"busy_read")
        });
        let rows = profile_of(&busy, &["-U"]);
        most(&rows, 95, |row| {
            frames(row, "user_stack").contains(&"busy_read")
        });
        for row in &rows {
            assert_eq!(frames(row, "kernel_stack"), [""; 0], "{row}");
        }
    });
}

/// A program without its symbols, and the file with them.
fn split(dir: &TempDir) -> (PathBuf, PathBuf) {
    let (program, debug) = (dir.join("busy"), dir.join("busy.symbols"));
    fs::copy(&*BUSY, &program).expect("copy");
    call(
        Command::new("objcopy")
            .arg("--only-keep-debug")
            .args([&program, &debug]),
    );
    call(Command::new("strip").arg(&program));
    (program, debug)
}

fn build_id(program: &Path) -> String {
    let notes = call(Command::new("readelf").arg("-n").arg(program));
    let id = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.expect("a build id").to_owned()
}

#[test]
fn a_stripped_program_has_no_names() {
    undisturbed(|| {
        let dir = TempDir::new("busy");
        let (program, _) = split(&dir);
        let rows = profile_of(&Busy::of(&program, &[]), &[]);
        most(&rows, 95, |row| {
            frames(row, "user_stack").starts_with(&["[unknown]"; 4])
        });
    });
}

#[test]
fn symbols_are_found_by_a_debug_link() {
    undisturbed(|| {
        let dir = TempDir::new("busy");
        let (program, debug) = split(&dir);
        // So that nothing but the link leads to it: no build id in either.
        for file in [&program, &debug] {
            call(
                Command::new("objcopy")
                    .args(["--remove-section", ".note.gnu.build-id"])
                    .arg(file),
            );
        }
        let link = format!("--add-gnu-debuglink={}", debug.display());
        call(Command::new("objcopy").arg(link).arg(&program));
        let rows = profile_of(&Busy::of(&program, &[]), &[]);
        most(&rows, 95, is_chain);

        fs::create_dir(dir.join(".debug")).expect("mkdir");
        fs::rename(&debug, dir.join(".debug/busy.symbols")).expect("rename");
        let rows = profile_of(&Busy::of(&program, &[]), &[]);
        most(&rows, 95, is_chain);

        // Another file of that name.
        fs::copy(&*BUSY, dir.join(".debug/busy.symbols")).expect("copy");
        let rows = profile_of(&Busy::of(&program, &[]), &[]);
        most(&rows, 95, |row| {
            frames(row, "user_stack").starts_with(&["[unknown]"; 4])
        });
    });
}

/// A program, its symbols by its build id, and a perf map, all where only the process
/// itself sees them.
#[test]
fn a_container_has_its_own_files() {
    in_mount_namespace(|| {
        undisturbed(|| {
            let dir = TempDir::new("busy");
            let (program, debug) = split(&dir);
            let id = build_id(&program);
            let inside = format!(
                "mount -t tmpfs none /usr/lib/debug 2>/dev/null || \
                   {{ mount -t tmpfs none /usr/lib && mkdir /usr/lib/debug; }} && \
                 mkdir -p /usr/lib/debug/.build-id/{0} && \
                 cp {debug} /usr/lib/debug/.build-id/{0}/{1}.debug && \
                 cp {program} /mnt/hidden/busy && exec /mnt/hidden/busy",
                &id[..2],
                &id[2..],
                debug = debug.display(),
                program = program.display(),
            );
            let busy = Busy::spawn(
                Command::new("unshare")
                    .args(["--mount", "--propagation", "private", "sh", "-c"])
                    .arg(format!(
                        "mount -t tmpfs none /mnt && mkdir /mnt/hidden && mkdir -p /usr/lib/debug; {inside}"
                    )),
            );
            let deadline = Instant::now() + PATIENCE;
            until("the program runs", deadline, || {
                let comm = fs::read_to_string(format!("/proc/{}/comm", busy.pid())).ok()?;
                (comm == "busy\n").then_some(())
            });
            let rows = profile_of(&busy, &[]);
            most(&rows, 95, is_chain);
        });
    });
}

#[test]
fn symbols_for_other_programs_are_enough() {
    undisturbed(|| {
        let dir = TempDir::new("busy");
        let program = dir.join("busy");
        compile(&program, &["-rdynamic"]);
        call(Command::new("strip").arg(&program));
        let rows = profile_of(&Busy::of(&program, &[]), &[]);
        most(&rows, 95, |row| {
            frames(row, "user_stack").starts_with(&CHAIN[..3])
        });
    });
}

#[test]
fn a_deleted_program_keeps_its_names() {
    undisturbed(|| {
        let dir = TempDir::new("busy");
        let program = dir.join("busy");
        fs::copy(&*BUSY, &program).expect("copy");
        let busy = Busy::of(&program, &[]);
        busy.work(Duration::from_millis(1));
        fs::remove_file(&program).expect("delete");
        fs::write(&program, "another").expect("write");
        most(&profile_of(&busy, &[]), 95, is_chain);
    });
}

/// The names are looked up while the process lives.
#[test]
fn a_process_may_end_before_the_profile() {
    undisturbed(|| {
        let tool = start(&["--json"]);
        let dir = TempDir::new("busy");
        let program = dir.join("shortlived");
        fs::copy(&*BUSY, &program).expect("copy");
        let mut busy = Busy::of(&program, &["spin", "600"]);
        let pid = busy.pid();
        assert!(wait_for(&mut busy.0).success());
        drop(dir);
        let mut rows = tool.stop().success().json();
        rows.retain(|row| row["pid"] == pid && row["comm"] == "shortlived");
        assert!(samples(&rows) > 60, "{rows:#?}");
        most(&rows, 70, is_chain);
    });
}

/// A program that starts another keeps its number; each has its own names.
#[test]
fn a_process_may_become_another_program() {
    undisturbed(|| {
        let tool = start(&["--json"]);
        let mut busy = Busy::spawn(
            Command::new("sh")
                .args([
                    "-c",
                    "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exec \"$0\" spin 600",
                ])
                .arg(&*BUSY),
        );
        let pid = busy.pid();
        assert!(wait_for(&mut busy.0).success());
        let mut rows = tool.stop().success().json();
        rows.retain(|row| row["pid"] == pid);
        let (shell, mut program): (Vec<Value>, Vec<Value>) =
            rows.into_iter().partition(|row| row["comm"] == "sh");
        assert!(samples(&shell) > 5, "{shell:#?}");
        most(&shell, 100, |row| !is_chain(row));
        // To start and to end take time as well, in an emulated machine.
        program.retain(|row| row["comm"] == "busy");
        most(&program, 70, is_chain);
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn compiled_functions_are_in_a_perf_map() {
    undisturbed(|| {
        let busy = Busy::new(&["jit"]);
        let map = PathBuf::from(format!("/tmp/perf-{}.map", busy.pid()));
        let rows = profile_of(&busy, &[]);
        let pid = busy.pid().to_string();
        let tool = start(&["-p", &pid, "-f"]);
        busy.work(A_WHILE);
        let folded = tool.stop().success();
        drop(busy);
        fs::remove_file(map).expect("the map");
        most(&rows, 95, |row| {
            frames(row, "user_stack").starts_with(&["compiled; at\\trun time", "busy_jit"])
        });
        // Neither a blank nor a semicolon of a name ends it.
        assert!(
            folded.stdout.contains(";busy_jit;compiled: at\\trun time "),
            "{}",
            folded.stdout
        );
    });
}

#[test]
fn threads_are_told_apart() {
    undisturbed(|| {
        let mut busy = Busy::spawn(Command::new(&*BUSY).arg("threads").stdout(Stdio::piped()));
        let mut line = String::new();
        let stdout = busy.0.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the threads");
        let ids: Vec<&str> = line.split_whitespace().collect();
        for (tids, functions) in [
            (ids[0].to_owned(), &["busy_one"][..]),
            (ids[1].to_owned(), &["busy_other"]),
            (ids.join(","), &["busy_one", "busy_other"]),
        ] {
            let tool = start(&["--json", "-L", &tids]);
            busy.work(2 * A_WHILE);
            let rows = tool.stop().success().json();
            assert!(samples(&rows) > 20);
            most(&rows, 95, |row| {
                functions
                    .iter()
                    .any(|name| frames(row, "user_stack")[0] == *name)
            });
            for name in functions {
                most(&rows, 20, |row| frames(row, "user_stack")[0] == *name);
            }
        }
    });
}

#[test]
fn processes_can_be_listed() {
    undisturbed(|| {
        let all = [Busy::new(&[]), Busy::new(&["read"]), Busy::new(&[])];
        let pids = format!("{},{}", all[0].pid(), all[1].pid());
        let tool = start(&["--json", "-p", &pids]);
        for busy in &all {
            busy.work(A_WHILE / 4);
        }
        let rows = tool.stop().success().json();
        for busy in &all[..2] {
            most(&rows, 10, |row| row["pid"] == busy.pid());
        }
        assert!(
            rows.iter().all(|row| row["pid"] != all[2].pid()),
            "{rows:#?}"
        );
    });
}

/// BCC's layout, to the byte.
#[test]
fn text_is_bccs() {
    let busy = Busy::new(&[]);
    let pid = busy.pid().to_string();
    let ended = |args: &[&str]| {
        let tool = start(&[&["-p", &pid], args].concat());
        busy.work(A_WHILE);
        tool.stop().success().stdout
    };
    undisturbed(|| {
        let text = ended(&["-U"]);
        let mut blocks = text.split("\n\n");
        let head =
            format!("Sampling at 199 Hertz of PID [{pid}] by user stack... Hit Ctrl-C to end.");
        assert_eq!(blocks.next(), Some(head.as_str()));
        let last = text.trim_end().rsplit("\n\n").next().expect("a block");
        let (stack, count) = last.rsplit_once("\n        ").expect("a count");
        assert!(count.parse::<u64>().expect("a number") > 20, "{text}");
        let end = format!("\n    -                busy ({pid})");
        assert!(stack.ends_with(&end), "{text}");
        assert!(
            stack.starts_with("    busy_innermost\n    busy_inner\n    busy_outer\n    main\n    "),
            "{text}"
        );
        assert!(text.ends_with("\n\n"), "{text}");
    });
    undisturbed(|| {
        let text = ended(&["-fU"]);
        let (stack, count) = text
            .lines()
            .last()
            .expect("a line")
            .rsplit_once(' ')
            .expect("a count");
        assert!(count.parse::<u64>().expect("a number") > 20, "{text}");
        assert!(stack.starts_with("busy;"), "{text}");
        assert!(
            stack.ends_with(";main;busy_outer;busy_inner;busy_innermost"),
            "{text}"
        );
    });
}

/// `-d` and `-a`, where a stack has both parts.
#[test]
fn kernel_and_user_are_told_apart() {
    let busy = Busy::new(&["read"]);
    let pid = busy.pid().to_string();
    let ended = |args: &[&str]| {
        let tool = start(&[&["-p", &pid], args].concat());
        busy.work(A_WHILE);
        tool.stop().success().stdout
    };
    undisturbed(|| {
        let text = ended(&["-dfa"]);
        let line = text
            .lines()
            .find(|line| line.contains("vfs_read"))
            .expect("a line");
        let (user, kernel) = line.split_once(";-;").expect("a delimiter");
        assert!(
            user.starts_with("busy;") && user.contains(";busy_read;"),
            "{text}"
        );
        let kernel: Vec<&str> = kernel
            .rsplit_once(' ')
            .expect("a count")
            .0
            .split(';')
            .collect();
        assert!(kernel.iter().all(|frame| frame.ends_with("_[k]")), "{text}");
        assert!(kernel[0].starts_with("entry_SYSCALL_64"), "{text}");
        assert!(!user.contains("_[k]"), "{text}");
    });
    undisturbed(|| {
        let text = ended(&["-da"]);
        let block = text
            .split("\n\n")
            .find(|block| block.contains("    vfs_read_[k]\n"))
            .expect("a block");
        let (kernel, user) = block.split_once("\n    --\n").expect("a delimiter");
        assert!(kernel.lines().all(|line| line.ends_with("_[k]")), "{text}");
        assert!(user.contains("    busy_read\n    main\n"), "{text}");
    });
    undisturbed(|| {
        let text = ended(&["-K", "-d"]);
        assert!(
            !text.contains("    --\n") && text.contains("    vfs_read\n"),
            "{text}"
        );
        assert!(!ended(&["-f"]).contains(";-;"));
    });
}

#[test]
fn banners_are_bccs() {
    for (args, banner) in [
        (
            &["1"][..],
            "Sampling at 49 Hertz of all threads by user + kernel stack for 1 secs.\n",
        ),
        (
            &["-c", "1000000", "-K", "-p", "2", "--duration", "1"],
            "Sampling at every 1000000 events of PID [2] by kernel stack for 1 secs.\n\n",
        ),
        (
            &["-UL", "5,6", "-C", "0", "-F", "99", "1"],
            "Sampling at 99 Hertz of TID [5, 6] by user stack on CPU#0 for 1 secs.\n\n",
        ),
        (
            &["-F", "0", "-C", "-1", "-p", "2", "1"],
            "Sampling at 49 Hertz of PID [2] by user + kernel stack for 1 secs.\n\n",
        ),
    ] {
        let ended = run("profile", args).success();
        assert!(ended.stdout.starts_with(banner), "{}", ended.stdout);
    }
    assert_eq!(
        run("profile", &["-f", "-L", "4194304", "1"])
            .success()
            .stdout,
        ""
    );
    assert_eq!(
        run("profile", &["--json", "-L", "4194304", "1"])
            .success()
            .stdout,
        ""
    );
}

#[test]
fn idle_processors_are_shown_when_asked_for() {
    let idle = |args: &[&str]| {
        let tool = start(&[&["--json"], args].concat());
        std::thread::sleep(A_WHILE); // something has to be idle
        let mut rows = tool.stop().success().json();
        rows.retain(|row| row["pid"] == 0);
        rows
    };
    assert_eq!(idle(&[]), Vec::<Value>::new());
    let deadline = Instant::now() + PATIENCE;
    until("a processor is idle", deadline, || {
        let rows = idle(&["-I"]);
        let comm = |row: &Value| {
            row["comm"]
                .as_str()
                .is_some_and(|comm| comm.starts_with("swapper/"))
        };
        (!rows.is_empty() && rows.iter().all(comm)).then_some(())
    });
}

#[test]
fn one_processor_can_be_chosen() {
    undisturbed(|| {
        let cpu = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
        let busy = Busy::spawn(
            Command::new("taskset")
                .args(["-c", &cpu.to_string()])
                .arg(&*BUSY),
        );
        let deadline = Instant::now() + PATIENCE;
        until("the program runs", deadline, || {
            let comm = fs::read_to_string(format!("/proc/{}/comm", busy.pid())).ok()?;
            (comm == "busy\n").then_some(())
        });
        most(&profile_of(&busy, &["-C", &cpu.to_string()]), 95, is_chain);
        if cpu > 0 {
            let pid = busy.pid().to_string();
            let tool = start(&["--json", "-p", &pid, "-C", "0"]);
            busy.work(A_WHILE);
            assert_eq!(tool.stop().success().json(), Vec::<Value>::new());
        }
    });
    for cpu in ["4095", "2000000000"] {
        let ended = run("profile", &["-C", cpu, "1"]);
        assert_eq!(code(ended.status), 1, "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended
                .stderr
                .contains(&format!("profile: sample CPU {cpu}: ")),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn too_fast_is_told() {
    let allowed =
        fs::read_to_string("/proc/sys/kernel/perf_event_max_sample_rate").expect("sysctl");
    let ended = run("profile", &["-F", "4000000000", "1"]);
    assert_eq!(code(ended.status), 1, "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let hint = format!("the kernel allows {} Hertz", allowed.trim());
    assert!(ended.stderr.contains(&hint), "{}", ended.stderr);
}

#[test]
fn what_does_not_fit_is_told() {
    undisturbed(|| {
        let busy = Busy::new(&["read"]);
        let pid = busy.pid().to_string();
        let tool = start(&["--json", "-p", &pid, "--stack-storage-size", "1"]);
        busy.work(A_WHILE);
        let ended = tool.stop().success();
        let lost = ended.lost();
        let told: Vec<u64> = ended
            .stdout
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["lost_samples"].as_u64())
            .collect();
        assert!(
            lost > 0 && told == [lost],
            "{}\n{}",
            ended.stdout,
            ended.stderr
        );
        let warning = format!(
            "WARNING: {lost} stack traces could not be displayed. Consider increasing --stack-storage-size."
        );
        assert!(ended.stderr.contains(&warning), "{}", ended.stderr);
    });
}

#[test]
fn the_depth_of_stacks_is_limited() {
    undisturbed(|| {
        let busy = Busy::new(&[]);
        let rows = profile_of(&busy, &["--perf-max-stack-depth", "2"]);
        most(&rows, 95, |row| frames(row, "user_stack") == CHAIN[..2]);
        for row in &rows {
            assert!(frames(row, "kernel_stack").len() <= 2, "{row}");
        }
    });
}

#[test]
fn a_flame_graph_is_drawn() {
    undisturbed(|| {
        let busy = Busy::new(&["read"]);
        let pid = busy.pid().to_string();
        let dir = TempDir::new("flames");
        let path = dir.join("profile.svg");
        let option = path.to_str().expect("UTF-8");
        let tool = start(&["-p", &pid, "--flamegraph", option]);
        busy.work(A_WHILE);
        let text = tool.stop().success().stdout;
        assert!(text.contains("    vfs_read\n"), "{text}");
        let svg = fs::read_to_string(&path).expect("the picture");
        assert!(
            svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        for name in ["busy_read", "vfs_read", "main"] {
            assert!(svg.contains(&format!("<title>{name} (")), "{name}: {svg}");
        }
    });
    let ended = run("profile", &["--flamegraph", "/proc/nowhere/a.svg", "1"]);
    assert_eq!(code(ended.status), 1);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("--flamegraph: /proc/nowhere/a.svg: "),
        "{}",
        ended.stderr
    );
    // Also of nothing there is a picture.
    let dir = TempDir::new("flames");
    let path = dir.join("nothing.svg");
    let option = path.to_str().expect("UTF-8");
    run("profile", &["-L", "4194304", "--flamegraph", option, "1"]).success();
    assert!(
        fs::read_to_string(&path)
            .expect("the picture")
            .contains("</svg>")
    );
}

#[test]
fn containers_are_told_apart() {
    in_mount_namespace(|| {
        undisturbed(|| {
            let bpffs = BpfFs::mount();
            let group = Cgroup::new();
            let [(by_cgroup, cgroups, cgroup), (by_mntns, mntnses, mntns)] =
                container_options(&bpffs, &group);
            let inside = Busy::spawn(&mut group.command(&BUSY, &[]));
            let outside = Busy::new(&[]);
            let pids = format!("{},{}", inside.pid(), outside.pid());
            let tools = [
                (by_cgroup, cgroups.path()),
                (by_mntns, mntnses.path()),
                ("--cgroup", group.path()),
            ]
            .map(|(option, path)| start(&["--json", "-p", &pids, option, path]));
            let work = || {
                inside.work(A_WHILE);
                outside.work(A_WHILE / 4);
            };
            work();
            cgroups.add(cgroup);
            mntnses.add(mntns);
            work();
            let [by_cgroup, by_mntns, in_cgroup] = tools.map(|tool| tool.stop().success().json());
            let seen = |rows: &[Value], busy: &Busy| {
                let of_it = rows.iter().filter(|row| row["pid"] == busy.pid());
                samples(&of_it.cloned().collect::<Vec<_>>())
            };
            assert_eq!(seen(&by_cgroup, &outside), 0);
            assert_eq!(seen(&in_cgroup, &outside), 0);
            assert!(seen(&by_mntns, &outside) > 0);
            // Only from when it was in the map.
            for rows in [&by_cgroup, &by_mntns] {
                let ratio = seen(rows, &inside) as f64 / seen(&in_cgroup, &inside) as f64;
                assert!((0.05..0.8).contains(&ratio), "{ratio}");
            }
        });
    });
}

/// What a process calls itself is one word of one line.
#[test]
fn names_are_escaped() {
    undisturbed(|| {
        let dir = TempDir::new("busy");
        let program = dir.join("a;b\n c");
        fs::copy(&*BUSY, &program).expect("copy");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
        let busy = Busy::of(&program, &[]);
        let pid = busy.pid().to_string();
        let tools =
            [&["-f"][..], &[], &["--json"]].map(|args| start(&[args, &["-p", &pid]].concat()));
        busy.work(A_WHILE);
        let [folded, text, json] = tools.map(|tool| tool.stop().success());
        assert!(folded.stdout.contains("a:b\\n c;"), "{}", folded.stdout);
        assert!(
            text.stdout
                .contains(&format!("    -                a;b\\n c ({pid})\n")),
            "{}",
            text.stdout
        );
        assert!(json.json().iter().all(|row| row["comm"] == "a;b\n c"));
    });
}
