// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tcpconnlat` against connections of known latency.

use bpfcc_tests::net::Pair;

#[test]
fn hosts_reach_each_other() {
    let pair = Pair::new();
    pair.left.run("ping -c1 -W5 10.77.0.2");
}
