// SPDX-License-Identifier: MIT OR Apache-2.0
//! `make demo`: the tools on this machine's kernel, with events made on
//! purpose. Shows what they print; fails when one shows nothing.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bpfcc_tests::files::{Hand, Mounted};
use bpfcc_tests::net::{Host, Pair, Talk, addr};
use bpfcc_tests::{DirectFile, Ended, LoopDevice, TempDir, Tool, bin, connect_and_close, kernel};

/// Lines shown of a tool's output.
const SHOWN: usize = 24;

fn main() -> ExitCode {
    let (major, minor) = kernel();
    println!(
        "The tools on this machine's kernel, Linux {major}.{minor}, with events made on purpose."
    );
    let silent: Vec<_> = [
        ("tcpstates", tcpstates as fn() -> bool),
        ("opensnoop", opensnoop),
        ("biolatency", biolatency),
        ("biosnoop", biosnoop),
        ("bitesize", bitesize),
        ("tcplife", tcplife),
        ("tcpretrans", tcpretrans),
        ("tcpconnlat", tcpconnlat),
        ("tcpconnect", tcpconnect),
        ("tcpaccept", tcpaccept),
        ("tcptracer", tcptracer),
        ("tcpdrop", tcpdrop),
        ("qdiscdrop", qdiscdrop),
        ("ctsnoop", ctsnoop),
        ("tcpports", tcpports),
        ("tcptop", tcptop),
        ("tcprtt", tcprtt),
        ("tcpsubnet", tcpsubnet),
        ("execsnoop", execsnoop),
        ("runqlat", runqlat),
        ("cachestat", cachestat),
        ("profile", profile),
        ("ext4slower", ext4slower),
    ]
    .into_iter()
    .filter(|(_, demonstrate)| !demonstrate())
    .map(|(tool, _)| tool)
    .collect();
    if silent.is_empty() {
        println!("\nEach tool has shown the events that were made.");
        return ExitCode::SUCCESS;
    }
    eprintln!("\nshowed nothing of what was made: {}", silent.join(", "));
    ExitCode::FAILURE
}

fn show(what: &str, command: &str, ended: &Ended) {
    println!("\n--- {what}\n# {command}");
    for line in ended.stdout.lines().take(SHOWN) {
        println!("{line}");
    }
    if let Some(more @ 1..) = ended.stdout.lines().count().checked_sub(SHOWN) {
        println!("... and {more} more lines");
    }
}

fn tcpstates() -> bool {
    let tool = Tool::start("tcpstates", &["-T"]);
    let loopback = [127, 0, 0, 1].into();
    let ports = connect_and_close(loopback, loopback);
    let ended = tool.stop();
    show(
        "a TCP connection that opens and closes",
        "tcpstates -T",
        &ended,
    );
    ended.status.success() && ended.stdout.contains(&ports.client.to_string())
}

fn opensnoop() -> bool {
    let dir = TempDir::new("demo");
    let (there, missing) = (dir.join("there.conf"), dir.join("missing.conf"));
    let args = ["-T", "-U", "-e", "-p", &std::process::id().to_string()].map(str::to_owned);
    let tool = Tool::start("opensnoop", &args.each_ref().map(String::as_str));
    drop(File::create(&there));
    for _ in 0..3 {
        drop(File::open(&there));
        drop(File::open(&missing));
    }
    let ended = tool.stop();
    show(
        "opens of a file that is there and of one that is not",
        &format!("opensnoop {}", args.join(" ")),
        &ended,
    );
    ended.status.success()
        && ended.stdout.contains("there.conf")
        && ended.stdout.contains("missing.conf")
}

fn biolatency() -> bool {
    let device = LoopDevice::new(16 << 20);
    let args = ["-D", "--percentiles", "-d", device.name()];
    let tool = Tool::start("biolatency", &args);
    for direction in ["writes", "reads"] {
        let done = Command::new(bin("bpfcc-workload"))
            .arg(direction)
            .arg(&device.path)
            .arg("2000")
            .status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("direct {direction} on {} failed", device.path.display());
            return false;
        }
    }
    let ended = tool.stop();
    show(
        "direct reads and writes of a loop device",
        &format!("biolatency {}", args.join(" ")),
        &ended,
    );
    ended.status.success() && ended.stdout.contains("->")
}

fn biosnoop() -> bool {
    let device = LoopDevice::new(16 << 20);
    let args = ["-PQ", "-d", device.name()];
    let tool = Tool::start("biosnoop", &args);
    let done = transfers(&device);
    let ended = tool.stop();
    show(
        "direct I/O of a loop device",
        &format!("biosnoop {}", args.join(" ")),
        &ended,
    );
    done && ended.status.success() && ended.stdout.contains(" 131072 ")
}

fn bitesize() -> bool {
    let device = LoopDevice::new(16 << 20);
    let args = ["--percentiles", "-d", device.name()];
    let tool = Tool::start("bitesize", &args);
    let done = (0..20).all(|_| transfers(&device));
    let ended = tool.stop();
    show(
        "direct I/O of a loop device, of several sizes",
        &format!("bitesize {}", args.join(" ")),
        &ended,
    );
    done && ended.status.success() && ended.stdout.contains("->")
}

/// Reads and writes, one behind the other, of 4 to 128 KiB.
fn transfers(device: &LoopDevice) -> bool {
    let Ok(mut file) = DirectFile::open(&device.path) else {
        return false;
    };
    let mut offset = 0;
    [1, 1, 2, 4, 8, 32].iter().all(|&blocks| {
        let done = [true, false].map(|write| file.transfer(offset, blocks, write).is_ok());
        offset += 4096 * blocks as u64;
        done == [true, true]
    })
}

fn cachestat() -> bool {
    let disk = Mounted::ext4(64 << 20);
    let file = disk.path("file");
    let mut hand = Hand::new();
    hand.act("make", &file, 16 << 20);
    let args = ["-T", "--cgroup", hand.cgroup.path()].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let tool = Tool::start("cachestat", &args);
    for _ in 0..3 {
        hand.act("read", &file, 128 << 10);
        tool.wait_for_line(|line| line.contains('%'));
    }
    hand.act("write", &disk.path("new"), 8 << 20);
    let ended = tool.stop();
    show(
        "a file of 4096 pages, read three times, and one of 2048 pages, written",
        &format!("cachestat {}", args.join(" ")),
        &ended,
    );
    let has = |what: &str| ended.stdout.contains(what);
    ended.status.success() && has(" 4096 ") && has(" 2048 ")
}

fn ext4slower() -> bool {
    let disk = Mounted::ext4(64 << 20);
    let mut hand = Hand::new();
    let args = ["--cgroup", hand.cgroup.path(), "0"].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let tool = Tool::start("ext4slower", &args);
    hand.act("make", &disk.path("file"), 300 << 10);
    hand.act("read", &disk.path("file"), 200 << 10);
    let ended = tool.stop();
    show(
        "a file, written, synced and read on ext4",
        &format!("ext4slower {}", args.join(" ")),
        &ended,
    );
    let has = |what: &str| ended.stdout.contains(what);
    ended.status.success() && has(" S 0 ") && has(" R 102400  200 ")
}

/// Starts a network tool for what happens on `host`.
fn on(host: &Host, tool: &str, args: &[&str]) -> Tool {
    let inode = host.inode().to_string();
    Tool::start(tool, &[args, &["--netns-id", &inode]].concat())
}

/// Lets what comes for `port` through once in four times.
fn lossy(host: &Host, port: u16) {
    host.run("nft add table inet demo");
    host.run("nft add chain inet demo in { type filter hook input priority 0 ; }");
    host.run(&format!(
        "nft add rule inet demo in tcp dport {port} tcp flags & syn == 0 numgen inc mod 4 < 1 drop"
    ));
}

fn tcplife() -> bool {
    let host = Host::new();
    let tool = on(&host, "tcplife", &["-T"]);
    let loopback = [127, 0, 0, 1].into();
    let ports = host.within(|| connect_and_close(loopback, loopback));
    let ended = tool.stop();
    show("both ends of a connection", "tcplife -T", &ended);
    ended.status.success() && ended.stdout.contains(&ports.client.to_string())
}

fn tcpretrans() -> bool {
    let pair = Pair::new();
    let tool = on(&pair.left, "tcpretrans", &["-s"]);
    let listener = pair
        .right
        .within(|| TcpListener::bind((addr(Pair::RIGHT), 0)));
    let Ok(listener) = listener else { return false };
    let Ok(port) = listener.local_addr().map(|own| own.port()) else {
        return false;
    };
    lossy(&pair.right, port);
    let sent = pair.left.within(|| -> std::io::Result<()> {
        let mut client = TcpStream::connect((addr(Pair::RIGHT), port))?;
        let (mut server, _) = listener.accept()?;
        // One segment at a time: each is there before the next is sent.
        for _ in 0..8 {
            client.write_all(&[0; 1000])?;
            server.read_exact(&mut [0; 1000])?;
        }
        Ok(())
    });
    let ended = tool.stop();
    show(
        "a network that drops every fourth segment",
        "tcpretrans -s",
        &ended,
    );
    sent.is_ok() && ended.status.success() && ended.stdout.contains(&format!(":{port}"))
}

fn tcpconnlat() -> bool {
    let pair = Pair::new();
    let tool = on(&pair.left, "tcpconnlat", &["-L", "--failed"]);
    pair.right.run("nft add table inet demo");
    pair.right
        .run("nft add chain inet demo in { type filter hook input priority 0 ; }");
    pair.right
        .run("nft add rule inet demo in tcp dport 81 drop");
    let listener = pair
        .right
        .within(|| TcpListener::bind((addr(Pair::RIGHT), 80)));
    pair.left.within(|| {
        let to = |port: u16| (addr(Pair::RIGHT), port).into();
        for port in [80, 82, 81] {
            // Answered, refused, given up.
            let _ = TcpStream::connect_timeout(&to(port), Duration::from_millis(300));
        }
    });
    drop(listener);
    let ended = tool.stop();
    show(
        "an open port, a closed one, and one that never answers",
        "tcpconnlat -L --failed",
        &ended,
    );
    ended.status.success()
        && ["ECONNREFUSED", "closed", " 80 "]
            .iter()
            .all(|seen| ended.stdout.contains(seen))
}

fn tcpconnect() -> bool {
    let host = Host::new();
    let tool = on(&host, "tcpconnect", &["-tUL"]);
    let loopback = [127, 0, 0, 1].into();
    let ports = host.within(|| {
        let _ = TcpStream::connect("127.0.0.1:9");
        connect_and_close(loopback, loopback)
    });
    let ended = tool.stop();
    show(
        "a connect that is refused, one that succeeds",
        "tcpconnect -tUL",
        &ended,
    );
    ended.status.success()
        && [ports.client, ports.server, 9]
            .iter()
            .all(|port| ended.stdout.contains(&format!(" {port} ")))
}

fn tcpaccept() -> bool {
    let host = Host::new();
    let tool = on(&host, "tcpaccept", &["-t"]);
    let ports =
        host.within(|| ["127.0.0.1", "::1"].map(|to| connect_and_close(addr(to), addr(to))));
    let ended = tool.stop();
    show("connections that are accepted", "tcpaccept -t", &ended);
    ended.status.success()
        && ports
            .iter()
            .all(|ports| ended.stdout.contains(&ports.client.to_string()))
}

fn tcptracer() -> bool {
    let host = Host::new();
    let tool = on(&host, "tcptracer", &["-t"]);
    let ports =
        host.within(|| ["127.0.0.1", "::1"].map(|to| connect_and_close(addr(to), addr(to))));
    let ended = tool.stop();
    show(
        "both ends of two connections, from begin to end",
        "tcptracer -t",
        &ended,
    );
    // Connected, accepted, closed at both ends.
    ended.status.success()
        && ports.iter().all(|ports| {
            let client = format!(" {} ", ports.client);
            ended.stdout.matches(&client).count() == 4
        })
}

fn tcpdrop() -> bool {
    let pair = Pair::new();
    let tool = on(&pair.right, "tcpdrop", &[]);
    pair.left.within(|| {
        let _ = TcpStream::connect((addr(Pair::RIGHT), 9));
    });
    let ended = tool.stop();
    show("a SYN to a closed port", "tcpdrop", &ended);
    ended.status.success() && ended.stdout.contains(&format!("{}:9 ", Pair::RIGHT))
}

fn qdiscdrop() -> bool {
    let pair = Pair::new();
    pair.left
        .run("tc qdisc add dev eth0 root tbf rate 256kbit burst 2kb limit 4kb");
    // A namespace is found by the processes in it: for the qdisc's own counters.
    let inhabitant = pair
        .left
        .within(|| Command::new("sleep").arg("600").spawn());
    let tool = on(&pair.left, "qdiscdrop", &[]);
    let sent = pair.left.within(|| -> std::io::Result<()> {
        let socket = UdpSocket::bind((addr(Pair::LEFT), 0))?;
        for _ in 0..100 {
            socket.send_to(&[0; 1000], (addr(Pair::RIGHT), 5000))?;
        }
        Ok(())
    });
    let ended = tool.stop();
    if let Ok(mut inhabitant) = inhabitant {
        let _ = inhabitant.kill();
        let _ = inhabitant.wait();
    }
    show(
        "100 datagrams into a qdisc that lets two through",
        "qdiscdrop",
        &ended,
    );
    for line in ended
        .stderr
        .lines()
        .filter(|line| line.contains("counters"))
    {
        println!("{line}");
    }
    sent.is_ok() && ended.status.success() && ended.stdout.contains(":5000")
}

fn ctsnoop() -> bool {
    let host = Host::new();
    host.run("nft add table inet demo");
    host.run("nft add chain inet demo out { type filter hook output priority 0 ; }");
    host.run("nft add rule inet demo out ct state established accept");
    let tool = on(&host, "ctsnoop", &[]);
    let loopback = [127, 0, 0, 1].into();
    let ports = host.within(|| connect_and_close(loopback, loopback));
    let _ = host.within(|| UdpSocket::bind("127.0.0.1:0")?.send_to(b"?", "127.0.0.1:53"));
    let ended = tool.stop();
    show(
        "connections through a firewall that keeps state",
        "ctsnoop",
        &ended,
    );
    ended.status.success() && ended.stdout.contains(&ports.client.to_string())
}

fn tcpports() -> bool {
    let host = Host::new();
    let ports = "/proc/sys/net/ipv4/ip_local_port_range";
    let tool = on(&host, "tcpports", &["-T", "60"]);
    let clients = host.within(|| -> std::io::Result<_> {
        std::fs::write(ports, "40000 40099")?;
        let server = TcpListener::bind("127.0.0.1:80")?;
        let clients: Vec<_> = (0..102)
            .filter_map(|_| TcpStream::connect("127.0.0.1:80").ok())
            .collect();
        Ok((server, clients))
    });
    let ended = tool.stop();
    show(
        "102 connections in a namespace with 100 ports",
        "tcpports -T",
        &ended,
    );
    clients.is_ok()
        && ended.status.success()
        && ended.stdout.contains("EADDRNOTAVAIL")
        && ended.stdout.contains("100.0")
}

fn tcptop() -> bool {
    let host = Host::new();
    let _resident = host.resident();
    let tool = on(&host, "tcptop", &["-C", "60"]);
    let talks = host.within(|| {
        [("127.0.0.1", 3_000_000, 20_000), ("::1", 5_000, 70_000)].map(|(to, up, down)| {
            let mut talk = Talk::new(to, to);
            talk.exchange(up, down);
            talk
        })
    });
    host.acknowledged();
    let ended = tool.stop();
    show(
        "two connections that carry something",
        "tcptop -C 60",
        &ended,
    );
    let (port, _) = talks[0].ports();
    ended.status.success() && ended.stdout.contains(&format!(":{port} "))
}

fn tcprtt() -> bool {
    let host = Host::new();
    let tool = on(&host, "tcprtt", &["-B", "-e"]);
    host.within(|| {
        for to in ["127.0.0.1", "::1"] {
            let mut talk = Talk::new(to, to);
            for _ in 0..200 {
                talk.exchange(100, 100);
            }
        }
    });
    let ended = tool.stop();
    show(
        "round-trip times of two connections",
        "tcprtt -B -e",
        &ended,
    );
    ended.status.success() && ended.stdout.contains("Remote Address = ::1 [AVG ")
}

fn tcpsubnet() -> bool {
    let pair = Pair::new();
    let _resident = pair.left.resident();
    let args = ["-i", "60", "10.0.0.0/8,fd77::/16"];
    let tool = on(&pair.left, "tcpsubnet", &args);
    for (right, bytes) in [(Pair::RIGHT, 700_000), (Pair::RIGHT6, 5_000)] {
        pair.talk(right).exchange(bytes, 0);
    }
    let ended = tool.stop();
    show(
        "bytes to two networks",
        &format!("tcpsubnet {}", args.join(" ")),
        &ended,
    );
    ended.status.success() && ended.stdout.contains("fd77::/16")
}

fn execsnoop() -> bool {
    let args = ["-x", "-P", &std::process::id().to_string()].map(str::to_owned);
    let tool = Tool::start("execsnoop", &args.each_ref().map(String::as_str));
    let dir = TempDir::new("demo");
    let there = Command::new("/bin/ls").arg("-d").arg(&dir.0).output();
    let missing = Command::new(dir.join("missing")).arg("--now").output();
    let ended = tool.stop();
    show(
        "a program that is there and one that is not",
        &format!("execsnoop {}", args.join(" ")),
        &ended,
    );
    there.is_ok()
        && missing.is_err()
        && ended.status.success()
        && [" -d ", "missing --now"]
            .iter()
            .all(|seen| ended.stdout.contains(seen))
}

fn runqlat() -> bool {
    let args = ["--percentiles"];
    let tool = Tool::start("runqlat", &args);
    let busy: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                let start = std::time::Instant::now();
                while start.elapsed() < Duration::from_millis(500) {
                    std::thread::sleep(Duration::from_micros(100));
                    (0..100_000).for_each(|_| std::hint::spin_loop());
                }
            })
        })
        .collect();
    let worked = busy.into_iter().all(|thread| thread.join().is_ok());
    let ended = tool.stop();
    show(
        "four threads that sleep and work",
        &format!("runqlat {}", args.join(" ")),
        &ended,
    );
    worked && ended.status.success() && ended.stdout.contains("->")
}

fn profile() -> bool {
    let own = std::process::id().to_string();
    let args = ["-d", "-p", &own];
    let tool = Tool::start("profile", &args);
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        busy_with_sums();
    }
    let ended = tool.stop();
    show(
        "a function that keeps a processor busy",
        &format!("profile {}", args.join(" ")),
        &ended,
    );
    ended.status.success() && ended.stdout.contains("busy_with_sums")
}

#[inline(never)]
fn busy_with_sums() {
    std::hint::black_box((0..1_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum + n)));
}
