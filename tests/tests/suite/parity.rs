// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ours, live, beside what BCC's tools printed of the same workloads
//! (`make parity` makes the captures) and beside libbpf-tools.

use std::fs;
use std::path::Path;
use std::process::Command;

use bpfcc_tests::parity::capture::{self, Capture};
use bpfcc_tests::parity::cases::{options, without_case};
use bpfcc_tests::parity::hist::Reports;
use bpfcc_tests::parity::journal::Journal;
use bpfcc_tests::parity::peer::{Peer, Start};
use bpfcc_tests::parity::table::Table;
use bpfcc_tests::parity::work::Worker;
use bpfcc_tests::parity::{
    CASES, Case, Facts, Mode, Run, TOOLS, WITHOUT_ARGUMENTS, Work, compare, document,
};
use bpfcc_tests::*;

/// What the classic printed on this kernel; on this machine's own, when there is
/// nothing of it, on another.
fn capture_for(case: &Case) -> Option<Capture> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    let own = Capture::load(&capture::series(release.trim()), case);
    if in_vm() {
        own
    } else {
        own.or_else(|| Capture::load(capture::all_modes(case.tool), case))
    }
    .filter(|capture| capture.fails.is_none())
}

/// All modes of all tools with this workload, at once. What others do on the machine
/// at the same time may be more than a tool can take: then once more.
fn like_captures(work: Work) {
    let mut cases: Vec<(&Case, Capture)> = CASES
        .iter()
        .filter(|case| case.work == work)
        .filter_map(|case| Some((case, capture_for(case)?)))
        .collect();
    if cases.is_empty() {
        assert!(in_vm(), "no captures of {work:?}");
        return;
    }
    // Those that end by themselves start last.
    cases.sort_by_key(|(case, _)| case.ends);
    let mut tries = 0;
    let faults = loop {
        tries += 1;
        let (faults, lost) = beside_captures(work, &cases);
        if lost == 0 {
            break faults;
        }
        assert!(tries < 5, "{work:?}: {lost} samples lost");
    };
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is not as captured, and how much the tools lost.
fn beside_captures(work: Work, cases: &[(&Case, Capture)]) -> (Vec<String>, u64) {
    let _alone = MayAttach::alone();
    let mut worker = Worker::start(work);
    let seconds = if in_vm() { 20 } else { 8 };
    let start = |case: &Case| {
        let args = worker.facts.fill(case.args, seconds);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if case.no_rows {
            return Err(run(case.tool, &[&args[..], &["--duration", "1"]].concat()));
        }
        Ok(Tool::start(case.tool, &args))
    };
    let tools: Vec<_> = cases.iter().map(|(case, _)| start(case)).collect();
    worker.go();
    let (mut faults, mut lost) = (Vec::new(), 0);
    for ((case, capture), tool) in cases.iter().zip(tools) {
        let ended = match tool {
            Err(ended) => ended,
            Ok(tool) if case.ends => tool.wait(),
            Ok(tool) => tool.stop(),
        };
        lost += ended.lost();
        let ours = Run {
            stdout: ended.stdout,
            exit: code(ended.status),
            facts: worker.facts.clone(),
        };
        let (found, _) = compare(case, Mode::Capture, &capture.run, &ours);
        let about = |fault| format!("{} ({}): {fault}", case.id(), capture.kernel);
        faults.extend(found.into_iter().map(about));
    }
    (faults, lost)
}

/// One of them writes to the journal.
#[test]
fn connections_are_as_captured() {
    let like_captures = || {
        let journal = Journal::start().expect("a journal");
        like_captures(Work::Connections);
        journal.stop();
    };
    if in_vm() {
        like_captures();
    } else {
        in_mount_namespace(move || {
            mount_tmpfs(Path::new("/run"));
            like_captures();
        });
    }
}

#[test]
fn sessions_are_as_captured() {
    like_captures(Work::Sessions);
}

#[test]
fn retransmits_are_as_captured() {
    like_captures(Work::Retransmits);
}

#[test]
fn drops_are_as_captured() {
    like_captures(Work::Drops);
}

#[test]
fn io_is_as_captured() {
    like_captures(Work::Io);
}

#[test]
fn sizes_are_as_captured() {
    like_captures(Work::Sizes);
}

#[test]
fn opens_are_as_captured() {
    like_captures(Work::Opens);
}

#[test]
fn execs_are_as_captured() {
    like_captures(Work::Execs);
}

#[test]
fn files_are_as_captured() {
    like_captures(Work::Files);
}

#[test]
fn waits_are_as_captured() {
    like_captures(Work::Waits);
}

#[test]
fn pages_are_as_captured() {
    like_captures(Work::Pages);
}

#[test]
fn dirties_are_as_captured() {
    like_captures(Work::Dirties);
}

#[test]
fn busy_threads_are_as_captured() {
    undisturbed(|| like_captures(Work::Busy));
}

/// The classics' help is part of the captures: an option without a case, or a case
/// without a capture, is a gap.
#[test]
fn every_option_has_a_case_and_every_case_a_capture() {
    for (tool, _) in TOOLS
        .iter()
        .filter(|(tool, _)| !WITHOUT_ARGUMENTS.contains(tool))
    {
        let help = Capture::help(tool).unwrap_or_else(|| panic!("no help of {tool}"));
        assert!(!options(&help).is_empty(), "{tool}: {help}");
        assert_eq!(without_case(tool, &help), [], "{tool}");
        let more = format!("{help}\n\noptions:\n  -Z, --new-one   of a later version\n");
        assert_eq!(without_case(tool, &more).len(), 1, "{tool}");
    }
    let missing: Vec<_> = CASES
        .iter()
        .filter(|case| Capture::load(capture::all_modes(case.tool), case).is_none())
        .map(Case::id)
        .collect();
    assert!(missing.is_empty(), "no capture: {missing:?}");
}

#[test]
fn the_document_is_current() {
    let text = fs::read_to_string(document::path()).expect("docs/compat-with-bcc.md");
    assert!(
        text == document::text(),
        "docs/compat-with-bcc.md is not what bpfcc-parity makes"
    );
}

/// A bystander's name with a blank moves no column: only the times differ here.
#[test]
fn names_may_have_blanks() {
    let case = CASES
        .iter()
        .find(|case| case.id() == "tcpstates-default")
        .expect("a case");
    let capture = Capture::load(capture::all_modes(case.tool), case).expect("a capture");
    let with_times = |time: &str| {
        let mut lines = capture.run.stdout.lines();
        let mut stdout = String::new();
        let header = lines.next().expect("a header");
        let at = header.find("C-COMM").expect("C-COMM");
        stdout += &format!("{header}\n");
        for line in lines {
            let (row, _) = line.rsplit_once(' ').expect("a time");
            let (before, after) = (&row[..at], &row[at + 10..]);
            stdout += &format!("{before}opt cgu.0 {after} {time}\n");
        }
        Run {
            stdout,
            ..capture.run.clone()
        }
    };
    for mode in [Mode::Live, Mode::Capture] {
        let (faults, _) = compare(case, mode, &with_times("0.015"), &with_times("0.009"));
        assert_eq!(faults, Vec::<String>::new());
    }
}

/// What comparing is for: each fault alone, put into a capture, is found.
#[test]
fn faults_are_found() {
    let capture = |id: &str| {
        let case = CASES.iter().find(|case| case.id() == id).expect(id);
        let capture = Capture::load(capture::all_modes(case.tool), case);
        let mut run = capture.unwrap_or_else(|| panic!("no capture {id}")).run;
        match case.tool {
            "tcptop" => run.stdout = run.stdout.replace("b'tee'", "tee   "),
            "execsnoop" => {
                run.stdout = run.stdout.replace("PCOMM ", "COMM  ");
                run.stdout = run.stdout.replace('\t', "\\t");
            }
            _ => {}
        }
        (case, run)
    };
    // A difference that is undone on one side would show as a fault of these.
    let check = |id: &str, fault: &str, alter: &dyn Fn(&str) -> String| {
        let (case, run) = capture(id);
        let altered = Run {
            stdout: alter(&run.stdout),
            ..run.clone()
        };
        assert_ne!(altered.stdout, run.stdout, "{id}: {fault} changes nothing");
        let modes: &[Mode] = &[Mode::Live, Mode::Capture];
        for &mode in modes {
            assert_eq!(
                compare(case, mode, &run, &run).0,
                Vec::<String>::new(),
                "{id}"
            );
            assert_ne!(
                compare(case, mode, &run, &altered).0,
                Vec::<String>::new(),
                "{id}: {fault} ({mode:?})"
            );
        }
    };
    let wider = |title: &'static str| {
        move |text: &str| {
            let at = text.find(title).expect(title);
            let column = at - text[..at].rfind('\n').map_or(0, |start| start + 1);
            let widen = |line: &str| {
                let mut line = line.to_owned();
                if line.len() > column && !line.starts_with("Tracing") {
                    line.insert(column, ' ');
                }
                line + "\n"
            };
            text.lines().map(widen).collect()
        }
    };
    let rows_only = |title: &'static str| {
        move |text: &str| {
            let all: String = wider(title)(text);
            let header = text
                .lines()
                .position(|line| line.contains(title))
                .expect(title);
            let lines = all.lines().zip(text.lines()).enumerate();
            lines
                .map(|(i, (wide, same))| if i <= header { same } else { wide })
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        }
    };
    for (id, title) in [
        ("tcpstates-default", "LPORT"),
        ("tcpstates-times", "SKADDR"),
        ("tcpstates-default", "MS"),
        ("tcpretrans-default", "STATE"),
        ("tcpconnlat-times", "DADDR"),
        ("opensnoop-default", "COMM"),
        ("opensnoop-times", "PATH"),
        ("execsnoop-default", "PPID"),
        ("execsnoop-times", "ARGS"),
        ("biosnoop-default", "DISK"),
        ("biosnoop-default", "LAT(ms)"),
        ("tcpconnect-default", "DPORT"),
        ("tcpconnect-columns", "LPORT"),
        ("tcpconnect-count", "RADDR"),
        ("tcpconnect-dns", "SADDR"),
        ("tcpaccept-times", "RADDR"),
        ("tcplife-default", "TX_KB"),
        ("tcptop-pid", "RADDR"),
    ] {
        check(id, "a column one wider", &wider(title));
        check(id, "rows one wider", &rows_only(title));
    }
    check("tcpstates-default", "a row less", &|text| {
        text.rsplit_once('\n')
            .and_then(|(rest, _)| rest.rsplit_once('\n'))
            .expect("rows")
            .0
            .to_owned()
            + "\n"
    });
    check("tcpstates-default", "another port", &|text| {
        text.replace("7001", "7005")
    });
    check("tcpstates-default", "a decimal less", &|text| {
        text.lines()
            .map(|line| line.strip_suffix('0').unwrap_or(line).to_owned() + "\n")
            .collect()
    });
    check("tcpstates-ipv4", "-4 ignored", &|text| {
        text.to_owned()
            + &capture("tcpstates-ipv6")
                .1
                .stdout
                .lines()
                .skip(1)
                .map(|line| line.to_owned() + "\n")
                .collect::<String>()
    });
    check("tcpstates-times", "-T ignored", &|_| {
        capture("tcpstates-default").1.stdout
    });
    check("tcpstates-csv", "quotes", &|text| {
        text.replace(",CLOSE,", ",\"CLOSE\",")
    });
    check(
        "tcpretrans-sequence",
        "blanks at the end of the header",
        &|text| text.replace("SEQ       ", "SEQ"),
    );
    check("tcpconnlat-slow", "the minimum ignored", &|_| {
        capture("tcpconnlat-default").1.stdout
    });
    check("opensnoop-failed", "-x ignored", &|_| {
        capture("opensnoop-default").1.stdout
    });
    check("opensnoop-default", "another errno", &|text| {
        text.replacen("-1   2 ", "-1  13 ", 1)
    });
    check("execsnoop-fails", "-x ignored", &|_| {
        capture("execsnoop-default").1.stdout
    });
    check("execsnoop-default", "an argument less", &|text| {
        text.replacen(" of script", " of", 1)
    });
    check("execsnoop-quote", "-q ignored", &|_| {
        capture("execsnoop-fails").1.stdout
    });
    check("execsnoop-max-args", "--max-args ignored", &|_| {
        capture("execsnoop-quote").1.stdout
    });
    check("execsnoop-parent", "-P ignored", &|_| {
        capture("execsnoop-default").1.stdout
    });
    check("biosnoop-default", "another size", &|text| {
        text.replacen(" 131072 ", " 131071 ", 1)
    });
    check("tcpconnect-count", "a connect more", &|text| {
        text.replacen(" 1         ", " 2         ", 1)
    });
    check("tcpconnect-dns", "another name", &|text| {
        text.replace("like-bcc.example", "like-bcc.local")
    });
    check("tcpaccept-ipv4", "-p ignored", &|_| {
        capture("tcpaccept-default").1.stdout
    });
    check("tcplife-csv", "blanks", &|text| text.replace(',', ", "));
    check("tcplife-default", "a KiB less", &|text| {
        text.replace(" 15 ", " 14 ")
    });
    check("tcptop-pid", "no empty line before a block", &|text| {
        text.replace("\n\nPID ", "\nPID ")
    });
    check("tcptop-pid", "three KiB more", &|text| {
        text.replace(" 15\n", " 18\n")
    });
    check("tcptop-pid", "-S ignored", &|text| {
        text.replace("\n\nPID ", "\n12:00:00 loadavg: 0.1 0.1 0.1 1/9 9\n\nPID ")
    });
    check("tcprtt-default", "another heading", &|text| {
        text.replace("count     dis", "count    dis")
    });
    check("tcprtt-interval", "-T ignored", &|_| {
        capture("tcprtt-default").1.stdout
    });
    check("tcprtt-local", "-e ignored", &|text| {
        text.split(" [AVG ").next().expect("a title").to_owned()
            + text.split_once(']').expect("an average").1
    });
    check("tcpsubnet-default", "a byte less", &|text| {
        let last = text
            .trim_end()
            .rsplit(' ')
            .next()
            .expect("a sum")
            .to_owned();
        let less = last.parse::<u64>().expect("a number") - 1;
        text.replace(&last, &less.to_string())
    });
    check("tcpsubnet-default", "a column one wider", &|text| {
        text.replace("/8 ", "/8  ")
    });
    check("tcpsubnet-json", "no blanks", &|text| {
        text.replace("\": ", "\":")
    });
    check("tcpsubnet-json-kbits", "whole numbers", &|text| {
        text.replace(".0}", "}")
    });
    check("biolatency-default", "another heading", &|text| {
        text.replace("count     dis", "count    dis")
    });
    check("biolatency-disks", "no time", &|text| {
        text.lines()
            .filter(|line| line.split(':').count() != 3)
            .map(|line| line.to_owned() + "\n")
            .collect()
    });
    check("runqlat-default", "another heading", &|text| {
        text.replace("count     dis", "count    dis")
    });
    check("runqlat-milliseconds", "microseconds", &|text| {
        text.replace("msecs", "usecs")
    });
    check("runqlat-milliseconds", "-p of another", &|text| {
        text.lines()
            .take(2)
            .map(|line| format!("{line}\n"))
            .collect()
    });
    check("runqlat-pids", "-P ignored", &|_| {
        capture("runqlat-default").1.stdout
    });
    check("runqlat-tids", "no section of a thread", &|text| {
        let tid = &capture("runqlat-tids").1.facts.tid;
        text.replace(&format!("tid = {tid}\n"), "tid = 1\n")
    });
    check("profile-default", "another end of a stack", &|text| {
        text.replace("    -                like", "    -               like")
    });
    check("profile-default", "another function", &|text| {
        text.replace("    vfs_read\n", "    vfs_write\n")
    });
    check("profile-folded", "-d ignored", &|text| {
        text.replace(";-;", ";")
    });
    check("profile-folded", "-a ignored", &|text| {
        text.replace("_[k]", "")
    });
    check("profile-user", "-U ignored", &|text| {
        text.replace("    -        ", "    vfs_read\n    -        ")
    });
    check("profile-kernel", "-c ignored", &|text| {
        text.replace("every 20000000 events", "49 Hertz")
    });
    check("profile-default", "-I unasked", &|text| {
        let (banner, rest) = text.split_once("\n\n").expect("a banner");
        let idle = "    -                swapper/0 (0)\n        1\n";
        format!("{banner}\n\n{idle}\n{rest}")
    });
    check("biolatency-json", "JSON", &|text| text.replace('\'', "\""));
    check("biolatency-milliseconds", "microseconds", &|text| {
        text.replace("msecs", "usecs")
    });
    check("biolatency-extension", "-e ignored", &|_| {
        capture("biolatency-default").1.stdout
    });
    // One I/O less, with the bars of that.
    let (case, run) = capture("biolatency-default");
    let reports = Reports::parse(case, &run).expect("the layout");
    let (low, count) = *reports.reports[0].sections[0]
        .1
        .iter()
        .max_by_key(|bucket| bucket.1)
        .expect("buckets");
    check("biolatency-default", "an I/O less", &|text| {
        let row = format!("{low:>10} -> ");
        text.lines().map(|line| if line.starts_with(&row) { line.replacen(&format!(": {count} "), &format!(": {} ", count - 1), 1) } else { line.to_owned() } + "\n").collect()
    });
    let (case, run) = capture("tcpstates-default");
    let other = Run {
        exit: 1,
        ..run.clone()
    };
    assert_eq!(compare(case, Mode::Capture, &run, &other).0.len(), 1);
}

/// The workload's only open with `O_NONBLOCK`.
const OPENAT2_FLAGS: &str = "00004000";

/// A tool of libbpf-tools and ours on the same workload; what each printed.
fn beside_libbpf(tool: &'static str, args: &'static [&str], work: Work) -> (String, String, Facts) {
    in_mount_namespace(move || {
        if !in_vm() {
            // Theirs need it.
            net::run("mount -t tracefs tracefs /sys/kernel/tracing");
        }
        let _alone = MayAttach::alone();
        let mut worker = Worker::start(work);
        let mut command = Command::new("stdbuf");
        command
            .arg("-oL")
            .arg(format!("/usr/sbin/{tool}"))
            .args(args);
        let mut peer = Peer::spawn(command).expect("libbpf-tools");
        let started = peer.start(PATIENCE);
        assert_eq!(started, Start::Attached, "{tool} of libbpf-tools");
        let ours = Tool::start(tool, args);
        worker.go();
        peer.settle();
        peer.interrupt();
        let ours = ours.stop().success();
        let theirs = peer.end(PATIENCE);
        assert_eq!(theirs.exit, 0, "{theirs:?}");
        (theirs.stdout, ours.stdout, worker.facts.clone())
    })
}

/// A tool of libbpf-tools, and the columns that mean the same in both.
type Shared = (
    &'static str,
    Work,
    &'static [&'static str],
    &'static [&'static [&'static str]],
);

/// Without kprobes.
const SHARED: &[Shared] = &[
    (
        "tcpstates",
        Work::Connections,
        &[],
        &[
            &["SKADDR"],
            &["PID", "C-PID"],
            &["COMM", "C-COMM"],
            &["LADDR"],
            &["LPORT"],
            &["RADDR"],
            &["RPORT"],
            &["OLDSTATE"],
            &["NEWSTATE"],
        ],
    ),
    (
        "opensnoop",
        Work::Opens,
        &["-e"],
        &[
            &["PID"],
            &["COMM"],
            &["FD"],
            &["ERR"],
            &["FLAGS"],
            &["PATH"],
        ],
    ),
    (
        "execsnoop",
        Work::Execs,
        &["-x"],
        &[&["COMM", "PCOMM"], &["PID"], &["PPID"], &["RET"], &["ARGS"]],
    ),
    (
        "tcplife",
        Work::Sessions,
        &[],
        &[
            &["PID"],
            &["COMM"],
            &["LADDR"],
            &["LPORT"],
            &["RADDR"],
            &["RPORT"],
            &["TX_KB"],
            &["RX_KB"],
        ],
    ),
];

/// With them.
const SHARED_IN_VM: &[Shared] = &[
    (
        "tcpconnect",
        Work::Sessions,
        &["-U"],
        &[
            &["UID"],
            &["PID"],
            &["COMM"],
            &["IP"],
            &["SADDR"],
            &["DADDR"],
            &["DPORT"],
        ],
    ),
    (
        "fsslower",
        Work::Files,
        &["-t", "xfs", "-m", "0"],
        &[
            &["COMM"],
            &["PID"],
            &["T"],
            &["BYTES"],
            &["OFF_KB"],
            &["FILENAME"],
        ],
    ),
];

/// The same events in columns that mean the same; what libbpf-tools has runs on this
/// machine's kernel but for kprobes.
#[test]
fn rows_are_those_of_libbpf_tools() {
    let shared = if in_vm() { SHARED_IN_VM } else { SHARED };
    for (tool, work, args, columns) in shared {
        let (theirs, ours, _) = beside_libbpf(tool, args, *work);
        let mut theirs = Table::parse(&theirs).events(columns);
        let mut ours = Table::parse(&ours).events(columns);
        if *tool == "opensnoop" {
            // What older versions do not see and not show: openat2, long names.
            if theirs.iter().all(|row| row[4] != OPENAT2_FLAGS) {
                ours.retain(|row| row[4] != OPENAT2_FLAGS);
            }
            for path in ours
                .iter_mut()
                .chain(&mut theirs)
                .filter_map(|row| row.last_mut())
            {
                path.truncate(254);
            }
        }
        if *tool == "execsnoop" {
            // Theirs sees no execveat, and loses a thread that becomes its process.
            ours.retain(|row| row[0] != "below" && row[0] != "in.thread");
        }
        if *tool == "tcplife" {
            // Theirs are fractions.
            for cell in theirs.iter_mut().flatten() {
                if let Some((whole, _)) = cell.split_once('.').filter(|(_, part)| part.len() == 2) {
                    *cell = whole.to_owned();
                }
            }
        }
        assert!(!ours.is_empty());
        assert_eq!(theirs, ours, "{tool}");
    }
}

#[test]
fn counts_are_those_of_libbpf_tools() {
    if in_vm() {
        return;
    }
    let (theirs, ours, facts) = beside_libbpf("biolatency", &["-D"], Work::Io);
    // Its headings have a blank less and its titles a tab at the end.
    let sum = |text: &str| -> u64 {
        let own = text
            .split("\ndisk = ")
            .find(|part| part.starts_with(&facts.disk))
            .expect("the disk");
        own.lines()
            .filter_map(|line| {
                line.split_once(" : ")?
                    .1
                    .split(' ')
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .sum()
    };
    assert_eq!(sum(&theirs), sum(&ours), "{theirs}{ours}");
    assert!(sum(&ours) > 0);
}

/// One report of all there was. Theirs are by kprobes.
#[test]
fn sums_are_those_of_libbpf_tools() {
    if !in_vm() {
        return;
    }
    // What is in the rows of a histogram, and in those of sessions; titles differ, and widths.
    type Sums = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );
    let cases: [Sums; 2] = [
        ("tcprtt", &[], &[" -> "]),
        ("tcptop", &["-C", "-S", "600"], &["10.99.0.1:", "fd99::1:"]),
    ];
    for (tool, args, marks) in cases {
        let (theirs, ours, _) = beside_libbpf(tool, args, Work::Sessions);
        let rows = |text: &str| {
            let is_row = |line: &&str| marks.iter().any(|mark| line.contains(mark));
            let rows = text.lines().filter(is_row);
            let mut rows: Vec<_> = rows
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            rows.sort();
            rows
        };
        assert_eq!(rows(&theirs), rows(&ours), "{tool}: {theirs}{ours}");
        assert!(!rows(&ours).is_empty(), "{tool}: {ours}");
    }
}
