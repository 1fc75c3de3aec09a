// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every tool does alike: arguments, privileges, ends, leftovers.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bpfcc_tests::*;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Every tool, with arguments that make it run until it is told to end.
const TOOLS: [(&str, &[&str]); 27] = [
    ("tcpstates", &[]),
    ("opensnoop", &[]),
    ("biolatency", &["1"]),
    ("biosnoop", &[]),
    ("bitesize", &["1"]),
    ("tcplife", &[]),
    ("tcpretrans", &[]),
    ("tcpconnlat", &[]),
    ("tcpconnect", &[]),
    ("tcpaccept", &[]),
    ("tcptracer", &[]),
    ("tcpdrop", &[]),
    ("qdiscdrop", &[]),
    ("ctsnoop", &[]),
    ("tcpports", &["1"]),
    ("tcptop", &["-C"]),
    ("tcprtt", &[]),
    ("tcpsubnet", &[]),
    ("execsnoop", &[]),
    ("runqlat", &["1"]),
    ("cachestat", &[]),
    ("profile", &[]),
    ("ext4slower", &[]),
    ("fileslower", &[]),
    ("fsslower", &["-t", "ext4"]),
    ("xfsslower", &[]),
    ("btrfsslower", &[]),
];

/// Of tools that share their programs, in virtual machines: some.
const ON_THE_HOST: [&str; 3] = ["fsslower", "xfsslower", "btrfsslower"];

fn tools() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let here = |tool| !(in_vm() && ON_THE_HOST.contains(&tool));
    TOOLS.into_iter().filter(move |(tool, _)| here(*tool))
}

/// Set: [`lockdown_is_named`] locks the machine down.
pub const LOCK_DOWN: &str = "BPFCC_TEST_LOCK_DOWN";

/// The tools that work with just CAP_BPF and CAP_PERFMON.
const UNPRIVILEGED: [&str; 23] = [
    "tcpstates",
    "opensnoop",
    "biolatency",
    "biosnoop",
    "bitesize",
    "tcplife",
    "tcpretrans",
    "tcpconnlat",
    "tcpconnect",
    "tcpaccept",
    "tcptracer",
    "tcpdrop",
    "qdiscdrop",
    "tcpports",
    "tcptop",
    "tcprtt",
    "tcpsubnet",
    "execsnoop",
    "runqlat",
    "cachestat",
    "profile",
    "ext4slower",
    "fileslower",
];

#[test]
fn help_and_version_go_to_stdout() {
    for (tool, _) in tools() {
        for flag in ["-h", "--help"] {
            let help = run(tool, &[flag]).success();
            assert!(
                help.stdout.contains("Examples:"),
                "{tool} {flag}: {}",
                help.stdout
            );
            assert_eq!(help.stderr, "");
        }
        for flag in ["-V", "--version"] {
            let version = run(tool, &[flag]).success();
            assert_eq!(
                version.stdout,
                format!("{tool} {}\n", env!("CARGO_PKG_VERSION"))
            );
        }
    }
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let cases: &[(&str, &[&str])] = &[
        ("tcpstates", &["-L", "0"]),
        ("tcpstates", &["-L", "70000"]),
        ("tcpstates", &["-L", "a"]),
        ("tcpstates", &["-D", "80,,81"]),
        ("tcpstates", &["-4", "-6"]),
        ("tcpstates", &["--duration", "0"]),
        ("tcpstates", &["--no-such-option"]),
        ("tcpstates", &["stray"]),
        ("tcpstates", &["--cgroup", "/tmp"]),
        ("opensnoop", &["-p", "-1"]),
        ("opensnoop", &["-p", "0"]),
        ("opensnoop", &["-p", "x"]),
        ("opensnoop", &["-f", "O_NOPE"]),
        ("opensnoop", &["-b", "3"]),
        ("opensnoop", &["-d", "0"]),
        ("opensnoop", &["-p", "1", "--exec", "true"]),
        ("opensnoop", &["--exec"]),
        ("biolatency", &["0"]),
        ("biolatency", &["-1"]),
        ("biolatency", &["1.5"]),
        ("biolatency", &["1", "0"]),
        ("biolatency", &["-d", "nosuchdisk"]),
        ("biolatency", &["-d", "/dev/null"]),
        ("biosnoop", &["0"]),
        ("biosnoop", &["1", "--duration", "1"]),
        ("biosnoop", &["-m", "-1"]),
        ("biosnoop", &["-c", "/tmp"]),
        ("biosnoop", &["-d", "nosuchdisk"]),
        ("bitesize", &["0"]),
        ("bitesize", &["1", "0"]),
        ("bitesize", &["-c", ""]),
        ("bitesize", &["-d", "/dev/null"]),
        ("tcplife", &["-4", "-6"]),
        ("tcplife", &["-p", "0"]),
        ("tcplife", &["-s", "--json"]),
        ("tcplife", &["stray"]),
        ("tcpretrans", &["-4", "-6"]),
        ("tcpretrans", &["-c", "--stack"]),
        ("tcpretrans", &["-i", "10.0.0.0/33"]),
        ("tcpretrans", &["--netns-id", "1", "--pid-netns", "1"]),
        ("tcpretrans", &["--pid-netns", "0"]),
        ("tcpconnlat", &["-1"]),
        ("tcpconnlat", &["x"]),
        ("tcpconnlat", &["1", "2"]),
        ("tcpconnlat", &["-4", "-6"]),
        ("tcpconnlat", &["--addr", "localhost"]),
        ("tcpconnlat", &["--histogram", "0"]),
        ("tcpconnect", &["-4", "-6"]),
        ("tcpconnect", &["-c", "-d"]),
        ("tcpconnect", &["-P", "80,"]),
        ("tcpconnect", &["-u", "x"]),
        ("tcpconnect", &["stray"]),
        ("tcpaccept", &["-4", "-6"]),
        ("tcpaccept", &["-P", "0"]),
        ("tcpaccept", &["-p", "0"]),
        ("tcpaccept", &["stray"]),
        ("tcptracer", &["-4", "-6"]),
        ("tcptracer", &["-p", "0"]),
        ("tcptracer", &["-u", "x"]),
        ("tcptracer", &["-N", "x"]),
        ("tcptracer", &["-N", "1", "--pid-netns", "1"]),
        ("tcptracer", &["stray"]),
        ("tcpdrop", &["-4", "-6"]),
        ("tcpdrop", &["--addr", "::1/129"]),
        ("tcpdrop", &["-L", "0"]),
        ("tcpdrop", &["--reason", "NO_SUCH_REASON"]),
        ("qdiscdrop", &["-4", "-6"]),
        ("qdiscdrop", &["-P", "nosuch"]),
        ("qdiscdrop", &["--by", "flow"]),
        ("qdiscdrop", &["5"]),
        ("qdiscdrop", &["-c", "0"]),
        ("qdiscdrop", &["-c", "-b"]),
        ("ctsnoop", &["-n", "-d"]),
        ("ctsnoop", &["-P", "300"]),
        ("ctsnoop", &["--dport", "0"]),
        ("ctsnoop", &["--zone", "65536"]),
        ("ctsnoop", &["--top", "5"]),
        ("tcpports", &["0"]),
        ("tcpports", &["1", "0"]),
        ("tcpports", &["-4", "-6"]),
        ("tcpports", &["--by", "port"]),
        ("tcpports", &["--top", "0"]),
        ("tcpports", &["--warn", "0"]),
        ("tcpports", &["--warn", "101"]),
        ("tcpports", &["--netns-id", "1", "--pid-netns", "1"]),
        ("tcptop", &["0"]),
        ("tcptop", &["1", "0"]),
        ("tcptop", &["-4", "-6"]),
        ("tcptop", &["-p", "0"]),
        ("tcptop", &["-s", "best"]),
        ("tcptop", &["-r", "0"]),
        ("tcptop", &["-c", "/tmp"]),
        ("tcprtt", &["-4", "-6"]),
        ("tcprtt", &["-i", "0"]),
        ("tcprtt", &["-d", "x"]),
        ("tcprtt", &["-p", "65536"]),
        ("tcprtt", &["-a", "localhost"]),
        ("tcprtt", &["-a", "127.0.0.1", "-A", "::1"]),
        ("tcpsubnet", &["10.0.0.1"]),
        ("tcpsubnet", &["10.0.0.0/33"]),
        ("tcpsubnet", &["10.0.0.0/8,,"]),
        ("tcpsubnet", &["-f", "G"]),
        ("tcpsubnet", &["-i", "0"]),
        ("execsnoop", &["-u", "no such user"]),
        ("execsnoop", &["-n", "("]),
        ("execsnoop", &["--max-args", "0"]),
        ("execsnoop", &["-P", "x"]),
        ("execsnoop", &["-c", "/tmp"]),
        ("execsnoop", &["stray"]),
        ("runqlat", &["0"]),
        ("runqlat", &["1", "0"]),
        ("runqlat", &["-p", "0"]),
        ("runqlat", &["-c", "/tmp"]),
        ("cachestat", &["0"]),
        ("cachestat", &["1.5"]),
        ("cachestat", &["1", "x"]),
        ("cachestat", &["1", "2", "3"]),
        ("cachestat", &["--cgroup", "/tmp"]),
        ("profile", &["-p", "1", "-L", "1"]),
        ("profile", &["-U", "-K"]),
        ("profile", &["-F", "9", "-c", "9"]),
        ("profile", &["-p", "x"]),
        ("profile", &["-p", "1,"]),
        ("profile", &["-F", "-1"]),
        ("profile", &["-C", "x"]),
        ("profile", &["--stack-storage-size", "0"]),
        ("profile", &["0"]),
        ("profile", &["1", "--duration", "1"]),
        ("ext4slower", &["-1"]),
        ("ext4slower", &["1.5"]),
        ("ext4slower", &["1", "2"]),
        ("ext4slower", &["1", "-m", "2"]),
        ("ext4slower", &["-j", "--json"]),
        ("xfsslower", &["-p", "0"]),
        ("btrfsslower", &["-d", "0"]),
        ("nfsslower", &["x"]),
        ("f2fsslower", &["-s", "--json"]),
        ("zfsslower", &["--cgroup", "/tmp"]),
        ("fsslower", &[]),
        ("fsslower", &["-t", "ntfs"]),
        ("fsslower", &["-t", "ext4", "5"]),
        ("fileslower", &["-j"]),
        ("fileslower", &["x"]),
    ];
    for (tool, args) in cases {
        let ended = run(tool, args);
        assert_eq!(code(ended.status), 2, "{tool} {args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{tool} {args:?}");
        assert!(!ended.stderr.is_empty(), "{tool} {args:?}");
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn long_options_may_be_abbreviated() {
    for (tool, args) in [
        ("tcpstates", ["--local", "80", "--dur", "1"]),
        ("opensnoop", ["--extended", "--print", "--dur", "1"]),
        ("biolatency", ["--milli", "--disks", "--dur", "1"]),
        ("biosnoop", ["--que", "--pat", "--dur", "1"]),
        ("bitesize", ["--tim", "--perc", "--dur", "1"]),
        ("tcplife", ["--wid", "--times", "--dur", "1"]),
        ("tcpretrans", ["--seq", "--loss", "--dur", "1"]),
        ("tcpconnlat", ["--time", "--lp", "--dur", "1"]),
        ("tcpconnect", ["--print", "--dn", "--dur", "1"]),
        ("tcpaccept", ["--time", "--ipv4", "--dur", "1"]),
        ("tcptracer", ["--verb", "--net=1", "--dur", "1"]),
        ("tcpdrop", ["--ipv4", "--coun", "--dur", "1"]),
        ("qdiscdrop", ["--back", "--ipv6", "--dur", "1"]),
        ("ctsnoop", ["--dest", "--ipv6", "--dur", "1"]),
        ("tcpports", ["--ipv4", "--by=laddr", "--dur", "1"]),
        ("tcptop", ["--nocl", "--nosum", "--dur", "1"]),
        ("tcprtt", ["--milli", "--byl", "--dur", "1"]),
        ("tcpsubnet", ["--form=k", "--js", "--dur", "1"]),
        ("execsnoop", ["--quo", "--print-u", "--dur", "1"]),
        ("runqlat", ["--milli", "--pidn", "--dur", "1"]),
        ("cachestat", ["--time", "--js", "--dur", "1"]),
        ("profile", ["--fold", "--annot", "--dur", "1"]),
        ("ext4slower", ["--min=5", "--cs", "--dur", "1"]),
        ("fsslower", ["--type=xfs", "--cs", "--dur", "1"]),
        ("fileslower", ["--all", "--js", "--dur", "1"]),
    ] {
        run(tool, &args).success();
    }
}

#[test]
fn without_capabilities_one_line_says_what_is_missing() {
    for (tool, args) in tools() {
        let mut command = unprivileged(tool);
        command.args(args);
        let ended = run_command(command);
        assert_eq!(code(ended.status), 1, "{tool}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{tool}");
        assert_eq!(ended.stderr.lines().count(), 1, "{tool}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!(
            "{tool}: cannot load BPF programs: permission denied"
        )));
        assert!(
            ended.stderr.contains("CAP_BPF and CAP_PERFMON missing"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn two_capabilities_are_enough() {
    for tool in UNPRIVILEGED {
        let mut command = Command::new("sh");
        // Before 5.11 BPF memory counts against the locked-memory limit.
        command
            .args([
                "-c",
                "ulimit -l unlimited 2>/dev/null; exec setpriv \"$@\"",
                "sh",
            ])
            .args([
                "--reuid=65534",
                "--clear-groups",
                "--inh-caps=+bpf,+perfmon",
                "--ambient-caps=+bpf,+perfmon",
            ])
            .arg(bin(tool))
            .arg(telling(tool));
        // Which mainline has not: 2 is its most.
        let paranoia = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
        if tool == "profile" && paranoia.is_ok_and(|level| level.trim() == "3") {
            let ended = run_command(command);
            assert_eq!(code(ended.status), 1);
            let remedy = "perf_event_paranoid is 3: run as root or with CAP_SYS_ADMIN";
            assert!(ended.stderr.contains(remedy), "{}", ended.stderr);
            continue;
        }
        Tool::spawn(command).stop().success();
    }
}

/// Runs a tool where `setup` has changed the mounts, which nobody else sees.
fn with_mounts(setup: &str, tool: &str, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(format!("{{ {setup}; }} && exec \"$@\""))
        .arg("sh")
        .arg(bin(tool))
        .args(args);
    command
}

#[test]
fn a_kernel_without_type_information_is_named() {
    for (tool, args) in tools() {
        let ended = run_command(with_mounts(
            "mount -t tmpfs none /sys/kernel/btf",
            tool,
            args,
        ));
        assert_eq!(code(ended.status), 1, "{tool}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{tool}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("CONFIG_DEBUG_INFO_BTF"),
            "{}",
            ended.stderr
        );
    }
}

/// A lockdown cannot be lifted again. In a virtual machine that is to end after
/// this it is the kernel's own; elsewhere a file stands for the kernel's.
#[test]
fn lockdown_is_named() {
    let really = std::env::var_os(LOCK_DOWN).is_some() && in_vm();
    if really {
        fs::write("/sys/kernel/security/lockdown", "confidentiality").expect("lock down");
    }
    let setup = "mount -t tmpfs none /sys/kernel/security && \
                 echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    for (tool, args) in tools() {
        let ended = if really {
            run(tool, args)
        } else {
            run_command(with_mounts(setup, tool, args))
        };
        assert_eq!(code(ended.status), 1, "{tool}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{tool}: {}", ended.stderr);
        assert!(ended.stderr.contains("lockdown"), "{}", ended.stderr);
    }
}

#[test]
fn tracefs_need_not_be_mounted() {
    let setup = "umount /sys/kernel/debug/tracing 2>/dev/null; umount /sys/kernel/debug 2>/dev/null; \
                 umount /sys/kernel/tracing 2>/dev/null; ! test -e /sys/kernel/tracing/events";
    for (tool, args) in tools() {
        let command = with_mounts(setup, tool, &[&[telling(tool)], args].concat());
        Tool::spawn(command).stop().success();
    }
}

#[test]
fn signals_and_durations_end_with_0() {
    for (tool, args) in tools() {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let ended = Tool::start(tool, args).signal(signal).success();
            assert!(
                ended.stopped_in < Duration::from_secs(10),
                "{tool}: {:?}",
                ended.stopped_in
            );
        }
        let start = Instant::now();
        let mut with_duration = args.to_vec();
        with_duration.extend(["--duration", "1"]);
        Tool::start(tool, &with_duration).wait().success();
        assert!(start.elapsed() >= Duration::from_secs(1), "{tool}");
    }
}

/// What these tools say besides: how they see events on this kernel, the kernel's
/// own counts at the end, and warnings.
fn is_note(tool: &str, line: &str) -> bool {
    match tool {
        "ctsnoop" => line.contains("lets nobody trace") || line.contains("kernel's own"),
        "tcpdrop" => line.contains(" not seen"),
        "qdiscdrop" => line.contains("qdisc counters: "),
        "tcpports" => line.contains("local ports are in use") || line.contains("reports come"),
        "cachestat" => line.contains("not tmpfs"),
        _ if tool.ends_with("slower") => line.contains("shows system calls"),
        "tcptop" | "tcpsubnet" => line.contains("namespaces"),
        _ => false,
    }
}

#[test]
fn a_closed_pipe_ends_the_tool_at_once() {
    for (tool, args) in tools() {
        let mut child = command(tool)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut first)
            .expect("header or banner");
        // The reader is gone: no event is needed for the tool to end.
        let status = wait_for(&mut child);
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut stderr)
            .expect("stderr");
        assert_eq!(code(status), 0, "{tool}: {stderr}");
        let others: Vec<_> = stderr.lines().filter(|line| !is_note(tool, line)).collect();
        assert_eq!(others, Vec::<&str>::new(), "{tool}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    for (tool, args) in tools() {
        let mut child = command(tool)
            .args(args)
            .stdout(
                File::options()
                    .write(true)
                    .open("/dev/full")
                    .expect("/dev/full"),
            )
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        let status = wait_for(&mut child);
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut stderr)
            .expect("stderr");
        assert_eq!(code(status), 1, "{tool}: {stderr}");
        let others = stderr.lines().filter(|line| !is_note(tool, line)).count();
        assert_eq!(others, 1, "{tool}: {stderr}");
        assert!(
            stderr.contains("No space left on device"),
            "{tool}: {stderr}"
        );
    }
}

/// The ids of the BPF programs and maps that `pid` holds.
fn bpf_objects(pid: u32) -> Vec<(&'static str, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("fdinfo") {
        let Ok(info) = fs::read_to_string(entry.expect("entry").path()) else {
            continue;
        };
        for line in info.lines() {
            for (field, kind) in [
                ("prog_id:", "prog"),
                ("map_id:", "map"),
                ("link_id:", "link"),
            ] {
                if let Some(id) = line.strip_prefix(field) {
                    found.push((kind, id.trim().parse().expect("an id")));
                }
            }
        }
    }
    found
}

#[test]
fn nothing_is_left_behind_after_sigkill() {
    for (tool, args) in tools() {
        let running = Tool::start(tool, args);
        let objects = bpf_objects(running.pid());
        // Where no function can be traced, ctsnoop listens on a socket.
        let listens = tool == "ctsnoop" && !in_vm();
        for kind in ["prog", "map"].into_iter().filter(|_| !listens) {
            assert!(
                objects.iter().any(|(k, _)| *k == kind),
                "{tool} has no {kind}"
            );
        }
        assert_eq!(code(running.signal(Signal::SIGKILL).status), -9);
        for (kind, id) in objects {
            let id = id.to_string();
            let deadline = Instant::now() + PATIENCE;
            until(&format!("{tool}: {kind} {id} is gone"), deadline, || {
                let shown = Command::new("bpftool")
                    .args([kind, "show", "id", &id])
                    .output()
                    .expect("bpftool");
                (!shown.status.success()).then_some(())
            });
        }
    }
}

#[test]
fn the_name_of_the_call_is_the_name_in_messages() {
    let dir = TempDir::new("name");
    let link = dir.join("tcpstates-bpfcc");
    std::os::unix::fs::symlink(bin("tcpstates"), &link).expect("link");
    let mut command = Command::new(&link);
    command.args(["--duration", "1"]).stdin(Stdio::null());
    command.stdout(
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full"),
    );
    let output = command.output().expect("run");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.starts_with("tcpstates-bpfcc: "), "{stderr}");
}

/// What `make bench` holds the tools against.
#[test]
fn the_empty_programs_of_the_bench_are_attached() {
    let floor = Command::new(bin("bpfcc-bench"))
        .args(["floor", "tp_btf:sched_switch"])
        .spawn();
    let mut floor = floor.expect("spawn");
    let deadline = Instant::now() + PATIENCE;
    until("the empty program is attached", deadline, || {
        assert_eq!(floor.try_wait().expect("wait"), None);
        let objects = bpf_objects(floor.id());
        objects
            .iter()
            .any(|(kind, _)| *kind == "link")
            .then_some(())
    });
    signal::kill(Pid::from_raw(floor.id() as i32), Signal::SIGINT).expect("kill");
    assert_eq!(code(wait_for(&mut floor)), 0);
}
