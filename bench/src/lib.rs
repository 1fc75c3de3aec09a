// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the workloads do. `bpfcc-load` runs them; `bpfcc-bench` uses their
//! single steps to see when a tool begins to see something.

pub mod load;
