// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ctsnoop` against the conntrack table: what `conntrack` lists and the kernel
//! counts is what it must have told.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bpfcc_tests::net::{Host, Pair, addr};
use bpfcc_tests::*;
use nix::mount::umount;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const NETLINK: &str = "ctnetlink";

/// The alternatives that this kernel has; the first one is used by itself.
fn ways() -> &'static [&'static str] {
    match kernel() {
        _ if !in_vm() => &[NETLINK],
        (5, 10) => &["kprobe-5.10", NETLINK],
        _ => &["fentry", "kprobe", NETLINK],
    }
}

/// The one that is used by itself, and netlink: what does not depend on the programs.
fn two_ways() -> BTreeSet<&'static str> {
    [ways()[0], NETLINK].into()
}

/// Two hosts; the left one tracks all its connections.
struct Net {
    pair: Pair,
    /// By which the namespace is found.
    keeper: Child,
}

impl Net {
    fn new() -> Self {
        let pair = Pair::new();
        for command in [
            "nft add table inet t",
            "nft add chain inet t out { type filter hook output priority 0 ; }",
            "nft add rule inet t out ct state new accept",
            "nft add table ip n",
            "nft add chain ip n out { type nat hook output priority -100 ; }",
            "nft add chain ip n post { type nat hook postrouting priority 100 ; }",
        ] {
            pair.left.run(command);
        }
        let keeper = pair.left.within(|| {
            Command::new("sleep")
                .arg("1000000")
                .stdin(Stdio::null())
                .spawn()
                .expect("sleep")
        });
        Self { pair, keeper }
    }

    fn pid(&self) -> String {
        self.keeper.id().to_string()
    }

    fn left(&self) -> &Host {
        &self.pair.left
    }

    /// `ctsnoop` of the left host's table, in one of the [`ways`].
    fn start(&self, way: &str, args: &[&str]) -> Tool {
        let mut command = command("ctsnoop");
        command
            .env("BPFCC_RS_HOOKS", forced(way))
            .args(["--verbose", "--json", "--pid-netns", &self.pid()])
            .args(args);
        Tool::spawn(command)
    }

    /// Connections to a new port of the right host, which stay open.
    fn connect(&self, to: &str, count: usize) -> Connections {
        let to = addr(to);
        let listener = self.pair.right.within(|| TcpListener::bind((to, 0)));
        let listener = listener.expect("listen");
        let port = listener.local_addr().expect("own address").port();
        let clients: Vec<_> = self.left().within(|| {
            (0..count)
                .map(|_| TcpStream::connect((to, port)).expect("connect"))
                .collect()
        });
        let servers = (0..count)
            .map(|_| listener.accept().expect("accept").0)
            .collect();
        Connections {
            port,
            clients,
            _servers: servers,
        }
    }

    /// Sends a datagram to each of the ports; how many were refused.
    fn send(&self, from: &str, to: &str, ports: impl Iterator<Item = u16> + Send) -> Sent {
        let (from, to) = (addr(from), addr(to));
        self.left().within(|| {
            let socket = UdpSocket::bind((from, 0)).expect("bind");
            let refused = ports
                // A port that nobody listens on is told by the next call: once more.
                .filter(|port| match socket.send_to(b"x", (to, *port)) {
                    Ok(_) => false,
                    Err(error) if error.raw_os_error() == Some(libc::EPERM) => true,
                    Err(error) => panic!("send: {error}"),
                })
                .count();
            Sent {
                port: socket.local_addr().expect("own address").port(),
                refused,
            }
        })
    }

    fn listed(&self) -> Vec<String> {
        let list = self.left().run("conntrack -L");
        let list6 = self.left().run("conntrack -L -f ipv6");
        list.lines()
            .chain(list6.lines())
            .map(str::to_owned)
            .collect()
    }

    fn flush(&self) {
        self.left().run("conntrack -F");
    }

    fn entries(&self) -> u64 {
        self.left()
            .run("cat /proc/sys/net/netfilter/nf_conntrack_count")
            .trim()
            .parse()
            .expect("a count")
    }

    fn stat(&self, name: &str) -> u64 {
        let table = self
            .left()
            .run("cat /proc/thread-self/net/stat/nf_conntrack");
        let mut lines = table.lines();
        let column = lines
            .next()
            .and_then(|names| names.split_whitespace().position(|found| found == name))
            .expect("the statistics' names");
        lines
            .map(|line| {
                let value = line.split_whitespace().nth(column).expect("a number");
                u64::from_str_radix(value, 16).expect("hexadecimal")
            })
            .sum()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

struct Connections {
    port: u16,
    clients: Vec<TcpStream>,
    _servers: Vec<TcpStream>,
}

impl Connections {
    fn client_ports(&self) -> BTreeSet<u64> {
        self.clients
            .iter()
            .map(|client| client.local_addr().expect("own address").port().into())
            .collect()
    }
}

struct Sent {
    port: u16,
    refused: usize,
}

/// The same alternative for each of the tool's hooks.
fn forced(way: &str) -> String {
    format!("table={way},ends={way}")
}

/// The row shows this process.
#[track_caller]
fn assert_ours(row: &Value) {
    assert_eq!(row["pid"], std::process::id(), "{row}");
}

/// Rows of one kind of event.
fn events<'r>(rows: &'r [Value], event: &str) -> Vec<&'r Value> {
    rows.iter().filter(|row| row["event"] == event).collect()
}

fn numbers(rows: &[&Value], key: &str) -> BTreeSet<u64> {
    rows.iter()
        .map(|row| row[key].as_u64().unwrap_or_else(|| panic!("{key}: {row}")))
        .collect()
}

/// What the tool says at the end of a namespace.
fn compared(rows: &[Value], netns: u64) -> &Value {
    rows.iter()
        .find(|row| row["traced"].is_object() && row["netns"] == netns)
        .expect("the comparison")
}

#[test]
fn every_new_entry_is_told_with_its_tuple() {
    for way in ways() {
        let net = Net::new();
        let tool = net.start(way, &[]);
        let v4 = net.connect(Pair::RIGHT, 20);
        let v6 = net.connect(Pair::RIGHT6, 10);
        let sent = net.send(Pair::LEFT, Pair::RIGHT, 20000..20005);
        net.left().run(&format!("ping -c1 -W20 {}", Pair::RIGHT));
        net.left().run(&format!("ping -c1 -W20 {}", Pair::RIGHT6));
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        let rows = ended.json();
        let new = events(&rows, "NEW");
        let of = |proto: &str, ip: u64| -> Vec<&Value> {
            new.iter()
                .filter(|row| row["proto"] == proto && row["ip"] == ip)
                .copied()
                .collect()
        };
        for (connections, ip, from, to) in [
            (&v4, 4, Pair::LEFT, Pair::RIGHT),
            (&v6, 6, Pair::LEFT6, Pair::RIGHT6),
        ] {
            let tcp = of("TCP", ip);
            assert_eq!(tcp.len(), connections.clients.len(), "{way}: {tcp:#?}");
            assert_eq!(numbers(&tcp, "sport"), connections.client_ports());
            for row in tcp {
                assert_eq!((&row["saddr"], &row["daddr"]), (&from.into(), &to.into()));
                assert_eq!(row["dport"], connections.port);
                assert_eq!(
                    (&row["reply_saddr"], &row["reply_daddr"]),
                    (&to.into(), &from.into())
                );
                assert_eq!(row["nat"], false);
                assert_eq!(row["netns"], net.left().inode());
                if *way == NETLINK {
                    assert!(row["pid"].is_null(), "{row}");
                } else {
                    assert_ours(row);
                }
            }
        }
        let udp = of("UDP", 4);
        assert_eq!(numbers(&udp, "dport"), (20000..20005).collect(), "{way}");
        assert_eq!(numbers(&udp, "sport"), [sent.port.into()].into());
        assert_eq!(udp.len(), 5);
        for (icmp, kind) in [(of("ICMP", 4), 8), (of("ICMPV6", 6), 128)] {
            assert_eq!(icmp.len(), 1, "{way}: {icmp:?}");
            assert_eq!(icmp[0]["icmp_type"], kind);
            assert_eq!(
                (&icmp[0]["sport"], &icmp[0]["dport"]),
                (&0.into(), &0.into())
            );
        }
        assert_eq!(new.len(), 37, "{way}: {new:#?}");
        // Nothing has ended meanwhile, so the table has just these.
        let compared = compared(&rows, net.left().inode());
        assert_eq!(compared["traced"]["new"], 37);
        assert_eq!(compared["kernel"]["entries"], 37, "{way}: {compared}");
        assert_eq!(net.entries(), 37);
        assert!(events(&rows, "DESTROY").is_empty());
    }
}

#[test]
fn every_end_is_told_with_what_was_counted() {
    for way in ways() {
        let net = Net::new();
        net.left()
            .run("sysctl -q -w net.netfilter.nf_conntrack_acct=1");
        net.left()
            .run("sysctl -q -w net.netfilter.nf_conntrack_timestamp=1");
        let tool = net.start(way, &["-d", "-P", "tcp"]);
        let begin = Instant::now();
        let connections = net.connect(Pair::RIGHT, 20);
        // conntrack prints a pair of counters per direction.
        let counter = |line: &str, name: &str| -> u64 {
            line.split_whitespace()
                .filter_map(|word| word.strip_prefix(name)?.parse::<u64>().ok())
                .sum()
        };
        let tcp: Vec<_> = net
            .listed()
            .into_iter()
            .filter(|line| line.contains(&format!("dport={}", connections.port)))
            .collect();
        assert_eq!(tcp.len(), 20);
        let listed = |name| tcp.iter().map(|line| counter(line, name)).sum::<u64>();
        net.flush();
        let passed = begin.elapsed().as_secs_f64() * 1e3;
        let rows = tool.stop().success().json();
        assert_eq!(events(&rows, "NEW").len(), 20, "{way}");
        let ends = events(&rows, "DESTROY");
        assert_eq!(ends.len(), 20, "{way}: {ends:#?}");
        assert_eq!(numbers(&ends, "sport"), connections.client_ports());
        let total = |key: &str| -> u64 { ends.iter().filter_map(|row| row[key].as_u64()).sum() };
        assert_eq!(total("packets"), listed("packets="), "{way}");
        assert_eq!(total("bytes"), listed("bytes="), "{way}");
        for row in &ends {
            let age = row["age_ms"].as_f64().expect("an age");
            assert!(age > 0.0 && age < passed, "{way}: {age} {passed}");
            if *way != NETLINK {
                // The one who has made it.
                assert_ours(row);
                assert_eq!(row["state"], "ESTABLISHED");
            }
        }
        assert_eq!(
            compared(&rows, net.left().inode())["traced"]["destroyed"],
            20
        );
    }
}

/// Without the kernel's stamps and counters.
#[test]
fn what_is_not_counted_is_not_told() {
    for way in ways() {
        let net = Net::new();
        net.left()
            .run("sysctl -q -w net.netfilter.nf_conntrack_acct=0");
        let before = net.connect(Pair::RIGHT, 1);
        let tool = net.start(way, &["-d", "-P", "tcp"]);
        let after = net.connect(Pair::RIGHT, 1);
        net.flush();
        let rows = tool.stop().success().json();
        let ends = events(&rows, "DESTROY");
        // The kernel makes an end's event only of entries that it made while someone listened.
        if *way != NETLINK {
            assert_eq!(ends.len(), 2, "{ends:#?}");
        }
        for row in ends {
            assert!(row["packets"].is_null() && row["bytes"].is_null());
            if row["dport"] == before.port {
                assert!(row["age_ms"].is_null() && row["pid"].is_null(), "{row}");
            } else {
                assert_eq!(row["dport"], after.port);
                assert!(
                    *way == NETLINK || row["age_ms"].as_f64() > Some(0.0),
                    "{row}"
                );
            }
        }
    }
}

#[test]
fn translations_are_told() {
    for way in two_ways() {
        let net = Net::new();
        let listener = net
            .pair
            .right
            .within(|| TcpListener::bind((Pair::RIGHT, 0)));
        let port = listener
            .as_ref()
            .expect("listen")
            .local_addr()
            .expect("address")
            .port();
        net.left().run(&format!(
            "nft add rule ip n out ip daddr 10.77.0.99 tcp dport 80 dnat to {}:{port}",
            Pair::RIGHT
        ));
        net.left().run("ip addr add 10.77.0.50/24 dev eth0");
        net.left()
            .run("nft add rule ip n post udp dport 9 snat to 10.77.0.50:4000");
        let tool = net.start(way, &[]);
        let client = net
            .left()
            .within(|| TcpStream::connect(("10.77.0.99", 80)).expect("connect"));
        let client = client.local_addr().expect("own address");
        let sent = net.send(Pair::LEFT, Pair::RIGHT, [9].into_iter());
        let rows = tool.stop().success().json();
        let new = events(&rows, "NEW");
        let row = |proto: &str| *new.iter().find(|row| row["proto"] == proto).expect(proto);
        let tcp = row("TCP");
        assert_eq!(tcp["daddr"], "10.77.0.99");
        assert_eq!(tcp["dport"], 80);
        assert_eq!(tcp["reply_saddr"], Pair::RIGHT);
        assert_eq!(tcp["reply_sport"], port);
        assert_eq!(tcp["reply_dport"], client.port());
        assert_eq!(tcp["nat"], true);
        let udp = row("UDP");
        assert_eq!(
            (&udp["saddr"], &udp["sport"]),
            (&Pair::LEFT.into(), &sent.port.into())
        );
        assert_eq!(udp["reply_daddr"], "10.77.0.50");
        assert_eq!(udp["reply_dport"], 4000);
        assert_eq!(udp["nat"], true);
        assert_eq!(new.len(), 2, "{way}: {new:#?}");
    }
}

/// Text has the same, in a line.
#[test]
fn rows_are_lines() {
    let net = Net::new();
    net.left()
        .run("nft add rule ip n post udp dport 9 snat to 10.77.0.1:4000");
    let tool = Tool::start("ctsnoop", &["--pid-netns", &net.pid()]);
    let v4 = net.send(Pair::LEFT, Pair::RIGHT, [9].into_iter());
    let v6 = net.send(Pair::LEFT6, Pair::RIGHT6, [10].into_iter());
    let ended = tool.stop().success();
    let lines = ended.lines();
    assert_eq!(
        lines[0],
        "TIME     PID     COMM             EVENT         PROTO  SADDR:SPORT > DADDR:DPORT"
    );
    let ends = |line: &str, text: String| assert!(line.ends_with(&text), "{line}\n{text}");
    ends(
        lines[1],
        format!(
            "NEW           UDP    10.77.0.1:{} > 10.77.0.2:9 reply=10.77.0.2:9>10.77.0.1:4000",
            v4.port
        ),
    );
    ends(
        lines[2],
        format!("NEW           UDP    [fd77::1]:{} > [fd77::2]:10", v6.port),
    );
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let netns = format!(
        "ctsnoop: netns {}: traced: 2 new, 0 destroyed,",
        net.left().inode()
    );
    assert!(ended.stderr.contains(&netns), "{}", ended.stderr);
    assert!(ended.stderr.contains("0 -> 2 entries"), "{}", ended.stderr);
}

/// The kernel's numbers for all namespaces, put back in the end.
struct Setting {
    path: &'static str,
    was: String,
}

impl Setting {
    fn new(path: &'static str, value: u64) -> Self {
        let was = fs::read_to_string(path).expect(path);
        fs::write(path, value.to_string()).expect(path);
        Self { path, was }
    }

    fn set(&self, value: u64) {
        fs::write(self.path, value.to_string()).expect(self.path);
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(self.path, self.was.trim());
    }
}

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/proc/sys/net/netfilter/nf_conntrack_buckets";

fn max() -> u64 {
    fs::read_to_string(MAX)
        .expect(MAX)
        .trim()
        .parse()
        .expect("a number")
}

#[test]
fn every_refused_packet_is_told() {
    let _alone = MayAttach::alone();
    for way in ways() {
        let net = Net::new();
        // Entries with an answer, which are not dropped early.
        let _held = net.connect(Pair::RIGHT, 10);
        let dropped = net.stat("drop");
        let setting = Setting::new(MAX, max());
        let tool = net.start(way, &[]);
        setting.set(net.entries());
        let sent = net.send(Pair::LEFT, Pair::RIGHT, 20000..20030);
        let also = net.send(Pair::LEFT6, Pair::RIGHT6, 20000..20010);
        drop(setting);
        let ended = tool.stop().success();
        assert_eq!((sent.refused, also.refused), (30, 10), "{way}");
        assert_eq!(net.stat("drop") - dropped, 40);
        assert!(
            ended.stderr.contains("the table is full"),
            "{}",
            ended.stderr
        );
        let rows = ended.json();
        let full = events(&rows, "FULL");
        let count: u64 = full.iter().filter_map(|row| row["count"].as_u64()).sum();
        assert_eq!(count, 40, "{way}: {full:#?}");
        assert_eq!(compared(&rows, net.left().inode())["traced"]["full"], 40);
        assert_eq!(compared(&rows, net.left().inode())["kernel"]["full"], 40);
        if *way == NETLINK {
            assert!(full.iter().all(|row| row["saddr"].is_null()));
            continue;
        }
        assert_eq!(full.len(), 40);
        assert_eq!(numbers(&full, "dport"), (20000..20030).collect());
        for row in full {
            let port = if row["ip"] == 4 { sent.port } else { also.port };
            assert_eq!(row["sport"], port, "{row}");
            assert_eq!(row["proto"], "UDP");
            assert_ours(row);
        }
    }
}

#[test]
fn a_table_that_fills_up_is_told_before_it_is_full() {
    let _alone = MayAttach::alone();
    let net = Net::new();
    let _held = net.connect(Pair::RIGHT, 9);
    let setting = Setting::new(MAX, max());
    let tool = net.start(ways()[0], &["-n"]);
    setting.set(10);
    let stderr = {
        // The next entry is the tenth, but nothing is refused.
        let _tenth = net.connect(Pair::RIGHT, 1);
        tool.stop().success().stderr
    };
    assert!(stderr.contains("the table is full"), "{stderr}");
    setting.set(12);
    let tool = net.start(ways()[0], &["-n"]);
    let _eleventh = net.connect(Pair::RIGHT, 1);
    let stderr = tool.stop().success().stderr;
    assert!(stderr.contains("is 92 % full (11 of 12)"), "{stderr}");
}

#[test]
fn entries_that_make_room_are_told() {
    let _alone = MayAttach::alone();
    for way in ways() {
        let net = Net::new();
        let buckets = Setting::new(BUCKETS, 512);
        let setting = Setting::new(MAX, max());
        // Nobody answers: these may be dropped early.
        net.left().run("ip route add 10.88.0.0/24 via 10.77.0.2");
        net.pair.right.run("ip route add blackhole 10.88.0.0/24");
        net.send(Pair::LEFT, "10.88.0.1", 10000..11500);
        let full = net.entries();
        assert_eq!(full, 1500);
        let (early, dropped) = (net.stat("early_drop"), net.stat("drop"));
        let tool = net.start(way, &[]);
        setting.set(full);
        let sent = net.send(Pair::LEFT, "10.88.0.2", 20000..20050);
        let rows = tool.stop().success().json();
        drop((setting, buckets));
        let early = net.stat("early_drop") - early;
        assert!(early > 0);
        assert_eq!(net.stat("drop") - dropped, sent.refused as u64);
        let told = events(&rows, "EARLY_DROP");
        let count: u64 = told.iter().filter_map(|row| row["count"].as_u64()).sum();
        assert_eq!(count, early, "{way}");
        assert_eq!(events(&rows, "NEW").len(), 50 - sent.refused, "{way}");
        if *way != NETLINK {
            assert_eq!(events(&rows, "FULL").len(), sent.refused);
            for row in told {
                assert_eq!(row["proto"], "UDP");
                let victim = row["daddr"] == "10.88.0.1" || row["daddr"] == "10.88.0.2";
                assert!(victim, "{row}");
                assert_eq!(row["replied"], false);
            }
        }
    }
}

/// Two connections that a rule gives the same port: the second clashes.
#[test]
fn a_failed_insertion_is_told() {
    for way in ways() {
        let net = Net::new();
        net.left()
            .run("nft add rule ip n post udp dport 9 snat to 10.77.0.1:4000");
        let failed = net.stat("insert_failed");
        let tool = net.start(way, &[]);
        let first = net.send(Pair::LEFT, Pair::RIGHT, [9].into_iter());
        let second = net.send(Pair::LEFT, Pair::RIGHT, [9].into_iter());
        let rows = tool.stop().success().json();
        assert_eq!((first.refused, second.refused), (0, 1), "{way}");
        assert_eq!(net.stat("insert_failed") - failed, 1);
        let new = events(&rows, "NEW");
        assert_eq!(new.len(), 1, "{way}: {new:#?}");
        assert_eq!(new[0]["sport"], first.port);
        let told = events(&rows, "INSERT_FAILED");
        assert_eq!(told.len(), 1, "{way}: {rows:#?}");
        assert_eq!(told[0]["count"], 1);
        if *way != NETLINK {
            assert_eq!(told[0]["sport"], second.port);
            assert_eq!(told[0]["reply_dport"], 4000);
            assert_ours(told[0]);
        }
        // The kernel counts it as dropped, too.
        assert!(events(&rows, "FULL").is_empty(), "{way}: {rows:#?}");
    }
}

/// An entry that a process makes itself is that process's.
#[test]
fn entries_that_are_made_by_hand_are_told() {
    for way in ways() {
        let net = Net::new();
        let tool = net.start(way, &["-n"]);
        net.left()
            .run("conntrack -I -p udp -s 10.1.0.1 -d 10.1.0.2 --sport 5 --dport 6 --timeout 1000");
        let rows = tool.stop().success().json();
        let new = events(&rows, "NEW");
        assert_eq!(new.len(), 1, "{way}: {new:#?}");
        assert_eq!(
            (&new[0]["saddr"], &new[0]["sport"]),
            (&"10.1.0.1".into(), &5.into())
        );
        if *way != NETLINK {
            assert_eq!(new[0]["comm"], "conntrack");
        }
    }
}

#[test]
fn filters_choose() {
    for way in two_ways() {
        let net = Net::new();
        net.left()
            .run("nft add chain ip n raw { type filter hook output priority -300 ; }");
        net.left()
            .run("nft add rule ip n raw udp dport 20002 ct zone set 7");
        let ports = |args: &[&str]| {
            net.flush();
            let tool = net.start(way, args);
            net.send(Pair::LEFT, Pair::RIGHT, 20000..20004);
            net.send(Pair::LEFT6, Pair::RIGHT6, 20004..20006);
            let _tcp = net.connect(Pair::RIGHT, 1);
            let rows = tool.stop().success().json();
            let new = events(&rows, "NEW");
            let udp: Vec<_> = new
                .iter()
                .filter(|row| row["proto"] == "UDP")
                .copied()
                .collect();
            (numbers(&udp, "dport"), new.len() - udp.len())
        };
        let all: BTreeSet<u64> = (20000..20006).collect();
        assert_eq!(ports(&[]), (all.clone(), 1), "{way}");
        assert_eq!(ports(&["-P", "udp"]), (all.clone(), 0), "{way}");
        assert_eq!(ports(&["-P", "tcp", "-n"]), ([].into(), 1), "{way}");
        assert_eq!(
            ports(&["--dport", "20001,20005,7"]),
            ([20001, 20005].into(), 0)
        );
        assert_eq!(ports(&["-4"]), ((20000..20004).collect(), 1), "{way}");
        assert_eq!(ports(&["-6"]), ([20004, 20005].into(), 0), "{way}");
        assert_eq!(ports(&["--addr", Pair::RIGHT6]), ([20004, 20005].into(), 0));
        assert_eq!(ports(&["--addr", "10.77.0.0/30", "-P", "udp"]).0.len(), 4);
        assert_eq!(ports(&["--addr", "10.78.0.0/16"]), ([].into(), 0), "{way}");
        assert_eq!(ports(&["--zone", "7"]), ([20002].into(), 0), "{way}");
        let mut others = all.clone();
        others.remove(&20002);
        assert_eq!(ports(&["--zone", "0"]), (others, 1), "{way}");
    }
}

#[test]
fn other_namespaces_are_not_told() {
    for way in two_ways() {
        let (net, other) = (Net::new(), Net::new());
        let tool = net.start(way, &[]);
        other.send(Pair::LEFT, Pair::RIGHT, 20000..20010);
        net.send(Pair::LEFT, Pair::RIGHT, 20010..20012);
        let rows = tool.stop().success().json();
        assert_eq!(events(&rows, "NEW").len(), 2, "{way}");
        assert!(
            rows.iter().all(|row| row["netns"] == net.left().inode()),
            "{rows:#?}"
        );
    }
}

/// One that is only kept open is found by its number.
#[test]
fn a_namespace_without_processes_is_found() {
    for way in two_ways() {
        let pair = Pair::new();
        pair.left.run("nft add table inet t");
        pair.left
            .run("nft add chain inet t out { type filter hook output priority 0 ; }");
        pair.left.run("nft add rule inet t out ct state new accept");
        let inode = pair.left.inode();
        let mut command = command("ctsnoop");
        command.env("BPFCC_RS_HOOKS", forced(way)).args([
            "--verbose",
            "--json",
            "--netns-id",
            &inode.to_string(),
        ]);
        let tool = Tool::spawn(command);
        pair.left.run(&format!("ping -c1 -W20 {}", Pair::RIGHT));
        let rows = tool.stop().success().json();
        assert_eq!(events(&rows, "NEW").len(), 1, "{way}: {rows:#?}");
        assert_eq!(compared(&rows, inode)["kernel"]["entries"], 1, "{way}");
    }
}

/// Without a filter all namespaces are told.
#[test]
fn all_namespaces_are_told() {
    for way in ways() {
        let nets = [Net::new(), Net::new()];
        let mut command = command("ctsnoop");
        command
            .env("BPFCC_RS_HOOKS", forced(way))
            .args(["--verbose", "--json"]);
        let tool = Tool::spawn(command);
        for net in &nets {
            net.send(Pair::LEFT, Pair::RIGHT, 20000..20003);
        }
        let rows = tool.stop().success().json();
        for net in &nets {
            let new = events(&rows, "NEW");
            let ours = new.iter().filter(|row| row["netns"] == net.left().inode());
            assert_eq!(ours.count(), 3, "{way}");
        }
    }
}

#[test]
fn cgroups_are_those_of_the_sockets() {
    let net = Net::new();
    let cgroup = Cgroup::new();
    let pid = net.pid();
    let args = ["--json", "--pid-netns", &pid, "--cgroup", cgroup.path()];
    if !in_vm() {
        // Netlink does not know.
        let ended = run("ctsnoop", &args);
        assert_eq!(code(ended.status), 1);
        assert!(ended.stderr.contains("--cgroup"), "{}", ended.stderr);
        return;
    }
    let tool = Tool::start("ctsnoop", &args);
    net.send(Pair::LEFT, Pair::RIGHT, 20000..20003);
    net.left().within(|| {
        let mut ping = cgroup.command(Path::new("ping"), &["-c1", "-W20", Pair::RIGHT]);
        assert!(ping.stdout(Stdio::null()).status().expect("ping").success());
    });
    let rows = tool.stop().success().json();
    let new = events(&rows, "NEW");
    assert_eq!(new.len(), 1, "{rows:#?}");
    assert_eq!(new[0]["proto"], "ICMP");
    assert_eq!(new[0]["comm"], "ping");
}

#[test]
fn a_summary_counts_the_same() {
    for way in two_ways() {
        for (by, expected) in [
            ("port", &[("20000", 3u64), ("20001", 1)][..]),
            ("proto", &[("UDP", 4), ("ICMP", 1)]),
            ("addr", &[(Pair::LEFT, 5)]),
        ] {
            let net = Net::new();
            let tool = net.start(way, &["-c", "--by", by]);
            for _ in 0..3 {
                net.send(Pair::LEFT, Pair::RIGHT, [20000].into_iter());
            }
            net.send(Pair::LEFT, Pair::RIGHT, [20001].into_iter());
            net.left().run(&format!("ping -c1 -W20 {}", Pair::RIGHT));
            net.flush();
            let rows = tool.stop().success().json();
            let total = rows
                .iter()
                .find(|row| row["new_per_s"].is_number())
                .expect("the total");
            assert_eq!(total["netns"], net.left().inode());
            assert_eq!((&total["new"], &total["destroyed"]), (&5.into(), &5.into()));
            assert_eq!(
                (&total["entries"], &total["max"]),
                (&0.into(), &max().into())
            );
            for (key, count) in expected {
                let row = rows.iter().find(|row| {
                    row["by"] == by && row["key"].to_string().trim_matches('"') == *key
                });
                let row = row.unwrap_or_else(|| panic!("{way} {key}: {rows:#?}"));
                assert_eq!(
                    (&row["new"], &row["destroyed"]),
                    (&(*count).into(), &(*count).into())
                );
            }
            assert_eq!(compared(&rows, net.left().inode())["traced"]["new"], 5);
        }
    }
}

#[test]
fn reports_come_by_the_interval_and_end_with_the_count() {
    for way in two_ways() {
        let net = Net::new();
        let tool = net.start(way, &["-c", "1", "3", "--top", "1"]);
        net.send(Pair::LEFT, Pair::RIGHT, 20000..20007);
        let ended = tool.wait().success();
        let rows = ended.json();
        let new: u64 = rows
            .iter()
            .filter(|row| row["new_per_s"].is_number())
            .filter_map(|row| row["new"].as_u64())
            .sum();
        assert_eq!(new, 7, "{way}: {rows:#?}");
        // All were in one interval, or on both sides of its end.
        let keys = rows.iter().filter(|row| row["by"] == "port").count();
        assert!((1..=2).contains(&keys), "{way}: {rows:#?}");
    }
}

#[test]
fn processes_are_counted_where_they_are_known() {
    for way in ways().iter().filter(|way| **way != NETLINK) {
        let net = Net::new();
        let tool = net.start(way, &["-c", "--by", "comm"]);
        net.left().run(&format!("ping -c1 -W20 {}", Pair::RIGHT));
        let rows = tool.stop().success().json();
        let names: Vec<_> = rows.iter().filter(|row| row["by"] == "comm").collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(names[0]["new"], 1);
        assert_eq!(names[0]["key"], "ping");
    }
}

/// The table is a module's, on some kernels: its directory says that it is there.
const TABLE: &str = "/proc/sys/net/netfilter";

#[test]
fn a_table_that_is_not_there_is_named_and_waited_for() {
    in_mount_namespace(|| {
        mount_tmpfs(Path::new(TABLE));
        let ended = run("ctsnoop", &[]);
        assert_eq!(code(ended.status), 1);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("modprobe nf_conntrack"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("--wait"), "{}", ended.stderr);

        let mut command = command("ctsnoop");
        command
            .args(["--verbose", "--wait"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut waiting = command.spawn().expect("ctsnoop");
        let stderr = waiting.stderr.take().expect("piped");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        let mut line = |wanted: &str| {
            assert!(
                lines
                    .by_ref()
                    .map_while(Result::ok)
                    .any(|line| line.ends_with(wanted)),
                "{wanted}"
            );
        };
        line("waiting for nf_conntrack");
        umount(TABLE).expect("umount");
        line("attached");
        kill(Pid::from_raw(waiting.id() as i32), Signal::SIGTERM).expect("stop");
        assert!(wait_for(&mut waiting).success());
    });
}

#[test]
fn a_table_that_goes_ends_it_in_order() {
    in_mount_namespace(|| {
        let tool = Tool::start("ctsnoop", &[]);
        mount_tmpfs(Path::new(TABLE));
        let ended = tool.wait();
        umount(TABLE).expect("umount");
        assert_eq!(code(ended.status), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("was unloaded"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    });
}

/// A namespace that goes while it is traced.
#[test]
fn a_namespace_that_goes_disturbs_nobody() {
    for way in ways() {
        let (stays, goes) = (Net::new(), Net::new());
        let mut command = command("ctsnoop");
        command
            .env("BPFCC_RS_HOOKS", forced(way))
            .args(["--verbose", "--json", "-d"]);
        let tool = Tool::spawn(command);
        goes.send(Pair::LEFT, Pair::RIGHT, 20000..20003);
        let gone = goes.left().inode();
        drop(goes);
        stays.send(Pair::LEFT, Pair::RIGHT, 20000..20003);
        let ended = tool.stop().success();
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        let rows = ended.json();
        let new = events(&rows, "NEW");
        for netns in [gone, stays.left().inode()] {
            let of = new.iter().filter(|row| row["netns"] == netns);
            assert_eq!(of.count(), 3, "{way}: {rows:#?}");
        }
    }
}

/// Events that netlink could not keep for the tool are lost, and it says so.
#[test]
fn what_netlink_loses_is_told() {
    let net = Net::new();
    net.left()
        .run("sysctl -q -w net.netfilter.nf_conntrack_udp_timeout=3600");
    let tool = net.start(NETLINK, &["-n"]);
    let pid = Pid::from_raw(tool.pid() as i32);
    kill(pid, Signal::SIGSTOP).expect("stop it");
    for host in 1..=16 {
        let to = format!("10.88.0.{host}");
        if host == 1 {
            net.left().run("ip route add 10.88.0.0/24 via 10.77.0.2");
            net.pair.right.run("ip route add blackhole 10.88.0.0/24");
        }
        net.send(Pair::LEFT, &to, 10000..12000);
    }
    kill(pid, Signal::SIGCONT).expect("go on");
    let ended = tool.stop().success();
    let made = net.entries();
    let told = events(&ended.json(), "NEW").len() as u64;
    assert!(told < made, "nothing was lost: {told} of {made}");
    assert!(ended.lost() > 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("how many is not known"),
        "{}",
        ended.stderr
    );
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for args in [
        &["5"][..],
        &["-c", "0"],
        &["-c", "1", "0"],
        &["-n", "-d"],
        &["-n", "-c"],
        &["--by", "port"],
        &["-c", "--by", "x"],
        &["-c", "--top", "0"],
        &["-P", "nope"],
        &["--dport", "0"],
        &["--zone", "65536"],
        &["--addr", "10.0.0.0/33"],
        &["-4", "-6"],
        &["--pid-netns", "0"],
        &["--netns-id", "1", "--pid-netns", "1"],
    ] {
        let ended = run("ctsnoop", args);
        assert_eq!(code(ended.status), 2, "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}
