// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of programs as names: from their files, from separate files with
//! their symbols, and from the map that a compiler at run time writes.

mod maps;
mod module;
mod perf_map;

use std::collections::HashMap;
use std::rc::Rc;

use blazesym::Pid;
use blazesym::symbolize::source::{self, Source};
use blazesym::symbolize::{Input, Symbolizer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::escape::printable;
use maps::{Identity, Mapping, What};
use module::{Module, ModuleId};
use perf_map::PerfMap;

/// What is known of files that programs are made of.
pub struct UserSymbols {
    symbolizer: Symbolizer,
    /// `None`: there is no such file any more, or it may not be read.
    modules: HashMap<ModuleId, Option<Module>>,
    /// Our own: the kernel gives all processes the same.
    vdso: Option<u64>,
    /// Grows with [`UserSymbols::look_again`].
    round: u64,
}

/// A program in execution, and what was known of it while it lived.
pub struct Process {
    pid: u32,
    identity: Option<Identity>,
    maps: Vec<Mapping>,
    perf_map: PerfMap,
    known: HashMap<(u64, bool), Rc<str>>,
    /// When the maps were last read.
    round: u64,
}

impl Process {
    /// The process `pid` that began `start_ns` after boot; it may be gone.
    pub fn new(pid: u32, start_ns: u64) -> Self {
        let mut process = Self {
            pid,
            identity: Identity::of(pid).filter(|identity| identity.began(start_ns)),
            maps: Vec::new(),
            perf_map: PerfMap::default(),
            known: HashMap::new(),
            round: 0,
        };
        process.read_maps();
        process
    }

    /// As they are now; if the process has ended or runs another program, as they
    /// were.
    fn read_maps(&mut self) {
        let maps = maps::read(self.pid);
        if self.identity.is_some() && self.identity == Identity::of(self.pid) && !maps.is_empty() {
            self.maps = maps;
        }
    }

    fn mapping(&self, addr: u64) -> Option<&Mapping> {
        self.maps
            .iter()
            .find(|mapping| (mapping.start..mapping.end).contains(&addr))
    }
}

impl Default for UserSymbols {
    fn default() -> Self {
        // Files stay open: a process may be gone when its next address comes.
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
        let vdso = maps::read(std::process::id())
            .iter()
            .find(|mapping| mapping.what == What::Vdso)
            .map(|mapping| mapping.start);
        Self {
            symbolizer: Symbolizer::builder()
                .enable_auto_reload(false)
                .enable_code_info(false)
                .enable_inlined_fns(false)
                .build(),
            modules: HashMap::new(),
            vdso,
            round: 1,
        }
    }
}

impl UserSymbols {
    /// From now on what was not known may be: libraries are loaded, functions
    /// compiled.
    pub fn look_again(&mut self) {
        self.round += 1;
    }

    /// The function at an address, demangled and printable. `called`: the address
    /// is where a call returns to, which may be behind the end of the function.
    pub fn function(&mut self, process: &mut Process, addr: u64, called: bool) -> Option<Rc<str>> {
        let key = (addr, called);
        if let Some(name) = process.known.get(&key) {
            return Some(Rc::clone(name));
        }
        let mut name = self.find(process, addr, called);
        if name.is_none() && process.round != self.round {
            process.round = self.round;
            process.read_maps();
            process.perf_map.read(process.pid);
            name = self.find(process, addr, called);
        }
        let name: Rc<str> = printable(name?.as_bytes()).into();
        process.known.insert(key, Rc::clone(&name));
        Some(name)
    }

    fn find(&mut self, process: &Process, addr: u64, called: bool) -> Option<String> {
        // The frame of a signal handler's caller is no call: it may begin there.
        let before = if called { addr.checked_sub(1) } else { None };
        before
            .into_iter()
            .chain([addr])
            .find_map(|addr| self.find_at(process, addr))
    }

    fn find_at(&mut self, process: &Process, addr: u64) -> Option<String> {
        let mapping = process.mapping(addr)?;
        let name = match &mapping.what {
            What::Vdso => self.vdso_function(addr - mapping.start),
            What::File { id, .. } => {
                let module = self
                    .modules
                    .entry(id.clone())
                    .or_insert_with(|| Module::open(process.pid, mapping));
                let offset = addr - mapping.start + mapping.offset;
                module
                    .as_ref()
                    .and_then(|module| module.function(&self.symbolizer, offset))
                    .map(demangled)
            }
            What::Memory => None,
        };
        name.or_else(|| process.perf_map.function(addr))
    }

    fn vdso_function(&self, offset: u64) -> Option<String> {
        let ourselves = Source::Process(source::Process {
            perf_map: false,
            map_files: false,
            ..source::Process::new(Pid::Slf)
        });
        let addr = self.vdso?.checked_add(offset)?;
        let found = self
            .symbolizer
            .symbolize_single(&ourselves, Input::AbsAddr(addr));
        Some(found.ok()?.into_sym()?.name.into_owned())
    }
}

/// As its source has it. blazesym would do so too, but in programs that name
/// functions of the kernel only as well, where it is an eighth of the program.
fn demangled(name: String) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(&name) {
        return format!("{rust:#}");
    }
    cpp_demangle::Symbol::new(&name)
        .ok()
        .and_then(|symbol| symbol.demangle().ok())
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_source_has_them() {
        for (mangled, name) in [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            ("_ZN3foo3barEi", "foo::bar(int)"),
            ("main", "main"),
        ] {
            assert_eq!(demangled(mangled.to_owned()), name);
        }
    }

    #[inline(never)]
    fn a_function_of_ours() -> u64 {
        std::hint::black_box(7)
    }

    #[test]
    fn our_own_functions_have_names() {
        let mut symbols = UserSymbols::default();
        let start_ns = Identity::of(std::process::id()).unwrap().start_ns();
        let mut process = Process::new(std::process::id(), start_ns);
        let addr = a_function_of_ours as fn() -> u64 as usize as u64;
        let name = symbols.function(&mut process, addr, false).unwrap();
        assert!(name.ends_with("tests::a_function_of_ours"), "{name}");
        let libc = libc::getpid as *const () as usize as u64;
        let name = symbols.function(&mut process, libc, false).unwrap();
        assert!(name.contains("getpid"), "{name}");
        assert_eq!(symbols.function(&mut process, 1, false), None);
        assert_eq!(symbols.function(&mut process, u64::MAX, true), None);
    }

    #[test]
    fn another_process_of_the_same_number_is_not_taken() {
        let mut symbols = UserSymbols::default();
        let start_ns = Identity::of(std::process::id()).unwrap().start_ns();
        let mut process = Process::new(std::process::id(), start_ns + 1_000_000_000);
        let addr = a_function_of_ours as fn() -> u64 as usize as u64;
        assert_eq!(symbols.function(&mut process, addr, false), None);
    }
}
