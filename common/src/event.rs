// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes from the kernel as typed events: the one place that does it.

use anyhow::{Result, bail};
use plain::Plain;

/// An event struct that the BPF C side declares and the skeleton generates.
///
/// # Safety
///
/// As [`Plain`]: valid for every bit pattern. Generated structs of integers and
/// arrays of integers are.
#[allow(unsafe_code)]
pub unsafe trait Event: Copy + Default {}

/// Declares that a generated struct is an [`Event`].
#[macro_export]
macro_rules! event {
    ($type:ty) => {
        // SAFETY: a `#[repr(C)]` struct of integers and of arrays of integers,
        // generated from the BPF object's type information.
        #[allow(unsafe_code)]
        unsafe impl $crate::event::Event for $type {}
    };
}

#[derive(Clone, Copy, Default)]
#[repr(transparent)]
struct Bytes<T>(T);

// SAFETY: Event promises what Plain asks for.
#[allow(unsafe_code)]
unsafe impl<T: Event> Plain for Bytes<T> {}

/// The event at the start of `record` and the bytes behind it (the tail of a
/// record as long as its content). The record may be unaligned.
pub fn decode<T: Event>(record: &[u8]) -> Result<(T, &[u8])> {
    let mut event = Bytes(T::default());
    if event.copy_from_bytes(record).is_err() {
        bail!(
            "decode event: record of {} bytes, expected {}",
            record.len(),
            size_of::<T>()
        );
    }
    Ok((event.0, record.get(size_of::<T>()..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Default, Debug, PartialEq)]
    #[repr(C)]
    struct Sample {
        value: u64,
        small: [u16; 4],
    }
    event!(Sample);

    #[test]
    fn reads_unaligned_records_with_a_tail() {
        let mut bytes = vec![0u8; 1];
        bytes.extend(7u64.to_ne_bytes());
        bytes.extend([1u16, 2, 3, 4].iter().flat_map(|v| v.to_ne_bytes()));
        bytes.extend(b"tail");
        let (event, tail) = decode::<Sample>(&bytes[1..]).unwrap();
        assert_eq!(event.value, 7);
        assert_eq!(event.small, [1, 2, 3, 4]);
        assert_eq!(tail, b"tail");
    }

    #[test]
    fn a_short_record_is_an_error() {
        assert!(decode::<Sample>(&[0; 15]).is_err());
    }
}
