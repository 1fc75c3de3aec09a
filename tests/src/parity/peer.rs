// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other projects' tools as processes. They do not say when they are attached:
//! that is when they wait for events, with BPF programs open.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;

use super::work::is_ours;
use crate::{PATIENCE, code};

/// System calls that wait (x86-64): poll, select, nanosleep, clock_nanosleep,
/// epoll_wait, pselect6, ppoll, epoll_pwait, pause.
const WAITING: &[u32] = &[7, 23, 35, 230, 232, 270, 271, 281, 34];

/// How often in a row a peer is seen to wait before it has attached whatever it will.
const NOTHING_MORE: u32 = 600;

/// What has become of a peer that was started.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    Attached,
    Ended,
    /// It waits for events, and none of its programs is attached.
    AttachedNothing,
    /// It is not done yet.
    TooLong,
}

pub struct Peer {
    child: Child,
    texts: [Arc<Mutex<Vec<u8>>>; 2],
    readers: Vec<JoinHandle<()>>,
    interrupted: Option<Instant>,
    /// Which system call it is in. Kept open: opening it again and again would be
    /// what keeps an `opensnoop` busy.
    syscall: File,
}

#[derive(Debug)]
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
    pub exit: i32,
}

impl Peer {
    pub fn spawn(mut command: Command) -> std::io::Result<Self> {
        // A shell's background jobs ignore SIGINT, and Python leaves it at that.
        // SAFETY: one system call between fork and exec.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| Ok(signal(Signal::SIGINT, SigHandler::SigDfl).map(drop)?));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let syscall = File::open(format!("/proc/{}/syscall", child.id()))?;
        let texts = [Arc::default(), Arc::default()];
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        let readers = pipes
            .into_iter()
            .zip(&texts)
            .map(|(pipe, text): (_, &Arc<Mutex<Vec<u8>>>)| {
                let text = Arc::clone(text);
                thread::spawn(move || {
                    let mut pipe = pipe.expect("piped");
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                        text.lock().expect("text").extend_from_slice(&buffer[..n]);
                    }
                })
            })
            .collect();
        Ok(Self {
            child,
            texts,
            readers,
            interrupted: None,
            syscall,
        })
    }

    fn waits(&self) -> bool {
        let mut text = [0; 256];
        // One that has ended is in none.
        let length = self.syscall.read_at(&mut text, 0).unwrap_or(0);
        String::from_utf8_lossy(&text[..length])
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .is_some_and(|call| WAITING.contains(&call))
    }

    fn has_programs(&self) -> bool {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fd", self.child.id())) else {
            return false;
        };
        files
            .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
            .any(|target| target.to_string_lossy().contains("bpf-prog"))
    }

    /// Waits until it is attached, at most for `limit`.
    pub fn start(&mut self, limit: Duration) -> Start {
        let deadline = Instant::now() + limit;
        let (mut ready, mut idle) = (0, 0);
        while Instant::now() < deadline {
            if self.child.try_wait().expect("wait").is_some() {
                return Start::Ended;
            }
            match (self.waits(), self.has_programs()) {
                // Not in a row: others' events may come all the time.
                (true, true) => ready += 1,
                (true, false) => idle += 1,
                (false, _) => idle = 0,
            }
            if ready >= 5 {
                return Start::Attached;
            }
            if idle >= NOTHING_MORE {
                return Start::AttachedNothing;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Start::TooLong
    }

    /// Waits until it has shown what it got of the workload: it has waited again since,
    /// and prints nothing more of that. Other events may come all the time.
    pub fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let (mut quiet, mut waited) = (0, false);
        let mut before = self.of_workload();
        while (quiet < 10 || !waited) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
            waited |= self.waits();
            let now = self.of_workload();
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
    }

    fn of_workload(&self) -> usize {
        let text = self.texts[0].lock().expect("text");
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| is_ours(line))
            .count()
    }

    /// When it waits: Python's tools take the signal for the end nowhere else.
    pub fn interrupt(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.waits() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.interrupted = Some(Instant::now());
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT);
    }

    /// Waits for its end; kills it after `limit`.
    pub fn end(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                break self.child.wait().expect("wait");
            }
            // Python loses the signal when it comes in the handler of an event.
            if self
                .interrupted
                .is_some_and(|at| at.elapsed() > Duration::from_secs(3))
            {
                self.interrupt();
            }
            // BCC looks at the clock of `opensnoop -d` only when an event comes: this is one.
            let _ = File::open("/dev/null");
            thread::sleep(Duration::from_millis(100));
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let text = |index: usize| {
            String::from_utf8_lossy(&self.texts[index].lock().expect("text")).into_owned()
        };
        Ended {
            stdout: text(0),
            stderr: text(1),
            exit: code(status),
        }
    }
}
