// SPDX-License-Identifier: MIT OR Apache-2.0
//! Full paths from what the BPF side sends: a file name, and the names from
//! its base up to the root.

use crate::skel::types::{opensnoop_base, opensnoop_event, path_end};

/// Stands for the names that there was no room for.
const CUT: &[u8] = b".../";
/// The kernel's mark (getcwd(2)) for a path that ends at no root.
const DETACHED: &[u8] = b"(unreachable)/";

/// The file name as the program gave it, if it could be read, and the names
/// behind it.
fn split<'t>(event: &opensnoop_event, tail: &'t [u8]) -> (Option<&'t [u8]>, &'t [u8]) {
    match tail.split_at_checked(event.name_size.into()) {
        Some(([name @ .., 0], names)) => (Some(name), names),
        _ => (None, tail),
    }
}

/// The path as the program gave it; where that could not be read, the opened
/// file's; `None` when there is none either.
pub fn given(event: &opensnoop_event, tail: &[u8]) -> Option<Vec<u8>> {
    match split(event, tail) {
        (Some(name), _) => Some(name.into()),
        (None, _) => full(event, tail),
    }
}

/// The full path; `None` when it is not known.
pub fn full(event: &opensnoop_event, tail: &[u8]) -> Option<Vec<u8>> {
    let base = opensnoop_base(event.base.into());
    match split(event, tail) {
        (Some(name), names) if base == opensnoop_base::BASE_DIR => {
            let mut path = join(names, event.base_end);
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            // Only openat2's RESOLVE_IN_ROOT makes "/name" relative.
            path.extend(name.iter().skip_while(|&&byte| byte == b'/'));
            Some(path)
        }
        // "" names nothing.
        (Some(name), _) if name.is_empty() || name.starts_with(b"/") => Some(name.into()),
        (None, names) if base == opensnoop_base::BASE_FILE => Some(join(names, event.base_end)),
        _ => None,
    }
}

/// The path of `names`, which come last one first, each with its NUL.
fn join(names: &[u8], end: u8) -> Vec<u8> {
    let mut path = match path_end(end.into()) {
        path_end::PATH_END_CUT => CUT.to_vec(),
        path_end::PATH_END_DETACHED => DETACHED.to_vec(),
        _ => b"/".to_vec(),
    };
    let start = path.len();
    for name in names.split(|&byte| byte == 0).rev() {
        // Behind the last NUL stands nothing; a file system's root is "/".
        if name.is_empty() || name == b"/" {
            continue;
        }
        if path.len() > start {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(
        base: opensnoop_base,
        end: path_end,
        name: Option<&str>,
        names: &str,
    ) -> Option<String> {
        let name = name.map(|name| format!("{name}\0")).unwrap_or_default();
        let event = opensnoop_event {
            name_size: name.len() as u16,
            base: base.0 as u8,
            base_end: end.0 as u8,
            ..Default::default()
        };
        let tail = format!("{name}{names}");
        full(&event, tail.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    const NONE: opensnoop_base = opensnoop_base::BASE_NONE;
    const DIR: opensnoop_base = opensnoop_base::BASE_DIR;
    const FILE: opensnoop_base = opensnoop_base::BASE_FILE;
    const ROOT: path_end = path_end::PATH_END_ROOT;

    #[test]
    fn absolute_and_empty_names_are_full() {
        assert_eq!(shown(NONE, ROOT, Some("/a"), "").unwrap(), "/a");
        assert_eq!(shown(NONE, ROOT, Some(""), "").unwrap(), "");
    }

    #[test]
    fn relative_names_hang_below_their_base() {
        assert_eq!(
            shown(DIR, ROOT, Some("x"), "c\0b\0a\0").unwrap(),
            "/a/b/c/x"
        );
        assert_eq!(shown(DIR, ROOT, Some("x"), "").unwrap(), "/x");
        assert_eq!(shown(DIR, ROOT, Some("/x"), "a\0").unwrap(), "/a/x");
        assert_eq!(shown(DIR, ROOT, Some("../x"), "a\0").unwrap(), "/a/../x");
    }

    #[test]
    fn without_a_base_a_relative_name_is_not_full() {
        assert_eq!(shown(NONE, ROOT, Some("x"), ""), None);
        assert_eq!(shown(NONE, ROOT, None, ""), None);
    }

    #[test]
    fn the_file_stands_in_for_a_name_that_could_not_be_read() {
        assert_eq!(shown(FILE, ROOT, None, "b\0a\0").unwrap(), "/a/b");
    }

    #[test]
    fn paths_that_reach_no_root_say_so() {
        let cut = shown(DIR, path_end::PATH_END_CUT, Some("x"), "b\0");
        assert_eq!(cut.unwrap(), ".../b/x");
        let detached = path_end::PATH_END_DETACHED;
        let lost = shown(DIR, detached, Some("x"), "b\0/\0");
        assert_eq!(lost.unwrap(), "(unreachable)/b/x");
        assert_eq!(
            shown(DIR, detached, Some("x"), "").unwrap(),
            "(unreachable)/x"
        );
    }

    #[test]
    fn a_wrong_size_is_no_panic() {
        let event = opensnoop_event {
            name_size: 9,
            ..Default::default()
        };
        assert_eq!(split(&event, b"abc"), (None, &b"abc"[..]));
    }
}
