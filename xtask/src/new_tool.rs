// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask new-tool NAME`: a folder with a tool that builds and traces
//! program starts, to be changed into what it is to become.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{read, root};

#[derive(clap::Args)]
pub struct Args {
    /// Lower-case letters and digits, as the command will be called
    name: String,

    /// The top of the repository to change
    #[arg(long, value_name = "DIR", default_value_os_t = root())]
    root: PathBuf,
}

/// Where a file of the new tool goes, and its template.
const FILES: [(&str, &str); 7] = [
    (
        "tools/@NAME@/Cargo.toml",
        include_str!("../templates/Cargo.toml"),
    ),
    (
        "tools/@NAME@/build.rs",
        include_str!("../templates/build.rs"),
    ),
    (
        "tools/@NAME@/src/main.rs",
        include_str!("../templates/main.rs"),
    ),
    (
        "tools/@NAME@/src/lib.rs",
        include_str!("../templates/lib.rs"),
    ),
    (
        "tools/@NAME@/src/bpf/@NAME@.bpf.c",
        include_str!("../templates/tool.bpf.c"),
    ),
    (
        "tools/@NAME@/src/bpf/@NAME@.h",
        include_str!("../templates/tool.h"),
    ),
    ("man/extra/@NAME@.md", include_str!("../templates/extra.md")),
];

pub fn run(args: &Args) -> Result<()> {
    let name = args.name.as_str();
    if !is_name(name) {
        bail!("{name}: a name is lower-case letters and digits, a letter first");
    }
    if args.root.join("tools").join(name).exists() {
        bail!("tools/{name} is there already");
    }
    for (path, template) in FILES {
        write(&args.root.join(fill(path, name)), &fill(template, name))?;
    }
    insert(
        &args.root.join("multicall/src/tools.rs"),
        "];",
        &format!("    Entry::of::<{name}::{}>(),\n", type_name(name)),
    )?;
    insert(
        &args.root.join("multicall/Cargo.toml"),
        "\n[lints]",
        &format!("{name} = {{ path = \"../tools/{name}\" }}\n"),
    )?;
    println!("tools/{name}: try `cargo run -p {name}`; CONTRIBUTING.md says what comes next");
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// `mytool` → `Mytool`
fn type_name(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}

fn fill(template: &str, name: &str) -> String {
    template
        .replace("@TYPE@", &type_name(name))
        .replace("@NAME@", name)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let dir = path.parent().context("a file has a directory")?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Puts `line` before the last `mark` of a file.
fn insert(path: &Path, mark: &str, line: &str) -> Result<()> {
    let mut text = read(path)?;
    let at = text
        .rfind(mark)
        .with_context(|| format!("{}: no {mark:?}", path.display()))?;
    text.insert_str(at, line);
    fs::write(path, text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(is_name("tcpstates") && is_name("ext4dist"));
        for bad in ["", "4x", "a-b", "A", "../x", "a b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn templates_are_filled() {
        for (path, template) in FILES {
            assert!(!fill(path, "mytool").contains('@'));
            let text = fill(template, "mytool");
            assert!(!text.contains("@NAME") && !text.contains("@TYPE"), "{text}");
        }
    }
}
