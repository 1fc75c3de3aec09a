// SPDX-License-Identifier: MIT OR Apache-2.0
//! `-n`: a part of the process' name, or a glob for it and the file's name.

/// What `-n` chooses by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameFilter {
    /// Anywhere in the process' name, as the classic.
    Part(String),
    /// The whole of the process' name, of the path, or of its last component.
    Glob(Vec<Token>),
}

/// An element of a glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// `*`: any characters, also none, also `/`.
    Any,
    /// `?`
    One,
    /// `[…]`: ranges, and whether a character has to be in none of them.
    Set(Vec<(char, char)>, bool),
    Char(char),
}

impl NameFilter {
    pub fn new(text: &str) -> Self {
        if text.contains(['*', '?', '[']) {
            Self::Glob(tokens(text))
        } else {
            Self::Part(text.to_owned())
        }
    }

    pub fn matches(&self, comm: &[u8], path: &[u8]) -> bool {
        let comm = String::from_utf8_lossy(comm);
        match self {
            Self::Part(part) => comm.contains(part),
            Self::Glob(tokens) => {
                let path = String::from_utf8_lossy(path);
                let last = path.rsplit('/').next().unwrap_or_default();
                [&comm, &path, last]
                    .iter()
                    .any(|name| glob_matches(tokens, name))
            }
        }
    }
}

fn tokens(glob: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => match set(rest.as_str()) {
                Some((set, behind)) => {
                    rest = behind.chars();
                    set
                }
                None => Token::Char('['), // is never closed
            },
            '\\' => Token::Char(rest.next().unwrap_or('\\')),
            c => Token::Char(c),
        });
    }
    tokens
}

/// The set that begins behind a `[`, and what follows its `]`. A `]` that comes
/// first belongs to the set.
fn set(text: &str) -> Option<(Token, &str)> {
    let (negated, body) = match text.strip_prefix(['!', '^']) {
        Some(body) => (true, body),
        None => (false, text),
    };
    let first = body.chars().next()?.len_utf8();
    let end = body.get(first..)?.find(']')? + first;
    let members: Vec<char> = body.get(..end)?.chars().collect();
    let mut ranges = Vec::new();
    let mut members = members.as_slice();
    loop {
        members = match members {
            [] => break,
            [low, '-', high, rest @ ..] => {
                ranges.push((*low, *high));
                rest
            }
            [one, rest @ ..] => {
                ranges.push((*one, *one));
                rest
            }
        };
    }
    Some((Token::Set(ranges, negated), body.get(end + 1..)?))
}

impl Token {
    /// Whether this element stands for the one character `c`.
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Any => false,
            Token::One => true,
            Token::Char(own) => *own == c,
            Token::Set(ranges, negated) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn glob_matches(glob: &[Token], text: &str) -> bool {
    let (mut glob, mut text) = (glob, text.chars());
    // Behind the last `*`: where to go on when it takes one more character.
    let mut retry = None;
    loop {
        let mut ahead = text.clone();
        match (glob, ahead.next()) {
            ([Token::Any, rest @ ..], _) => {
                glob = rest;
                retry = Some((rest, text.clone()));
            }
            ([], None) => return true,
            ([token, rest @ ..], Some(c)) if token.takes(c) => {
                glob = rest;
                text = ahead;
            }
            _ => {
                let Some((behind, from)) = &mut retry else {
                    return false;
                };
                if from.next().is_none() {
                    return false;
                }
                glob = behind;
                text = from.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(name: &str, comm: &str, path: &str) -> bool {
        NameFilter::new(name).matches(comm.as_bytes(), path.as_bytes())
    }

    #[test]
    fn a_plain_name_is_a_part_of_comm_alone() {
        assert!(matches("ngin", "nginx", "/x"));
        assert!(!matches("Ngin", "nginx", "/x"));
        assert!(!matches("log", "nginx", "/var/log"));
    }

    #[test]
    fn a_glob_matches_comm_path_or_file_name_as_a_whole() {
        assert!(matches("*.log", "cat", "/var/log/a.log"));
        assert!(matches("a.*", "cat", "/var/log/a.log"));
        assert!(matches("/var/*/a.log", "cat", "/var/log/a.log"));
        assert!(matches("ng*", "nginx", ""));
        assert!(!matches("ng?", "nginx", "/x"));
        assert!(!matches("log*", "cat", "/var/log/a.log"));
    }

    #[test]
    fn globs() {
        for (glob, text) in [
            ("*", ""),
            ("**", "ab"),
            ("a*b*c", "aXbbYc"),
            ("*ab", "aab"),
            ("?", "ö"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[^a]", "b"),
            ("[]]", "]"),
            ("[a-]", "-"),
            ("[ab", "[ab"),
            ("\\*[x]", "*x"),
            ("*[0-9].so", "lib1.so"),
        ] {
            assert!(glob_matches(&tokens(glob), text), "{glob} {text}");
        }
        for (glob, text) in [
            ("a*b", "abc"),
            ("?", ""),
            ("[!a-c]x", "bx"),
            ("[a]", ""),
            ("\\*[x]", "ax"),
            ("a*b*c", "aXbY"),
        ] {
            assert!(!glob_matches(&tokens(glob), text), "{glob} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        assert!(!glob_matches(&tokens(&"a*".repeat(50)), &"a".repeat(40)));
        let long = "a".repeat(4095);
        assert!(!glob_matches(&tokens("*a*a*a*a*a*b"), &long));
    }

    #[test]
    fn names_need_not_be_utf8() {
        assert!(NameFilter::new("*x").matches(b"\xff", b"\xfe/\xffx"));
    }
}
