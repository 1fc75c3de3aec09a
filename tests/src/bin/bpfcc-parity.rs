// SPDX-License-Identifier: MIT OR Apache-2.0
//! The classics and ours side by side on the same events: `make parity`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bpfcc_tests::parity::capture::{self, Capture};
use bpfcc_tests::parity::cases::without_case;
use bpfcc_tests::parity::journal::{self, Journal};
use bpfcc_tests::parity::peer::{Ended, Peer, Start};
use bpfcc_tests::parity::work::Worker;
use bpfcc_tests::parity::{
    CASES, Case, Mode, Run, TOOLS, WITHOUT_ARGUMENTS, Work, compare, document, may_be_loss,
    of_workload,
};
use bpfcc_tests::{
    Tool, code, command, in_mount_namespace, mount_tmpfs, run, run_command, telling,
};

const USAGE: &str =
    "usage: bpfcc-parity [--kernels 'SERIES...'] [--tools 'TOOL...'] [--no-host] [--no-vm]
       bpfcc-parity --help-only        help texts, usage errors and whether every option has a case

Runs BCC's tools and ours at the same time, in virtual machines and, where a classic runs there,
on this kernel; writes tests/parity/captures and docs/compat-with-bcc.md. On one kernel every
case is run, on the others the default mode of each tool.";

/// The kernels, those with all modes first.
const KERNELS: &str = "6.1 5.10 6.12 7.2";
/// Side by side: by the time that their classics take to start.
const HALVES: [&[&str]; 2] = [
    &[
        "tcpstates",
        "opensnoop",
        "tcpdrop",
        "tcpaccept",
        "tcplife",
        "tcpsubnet",
        "tcptracer",
        "cachestat",
        "ext4slower",
        "fileslower",
    ],
    &[
        "tcpretrans",
        "tcpconnlat",
        "biolatency",
        "biosnoop",
        "bitesize",
        "tcpconnect",
        "tcptop",
        "tcprtt",
        "execsnoop",
        "runqlat",
        "profile",
        "xfsslower",
        "btrfsslower",
    ],
];
/// What runs on the host's kernel with other headers lent to it: it reads no kernel structures.
const NATIVE: &[&str] = &["tcpstates"];
/// The kernel whose headers are lent.
const LENT: &str = "6.1";
/// How often a case is run while the classic lacks rows.
const TRIES: u32 = 3;
/// How many classics share a run of their workload.
const TOGETHER: usize = 5;
/// How long so many classics may take to compile their programs in an emulated machine.
const START: Duration = Duration::from_secs(1800);
/// bpfcc in an emulated machine takes minutes to let go of its probes.
const END: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["--guest", out, cases @ ..] => guest(Path::new(out), cases, 20),
        _ => host(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bpfcc-parity: {error:#}");
            ExitCode::from(2)
        }
    }
}

struct Asked {
    kernels: Vec<String>,
    tools: Vec<String>,
    on_host: bool,
    in_vm: bool,
}

fn asked(args: &[&str]) -> Result<Asked> {
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let tools = TOOLS.iter().map(|(tool, _)| (*tool).to_owned()).collect();
    let mut asked = Asked {
        kernels: words(KERNELS),
        tools,
        on_host: true,
        in_vm: true,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--kernels" => asked.kernels = words(args.next().context(USAGE)?),
            "--tools" => asked.tools = words(args.next().context(USAGE)?),
            "--no-host" => asked.on_host = false,
            "--no-vm" => asked.in_vm = false,
            "--help-only" => (asked.on_host, asked.in_vm) = (false, false),
            _ => bail!("{USAGE}"),
        }
    }
    for tool in &asked.tools {
        ensure!(
            TOOLS.iter().any(|(name, _)| name == tool),
            "no such tool: {tool}"
        );
    }
    Ok(asked)
}

fn host(args: &[&str]) -> Result<bool> {
    let asked = asked(args)?;
    let mut equal = true;
    for tool in &asked.tools {
        equal &= WITHOUT_ARGUMENTS.contains(&tool.as_str()) || help(tool)?;
    }
    let mut lines = Vec::new();
    if asked.on_host {
        lines.extend(native(&asked)?);
    }
    if asked.in_vm {
        lines.extend(machines(&asked)?);
    }
    fs::create_dir_all(document::path().parent().context("docs")?)?;
    fs::write(document::path(), document::text())?;
    // One line per case: its verdict is the third word.
    let mut table = BTreeMap::<(String, String), [usize; 3]>::new();
    for line in &lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, kernel, verdict, case, ..] = words.as_slice() else {
            continue;
        };
        let tool = case.split('-').next().unwrap_or_default();
        let count = table
            .entry((tool.to_owned(), (*kernel).to_owned()))
            .or_default();
        let index = match *verdict {
            "equal" => 0,
            "fails" => 1,
            _ => 2,
        };
        if let Some(count) = count.get_mut(index) {
            *count += 1;
        }
        equal &= index < 2;
    }
    println!(
        "\n{:<12} {:<8} {:>6} {:>14} {:>9}",
        "tool", "kernel", "equal", "classic fails", "DIFFERENT"
    );
    for ((tool, kernel), [same, fails, different]) in &table {
        println!("{tool:<12} {kernel:<8} {same:>6} {fails:>14} {different:>9}");
    }
    println!(
        "{}",
        if equal {
            "parity: equal"
        } else {
            "parity: DIFFERENT"
        }
    );
    Ok(equal)
}

fn classic(tool: &str) -> Command {
    let mut command = Command::new(format!("{tool}-bpfcc"));
    command.env("PYTHONUNBUFFERED", "1").env("TERM", "linux");
    command
}

fn version() -> Result<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", "bpfcc-tools"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Help and usage errors need no kernel: their exit codes, and whether every option
/// of the help has a case.
fn help(tool: &str) -> Result<bool> {
    let mut faults = Vec::new();
    let mut text = String::new();
    for args in [
        &["--help"][..],
        &["-h"],
        &["--no-such-option"],
        &["-4", "-6"],
        &["1", "2", "3", "4"],
    ] {
        if args == ["-4", "-6"] && !text.contains("-4 | -6") {
            continue;
        }
        let mut theirs = classic(tool);
        let theirs = theirs
            .args(args)
            .output()
            .with_context(|| format!("{tool}-bpfcc (make parity installs it)"))?;
        let ours = run(tool, args);
        if theirs.status.code() != ours.status.code() {
            faults.push(format!(
                "{args:?}: exit code {} in the classic, {} in ours",
                code(theirs.status),
                code(ours.status)
            ));
        }
        if args == ["--help"] {
            text = String::from_utf8_lossy(&theirs.stdout).into_owned();
        }
    }
    for option in without_case(tool, &text) {
        faults.push(format!("{} has no case", option.names.join(", ")));
    }
    // The names, without what is said about them.
    let listing: String = text
        .lines()
        .take_while(|line| !line.starts_with("examples:"))
        .filter_map(|line| match line.strip_prefix("  ") {
            Some(entry) if !entry.starts_with(' ') => {
                Some(format!("  {}\n", entry.split("  ").next().unwrap_or(entry)))
            }
            None if line.ends_with(':') => Some(format!("{line}\n")),
            _ => None,
        })
        .collect();
    let folder = capture::folder().join("help");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{tool}.txt")), listing)?;
    println!(
        "{} help of {tool}",
        if faults.is_empty() {
            "parity - equal"
        } else {
            "parity - DIFFERENT"
        }
    );
    for fault in &faults {
        println!("    {fault}");
    }
    Ok(faults.is_empty())
}

/// On this machine's own kernel, with another kernel's headers lent to the compiler.
fn native(asked: &Asked) -> Result<Vec<String>> {
    let tools: Vec<&str> = NATIVE
        .iter()
        .copied()
        .filter(|tool| asked.tools.iter().any(|t| t == tool))
        .collect();
    if tools.is_empty() {
        return Ok(Vec::new());
    }
    let output = Command::new(root().join("tests/vm/vmrun"))
        .args(["-H", "--fetch", LENT])
        .stderr(Stdio::inherit())
        .output()?;
    let release = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        output.status.success() && !release.is_empty(),
        "no headers of {LENT}"
    );
    let cache =
        std::env::var("VMRUN_CACHE").unwrap_or_else(|_| "/var/cache/bpfcc-rs/kernels".into());
    let headers = PathBuf::from(cache).join(&release).join("usr/src");
    let cases: Vec<String> = CASES
        .iter()
        .filter(|case| tools.contains(&case.tool))
        .map(Case::id)
        .collect();
    let lines = in_mount_namespace(move || {
        lend(&headers, &release).context("lend kernel headers")?;
        let mut child = Command::new(std::env::current_exe()?);
        child.arg("--guest").arg(capture::folder()).args(&cases);
        tell(child)
    })?;
    Ok(lines)
}

/// In a mount namespace of its own: the headers where the classics look for them.
fn lend(headers: &Path, release: &str) -> Result<()> {
    let call = |line: &str| -> Result<()> {
        let mut words = line.split(' ');
        let status = Command::new(words.next().unwrap_or_default())
            .args(words)
            .status()?;
        ensure!(status.success(), "{line}");
        Ok(())
    };
    call(&format!("mount --bind {} /usr/src", headers.display()))?;
    let over = Path::new("/mnt");
    mount_tmpfs(over);
    mount_tmpfs(Path::new("/run")); // without a journal
    let running = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let modules = over.join("upper/modules").join(running.trim());
    fs::create_dir_all(over.join("work"))?;
    fs::create_dir_all(&modules)?;
    symlink(
        format!("/usr/src/linux-headers-{release}"),
        modules.join("build"),
    )?;
    let common = release
        .rsplit_once('-')
        .map_or(release, |(release, _)| release);
    symlink(
        format!("/usr/src/linux-headers-{common}-common"),
        modules.join("source"),
    )?;
    call(
        "mount -t overlay -o lowerdir=/usr/lib,upperdir=/mnt/upper,workdir=/mnt/work overlay /usr/lib",
    )?;
    call("mount -t tracefs tracefs /sys/kernel/tracing")?;
    call("mount -t debugfs debugfs /sys/kernel/debug")?;
    call("mount -t tracefs tracefs /sys/kernel/debug/tracing")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// In virtual machines, two at a time.
fn machines(asked: &Asked) -> Result<Vec<String>> {
    let mut jobs = Vec::new();
    for kernel in &asked.kernels {
        for half in HALVES {
            let wanted = |case: &&Case| {
                half.contains(&case.tool)
                    && asked.tools.iter().any(|tool| tool == case.tool)
                    && (kernel == capture::all_modes(case.tool) || case.is_default())
            };
            let cases: Vec<String> = CASES.iter().filter(wanted).map(Case::id).collect();
            if !cases.is_empty() {
                jobs.push((kernel.clone(), cases));
            }
        }
    }
    let rest: Vec<String> = TOOLS
        .iter()
        .map(|(tool, _)| (*tool).to_owned())
        .filter(|tool| !HALVES.iter().any(|half| half.contains(&tool.as_str())))
        .collect();
    ensure!(rest.is_empty(), "in no half: {rest:?}");
    let jobs = Mutex::new(jobs.into_iter());
    let lines = Mutex::new(Vec::new());
    fs::create_dir_all(capture::folder())?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let next = jobs.lock().map(|mut jobs| jobs.next()).unwrap_or(None);
                        let Some((kernel, cases)) = next else {
                            return Ok(());
                        };
                        let limit = 300 + 300 * cases.len();
                        let mut vm = Command::new(root().join("tests/vm/vmrun"));
                        vm.args([
                            "-H",
                            "-M",
                            "loop,ext4,xfs,btrfs,null_blk",
                            "-m",
                            "3G",
                            "-t",
                            &limit.to_string(),
                        ])
                        .arg("-w")
                        .arg(capture::folder())
                        .arg(&kernel)
                        .arg(std::env::current_exe()?)
                        .arg("--guest")
                        .arg(capture::folder())
                        .args(&cases);
                        let told = tell(vm)?;
                        // A machine that ends early leaves cases without a verdict.
                        let mut left = cases.clone();
                        left.retain(|case| {
                            !told.iter().any(|line| line.split(' ').nth(3) == Some(case))
                        });
                        let mut lines = lines.lock().expect("lines");
                        lines.extend(told);
                        lines.extend(
                            left.iter()
                                .map(|case| format!("parity {kernel} DIFFERENT {case} (not run)")),
                        );
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("worker"))
    })?;
    Ok(lines.into_inner().expect("lines"))
}

/// Runs a program that gives verdicts; shows them as they come.
fn tell(mut command: Command) -> Result<Vec<String>> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let stdout = child.stdout.take().context("piped")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if line.starts_with("parity ") {
            lines.push(line);
        }
    }
    child.wait()?;
    Ok(lines)
}

/// Runs cases on this kernel; whether all are equal.
fn guest(out: &Path, ids: &[&str], seconds: u32) -> Result<bool> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // Debian's releases in full, of others the version.
    let kernel = match kernel.trim() {
        debian if debian.ends_with("-amd64") => debian.to_owned(),
        other => other.split('-').next().unwrap_or_default().to_owned(),
    };
    let seconds = if bpfcc_tests::in_vm() { seconds } else { 5 };
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    let stamp = Capture {
        version: version()?,
        kernel,
        date,
        ..Capture::default()
    };
    let cases = ids.iter().map(|id| {
        let case = CASES.iter().find(|case| case.id() == *id);
        case.with_context(|| format!("no case {id}"))
    });
    let mut equal = true;
    for mut left in groups(cases.collect::<Result<_>>()?) {
        for attempt in 1..=TRIES {
            let mut again = Vec::new();
            for (case, sides) in left.iter().zip(side_by_side(&left, seconds)?) {
                let verdict = Verdict::new(case, sides);
                if attempt < TRIES && may_be_loss(&verdict.faults) {
                    println!("    {}: the classic lacks rows; again", case.id());
                    again.push(*case);
                } else {
                    equal &= verdict.faults.is_empty();
                    verdict.record(case, out, stamp.clone())?;
                }
            }
            left = again;
            if left.is_empty() {
                break;
            }
        }
    }
    Ok(equal)
}

/// Cases that see the same run of their workload.
fn groups(cases: Vec<&'static Case>) -> Vec<Vec<&'static Case>> {
    let mut groups = Vec::<Vec<&Case>>::new();
    let can_share = |case: &Case| {
        // BCC's fileslower misses reads when many wait, as those of tools' output do.
        matches!(case.work, Work::Sessions | Work::Execs | Work::Files)
            && !case.ends
            && case.tool != "fileslower"
    };
    for case in cases {
        match groups.last_mut() {
            Some(group)
                if group.len() < TOGETHER && group.iter().chain([&case]).all(|c| can_share(c)) =>
            {
                group.push(case);
            }
            _ => groups.push(vec![case]),
        }
    }
    groups
}

/// What came out of one case.
struct Verdict {
    /// The classic's run, or why there is none.
    theirs: Result<Run, String>,
    ours: Run,
    faults: Vec<String>,
    listed: Vec<&'static str>,
}

impl Verdict {
    fn new(case: &Case, (theirs, ours, journal): Sides) -> Self {
        let (mut faults, mut listed) = (Vec::new(), Vec::new());
        if let Ok(theirs) = &theirs {
            (faults, listed) = compare(case, Mode::Live, theirs, &ours);
            if let Some(entries) = journal {
                let no_ipv6 = journal::compare(&entries, &mut faults);
                listed.extend(no_ipv6.then_some(journal::NO_IPV6));
            }
        }
        Self {
            theirs,
            ours,
            faults,
            listed,
        }
    }

    /// Tells it, and writes the capture.
    fn record(self, case: &Case, out: &Path, mut capture: Capture) -> Result<()> {
        let id = case.id();
        let series = capture::series(&capture.kernel);
        capture.command = format!("{}-bpfcc {}", case.tool, case.args.join(" "))
            .trim()
            .to_owned();
        match self.theirs {
            Err(why) => {
                println!("parity {series} fails {id} {why}");
                capture.fails = Some(why);
            }
            Ok(mut theirs) => {
                theirs.stdout = of_workload(&theirs.stdout, case);
                capture.run = theirs;
                let verdict = if self.faults.is_empty() {
                    "equal"
                } else {
                    "DIFFERENT"
                };
                let listed = self.listed.iter().map(|id| format!(" [{id}]"));
                println!(
                    "parity {series} {verdict} {id}{}",
                    listed.collect::<String>()
                );
                for fault in &self.faults {
                    println!("    {}", fault.replace('\n', "\n    "));
                }
            }
        }
        let path = Capture::path(out, &capture.kernel, case);
        fs::create_dir_all(path.parent().context("folder")?)?;
        let different = path.with_extension("different");
        if self.faults.is_empty() {
            let _ = fs::remove_file(different);
            fs::write(&path, capture.text())?;
            return Ok(());
        }
        // For a look at both.
        let text = format!(
            "{}\n---- ours: exit {}\n{}",
            capture.text(),
            self.ours.exit,
            self.ours.stdout
        );
        fs::write(different, text)?;
        Ok(())
    }
}

/// The classic's run, ours, and journal entries.
type Sides = (Result<Run, String>, Run, Option<Vec<String>>);

/// Both tools of each case at the same time on one workload, and what they wrote into the
/// journal. An error of the first is why the classic does not run here.
fn side_by_side(cases: &[&Case], seconds: u32) -> Result<Vec<Sides>> {
    let journal = cases.iter().any(|case| journal::is_asked(case));
    let journal = journal.then(Journal::start).transpose()?;
    let Some(first) = cases.first() else {
        return Ok(Vec::new());
    };
    let mut worker = Worker::start(first.work);
    let facts = worker.facts.clone();
    let fill = |case: &Case| facts.fill(case.args, seconds);
    let result = |ended: Ended| Run {
        stdout: ended.stdout,
        exit: ended.exit,
        facts: facts.clone(),
    };
    let own = |ended: bpfcc_tests::Ended| Run {
        stdout: ended.stdout,
        exit: code(ended.status),
        facts: facts.clone(),
    };
    let mut theirs = Vec::new();
    for case in cases {
        let mut command = classic(case.tool);
        command.args(fill(case));
        theirs.push(Peer::spawn(command)?);
    }
    if let ([case], true) = (cases, first.no_rows) {
        let mut ours = command(case.tool);
        ours.args(fill(case)).args(["--duration", "1"]);
        let ours = own(run_command(ours));
        let theirs = theirs.into_iter().map(|peer| Ok(result(peer.end(START))));
        return Ok(theirs.map(|theirs| (theirs, ours.clone(), None)).collect());
    }
    // Those that run, with ours beside them.
    let mut pairs = Vec::new();
    for (case, mut peer) in cases.iter().zip(theirs) {
        pairs.push(match peer.start(START) {
            Start::Attached => Ok((case, peer)),
            Start::Ended => Err(why(&peer.end(Duration::ZERO))),
            Start::AttachedNothing => {
                peer.end(Duration::ZERO);
                Err("it attaches nothing, and waits".to_owned())
            }
            Start::TooLong => bail!("{}: not attached in {START:?}", case.id()),
        });
    }
    let start = |case: &Case| {
        let mut ours = command(case.tool);
        ours.arg(telling(case.tool)).args(fill(case));
        Tool::spawn(ours)
    };
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|pair| pair.map(|(case, peer)| (case, peer, start(case))))
        .collect();
    if pairs.iter().any(Result::is_ok) {
        worker.go();
    }
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|pair| {
            pair.map(|(case, mut peer, ours)| {
                if case.ends {
                    return (peer, ours.wait());
                }
                peer.settle();
                peer.interrupt();
                (peer, ours.stop())
            })
        })
        .collect();
    let runs: Vec<_> = pairs
        .into_iter()
        .map(|pair| match pair {
            Err(why) => (Err(why), Run::default()),
            Ok((peer, ours)) => (Ok(result(peer.end(END))), own(ours)),
        })
        .collect();
    let mut entries = journal.map(Journal::stop);
    let sides = runs
        .into_iter()
        .map(|(theirs, ours)| (theirs, ours, entries.take()));
    Ok(sides.collect())
}

/// The line that says why a classic has failed, without the paths in it.
fn why(ended: &Ended) -> String {
    let lines = || ended.stdout.lines().chain(ended.stderr.lines());
    let line = lines()
        .find(|line| line.contains(" error: "))
        .or_else(|| lines().rfind(|line| !line.trim().is_empty()))
        .unwrap_or("it ends at once");
    let line = line.trim();
    line.split_once(" error: ")
        .map_or_else(|| line.to_owned(), |(_, what)| format!("clang: {what}"))
}
