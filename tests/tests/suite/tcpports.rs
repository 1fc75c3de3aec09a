// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpports` against namespaces with few ports, and against `ss`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use bpfcc_tests::net::{Host, addr};
use bpfcc_tests::*;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt,
    socket, sockopt,
};
use serde_json::Value;

/// The ways to see calls that this kernel has.
fn alternatives() -> Vec<&'static str> {
    match (in_vm(), kernel() < (5, 15)) {
        (false, _) => vec!["tracepoint", "raw_tp"],
        (true, false) => vec!["fexit", "tracepoint", "raw_tp"],
        // Whose registers only a raw tracepoint gets.
        (true, true) => vec!["fexit", "raw_tp"],
    }
}

/// So long that the only report is the one at the end.
const AT_THE_END: &str = "99999";

fn start_with(calls: &str, args: &[&str]) -> Tool {
    let mut command = command("tcpports");
    command
        .args(["--verbose", "--json", AT_THE_END])
        .args(args)
        .env("BPFCC_RS_HOOKS", format!("calls={calls}"));
    // Kernels that preempt programs skip them for others meanwhile (7.2).
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// For one namespace.
fn start(host: &Host, args: &[&str]) -> Tool {
    let inode = host.inode().to_string();
    let args = [&["--netns-id", &inode], args].concat();
    start_with(alternatives()[0], &args)
}

/// A namespace with the ports 40000 to 40099, of which ten are reserved.
fn host_with_90_ports() -> Host {
    let host = Host::new();
    set(&host, "ip_local_port_range", "40000 40099");
    set(&host, "ip_local_reserved_ports", "8080,40010-40019");
    host
}

fn set(host: &Host, name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv4/{name}");
    host.within(|| fs::write(path, value).expect("set"));
}

fn is_port(port: u16) -> bool {
    (40000..=40099).contains(&port) && !(40010..=40019).contains(&port)
}

/// A listener that nobody accepts from: the kernel completes the connections.
fn listener(host: &Host, at: &str, port: u16) -> TcpListener {
    host.within(|| TcpListener::bind((addr(at), port)).expect("listen"))
}

fn connect_to(host: &Host, at: &str, port: u16) -> std::io::Result<TcpStream> {
    host.within(|| TcpStream::connect((addr(at), port)))
}

fn connects(host: &Host, at: &str, port: u16, count: usize) -> Vec<TcpStream> {
    host.within(|| {
        (0..count)
            .map(|_| TcpStream::connect((addr(at), port)).expect("connect"))
            .collect()
    })
}

fn tcp_socket() -> OwnedFd {
    socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("socket")
}

fn loopback(port: u16) -> SockaddrIn {
    SocketAddrV4::new([127, 0, 0, 1].into(), port).into()
}

/// Connections whose client closes first, then the server.
fn leave_in_time_wait(host: &Host, listener: &TcpListener, count: usize) {
    let to = listener.local_addr().expect("own address");
    host.within(|| {
        for _ in 0..count {
            let client = TcpStream::connect(to).expect("connect");
            let (server, _) = listener.accept().expect("accept");
            client.shutdown(Shutdown::Write).expect("shut down");
            assert_eq!(
                std::io::Read::read(&mut &server, &mut [0]).expect("end of stream"),
                0
            );
            drop(server);
            assert_eq!(
                std::io::Read::read(&mut &client, &mut [0]).expect("end of stream"),
                0
            );
        }
    });
}

/// Ports in use by `[listen, established, other, time_wait]`, each counted once, as
/// `ss` in the namespace has them, of sockets that `wanted` accepts by their line.
fn by_ss(host: &Host, wanted: impl Fn(&[&str]) -> bool) -> [u64; 4] {
    let mut ports = BTreeMap::new();
    for line in host.run("ss -tanH").lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port: u16 = fields[3]
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let class = match fields[0] {
            "LISTEN" => 0,
            "ESTAB" => 1,
            "TIME-WAIT" => 3,
            _ => 2,
        };
        if is_port(port) && wanted(&fields) {
            let first = ports.entry(port).or_insert(class);
            *first = class.min(*first);
        }
    }
    let mut counts = [0; 4];
    for class in ports.into_values() {
        counts[class as usize] += 1;
    }
    counts
}

fn is_failure(row: &Value) -> bool {
    row.get("call").is_some()
}

/// The rows of failures and those of reports.
fn split(ended: &Ended) -> (Vec<Value>, Vec<Value>) {
    ended.json().into_iter().partition(is_failure)
}

#[track_caller]
fn assert_counts(row: &Value, counts: [u64; 4]) {
    let keys = ["listen", "established", "other", "time_wait"];
    let shown = keys.map(|key| row[key].as_u64().expect("a count"));
    assert_eq!(shown, counts, "{row}");
    assert_eq!(row["used"], counts.iter().sum::<u64>(), "{row}");
}

/// Every connect() beyond the last port is a row, and no other.
#[test]
fn a_range_that_is_used_up_is_told() {
    each(alternatives(), |alternative| {
        let host = host_with_90_ports();
        let inode = host.inode().to_string();
        let tool = start_with(alternative, &["--netns-id", &inode, "--warn", "95"]);
        let _listener = listener(&host, "127.0.0.1", 80);
        let _clients = connects(&host, "127.0.0.1", 80, 90);
        host.within(|| {
            fs::write("/proc/thread-self/comm", "claimant").expect("name the thread");
            for _ in 0..7 {
                let error = TcpStream::connect("127.0.0.1:80").expect_err("no port");
                assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
            }
        });
        let counts = by_ss(&host, |_| true);
        assert_eq!(counts, [0, 90, 0, 0]);
        let ended = tool.stop().success();
        assert_eq!(ended.lost(), 0);
        let (failures, reports) = split(&ended);
        assert_eq!(failures.len(), 7, "{alternative}: {failures:#?}");
        for row in &failures {
            assert_eq!(row["call"], "connect");
            assert_eq!(row["error"], "EADDRNOTAVAIL");
            assert_eq!(row["pid"], std::process::id(), "{alternative}: {row}");
            assert_eq!(row["comm"], "claimant");
            assert_eq!(row["netns"], host.inode());
            assert_eq!(
                (&row["saddr"], &row["sport"]),
                (&"127.0.0.1".into(), &0.into())
            );
            assert_eq!(
                (&row["daddr"], &row["dport"]),
                (&"127.0.0.1".into(), &80.into())
            );
            assert!(row["cgroup"].is_string(), "{row}");
        }
        assert_eq!(reports.len(), 1, "{reports:#?}");
        let row = &reports[0];
        assert_counts(row, counts);
        assert_eq!(
            (&row["ports"], &row["uses"]),
            (&90.into(), &90.into()),
            "{row}"
        );
        assert_eq!(row["failed"], 7, "{row}");
        assert_eq!(row["percent"], 100.0);
        assert_eq!(row["seconds_left"], 0.0);
        assert_eq!(
            (&row["range_low"], &row["range_high"]),
            (&40000.into(), &40099.into())
        );
        let warning = format!("tcpports: netns {inode}: 90 of 90 local ports are in use (100.0 %)");
        assert!(ended.stderr.contains(&warning), "{}", ended.stderr);
    });
}

/// A bind() to what is taken, to an address of nobody's, and a listen() that
/// another was faster with.
#[test]
fn bind_and_listen_that_fail_are_rows() {
    each(alternatives(), |alternative| {
        let host = host_with_90_ports();
        let tool = start_with(alternative, &["--netns-id", &host.inode().to_string()]);
        let _first = listener(&host, "127.0.0.1", 40001);
        let _first6 = listener(&host, "::1", 40002);
        host.within(|| {
            let error = TcpListener::bind("127.0.0.1:40001").expect_err("in use");
            assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
            TcpListener::bind("[::1]:40002").expect_err("in use");
            let error = TcpListener::bind("192.0.2.1:0").expect_err("nobody's");
            assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
            let two = [tcp_socket(), tcp_socket()];
            for socket in &two {
                setsockopt(socket, sockopt::ReuseAddr, &true).expect("setsockopt");
                bind(socket.as_raw_fd(), &loopback(40003)).expect("bind");
            }
            listen(&two[0], Backlog::new(1).expect("backlog")).expect("listen");
            listen(&two[1], Backlog::new(1).expect("backlog")).expect_err("in use");
            // UDP has ports of its own.
            let _udp = std::net::UdpSocket::bind("127.0.0.1:40001").expect("bind");
            std::net::UdpSocket::bind("127.0.0.1:40001").expect_err("in use");
        });
        let ended = tool.stop().success();
        let (failures, reports) = split(&ended);
        let shown: Vec<_> = failures
            .iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().expect("text").to_owned();
                (
                    text("call"),
                    text("error"),
                    text("saddr"),
                    row["sport"].as_u64(),
                )
            })
            .collect();
        let expected = [
            ("bind", "EADDRINUSE", "127.0.0.1", 40001),
            ("bind", "EADDRINUSE", "::1", 40002),
            ("bind", "EADDRNOTAVAIL", "192.0.2.1", 0),
            ("listen", "EADDRINUSE", "127.0.0.1", 40003),
        ]
        .map(|(call, error, saddr, sport)| {
            (
                call.to_owned(),
                error.to_owned(),
                saddr.to_owned(),
                Some(sport),
            )
        });
        assert_eq!(shown, expected, "{alternative}");
        assert!(failures.iter().all(|row| row["daddr"].is_null()));
        assert_counts(&reports[0], [2, 0, 0, 0]);
        assert_eq!(reports[0]["failed"], 4);
        // Four bind() that have worked.
        assert_eq!(reports[0]["uses"], 4, "{}", reports[0]);
    });
}

/// What was there before the tool is counted, by state, as `ss` has it; and
/// bound sockets, which it has not.
#[test]
fn the_counts_are_those_of_ss() {
    each(alternatives(), |alternative| {
        // A kernel that preempts BPF programs skips one while it is preempted: then
        // the tool tells of a loss, and the counts say nothing.
        assert!((0..5).any(|_| counts_are_those_of_ss(alternative)));
    });
}

/// False: some events were lost.
fn counts_are_those_of_ss(alternative: &str) -> bool {
    let host = host_with_90_ports();
    let _server = listener(&host, "127.0.0.1", 80);
    let closing = listener(&host, "127.0.0.1", 81);
    let _at_a_port = listener(&host, "127.0.0.1", 40020);
    let _reserved = listener(&host, "127.0.0.1", 40010);
    let _outside = listener(&host, "127.0.0.1", 40100);
    leave_in_time_wait(&host, &closing, 9);
    let mut clients = connects(&host, "127.0.0.1", 80, 5);
    // Accepted on a port of the range, which is the listener's.
    clients.extend(connects(&host, "127.0.0.1", 40020, 3));
    let (old, both) = host.within(|| {
        let old = tcp_socket();
        bind(old.as_raw_fd(), &loopback(0)).expect("bind");
        let both = tcp_socket();
        bind(both.as_raw_fd(), &loopback(0)).expect("bind");
        (old, both)
    });
    let tool = start_with(alternative, &["--netns-id", &host.inode().to_string()]);
    let more = host.within(|| {
        let sockets = [0, 0, 0, 40010, 40100].map(|port| {
            let socket = tcp_socket();
            bind(socket.as_raw_fd(), &loopback(port)).unwrap_or_else(|error| {
                assert!(port == 40010 || port == 40100, "{port}: {error}");
            });
            socket
        });
        // From its own port, which then is a connection's.
        connect(both.as_raw_fd(), &loopback(80)).expect("connect");
        sockets
    });
    // And half-closed ones.
    for client in &clients[..2] {
        client.shutdown(Shutdown::Write).expect("shut down");
    }
    leave_in_time_wait(&host, &closing, 4);
    drop(more);
    let _last = host.within(|| {
        let socket = tcp_socket();
        bind(socket.as_raw_fd(), &loopback(0)).expect("bind");
        socket
    });
    let counts = by_ss(&host, |_| true);
    let ended = tool.stop().success();
    if ended.lost() > 0 {
        return false;
    }
    let (failures, reports) = split(&ended);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    // Failed on purpose: 40010 and 40100 are listened on.
    assert_eq!(failures.len(), 2, "{failures:#?}");
    let [listen, established, other, time_wait] = counts;
    // Connections to different ends may share a port.
    assert!(
        listen == 1 && established >= 5 && other >= 1 && time_wait > 0,
        "{counts:?}"
    );
    // Two that are bound, one from before and the last one.
    assert_counts(&reports[0], [listen, established, other + 2, time_wait]);
    // Three bind() that have worked, four connects, one more bind().
    assert_eq!(reports[0]["uses"], 8, "{}", reports[0]);
    drop((old, clients));
    true
}

/// TIME_WAIT is seen to begin and to end, after a minute, with a report each
/// time.
#[test]
fn ports_in_time_wait_are_given_back() {
    let host = host_with_90_ports();
    set(&host, "tcp_tw_reuse", "0");
    let server = listener(&host, "127.0.0.1", 80);
    leave_in_time_wait(&host, &server, 30);
    let inode = host.inode().to_string();
    let tool = Tool::start("tcpports", &["--json", "--netns-id", &inode, "5"]);
    let _client = connect_to(&host, "127.0.0.1", 80).expect("connect");
    let mut rows = Vec::new();
    for _ in 0..40 {
        let line = tool.wait_for_line(|_| true);
        let row: Value = serde_json::from_str(&line).expect("JSON");
        let time_wait = row["time_wait"].as_u64().expect("a count");
        rows.push(row);
        if time_wait == 0 {
            break;
        }
    }
    let counts = by_ss(&host, |_| true);
    assert_eq!(counts, [0, 1, 0, 0]);
    tool.stop().success();
    assert_counts(&rows[0], [0, 1, 0, 30]);
    let last = rows.last().expect("a row");
    assert_counts(last, counts);
    assert_eq!(
        rows.iter()
            .map(|row| row["uses"].as_u64().expect("uses"))
            .sum::<u64>(),
        1
    );
    let freed: f64 = rows
        .iter()
        .map(|row| row["free_per_s"].as_f64().expect("rate") * row["seconds"].as_f64().expect("s"))
        .sum();
    assert!((freed - 30.0).abs() < 1.0, "{freed}: {rows:#?}");
}

/// At the rate of use of the interval there is so much time left.
#[test]
fn the_time_left_is_by_the_rate() {
    let host = host_with_90_ports();
    let _server = listener(&host, "127.0.0.1", 80);
    let inode = host.inode().to_string();
    let tool = Tool::start("tcpports", &["--json", "--netns-id", &inode, "2", "1"]);
    let _clients = connects(&host, "127.0.0.1", 80, 30);
    let ended = tool.wait().success();
    let (_, reports) = split(&ended);
    let row = &reports[0];
    let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"));
    let rate = 30.0 / number("seconds");
    assert!(number("seconds") > 1.9, "{row}");
    assert!((number("use_per_s") - rate).abs() < 0.1, "{row}");
    assert_eq!(row["free_per_s"], 0.0);
    assert!((number("seconds_left") - 60.0 / rate).abs() < 0.1, "{row}");
}

/// Two remote ends, of which each has its own ports: connect() to one can fail
/// while the other is reached.
#[test]
fn remote_ends_are_counted_alone() {
    let host = host_with_90_ports();
    let _one = listener(&host, "127.0.0.1", 80);
    let _other = listener(&host, "127.0.0.2", 81);
    let _bound = listener(&host, "127.0.0.1", 40099);
    let _accepted = connect_to(&host, "127.0.0.1", 40099).expect("connect");
    let tool = start(&host, &["--by", "raddr"]);
    let _full = connects(&host, "127.0.0.1", 80, 89);
    connect_to(&host, "127.0.0.1", 80).expect_err("no port");
    let _few = connects(&host, "127.0.0.2", 81, 7);
    let ended = tool.stop().success();
    let (failures, reports) = split(&ended);
    assert_eq!(failures.len(), 1);
    let row_of = |raddr: &str, rport: u16| {
        let found: Vec<_> = reports
            .iter()
            .filter(|row| row["raddr"] == raddr && row["rport"] == rport)
            .collect();
        assert_eq!(found.len(), 1, "{raddr}:{rport}: {reports:#?}");
        found[0]
    };
    assert_eq!(reports.len(), 3, "{reports:#?}");
    let full = row_of("127.0.0.1", 80);
    assert_eq!(full["laddr"], "127.0.0.1");
    assert_eq!(
        (&full["established"], &full["bound"]),
        (&89.into(), &1.into()),
        "{full}"
    );
    assert_eq!(
        (&full["used"], &full["uses"]),
        (&90.into(), &89.into()),
        "{full}"
    );
    assert_eq!(
        (&full["percent"], &full["failed"]),
        (&100.0.into(), &1.into()),
        "{full}"
    );
    let few = row_of("127.0.0.2", 81);
    let peer = by_ss(&host, |fields| fields[4] == "127.0.0.2:81");
    assert_eq!(peer, [0, 7, 0, 0]);
    assert_eq!(
        (&few["established"], &few["bound"]),
        (&7.into(), &1.into()),
        "{few}"
    );
    assert_eq!(
        (&few["used"], &few["failed"]),
        (&8.into(), &0.into()),
        "{few}"
    );
    let accepting = row_of("127.0.0.1", 40099);
    assert_eq!(
        (&accepting["established"], &accepting["bound"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn local_addresses_are_counted_alone() {
    let host = host_with_90_ports();
    let _server = listener(&host, "127.0.0.1", 80);
    let _any = listener(&host, "0.0.0.0", 40030);
    let _any6 = listener(&host, "::", 40031);
    let tool = start(&host, &["--by", "laddr"]);
    let _few = connects(&host, "127.0.0.1", 80, 4);
    let bound: Vec<_> = host.within(|| {
        [2, 2, 3]
            .map(|last| {
                let socket = tcp_socket();
                let from: SockaddrIn = SocketAddrV4::new([127, 0, 0, last].into(), 0).into();
                bind(socket.as_raw_fd(), &from).expect("bind");
                connect(socket.as_raw_fd(), &loopback(80)).expect("connect");
                socket
            })
            .into()
    });
    let ended = tool.stop().success();
    let (_, reports) = split(&ended);
    let mut shown: Vec<_> = reports
        .iter()
        .map(|row| {
            let number = |key: &str| row[key].as_u64().expect("a number");
            let laddr: IpAddr = addr(row["laddr"].as_str().expect("laddr"));
            (
                laddr.to_string(),
                number("used"),
                number("listen"),
                number("uses"),
            )
        })
        .collect();
    shown.sort();
    let expected = [
        ("0.0.0.0", 1, 1, 0),
        ("127.0.0.1", 4, 0, 4),
        ("127.0.0.2", 2, 0, 2),
        ("127.0.0.3", 1, 0, 1),
        ("::", 1, 1, 0),
    ]
    .map(|(laddr, used, listen, uses)| (laddr.to_owned(), used, listen, uses));
    assert_eq!(shown, expected);
    drop(bound);
}

/// A process has its ports while it lives, and in TIME_WAIT after that.
#[test]
fn processes_hold_ports_beyond_their_end() {
    let host = host_with_90_ports();
    let server = listener(&host, "127.0.0.1", 80);
    let _old = connects(&host, "127.0.0.1", 80, 2);
    let tool = start(&host, &["--by", "process"]);
    let _new = connects(&host, "127.0.0.1", 80, 3);
    let workload = host.within(|| {
        let mut child = Command::new(bin("bpfcc-workload"))
            .args(["tcp", "127.0.0.1", "10"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("spawn");
        assert!(wait_for(&mut child).success());
        child.id()
    });
    let [_, _, _, time_wait] = by_ss(&host, |fields| fields[0] == "TIME-WAIT");
    let ended = tool.stop().success();
    let (_, reports) = split(&ended);
    assert_eq!(reports.len(), 2, "{reports:#?}");
    assert_eq!(
        (&reports[0]["pid"], &reports[1]["pid"]),
        (&workload.into(), &std::process::id().into())
    );
    assert_eq!(reports[0]["comm"], "bpfcc-workload");
    // One port may have led to two of its listeners.
    assert!((7..=10).contains(&time_wait), "{time_wait}");
    assert_counts(&reports[0], [0, 0, 0, time_wait]);
    // Ten listeners and ten clients.
    assert_eq!(reports[0]["uses"], 20);
    assert_eq!(
        (&reports[1]["established"], &reports[1]["used"]),
        (&5.into(), &5.into())
    );
    assert_eq!(reports[1]["uses"], 3);
    drop(server);
}

/// `--by cgroup` and `--cgroup`, also of what is in TIME_WAIT.
#[test]
fn cgroups_hold_ports() {
    let host = host_with_90_ports();
    let cgroup = Cgroup::new();
    let _server = listener(&host, "127.0.0.1", 80);
    let inode = host.inode().to_string();
    let by_cgroup = start(&host, &["--by", "cgroup"]);
    let of_cgroup = Tool::start(
        "tcpports",
        &[
            "--json",
            AT_THE_END,
            "--netns-id",
            &inode,
            "--cgroup",
            cgroup.path(),
        ],
    );
    let _mine = connects(&host, "127.0.0.1", 80, 3);
    host.within(|| {
        let mut child = cgroup
            .command(&bin("bpfcc-workload"), &["tcp", "127.0.0.1", "6"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("spawn");
        assert!(wait_for(&mut child).success());
    });
    // One port may have led to two of the workload's listeners.
    let [_, _, _, time_wait] = by_ss(&host, |fields| fields[0] == "TIME-WAIT");
    assert!((4..=6).contains(&time_wait), "{time_wait}");
    let path = cgroup
        .0
        .strip_prefix(cgroup2_root())
        .expect("below the root");
    let path = format!("/{}", path.display());
    let (_, reports) = split(&by_cgroup.stop().success());
    let row = reports
        .iter()
        .find(|row| row["cgroup"] == path)
        .unwrap_or_else(|| panic!("{path}: {reports:#?}"));
    assert_eq!(
        (&row["time_wait"], &row["used"]),
        (&time_wait.into(), &time_wait.into()),
        "{row}"
    );
    assert_eq!(row["uses"], 12, "{row}");
    assert_eq!(reports.len(), 2, "{reports:#?}");
    let (_, reports) = split(&of_cgroup.stop().success());
    assert_eq!(reports.len(), 1);
    assert_counts(&reports[0], [0, 0, 0, time_wait]);
    assert_eq!(reports[0]["uses"], 12);
}

/// Namespaces are shown each for itself; a filter leaves one.
#[test]
fn namespaces_are_told_apart() {
    let hosts = [host_with_90_ports(), host_with_90_ports()];
    let _servers = hosts.each_ref().map(|host| listener(host, "127.0.0.1", 80));
    let all = start_with(alternatives()[0], &["--top", "1000"]);
    let one = start(&hosts[1], &[]);
    let mut inhabitant =
        hosts[1].within(|| Command::new("sleep").arg("600").spawn().expect("sleep"));
    let pid = inhabitant.id().to_string();
    let of_process = start_with(alternatives()[0], &["--pid-netns", &pid]);
    let _clients = [3, 5].map(|count| {
        let host = if count == 3 { &hosts[0] } else { &hosts[1] };
        connects(host, "127.0.0.1", 80, count)
    });
    let (_, rows) = split(&all.stop().success());
    for (host, count) in hosts.iter().zip([3, 5]) {
        let row = rows
            .iter()
            .find(|row| row["netns"] == host.inode())
            .unwrap_or_else(|| panic!("{rows:#?}"));
        assert_counts(row, [0, count, 0, 0]);
        assert_eq!(row["ports"], 90);
    }
    for tool in [one, of_process] {
        let (_, rows) = split(&tool.stop().success());
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!(rows[0]["netns"], hosts[1].inode());
        assert_counts(&rows[0], [0, 5, 0, 0]);
    }
    let _ = inhabitant.kill();
    let _ = inhabitant.wait();
}

#[test]
fn families_and_addresses_are_filters() {
    let host = host_with_90_ports();
    let _servers = ["127.0.0.1", "::1"].map(|at| listener(&host, at, 80));
    let tools = [
        (start(&host, &["-4"]), 2),
        (start(&host, &["-6"]), 3),
        (start(&host, &["--addr", "::1"]), 3),
        (start(&host, &["--addr", "10.0.0.0/8"]), 0),
    ];
    let everything = start(&host, &[]);
    let clients = [
        connects(&host, "127.0.0.1", 80, 2),
        connects(&host, "::1", 80, 3),
    ];
    // The two families may use the same port.
    let ports: BTreeSet<u16> = clients
        .iter()
        .flatten()
        .map(|client| client.local_addr().expect("own address").port())
        .collect();
    for (tool, count) in tools.into_iter().chain([(everything, ports.len() as u64)]) {
        let (_, rows) = split(&tool.stop().success());
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_counts(&rows[0], [0, count, 0, 0]);
    }
}

/// `--top` leaves those that use the most.
#[test]
fn those_that_use_the_most_are_shown() {
    let host = host_with_90_ports();
    let _servers = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|at| listener(&host, at, 80));
    let tool = start(&host, &["--by", "raddr", "--top", "2"]);
    let _clients = [("127.0.0.1", 2), ("127.0.0.2", 1), ("127.0.0.3", 3)]
        .map(|(at, count)| connects(&host, at, 80, count));
    let (_, rows) = split(&tool.stop().success());
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (&row["raddr"], &row["used"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&"127.0.0.3".into(), &3.into()),
            (&"127.0.0.1".into(), &2.into())
        ]
    );
}

/// One that begins and ends while the tool runs is in the reports of that time.
#[test]
fn namespaces_come_and_go() {
    let tool = Tool::start("tcpports", &["--json", "--top", "1000", "1"]);
    let host = host_with_90_ports();
    let inode = host.inode();
    let _resident = host.resident();
    let server = listener(&host, "127.0.0.1", 80);
    let clients = connects(&host, "127.0.0.1", 80, 7);
    let of_host = |line: &str| line.contains(&format!("\"netns\":{inode}"));
    tool.wait_for_line(|line| of_host(line) && line.contains("\"used\":7,"));
    drop((clients, server, _resident, host));
    // Reports go on, at last without it.
    let own = fs::metadata("/proc/self/ns/net").expect("namespace").ino();
    let mut without = 0;
    while without < 2 {
        let seen = Cell::new(false);
        tool.wait_for_line(|line| {
            seen.set(seen.get() || of_host(line));
            line.contains(&format!("\"netns\":{own}"))
        });
        without = if seen.get() { 0 } else { without + 1 };
    }
    tool.stop().success();
}

/// The settings are read for each report.
#[test]
fn a_wider_range_is_seen() {
    let host = host_with_90_ports();
    let _server = listener(&host, "127.0.0.1", 80);
    let _clients = connects(&host, "127.0.0.1", 80, 9);
    let tool = start(&host, &[]);
    set(&host, "ip_local_port_range", "40000 40199");
    set(&host, "ip_local_reserved_ports", "\n");
    let (_, rows) = split(&tool.stop().success());
    assert_eq!(
        (&rows[0]["ports"], &rows[0]["used"]),
        (&200.into(), &9.into()),
        "{rows:#?}"
    );
}

/// The text form fits a terminal, and shows what JSON has.
#[test]
fn text_is_a_table() {
    let host = host_with_90_ports();
    let _server = listener(&host, "127.0.0.1", 80);
    let inode = host.inode().to_string();
    let tool = Tool::start(
        "tcpports",
        &["-T", "--netns-id", &inode, "--by", "raddr", "1"],
    );
    let _clients = connects(&host, "127.0.0.1", 80, 90);
    connect_to(&host, "127.0.0.1", 80).expect_err("no port");
    tool.wait_for_line(|line| line.contains("EADDRNOTAVAIL"));
    let ended = tool.stop().success();
    let lines = ended.lines();
    let header = lines
        .iter()
        .position(|line| line.starts_with("TIME     CALL    ERROR         PID     COMM"))
        .unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(
        lines[header + 1].contains(" connect EADDRNOTAVAIL "),
        "{lines:#?}"
    );
    assert!(
        lines[header + 1].ends_with("127.0.0.1:0 > 127.0.0.1:80"),
        "{lines:#?}"
    );
    let last = lines.last().expect("a row");
    let fields: Vec<_> = last.split_whitespace().collect();
    assert_eq!(
        fields[..7],
        ["90", "90", "100.0", "90", "0", "0", "0"],
        "{lines:#?}"
    );
    assert_eq!(
        fields[11..],
        [&inode, "127.0.0.1", ">", "127.0.0.1:80"],
        "{lines:#?}"
    );
    let title = lines[lines.len() - 2];
    assert!(
        title.starts_with("PORTS  USED     % ESTAB TWAIT BOUND OTHER"),
        "{title}"
    );
    // The numbers of all but the last column.
    assert_eq!(title.find("LADDR"), last.find("127.0.0.1"), "{lines:#?}");
    assert!(title.find("LADDR").is_some_and(|at| at < 90), "{title}");
}

/// Ports are taken ten times as fast as they last: every one is a use.
#[test]
fn short_connections_are_uses() {
    let host = host_with_90_ports();
    let server = listener(&host, "127.0.0.1", 80);
    set(&host, "tcp_max_tw_buckets", "0");
    let tool = start(&host, &[]);
    leave_in_time_wait(&host, &server, 500);
    let (failures, rows) = split(&tool.stop().success());
    assert_eq!(
        (failures.len(), rows.len()),
        (0, 1),
        "{failures:?} {rows:?}"
    );
    assert_counts(&rows[0], [0; 4]);
    assert_eq!(rows[0]["uses"], 500, "{rows:?}");
    assert_eq!(rows[0]["use_per_s"], rows[0]["free_per_s"]);
}
