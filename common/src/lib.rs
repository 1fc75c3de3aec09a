// SPDX-License-Identifier: MIT OR Apache-2.0
//! What two tools share, once. A tool is its arguments, its BPF C file and its
//! row; from its first line to its last it calls, in this order:
//!
//! | module | gives |
//! |---|---|
//! | [`tool`] | [`Tool`](tool::Tool): name, command, hooks; `main()` with the exit codes |
//! | [`cli`] | argument groups and value parsers |
//! | [`hooks`] | loads and attaches the first alternative of each hook that works here |
//! | [`session`] | the two shapes: a stream of events, a report per interval |
//! | [`columns`], [`hist`] | a row or a histogram as text, CSV and JSON |
//! | [`sampling`], [`symbols`], [`user_symbols`] | samples of the CPUs; addresses as names |
//! | [`probe`], [`trial`] | what this kernel and this process can do |

pub mod accept;
pub mod block;
pub mod btf;
pub mod cgroup;
pub mod child;
pub mod cli;
pub mod columns;
pub mod drop_reason;
pub mod error;
pub mod escape;
pub mod event;
pub mod filters;
pub mod flow;
pub mod hist;
pub mod hooks;
mod kernel_types;
pub mod lost;
pub mod maps;
pub mod net;
pub mod netlink;
pub mod netns;
pub mod numbers;
pub mod object;
pub mod origin;
pub mod output;
pub mod probe;
mod raw_btf;
mod release;
pub mod sampling;
pub mod session;
pub mod symbols;
pub mod tcp_iter;
pub mod time;
pub mod tool;
mod tracefs;
pub mod trial;
pub mod user_symbols;
mod wait;

pub use anyhow;
pub use clap;
pub use libbpf_rs;

/// The skeleton that [`bpf_build::build`](../bpf_build/fn.build.html) made for
/// the calling package, as module `skel`.
#[macro_export]
macro_rules! bpf_skeleton {
    ($name:literal) => {
        #[allow(
            unsafe_code,
            dead_code,
            non_camel_case_types,
            clippy::all,
            clippy::indexing_slicing,
            clippy::undocumented_unsafe_blocks,
            clippy::unwrap_used,
            clippy::expect_used
        )]
        mod skel {
            include!(concat!(env!("OUT_DIR"), "/", $name, ".skel.rs"));
        }
    };
}

/// The bytes of the calling package's BPF object, packed.
#[macro_export]
macro_rules! bpf_object {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".o.z"))
    };
}
