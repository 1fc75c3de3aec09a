// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcprtt` against what the sockets say of themselves.

use bpfcc_tests::net::{Host, Pair, Talk};
use bpfcc_tests::*;
use serde_json::Value;

/// The ways to see segments that this kernel has.
fn alternatives() -> Vec<&'static str> {
    if in_vm() {
        vec!["tp_btf", "fentry", "kprobe"]
    } else {
        vec!["tp_btf"]
    }
}

/// The tool with one alternative, for one namespace.
fn start(alternative: &str, host: &Host, args: &[&str]) -> Tool {
    let mut command = command("tcprtt");
    command
        .args(["--verbose", "--netns-id", &host.inode().to_string()])
        .args(args)
        .env("BPFCC_RS_HOOKS", format!("received={alternative}"));
    // Kernels that preempt programs skip them for others meanwhile (7.2).
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// Bytes up and down, many times.
fn chat(talk: &mut Talk) {
    for _ in 0..50 {
        talk.exchange(10, 10);
    }
}

fn count(row: &Value) -> u64 {
    row["count"].as_u64().expect("count")
}

/// Segments that the sockets of `port` have received, as the kernel counts
/// them for each, and the smoothed round-trip times in microseconds.
fn sockets(host: &Host, port: u16) -> Vec<(u64, f64)> {
    let text = host.run(&format!("ss -tinHO sport = :{port} or dport = :{port}"));
    let field = |line: &str, name: &str| -> String {
        let word = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name));
        word.unwrap_or_else(|| panic!("{name} in {line}"))
            .to_owned()
    };
    text.lines()
        .filter(|line| line.starts_with("ESTAB"))
        .map(|line| {
            let rtt = field(line, "rtt:");
            let (rtt, _) = rtt.split_once('/').expect("rtt/var");
            let segments = field(line, "segs_in:").parse().expect("a count");
            (segments, rtt.parse::<f64>().expect("milliseconds") * 1000.0)
        })
        .collect()
}

/// One sample for each segment that an established socket receives; each is
/// the socket's own smoothed round-trip time.
#[test]
fn samples_are_the_sockets_own() {
    each(alternatives(), |alternative| {
        for to in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let host = Host::new();
            let listen = if to == "::ffff:127.0.0.1" { "::" } else { to };
            let mut talk = host.within(|| Talk::new(listen, to));
            let (_, server) = talk.ports();
            host.acknowledged();
            let before = sockets(&host, server);
            let tool = start(alternative, &host, &["--json", "--percentiles"]);
            host.within(|| chat(&mut talk));
            host.acknowledged();
            let after = sockets(&host, server);
            let ended = tool.stop().success();
            assert_eq!(ended.lost(), 0);
            let rows = ended.json();
            assert_eq!(rows.len(), 1, "{alternative}: {rows:#?}");
            let row = &rows[0];
            let segments = |of: &[(u64, f64)]| of.iter().map(|socket| socket.0).sum::<u64>();
            assert_eq!(
                count(row),
                segments(&after) - segments(&before),
                "{alternative} {to}"
            );
            assert_eq!(row["val_type"], "usecs");
            let max = row["percentiles"]["max"].as_u64().expect("max");
            let total = row["total_us"].as_u64().expect("total");
            assert!(total <= max * count(row), "{row}");
            let buckets = row["data"].as_array().expect("buckets").iter();
            let sum: u64 = buckets.map(count).sum();
            assert_eq!(sum, count(row), "{row}");

            // One segment and its acknowledgement: what each socket knew before.
            let tool = start(alternative, &host, &["--json", "--percentiles"]);
            host.within(|| talk.exchange(10, 0));
            host.acknowledged();
            let rows = tool.stop().success().json();
            let known: Vec<_> = after.iter().map(|socket| socket.1.round() as u64).collect();
            assert_eq!(count(&rows[0]), 2, "{alternative} {to}: {rows:#?}");
            assert_eq!(rows[0]["total_us"], known.iter().sum::<u64>(), "{known:?}");
            let max = known.iter().max().expect("two sockets");
            assert_eq!(rows[0]["percentiles"]["max"], *max, "{known:?}");
        }
    });
}

/// The time that the link takes is in the times.
#[test]
fn a_slow_link_shows() {
    if !in_vm() {
        return; // this machine's kernel has no netem
    }
    for alternative in alternatives() {
        let pair = Pair::new();
        pair.left.run("tc qdisc add dev eth0 root netem delay 80ms");
        let tool = start(alternative, &pair.left, &["-m", "-e"]);
        let mut talk = pair.talk(Pair::RIGHT);
        for _ in 0..3 {
            talk.exchange(10, 10);
        }
        let ended = tool.stop().success();
        let row = ended
            .lines()
            .iter()
            .rfind(|line| line.contains(" -> "))
            .map(|line| {
                let low = line.split_whitespace().next().expect("a bound");
                low.parse::<u64>().expect("a bound")
            });
        assert!(row >= Some(64), "{}", ended.stdout);
        let average = ended.stdout.split_once("[AVG ").expect("average").1;
        let (average, _) = average.split_once(']').expect("average");
        assert!(
            average.parse::<u64>().expect("average") >= 80,
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn text_is_bccs() {
    let cases: [(&[&str], &str, &str); 6] = [
        (&[], "All Addresses = *******", "usecs"),
        (&["-m"], "All Addresses = *******", "msecs"),
        (&["-e"], "All Addresses = ******* [AVG ", "usecs"),
        (&["-b", "-T"], "Local Address = 127.0.0.1", "usecs"),
        (&["-B"], "Remote Address = 127.0.0.1", "usecs"),
        (
            &["-B", "-b", "-e"],
            "Local Address = 127.0.0.1 [AVG ",
            "usecs",
        ),
    ];
    for (args, label, unit) in cases {
        let host = Host::new();
        let tool = start("tp_btf", &host, args);
        host.within(|| chat(&mut Talk::new("127.0.0.1", "127.0.0.1")));
        let ended = tool.stop().success();
        let mut lines = ended.lines().into_iter();
        let mut next = || {
            lines
                .next()
                .unwrap_or_else(|| panic!("{args:?}: {}", ended.stdout))
        };
        assert_eq!(next(), "Tracing TCP RTT... Hit Ctrl-C to end.");
        assert_eq!(next(), "");
        if args.contains(&"-T") {
            let clock = next();
            assert!(clock.len() == 8 && clock.split(':').count() == 3, "{clock}");
        }
        assert_eq!(next(), "");
        let section = next();
        if label.ends_with(' ') {
            assert!(
                section.starts_with(label) && section.ends_with(']'),
                "{section}"
            );
        } else {
            assert_eq!(section, label);
        }
        let head = format!("     {unit:<19} : count     distribution");
        assert_eq!(next(), head);
        assert!(
            next().starts_with("         0 -> 1          : "),
            "{}",
            ended.stdout
        );
        assert!(lines.all(|line| line.contains(" -> ")), "{}", ended.stdout);
    }
}

/// An interval has what came in it: silent ones are an empty line.
#[test]
fn intervals_and_durations() {
    let host = Host::new();
    let tool = start("tp_btf", &host, &["-i", "1"]);
    host.within(|| chat(&mut Talk::new("127.0.0.1", "127.0.0.1")));
    tool.wait_for_line(|line| line.starts_with("All"));
    // Those that came after the report, if any, are in the next.
    let ended = tool.stop().success();
    let samples: u64 = rows_of(&ended.stdout);
    let silent = start("tp_btf", &host, &["-i", "1", "-d", "3", "-T"])
        .wait()
        .success();
    assert_eq!(rows_of(&silent.stdout), 0, "{}", silent.stdout);
    assert!(samples >= 100, "{}", ended.stdout);
    let times = silent.lines().iter().filter(|line| line.len() == 8).count();
    assert!((3..=4).contains(&times), "{}", silent.stdout);
    let once = start("tp_btf", &host, &["-d", "1"]).wait().success();
    assert_eq!(once.lines(), ["Tracing TCP RTT... Hit Ctrl-C to end.", ""]);
}

/// All samples of a text.
fn rows_of(text: &str) -> u64 {
    let counts = text.lines().filter(|line| line.contains(" -> "));
    let counts = counts.filter_map(|line| line.split([':', '|']).nth(1));
    counts
        .map(|count| count.trim().parse::<u64>().expect("a count"))
        .sum()
}

#[test]
fn filters_select() {
    each(alternatives(), |alternative| {
        let host = Host::new();
        let cgroup = Cgroup::new();
        let tools: Vec<_> = [
            vec!["-4"],
            vec!["-6"],
            vec!["-p", "30101"],
            vec!["-P", "30101,30103"],
            vec!["-a", "127.0.0.2"],
            vec!["-A", "127.0.0.2"],
            vec!["-A", "::1"],
            vec!["-a", "127.0.0.0/31"],
            vec!["--addr", "127.0.0.2"],
            vec!["--cgroup", cgroup.path()],
            vec![],
        ]
        .into_iter()
        .map(|args| {
            let all = [args.as_slice(), &["--json", "-B"]].concat();
            (args.join(" "), start(alternative, &host, &all))
        })
        .collect();
        host.within(|| {
            for (to, port) in [
                ("127.0.0.1", 30_101),
                ("127.0.0.2", 30_102),
                ("::1", 30_103),
            ] {
                chat(&mut Talk::on_port(to, to, port));
            }
        });
        let seen: Vec<_> = tools
            .into_iter()
            .map(|(args, tool)| {
                let ended = tool.stop().success();
                assert_eq!(ended.lost(), 0, "{args}");
                let addrs: Vec<_> = ended
                    .json()
                    .iter()
                    .map(|row| row["daddr"].as_str().expect("an address").to_owned())
                    .collect();
                (args, addrs)
            })
            .collect();
        let expected: [&[&str]; 11] = [
            &["127.0.0.1", "127.0.0.2"],
            &["::1"],
            &["127.0.0.1"],
            &["127.0.0.1", "::1"],
            &["127.0.0.1"],
            &["127.0.0.2"],
            &["::1"],
            &["127.0.0.1", "127.0.0.2"],
            &["127.0.0.1", "127.0.0.2"],
            &[],
            &["127.0.0.1", "127.0.0.2", "::1"],
        ];
        for ((args, addrs), expected) in seen.iter().zip(expected) {
            assert_eq!(addrs, expected, "{alternative} {args}");
        }
    });
}
