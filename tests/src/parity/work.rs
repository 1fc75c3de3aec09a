// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workloads: the same events each time, with the same addresses, ports
//! and paths. Each is a process of its own (`bpfcc-workload parity NAME`) that
//! makes ready, tells its ids, and begins when it is told to.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg, OFlag, OpenHow, openat, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, Uid, mkfifo, setresuid};

use crate::execveat::Execveat;
use crate::files::{Mounted, act};
use crate::net::{Host, addr, run};
use crate::{
    Cgroup, DirectFile, LoopDevice, PATIENCE, bin, completed_ios, name_thread, until, wait_for,
};

/// The name of the process whose I/O has many sizes.
pub const IO_NAME: &str = "like-bcc.io";
/// In every path that a workload opens.
pub const MARK: &str = "like-bcc";
/// Where the programs are that a workload starts.
const PROGRAMS: &str = "/tmp/like-bcc/bin/";
const V4: &str = "10.99.0.1";
const V6: &str = "fd99::1";
const MAPPED: &str = "::ffff:10.99.0.1";
const USER: &str = "4711";
/// The name that `-d` of tcpconnect is to find for both addresses.
const NAME: &[u8] = b"\x08like-bcc\x07example\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Connections,
    Sessions,
    Retransmits,
    Drops,
    Io,
    Sizes,
    Opens,
    Execs,
    Files,
    Waits,
    Pages,
    Dirties,
    Busy,
}

pub const WORKS: &[Work] = &[
    Work::Connections,
    Work::Sessions,
    Work::Retransmits,
    Work::Drops,
    Work::Io,
    Work::Sizes,
    Work::Opens,
    Work::Execs,
    Work::Files,
    Work::Waits,
    Work::Pages,
    Work::Dirties,
    Work::Busy,
];

/// Whether a line is about what a workload did.
pub fn is_ours(line: &str) -> bool {
    let last = line.rsplit(' ').next().unwrap_or_default();
    [V4, V6, PROGRAMS, IO_NAME]
        .iter()
        .any(|mark| line.contains(mark))
        || last.contains(MARK)
}

/// What a workload tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub pid: String,
    pub tid: String,
    pub disk: String,
    pub maps: String,
    /// The inode number of its network namespace.
    pub netns: String,
}

impl Facts {
    pub fn parse(text: &str) -> Self {
        let get = |key: &str| {
            let mut words = text
                .split_whitespace()
                .filter_map(|word| word.split_once('='));
            let found = words.find(|(name, _)| *name == key);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        Self {
            pid: get("pid"),
            tid: get("tid"),
            disk: get("disk"),
            maps: get("maps"),
            netns: get("netns"),
        }
    }

    pub fn text(&self) -> String {
        let Self {
            pid,
            tid,
            disk,
            maps,
            netns,
        } = self;
        format!("pid={pid} tid={tid} disk={disk} maps={maps} netns={netns}")
    }

    /// A process or thread id in words.
    pub fn word(&self, id: &str) -> String {
        let word = match id {
            id if id == self.pid => "pid",
            id if id == self.tid => "tid",
            _ => "other",
        };
        word.into()
    }

    /// Arguments with what they stand for.
    pub fn fill(&self, args: &[&str], seconds: u32) -> Vec<String> {
        args.iter()
            .map(|arg| {
                arg.replace("{pid}", &self.pid)
                    .replace("{tid}", &self.tid)
                    .replace("{disk}", &self.disk)
                    .replace("{maps}", &self.maps)
                    .replace("{netns}", &self.netns)
                    .replace("{seconds}", &seconds.to_string())
                    .replace("{half}", &(seconds / 2).to_string())
            })
            .collect()
    }
}

/// A workload that waits. It is the machine's only one while this lives.
pub struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub facts: Facts,
    _only: Flock<File>,
}

impl Worker {
    pub fn start(work: Work) -> Self {
        let lock = File::create(std::env::temp_dir().join("bpfcc-parity.lock")).expect("lock file");
        let only = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, e)| e)
            .expect("lock");
        let mut child = Command::new(bin("bpfcc-workload"))
            .args(["parity", work.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bpfcc-workload");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the workload's facts");
        assert!(
            line.starts_with("ready "),
            "the workload {work:?} does not start"
        );
        Self {
            stdin: child.stdin.take(),
            child,
            stdout,
            facts: Facts::parse(&line),
            _only: only,
        }
    }

    /// Does the work; comes back when it is done.
    pub fn go(&mut self) {
        let stdin = self.stdin.as_mut().expect("not ended");
        stdin.write_all(b"go\n").expect("start the work");
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the end of the work");
        assert_eq!(line, "done\n", "the workload has failed");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin = None;
        let status = wait_for(&mut self.child);
        if !thread::panicking() {
            assert!(status.success(), "the workload: {status}");
        }
    }
}

impl Work {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Sessions => "sessions",
            Self::Retransmits => "retransmits",
            Self::Drops => "drops",
            Self::Io => "io",
            Self::Sizes => "sizes",
            Self::Opens => "opens",
            Self::Execs => "execs",
            Self::Files => "files",
            Self::Waits => "waits",
            Self::Pages => "pages",
            Self::Dirties => "dirties",
            Self::Busy => "busy",
        }
    }

    /// The workload itself, in its process.
    pub fn run(self) {
        match self {
            Self::Connections => in_host(|| at_once(connections)),
            Self::Sessions => in_host(sessions),
            Self::Retransmits => in_host(|| at_once(retransmits)),
            Self::Drops => in_host(|| at_once(drops)),
            Self::Io => io(),
            Self::Sizes => sizes(),
            Self::Opens => opens(),
            Self::Execs => execs(),
            Self::Files => files(),
            Self::Waits => waits(),
            Self::Pages => pages(),
            Self::Dirties => dirties(),
            Self::Busy => busy(),
        }
    }
}

/// Tells that all is ready, and waits for the word.
fn ready(facts: &str) {
    println!("ready pid={} {facts}", std::process::id());
    let mut line = String::new();
    io::stdin().read_line(&mut line).expect("the word");
    if line.is_empty() {
        std::process::exit(0);
    }
}

/// Tells that the work is done, and waits until all have seen it.
fn done() {
    println!("done");
    io::stdin().read_to_end(&mut Vec::new()).expect("the end");
}

fn at_once(work: fn()) {
    ready("");
    work();
    done();
}

/// A network of its own with fixed addresses, where no port is taken.
fn in_host(work: fn()) {
    name_thread("tee");
    let host = Host::new();
    host.within(|| {
        run(&format!("ip addr add {V4}/32 dev lo"));
        run(&format!("ip addr add {V6}/128 dev lo nodad"));
        run("nft add table inet lost");
        for (chain, hook) in [("in", "input"), ("out", "output")] {
            run(&format!(
                "nft add chain inet lost {chain} {{ type filter hook {hook} priority 0 ; }}"
            ));
        }
        let settings = [
            ("tcp_congestion_control", "reno"),
            ("tcp_early_retrans", "3"),
            ("tcp_timestamps", "1"),
        ];
        for (name, value) in settings {
            fs::write(format!("/proc/sys/net/ipv4/{name}"), value).expect(name);
        }
        work();
    });
}

/// The next connection comes from this port.
fn from_port(port: u16) {
    fs::write(
        "/proc/sys/net/ipv4/ip_local_port_range",
        format!("{port} {port}"),
    )
    .expect("port range");
}

/// The first `count` packets that match are thrown away. No time is in this: the
/// next one would be in an hour.
fn lose(chain: &str, what: &str, count: u32) {
    run(&format!(
        "nft add rule inet lost {chain} {what} limit rate 1/hour burst {count} packets drop"
    ));
}

fn at(address: &str, port: u16) -> SocketAddr {
    (addr(address), port).into()
}

/// Whole connections of each family, one that nobody answers at first, and one refused.
fn connections() {
    lose("in", "tcp dport 7004", 1);
    for (address, port) in [(V4, 7001), (V6, 7002), (MAPPED, 7003), (V4, 7004)] {
        let listener = TcpListener::bind(at(address, port)).expect("listen");
        from_port(port + 100);
        let client = TcpStream::connect(at(address, port)).expect("connect");
        let (mut server, _) = listener.accept().expect("accept");
        client
            .shutdown(std::net::Shutdown::Write)
            .expect("shut down");
        assert_eq!(server.read(&mut [0]).expect("end of stream"), 0);
        drop(server);
        assert_eq!((&client).read(&mut [0]).expect("end of stream"), 0);
    }
    for (address, port) in [(V4, 7009), (V6, 7010)] {
        from_port(port + 100);
        TcpStream::connect(at(address, port)).expect_err("nobody listens");
    }
}

/// What the session of v4-mapped addresses sends, both ends together.
pub const MAPPED_BYTES: u64 = 12 << 10;

/// Sessions that carry data, of this process and of another user's in another cgroup; the
/// process asks a name server for the addresses before. And two connects that are refused.
fn sessions() {
    let base = fresh_base();
    let containers = Containers::enter(&base);
    let mut other = Other::start(&containers.other);
    let server = UdpSocket::bind(at(V4, 53)).expect("name server");
    let netns = fs::metadata("/proc/thread-self/ns/net").expect("namespace");
    ready(&format!(
        "maps={} netns={}",
        containers.maps.dir.display(),
        netns.ino()
    ));

    for kind in [1, 28] {
        look_up(&server, kind);
    }
    // BCC takes answers and connects from two buffers, in any order when both wait.
    thread::sleep(Duration::from_millis(300));
    lose("in", "tcp dport 7004", 1);
    session(V4, 7001, 6, 3);
    session(V6, 7002, 15, 6);
    session(MAPPED, 7003, 9, 3);
    session(V4, 7004, 3, 12);
    other.go();
    for (address, port) in [(V4, 7009), (V6, 7010)] {
        from_port(port + 100);
        TcpStream::connect(at(address, port)).expect_err("nobody listens");
    }
    done();
    other.end();
    containers.leave();
    let _ = fs::remove_dir_all(&base);
}

/// A connection that carries so many KiB up and down; the client closes first.
fn session(address: &str, port: u16, up: usize, down: usize) {
    const PARTS: usize = 3;
    let (mut client, mut server) = flow(address, port);
    let pass = |from: &mut TcpStream, to: &mut TcpStream, kib: usize| {
        let mut data = vec![1; kib * 1024 / PARTS];
        from.write_all(&data).expect("send");
        to.read_exact(&mut data).expect("receive");
    };
    for _ in 0..PARTS {
        pass(&mut client, &mut server, up);
        pass(&mut server, &mut client, down);
    }
    client.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(server.read(&mut [0]).expect("end of stream"), 0);
    drop(server);
    assert_eq!(client.read(&mut [0]).expect("end of stream"), 0);
}

/// Asks for the addresses of that record type, and answers.
fn look_up(server: &UdpSocket, kind: u8) {
    let socket = UdpSocket::bind(at(V4, 0)).expect("socket");
    let to = server.local_addr().expect("own address");
    socket.connect(to).expect("connect");
    let mut message = vec![0, kind, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(NAME);
    message.extend([0, kind, 0, 1]);
    socket.send(&message).expect("ask");
    let mut buffer = [0; 512];
    let (_, from) = server.recv_from(&mut buffer).expect("the question");
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    message[7] = 1; // one answer
    message.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
    let address = match addr(if kind == 1 { V4 } else { V6 }) {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    message.push(address.len() as u8);
    message.extend(address);
    server.send_to(&message, from).expect("answer");
    socket.recv(&mut buffer).expect("the answer");
}

/// Another process in the same network.
struct Other {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    fn start(cgroup: &Cgroup) -> Self {
        let mut child = cgroup
            .command(&bin("bpfcc-workload"), &["parity", OTHER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bpfcc-workload");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut String::new()).expect("its begin");
        Self {
            stdin: child.stdin.take().expect("piped"),
            child,
            stdout,
        }
    }

    fn go(&mut self) {
        self.stdin.write_all(b"go\n").expect("start the other");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its end");
        assert_eq!(line, "done\n", "the other has failed");
    }

    fn end(mut self) {
        drop(self.stdin);
        assert!(wait_for(&mut self.child).success());
    }
}

/// The name of what [`Other`] does.
pub const OTHER: &str = "other";

/// What [`Other`] does: its user may set the port range, but is not root to those who ask.
pub fn other() {
    name_thread("tee.other");
    let user = Uid::from_raw(USER.parse().expect("a number"));
    setresuid(user, Uid::from_raw(0), Uid::from_raw(0)).expect("another user");
    ready("");
    session(V4, 7005, 12, 3);
    session(V6, 7006, 3, 3);
    done();
}

/// Data lost twice in a flow of each family, and a lost SYN.
fn retransmits() {
    lose("in", "tcp dport 7004", 1);
    for (address, port) in [(V4, 7001), (V6, 7002)] {
        lose("in", &format!("tcp dport {port} tcp flags & psh == psh"), 2);
        let (mut client, mut server) = flow(address, port);
        client.write_all(b"data").expect("send");
        server.read_exact(&mut [0; 4]).expect("receive");
    }
    flow(V4, 7004);
}

fn flow(address: &str, port: u16) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(at(address, port)).expect("listen");
    from_port(port + 100);
    let client = TcpStream::connect(at(address, port)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    (client, server)
}

/// What leaves this host is dropped: a SYN and data in each family. And a SYN that
/// comes to a closed port.
fn drops() {
    for (address, port) in [(V4, 7005), (V6, 7006)] {
        run(&format!("nft add rule inet lost out tcp dport {port} drop"));
        from_port(port + 100);
        let wait = Duration::from_millis(100);
        TcpStream::connect_timeout(&at(address, port), wait).expect_err("nobody answers");
    }
    for (address, port) in [(V4, 7001), (V6, 7002)] {
        lose(
            "out",
            &format!("tcp dport {port} tcp flags & psh == psh"),
            1,
        );
        let (mut client, mut server) = flow(address, port);
        client.write_all(b"data").expect("send");
        server.read_exact(&mut [0; 4]).expect("receive");
    }
    from_port(7109);
    TcpStream::connect(at(V4, 7009)).expect_err("nobody listens");
}

/// Direct reads and writes of a disk.
fn io() {
    let device = LoopDevice::new(8 << 20);
    ready(&format!("disk={}", device.name()));
    let before = completed_ios(device.name());
    for (kind, count) in [("reads", "200"), ("writes", "100")] {
        let status = Command::new(bin("bpfcc-workload"))
            .arg(kind)
            .arg(&device.path)
            .arg(count)
            .status();
        assert!(status.expect("bpfcc-workload").success());
    }
    until("the I/O is done", Instant::now() + PATIENCE, || {
        (completed_ios(device.name()) >= before + 300).then_some(())
    });
    done();
}

/// Direct reads and writes of several sizes, one behind the other and not.
fn sizes() {
    name_thread(IO_NAME);
    let device = LoopDevice::new(8 << 20);
    let mut file = DirectFile::open(&device.path).expect("open the device");
    ready(&format!("disk={}", device.name()));
    let before = completed_ios(device.name());
    let blocks = [1, 1, 2, 4, 16, 3, 1, 32];
    for write in [false, true] {
        for start in [0u64, 1 << 20, 0] {
            let mut offset = start;
            for count in blocks {
                file.transfer(offset, count, write).expect("direct I/O");
                offset += 4096 * count as u64;
            }
        }
    }
    let count = 2 * 3 * blocks.len() as u64;
    until("the I/O is done", Instant::now() + PATIENCE, || {
        (completed_ios(device.name()) >= before + count).then_some(())
    });
    done();
}

/// A file of 16384 pages is read, and twice again.
fn pages() {
    let disk = Mounted::ext4(128 << 20);
    let file = disk.path("file");
    act("make", &file, 64 << 20);
    ready("");
    for _ in 0..3 {
        act("read", &file, 128 << 10);
    }
    done();
}

/// A file of 8192 pages is written, and again.
fn dirties() {
    let disk = Mounted::ext4(128 << 20);
    let file = disk.path("file");
    ready("");
    for _ in 0..2 {
        act("write", &file, 32 << 20);
    }
    done();
}

/// Reads, writes, opens and syncs on three file systems, and a FIFO.
fn files() {
    name_thread("tee");
    let disks = [
        ("ext4", Mounted::ext4(32 << 20)),
        ("xfs", Mounted::xfs()),
        ("btrfs", Mounted::btrfs()),
    ];
    let fifo = disks[0].1.path(&format!("{MARK}.fifo"));
    mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let mut fifo = File::options()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("open the FIFO");
    ready("");
    for (kind, disk) in &disks {
        let path = disk.path(&format!("{MARK}.{kind}"));
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .open(&path)
            .expect("new");
        file.write_all(&[1; 70_000]).expect("write");
        file.write_all_at(&[2; 100], 5000).expect("pwrite");
        file.read_exact_at(&mut [0; 3000], 3000).expect("pread");
        assert_eq!(file.read(&mut [0; 10]).expect("the end"), 0);
        file.sync_all().expect("fsync");
        drop(file);
        drop(File::open(&path).expect("there"));
    }
    fifo.write_all(b"through").expect("write");
    fifo.read_exact(&mut [0; 7]).expect("read");
    done();
}

/// Opens that succeed and fail, by each call, by two threads and another user.
fn opens() {
    name_thread("tee");
    let base = fresh_base();
    fs::create_dir_all(base.join("sub")).expect("directory");
    let relative = format!("{MARK}.relative");
    for name in [
        "there",
        "thread",
        "user",
        &relative,
        &format!("sub/{relative}"),
    ] {
        fs::write(base.join(name), name).expect("file");
    }
    std::env::set_current_dir(&base).expect("enter the directory");
    let containers = Containers::enter(&base);

    let (tell, told) = channel::<()>();
    let (answer, answered) = channel();
    let thread = thread::spawn({
        let base = base.clone();
        move || {
            name_thread("tee.thread");
            answer.send(nix::unistd::gettid()).expect("tell the id");
            if told.recv().is_ok() {
                drop(File::open(base.join("thread")).expect("there"));
                File::open(base.join("thread.missing")).expect_err("missing");
            }
        }
    });
    let tid = answered.recv().expect("the thread's id");
    ready(&format!("tid={tid} maps={}", containers.maps.dir.display()));

    drop(File::open(base.join("there")).expect("there"));
    File::open(base.join("missing")).expect_err("missing");
    let mut options = File::options();
    drop(
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(base.join("new"))
            .expect("new"),
    );
    drop(
        File::options()
            .append(true)
            .open(base.join("there"))
            .expect("there"),
    );
    File::options()
        .write(true)
        .open(base.join("sub"))
        .expect_err("a directory");
    drop(File::open(&relative).expect("relative"));
    let dir = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(base.join("sub"))
        .expect("directory");
    drop(openat(&dir, relative.as_str(), OFlag::O_RDONLY, Mode::empty()).expect("openat"));
    let there = CString::new(base.join("there").to_str().expect("UTF-8")).expect("a name");
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK);
    drop(openat2(&dir, there.as_c_str(), how).expect("openat2"));
    File::open(base.join(format!("{}end", "sub/../".repeat(50)))).expect_err("missing");
    tell.send(()).expect("a thread");
    thread.join().expect("the thread");
    let user = base.join("user");
    let user = user.to_str().expect("UTF-8");
    let status = containers
        .other
        .command(
            Path::new("setpriv"),
            &["--reuid", USER, "--clear-groups", "cat", user],
        )
        .current_dir("/")
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("setpriv").success());
    done();
    containers.leave();
    let _ = std::env::set_current_dir("/");
    let _ = fs::remove_dir_all(&base);
}

/// The user that some programs of [`execs`] run as, by number and by name.
const DAEMON: u32 = 1;

/// Programs that start and that do not, with arguments of all kinds; some by another thread,
/// by a script, by another user in another cgroup.
fn execs() {
    name_thread("tee");
    let base = fresh_base();
    let programs = Path::new(PROGRAMS);
    fs::create_dir_all(programs).expect("directory");
    for name in ["one", "two", "daemon", "in.thread", "inner", "below"] {
        symlink("/bin/true", programs.join(name)).expect("link");
    }
    symlink(bin("bpfcc-workload"), programs.join("starter")).expect("link");
    let script = |name: &str, text: &str, mode| {
        let path = programs.join(name);
        fs::write(&path, text).expect("script");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
    };
    script(
        "script",
        &format!("#!/bin/sh -e\n{PROGRAMS}inner {MARK}\nexit 0\n"),
        0o755,
    );
    script("forbidden", "#!/bin/sh\n", 0o644);
    let containers = Containers::enter(&base);
    let command = |name: &str, args: &[&str]| {
        let mut command = Command::new(programs.join(name));
        // Behind the arguments: BCC reads 128 bytes of each, or nothing.
        command.env_clear().env("ROOM", " ".repeat(256)).args(args);
        command
    };
    let succeed = |command: &mut Command| {
        let status = command.status().expect("a program");
        assert!(status.success(), "{command:?}");
    };
    let start = |name: &str, args: &[&str]| succeed(&mut command(name, args));
    let fail = |name: &str, args: &[&str]| {
        let error = command(name, args).status().expect_err("nothing to start");
        assert!(error.raw_os_error().is_some(), "{error}");
    };
    ready(&format!("maps={}", containers.maps.dir.display()));

    start("one", &[]);
    start(
        "two",
        &[
            "a",
            "b c",
            "",
            "\"quoted\"",
            "größe",
            "new\nline",
            "tab\tstop",
        ],
    );
    start("two", &["a", "b", "c"]);
    start(
        "one",
        &[&"x".repeat(127), &"y".repeat(128), &"z".repeat(300)],
    );
    let numbers: Vec<String> = (1..=24).map(|number| format!("{number}")).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    for (name, count) in [("one", 18), ("two", 19), ("one", 20), ("one", 24)] {
        start(name, &numbers[..count]);
    }
    fail("missing", &["a", "missing"]);
    fail("forbidden", &["b"]);
    start("script", &["of", "script"]);
    start(
        "starter",
        &["exec-in-thread", &format!("{PROGRAMS}in.thread"), "thread"],
    );
    let dir = File::open(programs).expect("directory");
    let below = Execveat::new(dir.as_raw_fd(), "below", &["below", MARK], 0);
    succeed(&mut below.command());
    let enter = |cgroup: &Cgroup| fs::write(cgroup.0.join("cgroup.procs"), "0").expect("enter");
    enter(&containers.other);
    succeed(
        command("daemon", &["as", "daemon"])
            .uid(DAEMON)
            .current_dir("/"),
    );
    enter(&containers.own);
    done();
    containers.leave();
    let _ = fs::remove_dir_all(&base);
}

/// How often each of two threads waits for the other.
const TURNS: u64 = 100;
/// That makes as many waits for the CPU, at least.
pub const WAITS: u64 = 2 * TURNS;

/// Two threads that pass a byte to and fro, a new one, and a stranger in a PID
/// namespace of its own, all on one processor: whoever is woken waits for the others.
fn waits() {
    name_thread("tee");
    only_on(thread::available_parallelism().map_or(0, |count| count.get() - 1));
    let (mut near, mut far) = UnixStream::pair().expect("a pair");
    let (answer, answered) = channel();
    thread::spawn(move || {
        name_thread("tee.thread");
        answer.send(nix::unistd::gettid()).expect("tell the id");
        while far.read_exact(&mut [0]).is_ok() {
            burn();
            far.write_all(&[0]).expect("pass back");
        }
    });
    let tid = answered.recv().expect("the thread's id");
    ready(&format!("tid={tid}"));
    let mut stranger = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child"])
        .arg(bin("bpfcc-workload"))
        .arg("spin")
        .spawn()
        .expect("unshare");
    for _ in 0..TURNS {
        near.write_all(&[0]).expect("pass on");
        burn();
        near.read_exact(&mut [0]).expect("get back");
    }
    thread::spawn(burn).join().expect("a new thread");
    stranger.kill().expect("kill the stranger");
    wait_for(&mut stranger);
    done();
}

fn burn() {
    let end = Instant::now() + Duration::from_micros(200);
    while Instant::now() < end {}
}

/// The names of the threads of [`busy`].
pub const BUSY_SPINS: &str = "like-bcc.spins";
pub const BUSY_READS: &str = "like-bcc.reads";
/// For how long they are busy.
const BUSY_TIME: Duration = Duration::from_secs(3);

/// A thread that has a processor to itself and one that reads, on the last processor.
fn busy() {
    let base = fresh_base();
    let containers = Containers::enter(&base);
    let last = thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let (go, start) = channel::<()>();
    let (answer, answered) = channel();
    let thread = thread::spawn(move || {
        name_thread(BUSY_READS);
        only_on(last);
        answer.send(nix::unistd::gettid()).expect("tell the id");
        if start.recv().is_ok() {
            busy_in_the_kernel();
        }
    });
    let tid = answered.recv().expect("the thread's id");
    name_thread(BUSY_SPINS);
    only_on(0);
    ready(&format!("tid={tid} maps={}", containers.maps.dir.display()));
    go.send(()).expect("a thread");
    let end = Instant::now() + BUSY_TIME;
    while Instant::now() < end {
        busy_in_the_program();
    }
    thread.join().expect("the thread");
    done();
    containers.leave();
    let _ = fs::remove_dir_all(&base);
}

/// The calling thread runs on this processor.
fn only_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &set).expect("choose the processor");
}

#[inline(never)]
fn busy_in_the_program() {
    for turn in 0..1_000_000_u64 {
        std::hint::black_box(turn);
    }
}

fn busy_in_the_kernel() {
    let mut zeros = File::open("/dev/zero").expect("/dev/zero");
    let mut room = vec![0; 1 << 20];
    let end = Instant::now() + BUSY_TIME;
    while Instant::now() < end {
        zeros.read_exact(&mut room).expect("zeros");
    }
}

/// A directory for the files of a workload.
fn fresh_base() -> PathBuf {
    let base = PathBuf::from("/tmp").join(MARK);
    let _ = umount2(&base.join("maps"), MntFlags::MNT_DETACH); // of a run that was killed
    let _ = fs::remove_dir_all(&base);
    fs::create_dir_all(&base).expect("directory");
    base
}

/// This process's own cgroup and mount namespace, in maps that are to be found outside;
/// and another cgroup.
struct Containers {
    own: Cgroup,
    other: Cgroup,
    maps: Maps,
}

impl Containers {
    fn enter(base: &Path) -> Self {
        let (own, other) = (Cgroup::new(), Cgroup::new());
        let maps = Maps::new(&base.join("maps"));
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare: mount namespace");
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .expect("make mounts private");
        fs::write(own.0.join("cgroup.procs"), "0").expect("enter the cgroup");
        let mounts = fs::metadata("/proc/thread-self/ns/mnt")
            .expect("namespace")
            .ino();
        maps.add("cgroups", 8, fs::metadata(&own.0).expect("cgroup").ino());
        maps.add("mounts", 4, mounts);
        Self { own, other, maps }
    }

    fn leave(self) {
        fs::write(self.own.0.join("../cgroup.procs"), "0").expect("leave the cgroup");
    }
}

/// Pinned maps, in a file system of their own.
struct Maps {
    dir: PathBuf,
    /// The mount namespace where it was mounted.
    home: File,
}

impl Maps {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("directory");
        mount(
            Some("bpf"),
            dir,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .expect("mount bpffs");
        let home = File::open("/proc/thread-self/ns/mnt").expect("own namespace");
        Self {
            dir: dir.to_owned(),
            home,
        }
    }

    fn add(&self, name: &str, value_size: usize, key: u64) {
        let path = self.dir.join(name);
        let path = path.display();
        let bytes = key.to_ne_bytes().map(|byte| byte.to_string()).join(" ");
        let value = vec!["0"; value_size].join(" ");
        run(&format!(
            "bpftool map create {path} type hash key 8 value {value_size} entries 1024 name {name}"
        ));
        run(&format!(
            "bpftool map update pinned {path} key {bytes} value {value}"
        ));
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        if setns(&self.home, CloneFlags::CLONE_NEWNS).is_ok() {
            let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        }
    }
}
