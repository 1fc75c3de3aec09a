// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this kernel and this process can do. Facts are read under a root
//! directory, so that tests can give them another.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// Facts about the machine.
#[derive(Debug, Clone)]
pub struct Probe {
    root: PathBuf,
}

/// `/sys/kernel/security/lockdown`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockdown {
    None,
    Integrity,
    Confidentiality,
    /// securityfs is not mounted, or the kernel has no lockdown.
    Unknown,
}

impl Lockdown {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
            Self::Unknown => "unknown",
        }
    }
}

/// The capabilities our tools ask for, by their bit in `CapEff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    DacReadSearch = 2,
    SysAdmin = 21,
    SysResource = 24,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    pub const ALL: [Self; 5] = [
        Self::Bpf,
        Self::Perfmon,
        Self::SysAdmin,
        Self::DacReadSearch,
        Self::SysResource,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::at("/")
    }
}

impl Probe {
    /// Facts of the system whose `proc` and `sys` are under `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// As `uname -r`.
    pub fn release(&self) -> String {
        self.read("proc/sys/kernel/osrelease")
            .map_or_else(|| "unknown".into(), |text| text.trim().into())
    }

    /// Whether the kernel carries its type information.
    pub fn has_btf(&self) -> bool {
        self.exists("sys/kernel/btf/vmlinux")
    }

    pub fn lockdown(&self) -> Lockdown {
        let text = self
            .read("sys/kernel/security/lockdown")
            .unwrap_or_default();
        match text.split(['[', ']']).nth(1) {
            Some("none") => Lockdown::None,
            Some("integrity") => Lockdown::Integrity,
            Some("confidentiality") => Lockdown::Confidentiality,
            _ => Lockdown::Unknown,
        }
    }

    /// Whether perf_event_open(2) makes kprobes.
    pub fn kprobes(&self) -> bool {
        self.exists("sys/bus/event_source/devices/kprobe")
    }

    /// The directory where tracefs is mounted, where libbpf looks for it.
    pub fn tracefs(&self) -> Option<PathBuf> {
        ["sys/kernel/debug/tracing", "sys/kernel/tracing"]
            .iter()
            .map(|path| self.root.join(path))
            .find(|path| path.join("events").exists())
    }

    /// Whether connections are tracked: by a module that is loaded, or built in.
    pub fn conntrack(&self) -> bool {
        self.exists("proc/sys/net/netfilter/nf_conntrack_max")
    }

    /// The options that the kernel was built with, as in its `.config`.
    pub fn config(&self) -> Option<String> {
        let mut text = String::new();
        match fs::File::open(self.root.join("proc/config.gz")) {
            Ok(packed) => GzDecoder::new(packed)
                .read_to_string(&mut text)
                .is_ok()
                .then_some(text),
            Err(_) => self
                .read(&format!("boot/config-{}", self.release()))
                .or_else(|| self.read(&format!("lib/modules/{}/config", self.release()))),
        }
    }

    /// Whether this process has `capability` in its effective set.
    pub fn has(&self, capability: Capability) -> bool {
        self.read("proc/self/status")
            .and_then(|status| effective_capabilities(&status))
            .is_some_and(|set| set & (1 << capability as u8) != 0)
    }

    /// Which of the capabilities needed to load tracing programs are missing.
    /// CAP_SYS_ADMIN stands for all of them.
    pub fn missing_capabilities(&self) -> Vec<&'static str> {
        if self.has(Capability::SysAdmin) {
            return Vec::new();
        }
        [Capability::Bpf, Capability::Perfmon]
            .into_iter()
            .filter(|&capability| !self.has(capability))
            .map(Capability::name)
            .collect()
    }

    /// Why BPF programs cannot work here at all: cause and remedy in one line.
    pub fn obstacle(&self) -> Option<String> {
        let missing = self.missing_capabilities();
        if !missing.is_empty() {
            return Some(format!(
                "permission denied ({} missing); run as root or with CAP_BPF,CAP_PERFMON",
                missing.join(" and ")
            ));
        }
        if self.lockdown() == Lockdown::Confidentiality {
            return Some(
                "kernel lockdown is in confidentiality mode, which forbids BPF to read kernel memory; \
                 boot with lockdown=integrity or without Secure Boot"
                    .into(),
            );
        }
        if !self.has_btf() {
            return Some(format!(
                "kernel {} has no type information (/sys/kernel/btf/vmlinux); \
                 use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
                self.release()
            ));
        }
        None
    }
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether this process runs as the superuser. For what user id 0 means to
/// others; privileges are capabilities ([`Probe::has`]).
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Bytes per page of memory.
pub fn page_size() -> u32 {
    // POSIX demands an answer; 4096 is the smallest of any Linux machine.
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u32::try_from(size).ok())
        .unwrap_or(4096)
}

/// Whether `path` is on a file system of type `magic` (as in `statfs(2)`).
pub fn on_filesystem(path: &Path, magic: nix::sys::statfs::FsType) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|fs| fs.filesystem_type() == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("probe-{}-{name}", std::process::id()));
            for (path, text) in files {
                let file = root.join(path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(root)
        }

        fn probe(&self) -> Probe {
            Probe::at(&self.0)
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const ROOT: (&str, &str) = ("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
    const BTF: (&str, &str) = ("sys/kernel/btf/vmlinux", "");

    #[test]
    fn a_usual_machine_has_no_obstacle() {
        let fixture = Fixture::new(
            "usual",
            &[
                ROOT,
                BTF,
                (
                    "sys/kernel/security/lockdown",
                    "none [integrity] confidentiality\n",
                ),
            ],
        );
        assert_eq!(fixture.probe().obstacle(), None);
        assert_eq!(fixture.probe().lockdown(), Lockdown::Integrity);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let fixture = Fixture::new(
            "caps",
            &[BTF, ("proc/self/status", "CapEff:\t0000008000000000\n")],
        );
        let obstacle = fixture.probe().obstacle().unwrap();
        assert!(obstacle.contains("(CAP_PERFMON missing)"), "{obstacle}");
        let fixture = Fixture::new(
            "nocaps",
            &[BTF, ("proc/self/status", "CapEff:\t0000000000000000\n")],
        );
        let obstacle = fixture.probe().obstacle().unwrap();
        assert!(
            obstacle.contains("CAP_BPF and CAP_PERFMON missing"),
            "{obstacle}"
        );
    }

    #[test]
    fn lockdown_and_missing_btf_are_named() {
        let fixture = Fixture::new(
            "lock",
            &[
                ROOT,
                BTF,
                (
                    "sys/kernel/security/lockdown",
                    "none integrity [confidentiality]\n",
                ),
            ],
        );
        assert!(fixture.probe().obstacle().unwrap().contains("lockdown"));
        let fixture = Fixture::new("nobtf", &[ROOT, ("proc/sys/kernel/osrelease", "5.4.0\n")]);
        let obstacle = fixture.probe().obstacle().unwrap();
        assert!(obstacle.contains("5.4.0") && obstacle.contains("CONFIG_DEBUG_INFO_BTF"));
    }

    #[test]
    fn tracefs_is_found_where_it_has_events() {
        let fixture = Fixture::new("tracefs", &[("sys/kernel/tracing/events/header_page", "")]);
        assert!(fixture.probe().tracefs().is_some());
        let fixture = Fixture::new("notracefs", &[("sys/kernel/tracing/x", "")]);
        assert!(fixture.probe().tracefs().is_none());
    }

    #[test]
    fn the_configuration_is_in_boot_where_proc_has_none() {
        let fixture = Fixture::new(
            "config",
            &[
                ("proc/sys/kernel/osrelease", "6.1.0\n"),
                ("boot/config-6.1.0", "CONFIG_BPF=y\n"),
            ],
        );
        assert_eq!(fixture.probe().config().unwrap(), "CONFIG_BPF=y\n");
        let packed = fixture.0.join("proc/config.gz");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, b"CONFIG_BPF=m\n").unwrap();
        fs::write(packed, gzip.finish().unwrap()).unwrap();
        assert_eq!(fixture.probe().config().unwrap(), "CONFIG_BPF=m\n");
        assert_eq!(Fixture::new("noconfig", &[ROOT]).probe().config(), None);
    }
}
