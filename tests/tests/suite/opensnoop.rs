// SPDX-License-Identifier: MIT OR Apache-2.0
//! `opensnoop` against opens of known arguments and results.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use bpfcc_tests::maps::{BpfFs, container_options};
use bpfcc_tests::*;
use libc::{
    AT_FDCWD, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY,
};
use serde_json::Value;

/// One call, as the kernel saw it.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    tid: i32,
    /// Descriptor, or minus errno.
    result: i64,
    flags: i32,
    mode: Option<u32>,
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL")
}

/// The system call itself: the C library would change flags.
fn syscall(number: libc::c_long, args: [libc::c_long; 4]) -> i64 {
    // SAFETY: an open system call whose path argument is a C string that lives
    // until it returns, or an address that the kernel refuses.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) };
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    if result >= 0 {
        // SAFETY: the descriptor was just made and nobody else has it.
        unsafe { libc::close(result as i32) };
        result
    } else {
        -i64::from(errno)
    }
}

fn openat(dirfd: i32, path: &Path, flags: i32, mode: u32) -> Call {
    let path = c_path(path);
    let result = syscall(
        libc::SYS_openat,
        [
            dirfd.into(),
            path.as_ptr() as libc::c_long,
            flags.into(),
            mode.into(),
        ],
    );
    let creates = flags & O_CREAT != 0;
    Call {
        tid: nix::unistd::gettid().as_raw(),
        result,
        flags,
        mode: creates.then_some(mode),
    }
}

fn own_pid() -> String {
    std::process::id().to_string()
}

/// The rows whose path is below `dir`.
fn below<'r>(rows: &'r [Value], dir: &Path) -> Vec<&'r Value> {
    let prefix = format!("{}/", dir.display());
    rows.iter()
        .filter(|row| {
            row["path"]
                .as_str()
                .is_some_and(|path| path.starts_with(&prefix))
        })
        .collect()
}

#[track_caller]
fn assert_row(row: &Value, call: &Call) {
    assert_eq!(row["pid"], std::process::id(), "{row}");
    assert_eq!(row["tid"], call.tid, "{row}");
    assert_eq!(row["flags"], call.flags, "{row}");
    assert_eq!(row["mode"], serde_json::json!(call.mode), "{row}");
    if call.result >= 0 {
        assert_eq!(
            (&row["fd"], &row["errno"]),
            (&call.result.into(), &0.into()),
            "{row}"
        );
    } else {
        assert_eq!(
            (&row["fd"], &row["errno"]),
            (&Value::Null, &(-call.result).into()),
            "{row}"
        );
    }
}

/// 10,000 opens by four threads, half of them failing: a row for each, with
/// everything right, and no other.
#[track_caller]
fn exact_rows(tool: Tool, may_skip: bool) {
    let dir = TempDir::new("opens");
    let made: BTreeMap<String, Call> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let dir = &dir;
                scope.spawn(move || {
                    (0..2500)
                        .map(|i| {
                            let path = dir.join(&format!("{thread}-{i}"));
                            let call = match i % 4 {
                                0 => openat(AT_FDCWD, &path, O_RDONLY | O_CLOEXEC, 0),
                                1 => openat(AT_FDCWD, &path, O_WRONLY | O_CREAT | O_EXCL, 0o640),
                                2 => openat(AT_FDCWD, &path, O_RDONLY | O_DIRECTORY, 0),
                                _ => openat(
                                    AT_FDCWD,
                                    &path,
                                    O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
                                    0o600,
                                ),
                            };
                            (path.display().to_string(), call)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().expect("a thread"))
            .collect()
    });
    let ended = tool.stop().success();
    let lost = ended.lost();
    let all = ended.json();
    let rows = below(&all, &dir.0);
    if may_skip {
        // What was skipped is counted, and may have been others' as well.
        let all = rows.len() as u64 + lost;
        assert!(
            rows.len() <= 10_000 && all >= 10_000,
            "{} {lost}",
            rows.len()
        );
    } else {
        let nameless: Vec<_> = all.iter().filter(|row| row["path"].is_null()).collect();
        assert_eq!(
            (rows.len(), lost),
            (10_000, 0),
            "{nameless:#?}\n{}",
            ended.stderr
        );
    }
    for row in rows {
        let path = row["path"].as_str().expect("a path");
        assert_row(
            row,
            made.get(path)
                .unwrap_or_else(|| panic!("nobody opened {path}")),
        );
    }
    assert_eq!(made.len(), 10_000);
    assert_eq!(made.values().filter(|call| call.result < 0).count(), 5_000);
}

#[test]
fn ten_thousand_opens_are_ten_thousand_rows() {
    let _alone = MayAttach::alone();
    exact_rows(
        Tool::start("opensnoop", &["--json", "-p", &own_pid()]),
        false,
    );
}

/// The same by each way to trace that this kernel has; the first that works is
/// what is used.
#[test]
fn every_alternative_gives_the_same_rows() {
    let _alone = MayAttach::alone();
    let mut works = Vec::new();
    for alternative in ["kretprobe", "tracepoint", "fexit", "raw_tp"] {
        let forced = |args: &[&str]| {
            let mut command = command("opensnoop");
            command
                .args(args)
                .env("BPFCC_RS_HOOKS", format!("open={alternative}"));
            command
        };
        let trial = run_command(forced(&["-d", "1"]));
        if !trial.status.success() {
            assert_eq!(code(trial.status), 1, "{}", trial.stderr);
            assert!(
                trial
                    .stderr
                    .contains(&format!("cannot trace open: {alternative}")),
                "{}",
                trial.stderr
            );
            continue;
        }
        // What is used by default is exact. Kernels that preempt programs skip
        // some runs of the others, and count them.
        let may_skip = !works.is_empty();
        let start = |args: &[&str]| {
            let own = ["--verbose", "--json", "-p", &own_pid()];
            Tool::spawn(forced(&[&own, args].concat()))
        };
        undisturbed(|| exact_rows(start(&[]), may_skip));
        undisturbed(|| every_call(start(&[])));
        undisturbed(|| full_paths(start(&["-F"])));
        works.push(alternative);
    }
    assert!(works.contains(&"raw_tp"), "{works:?}");
    let ended = Tool::start("opensnoop", &[]).stop().success();
    assert!(
        ended.stderr.contains(&format!("open: using {}", works[0])),
        "{works:?} {}",
        ended.stderr
    );
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// open, creat, openat and openat2, each once with success and once without.
fn every_call(tool: Tool) {
    let dir = TempDir::new("calls");
    let tid = nix::unistd::gettid().as_raw();
    let mut made = BTreeMap::new();
    let how = OpenHow {
        flags: (O_WRONLY | O_CREAT) as u64,
        mode: 0o604,
        resolve: 0,
    };
    let (create, created) = (O_WRONLY | O_CREAT, O_WRONLY | O_CREAT | O_TRUNC);
    for parent in ["", "missing/"] {
        let mut call = |name: &str,
                        flags: i32,
                        number: libc::c_long,
                        args: &dyn Fn(libc::c_long) -> [libc::c_long; 4]| {
            let path = dir.join(&format!("{parent}{name}"));
            let c = c_path(&path);
            let result = syscall(number, args(c.as_ptr() as libc::c_long));
            assert_eq!(result >= 0, parent.is_empty(), "{name}: {result}");
            made.insert(
                path.display().to_string(),
                Call {
                    tid,
                    result,
                    flags,
                    mode: Some(0o604),
                },
            );
        };
        let at = libc::c_long::from(AT_FDCWD);
        call("openat", create, libc::SYS_openat, &|path| {
            [at, path, create.into(), 0o604]
        });
        call("openat2", create, libc::SYS_openat2, &|path| {
            [
                at,
                path,
                (&raw const how) as libc::c_long,
                size_of::<OpenHow>() as libc::c_long,
            ]
        });
        #[cfg(target_arch = "x86_64")]
        {
            call("open", create, libc::SYS_open, &|path| {
                [path, create.into(), 0o604, 0]
            });
            call("creat", created, libc::SYS_creat, &|path| {
                [path, 0o604, 0, 0]
            });
        }
    }
    let _ = created;
    let ended = tool.stop().success();
    let rows = ended.json();
    let rows = below(&rows, &dir.0);
    assert_eq!(rows.len(), made.len(), "{rows:#?}");
    for row in rows {
        assert_row(row, &made[row["path"].as_str().expect("a path")]);
    }
}

#[test]
fn every_system_call_is_seen() {
    every_call(Tool::start("opensnoop", &["--json", "-p", &own_pid()]));
}

/// Relative names below the working directory and below a directory
/// descriptor, through a mount point; absolute ones as they are.
fn full_paths(tool: Tool) {
    // The names are this call's own: the tool sees the other tests' as well.
    let own = unique("own");
    let name = move |name: &str| format!("{name}-{own}");
    let made = name.clone();
    let dir = in_mount_namespace(move || {
        let name = |text: &str| PathBuf::from(made(text));
        let dir = TempDir::new("full");
        let mounted = dir.join("a/mounted");
        fs::create_dir_all(&mounted).expect("directories");
        mount_tmpfs(&mounted);
        fs::create_dir_all(mounted.join("deep/er")).expect("directories");
        let deep = File::open(mounted.join("deep")).expect("a directory");
        // Only this thread changes its working directory.
        std::env::set_current_dir(dir.join("a")).expect("change directory");
        let at = std::os::fd::AsRawFd::as_raw_fd(&deep);
        openat(AT_FDCWD, &name("in-cwd"), O_RDONLY, 0);
        openat(AT_FDCWD, &name("mounted/deep/../below"), O_RDONLY, 0);
        openat(at, &name("er/at-dirfd"), O_RDONLY | O_CREAT, 0o600);
        openat(at, &dir.0.join(name("absolute")), O_RDONLY, 0);
        openat(999_999, &name("no-such-dirfd"), O_RDONLY, 0);
        std::env::set_current_dir("/").expect("change directory");
        openat(AT_FDCWD, &name("at-the-root"), O_RDONLY, 0);
        dir
    });
    let rows = tool.stop().success().json();
    let full = |name: &str| {
        let row = rows
            .iter()
            .find(|row| {
                row["path"]
                    .as_str()
                    .is_some_and(|path| path.ends_with(name))
            })
            .unwrap_or_else(|| panic!("no row of {name}"));
        row["full_path"].as_str().map(str::to_owned)
    };
    let dir = dir.0.display();
    let expect = |text: &str, path: String| assert_eq!(full(&name(text)), Some(name(&path)));
    expect("in-cwd", format!("{dir}/a/in-cwd"));
    expect("below", format!("{dir}/a/mounted/deep/../below"));
    expect("at-dirfd", format!("{dir}/a/mounted/deep/er/at-dirfd"));
    expect("absolute", format!("{dir}/absolute"));
    expect("at-the-root", "/at-the-root".into());
    // EBADF: there is no directory to put before it.
    assert_eq!(full(&name("no-such-dirfd")), None);
}

#[test]
fn full_paths_are_resolved() {
    full_paths(Tool::start(
        "opensnoop",
        &["--json", "-F", "-p", &own_pid()],
    ));
}

#[test]
fn paths_are_whole_up_to_path_max() {
    let dir = TempDir::new("long");
    let mut path = dir.0.display().to_string();
    while path.len() + 2 < 4095 - 4 {
        path.push_str("/.");
    }
    while path.len() < 4095 {
        path.push('/');
    }
    path.replace_range(4091.., "/end");
    assert_eq!(path.len(), 4095);
    let tool = Tool::start("opensnoop", &["--json", "-p", &own_pid()]);
    let call = openat(AT_FDCWD, Path::new(&path), O_RDONLY | O_CREAT, 0o600);
    assert!(call.result >= 0);
    // One byte more is refused by the kernel, and still shown.
    let longer = format!("{path}x");
    let refused = openat(AT_FDCWD, Path::new(&longer), O_RDONLY, 0);
    assert_eq!(refused.result, -i64::from(libc::ENAMETOOLONG));
    let rows = tool.stop().success().json();
    let rows = below(&rows, &dir.0);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["path"], path);
    assert_row(rows[0], &call);
    assert!(longer.starts_with(rows[1]["path"].as_str().expect("a path")));
    assert_row(rows[1], &refused);
}

#[test]
fn only_failures_with_x() {
    let dir = TempDir::new("failed");
    let tool = Tool::start("opensnoop", &["--json", "-x", "-p", &own_pid()]);
    openat(AT_FDCWD, &dir.join("there"), O_RDONLY | O_CREAT, 0o600);
    openat(AT_FDCWD, &dir.join("missing"), O_RDONLY, 0);
    let tid = nix::unistd::gettid().as_raw();
    let fault = syscall(libc::SYS_openat, [AT_FDCWD.into(), 8, 0, 0]);
    assert_eq!(fault, -i64::from(libc::EFAULT));
    let rows = tool.stop().success().json();
    assert!(rows.iter().all(|row| row["errno"] != 0));
    let here = below(&rows, &dir.0);
    assert_eq!(here.len(), 1, "{here:#?}");
    assert_eq!(here[0]["errno"], libc::ENOENT);
    // A name that cannot be read is none, not a lost row.
    let faults: Vec<_> = rows
        .iter()
        .filter(|row| row["errno"] == libc::EFAULT)
        .collect();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(
        (&faults[0]["path"], &faults[0]["tid"]),
        (&Value::Null, &tid.into())
    );
}

#[test]
fn threads_users_and_flags_are_filtered() {
    let dir = TempDir::new("filters");
    let tid = nix::unistd::gettid().as_raw().to_string();
    let paths = |args: &[&str]| {
        let tool = Tool::start("opensnoop", &[&["--json"], args].concat());
        openat(AT_FDCWD, &dir.join("mine"), O_RDONLY, 0);
        openat(AT_FDCWD, &dir.join("write"), O_WRONLY, 0);
        openat(AT_FDCWD, &dir.join("create"), O_RDWR | O_CREAT, 0o600);
        thread::scope(|scope| {
            let dir = &dir;
            scope.spawn(move || openat(AT_FDCWD, &dir.join("thread"), O_RDONLY, 0));
        });
        let rows = tool.stop().success().json();
        let _ = fs::remove_file(dir.join("create"));
        below(&rows, &dir.0)
            .iter()
            .map(|row| {
                row["path"]
                    .as_str()
                    .expect("a path")
                    .rsplit('/')
                    .next()
                    .unwrap_or("")
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    let pid = own_pid();
    assert_eq!(paths(&["-p", &pid]), ["mine", "write", "create", "thread"]);
    assert_eq!(paths(&["-t", &tid]), ["mine", "write", "create"]);
    // -t wins over -p.
    assert_eq!(paths(&["-p", "1", "-t", &tid]), ["mine", "write", "create"]);
    assert_eq!(
        paths(&["-u", "0", "-p", &pid]),
        ["mine", "write", "create", "thread"]
    );
    assert_eq!(paths(&["-u", "12345", "-p", &pid]), [""; 0]);
    assert_eq!(paths(&["-p", &pid, "-f", "O_CREAT"]), ["create"]);
    assert_eq!(
        paths(&["-p", &pid, "-f", "O_WRONLY", "-f", "O_CREAT"]),
        ["write", "create"]
    );
    assert_eq!(paths(&["-p", &pid, "-f", "O_RDONLY"]), ["mine", "thread"]);
    let name = thread::current().name().expect("a name").to_owned();
    let comm: String = name.chars().take(15).collect();
    assert_eq!(
        paths(&["-p", &pid, "-n", &comm[2..9]]),
        ["mine", "write", "create", "thread"]
    );
    assert_eq!(paths(&["-p", &pid, "-n", "no-such-name"]), [""; 0]);
    assert_eq!(paths(&["-p", &pid, "-n", "*/cre?te"]), ["create"]);
    assert_eq!(paths(&["-p", &pid, "-n", "wr*"]), ["write"]);
}

#[test]
fn the_cgroup_is_filtered() {
    let inside = Cgroup::new();
    let below = Cgroup::below(&inside.0);
    let outside = Cgroup::new();
    let dir = TempDir::new("cgroup");
    let tool = Tool::start("opensnoop", &["--json", "--cgroup", inside.path()]);
    for (group, name) in [
        (&outside, "hidden"),
        (&inside, "shown"),
        (&below, "shown-too"),
    ] {
        let path = dir.join(name);
        let path = path.to_str().expect("UTF-8");
        run_command(group.command(&bin("bpfcc-workload"), &["opens", path, "3"])).success();
    }
    let rows = tool.stop().success().json();
    let count = |name: &str| {
        rows.iter()
            .filter(|row| row["path"] == dir.join(name).to_str().unwrap())
            .count()
    };
    assert_eq!(
        (count("hidden"), count("shown"), count("shown-too")),
        (0, 3, 3)
    );
}

/// The content of the maps may change while the tool runs.
#[test]
fn container_maps_are_obeyed() {
    in_mount_namespace(|| {
        let dir = TempDir::new("maps");
        let bpffs = BpfFs::mount();
        let group = Cgroup::new();
        for (option, map, key) in container_options(&bpffs, &group) {
            let tool = Tool::start("opensnoop", &["--json", option, map.path()]);
            let before = dir.join(&format!("before{option}"));
            let after = dir.join(&format!("after{option}"));
            let open = |path: &Path| {
                let args = ["opens", path.to_str().expect("UTF-8"), "2"];
                run_command(group.command(&bin("bpfcc-workload"), &args)).success();
            };
            open(&before);
            map.add(key);
            open(&after);
            let rows = tool.stop().success().json();
            let count = |path: &Path| {
                rows.iter()
                    .filter(|row| row["path"] == path.to_str().unwrap())
                    .count()
            };
            assert_eq!((count(&before), count(&after)), (0, 2), "{option}");
        }
        let wrong = bpffs.map("wrong", "array", 4, 8);
        for path in [wrong.path(), "/no/such/map"] {
            let ended = run("opensnoop", &["--cgroupmap", path]);
            assert_eq!(code(ended.status), 1, "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
            assert!(ended.stderr.contains(path), "{}", ended.stderr);
        }
    });
}

/// Header and rows, to the byte.
#[test]
fn text_is_bccs() {
    let dir = TempDir::new("text");
    let (there, missing) = (dir.join("there"), dir.join("missing"));
    drop(File::create(&there).expect("a file"));
    let pid = own_pid();
    let tid = nix::unistd::gettid().as_raw().to_string();
    let comm: String = fs::read_to_string("/proc/thread-self/comm")
        .expect("comm")
        .trim_end()
        .into();
    // Options, header, what stands before "COMM" in a row, FLAGS and MODE.
    let cases: [(&[&str], &str, String, [&str; 2]); 5] = [
        (
            &[],
            "PID    COMM               FD ERR PATH",
            format!("{pid:<6} "),
            ["", ""],
        ),
        (
            &["-U"],
            "UID   PID    COMM               FD ERR PATH",
            format!("0     {pid:<6} "),
            ["", ""],
        ),
        (
            &["-t", &tid],
            "TID    COMM               FD ERR PATH",
            format!("{tid:<6} "),
            ["", ""],
        ),
        (
            &["-e"],
            "PID    COMM               FD ERR FLAGS    MODE PATH",
            format!("{pid:<6} "),
            ["00000000 n/a  ", "00000102 0640 "],
        ),
        (
            &["-Ue"],
            "UID   PID    COMM               FD ERR FLAGS    MODE PATH",
            format!("0     {pid:<6} "),
            ["00000000 n/a  ", "00000102 0640 "],
        ),
    ];
    for (args, header, start, [plain, create]) in cases {
        let tool = Tool::start("opensnoop", &[&["-p", &pid], args].concat());
        let fd = openat(AT_FDCWD, &there, O_RDONLY, 0).result;
        openat(AT_FDCWD, &missing, O_RDONLY, 0);
        let made = openat(AT_FDCWD, &there, O_RDWR | O_CREAT, 0o640).result;
        let ended = tool.stop().success();
        assert_eq!(ended.lines()[0], header);
        let shown: Vec<_> = ended
            .lines()
            .into_iter()
            .filter(|line| line.contains(dir.0.to_str().unwrap()))
            .collect();
        let (there, missing) = (there.display(), missing.display());
        let expected = [
            format!("{start}{comm:<16} {fd:>4}   0 {plain}{there}"),
            format!("{start}{comm:<16}   -1   2 {plain}{missing}"),
            format!("{start}{comm:<16} {made:>4}   0 {create}{there}"),
        ];
        assert_eq!(shown, expected, "{args:?}");
    }

    let tool = Tool::start("opensnoop", &["-T", "-p", &pid]);
    openat(AT_FDCWD, &there, O_RDONLY, 0);
    openat(AT_FDCWD, &missing, O_RDONLY, 0);
    let ended = tool.stop().success();
    assert_eq!(
        ended.lines()[0],
        "TIME(s)       PID    COMM               FD ERR PATH"
    );
    for line in &ended.lines()[1..] {
        let time = line[..14].trim_end();
        assert_eq!(time.split('.').nth(1).map(str::len), Some(9), "{line}");
        assert!(
            time.parse::<f64>().is_ok() && line[14..].starts_with(&pid),
            "{line}"
        );
    }
}

#[test]
fn control_characters_in_names_are_escaped() {
    let dir = TempDir::new("control");
    let name = std::ffi::OsStr::from_bytes(b"a\nb\x1b[31m\xff\x07");
    let (text, json) = (
        Tool::start("opensnoop", &["-p", &own_pid()]),
        Tool::start("opensnoop", &["--json", "-p", &own_pid()]),
    );
    openat(AT_FDCWD, &dir.0.join(name), O_RDONLY, 0);
    let (text, json) = (text.stop().success(), json.stop().success());
    assert!(!text.stdout.contains(['\x1b', '\x07']));
    let rows: Vec<_> = text
        .lines()
        .into_iter()
        .filter(|line| line.contains(dir.0.to_str().unwrap()))
        .collect();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert!(
        rows[0].ends_with("/a\\nb\\x1b[31m\u{fffd}\\x07"),
        "{rows:#?}"
    );
    let rows = json.json();
    let rows = below(&rows, &dir.0);
    assert_eq!(rows.len(), 1);
    assert!(
        rows[0]["path"]
            .as_str()
            .expect("a path")
            .ends_with("/a\nb\x1b[31m\u{fffd}\x07")
    );
}

#[test]
fn exec_traces_one_command_from_its_first_open() {
    let dir = TempDir::new("exec");
    let path = dir.join("three");
    let path = path.to_str().expect("UTF-8");
    let workload = bin("bpfcc-workload");
    let mut command = command("opensnoop");
    command
        .args(["--json", "--exec"])
        .arg(&workload)
        .args(["opens", path, "3"])
        // cargo's would make the linker look elsewhere first.
        .env_remove("LD_LIBRARY_PATH");
    let ended = run_command(command).success();
    // The command's own output, a "0", stands among the rows.
    let rows: Vec<Value> = ended
        .lines()
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.iter().filter(|row| row["path"] == path).count(), 3);
    assert!(rows.iter().all(|row| row["pid"] == rows[0]["pid"]));
    assert!(
        rows[0]["path"]
            .as_str()
            .is_some_and(|path| path.contains("ld.so")),
        "{}",
        rows[0]
    );
    let ended = run("opensnoop", &["--exec", "/no/such/command"]);
    assert_eq!(code(ended.status), 1, "{}", ended.stderr);
}

/// Two writers as fast as they can: rows and losses add up to the opens made.
#[test]
fn a_flood_is_accounted_for_exactly() {
    let _alone = MayAttach::alone();
    for pages in ["1024", "8"] {
        let seconds = if in_vm() { "2" } else { "10" };
        let dir = TempDir::new("flood");
        let group = Cgroup::new();
        let rows = dir.join("rows");
        let mut command = command("opensnoop");
        // The writers' flag, which nothing else in the cgroup uses.
        command.args(["-b", pages, "--cgroup", group.path(), "-f", "O_NOFOLLOW"]);
        let mut tool = command
            .stdout(File::create(&rows).expect("a file"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("opensnoop");
        let deadline = std::time::Instant::now() + PATIENCE;
        until("the header is written", deadline, || {
            (fs::metadata(&rows).expect("rows").len() > 0).then_some(())
        });
        let target = dir.join("flooded");
        drop(File::create(&target).expect("a file"));
        let target = target.to_str().expect("UTF-8");
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let mut command =
                    group.command(&bin("bpfcc-workload"), &["flood", target, seconds]);
                thread::spawn(move || command.output().expect("flood"))
            })
            .collect();
        let made: u64 = writers
            .into_iter()
            .map(|writer| {
                let output = writer.join().expect("a writer");
                String::from_utf8_lossy(&output.stdout)
                    .trim()
                    .parse::<u64>()
                    .expect("a count")
            })
            .sum();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(tool.id() as i32),
            nix::sys::signal::Signal::SIGINT,
        )
        .expect("signal");
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut tool.stderr.take().expect("piped"), &mut stderr)
            .expect("stderr");
        assert!(wait_for(&mut tool).success(), "{stderr}");
        let shown = BufReader::new(File::open(&rows).expect("rows"))
            .lines()
            .filter(|line| line.as_ref().is_ok_and(|line| line.ends_with(target)))
            .count() as u64;
        let lost: u64 = stderr
            .lines()
            .map(|line| {
                let count = line
                    .strip_prefix("Possibly lost ")
                    .and_then(|rest| rest.strip_suffix(" samples"));
                count
                    .unwrap_or_else(|| panic!("{line}"))
                    .parse::<u64>()
                    .expect("a count")
            })
            .sum();
        println!("{pages} pages: {made} opens made, {shown} shown, {lost} lost");
        assert_eq!(shown + lost, made);
        assert!(shown > 0);
    }
}
