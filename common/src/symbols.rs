// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel addresses as names, and the stacks of `common/bpf/stack.bpf.h`.

use std::collections::HashMap;
use std::io::Write as _;
use std::rc::Rc;

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Sym, Symbolizer};

/// Names of kernel addresses, from `/proc/kallsyms`. The first look-up reads
/// it, which takes some 70 ms.
pub struct KernelSymbols {
    symbolizer: Symbolizer,
    source: Source<'static>,
    known: HashMap<u64, Rc<str>>,
    functions: HashMap<u64, Option<Rc<str>>>,
}

impl Default for KernelSymbols {
    fn default() -> Self {
        Self {
            // Names as the kernel has them.
            symbolizer: Symbolizer::builder().enable_demangling(false).build(),
            source: Source::Kernel(Kernel {
                // The image is seldom there, and has no modules.
                vmlinux: MaybeDefault::None,
                debug_syms: false,
                ..Kernel::default()
            }),
            known: HashMap::new(),
            functions: HashMap::new(),
        }
    }
}

impl KernelSymbols {
    /// `name+0xNN`; the address itself where the kernel hides its symbols
    /// (`kernel.kptr_restrict`) or has none there.
    pub fn name(&mut self, addr: u64) -> Rc<str> {
        if let Some(name) = self.known.get(&addr) {
            return Rc::clone(name);
        }
        let name: Rc<str> = match self.find(addr) {
            Some(sym) => format!("{}+{:#x}", sym.name, sym.offset).into(),
            None => format!("{addr:#x}").into(),
        };
        self.known.insert(addr, Rc::clone(&name));
        name
    }

    /// The name alone; `None` where it is not known.
    pub fn function(&mut self, addr: u64) -> Option<Rc<str>> {
        if let Some(name) = self.functions.get(&addr) {
            return name.clone();
        }
        let name: Option<Rc<str>> = self.find(addr).map(|sym| sym.name.into());
        self.functions.insert(addr, name.clone());
        name
    }

    fn find(&self, addr: u64) -> Option<Sym<'_>> {
        let found = self
            .symbolizer
            .symbolize_single(&self.source, Input::AbsAddr(addr));
        found.ok()?.into_sym()
    }

    /// The frames of a record's tail, innermost first, without those of the
    /// tracing itself; empty when there is no stack.
    pub fn stack(&mut self, tail: &[u8]) -> Vec<Rc<str>> {
        let mut names: Vec<_> = frames(tail).map(|addr| self.name(addr)).collect();
        names.drain(..tracing_frames(&names));
        names
    }
}

/// Where a function of the kernel begins and where the next symbol does; `None`
/// when it is not there or the kernel hides its addresses.
pub fn function_range(name: &str) -> Option<(u64, u64)> {
    range_in(&std::fs::read_to_string("/proc/kallsyms").ok()?, name)
}

fn range_in(kallsyms: &str, name: &str) -> Option<(u64, u64)> {
    let symbol = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let addr = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((addr, words.nth(1)? == name))
    };
    let symbols = || kallsyms.lines().filter_map(symbol);
    let (start, _) = symbols().find(|&(addr, found)| found && addr > 0)?;
    let end = symbols()
        .map(|(addr, _)| addr)
        .filter(|&addr| addr > start)
        .min()?;
    Some((start, end))
}

/// The addresses in a `struct stack`.
fn frames(tail: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (size, frames) = tail.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let size = usize::try_from(i64::from_ne_bytes(*size)).unwrap_or(0);
    frames
        .get(..size)
        .unwrap_or_default()
        .chunks_exact(size_of::<u64>())
        .map(|frame| u64::from_ne_bytes(frame.try_into().unwrap_or_default()))
}

/// How many frames are the tracing's own.
fn tracing_frames(names: &[Rc<str>]) -> usize {
    // Our program has another's name if a program before it went while the list
    // was read: the kernel finds the next one by its place in the list.
    let runs_program = |name: &Rc<str>| name.starts_with("bpf_trace_run");
    let own = usize::from(names.get(1).is_some_and(runs_program));
    let others = names.iter().skip(own).take_while(|name| is_tracing(name));
    own + others.count()
}

/// What lies between the traced function and our program, at the inner end of
/// a stack: BPF, trampolines, tracepoints, kprobes with their trap.
fn is_tracing(name: &str) -> bool {
    const PREFIXES: [&str; 22] = [
        "bpf_prog_",
        "bpf_trace_run",
        "__bpf_prog_",
        "__bpf_trace_",
        "__traceiter_",
        "trace_call_bpf",
        "perf_trace_",
        "perf_call_bpf_",
        "perf_tp_event",
        "bpf_trampoline_",
        "kprobe_",
        "kretprobe_",
        "aggr_pre_handler",
        "opt_pre_handler",
        "optimized_callback",
        "arch_ftrace_",
        "ftrace_",
        "notifier_call_chain",
        "notify_die",
        "exc_int3",
        "asm_exc_int3",
        "do_int3",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || name.starts_with("int3+")
}

/// A stack below its row, as BCC writes it: a line per frame, then an empty one.
pub fn write_stack(stack: &[Rc<str>], out: &mut Vec<u8>) {
    for frame in stack {
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, "\t{frame}");
    }
    out.push(b'\n');
}

/// A stack as a JSON list, for a [`crate::columns::Value::Json`].
pub fn stack_json(stack: &[Rc<str>]) -> String {
    let frames: Vec<&str> = stack.iter().map(AsRef::as_ref).collect();
    serde_json::to_string(&frames).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(size: i64, frames: &[u64]) -> Vec<u8> {
        let mut tail = size.to_ne_bytes().to_vec();
        tail.extend(frames.iter().flat_map(|frame| frame.to_ne_bytes()));
        tail
    }

    #[test]
    fn frames_are_as_many_as_the_kernel_wrote() {
        assert_eq!(frames(&tail(16, &[1, 2, 3])).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(frames(&tail(-14, &[1, 2])).count(), 0);
        assert_eq!(frames(&tail(64, &[1])).count(), 0);
        assert_eq!(frames(&[]).count(), 0);
    }

    #[test]
    fn the_kernel_names_its_functions() {
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let line = text
            .lines()
            .find(|line| line.ends_with(" schedule"))
            .unwrap();
        let addr = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
        let mut symbols = KernelSymbols::default();
        if addr == 0 {
            return; // hidden from this user
        }
        assert_eq!(&*symbols.name(addr), "schedule+0x0");
        assert_eq!(&*symbols.name(addr + 3), "schedule+0x3");
        assert_eq!(&*symbols.name(1), "0x1");
        assert_eq!(symbols.function(addr + 3).as_deref(), Some("schedule"));
        assert_eq!(symbols.function(1), None);
    }

    #[test]
    fn functions_end_where_the_next_begins() {
        let text = "ffff0010 T two\nffff0008 t one\nffff0010 T twin\nffff0020 t three [mod]\n";
        assert_eq!(range_in(text, "one"), Some((0xffff_0008, 0xffff_0010)));
        assert_eq!(range_in(text, "two"), Some((0xffff_0010, 0xffff_0020)));
        assert_eq!(range_in(text, "three"), None);
        assert_eq!(range_in("0 T one\n0 T two\n", "one"), None);
    }

    #[test]
    fn tracing_is_left_out() {
        assert!(is_tracing("bpf_prog_0123456789abcdef_kfree_skb+0x1c"));
        assert!(is_tracing("bpf_trampoline_6442536832+0x43"));
        assert!(!is_tracing("kfree_skb_reason+0x5c"));
    }

    #[test]
    fn a_program_without_a_name_is_left_out() {
        let count = |names: &[&str]| {
            let names: Vec<Rc<str>> = names.iter().map(|&name| name.into()).collect();
            tracing_frames(&names)
        };
        let stack = [
            "other+0xe87",
            "bpf_trace_run2+0x34",
            "__traceiter_kfree_skb+0x2e",
        ];
        assert_eq!(count(&[&stack[..], &["kfree_skb+0x75"]].concat()), 3);
        assert_eq!(
            count(&["bpf_prog_1+0x2", "bpf_trampoline_2+0x3", "tcp_drop+0x5"]),
            2
        );
        assert_eq!(count(&["tcp_drop+0x1", "tcp_v4_rcv+0x2"]), 0);
        assert_eq!(count(&[]), 0);
    }

    #[test]
    fn stacks_have_two_forms() {
        let stack: Vec<Rc<str>> = vec!["a+0x1".into(), "b+0x2".into()];
        let mut out = Vec::new();
        write_stack(&stack, &mut out);
        assert_eq!(out, b"\ta+0x1\n\tb+0x2\n\n");
        assert_eq!(stack_json(&stack), r#"["a+0x1","b+0x2"]"#);
    }
}
