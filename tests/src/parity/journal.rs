// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal's side of its protocol, at its real place.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::work::is_ours;
use super::{Case, diff};

const FOLDER: &str = "/run/systemd/journal";
/// What each writer adds of itself, and times.
const OWN: &[&str] = &[
    "CODE_",
    "_SOURCE_REALTIME_TIMESTAMP",
    "OBJECT_TCP_SPAN_TIME",
];

/// Takes entries where no other journal is.
pub struct Journal {
    done: Sender<()>,
    reader: JoinHandle<Vec<String>>,
}

/// Whether a case writes to the journal.
pub fn is_asked(case: &Case) -> bool {
    case.args.contains(&"-Y")
}

impl Journal {
    pub fn start() -> io::Result<Self> {
        fs::create_dir_all(FOLDER)?;
        let path = format!("{FOLDER}/socket");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (done, is_done) = channel();
        let reader = thread::spawn(move || {
            let mut entries = Vec::new();
            let mut buffer = [0; 8192];
            loop {
                // Nothing is written any more once the tools have ended.
                let ended = is_done.try_recv().is_ok();
                match socket.recv(&mut buffer) {
                    Ok(length) => entries.push(entry(&String::from_utf8_lossy(&buffer[..length]))),
                    Err(error) if error.kind() == ErrorKind::WouldBlock && ended => return entries,
                    Err(_) => {}
                }
                if ended {
                    while let Ok(length) = socket.recv(&mut buffer) {
                        entries.push(entry(&String::from_utf8_lossy(&buffer[..length])));
                    }
                    return entries;
                }
            }
        });
        Ok(Self { done, reader })
    }

    /// The workload's entries, without what differs between two writers.
    pub fn stop(self) -> Vec<String> {
        let _ = self.done.send(());
        let mut entries = self.reader.join().expect("the reader");
        entries.retain(|entry| is_ours(entry));
        entries.sort();
        entries
    }
}

fn entry(text: &str) -> String {
    let mut fields: Vec<&str> = text
        .lines()
        .filter(|line| !OWN.iter().any(|own| line.starts_with(own)))
        .collect();
    fields.sort_unstable();
    fields.join(" ")
}

/// The listed difference that is undone here.
pub const NO_IPV6: &str = "journal-ipv6";

/// Two tools wrote the same entries into one journal: each is there twice. Whether
/// the classic wrote none of IPv6 at all.
pub fn compare(entries: &[String], faults: &mut Vec<String>) -> bool {
    let (six, four): (Vec<_>, Vec<_>) = entries
        .iter()
        .cloned()
        .partition(|entry| entry.contains("OBJECT_IPV6_"));
    let no_ipv6 = !six.is_empty() && six.chunk_by(|a, b| a == b).all(|same| same.len() == 1);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let expected = if no_ipv6 { &four } else { entries };
    for same in expected.chunk_by(|a, b| a == b) {
        let half = same.len().div_ceil(2);
        first.extend_from_slice(&same[..half]);
        second.extend_from_slice(&same[half..]);
    }
    if first.is_empty() {
        faults.push("the journal has no entries".into());
    }
    diff("journal entries", &first, &second, faults);
    no_ipv6
}
