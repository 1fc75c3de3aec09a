// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network namespaces as hosts, with a link between two of them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{PATIENCE, until};

/// A network namespace; gone, with its devices, when the value is and no
/// process is in it.
pub struct Host {
    netns: File,
}

impl Host {
    /// With its loopback device up.
    pub fn new() -> Self {
        let netns = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare: network namespace");
            run("ip link set lo up");
            File::open("/proc/thread-self/ns/net").expect("own namespace")
        });
        Self {
            netns: netns.join().expect("the thread in the namespace"),
        }
    }

    /// The namespace's inode number.
    pub fn inode(&self) -> u64 {
        self.netns.metadata().expect("the namespace").ino()
    }

    /// Runs `work` on a thread in the namespace. Processes and threads that it
    /// starts are there too.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.netns, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// [`run`] in the namespace.
    pub fn run(&self, command: &str) -> String {
        self.within(|| run(command))
    }

    /// Puts a process into the namespace, by which tools find it.
    pub fn resident(&self) -> Resident {
        self.within(|| {
            let sleeps = Command::new("sleep").arg("infinity").spawn();
            Resident(sleeps.expect("sleep"))
        })
    }

    /// Waits until all that TCP has sent from here is acknowledged.
    pub fn acknowledged(&self) {
        let deadline = Instant::now() + PATIENCE;
        until("all is acknowledged", deadline, || {
            self.within(all_is_acknowledged).then_some(())
        });
    }

    /// A path by which a command can name the namespace, as long as this lives.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd())
    }
}

/// The same for the calling thread's namespace, without the wait.
pub fn all_is_acknowledged() -> bool {
    ["tcp", "tcp6"].into_iter().all(nothing_unacknowledged)
}

fn nothing_unacknowledged(table: &str) -> bool {
    let sockets = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
    sockets
        .expect("the sockets")
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(4)) // tx_queue:rx_queue
        .all(|queues| queues.starts_with("00000000:"))
}

/// A process that is just there.
pub struct Resident(Child);

impl Resident {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Closes a connection with a RST.
pub fn reset(end: TcpStream) {
    linger(&end, Duration::ZERO);
}

/// How long close() waits until all is acknowledged, in seconds.
pub fn linger(end: &TcpStream, time: Duration) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: time.as_secs() as i32,
    };
    setsockopt(end, sockopt::Linger, &linger).expect("linger");
}

/// connect() to no address: the connection is over, the socket may connect again.
pub fn disconnect(end: &TcpStream) {
    let none = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as u16,
        sa_data: [0; 14],
    };
    // SAFETY: an address that lives through the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::connect(end.as_raw_fd(), &none, size_of_val(&none) as u32) };
    Errno::result(result).expect("disconnect");
}

/// Both ends of a TCP connection.
pub struct Talk {
    pub client: TcpStream,
    pub server: TcpStream,
}

impl Talk {
    /// In the calling thread's namespace.
    pub fn new(listen: &str, to: &str) -> Self {
        Self::on_port(listen, to, 0)
    }

    pub fn on_port(listen: &str, to: &str, port: u16) -> Self {
        let listener = TcpListener::bind((addr(listen), port)).expect("listen");
        let port = listener.local_addr().expect("own address").port();
        let client = TcpStream::connect((addr(to), port)).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        Self { client, server }
    }

    /// The client sends `up` bytes, then the server `down`: all of them are read.
    pub fn exchange(&mut self, up: usize, down: usize) {
        pass(&mut self.client, &mut self.server, up);
        pass(&mut self.server, &mut self.client, down);
    }

    /// The ports of client and server.
    pub fn ports(&self) -> (u16, u16) {
        let port = |end: &TcpStream| end.local_addr().expect("own address").port();
        (port(&self.client), port(&self.server))
    }
}

fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: usize) {
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(&vec![1; bytes]).expect("write"));
        to.read_exact(&mut vec![0; bytes]).expect("read");
    });
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// Two hosts with a link (veth) between them, both ends up: each has `addr` and
/// `addr6` on device `eth0`.
pub struct Pair {
    pub left: Host,
    pub right: Host,
}

impl Pair {
    pub const LEFT: &'static str = "10.77.0.1";
    pub const RIGHT: &'static str = "10.77.0.2";
    pub const LEFT6: &'static str = "fd77::1";
    pub const RIGHT6: &'static str = "fd77::2";

    pub fn new() -> Self {
        let (left, right) = (Host::new(), Host::new());
        left.run(&format!(
            "ip link add eth0 type veth peer name eth0 netns {}",
            right.path()
        ));
        for (host, addr, addr6) in [
            (&left, Self::LEFT, Self::LEFT6),
            (&right, Self::RIGHT, Self::RIGHT6),
        ] {
            host.run(&format!("ip addr add {addr}/24 dev eth0"));
            // Usable at once: nobody else can have the address.
            host.run(&format!("ip addr add {addr6}/64 dev eth0 nodad"));
            host.run("ip link set eth0 up");
        }
        Self { left, right }
    }

    /// A connection from the left host to an address of the right one.
    pub fn talk(&self, right: &str) -> Talk {
        let listener = self.right.within(|| TcpListener::bind((addr(right), 0)));
        let listener = listener.expect("listen");
        let to = listener.local_addr().expect("own address");
        let client = self
            .left
            .within(|| TcpStream::connect(to))
            .expect("connect");
        let (server, _) = listener.accept().expect("accept");
        Talk { client, server }
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a command line, split at blanks; its output. Panics when it fails.
#[track_caller]
pub fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An address from its text.
#[track_caller]
pub fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
