// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a packet was dropped: the kernel's reasons, one of our own, and the options that
//! choose among them.

use std::rc::Rc;

use anyhow::Result;
use common::btf::KernelBtf;
use common::drop_reason::DropReasons;
use common::symbols::KernelSymbols;
use common::usage;

/// The name that newer kernels (6.18, not yet 6.12) give to the drop of a
/// handshake's last packet; of a SYN no kernel says it.
const OVERFLOW: &str = "TCP_LISTEN_OVERFLOW";
/// Its code where the kernel has no such reason: a subsystem that it has not.
const OWN_CODES: u32 = 7 << 16;

/// A reason as it is shown.
pub struct Shown {
    pub name: String,
    /// Whether the kernel, or this tool in its stead, gives a reason; else the
    /// name is that of the function that dropped the packet.
    pub is_known: bool,
    /// The kernel's number; 0 when it is not the kernel's.
    pub code: u32,
}

pub struct Reasons {
    known: DropReasons,
    pub overflow: u32,
    /// Of what is left in a socket's queue when it goes.
    pub purge: u32,
}

impl Reasons {
    pub fn of_kernel(btf: &KernelBtf) -> Self {
        let mut known = DropReasons::of_kernel(btf);
        let overflow = known.own(OVERFLOW, OWN_CODES + 1);
        let purge = ["QUEUE_PURGE", "NOT_SPECIFIED"]
            .iter()
            .find_map(|name| known.code(name))
            .unwrap_or(0);
        Self {
            known,
            overflow,
            purge,
        }
    }

    /// Whether the kernel gives any.
    pub fn exist(&self) -> bool {
        self.known.exist()
    }

    /// What `--reason` and `--exclude-reason` leave.
    pub fn wanted(&mut self, only: Option<&str>, without: Option<&str>) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        if let Some(list) = only {
            wanted.bits = [0; WORDS];
            for code in self.codes("--reason", list)? {
                wanted.set(code, true);
            }
        }
        if let Some(list) = without {
            for code in self.codes("--exclude-reason", list)? {
                wanted.set(code, false);
            }
        }
        Ok(wanted)
    }

    fn codes(&mut self, option: &str, list: &str) -> Result<Vec<u32>> {
        match self.known.codes(list) {
            Ok(codes) => Ok(codes),
            Err(error) => usage!("{option}: {error}"),
        }
    }

    /// `location` is where a packet was dropped without a reason.
    pub fn shown(&mut self, code: u32, location: &str) -> Shown {
        if code == 0 && !self.known.exist() {
            let function = location.split('+').next().unwrap_or(location);
            return Shown {
                name: function.to_owned(),
                is_known: false,
                code,
            };
        }
        Shown {
            name: self.known.name(code).into_owned(),
            is_known: true,
            code: if code >= OWN_CODES { 0 } else { code },
        }
    }
}

/// The symbol of an event's location.
pub fn location(symbols: &mut KernelSymbols, addr: u64) -> Rc<str> {
    match addr {
        // IN_CONN_REQUEST and IN_TCP_DROP: the functions that programs are on.
        0 => "tcp_conn_request+0x0".into(),
        1 => "tcp_drop+0x0".into(),
        addr => symbols.name(addr),
    }
}

const WORDS: usize = 8 * 256 / 64;

/// A bit per reason, as in the BPF program.
pub struct Wanted {
    bits: [u64; WORDS],
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            bits: [u64::MAX; WORDS],
        }
    }
}

impl Wanted {
    fn place(code: u32) -> (usize, u64) {
        let bit = (code >> 16 & 7) << 8 | code & 0xff;
        (bit as usize / 64, 1 << (bit % 64))
    }

    fn set(&mut self, code: u32, wanted: bool) {
        let (word, bit) = Self::place(code);
        if let Some(word) = self.bits.get_mut(word) {
            *word = if wanted { *word | bit } else { *word & !bit };
        }
    }

    pub fn has(&self, code: u32) -> bool {
        let (word, bit) = Self::place(code);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    pub fn is_filter(&self) -> bool {
        self.bits != Self::default().bits
    }

    pub fn bits(&self) -> [u64; WORDS] {
        self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_chosen() {
        let mut wanted = Wanted::default();
        assert!(!wanted.is_filter() && wanted.has(0) && wanted.has(OWN_CODES + 1));
        wanted.set(3, false);
        wanted.set(0x3_0003, false);
        assert!(wanted.is_filter());
        assert!(!wanted.has(3) && !wanted.has(0x3_0003));
        assert!(wanted.has(2) && wanted.has(0x3_0002) && wanted.has(0x1_0003));
    }
}
