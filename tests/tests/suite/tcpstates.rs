// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpstates` against connections of known course.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use bpfcc_tests::*;
use serde_json::Value;

const LISTENER: [&str; 2] = ["CLOSE>LISTEN", "LISTEN>CLOSE"];
const CLIENT: [&str; 5] = [
    "CLOSE>SYN_SENT",
    "SYN_SENT>ESTABLISHED",
    "ESTABLISHED>FIN_WAIT1",
    "FIN_WAIT1>FIN_WAIT2",
    "FIN_WAIT2>CLOSE",
];
const SERVER: [&str; 5] = [
    "LISTEN>SYN_RECV",
    "SYN_RECV>ESTABLISHED",
    "ESTABLISHED>CLOSE_WAIT",
    "CLOSE_WAIT>LAST_ACK",
    "LAST_ACK>CLOSE",
];

/// The changes that are made in the process that owns the socket; any task may
/// be on the CPU when a packet makes the others.
const IN_PROCESS: [&str; 5] = [
    "CLOSE>LISTEN",
    "LISTEN>CLOSE",
    "CLOSE>SYN_SENT",
    "ESTABLISHED>FIN_WAIT1",
    "CLOSE_WAIT>LAST_ACK",
];

/// A server's rows from where the kernel has filled in the socket: older kernels
/// give the remote end only after the first change.
fn filled_in<'s, 'r>(server: &'s [&'r Value]) -> &'s [&'r Value] {
    let unknown = server[0]["rport"] == 0;
    &server[usize::from(unknown)..]
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A connection over loopback in a namespace of its own.
fn connection(listen: &'static str, to: &'static str) -> (Netns, Connection) {
    in_netns(move || connect_and_close(ip(listen), ip(to)))
}

/// The rows of one namespace, per socket, in order. The kernel uses an address
/// again: a closed socket's rows are complete.
fn by_socket<'r>(rows: &'r [Value], netns: &Netns) -> Vec<Vec<&'r Value>> {
    let mut open = BTreeMap::<&str, Vec<&Value>>::new();
    let mut closed = Vec::new();
    for row in rows.iter().filter(|row| row["netns"] == netns.inode) {
        let address = row["skaddr"].as_str().expect("skaddr");
        open.entry(address).or_default().push(row);
        if row["newstate"] == "CLOSE" {
            closed.extend(open.remove(address));
        }
    }
    closed.extend(open.into_values());
    closed
}

fn changes(rows: &[&Value]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            format!(
                "{}>{}",
                row["oldstate"].as_str().unwrap(),
                row["newstate"].as_str().unwrap()
            )
        })
        .collect()
}

fn field<'a>(rows: &[&'a Value], key: &str) -> Vec<&'a Value> {
    rows.iter().map(|row| &row[key]).collect()
}

fn utc_us(row: &Value) -> f64 {
    // Only differences within a minute are taken: seconds are enough of it.
    let time = row["time"].as_str().expect("time");
    let minute: f64 = time[14..16].parse().expect("minutes");
    let second: f64 = time[17..time.len() - 1].parse().expect("seconds");
    (minute * 60.0 + second) * 1e6
}

/// Both ends show exactly the states of the connection, with the right
/// addresses, ports, family, owner and times.
fn exact_transitions(listen: &'static str, to: &'static str, version: u64, shown: &str, any: &str) {
    let tool = Tool::start("tcpstates", &["--json"]);
    let (netns, ports) = connection(listen, to);
    let ended = tool.stop().success();
    assert_eq!(ended.lost(), 0);
    let rows = ended.json();
    let sockets = by_socket(&rows, &netns);
    let socket = |course: &[&str]| {
        let found: Vec<_> = sockets
            .iter()
            .filter(|rows| changes(rows) == course)
            .collect();
        assert_eq!(found.len(), 1, "{course:?} in {sockets:#?}");
        found[0].as_slice()
    };
    let (listener, client, server) = (socket(&LISTENER), socket(&CLIENT), socket(&SERVER));
    assert_eq!(sockets.len(), 3, "{sockets:#?}");

    assert_eq!(field(listener, "lport"), [ports.server, ports.server]);
    assert_eq!(field(listener, "rport"), [0, 0]);
    assert_eq!(field(listener, "raddr"), [any, any]);
    assert_eq!(field(server, "lport"), [ports.server; 5]);
    let server = filled_in(server);
    assert_eq!(field(server, "rport"), vec![ports.client; server.len()]);
    assert_eq!(field(client, "rport"), [ports.server; 5]);
    // The kernel chooses the port after the first change.
    let client_port = ports.client;
    assert_eq!(
        field(client, "lport"),
        [0, client_port, client_port, client_port, client_port]
    );
    for row in client.iter().chain(server) {
        assert_eq!(row["laddr"], shown, "{row}");
        assert_eq!(row["raddr"], shown, "{row}");
    }
    for row in sockets.iter().flatten() {
        assert_eq!(row["ip"], version, "{row}");
        if IN_PROCESS.contains(&changes(&[row])[0].as_str()) {
            assert_eq!(row["pid"], std::process::id(), "{row}");
        }
    }
    for rows in sockets {
        assert_eq!(rows[0]["duration_us"], 0.0);
        for pair in rows.windows(2) {
            let passed = utc_us(pair[1]) - utc_us(pair[0]);
            let told = pair[1]["duration_us"].as_f64().expect("a duration");
            assert!(
                (passed - told).abs() <= 2.0 || passed < 0.0,
                "{passed} {told}"
            );
            assert!(told > 0.0);
        }
    }
}

#[test]
fn ipv4_transitions_are_exact() {
    undisturbed(|| exact_transitions("127.0.0.1", "127.0.0.1", 4, "127.0.0.1", "0.0.0.0"));
}

#[test]
fn ipv6_transitions_are_exact() {
    undisturbed(|| exact_transitions("::1", "::1", 6, "::1", "::"));
}

/// Both ends are IPv6 sockets that speak IPv4.
#[test]
fn v4_mapped_transitions_are_exact() {
    let tool = Tool::start("tcpstates", &["--json"]);
    let mapped = "::ffff:127.0.0.1";
    let (netns, ports) = connection("::", mapped);
    let rows = tool.stop().success().json();
    let sockets = by_socket(&rows, &netns);
    assert_eq!(sockets.len(), 3, "{sockets:#?}");
    let server = sockets
        .iter()
        .find(|rows| changes(rows) == SERVER)
        .expect("the server's end");
    let client = sockets
        .iter()
        .find(|rows| changes(rows) == CLIENT)
        .expect("the client's end");
    let server = filled_in(server);
    for row in server.iter().chain(&client[1..]) {
        assert_eq!(
            (&row["laddr"], &row["raddr"]),
            (&mapped.into(), &mapped.into()),
            "{row}"
        );
        assert_eq!(row["ip"], 6, "{row}");
    }
    assert_eq!(field(server, "rport"), vec![ports.client; server.len()]);
}

#[test]
fn families_are_filtered() {
    for (option, mine, other) in [("-4", "127.0.0.1", "::1"), ("-6", "::1", "127.0.0.1")] {
        let tool = Tool::start("tcpstates", &["--json", option]);
        let (shown, _) = connection(mine, mine);
        let (hidden, _) = connection(other, other);
        let rows = tool.stop().success().json();
        assert_eq!(by_socket(&rows, &shown).len(), 3);
        assert_eq!(by_socket(&rows, &hidden).len(), 0);
    }
}

/// 500 ports in one list; and the time in the state before the first row that
/// the filter lets through is known all the same.
#[test]
fn port_lists_are_long_and_keep_the_time_in_state() {
    let list: Vec<String> = (40_000..40_500).map(|port: u32| port.to_string()).collect();
    let tool = Tool::start("tcpstates", &["--json", "-L", &list.join(",")]);
    let (netns, ports) = in_netns(|| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40499").expect("port range");
        // The listener's port is not one of them, for it is asked for.
        let listener = std::net::TcpListener::bind("127.0.0.1:30000").expect("listen");
        let client = std::net::TcpStream::connect("127.0.0.1:30000").expect("connect");
        let ports = client.local_addr().expect("own address").port();
        drop((client, listener));
        ports
    });
    let rows = tool.stop().success().json();
    let sockets = by_socket(&rows, &netns);
    assert_eq!(sockets.len(), 1, "{sockets:#?}");
    let first = sockets[0][0];
    assert_eq!(first["oldstate"], "SYN_SENT");
    assert_eq!(first["lport"], ports);
    assert!(
        first["duration_us"].as_f64().expect("a duration") > 0.0,
        "{first}"
    );
}

#[test]
fn remote_ports_are_filtered() {
    let tool = Tool::start("tcpstates", &["--json", "-D", "30001,30002"]);
    let (netns, ()) = in_netns(|| {
        for port in [30_000, 30_001, 30_002] {
            let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("listen");
            drop(std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect"));
            drop(listener);
        }
    });
    let rows = tool.stop().success().json();
    let sockets = by_socket(&rows, &netns);
    assert_eq!(sockets.len(), 2, "{sockets:#?}");
    assert!(
        sockets
            .iter()
            .flatten()
            .all(|row| row["rport"] == 30_001 || row["rport"] == 30_002)
    );
}

#[test]
fn the_cgroup_is_the_sockets() {
    let inside = Cgroup::new();
    let below = Cgroup::below(&inside.0);
    let tool = Tool::start("tcpstates", &["--json", "--cgroup", inside.path()]);
    let workload = bin("bpfcc-workload");
    let ports = |group: &Cgroup| {
        let ended = run_command(group.command(&workload, &["tcp", "127.0.0.1", "1"])).success();
        let ports: Vec<u16> = ended
            .stdout
            .split_whitespace()
            .map(|p| p.parse().unwrap())
            .collect();
        (ports[0], ports[1])
    };
    let outside = Cgroup::new();
    let (hidden, _) = ports(&outside);
    let (shown, shown_client) = ports(&below);
    let rows = tool.stop().success().json();
    let id = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&below.0).expect("cgroup"));
    assert!(rows.iter().all(|row| row["cgroup_id"] == id), "{rows:#?}");
    let of = |port: u16| {
        rows.iter()
            .filter(|row| row["lport"] == port || row["rport"] == port)
            .count()
    };
    assert_eq!(of(hidden), 0, "{rows:#?}");
    // Two of the listener, five of either end; of those the client's first has
    // no local port yet, and the server's first on old kernels no remote one.
    assert_eq!(of(shown), 12, "{rows:#?}");
    assert!((8..=9).contains(&of(shown_client)), "{rows:#?}");
}

/// Header and a row, in every text form.
#[test]
fn text_is_bccs() {
    let short = "SKADDR           C-PID C-COMM     LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS";
    let wide = "SKADDR           C-PID C-COMM           IP LADDR                                   LPORT RADDR                                   RPORT OLDSTATE    -> NEWSTATE    MS";
    let csv = "SKADDR,C-PID,C-COMM,IP,LADDR,LPORT,RADDR,RPORT,OLDSTATE,NEWSTATE,MS";
    let cases: [(&[&str], String); 8] = [
        (&[], short.into()),
        (&["-T"], format!("TIME     {short}")),
        (&["-t"], format!("TIME(s)   {short}")),
        (&["-tT"], format!("TIME     TIME(s)   {short}")),
        (&["-w"], wide.into()),
        (&["-wtT"], format!("TIME     TIME(s)   {wide}")),
        (&["-s"], csv.into()),
        (&["-stTw"], format!("TIME,TIME(s),{csv}")),
    ];
    for (args, header) in cases {
        let tool = Tool::start("tcpstates", args);
        let (_, ports) = connection("127.0.0.1", "127.0.0.1");
        let ended = tool.stop().success();
        let lines = ended.lines();
        assert_eq!(lines[0], header, "{args:?}");
        let port = ports.client.to_string();
        let row = lines
            .iter()
            .find(|line| line.contains(&port) && line.contains("SYN_SENT"))
            .unwrap_or_else(|| panic!("no row of port {port}: {lines:#?}"));
        if args.iter().any(|arg| arg.contains('s')) {
            let fields: Vec<_> = row.split(',').collect();
            assert_eq!(fields.len(), header.split(',').count(), "{row}");
            assert!(
                fields.contains(&"4")
                    && fields.contains(&"SYN_SENT")
                    && fields.contains(&"ESTABLISHED")
            );
        } else {
            // Every cell begins where its title does.
            for (title, cell) in [
                ("LADDR", "127.0.0.1"),
                ("RADDR", "127.0.0.1"),
                ("OLDSTATE", "SYN_SENT    -> ESTABLISHED"),
            ] {
                let at = header.find(title).expect("title");
                assert!(row[at..].starts_with(cell), "{row}");
            }
            let ms = &row[header.find("MS").expect("title")..];
            assert!(ms.parse::<f64>().expect("milliseconds") > 0.0);
            assert_eq!(ms.split('.').nth(1).map(str::len), Some(3), "{row}");
            assert!(
                row[header.find("LPORT").expect("title")..].starts_with(&port),
                "{row}"
            );
        }
    }
}

#[test]
fn timestamps_begin_at_zero() {
    let tool = Tool::start("tcpstates", &["-s", "-t"]);
    connection("127.0.0.1", "127.0.0.1");
    let ended = tool.stop().success();
    let times: Vec<f64> = ended.lines()[1..]
        .iter()
        .map(|line| {
            line.split(',')
                .next()
                .expect("a field")
                .parse()
                .expect("seconds")
        })
        .collect();
    assert_eq!(times[0], 0.0);
    assert!(times.is_sorted() && times.last() > Some(&0.0), "{times:?}");
}

/// One event stays one line, whatever a thread calls itself.
#[test]
fn control_characters_in_names_are_escaped() {
    let connect_as = |name: &'static [u8]| {
        in_netns(move || {
            fs::write("/proc/thread-self/comm", name).expect("name the thread");
            connect_and_close(ip("127.0.0.1"), ip("127.0.0.1"))
        })
    };
    let text = Tool::start("tcpstates", &["-w"]);
    let json = Tool::start("tcpstates", &["--json"]);
    let (netns, ports) = connect_as(b"a\n\x1b[31m\xff\x01");
    let (text, json) = (text.stop().success(), json.stop().success());
    assert!(!text.stdout.contains(['\x1b', '\x01']));
    let port = ports.server.to_string();
    let rows: Vec<_> = text
        .lines()
        .into_iter()
        .filter(|line| line.contains(&port))
        .collect();
    // Any task may be on the CPU in the other rows.
    let named = rows
        .iter()
        .filter(|row| row.contains("a\\n\\x1b[31m\u{fffd}"))
        .count();
    assert!(named >= IN_PROCESS.len(), "{rows:#?}");
    let rows = json.json();
    let mine: Vec<_> = by_socket(&rows, &netns).concat();
    assert_eq!(mine.len(), 12);
    let name = "a\n\x1b[31m\u{fffd}\x01";
    let named = mine.iter().filter(|row| row["comm"] == name).count();
    assert!(named >= IN_PROCESS.len(), "{mine:#?}");
}

const JOURNAL: &str = "/run/systemd/journal/socket";

/// The journal's side of its protocol, at its real place, in a mount namespace
/// where no other journal is.
#[test]
fn journal_entries_are_written() {
    in_mount_namespace(journal);
}

fn journal() {
    mount_tmpfs(Path::new("/run"));
    fs::create_dir_all(Path::new(JOURNAL).parent().expect("a directory"))
        .expect("journal's directory");

    let ended = run("tcpstates", &["-Y", "--duration", "1"]);
    assert_eq!(code(ended.status), 1);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains(JOURNAL) && ended.stderr.contains("systemd-journald"),
        "{}",
        ended.stderr
    );

    let journal = UnixDatagram::bind(JOURNAL).expect("journal's socket");
    let tool = Tool::start("tcpstates", &["-Y"]);
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut entries = Vec::new();
        let mut buffer = [0; 4096];
        journal.set_nonblocking(true).expect("non-blocking");
        loop {
            // Nothing is written any more once the tool has ended.
            let ended = is_done.try_recv().is_ok();
            loop {
                match journal.recv(&mut buffer) {
                    Ok(n) => entries.push(String::from_utf8(buffer[..n].to_vec()).expect("UTF-8")),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if ended {
                return entries;
            }
        }
    });
    let (_, ports) = connection("127.0.0.1", "127.0.0.1");
    let ended = tool.stop().success();
    assert_eq!(
        ended.stderr.matches("did not take").count(),
        0,
        "{}",
        ended.stderr
    );
    done.send(()).expect("the reader");
    let entries = reader.join().expect("the reader");

    // Every event is in the journal as well as on stdout.
    assert_eq!(entries.len(), ended.lines().len() - 1);
    let (client, server) = (ports.client, ports.server);
    let entry = entries
        .iter()
        .find(|entry| {
            entry.contains(&format!("OBJECT_TCP_SOURCE_PORT={client}\n"))
                && entry.contains("SYN_SENT")
        })
        .unwrap_or_else(|| panic!("no entry of port {client}: {entries:#?}"));
    let field = |name: &str| {
        entry
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("no {name} in {entry}"))
    };
    assert_eq!(field("SYSLOG_IDENTIFIER"), "tcpstates");
    assert_eq!(field("PRIORITY"), "5");
    assert_eq!(field("OBJECT_PID"), std::process::id().to_string());
    assert_eq!(field("OBJECT_IPV4_SOURCE_ADDRESS"), "127.0.0.1");
    assert_eq!(field("OBJECT_IPV4_DESTINATION_ADDRESS"), "127.0.0.1");
    assert_eq!(field("OBJECT_TCP_DESTINATION_PORT"), server.to_string());
    assert_eq!(field("OBJECT_TCP_OLD_STATE"), "SYN_SENT");
    assert_eq!(field("OBJECT_TCP_NEW_STATE"), "ESTABLISHED");
    assert!(field("OBJECT_TCP_SPAN_TIME").parse::<u64>().is_ok());
    assert!(field("MESSAGE").ends_with(&format!(
        " 127.0.0.1 {client} \u{2192} 127.0.0.1 {server} SYN_SENT \u{2192} ESTABLISHED"
    )));
}

/// Both alternatives give the same rows, wherever they can exist.
#[test]
fn every_alternative_gives_the_same_rows() {
    for alternative in ["tp_btf", "tp_btf-hash"] {
        let mut command = command("tcpstates");
        command
            .args(["--verbose", "--json"])
            .env("BPFCC_RS_HOOKS", format!("state={alternative}"));
        if alternative == "tp_btf" && kernel() < (5, 11) {
            let ended = run_command(command);
            assert_eq!(code(ended.status), 1);
            assert!(
                ended.stderr.contains("cannot trace state: tp_btf"),
                "{}",
                ended.stderr
            );
            continue;
        }
        let tool = Tool::spawn(command);
        let (netns, _) = connection("127.0.0.1", "127.0.0.1");
        let ended = tool.stop().success();
        assert!(
            ended
                .stderr
                .contains(&format!("state: using {alternative}")),
            "{}",
            ended.stderr
        );
        let rows = ended.json();
        let mut courses: Vec<_> = by_socket(&rows, &netns)
            .iter()
            .map(|rows| changes(rows).join(" "))
            .collect();
        courses.sort();
        let mut expected = [LISTENER.join(" "), CLIENT.join(" "), SERVER.join(" ")];
        expected.sort();
        assert_eq!(courses, expected);
    }
}
