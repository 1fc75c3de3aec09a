// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running kernel's type information: the numbers and prototypes that
//! differ between kernels are taken from it, never from a kernel version.

use anyhow::{Result, anyhow};
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{Enum, FuncProto, Ptr, Typedef};

use crate::hooks::capture_libbpf_messages;
use crate::probe::Probe;

/// Type information of the running kernel.
pub struct KernelBtf(Btf<'static>);

impl KernelBtf {
    pub fn load() -> Result<Self> {
        capture_libbpf_messages();
        Btf::from_vmlinux()
            .map(Self)
            .map_err(|error| match Probe::default().obstacle() {
                Some(obstacle) => anyhow!("cannot load BPF programs: {obstacle}"),
                None => anyhow!("read kernel type information: {error}"),
            })
    }

    /// How many parameters the tracepoint `event` passes to a program.
    pub fn tracepoint_params(&self, event: &str) -> Option<usize> {
        let typedef: Typedef<'_> = self.0.type_by_name(&format!("btf_trace_{event}"))?;
        let pointer = Ptr::try_from(typedef.next_type()?).ok()?;
        let proto = FuncProto::try_from(pointer.next_type()?).ok()?;
        // The first is the tracepoint's private data.
        proto.len().checked_sub(1)
    }

    /// Names and values of the first of the enums `names` that exists.
    pub fn enumerators(&self, names: &[&str]) -> Vec<(String, u64)> {
        names
            .iter()
            .find_map(|name| self.0.type_by_name::<Enum<'_>>(name))
            .map(|found| members(found).collect())
            .unwrap_or_default()
    }

    /// The value of an enumerator of whatever enum, also of one without a name.
    pub fn enumerator(&self, name: &str) -> Option<u64> {
        self.0
            .type_by_kind::<Enum<'_>>()
            .flat_map(members)
            .find_map(|(member, value)| (member == name).then_some(value))
    }
}

fn members(of: Enum<'_>) -> impl Iterator<Item = (String, u64)> + '_ {
    (0..of.len())
        .filter_map(move |index| of.get(index))
        .filter_map(|member| {
            let value = u64::try_from(member.value).ok()?;
            Some((member.name?.to_string_lossy().into_owned(), value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_describes_its_block_layer() {
        let Ok(btf) = KernelBtf::load() else {
            return; // a kernel without type information
        };
        assert_eq!(btf.tracepoint_params("block_rq_complete"), Some(3));
        assert_eq!(btf.tracepoint_params("no_such_event"), None);
        let ops = btf.enumerators(&["no_such_enum", "req_op", "req_opf"]);
        assert!(ops.contains(&("REQ_OP_WRITE".to_owned(), 1)), "{ops:?}");
        assert_eq!(btf.enumerator("REQ_OP_WRITE"), Some(1));
        assert_eq!(btf.enumerator("NO_SUCH_ENUMERATOR"), None);
    }
}
