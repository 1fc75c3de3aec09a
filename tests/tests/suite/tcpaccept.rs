// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpaccept` against connections that are accepted, and some that are not.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use bpfcc_tests::maps::{BpfFs, container_options};
use bpfcc_tests::net::{Host, Pair, addr, reset};
use bpfcc_tests::*;
use serde_json::Value;

/// The ways to see an accept that this kernel has.
fn alternatives() -> &'static [&'static str] {
    if in_vm() {
        &["fexit", "kretprobe", "tracepoint", "raw_tp"]
    } else {
        &["tracepoint", "raw_tp"]
    }
}

/// The tool with one alternative, for one namespace.
fn start(alternative: &str, host: &Host, args: &[&str]) -> Tool {
    let mut command = command("tcpaccept");
    command
        .args(["--verbose", "--netns-id", &host.inode().to_string()])
        .args(args)
        .env("BPFCC_RS_HOOKS", format!("accept={alternative}"));
    // Kernels that preempt programs skip them for others meanwhile (7.2): no
    // other test makes connections until the test's last tool has stopped.
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// A connection that is accepted; the ports of client and server.
fn accept(listen: &str, to: &str) -> (u16, u16) {
    let listener = TcpListener::bind((addr(listen), 0)).expect("listen");
    let server = listener.local_addr().expect("own address").port();
    let _client = TcpStream::connect((addr(to), server)).expect("connect");
    let (_, peer) = listener.accept().expect("accept");
    (peer.port(), server)
}

#[test]
fn accepts_are_rows() {
    each(alternatives(), |alternative| {
        let host = Host::new();
        let tool = start(alternative, &host, &["--json"]);
        let cases = [
            ("127.0.0.1", "127.0.0.1", 4),
            ("::1", "::1", 6),
            ("::", "::ffff:127.0.0.1", 6),
        ];
        let made = host.within(|| {
            name_thread("acceptor");
            cases.map(|(listen, to, _)| accept(listen, to))
        });
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        assert!(
            ended
                .stderr
                .contains(&format!("accept: using {alternative}")),
            "{}",
            ended.stderr
        );
        let rows = ended.json();
        assert_eq!(rows.len(), 3, "{alternative}: {rows:#?}");
        for ((row, (_, to, version)), (client, server)) in rows.iter().zip(cases).zip(made) {
            assert_eq!((&row["saddr"], &row["daddr"]), (&to.into(), &to.into()));
            assert_eq!(
                (&row["sport"], &row["dport"]),
                (&server.into(), &client.into())
            );
            assert_eq!(row["ip"], version, "{row}");
            assert_eq!(row["pid"], std::process::id(), "{row}");
            assert_eq!(row["comm"], "acceptor", "{row}");
            assert_eq!(row["uid"], 0, "{row}");
            assert_eq!(row["netns"], host.inode(), "{row}");
            assert!(row["cgroup"].is_string(), "{row}");
        }
    });
}

/// A connection that waits in the queue is no row, nor is an accept() that finds
/// none; one that is reset meanwhile is a row, with its ports.
#[test]
fn only_what_is_accepted_is_a_row() {
    each(alternatives(), |alternative| {
        let host = Host::new();
        let tool = start(alternative, &host, &["--json"]);
        let (client, server) = host.within(|| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
            let to = listener.local_addr().expect("own address");
            listener.set_nonblocking(true).expect("non-blocking");
            listener.accept().expect_err("nobody is there");
            let _waits = TcpStream::connect(to).expect("connect");
            drop(listener);

            let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
            let to = listener.local_addr().expect("own address");
            let client = TcpStream::connect(to).expect("connect");
            let port = client.local_addr().expect("own address").port();
            reset(client);
            listener.accept().expect("accept");

            // Neither are those of other protocols.
            let dir = TempDir::new("unix");
            let path = dir.join("socket");
            let unix = std::os::unix::net::UnixListener::bind(&path).expect("listen");
            let _client = std::os::unix::net::UnixStream::connect(&path).expect("connect");
            unix.accept().expect("accept");
            (port, to.port())
        });
        let rows = tool.stop().success().json();
        let ports: Vec<_> = rows
            .iter()
            .map(|row| (&row["sport"], &row["dport"]))
            .collect();
        assert_eq!(
            ports,
            [(&Value::from(server), &Value::from(client))],
            "{alternative}"
        );
    });
}

/// An accept() that waited before the tool came, in a process of its own.
#[test]
fn a_call_that_was_waiting_is_a_row() {
    each(alternatives(), |alternative| {
        let pair = Pair::new();
        let mut server = pair.right.within(|| {
            Command::new(bin("bpfcc-workload"))
                .args(["accept", Pair::RIGHT])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("server")
        });
        let mut port = String::new();
        let mut stdout = std::io::BufReader::new(server.stdout.take().expect("piped"));
        std::io::BufRead::read_line(&mut stdout, &mut port).expect("the port");
        let port: u16 = port.trim().parse().expect("a port");
        let waits = format!("/proc/{}/syscall", server.id());
        until(
            "the server waits in accept4()",
            std::time::Instant::now() + PATIENCE,
            || {
                fs::read_to_string(&waits)
                    .ok()?
                    .starts_with("288 ")
                    .then_some(())
            },
        );
        let tool = start(alternative, &pair.right, &["--json"]);
        pair.left.within(|| {
            let mut client = TcpStream::connect((addr(Pair::RIGHT), port)).expect("connect");
            client.write_all(b"!").expect("write");
        });
        assert!(wait_for(&mut server).success());
        let rows = tool.stop().success().json();
        assert_eq!(rows.len(), 1, "{alternative}: {rows:#?}");
        assert_eq!(rows[0]["pid"], server.id());
        assert_eq!(rows[0]["comm"], "bpfcc-workload");
        assert_eq!(rows[0]["daddr"], Pair::LEFT);
        assert_eq!(rows[0]["sport"], port);
    });
}

/// None of thousands of short connections is missed, by several threads.
#[test]
fn short_connections_are_all_seen() {
    let _alone = MayAttach::alone();
    let count = if in_vm() { 1_000 } else { 5_000 };
    each(alternatives(), |alternative| {
        let host = Host::new();
        let tool = start(alternative, &host, &[]);
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
        let (shown, lost) = (ended.lines().len() - 1, ended.lost() as usize);
        if kernel() < (7, 0) {
            assert_eq!((shown, lost), (count, 0), "{alternative}");
        } else {
            // A program that is preempted is skipped for the other workload's
            // calls, and counted.
            assert!(shown <= count && shown + lost >= count, "{shown} {lost}");
        }
    });
}

#[test]
fn filters_select() {
    let host = Host::new();
    let cgroup = Cgroup::new();
    let pid = std::process::id().to_string();
    let tools: Vec<_> = [
        vec!["-4"],
        vec!["-6"],
        vec!["-P", "30001,30003"],
        vec!["--remoteport", "50001"],
        vec!["--remoteport", "50002"],
        vec!["--addr", "127.0.0.2/31"],
        vec!["--addr", "10.0.0.0/8"],
        vec!["-p", &pid],
        vec!["-p", "1"],
        vec!["--uid", "0"],
        vec!["--uid", "65534"],
        vec!["--cgroup", cgroup.path()],
    ]
    .into_iter()
    .map(|args| {
        let all = [&["--json"], args.as_slice()].concat();
        (args.join(" "), start(alternatives()[0], &host, &all))
    })
    .collect();
    host.within(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50001 50001").expect("port range");
        for (to, port) in [
            ("127.0.0.1", 30_000),
            ("127.0.0.2", 30_001),
            ("::1", 30_002),
            ("::ffff:127.0.0.3", 30_003),
        ] {
            let listen = if to.contains(':') { "::" } else { to };
            let listener = TcpListener::bind((addr(listen), port)).expect("listen");
            let _client = TcpStream::connect((addr(to), port)).expect("connect");
            listener.accept().expect("accept");
        }
    });
    let expected: [(&str, &[u64]); 12] = [
        ("-4", &[0, 1]),
        ("-6", &[2, 3]),
        ("-P", &[1, 3]),
        ("--remoteport", &[0, 1, 2, 3]),
        ("--remoteport", &[]),
        ("--addr", &[1, 3]),
        ("--addr", &[]),
        ("-p", &[0, 1, 2, 3]),
        ("-p 1", &[]),
        ("--uid 0", &[0, 1, 2, 3]),
        ("--uid 65534", &[]),
        ("--cgroup", &[]),
    ];
    for ((args, tool), (option, expected)) in tools.into_iter().zip(expected) {
        assert!(args.starts_with(option), "{args}");
        let rows = tool.stop().success().json();
        let ports: Vec<_> = rows
            .iter()
            .map(|row| row["sport"].as_u64().expect("sport") - 30_000)
            .collect();
        assert_eq!(ports, expected, "{args}");
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
        let tools = [
            (by_cgroup, cgroups.path(), cgroup),
            (by_mntns, mntnses.path(), mntns),
            ("--cgroup", group.path(), 0),
        ]
        .map(|(option, path, _)| start(alternatives()[0], &host, &["--json", option, path]));
        let accept = || {
            let workload = bin("bpfcc-workload");
            let mut inside = group.command(&workload, &["tcp", "127.0.0.1", "1"]);
            assert!(
                inside
                    .stdout(Stdio::null())
                    .status()
                    .expect("workload")
                    .success()
            );
        };
        host.within(accept);
        cgroups.add(cgroup);
        mntnses.add(mntns);
        host.within(accept);
        assert_eq!(
            tools.map(|tool| tool.stop().success().json().len()),
            [1, 1, 2]
        );
    });
}

/// Header and row, to the byte, in every text form.
#[test]
fn text_is_bccs() {
    let titles = "PID     COMM         IP RADDR            RPORT LADDR            LPORT";
    for (args, header) in [
        (vec![], titles.to_owned()),
        (vec!["-t"], format!("TIME(s)  {titles}")),
        (vec!["-T"], format!("TIME     {titles}")),
        (vec!["-tT"], format!("TIME     TIME(s)  {titles}")),
    ] {
        let pair = Pair::new();
        let tool = start(alternatives()[0], &pair.right, &args);
        let listener = pair
            .right
            .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
        let server = listener.local_addr().expect("own address").port();
        let client = pair.left.within(|| {
            let client = TcpStream::connect((addr(Pair::RIGHT), server)).expect("connect");
            client.local_addr().expect("own address").port()
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                name_thread("a-longer-name");
                listener.accept().expect("accept");
            });
        });
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[0], header, "{args:?}");
        assert_eq!(lines.len(), 2, "{}", ended.stdout);
        let pid = std::process::id();
        let mut row = lines[1];
        if header.starts_with("TIME ") {
            let (time, rest) = row.split_at(9);
            assert_eq!(time.matches(':').count(), 2, "{row}");
            row = rest;
        }
        let time = if header.contains("TIME(s)") {
            "0.000    "
        } else {
            ""
        };
        assert_eq!(
            row,
            format!(
                "{time}{pid:<7} a-longer-nam 4  10.77.0.1        {client:<5} 10.77.0.2        {server:<5}"
            ),
            "{args:?}"
        );
    }
}
