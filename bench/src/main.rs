// SPDX-License-Identifier: MIT OR Apache-2.0
//! `make bench`: what the tools cost on this kernel, beside their peers and an
//! empty program on the same hook.

mod figures;
mod floor;
mod kernel;
mod measure;
mod process;
mod report;
mod scene;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bpfcc_tests::{net::run as run_command, unique};
use clap::{Parser, Subcommand, ValueEnum};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use measure::{Group, Plan};
use table::ENTRIES;

/// Measure the tools beside their peers
#[derive(Parser, Debug)]
#[command(name = "bpfcc-bench")]
struct Args {
    /// Only these tools, as a list
    #[arg(long, value_delimiter = ',')]
    tools: Vec<String>,
    /// Only these figures, as a list
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Group>,
    /// Alternating runs
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Length of one workload, in seconds
    #[arg(long, default_value_t = 0.4)]
    seconds: f64,
    /// Length of a flood, in seconds
    #[arg(long, default_value_t = 10.0)]
    flood: f64,
    /// Where our programs are [default: beside this one]
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where the table goes besides stdout [default: bench/results.md, when
    /// everything is measured]
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Special>,
}

#[derive(Subcommand, Debug)]
enum Special {
    /// Empty programs on these hooks until a signal
    #[command(hide = true)]
    Floor { hooks: Vec<String> },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        Some(Special::Floor { hooks }) => floor::run(hooks),
        None => bench(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpfcc-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "needs root");
    let entries = ENTRIES
        .iter()
        .filter(|entry| args.tools.is_empty() || args.tools.iter().any(|tool| tool == entry.tool))
        .collect::<Vec<_>>();
    if let Some(unknown) = args
        .tools
        .iter()
        .find(|tool| ENTRIES.iter().all(|entry| entry.tool != tool.as_str()))
    {
        bail!("no figures are known for {unknown}");
    }
    let own = std::env::current_exe().context("own path")?;
    let plan = Plan {
        programs: match &args.programs {
            Some(dir) => dir.clone(),
            None => own.parent().context("own path")?.to_owned(),
        },
        peers: Path::new(env!("CARGO_MANIFEST_DIR")).join("peers"),
        runs: args.runs,
        length: Duration::try_from_secs_f64(args.seconds).context("--seconds")?,
        flood: Duration::try_from_secs_f64(args.flood).context("--flood")?,
        groups: if args.only.is_empty() {
            Group::value_variants().to_vec()
        } else {
            args.only.clone()
        },
    };
    let interrupt = Interrupt::new()?;
    for entry in &entries {
        let program = plan.programs.join(entry.tool);
        ensure!(program.is_file(), "{} is not built", program.display());
    }
    own_world()?;
    let dir = PathBuf::from(scene::MEMORY).join(unique("bpfcc-bench"));
    fs::create_dir_all(&dir).context("make a directory")?;
    let begun = Instant::now();
    let measured = entries
        .iter()
        .map(|entry| {
            let figures = measure::measure(entry, &plan, &dir, &interrupt)
                .with_context(|| entry.tool.to_owned());
            figures.map(|figures| (*entry, figures))
        })
        .collect::<Result<Vec<_>>>();
    let _ = fs::remove_dir_all(&dir);
    let report = report::report(&measured?, &plan, begun.elapsed())?;
    print!("{report}");
    let everything = args.tools.is_empty() && args.only.is_empty();
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results.md");
    match args.output.as_ref().or(everything.then_some(&results)) {
        Some(file) => fs::write(file, report).with_context(|| file.display().to_string()),
        None => Ok(()),
    }
}

/// The signals that end us.
fn interrupting() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals
}

/// Notices SIGINT and SIGTERM, so that what was set up is taken down.
pub struct Interrupt(SignalFd);

impl Interrupt {
    fn new() -> Result<Self> {
        // A shell ignores SIGINT for what it starts in the background, and what we
        // start would inherit that: bpfcc then would not end.
        // SAFETY: no handler is installed.
        #[allow(unsafe_code)]
        unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.context("SIGINT")?;
        let signals = interrupting();
        signals.thread_block().context("block signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(
            SignalFd::with_flags(&signals, flags).context("signalfd")?,
        ))
    }

    pub fn check(&self) -> Result<()> {
        match self.0.read_signal() {
            Ok(None) => Ok(()),
            _ => bail!("interrupted"),
        }
    }
}

/// Mounts and a network of our own: what is set up there is nobody else's and
/// gone with us.
fn own_world() -> Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("unshare")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("make mounts private")?;
    // The peers expect tracefs at one of these places.
    for (kind, place) in [
        ("tracefs", "/sys/kernel/tracing"),
        ("debugfs", "/sys/kernel/debug"),
    ] {
        match mount(Some("none"), place, Some(kind), MsFlags::empty(), NONE) {
            Ok(()) | Err(Errno::EBUSY) => {} // it is there already
            Err(error) => bail!("mount {place}: {error}"),
        }
    }
    run_command("ip link set lo up");
    Ok(())
}
