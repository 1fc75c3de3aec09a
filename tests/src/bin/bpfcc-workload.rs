// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events made on purpose, for the tests and the demonstration.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use bpfcc_tests::parity::work::{OTHER, WORKS, other};
use bpfcc_tests::{DirectFile, connect_and_close};

const USAGE: &str = "usage: bpfcc-workload tcp ADDRESS COUNT
       bpfcc-workload accept ADDRESS            prints the port, accepts one connection, reads a byte
       bpfcc-workload opens PATH COUNT          open and close, prints the successes
       bpfcc-workload flood PATH SECONDS        as fast as it can, with O_NOFOLLOW; prints the count
       bpfcc-workload reads DEVICE COUNT        direct reads of 4 KiB
       bpfcc-workload writes DEVICE COUNT       direct writes of 4 KiB
       bpfcc-workload exec-in-thread PROGRAM [ARG...]   in another thread than the first
       bpfcc-workload waits THREADS COUNT       prints its threads; for each line read, each sleeps and
                                                works so often; then prints a line
       bpfcc-workload spin                      for ever
       bpfcc-workload files                     what it is told to do with files
       bpfcc-workload parity NAME               what tools are compared on, when told to";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["tcp", address, count] => tcp(address, count),
        ["accept", address] => accept(address),
        ["opens", path, count] => opens(path, count),
        ["flood", path, seconds] => flood(path, seconds),
        ["reads", device, count] => direct(device, count, false),
        ["writes", device, count] => direct(device, count, true),
        ["exec-in-thread", program, args @ ..] => exec_in_thread(program, args),
        ["waits", threads, count] => waits(threads, count),
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["files"] => {
            bpfcc_tests::files::serve();
            Ok(())
        }
        ["parity", OTHER] => {
            other();
            Ok(())
        }
        ["parity", name] => parity(name),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn tcp(address: &str, count: &str) -> Outcome {
    let address: IpAddr = address.parse()?;
    for _ in 0..count.parse::<u32>()? {
        let ports = connect_and_close(address, address);
        println!("{} {}", ports.server, ports.client);
    }
    Ok(())
}

fn accept(address: &str) -> Outcome {
    let listener = TcpListener::bind((address.parse::<IpAddr>()?, 0))?;
    println!("{}", listener.local_addr()?.port());
    let (mut connection, _) = listener.accept()?;
    connection.read_exact(&mut [0])?;
    Ok(())
}

fn opens(path: &str, count: &str) -> Outcome {
    let opened = (0..count.parse::<u64>()?)
        .filter(|_| File::open(path).is_ok())
        .count();
    println!("{opened}");
    Ok(())
}

fn flood(path: &str, seconds: &str) -> Outcome {
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let mut count = 0u64;
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    while Instant::now() < end {
        for _ in 0..100 {
            drop(options.open(path));
        }
        count += 100;
    }
    println!("{count}");
    Ok(())
}

fn exec_in_thread(program: &str, args: &[&str]) -> Outcome {
    let error = std::thread::scope(|scope| {
        let thread = scope.spawn(|| Command::new(program).args(args).exec());
        thread.join().map_err(|_| "the thread has panicked")
    })?;
    Err(error.into())
}

fn waits(threads: &str, count: &str) -> Outcome {
    let (threads, count): (usize, u32) = (threads.parse()?, count.parse()?);
    let step = Arc::new(Barrier::new(threads));
    let (sender, ids) = channel();
    for _ in 1..threads {
        let (step, sender) = (step.clone(), sender.clone());
        thread::spawn(move || {
            let _ = sender.send(own_id());
            loop {
                step.wait();
                sleep_and_work(count);
                step.wait();
            }
        });
    }
    let others = ids.iter().take(threads - 1);
    let ids: Vec<_> = std::iter::once(own_id()).chain(others).collect();
    println!("{}", ids.join(" "));
    for line in std::io::stdin().lines() {
        line?;
        step.wait();
        sleep_and_work(count);
        step.wait();
        println!("done");
    }
    Ok(())
}

/// The thread's number in the namespace that /proc was mounted in.
fn own_id() -> String {
    let path = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let id = path.file_name().unwrap_or_default();
    id.to_string_lossy().into_owned()
}

/// Some sleeps are over before they have begun: then the thread is woken while it
/// runs.
fn sleep_and_work(count: u32) {
    // A nanosecond is one, and not 50 microseconds.
    let _ = nix::sys::prctl::set_timerslack(1);
    for turn in 0..count {
        let nanos = if turn % 2 == 0 { 1 } else { 100_000 };
        thread::sleep(Duration::from_nanos(nanos));
        let end = Instant::now() + Duration::from_micros(300);
        while Instant::now() < end {}
    }
}

fn parity(name: &str) -> Outcome {
    let work = WORKS.iter().find(|work| work.name() == name);
    work.ok_or(USAGE)?.run();
    Ok(())
}

fn direct(device: &str, count: &str, write: bool) -> Outcome {
    let mut file = DirectFile::open(device.as_ref())?;
    for _ in 0..count.parse::<u64>()? {
        if write {
            file.write_next()?;
        } else {
            file.read_next()?;
        }
    }
    Ok(())
}
