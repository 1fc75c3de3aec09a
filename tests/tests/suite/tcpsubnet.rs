// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpsubnet` against connections that send a known number of bytes.

use bpfcc_tests::net::{Host, Pair, Talk};
use bpfcc_tests::*;
use serde_json::{Value, json};

use crate::tcptop::alternatives;

/// The tool with one alternative, for one namespace.
fn start(alternative: &str, host: &Host, args: &[&str]) -> Tool {
    let mut command = command("tcpsubnet");
    command
        .args(["--verbose", "--netns-id", &host.inode().to_string()])
        .args(args)
        .env("BPFCC_RS_HOOKS", format!("traffic={alternative}"));
    // Kernels that preempt programs skip them for others meanwhile (7.2).
    let _alone = MayAttach::alone();
    Tool::spawn(command)
}

/// Sends from both ends of connections on loopback addresses: 127.0.0.1 gets
/// 3,660 bytes, 127.0.0.2 2,000, ::1 75,000, the mapped 127.0.0.1 300. Some of
/// the connections end.
fn talk(host: &Host) -> Vec<Talk> {
    let talks = host.within(|| {
        let cases = [
            ("127.0.0.1", "127.0.0.1", 1_000, 500),
            ("127.0.0.2", "127.0.0.2", 2_000, 2_160),
            ("::1", "::1", 70_000, 5_000),
            ("::", "::ffff:127.0.0.1", 100, 200),
        ];
        cases.map(|(listen, to, up, down)| {
            let mut talk = Talk::new(listen, to);
            talk.exchange(up, down);
            talk
        })
    });
    host.acknowledged();
    let [first, second, third, _] = talks;
    vec![first, second, third]
}

fn entries(ended: &Ended) -> Value {
    let rows = ended.json();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    rows[0]["entries"].clone()
}

/// The first subnet that holds the address counts; what is in none does not.
#[test]
fn bytes_are_those_that_were_sent() {
    let cases: [(&[&str], Value); 7] = [
        (&["-J"], json!({"127.0.0.1/32": 3_960, "0.0.0.0/0": 2_000})),
        (
            &["--json", "-4"],
            json!({"127.0.0.1/32": 3_660, "0.0.0.0/0": 2_000}),
        ),
        (
            &["-J", "10.0.0.0/8,::1/128,127.0.0.0/30,0.0.0.0/0"],
            json!({"::1/128": 75_000, "127.0.0.0/30": 5_960}),
        ),
        (
            &["-J", "-f", "b", "127.0.0.2/32"],
            json!({"127.0.0.2/32": 16_000}),
        ),
        (
            &["-J", "-f", "k", "127.0.0.2/32"],
            json!({"127.0.0.2/32": 15.625}),
        ),
        (&["-J", "-6", "::/0"], json!({"::/0": 75_300})),
        (
            &["-J", "--addr", "127.0.0.2"],
            json!({"127.0.0.1/32": 2_160, "0.0.0.0/0": 2_000}),
        ),
    ];
    each(alternatives(), |alternative| {
        let host = Host::new();
        let _resident = host.resident();
        let tools: Vec<_> = cases
            .iter()
            .map(|(args, _)| start(alternative, &host, &[*args, &["-i", "600"]].concat()))
            .collect();
        let talks = talk(&host);
        for (tool, (args, expected)) in tools.into_iter().zip(&cases) {
            let ended = tool.stop().success();
            assert_eq!(ended.lost(), 0);
            assert_eq!(entries(&ended), *expected, "{alternative} {args:?}");
        }
        drop(talks);
    });
}

/// To another host, from a connection that is older than the tool.
#[test]
fn only_what_is_new_counts() {
    for alternative in alternatives() {
        let pair = Pair::new();
        let _residents = [pair.left.resident(), pair.right.resident()];
        let mut talk = pair.talk(Pair::RIGHT);
        talk.exchange(10_000, 20_000);
        pair.left.acknowledged();
        pair.right.acknowledged();
        let tools = [&pair.left, &pair.right]
            .map(|host| start(alternative, host, &["-J", "-i", "600", "10.77.0.0/24"]));
        talk.exchange(1_234, 5_678);
        pair.left.acknowledged();
        pair.right.acknowledged();
        drop(talk);
        let seen = tools.map(|tool| entries(&tool.stop().success()));
        let expected = [1_234, 5_678].map(|bytes| json!({ "10.77.0.0/24": bytes }));
        assert_eq!(seen, expected, "{alternative}");
    }
}

#[test]
fn text_is_bccs() {
    let host = Host::new();
    let _resident = host.resident();
    for (unit, first, second) in [("B", "75300", "5660"), ("K", "73", "5"), ("m", "0", "0")] {
        let subnets = "127.0.0.0/8,::/0";
        let way = alternatives()[0];
        let tool = start(way, &host, &["-f", unit, "-i", "600", "-4", subnets]);
        let six = start(way, &host, &["-f", unit, "-i", "600", "-6", "::/0"]);
        let talks = talk(&host);
        for (tool, row) in [
            (tool, format!("{:<21} {second:>6}", "127.0.0.0/8")),
            (six, format!("{:<21} {first:>6}", "::/0")),
        ] {
            let ended = tool.stop().success();
            let lines = ended.lines();
            assert_eq!(lines.len(), 3, "{}", ended.stdout);
            assert_eq!(
                lines[0],
                "Tracing... Output every 600 secs. Hit Ctrl-C to end"
            );
            let clock = lines[1].replace(|c: char| c.is_ascii_digit(), "0");
            assert_eq!(clock, "[00/00/00 00:00:00]");
            assert_eq!(lines[2], row, "{unit}");
        }
        drop(talks);
    }
}

/// Idle intervals are their time.
#[test]
fn idle_intervals_show() {
    let host = Host::new();
    let _resident = host.resident();
    let ended = start(alternatives()[0], &host, &["--duration", "2"])
        .wait()
        .success();
    let lines = ended.lines();
    assert!(lines.len() >= 3, "{}", ended.stdout);
    assert!(
        lines[1..]
            .iter()
            .all(|line| line.starts_with('[') && line.len() == 19)
    );
    let ended = start(alternatives()[0], &host, &["-J", "--duration", "1"])
        .wait()
        .success();
    assert!(ended.json().iter().all(|row| row["entries"] == json!({})));
}
