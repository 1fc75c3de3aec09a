// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every tool's `build.rs` does, in one call.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libbpf_cargo::SkeletonBuilder;
use libbpf_cargo::util::CargoWarningFormatter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Compiles `src/bpf/<package>.bpf.c` of the calling package into
/// `$OUT_DIR/<package>.o`, packs it (`.o.z`) and writes the skeleton
/// `$OUT_DIR/<package>.skel.rs`, which `common::bpf_skeleton!` includes.
///
/// clang is `$CLANG`, else the first of `clang`, `clang-21` … `clang-14` in the
/// path. clang's warnings become cargo's; with `BPF_WERROR` set they are errors.
///
/// A change in the tool's own BPF files or in any shared header rebuilds it.
pub fn build() -> Result<()> {
    // Only what clang says; libbpf-cargo's own notes are no warnings.
    let compiler = Targets::new().with_target("compiler-stderr", LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(
            fmt::layer()
                .event_format(CargoWarningFormatter)
                .with_filter(compiler),
        )
        .init();

    let name = env::var("CARGO_PKG_NAME")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR: set by cargo only")?);
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("bpf");
    let source = Path::new("src/bpf").join(format!("{name}.bpf.c"));

    for watched in [headers.as_path(), Path::new("src/bpf")] {
        println!("cargo:rerun-if-changed={}", watched.display());
    }
    for variable in ["CLANG", "BPF_WERROR"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }

    // The object names its source files: the same ones wherever the source lies.
    let mut map = OsString::from("-ffile-prefix-map=");
    let top = headers.ancestors().nth(2).context("the repository")?;
    map.push(top);
    map.push("=.");
    let mut flags = vec![
        map,
        "-I".into(),
        headers.into_os_string(),
        "-Wall".into(),
        "-Wextra".into(),
        // CO-RE's own casts and the kernel's flavour names trip these two.
        "-Wno-unused-parameter".into(),
        "-Wno-missing-field-initializers".into(),
        "-mcpu=v3".into(), // 32-bit ALU and jumps: every kernel since 5.1
    ];
    if env::var_os("BPF_WERROR").is_some() {
        flags.push("-Werror".into());
    }

    let object = out.join(format!("{name}.o"));
    let skeleton = out.join(format!("{name}.skel.rs"));
    SkeletonBuilder::new()
        .source(&source)
        .obj(&object)
        .reference_obj(true)
        .clang(clang()?)
        .clang_args(flags)
        .rustfmt("disable_rustfmt")
        .build_and_generate(&skeleton)
        .with_context(|| source.display().to_string())?;
    pack(&object).with_context(|| object.display().to_string())?;
    refer_to_packed(&skeleton).with_context(|| skeleton.display().to_string())
}

/// Writes `object` once more, with `.z` behind its name.
fn pack(object: &Path) -> Result<()> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&fs::read(object)?)?;
    let mut name = object.as_os_str().to_owned();
    name.push(".z");
    fs::write(name, packed.finish()?)?;
    Ok(())
}

/// The skeleton holds the object in a `static DATA`: makes that the packed one,
/// unpacked when it is first used.
fn refer_to_packed(skeleton: &Path) -> Result<()> {
    let text = fs::read_to_string(skeleton)?;
    let unknown = || anyhow!("libbpf-cargo has changed: no static DATA of include_bytes!");
    let (before, data) = text
        .split_once("#[unsafe(link_section = \".bpf.objs\")]\nstatic DATA: ")
        .ok_or_else(unknown)?;
    let (_, path) = data
        .split_once("= *include_bytes!(\"")
        .ok_or_else(unknown)?;
    let (path, after) = path.split_once("\");").ok_or_else(unknown)?;
    let data = format!(
        "static DATA: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| \
         ::common::object::unpack_or_empty(include_bytes!(\"{path}.z\")));"
    );
    fs::write(skeleton, format!("{before}{data}{after}"))?;
    Ok(())
}

fn clang() -> Result<PathBuf> {
    if let Some(clang) = env::var_os("CLANG") {
        return Ok(clang.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let names = std::iter::once("clang".to_owned())
        .chain((14..=21).rev().map(|version| format!("clang-{version}")));
    for name in names {
        if let Some(found) = env::split_paths(&path)
            .map(|dir| dir.join(&name))
            .find(|file| file.is_file())
        {
            return Ok(found);
        }
    }
    Err(anyhow!(
        "clang (14 or newer) is not installed; run `make deps` or set CLANG"
    ))
}
