// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpdrop` against packets dropped for known reasons, and the kernel's own counts of
//! them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use bpfcc_tests::net::{Host, Pair, addr, run as shell};
use bpfcc_tests::*;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto,
    socket,
};
use serde_json::Value;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Whether this kernel says why it drops.
fn has_reasons() -> bool {
    kernel() >= (5, 17)
}

/// The tool for what happens on one host.
fn start(host: &Host, args: &[&str]) -> Tool {
    let inode = host.inode().to_string();
    Tool::start("tcpdrop", &[&["--netns-id", &inode], args].concat())
}

/// A counter of the calling thread's namespace, of `/proc/net/snmp` or `netstat`.
fn counter(group: &str, name: &str) -> u64 {
    for file in ["snmp", "netstat"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect(file);
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks(2) {
            let Some(names) = pair[0].strip_prefix(&format!("{group}:")) else {
                continue;
            };
            let values = pair[1].split_whitespace().skip(1);
            if let Some((_, value)) = names
                .split_whitespace()
                .zip(values)
                .find(|(n, _)| *n == name)
            {
                return value.parse().expect("a count");
            }
        }
    }
    panic!("no counter {group} {name}");
}

/// A port that nobody listens on.
fn closed_port(ip: IpAddr) -> u16 {
    let listener = TcpListener::bind((ip, 0)).expect("listen");
    listener.local_addr().expect("own address").port()
}

fn refused(ip: IpAddr, port: u16) {
    let error = TcpStream::connect((ip, port)).expect_err("a closed port");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

/// Tries to connect where nobody answers.
fn unanswered(ip: IpAddr, port: u16) {
    let error = TcpStream::connect_timeout(&(ip, port).into(), Duration::from_millis(100))
        .expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// The reason, where the kernel gives any; else the place in the text form and nothing
/// in JSON.
#[track_caller]
fn assert_reason(row: &Value, reason: &str, function: &str) {
    let location = row["location"].as_str().expect("a location");
    let stack = row["stack"].as_array().expect("a stack");
    assert!(
        stack.iter().any(|frame| frame == location) || location == "tcp_conn_request+0x0",
        "{row}"
    );
    let is_there = stack
        .iter()
        .any(|frame| frame.as_str().expect("a symbol").starts_with(function));
    assert!(is_there, "no {function}: {row}");
    if has_reasons() {
        assert_eq!(row["reason"], reason, "{row}");
        assert!(row["reason_code"].as_u64() > Some(0), "{row}");
    } else {
        assert_eq!(
            (&row["reason"], &row["reason_code"]),
            (&Value::Null, &0.into())
        );
    }
}

/// The owner is this process. Before Linux 5.15 one that has just begun to connect may
/// be gone before it is looked for.
#[track_caller]
fn assert_owner(row: &Value) {
    if kernel() >= (5, 15) || row["owner_pid"] != Value::Null {
        assert_eq!(row["owner_pid"], std::process::id(), "{row}");
    }
}

/// Nothing of the tracing itself is in a stack: it begins where the packet was freed.
#[track_caller]
fn assert_stack_is_clean(frames: &[&str]) {
    let freed = [
        "kfree_skb",
        "sk_skb_reason_drop",
        "consume_skb",
        "tcp_conn_request",
    ];
    assert!(
        freed.iter().any(|function| frames[0].starts_with(function)),
        "{frames:#?}"
    );
    for frame in frames {
        assert!(
            !frame.contains("bpf") && !frame.contains("trace"),
            "{frames:#?}"
        );
    }
}

/// A TCP header; the checksum is wrong until [`sum`] corrects it.
fn segment(ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut bytes = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    bytes.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        5 << 4,
        flags,
        0x20,
        0,
        0xba,
        0xd1,
        0,
        0,
    ]);
    bytes
}

/// The right checksum for an IPv4 segment on the loopback device.
fn sum(segment: &mut [u8]) {
    segment[16..18].fill(0);
    let pseudo = [127, 0, 0, 1, 127, 0, 0, 1, 0, 6, 0, segment.len() as u8];
    let total: u32 = [&pseudo, &segment[..]]
        .concat()
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (total & 0xffff) + (total >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    segment[16..18].copy_from_slice(&(!(folded as u16)).to_be_bytes());
}

/// An IP packet on the loopback device. `extra`: IPv4 options, or an IPv6 extension
/// header, whose number is `next`.
fn packet(ip: IpAddr, extra: &[u8], next: u8, payload: &[u8]) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => {
            let length = (20 + extra.len() + payload.len()) as u16;
            let mut bytes = vec![0x45 + extra.len() as u8 / 4, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, next, 0, 0]);
            bytes.extend(ip.octets());
            bytes.extend(ip.octets());
            [&bytes, extra, payload].concat()
        }
        IpAddr::V6(ip) => {
            let length = (extra.len() + payload.len()) as u16;
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend([next, 64]);
            bytes.extend(ip.octets());
            bytes.extend(ip.octets());
            [&bytes, extra, payload].concat()
        }
    }
}

/// Sends packets with headers of our own.
fn send(ip: IpAddr, packets: &[Vec<u8>]) {
    let family = if ip.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let raw = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).expect("socket");
    for packet in packets {
        let (fd, flags) = (raw.as_raw_fd(), MsgFlags::empty());
        let sent = match SocketAddr::new(ip, 0) {
            SocketAddr::V4(to) => sendto(fd, packet, &SockaddrIn::from(to), flags),
            SocketAddr::V6(to) => sendto(fd, packet, &SockaddrIn6::from(to), flags),
        };
        let sent = sent.expect("send");
        assert_eq!(sent, packet.len());
    }
}

const TCP: u8 = 6;

/// Sends TCP packets with bad checksums, and waits until all were refused: they may
/// be handled later, by ksoftirqd.
fn send_refused(ip: IpAddr, packets: &[Vec<u8>]) {
    let errors = || counter("Tcp", "InCsumErrors");
    let before = errors();
    // Fewer than a CPU's backlog takes.
    for some in packets.chunks(500) {
        send(ip, some);
    }
    let wanted = before + packets.len() as u64;
    until("all are refused", Instant::now() + PATIENCE, || {
        (errors() >= wanted).then_some(())
    });
}

/// `n` packets that every TCP refuses.
fn send_bad(ip: IpAddr, n: usize) {
    send_refused(
        ip,
        &vec![packet(ip, &[], TCP, &segment((1000, 2000), ACK)); n],
    );
}

#[test]
fn syns_to_closed_ports_have_no_socket() {
    let host = Host::new();
    let tool = start(&host, &["--json"]);
    let ports = [V4, V6].map(|ip| {
        host.within(|| {
            let port = closed_port(ip);
            refused(ip, port);
            port
        })
    });
    let resets = host.within(|| counter("Tcp", "OutRsts"));
    let ended = tool.stop().success();
    let rows = ended.json();
    assert_eq!(
        (rows.len() as u64, resets, ended.lost()),
        (2, 2, 0),
        "{rows:#?}"
    );
    for (row, (ip, port)) in rows.iter().zip([V4, V6].into_iter().zip(ports)) {
        assert_reason(
            row,
            "NO_SOCKET",
            if ip.is_ipv4() {
                "tcp_v4_rcv"
            } else {
                "tcp_v6_rcv"
            },
        );
        assert_eq!(row["ip"], if ip.is_ipv4() { 4 } else { 6 });
        assert_eq!(row["proto"], "TCP");
        for end in ["saddr", "daddr"] {
            assert_eq!(row[end], ip.to_string());
        }
        assert_eq!(row["dport"], port);
        assert!(row["sport"].as_u64() > Some(1024), "{row}");
        assert_eq!(row["flags"], serde_json::json!(["SYN"]));
        assert_eq!(row["length"], if ip.is_ipv4() { 60 } else { 80 });
        assert_eq!(row["netns"], host.inode());
        assert_eq!((&row["ifindex"], &row["ifname"]), (&1.into(), &"lo".into()));
        for unknown in ["state", "owner_pid", "owner_comm", "cgroup_id", "cookie"] {
            assert_eq!(row[unknown], Value::Null, "{row}");
        }
        let stack = row["stack"].as_array().expect("a stack");
        let stack: Vec<_> = stack
            .iter()
            .map(|f| f.as_str().expect("a symbol"))
            .collect();
        assert_stack_is_clean(&stack);
    }
}

/// How many connections wait to be accepted at the port.
fn waiting(port: u16) -> u64 {
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect(file);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let here = fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A";
            here.then(|| u64::from_str_radix(fields[4].split_once(':').unwrap().1, 16).unwrap())
        })
        .sum()
}

/// A listener that has all the connections it takes.
fn full_listener(listen: &str, to: &str) -> (TcpListener, Vec<TcpStream>, u16) {
    fs::write("/proc/sys/net/core/somaxconn", "1").expect("somaxconn");
    let listener = TcpListener::bind((addr(listen), 0)).expect("listen");
    let port = listener.local_addr().expect("own address").port();
    let clients: Vec<_> = (0..2)
        .map(|_| TcpStream::connect((addr(to), port)).expect("connect"))
        .collect();
    until(
        "the accept queue is full",
        Instant::now() + PATIENCE,
        || (waiting(port) == 2).then_some(()),
    );
    (listener, clients, port)
}

fn overflow(listen: &str, to: &str, alternative: Option<&str>) {
    let host = Host::new();
    let mut command = command("tcpdrop");
    command.args([
        "--verbose",
        "--json",
        "--netns-id",
        &host.inode().to_string(),
    ]);
    if let Some(alternative) = alternative {
        command.env("BPFCC_RS_HOOKS", format!("listen={alternative}"));
    }
    // First: that it finds the owner at once.
    let (queue, clients, port) = host.within(|| full_listener(listen, to));
    let tool = Tool::spawn(command);
    let dropped = host.within(|| {
        let before = counter("TcpExt", "ListenOverflows");
        for _ in 0..3 {
            unanswered(addr(to), port);
        }
        counter("TcpExt", "ListenOverflows") - before
    });
    let ended = tool.stop().success();
    drop((queue, clients));
    if let Some(alternative) = alternative {
        let used = format!("listen: using {alternative}");
        assert!(ended.stderr.contains(&used), "{}", ended.stderr);
    }
    let rows = ended.json();
    assert!(dropped >= 3);
    assert_eq!(
        (rows.len() as u64, ended.lost()),
        (dropped, 0),
        "{listen} {to}: {rows:#?}"
    );
    let clients: std::collections::BTreeSet<_> = rows.iter().map(|r| r["sport"].as_u64()).collect();
    assert_eq!(clients.len(), 3, "{rows:#?}");
    for row in &rows {
        assert_eq!(row["reason"], "TCP_LISTEN_OVERFLOW", "{row}");
        assert_eq!(row["state"], "LISTEN");
        assert_eq!(row["flags"], serde_json::json!(["SYN"]));
        assert_eq!((&row["saddr"], &row["daddr"]), (&to.into(), &to.into()));
        assert_eq!(
            (&row["dport"], &row["ifname"]),
            (&port.into(), &"lo".into())
        );
        assert_eq!(row["owner_pid"], std::process::id(), "{row}");
        assert_eq!(row["netns"], host.inode());
        let stack = row["stack"].to_string();
        assert!(stack.contains("tcp_rcv_state_process+"), "{row}");
    }
}

/// Every way to see a SYN that a full accept queue turns away shows just those that the
/// kernel counts.
#[test]
fn syns_to_a_full_accept_queue_are_shown() {
    for (listen, to) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "::1"),
        ("::", "::1"),
        ("::", "127.0.0.1"),
    ] {
        overflow(listen, to, None);
    }
}

#[test]
fn every_alternative_sees_the_full_queue() {
    for alternative in ["fentry", "kprobe", "tp_btf"] {
        if alternative == "tp_btf" && kernel() < (6, 4) {
            continue; // it does not tell where, and the tool says so: next test
        }
        // Other kernels may allow neither fentry nor kprobes.
        if alternative != "tp_btf" && !in_vm() {
            let mut command = command("tcpdrop");
            command
                .args(["--duration", "1"])
                .env("BPFCC_RS_HOOKS", format!("listen={alternative}"));
            let ended = run_command(command);
            if !ended.status.success() {
                let said = format!("cannot trace listen: {alternative}: ");
                assert!(ended.stderr.contains(&said), "{}", ended.stderr);
                continue;
            }
        }
        overflow("127.0.0.1", "127.0.0.1", Some(alternative));
        overflow("::", "::1", Some(alternative));
    }
}

#[test]
fn what_cannot_be_seen_is_said() {
    let mut command = command("tcpdrop");
    command
        .args(["--verbose", "--duration", "1"])
        .env("BPFCC_RS_HOOKS", "listen=tp_btf");
    let ended = run_command(command).success();
    let said = ended
        .stderr
        .contains("SYNs that a full accept queue drops are not seen");
    assert_eq!(said, kernel() < (6, 4), "{}", ended.stderr);
}

/// Whatever the headers are like: ports, flags and length are the packet's.
#[test]
fn bad_checksums_are_shown_with_their_headers() {
    let host = Host::new();
    let tool = start(&host, &["--json"]);
    let no_operation = [1, 1, 1, 0];
    let padding = |next| [next, 0, 1, 4, 0, 0, 0, 0]; // a header of options, with none
    let two = [padding(60), padding(TCP)].concat();
    let mut packets = Vec::new();
    let mut expected = Vec::new();
    let mut add = |ip: IpAddr, extra: &[u8], next, flags: u8, names: &[&str]| {
        let port = 1000 + packets.len() as u16;
        let bytes = packet(ip, extra, next, &segment((port, 2000), flags));
        expected.push((ip, port, serde_json::json!(names), bytes.len()));
        packets.push((ip, bytes));
    };
    add(V4, &[], TCP, SYN, &["SYN"]);
    add(V4, &[], TCP, 0, &[]);
    let all = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    add(V4, &no_operation, TCP, 0xff, &all);
    add(V6, &[], TCP, SYN | ACK, &["SYN", "ACK"]);
    add(V6, &padding(TCP), 60, FIN | ACK, &["FIN", "ACK"]);
    add(V6, &two, 60, ACK, &["ACK"]);
    host.within(|| {
        for (ip, bytes) in &packets {
            send_refused(*ip, std::slice::from_ref(bytes));
        }
    });
    let errors = host.within(|| counter("Tcp", "InCsumErrors"));
    let ended = tool.stop().success();
    let rows = ended.json();
    assert_eq!(errors, expected.len() as u64);
    assert_eq!((rows.len(), ended.lost()), (expected.len(), 0), "{rows:#?}");
    for (row, (ip, port, flags, length)) in rows.iter().zip(expected) {
        assert_reason(row, "TCP_CSUM", "tcp_v");
        assert_eq!(
            (&row["saddr"], &row["daddr"]),
            (&ip.to_string().into(), &ip.to_string().into())
        );
        assert_eq!(
            (&row["sport"], &row["dport"]),
            (&port.into(), &2000.into()),
            "{row}"
        );
        assert_eq!(
            (&row["flags"], &row["length"]),
            (&flags, &length.into()),
            "{row}"
        );
    }
}

/// From now on packets that match are dropped, and counted.
fn nft_drop(hook: &str, what: &str) {
    shell("nft add table inet t");
    shell(&format!(
        "nft add chain inet t c {{ type filter hook {hook} priority 0 ; }}"
    ));
    shell(&format!("nft add rule inet t c {what} counter drop"));
}

fn nft_dropped() -> u64 {
    let chain = shell("nft list chain inet t c");
    let (_, rest) = chain.split_once("counter packets ").expect("a counter");
    rest.split(' ').next().unwrap().parse().expect("a count")
}

#[test]
fn a_firewalls_drops_are_shown() {
    for (hook, place) in [("input", "ip"), ("output", "tcp_connect")] {
        let host = Host::new();
        let tool = start(&host, &["--json"]);
        let dropped = host.within(|| {
            nft_drop(hook, "tcp dport 4444");
            unanswered(V4, 4444);
            unanswered(V6, 4444);
            nft_dropped()
        });
        let ended = tool.stop().success();
        let rows = ended.json();
        assert!(dropped >= 2);
        assert_eq!((rows.len() as u64, ended.lost()), (dropped, 0), "{rows:#?}");
        assert!(rows.iter().any(|row| row["ip"] == 4) && rows.iter().any(|row| row["ip"] == 6));
        for row in &rows {
            assert_reason(row, "NETFILTER_DROP", "nf_hook_slow");
            assert!(row["stack"].to_string().contains(place), "{row}");
            assert_eq!(row["dport"], 4444);
            assert_eq!(row["flags"], serde_json::json!(["SYN"]));
            assert_eq!(row["netns"], host.inode());
            if hook == "output" {
                assert_eq!(row["state"], "SYN_SENT");
                assert_owner(row);
            } else {
                assert_eq!(
                    (&row["state"], &row["ifname"]),
                    (&Value::Null, &"lo".into())
                );
            }
        }
    }
}

/// The socket that a packet was for is known from Linux 6.11 on. Before 5.17 what TCP
/// itself throws away is in no tracepoint.
#[test]
fn a_received_packet_has_its_sockets_state() {
    let host = Host::new();
    let (client, server) = host.within(|| {
        let listener = TcpListener::bind((V4, 0)).expect("listen");
        let client = TcpStream::connect(listener.local_addr().expect("own address"));
        (
            client.expect("connect"),
            listener.accept().expect("accept").0,
        )
    });
    // Then: that it finds the owner at once.
    let tool = start(&host, &["--json"]);
    host.within(|| {
        let port = |end: std::io::Result<SocketAddr>| end.expect("an address").port();
        let ports = (port(client.local_addr()), port(client.peer_addr()));
        // Neither ACK nor SYN nor RST: no such segment can be.
        let mut bytes = segment(ports, FIN);
        sum(&mut bytes);
        send(V4, &[packet(V4, &[], TCP, &bytes)]);
        // What is sent after it comes after it.
        (&client).write_all(b"after").expect("send");
        assert_eq!((&server).read(&mut [0; 9]).expect("receive"), 5);
    });
    let from = client.local_addr().expect("own address").port();
    let ended = tool.stop().success();
    let rows = ended.json();
    let unseen = ended.stderr.contains("what TCP itself drops");
    assert_eq!(unseen, !has_reasons(), "{}", ended.stderr);
    if unseen {
        assert_eq!(rows.len(), 0, "{rows:#?}");
        return;
    }
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_reason(&rows[0], "TCP_FLAGS", "tcp_v4_do_rcv");
    assert_eq!(rows[0]["sport"], from);
    assert_eq!(rows[0]["flags"], serde_json::json!(["FIN"]));
    if kernel() >= (6, 11) {
        assert_eq!(rows[0]["state"], "ESTABLISHED", "{rows:#?}");
        assert_eq!(rows[0]["owner_pid"], std::process::id());
    } else {
        assert_eq!(rows[0]["state"], Value::Null, "{rows:#?}");
    }
    drop(server);
}

/// A close drops nothing; unless there is something that nobody has read.
#[test]
fn ordinary_connections_show_nothing() {
    let host = Host::new();
    let tool = start(&host, &["--json"]);
    let unread = host.within(|| {
        for ip in [V4, V6] {
            for _ in 0..5 {
                connect_and_close(ip, ip);
            }
        }
        let listener = TcpListener::bind((V4, 0)).expect("listen");
        let to = listener.local_addr().expect("own address");
        let mut client = TcpStream::connect(to).expect("connect");
        client.write_all(b"unread").expect("send");
        to.port()
        // The listener goes with a connection that it has not accepted.
    });
    let rows = tool.stop().success().json();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0]["dport"], unread);
    assert_eq!(rows[0]["flags"], serde_json::json!(["PSH", "ACK"]));
    assert_eq!(rows[0]["state"], "CLOSE");
    if kernel() >= (6, 12) {
        assert_reason(&rows[0], "QUEUE_PURGE", "tcp_disconnect");
    }
}

/// A segment without an IP header: what its socket says is shown.
#[test]
fn segments_without_a_route_are_shown() {
    let pair = Pair::new();
    let listener = pair
        .right
        .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
    let to = listener.local_addr().expect("own address");
    let mut client = pair
        .left
        .within(|| TcpStream::connect(to).expect("connect"));
    let (_server, from) = listener.accept().expect("accept");
    let tool = start(&pair.left, &["--json"]);
    pair.left.run("ip route del 10.77.0.0/24");
    client.write_all(b"lost").expect("send");
    pair.left
        .run("ip route add 10.77.0.0/24 dev eth0 src 10.77.0.1");
    let dropped = pair.left.within(|| counter("Ip", "OutNoRoutes"));
    let ended = tool.stop().success();
    let rows = ended.json();
    assert!(dropped >= 1);
    assert_eq!(rows.len() as u64, dropped, "{rows:#?}");
    for row in &rows {
        assert_reason(row, "IP_OUTNOROUTES", "__ip_queue_xmit");
        assert_eq!(
            (&row["saddr"], &row["daddr"]),
            (&Pair::LEFT.into(), &Pair::RIGHT.into())
        );
        assert_eq!(
            (&row["sport"], &row["dport"]),
            (&from.port().into(), &to.port().into())
        );
        assert_eq!(row["flags"], serde_json::json!(["PSH", "ACK"]));
        assert_eq!(
            (&row["state"], &row["ip"]),
            (&"ESTABLISHED".into(), &4.into())
        );
        assert_eq!(row["owner_pid"], std::process::id());
    }
}

#[test]
fn udp_never_shows() {
    let host = Host::new();
    let tool = start(&host, &["--json"]);
    host.within(|| {
        nft_drop("input", "udp dport 4444");
        for ip in [V4, V6] {
            let udp = UdpSocket::bind((ip, 0)).expect("bind");
            for port in [4444, 4445] {
                for _ in 0..3 {
                    udp.send_to(b"datagram", (ip, port)).expect("send");
                }
            }
        }
        send(V4, &[packet(V4, &[], 17, &[0, 1, 0, 1, 0, 8, 0xba, 0xd0])]);
        // Those of IPv6 have counters of their own.
        until("all are dropped", Instant::now() + PATIENCE, || {
            let udp = |name| counter("Udp", name);
            (udp("NoPorts") == 3 && udp("InCsumErrors") == 1 && nft_dropped() == 6).then_some(())
        });
        send_bad(V4, 1);
    });
    let rows = tool.stop().success().json();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(
        (&rows[0]["proto"], &rows[0]["sport"]),
        (&"TCP".into(), &1000.into())
    );
}

/// Tools with different options, at the same packets: what each shows, as `ip dport`.
fn shown(host: &Host, options: &[&[&str]], work: impl FnOnce() + Send) -> Vec<Vec<String>> {
    let tools: Vec<_> = options
        .iter()
        .map(|args| start(host, &[&["--json"], *args].concat()))
        .collect();
    host.within(work);
    tools
        .into_iter()
        .map(|tool| {
            let rows = tool.stop().success().json();
            rows.iter()
                .map(|row| format!("{} {}", row["ip"], row["dport"]))
                .collect()
        })
        .collect()
}

#[test]
fn drops_are_filtered() {
    let host = Host::new();
    let own_netns = std::process::id().to_string();
    let all = ["4 2000", "6 2000", "4 3000", "6 3000"];
    let cases: [(&[&str], &[&str]); 10] = [
        (&[], &all),
        (&["-4"], &["4 2000", "4 3000"]),
        (&["-6"], &["6 2000", "6 3000"]),
        // Without a socket a packet that came in is for a local port.
        (&["-L", "2000"], &["4 2000", "6 2000"]),
        (&["-L", "1000"], &[]),
        (&["-D", "1000,1"], &all),
        (&["-D", "2000"], &[]),
        (&["--addr", "127.0.0.0/8"], &["4 2000", "4 3000"]),
        (&["--addr", "::1"], &["6 2000", "6 3000"]),
        (&["--addr", "10.0.0.0/8"], &[]),
    ];
    let options: Vec<_> = cases.iter().map(|(options, _)| *options).collect();
    let elsewhere = Tool::start("tcpdrop", &["--json", "--pid-netns", &own_netns]);
    let rows = shown(&host, &options, || {
        for port in [2000, 3000] {
            for ip in [V4, V6] {
                send_refused(ip, &[packet(ip, &[], TCP, &segment((1000, port), ACK))]);
            }
        }
    });
    for ((options, expected), rows) in cases.iter().zip(rows) {
        assert_eq!(rows, *expected, "{options:?}");
    }
    let rows = elsewhere.stop().success().json();
    assert!(
        rows.iter().all(|row| row["netns"] != host.inode()),
        "{rows:#?}"
    );
}

/// Every kernel's verifier takes all filters at once.
#[test]
fn filters_load_together() {
    let cgroup = Cgroup::new();
    let own = std::process::id().to_string();
    let mut args = vec![
        "--duration",
        "1",
        "-6",
        "-L",
        "1,2",
        "-D",
        "3",
        "--addr",
        "fd00::/8",
    ];
    args.extend(["--cgroup", cgroup.path(), "--pid-netns", &own]);
    if has_reasons() {
        args.extend(["--reason", "NO_SOCKET,TCP_LISTEN_OVERFLOW"]);
    }
    for more in ["--owner", "-c", "--json"] {
        let ended = run("tcpdrop", &[&args[..], &[more]].concat()).success();
        assert!(ended.lines().len() <= 1, "{}", ended.stdout);
    }
}

/// The namespace of a process is that of the tool's own thread's process here.
#[test]
fn a_processs_namespace_is_chosen() {
    let host = Host::new();
    let mut sleeper = host.within(|| Command::new("sleep").arg("600").spawn().expect("sleep"));
    let tool = Tool::start(
        "tcpdrop",
        &["--json", "--pid-netns", &sleeper.id().to_string()],
    );
    let other = Host::new();
    for host in [&other, &host] {
        host.within(|| send_bad(V4, 2));
    }
    let rows = tool.stop().success().json();
    sleeper
        .kill()
        .and_then(|()| sleeper.wait())
        .expect("end sleep");
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert!(rows.iter().all(|row| row["netns"] == host.inode()));
}

/// A client's drops on their way out: its port is the local one.
#[test]
fn ports_are_local_by_the_socket() {
    let host = Host::new();
    let cases: [(&[&str], bool); 3] = [
        (&["-D", "4444"], true),
        (&["-L", "4444"], false),
        (&["-D", "4445"], false),
    ];
    let options: Vec<_> = cases.iter().map(|(options, _)| *options).collect();
    let rows = shown(&host, &options, || {
        nft_drop("output", "tcp dport 4444");
        unanswered(V4, 4444);
    });
    for ((options, expected), rows) in cases.iter().zip(rows) {
        assert_eq!(!rows.is_empty(), *expected, "{options:?}: {rows:?}");
    }
}

#[test]
fn the_cgroup_is_the_sockets() {
    let host = Host::new();
    let (inside, outside) = (Cgroup::new(), Cgroup::new());
    let below = Cgroup::below(&inside.0);
    let tool = start(&host, &["--json", "--cgroup", inside.path()]);
    host.within(|| {
        nft_drop("output", "tcp dport { 4001, 4002 }");
        send_bad(V4, 1); // no socket, no cgroup
        for (group, port) in [(&outside, 4001), (&below, 4002)] {
            let before = nft_dropped();
            let connect = format!(": </dev/tcp/127.0.0.1/{port}");
            let mut client = group.command("bash".as_ref(), &["-c", &connect]);
            let mut client = client.spawn().expect("bash");
            until("a SYN is dropped", Instant::now() + PATIENCE, || {
                (nft_dropped() > before).then_some(())
            });
            client.kill().and_then(|()| client.wait()).expect("end it");
        }
    });
    let rows = tool.stop().success().json();
    assert!(!rows.is_empty());
    let path = below.path().rsplit('/').next().expect("a name").to_owned();
    for row in &rows {
        assert_eq!(row["dport"], 4002, "{row}");
        assert!(
            row["cgroup"].as_str().expect("a path").ends_with(&path),
            "{row}"
        );
    }
}

#[test]
fn reasons_are_chosen_by_name() {
    if !has_reasons() {
        let ended = run("tcpdrop", &["--reason", "NO_SOCKET"]);
        assert_eq!(code(ended.status), 2);
        assert!(
            ended.stderr.contains("gives no drop reasons"),
            "{}",
            ended.stderr
        );
        return;
    }
    let host = Host::new();
    let port = host.within(|| closed_port(V4));
    let (closed, bad) = (format!("4 {port}"), "4 2000".to_owned());
    let both = vec![closed.clone(), bad.clone()];
    let cases: [(&[&str], Vec<String>); 6] = [
        (&["--reason", "NO_SOCKET"], vec![closed.clone()]),
        (
            &["--reason", "no_socket,SKB_DROP_REASON_TCP_CSUM"],
            both.clone(),
        ),
        (&["--exclude-reason", "NO_SOCKET"], vec![bad.clone()]),
        (&["--exclude-reason", "NO_SOCKET,TCP_CSUM"], vec![]),
        (
            &[
                "--reason",
                "NO_SOCKET,TCP_CSUM",
                "--exclude-reason",
                "TCP_CSUM",
            ],
            vec![closed],
        ),
        (&["--exclude-reason", "TCP_LISTEN_OVERFLOW"], both),
    ];
    let options: Vec<_> = cases.iter().map(|(options, _)| *options).collect();
    let rows = shown(&host, &options, || {
        refused(V4, port);
        send_bad(V4, 1);
    });
    for ((options, expected), rows) in cases.iter().zip(rows) {
        assert_eq!(rows, *expected, "{options:?}");
    }
}

#[test]
fn unknown_reasons_are_usage_errors() {
    for option in ["--reason", "--exclude-reason"] {
        let ended = run("tcpdrop", &[option, "TCP_CSUM,NO_SOKET"]);
        assert_eq!(code(ended.status), 2);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(option), "{}", ended.stderr);
        if has_reasons() {
            let said = "'NO_SOKET', but NO_SOCKET";
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
        }
    }
}

/// What a count and a reader agree on, exactly.
#[test]
fn counts_are_exact() {
    let _alone = MayAttach::alone();
    let host = Host::new();
    let json = start(&host, &["-c", "--json"]);
    let text = start(&host, &["-c"]);
    let only = start(&host, &["-c", "--json", "-6"]);
    let port = host.within(|| {
        send_bad(V4, 500);
        send_bad(V6, 300);
        let port = closed_port(V4);
        for _ in 0..7 {
            refused(V4, port);
        }
        port
    });
    assert!(port > 0);
    assert_eq!(host.within(|| counter("Tcp", "InCsumErrors")), 800);

    let rows = json.stop().success().json();
    let total: u64 = rows
        .iter()
        .map(|row| row["count"].as_u64().expect("a count"))
        .sum();
    assert_eq!(total, 807, "{rows:#?}");
    if has_reasons() {
        let mut by_reason = BTreeMap::new();
        for row in &rows {
            let reason = row["reason"].as_str().expect("a reason").to_owned();
            *by_reason.entry(reason).or_insert(0) += row["count"].as_u64().unwrap();
        }
        let expected = [("NO_SOCKET".to_owned(), 7), ("TCP_CSUM".to_owned(), 800)];
        assert_eq!(by_reason, expected.into());
    }
    for row in &rows {
        let place = row["location"].as_str().expect("a location");
        assert!(place.starts_with("tcp_v"), "{row}");
    }
    let counts: Vec<_> = rows.iter().map(|row| row["count"].as_u64()).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b), "{rows:#?}");

    let rows6 = only.stop().success().json();
    let total: u64 = rows6
        .iter()
        .map(|row| row["count"].as_u64().expect("a count"))
        .sum();
    assert_eq!(total, 300, "{rows6:#?}");

    let ended = text.stop().success();
    let lines = ended.lines();
    assert_eq!(
        lines[0],
        format!("{:<32} {:<36} {:>9}", "REASON (CODE)", "LOCATION", "COUNT")
    );
    assert_eq!(lines.len(), 1 + rows.len(), "{lines:#?}");
    let name = if has_reasons() {
        "TCP_CSUM ("
    } else {
        "tcp_v4_rcv (0)"
    };
    assert!(
        lines[1].starts_with(name) && lines[1].contains(" tcp_v4_rcv+0x"),
        "{lines:#?}"
    );
    // Both drops are made at the same place.
    let most = if has_reasons() { 500 } else { 507 };
    assert!(lines[1].ends_with(&format!(" {most:>9}")), "{lines:#?}");
}

/// Header, row, frames and an empty line.
#[test]
fn text_is_bccs() {
    let host = Host::new();
    let tool = start(&host, &[]);
    let owned = start(&host, &["--owner"]);
    let dropped = host.within(|| {
        nft_drop("output", "tcp dport 4444");
        send_bad(V6, 1);
        unanswered(V4, 4444);
        nft_dropped()
    });
    let ended = tool.stop().success();
    let (header, rest) = ended.stdout.split_once('\n').expect("a header");
    assert_eq!(
        header,
        format!(
            "{:<8} {:<7} {:<2} {:<20} > {:<20} {:<20} {}",
            "TIME", "PID", "IP", "SADDR:SPORT", "DADDR:DPORT", "STATE (FLAGS)", "REASON (CODE)"
        )
    );
    let entries: Vec<_> = rest.split_terminator("\n\n").collect();
    assert_eq!(entries.len() as u64, 1 + dropped, "{rest}");
    assert!(rest.ends_with("\n\n"));
    for entry in &entries {
        let frames: Vec<_> = entry.lines().skip(1).collect();
        let frames: Vec<_> = frames
            .iter()
            .map(|frame| frame.strip_prefix('\t').expect("a frame"))
            .collect();
        for frame in &frames {
            let (_, offset) = frame.split_once("+0x").expect("an offset");
            assert!(u64::from_str_radix(offset, 16).is_ok(), "{frame}");
        }
        assert_stack_is_clean(&frames);
    }
    let first = entries[0].lines().next().expect("a row");
    let reason = if has_reasons() {
        "TCP_CSUM ("
    } else {
        "tcp_v6_rcv (0)"
    };
    let row = format!(
        "{:<2} {:<20} > {:<20} {:<20} {reason}",
        6, "::1:1000", "::1:2000", "- (ACK)"
    );
    assert_eq!(&first[17..17 + row.len()], row);
    let (time, pid) = (&first[..8], first[9..16].trim_end());
    assert_eq!(time.split(':').count(), 3);
    assert!(pid.parse::<u32>().is_ok(), "{first}");
    let second = entries[1].lines().next().expect("a row");
    assert!(
        second.contains(" > 127.0.0.1:4444       SYN_SENT (SYN)       "),
        "{second}"
    );

    let ended = owned.stop().success();
    let lines = ended.lines();
    assert!(
        lines[0].starts_with("TIME     PID     O-PID   O-COMM          IP SADDR"),
        "{}",
        lines[0]
    );
    let row = lines
        .iter()
        .find(|line| line.contains("SYN_SENT"))
        .expect("a row");
    let owner = row[17..24].trim_end();
    assert!(
        owner == std::process::id().to_string() || (owner == "-" && kernel() < (5, 15)),
        "{row}"
    );
    assert_eq!(&lines[1][17..35], "-       -         ");
}

/// When there are more than can be written, what is lost is counted.
#[test]
fn a_storm_is_shown_or_counted() {
    let _alone = MayAttach::alone();
    let host = Host::new();
    let tool = start(&host, &["--json"]);
    let rounds = if in_vm() { 20 } else { 80 };
    host.within(|| {
        for _ in 0..rounds {
            send_bad(V4, 500);
        }
    });
    let errors = host.within(|| counter("Tcp", "InCsumErrors"));
    let ended = tool.stop().success();
    let rows = ended.json();
    let shown = rows.iter().filter(|row| row["sport"] == 1000).count() as u64;
    assert_eq!(shown + ended.lost(), errors);
    assert_eq!(errors, rounds * 500);
    assert!(shown > 0);
}
