// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpconnect` against connects that succeed, fail, and go on.

use std::fs::{self, File};
use std::io::{ErrorKind, IoSliceMut, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

use bpfcc_tests::maps::{BpfFs, container_options};
use bpfcc_tests::net::{Host, Pair, addr};
use bpfcc_tests::*;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, recvmsg};
use serde_json::Value;

/// The ways to see a connect that this kernel has.
fn alternatives() -> &'static [&'static str] {
    if in_vm() {
        &["fexit", "kprobe", "tp_btf"]
    } else {
        &["tp_btf"]
    }
}

/// The tool with these alternatives, for one namespace.
fn start(hooks: &str, host: &Host, args: &[&str]) -> Tool {
    let mut command = command("tcpconnect");
    command
        .args(["--verbose", "--netns-id", &host.inode().to_string()])
        .args(args)
        .env("BPFCC_RS_HOOKS", hooks);
    // Kernels that preempt programs skip them for others meanwhile (7.2): no
    // other test makes connections until the test's last tool has stopped.
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// A connection to a listener of its own; both ports.
fn connect(listen: &str, to: &str) -> (u16, u16) {
    let listener = TcpListener::bind((addr(listen), 0)).expect("listen");
    let server = listener.local_addr().expect("own address").port();
    let client = TcpStream::connect((addr(to), server)).expect("connect");
    (client.local_addr().expect("own address").port(), server)
}

#[test]
fn connects_are_rows() {
    each(alternatives(), |alternative| {
        let host = Host::new();
        let tool = start(&format!("connect={alternative}"), &host, &["--json"]);
        // Where, where to, what the row says.
        let cases = [
            ("127.0.0.1", "127.0.0.1", "127.0.0.1", 4),
            ("::1", "::1", "::1", 6),
            ("::", "::ffff:127.0.0.1", "127.0.0.1", 4),
        ];
        let made = host.within(|| {
            name_thread("connector");
            cases.map(|(listen, to, ..)| connect(listen, to))
        });
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        assert!(
            ended
                .stderr
                .contains(&format!("connect: using {alternative}")),
            "{}",
            ended.stderr
        );
        let rows = ended.json();
        assert_eq!(rows.len(), 3, "{alternative}: {rows:#?}");
        for ((row, (_, _, shown, version)), (client, server)) in rows.iter().zip(cases).zip(made) {
            assert_eq!(
                (&row["saddr"], &row["daddr"]),
                (&shown.into(), &shown.into())
            );
            assert_eq!(
                (&row["sport"], &row["dport"]),
                (&client.into(), &server.into())
            );
            assert_eq!(row["ip"], version, "{row}");
            assert_eq!(row["pid"], std::process::id(), "{row}");
            assert_eq!(row["comm"], "connector", "{row}");
            assert_eq!(row["uid"], 0, "{row}");
            assert_eq!(row["netns"], host.inode(), "{row}");
            assert!(row["cgroup"].is_string(), "{row}");
        }
    });
}

/// Drops what comes for port 81, rejects port 82 as a router would.
fn filter(host: &Host) {
    host.run("nft add table ip t");
    host.run("nft add chain ip t in { type filter hook input priority 0 ; }");
    host.run("nft add rule ip t in tcp dport 81 drop");
    host.run("nft add rule ip t in tcp dport 82 reject with icmp type host-unreachable");
}

/// What has sent a SYN is shown, whatever becomes of it; what fails before is not.
#[test]
fn attempts_are_rows_and_failed_calls_are_not() {
    each(alternatives(), |alternative| {
        let pair = Pair::new();
        filter(&pair.right);
        let tool = start(&format!("connect={alternative}"), &pair.left, &["--json"]);
        pair.left.within(|| {
            fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "1").expect("sysctl");
            let to = |port: u16| SocketAddr::from((addr(Pair::RIGHT), port));
            for family in ["127.0.0.1", "::1"] {
                let error = TcpStream::connect((addr(family), 9)).expect_err("a closed port");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
            let error = TcpStream::connect(to(9)).expect_err("a closed port");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let error = TcpStream::connect(to(82)).expect_err("rejected");
            assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH));
            // std connects with a non-blocking socket, then polls it.
            let error = TcpStream::connect_timeout(&to(81), Duration::from_millis(20));
            assert_eq!(error.expect_err("dropped").kind(), ErrorKind::TimedOut);
            // None of these sends anything.
            for (to, errno) in [
                ("192.0.2.1:80", libc::ENETUNREACH),
                ("[2001:db8::1]:80", libc::ENETUNREACH),
                ("[::ffff:192.0.2.1]:80", libc::ENETUNREACH),
            ] {
                let error = TcpStream::connect(to).expect_err("no route");
                assert_eq!(error.raw_os_error(), Some(errno), "{to}");
            }
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50000").expect("sysctl");
            let listener = TcpListener::bind("127.0.0.1:40000").expect("listen");
            let _held = TcpStream::connect("127.0.0.1:40000").expect("the only port");
            let error = TcpStream::connect("127.0.0.1:40000").expect_err("no port left");
            assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
            drop(listener);
        });
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        let rows = ended.json();
        let ports: Vec<_> = rows.iter().map(|row| &row["dport"]).collect();
        assert_eq!(ports, [9, 9, 9, 82, 81, 40_000], "{alternative}: {rows:#?}");
        assert!(rows.iter().all(|row| row["pid"] == std::process::id()));
    });
}

/// A call that waits for an answer which never comes is shown while it waits.
#[test]
fn a_waiting_connect_is_a_row() {
    for alternative in alternatives() {
        let pair = Pair::new();
        filter(&pair.right);
        pair.left
            .within(|| fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "2").expect("sysctl"));
        let tool = start(&format!("connect={alternative}"), &pair.left, &["--json"]);
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let connect = || TcpStream::connect((addr(Pair::RIGHT), 81));
                pair.left.within(connect).expect_err("dropped")
            });
            tool.wait_for_line(|line| line.contains("\"dport\":81"));
            assert!(!caller.is_finished(), "{alternative}");
            let error = caller.join().expect("the caller");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        });
        let rows = tool.stop().success().json();
        assert_eq!(rows.len(), 1, "{alternative}: {rows:#?}");
    }
}

/// None of thousands of short connections is missed, as rows and as counts.
#[test]
fn short_connections_are_all_seen() {
    let _alone = MayAttach::alone();
    let count = if in_vm() { 1_000 } else { 5_000 };
    for alternative in alternatives() {
        let host = Host::new();
        let hooks = format!("connect={alternative}");
        let rows = start(&hooks, &host, &[]);
        let counts = start(&hooks, &host, &["-c", "--json"]);
        host.run(&format!(
            "{} tcp 127.0.0.1 {count}",
            bin("bpfcc-workload").display()
        ));
        let (rows, counts) = (rows.stop().success(), counts.stop().success());
        assert_eq!((rows.lost(), counts.lost()), (0, 0));
        assert_eq!(rows.lines().len(), 2 + count, "{alternative}");
        let counted: Option<u64> = counts
            .json()
            .iter()
            .map(|row| row["connects"].as_u64())
            .sum();
        assert_eq!(counted, Some(count as u64), "{alternative}");
    }
}

#[test]
fn filters_select() {
    let host = Host::new();
    let cgroup = Cgroup::new();
    let pid = std::process::id().to_string();
    let tools: Vec<_> = [
        vec!["-4"],
        vec!["-6"],
        vec!["-P", "30001,30002"],
        vec!["--localport", "50001"],
        vec!["--addr", "127.0.0.2/31"],
        vec!["--addr", "::1"],
        vec!["--addr", "10.0.0.0/8"],
        vec!["-p", &pid],
        vec!["-p", "1"],
        vec!["-u", "0"],
        vec!["-u", "65534"],
        vec!["--cgroup", cgroup.path()],
    ]
    .into_iter()
    .map(|args| {
        let hooks = format!("connect={}", alternatives()[0]);
        let tool = start(&hooks, &host, &[&["--json"], args.as_slice()].concat());
        (args.join(" "), tool)
    })
    .collect();
    host.within(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50001 50001").expect("port range");
        for (to, port) in [
            ("127.0.0.1", 30_000),
            ("127.0.0.2", 30_001),
            ("127.0.0.4", 30_002),
            ("::1", 30_003),
            ("::ffff:127.0.0.3", 30_004),
        ] {
            let listen = if to.contains(':') { "::" } else { to };
            let _listener = TcpListener::bind((addr(listen), port)).expect("listen");
            drop(TcpStream::connect((addr(to), port)).expect("connect"));
        }
        let script = "exec 3<>/dev/tcp/127.0.0.1/30005";
        let _listener = TcpListener::bind("127.0.0.1:30005").expect("listen");
        let mut inside = cgroup.command(
            "setpriv".as_ref(),
            &["--reuid=65534", "--clear-groups", "bash", "-c", script],
        );
        assert!(inside.status().expect("bash").success());
    });
    let expected: [(&str, &[u64]); 12] = [
        ("-4", &[0, 1, 2, 4, 5]),
        ("-6", &[3]),
        ("-P", &[1, 2]),
        ("--localport", &[0, 1, 2, 3, 4, 5]),
        ("--addr 127.0.0.2/31", &[1, 4]),
        ("--addr ::1", &[3]),
        ("--addr 10.0.0.0/8", &[]),
        ("-p", &[0, 1, 2, 3, 4]),
        ("-p 1", &[]),
        ("-u 0", &[0, 1, 2, 3, 4]),
        ("-u 65534", &[5]),
        ("--cgroup", &[5]),
    ];
    for ((args, tool), (option, expected)) in tools.into_iter().zip(expected) {
        assert!(args.starts_with(option), "{args}");
        let rows = tool.stop().success().json();
        let mut ports: Vec<_> = rows
            .iter()
            .map(|row| row["dport"].as_u64().expect("dport") - 30_000)
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, expected, "{args}");
    }
}

#[test]
fn container_maps_are_obeyed() {
    in_mount_namespace(|| {
        let bpffs = BpfFs::mount();
        let group = Cgroup::new();
        for (option, map, key) in container_options(&bpffs, &group) {
            let host = Host::new();
            let hooks = format!("connect={}", alternatives()[0]);
            let tool = start(&hooks, &host, &["--json", option, map.path()]);
            let connect = |port: u16| {
                let _listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
                let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
                let mut inside = group.command("bash".as_ref(), &["-c", &script]);
                assert!(inside.status().expect("bash").success());
            };
            host.within(|| connect(30_001));
            map.add(key);
            host.within(|| connect(30_002));
            let rows = tool.stop().success().json();
            let ports: Vec<_> = rows.iter().map(|row| &row["dport"]).collect();
            assert_eq!(ports, [30_002], "{option}");
        }
    });
}

/// Header and row, to the byte, in every text form.
#[test]
fn text_is_bccs() {
    let banner = "Tracing connect ... Hit Ctrl-C to end";
    let titles = "PID     COMM         IP SADDR            DADDR            DPORT ";
    let lport = "PID     COMM         IP SADDR            LPORT  DADDR            DPORT ";
    for (args, header) in [
        (vec![], titles.to_owned()),
        (vec!["-L"], lport.to_owned()),
        (vec!["-s"], lport.to_owned()),
        (vec!["-t"], format!("TIME(s)  {titles}")),
        (vec!["-U"], format!("UID   {titles}")),
        (vec!["-tUL"], format!("TIME(s)  UID   {lport}")),
        (vec!["-d"], format!("{titles} QUERY")),
    ] {
        let host = Host::new();
        let tool = start(&format!("connect={}", alternatives()[0]), &host, &args);
        let (client, server) = host.within(|| {
            name_thread("a-longer-name");
            connect("127.0.0.1", "127.0.0.1")
        });
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[..2], [banner, &header], "{args:?}");
        assert_eq!(lines.len(), 3, "{}", ended.stdout);
        let time = if header.starts_with("TIME") {
            "0.000    "
        } else {
            ""
        };
        let uid = if header.contains("UID") { "0     " } else { "" };
        let sport = if header.contains("LPORT") {
            format!("{client:<6} ")
        } else {
            String::new()
        };
        let query = if header.contains("QUERY") {
            "localhost"
        } else {
            ""
        };
        let pid = std::process::id();
        assert_eq!(
            lines[2],
            format!(
                "{time}{uid}{pid:<7} a-longer-nam 4  127.0.0.1        {sport}127.0.0.1        {server:<6} {query}"
            ),
            "{args:?}"
        );
    }
}

#[test]
fn counts_are_bccs() {
    for (args, ports) in [(&["-c"][..], false), (&["-ctUL"], true)] {
        let host = Host::new();
        let tool = start(&format!("connect={}", alternatives()[0]), &host, args);
        let clients = host.within(|| {
            let _listeners: Vec<_> = [
                ("127.0.0.1", 30_001),
                ("127.0.0.1", 30_002),
                ("::1", 30_003),
            ]
            .into_iter()
            .map(|to| TcpListener::bind((addr(to.0), to.1)).expect("listen"))
            .collect();
            [
                ("::1", 30_003),
                ("127.0.0.1", 30_001),
                ("127.0.0.1", 30_002),
                ("127.0.0.1", 30_002),
                ("::1", 30_003),
                ("::1", 30_003),
            ]
            .map(|to| {
                let client = TcpStream::connect((addr(to.0), to.1)).expect("connect");
                client.local_addr().expect("own address").port()
            })
        });
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[..2], ["Tracing connect ... Hit Ctrl-C to end", ""]);
        let row = |one: &str, lport: &str, port: &str, count: &str| {
            let lport = if ports {
                format!("{lport:<20} ")
            } else {
                String::new()
            };
            format!("{one:<25} {one:<25} {lport}{port:<20} {count:<10}")
        };
        let header = row("LADDR", "LPORT", "RPORT", "CONNECTS").replacen("LADDR", "RADDR", 2);
        assert_eq!(lines[2], header.replacen("RADDR", "LADDR", 1));
        if !ports {
            let (v4, v6) = ("127.0.0.1", "::1");
            assert_eq!(
                lines[3..],
                [
                    row(v4, "", "30002", "2"),
                    row(v4, "", "30001", "1"),
                    row(v6, "", "30003", "3")
                ]
            );
            continue;
        }
        assert_eq!(lines.len(), 3 + clients.len(), "{}", ended.stdout);
        assert!(lines[3].contains(" 127.0.0.1 ") && lines[8].contains(" ::1 "));
        for client in clients {
            assert!(
                lines[3..]
                    .iter()
                    .any(|line| line.contains(&format!(" {client} "))),
                "{client}"
            );
        }
    }
}

/// A name server that answers each question with one address: the question's
/// first label is its last byte.
fn serve(socket: &UdpSocket, questions: usize) {
    socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
    for _ in 0..questions {
        let mut question = [0; 512];
        let (size, from) = socket.recv_from(&mut question).expect("a question");
        // Up to the end of the question: what follows it is EDNS.
        let end = 12
            + question[12..size]
                .iter()
                .position(|byte| *byte == 0)
                .expect("a name")
            + 5;
        let label = usize::from(question[12]);
        let last: u8 = std::str::from_utf8(&question[13..13 + label])
            .ok()
            .and_then(|label| label.trim_start_matches(char::is_alphabetic).parse().ok())
            .unwrap_or(1);
        let mut answer = question[..end].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\x01");
        answer.push(last);
        socket.send_to(&answer, from).expect("answer");
    }
}

fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The answers of name servers, however a process receives them.
#[test]
fn names_are_those_that_were_asked_for() {
    for dns in ["tracepoint", "raw_tp"] {
        let host = Host::new();
        let hooks = format!("connect={},dns={dns}", alternatives()[0]);
        let json = start(&hooks, &host, &["--json", "-d"]);
        let text = start(&hooks, &host, &["-d"]);
        host.within(|| {
            let v4 = UdpSocket::bind("127.0.0.1:53").expect("name server");
            let v6 = UdpSocket::bind("[::1]:53").expect("name server");
            let ask = |name: &str, server: &UdpSocket, connected: bool| {
                let to = server.local_addr().expect("own address");
                let socket = UdpSocket::bind((to.ip(), 0)).expect("socket");
                if connected {
                    socket.connect(to).expect("connect");
                    socket.send(&question(name)).expect("ask");
                } else {
                    socket.send_to(&question(name), to).expect("ask");
                }
                serve(server, 1);
                socket
            };
            let mut buffer = [0; 512];
            ask("recv2.example", &v4, true)
                .recv(&mut buffer)
                .expect("recv");
            ask("from3.example", &v6, false)
                .recv_from(&mut buffer)
                .expect("recvfrom");
            let mut read = File::from(OwnedFd::from(ask("read4.example", &v6, true)));
            read.read(&mut buffer).expect("read").to_string();
            for (name, connected) in [("msg5.example", true), ("msg6.example", false)] {
                let socket = ask(name, &v4, connected);
                let mut slices = [IoSliceMut::new(&mut buffer)];
                recvmsg::<SockaddrStorage>(
                    socket.as_raw_fd(),
                    &mut slices,
                    None,
                    MsgFlags::empty(),
                )
                .expect("recvmsg");
            }
            let socket = ask("many7.example", &v4, false);
            let server = v4.local_addr().expect("own address");
            socket
                .send_to(&question("many8.example"), server)
                .expect("ask");
            serve(&v4, 1);
            let mut buffers = [[0; 512]; 2];
            let mut slices: Vec<_> = buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer)])
                .collect();
            let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(2, None);
            let received = recvmmsg(
                socket.as_raw_fd(),
                &mut headers,
                slices.iter_mut(),
                MsgFlags::empty(),
                None,
            );
            assert_eq!(received.expect("recvmmsg").count(), 2);
            // Not from a name server's port.
            let (one, other) = (
                UdpSocket::bind("127.0.0.1:0"),
                UdpSocket::bind("127.0.0.1:54"),
            );
            let (one, other) = (one.expect("socket"), other.expect("socket"));
            let to = other.local_addr().expect("own address");
            one.send_to(&question("other9.example"), to).expect("ask");
            serve(&other, 1);
            one.recv_from(&mut buffer).expect("recvfrom");

            // For an age of the last answer that is shown.
            thread::sleep(Duration::from_millis(120));
            let listener = TcpListener::bind("0.0.0.0:30000").expect("listen");
            for last in 2..=9 {
                TcpStream::connect((addr(&format!("127.0.1.{last}")), 30_000)).expect("connect");
            }
            drop(listener);
        });
        let mut rows = json.stop().success().json();
        // Of others' system calls, where the kernel preempts BPF programs.
        rows.retain(|row| row.get("lost_samples").is_none());
        let names: Vec<_> = rows.iter().map(|row| row["query"].as_str()).collect();
        let expected = ["recv2", "from3", "read4", "msg5", "msg6", "many7", "many8"]
            .map(|name| format!("{name}.example"));
        let expected: Vec<_> = expected
            .iter()
            .map(|name| Some(name.as_str()))
            .chain([None])
            .collect();
        assert_eq!(names, expected, "{dns}: {rows:#?}");
        for row in &rows[..7] {
            assert!(row["query_age_ms"].as_f64() > Some(120.0), "{row}");
        }
        assert_eq!(rows[7]["query_age_ms"], Value::Null);
        let ended = text.stop().success();
        let lines = ended.lines();
        assert!(
            lines[2].contains(" 30000  recv2.example (") && lines[2].ends_with("ms)"),
            "{}",
            lines[2]
        );
        assert!(lines[9].ends_with(" 30000  No DNS Query"), "{}", lines[9]);
    }
}

/// The C library's resolver, with a name server of our own.
#[test]
fn a_real_resolver_is_understood() {
    in_mount_namespace(|| {
        let dir = TempDir::new("resolver");
        fs::write(dir.join("resolv.conf"), "nameserver 127.0.0.1\n").expect("resolv.conf");
        fs::write(dir.join("nsswitch.conf"), "hosts: dns\n").expect("nsswitch.conf");
        for name in ["resolv.conf", "nsswitch.conf"] {
            bpfcc_tests::net::run(&format!(
                "mount --bind {} /etc/{name}",
                dir.join(name).display()
            ));
        }
        // With just a loopback device the resolver asks nobody.
        let pair = Pair::new();
        let host = &pair.left;
        let tool = start(&format!("connect={}", alternatives()[0]), host, &["-d"]);
        host.within(|| {
            let server = UdpSocket::bind("127.0.0.1:53").expect("name server");
            let _listener = TcpListener::bind("0.0.0.0:30000").expect("listen");
            thread::scope(|scope| {
                scope.spawn(|| serve(&server, 1));
                let found = bpfcc_tests::net::run("getent ahostsv4 www77.example.com");
                assert!(found.starts_with("127.0.1.77 "), "{found}");
            });
            TcpStream::connect("127.0.1.77:30000").expect("connect");
        });
        let ended = tool.stop().success();
        assert!(
            ended.lines()[2].contains(" www77.example.com"),
            "{}",
            ended.stdout
        );
    });
}
