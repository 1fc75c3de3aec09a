// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workloads: the same events each time, with the same addresses, ports
//! and paths. Each is a process of its own (`bpfcc-workload parity NAME`) that
//! makes ready, tells its ids, and begins when it is told to.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg, OFlag, OpenHow, openat, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use crate::net::{Host, addr, run};
use crate::{Cgroup, LoopDevice, PATIENCE, bin, completed_ios, until, wait_for};

/// In every path that a workload opens.
pub const MARK: &str = "like-bcc";
const V4: &str = "10.99.0.1";
const V6: &str = "fd99::1";
const MAPPED: &str = "::ffff:10.99.0.1";
const USER: &str = "4711";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Connections,
    Retransmits,
    Drops,
    Io,
    Opens,
}

pub const WORKS: &[Work] = &[
    Work::Connections,
    Work::Retransmits,
    Work::Drops,
    Work::Io,
    Work::Opens,
];

/// Whether a line is about what a workload did.
pub fn is_ours(line: &str) -> bool {
    let last = line.rsplit(' ').next().unwrap_or_default();
    line.contains(V4) || line.contains(V6) || last.contains(MARK)
}

/// What a workload tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub pid: String,
    pub tid: String,
    pub disk: String,
    pub maps: String,
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
        }
    }

    pub fn text(&self) -> String {
        let Self {
            pid,
            tid,
            disk,
            maps,
        } = self;
        format!("pid={pid} tid={tid} disk={disk} maps={maps}")
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
                    .replace("{seconds}", &seconds.to_string())
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
            Self::Retransmits => "retransmits",
            Self::Drops => "drops",
            Self::Io => "io",
            Self::Opens => "opens",
        }
    }

    /// The workload itself, in its process.
    pub fn run(self) {
        match self {
            Self::Connections => in_host(connections),
            Self::Retransmits => in_host(retransmits),
            Self::Drops => in_host(drops),
            Self::Io => io(),
            Self::Opens => opens(),
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
        ready("");
        work();
        done();
    });
}

fn name_thread(name: &str) {
    fs::write("/proc/thread-self/comm", name).expect("name the thread");
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

/// Opens that succeed and fail, by each call, by two threads and another user.
fn opens() {
    name_thread("tee");
    let base = PathBuf::from("/tmp").join(MARK);
    let _ = umount2(&base.join("maps"), MntFlags::MNT_DETACH); // of a run that was killed
    let _ = fs::remove_dir_all(&base);
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

    // Others' cgroup, and the mount namespace that these maps are to be found in.
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
    ready(&format!("tid={tid} maps={}", maps.dir.display()));

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
    let status = other
        .command(
            Path::new("setpriv"),
            &["--reuid", USER, "--clear-groups", "cat", user],
        )
        .current_dir("/")
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("setpriv").success());
    done();
    fs::write(own.0.join("../cgroup.procs"), "0").expect("leave the cgroup");
    drop(maps);
    let _ = std::env::set_current_dir("/");
    let _ = fs::remove_dir_all(&base);
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
