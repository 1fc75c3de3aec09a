// SPDX-License-Identifier: MIT OR Apache-2.0
//! BPF hashes that user space reads while programs write them.

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore, MapFlags};

/// Key and value of every entry. They may be deleted in the order of the list:
/// the keys are read first.
pub fn entries(map: &impl MapCore) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let keys: Vec<_> = map.keys().collect();
    let mut entries = Vec::with_capacity(keys.len());
    for key in keys {
        let value = map
            .lookup(&key, MapFlags::ANY)
            .with_context(|| format!("read map: {}", map.name().to_string_lossy()))?;
        entries.extend(value.map(|value| (key, value)));
    }
    Ok(entries)
}

/// Deletes an entry. Its last value, which a program may have changed since it
/// was read; `None` where the kernel does not tell (before Linux 5.14).
pub fn take(map: &impl MapCore, key: &[u8]) -> Result<Option<Vec<u8>>> {
    if let Ok(Some(value)) = map.lookup_and_delete(key) {
        return Ok(Some(value));
    }
    map.delete(key)
        .with_context(|| format!("clear map: {}", map.name().to_string_lossy()))?;
    Ok(None)
}
