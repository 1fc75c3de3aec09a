// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcptracer` against connections that begin and end in every way.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bpfcc_tests::maps::{BpfFs, container_options};
use bpfcc_tests::net::{Host, Pair, Talk, addr, disconnect, linger, reset};
use bpfcc_tests::*;
use serde_json::Value;

/// Alternatives of the hooks that are used together.
#[derive(Clone, Copy, Debug)]
struct Way {
    accept: &'static str,
    close: &'static str,
    connect: &'static str,
}

/// Every alternative that this kernel has, at least once.
fn ways() -> Vec<Way> {
    let way = |accept, close, connect| Way {
        accept,
        close,
        connect,
    };
    let hashes = way("raw_tp", "tp_btf", "tp_btf-hash");
    if !in_vm() {
        vec![way("tracepoint", "tp_btf", "tp_btf"), hashes]
    } else if kernel() < (5, 11) {
        vec![
            way("fexit", "fentry", "tp_btf-hash"),
            way("kretprobe", "kprobe", "tp_btf-hash"),
            hashes,
        ]
    } else {
        vec![
            way("fexit", "fentry", "tp_btf"),
            way("kretprobe", "kprobe", "tp_btf-hash"),
            way("tracepoint", "tp_btf", "tp_btf"),
            hashes,
        ]
    }
}

/// The tool with these alternatives.
fn start_anywhere(way: Way, args: &[&str]) -> Tool {
    let Way {
        accept,
        close,
        connect,
    } = way;
    let mut command = command("tcptracer");
    command.arg("--hooks").args(args).env(
        "BPFCC_RS_HOOKS",
        format!("accept={accept},close={close},connect={connect}"),
    );
    // Kernels that preempt programs skip them for others meanwhile (7.2): no
    // other test makes connections until the test's last tool has stopped.
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// The same, for one namespace.
fn start(way: Way, host: &Host, args: &[&str]) -> Tool {
    let inode = host.inode().to_string();
    start_anywhere(way, &[&["-N", &inode], args].concat())
}

/// The rows of a tool with `--json`.
#[track_caller]
fn rows(way: Way, tool: Tool) -> Vec<Value> {
    let ended = tool.stop().success();
    nothing_is_lost(way, &ended);
    ended.json()
}

/// What every system call passes is skipped for another process's call where the
/// kernel preempts programs (7.2): that counts as lost.
#[track_caller]
fn nothing_is_lost(way: Way, ended: &Ended) {
    if kernel() < (7, 0) || way.accept != "raw_tp" {
        assert_eq!(ended.lost(), 0, "{way:?}");
    }
}

/// What a row is: type and ports.
fn ports(row: &Value) -> (&str, u16, u16) {
    let port = |key: &str| row[key].as_u64().expect("a port") as u16;
    (
        row["type"].as_str().expect("a type"),
        port("sport"),
        port("dport"),
    )
}

/// What a connection is whose client closes first.
fn whole((client, server): (u16, u16)) -> [(&'static str, u16, u16); 4] {
    [
        ("connect", client, server),
        ("accept", server, client),
        ("close", client, server),
        ("close", server, client),
    ]
}

/// Where to listen, where to connect to, the row's version.
const CASES: [(&str, &str, u64); 3] = [
    ("127.0.0.1", "127.0.0.1", 4),
    ("::1", "::1", 6),
    ("::", "::ffff:127.0.0.1", 6),
];

#[test]
fn every_alternative_shows_whole_connections() {
    each(ways(), |way| {
        let host = Host::new();
        let tool = start(way, &host, &["--json"]);
        let made = host.within(|| {
            own_files();
            name_thread("both-ends");
            CASES.map(|(listen, to, _)| {
                let talk = Talk::new(listen, to);
                talk.ports()
            })
        });
        let ended = tool.stop().success();
        nothing_is_lost(way, &ended);
        for (hook, used) in [
            ("accept", way.accept),
            ("close", way.close),
            ("connect", way.connect),
        ] {
            let used = format!("{hook}: using {used}\n");
            assert!(ended.stderr.contains(&used), "{}", ended.stderr);
        }
        let rows = ended.json();
        let found: Vec<_> = rows.iter().map(ports).collect();
        assert_eq!(found, made.map(whole).concat(), "{way:?}");
        for (rows, (_, to, version)) in rows.chunks(4).zip(CASES) {
            for row in rows {
                assert_eq!((&row["saddr"], &row["daddr"]), (&to.into(), &to.into()));
                assert_eq!(row["ip"], version, "{row}");
                assert_eq!(row["pid"], std::process::id(), "{row}");
                assert_eq!(row["comm"], "both-ends", "{row}");
                assert_eq!(row["uid"], 0, "{row}");
                assert_eq!(row["netns"], host.inode(), "{row}");
                assert!(row["cgroup"].is_string(), "{row}");
            }
            // The client's rows are of one socket, the server's of another.
            if kernel() >= (5, 12) {
                assert!(rows[0]["cookie"].is_u64(), "{}", rows[0]);
                assert_ne!(rows[0]["cookie"], rows[3]["cookie"]);
            }
            assert_eq!(rows[0]["cookie"], rows[2]["cookie"]);
        }
    });
}

/// Attempts, listeners and sockets of other kinds are in no row.
#[test]
fn what_was_no_connection_is_no_row() {
    each(ways(), |way| {
        let host = Host::new();
        drop_packets(&host, "tcp dport 81");
        let tool = start(way, &host, &["--json"]);
        let (client, server) = host.within(|| {
            own_files();
            for to in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
                TcpStream::connect(to).expect_err("a closed port");
                // std connects with a non-blocking socket, then polls it.
                let to: SocketAddr = to.parse().expect("an address");
                TcpStream::connect_timeout(&to, PATIENCE).expect_err("a closed port");
            }
            TcpStream::connect("192.0.2.1:80").expect_err("no route");
            let to = SocketAddr::from(([127, 0, 0, 1], 81));
            TcpStream::connect_timeout(&to, Duration::from_millis(20)).expect_err("dropped");
            let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
            udp.connect("127.0.0.1:9").expect("connect");
            let dir = TempDir::new("unix");
            let path = dir.join("socket");
            let unix = std::os::unix::net::UnixListener::bind(&path).expect("listen");
            let _client = std::os::unix::net::UnixStream::connect(&path).expect("connect");
            unix.accept().expect("accept");
            // Nobody has accepted it: the listener's end resets it.
            let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
            let to = listener.local_addr().expect("own address");
            let client = TcpStream::connect(to).expect("connect");
            drop(listener);
            (client.local_addr().expect("own address").port(), to.port())
        });
        let rows = rows(way, tool);
        let found: Vec<_> = rows.iter().map(ports).collect();
        assert_eq!(
            found,
            [("connect", client, server), ("close", client, server)],
            "{way:?}"
        );
    });
}

/// Drops what comes in by IPv4 and fits.
fn drop_packets(host: &Host, what: &str) {
    host.run("nft add table ip t");
    host.run("nft add chain ip t in { type filter hook input priority 0 ; }");
    host.run(&format!("nft add rule ip t in {what} drop"));
}

/// The handshake of a non-blocking connect ends while a packet is handled: the
/// row is that of who has called. Each namespace has the rows of its end.
#[test]
fn each_namespace_has_its_end() {
    each(ways(), |way| {
        let pair = Pair::new();
        let left = start(way, &pair.left, &["--json"]);
        let right = start(way, &pair.right, &["--json"]);
        let mut made = Vec::new();
        for to in [Pair::RIGHT, Pair::RIGHT6] {
            let (listens, is_listening) = channel();
            made.push(thread::scope(|scope| {
                scope.spawn(|| {
                    pair.right.within(move || {
                        own_files();
                        name_thread("server");
                        let listener = TcpListener::bind((addr(to), 0)).expect("listen");
                        let at = listener.local_addr().expect("own address");
                        listens.send(at).expect("the client");
                        let (mut server, _) = listener.accept().expect("accept");
                        assert_eq!(server.read(&mut [0]).expect("the end"), 0);
                    });
                });
                pair.left.within(move || {
                    own_files();
                    name_thread("client");
                    let at = is_listening.recv_timeout(PATIENCE).expect("the server");
                    let client = TcpStream::connect_timeout(&at, PATIENCE).expect("connect");
                    let port = client.local_addr().expect("own address").port();
                    whole((port, at.port()))
                })
            }));
        }
        for (tool, host, comm, ends) in [
            (left, &pair.left, "client", [0, 2]),
            (right, &pair.right, "server", [1, 3]),
        ] {
            let rows = rows(way, tool);
            let found: Vec<_> = rows.iter().map(ports).collect();
            let expected: Vec<_> = made.iter().flat_map(|all| ends.map(|i| all[i])).collect();
            assert_eq!(found, expected, "{way:?}: {comm}");
            for row in &rows {
                assert_eq!(row["netns"], host.inode(), "{row}");
                assert_eq!(row["comm"], comm, "{row}");
            }
        }
    });
}

/// Connections that were there before the tool, in whatever state.
#[test]
fn older_connections_are_closed_too() {
    each(ways(), |way| {
        let host = Host::new();
        let (opened, are_open) = channel();
        let (runs, is_running) = channel();
        let (tool, made) = thread::scope(|scope| {
            let worker =
                scope.spawn(|| host.within(move || older_connections(&opened, &is_running)));
            are_open.recv().expect("the worker");
            let tool = start(way, &host, &["--json"]);
            runs.send(()).expect("the worker");
            (tool, worker.join().expect("the worker"))
        });
        let rows = rows(way, tool);
        let found: Vec<_> = rows.iter().map(ports).collect();
        let mut expected: Vec<_> = made
            .into_iter()
            .flat_map(|(client, server)| [("close", client, server), ("close", server, client)])
            .collect();
        expected.remove(4); // closed before
        assert_eq!(found, expected, "{way:?}");
    });
}

/// One that is open, one that is shut down, one that is reset: closes what is open
/// of them when told to. The ports of client and server.
fn older_connections(opened: &Sender<()>, is_running: &Receiver<()>) -> [(u16, u16); 3] {
    own_files();
    let settled = || {
        let deadline = Instant::now() + PATIENCE;
        let done = || net::all_is_acknowledged().then_some(());
        until("all is acknowledged", deadline, done);
    };
    let [open, shut, over] = [(); 3].map(|()| Talk::new("127.0.0.1", "127.0.0.1"));
    let made = [open.ports(), shut.ports(), over.ports()];
    shut.client.shutdown(Shutdown::Write).expect("shut down");
    reset(over.client);
    settled();
    opened.send(()).expect("the test");
    is_running.recv_timeout(PATIENCE).expect("the test");
    for end in [
        open.client,
        open.server,
        shut.client,
        shut.server,
        over.server,
    ] {
        drop(end);
        settled();
    }
    made
}

/// A way to end a connection. `mark` makes a row in between.
type End = fn(Talk, &mut dyn FnMut());

const ENDS: [(&str, End, &[&str]); 10] = [
    (
        "shutdown before the close",
        |talk, mark| {
            talk.client.shutdown(Shutdown::Write).expect("shut down");
            mark();
            drop(talk.client);
            drop(talk.server);
        },
        &["mark", "client", "server"],
    ),
    (
        "shutdown of both directions",
        |talk, mark| {
            talk.client.shutdown(Shutdown::Both).expect("shut down");
            mark();
            drop(talk.server);
            drop(talk.client);
        },
        &["mark", "server", "client"],
    ),
    (
        "shutdown after the other end's close",
        |mut talk, mark| {
            drop(talk.server);
            assert_eq!(talk.client.read(&mut [0]).expect("the end"), 0);
            talk.client.shutdown(Shutdown::Write).expect("shut down");
            mark();
            drop(talk.client);
        },
        &["server", "mark", "client"],
    ),
    (
        "shutdown of both ends",
        |talk, mark| {
            talk.client.shutdown(Shutdown::Write).expect("shut down");
            talk.server.shutdown(Shutdown::Write).expect("shut down");
            mark();
            drop(talk.server);
            mark();
            drop(talk.client);
        },
        &["mark", "server", "mark", "client"],
    ),
    (
        "reset by the other end",
        |talk, mark| {
            reset(talk.client);
            mark();
            drop(talk.server);
        },
        &["client", "mark", "server"],
    ),
    (
        "reset after a shutdown",
        |talk, mark| {
            talk.server.shutdown(Shutdown::Write).expect("shut down");
            reset(talk.client);
            mark();
            drop(talk.server);
        },
        &["client", "mark", "server"],
    ),
    (
        "close with data that was not read",
        |mut talk, mark| {
            talk.server.write_all(b"!").expect("write");
            talk.client.peek(&mut [0]).expect("it is there");
            drop(talk.client);
            mark();
            drop(talk.server);
        },
        &["client", "mark", "server"],
    ),
    (
        "close that waits until all is acknowledged",
        |talk, mark| {
            linger(&talk.client, PATIENCE);
            drop(talk.client);
            mark();
            linger(&talk.server, PATIENCE);
            drop(talk.server);
        },
        &["client", "mark", "server"],
    ),
    (
        "the second of two descriptors",
        |talk, mark| {
            let second = talk.client.try_clone().expect("dup");
            drop(talk.client);
            mark();
            drop(second);
            drop(talk.server);
        },
        &["mark", "client", "server"],
    ),
    (
        "disconnect, which is no close",
        |talk, mark| {
            disconnect(&talk.client);
            mark();
            drop(talk.client);
            drop(talk.server);
        },
        &["mark", "server"],
    ),
];

/// However a connection ends, each of its sockets is closed once, when it is.
#[test]
fn a_close_is_shown_once_and_when_it_happens() {
    const MARK: u16 = 30_100;
    each(ways(), |way| {
        let host = Host::new();
        let tool = start(way, &host, &["--json"]);
        let made = host.within(|| {
            own_files();
            let listener = TcpListener::bind(("127.0.0.1", MARK)).expect("listen");
            let mut marks = Vec::new();
            let mut mark = || {
                marks.push(TcpStream::connect(("127.0.0.1", MARK)).expect("connect"));
            };
            let made: Vec<_> = ENDS
                .iter()
                .zip(30_000..)
                .map(|((_, end, _), port)| {
                    let talk = Talk::on_port("127.0.0.1", "127.0.0.1", port);
                    let ports = talk.ports();
                    end(talk, &mut mark);
                    ports
                })
                .collect();
            drop(marks);
            drop(listener);
            made
        });
        let rows = rows(way, tool);
        let mut rows = rows.iter().map(ports).filter(|(kind, sport, dport)| {
            let marks = [*sport, *dport].contains(&MARK);
            marks == (*kind == "connect") && *kind != "accept"
        });
        for ((what, _, expected), (client, server)) in ENDS.iter().zip(made) {
            let found: Vec<_> = rows
                .by_ref()
                .take(expected.len())
                .map(|row| match row {
                    ("connect", ..) => "mark",
                    ("close", sport, dport) if (sport, dport) == (client, server) => "client",
                    ("close", sport, dport) if (sport, dport) == (server, client) => "server",
                    _ => "another's",
                })
                .collect();
            assert_eq!(found, *expected, "{way:?}: {what}");
        }
        assert_eq!(rows.next(), None, "{way:?}");
    });
}

/// A close after a shutdown() that the other end has not acknowledged: nothing is
/// sent and no state changes.
#[test]
fn a_close_that_changes_nothing_is_shown() {
    each(ways(), |way| {
        let pair = Pair::new();
        let listener = pair
            .right
            .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
        let at = listener.local_addr().expect("own address");
        let (connected, is_connected) = channel();
        let (runs, is_running) = channel();
        let (tool, client) = thread::scope(|scope| {
            scope.spawn(|| {
                pair.left.within(move || {
                    own_files();
                    name_thread("closer");
                    let client = TcpStream::connect(at).expect("connect");
                    let port = client.local_addr().expect("own address").port();
                    connected.send(port).expect("the test");
                    is_running.recv_timeout(PATIENCE).expect("the test");
                    client.shutdown(Shutdown::Write).expect("shut down");
                });
            });
            let client: u16 = is_connected.recv().expect("the client");
            let tool = start(way, &pair.left, &["--json"]);
            drop_packets(&pair.right, "");
            runs.send(()).expect("the client");
            (tool, client)
        });
        let rows = rows(way, tool);
        let found: Vec<_> = rows.iter().map(ports).collect();
        assert_eq!(found, [("close", client, at.port())], "{way:?}");
        assert_eq!(rows[0]["comm"], "closer", "{way:?}");
    });
}

/// The kernel closes what a process has open as it ends.
#[test]
fn a_killed_process_closes() {
    each(ways(), |way| {
        let host = Host::new();
        let tool = start(way, &host, &["--json"]);
        let (pid, port) = host.within(|| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
            let port = listener.local_addr().expect("own address").port();
            let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; kill -9 $$");
            let mut bash = std::process::Command::new("bash")
                .args(["-c", &script])
                .spawn()
                .expect("bash");
            wait_for(&mut bash);
            (bash.id(), port)
        });
        let rows = rows(way, tool);
        let found: Vec<_> = rows
            .iter()
            .map(|row| (ports(row).0, &row["pid"], &row["comm"], ports(row).2))
            .collect();
        let (pid, comm) = (Value::from(pid), Value::from("bash"));
        assert_eq!(
            found,
            [("connect", &pid, &comm, port), ("close", &pid, &comm, port)],
            "{way:?}"
        );
    });
}

/// None of thousands of short connections is missed, by several threads.
#[test]
fn short_connections_are_all_seen() {
    let _alone = MayAttach::alone();
    let count = if in_vm() { 1_000 } else { 5_000 };
    each(ways(), |way| {
        let host = Host::new();
        let tool = start(way, &host, &[]);
        let command = format!(
            "{} tcp 127.0.0.1 {}",
            bin("bpfcc-workload").display(),
            count / 2
        );
        thread::scope(|scope| {
            scope.spawn(|| host.run(&command));
            host.run(&command);
        });
        let ended = tool.stop().success();
        let (lost, expected) = (ended.lost() as usize, 4 * count);
        let of = |kind: &str| {
            let rows = ended.lines().into_iter();
            rows.filter(|row| row.starts_with(kind)).count()
        };
        let kinds = ["C  ", "A  ", "X  "].map(of);
        let shown: usize = kinds.iter().sum();
        if kernel() < (7, 0) {
            assert_eq!((kinds, lost), ([count, count, 2 * count], 0), "{way:?}");
        } else {
            // A program that is preempted is skipped for the other workload's
            // calls, and counted.
            assert!(
                shown <= expected && shown + lost >= expected,
                "{way:?}: {kinds:?} {lost}"
            );
        }
    });
}

/// Types and the last digit of the server's port, sorted.
fn summary(way: Way, tool: Tool) -> String {
    let rows = rows(way, tool);
    let mut found: Vec<_> = rows
        .iter()
        .map(|row| {
            let (kind, sport, dport) = ports(row);
            let (letter, port) = match kind {
                "connect" => ('c', dport),
                "accept" => ('a', sport),
                _ if sport < 31_000 => ('s', sport),
                _ => ('x', dport),
            };
            format!("{}{letter}", port % 10)
        })
        .collect();
    found.sort_unstable();
    found.join(" ")
}

#[test]
fn filters_select() {
    let host = Host::new();
    let resident = host.resident();
    let cgroup = Cgroup::new();
    let pid = std::process::id().to_string();
    let other = Host::new();
    let (in_host, elsewhere) = (host.inode().to_string(), other.inode().to_string());
    let resident = resident.pid().to_string();
    let way = ways()[0];
    let all = "0a 0c 0s 0x 1a 1c 1s 1x 2a 2c 2s 2x 3a 3c 3s 3x";
    let ours = "0a 0c 0s 0x 1a 1c 1s 1x 2a 2c 2s 2x 3a 3s";
    let cases: [(&[&str], &str); 15] = [
        (&["-N", &in_host], all),
        (&["--netns-id", &in_host], all),
        (&["--pid-netns", &resident], all),
        (&["-N", &elsewhere], ""),
        (&["-N", &in_host, "-4"], "0a 0c 0s 0x 3a 3c 3s 3x"),
        (&["-N", &in_host, "-6"], "1a 1c 1s 1x 2a 2c 2s 2x"),
        (&["-N", &in_host, "-p", &pid], ours),
        (&["-N", &in_host, "-p", "1"], ""),
        (&["-N", &in_host, "-u", "0"], ours),
        (&["-N", &in_host, "-u", "65534"], "3c 3x"),
        (&["-N", &in_host, "--cgroup", cgroup.path()], "3c 3x"),
        (
            &["-N", &in_host, "--localport", "30001,30003"],
            "1a 1s 3a 3s",
        ),
        (&["-N", &in_host, "--remoteport", "30002"], "2c 2x"),
        (&["-N", &in_host, "--addr", "127.0.0.2/31"], "2a 2c 2s 2x"),
        (&["-N", &in_host, "--addr", "::1"], "1a 1c 1s 1x"),
    ];
    let tools: Vec<_> = cases
        .iter()
        .map(|(args, _)| start_anywhere(way, &[&["--json"], *args].concat()))
        .collect();
    host.within(|| {
        own_files();
        for (to, port) in [
            ("127.0.0.1", 30_000),
            ("::1", 30_001),
            ("::ffff:127.0.0.3", 30_002),
        ] {
            let listen = if to.contains('.') && to.contains(':') {
                "::"
            } else {
                to
            };
            drop(Talk::on_port(listen, to, port));
        }
        let script = "exec 3<>/dev/tcp/127.0.0.1/30003";
        let listener = TcpListener::bind("127.0.0.1:30003").expect("listen");
        let mut inside = cgroup.command(
            "setpriv".as_ref(),
            &["--reuid=65534", "--clear-groups", "bash", "-c", script],
        );
        assert!(inside.status().expect("bash").success());
        listener.accept().expect("accept");
    });
    for (tool, (args, expected)) in tools.into_iter().zip(cases) {
        assert_eq!(summary(way, tool), expected, "{args:?}");
    }
}

#[test]
fn containers_select() {
    in_mount_namespace(|| {
        let bpffs = BpfFs::mount();
        let group = Cgroup::new();
        let [(by_cgroup, cgroups, cgroup), (by_mntns, mntnses, mntns)] =
            container_options(&bpffs, &group);
        let host = Host::new();
        let way = ways()[0];
        let tools = [
            (by_cgroup, cgroups.path(), cgroup),
            ("-C", cgroups.path(), cgroup),
            (by_mntns, mntnses.path(), mntns),
            ("-M", mntnses.path(), mntns),
            ("--cgroup", group.path(), 0),
        ]
        .map(|(option, path, _)| start(way, &host, &["--json", option, path]));
        let connect = || {
            let workload = bin("bpfcc-workload");
            let mut inside = group.command(&workload, &["tcp", "127.0.0.1", "1"]);
            inside.stdout(Stdio::null());
            assert!(inside.status().expect("workload").success());
        };
        host.within(connect);
        cgroups.add(cgroup);
        mntnses.add(mntns);
        host.within(connect);
        assert_eq!(tools.map(|tool| rows(way, tool).len()), [4, 4, 4, 4, 8]);
    });
}

/// Banner, header and rows, to the byte, in every text form.
#[test]
fn text_is_bccs() {
    let short = "T  PID    COMM             IP SADDR            DADDR            SPORT  DPORT ";
    let long =
        "TYPE         PID    COMM             IP SADDR            DADDR            SPORT  DPORT  ";
    for (args, header) in [
        (vec![], short.to_owned()),
        (vec!["-t"], format!("TIME(s)  {short}")),
        (vec!["-U"], format!("UID   {short}")),
        (vec!["-tU"], format!("TIME(s)  UID   {short}")),
        (vec!["-v"], format!("{long}NETNS   ")),
        (vec!["-tv"], format!("TIME(ns)      {long}NETNS   ")),
        (vec!["--verbose", "-N"], long.to_owned()),
    ] {
        let host = Host::new();
        let inode = host.inode().to_string();
        let mut all = args.clone();
        if all.last() == Some(&"-N") {
            all.push(&inode);
        }
        // Nothing else of this process has these addresses.
        let pid = std::process::id().to_string();
        let (to_v4, to_v6) = ("127.77.66.55", "fd77:66::55");
        host.run(&format!("ip addr add {to_v6}/128 dev lo nodad"));
        let [v4, v6] = [to_v4, to_v6].map(|to| {
            let all = [&["-p", &pid, "--addr", to], all.as_slice()].concat();
            start_anywhere(ways()[0], &all)
        });
        for (tool, version, to) in [(v4, 4, to_v4), (v6, 6, to_v6)] {
            let (client, server) = host.within(|| {
                own_files();
                name_thread("a-longer-name");
                let talk = Talk::new(to, to);
                talk.ports()
            });
            let ended = tool.stop().success();
            let lines = ended.lines();
            assert_eq!(
                lines[..2],
                [
                    "Tracing TCP established connections. Ctrl-C to end.",
                    &header
                ],
                "{args:?}"
            );
            assert_eq!(lines.len(), 6, "{}", ended.stdout);
            let (near, far) = match version {
                4 => ("127.0.0.1".to_owned(), to.to_owned()),
                _ => (format!("[{to}]"), format!("[{to}]")),
            };
            for (line, (kind, sport, dport)) in lines[2..].iter().zip(whole((client, server))) {
                let mut row = *line;
                let (saddr, daddr) = if sport == client {
                    (&near, &far)
                } else {
                    (&far, &near)
                };
                if header.starts_with("TIME") {
                    let width = if header.starts_with("TIME(s)") { 9 } else { 14 };
                    let (time, rest) = row.split_at(width);
                    time.trim_end().parse::<f64>().expect("a time");
                    if kind == "connect" {
                        assert_eq!(time.trim_end().trim_matches(['0', '.']), "", "{row}");
                    }
                    row = rest;
                }
                let uid = if header.contains("UID") { "0     " } else { "" };
                let kind = match (kind, header.contains("TYPE")) {
                    (kind, true) => format!("{kind:<12}"),
                    ("connect", _) => "C ".to_owned(),
                    ("accept", _) => "A ".to_owned(),
                    _ => "X ".to_owned(),
                };
                let netns = if header.contains("NETNS") {
                    format!(" {inode:<8}")
                } else {
                    String::new()
                };
                assert_eq!(
                    row,
                    format!(
                        "{uid}{kind} {pid:<6} a-longer-name    {version}  {saddr:<16} {daddr:<16} {sport:<6} {dport:<6}{netns}"
                    ),
                    "{args:?}"
                );
            }
        }
    }
}
