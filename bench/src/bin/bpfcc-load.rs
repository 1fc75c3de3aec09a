// SPDX-License-Identifier: MIT OR Apache-2.0
//! A workload: prints the operations done, the events they made, and the
//! nanoseconds that took, as time and as CPU time of this process.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bench::load::{Kind, Load};
use clap::Parser;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Makes events as fast as it can, or at a rate
#[derive(Parser, Debug)]
#[command(name = "bpfcc-load")]
struct Args {
    /// For how long
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Operations per second
    #[arg(long)]
    rate: Option<f64>,
    /// Run on this CPU
    #[arg(long)]
    cpu: Option<usize>,
    #[command(subcommand)]
    kind: Kind,
}

/// Operations between two looks at the clock: a look costs a tenth of an open.
const BATCH: u64 = 8;
/// Shortest pause when going at a rate.
const PAUSE: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpfcc-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Of this process, and of those that it has started and waited for.
fn cpu_time() -> Result<Duration> {
    let own = Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let times = [children.user_time(), children.system_time()];
    let micros = times.iter().map(TimeValLike::num_microseconds).sum::<i64>();
    Ok(own + Duration::from_micros(micros.try_into()?))
}

fn run(args: &Args) -> Result<()> {
    if let Some(cpu) = args.cpu {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set).context("choose the CPU")?;
    }
    let mut load = Load::new(&args.kind)?;
    let length = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let (mut operations, mut events) = (0, 0);
    let cpu = cpu_time()?;
    let start = Instant::now();
    let elapsed = loop {
        for _ in 0..BATCH {
            events += load.step()?;
            operations += 1;
        }
        let elapsed = start.elapsed();
        if elapsed >= length {
            break elapsed;
        }
        if let Some(rate) = args.rate {
            let due = Duration::from_secs_f64(operations as f64 / rate);
            if due > elapsed + PAUSE {
                thread::sleep(due - elapsed);
            }
        }
    };
    let cpu = cpu_time()? - cpu;
    println!(
        "{operations} {events} {} {}",
        elapsed.as_nanos(),
        cpu.as_nanos()
    );
    Ok(())
}
