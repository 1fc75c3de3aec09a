// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program or library, and the file with its symbols where it has none.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolizer};
use object::{Object as _, ObjectSegment as _, ReadCache};

use super::maps::{Mapping, What};

const DEBUG: &str = "usr/lib/debug";

/// What the kernel says of a mapped file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModuleId {
    pub device: String,
    pub inode: u64,
    pub path: PathBuf,
}

pub struct Module {
    file: Kept,
    segments: Vec<Segment>,
    /// All symbols, where the module has only those that others call.
    debug: Option<Kept>,
}

/// A part of the file, and where it is in memory.
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

/// A file that stays open, and so has a path whatever becomes of the process
/// that has it.
struct Kept(File);

impl Kept {
    /// Only of ordinary files: to open others may do something or wait.
    fn open(path: &Path) -> Option<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .ok()?;
        file.metadata().ok()?.is_file().then_some(Self(file))
    }

    /// Ordinary by the path as well, so that nothing else is opened.
    fn open_ordinary(path: &Path) -> Option<Self> {
        path.metadata().ok()?.is_file().then_some(())?;
        Self::open(path)
    }

    fn source(&self) -> Source<'static> {
        Source::Elf(Elf {
            debug_syms: false,
            ..Elf::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
        })
    }

    fn elf(&self) -> Option<Facts> {
        let cache = ReadCache::new(&self.0);
        let elf = object::File::parse(&cache).ok()?;
        let link = elf.gnu_debuglink().ok().flatten();
        Some(Facts {
            segments: elf
                .segments()
                .map(|segment| {
                    let (offset, size) = segment.file_range();
                    let address = segment.address();
                    Segment {
                        offset,
                        size,
                        address,
                    }
                })
                .collect(),
            has_symbols: elf.section_by_name(".symtab").is_some(),
            build_id: elf.build_id().ok().flatten().map(<[u8]>::to_vec),
            link: link
                .map(|(name, crc)| (String::from_utf8_lossy(name).into_owned(), crc))
                .filter(|(name, _)| !name.contains('/')),
        })
    }

    fn crc(&self) -> Option<u32> {
        let mut crc = Crc::new();
        let mut file = File::open(format!("/proc/self/fd/{}", self.0.as_raw_fd())).ok()?;
        let mut part = vec![0; 1 << 16];
        loop {
            let size = file.read(&mut part).ok()?;
            if size == 0 {
                return Some(crc.value());
            }
            crc.add(part.get(..size).unwrap_or_default());
        }
    }
}

/// What an ELF file says of itself.
struct Facts {
    segments: Vec<Segment>,
    has_symbols: bool,
    build_id: Option<Vec<u8>>,
    /// The name of the file with its symbols, and that file's checksum.
    link: Option<(String, u32)>,
}

impl Module {
    /// Best while the process lives: by its own view of the file.
    pub fn open(pid: u32, mapping: &Mapping) -> Option<Self> {
        let What::File { path, .. } = &mapping.what else {
            return None;
        };
        let below = path.strip_prefix("/").ok()?;
        // Also what was deleted or replaced since; the kernel maps only what it may.
        let mapped = format!(
            "/proc/{pid}/map_files/{:x}-{:x}",
            mapping.start, mapping.end
        );
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let file = Kept::open_ordinary(Path::new(&mapped))
            .or_else(|| Kept::open_ordinary(&root.join(below)))
            .or_else(|| Kept::open_ordinary(path))?;
        let facts = file.elf()?;
        let debug = [root.as_path(), Path::new("/")]
            .into_iter()
            .filter(|_| !facts.has_symbols)
            .find_map(|root| debug_file(root, below, &facts));
        Some(Self {
            file,
            segments: facts.segments,
            debug,
        })
    }

    /// The function that the byte at `offset` of the file belongs to.
    pub fn function(&self, symbolizer: &Symbolizer, offset: u64) -> Option<String> {
        let segment = self
            .segments
            .iter()
            .find(|segment| (segment.offset..segment.offset + segment.size).contains(&offset))?;
        let addr = offset - segment.offset + segment.address;
        [self.debug.as_ref(), Some(&self.file)]
            .into_iter()
            .flatten()
            .find_map(|file| {
                let found = symbolizer.symbolize_single(&file.source(), Input::VirtOffset(addr));
                Some(found.ok()?.into_sym()?.name.into_owned())
            })
    }
}

/// Where distributions and debuggers have it, under this root directory.
fn debug_file(root: &Path, below: &Path, facts: &Facts) -> Option<Kept> {
    let by_id = facts.build_id.as_deref().and_then(|id| {
        let (first, rest) = id.split_first()?;
        let name = format!("{first:02x}/{}.debug", hex(rest));
        Some(root.join(DEBUG).join(".build-id").join(name))
    });
    let dir = below.parent().unwrap_or(Path::new(""));
    let by_link = facts.link.iter().flat_map(|(name, _)| {
        [
            root.join(dir).join(name),
            root.join(dir).join(".debug").join(name),
            root.join(DEBUG).join(dir).join(name),
        ]
    });
    by_id
        .into_iter()
        .chain(by_link)
        .filter_map(|path| Kept::open_ordinary(&path))
        .find(|file| belongs(file, facts))
}

fn belongs(file: &Kept, to: &Facts) -> bool {
    let Some(facts) = file.elf() else {
        return false;
    };
    facts.has_symbols
        && match (&facts.build_id, &to.build_id, &to.link) {
            (Some(one), Some(other), _) => one == other,
            (_, _, Some((_, crc))) => file.crc() == Some(*crc),
            _ => false,
        }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The checksum of a debug link: that of zip and Ethernet.
struct Crc {
    table: [u32; 256],
    value: u32,
}

impl Crc {
    fn new() -> Self {
        let entry = |byte: usize| {
            (0..8).fold(byte as u32, |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
            })
        };
        Self {
            table: std::array::from_fn(entry),
            value: !0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let index = (self.value as u8 ^ byte) as usize;
            let entry = self.table.get(index).copied().unwrap_or_default();
            self.value = self.value >> 8 ^ entry;
        }
    }

    fn value(&self) -> u32 {
        !self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        let mut crc = Crc::new();
        crc.add(b"1234");
        crc.add(b"56789");
        assert_eq!(crc.value(), 0xcbf4_3926);
    }

    #[test]
    fn only_ordinary_files_are_opened() {
        assert!(Kept::open_ordinary(Path::new("/dev/null")).is_none());
        assert!(Kept::open_ordinary(Path::new("/proc")).is_none());
        let ourselves = Kept::open_ordinary(Path::new("/proc/self/exe")).unwrap();
        assert!(ourselves.elf().unwrap().has_symbols);
        let text = Kept::open_ordinary(Path::new("/proc/self/maps")).unwrap();
        assert!(text.elf().is_none());
    }
}
