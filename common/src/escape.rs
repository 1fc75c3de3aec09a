// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names come from whoever runs a program or makes a file: one event must stay
//! one line, and must not drive the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The bytes of a C string field up to its NUL, or all of them without one.
pub fn c_bytes(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or(field)
}

/// Valid UTF-8 with every control character (C0, DEL, C1) written as an
/// escape: `\n`, `\t`, `\r`, `\xNN` or `\u{NN}`. Bytes that are no UTF-8
/// become U+FFFD.
pub fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    let ordinary = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if ordinary || !text.chars().any(char::is_control) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            c if c.is_ascii_control() => {
                let _ = write!(safe, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(safe, "\\u{{{:x}}}", c as u32);
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_untouched() {
        assert!(matches!(
            printable(b"/etc/a b\\c"),
            Cow::Borrowed("/etc/a b\\c")
        ));
        assert_eq!(printable("größe".as_bytes()), "größe");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable(b"a\nb\tc\x1b[31m\x7f"), "a\\nb\\tc\\x1b[31m\\x7f");
        assert_eq!(printable("\u{9b}31m".as_bytes()), "\\u{9b}31m");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(printable(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn c_strings_end_at_nul() {
        assert_eq!(c_bytes(b"abc\0def"), b"abc");
        assert_eq!(c_bytes(b"abc"), b"abc");
    }
}
