// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a classic printed of a workload, kept in a file: what it was, and below
//! the line its output, byte for byte, without the rows of others.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Case, Facts, Run};

#[derive(Clone, Debug, Default)]
pub struct Capture {
    pub command: String,
    pub version: String,
    pub kernel: String,
    pub date: String,
    /// Why the classic does not run there; then there is no output.
    pub fails: Option<String>,
    pub run: Run,
}

const LINE: &str = "----\n";

/// Where they are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/captures")
}

/// The kernel on which every mode of a tool is captured: the first of the matrix where
/// the packaged classic runs as it should.
pub fn all_modes(tool: &str) -> &'static str {
    match tool {
        // Debian's 6.1 has no function for its end of an I/O that can be traced.
        "biolatency" | "biosnoop" => "5.10",
        // In 6.1 its tcp_sk() is a macro that BCC's rewriter cannot take.
        "tcprtt" => "5.10",
        _ => "6.1",
    }
}

/// `6.1` of `6.1.0-56-amd64`.
pub fn series(release: &str) -> String {
    release
        .split(['.', '-'])
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}

impl Capture {
    pub fn path(folder: &Path, kernel: &str, case: &Case) -> PathBuf {
        folder
            .join(series(kernel))
            .join(format!("{}.txt", case.id()))
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "command: {}\nversion: {}\nkernel: {}\ndate: {}\nexit: {}\nworkload: {}\n",
            self.command,
            self.version,
            self.kernel,
            self.date,
            self.run.exit,
            self.run.facts.text()
        );
        if let Some(why) = &self.fails {
            text.push_str(&format!("fails: {why}\n"));
        }
        text + LINE + &self.run.stdout
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (head, stdout) = text.split_once(LINE)?;
        let get = |key: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        Some(Self {
            command: get("command")?,
            version: get("version")?,
            kernel: get("kernel")?,
            date: get("date")?,
            fails: get("fails"),
            run: Run {
                stdout: stdout.to_owned(),
                exit: get("exit")?.parse().ok()?,
                facts: Facts::parse(&get("workload")?),
            },
        })
    }

    /// The capture of a case on a kernel series, if there is one.
    pub fn load(series: &str, case: &Case) -> Option<Self> {
        let text = fs::read_to_string(Self::path(&folder(), series, case)).ok()?;
        Some(
            Self::parse(&text)
                .unwrap_or_else(|| panic!("capture {} of {series} is no capture", case.id())),
        )
    }

    /// The kernel series that there are captures of, oldest first.
    pub fn kernels() -> Vec<String> {
        let Ok(dirs) = fs::read_dir(folder()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = dirs
            .filter_map(|dir| Some(dir.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        names.sort_by_key(|name| {
            name.split('.')
                .map(|part| part.parse().unwrap_or(0))
                .collect::<Vec<u32>>()
        });
        names
    }

    /// The help of a classic.
    pub fn help(tool: &str) -> Option<String> {
        fs::read_to_string(folder().join("help").join(format!("{tool}.txt"))).ok()
    }
}
