// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time stamps: the classics' local wall clock, and the time of an event.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local, SecondsFormat, TimeDelta, Utc};
use nix::time::{ClockId, clock_gettime};

/// Local wall clock now, as `HH:MM:SS`.
pub fn wall_clock() -> String {
    Local::now().format("%H:%M:%S").to_string()
}

/// Local wall clock now, as `YYYY-MM-DD HH:MM:SS`.
pub fn wall_date() -> String {
    Local::now().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Local date now, as the C locale has it: `MM/DD/YY`.
pub fn short_date() -> String {
    Local::now().format("%m/%d/%y").to_string()
}

/// UTC now, RFC 3339 with microseconds.
pub fn utc_now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The kernel's monotonic clock (`bpf_ktime_get_ns`) now.
pub fn monotonic_ns() -> u64 {
    // CLOCK_MONOTONIC always exists; a zero would only shift the stamps.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .ok()
        .and_then(|time| u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).ok())
        .unwrap_or_default()
}

/// Maps the kernel's monotonic clock (`bpf_ktime_get_ns`, nanoseconds) to UTC.
#[derive(Clone, Copy)]
pub struct EventClock {
    /// UTC minus monotonic, in nanoseconds.
    offset_ns: i64,
    /// When the offset was last looked at.
    checked_ns: u64,
}

impl EventClock {
    /// The mapping as it is now.
    pub fn now() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mono = monotonic_ns();
        Self {
            offset_ns: i64::try_from(wall.as_nanos()).unwrap_or_default()
                - i64::try_from(mono).unwrap_or_default(),
            checked_ns: mono,
        }
    }

    /// Keeps up with a wall clock that is stepped or slewed, from event to
    /// event. Between such changes the mapping stays as it is: the differences
    /// between stamps are those of the kernel's clock.
    pub fn follow(&mut self, ktime_ns: u64) -> Self {
        if ktime_ns.saturating_sub(self.checked_ns) > 1_000_000_000 {
            let now = Self::now();
            if now.offset_ns.abs_diff(self.offset_ns) > 1_000_000 {
                self.offset_ns = now.offset_ns;
            }
            self.checked_ns = now.checked_ns;
        }
        *self
    }

    /// RFC 3339 UTC with microseconds of the event at `ktime_ns`.
    pub fn utc(&self, ktime_ns: u64) -> String {
        self.at(ktime_ns)
            .to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    /// Local wall clock of the event at `ktime_ns`, as `HH:MM:SS.mmm`.
    pub fn wall_clock(&self, ktime_ns: u64) -> String {
        let local = self.at(ktime_ns).with_timezone(&Local);
        local.format("%H:%M:%S%.3f").to_string()
    }

    fn at(&self, ktime_ns: u64) -> DateTime<Utc> {
        let ns = i64::try_from(ktime_ns).unwrap_or_default() + self.offset_ns;
        DateTime::UNIX_EPOCH
            .checked_add_signed(TimeDelta::nanoseconds(ns))
            .unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// Seconds since the first event that was asked about.
#[derive(Default, Clone, Copy)]
pub struct SinceFirst {
    first_ns: Option<u64>,
}

impl SinceFirst {
    /// Nanoseconds from the first `ktime_ns` this was called with to this one;
    /// 0 for an event that is older than the first.
    pub fn ns(&mut self, ktime_ns: u64) -> u64 {
        ktime_ns.saturating_sub(*self.first_ns.get_or_insert(ktime_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_is_zero() {
        let mut since = SinceFirst::default();
        assert_eq!(since.ns(1_000), 0);
        assert_eq!(since.ns(3_500), 2_500);
        assert_eq!(since.ns(500), 0);
    }

    #[test]
    fn event_time_is_utc_with_microseconds() {
        let clock = EventClock {
            offset_ns: 1_700_000_000_000_000_000,
            checked_ns: 0,
        };
        assert_eq!(clock.utc(1_234_567), "2023-11-14T22:13:20.001234Z");
        // The hour depends on the time zone.
        assert!(clock.wall_clock(1_234_567).ends_with(":13:20.001"));
    }
}
