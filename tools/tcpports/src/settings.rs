// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which local ports a network namespace hands out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The ports of `ip_local_port_range` without those of
/// `ip_local_reserved_ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    pub low: u16,
    pub high: u16,
    /// How many there are.
    pub count: u32,
    /// One bit each, for those from `low` on.
    pub bits: Vec<u64>,
}

impl Ports {
    /// From the text of the two settings: `32768 60999` and `8080,9000-9010`.
    fn parse(range: &str, reserved: &str) -> Option<Self> {
        let mut ends = range.split_whitespace().map(str::parse);
        let low: u16 = ends.next()?.ok()?;
        let high: u16 = ends.next()?.ok()?;
        let length = usize::from(high.checked_sub(low)?) + 1;
        let mut ports = Self {
            low,
            high,
            count: 0,
            bits: vec![0; length.div_ceil(64)],
        };
        for port in low..=high {
            ports.set(port, true);
        }
        for list in reserved.trim().split(',').filter(|list| !list.is_empty()) {
            let (first, last) = list.split_once('-').unwrap_or((list, list));
            for port in first.parse().ok()?..=last.parse().ok()? {
                ports.set(port, false);
            }
        }
        ports.count = ports.bits.iter().map(|word| word.count_ones()).sum();
        Some(ports)
    }

    fn set(&mut self, port: u16, is: bool) {
        let Some(index) = port.checked_sub(self.low).filter(|_| port <= self.high) else {
            return;
        };
        if let Some(word) = self.bits.get_mut(usize::from(index / 64)) {
            let bit = 1 << (index % 64);
            *word = if is { *word | bit } else { *word & !bit };
        }
    }

    pub fn contains(&self, port: u16) -> bool {
        port <= self.high
            && port.checked_sub(self.low).is_some_and(|index| {
                let word = self.bits.get(usize::from(index / 64));
                word.is_some_and(|word| word >> (index % 64) & 1 == 1)
            })
    }
}

/// The settings of one namespace, wherever they are read from. They do not keep
/// it alive: when it is gone, reading them fails.
pub struct Settings {
    range: File,
    reserved: File,
    /// As last read.
    text: (String, String),
    pub ports: Ports,
}

impl Settings {
    /// Those of the namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let open = |name| File::open(format!("/proc/sys/net/ipv4/{name}"));
        let mut settings = Self {
            range: open("ip_local_port_range")?,
            reserved: open("ip_local_reserved_ports")?,
            text: (String::new(), String::new()),
            ports: Ports::default(),
        };
        settings.refresh()?;
        Ok(settings)
    }

    /// Reads them again.
    pub fn refresh(&mut self) -> io::Result<()> {
        let text = (read(&self.range)?, read(&self.reserved)?);
        if text != self.text {
            self.ports = Ports::parse(&text.0, &text.1).ok_or(io::ErrorKind::InvalidData)?;
            self.text = text;
        }
        Ok(())
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match file.read_at(&mut chunk, text.len() as u64)? {
            0 => break,
            length => text.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
    }
    String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_not_handed_out() {
        let ports = Ports::parse("40000\t40099\n", "8080,40010-40019,40099,40100-40200\n").unwrap();
        assert_eq!((ports.low, ports.high, ports.count), (40000, 40099, 89));
        for (port, is) in [
            (39999, false),
            (40000, true),
            (40009, true),
            (40010, false),
            (40019, false),
            (40020, true),
            (40098, true),
            (40099, false),
            (40100, false),
            (0, false),
        ] {
            assert_eq!(ports.contains(port), is, "{port}");
        }
        assert_eq!(Ports::parse("1 65535", "\n").unwrap().count, 65535);
        assert!(Ports::parse("", "").is_none() && Ports::parse("2 1", "").is_none());
    }

    #[test]
    fn the_own_settings_can_be_read_again() {
        let mut settings = Settings::open().unwrap();
        let ports = settings.ports.clone();
        assert!(ports.count > 0);
        settings.refresh().unwrap();
        assert_eq!(settings.ports, ports);
    }
}
