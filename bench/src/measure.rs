// SPDX-License-Identifier: MIT OR Apache-2.0
//! The runs: every variant in turn, again and again, so that what else the
//! machine does falls on all of them alike.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Interrupt;
use crate::figures::{Figures, thousands};
use crate::kernel::{Statistics, runs_of};
use crate::process::{Ended, Started, Tool};
use crate::scene::{Done, Stage};
use crate::table::{BPFCC, Counts, Entry, FLOOR, Figure};

/// The first of the variants.
pub const OURS: &str = "ours";
/// The workload alone.
pub const ALONE: &str = "alone";

/// The two-writer flood.
const WRITERS: usize = 2;
/// Rates tried when looking for the highest without loss: every one halves, on
/// a logarithmic scale, what is left.
const RATE_STEPS: u32 = 5;
const LOWEST_RATE: f64 = 1000.0;
const RATE_LENGTH: Duration = Duration::from_millis(1500);

/// Groups of figures that can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// In-kernel time per event
    Ns,
    /// Slowdown of the workload, and CPU time per row
    Slow,
    /// Loss in a flood
    Flood,
    /// Highest rate without loss
    Rate,
    /// Start and stop
    Start,
    /// Peak resident set
    Rss,
    /// Sizes of the programs
    Size,
}

pub struct Plan {
    /// Where our programs are.
    pub programs: PathBuf,
    /// Where our bpftrace scripts are.
    pub peers: PathBuf,
    pub runs: u32,
    pub length: Duration,
    pub flood: Duration,
    pub groups: Vec<Group>,
}

impl Plan {
    pub fn wants(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }

    fn in_rounds(&self) -> bool {
        [Group::Ns, Group::Slow, Group::Start, Group::Rss]
            .iter()
            .any(|group| self.wants(*group))
    }
}

/// A tool in the comparison.
struct Variant {
    name: &'static str,
    argv: Vec<String>,
    filtered: Vec<String>,
    flooded: Vec<String>,
    only_start: bool,
}

impl Variant {
    fn is_tool(&self) -> bool {
        self.name != FLOOR && !self.only_start
    }
}

fn variants(entry: &Entry, stage: &Stage, plan: &Plan) -> Result<Vec<Variant>> {
    let fill = |word: &&str| {
        let mut word = word.replace("{peers}", &plan.peers.display().to_string());
        for (name, value) in &stage.values {
            word = word.replace(&format!("{{{name}}}"), value);
        }
        word
    };
    let line = |words: &[&str]| words.iter().map(fill).collect::<Vec<_>>();
    let mut variants = vec![Variant {
        name: OURS,
        argv: vec![plan.programs.join(entry.tool).display().to_string()],
        filtered: line(entry.filtered),
        flooded: line(entry.flooded),
        only_start: false,
    }];
    variants.extend(entry.peers.iter().map(|peer| Variant {
        name: peer.name,
        argv: line(peer.argv),
        filtered: line(peer.filtered),
        flooded: line(peer.flooded),
        only_start: peer.only_start,
    }));
    if !entry.floor.is_empty() {
        let own = std::env::current_exe().context("own path")?;
        let mut argv = vec![own.display().to_string(), "floor".into()];
        argv.extend(entry.floor.iter().map(|hook| (*hook).to_owned()));
        variants.push(Variant {
            name: FLOOR,
            argv,
            filtered: Vec::new(),
            flooded: Vec::new(),
            only_start: false,
        });
    }
    Ok(variants)
}

/// One tool's measurements.
struct Bench<'a> {
    entry: &'a Entry,
    plan: &'a Plan,
    stage: Stage,
    /// For the tools' output.
    dir: &'a Path,
    figures: Figures,
}

pub fn measure(entry: &Entry, plan: &Plan, dir: &Path, interrupt: &Interrupt) -> Result<Figures> {
    let mut bench = Bench {
        entry,
        plan,
        stage: entry.scene.set()?,
        dir,
        figures: Figures::default(),
    };
    let variants = variants(entry, &bench.stage, plan)?;
    if plan.in_rounds() {
        for round in 0..plan.runs {
            let begun = Instant::now();
            bench.round(round, &variants, interrupt)?;
            eprintln!(
                "{}: run {} of {}, {:.1} s{}",
                entry.tool,
                round + 1,
                plan.runs,
                begun.elapsed().as_secs_f64(),
                bench.progress()
            );
        }
    }
    let countable = entry.counts != Counts::Nothing;
    if countable && (plan.wants(Group::Flood) || plan.wants(Group::Rate)) {
        for variant in variants.iter().filter(|variant| variant.is_tool()) {
            bench.attempt(variant, Bench::flood);
            interrupt.check()?;
        }
    }
    if plan.wants(Group::Size) {
        for variant in variants.iter().filter(|variant| variant.is_tool()) {
            if let Some(size) = variant.argv.first().and_then(|program| size(program)) {
                bench.figures.add(variant.name, Figure::Size, size);
            }
        }
    }
    Ok(bench.figures)
}

/// Bytes of a program.
fn size(program: &str) -> Option<f64> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program)) // an absolute path stays as it is
        .find_map(|file| std::fs::metadata(file).ok())
        .map(|file| file.len() as f64)
}

impl Bench<'_> {
    /// Does something with a variant, unless the first attempt has shown that it
    /// does not work here.
    fn attempt(&mut self, variant: &Variant, what: fn(&mut Self, &Variant) -> Result<()>) {
        if self.figures.failed.contains_key(variant.name) {
            return;
        }
        self.stage.reset();
        if let Err(error) = what(self, variant) {
            eprintln!("{}: {}: {error:#}", self.entry.tool, variant.name);
            if !self.figures.has(variant.name) {
                self.figures
                    .failed
                    .insert(variant.name.to_owned(), format!("{error:#}"));
            }
        }
    }

    /// Every variant once; each round begins with another one.
    fn round(&mut self, round: u32, variants: &[Variant], interrupt: &Interrupt) -> Result<()> {
        let first = round as usize % variants.len();
        let (left, right) = variants.split_at(first);
        for variant in right.iter().chain(left) {
            interrupt.check()?;
            if variant.only_start {
                // Takes seconds: a few times are enough.
                if round < 2 && (self.plan.wants(Group::Start) || self.plan.wants(Group::Rss)) {
                    self.attempt(variant, Self::only_start);
                }
                continue;
            }
            self.attempt(variant, Self::passing);
            if !variant.filtered.is_empty() && self.plan.wants(Group::Ns) {
                self.attempt(variant, Self::filtering);
            }
        }
        Ok(())
    }

    /// The workload, with one writer.
    fn load(&self) -> Result<Done> {
        self.stage
            .run(self.entry.per_operation, self.plan.length, None, 1)
    }

    /// Starts a tool; how long it took until it saw the first operations. The
    /// kernel measures programs as long as the third value lives.
    fn start(&self, variant: &Variant, args: &[String]) -> Result<(Tool, Duration, Statistics)> {
        let statistics = Statistics::enable()?;
        let mut probe = self.stage.probe()?;
        let argv = [variant.argv.as_slice(), args].concat();
        let mut tool = Tool::spawn(&argv, self.dir)?;
        // The floor has no start of interest but must have started.
        let how = match variant.name {
            FLOOR => Started::Programs,
            _ => self.entry.started,
        };
        let took = tool.started(how, &mut probe)?;
        Ok((tool, took, statistics))
    }

    fn stopped(&mut self, variant: &Variant, took: Duration, ended: &Ended) {
        if self.plan.wants(Group::Start) && variant.name != FLOOR {
            for (figure, time) in [
                (Figure::Start, took),
                (Figure::Stop, ended.stop),
                (Figure::Gone, ended.gone),
            ] {
                self.figures
                    .add(variant.name, figure, time.as_nanos() as f64);
            }
        }
    }

    fn only_start(&mut self, variant: &Variant) -> Result<()> {
        let (tool, took, _statistics) = self.start(variant, &[])?;
        self.rss(variant, &tool)?;
        let ended = tool.stop()?;
        self.stopped(variant, took, &ended);
        Ok(())
    }

    fn rss(&mut self, variant: &Variant, tool: &Tool) -> Result<()> {
        if self.plan.wants(Group::Rss) && variant.name != FLOOR {
            let kib = tool.peak_rss()? as f64;
            self.figures.add(variant.name, Figure::Rss, kib);
        }
        Ok(())
    }

    /// All that one start is good for: slowdown first, without the kernel's
    /// measuring, then the time in the kernel.
    fn passing(&mut self, variant: &Variant) -> Result<()> {
        let slow = self.plan.wants(Group::Slow);
        // Just before, so that both see the machine in the same mood.
        let alone = (slow && self.entry.operation.is_some())
            .then(|| self.load())
            .transpose()?;
        let (tool, took, statistics) = self.start(variant, &[])?;
        drop(statistics);
        tool.settle()?;
        if slow {
            self.slowdown(variant, &tool, alone)?;
        }
        if self.plan.wants(Group::Ns) || self.plan.wants(Group::Rss) {
            self.in_kernel(variant, &tool, Figure::Passed)?;
        }
        self.rss(variant, &tool)?;
        let ended = tool.stop()?;
        self.stopped(variant, took, &ended);
        Ok(())
    }

    fn slowdown(&mut self, variant: &Variant, tool: &Tool, alone: Option<Done>) -> Result<()> {
        let (cpu, written) = (tool.cpu()?, tool.written());
        let done = self.load()?;
        tool.settle()?;
        if let Some(alone) = alone {
            let (with, without) = (done.operation_ns(), alone.operation_ns());
            let added_cpu = done.operation_cpu_ns() - alone.operation_cpu_ns();
            self.figures.add(ALONE, Figure::Operation, without);
            for (figure, value) in [
                (Figure::Operation, with),
                (Figure::Added, with - without),
                (Figure::AddedCpu, added_cpu),
                (Figure::Slowdown, with / without),
            ] {
                self.figures.add(variant.name, figure, value);
            }
        }
        if let (true, Counts::Rows(marks)) = (variant.is_tool(), self.entry.counts) {
            let cpu = tool.cpu()?.saturating_sub(cpu).as_nanos() as f64;
            let rows = tool.output().rows(written, &self.marks(marks))?;
            if rows > 0 {
                self.figures
                    .add(variant.name, Figure::Cpu, cpu / rows as f64);
            }
        }
        Ok(())
    }

    fn filtering(&mut self, variant: &Variant) -> Result<()> {
        let (tool, _, statistics) = self.start(variant, &variant.filtered)?;
        drop(statistics);
        tool.settle()?;
        self.in_kernel(variant, &tool, Figure::Filtered)?;
        tool.stop().map(drop)
    }

    fn in_kernel(&mut self, variant: &Variant, tool: &Tool, figure: Figure) -> Result<()> {
        let _statistics = Statistics::enable()?;
        let before = runs_of(tool.pid());
        let done = self.load()?;
        tool.settle()?;
        let after = runs_of(tool.pid());
        if after.count > 0 && done.events > 0 && self.plan.wants(Group::Ns) {
            let ns = after.ns.saturating_sub(before.ns) as f64 / done.events as f64;
            self.figures.add(variant.name, figure, ns);
            if variant.name == FLOOR {
                // An empty program passes and filters alike.
                self.figures.add(FLOOR, Figure::Filtered, ns);
            }
            let per_event = (after.count - before.count) as f64 / done.events as f64;
            self.figures.note_runs(variant.name, figure, per_event);
        }
        Ok(())
    }

    fn marks(&self, also: &[&str]) -> Vec<String> {
        let mut marks = self.stage.marks.clone();
        marks.extend(also.iter().map(|mark| (*mark).to_owned()));
        marks
    }

    /// Events of the workload that the tool has shown, all in all.
    fn shown(&self, tool: Tool) -> Result<(u64, Ended)> {
        let output = tool.output();
        let ended = tool.stop()?;
        let shown = match self.entry.counts {
            Counts::Rows(marks) => output.rows(0, &self.marks(marks))?,
            Counts::Histogram => output.samples()?,
            Counts::Nothing => bail!("nothing to count"),
        };
        Ok((shown, ended))
    }

    /// Two writers for the given time: what they did, the share of the events
    /// that is not shown, and the share of these that the tool told about.
    fn two_writers(
        &self,
        variant: &Variant,
        length: Duration,
        rate: Option<f64>,
    ) -> Result<(Done, f64, Option<f64>)> {
        self.stage.reset();
        let (tool, _, statistics) = self.start(variant, &variant.flooded)?;
        drop(statistics);
        tool.settle()?;
        let done = self
            .stage
            .run(self.entry.per_operation, length, rate, WRITERS)?;
        tool.settle()?;
        let (shown, ended) = self.shown(tool)?;
        let missing = done.events.saturating_sub(shown);
        let share = missing as f64 / done.events.max(1) as f64;
        let told = (missing > 0).then(|| ended.reported as f64 / missing as f64);
        Ok((done, share, told))
    }

    fn flood(&mut self, variant: &Variant) -> Result<()> {
        let name = variant.name;
        let (done, lost, told) = self.two_writers(variant, self.plan.flood, None)?;
        self.figures.add(name, Figure::Flood, done.rate());
        self.figures.add(name, Figure::Lost, lost);
        if let Some(told) = told {
            self.figures.add(name, Figure::Reported, told.min(1.0));
        }
        eprintln!(
            "{}: flood: {name}: {} events/s, {:.2} % lost",
            self.entry.tool,
            thousands(done.rate()),
            lost * 100.0
        );
        if !self.plan.wants(Group::Rate) {
            return Ok(());
        }
        let per_second = done.operations as f64 / done.seconds;
        if lost == 0.0 {
            self.figures.add(name, Figure::Lossless, done.rate());
            return Ok(());
        }
        let (mut low, mut high, mut best) = (LOWEST_RATE, per_second, 0.0);
        for _ in 0..RATE_STEPS {
            let rate = (low * high).sqrt();
            let (done, lost, _) = self.two_writers(variant, RATE_LENGTH, Some(rate))?;
            if lost == 0.0 {
                best = done.rate();
                low = rate;
            } else {
                high = rate;
            }
            // What a loaded machine has put off.
            thread::yield_now();
        }
        self.figures.add(name, Figure::Lossless, best);
        Ok(())
    }

    fn progress(&self) -> String {
        let mut text = String::new();
        for figure in [Figure::Passed, Figure::AddedCpu, Figure::Start] {
            let values: Vec<String> = [
                OURS,
                crate::table::LIBBPF,
                crate::table::BPFTRACE,
                BPFCC,
                FLOOR,
            ]
            .iter()
            .filter_map(|variant| Some(figure.show(self.figures.median(variant, figure)?)))
            .collect();
            if !values.is_empty() {
                text.push_str(&format!(
                    "; {}: {}",
                    figure.name("operation"),
                    values.join(" / ")
                ));
            }
        }
        text
    }
}
