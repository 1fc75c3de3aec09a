// SPDX-License-Identifier: MIT OR Apache-2.0
//! The run: calls that fail as they come, a report every so many seconds, and
//! no more than a share of a CPU for it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use common::columns::{Format, Table};
use common::event::decode;
use common::flow;
use common::hooks::Attached;
use common::lost::Lost;
use common::origin::{Owners, SOCKET_FILES};
use common::output::Output;
use common::session::Source;
use common::tcp_iter::read_here;
use common::time::{EventClock, wall_clock};
use libbpf_rs::{MapCore, MapFlags, RingBuffer, RingBufferBuilder};
use nix::time::{ClockId, clock_gettime};

use crate::count::{Counter, Key, Use, Whose};
use crate::namespaces::Namespaces;
use crate::report::{Failure, Row, failure_table, table};
use crate::skel::TcpportsSkel;
use crate::skel::types::tcpports_failure;
use crate::socket::{Form, Socket};
use crate::{Args, By, DEFAULT_INTERVAL, FIND_IDLE, WALK};

/// No more than 1/`SHARE` of a CPU is spent on walks and reports, so that with
/// the looks at the ring it is less than a hundredth. `SAVED` may be spent at
/// once.
const SHARE: u32 = 200;
const SAVED: Duration = Duration::from_millis(20);

/// Failures per look at the ring.
const BATCH: usize = 4096;

/// A warning is said again when the use has been this much below the mark.
const BELOW: f64 = 5.0;

/// What was written last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Report,
    Failure,
}

pub struct Monitor<'a> {
    name: String,
    by: By,
    top: usize,
    warn: f64,
    time: bool,
    interval: Duration,
    left: Option<u64>,
    table: Table<Row>,
    failures: Table<Failure>,
    skel: &'a TcpportsSkel<'static>,
    lost: &'a mut Lost,
    ring: RingBuffer<'a>,
    /// What the ring has given.
    came: Rc<RefCell<Vec<tcpports_failure>>>,
    namespaces: Namespaces,
    counter: Counter,
    clock: EventClock,
    /// Failures since the last report.
    failed: HashMap<Key, u64>,
    /// Ports in use at the last report.
    before: HashMap<Key, Use>,
    /// Keys that were warned of.
    warned: BTreeSet<Key>,
    written: Written,
    began: Instant,
    /// CPU time that reports have taken.
    spent: Duration,
    last: Instant,
    /// Reports that were due.
    due: u32,
    is_late: bool,
    told_late: bool,
}

impl<'a> Monitor<'a> {
    pub fn new(
        args: &Args,
        name: &str,
        attached: &'a mut Attached<TcpportsSkel<'static>>,
    ) -> Result<Self> {
        let walk = attached.take_link(WALK).context("the iterator is gone")?;
        let owners = match args.by {
            By::Process => attached.take_link(SOCKET_FILES),
            _ => None,
        };
        // Sockets that were bound before.
        if let Some(link) = attached.take_link(FIND_IDLE) {
            read_here(&link, &mut Vec::new())?;
        }
        let Attached { skel, lost, .. } = attached;
        let skel: &'a _ = skel;
        let came = Rc::new(RefCell::new(Vec::new()));
        let mut builder = RingBufferBuilder::new();
        let to = Rc::clone(&came);
        builder.add(&skel.maps.events, move |record| {
            if let Ok((event, _)) = decode::<tcpports_failure>(record) {
                to.borrow_mut().push(event);
            }
            0
        })?;
        let format = args.general.format(false);
        let now = Instant::now();
        let mut monitor = Self {
            name: name.to_owned(),
            by: args.by,
            top: args.top as usize,
            warn: args.warn.into(),
            time: args.time,
            interval: args.interval.interval.unwrap_or(DEFAULT_INTERVAL),
            left: args.interval.count,
            table: table(format, args.by),
            failures: failure_table(format, args.time),
            skel,
            lost,
            ring: builder.build().context("map the ring buffer")?,
            came,
            namespaces: Namespaces::new(walk, Form::of(args.by), args.net.inode())?,
            counter: Counter::new(args.by, Owners::new(owners)?),
            clock: EventClock::now(),
            failed: HashMap::new(),
            before: HashMap::new(),
            warned: BTreeSet::new(),
            written: Written::Nothing,
            began: now,
            spent: Duration::ZERO,
            last: now,
            due: 0,
            is_late: false,
            told_late: false,
        };
        monitor.before = monitor.look()?;
        monitor.counter.uses(&monitor.skel.maps.uses)?;
        Ok(monitor)
    }

    /// The clock starts.
    pub fn begin(&mut self) {
        self.began = Instant::now();
        self.last = self.began;
    }

    /// Namespaces that cannot be shown.
    pub fn unseen(&self) -> usize {
        self.namespaces.unseen()
    }

    /// The report of a part of an interval, unless COUNT have been written.
    pub fn end(&mut self, out: &mut Output) -> Result<()> {
        if self.left != Some(0) {
            self.report(out)?;
        }
        out.flush()
    }

    /// The ports that are in use.
    fn look(&mut self) -> Result<HashMap<Key, Use>> {
        self.namespaces.refresh(&self.skel.maps.changed)?;
        let map = &self.skel.maps.idle;
        let mut idle = Vec::new();
        for key in map.keys() {
            if let Some(value) = map.lookup(&key, MapFlags::ANY)? {
                idle.push(Socket::idle(&value)?);
            }
        }
        self.counter.ports(&self.namespaces, &idle)
    }

    fn report(&mut self, out: &mut Output) -> Result<()> {
        let cpu = cpu_time();
        let now = self.look()?;
        let mut activity = self.counter.uses(&self.skel.maps.uses)?;
        for (key, failed) in self.failed.drain() {
            activity.entry(key).or_default().failed += failed;
        }
        let seconds = self.last.elapsed().as_secs_f64().max(1e-3);
        self.last = Instant::now();
        let keys: BTreeSet<&Key> = now.keys().chain(activity.keys()).collect();
        let mut rows = Vec::new();
        let mut settings = HashMap::new();
        for key in keys {
            let Some(namespace) = self.namespaces.get(key.0) else {
                continue;
            };
            let ports = settings
                .entry(key.0)
                .or_insert_with(|| Rc::new(namespace.settings.ports.clone()));
            let activity = activity.get(key).copied().unwrap_or_default();
            rows.push(Row {
                by: self.by,
                key: key.clone(),
                comm: match key.1 {
                    Whose::Process(Some(pid)) => self.counter.comm(pid).copied(),
                    _ => None,
                },
                cgroup: match key.1 {
                    Whose::Cgroup(id @ 1..) => self.counter.cgroup(id),
                    _ => None,
                },
                ports: Rc::clone(ports),
                now: now.get(key).copied().unwrap_or_default(),
                before: self.before.get(key).map_or(0, |before| before.used),
                uses: activity.uses,
                failed: activity.failed,
                seconds,
            });
        }
        let main = self.namespaces.main();
        rows.retain(|row| {
            row.now.used > 0 || row.uses > 0 || row.failed > 0 || row.key == (main, Whose::All)
        });
        rows.sort_by(|a, b| {
            b.percent()
                .total_cmp(&a.percent())
                .then_with(|| a.key.cmp(&b.key))
        });
        self.write(&rows, out);
        self.warn(&rows);
        self.before = now;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        self.spent += cpu_time().saturating_sub(cpu);
        Ok(())
    }

    fn write(&mut self, rows: &[Row], out: &mut Output) {
        if self.table.format() == Format::Text {
            if self.written != Written::Nothing {
                out.line("");
            }
            if self.time {
                out.line(&wall_clock());
            }
        }
        self.written = Written::Report;
        self.table.header(out.buffer());
        for row in rows.iter().take(self.top) {
            self.table.row(row, out.buffer());
        }
    }

    /// Tells of each key once that passes the mark.
    fn warn(&mut self, rows: &[Row]) {
        for row in rows {
            if row.percent() < self.warn {
                continue;
            }
            if self.warned.insert(row.key.clone()) {
                self.tell(&format!(
                    "{}: {} of {} local ports are in use ({:.1} %)",
                    row.title(),
                    row.now.used,
                    row.ports.count,
                    row.percent()
                ));
            }
        }
        let high: BTreeSet<_> = rows
            .iter()
            .filter(|row| row.percent() >= self.warn - BELOW)
            .map(|row| row.key.clone())
            .collect();
        self.warned.retain(|key| high.contains(key));
    }

    fn tell(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr(), "{}: {text}", self.name);
    }

    fn show(&mut self, event: tcpports_failure, out: &mut Output) {
        let row = Failure {
            event,
            flow: flow!(event.flow),
            cgroup: self.counter.cgroup(event.cgroup_id),
            clock: self.clock.follow(event.ts_ns),
        };
        if let Some(key) = self.key_of(&row) {
            *self.failed.entry(key).or_default() += 1;
        }
        if self.failures.format() == Format::Text && self.written != Written::Failure {
            if self.written == Written::Report {
                out.line("");
            }
            self.failures.header(out.buffer());
        }
        self.written = Written::Failure;
        self.failures.row(&row, out.buffer());
    }

    /// `None`: a bind() has no remote end.
    fn key_of(&mut self, row: &Failure) -> Option<Key> {
        let whose = match self.by {
            By::Netns => Whose::All,
            By::Laddr => Whose::Laddr(row.flow.saddr),
            By::Raddr if row.flow.dport == 0 => return None,
            By::Raddr => Whose::Raddr(row.flow.saddr, row.flow.daddr, row.flow.dport),
            By::Process => {
                self.counter.note_comm(row.event.tgid, row.event.comm);
                Whose::Process(Some(row.event.tgid))
            }
            By::Cgroup => Whose::Cgroup(row.event.cgroup_id),
        };
        Some((row.event.netns, whose))
    }

    /// Whether the share of the CPU is spent for now.
    fn is_spent(&self) -> bool {
        self.spent > self.began.elapsed() / SHARE + SAVED
    }
}

impl Source for Monitor<'_> {
    fn drain(&mut self, out: &mut Output) -> Result<usize> {
        let taken = self.ring.consume_raw_n(BATCH);
        let came = self.came.take();
        for event in came {
            self.show(event, out);
        }
        usize::try_from(taken)
            .map_err(|_| std::io::Error::from_raw_os_error(-taken))
            .context("read the ring buffer")
    }

    fn tick(&mut self, out: &mut Output) -> Result<bool> {
        if self.began.elapsed() >= self.interval.saturating_mul(self.due + 1) {
            // Those that were left out are not made up for.
            let elapsed = self.began.elapsed().as_secs();
            self.due = u32::try_from(elapsed / self.interval.as_secs().max(1)).unwrap_or(u32::MAX);
            self.is_late = true;
        }
        if self.is_late {
            if self.is_spent() {
                if !self.told_late {
                    self.told_late = true;
                    self.tell(
                        "reports come later: counting so many sockets takes too much of a CPU",
                    );
                }
            } else {
                self.report(out)?;
                self.is_late = false;
            }
        }
        Ok(self.left != Some(0))
    }

    fn lost(&mut self) -> u64 {
        self.lost.take()
    }
}

/// That this process has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}
