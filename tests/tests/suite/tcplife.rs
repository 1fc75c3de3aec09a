// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcplife` against sessions of known length and content.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bpfcc_tests::net::{Host, addr};
use bpfcc_tests::*;
use serde_json::Value;

/// The ways to see sessions that this kernel has.
fn alternatives() -> Vec<&'static str> {
    if kernel() < (5, 11) {
        vec!["tp_btf-hash"]
    } else {
        vec!["tp_btf", "tp_btf-hash"]
    }
}

/// The tool with one alternative, for one namespace.
fn start(alternative: &str, host: &Host, args: &[&str]) -> Tool {
    let mut command = command("tcplife");
    command
        .args(["--verbose", "--netns-id", &host.inode().to_string()])
        .args(args)
        .env("BPFCC_RS_HOOKS", format!("life={alternative}"));
    // Kernels that preempt programs skip them for others meanwhile (7.2): no
    // other test makes connections until the test's last tool has stopped.
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// A session in which the client sends `up` bytes and gets `down`, then the
/// client closes first, or the server. Ports of client and server, and how
/// long the client had its connection.
fn session(
    listen: &str,
    to: &str,
    up: usize,
    down: usize,
    client_first: bool,
) -> (u16, u16, Duration) {
    let listener = TcpListener::bind((addr(listen), 0)).expect("listen");
    let port = listener.local_addr().expect("own address").port();
    let begin = Instant::now();
    let mut client = TcpStream::connect((addr(to), port)).expect("connect");
    let (mut server, peer) = listener.accept().expect("accept");
    client.write_all(&vec![1; up]).expect("write");
    server.read_exact(&mut vec![0; up]).expect("read");
    server.write_all(&vec![2; down]).expect("write");
    client.read_exact(&mut vec![0; down]).expect("read");
    let (mut first, mut second) = if client_first {
        (client, server)
    } else {
        (server, client)
    };
    first.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(second.read(&mut [0]).expect("end of stream"), 0);
    second.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(first.read(&mut [0]).expect("end of stream"), 0);
    drop((first, second));
    (peer.port(), port, begin.elapsed())
}

fn duration(row: &Value) -> Duration {
    Duration::from_secs_f64(row["duration_us"].as_f64().expect("duration_us") / 1e6)
}

/// By both ports: to another server the kernel may give the same one again.
fn row_of(rows: &[Value], local: u16, remote: u16) -> &Value {
    let of_both = |row: &&Value| row["sport"] == local && row["dport"] == remote;
    let found: Vec<_> = rows.iter().filter(of_both).collect();
    assert_eq!(found.len(), 1, "{local} to {remote} in {rows:#?}");
    found[0]
}

/// Both ends of each session are rows, with exactly the bytes that were sent.
#[test]
fn bytes_are_those_that_were_sent() {
    each(alternatives(), |alternative| {
        let host = Host::new();
        let tool = start(alternative, &host, &["--json"]);
        let cases = [
            ("127.0.0.1", "127.0.0.1", 5_000, 3_000, true),
            ("127.0.0.1", "127.0.0.1", 1, 0, false),
            ("127.0.0.1", "127.0.0.1", 0, 0, true),
            ("::1", "::1", 70_000, 1_000, false),
            ("::", "::ffff:127.0.0.1", 10, 20, true),
        ];
        let made = host.within(|| {
            fs::write("/proc/thread-self/comm", "talker").expect("name the thread");
            cases.map(|(listen, to, up, down, first)| session(listen, to, up, down, first))
        });
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        let rows = ended.json();
        assert_eq!(rows.len(), 2 * cases.len(), "{alternative}: {rows:#?}");
        for ((_, to, up, down, _), (client, server, took)) in cases.into_iter().zip(made) {
            for (row, sent, received) in [
                (row_of(&rows, client, server), up, down),
                (row_of(&rows, server, client), down, up),
            ] {
                assert_eq!((&row["saddr"], &row["daddr"]), (&to.into(), &to.into()));
                assert_eq!(row["tx_bytes"], sent, "{alternative}: {row}");
                assert_eq!(row["rx_bytes"], received, "{alternative}: {row}");
                assert_eq!(row["retransmitted_bytes"], 0, "{row}");
                assert_eq!(row["ip"], if to.contains(':') { 6 } else { 4 });
                assert_eq!(row["pid"], std::process::id(), "{row}");
                assert_eq!(row["comm"], "talker", "{row}");
                assert_eq!(row["error"], Value::Null, "{row}");
                assert_eq!(row["netns"], host.inode());
                assert!(
                    duration(row) > Duration::ZERO && duration(row) <= took,
                    "{row}"
                );
            }
        }
    });
}

/// A RST ends a session without a system call of the process that has it.
#[test]
fn a_reset_session_is_that_of_who_has_it() {
    let host = Host::new();
    let tool = start(alternatives()[0], &host, &["--json"]);
    let (client, server) = host.within(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let to = listener.local_addr().expect("own address");
        let mut client = TcpStream::connect(to).expect("connect");
        let (mut server, peer) = listener.accept().expect("accept");
        // Closed with data that was not read: the kernel sends a RST.
        client.write_all(b"unread").expect("write");
        assert_eq!(server.peek(&mut [0; 16]).expect("data"), 6);
        drop(server);
        client.read(&mut [0]).expect_err("reset");
        // And a connect that is refused.
        TcpStream::connect("127.0.0.1:9").expect_err("a closed port");
        server = TcpStream::connect(to).expect("connect");
        drop(server);
        (peer.port(), to.port())
    });
    let rows = tool.stop().success().json();
    let reset = row_of(&rows, client, server);
    assert_eq!(reset["error"], "ECONNRESET");
    assert_eq!(reset["pid"], std::process::id());
    assert_eq!(
        (&reset["tx_bytes"], &reset["rx_bytes"]),
        (&6.into(), &0.into())
    );
    let of_server = rows
        .iter()
        .find(|row| row["sport"] == server && row["dport"] == client);
    let of_server = of_server.unwrap_or_else(|| panic!("{rows:#?}"));
    assert_eq!(of_server["rx_bytes"], 6, "{of_server}");
    let refused = rows.iter().find(|row| row["dport"] == 9);
    let refused = refused.unwrap_or_else(|| panic!("{rows:#?}"));
    assert_eq!(refused["error"], "ECONNREFUSED");
    assert_eq!(
        (&refused["tx_bytes"], &refused["rx_bytes"]),
        (&0.into(), &0.into())
    );
}

/// A process whose accepted connection is reset has it open: that is how it is
/// known.
#[test]
fn the_holder_of_a_socket_is_its_owner() {
    let host = Host::new();
    let tool = start(alternatives()[0], &host, &["--json"]);
    let (server, port, client) = host.within(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let to = listener.local_addr().expect("own address");
        let client = TcpStream::connect(to).expect("connect");
        let (mut server, peer) = listener.accept().expect("accept");
        server.write_all(b"unread").expect("write");
        assert_eq!(client.peek(&mut [0; 16]).expect("data"), 6);
        drop(client);
        server.read(&mut [0]).expect_err("reset");
        (server, to.port(), peer.port())
    });
    // The tool looks for the holder when it has the event: still there then.
    tool.wait_for_line(|line| line.contains(&format!("\"sport\":{port}")));
    drop(server);
    let rows = tool.stop().success().json();
    let row = row_of(&rows, port, client);
    assert_eq!(row["error"], "ECONNRESET", "{row}");
    assert_eq!(row["pid"], std::process::id(), "{row}");
}

/// None of thousands of short sessions is missed.
#[test]
fn short_sessions_are_all_seen() {
    let _alone = MayAttach::alone();
    let count = if in_vm() { 1_000 } else { 5_000 };
    each(alternatives(), |alternative| {
        let host = Host::new();
        let tool = start(alternative, &host, &["-s"]);
        host.run(&format!(
            "{} tcp 127.0.0.1 {count}",
            bin("bpfcc-workload").display()
        ));
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        assert_eq!(ended.lines().len(), 1 + 2 * count, "{alternative}");
    });
}

#[test]
fn sessions_older_than_the_tool_are_not_shown() {
    let host = Host::new();
    let (old, to) = host.within(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let to = listener.local_addr().expect("own address");
        (TcpStream::connect(to).expect("connect"), listener)
    });
    let tool = start(alternatives()[0], &host, &["--json"]);
    host.within(|| {
        drop((old, to));
        session("127.0.0.1", "127.0.0.1", 1, 1, true);
    });
    assert_eq!(tool.stop().success().json().len(), 2);
}

#[test]
fn filters_select() {
    let host = Host::new();
    let cgroup = Cgroup::new();
    let pid = std::process::id().to_string();
    let tools: Vec<_> = [
        vec!["-4"],
        vec!["-6"],
        vec!["-D", "30001,30003"],
        vec!["-L", "30003"],
        vec!["--addr", "127.0.0.2"],
        vec!["--addr", "10.0.0.0/8"],
        vec!["-p", &pid],
        vec!["-p", "1"],
        vec!["--cgroup", cgroup.path()],
    ]
    .into_iter()
    .map(|args| {
        let all = [&["--json"], args.as_slice()].concat();
        (args.join(" "), start(alternatives()[0], &host, &all))
    })
    .collect();
    host.within(|| {
        for (to, port) in [
            ("127.0.0.1", 30_001),
            ("127.0.0.2", 30_002),
            ("::1", 30_003),
        ] {
            let _listener = TcpListener::bind((addr(to), port)).expect("listen");
            drop(TcpStream::connect((addr(to), port)).expect("connect"));
        }
        let _listener = TcpListener::bind("127.0.0.1:30004").expect("listen");
        let script = "exec 3<>/dev/tcp/127.0.0.1/30004";
        let mut inside = cgroup.command("bash".as_ref(), &["-c", script]);
        assert!(inside.status().expect("bash").success());
    });
    let seen: Vec<_> = tools
        .into_iter()
        .map(|(args, tool)| {
            let rows = tool.stop().success().json();
            // The client's rows: the servers' ends are reset with their listeners.
            let mut ports: Vec<_> = rows
                .iter()
                .filter_map(|row| row["dport"].as_u64()?.checked_sub(30_000))
                .filter(|port| *port < 10)
                .collect();
            ports.sort_unstable();
            (args, ports)
        })
        .collect();
    let expected: [&[u64]; 9] = [
        &[1, 2, 4],
        &[3],
        &[1, 3],
        &[],
        &[2],
        &[],
        &[1, 2, 3],
        &[],
        &[4],
    ];
    for ((args, ports), expected) in seen.iter().zip(expected) {
        assert_eq!(ports, expected, "{args}");
    }
}

/// Header and row, in every text form.
#[test]
fn text_is_bccs() {
    let short = "PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS";
    let wide = "PID   COMM             IP LADDR                                   LPORT RADDR                                   RPORT  TX_KB  RX_KB MS";
    let csv = "PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,TX_KB,RX_KB,MS";
    let cases: [(&[&str], String); 7] = [
        (&[], short.into()),
        (&["-T"], format!("TIME     {short}")),
        (&["-t"], format!("TIME(s)   {short}")),
        (&["-w"], wide.into()),
        (&["-wtT"], format!("TIME     TIME(s)   {wide}")),
        (&["-s"], csv.into()),
        (&["-stT"], format!("TIME,TIME(s),{csv}")),
    ];
    for (args, header) in cases {
        let host = Host::new();
        let tool = start(alternatives()[0], &host, args);
        let (client, server, _) = host.within(|| {
            fs::write("/proc/thread-self/comm", "talker").expect("name the thread");
            session("127.0.0.1", "127.0.0.1", 5_000, 2_047, true)
        });
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[0], header, "{args:?}");
        assert_eq!(lines.len(), 3, "{}", ended.stdout);
        let pid = std::process::id();
        let row = lines
            .iter()
            .find(|line| {
                line.contains(&format!("127.0.0.1,{client},127"))
                    || line.contains(&format!("127.0.0.1       {client:<5} 127"))
                    || line.contains(&format!("{:<39} {client:<5} 127", "127.0.0.1"))
            })
            .unwrap_or_else(|| panic!("{lines:#?}"));
        let expected = if args.contains(&"-s") || args.contains(&"-stT") {
            format!("{pid},talker,4,127.0.0.1,{client},127.0.0.1,{server},4,1,")
        } else if header.contains(" IP ") {
            format!(
                "{pid:<5} {:<16} 4  {:<39} {client:<5} {:<39} {server:<5} {:>6} {:>6} ",
                "talker", "127.0.0.1", "127.0.0.1", 4, 1
            )
        } else {
            format!(
                "{pid:<5} talker     127.0.0.1       {client:<5} 127.0.0.1       {server:<5}     4     1 "
            )
        };
        let (_, ms) = row
            .split_once(&expected)
            .unwrap_or_else(|| panic!("{row}\n{expected}"));
        assert_eq!(
            ms.split_once('.').map(|(_, decimals)| decimals.len()),
            Some(2),
            "{row}"
        );
    }
}
