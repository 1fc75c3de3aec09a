// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernel hook a tool uses: the first of its alternatives that loads and
//! attaches. Type information says that a hook exists, not that it may be used
//! (a kernel without trampolines refuses fentry with EPERM): so it is tried.

use std::collections::HashMap;
use std::env;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, Object, OpenObject, PrintLevel, ProgramMut, TracepointCategory};

use crate::kernel_types::KernelTypes;
use crate::lost::Lost;
use crate::probe::Probe;
use crate::release;
use crate::sampling::{self, Rate, first_cpu};
use crate::tracefs::Tracefs;

/// One thing that a tool has to see, and the ways to see it, best first.
#[derive(Debug)]
pub struct Hook {
    pub name: &'static str,
    pub alternatives: &'static [Alternative],
}

/// One way: programs that are used together.
#[derive(Debug)]
pub struct Alternative {
    pub name: &'static str,
    /// All of these must load and attach.
    pub programs: &'static [&'static str],
    /// These are left out where their hook does not exist (a system call that
    /// the architecture or the kernel lacks).
    pub optional: &'static [&'static str],
    /// More tracepoints (`category/name`) for these programs, where they exist.
    pub also: &'static [(&'static str, &'static [&'static str])],
    /// The functions of the programs that are made for any: by program.
    pub functions: &'static [(&'static str, &'static str)],
    /// Maps that only this alternative uses; the others do not create them.
    pub maps: &'static [&'static str],
}

impl Alternative {
    pub const fn new(name: &'static str, programs: &'static [&'static str]) -> Self {
        Self {
            name,
            programs,
            optional: &[],
            also: &[],
            functions: &[],
            maps: &[],
        }
    }

    pub const fn optional(self, optional: &'static [&'static str]) -> Self {
        Self { optional, ..self }
    }

    pub const fn also(self, also: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self { also, ..self }
    }

    pub const fn functions(self, functions: &'static [(&'static str, &'static str)]) -> Self {
        Self { functions, ..self }
    }

    pub const fn maps(self, maps: &'static [&'static str]) -> Self {
        Self { maps, ..self }
    }

    /// Every program of the alternative.
    pub fn all_programs(&self) -> impl Iterator<Item = &'static str> {
        self.programs.iter().chain(self.optional).copied()
    }

    /// The function that `program` is given; `None` when its section names it.
    fn function(&self, program: &str) -> Option<&'static str> {
        let given = self.functions.iter().find(|(name, _)| *name == program);
        given.map(|(_, function)| *function)
    }

    /// Before the object is loaded: tells its fentry and fexit programs their
    /// functions. The error is that of the program that it names.
    pub fn aim(
        &self,
        object: &mut OpenObject,
        left_out: &[&str],
    ) -> Result<(), (&'static str, anyhow::Error)> {
        for &(name, function) in self.functions {
            let program = object.progs_mut().find(|program| program.name() == name);
            let Some(mut program) = program.filter(|_| !left_out.contains(&name)) else {
                continue;
            };
            let section = program.section().to_string_lossy();
            if matches!(&*section, "fentry" | "fexit") {
                program
                    .set_attach_target(0, Some(function.to_owned()))
                    .map_err(|error| (name, anyhow!("{function}: {}", root_cause(&error))))?;
            }
        }
        Ok(())
    }
}

/// A loaded skeleton whose programs are attached until it is dropped, at the
/// end of the tool.
pub struct Attached<S> {
    // Before the skeleton: detached before the maps go.
    links: Vec<(&'static str, Link)>,
    pub skel: S,
    pub lost: Lost,
    /// Hook and alternative in use.
    pub used: Vec<(&'static str, &'static str)>,
}

impl<S> Attached<S> {
    /// Takes out the link of `program`, if that is attached: of an iterator, to
    /// read it.
    pub fn take_link(&mut self, program: &str) -> Option<Link> {
        let index = self.links.iter().position(|(name, _)| *name == program)?;
        Some(self.links.swap_remove(index).1)
    }

    /// Detaches all of it now, for a tool that goes on without.
    pub fn detach(mut self) {
        self.stop();
    }

    /// The programs run no more; the maps stay.
    pub fn stop(&mut self) {
        self.links.clear();
    }
}

impl<S: Skel<'static>> Attached<S> {
    /// Runs `program` at this rate on a CPU.
    pub fn sample(&mut self, program: &'static str, rate: Rate, cpu: u32) -> Result<()> {
        let found = find(self.skel.object(), program)
            .ok_or_else(|| anyhow!("BPF object has no program {program}"))?;
        self.links
            .push((program, sampling::attach(&found, rate, cpu)?));
        Ok(())
    }
}

impl<S> Drop for Attached<S> {
    fn drop(&mut self) {
        if self.links.len() > 1 {
            release::in_background();
        }
    }
}

/// `hook=alternative[,hook=alternative…]`: take just these, for tests.
pub const FORCE: &str = "BPFCC_RS_HOOKS";

fn forced() -> Result<HashMap<String, String>> {
    let Ok(text) = env::var(FORCE) else {
        return Ok(HashMap::new());
    };
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.split_once('=')
                .map(|(hook, alternative)| (hook.to_owned(), alternative.to_owned()))
                .ok_or_else(|| anyhow!("{FORCE}: '{part}' is not hook=alternative"))
        })
        .collect()
}

/// Where the types that a BPF object asks for are declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypesOf {
    Kernel,
    KernelAndModules,
}

/// Opens the skeleton, configures it (`configure` may run more than once),
/// loads and attaches it with the first alternative of each of `hooks` that
/// works here. `tell` gets a line per decision.
pub fn load<B>(
    hooks: &[&'static Hook],
    types_of: TypesOf,
    mut configure: impl FnMut(&mut B::Output) -> Result<()>,
    mut tell: impl FnMut(&str),
) -> Result<Attached<<B::Output as OpenSkel<'static>>::Output>>
where
    B: SkelBuilder<'static> + Default,
{
    let forced = forced()?;
    let mut ways = hooks
        .iter()
        .map(|&hook| Way::new(hook, &forced))
        .collect::<Result<Vec<_>>>()?;
    let types = match types_of {
        TypesOf::Kernel => kernel_types::<B>()?,
        TypesOf::KernelAndModules => None,
    };
    let mut attempt = |chosen: &[_], tell: &mut dyn FnMut(&str)| {
        attempt::<B>(hooks, chosen, types.as_ref(), &mut configure, tell)
    };
    loop {
        let chosen: Vec<_> = ways.iter().map(Way::current).collect::<Result<_>>()?;
        let failure = match attempt(&chosen, &mut tell)? {
            Ok(mut attached) => {
                attached.used = ways
                    .iter()
                    .zip(&chosen)
                    .map(|(way, a)| (way.hook.name, a.name))
                    .collect();
                for (hook, alternative) in &attached.used {
                    tell(&format!("{hook}: using {alternative}"));
                }
                return Ok(attached);
            }
            Err(failure) => failure,
        };
        // Find out whose fault it was by trying each hook alone.
        let culprit = match failure.hook {
            Some(index) => index,
            None if ways.len() == 1 => 0,
            None => {
                let mut guilty = None;
                for (index, alternative) in chosen.iter().enumerate() {
                    let alone = std::slice::from_ref(alternative);
                    if attempt(alone, &mut |_| {})?.is_err() {
                        guilty = Some(index);
                        break;
                    }
                }
                guilty.ok_or_else(|| anyhow!("cannot load BPF programs: {}", failure.reason))?
            }
        };
        if let Some(way) = ways.get_mut(culprit) {
            tell(&format!(
                "{}: {} refused ({})",
                way.hook.name,
                way.current()?.name,
                failure.reason
            ));
            way.refuse(failure.reason);
        }
    }
}

/// The types that the object of `B` asks for.
fn kernel_types<B>() -> Result<Option<KernelTypes>>
where
    B: SkelBuilder<'static> + Default,
{
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let open = B::default().open(storage).context("open BPF object")?;
    Ok(KernelTypes::of(open.open_object()))
}

/// The alternatives of one hook that are still to be tried.
struct Way {
    hook: &'static Hook,
    left: Vec<&'static Alternative>,
    refusals: Vec<String>,
}

impl Way {
    fn new(hook: &'static Hook, forced: &HashMap<String, String>) -> Result<Self> {
        let left: Vec<_> = hook
            .alternatives
            .iter()
            .filter(|alternative| {
                forced
                    .get(hook.name)
                    .is_none_or(|name| name == alternative.name)
            })
            .rev()
            .collect();
        if left.is_empty() {
            let names: Vec<_> = hook.alternatives.iter().map(|a| a.name).collect();
            bail!("{FORCE}: {} has {}", hook.name, names.join(", "));
        }
        Ok(Self {
            hook,
            left,
            refusals: Vec::new(),
        })
    }

    fn current(&self) -> Result<&'static Alternative> {
        self.left.last().copied().ok_or_else(|| {
            anyhow!(
                "cannot trace {}: {}",
                self.hook.name,
                self.refusals.join("; ")
            )
        })
    }

    fn refuse(&mut self, reason: String) {
        if let Some(alternative) = self.left.pop() {
            self.refusals
                .push(format!("{}: {reason}", alternative.name));
        }
    }
}

struct Failure {
    /// Which of the chosen alternatives failed, when that is known.
    hook: Option<usize>,
    reason: String,
}

type Attempt<S> = Result<Attached<S>, Failure>;

/// One trial. The outer error is one that no other alternative mends.
fn attempt<B>(
    hooks: &[&'static Hook],
    chosen: &[&'static Alternative],
    types: Option<&KernelTypes>,
    configure: &mut impl FnMut(&mut B::Output) -> Result<()>,
    tell: &mut dyn FnMut(&str),
) -> Result<Attempt<<B::Output as OpenSkel<'static>>::Output>>
where
    B: SkelBuilder<'static> + Default,
{
    let mut missing = Vec::new();
    loop {
        // A few dozen bytes per trial, which live as long as the process: that
        // is what lets the skeleton be moved and returned.
        let storage: &'static mut MaybeUninit<OpenObject> =
            Box::leak(Box::new(MaybeUninit::uninit()));
        let mut builder = B::default();
        if let Some(types) = types {
            let path = types.path();
            builder.object_builder_mut().btf_custom_path(path)?;
        }
        let mut open = builder.open(storage).context("open BPF object")?;
        if let Some(failure) = without_kprobes(open.open_object(), chosen) {
            return Ok(Err(failure));
        }
        configure(&mut open)?;
        select(open.open_object_mut(), hooks, chosen, &missing)?;
        take_messages();
        match aim(open.open_object_mut(), chosen, &missing, tell) {
            Aimed::All => {}
            Aimed::LeftOut(name) => {
                missing.push(name);
                continue;
            }
            Aimed::Not(failure) => return Ok(Err(failure)),
        }
        let skel = match open.load() {
            Ok(skel) => skel,
            Err(error) => {
                let absent = absent_optional(chosen, &missing, &take_messages());
                if absent.is_empty() {
                    return Ok(Err(Failure {
                        hook: None,
                        reason: reason(&error),
                    }));
                }
                for name in &absent {
                    tell(&format!("{name}: left out ({})", root_cause(&error)));
                }
                missing.extend(absent);
                continue;
            }
        };
        return attach(skel, chosen, &missing, tell);
    }
}

enum Aimed {
    All,
    /// All but one that is optional.
    LeftOut(&'static str),
    Not(Failure),
}

/// [`Alternative::aim`] for all that were chosen.
fn aim(
    object: &mut OpenObject,
    chosen: &[&'static Alternative],
    missing: &[&'static str],
    tell: &mut dyn FnMut(&str),
) -> Aimed {
    for (index, alternative) in chosen.iter().enumerate() {
        match alternative.aim(object, missing) {
            Ok(()) => {}
            Err((name, error)) if alternative.optional.contains(&name) => {
                tell(&format!("{name}: left out ({error:#})"));
                return Aimed::LeftOut(name);
            }
            Err((_, error)) => {
                return Aimed::Not(Failure {
                    hook: Some(index),
                    reason: format!("{error:#}"),
                });
            }
        }
    }
    Aimed::All
}

/// Of a kernel that has no kprobes, which alternative needs them: no reason to
/// put an object together, which takes long.
fn without_kprobes(object: &OpenObject, chosen: &[&'static Alternative]) -> Option<Failure> {
    if Probe::default().kprobes() {
        return None;
    }
    let is_kprobe = |name: &str| {
        let program = object.progs().find(|program| program.name() == name);
        program.is_some_and(|program| {
            let section = program.section().to_string_lossy();
            ["kprobe", "kretprobe"]
                .iter()
                .any(|kind| section.starts_with(kind))
        })
    };
    let needs =
        |alternative: &&Alternative| alternative.programs.iter().any(|name| is_kprobe(name));
    Some(Failure {
        hook: Some(chosen.iter().position(needs)?),
        reason: "this kernel has no kprobes (CONFIG_KPROBE_EVENTS)".to_owned(),
    })
}

/// The optional programs that libbpf names as those that cannot be loaded.
fn absent_optional(
    chosen: &[&'static Alternative],
    missing: &[&'static str],
    messages: &str,
) -> Vec<&'static str> {
    chosen
        .iter()
        .flat_map(|alternative| alternative.optional)
        .copied()
        .filter(|name| !missing.contains(name) && messages.contains(&format!("prog '{name}'")))
        .collect()
}

/// Marks what the trial loads: the chosen programs, and the maps of no other
/// alternative.
fn select(
    object: &mut OpenObject,
    hooks: &[&'static Hook],
    chosen: &[&'static Alternative],
    missing: &[&'static str],
) -> Result<()> {
    let wanted: Vec<_> = chosen
        .iter()
        .flat_map(|alternative| alternative.all_programs())
        .filter(|name| !missing.contains(name))
        .collect();
    for mut program in object.progs_mut() {
        let load = wanted.iter().any(|name| program.name() == *name);
        program.set_autoload(load);
    }
    let used: Vec<_> = chosen
        .iter()
        .flat_map(|alternative| alternative.maps)
        .collect();
    let unused: Vec<_> = hooks
        .iter()
        .flat_map(|hook| hook.alternatives)
        .flat_map(|alternative| alternative.maps)
        .filter(|map| !used.contains(map))
        .collect();
    for mut map in object.maps_mut() {
        if unused.iter().any(|name| map.name() == **name) {
            map.set_autocreate(false)
                .with_context(|| format!("leave out map {}", map.name().to_string_lossy()))?;
        }
    }
    Ok(())
}

fn attach<S: Skel<'static>>(
    skel: S,
    chosen: &[&'static Alternative],
    missing: &[&'static str],
    tell: &mut dyn FnMut(&str),
) -> Result<Attempt<S>> {
    let mut links = Vec::new();
    for (index, alternative) in chosen.iter().enumerate() {
        for name in alternative
            .all_programs()
            .filter(|name| !missing.contains(name))
        {
            let Some(program) = find(skel.object(), name) else {
                bail!("BPF object has no program {name}");
            };
            match attach_program(&program, alternative) {
                Ok(link) => links.push((name, link)),
                Err(error) if alternative.optional.contains(&name) => {
                    tell(&format!(
                        "{}: left out ({error:#})",
                        program.section().to_string_lossy()
                    ));
                }
                Err(error) => {
                    let section = program.section().to_string_lossy();
                    let function = alternative.function(name).map(|name| format!("/{name}"));
                    let function = function.unwrap_or_default();
                    let reason = format!("attach {section}{function}: {}", hint(&error));
                    return Ok(Err(Failure {
                        hook: Some(index),
                        reason,
                    }));
                }
            }
        }
        for &(name, events) in alternative.also {
            let Some(program) = find(skel.object(), name) else {
                bail!("BPF object has no program {name}");
            };
            for event in events {
                match attach_tracepoint(&program, event) {
                    Ok(link) => links.push((name, link)),
                    Err(error) => tell(&format!("{event}: left out ({error:#})")),
                }
            }
        }
    }
    let lost = Lost::of(skel.object())?;
    Ok(Ok(Attached {
        links,
        skel,
        lost,
        used: Vec::new(),
    }))
}

fn find<'o>(object: &'o Object, name: &str) -> Option<ProgramMut<'o>> {
    object.progs_mut().find(|program| program.name() == name)
}

/// Attaches by the program's section and by the function that it is given.
pub fn attach_program(program: &ProgramMut<'_>, alternative: &Alternative) -> Result<Link> {
    let section = program.section().to_string_lossy();
    if let Some(function) = alternative.function(&program.name().to_string_lossy()) {
        return Ok(match &*section {
            "kprobe" => program.attach_kprobe(false, function)?,
            "kretprobe" => program.attach_kprobe(true, function)?,
            "kprobe.multi" => program.attach_kprobe_multi(false, vec![function])?,
            "kretprobe.multi" => program.attach_kprobe_multi(true, vec![function])?,
            _ => program.attach()?,
        });
    }
    let classic = section
        .split_once('/')
        .filter(|(kind, _)| ["tracepoint", "tp"].contains(kind));
    match classic {
        Some((_, event)) => attach_tracepoint(program, event),
        // Whether it can be; how often it is to run, and where, only the tool knows.
        None if section == "perf_event" => sampling::attach(program, Rate::NEVER, first_cpu()?),
        None => Ok(program.attach()?),
    }
}

/// Attaches to the classic tracepoint `category/name`, also where tracefs is
/// not mounted.
fn attach_tracepoint(program: &ProgramMut<'_>, event: &str) -> Result<Link> {
    if Probe::default().tracefs().is_none() {
        return Tracefs::open()?.attach(program, event);
    }
    let (category, name) = event
        .split_once('/')
        .ok_or_else(|| anyhow!("no tracepoint: {event}"))?;
    let category = TracepointCategory::Custom(category.to_owned());
    Ok(program.attach_tracepoint(category, name)?)
}

fn hint(error: &anyhow::Error) -> String {
    let text = match error.downcast_ref::<libbpf_rs::Error>() {
        Some(error) => root_cause(error),
        None => format!("{error:#}"),
    };
    match crate::error::errno(error.as_ref()) {
        Some(libc::EACCES) => format!("{text}; tracefs may need CAP_DAC_READ_SEARCH"),
        _ => text,
    }
}

fn reason(error: &libbpf_rs::Error) -> String {
    format!("load: {}", root_cause(error))
}

/// The innermost cause: what the kernel said.
fn root_cause(error: &libbpf_rs::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// What libbpf has warned about since [`take_messages`] was last called.
static MESSAGES: Mutex<String> = Mutex::new(String::new());

/// libbpf's warnings about an alternative that will not work are no news to
/// the user: they are kept for `--verbose` and for [`absent_optional`].
pub fn capture_libbpf_messages() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, message| {
        MESSAGES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&message);
    })));
}

/// Takes the captured messages.
pub fn take_messages() -> String {
    std::mem::take(&mut MESSAGES.lock().unwrap_or_else(PoisonError::into_inner))
}
