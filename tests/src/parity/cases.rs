// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is run side by side: every option that the classic's help names.

use super::work::Work;

/// One run of a tool with its workload.
#[derive(Debug)]
pub struct Case {
    pub tool: &'static str,
    pub name: &'static str,
    /// `{pid}`, `{tid}`, `{disk}`, `{maps}`, `{netns}` stand for what the workload tells,
    /// `{seconds}` for a time that it fits in, `{half}` for half of that.
    pub args: &'static [&'static str],
    pub work: Work,
    /// Ends by itself; the others with SIGINT.
    pub ends: bool,
    /// Nothing is to be shown, or the tool does not start.
    pub no_rows: bool,
}

const fn case(
    tool: &'static str,
    name: &'static str,
    args: &'static [&'static str],
    work: Work,
) -> Case {
    Case {
        tool,
        name,
        args,
        work,
        ends: false,
        no_rows: false,
    }
}

const fn ends(case: Case) -> Case {
    Case { ends: true, ..case }
}

/// The tool refuses.
const fn refused(case: Case) -> Case {
    Case {
        ends: true,
        no_rows: true,
        ..case
    }
}

pub static CASES: &[Case] = &[
    case("tcpstates", "default", &[], Work::Connections),
    case("tcpstates", "times", &["-T", "-t"], Work::Connections),
    case("tcpstates", "wide", &["-w", "-tT"], Work::Connections),
    case(
        "tcpstates",
        "csv",
        &["--csv", "--time", "--timestamp"],
        Work::Connections,
    ),
    case(
        "tcpstates",
        "localport",
        &["-L", "7001,7002"],
        Work::Connections,
    ),
    case(
        "tcpstates",
        "remoteport",
        &["-D", "7002", "--wide", "-s"],
        Work::Connections,
    ),
    case("tcpstates", "ipv4", &["-4"], Work::Connections),
    case("tcpstates", "ipv6", &["-6w"], Work::Connections),
    case("tcpstates", "journal", &["-Y"], Work::Connections),
    case("tcpretrans", "default", &[], Work::Retransmits),
    case("tcpretrans", "sequence", &["-s"], Work::Retransmits),
    case(
        "tcpretrans",
        "lossprobe",
        &["-l", "--sequence"],
        Work::Retransmits,
    ),
    case("tcpretrans", "count", &["-c"], Work::Retransmits),
    case("tcpretrans", "ipv4", &["-4", "-c", "-l"], Work::Retransmits),
    case("tcpretrans", "ipv6", &["-6"], Work::Retransmits),
    case("tcpconnlat", "default", &[], Work::Connections),
    case("tcpconnlat", "times", &["-tL"], Work::Connections),
    case("tcpconnlat", "ipv4", &["-4", "-v"], Work::Connections),
    case("tcpconnlat", "ipv6", &["-6", "-t"], Work::Connections),
    case(
        "tcpconnlat",
        "pid",
        &["-p", "{pid}", "--lport"],
        Work::Connections,
    ),
    case("tcpconnlat", "slow", &["400"], Work::Connections),
    case("tcpdrop", "default", &[], Work::Drops),
    case("tcpdrop", "ipv4", &["-4"], Work::Drops),
    case("tcpdrop", "ipv6", &["-6"], Work::Drops),
    case("biolatency", "default", &[], Work::Io),
    ends(case(
        "biolatency",
        "interval",
        &["-T", "-d", "{disk}", "{seconds}", "2"],
        Work::Io,
    )),
    case("biolatency", "queued", &["-Q", "-D"], Work::Io),
    case(
        "biolatency",
        "milliseconds",
        &["-m", "-e", "-d", "{disk}"],
        Work::Io,
    ),
    case("biolatency", "disks", &["-D", "-T"], Work::Io),
    case("biolatency", "flags", &["-F", "-d", "{disk}"], Work::Io),
    case(
        "biolatency",
        "extension",
        &["-e", "--disk", "{disk}"],
        Work::Io,
    ),
    case("biolatency", "json", &["-j", "-D"], Work::Io),
    case(
        "biolatency",
        "json-flags",
        &["-jF", "-T", "-d", "{disk}"],
        Work::Io,
    ),
    refused(case("biolatency", "disks-flags", &["-D", "-F"], Work::Io)),
    case("biosnoop", "default", &[], Work::Sizes),
    case("biosnoop", "disk", &["-d", "{disk}"], Work::Sizes),
    case("biosnoop", "queue", &["-Q"], Work::Sizes),
    case(
        "biosnoop",
        "pattern",
        &["-P", "--disk", "{disk}"],
        Work::Sizes,
    ),
    case("biosnoop", "all", &["-PQ", "-d", "{disk}"], Work::Sizes),
    refused(case(
        "biosnoop",
        "no-disk",
        &["-d", "nosuchdisk"],
        Work::Sizes,
    )),
    case("bitesize", "default", &[], Work::Sizes),
    case("opensnoop", "default", &[], Work::Opens),
    case("opensnoop", "times", &["-T", "-U", "-e"], Work::Opens),
    case("opensnoop", "failed", &["-x", "-p", "{pid}"], Work::Opens),
    case(
        "opensnoop",
        "tid",
        &["-t", "{tid}", "-b", "128"],
        Work::Opens,
    ),
    case("opensnoop", "uid", &["-u", "4711", "-U"], Work::Opens),
    ends(case(
        "opensnoop",
        "duration",
        &["-d", "{seconds}"],
        Work::Opens,
    )),
    case("opensnoop", "name", &["-n", "tee.thre", "-T"], Work::Opens),
    case(
        "opensnoop",
        "flags",
        &["-f", "O_WRONLY", "-f", "O_TRUNC", "-e"],
        Work::Opens,
    ),
    case("opensnoop", "full", &["-F"], Work::Opens),
    case(
        "opensnoop",
        "maps",
        &[
            "--cgroupmap",
            "{maps}/cgroups",
            "--mntnsmap",
            "{maps}/mounts",
        ],
        Work::Opens,
    ),
    case("execsnoop", "default", &[], Work::Execs),
    case("execsnoop", "times", &["-T", "-tU"], Work::Execs),
    case("execsnoop", "fails", &["-x"], Work::Execs),
    case("execsnoop", "quote", &["-xq"], Work::Execs),
    case("execsnoop", "user", &["-u", "daemon", "-U"], Work::Execs),
    case("execsnoop", "name", &["-n", "^t.[eo]$", "-x"], Work::Execs),
    case(
        "execsnoop",
        "line",
        &["-l", "/bin/[a-z]+ a .*[cg]"],
        Work::Execs,
    ),
    case(
        "execsnoop",
        "max-args",
        &["--max-args", "4", "-q"],
        Work::Execs,
    ),
    case("execsnoop", "parent", &["-P", "{pid}"], Work::Execs),
    case(
        "execsnoop",
        "maps",
        &[
            "--cgroupmap",
            "{maps}/cgroups",
            "--mntnsmap",
            "{maps}/mounts",
            "-x",
        ],
        Work::Execs,
    ),
    case("tcpconnect", "default", &[], Work::Sessions),
    case(
        "tcpconnect",
        "columns",
        &["-tUL", "-P", "7001,7002,7005,7009"],
        Work::Sessions,
    ),
    case("tcpconnect", "ipv4", &["-4", "-p", "{pid}"], Work::Sessions),
    case(
        "tcpconnect",
        "ipv6",
        &["-6", "-u", "4711", "--print-uid"],
        Work::Sessions,
    ),
    case("tcpconnect", "count", &["-c"], Work::Sessions),
    case(
        "tcpconnect",
        "count-columns",
        &["-ctUL", "--port", "7001,7002,7005"],
        Work::Sessions,
    ),
    case(
        "tcpconnect",
        "maps",
        &[
            "--cgroupmap",
            "{maps}/cgroups",
            "--mntnsmap",
            "{maps}/mounts",
        ],
        Work::Sessions,
    ),
    case("tcpconnect", "dns", &["-d"], Work::Sessions),
    refused(case(
        "tcpconnect",
        "count-dns",
        &["-c", "-d"],
        Work::Sessions,
    )),
    case("tcpaccept", "default", &[], Work::Sessions),
    case(
        "tcpaccept",
        "times",
        &["-T", "-t", "-P", "7001,7002,7005"],
        Work::Sessions,
    ),
    case("tcpaccept", "ipv4", &["-4", "-p", "{pid}"], Work::Sessions),
    case(
        "tcpaccept",
        "ipv6",
        &[
            "-6",
            "--cgroupmap",
            "{maps}/cgroups",
            "--mntnsmap",
            "{maps}/mounts",
        ],
        Work::Sessions,
    ),
    case("tcplife", "default", &[], Work::Sessions),
    case(
        "tcplife",
        "wide",
        &["-w", "-tT", "-p", "{pid}"],
        Work::Sessions,
    ),
    case("tcplife", "csv", &["-s", "-T", "-t"], Work::Sessions),
    case(
        "tcplife",
        "ipv4",
        &["-4", "-L", "7001,7005,7109"],
        Work::Sessions,
    ),
    case(
        "tcplife",
        "ipv6",
        &["-6", "--csv", "-D", "7002,7103,7010"],
        Work::Sessions,
    ),
    case("tcptop", "default", &[], Work::Sessions),
    case(
        "tcptop",
        "pid",
        &["-C", "-S", "-p", "{pid}"],
        Work::Sessions,
    ),
    ends(case(
        "tcptop",
        "ipv4",
        &["-C4", "{half}", "2"],
        Work::Sessions,
    )),
    case(
        "tcptop",
        "ipv6",
        &[
            "-6C",
            "--cgroupmap",
            "{maps}/cgroups",
            "--mntnsmap",
            "{maps}/mounts",
        ],
        Work::Sessions,
    ),
    case("tcprtt", "default", &[], Work::Sessions),
    ends(case(
        "tcprtt",
        "interval",
        &["-i", "{half}", "-d", "{seconds}", "-T"],
        Work::Sessions,
    )),
    case(
        "tcprtt",
        "local",
        &["-p", "7001", "-a", "10.99.0.1", "-b", "-me"],
        Work::Sessions,
    ),
    case(
        "tcprtt",
        "remote",
        &["-P", "7003", "-A", "10.99.0.1", "-B", "-e"],
        Work::Sessions,
    ),
    case("tcprtt", "ipv4", &["-4", "-D", "-e"], Work::Sessions),
    case("tcprtt", "ipv6", &["-6", "-b"], Work::Sessions),
    case("tcpsubnet", "default", &[], Work::Sessions),
    case(
        "tcpsubnet",
        "subnets",
        &[
            "-f",
            "K",
            "-i",
            "{seconds}",
            "10.99.0.0/32,10.99.0.0/30,0.0.0.0/0",
        ],
        Work::Sessions,
    ),
    case("tcpsubnet", "json", &["-J"], Work::Sessions),
    case(
        "tcpsubnet",
        "json-kbits",
        &["-J", "-f", "k"],
        Work::Sessions,
    ),
    case("tcpsubnet", "verbose", &["-v", "-f", "b"], Work::Sessions),
    case("tcptracer", "default", &[], Work::Sessions),
    case("tcptracer", "time", &["-t4"], Work::Sessions),
    case(
        "tcptracer",
        "verbose",
        &["-vt", "-p", "{pid}"],
        Work::Sessions,
    ),
    case(
        "tcptracer",
        "netns",
        &["-N", "{netns}", "-v", "-6"],
        Work::Sessions,
    ),
    case(
        "tcptracer",
        "maps",
        &[
            "--cgroupmap",
            "{maps}/cgroups",
            "--mntnsmap",
            "{maps}/mounts",
        ],
        Work::Sessions,
    ),
    case("runqlat", "default", &[], Work::Waits),
    ends(case(
        "runqlat",
        "interval",
        &["-T", "-p", "{pid}", "{seconds}", "2"],
        Work::Waits,
    )),
    case(
        "runqlat",
        "milliseconds",
        &["-m", "--pid", "{pid}"],
        Work::Waits,
    ),
    case("runqlat", "pids", &["-P", "-p", "{pid}"], Work::Waits),
    case("runqlat", "tids", &["-L", "-T", "-p", "{pid}"], Work::Waits),
    case(
        "runqlat",
        "namespaces",
        &["--pidnss", "-p", "{pid}"],
        Work::Waits,
    ),
    case(
        "runqlat",
        "all",
        &["-mTL", "--pids", "--pidnss", "-p", "{pid}"],
        Work::Waits,
    ),
    case("cachestat", "default", &[], Work::Pages),
    case("cachestat", "time", &["-T"], Work::Pages),
    case(
        "cachestat",
        "long-time",
        &["--timestamp", "2"],
        Work::Dirties,
    ),
    ends(case("cachestat", "count", &["{seconds}", "1"], Work::Pages)),
    ends(case(
        "cachestat",
        "counts",
        &["-T", "{half}", "2"],
        Work::Dirties,
    )),
    case("cachestat", "endless", &["1", "0"], Work::Dirties),
    case("ext4slower", "all", &["0"], Work::Files),
    case("ext4slower", "csv", &["-j", "0"], Work::Files),
    case("ext4slower", "pid", &["-p", "{pid}", "0"], Work::Files),
    case("xfsslower", "all", &["0"], Work::Files),
    case("xfsslower", "csv", &["--csv", "0"], Work::Files),
    case("xfsslower", "pid", &["0", "--pid", "{pid}"], Work::Files),
    case("btrfsslower", "all", &["0"], Work::Files),
    case("btrfsslower", "csv", &["-j", "0"], Work::Files),
    case("btrfsslower", "pid", &["-p", "{pid}", "0"], Work::Files),
    ends(case(
        "btrfsslower",
        "duration",
        &["0", "-d", "{seconds}"],
        Work::Files,
    )),
    case("fileslower", "all", &["0"], Work::Files),
    case("fileslower", "files", &["-a", "0"], Work::Files),
    case("fileslower", "pid", &["-p", "{pid}", "0"], Work::Files),
    case("profile", "default", &[], Work::Busy),
    case("profile", "folded", &["-fad", "-p", "{pid}"], Work::Busy),
    case(
        "profile",
        "user",
        &["-U", "-L", "{tid}", "-F", "99"],
        Work::Busy,
    ),
    case(
        "profile",
        "kernel",
        &["-K", "-d", "--pid", "{pid}", "-c", "20000000"],
        Work::Busy,
    ),
    case(
        "profile",
        "delimited",
        &["-da", "--stack-storage-size", "8192", "-p", "{pid}"],
        Work::Busy,
    ),
    case("profile", "idle", &["-I", "-C", "0"], Work::Busy),
    case(
        "profile",
        "containers",
        &[
            "--cgroupmap",
            "{maps}/cgroups",
            "--mntnsmap",
            "{maps}/mounts",
        ],
        Work::Busy,
    ),
    ends(case(
        "profile",
        "duration",
        &["-f", "{seconds}"],
        Work::Busy,
    )),
];

impl Case {
    /// The mode that is run on every kernel: without arguments; where those would show
    /// what just happened to be slow, the one that shows all.
    pub fn is_default(&self) -> bool {
        self.args.is_empty() || self.args == ["0"]
    }

    /// How often the same row comes is a matter of time.
    pub fn repeats(&self) -> bool {
        matches!(self.work, Work::Retransmits | Work::Drops)
    }

    /// Whether the options leave out others' disks or connections.
    pub fn only_ours(&self) -> bool {
        match self.work {
            Work::Io | Work::Sizes => self.args.contains(&"{disk}") || self.args.contains(&"-D"),
            _ => self.args.contains(&"-a") || self.args.contains(&"-A"),
        }
    }

    /// Whether the output begins with the BPF program.
    pub fn prints_source(&self) -> bool {
        let option = match self.tool {
            "tcpconnlat" => "-v",
            "tcprtt" => "-D",
            _ => return false,
        };
        self.args.contains(&option)
    }

    pub fn id(&self) -> String {
        format!("{}-{}", self.tool, self.name)
    }

    pub fn command_line(&self) -> String {
        [&[self.tool], self.args].concat().join(" ")
    }
}

/// An option or argument as the help of a Python tool lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// With their dashes; an argument's has none.
    pub names: Vec<String>,
    takes_value: bool,
}

impl Opt {
    fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn is_argument(&self) -> bool {
        !self.names.iter().any(|name| name.starts_with('-'))
    }
}

/// The options and arguments that a help text lists.
pub fn options(help: &str) -> Vec<Opt> {
    let mut options = Vec::new();
    let mut listing = false;
    for line in help.lines() {
        if !line.is_empty() && !line.starts_with(' ') {
            listing = line.ends_with("arguments:") || line.ends_with("options:");
        }
        let entry = line
            .strip_prefix("  ")
            .filter(|entry| listing && !entry.starts_with(' '));
        let Some(entry) = entry.and_then(|entry| entry.split("  ").next()) else {
            continue;
        };
        options.push(Opt {
            names: entry
                .split(", ")
                .filter_map(|name| name.split(' ').next())
                .map(str::to_owned)
                .collect(),
            takes_value: entry.starts_with('-') && entry.split(", ").any(|name| name.contains(' ')),
        });
    }
    options
}

/// Which of `options` the arguments use.
fn used<'o>(args: &[&str], options: &'o [Opt]) -> Vec<&'o Opt> {
    let named = |name: &str| options.iter().find(|option| option.is_named(name));
    let mut arguments = options.iter().filter(|option| option.is_argument());
    let mut found = Vec::new();
    let mut is_value = false;
    for arg in args {
        if std::mem::take(&mut is_value) {
            continue;
        }
        if arg.starts_with("--") {
            found.extend(named(arg));
            is_value = found.last().is_some_and(|option| option.takes_value);
        } else if let Some(letters) = arg.strip_prefix('-') {
            for letter in letters.chars() {
                found.extend(named(&format!("-{letter}")));
            }
            is_value = found.last().is_some_and(|option| option.takes_value);
        } else {
            found.extend(arguments.next());
        }
    }
    found
}

/// Options of a tool's help that no case uses. Help itself is compared apart.
pub fn without_case(tool: &str, help: &str) -> Vec<Opt> {
    let options = options(help);
    let cases = CASES.iter().filter(|case| case.tool == tool);
    let used: Vec<&Opt> = cases.flat_map(|case| used(case.args, &options)).collect();
    options
        .iter()
        .filter(|option| !used.contains(option) && !option.is_named("--help"))
        .cloned()
        .collect()
}
