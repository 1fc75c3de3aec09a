// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bpfcc-rs`, the program with all tools, and their installation. On this
//! kernel only: `vm` leaves this module out, for `xtask verify` tries every
//! hook there already.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bpfcc_tests::*;
use serde_json::Value;

const ALL: &str = "bpfcc-rs";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// By their manual pages.
fn tools() -> BTreeSet<String> {
    fs::read_dir(root().join("man/man8"))
        .expect("man/man8")
        .map(|page| {
            let path = page.expect("page").path();
            path.file_stem()
                .expect("name")
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != ALL)
        .collect()
}

#[test]
fn every_tool_is_listed_under_its_subsystem() {
    let names = run(ALL, &["list", "--names"]).success();
    let listed: Vec<_> = names.lines();
    let set: BTreeSet<_> = listed.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(listed.len(), set.len());
    assert_eq!(set, tools());

    let list = run(ALL, &["list"]).success();
    let mut under = "";
    let mut shown = Vec::new();
    for line in list.lines() {
        match line.strip_prefix("  ") {
            None => under = line.trim_end_matches(':'),
            Some(tool) => {
                let (name, about) = tool.split_once(' ').expect("a name and a line");
                let help = run(name, &["-h"]).success();
                assert_eq!(help.lines()[0], about.trim(), "{name}");
                shown.push((name, under));
            }
        }
    }
    assert_eq!(shown.len(), listed.len());
    for placed in [
        ("opensnoop", "Files"),
        ("biolatency", "Block devices"),
        ("tcpstates", "Network"),
    ] {
        assert!(shown.contains(&placed), "{placed:?}");
    }
}

#[test]
fn run_is_the_tool_itself() {
    for name in tools() {
        let own = run(&name, &["--help"]).success();
        let ours = run(ALL, &["run", &name, "--help"]).success();
        assert_eq!(own.stdout, ours.stdout, "{name}");
    }
    for (args, code_wanted) in [
        (&["run", "tcpstates", "-L", "0"][..], 2),
        (&["run", "nosuch"], 2),
        (&["run"], 2),
        (&[], 2),
        (&["nosuch"], 2),
        (&["doctor", "stray"], 2),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        assert_eq!(code(run(ALL, args).status), code_wanted, "{args:?}");
    }
    see_an_open(bin(ALL), &["run", "opensnoop"]);
}

/// Opens a file while this `opensnoop` runs: it has one row.
fn see_an_open(program: PathBuf, args: &[&str]) {
    let file = TempDir::new("multicall").join("opened");
    let mut command = Command::new(program);
    command
        .args(args)
        .args(["--json", "-p", &std::process::id().to_string(), "--verbose"])
        .stdin(Stdio::null());
    let tool = Tool::spawn(command);
    assert!(fs::File::open(&file).is_err());
    let rows = tool.stop().success().json();
    let path = file.to_string_lossy();
    let ours: Vec<_> = rows.iter().filter(|row| row["path"] == *path).collect();
    assert_eq!(ours.len(), 1, "{rows:#?}");
}

#[test]
fn a_link_is_the_tool_of_its_name() {
    let dir = TempDir::new("links");
    let link = |name: &str| {
        symlink(bin(ALL), dir.join(name)).expect("link");
        Command::new(dir.join(name))
    };
    for name in tools() {
        for called in [name.clone(), format!("{name}-bpfcc")] {
            let mut command = link(&called);
            command.arg("--version");
            let version = run_command(command).success();
            let wanted = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
            assert_eq!(version.stdout, wanted);
        }
    }
    // Nothing less than the name.
    let mut other = link("opensnoop2");
    other.args(["-h"]);
    assert!(run_command(other).success().stdout.contains("doctor"));
    see_an_open(dir.join("opensnoop"), &[]);
    // A program of one tool is that, whatever it is called.
    symlink(bin("opensnoop"), dir.join("renamed-tcpstates")).expect("link");
    see_an_open(dir.join("renamed-tcpstates"), &[]);
}

#[test]
fn the_doctor_tells_what_tools_use() {
    let report = run(ALL, &["doctor", "--json"]).success();
    let report: Value = serde_json::from_str(&report.stdout).expect("one object");
    let kernel = &report["kernel"];
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("release");
    assert_eq!(kernel["release"], release.trim());
    assert_eq!(kernel["btf"], true);
    assert_eq!(kernel["ring_buffer"], true);
    assert_eq!(kernel["obstacle"], Value::Null);
    let kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    assert_eq!(kernel["kprobes"], kprobes);
    assert_eq!(kernel["config"]["CONFIG_BPF_SYSCALL"], "y");
    assert_eq!(
        kernel["fentry"].as_bool().expect("tried"),
        kernel["fentry_refusal"].is_null()
    );

    let all = report["tools"].as_array().expect("tools");
    let names: BTreeSet<_> = all
        .iter()
        .map(|tool| tool["name"].as_str().expect("name").to_owned())
        .collect();
    assert_eq!(names, tools());
    for tool in all {
        assert_eq!(tool["state"], "runs", "{tool:#}");
    }
    for (name, args) in [
        ("opensnoop", &["--verbose"][..]),
        ("biolatency", &["--verbose", "1"]),
        ("tcpstates", &["--verbose"]),
    ] {
        let told = Tool::start(name, args).stop().success().stderr;
        let tool = all
            .iter()
            .find(|tool| tool["name"] == name)
            .expect("the tool");
        let used: Vec<_> = tool["hooks"]
            .as_array()
            .expect("hooks")
            .iter()
            .map(|hook| {
                format!(
                    "{}: using {}",
                    hook["hook"].as_str().expect("hook"),
                    hook["alternative"].as_str().expect("alternative")
                )
            })
            .filter(|line| told.contains(line))
            .collect();
        assert!(!used.is_empty(), "{name}: {tool:#}\n{told}");
        assert_eq!(
            used.len(),
            told.matches(": using ").count(),
            "{name}: {tool:#}\n{told}"
        );
    }
}

#[test]
fn the_doctor_names_what_is_missing() {
    let mut command = unprivileged(ALL);
    command.args(["doctor"]);
    let report = run_command(command).success();
    assert!(
        report.stdout.contains("without CAP_BPF, CAP_PERFMON"),
        "{}",
        report.stdout
    );
    assert!(
        report
            .stdout
            .contains("\nNo tool can work: permission denied"),
        "{}",
        report.stdout
    );
}

/// What is installed below `dir`, relative to it; directories left out.
fn installed(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).expect("directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() && !path.is_symlink() {
                left.push(path);
                continue;
            }
            assert!(path.exists(), "{} leads nowhere", path.display());
            let name = path.strip_prefix(dir).expect("below");
            found.insert(name.to_string_lossy().into_owned());
        }
    }
    found
}

/// What `install.sh` takes. The programs of this build are large and most are
/// not run: a file with the name stands for those.
fn programs() -> TempDir {
    let dir = TempDir::new("programs");
    for name in tools() {
        fs::write(dir.join(&name), "").expect("a program");
    }
    for real in [ALL, "opensnoop"] {
        let _ = fs::remove_file(dir.join(real));
        symlink(bin(real), dir.join(real)).expect("link");
    }
    dir
}

fn install(dir: &Path, settings: &[(&str, &str)]) {
    let programs = programs();
    let mut command = Command::new(root().join("packaging/install.sh"));
    command.env("DESTDIR", dir).env("PROGRAMS", &programs.0);
    for (name, value) in settings {
        command.env(name, value);
    }
    let ended = run_command(command).success();
    assert_eq!((ended.stdout, ended.stderr), (String::new(), String::new()));
}

fn documents(name: &str) -> [String; 4] {
    [
        format!("usr/share/man/man8/{name}.8"),
        format!("usr/share/bash-completion/completions/{name}"),
        format!("usr/share/zsh/site-functions/_{name}"),
        format!("usr/share/fish/vendor_completions.d/{name}.fish"),
    ]
}

/// What the shell prints, or none where there is no such shell.
fn shell(program: &str, script: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(["-c", script]).stdin(Stdio::null());
    match command.output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            eprintln!("not tested: {program}: {error}");
            None
        }
    }
}

/// What bash, fish and zsh offer for the option that `name --` and `start` begin.
fn completed(dir: &Path, name: &str, called: &str, wanted: &str) {
    let usr = dir.join("usr/share");
    let usr = usr.display();
    let start = &wanted[..wanted.len() - 3];
    let bash = shell(
        "bash",
        &format!(
            ". {usr}/bash-completion/completions/{called}; function=$(complete -p {called} | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
             COMP_WORDS=({called} {start}) COMP_CWORD=1; $function {called} {start} {called}; echo \"${{COMPREPLY[@]}}\""
        ),
    );
    assert_eq!(bash.as_deref(), Some(format!("{wanted}\n").as_str()));
    let fish = shell(
        "fish",
        &format!(
            "set PATH {usr}/../sbin $PATH; set fish_complete_path {usr}/fish/vendor_completions.d
             complete -C '{called} {start}'"
        ),
    );
    if let Some(offered) = fish {
        assert!(offered.starts_with(wanted), "{called}: {offered}");
    }
    let zsh = shell(
        "zsh",
        &format!(
            "fpath=({usr}/zsh/site-functions $fpath); autoload -U compinit; compinit -D -u
             print -- $_comps[{called}]
             _arguments() {{ print -l -- \"$@\" }}
             service={called}; _{name}"
        ),
    );
    if let Some(offered) = zsh {
        assert!(
            offered.starts_with(&format!("_{name}\n")),
            "{called}: {offered}"
        );
        assert!(offered.contains(wanted), "{called}: {offered}");
    }
}

#[test]
fn an_installation_has_every_name_of_every_tool() {
    for form in ["tools", "multicall"] {
        let dir = TempDir::new("install");
        install(&dir.0, &[("FORM", form)]);
        let mut wanted = BTreeSet::from(["usr/sbin/bpfcc-rs".to_owned()]);
        wanted.extend(documents(ALL));
        for tool in tools() {
            let both = format!("{tool}-bpfcc");
            for name in [&tool, &both] {
                wanted.insert(format!("usr/sbin/{name}"));
                wanted.extend(documents(name));
            }
            // The zsh file names both.
            wanted.remove(&documents(&both)[2]);
            wanted.insert(format!("usr/share/bcc/tools/{tool}"));
        }
        assert_eq!(installed(&dir.0), wanted, "{form}");
        for name in [
            "usr/sbin/opensnoop",
            "usr/sbin/opensnoop-bpfcc",
            "usr/share/bcc/tools/opensnoop",
        ] {
            see_an_open(dir.join(name), &[]);
        }
        for called in ["opensnoop", "opensnoop-bpfcc"] {
            completed(&dir.0, "opensnoop", called, "--print-uid");
            let man = dir.join("usr/share/man");
            let found = shell("man", "")
                .and_then(|_| shell("sh", &format!("man -M {} -w {called}", man.display())));
            if let Some(page) = found {
                let page = Path::new(page.trim());
                assert_eq!(page, man.join("man8/opensnoop.8"), "{called}");
            }
        }
        completed(&dir.0, ALL, ALL, "--version");
        // Once more over it: nothing is in the way.
        install(&dir.0, &[("FORM", form)]);
        assert_eq!(installed(&dir.0), wanted, "{form}");
    }
}

#[test]
fn a_distributors_names_are_beside_others() {
    let dir = TempDir::new("affixes");
    install(
        &dir.0,
        &[
            ("PROG_PREFIX", "my-"),
            ("PROG_SUFFIX", "-rs"),
            ("PREFIX", "/opt/x"),
        ],
    );
    let mut wanted = BTreeSet::from(["usr/sbin/bpfcc-rs".to_owned()]);
    wanted.extend(documents(ALL));
    for tool in tools() {
        let name = format!("my-{tool}-rs");
        wanted.insert(format!("usr/sbin/{name}"));
        wanted.extend(documents(&name));
    }
    let wanted: BTreeSet<_> = wanted
        .iter()
        .map(|path| path.replace("usr/", "opt/x/"))
        .collect();
    assert_eq!(installed(&dir.0), wanted);
    see_an_open(dir.join("opt/x/sbin/my-opensnoop-rs"), &[]);
    let page =
        fs::read_to_string(dir.join("opt/x/share/man/man8/my-opensnoop-rs.8")).expect("page");
    assert!(
        page.contains(".SH NAME\nmy-opensnoop-rs \\- trace"),
        "{page}"
    );
    symlink("x", dir.join("opt/usr")).expect("link");
    completed(
        &dir.join("opt"),
        "my-opensnoop-rs",
        "my-opensnoop-rs",
        "--print-uid",
    );
}
