// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a process' memory can be executed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::module::ModuleId;

/// Of `USER_HZ`, which is the same everywhere.
const NS_PER_TICK: u64 = 10_000_000;

pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// In the file.
    pub offset: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    File {
        id: ModuleId,
        /// As the process sees it.
        path: PathBuf,
    },
    Vdso,
    /// Whatever was written there.
    Memory,
}

/// The executable mappings; empty when the process is gone or not to be read.
pub fn read(pid: u32) -> Vec<Mapping> {
    let text = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.split(|&b| b == b'\n').filter_map(parse).collect()
}

/// `start-end rwxp offset device inode   path`
fn parse(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&b| b == b' ');
    let mut field = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = field()?.split_once('-')?;
    if !field()?.contains('x') {
        return None;
    }
    let offset = field()?;
    let device = field()?.to_owned();
    let inode = field()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        what: match path {
            b"[vdso]" => What::Vdso,
            // Memory that several processes can share has an inode as well.
            [b'/', ..] if inode != 0 && !is_memory(path) => {
                let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
                let path = PathBuf::from(OsStr::from_bytes(path));
                let id = ModuleId {
                    device,
                    inode,
                    path: path.clone(),
                };
                What::File { id, path }
            }
            _ => What::Memory,
        },
    })
}

fn is_memory(path: &[u8]) -> bool {
    let kinds: [&[u8]; 4] = [b"/memfd:", b"/dev/zero", b"/SYSV", b"/anon_hugepage"];
    kinds.iter().any(|kind| path.starts_with(kind))
}

/// What tells a program in execution from the next one with its process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    start_ticks: u64,
    /// The kernel puts it elsewhere in every program; 0 where that is hidden.
    stack: u64,
}

impl Identity {
    pub fn of(pid: u32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        // The name may have blanks and parentheses in it.
        let (_, rest) = text.rsplit_once(") ")?;
        let field = |number: usize| rest.split(' ').nth(number - 3)?.parse().ok();
        Some(Self {
            start_ticks: field(22)?,
            stack: field(28)?,
        })
    }

    /// Whether it did so `start_ns` after boot.
    pub fn began(self, start_ns: u64) -> bool {
        self.start_ticks == start_ns / NS_PER_TICK
    }

    #[cfg(test)]
    pub fn start_ns(self) -> u64 {
        self.start_ticks * NS_PER_TICK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let file = parse(
            b"55d0a000-55d0b000 r-xp 00001000 fd:01 1234                       /opt/a b (deleted)",
        )
        .unwrap();
        assert_eq!(
            (file.start, file.end, file.offset),
            (0x55d0_a000, 0x55d0_b000, 0x1000)
        );
        let What::File { id, path } = file.what else {
            panic!("no file");
        };
        assert_eq!((id.device.as_str(), id.inode), ("fd:01", 1234));
        assert_eq!(path, PathBuf::from("/opt/a b"));
        let what = |line: &str| parse(line.as_bytes()).map(|mapping| mapping.what);
        assert_eq!(what("1000-2000 rwxp 00000000 00:00 0"), Some(What::Memory));
        assert_eq!(
            what("1000-2000 r-xp 00000000 00:01 7     /memfd:doublemapper (deleted)"),
            Some(What::Memory)
        );
        assert_eq!(
            what("1000-2000 r-xp 00000000 00:00 0     [vdso]"),
            Some(What::Vdso)
        );
        assert_eq!(what("1000-2000 rw-p 00000000 00:00 0     [heap]"), None);
        assert_eq!(what("garbage"), None);
        assert_eq!(what(""), None);
    }

    #[test]
    fn a_process_is_told_by_its_start() {
        let identity = Identity::of(std::process::id()).unwrap();
        assert!(identity.began(identity.start_ns() + 9_999_999));
        assert!(!identity.began(identity.start_ns() + 10_000_000));
        assert!(identity.stack > 0);
        assert_eq!(Identity::of(u32::MAX), None);
    }
}
