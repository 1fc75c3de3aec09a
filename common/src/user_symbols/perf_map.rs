// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/tmp/perf-PID.map`: what a compiler at run time says of its functions, a line
//! each: start and size in hexadecimal, the name.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

/// More than any program has; whoever writes it must not take all our memory.
const MOST_BYTES: u64 = 256 << 20;

#[derive(Default)]
pub struct PerfMap {
    /// Open once it was found: a process may be gone when its next address comes.
    file: Option<File>,
    /// How much of it was read: it only grows.
    read: u64,
    /// By their starts.
    functions: BTreeMap<u64, (u64, String)>,
}

impl PerfMap {
    /// What has been added since the last time.
    pub fn read(&mut self, pid: u32) {
        if self.file.is_none() {
            self.file = open(pid);
        }
        let Some(file) = &mut self.file else {
            return;
        };
        if file.metadata().is_ok_and(|meta| meta.len() < self.read) {
            // Written anew.
            self.read = 0;
            self.functions.clear();
        }
        let left = MOST_BYTES.saturating_sub(self.read);
        let mut text = Vec::new();
        if file.seek(SeekFrom::Start(self.read)).is_err()
            || file.take(left).read_to_end(&mut text).is_err()
        {
            return;
        }
        // The last line may still be being written.
        let whole = text
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |last| last + 1);
        self.read += whole as u64;
        let lines = text.get(..whole).unwrap_or_default();
        for (start, size, name) in lines.split(|&b| b == b'\n').filter_map(parse) {
            self.functions.insert(start, (size, name));
        }
    }

    pub fn function(&self, addr: u64) -> Option<String> {
        let (start, (size, name)) = self.functions.range(..=addr).next_back()?;
        (addr - start < *size).then(|| name.clone())
    }
}

fn parse(line: &[u8]) -> Option<(u64, u64, String)> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.trim_end().splitn(3, ' ');
    let mut number = || {
        let text = fields.next()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    Some((start, size, fields.next()?.to_owned()))
}

/// In the process' own file tree, under the id that it has for itself.
fn open(pid: u32) -> Option<File> {
    let own = own_id(pid).unwrap_or(pid);
    [
        format!("/proc/{pid}/root/tmp/perf-{own}.map"),
        format!("/tmp/perf-{pid}.map"),
    ]
    .iter()
    .find_map(|path| {
        // Anybody writes to /tmp: nothing but an ordinary file.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .ok()?;
        file.metadata().ok()?.is_file().then_some(file)
    })
}

fn own_id(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_grows() {
        let path = std::env::temp_dir().join(format!("perf-map-{}", std::process::id()));
        fs::write(&path, "1000 20 one two\n0x2000 0x10 three\nbad\n3000 1").unwrap();
        let mut map = PerfMap {
            file: Some(File::open(&path).unwrap()),
            ..PerfMap::default()
        };
        map.read(0);
        assert_eq!(map.function(0x101f).as_deref(), Some("one two"));
        assert_eq!(map.function(0x1020), None);
        assert_eq!(map.function(0x2000).as_deref(), Some("three"));
        assert_eq!(map.function(0xfff), None);
        assert_eq!(map.function(0x3000), None);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "0 four\n1000 8 anew\n").unwrap();
        map.read(0);
        assert_eq!(map.function(0x300f).as_deref(), Some("four"));
        assert_eq!(map.function(0x1000).as_deref(), Some("anew"));
        fs::write(&path, "5000 1 five\n").unwrap();
        map.read(0);
        assert_eq!(map.function(0x1000), None);
        assert_eq!(map.function(0x5000).as_deref(), Some("five"));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_process_has_an_id_for_itself() {
        assert!(own_id(std::process::id()).is_some());
        assert_eq!(own_id(u32::MAX), None);
    }
}
