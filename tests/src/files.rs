// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files whose pages are read and written on purpose: a file system of its own,
//! and a process that works on it when it is told to, so that starting it is over
//! before anybody counts.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::ptr;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::sendfile::sendfile;

use crate::{Cgroup, LoopDevice, TempDir, bin, wait_for};

/// A new file system on a loop device.
pub struct Mounted {
    pub dir: TempDir,
    _device: LoopDevice,
}

impl Mounted {
    /// ext4 of blocks of 4 KiB.
    pub fn ext4(size: u64) -> Self {
        Self::made("ext4", &["-q", "-b", "4096"], size)
    }

    /// xfs of a size that it is made of.
    pub fn xfs() -> Self {
        Self::made("xfs", &["-q"], 320 << 20)
    }

    /// btrfs of a size that it is made of.
    pub fn btrfs() -> Self {
        Self::made("btrfs", &["-q"], 256 << 20)
    }

    fn made(kind: &str, options: &[&str], size: u64) -> Self {
        let device = LoopDevice::new(size);
        let mkfs = format!("mkfs.{kind}");
        let output = Command::new(&mkfs)
            .args(options)
            .arg(&device.path)
            .output()
            .unwrap_or_else(|error| panic!("{mkfs}: {error}"));
        assert!(output.status.success(), "{mkfs}: {output:?}");
        let dir = TempDir::new(&format!("bpfcc-{kind}"));
        mount(
            Some(&device.path),
            &dir.0,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap_or_else(|error| panic!("mount {kind}: {error}"));
        Self {
            dir,
            _device: device,
        }
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.dir.0, MntFlags::MNT_DETACH);
    }
}

/// A process in a cgroup of its own that does what it is told.
pub struct Hand {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub cgroup: Cgroup,
}

impl Hand {
    pub fn new() -> Self {
        let cgroup = Cgroup::new();
        let mut child = cgroup
            .command(&bin("bpfcc-workload"), &["files"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bpfcc-workload");
        let mut hand = Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("piped")),
            child,
            cgroup,
        };
        // What it does for the first time is done.
        hand.act("read", Path::new("/proc/self/stat"), 512);
        hand
    }

    /// As [`act`], in the process.
    pub fn act(&mut self, what: &str, path: &Path, number: u64) {
        let stdin = self.stdin.as_mut().expect("not ended");
        writeln!(stdin, "{what} {number} {}", path.display()).expect("tell the process");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its answer");
        assert_eq!(line, "done\n", "{what} {}", path.display());
    }
}

impl Default for Hand {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.stdin = None;
        wait_for(&mut self.child);
    }
}

/// What a [`Hand`] does: a line each, until the end.
pub fn serve() {
    for line in std::io::stdin().lines() {
        let line = line.expect("a line");
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("what, a number and a path");
        let (what, number) = (word(), word().parse().expect("a number"));
        act(what, Path::new(word()), number);
        println!("done");
    }
}

const BLOCK: usize = 128 << 10;

/// Does one thing with a file.
pub fn act(what: &str, path: &Path, number: u64) {
    let open = || File::open(path).expect("open");
    match what {
        // All of it, by so many bytes.
        "read" => {
            let (mut file, mut buffer) = (open(), vec![0; number as usize]);
            while file.read(&mut buffer).expect("read") > 0 {}
        }
        // So many blocks of 4 KiB here and there.
        "scatter" => {
            let file = open();
            let blocks = file.metadata().expect("size").len() / 4096;
            let mut buffer = [0; 4096];
            for i in 0..number {
                let at = i * 7919 % blocks * 4096;
                file.read_exact_at(&mut buffer, at).expect("read");
            }
        }
        // So many bytes.
        "write" => {
            let mut options = File::options();
            let mut file = options.write(true).create(true).open(path).expect("open");
            let mut left = number as usize;
            let block = vec![1; BLOCK];
            while left > 0 {
                let part = left.min(block.len());
                file.write_all(&block[..part]).expect("write");
                left -= part;
            }
        }
        // All of it to nowhere, by so many bytes.
        "send" => {
            let (from, to) = (open(), File::options().write(true).open("/dev/null"));
            let to = to.expect("/dev/null");
            while sendfile(&to, &from, None, number as usize).expect("sendfile") > 0 {}
        }
        // A byte of so many pages.
        "map" => {
            let (file, length) = (open(), number as usize * 4096);
            let size = NonZeroUsize::new(length).expect("some pages");
            // SAFETY: a new mapping that nobody else knows, of a file that stays as
            // it is; each byte that is read is in it.
            #[allow(unsafe_code)]
            unsafe {
                let map = mmap(
                    None,
                    size,
                    ProtFlags::PROT_READ,
                    MapFlags::MAP_SHARED,
                    &file,
                    0,
                )
                .expect("mmap");
                for page in (0..length).step_by(4096) {
                    ptr::read_volatile(map.cast::<u8>().as_ptr().add(page));
                }
                munmap(map, length).expect("munmap");
            }
        }
        // None of it stays in memory.
        "drop" => {
            let file = open();
            file.sync_all().expect("sync");
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("fadvise");
        }
        // A file of so many bytes, none of which is in memory.
        "make" => {
            act("write", path, number);
            act("drop", path, 0);
        }
        _ => panic!("{what}: what is that?"),
    }
}

/// How many pages of 4 KiB the file has.
pub fn pages(path: &Path) -> u64 {
    fs::metadata(path).expect("size").len().div_ceil(4096)
}
