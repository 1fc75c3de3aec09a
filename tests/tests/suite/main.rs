// SPDX-License-Identifier: MIT OR Apache-2.0
//! The live tests. `cargo test` runs them on this machine's kernel; `vm::`
//! runs this same program in a virtual machine per kernel of the matrix.
//! They need root.

mod basics;
mod biolatency;
mod biosnoop;
mod bitesize;
mod cachestat;
mod ctsnoop;
mod execsnoop;
mod fsslower;
mod multicall;
mod opensnoop;
mod parity;
mod profile;
mod qdiscdrop;
mod runqlat;
mod tcpaccept;
mod tcpconnect;
mod tcpconnlat;
mod tcpdrop;
mod tcplife;
mod tcpports;
mod tcpretrans;
mod tcprtt;
mod tcpstates;
mod tcpsubnet;
mod tcptop;
mod tcptracer;
mod vm;
