// SPDX-License-Identifier: MIT OR Apache-2.0
//! The run of a tool, in one of two shapes: a stream of events
//! ([`Session::stream`]) or a report per interval ([`Session::intervals`]).

use std::cell::RefCell;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};

use crate::cli::General;
use crate::hooks::{self, Attached, Hook, TypesOf};
use crate::output::Output;
use crate::probe::Probe;
use crate::time::utc_now;
use crate::wait::{Waiter, Wake};

/// How long an event may wait in the ring: the programs wake us only when the
/// ring fills up (`common/bpf/events.bpf.h`).
const DRAIN_IDLE: Duration = Duration::from_millis(50);
/// The same while events are coming.
const DRAIN_BUSY: Duration = Duration::from_millis(20);
/// How often, at most, a source is looked at after the end: what keeps coming
/// is not waited for.
const LAST_LOOKS: usize = 64;
/// Records between two looks at the signals.
const BATCH: usize = 4096;
/// No record takes less of the ring, with its header.
const SMALLEST_RECORD: usize = 16;
/// How often the loss counters are read.
const LOST_CHECK: Duration = TICK;
/// For what a tool looks at from time to time.
const TICK: Duration = Duration::from_secs(1);

/// A running tool.
pub struct Session {
    name: String,
    json: bool,
    verbose: bool,
    duration: Option<Duration>,
    deadline: Option<Instant>,
    interrupted: bool,
    waiter: Waiter,
    /// stdout.
    pub out: Output,
    /// Asked when a child has changed its state: true ends the session.
    child_done: Option<Box<dyn FnMut() -> bool>>,
}

impl Session {
    /// Begins: an error where BPF cannot work at all; from here on SIGINT and
    /// SIGTERM end the tool in order.
    pub fn new(name: &str, general: &General, duration: Option<Duration>) -> Result<Self> {
        if let Some(obstacle) = Probe::default().obstacle() {
            bail!("cannot load BPF programs: {obstacle}");
        }
        hooks::capture_libbpf_messages();
        Ok(Self {
            name: name.to_owned(),
            json: general.json,
            verbose: general.verbose,
            duration,
            deadline: None,
            interrupted: false,
            waiter: Waiter::new()?,
            out: Output::default(),
            child_done: None,
        })
    }

    /// Ends the session when `done` says so; it is asked on every SIGCHLD.
    pub fn end_with_child(&mut self, done: impl FnMut() -> bool + 'static) {
        self.child_done = Some(Box::new(done));
    }

    /// A line on stderr, with the tool's name.
    pub fn warn(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "{}: {text}", self.name);
    }

    /// A line on stderr under `--verbose`.
    pub fn tell(&self, text: &str) {
        if self.verbose {
            self.warn(text);
        }
    }

    /// [`hooks::load`], telling its decisions under `--verbose`.
    pub fn load<B>(
        &self,
        hooks: &[&'static Hook],
        configure: impl FnMut(&mut B::Output) -> Result<()>,
    ) -> Result<Attached<<B::Output as OpenSkel<'static>>::Output>>
    where
        B: SkelBuilder<'static> + Default,
    {
        hooks::load::<B>(hooks, TypesOf::Kernel, configure, |line| self.tell(line))
    }

    /// As [`load`](Self::load), for a BPF object that reads types of modules.
    pub fn load_with_modules<B>(
        &self,
        hooks: &[&'static Hook],
        configure: impl FnMut(&mut B::Output) -> Result<()>,
    ) -> Result<Attached<<B::Output as OpenSkel<'static>>::Output>>
    where
        B: SkelBuilder<'static> + Default,
    {
        let types_of = TypesOf::KernelAndModules;
        hooks::load::<B>(hooks, types_of, configure, |line| self.tell(line))
    }

    /// Everything is attached: writes what `out` holds (header or banner) and
    /// starts the clock of `--duration`.
    pub fn ready(&mut self) -> Result<()> {
        self.deadline = self.duration.and_then(|d| Instant::now().checked_add(d));
        self.out.flush()?;
        self.tell("attached");
        Ok(())
    }

    /// Whether a signal has ended the session.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Waits until `until`, but no longer than `--duration` allows. True: end.
    fn wait(&mut self, until: Instant, data: Option<BorrowedFd<'_>>) -> Result<bool> {
        let end = self.deadline.filter(|&deadline| deadline <= until);
        loop {
            match self.waiter.wait(end.unwrap_or(until), data)? {
                Wake::Stop => {
                    self.interrupted = true;
                    return Ok(true);
                }
                Wake::Child => {
                    if self.child_done.as_mut().is_some_and(|done| done()) {
                        return Ok(true);
                    }
                }
                Wake::Go => return Ok(end.is_some_and(|end| Instant::now() >= end)),
            }
        }
    }

    /// The event stream: calls `on_record` for every record of the ring buffer
    /// `ring`, in order, and writes what it has formatted, until the session
    /// ends. Then the programs are detached and what is left is shown.
    pub fn stream<S>(
        &mut self,
        attached: Attached<S>,
        ring: impl FnOnce(&S) -> &dyn MapCore,
        on_record: impl FnMut(&[u8], &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        self.stream_and(attached, ring, on_record, |_, _| Ok(()))
    }

    /// As [`stream`](Self::stream); `on_tick` is called every second, and once
    /// more after the last record.
    pub fn stream_and<S>(
        &mut self,
        mut attached: Attached<S>,
        ring: impl FnOnce(&S) -> &dyn MapCore,
        on_record: impl FnMut(&[u8], &mut Vec<u8>) -> Result<()>,
        mut on_tick: impl FnMut(&S, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        // Shared by the ring's callback and the loop around it, which never
        // run at the same time.
        let shared = RefCell::new(Stream {
            out: std::mem::take(&mut self.out),
            on_record,
            failed: None,
        });
        let mut builder = RingBufferBuilder::new();
        let map = ring(&attached.skel);
        let ring_bytes = map.max_entries() as usize;
        builder.add(map, |record| shared.borrow_mut().record(record))?;
        let ring = builder.build().context("map the ring buffer")?;

        let mut next_lost = Instant::now() + LOST_CHECK;
        let mut drained = 0;
        loop {
            let pause = match drained {
                BATCH => Duration::ZERO,
                0 => DRAIN_IDLE,
                _ => DRAIN_BUSY,
            };
            let end = self.wait(Instant::now() + pause, Some(epoll_fd(&ring)))?;
            drained = drain(&ring, &shared)?;
            if end {
                break;
            }
            if Instant::now() >= next_lost {
                let out = &mut shared.borrow_mut().out;
                on_tick(&attached.skel, out.buffer())?;
                self.report_lost(attached.lost.take(), out)?;
                next_lost = Instant::now() + LOST_CHECK;
            }
        }
        // What came until now; not what keeps coming while it is written.
        for _ in 0..=ring_bytes / SMALLEST_RECORD / BATCH {
            if drain(&ring, &shared)? < BATCH {
                break;
            }
        }
        drop(ring);
        let mut out = shared.into_inner().out;
        on_tick(&attached.skel, out.buffer())?;
        self.report_lost(attached.lost.take(), &mut out)
    }

    /// For a tool that has its events from elsewhere, or only counts: looks at
    /// `source` a few times a second, more often while it gives something, until
    /// the session ends or the source says so. What came until then is shown.
    pub fn follow(&mut self, source: &mut impl Source) -> Result<()> {
        let mut out = std::mem::take(&mut self.out);
        let start = Instant::now();
        let mut ticks = 1;
        let mut drained = 0;
        loop {
            let pause = match drained {
                0 => DRAIN_IDLE,
                BATCH.. => Duration::ZERO,
                _ => DRAIN_BUSY,
            };
            let tick = start + TICK.saturating_mul(ticks);
            let end = self.wait(tick.min(Instant::now() + pause), None)?;
            drained = source.drain(&mut out)?;
            out.flush()?;
            if end {
                break;
            }
            if Instant::now() >= tick {
                ticks += 1;
                let go_on = source.tick(&mut out)?;
                self.report_lost(source.lost(), &mut out)?;
                if !go_on {
                    break;
                }
            }
        }
        for _ in 0..LAST_LOOKS {
            if source.drain(&mut out)? == 0 {
                break;
            }
            out.flush()?;
        }
        let result = self.report_lost(source.lost(), &mut out);
        self.out = out;
        result
    }

    /// Sleeps; true when the session is to end.
    pub fn pause(&mut self, time: Duration) -> Result<bool> {
        self.wait(Instant::now() + time, None)
    }

    /// The interval report: `report` writes one, `count` times or until the
    /// session ends; the last one, of a part of an interval, is at the end.
    pub fn intervals<S>(
        &mut self,
        mut attached: Attached<S>,
        interval: Option<Duration>,
        count: Option<u64>,
        mut report: impl FnMut(&S, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        let far = Duration::from_secs(99_999_999); // BCC's "until interrupted"
        let interval = interval.unwrap_or(far);
        let mut left = count.unwrap_or(u64::MAX);
        let mut ticks = 0;
        loop {
            ticks += 1;
            // From the start, so that reports do not drift.
            let end = self.wait(start + interval.saturating_mul(ticks).min(far), None)?;
            report(&attached.skel, self.out.buffer())?;
            let mut out = std::mem::take(&mut self.out);
            self.report_lost(attached.lost.take(), &mut out)?;
            self.out = out;
            left -= 1;
            if end || left == 0 {
                return Ok(());
            }
        }
    }

    /// Says on stderr, and in JSON also on stdout, what was lost; writes `out`.
    pub fn report_lost(&self, samples: u64, out: &mut Output) -> Result<()> {
        if samples > 0 {
            let _ = writeln!(std::io::stderr(), "Possibly lost {samples} samples");
            if self.json {
                out.line(&format!(
                    "{{\"time\":\"{}\",\"lost_samples\":{samples}}}",
                    utc_now()
                ));
            }
        }
        out.flush()
    }
}

/// Where [`Session::follow`] has events from.
pub trait Source {
    /// Writes what has come, up to some thousand events; how many.
    fn drain(&mut self, out: &mut Output) -> Result<usize>;

    /// Called every second. `false` ends the session.
    fn tick(&mut self, out: &mut Output) -> Result<bool>;

    /// How many events were lost since this was last asked.
    fn lost(&mut self) -> u64;
}

struct Stream<F> {
    out: Output,
    on_record: F,
    failed: Option<anyhow::Error>,
}

impl<F: FnMut(&[u8], &mut Vec<u8>) -> Result<()>> Stream<F> {
    /// The ring's callback: a negative result stops the consumption.
    fn record(&mut self, record: &[u8]) -> i32 {
        let shown = (self.on_record)(record, self.out.buffer());
        match shown.and_then(|()| self.out.flush_much()) {
            Ok(()) => 0,
            Err(error) => {
                self.failed = Some(error);
                -libc::ECANCELED
            }
        }
    }
}

/// Takes up to [`BATCH`] records and writes their rows.
fn drain<F>(ring: &RingBuffer<'_>, shared: &RefCell<Stream<F>>) -> Result<usize> {
    let taken = ring.consume_raw_n(BATCH);
    let mut stream = shared.borrow_mut();
    stream.out.flush()?;
    if let Some(error) = stream.failed.take() {
        return Err(error);
    }
    usize::try_from(taken).map_err(|_| {
        anyhow!(
            "read the ring buffer: {}",
            std::io::Error::from_raw_os_error(-taken)
        )
    })
}

fn epoll_fd<'r>(ring: &'r RingBuffer<'_>) -> BorrowedFd<'r> {
    // SAFETY: libbpf's epoll fd is open as long as the ring buffer is.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(ring.epoll_fd())
    }
}
