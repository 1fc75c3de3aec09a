// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the live tests use: tools as processes that are waited for until they
//! are attached, and namespaces, cgroups and devices that clean up after
//! themselves.

pub mod execveat;
pub mod files;
pub mod maps;
pub mod net;
pub mod nfs;
pub mod parity;

use std::cell::RefCell;
use std::fs;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use serde_json::Value;

/// Longest wait for anything that should happen at once, also in an emulated
/// machine on a busy host. Only a hang is that long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where cargo has put the programs.
pub fn bin(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("own path");
    let dir = exe
        .ancestors()
        .find(|dir| dir.join("bpfcc-workload").is_file())
        .unwrap_or_else(|| panic!("programs are not built: run cargo build first"));
    let bin = dir.join(name);
    assert!(
        bin.is_file(),
        "{} is not built: run cargo build first",
        bin.display()
    );
    bin
}

/// Held for reading by all that attaches tools, for writing by a test whose
/// counts must be exact: the kernel skips programs while others come and go
/// (calls in flight skip fexit; classic tracepoints skip while a map is being
/// written on that CPU).
static TRACERS: RwLock<()> = RwLock::new(());

thread_local! {
    /// How many tools this thread runs, and its right to.
    static HELD: RefCell<(usize, Option<Right>)> = const { RefCell::new((0, None)) };
}

enum Right {
    Shared(#[allow(dead_code)] RwLockReadGuard<'static, ()>),
    Sole(#[allow(dead_code)] RwLockWriteGuard<'static, ()>),
}

/// A share in this thread's right to attach tools.
pub struct MayAttach(PhantomData<*const ()>); // stays on its thread

impl MayAttach {
    fn new(right: fn() -> Right) -> Self {
        HELD.with_borrow_mut(|(count, held)| {
            held.get_or_insert_with(right);
            *count += 1;
        });
        Self(PhantomData)
    }

    fn shared() -> Self {
        Self::new(|| Right::Shared(TRACERS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// No other test attaches or detaches anything while this lives. To be
    /// asked for before the first tool of a test.
    pub fn alone() -> Self {
        Self::new(|| Right::Sole(TRACERS.write().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What lasts as long as a tool's processes. What a tool has attached may
/// outlive its own process by some grace periods: a child sits them out.
struct Lifetime(Option<OwnedFd>);

/// Of the tools that have ended.
static ENDED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

impl Drop for Lifetime {
    fn drop(&mut self) {
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        ended.extend(self.0.take());
    }
}

/// Starts a tool. In a test that is alone nothing is left of ended tools then.
fn spawn(command: &mut Command) -> (Child, Lifetime) {
    // While khugepaged makes a huge page of this process's pages they are not there,
    // nor is a file name in them for a program that may not wait.
    nix::sys::prctl::set_thp_disable(true).expect("no huge pages");
    if HELD.with_borrow(|(_, held)| matches!(held, Some(Right::Sole(_)))) {
        let ended = std::mem::take(&mut *ENDED.lock().unwrap_or_else(PoisonError::into_inner));
        for last in ended {
            let end = fs::File::from(last).read(&mut [0]);
            assert_eq!(end.expect("the end of a tool's last process"), 0);
        }
    }
    let (end, alive) = pipe2(OFlag::O_CLOEXEC).expect("pipe");
    let inherited = alive.as_raw_fd();
    // SAFETY: one system call, on a descriptor that is open until the fork.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            Errno::result(libc::fcntl(inherited, libc::F_SETFD, 0))?;
            Ok(())
        });
    }
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    (child, Lifetime(Some(end)))
}

impl Drop for MayAttach {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|(count, held)| {
            *count -= 1;
            if *count == 0 {
                *held = None;
            }
        });
    }
}

/// A tool that runs and is attached.
pub struct Tool {
    _lifetime: Lifetime, // ends before the right to attach does
    _may_attach: MayAttach,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    lines: Receiver<String>,
}

/// What a tool has left behind.
#[derive(Debug)]
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
    pub status: ExitStatus,
    /// From the signal to the end.
    pub stopped_in: Duration,
}

/// What the tools of this process have told as lost.
static TOLD_AS_LOST: AtomicU64 = AtomicU64::new(0);

impl Ended {
    fn noted(self) -> Self {
        TOLD_AS_LOST.fetch_add(self.lost(), Ordering::Relaxed);
        self
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// Every line as JSON; panics at one that is not. Without those that say what was
    /// lost: see [`lost`](Self::lost).
    pub fn json(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .filter(|row: &Value| row.get("lost_samples").is_none())
            .collect()
    }

    /// Samples that the tool says it lost.
    pub fn lost(&self) -> u64 {
        self.stderr
            .lines()
            .filter_map(|line| {
                line.strip_prefix("Possibly lost ")?
                    .strip_suffix(" samples")
            })
            .map(|count| count.parse::<u64>().expect("a count"))
            .sum()
    }

    /// Exactly so many rows and none lost; or, where runs may be skipped, no more and
    /// what is missing counted: that may have been others' as well.
    #[track_caller]
    pub fn assert_rows(&self, rows: usize, expected: usize, may_skip: bool) {
        let lost = self.lost();
        let right = if may_skip {
            rows <= expected && rows as u64 + lost >= expected as u64
        } else {
            (rows, lost) == (expected, 0)
        };
        assert!(right, "{rows} rows, {lost} lost: {}", self.stderr);
    }

    #[track_caller]
    pub fn success(self) -> Self {
        assert!(
            self.status.success(),
            "{:?}\nstdout: {}\nstderr: {}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }
}

/// The command of a tool, with plain surroundings.
pub fn command(name: &str) -> Command {
    let mut command = Command::new(bin(name));
    command.stdin(Stdio::null());
    command
}

/// The same without any privilege.
pub fn unprivileged(name: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ])
        .arg(bin(name));
    command
}

/// The option with which a tool tells that it is attached; tcptracer has another
/// use for `--verbose`, BCC's.
pub fn telling(name: &str) -> &'static str {
    if name == "tcptracer" {
        "--hooks"
    } else {
        "--verbose"
    }
}

/// Names the calling thread.
pub fn name_thread(name: &str) {
    fs::write("/proc/thread-self/comm", name).expect("name the thread");
}

/// Gives the calling thread a table of open files of its own, with just the
/// standard ones. A process that another thread starts has all of that thread's
/// files until it runs its program: of what is opened from here on it has none,
/// so that a close is the last one.
pub fn own_files() {
    // SAFETY: a system call, which leaves the files of the other threads open;
    // this one has no right to theirs any more.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    Errno::result(result).expect("close_range");
}

impl Tool {
    /// Starts a tool and waits until it is attached.
    pub fn start(name: &str, args: &[&str]) -> Self {
        let mut command = command(name);
        command.arg(telling(name)).args(args);
        Self::spawn(command)
    }

    /// As [`start`](Self::start), for a command that runs a tool with
    /// [`telling`], by which it tells when it is attached.
    pub fn spawn(mut command: Command) -> Self {
        let may_attach = MayAttach::shared();
        let (mut child, lifetime) = spawn(&mut command);
        let (attached, is_attached) = channel();
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).expect("read stdout") > 0 {
                let line = String::from_utf8(std::mem::take(&mut line)).expect("UTF-8");
                text.push_str(&line);
                let _ = sender.send(line);
            }
            text
        });
        let stderr = child.stderr.take().expect("piped");
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            for line in BufReader::new(stderr).lines() {
                let line = line.expect("read stderr");
                if line.ends_with(": attached") {
                    let _ = attached.send(());
                }
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        if is_attached.recv_timeout(PATIENCE).is_err() {
            let _ = child.kill();
            let status = child.wait();
            panic!(
                "{command:?} is not attached: {status:?}\n{}{}",
                stdout.join().unwrap_or_default(),
                stderr.join().unwrap_or_default()
            );
        }
        Self {
            _may_attach: may_attach,
            _lifetime: lifetime,
            child,
            stdout: Some(stdout),
            stderr: Some(stderr),
            lines,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on stdout that `wanted` accepts.
    pub fn wait_for_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(_) => {}
                Err(error) => panic!("the line has not come: {error}"),
            }
        }
    }

    /// Ends the tool with SIGINT; all events from before are in its output.
    pub fn stop(self) -> Ended {
        self.signal(Signal::SIGINT)
    }

    pub fn signal(self, signal: Signal) -> Ended {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("signal the tool");
        self.wait()
    }

    /// Waits until the tool has ended by itself.
    pub fn wait(mut self) -> Ended {
        let start = Instant::now();
        let status = wait_for(&mut self.child);
        Ended {
            status,
            stopped_in: start.elapsed(),
            stdout: join(&mut self.stdout),
            stderr: join(&mut self.stderr),
        }
        .noted()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn join(thread: &mut Option<JoinHandle<String>>) -> String {
    thread
        .take()
        .map(|t| t.join().expect("reader"))
        .unwrap_or_default()
}

/// Waits for the end of `child`, but not for ever.
pub fn wait_for(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    until("the process ends", deadline, || {
        child.try_wait().expect("wait")
    })
}

/// Asks `condition` until it gives something; panics at the deadline.
pub fn until<T>(what: &str, deadline: Instant, mut condition: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// Runs a tool that is to end by itself.
pub fn run(name: &str, args: &[&str]) -> Ended {
    let mut command = command(name);
    command.args(args);
    run_command(command)
}

pub fn run_command(mut command: Command) -> Ended {
    let _may_attach = MayAttach::shared();
    let start = Instant::now();
    let (mut child, _lifetime) = spawn(&mut command);
    let read = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).expect("read output");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("piped")));
    let stderr = read(Box::new(child.stderr.take().expect("piped")));
    let status = wait_for(&mut child);
    Ended {
        status,
        stopped_in: start.elapsed(),
        stdout: stdout.join().expect("reader"),
        stderr: stderr.join().expect("reader"),
    }
    .noted()
}

/// Exit code, or minus the signal.
pub fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// A name that no other test and no other run uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A directory that goes with its value.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new(prefix: &str) -> Self {
        let path = std::env::temp_dir().join(unique(prefix));
        fs::create_dir_all(&path).expect("temporary directory");
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A network namespace. It lives as long as this process: the next namespace
/// would get its inode number, and its rows would be taken for that one's by
/// every test whose tool saw them.
pub struct Netns {
    pub inode: u64,
}

/// Runs `work` on a thread in a network namespace of its own, with its
/// loopback device up.
pub fn in_netns<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> (Netns, T) {
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare: network namespace");
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("ip").success(), "ip link set lo up");
        let file = fs::File::open("/proc/thread-self/ns/net").expect("own namespace");
        let inode = file.metadata().expect("own namespace").ino();
        std::mem::forget(file);
        (Netns { inode }, work())
    })
    .join()
    .expect("the thread in the namespace")
}

/// Runs `work` on a thread in a mount namespace of its own: what it mounts,
/// only it and the processes that it starts see.
pub fn in_mount_namespace<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare: mount namespace");
        mount(
            NO_PATH,
            "/",
            NO_PATH,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            NO_PATH,
        )
        .expect("make mounts private");
        work()
    })
    .join()
    .expect("the thread in the namespace")
}

const NO_PATH: Option<&str> = None;

/// An empty file system on `dir`.
pub fn mount_tmpfs(dir: &Path) {
    mount(Some("none"), dir, Some("tmpfs"), MsFlags::empty(), NO_PATH).expect("mount tmpfs");
}

/// The ports of a connection that [`connect_and_close`] has made.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub server: u16,
    pub client: u16,
}

/// A whole TCP connection in the calling thread: listen on `listen`, connect
/// to `to`, accept; the client closes first, then the server, then the
/// listener. Waits for each step, so that the states come in one order.
pub fn connect_and_close(listen: IpAddr, to: IpAddr) -> Connection {
    let listener = TcpListener::bind((listen, 0)).expect("listen");
    let server_port = listener.local_addr().expect("own address").port();
    let client = TcpStream::connect((to, server_port)).expect("connect");
    let (mut server, peer) = listener.accept().expect("accept");
    let ports = Connection {
        server: server_port,
        client: peer.port(),
    };
    client.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(server.read(&mut [0]).expect("end of stream"), 0);
    server.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!((&client).read(&mut [0]).expect("end of stream"), 0);
    drop(client);
    drop(server);
    drop(listener);
    ports
}

/// Where cgroup v2 is mounted.
pub fn cgroup2_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    mounts
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .map(|fields| PathBuf::from(fields[1]))
        .expect("a mounted cgroup v2")
}

/// A cgroup that goes with its value.
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    pub fn new() -> Self {
        Self::below(&cgroup2_root())
    }

    pub fn below(parent: &Path) -> Self {
        let path = parent.join(unique("bpfcc-test"));
        fs::create_dir(&path).expect("make cgroup");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    /// A command that runs in this cgroup.
    pub fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(r#"echo $$ > "$0/cgroup.procs" && exec "$@""#)
            .arg(&self.0)
            .arg(program)
            .args(args);
        command
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process leaves the cgroup a moment after it was waited for.
        let deadline = Instant::now() + PATIENCE;
        until("the cgroup is empty", deadline, || {
            fs::remove_dir(&self.0).ok()
        });
    }
}

/// A loop device on a file of `size` bytes, with nothing cached.
pub struct LoopDevice {
    pub path: PathBuf,
    _file: TempDir,
}

impl LoopDevice {
    pub fn new(size: u64) -> Self {
        Self::attach(size, &[])
    }

    /// With a partition that begins at `start`.
    pub fn with_partition(size: u64, start: u64) -> Self {
        let device = Self::attach(size, &["--partscan"]);
        let sectors = |bytes: u64| (bytes / 512).to_string();
        let added = Command::new("addpart")
            .arg(&device.path)
            .args(["1", &sectors(start), &sectors(size - start)])
            .status();
        assert!(added.expect("addpart").success());
        device
    }

    /// The path of its partition.
    pub fn partition(&self) -> String {
        format!("{}p1", self.path.display())
    }

    fn attach(size: u64, options: &[&str]) -> Self {
        let dir = TempDir::new("bpfcc-loop");
        let file = dir.join("image");
        fs::File::create(&file)
            .and_then(|f| f.set_len(size))
            .expect("image");
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(&file)
            .output()
            .expect("losetup");
        assert!(
            output.status.success(),
            "losetup: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let path = String::from_utf8(output.stdout).expect("UTF-8");
        Self {
            path: path.trim().into(),
            _file: dir,
        }
    }

    /// A write through the cache, a flush and a discard of 64 KiB.
    pub fn write_flush_discard(&self) {
        let file = fs::File::options().write(true).open(&self.path);
        let file = file.expect("open the device");
        file.write_all_at(b"cached", 0).expect("write");
        file.sync_all().expect("flush");
        let discard = Command::new("blkdiscard")
            .args(["-l", "65536"])
            .arg(&self.path)
            .status();
        assert!(discard.expect("blkdiscard").success());
    }

    /// As in `/proc/diskstats`.
    pub fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|n| n.to_str())
            .expect("a name")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
    }
}

/// A disk of the module null_blk with these settings.
pub struct NullBlk {
    pub name: String,
    dir: PathBuf,
}

impl NullBlk {
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let config = Path::new("/sys/kernel/config");
        if !config.join("nullb").exists() {
            let none = Some("none");
            mount(none, config, Some("configfs"), MsFlags::empty(), NO_PATH)
                .expect("mount configfs");
        }
        let dir = config.join("nullb").join(unique("bpfcc"));
        fs::create_dir(&dir).expect("a disk of null_blk");
        for (key, value) in settings.iter().chain(&[("power", "1")]) {
            fs::write(dir.join(key), value).unwrap_or_else(|error| panic!("{key}: {error}"));
        }
        let index = fs::read_to_string(dir.join("index")).expect("its index");
        // Since Linux 6.1 a disk has the name of its directory.
        let names = [
            dir.file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned(),
            format!("nullb{}", index.trim()),
        ];
        let found = names
            .into_iter()
            .find(|name| Path::new("/sys/block").join(name).exists());
        Self {
            name: found.expect("its name"),
            dir,
        }
    }

    /// Its requests wait for each other in this scheduler, and are not merged.
    pub fn schedule(&self, scheduler: &str) {
        let queue = Path::new("/sys/block").join(&self.name).join("queue");
        for (setting, value) in [("scheduler", scheduler), ("nomerges", "2")] {
            fs::write(queue.join(setting), value)
                .unwrap_or_else(|error| panic!("{setting}: {error}"));
        }
    }
}

impl Drop for NullBlk {
    fn drop(&mut self) {
        let _ = fs::write(self.dir.join("power"), "0");
        let _ = fs::remove_dir(&self.dir);
    }
}

/// A SCSI disk in memory, by the module scsi_debug: in virtual machines.
pub struct ScsiDisk {
    pub name: String,
}

impl ScsiDisk {
    pub fn new() -> Self {
        for args in [&["sd_mod"][..], &["scsi_debug", "dev_size_mb=8"]] {
            let status = Command::new("modprobe").args(args).status();
            assert!(status.expect("modprobe").success(), "{args:?}");
        }
        let is_ours = |disk: &Path| {
            let model = fs::read_to_string(disk.join("device/model"));
            model.is_ok_and(|model| model.trim() == "scsi_debug")
        };
        let found = until("the disk appears", Instant::now() + PATIENCE, || {
            let disks = fs::read_dir("/sys/block").ok()?;
            let mut disks = disks.flatten().map(|disk| disk.path());
            disks.find(|disk| is_ours(disk))
        });
        let name = found.file_name().and_then(|name| name.to_str());
        Self {
            name: name.expect("a name").to_owned(),
        }
    }

    fn set(parameter: &str, value: &str) -> io::Result<()> {
        let driver = Path::new("/sys/bus/pseudo/drivers/scsi_debug");
        fs::write(driver.join(parameter), value)
    }

    /// From now on it takes every third command only when it comes again.
    pub fn be_busy(&self) {
        for (parameter, value) in [("every_nth", "3"), ("opts", "0x8000")] {
            Self::set(parameter, value).unwrap_or_else(|error| panic!("{parameter}: {error}"));
        }
    }

    /// The kernel sends it commands that read data, but not of a place.
    pub fn ask_its_size(&self) {
        let disk = Path::new("/sys/block").join(&self.name);
        fs::write(disk.join("device/rescan"), "1").expect("rescan");
    }
}

impl Default for ScsiDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ScsiDisk {
    fn drop(&mut self) {
        for parameter in ["opts", "every_nth"] {
            let _ = Self::set(parameter, "0");
        }
    }
}

/// What direct I/O needs its buffers to be aligned to.
#[repr(C, align(4096))]
struct Block([u8; 4096]);

/// A block device that is read or written directly, 4 KiB at a time, from its
/// start to its end and again.
pub struct DirectFile {
    file: fs::File,
    block: Box<Block>,
    blocks: u64,
    next: u64,
}

impl DirectFile {
    pub fn open(device: &Path) -> io::Result<Self> {
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(device)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            block: Box::new(Block([0x5a; 4096])),
            blocks: (bytes / 4096).max(1),
            next: 0,
        })
    }

    /// Reads or writes so many blocks at a byte, as one I/O.
    pub fn transfer(&mut self, offset: u64, blocks: usize, write: bool) -> io::Result<()> {
        let mut buffers: Vec<_> = (0..blocks).map(|_| Block([0x5a; 4096])).collect();
        self.file.seek(SeekFrom::Start(offset))?;
        let done = if write {
            let slices: Vec<_> = buffers.iter().map(|b| IoSlice::new(&b.0)).collect();
            self.file.write_vectored(&slices)?
        } else {
            let slices = buffers.iter_mut().map(|b| IoSliceMut::new(&mut b.0));
            self.file.read_vectored(&mut slices.collect::<Vec<_>>())?
        };
        assert_eq!(done, blocks * 4096);
        Ok(())
    }

    fn offset(&mut self) -> u64 {
        let offset = self.next * 4096;
        self.next = (self.next + 1) % self.blocks;
        offset
    }

    pub fn read_next(&mut self) -> io::Result<()> {
        let offset = self.offset();
        self.file.read_exact_at(&mut self.block.0, offset)
    }

    pub fn write_next(&mut self) -> io::Result<()> {
        let offset = self.offset();
        self.file.write_all_at(&self.block.0, offset)
    }
}

/// I/Os of `disk` that have completed: reads, writes, discards and flushes.
pub fn completed_ios(disk: &str) -> u64 {
    let stats = fs::read_to_string("/proc/diskstats").expect("diskstats");
    let fields = stats
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&disk))
        .unwrap_or_else(|| panic!("no {disk} in /proc/diskstats"));
    [3, 7, 14, 18]
        .iter()
        .filter_map(|&index| fields.get(index))
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum()
}

/// Major and minor number of the running kernel. For what a test expects, not
/// for what a tool does.
pub fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.trim().parse().ok());
    (
        numbers.next().expect("major"),
        numbers.next().expect("minor"),
    )
}

/// Whether this runs in one of the virtual machines.
pub fn in_vm() -> bool {
    Path::new("/run/vm/control").exists()
}

/// How long each thread of process 1 has run.
fn run_times_of_process_1() -> Vec<String> {
    let threads = fs::read_dir("/proc/1/task").into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .collect()
}

/// For a test that demands every event where the kernel may run no program for one.
///
/// The kernel of a guest that an agent runs as process 1 may run none while that
/// process is current, and counts no miss: what an interrupt does then is not seen, nor
/// that it leaves the CPU. So an attempt that failed while process 1 ran is repeated;
/// not in the virtual machines, whose kernels are Debian's. Those skip a program that
/// an interrupt comes upon, or another task where programs are preempted (7.2), and
/// count it: the timers of sockets that other tests left may do. There an attempt that
/// failed is repeated if its tools told of a loss.
pub fn undisturbed(attempt: impl Fn()) {
    const ATTEMPTS: usize = 5;
    for left in (0..ATTEMPTS).rev() {
        let before = run_times_of_process_1();
        let lost = TOLD_AS_LOST.load(Ordering::Relaxed);
        let Err(failure) = catch_unwind(AssertUnwindSafe(&attempt)) else {
            return;
        };
        let disturbed = if in_vm() {
            TOLD_AS_LOST.load(Ordering::Relaxed) != lost
        } else {
            run_times_of_process_1() != before
        };
        if left == 0 || !disturbed {
            resume_unwind(failure);
        }
    }
}

/// For each of `ways`, an [`undisturbed`] attempt.
pub fn each<T: Copy>(ways: impl IntoIterator<Item = T>, attempt: impl Fn(T)) {
    for way in ways {
        undisturbed(|| attempt(way));
    }
}
