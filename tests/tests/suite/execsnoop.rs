// SPDX-License-Identifier: MIT OR Apache-2.0
//! `execsnoop` against program starts of known arguments and results. The other
//! tests start programs too, from this same process: a row is known by a word
//! that nobody else uses.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use bpfcc_tests::execveat::Execveat;
use bpfcc_tests::maps::{BpfFs, container_options};
use bpfcc_tests::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const TRUE: &str = "/bin/true";

fn own_pid() -> String {
    std::process::id().to_string()
}

/// The calling thread's name, as the kernel has it.
fn own_comm() -> String {
    let comm = fs::read_to_string("/proc/thread-self/comm").expect("comm");
    comm.trim_end().into()
}

/// Runs `program` to its end: its pid.
fn start<S: AsRef<OsStr>>(program: &str, args: &[S]) -> u32 {
    run_child(Command::new(program).args(args))
}

fn run_child(command: &mut Command) -> u32 {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(wait_for(&mut child).success(), "{command:?}");
    child.id()
}

/// A program that cannot be started.
fn fail(command: &mut Command) -> io::Error {
    command.spawn().expect_err("nothing to be started")
}

/// The rows with `mark` as their first argument.
fn marked<'r>(rows: &'r [Value], mark: &str) -> Vec<&'r Value> {
    rows.iter().filter(|row| row["argv"][1] == mark).collect()
}

/// The lines with `mark`.
fn lines_with<'l>(ended: &'l Ended, mark: &str) -> Vec<&'l str> {
    let lines = ended.stdout.lines();
    lines.filter(|line| line.contains(mark)).collect()
}

#[test]
fn two_thousand_processes_are_two_thousand_rows() {
    let _alone = MayAttach::alone();
    let mark = unique("many");
    let tool = Tool::start("execsnoop", &["--json", "-P", &own_pid()]);
    let made: BTreeMap<String, (u32, String)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                let mark = &mark;
                scope.spawn(move || {
                    name_thread(&format!("starter {thread}"));
                    (0..1000)
                        .map(|i| {
                            let own = format!("{thread}-{i}");
                            let pid = start(TRUE, &[mark, &own, "", "a \"b\" c", "end"]);
                            (own, (pid, own_comm()))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let threads = threads.into_iter();
        threads.flat_map(|t| t.join().expect("a thread")).collect()
    });
    assert_eq!(made.len(), 2000);
    let ended = tool.stop().success();
    let lost = ended.lost();
    let rows = ended.json();
    let rows = marked(&rows, &mark);
    // Where the kernel preempts programs it skips some runs, and counts them.
    if kernel() >= (7, 0) {
        let all = rows.len() as u64 + lost;
        assert!(rows.len() <= 2000 && all >= 2000, "{} {lost}", rows.len());
    } else {
        assert_eq!((rows.len(), lost), (2000, 0), "{}", ended.stderr);
    }
    let mut seen = BTreeMap::new();
    for row in rows {
        let own = row["argv"][2].as_str().expect("a word");
        let (pid, parent) = &made[own];
        assert_eq!(
            row["argv"],
            json!([TRUE, mark, own, "", "a \"b\" c", "end"]),
            "{row}"
        );
        assert_eq!(
            (&row["filename"], &row["comm"], &row["parent_comm"]),
            (&json!(TRUE), &json!("true"), &json!(parent)),
            "{row}"
        );
        assert_eq!((&row["pid"], &row["tid"]), (&json!(pid), &json!(pid)));
        assert_eq!(row["ppid"], std::process::id());
        assert_eq!((&row["uid"], &row["ret"]), (&json!(0), &json!(0)));
        assert_eq!(row["argv_cut"], false);
        assert_eq!(seen.insert(own.to_owned(), ()), None, "twice: {row}");
    }
}

/// Lengths at which the tool's buffers end, and up to what the kernel takes: 128
/// KiB each, 2 MiB in all.
#[test]
fn arguments_are_whole_at_any_length() {
    let mark = unique("long");
    let of = |lengths: &[usize]| -> Vec<String> {
        let mut args = vec![mark.clone()];
        let letters = (b'a'..=b'z').map(char::from).cycle();
        args.extend(
            lengths
                .iter()
                .zip(letters)
                .map(|(&length, letter)| letter.to_string().repeat(length)),
        );
        args
    };
    let cases = [
        of(&[3000]),
        of(&[4094, 4095, 4096, 0, 1]),
        of(&[12_286, 12_287, 12_288, 12_289, 1, 24_574, 24_575]),
        of(&[16_000, 4_000, 20_000, 1]),
        of(&[131_071]),
        of(&[120_000; 12]),
        of(&[0; 18]),
    ];
    let tool = Tool::start("execsnoop", &["--json", "-P", &own_pid()]);
    let pids = cases.each_ref().map(|args| start(TRUE, args));
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0);
    let rows = ended.json();
    let rows = marked(&rows, &mark);
    assert_eq!(rows.len(), cases.len());
    for ((row, args), pid) in rows.iter().zip(&cases).zip(pids) {
        assert_eq!(
            (&row["pid"], &row["argv_cut"]),
            (&json!(pid), &json!(false))
        );
        let shown = row["argv"].as_array().expect("a list");
        let lengths: Vec<_> = shown.iter().map(|arg| arg.as_str().map(str::len)).collect();
        assert!(
            shown[1..].iter().eq(args),
            "of {:?} there is {lengths:?}",
            args.iter().map(String::len).collect::<Vec<_>>()
        );
    }
}

#[test]
fn more_than_max_args_is_cut() {
    let mark = unique("max");
    let args = |count: usize| {
        let mut args = vec![mark.clone()];
        args.extend((2..count).map(|i| i.to_string()));
        args
    };
    let shown = |options: &[&str], count: usize| {
        let tool = Tool::start("execsnoop", &[&["-P", &own_pid()], options].concat());
        start(TRUE, &args(count));
        let ended = tool.stop().success();
        let lines = lines_with(&ended, &mark);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].split(TRUE).nth(1).expect("arguments").to_owned()
    };
    let words = |count: usize| format!(" {}", args(count).join(" "));
    assert_eq!(shown(&[], 20), words(20));
    assert_eq!(shown(&[], 21), words(20) + " ...");
    assert_eq!(shown(&["--max-args", "4"], 4), words(4));
    assert_eq!(shown(&["--max-args", "4"], 90), words(4) + " ...");
    let most = ["-x", "--max-args", "512"];
    assert_eq!(shown(&most, 500), words(500));
    assert_eq!(shown(&most, 600), words(512) + " ...");

    let tool = Tool::start("execsnoop", &["-P", &own_pid(), "--max-args", "1"]);
    let pid = start(TRUE, &args(2)).to_string();
    let ended = tool.stop().success();
    let lines = lines_with(&ended, &pid);
    assert!(
        lines.iter().any(|line| line.ends_with("  0 /bin/true ...")),
        "{lines:?}"
    );
}

/// Of a script the kernel starts the interpreter, with arguments of its own.
#[test]
fn scripts_are_shown_as_they_were_called() {
    let dir = TempDir::new("scripts");
    let (inner, outer) = (dir.join("inner"), dir.join("outer"));
    // Not by this process: another thread's child would have the file open for
    // writing when it is to be started.
    let made = format!(
        "printf '#!/bin/sh -e\\nexit 0\\n' > {0}; printf '#!{0} -x\\n' > {1}; chmod +x {0} {1}",
        inner.display(),
        outer.display()
    );
    start("/bin/sh", &["-c", &made]);
    let mark = unique("script");
    let tool = Tool::start("execsnoop", &["--json", "-P", &own_pid()]);
    for script in [&inner, &outer] {
        let script = script.to_str().expect("UTF-8");
        start(script, &[&mark, script, "last"]);
    }
    let rows = tool.stop().success().json();
    let rows = marked(&rows, &mark);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (row, script) in rows.into_iter().zip([inner, outer]) {
        let script = script.to_str().expect("UTF-8");
        assert_eq!(row["filename"], script);
        assert_eq!(row["argv"], json!([script, mark, script, "last"]));
        assert_eq!(row["argv_cut"], false);
    }
}

#[test]
fn execveat_and_fexecve_are_seen() {
    let mark = unique("at");
    let (dir, file) = (
        File::open("/bin").expect("a directory"),
        File::open(TRUE).expect("a file"),
    );
    let (dir, file) = (dir.as_raw_fd(), file.as_raw_fd());
    let args = ["zero", &mark, "b"];
    let tool = Tool::start("execsnoop", &["--json", "-P", &own_pid()]);
    let pids = [
        Execveat::new(dir, "true", &args, 0),
        Execveat::new(file, "", &args, libc::AT_EMPTY_PATH), // as fexecve()
        Execveat::new(dir, TRUE, &args, 0),
        Execveat::new(libc::AT_FDCWD, TRUE, &args, 0),
    ]
    .map(|call| run_child(&mut call.command()));
    let rows = tool.stop().success().json();
    let rows: Vec<_> = marked(&rows, &mark)
        .iter()
        .map(|row| (row["pid"].clone(), row["filename"].clone()))
        .collect();
    let names = [
        format!("/dev/fd/{dir}/true"),
        format!("/dev/fd/{file}"),
        TRUE.into(),
        TRUE.into(),
    ];
    let made: Vec<_> = pids
        .into_iter()
        .zip(names)
        .map(|(pid, name)| (json!(pid), json!(name)))
        .collect();
    assert_eq!(rows, made);
}

/// Each failure once: what is wrong with the file, the directory, the arguments.
fn failures(options: &[&str], alternative: &str) -> (String, Vec<(String, i32)>, Ended) {
    let dir = TempDir::new("failed");
    let mark = unique("fails");
    let plain = dir.join("plain");
    fs::write(&plain, "no program").expect("a file");
    let mut command = command("execsnoop");
    command
        .args(["--verbose", "--json", "-P", &own_pid()])
        .args(options)
        .env("BPFCC_RS_HOOKS", format!("failed={alternative}"));
    let tool = Tool::spawn(command);
    let name = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let missing = name(&dir.join("missing"));
    let mut made = Vec::new();
    for (file, error) in [
        (&missing, libc::ENOENT),
        (&name(&plain), libc::EACCES),
        (&name(&dir.0), libc::EACCES),
        (&format!("{}/x", name(&plain)), libc::ENOTDIR),
    ] {
        let failed = fail(Command::new(file).args([&mark, "b c"]));
        assert_eq!(failed.raw_os_error(), Some(error), "{file}");
        made.push((file.clone(), -error));
    }
    for (dir, file, shown) in [
        (9999, "x", "/dev/fd/9999/x"),
        (9999, "", "/dev/fd/9999"),
        (libc::AT_FDCWD, "/no/such", "/no/such"),
    ] {
        let call = Execveat::new(dir, file, &["0", &mark, "b c"], libc::AT_EMPTY_PATH);
        let failed = fail(&mut call.command()).raw_os_error().expect("a number");
        made.push((shown.to_owned(), -failed));
    }
    start(TRUE, &[&mark, "b c"]);
    (mark, made, tool.stop().success())
}

#[test]
fn failed_calls_are_shown_with_x() {
    for alternative in ["tracepoint", "raw_tp"] {
        let (mark, mut made, ended) = failures(&["-x"], alternative);
        made.push((TRUE.into(), 0));
        let rows = ended.json();
        let rows = marked(&rows, &mark);
        let seen: Vec<_> = rows
            .iter()
            .map(|row| {
                assert_eq!(row["argv"].as_array().map(Vec::len), Some(3), "{row}");
                assert_eq!(
                    (&row["argv"][2], &row["argv_cut"]),
                    (&json!("b c"), &json!(false))
                );
                // A program that did not start leaves its caller's name.
                let comm = if row["ret"] == 0 { "true" } else { &own_comm() };
                assert_eq!(row["comm"], comm, "{row}");
                let file = row["filename"].as_str().expect("a name");
                (
                    file.to_owned(),
                    row["ret"].as_i64().expect("a number") as i32,
                )
            })
            .collect();
        assert_eq!(seen, made, "{alternative}");
        assert!(
            ended
                .stderr
                .contains(&format!("failed: using {alternative}"))
        );
    }
    let (mark, _, ended) = failures(&[], "raw_tp");
    let rows = ended.json();
    let rows = marked(&rows, &mark);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["ret"], 0);
}

/// Of a failed call long arguments come as whole as of others; an argument that
/// is no memory of the program's is none.
#[test]
fn arguments_of_failed_calls() {
    let mark = unique("kept");
    let long = ["x".repeat(60_000), "y".repeat(12_287)];
    let many: Vec<_> = (0..30).map(|i| i.to_string()).collect();
    let missing = unique("/no/such");
    let tool = Tool::start("execsnoop", &["-x", "--json", "-P", &own_pid()]);
    fail(Command::new(&missing).arg(&mark).args(&long));
    fail(Command::new(&missing).arg(&mark).args(&many));
    let c = [&*missing, &*mark, "last"].map(|text| CString::new(text).expect("no NUL"));
    let mut command = Command::new(TRUE);
    // SAFETY: the closure makes one system call, which reads lists and strings
    // that are alive, and refuses the address that is none.
    unsafe {
        command.pre_exec(move || {
            let argv = [
                c[0].as_ptr(),
                c[1].as_ptr(),
                std::ptr::without_provenance(8),
                c[2].as_ptr(),
                std::ptr::null(),
            ];
            libc::execve(c[0].as_ptr(), argv.as_ptr(), argv[4..].as_ptr().cast());
            Err(io::Error::last_os_error())
        });
    }
    fail(&mut command);
    let rows = tool.stop().success().json();
    let rows = marked(&rows, &mark);
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows[0]["argv"], json!([missing, mark, long[0], long[1]]));
    assert_eq!(rows[0]["argv_cut"], false);
    let mut shown = vec![missing.clone(), mark.clone()];
    shown.extend_from_slice(&many[..18]);
    assert_eq!(rows[1]["argv"], json!(shown));
    assert_eq!(rows[1]["argv_cut"], true);
    assert_eq!(rows[2]["argv"], json!([missing, mark, null, "last"]));
    assert_eq!(rows[2]["argv_cut"], false);
}

/// It goes on as the process's first thread.
#[test]
fn a_thread_that_is_not_the_first_keeps_the_processs_id() {
    let mark = unique("thread");
    let workload = bin("bpfcc-workload");
    let workload = workload.to_str().expect("UTF-8");
    let tool = Tool::start("execsnoop", &["--json", "-x", "-P", &own_pid()]);
    let pid = start(workload, &["exec-in-thread", TRUE, &mark]);
    let rows = tool.stop().success().json();
    let rows = marked(&rows, &mark);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["pid"], &rows[0]["ret"]), (&json!(pid), &json!(0)));
    assert_ne!(rows[0]["tid"], pid);
    assert_eq!(rows[0]["ppid"], std::process::id());
}

#[test]
fn users_parents_names_and_arguments_are_filtered() {
    let mark = unique("filtered");
    let seen = |options: &[&str]| -> Vec<String> {
        let tool = Tool::start("execsnoop", &[&["--json"], options].concat());
        start(TRUE, &[&mark, "root"]);
        run_child(Command::new(TRUE).args([&mark, "other"]).uid(4711));
        start("/bin/echo", &[&mark, "echoed"]);
        // A grandchild.
        start("/bin/sh", &["-c", &format!("{TRUE} {mark} below; :")]);
        let rows = tool.stop().success().json();
        marked(&rows, &mark)
            .iter()
            .map(|row| row["argv"][2].as_str().expect("a word").to_owned())
            .collect()
    };
    let own = own_pid();
    assert_eq!(seen(&[]), ["root", "other", "echoed", "below"]);
    assert_eq!(seen(&["-P", &own]), ["root", "other", "echoed"]);
    assert_eq!(seen(&["-P", "1"]), [""; 0]);
    assert_eq!(seen(&["-u", "4711"]), ["other"]);
    assert_eq!(seen(&["-u", "0"]), ["root", "echoed", "below"]);
    assert_eq!(seen(&["--uid", "root", "-P", &own]), ["root", "echoed"]);
    assert_eq!(seen(&["-u", "nobody"]), [""; 0]);
    assert_eq!(seen(&["-n", "^ec.o$"]), ["echoed"]);
    assert_eq!(seen(&["-n", "^(?i)TR"]), ["root", "other", "below"]);
    assert_eq!(seen(&["-n", "ru"]), ["root", "other", "below"]);
    assert_eq!(
        seen(&["-l", &format!("{mark} (root|echo)")]),
        ["root", "echoed"]
    );
    assert_eq!(seen(&["-l", "^/bin/echo .*d$"]), ["echoed"]);
    assert_eq!(seen(&["-l", "below$", "-n", "echo"]), [""; 0]);
}

#[test]
fn the_cgroup_is_filtered() {
    let inside = Cgroup::new();
    let below = Cgroup::below(&inside.0);
    let outside = Cgroup::new();
    let mark = unique("cgroup");
    for option in ["--cgroup", "-c"] {
        let tool = Tool::start("execsnoop", &["--json", option, inside.path()]);
        for (group, name) in [
            (&outside, "hidden"),
            (&inside, "shown"),
            (&below, "shown too"),
        ] {
            run_child(&mut group.command(Path::new(TRUE), &[&mark, name]));
        }
        let rows = tool.stop().success().json();
        let rows: Vec<_> = rows.iter().map(|row| row["argv"].clone()).collect();
        let row = |name: &str| json!([TRUE, mark, name]);
        assert_eq!(rows, [row("shown"), row("shown too")], "{option}");
    }
}

/// The content of the maps may change while the tool runs.
#[test]
fn container_maps_are_obeyed() {
    in_mount_namespace(|| {
        let bpffs = BpfFs::mount();
        let group = Cgroup::new();
        for (option, map, key) in container_options(&bpffs, &group) {
            let mark = unique("maps");
            let tool = Tool::start("execsnoop", &["--json", "-x", option, map.path()]);
            let start = |name: &str| {
                run_child(&mut group.command(Path::new(TRUE), &[&mark, name]));
            };
            start("before");
            map.add(key);
            start("after");
            let rows = tool.stop().success().json();
            let rows: Vec<_> = marked(&rows, &mark)
                .iter()
                .map(|row| row["argv"][2].clone())
                .collect();
            assert_eq!(rows, ["after"], "{option}");
        }
    });
}

/// Header and rows, to the byte.
#[test]
fn text_is_bccs() {
    let mark = unique("text");
    let (own, comm) = (own_pid(), own_comm());
    let shown = |options: &[&str]| {
        let tool = Tool::start("execsnoop", &[&["-P", &own], options].concat());
        let pid = start(TRUE, &[&mark, "a b", "\"", ""]);
        let ended = tool.stop().success();
        let lines = lines_with(&ended, &mark);
        assert_eq!(lines.len(), 1, "{lines:?}");
        (ended.lines()[0].to_owned(), lines[0].to_owned(), pid)
    };
    let args = format!("/bin/true {mark} a b \" ");

    let (header, row, pid) = shown(&[]);
    assert_eq!(header, "COMM             PID     PPID    RET ARGS");
    assert_eq!(
        row,
        format!("true             {pid:<7} {own:<7}   0 {args}")
    );

    let (header, row, pid) = shown(&["-U", "-M", "-q"]);
    assert_eq!(
        header,
        "UID   COMM             PID     PCOMM            PPID    RET ARGS"
    );
    assert_eq!(
        row,
        format!(
            "0     true             {pid:<7} {comm:<16} {own:<7}   0 \
             \"/bin/true\" \"{mark}\" \"a b\" \"\\\"\" \"\""
        )
    );

    let (header, row, pid) = shown(&["-TtUMC"]);
    assert_eq!(
        header,
        "TIME     TIME(s) UID   COMM             PID     PCOMM            PPID    CPU  RET ARGS"
    );
    let (clock, rest) = row.split_at(9);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    assert!(digits(clock) == 6 && clock.ends_with(' '), "{row}");
    let (seconds, rest) = rest.split_at(8);
    let decimals = seconds
        .trim_end()
        .split_once('.')
        .map(|(_, tail)| tail.len());
    assert_eq!(decimals, Some(3), "{row}");
    assert!(seconds.trim_end().parse::<f64>().is_ok(), "{row}");
    let start = format!("0     true             {pid:<7} {comm:<16} {own:<7} ");
    let rest = rest.strip_prefix(&start).unwrap_or_else(|| panic!("{row}"));
    let cpu = rest.split(' ').next().unwrap_or_default();
    assert!(cpu.parse::<u32>().is_ok(), "{row}");
    assert_eq!(rest, format!("{cpu:<4}   0 {args}"));

    let tool = Tool::start("execsnoop", &["-x", "-P", &own]);
    let missing = unique("/no/such");
    fail(Command::new(&missing).arg(&mark));
    let ended = tool.stop().success();
    let lines = lines_with(&ended, &missing);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let pid = lines[0].get(17..24).expect("a pid").trim_end();
    assert_eq!(
        lines[0],
        format!("{comm:<16} {pid:<7} {own:<7}  -2 {missing} {mark}")
    );
}

#[test]
fn control_characters_are_escaped() {
    let mark = unique("control");
    let odd = OsStr::from_bytes(b"a\nb\x1b[31m\xff\x07");
    let args: [OsString; 2] = [(&mark).into(), odd.into()];
    let (text, json) = (
        Tool::start("execsnoop", &["-P", &own_pid()]),
        Tool::start(
            "execsnoop",
            &["--json", "-l", r"b\x1b.31m\xff", "-P", &own_pid()],
        ),
    );
    start(TRUE, &args);
    let (text, json) = (text.stop().success(), json.stop().success());
    let lines = lines_with(&text, &mark);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].ends_with(&format!("/bin/true {mark} a\\nb\\x1b[31m\u{fffd}\\x07")),
        "{lines:?}"
    );
    let rows = json.json();
    let rows = marked(&rows, &mark);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["argv"][2], "a\nb\x1b[31m\u{fffd}\x07");
}

/// While the tool does not read, some of what is started fits in its buffer, the
/// rest is counted; what is shown is whole.
#[test]
fn what_does_not_fit_is_counted() {
    let group = Cgroup::new();
    let args: Vec<_> = (b'a'..=b'j')
        .map(|letter| char::from(letter).to_string().repeat(100_000))
        .collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let tool = Tool::start("execsnoop", &["--json", "--cgroup", group.path()]);
    let pid = Pid::from_raw(tool.pid() as i32);
    kill(pid, Signal::SIGSTOP).expect("stop the tool");
    for _ in 0..8 {
        run_child(&mut group.command(Path::new(TRUE), &args));
    }
    kill(pid, Signal::SIGCONT).expect("let the tool go on");
    let ended = tool.stop().success();
    let lost = ended.lost();
    let rows: Vec<_> = ended
        .json()
        .into_iter()
        .filter(|row| row["lost_samples"].is_null())
        .collect();
    assert!(!rows.is_empty() && lost > 0, "{} {lost}", rows.len());
    assert_eq!(rows.len() as u64 + lost, 8);
    for row in &rows {
        assert!(
            row["argv"].as_array().expect("a list")[1..]
                .iter()
                .eq(&args)
        );
    }
}
