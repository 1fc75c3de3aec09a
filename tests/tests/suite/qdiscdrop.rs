// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qdiscdrop` against what `tc -s` counts.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bpfcc_tests::net::{Host, Pair, addr};
use bpfcc_tests::*;
use serde_json::Value;

/// The classic BPF program that returns TC_ACT_SHOT: a filter that every kernel
/// has which has filters.
const DROP_ALL: &str = "bpf da bytecode 1,6 0 0 2";
const TBF: &str = "tc qdisc add dev eth0 root tbf rate 256kbit burst 2kb limit 4kb";

/// Two hosts in which a process is, so that tools find their namespaces.
struct Net {
    pair: Pair,
    _inside: [Inside; 2],
}

struct Inside(Child);

impl Inside {
    fn new(host: &Host) -> Self {
        let child = host.within(|| {
            Command::new("sleep")
                .arg("infinity")
                .stdin(Stdio::null())
                .spawn()
                .expect("sleep")
        });
        Self(child)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Net {
    fn new() -> Self {
        let pair = Pair::new();
        let inside = [Inside::new(&pair.left), Inside::new(&pair.right)];
        Self {
            pair,
            _inside: inside,
        }
    }

    fn left(&self) -> &Host {
        &self.pair.left
    }

    fn right(&self) -> &Host {
        &self.pair.right
    }
}

/// A command line that has a quoted argument as its last.
fn tc(host: &Host, command: &str, last: &str) {
    host.within(|| {
        let status = Command::new("tc")
            .args(command.split_whitespace())
            .args(match last {
                DROP_ALL => vec!["bpf", "da", "bytecode", "1,6 0 0 2"],
                other => other.split_whitespace().collect(),
            })
            .status()
            .expect("tc");
        assert!(status.success(), "tc {command} {last}");
    });
}

fn qdiscs(host: &Host) -> Vec<Value> {
    let text = host.run("tc -s -j qdisc show dev eth0");
    match serde_json::from_str(&text).expect("JSON of tc") {
        Value::Array(list) => list,
        other => panic!("{other}"),
    }
}

/// What the qdiscs that count for all below them have dropped.
fn dropped(host: &Host) -> u64 {
    qdiscs(host)
        .iter()
        .filter(|qdisc| qdisc["root"] == true || qdisc["parent"] == "ffff:fff1")
        .map(|qdisc| qdisc["drops"].as_u64().expect("drops"))
        .sum()
}

/// Waits until nothing is queued: all is sent or dropped.
fn wait_until_empty(host: &Host) {
    until("the qdisc is empty", Instant::now() + PATIENCE, || {
        let empty = qdiscs(host)
            .iter()
            .all(|qdisc| qdisc["qlen"].as_u64().unwrap_or(0) == 0);
        empty.then_some(())
    });
}

/// Stops a tool that has begun before anything was dropped, and gives the drops
/// that tc has counted by then. The kernel sends a packet of its own now and
/// then, so there is a look before and one after.
#[track_caller]
fn stop(tool: Tool, host: &Host) -> (Ended, u64) {
    let before = dropped(host);
    let ended = tool.stop().success();
    let after = dropped(host);
    let shown = note(&ended).split(' ').next().expect("a count");
    let count = shown.parse::<u64>().expect("a count");
    assert!((before..=after).contains(&count), "{}", ended.stderr);
    assert!(
        note(&ended).starts_with(&format!("{count} dropped, traced: {count}")),
        "{} rows\n{}",
        ended.stdout.lines().count(),
        ended.stderr
    );
    (ended, count)
}

/// A socket of the host, bound to its address.
fn udp(host: &Host, own: &str) -> UdpSocket {
    host.within(|| UdpSocket::bind((addr(own), 0)).expect("bind"))
}

/// Sends datagrams of 100 bytes. What a filter drops may be an error.
fn send(socket: &UdpSocket, to: &str, count: usize) {
    for _ in 0..count {
        let _ = socket.send_to(&[b'x'; 100], (addr(to), 9999));
    }
}

/// Such as ARP and neighbour discovery, so that none of it is in a test's way.
fn know_each_other(net: &Net) {
    net.left().run("ping -c1 -W5 10.77.0.2");
    net.left().run("ping -6 -c1 -W5 fd77::2");
}

fn end(row: &Value, addr: &str, port: &str) -> Option<SocketAddr> {
    let ip: IpAddr = row[addr].as_str()?.parse().ok()?;
    Some(SocketAddr::new(
        ip,
        u16::try_from(row[port].as_u64()?).ok()?,
    ))
}

/// The last line about the counters.
fn note(ended: &Ended) -> &str {
    ended
        .stderr
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("qdiscdrop: qdisc counters: "))
        .unwrap_or_else(|| panic!("no counters: {}", ended.stderr))
}

#[track_caller]
fn drops_of(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.lost(), 0, "{}", ended.stderr);
    let rows = ended.json();
    rows.into_iter()
        .filter(|row| row.get("qdisc_counters").is_none())
        .collect()
}

/// UDP from the left to the right through `setup`; a row for each packet that
/// tc counts, with the sender's tuple and process.
#[track_caller]
fn exact(setup: impl Fn(&Net), on_right: bool, to: &str, hooks: &str) -> Vec<Value> {
    let net = Net::new();
    let own = if to.contains(':') {
        Pair::LEFT6
    } else {
        Pair::LEFT
    };
    know_each_other(&net);
    let socket = udp(net.left(), own);
    let host = if on_right { net.right() } else { net.left() };
    let mut command = command("qdiscdrop");
    command.args(["--verbose", "--json", "-b", "--netns-id"]);
    command.arg(host.inode().to_string());
    command.env("BPFCC_RS_HOOKS", hooks);
    let tool = Tool::spawn(command);
    setup(&net);
    send(&socket, to, 200);
    wait_until_empty(net.left());
    if on_right {
        // What is on its way to the other host has come when it is counted.
        until("all has come", Instant::now() + PATIENCE, || {
            (dropped(host) >= 150).then_some(())
        });
    }
    let (ended, count) = stop(tool, host);
    let rows = drops_of(&ended);
    assert!(count >= 20, "{count} drops");
    assert_eq!(rows.len() as u64, count, "{}", ended.stderr);
    let from = socket.local_addr().expect("own address");
    let to = SocketAddr::new(addr(to), 9999);
    let mut mine = Vec::new();
    for row in rows {
        assert_eq!(row["dev"], "eth0", "{row}");
        assert_eq!(row["netns"], host.inode(), "{row}");
        if row["proto"] != "UDP" {
            continue; // the kernel's own, such as a router solicitation
        }
        assert_eq!(end(&row, "saddr", "sport"), Some(from), "{row}");
        assert_eq!(end(&row, "daddr", "dport"), Some(to), "{row}");
        let headers = if to.is_ipv4() {
            14 + 20 + 8
        } else {
            14 + 40 + 8
        };
        assert_eq!(row["len"], 100 + headers, "{row}");
        if !on_right {
            assert_eq!(row["pid"], std::process::id(), "{row}");
        }
        mine.push(row);
    }
    assert!(mine.len() >= 20, "{} rows", mine.len());
    mine
}

/// All rows agree on `key`.
#[track_caller]
fn all(rows: &[Value], key: &str, value: impl Into<Value>) {
    let value = value.into();
    for row in rows {
        assert_eq!(row[key], value, "{key} in {row}");
    }
}

fn places(rows: &[Value]) -> BTreeSet<&str> {
    rows.iter()
        .map(|row| row["where"].as_str().expect("where"))
        .collect()
}

/// Linux 5.10 gives no reasons.
fn has_reasons() -> bool {
    kernel() >= (5, 18)
}

#[test]
fn tbf_overflows() {
    for to in [Pair::RIGHT, Pair::RIGHT6] {
        let rows = exact(|net| drop(net.left().run(TBF)), false, to, "");
        all(&rows, "qdisc", "tbf");
        all(&rows, "where", "enqueue");
        all(&rows, "limit", 4096);
        all(&rows, "limit_unit", "bytes");
        for row in &rows {
            let backlog = row["backlog_bytes"].as_u64().expect("backlog");
            // It may have sent some by the time the packet is freed.
            assert!((1000..=4096).contains(&backlog), "{row}");
        }
        if has_reasons() {
            assert!(
                rows[0]["reason"]
                    .as_str()
                    .expect("a reason")
                    .contains("QDISC_DROP"),
                "{}",
                rows[0]
            );
        }
    }
}

#[test]
fn pfifo_in_htb_overflows_in_its_class() {
    let rows = exact(
        |net| {
            for command in [
                "tc qdisc add dev eth0 root handle 1: htb default 20",
                "tc class add dev eth0 parent 1: classid 1:10 htb rate 128kbit",
                "tc class add dev eth0 parent 1: classid 1:20 htb rate 128kbit",
                "tc qdisc add dev eth0 parent 1:10 handle 10: pfifo limit 5",
                "tc qdisc add dev eth0 parent 1:20 handle 20: pfifo limit 7",
                "tc filter add dev eth0 parent 1: protocol ip prio 1 u32 match ip dport 9999 0xffff flowid 1:10",
            ] {
                net.left().run(command);
            }
        },
        false,
        Pair::RIGHT,
        "",
    );
    all(&rows, "qdisc", "htb");
    all(&rows, "handle", "1:");
    all(&rows, "class", "1:10");
    all(&rows, "leaf", "pfifo");
    all(&rows, "limit", 5);
    all(&rows, "limit_unit", "packets");
}

#[test]
fn the_default_class_of_htb_is_told_too() {
    let rows = exact(
        |net| {
            for command in [
                "tc qdisc add dev eth0 root handle 1: htb default 20",
                "tc class add dev eth0 parent 1: classid 1:10 htb rate 128kbit",
                "tc class add dev eth0 parent 1: classid 1:20 htb rate 128kbit",
                "tc qdisc add dev eth0 parent 1:10 handle 10: pfifo limit 5",
                "tc qdisc add dev eth0 parent 1:20 handle 20: bfifo limit 2000",
            ] {
                net.left().run(command);
            }
        },
        false,
        Pair::RIGHT6,
        "",
    );
    all(&rows, "class", "1:20");
    all(&rows, "leaf", "bfifo");
    all(&rows, "limit_unit", "bytes");
}

#[test]
fn a_filter_on_egress_drops() {
    let rows = exact(
        |net| {
            net.left().run("tc qdisc add dev eth0 clsact");
            tc(net.left(), "filter add dev eth0 egress", DROP_ALL);
        },
        false,
        Pair::RIGHT,
        "",
    );
    all(&rows, "qdisc", "clsact");
    all(&rows, "where", "egress");
}

#[test]
fn a_filter_on_ingress_drops() {
    let rows = exact(
        |net| {
            net.right().run("tc qdisc add dev eth0 ingress");
            tc(net.right(), "filter add dev eth0 parent ffff:", DROP_ALL);
        },
        true,
        Pair::RIGHT6,
        "",
    );
    all(&rows, "qdisc", "ingress");
    all(&rows, "where", "ingress");
}

/// Needs the action of that name.
#[test]
fn police_is_told_from_filters() {
    if !in_vm() {
        return;
    }
    for hooks in ["police=kprobe", "police=none", ""] {
        let rows = exact(
            |net| {
                net.left().run("tc qdisc add dev eth0 clsact");
                net.left().run("tc filter add dev eth0 egress protocol ip u32 match u32 0 0 police rate 64kbit burst 2k drop");
            },
            false,
            Pair::RIGHT,
            hooks,
        );
        let place = if hooks == "police=none" {
            "egress"
        } else {
            "police"
        };
        all(&rows, "where", place);
    }
    let rows = exact(
        |net| {
            net.right().run("tc qdisc add dev eth0 clsact");
            net.right()
                .run("tc filter add dev eth0 ingress matchall action drop");
        },
        true,
        Pair::RIGHT,
        "",
    );
    all(&rows, "where", "ingress");
}

/// Needs qdiscs that are modules, which are loaded while the tool runs.
#[test]
fn codel_drops_at_dequeue() {
    if !in_vm() {
        return;
    }
    let leaf = |leaf: &'static str| {
        move |net: &Net| {
            net.left()
                .run("tc qdisc add dev eth0 root handle 1: tbf rate 128kbit burst 2kb limit 400kb");
            net.left().run(&format!(
                "tc qdisc add dev eth0 parent 1:1 handle 2: {leaf}"
            ));
        }
    };
    let codel = leaf("codel limit 1000 target 1ms interval 5ms");
    let rows = exact(codel, false, Pair::RIGHT, "");
    assert_eq!(places(&rows), ["dequeue"].into());
    let fq_codel = leaf("fq_codel limit 60 target 1ms interval 5ms");
    let rows = exact(fq_codel, false, Pair::RIGHT, "");
    assert_eq!(places(&rows), ["dequeue", "enqueue"].into());
}

#[test]
fn netem_loses_packets() {
    if !in_vm() {
        return;
    }
    let rows = exact(
        |net| drop(net.left().run("tc qdisc add dev eth0 root netem loss 40%")),
        false,
        Pair::RIGHT,
        "",
    );
    all(&rows, "qdisc", "netem");
    let rows = exact(
        |net| {
            net.left()
                .run("tc qdisc add dev eth0 root netem delay 200ms limit 10");
        },
        false,
        Pair::RIGHT6,
        "",
    );
    all(&rows, "limit", 10);
    // The kernel frees a packet when the qdisc is unlocked again: another CPU may
    // have sent some of those in it by then.
    let full = rows.iter().filter(|row| row["qlen"] == 10).count();
    assert!(full * 10 >= rows.len() * 9, "{full} of {}", rows.len());
    for row in &rows {
        assert!(
            (0..=10).contains(&row["qlen"].as_i64().expect("a number")),
            "{row}"
        );
    }
}

#[test]
fn tcp_segments_are_shown() {
    undisturbed(segments_are_shown);
}

fn segments_are_shown() {
    let net = Net::new();
    know_each_other(&net);
    net.left()
        .run("tc qdisc add dev eth0 root tbf rate 1mbit burst 2kb limit 4kb");
    let listener = net
        .right()
        .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)).expect("listen"));
    let server = listener.local_addr().expect("own address");
    let inode = net.left().inode().to_string();
    let tool = Tool::start("qdiscdrop", &["--json", "--netns-id", &inode]);
    let mut client = net
        .left()
        .within(|| TcpStream::connect(server).expect("connect"));
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_to_end(&mut Vec::new()).expect("read")
    });
    client.write_all(&[0; 60_000]).expect("write");
    let from = client.local_addr().expect("own address");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("shut down");
    assert_eq!(reader.join().expect("reader"), 60_000);
    wait_until_empty(net.left());
    let (ended, count) = stop(tool, net.left());
    let rows = drops_of(&ended);
    assert_eq!(rows.len() as u64, count, "{}", ended.stderr);
    let (rows, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["proto"] == "TCP");
    assert!(!rows.is_empty());
    for row in others {
        assert!(row["proto"] == "ICMPV6" || row["proto"] == "ARP", "{row}");
    }
    for row in rows {
        assert_eq!(end(row, "saddr", "sport"), Some(from), "{row}");
        assert_eq!(end(row, "daddr", "dport"), Some(server), "{row}");
        assert_eq!(row["pid"], std::process::id(), "{row}");
    }
    drop(client);
}

#[test]
fn what_is_not_ip_has_its_ethertype() {
    let net = Net::new();
    know_each_other(&net);
    net.left().run("tc qdisc add dev eth0 clsact");
    tc(net.left(), "filter add dev eth0 egress", DROP_ALL);
    let socket = udp(net.left(), Pair::LEFT);
    let inode = net.left().inode().to_string();
    let json = Tool::start("qdiscdrop", &["--json", "--netns-id", &inode]);
    let text = Tool::start("qdiscdrop", &["--netns-id", &inode]);
    // Nobody has this address: it is asked for.
    send(&socket, "10.77.0.99", 1);
    let line = text.wait_for_line(|line| line.contains(" ARP "));
    assert!(line.contains(" - > - "), "{line}");
    drop(text.stop().success());
    let rows = drops_of(&json.stop().success());
    let arp: Vec<_> = rows.iter().filter(|row| row["proto"] == "ARP").collect();
    assert!(!arp.is_empty(), "{rows:#?}");
    assert_eq!(arp[0]["ethertype"], "0x806");
    assert_eq!(
        (&arp[0]["saddr"], &arp[0]["ip"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(arp[0]["len"], 42);
}

/// Needs VLAN devices.
#[test]
fn vlans_are_told() {
    if !in_vm() {
        return;
    }
    let net = Net::new();
    for (host, own) in [(net.left(), "10.88.0.1"), (net.right(), "10.88.0.2")] {
        host.run("ip link add link eth0 name eth0.5 type vlan id 5");
        host.run(&format!("ip addr add {own}/24 dev eth0.5"));
        host.run("ip link set eth0.5 up");
    }
    net.left().run("ping -c1 -W5 10.88.0.2");
    net.left().run(TBF);
    let socket = udp(net.left(), "10.88.0.1");
    let inode = net.left().inode().to_string();
    let tool = Tool::start("qdiscdrop", &["--json", "--netns-id", &inode, "-P", "udp"]);
    send(&socket, "10.88.0.2", 200);
    let ended = tool.stop().success();
    let rows = drops_of(&ended);
    assert!(rows.len() > 50, "{}", rows.len());
    all(&rows, "vlan", 5);
    all(&rows, "dev", "eth0");
    all(&rows, "daddr", "10.88.0.2");
    all(&rows, "dport", 9999);
    all(&rows, "ethertype", "0x800");
}

/// Each filter alone: all of one socket's drops, and none of the other's.
#[test]
fn filters_are_exact() {
    let net = Net::new();
    know_each_other(&net);
    net.left().run(TBF);
    let (v4, v6) = (udp(net.left(), Pair::LEFT), udp(net.left(), Pair::LEFT6));
    let port = |socket: &UdpSocket| socket.local_addr().expect("own address").port();
    let (port4, port6) = (port(&v4).to_string(), port(&v6).to_string());
    let inode = net.left().inode().to_string();
    let mut cases: Vec<(Vec<&str>, [bool; 2])> = vec![
        (vec!["-4", "-P", "17"], [true, false]),
        (vec!["-L", &port6], [false, true]),
        (vec!["-i", "eth1"], [false, false]),
    ];
    if !in_vm() {
        cases.extend([
            (vec!["-6", "-P", "UDP"], [false, true]),
            (vec!["-L", &port4, "-D", "9999"], [true, false]),
            (vec!["-D", "9998"], [false, false]),
            (vec!["--addr", "fd77::/64", "-P", "udp"], [false, true]),
            (vec!["--addr", "10.77.0.2"], [true, false]),
            (vec!["-i", "eth0", "-P", "udp"], [true, true]),
            (vec!["-P", "tcp"], [false, false]),
        ]);
    }
    for (filter, expected) in cases {
        let mut args = vec!["--json", "--netns-id", &inode];
        args.extend(&filter);
        let before = dropped(net.left());
        let tool = Tool::start("qdiscdrop", &args);
        send(&v4, Pair::RIGHT, 100);
        send(&v6, Pair::RIGHT6, 100);
        let ended = tool.stop().success();
        let counted = dropped(net.left()) - before;
        let rows = drops_of(&ended);
        for (version, expected) in [(4, expected[0]), (6, expected[1])] {
            let some = rows.iter().any(|row| row["ip"] == version);
            assert_eq!(some, expected, "{filter:?} IPv{version} {rows:#?}");
        }
        if filter.contains(&"eth1") {
            assert_eq!(note(&ended), "0 dropped, traced: 0");
        } else {
            let wanted = format!("{counted} dropped, traced: {counted}");
            assert!(
                note(&ended).starts_with(&wanted),
                "{wanted}: {}",
                ended.stderr
            );
        }
    }
}

#[test]
fn cgroups_are_those_of_the_sockets() {
    let net = Net::new();
    know_each_other(&net);
    net.left().run("tc qdisc add dev eth0 clsact");
    tc(net.left(), "filter add dev eth0 egress", DROP_ALL);
    let (inside, outside) = (Cgroup::new(), Cgroup::new());
    let inode = net.left().inode().to_string();
    let tool = Tool::start(
        "qdiscdrop",
        &["--json", "--cgroup", inside.path(), "--netns-id", &inode],
    );
    for (group, count) in [(&inside, 3), (&outside, 2)] {
        net.left().within(|| {
            let send =
                format!("for i in $(seq {count}); do echo x > /dev/udp/10.77.0.2/9999; done");
            let bash = std::path::Path::new("bash");
            let _ = group.command(bash, &["-c", &send]).output().expect("bash");
        });
    }
    let rows = drops_of(&tool.stop().success());
    assert_eq!(rows.len(), 3, "{rows:#?}");
    let id = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&inside.0).expect("cgroup"));
    all(&rows, "cgroup_id", id);
    all(&rows, "proto", "UDP");
    if kernel() >= (5, 15) {
        all(&rows, "comm", "bash"); // before, it is gone too soon
    }
}

/// Summaries count what the rows show.
#[test]
fn summaries_equal_rows() {
    let _alone = MayAttach::alone();
    let net = Net::new();
    know_each_other(&net);
    net.left().run(TBF);
    let socket = udp(net.left(), Pair::LEFT);
    let inode = net.left().inode().to_string();
    let rows = Tool::start("qdiscdrop", &["--json", "--netns-id", &inode]);
    let all_of_them = ["flow", "qdisc", "device", "cgroup", "process", "reason"];
    let bys = if in_vm() {
        &all_of_them[..1]
    } else {
        &all_of_them
    };
    let summaries: Vec<_> = bys
        .iter()
        .map(|by| {
            let args = ["--json", "-c", "--by", by, "--netns-id", &inode];
            (*by, Tool::start("qdiscdrop", &args))
        })
        .collect();
    send(&socket, Pair::RIGHT, 300);
    let rows = drops_of(&rows.stop().success());
    let count = dropped(net.left());
    assert_eq!(rows.len() as u64, count);
    for (by, tool) in summaries {
        let ended = tool.stop().success();
        let objects = ended.json();
        let lines: Vec<_> = objects.iter().filter(|line| line["by"] == by).collect();
        let sum: u64 = lines
            .iter()
            .map(|l| l["drops"].as_u64().expect("drops"))
            .sum();
        assert_eq!(sum, count, "{by}: {objects:#?}");
        let bytes: u64 = lines
            .iter()
            .map(|l| l["bytes"].as_u64().expect("bytes"))
            .sum();
        let wanted: u64 = rows
            .iter()
            .map(|row| row["len"].as_u64().expect("len"))
            .sum();
        assert_eq!(bytes, wanted, "{by}");
        let total = objects.iter().find(|line| line.get("total").is_some());
        assert_eq!(total.expect("a total")["total"]["drops"], count);
        let most = lines[0];
        match by {
            "flow" => {
                let port = socket.local_addr().expect("own address").port();
                assert_eq!(most["sport"], port);
                assert_eq!(most["proto"], "UDP");
            }
            "qdisc" => assert_eq!(most["qdisc"], "tbf"),
            "device" => assert_eq!(most["dev"], "eth0"),
            "process" => assert_eq!(most["pid"], std::process::id()),
            "reason" => assert_eq!(most["where"], "enqueue"),
            _ => assert_eq!(most["cgroup_id"], rows[0]["cgroup_id"]),
        }
    }
}

#[test]
fn intervals_count_what_is_new() {
    let net = Net::new();
    know_each_other(&net);
    net.left().run(TBF);
    let socket = udp(net.left(), Pair::LEFT);
    let inode = net.left().inode().to_string();
    let args = ["-c", "1", "3", "--by", "device", "--netns-id", &inode];
    let tool = Tool::start("qdiscdrop", &args);
    send(&socket, Pair::RIGHT, 200);
    let ended = tool.wait().success();
    let reports: Vec<u64> = ended
        .lines()
        .iter()
        .filter_map(|line| line.split(' ').nth(1).filter(|_| line.ends_with(" bytes")))
        .map(|count| count.parse().expect("drops"))
        .collect();
    assert_eq!(reports.len(), 3, "{}", ended.stdout);
    assert_eq!(reports.iter().sum::<u64>(), dropped(net.left()));
    let notes = ended.stderr.matches("qdisc counters: ").count();
    assert_eq!(notes, 3, "{}", ended.stderr);
}

/// Two writers as fast as they can: what is printed and what is said to be lost
/// are all that the qdisc has counted.
#[test]
fn in_a_storm_no_drop_is_lost_silently() {
    let _alone = MayAttach::alone();
    let net = Net::new();
    know_each_other(&net);
    net.left().run(TBF);
    let inode = net.left().inode().to_string();
    let tool = Tool::start("qdiscdrop", &["--netns-id", &inode]);
    let until = Instant::now() + Duration::from_secs(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            let socket = udp(net.left(), Pair::LEFT);
            scope.spawn(move || {
                while Instant::now() < until {
                    send(&socket, Pair::RIGHT, 64);
                }
            });
        }
    });
    let (ended, count) = stop(tool, net.left());
    let printed = ended
        .lines()
        .iter()
        .filter(|line| line.contains(" tbf "))
        .count() as u64;
    assert!(count > 1000, "{count}");
    assert_eq!(printed + ended.lost(), count, "{}", ended.stderr);
}

/// Stacks begin in the kernel's own functions.
#[test]
fn stacks_are_named() {
    let net = Net::new();
    know_each_other(&net);
    net.left().run(TBF);
    let socket = udp(net.left(), Pair::LEFT);
    let inode = net.left().inode().to_string();
    let tool = Tool::start(
        "qdiscdrop",
        &["--json", "--stack", "--netns-id", &inode, "-P", "udp"],
    );
    send(&socket, Pair::RIGHT, 100);
    let rows = drops_of(&tool.stop().success());
    assert!(!rows.is_empty());
    for row in &rows {
        let stack: Vec<_> = row["stack"].as_array().expect("a stack").iter().collect();
        let has = |name: &str| {
            stack
                .iter()
                .any(|f| f.as_str().expect("text").starts_with(name))
        };
        assert!(has("__dev_queue_xmit+") && has("udp_sendmsg+"), "{row}");
        assert!(!has("bpf_"), "{row}");
    }
}

/// A device, a qdisc and a namespace go while they are traced.
#[test]
fn what_is_deleted_ends_nothing() {
    let tool = Tool::start("qdiscdrop", &[]);
    let net = Net::new();
    net.left().run(TBF);
    let socket = udp(net.left(), Pair::LEFT);
    send(&socket, Pair::RIGHT, 100);
    net.left().run("tc qdisc del dev eth0 root");
    net.left().run(TBF);
    send(&socket, Pair::RIGHT, 100);
    net.left().run("ip link del eth0");
    drop(socket);
    drop(net);
    let other = Net::new();
    other.left().run(TBF);
    let socket = udp(other.left(), Pair::LEFT);
    let port = socket.local_addr().expect("own address").port();
    send(&socket, Pair::RIGHT, 100);
    tool.wait_for_line(|line| line.contains(&format!(":{port} > ")));
    let ended = tool.stop().success();
    // A new namespace may have got the number of the one that is gone.
    let told = ["are gone", "they differ"];
    assert!(
        told.iter().any(|text| note(&ended).contains(text)),
        "{}",
        ended.stderr
    );
}

#[test]
fn usage_errors_exit_2() {
    for args in [
        &["-P", "nonsense"][..],
        &["-i", ""],
        &["-i", "0123456789abcdef"],
        &["--by", "flow"],
        &["--top", "3"],
        &["1"],
        &["-c", "0"],
        &["-c", "--by", "colour"],
        &["-c", "--top", "0"],
        &["-c", "--stack"],
        &["-b", "-c"],
        &["-4", "-6"],
    ] {
        let ended = run("qdiscdrop", args);
        assert_eq!(code(ended.status), 2, "{args:?} {}", ended.stderr);
    }
}
