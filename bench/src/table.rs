// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured: a tool is one entry.

use crate::process::Started;
use crate::scene::Scene;

/// A tool, what it is to see, what it is compared with.
pub struct Entry {
    pub tool: &'static str,
    pub scene: Scene,
    /// Operations of the workload have a name where their slowdown says
    /// something: where nothing but the CPU bounds them.
    pub operation: Option<&'static str>,
    /// Events per operation; 0: the workload or the kernel counts.
    pub per_operation: f64,
    pub counts: Counts,
    pub started: Started,
    /// The hooks of ours on the kernels that are measured.
    pub floor: &'static [&'static str],
    /// A filter that takes none of the workload.
    pub filtered: &'static [&'static str],
    /// A filter that takes nothing but the workload, where the counts would not
    /// be exact without it.
    pub flooded: &'static [&'static str],
    pub peers: &'static [Peer],
    pub targets: &'static [&'static [Target]],
}

/// How to see what a tool has seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// A row with the scene's mark and these.
    Rows(&'static [&'static str]),
    /// Histograms.
    Histogram,
    /// Sums: what a flood loses is not told apart.
    Nothing,
}

/// `{peers}` is the directory of our bpftrace scripts, `{NAME}` what the scene
/// knows.
pub struct Peer {
    pub name: &'static str,
    pub argv: &'static [&'static str],
    pub filtered: &'static [&'static str],
    pub flooded: &'static [&'static str],
    /// Starts too slowly for more.
    pub only_start: bool,
}

/// Ratio of ours to a peer (`against`), or the value itself, at most.
pub struct Target {
    pub figure: Figure,
    pub against: Option<&'static str>,
    pub most: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    Passed,
    Runs,
    Filtered,
    Operation,
    Added,
    AddedCpu,
    Slowdown,
    Lost,
    Reported,
    Flood,
    Lossless,
    Cpu,
    Start,
    Stop,
    Gone,
    Rss,
    Size,
}

pub const LIBBPF: &str = "libbpf-tools";
pub const BPFTRACE: &str = "bpftrace";
pub const BPFCC: &str = "bpfcc";
pub const FLOOR: &str = "floor";

const fn peer(
    name: &'static str,
    argv: &'static [&'static str],
    filtered: &'static [&'static str],
) -> Peer {
    Peer {
        name,
        argv,
        filtered,
        flooded: &[],
        only_start: false,
    }
}

impl Entry {
    /// The tool; with the operation where it is measured with several.
    pub fn title(&self) -> String {
        let entries = ENTRIES.iter().filter(|entry| entry.tool == self.tool);
        match self.operation {
            Some(operation) if entries.count() > 1 => format!("{}, per {operation}", self.tool),
            _ => self.tool.to_owned(),
        }
    }
}

impl Peer {
    const fn flooded(self, flooded: &'static [&'static str]) -> Self {
        Self { flooded, ..self }
    }
}

const fn bpfcc(argv: &'static [&'static str]) -> Peer {
    Peer {
        name: BPFCC,
        argv,
        filtered: &[],
        flooded: &[],
        only_start: true,
    }
}

const fn ratio(figure: Figure, against: &'static str, most: f64) -> Target {
    Target {
        figure,
        against: Some(against),
        most,
    }
}

const NOTHING_LOST: Target = Target {
    figure: Figure::Lost,
    against: None,
    most: 0.0,
};

/// Of the first drop-ins.
const DROP_IN: &[Target] = &[
    ratio(Figure::Filtered, FLOOR, 2.0),
    NOTHING_LOST,
    ratio(Figure::Start, LIBBPF, 0.8),
    ratio(Figure::Rss, LIBBPF, 0.8),
    ratio(Figure::Start, BPFCC, 0.01),
    ratio(Figure::Rss, BPFCC, 0.03),
];

/// Of those among them that print a row per event.
const STREAM: &[Target] = &[
    ratio(Figure::Added, LIBBPF, 0.15),
    ratio(Figure::Cpu, LIBBPF, 0.15),
];

/// Of the tools that libbpf-tools does not have, or not on every kernel.
const BESIDE_BPFTRACE: &[Target] = &[ratio(Figure::Passed, BPFTRACE, 0.5), NOTHING_LOST];

/// Of the tools whose peers in libbpf-tools cost little as well.
const NO_SLOWER: &[Target] = &[ratio(Figure::Added, LIBBPF, 1.0)];

const TCPTOPS: &[Peer] = &[
    peer(LIBBPF, &["/usr/sbin/tcptop"], &[]),
    peer(BPFTRACE, &["bpftrace", "{peers}/tcptop.bt"], &[]),
];

/// What it costs depends on what there is more of, bytes or connections.
const fn tcptop(scene: Scene, operation: &'static str) -> Entry {
    Entry {
        tool: "tcptop",
        scene,
        operation: Some(operation),
        per_operation: 1.0,
        counts: Counts::Nothing,
        started: Started::Programs,
        floor: &["tp_btf:inet_sock_set_state"],
        filtered: &[],
        flooded: &[],
        peers: TCPTOPS,
        targets: &[NO_SLOWER],
    }
}

pub const ENTRIES: &[Entry] = &[
    Entry {
        tool: "opensnoop",
        scene: Scene::Opens,
        operation: Some("open"),
        per_operation: 1.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tracepoint:syscalls:sys_exit_openat"],
        filtered: &["-p", "1"],
        flooded: &[],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/opensnoop"], &["-p", "1"]),
            peer(BPFTRACE, &["bpftrace", "{peers}/opensnoop.bt"], &["1"]),
            bpfcc(&["sh", "{peers}/bpfcc.sh", "opensnoop-bpfcc"]),
        ],
        targets: &[&[ratio(Figure::Passed, LIBBPF, 0.08)], STREAM, DROP_IN],
    },
    Entry {
        tool: "execsnoop",
        scene: Scene::Programs,
        operation: Some("program"),
        per_operation: 1.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tp_btf:sched_process_exec"],
        filtered: &["-u", "1"],
        flooded: &[],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/execsnoop"], &["-u", "1"]),
            peer(BPFTRACE, &["bpftrace", "{peers}/execsnoop.bt"], &["1"]),
        ],
        targets: &[
            &[ratio(Figure::Passed, LIBBPF, 0.1)],
            BESIDE_BPFTRACE,
            NO_SLOWER,
        ],
    },
    Entry {
        tool: "tcpstates",
        scene: Scene::Connects,
        operation: Some("connection"),
        per_operation: 10.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tp_btf:inet_sock_set_state"],
        filtered: &["-L", "1"],
        flooded: &[],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/tcpstates"], &["-L", "1"]),
            peer(BPFTRACE, &["bpftrace", "{peers}/tcpstates.bt"], &["1"]),
            bpfcc(&["sh", "{peers}/bpfcc.sh", "tcpstates-bpfcc"]),
        ],
        targets: &[&[ratio(Figure::Passed, LIBBPF, 0.03)], STREAM, DROP_IN],
    },
    Entry {
        tool: "biolatency",
        scene: Scene::Reads,
        operation: Some("read"),
        per_operation: 1.0,
        counts: Counts::Histogram,
        started: Started::Programs,
        floor: &["tp_btf:block_rq_issue", "tp_btf:block_rq_complete"],
        filtered: &["-d", "{other_disk}"],
        flooded: &["-d", "{disk}"],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/biolatency"], &["-d", "{other_disk}"])
                .flooded(&["-d", "{disk}"]),
            peer(
                BPFTRACE,
                &["bpftrace", "{peers}/biolatency.bt"],
                &["{other_dev}"],
            )
            .flooded(&["{dev}"]),
            bpfcc(&["sh", "{peers}/bpfcc.sh", "biolatency-bpfcc"]),
        ],
        targets: &[&[ratio(Figure::Passed, LIBBPF, 0.6)], DROP_IN],
    },
    Entry {
        tool: "runqlat",
        scene: Scene::Handovers,
        operation: Some("hand-over and back"),
        per_operation: 2.0,
        counts: Counts::Nothing,
        started: Started::Programs,
        floor: &["tp_btf:sched_switch", "tp_btf:sched_wakeup"],
        filtered: &["-p", "1"],
        flooded: &[],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/runqlat"], &["-p", "1"]),
            peer(BPFTRACE, &["bpftrace", "{peers}/runqlat.bt"], &["1"]),
            bpfcc(&["sh", "{peers}/bpfcc.sh", "runqlat-bpfcc"]),
        ],
        targets: &[NO_SLOWER],
    },
    Entry {
        tool: "biosnoop",
        scene: Scene::Reads,
        operation: Some("read"),
        per_operation: 1.0,
        counts: Counts::Rows(&["bpfcc-load"]),
        started: Started::Programs,
        floor: &[
            "tp_btf:block_io_start",
            "tp_btf:block_rq_issue",
            "tp_btf:block_rq_complete",
        ],
        filtered: &["-d", "{other_disk}"],
        flooded: &["-d", "{disk}"],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/biosnoop"], &["-d", "{other_disk}"])
                .flooded(&["-d", "{disk}"]),
            peer(
                BPFTRACE,
                &["bpftrace", "{peers}/biosnoop.bt"],
                &["{other_dev}"],
            )
            .flooded(&["{dev}"]),
        ],
        targets: &[BESIDE_BPFTRACE, NO_SLOWER],
    },
    Entry {
        tool: "bitesize",
        scene: Scene::Reads,
        operation: Some("read"),
        per_operation: 1.0,
        counts: Counts::Histogram,
        started: Started::Programs,
        floor: &["tp_btf:block_io_start", "tp_btf:block_rq_issue"],
        filtered: &["-d", "{other_disk}"],
        flooded: &["-d", "{disk}"],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/bitesize"], &["-d", "{other_disk}"])
                .flooded(&["-d", "{disk}"]),
            peer(
                BPFTRACE,
                &["bpftrace", "{peers}/bitesize.bt"],
                &["{other_dev}"],
            )
            .flooded(&["{dev}"]),
        ],
        targets: &[&[NOTHING_LOST]], // who makes a request costs a hook more
    },
    Entry {
        tool: "profile",
        scene: Scene::Handovers,
        operation: Some("hand-over and back"),
        per_operation: 2.0,
        counts: Counts::Nothing,
        started: Started::Programs,
        floor: &[],
        filtered: &["-p", "1"],
        flooded: &[],
        peers: &[
            peer(BPFTRACE, &["bpftrace", "{peers}/profile.bt"], &["1"]),
            bpfcc(&["sh", "{peers}/bpfcc.sh", "profile-bpfcc"]),
        ],
        // Debian's libbpf-tools have no profile.
        targets: &[&[ratio(Figure::Added, BPFTRACE, 1.0)]],
    },
    Entry {
        tool: "tcplife",
        scene: Scene::Connects,
        operation: Some("connection"),
        per_operation: 2.0, // both ends
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tp_btf:inet_sock_set_state"],
        filtered: &["-L", "1"],
        flooded: &[],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/tcplife"], &["-L", "1"]),
            peer(BPFTRACE, &["bpftrace", "{peers}/tcplife.bt"], &["1"]),
        ],
        targets: &[BESIDE_BPFTRACE, NO_SLOWER],
    },
    Entry {
        tool: "tcpconnect",
        scene: Scene::Connects,
        operation: Some("connection"),
        per_operation: 1.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tp_btf:inet_sock_set_state"],
        filtered: &["-P", "1"],
        flooded: &[],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/tcpconnect"], &["-P", "1"]),
            peer(BPFTRACE, &["bpftrace", "{peers}/tcpconnect.bt"], &["1"]),
            bpfcc(&["sh", "{peers}/bpfcc.sh", "tcpconnect-bpfcc"]),
        ],
        targets: &[BESIDE_BPFTRACE, NO_SLOWER],
    },
    tcptop(Scene::Stream, "64 KiB written"),
    tcptop(Scene::Exchanges, "connection"),
    Entry {
        tool: "tcpconnlat",
        scene: Scene::Connects,
        operation: Some("connection"),
        per_operation: 1.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tp_btf:inet_sock_set_state", "tp_btf:tcp_receive_reset"],
        filtered: &["--remoteport", "1"],
        flooded: &[],
        peers: &[
            peer(LIBBPF, &["/usr/sbin/tcpconnlat"], &["-p", "1"]),
            peer(BPFTRACE, &["bpftrace", "{peers}/tcpconnlat.bt"], &["1"]),
        ],
        targets: &[BESIDE_BPFTRACE],
    },
    Entry {
        tool: "tcpretrans",
        scene: Scene::Lossy,
        operation: None, // the network bounds it
        per_operation: 0.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tp_btf:tcp_retransmit_skb"],
        filtered: &["-D", "1"],
        flooded: &[],
        peers: &[peer(
            BPFTRACE,
            &["bpftrace", "{peers}/tcpretrans.bt"],
            &["1"],
        )],
        targets: &[BESIDE_BPFTRACE],
    },
    Entry {
        tool: "tcpdrop",
        scene: Scene::Refused,
        operation: Some("connect"),
        per_operation: 1.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &[
            "tp_btf:kfree_skb",
            "tp_btf:consume_skb",
            "tp_btf:inet_sock_set_state",
        ],
        filtered: &["-D", "1"],
        flooded: &[],
        peers: &[peer(BPFTRACE, &["bpftrace", "{peers}/tcpdrop.bt"], &["1"])],
        targets: &[BESIDE_BPFTRACE],
    },
    Entry {
        tool: "qdiscdrop",
        scene: Scene::Shaped,
        operation: Some("datagram"),
        per_operation: 0.0,
        counts: Counts::Rows(&[]),
        started: Started::Programs,
        floor: &["tp_btf:kfree_skb"],
        filtered: &["-D", "1"],
        flooded: &[],
        peers: &[peer(
            BPFTRACE,
            &["bpftrace", "{peers}/qdiscdrop.bt"],
            &["1"],
        )],
        targets: &[BESIDE_BPFTRACE],
    },
    Entry {
        tool: "ctsnoop",
        scene: Scene::Tracked,
        operation: Some("connection"),
        per_operation: 1.0,
        counts: Counts::Rows(&["NEW"]),
        started: Started::Netlink,
        floor: &[],
        filtered: &[],
        flooded: &[],
        peers: &[peer("conntrack -E", &["conntrack", "-E"], &[])],
        targets: &[&[NOTHING_LOST]],
    },
];
