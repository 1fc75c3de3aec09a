// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that run from time to time on each CPU, whatever that does: on the
//! kernel's clock, which every machine has, also a virtual one.

use std::fs;
use std::io;

use anyhow::{Context, Error, Result, anyhow};
use libbpf_rs::libbpf_sys::{PERF_COUNT_SW_CPU_CLOCK, PERF_TYPE_SOFTWARE, perf_event_attr};
use libbpf_rs::{Link, ProgramMut};

use crate::tracefs::{attach_to_event, perf_event_open};

const ONLINE: &str = "/sys/devices/system/cpu/online";
const MAX_RATE: &str = "/proc/sys/kernel/perf_event_max_sample_rate";
const PARANOIA: &str = "/proc/sys/kernel/perf_event_paranoid";

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    Hertz(u64),
    /// Every so many events; those of this clock are nanoseconds.
    Period(u64),
}

impl Rate {
    /// In a century or two.
    pub const NEVER: Self = Self::Period(1 << 62);
}

/// The CPUs that work at present.
pub fn online_cpus() -> Result<Vec<u32>> {
    let text = fs::read_to_string(ONLINE).context(ONLINE)?;
    parse_cpus(&text).ok_or_else(|| anyhow!("{ONLINE}: '{}' is no list of CPUs", text.trim()))
}

/// One of them.
pub fn first_cpu() -> Result<u32> {
    let cpus = online_cpus()?;
    cpus.first()
        .copied()
        .ok_or_else(|| anyhow!("{ONLINE}: no CPU"))
}

/// `0-3,5`
fn parse_cpus(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// Runs the program at this rate on a CPU.
pub(crate) fn attach(program: &ProgramMut<'_>, rate: Rate, cpu: u32) -> Result<Link> {
    let mut attr = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        config: PERF_COUNT_SW_CPU_CLOCK.into(),
        ..Default::default()
    };
    match rate {
        Rate::Hertz(hertz) => {
            attr.__bindgen_anon_1.sample_freq = hertz;
            attr.set_freq(1);
        }
        Rate::Period(events) => attr.__bindgen_anon_1.sample_period = events,
    }
    let event = perf_event_open(&attr, cpu).map_err(|error| explain(error, rate, cpu))?;
    attach_to_event(program, event)
}

fn explain(error: io::Error, rate: Rate, cpu: u32) -> Error {
    let allowed = fs::read_to_string(MAX_RATE).unwrap_or_default();
    let allowed = allowed.trim();
    let hint = match (error.raw_os_error(), rate) {
        (Some(libc::EINVAL), Rate::Hertz(hertz))
            if allowed.parse().is_ok_and(|most: u64| hertz > most) =>
        {
            format!("; the kernel allows {allowed} Hertz: sysctl kernel.perf_event_max_sample_rate")
        }
        (Some(libc::EACCES | libc::EPERM), _) => match paranoia() {
            level @ 3.. => format!(
                "; sysctl kernel.perf_event_paranoid is {level}: run as root or with CAP_SYS_ADMIN, or set it to 2"
            ),
            _ => "; run as root or with CAP_PERFMON".to_owned(),
        },
        (Some(libc::EINVAL | libc::ENODEV), _) => "; is this CPU online?".to_owned(),
        (Some(libc::EMFILE), _) => "; raise the limit of open files (ulimit -n)".to_owned(),
        _ => String::new(),
    };
    anyhow!("sample CPU {cpu}: {error}{hint}")
}

/// Above 2, which is a patch of distributions, CAP_PERFMON is not enough.
fn paranoia() -> i32 {
    let level = fs::read_to_string(PARANOIA).unwrap_or_default();
    level.trim().parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_cpus("0-3,5\n"), Some(vec![0, 1, 2, 3, 5]));
        assert_eq!(parse_cpus("0\n"), Some(vec![0]));
        assert_eq!(parse_cpus(""), None);
        assert_eq!(parse_cpus("0-x"), None);
        assert!(online_cpus().unwrap().contains(&first_cpu().unwrap()));
    }
}
