// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proof on the running kernel that every BPF program loads and attaches, or
//! that this kernel has no such hook; and that every kernel field that
//! `common/bpf/kernel/` declares is there, with that size and signedness.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;

use anyhow::{Context, Result, anyhow, bail};
use bpfcc_rs::tools::TOOLS;
use common::hooks::capture_libbpf_messages;
use common::object::unpack;
use common::trial::{State, try_alternative};
use libbpf_rs::btf::types::{Array, Composite, Enum, Int, IntEncoding, MemberAttr, Ptr};
use libbpf_rs::btf::{Btf, BtfType};

use crate::{read, root};

#[derive(clap::Args)]
pub struct Args {
    /// Tab separated: tool, hook, alternative, state
    #[arg(long)]
    table: bool,
}

pub fn run(args: &Args) -> Result<()> {
    capture_libbpf_messages();
    let mut failures = 0;
    for tool in TOOLS {
        for hook in tool.hooks {
            let states: Vec<_> = hook
                .alternatives
                .iter()
                .map(|alternative| (alternative.name, try_alternative(tool, alternative)))
                .collect();
            for (alternative, state) in &states {
                println!("{}\t{}\t{alternative}\t{state}", tool.name, hook.name);
                failures += usize::from(matches!(state, State::Broken(_)));
            }
            if !states
                .iter()
                .any(|(_, state)| matches!(state, State::Works))
            {
                println!("{}\t{}\t-\tNO ALTERNATIVE WORKS", tool.name, hook.name);
                failures += 1;
            }
        }
    }
    let fields = kernel_fields(args.table)?;
    failures += fields;
    if failures > 0 {
        bail!("{failures} failures");
    }
    Ok(())
}

/// Compares the declared kernel types that the tools use with the running
/// kernel's; gives the number of differences.
fn kernel_fields(quiet: bool) -> Result<usize> {
    let declared = declared_types()?;
    let kernel = Btf::from_vmlinux().context("the kernel's type information")?;
    let mut by_name = HashMap::<&OsStr, Vec<Composite<'_>>>::new();
    for composite in kernel.type_by_kind::<Composite<'_>>() {
        by_name
            .entry(composite.name().unwrap_or_default())
            .or_default()
            .push(composite);
    }
    let mut seen = BTreeSet::new();
    let mut failures = 0;
    let mut fields = 0;
    for tool in TOOLS {
        let object = unpack(tool.object)?;
        let ours = Btf::from_raw(tool.name, &object)?
            .ok_or_else(|| anyhow!("{}: no type information", tool.name))?;
        for composite in ours.type_by_kind::<Composite<'_>>() {
            let Some(name) = composite.name().and_then(OsStr::to_str) else {
                continue;
            };
            if !declared.contains(name) {
                continue;
            }
            seen.insert(name.to_owned());
            let base = name.split_once("___").map_or(name, |(base, _)| base);
            let theirs = by_name.get(OsStr::new(base)).map_or(&[][..], Vec::as_slice);
            let sides = Sides {
                ours: &ours,
                kernel: &kernel,
            };
            let differences = compare(&sides, &composite, theirs, &mut fields);
            for difference in &differences {
                println!("{}\t{difference}", tool.name);
            }
            failures += differences.len();
        }
    }
    for unused in declared.difference(&seen) {
        println!("kernel type {unused}: declared, but no tool uses it");
    }
    if !quiet {
        println!("{fields} kernel fields compared, {failures} differ");
    }
    Ok(failures)
}

/// The struct and union names in `common/bpf/kernel/`.
fn declared_types() -> Result<BTreeSet<String>> {
    let dir = root().join("common/bpf/kernel");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        for line in read(&entry?.path())?.lines() {
            let name = line
                .strip_prefix("struct ")
                .or_else(|| line.strip_prefix("union "))
                .and_then(|rest| rest.strip_suffix(" {"));
            names.extend(name.map(str::to_owned));
        }
    }
    Ok(names)
}

/// Both sides of a comparison.
struct Sides<'b> {
    ours: &'b Btf<'b>,
    kernel: &'b Btf<'b>,
}

/// Differences between one of our types and the kernel's of that name. A
/// flavour (`name___what`) declares what only some kernels have: what is
/// missing here is no difference, but what is there must be right.
fn compare<'b>(
    sides: &Sides<'b>,
    ours: &Composite<'b>,
    theirs: &[Composite<'b>],
    fields: &mut usize,
) -> Vec<String> {
    let name = ours.name().unwrap_or_default().to_string_lossy();
    let flavour = name.contains("___");
    if theirs.is_empty() {
        return if flavour {
            Vec::new()
        } else {
            vec![format!("{name}: no such kernel type")]
        };
    }
    let mut differences = Vec::new();
    for (member, ty, bits) in members(sides.ours, ours) {
        let Some((their_type, their_bits)) = theirs
            .iter()
            .find_map(|theirs| find(sides.kernel, theirs, &member))
        else {
            if !flavour {
                differences.push(format!("{name}.{member}: no such kernel field"));
            }
            continue;
        };
        // To CO-RE another field: bpf_core_field_exists() says no.
        let kind = |ty: &BtfType<'_>| ty.skip_mods_and_typedefs().kind();
        if flavour && kind(&ty) != kind(&their_type) {
            continue;
        }
        *fields += 1;
        if let Err(reason) = same(sides, &ty, &their_type) {
            differences.push(format!("{name}.{member}: {reason}"));
        }
        if bits != their_bits {
            differences.push(format!(
                "{name}.{member}: {bits:?} bits, the kernel has {their_bits:?}"
            ));
        }
    }
    differences
}

/// The named members, also those of anonymous members: name, type, bits of a
/// bit field.
fn members<'b>(
    btf: &'b Btf<'b>,
    composite: &Composite<'b>,
) -> Vec<(String, BtfType<'b>, Option<u8>)> {
    let mut found = Vec::new();
    for member in composite.iter() {
        let Some(ty) = btf.type_by_id::<BtfType<'b>>(member.ty) else {
            continue;
        };
        match member.name.and_then(OsStr::to_str) {
            Some(name) => found.push((name.to_owned(), ty, bits(member.attr))),
            None => {
                if let Ok(inner) = Composite::try_from(ty) {
                    found.extend(members(btf, &inner));
                }
            }
        }
    }
    found
}

fn find<'b>(
    btf: &'b Btf<'b>,
    composite: &Composite<'b>,
    name: &str,
) -> Option<(BtfType<'b>, Option<u8>)> {
    members(btf, composite)
        .into_iter()
        .find(|(member, ..)| member == name)
        .map(|(_, ty, bits)| (ty, bits))
}

fn bits(attr: MemberAttr) -> Option<u8> {
    match attr {
        MemberAttr::BitField { size, .. } => Some(size),
        MemberAttr::Normal { .. } => None,
    }
}

/// Whether reading a `theirs` as an `ours` gives what it holds.
fn same<'b>(sides: &Sides<'b>, ours: &BtfType<'b>, theirs: &BtfType<'b>) -> Result<(), String> {
    let (ours, theirs) = (
        ours.skip_mods_and_typedefs(),
        theirs.skip_mods_and_typedefs(),
    );
    if let (Ok(a), Ok(b)) = (Int::try_from(ours), Int::try_from(theirs)) {
        // Whether char has a sign differs from kernel to kernel (since 6.2 it
        // has none): bytes are bytes.
        let text = a.bits == 8;
        let signed = |int: &Int<'_>| matches!(int.encoding, IntEncoding::Signed);
        return if a.bits != b.bits || (!text && signed(&a) != signed(&b)) {
            Err(format!(
                "{} bits{}, the kernel has {} bits{}",
                a.bits,
                sign(signed(&a)),
                b.bits,
                sign(signed(&b))
            ))
        } else {
            Ok(())
        };
    }
    if let (Ok(a), Ok(b)) = (Array::try_from(ours), Array::try_from(theirs)) {
        // 0: a flexible array, whose length the struct does not tell.
        if b.capacity() != 0 && a.capacity() > b.capacity() {
            return Err(format!(
                "{} elements, the kernel has {}",
                a.capacity(),
                b.capacity()
            ));
        }
        return same(sides, &a.contained_type(), &b.contained_type());
    }
    if let (Ok(a), Ok(b)) = (Int::try_from(ours), Enum::try_from(theirs)) {
        let size = libbpf_rs::btf::HasSize::size(&b);
        return if usize::from(a.bits) == size * 8 {
            Ok(())
        } else {
            Err(format!(
                "{} bits, the kernel's enum has {size} bytes",
                a.bits
            ))
        };
    }
    if Ptr::try_from(ours).is_ok() && Ptr::try_from(theirs).is_ok() {
        return Ok(());
    }
    if let (Ok(a), Ok(b)) = (Composite::try_from(ours), Composite::try_from(theirs)) {
        // Named types are compared by themselves.
        if a.name().is_some() {
            return Ok(());
        }
        for (member, ty, _) in members(sides.ours, &a) {
            let (their_type, _) =
                find(sides.kernel, &b, &member).ok_or_else(|| format!("no member {member}"))?;
            same(sides, &ty, &their_type).map_err(|reason| format!("{member}: {reason}"))?;
        }
        return Ok(());
    }
    if ours.kind() == theirs.kind() {
        return Ok(());
    }
    Err(format!(
        "is a {:?}, the kernel has a {:?}",
        ours.kind(),
        theirs.kind()
    ))
}

fn sign(signed: bool) -> &'static str {
    if signed { " signed" } else { "" }
}
