// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that make events, one at a time.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use bpfcc_tests::DirectFile;
use clap::Subcommand;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt::Ipv4RecvErr};

/// Connections to one listener: well below the number of local ports.
const PER_LISTENER: u32 = 8000;

/// A usual command line has about as many.
const ARGUMENTS: [&str; 4] = ["-c", "--colour", "/usr/include/linux/bpf.h", "a.c"];

/// What is done.
#[derive(Clone, Debug, Subcommand)]
pub enum Kind {
    /// Opens, in turn, a file that is in this directory and one that is not
    Opens { dir: PathBuf },
    /// Programs, one after the other: starts this one and waits for its end
    Programs { path: PathBuf },
    /// TCP connections on loopback: connect, accept, close by the client, then
    /// by the server. Listens on addresses 127.NET.0.0/16
    Connects { net: u8 },
    /// The same, with a byte from the client
    Exchanges { net: u8 },
    /// TCP connects to a closed port of 127.NET.0.1
    Refused { net: u8 },
    /// Direct reads of 4 KiB of a block device
    Reads { device: PathBuf },
    /// UDP datagrams of 1,000 bytes; an event is one that the qdisc refuses
    Datagrams { to: SocketAddr },
    /// A byte to another thread on this CPU and back: two waits for the CPU
    Handovers,
    /// 64 KiB through one TCP connection to a thread in another network namespace
    Bulk { to: SocketAddr, netns: PathBuf },
}

/// A workload that is ready to go.
pub enum Load {
    Opens { paths: [PathBuf; 2], turn: usize },
    Programs(PathBuf),
    Connects(Loopback),
    Exchanges(Loopback),
    Refused(SocketAddr),
    Reads(DirectFile),
    Datagrams(UdpSocket),
    Handovers(UnixStream),
    Bulk { stream: TcpStream, bytes: Box<[u8]> },
}

impl Load {
    pub fn new(kind: &Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Opens { dir } => Self::Opens {
                paths: [dir.join("there"), dir.join("missing")],
                turn: 0,
            },
            Kind::Programs { path } => Self::Programs(path.clone()),
            Kind::Connects { net } => Self::Connects(Loopback::new(*net)?),
            Kind::Exchanges { net } => Self::Exchanges(Loopback::new(*net)?),
            Kind::Refused { net } => {
                Self::Refused(SocketAddr::from((Ipv4Addr::new(127, *net, 0, 1), 9)))
            }
            Kind::Reads { device } => Self::Reads(DirectFile::open(device)?),
            Kind::Datagrams { to } => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
                // Without it a refused datagram counts as sent.
                setsockopt(&socket, Ipv4RecvErr, &true).context("setsockopt: IP_RECVERR")?;
                socket.connect(to).context("connect")?;
                Self::Datagrams(socket)
            }
            Kind::Handovers => Self::Handovers(echo().context("a thread")?),
            Kind::Bulk { to, netns } => Self::Bulk {
                stream: bulk(*to, netns)?,
                bytes: vec![0; 64 << 10].into(),
            },
        })
    }

    /// One operation; how many events it has made, where only the operation
    /// knows.
    pub fn step(&mut self) -> Result<u64> {
        match self {
            Self::Opens { paths, turn } => {
                *turn ^= 1;
                if let Some(path) = paths.get(*turn) {
                    drop(File::open(path));
                }
                Ok(1)
            }
            Self::Programs(path) => {
                let status = Command::new(path).args(ARGUMENTS).status();
                ensure!(status.context("start a program")?.success(), "it failed");
                Ok(1)
            }
            Self::Connects(loopback) => loopback.connect(&[]).map(|()| 1),
            Self::Exchanges(loopback) => loopback.connect(&[0]).map(|()| 1),
            Self::Refused(to) => match TcpStream::connect(*to) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(1),
                other => bail!("connect to a closed port: {other:?}"),
            },
            Self::Reads(file) => file.read_next().context("read").map(|()| 1),
            Self::Datagrams(socket) => match socket.send(&[0; 1000]) {
                Ok(_) => Ok(0),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(1),
                Err(error) => Err(error).context("send"),
            },
            Self::Handovers(stream) => {
                stream.write_all(&[0]).context("write")?;
                stream.read_exact(&mut [0]).context("read").map(|()| 2)
            }
            Self::Bulk { stream, bytes } => {
                stream.write_all(bytes).context("write")?;
                Ok(0)
            }
        }
    }
}

/// Connections within 127.NET.0.0/16, to another address each time the local
/// ports for one become scarce.
pub struct Loopback {
    net: u8,
    host: u8,
    listener: TcpListener,
    address: SocketAddr,
    made: u32,
}

impl Loopback {
    fn new(net: u8) -> Result<Self> {
        let (listener, address) = Self::listen(net, 0)?;
        Ok(Self {
            net,
            host: 0,
            listener,
            address,
            made: 0,
        })
    }

    fn listen(net: u8, host: u8) -> Result<(TcpListener, SocketAddr)> {
        let own = u8::try_from(std::process::id() % 256).unwrap_or(0);
        let ip = IpAddr::from(Ipv4Addr::new(127, net, own, host));
        let listener = TcpListener::bind((ip, 0)).context("listen")?;
        let address = listener.local_addr().context("own address")?;
        Ok((listener, address))
    }

    /// A connection over which the client sends `bytes`.
    fn connect(&mut self, bytes: &[u8]) -> Result<()> {
        if self.made == PER_LISTENER {
            self.host = self.host.wrapping_add(1);
            (self.listener, self.address) = Self::listen(self.net, self.host)?;
            self.made = 0;
        }
        self.made += 1;
        let mut client = TcpStream::connect(self.address).context("connect")?;
        let (mut server, _) = self.listener.accept().context("accept")?;
        client.write_all(bytes).context("write")?;
        drop(client);
        // To the end, so that the states always come in the same order.
        let mut read = 0;
        loop {
            match server.read(&mut [0; 16]).context("read")? {
                0 => break,
                count => read += count,
            }
        }
        ensure!(read == bytes.len(), "unexpected data");
        Ok(())
    }
}

/// A connection to a thread of this process in the namespace `netns` that reads
/// and forgets.
fn bulk(to: SocketAddr, netns: &Path) -> Result<TcpStream> {
    let netns = File::open(netns).with_context(|| format!("open {}", netns.display()))?;
    let listener = thread::spawn(move || -> Result<TcpListener> {
        setns(netns, CloneFlags::CLONE_NEWNET).context("enter the namespace")?;
        TcpListener::bind((to.ip(), 0)).context("listen")
    })
    .join()
    .map_err(|_| anyhow::anyhow!("the listening thread died"))??;
    let port = listener.local_addr().context("own address")?.port();
    let stream = TcpStream::connect((to.ip(), port)).context("connect")?;
    let (mut server, _) = listener.accept().context("accept")?;
    thread::spawn(move || {
        let mut bytes = vec![0; 256 << 10];
        while server.read(&mut bytes).is_ok_and(|count| count > 0) {}
        let _ = server.shutdown(Shutdown::Both);
    });
    Ok(stream)
}

/// A thread that answers each byte with one.
fn echo() -> std::io::Result<UnixStream> {
    let (near, mut far) = UnixStream::pair()?;
    thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    Ok(near)
}

impl Kind {
    /// As arguments for `bpfcc-load`.
    pub fn arguments(&self, command: &mut Command) {
        match self {
            Self::Opens { dir } => command.arg("opens").arg(dir),
            Self::Programs { path } => command.arg("programs").arg(path),
            Self::Connects { net } => command.arg("connects").arg(net.to_string()),
            Self::Exchanges { net } => command.arg("exchanges").arg(net.to_string()),
            Self::Refused { net } => command.arg("refused").arg(net.to_string()),
            Self::Reads { device } => command.arg("reads").arg(device),
            Self::Datagrams { to } => command.arg("datagrams").arg(to.to_string()),
            Self::Handovers => command.arg("handovers"),
            Self::Bulk { to, netns } => command.arg("bulk").arg(to.to_string()).arg(netns),
        };
    }
}
