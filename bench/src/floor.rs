// SPDX-License-Identifier: MIT OR Apache-2.0
//! Empty programs on hooks, until a signal: what the hook itself costs.

use std::ffi::OsStr;

use anyhow::{Context, Result};
use common::bpf_object;
use common::object::unpack;
use libbpf_rs::{Link, Object, ObjectBuilder, TracepointCategory};

/// Each hook is `tp_btf:NAME` or `tracepoint:CATEGORY:NAME`.
pub fn run(hooks: &[String]) -> Result<()> {
    let signals = crate::interrupting();
    signals.thread_block().context("block signals")?;
    let _held = hooks
        .iter()
        .map(|hook| attach(hook).with_context(|| hook.clone()))
        .collect::<Result<Vec<_>>>()?;
    signals.wait().context("wait for a signal")?;
    Ok(())
}

fn attach(hook: &str) -> Result<(Object, Link)> {
    let (kind, target) = hook.split_once(':').context("expected KIND:NAME")?;
    let wanted = OsStr::new(if kind == "tp_btf" { "typed" } else { "classic" });
    let mut builder = ObjectBuilder::default();
    let unpacked = unpack(bpf_object!("bpfcc-bench"))?;
    let mut open = builder.open_memory(&unpacked)?;
    for mut program in open.progs_mut() {
        program.set_autoload(program.name() == wanted);
        if kind == "tp_btf" && program.name() == wanted {
            program.set_attach_target(0, Some(target.to_owned()))?;
        }
    }
    let object = open.load()?;
    let link = object
        .progs_mut()
        .find(|program| program.name() == wanted)
        .context("no such program")
        .and_then(|program| {
            Ok(match target.split_once(':') {
                Some((category, name)) => {
                    let category = TracepointCategory::Custom(category.to_owned());
                    program.attach_tracepoint(category, name)?
                }
                None => program.attach_trace()?,
            })
        })?;
    Ok((object, link))
}
