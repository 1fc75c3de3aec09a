// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flags of open(2): their names, and `-f`.

use libc::c_int;

/// On x86-64 libc's is 0, since the kernel sets the flag itself for 64-bit
/// programs; but a program may give it.
const LARGEFILE: c_int = match libc::O_LARGEFILE {
    0 => 0o100_000,
    given => given,
};
/// Of values that include another flag (O_DSYNC, O_DIRECTORY) the bit that
/// only they have.
const SYNC: c_int = libc::O_SYNC & !libc::O_DSYNC;
const TMPFILE: c_int = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// A flag by which calls are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// A value of the two bits of the access mode, of which O_RDONLY is 0.
    Mode(c_int),
    /// A bit.
    Bit(c_int),
}

const FLAGS: [(&str, Flag); 23] = [
    ("O_RDONLY", Flag::Mode(libc::O_RDONLY)),
    ("O_WRONLY", Flag::Mode(libc::O_WRONLY)),
    ("O_RDWR", Flag::Mode(libc::O_RDWR)),
    ("O_APPEND", Flag::Bit(libc::O_APPEND)),
    ("O_ASYNC", Flag::Bit(libc::O_ASYNC)),
    ("O_CLOEXEC", Flag::Bit(libc::O_CLOEXEC)),
    ("O_CREAT", Flag::Bit(libc::O_CREAT)),
    ("O_DIRECT", Flag::Bit(libc::O_DIRECT)),
    ("O_DIRECTORY", Flag::Bit(libc::O_DIRECTORY)),
    ("O_DSYNC", Flag::Bit(libc::O_DSYNC)),
    ("O_EXCL", Flag::Bit(libc::O_EXCL)),
    ("O_FSYNC", Flag::Bit(SYNC)),
    ("O_LARGEFILE", Flag::Bit(LARGEFILE)),
    ("O_NDELAY", Flag::Bit(libc::O_NONBLOCK)),
    ("O_NOATIME", Flag::Bit(libc::O_NOATIME)),
    ("O_NOCTTY", Flag::Bit(libc::O_NOCTTY)),
    ("O_NOFOLLOW", Flag::Bit(libc::O_NOFOLLOW)),
    ("O_NONBLOCK", Flag::Bit(libc::O_NONBLOCK)),
    ("O_PATH", Flag::Bit(libc::O_PATH)),
    ("O_RSYNC", Flag::Bit(SYNC)),
    ("O_SYNC", Flag::Bit(SYNC)),
    ("O_TMPFILE", Flag::Bit(TMPFILE)),
    ("O_TRUNC", Flag::Bit(libc::O_TRUNC)),
];

impl Flag {
    /// As a clap value parser.
    pub fn parse(text: &str) -> Result<Self, String> {
        FLAGS
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, flag)| *flag)
            .ok_or_else(|| {
                let names: Vec<_> = FLAGS.iter().map(|(name, _)| *name).collect();
                format!("no flag of open(2); known are {}", names.join(" "))
            })
    }
}

/// What the BPF side compares: a call passes when one of `flags` is set or the
/// bit of its access mode is in `modes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filter {
    pub flags: u64,
    pub modes: u8,
}

impl Filter {
    pub fn any_of(flags: &[Flag]) -> Self {
        let mut filter = Self::default();
        for flag in flags {
            match flag {
                Flag::Mode(mode) => filter.modes |= 1 << mode,
                Flag::Bit(bit) => filter.flags |= *bit as u64,
            }
        }
        filter
    }
}

/// The mode of a call; `None` when it gave none.
pub fn mode(flags: u64, mode: u64) -> Option<u64> {
    let creates = flags & (libc::O_CREAT | TMPFILE) as u64 != 0;
    (creates || mode != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(names: &[&str]) -> Filter {
        let flags: Vec<_> = names.iter().map(|n| Flag::parse(n).unwrap()).collect();
        Filter::any_of(&flags)
    }

    #[test]
    fn access_modes_are_values_and_flags_are_bits() {
        let none = Filter::default();
        assert_eq!(filter(&[]), none);
        assert_eq!(filter(&["O_RDONLY"]), Filter { modes: 1, ..none });
        assert_eq!(filter(&["O_WRONLY", "O_RDWR"]), Filter { modes: 6, ..none });
        assert_eq!(
            filter(&["O_RDONLY", "O_CREAT", "O_EXCL"]),
            Filter {
                flags: 0o300,
                modes: 1
            }
        );
    }

    #[test]
    fn every_flag_has_just_one_bit() {
        for (name, flag) in FLAGS {
            match flag {
                Flag::Mode(mode) => assert!((0..3).contains(&mode), "{name}"),
                Flag::Bit(bit) => assert_eq!(bit.count_ones(), 1, "{name}"),
            }
        }
    }

    #[test]
    fn flags_that_include_others_do_not_match_those() {
        assert_eq!(filter(&["O_TMPFILE"]).flags & libc::O_DIRECTORY as u64, 0);
        assert_eq!(filter(&["O_SYNC"]).flags & libc::O_DSYNC as u64, 0);
    }

    #[test]
    fn unknown_names_are_refused() {
        for bad in ["O_NOPE", "", "o_creat", "CREAT", "O_"] {
            assert!(Flag::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mode_counts_when_a_file_may_be_made() {
        assert_eq!(mode(0, 0), None);
        assert_eq!(mode(libc::O_CREAT as u64, 0), Some(0));
        assert_eq!(mode(libc::O_TMPFILE as u64, 0o600), Some(0o600));
        assert_eq!(mode(libc::O_DIRECTORY as u64, 0), None);
        assert_eq!(mode(0, 0o644), Some(0o644)); // openat2: EINVAL
    }
}
