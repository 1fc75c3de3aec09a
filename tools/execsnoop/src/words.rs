// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of a command line: the file name and the arguments, from what the
//! BPF side sends.

use std::collections::HashMap;

use common::columns::json_name;

use crate::skel::types::execsnoop_event;

/// After so long the rest of a record will not come any more: it was lost, and
/// counted.
const LATE_NS: u64 = 1_000_000_000;

/// Texts that take more than one record.
#[derive(Default)]
pub struct Texts {
    /// The begins, by thread and time.
    begun: HashMap<(u32, u64), Vec<u8>>,
}

impl Texts {
    /// The whole text, if the record with `tail` ends it.
    pub fn complete(&mut self, event: &execsnoop_event, tail: &[u8]) -> Option<Vec<u8>> {
        let key = (event.pid, event.ts_ns);
        let mut text = self.begun.remove(&key).unwrap_or_default();
        text.extend_from_slice(tail);
        if event.continues == 0 {
            return Some(text);
        }
        self.begun
            .retain(|(_, ts_ns), _| event.ts_ns.saturating_sub(*ts_ns) < LATE_NS);
        self.begun.insert(key, text);
        None
    }
}

/// A command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// As the program gave it; below a directory descriptor as the kernel says
    /// it, `/dev/fd/N/name`.
    pub file: Vec<u8>,
    /// argv. `None`: could not be read.
    pub args: Vec<Option<Vec<u8>>>,
    /// There are more arguments.
    pub cut: bool,
}

impl Words {
    pub fn new(event: &execsnoop_event, text: &[u8], max_args: usize) -> Self {
        let (text, unended) = match text.split_last() {
            Some((0, text)) => (text, false),
            _ => (text, true),
        };
        let mut strings = text.split(|&byte| byte == 0);
        let mut file = strings.next().unwrap_or_default().to_vec();
        let mut args: Vec<_> = strings
            .enumerate()
            .map(|(index, arg)| {
                let unread = index < 64 && event.unread >> index & 1 != 0;
                (!unread).then(|| arg.to_vec())
            })
            .collect();
        let mut argc = event.argc as usize;
        if event.interpreted != 0 {
            // The kernel has put the interpreter, its argument and the file
            // name in the place of argv[0], unless it is told to keep that.
            let added = args
                .iter()
                .skip(1)
                .position(|arg| arg.as_ref() == Some(&file));
            let added = added.map_or(0, |before| before + 1 + usize::from(event.keeps_argv0));
            args.drain(..added.min(args.len()));
            argc = argc.saturating_sub(added);
        }
        args.truncate(max_args);
        if event.dfd != libc::AT_FDCWD && !file.starts_with(b"/") {
            let mut below = format!("/dev/fd/{}", event.dfd).into_bytes();
            if !file.is_empty() {
                below.push(b'/');
            }
            below.extend(file);
            file = below;
        }
        Self {
            cut: unended || argc > args.len(),
            file,
            args,
        }
    }

    /// As BCC: the file name in the place of argv[0], then the other arguments.
    pub fn line(&self, quoted: bool) -> Vec<u8> {
        let mut line = Vec::new();
        let args = self.args.iter().skip(1);
        let words = args.map(|arg| arg.as_deref().unwrap_or(b"?"));
        let more = self.cut.then_some(&b"..."[..]);
        for word in [self.file.as_slice()].into_iter().chain(words).chain(more) {
            if !line.is_empty() {
                line.push(b' ');
            }
            if quoted {
                line.push(b'"');
                for &byte in word {
                    if byte == b'"' {
                        line.push(b'\\');
                    }
                    line.push(byte);
                }
                line.push(b'"');
            } else {
                line.extend_from_slice(word);
            }
        }
        line
    }

    /// argv as a JSON list, with `null` for what could not be read.
    pub fn argv_json(&self) -> String {
        let args: Vec<_> = self
            .args
            .iter()
            .map(|arg| arg.as_deref().map_or_else(|| "null".into(), json_name))
            .collect();
        format!("[{}]", args.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(argc: u32) -> execsnoop_event {
        execsnoop_event {
            argc,
            dfd: libc::AT_FDCWD,
            ..Default::default()
        }
    }

    /// `|` stands for NUL.
    fn words(event: &execsnoop_event, text: &str, max_args: usize) -> Words {
        Words::new(event, text.replace('|', "\0").as_bytes(), max_args)
    }

    fn line(event: &execsnoop_event, text: &str) -> String {
        String::from_utf8(words(event, text, 4).line(false)).unwrap()
    }

    #[test]
    fn the_file_name_stands_for_argv_0() {
        assert_eq!(line(&event(3), "/bin/ls|ls|-l|/|"), "/bin/ls -l /");
        assert_eq!(line(&event(1), "/bin/ls|ls|"), "/bin/ls");
        assert_eq!(line(&event(0), "/bin/ls|"), "/bin/ls");
        assert_eq!(line(&event(4), "a|a|||b|"), "a   b");
    }

    #[test]
    fn more_than_the_limit_is_said() {
        assert_eq!(line(&event(4), "a|a|1|2|3|"), "a 1 2 3");
        assert_eq!(line(&event(5), "a|a|1|2|3|"), "a 1 2 3 ...");
        // What could not be had, although there is room.
        assert_eq!(line(&event(3), "a|a|1|"), "a 1 ...");
        assert_eq!(line(&event(2), "a|a|12"), "a 12 ...");
    }

    #[test]
    fn interpreters_are_left_out() {
        let mut script = event(5);
        script.interpreted = 1;
        let text = "./x|/bin/sh|-e|./x|one|./x|";
        assert_eq!(line(&script, text), "./x one ./x");
        // An interpreter that is a script itself.
        script.argc = 4;
        assert_eq!(line(&script, "./x|/bin/sh|./y|./x|one|"), "./x one");
        // binfmt_misc with the flag P.
        script.keeps_argv0 = 1;
        let words = words(&script, "./x|/bin/qemu|./x|zero|one|", 4);
        assert_eq!(words.line(false), b"./x one");
        assert_eq!(words.argv_json(), r#"["zero","one"]"#);
        // As many arguments as may be shown, behind those added.
        script = event(6);
        script.interpreted = 1;
        assert_eq!(line(&script, "x|sh|-e|x|1|2|3|"), "x 1 2 3");
        script.argc = 7;
        assert_eq!(line(&script, "x|sh|-e|x|1|2|3|4|"), "x 1 2 3 ...");
    }

    #[test]
    fn descriptors_are_part_of_the_name() {
        let mut at = event(1);
        at.dfd = 3;
        assert_eq!(line(&at, "|a|"), "/dev/fd/3");
        assert_eq!(line(&at, "b/c|a|"), "/dev/fd/3/b/c");
        assert_eq!(line(&at, "/b|a|"), "/b");
    }

    #[test]
    fn quotes_are_bccs() {
        let words = words(&event(4), "a|a|b c|d\"e||", 20);
        assert_eq!(words.line(true), br#""a" "b c" "d\"e" """#);
    }

    #[test]
    fn what_could_not_be_read_is_no_argument() {
        let mut event = event(3);
        event.unread = 2;
        assert_eq!(line(&event, "a|a||b|"), "a ? b");
        let words = words(&event, "a|a||b|", 20);
        assert_eq!(words.argv_json(), r#"["a",null,"b"]"#);
    }

    #[test]
    fn texts_come_in_parts() {
        let mut texts = Texts::default();
        let part = |pid, ts_ns, continues| execsnoop_event {
            pid,
            ts_ns,
            continues,
            ..Default::default()
        };
        assert_eq!(texts.complete(&part(1, 5, 1), b"a"), None);
        assert_eq!(texts.complete(&part(2, 5, 0), b"x"), Some(b"x".to_vec()));
        assert_eq!(texts.complete(&part(1, 5, 1), b"b"), None);
        assert_eq!(texts.complete(&part(1, 5, 0), b"c"), Some(b"abc".to_vec()));
        // A begin whose end was lost is not kept.
        assert_eq!(texts.complete(&part(1, 6, 1), b"a"), None);
        assert_eq!(texts.complete(&part(3, LATE_NS + 6, 1), b"a"), None);
        assert_eq!(texts.begun.len(), 1);
    }
}
