// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpretrans` against flows that lose segments: its rows and counts are the
//! socket's and the namespace's own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Instant;

use bpfcc_tests::net::{Host, Pair, addr};
use bpfcc_tests::*;
use serde_json::Value;

const BANNER: &str = "Tracing retransmits ... Hit Ctrl-C to end";
const ALL: &str = "meta l4proto tcp";

/// Two hosts whose TCP is the same on every machine.
fn pair() -> Pair {
    let pair = Pair::new();
    for host in [&pair.left, &pair.right] {
        host.within(|| {
            // A neighbour that did not hear the first question is asked again.
            for (name, value) in [("retrans_time_ms", "20"), ("mcast_solicit", "100")] {
                let file = format!("/proc/sys/net/ipv6/neigh/eth0/{name}");
                fs::write(file, value).expect(name);
            }
        });
        for (name, value) in [
            ("tcp_congestion_control", "reno"),
            ("tcp_sack", "1"),
            ("tcp_timestamps", "1"),
            ("tcp_early_retrans", "3"),
        ] {
            sysctl(host, name, value);
        }
    }
    // Who has which address is known: no connection waits for that.
    pair.left.run(&format!("ping -c1 -w30 {}", Pair::RIGHT));
    pair.left.run(&format!("ping -c1 -w30 {}", Pair::RIGHT6));
    pair
}

fn sysctl(host: &Host, name: &str, value: &str) {
    host.within(|| fs::write(format!("/proc/sys/net/ipv4/{name}"), value).expect(name));
}

/// From now on `host` throws away what comes in and matches.
fn block(host: &Host, what: &str) {
    host.run("nft add table inet lost");
    host.run("nft add chain inet lost in { type filter hook input priority 0 ; }");
    host.run(&format!("nft add rule inet lost in {what} drop"));
}

fn unblock(host: &Host) {
    host.run("nft delete table inet lost");
}

/// A connection from the left host to the right one.
struct Flow {
    client: TcpStream,
    server: TcpStream,
    port: u16,
    server_port: u16,
}

fn connect(pair: &Pair, listen: &str, to: &str) -> Flow {
    let listener = pair
        .right
        .within(|| TcpListener::bind((addr(listen), 0)).expect("listen"));
    let server_port = listener.local_addr().expect("own address").port();
    let client = pair
        .left
        .within(|| TcpStream::connect((addr(to), server_port)).expect("connect"));
    let (mut server, peer) = listener.accept().expect("accept");
    // Both ends know how long it takes, so that their timers are short.
    server.write_all(b"x").expect("send");
    (&client).read_exact(&mut [0]).expect("receive");
    (&client).write_all(b"x").expect("send");
    server.read_exact(&mut [0]).expect("receive");
    Flow {
        client,
        server,
        port: peer.port(),
        server_port,
    }
}

impl Flow {
    fn send(&self, bytes: usize) {
        (&self.client).write_all(&vec![b'x'; bytes]).expect("send");
    }

    /// What was sent has arrived, and the sender knows it.
    fn arrived(&self, pair: &Pair, bytes: usize) {
        let mut buffer = vec![0; bytes];
        (&self.server).read_exact(&mut buffer).expect("receive");
        until("acknowledged", Instant::now() + PATIENCE, || {
            let socket = socket(&pair.left, self.port);
            (!socket.contains("unacked:")).then_some(())
        });
    }
}

/// What the kernel tells of the socket with this local port.
fn socket(host: &Host, port: u16) -> String {
    host.run(&format!("ss -tineHO sport = :{port}"))
}

/// The number behind `key`; 0 when it is not there.
fn number(socket: &str, key: &str) -> u64 {
    let Some((_, rest)) = socket.split_once(key) else {
        return 0;
    };
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|n| n.parse().ok()).expect(key)
}

/// `tcpi_total_retrans`
fn total_retrans(socket: &str) -> u64 {
    match socket.split_once(" retrans:") {
        Some((_, rest)) => number(rest, "/"),
        None => 0,
    }
}

/// `RetransSegs` of the namespace.
fn retrans_segs(host: &Host) -> u64 {
    let text = host.within(|| fs::read_to_string("/proc/thread-self/net/snmp").expect("snmp"));
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let titles = lines.next().expect("titles").split(' ');
    let values = lines.next().expect("values").split(' ');
    titles
        .zip(values)
        .find(|(title, _)| *title == "RetransSegs")
        .map(|(_, value)| value.parse().expect("a number"))
        .expect("RetransSegs")
}

fn of_flow(rows: &[Value], port: u16) -> Vec<&Value> {
    rows.iter().filter(|row| row["sport"] == port).collect()
}

fn sum(rows: &[&Value], key: &str) -> u64 {
    rows.iter().map(|row| row[key].as_u64().expect(key)).sum()
}

fn types(rows: &[&Value]) -> String {
    rows.iter()
        .map(|row| row["type"].as_str().expect("type"))
        .collect()
}

/// Waits until each of `texts` was in that many lines of `tool`.
fn wait_for_each(tool: &Tool, texts: &[String], count: usize) {
    let mut left = vec![count; texts.len()];
    while left.iter().any(|&n| n > 0) {
        let line = tool.wait_for_line(|_| true);
        for (text, left) in texts.iter().zip(&mut left) {
            if line.contains(text) {
                *left = left.saturating_sub(1);
            }
        }
    }
}

/// Waits for this many rows of each flow in the JSON of `tool`.
fn wait_for_rows(tool: &Tool, ports: &[u16], count: usize) {
    let texts: Vec<_> = ports.iter().map(|p| format!("\"sport\":{p},")).collect();
    wait_for_each(tool, &texts, count);
}

/// As [`Tool::start`], for one network namespace.
fn start(host: &Host, args: &[&str]) -> Tool {
    start_with(host, args, "")
}

fn start_with(host: &Host, args: &[&str], hooks: &str) -> Tool {
    let mut command = command("tcpretrans");
    command
        .args(["--verbose", "--netns-id", &host.inode().to_string()])
        .args(args)
        .env("BPFCC_RS_HOOKS", hooks);
    Tool::spawn(command)
}

/// One segment of each flow is lost a few times. Rows, counts in both forms,
/// the sockets' own counters and the namespace's all agree.
#[test]
fn rows_and_counts_are_the_sockets_own() {
    undisturbed(|| {
        const BYTES: usize = 100;
        let pair = pair();
        let flows = [
            (
                connect(&pair, Pair::RIGHT, Pair::RIGHT),
                4,
                "10.77.0.1",
                "10.77.0.2",
            ),
            (
                connect(&pair, Pair::RIGHT6, Pair::RIGHT6),
                6,
                "fd77::1",
                "fd77::2",
            ),
            (
                connect(&pair, "::", "::ffff:10.77.0.2"),
                6,
                "::ffff:10.77.0.1",
                "::ffff:10.77.0.2",
            ),
        ];
        let json = start(&pair.left, &["--json"]);
        let count = start(&pair.left, &["-c"]);
        let count_json = start(&pair.left, &["-c", "--json"]);
        // Gives the sockets a cookie, where the kernel makes none for BPF.
        for (flow, ..) in &flows {
            assert_eq!(total_retrans(&socket(&pair.left, flow.port)), 0);
        }
        let before = retrans_segs(&pair.left);
        block(&pair.right, ALL);
        for (flow, ..) in &flows {
            flow.send(BYTES);
        }
        wait_for_rows(&json, &flows.each_ref().map(|(flow, ..)| flow.port), 2);
        unblock(&pair.right);
        for (flow, ..) in &flows {
            flow.arrived(&pair, BYTES);
        }
        let after = retrans_segs(&pair.left);
        let rows = json.stop().success();
        assert_eq!(rows.lost(), 0);
        let rows = rows.json();
        let text = count.stop().success().stdout;
        let counts = count_json.stop().success().json();

        assert_eq!(rows.len() as u64, after - before, "{rows:#?}");
        assert_eq!(counts.len(), flows.len(), "{counts:#?}");
        let mut expected = Vec::new();
        for (flow, ip, saddr, daddr) in &flows {
            let own = socket(&pair.left, flow.port);
            let mine = of_flow(&rows, flow.port);
            assert_eq!(mine.len() as u64, total_retrans(&own), "{mine:#?} {own}");
            assert!(mine.len() >= 2);
            for (index, row) in mine.iter().enumerate() {
                let expected = serde_json::json!({
                    "type": "R", "ip": ip, "proto": "TCP",
                    "saddr": saddr, "sport": flow.port,
                    "daddr": daddr, "dport": flow.server_port,
                    "state": "ESTABLISHED", "segments": 1, "bytes": BYTES, "err": null,
                    "total_retrans": index + 1, "dev": "eth0",
                    "owner_pid": std::process::id(), "netns": pair.left.inode(),
                });
                for (key, value) in expected.as_object().expect("an object") {
                    assert_eq!(&row[key], value, "{key} of {row}");
                }
                assert_eq!(row["seq"], mine[0]["seq"], "{row}");
                assert!(row["ifindex"].as_u64() > Some(0), "{row}");
                let cookie = format!(" sk:{:x} ", row["cookie"].as_u64().expect("a cookie"));
                assert!(own.contains(&cookie), "{row} {own}");
            }
            let counted = of_flow(&counts, flow.port);
            assert_eq!(counted.len(), 1);
            for (key, value) in [
                ("retransmits", mine.len() as u64),
                ("segments", mine.len() as u64),
                ("bytes", number(&own, "bytes_retrans:")),
                ("probes", 0),
                ("synacks", 0),
                ("netns", pair.left.inode()),
                ("owner_pid", std::process::id().into()),
            ] {
                assert_eq!(counted[0][key], value, "{key} of {}", counted[0]);
            }
            let local = format!("[{saddr}]#{}", flow.port);
            let remote = format!("[{daddr}]#{}", flow.server_port);
            let line = format!("{local:<20} <-> {remote:<20} {:>10}\n", mine.len());
            expected.push((ip, mine.len(), line));
        }
        // First all IPv4, then all IPv6, each ascending.
        expected[1..].sort_by_key(|(_, count, _)| *count);
        let lines: String = expected.iter().map(|(.., line)| line.as_str()).collect();
        let one_order = expected[1].1 != expected[2].1;
        let head = format!(
            "{BANNER}\n\nLADDR:LPORT               RADDR:RPORT               RETRANSMITS\n"
        );
        if one_order {
            assert_eq!(text, format!("{head}{lines}"));
        } else {
            assert!(
                text.starts_with(&format!("{head}{}", expected[0].2)),
                "{text}"
            );
            assert_eq!(text.len(), head.len() + lines.len());
            assert!(
                expected.iter().all(|(.., line)| text.contains(line)),
                "{text}"
            );
        }
    });
}

/// A call that sends several segments is one row; what its `segments` add up to
/// is what the kernel counts.
#[test]
fn segments_add_up() {
    undisturbed(|| {
        const BYTES: usize = 56_000;
        let pair = pair();
        let flow = connect(&pair, Pair::RIGHT, Pair::RIGHT);
        // So that the sender learns to send much at once.
        for bytes in [14_000, 28_000, BYTES, BYTES] {
            flow.send(bytes);
            flow.arrived(&pair, bytes);
        }
        let tool = start(&pair.left, &["--json"]);
        let before = retrans_segs(&pair.left);
        block(&pair.right, ALL);
        flow.send(BYTES);
        wait_for_rows(&tool, &[flow.port], 2);
        unblock(&pair.right);
        flow.arrived(&pair, BYTES);
        let after = retrans_segs(&pair.left);
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        let rows = ended.json();
        let mine = of_flow(&rows, flow.port);
        assert_eq!(mine.len(), rows.len());
        let own = socket(&pair.left, flow.port);
        assert_eq!(sum(&mine, "segments"), total_retrans(&own), "{mine:#?}");
        assert_eq!(sum(&mine, "segments"), after - before);
        assert_eq!(sum(&mine, "bytes"), number(&own, "bytes_retrans:"));
        assert!(
            mine.iter().any(|row| row["segments"].as_u64() > Some(1)),
            "{mine:#?}"
        );
    });
}

/// Whether the kernel tells of retransmits that fail, at the tracepoint or by
/// the function's result.
fn failures_are_seen(ended: &Ended) -> bool {
    kernel() >= (6, 17) || ended.stderr.contains("refused: using fexit")
}

/// What this host's own queueing discipline drops, the kernel counts as
/// retransmitted; the rows tell that it was dropped.
#[test]
fn what_this_host_drops_is_counted_as_the_kernel_does() {
    undisturbed(|| {
        const BYTES: usize = 1000;
        let pair = pair();
        sysctl(&pair.left, "tcp_early_retrans", "0");
        let flow = connect(&pair, Pair::RIGHT, Pair::RIGHT);
        let tool = start(&pair.left, &["--json"]);
        let blind =
            (kernel() < (6, 17)).then(|| start_with(&pair.left, &["--json"], "refused=none"));
        let before = retrans_segs(&pair.left);
        block(&pair.right, ALL); // what this host drops the first time it takes for not sent
        flow.send(BYTES);
        // A bucket that the segment does not fit in.
        pair.left
            .run("tc qdisc add dev eth0 root tbf rate 1mbit burst 600 limit 6000");
        for _ in 0..2 {
            tool.wait_for_line(|line| line.contains("\"NET_XMIT_DROP\""));
        }
        unblock(&pair.right);
        pair.left.run("tc qdisc del dev eth0 root");
        flow.arrived(&pair, BYTES);
        let after = retrans_segs(&pair.left);
        let ended = tool.stop().success();
        assert!(failures_are_seen(&ended), "{}", ended.stderr);
        let rows = ended.json();
        let mine = of_flow(&rows, flow.port);
        let own = socket(&pair.left, flow.port);
        assert_eq!(mine.len() as u64, total_retrans(&own), "{mine:#?} {own}");
        assert_eq!(sum(&mine, "segments"), after - before);
        let dropped = |row: &&&Value| row["err"] == "NET_XMIT_DROP";
        assert!(mine.iter().filter(dropped).count() >= 2, "{mine:#?}");
        assert_eq!(types(&mine), "R".repeat(mine.len()));
        assert!(mine.last().expect("a row")["err"].is_null(), "{mine:#?}");
        if let Some(blind) = blind {
            let ended = blind.stop().success();
            assert!(
                ended
                    .stderr
                    .contains("that this host itself drops are not seen")
            );
            let sent = mine.iter().filter(|row| row["err"].is_null()).count();
            assert_eq!(ended.json().len(), sent);
        }
    });
}

/// Segments that leave the left host at one per second. They wait in its queue
/// until [`hurry`].
fn send_slowly(pair: &Pair, flow: &Flow) -> usize {
    const BYTES: usize = 1000;
    const SEGMENTS: usize = 6;
    pair.left
        .run("tc qdisc add dev eth0 root tbf rate 8kbit burst 1540 limit 100000");
    flow.client.set_nodelay(true).expect("no delay");
    for _ in 0..SEGMENTS {
        flow.send(BYTES);
    }
    BYTES * SEGMENTS
}

fn hurry(pair: &Pair) {
    pair.left
        .run("tc qdisc change dev eth0 root tbf rate 100mbit burst 15400 limit 100000");
}

/// A segment that still waits in a queue of this host is not sent again:
/// nothing is counted, and `--unsent` shows the attempts.
#[test]
fn attempts_that_send_nothing_are_no_retransmits() {
    undisturbed(|| {
        let pair = pair();
        sysctl(&pair.left, "tcp_early_retrans", "0");
        let flow = connect(&pair, Pair::RIGHT, Pair::RIGHT);
        let plain = start(&pair.left, &["--json"]);
        let tool = start(&pair.left, &["--json", "--unsent"]);
        let bytes = send_slowly(&pair, &flow);
        tool.wait_for_line(|line| line.contains("\"EBUSY\""));
        hurry(&pair);
        flow.arrived(&pair, bytes);
        let ended = tool.stop().success();
        let rows = ended.json();
        let (unsent, sent): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["type"] == "F");
        assert!(!unsent.is_empty());
        for row in &unsent {
            assert_eq!(row["sport"], flow.port, "{row}");
            // Linux 5.10 may first find that the window is too small.
            assert!(row["err"] == "EBUSY" || row["err"] == "EAGAIN", "{row}");
            assert_eq!(
                (&row["segments"], &row["bytes"]),
                (&0.into(), &0.into()),
                "{row}"
            );
        }
        let retransmits = total_retrans(&socket(&pair.left, flow.port));
        assert_eq!(sum(&sent, "segments"), retransmits, "{sent:#?}");
        assert_eq!(plain.stop().success().json().len(), sent.len());
    });
}

/// A SYN and a SYN-ACK that get lost, each on its own side.
#[test]
fn handshakes_are_retransmitted() {
    undisturbed(|| {
        let pair = pair();
        let listener = pair
            .right
            .within(|| TcpListener::bind((addr(Pair::RIGHT6), 0)).expect("listen"));
        let lost_syn = listener.local_addr().expect("own address").port();
        let answering = pair
            .right
            .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
        let lost_synack = answering.local_addr().expect("own address").port();
        let left = start(&pair.left, &["--json"]);
        let right = start(&pair.right, &["--json", "--synack"]);
        let count = start(&pair.right, &["-c", "--synack", "--json"]);
        let without = start(&pair.right, &["--json"]);
        block(&pair.right, &format!("tcp dport {lost_syn}"));
        block(&pair.left, &format!("tcp sport {lost_synack}"));
        let clients = thread::scope(|scope| {
            let connect = |to: &'static str, port: u16| {
                let left = &pair.left;
                scope.spawn(move || {
                    left.within(|| TcpStream::connect((addr(to), port)).expect("connect"))
                })
            };
            let clients = [
                connect(Pair::RIGHT6, lost_syn),
                connect(Pair::RIGHT, lost_synack),
            ];
            left.wait_for_line(|line| line.contains(&format!("\"dport\":{lost_syn},")));
            right.wait_for_line(|line| line.contains("\"S\""));
            unblock(&pair.left);
            unblock(&pair.right);
            clients.map(|client| client.join().expect("the client"))
        });
        let ports = clients
            .each_ref()
            .map(|client| client.local_addr().expect("own address").port());
        let (left_segs, right_segs) = (retrans_segs(&pair.left), retrans_segs(&pair.right));
        let rows = left.stop().success().json();
        assert_eq!(rows.len() as u64, left_segs, "{rows:#?}");
        let syns = of_flow(&rows, ports[0]);
        assert!(!syns.is_empty());
        for syn in &syns {
            assert_eq!(syn["state"], "SYN_SENT", "{syn}");
            assert_eq!(
                (&syn["type"], &syn["bytes"]),
                (&"R".into(), &0.into()),
                "{syn}"
            );
            assert_eq!(
                (&syn["ip"], &syn["daddr"]),
                (&6.into(), &Pair::RIGHT6.into())
            );
        }
        let synacks = right.stop().success().json();
        assert!(!synacks.is_empty());
        assert_eq!(synacks.len() as u64, right_segs, "{synacks:#?}");
        for synack in &synacks {
            assert_eq!(
                (&synack["type"], &synack["state"]),
                (&"S".into(), &"NEW_SYN_RECV".into())
            );
            assert_eq!(synack["sport"], lost_synack, "{synack}");
            assert_eq!(synack["dport"], ports[1], "{synack}");
            assert_eq!(
                (&synack["saddr"], &synack["daddr"]),
                (&Pair::RIGHT.into(), &Pair::LEFT.into())
            );
            assert_eq!(synack["segments"], 1);
            // The listener's owner.
            assert_eq!(synack["owner_pid"], std::process::id(), "{synack}");
            assert_eq!(synack["netns"], pair.right.inode());
            assert!(synack["total_retrans"].is_null());
            assert_eq!(synack["seq"], synacks[0]["seq"]);
        }
        let counts = count.stop().success().json();
        assert_eq!(counts.len(), 1, "{counts:#?}");
        assert_eq!(counts[0]["synacks"], right_segs);
        assert_eq!(counts[0]["retransmits"], 0);
        assert_eq!(without.stop().success().json().len(), 0);
    });
}

/// A probe that retransmits is an L and then an R, whatever way it is seen.
#[test]
fn loss_probes_are_attempts() {
    undisturbed(|| {
        const BYTES: usize = 4000; // a few segments: the probe comes soon
        let pair = pair();
        let mut tools = Vec::new();
        for way in ["fentry", "kprobe", "state"] {
            if in_vm() || way == "state" {
                let hooks = format!("probe={way}");
                tools.push((
                    way,
                    start_with(&pair.left, &["--json", "-l", "--stack"], &hooks),
                ));
            }
        }
        let count = start(&pair.left, &["-cl"]);
        let text = start(&pair.left, &["-ls"]);
        let flow = connect(&pair, Pair::RIGHT, Pair::RIGHT);
        let loss_probes = || {
            let stat = pair.left.run("nstat -asz TcpExtTCPLossProbes");
            let line = stat
                .lines()
                .find(|line| line.starts_with("TcpExtTCPLossProbes"));
            let value = line.and_then(|line| line.split_whitespace().nth(1));
            value.and_then(|n| n.parse::<u64>().ok()).expect("a count")
        };
        let before = loss_probes();
        block(&pair.right, ALL);
        flow.send(BYTES);
        // The probe, its retransmit, and that of the timer.
        text.wait_for_line(|line| line.contains("L>"));
        text.wait_for_line(|line| line.contains("R>"));
        text.wait_for_line(|line| line.contains("R>"));
        unblock(&pair.right);
        flow.arrived(&pair, BYTES);
        let sent = loss_probes() - before;
        let retransmits = total_retrans(&socket(&pair.left, flow.port));
        assert!(sent >= 1);
        let mut probes = 0;
        for (way, tool) in tools {
            let ended = tool.stop().success();
            assert!(
                ended.stderr.contains(&format!("probe: using {way}")),
                "{}",
                ended.stderr
            );
            assert_eq!(
                ended
                    .stderr
                    .contains("probes that send new data or nothing are not seen"),
                way == "state",
                "{}",
                ended.stderr
            );
            let rows = ended.json();
            let mine = of_flow(&rows, flow.port);
            assert!(types(&mine).starts_with("LR"), "{way}: {mine:#?}");
            let probe = mine[0];
            assert_eq!(
                (&probe["seq"], &probe["segments"]),
                (&Value::Null, &0.into()),
                "{probe}"
            );
            assert_eq!(probe["state"], "ESTABLISHED");
            let stack = probe["stack"].as_array().expect("a list");
            let outer = stack.iter().take(2).any(|frame| {
                let name = frame.as_str().expect("a name");
                name.starts_with("tcp_send_loss_probe+0x")
            });
            assert!(outer, "{way}: {stack:?}");
            assert_eq!(probe["owner_pid"], std::process::id(), "{probe}");
            assert_eq!(sum(&mine, "segments"), retransmits, "{way}: {mine:#?}");
            // As many as the kernel says were sent; by function also the others.
            probes = types(&mine).matches('L').count();
            if way == "state" {
                assert_eq!(probes as u64, sent, "{mine:#?}");
            } else {
                assert!(probes as u64 >= sent, "{mine:#?}");
            }
        }
        let text = text.stop().success();
        let lines = text.lines();
        let probe = lines.iter().find(|line| line.contains(" L> ")).expect("L");
        assert!(probe.ends_with(" ESTABLISHED  0"), "{probe}");
        let rows = lines.len() - 2;
        let count = count.stop().success();
        let line = *count.lines().last().expect("a count");
        let counted: usize = line
            .split_whitespace()
            .last()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        assert_eq!(counted, rows, "{line}");
        assert!(rows > probes, "{lines:#?}");
    });
}

/// A probe may find that nothing is to be sent: the function tells.
#[test]
fn loss_probes_that_send_nothing_are_seen_where_the_function_is_traced() {
    undisturbed(|| {
        let pair = pair();
        let flow = connect(&pair, Pair::RIGHT, Pair::RIGHT);
        let tool = start(&pair.left, &["--json", "-l"]);
        if !in_vm() {
            let ended = tool.stop().success();
            assert!(
                ended.stderr.contains("probe: using state"),
                "{}",
                ended.stderr
            );
            return;
        }
        let bytes = send_slowly(&pair, &flow);
        tool.wait_for_line(|line| line.contains("\"L\""));
        hurry(&pair);
        flow.arrived(&pair, bytes);
        let rows = tool.stop().success().json();
        assert_eq!(rows[0]["type"], "L");
        let retransmits = total_retrans(&socket(&pair.left, flow.port));
        assert_eq!(sum(&of_flow(&rows, flow.port), "segments"), retransmits);
    });
}

/// Each filter leaves exactly the rows that it should.
#[test]
fn filters_are_exact() {
    undisturbed(|| {
        const BYTES: usize = 100;
        let pair = pair();
        let flow = connect(&pair, Pair::RIGHT, Pair::RIGHT);
        let flow6 = connect(&pair, Pair::RIGHT6, Pair::RIGHT6);
        let mapped = connect(&pair, "::", "::ffff:10.77.0.2");
        let (four, six, map) = (flow.port, flow6.port, mapped.port);
        let local = format!("1,{four}");
        let remote = format!("{},{}", flow6.server_port, mapped.server_port);
        let cases: Vec<(Vec<&str>, Vec<u16>)> = vec![
            (vec![], vec![four, six, map]),
            (vec!["-4"], vec![four]),
            (vec!["-6"], vec![six, map]),
            (vec!["-L", &local], vec![four]),
            (vec!["-D", &remote], vec![six, map]),
            (vec!["-i", "10.77.0.2"], vec![four, map]),
            (vec!["--addr", "fd77::/64"], vec![six]),
            (vec!["-i", "::ffff:10.77.0.0/120", "-6"], vec![map]),
            (vec!["-i", "10.77.0.3"], vec![]),
        ];
        let tools: Vec<_> = cases
            .iter()
            .map(|(args, _)| start(&pair.left, &[&["--json"], args.as_slice()].concat()))
            .collect();
        let sleeper = pair.left.within(|| {
            let mut sleep = Command::new("sleep");
            sleep.arg("1000").spawn().expect("sleep")
        });
        let pid = sleeper.id().to_string();
        let by_pid = Tool::start("tcpretrans", &["--json", "--pid-netns", &pid]);
        let elsewhere = Tool::start(
            "tcpretrans",
            &["--json", "--pid-netns", &std::process::id().to_string()],
        );
        block(&pair.right, ALL);
        for flow in [&flow, &flow6, &mapped] {
            flow.send(BYTES);
        }
        tools[0].wait_for_line(|_| true);
        unblock(&pair.right);
        for flow in [&flow, &flow6, &mapped] {
            flow.arrived(&pair, BYTES);
        }
        let of_port = |port: u16| total_retrans(&socket(&pair.left, port)) as usize;
        for ((args, ports), tool) in cases.iter().zip(tools) {
            let rows = tool.stop().success().json();
            for port in [four, six, map] {
                let expected = if ports.contains(&port) {
                    of_port(port)
                } else {
                    0
                };
                assert_eq!(of_flow(&rows, port).len(), expected, "{args:?} {rows:#?}");
            }
        }
        let rows = by_pid.stop().success().json();
        assert_eq!(rows.len(), of_port(four) + of_port(six) + of_port(map));
        let rows = elsewhere.stop().success().json();
        assert!(
            rows.iter().all(|row| row["netns"] != pair.left.inode()),
            "{rows:#?}"
        );
        let mut sleeper = sleeper;
        let _ = sleeper.kill();
        let _ = sleeper.wait();
    });
}

/// A process on the left host that has a connection to the right one as its
/// descriptor 3, and does what it is told by lines.
struct Client {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    fn new(pair: &Pair, cgroup: &Cgroup, port: u16) -> Self {
        let script = format!(
            "exec 3<>/dev/tcp/{}/{port}; echo connected; while read -r line; do eval \"$line\"; done",
            Pair::RIGHT
        );
        let mut child = pair.left.within(|| {
            let mut command = cgroup.command("bash".as_ref(), &["-c", &script]);
            let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            piped.spawn().expect("bash")
        });
        let mut client = Self {
            stdout: BufReader::new(child.stdout.take().expect("piped")),
            child,
        };
        client.answer();
        client
    }

    fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("tell");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("an answer");
        line
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The owner of a socket that is open, of one that is closed, and of one whose
/// process is gone. In timers it is never on the CPU.
#[test]
fn the_owner_is_who_made_the_socket() {
    undisturbed(|| {
        let pair = pair();
        let cgroup = Cgroup::new();
        let listener = pair
            .right
            .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
        let port = listener.local_addr().expect("own address").port();
        let json = start(&pair.left, &["--json", "--cgroup", cgroup.path()]);
        let elsewhere = Cgroup::new();
        let other = start(&pair.left, &["--json", "--cgroup", elsewhere.path()]);
        let text = start(&pair.left, &["--owner"]);
        let count = start(&pair.left, &["-c", "--json", "--cgroup", cgroup.path()]);
        let mut clients = [(); 3].map(|()| Client::new(&pair, &cgroup, port));
        let pids = clients.each_ref().map(|client| client.child.id());
        block(&pair.right, ALL);
        let then = ["", "exec 3>&-; exec 3<&-", "exit"];
        for (client, then) in clients.iter_mut().zip(then) {
            client.tell(&format!("echo data >&3; {then}"));
        }
        // The first rows may come before it was looked who has which socket.
        let owners = pids.map(|pid| format!("\"owner_pid\":{pid},"));
        wait_for_each(&json, &owners, 1);
        wait_for_each(&text, &pids.map(|pid| format!(" {pid:<7} bash")), 1);
        let rows = json.stop().success().json();
        let text = text.stop().success();
        let counts = count.stop().success().json();
        assert_eq!(counts.len(), pids.len(), "{counts:#?}");
        for pid in pids {
            assert!(
                counts.iter().any(|row| row["owner_pid"] == pid),
                "{counts:#?}"
            );
        }
        let id = fs::metadata(&cgroup.0).expect("cgroup").ino();
        let path = format!(
            "/{}",
            cgroup
                .0
                .file_name()
                .and_then(|n| n.to_str())
                .expect("a name")
        );
        for (index, pid) in pids.into_iter().enumerate() {
            let mine: Vec<_> = rows.iter().filter(|row| row["owner_pid"] == pid).collect();
            assert!(!mine.is_empty(), "{index}: {rows:#?}");
            for row in mine {
                assert_eq!(row["owner_comm"], "bash", "{row}");
                assert_eq!(
                    (&row["cgroup_id"], &row["cgroup"]),
                    (&id.into(), &path.as_str().into())
                );
                let state = if index == 0 {
                    "ESTABLISHED"
                } else {
                    "FIN_WAIT1"
                };
                assert_eq!(row["state"], state, "{row}");
            }
        }
        let mut owner_of = BTreeMap::new();
        for row in rows.iter().filter(|row| !row["owner_pid"].is_null()) {
            assert_eq!(row["dport"], port, "{row}");
            let owner = row["owner_pid"].as_u64().expect("an id");
            let first = owner_of.entry(row["sport"].as_u64()).or_insert(owner);
            assert_eq!(*first, owner, "{rows:#?}");
        }
        assert_eq!(owner_of.len(), pids.len(), "{rows:#?}");
        assert_eq!(other.stop().success().json().len(), 0);
        let lines = text.lines();
        assert!(
            lines[1].ends_with(" STATE        OWNER   OWNER-COMM"),
            "{}",
            lines[1]
        );
        let tail = format!(" FIN_WAIT1    {:<7} bash", pids[1]);
        assert!(lines.iter().any(|line| line.ends_with(&tail)), "{lines:#?}");
    });
}

/// Whether `row` is a cell after the other, each as wide as its format says.
fn assert_row(row: &str, flow: &Flow, tail: &str) {
    let (time, rest) = row.split_at(8);
    assert!(
        time.bytes().enumerate().all(|(i, b)| if i % 3 == 2 {
            b == b':'
        } else {
            b.is_ascii_digit()
        }),
        "{row}"
    );
    let pid = rest.split_whitespace().next().expect("PID");
    let local = format!("{}:{}", Pair::LEFT, flow.port);
    let remote = format!("{}:{}", Pair::RIGHT, flow.server_port);
    let expected = format!("{time} {pid:<7} 4  {local:<20} R> {remote:<20} {tail}");
    assert_eq!(row, expected);
    assert!(pid.parse::<u32>().is_ok(), "{row}");
}

#[test]
fn text_is_bccs_and_stacks_are_below_it() {
    undisturbed(|| {
        let pair = pair();
        let flow = connect(&pair, Pair::RIGHT, Pair::RIGHT);
        let plain = start(&pair.left, &[]);
        let sequence = start(&pair.left, &["-s"]);
        let stack = start(&pair.left, &["--stack"]);
        let json = start(&pair.left, &["--json", "--stack"]);
        block(&pair.right, ALL);
        flow.send(100);
        for tool in [&plain, &sequence, &stack, &json] {
            tool.wait_for_line(|line| line.contains(&flow.port.to_string()));
        }
        let header = "TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE";
        let plain = plain.stop().success();
        assert_eq!(plain.lines()[..2], [BANNER, header]);
        assert_row(plain.lines()[2], &flow, "ESTABLISHED");

        let rows = json.stop().success().json();
        let sequence = sequence.stop().success();
        assert_eq!(sequence.lines()[1], format!("{header}        SEQ       "));
        assert_row(
            sequence.lines()[2],
            &flow,
            &format!("ESTABLISHED  {}", rows[0]["seq"]),
        );

        let stack = stack.stop().success();
        let lines = stack.lines();
        assert_eq!(lines[..2], [BANNER, header]);
        assert_row(lines[2], &flow, "ESTABLISHED");
        let end = lines
            .iter()
            .position(|line| line.is_empty())
            .expect("an empty line");
        let frames = &lines[3..end];
        let in_json: Vec<_> = rows[0]["stack"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|f| f.as_str().expect("a name"))
            .collect();
        for stack in [frames.to_vec(), in_json] {
            let names: Vec<_> = stack
                .iter()
                .map(|frame| frame.trim_start_matches('\t'))
                .collect();
            assert!(names[0].starts_with("__tcp_retransmit_skb"), "{names:?}");
            assert!(
                names.iter().any(|name| name.starts_with("tcp_write_timer")),
                "{names:?}"
            );
            for name in names {
                let (_, offset) = name.rsplit_once("+0x").expect("name+0xNN");
                assert!(u64::from_str_radix(offset, 16).is_ok(), "{name}");
            }
        }
        assert!(
            frames.iter().all(|frame| frame.starts_with('\t')),
            "{frames:?}"
        );
    });
}
