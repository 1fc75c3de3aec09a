// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcptop` against connections that carry a known number of bytes.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use bpfcc_tests::net::{Host, Pair, Talk, disconnect, reset, run as run_line};
use bpfcc_tests::*;
use nix::sys::socket::SockaddrIn;
use serde_json::Value;

/// The ways to count that this kernel has; `tcpsubnet` has the same.
pub fn alternatives() -> Vec<&'static str> {
    let mut ways = vec!["iter-hash"];
    if kernel() >= (5, 11) {
        ways.insert(0, "iter");
    }
    if kernel() >= (6, 3) {
        ways.push("tp_btf");
    }
    if in_vm() {
        ways.push("fexit");
    }
    ways
}

/// Those that look at the calls.
fn call_alternatives() -> Vec<&'static str> {
    let mut ways = alternatives();
    ways.retain(|way| !way.starts_with("iter"));
    ways
}

/// So long an interval that only the last report counts.
const ONE_REPORT: &str = "600";

fn spawn(alternative: &str, args: &[&str]) -> Tool {
    let mut command = command("tcptop");
    command.arg("--verbose").args(args).env(
        "BPFCC_RS_HOOKS",
        format!("traffic={alternative},calls={alternative}"),
    );
    // Kernels that preempt programs skip them for others meanwhile (7.2).
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// The tool with one alternative, for one namespace.
fn start(alternative: &str, host: &Host, args: &[&str]) -> Tool {
    let inode = host.inode().to_string();
    spawn(alternative, &[&["--netns-id", &inode], args].concat())
}

/// By both ports: to another server the kernel may give the same one again.
#[track_caller]
fn row_of(rows: &[Value], local: u16, remote: u16) -> &Value {
    let of_both = |row: &&Value| row["sport"] == local && row["dport"] == remote;
    let found: Vec<_> = rows.iter().filter(of_both).collect();
    assert_eq!(found.len(), 1, "{local} to {remote} in {rows:#?}");
    found[0]
}

#[track_caller]
fn assert_bytes(row: &Value, sent: usize, received: usize, what: &str) {
    assert_eq!(row["tx_bytes"], sent, "{what}: {row}");
    assert_eq!(row["rx_bytes"], received, "{what}: {row}");
}

/// Both ends of connections that are there at the end, and of those that are not.
#[test]
fn bytes_are_those_that_were_sent() {
    let cases = [
        ("127.0.0.1", "127.0.0.1", 5_000, 3_000, false),
        ("127.0.0.1", "127.0.0.1", 1, 0, true),
        ("::1", "::1", 3_000_000, 1_000, false),
        ("::1", "::1", 70_000, 2, true),
        ("::", "::ffff:127.0.0.1", 10, 20, false),
        ("::", "::ffff:127.0.0.1", 30, 40, true),
    ];
    each(alternatives(), |alternative| {
        let host = Host::new();
        let _resident = host.resident();
        let tool = start(alternative, &host, &["--json", ONE_REPORT]);
        let ((talked, has_talked), (stopped, has_stopped)) = (channel(), channel());
        let (ended, ports) = thread::scope(|scope| {
            scope.spawn(|| {
                host.within(move || {
                    own_files();
                    name_thread("talker");
                    let mut open = Vec::new();
                    let ports = cases.map(|(listen, to, up, down, close)| {
                        let mut talk = Talk::new(listen, to);
                        // As the threads that write: they take the name over.
                        talk.exchange(up, down);
                        let ports = talk.ports();
                        if !close {
                            open.push(talk);
                        }
                        ports
                    });
                    talked.send(ports).expect("the test");
                    has_stopped.recv_timeout(PATIENCE).expect("the test");
                });
            });
            let ports = has_talked.recv_timeout(PATIENCE).expect("the talker");
            host.acknowledged();
            let ended = tool.stop().success();
            stopped.send(()).expect("the talker");
            (ended, ports)
        });
        assert_eq!(ended.lost(), 0);
        let rows = ended.json();
        for ((_, to, up, down, _), (client, server)) in cases.into_iter().zip(ports) {
            for (local, remote, sent, received) in
                [(client, server, up, down), (server, client, down, up)]
            {
                let row = row_of(&rows, local, remote);
                assert_bytes(row, sent, received, alternative);
                assert_eq!((&row["saddr"], &row["daddr"]), (&to.into(), &to.into()));
                assert_eq!(row["ip"], if to.contains(':') { 6 } else { 4 });
                assert_eq!(row["pid"], std::process::id(), "{alternative}: {row}");
                assert_eq!(row["netns"], host.inode());
                if alternative == "iter" || alternative == "tp_btf" {
                    assert!(row["cookie"].is_u64() || kernel() < (5, 12), "{row}");
                }
            }
        }
        let moving = cases.iter().filter(|case| case.2 > 0).count();
        assert_eq!(rows.len(), 2 * moving, "{alternative}: {rows:#?}");
    });
}

/// Every interval has what was carried in it, and no more.
#[test]
fn intervals_add_up() {
    for alternative in alternatives() {
        let host = Host::new();
        let _resident = host.resident();
        let mut talk = host.within(|| Talk::new("127.0.0.1", "127.0.0.1"));
        // Older than the tool.
        host.within(|| talk.exchange(1_111, 2_222));
        host.acknowledged();
        let tool = start(alternative, &host, &["--json", "1"]);
        let (client, _) = talk.ports();
        let ours = format!("\"sport\":{client},");
        let mut reports = Vec::new();
        for bytes in [700, 50_000, 3] {
            host.within(|| talk.exchange(bytes, 2 * bytes));
            host.acknowledged();
            // It may be in two reports.
            let mut sum = (0, 0);
            while sum != (bytes as u64, 2 * bytes as u64) {
                let line = tool.wait_for_line(|line| line.contains(&ours));
                let row: Value = serde_json::from_str(&line).expect("JSON");
                sum.0 += row["tx_bytes"].as_u64().expect("bytes");
                sum.1 += row["rx_bytes"].as_u64().expect("bytes");
                assert!(
                    sum.0 <= bytes as u64 && sum.1 <= 2 * bytes as u64,
                    "{sum:?}"
                );
                reports.push(row["time"].to_string());
            }
        }
        assert!(reports.len() >= 3 && reports.is_sorted(), "{reports:?}");
        // Silent from here on: of no report any more.
        drop(talk);
        let rows = tool.stop().success().json();
        let sum = |key: &str| -> u64 {
            let ours = rows.iter().filter(|row| row["sport"] == client);
            ours.map(|row| row[key].as_u64().expect("bytes")).sum()
        };
        assert_eq!(
            (sum("tx_bytes"), sum("rx_bytes")),
            (50_703, 101_406),
            "{alternative}"
        );
    }
}

/// A connection that is reset and then closed, and a socket that connects again:
/// met by a walk before that, and not met.
#[test]
fn nothing_is_told_twice() {
    let iterators = alternatives();
    each(
        iterators.iter().filter(|way| way.starts_with("iter")),
        |alternative| {
            let host = Host::new();
            let _resident = host.resident();
            let tool = start(alternative, &host, &["--json", "1"]);
            let ((made, is_made), (goes_on, may_go_on)) = (channel(), channel());
            let (ended, ports) = thread::scope(|scope| {
                let talker = scope.spawn(|| {
                    host.within(move || {
                        own_files();
                        let talks = [(); 2].map(|()| {
                            let mut over = Talk::new("127.0.0.1", "127.0.0.1");
                            over.client.write_all(&[1; 500]).expect("write");
                            let mut again = Talk::new("127.0.0.1", "127.0.0.1");
                            again.exchange(300, 20);
                            (over, again)
                        });
                        let ports = talks.each_ref().map(|talks| talks.0.ports().1);
                        let [first, second] = talks;
                        let mut to = connect_again(first);
                        made.send(ports).expect("the test");
                        may_go_on.recv_timeout(PATIENCE).expect("the test");
                        to.extend(connect_again(second));
                        (ports, to)
                    })
                });
                let [_, met]: [u16; 2] = is_made.recv_timeout(PATIENCE).expect("the talker");
                tool.wait_for_line(|line| line.contains(&format!("\"dport\":{met}")));
                goes_on.send(()).expect("the talker");
                let ports = talker.join().expect("the talker");
                (tool.stop().success(), ports)
            });
            assert_eq!(ended.lost(), 0);
            let rows = ended.json();
            let sum = |end: &str, port: u16, key: &str| -> u64 {
                let of_port = rows.iter().filter(|row| row[end] == port);
                of_port.map(|row| row[key].as_u64().expect("bytes")).sum()
            };
            let (over, again) = ports;
            for port in over {
                assert_eq!(
                    sum("sport", port, "rx_bytes"),
                    500,
                    "{alternative}: {rows:#?}"
                );
            }
            assert_eq!(again.len(), 4);
            for (port, (sent, received)) in again.into_iter().zip([(300, 20), (40, 30)].repeat(2)) {
                let found = (
                    sum("dport", port, "tx_bytes"),
                    sum("dport", port, "rx_bytes"),
                );
                assert_eq!(found, (sent, received), "{alternative}: {rows:#?}");
            }
        },
    );
}

/// The first is reset by its client, then closed with data that was not read; the
/// second's client disconnects and connects to another server: the servers' ports.
fn connect_again((over, again): (Talk, Talk)) -> Vec<u16> {
    reset(over.client);
    drop(over.server);
    let first = again.ports().1;
    disconnect(&again.client);
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let to = listener.local_addr().expect("own address");
    let SocketAddr::V4(address) = to else {
        panic!("{to}")
    };
    nix::sys::socket::connect(again.client.as_raw_fd(), &SockaddrIn::from(address))
        .expect("connect again");
    let (server, _) = listener.accept().expect("accept");
    let mut second = Talk {
        client: again.client,
        server,
    };
    second.exchange(40, 30);
    vec![first, to.port()]
}

/// None of hundreds of connections that open and close within an interval is
/// missed.
#[test]
fn short_connections_are_all_counted() {
    let _alone = MayAttach::alone();
    let count = if in_vm() { 300 } else { 2_000 };
    each(alternatives(), |alternative| {
        let host = Host::new();
        let _resident = host.resident();
        let tool = start(alternative, &host, &["--json", "1"]);
        host.within(|| {
            own_files();
            for _ in 0..count {
                Talk::new("127.0.0.1", "127.0.0.1").exchange(100, 10);
            }
        });
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0, "{alternative}");
        let rows = ended.json();
        let sum = |key: &str| -> u64 {
            rows.iter()
                .map(|row| row[key].as_u64().expect("bytes"))
                .sum()
        };
        let expected = 110 * count;
        assert_eq!(
            (sum("tx_bytes"), sum("rx_bytes")),
            (expected, expected),
            "{alternative}"
        );
        // One that a walk has met before it was accepted is nobody's yet.
        let strangers = rows.iter().filter(|row| row["pid"] != std::process::id());
        let strangers: Vec<_> = strangers.collect();
        assert!(
            strangers.iter().all(|row| row["pid"].is_null()),
            "{strangers:#?}"
        );
        assert!(strangers.len() as u64 <= count / 10, "{strangers:#?}");
    });
}

/// Without a filter every namespace is seen: of both ends of a link, and the
/// tool's own.
#[test]
fn all_namespaces_are_seen() {
    for alternative in alternatives() {
        let pair = Pair::new();
        let _residents = [pair.left.resident(), pair.right.resident()];
        let tool = spawn(alternative, &["--json", ONE_REPORT]);
        let mut own = Talk::new("127.0.0.1", "127.0.0.1");
        own.exchange(300, 400);
        let mut talks = Vec::new();
        for (right, sizes) in [(Pair::RIGHT, (40_000, 500)), (Pair::RIGHT6, (70, 80_000))] {
            let mut talk = pair.talk(right);
            talk.exchange(sizes.0, sizes.1);
            talks.push((talk, sizes));
        }
        pair.left.acknowledged();
        pair.right.acknowledged();
        let rows = tool.stop().success().json();
        let (client, server) = own.ports();
        // Ports may be the same for IPv4 and IPv6.
        let of = |netns: u64, ip: u64| -> Vec<Value> {
            rows.iter()
                .filter(|row| row["netns"] == netns && row["ip"] == ip)
                .cloned()
                .collect()
        };
        let here = of(
            fs::metadata("/proc/self/ns/net").expect("namespace").ino(),
            4,
        );
        assert_bytes(row_of(&here, client, server), 300, 400, alternative);
        assert_bytes(row_of(&here, server, client), 400, 300, alternative);
        for ((talk, (up, down)), ip) in talks.iter().zip([4, 6]) {
            let (client, server) = talk.ports();
            let (left, right) = (of(pair.left.inode(), ip), of(pair.right.inode(), ip));
            assert_bytes(row_of(&left, client, server), *up, *down, alternative);
            assert_bytes(row_of(&right, server, client), *down, *up, alternative);
        }
    }
}

/// A namespace where no process is cannot be walked: what happens in it shows
/// when it ends, and what cannot be known is said.
#[test]
fn what_is_not_seen_is_said() {
    let host = Host::new();
    let mut old = host.within(|| Talk::new("127.0.0.1", "127.0.0.1"));
    old.exchange(10, 10);
    let tool = start(alternatives()[0], &host, &["--json", ONE_REPORT]);
    let mut new = host.within(|| Talk::new("127.0.0.1", "127.0.0.1"));
    new.exchange(500, 600);
    old.exchange(10, 10);
    let (client, server) = new.ports();
    host.acknowledged();
    drop((old, new));
    let ended = tool.stop().success();
    let rows = ended.json();
    assert_bytes(row_of(&rows, client, server), 500, 600, "new");
    assert_bytes(row_of(&rows, server, client), 600, 500, "new");
    assert_eq!(rows.len(), 2, "{rows:#?}");
    let said = |text: &str| {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    };
    said(&format!(
        "network namespace {} is not seen: no process is in it",
        host.inode()
    ));
    said("connections have ended that are older than the tool");
}

#[test]
fn filters_select() {
    for alternative in alternatives() {
        let host = Host::new();
        let _resident = host.resident();
        let cgroup = Cgroup::new();
        let pid = std::process::id().to_string();
        let tools: Vec<_> = [
            vec!["-4"],
            vec!["-6"],
            vec!["--remoteport", "30001,30003"],
            vec!["--localport", "30003"],
            vec!["--addr", "127.0.0.2"],
            vec!["-p", &pid],
            vec!["-p", "1"],
            vec!["--cgroup", cgroup.path()],
            vec!["-c", cgroup.path()],
        ]
        .into_iter()
        .map(|args| {
            let all = [args.as_slice(), &["--json", ONE_REPORT]].concat();
            (args.join(" "), start(alternative, &host, &all))
        })
        .collect();
        let talks = host.within(|| {
            let to = [
                ("127.0.0.1", 30_001),
                ("127.0.0.2", 30_002),
                ("::1", 30_003),
            ];
            let talks = to.map(|(to, port)| {
                let mut talk = Talk::on_port(to, to, port);
                talk.exchange(100, 0);
                talk
            });
            let listener = std::net::TcpListener::bind("127.0.0.1:30004").expect("listen");
            let script = "exec 3<>/dev/tcp/127.0.0.1/30004; echo >&3";
            let mut inside = cgroup.command("bash".as_ref(), &["-c", script]);
            assert!(inside.status().expect("bash").success());
            let (mut server, _) = listener.accept().expect("accept");
            std::io::Read::read_exact(&mut server, &mut [0]).expect("read");
            (talks, listener, server)
        });
        host.acknowledged();
        // The client's rows as 1 to 4, the servers' as 11 to 14.
        let expected: [&[i64]; 9] = [
            &[1, 2, 4, 11, 12, 14],
            &[3, 13],
            &[1, 3],
            &[13],
            &[2, 12],
            &[1, 2, 3, 11, 12, 13, 14],
            &[],
            &[4],
            &[4],
        ];
        for ((args, tool), expected) in tools.into_iter().zip(expected) {
            let rows = tool.stop().success().json();
            let mut seen: Vec<_> = rows
                .iter()
                .filter_map(|row| {
                    let port = |key: &str| row[key].as_i64().map(|port| port - 30_000);
                    port("dport")
                        .filter(|port| (1..10).contains(port))
                        .or_else(|| port("sport").map(|port| port + 10))
                })
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, expected, "{alternative} {args}: {rows:#?}");
        }
        drop(talks);
    }
}

/// The calls are those of the containers that the maps name.
#[test]
fn container_maps_select_by_the_caller() {
    in_mount_namespace(|| {
        let dir = TempDir::new("tcptop-maps");
        let bpffs = dir.0.display().to_string();
        run_line(&format!("mount -t bpf bpf {bpffs}"));
        let cgroup = Cgroup::new();
        let keys = [
            (
                "--cgroupmap",
                8,
                fs::metadata(&cgroup.0).expect("cgroup").ino(),
            ),
            (
                "--mntnsmap",
                4,
                fs::metadata("/proc/thread-self/ns/mnt").expect("ns").ino(),
            ),
        ];
        for alternative in call_alternatives() {
            for (option, size, key) in keys {
                let pinned = pin_set(&bpffs, size, key);
                let host = Host::new();
                let tool = start(alternative, &host, &[option, &pinned, "--json", ONE_REPORT]);
                let listener = host.within(|| {
                    let listener = std::net::TcpListener::bind("127.0.0.1:30005").expect("listen");
                    let talk = "exec 3<>/dev/tcp/127.0.0.1/30005; echo four >&3";
                    let bash = |program: &Path, args: &[&str]| {
                        let mut inside = cgroup.command(program, args);
                        assert!(inside.status().expect("bash").success());
                    };
                    bash("bash".as_ref(), &["-c", talk]);
                    // In neither.
                    let outside = format!("unshare --mount bash -c '{talk}; {talk}'");
                    let mut outside = Command::new("bash")
                        .args(["-c", &outside])
                        .spawn()
                        .expect("bash");
                    assert!(wait_for(&mut outside).success());
                    listener
                });
                let rows = tool.stop().success().json();
                assert_eq!(rows.len(), 1, "{alternative} {option}: {rows:#?}");
                assert_eq!(
                    (&rows[0]["tx_bytes"], &rows[0]["comm"]),
                    (&5.into(), &"bash".into())
                );
                drop(listener);
                fs::remove_file(&pinned).expect("unpin");
            }
        }
        let missing = format!("{bpffs}/missing");
        let ended = run("tcptop", &["--cgroupmap", &missing]);
        assert_eq!(code(ended.status), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(&missing), "{}", ended.stderr);
        run_line(&format!("umount {bpffs}"));
    });
}

/// A pinned hash with one key; its path.
fn pin_set(dir: &str, value_size: usize, key: u64) -> String {
    let path = format!("{dir}/{}", unique("set").replace('-', "_"));
    run_line(&format!(
        "bpftool map create {path} type hash key 8 value {value_size} entries 1024 name set"
    ));
    let words = |bytes: &[u8]| {
        bytes
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    run_line(&format!(
        "bpftool map update pinned {path} key {} value {}",
        words(&key.to_ne_bytes()),
        words(&vec![0; value_size])
    ));
    path
}

/// A report, to the letter.
#[test]
fn text_is_bccs() {
    let host = Host::new();
    let _resident = host.resident();
    for alternative in alternatives() {
        let both = start(alternative, &host, &[ONE_REPORT]);
        let bare = start(alternative, &host, &["-S", "-6", "-C", ONE_REPORT]);
        let top = start(
            alternative,
            &host,
            &["-S", "-r", "1", "-s", "sent", ONE_REPORT],
        );
        let talks = host.within(|| {
            fs::write("/proc/thread-self/comm", "a-long-named-on").expect("name the thread");
            [("127.0.0.1", 5_000, 20_000), ("::1", 2_047, 1_023)].map(|(to, up, down)| {
                let mut talk = Talk::new(to, to);
                talk.exchange(up, down);
                talk
            })
        });
        host.acknowledged();
        let [v4, v6] = &talks;
        let pid = std::process::id();
        let comm = if alternative.starts_with("iter") {
            let own = fs::read_to_string("/proc/self/comm").expect("own name");
            own.trim().chars().take(12).collect::<String>()
        } else {
            "a-long-named".to_owned()
        };
        let row = |width: usize, to: &str, from: u16, port: u16, received: u32, sent: u32| {
            let (local, remote) = (format!("{to}:{from}"), format!("{to}:{port}"));
            format!("{pid:<7} {comm:<12} {local:<width$} {remote:<width$} {received:>6} {sent:>6}")
        };
        let (client4, server4) = v4.ports();
        let (client6, server6) = v6.ports();
        let head4 =
            "PID     COMM         LADDR                 RADDR                  RX_KB  TX_KB";
        let head6 = "PID     COMM         LADDR6                           RADDR6                            RX_KB  TX_KB";
        let rows4 = [
            row(21, "127.0.0.1", client4, server4, 19, 4),
            row(21, "127.0.0.1", server4, client4, 4, 19),
        ];
        let rows6 = [
            row(32, "::1", client6, server6, 0, 1),
            row(32, "::1", server6, client6, 1, 0),
        ];
        let sorted = |lines: &[&str]| {
            let mut lines: Vec<_> = lines.iter().map(|line| line.to_string()).collect();
            lines.sort();
            lines
        };
        let in_order = |rows: [String; 2]| {
            let mut rows = rows.to_vec();
            rows.sort();
            rows
        };
        let banner = format!("Tracing... Output every {ONE_REPORT} secs. Hit Ctrl-C to end");

        let ended = both.stop().success();
        let lines = ended.lines();
        assert_eq!(lines.len(), 11, "{alternative}: {}", ended.stdout);
        assert_eq!((lines[0], lines[1]), (banner.as_str(), ""));
        let (clock, load) = lines[2].split_once(" loadavg: ").expect("summary");
        assert!(clock.len() == 8 && clock.split(':').count() == 3, "{clock}");
        assert_eq!(load.split_whitespace().count(), 5, "{load}");
        assert_eq!((lines[3], lines[4]), ("", head4));
        assert_eq!(
            sorted(&lines[5..7]),
            in_order(rows4.clone()),
            "{alternative}"
        );
        assert_eq!((lines[7], lines[8]), ("", head6));
        assert_eq!(
            sorted(&lines[9..11]),
            in_order(rows6.clone()),
            "{alternative}"
        );

        let ended = bare.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[..4], [banner.as_str(), "", "", head6]);
        assert_eq!(sorted(&lines[4..]), in_order(rows6));

        let ended = top.stop().success();
        assert_eq!(ended.lines()[1..], ["", head4, rows4[1].as_str()]);
    }
}

/// On a terminal the screen is cleared.
#[test]
fn the_screen_is_cleared_on_a_terminal() {
    let typescript = |args: &str, term: &str| {
        let _alone = MayAttach::alone();
        let mut script = Command::new("script");
        script
            .args([
                "-qec",
                &format!("{} {args} 1 2", bin("tcptop").display()),
                "/dev/null",
            ])
            .env("TERM", term)
            .stdin(std::process::Stdio::null());
        run_command(script).success().stdout
    };
    let clear = "\x1b[H\x1b[2J\x1b[3J";
    assert_eq!(typescript("", "xterm").matches(clear).count(), 2);
    for (args, term) in [("-C", "xterm"), ("", "dumb")] {
        let shown = typescript(args, term);
        assert_eq!(shown.matches('\x1b').count(), 0, "{shown}");
        assert_eq!(shown.matches("loadavg: ").count(), 2, "{shown}");
    }
}

/// What no call of the process sends is carried all the same.
#[test]
fn sendfile_counts() {
    for alternative in alternatives() {
        let host = Host::new();
        let _resident = host.resident();
        let dir = TempDir::new("sendfile");
        let path = dir.join("file");
        fs::write(&path, vec![7; 100_000]).expect("write");
        let tool = start(alternative, &host, &["--json", ONE_REPORT]);
        let talk = host.within(|| {
            let mut talk = Talk::new("127.0.0.1", "127.0.0.1");
            // std copies from a file to a socket by sendfile().
            let mut file = fs::File::open(&path).expect("open");
            let Talk { client, server } = &mut talk;
            std::thread::scope(|scope| {
                scope.spawn(|| std::io::copy(&mut file, client).expect("send"));
                std::io::Read::read_exact(server, &mut vec![0; 100_000]).expect("read");
            });
            talk
        });
        host.acknowledged();
        let rows = tool.stop().success().json();
        let (client, server) = talk.ports();
        assert_bytes(row_of(&rows, client, server), 100_000, 0, alternative);
        assert_bytes(row_of(&rows, server, client), 0, 100_000, alternative);
    }
}
