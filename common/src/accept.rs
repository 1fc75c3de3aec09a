// SPDX-License-Identifier: MIT OR Apache-2.0
//! How accepted connections are seen: the programs of `common/bpf/accept.bpf.h`.

use crate::hooks::{Alternative, Hook};

/// The system calls, with the function behind them for what accepts otherwise.
/// Where tracefs cannot be used it is what every system call passes.
pub const ACCEPT: Hook = Hook {
    name: "accept",
    alternatives: &[
        Alternative::new("fexit", &["fexit_accept", "exit_accept", "exit_accept4"]),
        Alternative::new(
            "kretprobe",
            &["kretprobe_accept", "exit_accept", "exit_accept4"],
        ),
        Alternative::new("tracepoint", &["exit_accept", "exit_accept4"]),
        Alternative::new("raw_tp", &["exit_any_accept"]),
    ],
};
