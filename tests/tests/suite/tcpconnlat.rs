// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpconnlat` against connections of known latency.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use bpfcc_tests::net::{Host, Pair, addr};
use bpfcc_tests::*;
use serde_json::Value;

/// The ways to see a connect, with whether this kernel has them. 5.10 has no
/// socket storage for tracing programs; the host may have no trampolines and
/// no kprobes.
fn alternatives() -> Vec<&'static str> {
    let candidates: &[_] = if kernel() < (5, 11) {
        &["kprobe", "tp_btf-hash"]
    } else if in_vm() {
        &["fentry", "kprobe", "tp_btf", "tp_btf-hash"]
    } else {
        &["tp_btf", "tp_btf-hash"]
    };
    candidates.to_vec()
}

/// The tool with one alternative, for one namespace.
fn start(alternative: &str, host: &Host, args: &[&str]) -> Tool {
    let mut command = command("tcpconnlat");
    command
        .args(["--verbose", "--netns-id", &host.inode().to_string()])
        .args(args)
        .env("BPFCC_RS_HOOKS", format!("connect={alternative}"));
    // Kernels that preempt programs skip them for others meanwhile (7.2): no
    // other test makes connections until the test's last tool has stopped.
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// A connection to a listener of its own: both ports, and how long connect()
/// took as its caller saw it.
fn connect(listen: &str, to: &str) -> (u16, u16, Duration) {
    let listener = TcpListener::bind((addr(listen), 0)).expect("listen");
    let server = listener.local_addr().expect("own address").port();
    let begin = Instant::now();
    let client = TcpStream::connect((addr(to), server)).expect("connect");
    let took = begin.elapsed();
    (
        client.local_addr().expect("own address").port(),
        server,
        took,
    )
}

fn latency(row: &Value) -> Duration {
    Duration::from_secs_f64(row["latency_us"].as_f64().expect("latency_us") / 1e6)
}

/// One row per connect, with everything right, however it is seen.
#[test]
fn answered_connects_are_rows() {
    for alternative in alternatives() {
        let host = Host::new();
        let tool = start(alternative, &host, &["--json"]);
        let cases = [
            ("127.0.0.1", "127.0.0.1", 4),
            ("::1", "::1", 6),
            ("::", "::ffff:127.0.0.1", 6),
        ];
        let made = host.within(|| {
            fs::write("/proc/thread-self/comm", "connector").expect("name the thread");
            cases.map(|(listen, to, _)| connect(listen, to))
        });
        let ended = tool.stop().success();
        assert!(
            ended
                .stderr
                .contains(&format!("connect: using {alternative}")),
            "{}",
            ended.stderr
        );
        let rows = ended.json();
        assert_eq!(rows.len(), 3, "{alternative}: {rows:#?}");
        for ((row, (_, to, version)), (client, server, took)) in rows.iter().zip(cases).zip(made) {
            assert_eq!((&row["saddr"], &row["daddr"]), (&to.into(), &to.into()));
            assert_eq!(
                (&row["sport"], &row["dport"]),
                (&client.into(), &server.into())
            );
            assert_eq!(row["ip"], version, "{row}");
            assert_eq!(row["pid"], std::process::id(), "{row}");
            assert_eq!(row["comm"], "connector", "{row}");
            assert_eq!(row["netns"], host.inode(), "{row}");
            assert_eq!(
                (&row["outcome"], &row["error"]),
                (&"answered".into(), &Value::Null)
            );
            // From connect() to the answer: a part of what the caller saw.
            assert!(
                latency(row) > Duration::ZERO && latency(row) <= took,
                "{took:?} {row}"
            );
        }
    }
}

/// A RST is an answer, and shown without an option.
#[test]
fn refused_connects_are_rows() {
    for alternative in alternatives() {
        let host = Host::new();
        let tool = start(alternative, &host, &["--json"]);
        host.within(|| {
            for to in ["127.0.0.1", "::1"] {
                let error = TcpStream::connect((addr(to), 9)).expect_err("a closed port");
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
        });
        let rows = tool.stop().success().json();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (&row["daddr"], &row["dport"], &row["outcome"], &row["error"]))
            .collect();
        let expected = |to: &str| [to.into(), 9.into(), "refused".into(), "ECONNREFUSED".into()];
        let (v4, v6): ([Value; 4], [Value; 4]) = (expected("127.0.0.1"), expected("::1"));
        let as_tuple = |e: &'static [Value; 4]| (&e[0], &e[1], &e[2], &e[3]);
        let (v4, v6) = (Box::leak(Box::new(v4)), Box::leak(Box::new(v6)));
        assert_eq!(seen, [as_tuple(v4), as_tuple(v6)], "{alternative}");
    }
}

/// Drops what comes for port 81, rejects port 82 as a router would.
fn filter(host: &Host) {
    host.run("nft add table ip t");
    host.run("nft add chain ip t in { type filter hook input priority 0 ; }");
    host.run("nft add rule ip t in tcp dport 81 drop");
    host.run("nft add rule ip t in tcp dport 82 reject with icmp type host-unreachable");
}

/// Nobody answers: no row; with --failed one that tells the errno.
#[test]
fn failed_connects_are_rows_on_demand() {
    undisturbed(|| {
        for alternative in alternatives() {
            let pair = Pair::new();
            filter(&pair.right);
            let quiet = start(alternative, &pair.left, &["--json"]);
            let failed = start(alternative, &pair.left, &["--json", "--failed"]);
            let text = start(alternative, &pair.left, &["--failed", "-L"]);
            let timed_out = pair.left.within(|| {
                fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "1").expect("sysctl");
                let begin = Instant::now();
                let to = |port: u16| SocketAddr::from((addr(Pair::RIGHT), port));
                let error = TcpStream::connect(to(81)).expect_err("dropped");
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                let timed_out = begin.elapsed();
                let error = TcpStream::connect(to(82)).expect_err("rejected");
                assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH));
                // Given up by the process itself.
                let error = TcpStream::connect_timeout(&to(81), Duration::from_millis(20));
                assert_eq!(error.expect_err("dropped").kind(), ErrorKind::TimedOut);
                timed_out
            });
            assert_eq!(
                quiet.stop().success().json(),
                Vec::<Value>::new(),
                "{alternative}"
            );
            let ended = failed.stop().success();
            assert_eq!(ended.lost(), 0);
            let rows = ended.json();
            let seen: Vec<_> = rows
                .iter()
                .map(|row| format!("{} {} {}", row["dport"], row["outcome"], row["error"]))
                .collect();
            assert_eq!(
                seen,
                [
                    r#"81 "failed" "ETIMEDOUT""#,
                    r#"82 "failed" "EHOSTUNREACH""#,
                    r#"81 "closed" null"#
                ],
                "{alternative}"
            );
            assert!(rows.iter().all(|row| row["pid"] == std::process::id()));
            // Three seconds by the kernel's clock, which the caller saw as well.
            assert!(
                latency(&rows[0]) <= timed_out && latency(&rows[0]) > timed_out / 2,
                "{timed_out:?} {}",
                rows[0]
            );
            assert!(
                latency(&rows[2]) >= Duration::from_millis(20),
                "{}",
                rows[2]
            );

            let ended = text.stop().success();
            let lines = ended.lines();
            assert_eq!(
                lines[0],
                "PID     COMM         IP SADDR            LPORT  DADDR            DPORT LAT(ms)   ERR"
            );
            let errors: Vec<_> = lines[1..]
                .iter()
                .filter_map(|line| line.split_whitespace().last())
                .collect();
            assert_eq!(errors, ["ETIMEDOUT", "EHOSTUNREACH", "closed"]);
        }
    });
}

/// connect() without a free local port fails with EADDRNOTAVAIL, which no
/// socket's state tells.
#[test]
fn a_lack_of_ports_is_named() {
    for alternative in alternatives() {
        let host = Host::new();
        let tool = start(alternative, &host, &["--json", "--failed"]);
        host.within(|| {
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50000").expect("sysctl");
            let listener = TcpListener::bind("127.0.0.1:40000").expect("listen");
            let _held = TcpStream::connect("127.0.0.1:40000").expect("the only port");
            let error = TcpStream::connect("127.0.0.1:40000").expect_err("no port left");
            assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
            drop(listener);
        });
        let rows = tool.stop().success().json();
        let seen: Vec<_> = rows.iter().map(|row| &row["error"]).collect();
        assert_eq!(
            seen,
            [&Value::Null, &"EADDRNOTAVAIL".into()],
            "{alternative}"
        );
    }
}

/// The delay of the network is what the row shows. (This machine's kernel may
/// lack netem; those of the virtual machines have it.)
#[test]
fn the_delay_is_the_networks() {
    let pair = Pair::new();
    let delayed = pair.right.within(|| {
        Command::new("tc")
            .args([
                "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "80ms",
            ])
            .output()
            .expect("tc")
            .status
            .success()
    });
    assert!(delayed || !in_vm());
    let delay = Duration::from_millis(if delayed { 80 } else { 0 });
    for alternative in alternatives() {
        let tool = start(alternative, &pair.left, &["--json"]);
        let minimum = start(alternative, &pair.left, &["--json", "79.5"]);
        let above = start(alternative, &pair.left, &["--json", "60000"]);
        let listener = pair
            .right
            .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
        let port = listener.local_addr().expect("own address").port();
        // The neighbour's address is known when the second one begins.
        let took = [(); 2].map(|()| {
            pair.left.within(|| {
                let begin = Instant::now();
                TcpStream::connect((addr(Pair::RIGHT), port)).expect("connect");
                begin.elapsed()
            })
        });
        let rows = tool.stop().success().json();
        assert_eq!(rows.len(), 2, "{alternative}: {rows:#?}");
        for (row, took) in rows.iter().zip(took) {
            assert!(
                latency(row) >= delay && latency(row) <= took,
                "{took:?} {row}"
            );
        }
        let shown = minimum.stop().success().json().len();
        assert_eq!(shown, if delayed { 2 } else { 0 }, "{alternative}");
        assert_eq!(above.stop().success().json().len(), 0);
    }
}

/// The answer comes while another task is on the CPU, or none.
#[test]
fn a_non_blocking_connect_is_its_makers() {
    let pair = Pair::new();
    let listener = pair
        .right
        .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
    let port = listener.local_addr().expect("own address").port();
    let to = SocketAddr::from((addr(Pair::RIGHT), port));
    for alternative in alternatives() {
        let pid = std::process::id().to_string();
        let mine = start(alternative, &pair.left, &["--json", "-p", &pid]);
        let others = start(alternative, &pair.left, &["--json", "-p", "1"]);
        pair.left.within(|| {
            fs::write("/proc/thread-self/comm", "nonblocking").expect("name the thread");
            // std connects with a non-blocking socket, then polls it.
            TcpStream::connect_timeout(&to, PATIENCE).expect("connect");
        });
        let rows = mine.stop().success().json();
        assert_eq!(rows.len(), 1, "{alternative}: {rows:#?}");
        assert_eq!(rows[0]["pid"], std::process::id());
        assert_eq!(rows[0]["comm"], "nonblocking");
        assert_eq!(others.stop().success().json().len(), 0);
    }
}

#[test]
fn filters_select() {
    let host = Host::new();
    let cgroup = Cgroup::new();
    let tools: Vec<_> = [
        vec!["-4"],
        vec!["-6"],
        vec!["--remoteport", "30001,30002"],
        vec!["--localport", "50001"],
        vec!["--addr", "127.0.0.2/31"],
        vec!["--addr", "::1"],
        vec!["--addr", "10.0.0.0/8"],
        vec!["--cgroup", cgroup.path()],
    ]
    .into_iter()
    .map(|args| {
        let tool = start(
            alternatives()[0],
            &host,
            &[&["--json"], args.as_slice()].concat(),
        );
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
            let listen: IpAddr = if to.contains(':') {
                addr("::")
            } else {
                addr(to)
            };
            let _listener = TcpListener::bind((listen, port)).expect("listen");
            drop(TcpStream::connect((addr(to), port)).expect("connect"));
        }
        let script = "exec 3<>/dev/tcp/127.0.0.1/30005";
        let _listener = TcpListener::bind("127.0.0.1:30005").expect("listen");
        let mut inside = cgroup.command("bash".as_ref(), &["-c", script]);
        assert!(inside.status().expect("bash").success());
    });
    let seen: Vec<_> = tools
        .into_iter()
        .map(|(args, tool)| {
            let mut ports: Vec<_> = tool
                .stop()
                .success()
                .json()
                .iter()
                .map(|row| row["dport"].as_u64().expect("dport") - 30_000)
                .collect();
            ports.sort_unstable();
            (args, ports)
        })
        .collect();
    let expected = [
        vec![0, 1, 2, 5],
        vec![3, 4],
        vec![1, 2],
        vec![0, 1, 2, 3, 4, 5],
        vec![1, 4],
        vec![3],
        vec![],
        vec![5],
    ];
    for ((args, ports), expected) in seen.iter().zip(expected) {
        assert_eq!(ports, &expected, "{args}");
    }
}

/// Connects that are never answered leave nothing in the kernel: neither those
/// that are given up, nor those that fail before a packet is sent.
#[test]
fn unanswered_connects_leave_nothing() {
    let _alone = MayAttach::alone();
    // In the others the socket itself keeps the start.
    let with_hash = ["kprobe", "tp_btf-hash"];
    for alternative in alternatives() {
        if !with_hash.contains(&alternative) {
            continue;
        }
        let pair = Pair::new();
        filter(&pair.right);
        let tool = start(alternative, &pair.left, &[]);
        pair.left.within(|| {
            let blackhole = SocketAddr::from((addr(Pair::RIGHT), 81));
            for _ in 0..20 {
                TcpStream::connect_timeout(&blackhole, Duration::from_millis(1))
                    .expect_err("dropped");
                let error = TcpStream::connect("192.0.2.1:80").expect_err("no route");
                assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
            }
        });
        // A closed socket is destroyed a moment later.
        until("no start is kept", Instant::now() + PATIENCE, || {
            let dump = bpfcc_tests::net::run("bpftool -j map dump name starts_hash");
            let entries: Vec<Value> = serde_json::from_str(&dump).expect("JSON");
            entries.is_empty().then_some(())
        });
        tool.stop().success();
    }
}

#[test]
fn histograms_count_each_connect() {
    for alternative in alternatives() {
        let host = Host::new();
        let rows = start(alternative, &host, &["--json"]);
        let text = start(alternative, &host, &["--histogram"]);
        let json = start(alternative, &host, &["--json", "--histogram", "1"]);
        host.within(|| {
            for _ in 0..50 {
                connect("127.0.0.1", "127.0.0.1");
            }
        });
        assert_eq!(rows.stop().success().json().len(), 50);
        let ended = text.stop().success();
        assert_eq!(
            ended.lines()[1],
            "     usecs               : count     distribution"
        );
        let counted: u64 = ended
            .lines()
            .iter()
            .filter_map(|line| {
                line.split(" : ")
                    .nth(1)?
                    .split_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .sum();
        assert_eq!(counted, 50, "{}", ended.stdout);
        let last = ended.lines().last().copied().unwrap_or_default().to_owned();
        assert!(
            last.starts_with("p50 = ") && last.ends_with(" usecs"),
            "{last}"
        );
        let sections = json.stop().success().json();
        let counts = sections.iter().map(|s| s["count"].as_u64().expect("count"));
        assert_eq!(counts.sum::<u64>(), 50, "{sections:#?}");
        for section in sections.iter().filter(|s| s["count"] != 0) {
            let (p50, max) = (
                &section["percentiles"]["p50"],
                &section["percentiles"]["max"],
            );
            assert!(p50.as_u64() <= max.as_u64(), "{section}");
            let buckets = section["data"].as_array().expect("data").iter();
            let total: u64 = buckets.map(|b| b["count"].as_u64().expect("count")).sum();
            assert_eq!(total, section["count"].as_u64().expect("count"));
        }
    }
}

/// Header and row, in every text form.
#[test]
fn text_is_bccs() {
    let plain = "PID     COMM         IP SADDR            DADDR            DPORT LAT(ms)";
    let lport = "PID     COMM         IP SADDR            LPORT  DADDR            DPORT LAT(ms)";
    for (args, header) in [
        (vec![], plain.to_owned()),
        (vec!["-L"], lport.to_owned()),
        (vec!["-t"], format!("TIME(s)  {plain}")),
        (vec!["-tL"], format!("TIME(s)  {lport}")),
    ] {
        let host = Host::new();
        let tool = start(alternatives()[0], &host, &args);
        let (client, server, _) = host.within(|| {
            fs::write("/proc/thread-self/comm", "a-longer-name").expect("name the thread");
            connect("127.0.0.1", "127.0.0.1")
        });
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[0], header, "{args:?}");
        assert_eq!(lines.len(), 2, "{}", ended.stdout);
        let (row, ms) = lines[1].rsplit_once(' ').expect("columns");
        assert_eq!(
            ms.split_once('.').map(|(_, decimals)| decimals.len()),
            Some(2)
        );
        assert!(ms.parse::<f64>().is_ok());
        let pid = std::process::id();
        let time = if header.starts_with("TIME") {
            "0.000    "
        } else {
            ""
        };
        let lport = if header.contains("LPORT") {
            format!("{client:<6} ")
        } else {
            String::new()
        };
        assert_eq!(
            row,
            format!(
                "{time}{pid:<7} a-longer-nam 4  127.0.0.1        {lport}127.0.0.1        {server:<5}"
            )
        );
    }
}

/// -v is BCC's: the BPF program's text comes before the rows.
#[test]
fn v_prints_the_program() {
    let ended = run("tcpconnlat", &["-v", "--duration", "1"]).success();
    let program = ended.stdout.find("char LICENSE[]").expect("the program");
    let header = ended.stdout.find("PID     COMM").expect("the header");
    assert!(program < header);
    assert_eq!(ended.stderr, "");
}
