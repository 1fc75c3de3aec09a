// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tool as a process: how soon it sees, what it takes, how soon it ends.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memchr::memmem::Finder;
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::{interrupting, kernel};

/// bpfcc compiles for that long on a busy machine.
const LONGEST_START: Duration = Duration::from_secs(60);
const LONGEST_STOP: Duration = Duration::from_secs(60);
/// After so long without a stir, a tool is asked again to end.
const AGAIN: Duration = Duration::from_secs(2);
/// A tool that has nothing to do for so long has shown all that came.
const QUIET: Duration = Duration::from_millis(120);
/// Longest wait for a tool to show what came: one that is far behind has lost
/// most of it anyway.
const LONGEST_SETTLING: Duration = Duration::from_secs(15);
/// How often it is looked which programs are the tool's.
const OWNER_LOOK: Duration = Duration::from_millis(20);
/// How often something is looked at that should be seen at once.
const LOOK: Duration = Duration::from_micros(50);

/// How to see that a tool has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// Each of its programs that the operation triggers has run.
    Programs,
    /// It listens to a netfilter group.
    Netlink,
}

/// A tool that runs.
pub struct Tool {
    child: Child,
    pid: i32,
    from: Instant,
    newest: u32,
    out: PathBuf,
    err: PathBuf,
}

/// How a tool ended.
pub struct Ended {
    /// From SIGINT to the end of the process.
    pub stop: Duration,
    /// From SIGINT to the end of its last program.
    pub gone: Duration,
    /// What it says it lost.
    pub reported: u64,
}

impl Tool {
    /// Its output goes to files in `dir`, which is on tmpfs: no reader competes
    /// for the CPUs.
    pub fn spawn(argv: &[String], dir: &Path) -> Result<Self> {
        let (program, args) = argv.split_first().context("no command")?;
        let (out, err) = (dir.join("stdout"), dir.join("stderr"));
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::create(&out).context("create stdout")?)
            .stderr(File::create(&err).context("create stderr")?);
        let newest = kernel::last_program();
        let from = Instant::now();
        // We block signals (`Interrupt`), and what we start would inherit that.
        let ours = interrupting();
        ours.thread_unblock().context("unblock signals")?;
        let child = command.spawn();
        ours.thread_block().context("block signals")?;
        let child = child.with_context(|| format!("start {program}"))?;
        let pid = i32::try_from(child.id())?;
        Ok(Self {
            child,
            pid,
            from,
            newest,
            out,
            err,
        })
    }

    /// The last words of a tool that ended by itself, or nothing.
    fn died(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let said = fs::read_to_string(&self.err).unwrap_or_default();
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        Some(format!("{status}: {}", last.unwrap_or("no message")))
    }

    fn still_runs(&mut self) -> Result<()> {
        match self.died() {
            Some(why) => bail!("{why}"),
            None if self.from.elapsed() > LONGEST_START => {
                bail!("sees nothing after {LONGEST_START:?}")
            }
            None => Ok(()),
        }
    }

    /// Does `step` again and again until the tool sees it; the time since it was
    /// started.
    pub fn started(
        &mut self,
        how: Started,
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Duration> {
        match how {
            Started::Programs => self.programs_run(step),
            Started::Netlink => {
                while !kernel::listens_to_netfilter(self.pid) {
                    self.still_runs()?;
                    thread::sleep(LOOK);
                }
                Ok(self.from.elapsed())
            }
        }
    }

    /// The kernel must be measuring. New programs of whomever are watched; those
    /// that turn out to be the tool's count.
    fn programs_run(&mut self, step: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        struct Watched {
            id: u32,
            fd: OwnedFd,
            since: Instant,
            first_run: Option<Instant>,
        }
        let mut watched: Vec<Watched> = Vec::new();
        let mut newest = self.newest;
        let mut next_look = self.from + OWNER_LOOK;
        // How many of its own have run, and since when that is so.
        let (mut running, mut settled) = (0, self.from);
        loop {
            step()?;
            while let Some(id) = kernel::next_program(newest) {
                newest = id;
                // Gone again: a trial.
                if let Ok(fd) = kernel::open(id) {
                    watched.push(Watched {
                        id,
                        fd,
                        since: Instant::now(),
                        first_run: None,
                    });
                }
            }
            for program in watched.iter_mut().filter(|p| p.first_run.is_none()) {
                if kernel::runs(&program.fd)?.count > 0 {
                    program.first_run = Some(Instant::now());
                }
            }
            if Instant::now() >= next_look {
                self.still_runs()?;
                let own: Vec<u32> = kernel::programs_of(self.pid)
                    .into_iter()
                    .filter(|(_, iterates)| !iterates)
                    .map(|(id, _)| id)
                    .collect();
                // Others' programs, and its own that it has let go of again.
                watched.retain(|program| {
                    own.contains(&program.id) || program.since.elapsed() < OWNER_LOOK
                });
                let runs = || {
                    watched
                        .iter()
                        .filter(|program| own.contains(&program.id))
                        .filter_map(|program| program.first_run)
                };
                let now_running = runs().count();
                if now_running != running {
                    (running, settled) = (now_running, Instant::now());
                }
                match runs().max() {
                    Some(last) if settled.elapsed() > QUIET => return Ok(last - self.from),
                    _ => {}
                }
                next_look = Instant::now() + OWNER_LOOK;
            }
            thread::sleep(LOOK);
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Time on the CPUs, in user space and in the kernel.
    pub fn cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(Pid::from_raw(self.pid)).context("its CPU clock")?;
        Ok(clock_gettime(clock).context("its CPU clock")?.into())
    }

    /// Highest resident set so far, in KiB.
    pub fn peak_rss(&self) -> Result<u64> {
        fs::read_to_string(format!("/proc/{}/status", self.pid))
            .context("its status")?
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.trim().parse().ok())
            .context("no VmHWM in its status")
    }

    /// Waits until the tool has next to nothing to do any more: somebody else's
    /// events may go on.
    pub fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + LONGEST_SETTLING;
        let mut before = self.cpu()?;
        while Instant::now() < deadline {
            thread::sleep(QUIET);
            let now = self.cpu()?;
            if now.saturating_sub(before) < QUIET / 20 {
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// Bytes on stdout so far.
    pub fn written(&self) -> u64 {
        fs::metadata(&self.out).map_or(0, |file| file.len())
    }

    /// Where it writes to.
    pub fn output(&self) -> Output {
        Output(self.out.clone())
    }

    pub fn stop(mut self) -> Result<Ended> {
        let programs = kernel::programs_of(self.pid);
        if let Some(why) = self.died() {
            bail!("ended by itself: {why}");
        }
        let from = Instant::now();
        kill(Pid::from_raw(self.pid), Signal::SIGINT).context("kill")?;
        let (mut asked, mut busy) = (from, Duration::ZERO);
        while self.child.try_wait().context("wait")?.is_none() {
            if from.elapsed() > LONGEST_STOP {
                bail!("does not end");
            }
            if asked.elapsed() > AGAIN {
                // bpftrace misses a signal that comes while it handles events.
                let cpu = self.cpu().unwrap_or_default();
                if cpu - busy < AGAIN / 100 {
                    let _ = kill(Pid::from_raw(self.pid), Signal::SIGINT);
                }
                (asked, busy) = (Instant::now(), cpu);
            }
            thread::sleep(LOOK);
        }
        let stop = from.elapsed();
        while programs.iter().any(|(id, _)| kernel::exists(*id)) && from.elapsed() < LONGEST_STOP {
            thread::sleep(LOOK);
        }
        let gone = from.elapsed();
        Ok(Ended {
            stop,
            gone,
            reported: Output(self.err.clone()).lost()? + Output(self.out.clone()).lost()?,
        })
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a tool has written.
pub struct Output(PathBuf);

impl Output {
    /// From this byte on.
    fn bytes(&self, from: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = File::open(&self.0).context("its output")?;
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut bytes).context("its output")?;
        Ok(bytes)
    }

    /// Lines from byte `from` on that have all of `marks` in them.
    pub fn rows(&self, from: u64, marks: &[String]) -> Result<u64> {
        let bytes = self.bytes(from)?;
        let Some((first, others)) = marks.split_first() else {
            return Ok(memchr::memchr_iter(b'\n', &bytes).count() as u64);
        };
        let finder = Finder::new(first);
        let mut rows = 0;
        let mut rest = bytes.as_slice();
        while let Some(at) = finder.find(rest) {
            let start = memchr::memrchr(b'\n', rest.get(..at).unwrap_or_default())
                .map_or(0, |newline| newline + 1);
            let end = memchr::memchr(b'\n', rest.get(at..).unwrap_or_default())
                .map_or(rest.len(), |length| at + length);
            let line = rest.get(start..end).unwrap_or_default();
            if others
                .iter()
                .all(|mark| memchr::memmem::find(line, mark.as_bytes()).is_some())
            {
                rows += 1;
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        Ok(rows)
    }

    /// The sum of the histograms, of bcc's form (`2 -> 3 : 17 |***|`) or
    /// bpftrace's (`[2, 4)  17 |@@@|`).
    pub fn samples(&self) -> Result<u64> {
        let text = String::from_utf8_lossy(&self.bytes(0)?).into_owned();
        Ok(text
            .lines()
            .filter_map(|line| {
                let (left, _) = line.split_once('|')?;
                let count = match left.split_once(':') {
                    Some((range, count)) if range.contains("->") => count,
                    _ => {
                        left.trim_start()
                            .strip_prefix('[')?
                            .split_once([')', ']'])?
                            .1
                    }
                };
                count.trim().parse::<u64>().ok()
            })
            .sum())
    }

    /// What it says was lost: `Possibly lost N samples`, `lost N events on CPU
    /// #0`, `Lost N events`.
    fn lost(&self) -> Result<u64> {
        let bytes = self.bytes(0)?;
        let mut lost = 0;
        for at in memchr::memmem::find_iter(&bytes, "ost ") {
            let after = bytes.get(at + 4..).unwrap_or_default();
            let digits = after
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let number = after.get(..digits).unwrap_or_default();
            let unit = after.get(digits..digits + 2).unwrap_or_default();
            if digits > 0 && (unit == b" s" || unit == b" e") {
                lost += String::from_utf8_lossy(number).parse().unwrap_or(0);
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfcc_tests::TempDir;

    fn output(text: &str) -> (TempDir, Output) {
        let dir = TempDir::new("bench-output");
        let file = dir.join("stdout");
        fs::write(&file, text).unwrap();
        (dir, Output(file))
    }

    #[test]
    fn rows_have_all_marks_and_begin_where_asked() {
        let text = "head\na x\nb x y\nx x y\ny\nx";
        let (_dir, output) = output(text);
        let rows = |from, marks: &[&str]| {
            let marks: Vec<String> = marks.iter().map(|mark| (*mark).into()).collect();
            output.rows(from, &marks).unwrap()
        };
        assert_eq!(rows(0, &["x"]), 4);
        assert_eq!(rows(0, &["x", "y"]), 2);
        assert_eq!(rows(9, &["x"]), 3);
        assert_eq!(rows(0, &[]), 5);
        assert_eq!(rows(0, &["z"]), 0);
    }

    #[test]
    fn histograms_of_both_forms() {
        let bcc = "     usecs     : count    distribution\n  0 -> 1   : 0   |    |\n  2 -> 3  : 17   |****|\n";
        assert_eq!(output(bcc).1.samples().unwrap(), 17);
        let bpftrace = "@usecs: \n[0]   3 |@@|\n[32, 64)   360 |@@@@|\n[1K, 2K)  2 |@ |\n";
        assert_eq!(output(bpftrace).1.samples().unwrap(), 365);
    }

    #[test]
    fn losses_as_everybody_tells_them() {
        let text =
            "Possibly lost 7 samples\nlost 12 events on CPU #0\nLost 5 events\n1 host x\nlost 9\n";
        assert_eq!(output(text).1.lost().unwrap(), 24);
    }
}
