// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a workload runs: files, devices, links, rules. Made once per tool,
//! gone with its value.

use std::any::Any;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::load::{Kind, Load};
use bpfcc_tests::net::{Host, run};
use bpfcc_tests::{LoopDevice, unique};

/// Where output and files go: tmpfs.
pub const MEMORY: &str = "/dev/shm";

/// What the tools are to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    Opens,
    Programs,
    Connects,
    /// Connections with a byte each.
    Exchanges,
    Refused,
    Reads,
    /// Two threads on one CPU that wake each other.
    Handovers,
    /// Datagrams into a token bucket that is full.
    Shaped,
    /// A TCP stream of which the receiver's firewall drops every 16th segment.
    Lossy,
    /// A TCP stream over a link.
    Stream,
    /// Connections, with connection tracking.
    Tracked,
}

/// A scene that is set.
pub struct Stage {
    scene: Scene,
    load: Kind,
    probe: Kind,
    /// What every row about the workload has in it.
    pub marks: Vec<String>,
    /// For `{NAME}` in arguments.
    pub values: Vec<(&'static str, String)>,
    dir: Option<PathBuf>,
    /// What it is made of.
    held: Vec<Box<dyn Any>>,
}

const NEAR: &str = "10.99.77.1";
const FAR: &str = "10.99.77.2";

impl Scene {
    pub fn set(self) -> Result<Stage> {
        let connects = |net| Kind::Connects { net };
        let exchanges = |net| Kind::Exchanges { net };
        let refused = |net| Kind::Refused { net };
        let mut stage = Stage {
            scene: self,
            load: connects(77),
            probe: connects(78),
            marks: vec!["127.77.".into()],
            values: Vec::new(),
            dir: None,
            held: Vec::new(),
        };
        match self {
            Self::Connects => {}
            Self::Handovers => {
                (stage.load, stage.probe) = (Kind::Handovers, Kind::Handovers);
                stage.marks = Vec::new();
            }
            Self::Exchanges => (stage.load, stage.probe) = (exchanges(77), exchanges(78)),
            Self::Stream => {
                let peer = link();
                stage.load = Kind::Bulk {
                    to: format!("{FAR}:0").parse()?,
                    netns: peer.path().into(),
                };
                // Also opens and closes: some tools look at nothing else.
                stage.probe = exchanges(78);
                stage.marks = vec![FAR.into()];
                stage.held.push(Box::new(peer));
            }
            Self::Refused => (stage.load, stage.probe) = (refused(77), refused(78)),
            Self::Opens => {
                let top = PathBuf::from(MEMORY).join(unique("bpfcc-opens"));
                let (load, probe) = (top.join("load"), top.join("probe"));
                for dir in [&load, &probe] {
                    fs::create_dir_all(dir).context("make a directory")?;
                    File::create(dir.join("there")).context("make a file")?;
                }
                stage.marks = vec![format!("{}/", load.display())];
                (stage.load, stage.probe) = (Kind::Opens { dir: load }, Kind::Opens { dir: probe });
                stage.dir = Some(top);
            }
            Self::Programs => {
                let top = PathBuf::from(MEMORY).join(unique("bpfcc-programs"));
                let programs = ["load", "probe"].map(|name| top.join(name).join("true"));
                for program in &programs {
                    fs::create_dir_all(program.with_file_name("")).context("make a directory")?;
                    symlink("/bin/true", program).context("link")?;
                }
                stage.marks = vec![programs[0].display().to_string()];
                let [load, probe] = programs.map(|path| Kind::Programs { path });
                (stage.load, stage.probe) = (load, probe);
                stage.dir = Some(top);
            }
            Self::Reads => {
                let [device, other] = [LoopDevice::new(64 << 20), LoopDevice::new(1 << 20)];
                let reads = |device: &LoopDevice| Kind::Reads {
                    device: device.path.clone(),
                };
                (stage.load, stage.probe) = (reads(&device), reads(&other));
                stage.marks = Vec::new();
                stage.values = vec![
                    ("disk", device.name().to_owned()),
                    ("dev", number(&device)?),
                    ("other_disk", other.name().to_owned()),
                    ("other_dev", number(&other)?),
                ];
                stage.held.push(Box::new([device, other]));
            }
            Self::Shaped => {
                let peer = link();
                run("tc qdisc add dev bench0 root tbf rate 256kbit burst 2kb limit 4kb");
                let to = |port: u16| -> Result<Kind> {
                    Ok(Kind::Datagrams {
                        to: format!("{FAR}:{port}").parse()?,
                    })
                };
                (stage.load, stage.probe) = (to(7777)?, to(7778)?);
                stage.marks = vec![FAR.into(), "7777".into()];
                // Nobody reads, but nobody answers that the port is closed.
                for port in [7777, 7778] {
                    let sink = peer.within(|| UdpSocket::bind((FAR, port)));
                    stage.held.push(Box::new(sink.context("bind")?));
                }
                stage.held.push(Box::new(peer));
            }
            Self::Lossy => {
                let peer = link();
                // One segment per packet, so that one drop is one retransmit.
                run("ip link set dev bench0 gso_max_segs 1");
                rule(
                    &peer,
                    "in",
                    "input",
                    "tcp flags & syn == 0 numgen inc mod 16 < 1 drop",
                );
                let bulk = Kind::Bulk {
                    to: format!("{FAR}:0").parse()?,
                    netns: peer.path().into(),
                };
                (stage.load, stage.probe) = (bulk.clone(), bulk);
                stage.marks = vec![FAR.into()];
                stage.held.push(Box::new(peer));
            }
            Self::Tracked => {
                run("nft add table inet bench");
                run("nft add chain inet bench out { type filter hook output priority 0 ; }");
                run("nft add rule inet bench out ct state established accept");
            }
        }
        Ok(stage)
    }
}

/// The kernel's number of a device, as in its tracepoints.
fn number(device: &LoopDevice) -> Result<String> {
    let path = format!("/sys/class/block/{}/dev", device.name());
    let text = fs::read_to_string(&path).context(path)?;
    let (major, minor) = text.trim().split_once(':').context("a device number")?;
    Ok((major.parse::<u32>()? << 20 | minor.parse::<u32>()?).to_string())
}

/// A rule in a chain of `host` that is new.
fn rule(host: &Host, chain: &str, hook: &str, rule: &str) {
    host.run("nft add table inet bench");
    host.run(&format!(
        "nft add chain inet bench {chain} {{ type filter hook {hook} priority 0 ; }}"
    ));
    host.run(&format!("nft add rule inet bench {chain} {rule}"));
}

/// A link from here to another host.
fn link() -> Host {
    let peer = Host::new();
    run(&format!(
        "ip link add bench0 type veth peer name eth0 netns {}",
        peer.path()
    ));
    run(&format!("ip addr add {NEAR}/24 dev bench0"));
    run("ip link set bench0 up");
    peer.run(&format!("ip addr add {FAR}/24 dev eth0"));
    peer.run("ip link set eth0 up");
    peer
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir_all(dir);
        }
        match self.scene {
            Scene::Shaped | Scene::Lossy | Scene::Stream => {
                run("ip link del bench0");
            }
            Scene::Tracked => {
                run("nft delete table inet bench");
            }
            _ => {}
        }
    }
}

/// How a workload went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub operations: u64,
    pub events: u64,
    pub seconds: f64,
    /// Of all writers.
    pub cpu_ns: u64,
    pub writers: usize,
}

impl Done {
    /// Per operation of one writer.
    pub fn operation_ns(&self) -> f64 {
        self.seconds * 1e9 * self.writers as f64 / self.operations.max(1) as f64
    }

    /// CPU time per operation: what else runs on a busy machine is not in it.
    pub fn operation_cpu_ns(&self) -> f64 {
        self.cpu_ns as f64 / self.operations.max(1) as f64
    }

    /// Events per second, all writers together.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

impl Stage {
    /// One operation of the kind, for what has to be seen to have started; not
    /// part of the workload.
    pub fn probe(&self) -> Result<impl FnMut() -> Result<()> + use<>> {
        let mut load = Load::new(&self.probe)?;
        Ok(move || load.step().map(drop))
    }

    /// Nothing of an earlier run is left.
    pub fn reset(&self) {
        if self.scene == Scene::Tracked {
            // Says how many entries it has deleted.
            let _ = Command::new("conntrack")
                .arg("-F")
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Runs the workload; `per_operation` events each, or (0) as many as are
    /// counted. `rate` is operations per second of all writers.
    pub fn run(
        &self,
        per_operation: f64,
        length: Duration,
        rate: Option<f64>,
        writers: usize,
    ) -> Result<Done> {
        let program = std::env::current_exe()?.with_file_name("bpfcc-load");
        let before = self.counter()?;
        let children = (0..writers)
            .map(|cpu| {
                let mut command = Command::new(&program);
                command.args(["--seconds", &length.as_secs_f64().to_string()]);
                command.args(["--cpu", &(cpu % cpus()).to_string()]);
                if let Some(rate) = rate {
                    command.args(["--rate", &(rate / writers as f64).to_string()]);
                }
                self.load.arguments(&mut command);
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()
                    .with_context(|| format!("start {}", program.display()))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut done = Done {
            writers,
            ..Done::default()
        };
        for child in children {
            let output = child.wait_with_output().context("wait for the workload")?;
            ensure!(output.status.success(), "the workload failed");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let numbers = text
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<Vec<u64>, _>>()
                .context("the workload's numbers")?;
            let &[operations, events, ns, cpu] = numbers.as_slice() else {
                anyhow::bail!("the workload's numbers: {text}");
            };
            done.operations += operations;
            done.events += events;
            done.cpu_ns += cpu;
            done.seconds = done.seconds.max(ns as f64 / 1e9);
        }
        if per_operation > 0.0 {
            done.events = (done.operations as f64 * per_operation).round() as u64;
        }
        if let (Some(before), Some(after)) = (before, self.counter()?) {
            done.events = after - before;
        }
        Ok(done)
    }

    /// The kernel's own count of the events, where it has one.
    fn counter(&self) -> Result<Option<u64>> {
        if self.scene != Scene::Lossy {
            return Ok(None);
        }
        let text = fs::read_to_string("/proc/thread-self/net/snmp").context("snmp")?;
        let mut tcp = text.lines().filter(|line| line.starts_with("Tcp:"));
        let (names, values) = (tcp.next().context("snmp")?, tcp.next().context("snmp")?);
        let value = names
            .split_whitespace()
            .zip(values.split_whitespace())
            .find(|(name, _)| *name == "RetransSegs")
            .context("no RetransSegs")?
            .1;
        Ok(Some(value.parse()?))
    }
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
