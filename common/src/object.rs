// SPDX-License-Identifier: MIT OR Apache-2.0
//! BPF objects are packed (zlib) in the programs: they shrink to a quarter.

use std::io::Read as _;

use anyhow::{Context, Result};
use flate2::read::ZlibDecoder;

/// The object as clang made it.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    let mut object = Vec::new();
    ZlibDecoder::new(packed)
        .read_to_end(&mut object)
        .context("unpack BPF object")?;
    Ok(object)
}

/// For the skeleton, which has no way to tell an error: libbpf refuses an empty
/// object.
pub fn unpack_or_empty(packed: &[u8]) -> Vec<u8> {
    unpack(packed).unwrap_or_default()
}
