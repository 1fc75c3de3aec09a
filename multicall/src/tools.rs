// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every tool of the suite. `cargo xtask new-tool` adds to the list.

use common::tool::Entry;

#[rustfmt::skip] // a line per tool
pub const TOOLS: &[Entry] = &[
    Entry::of::<biolatency::Biolatency>(),
    Entry::of::<biosnoop::Biosnoop>(),
    Entry::of::<bitesize::Bitesize>(),
    Entry::of::<opensnoop::Opensnoop>(),
    Entry::of::<tcpstates::Tcpstates>(),
    Entry::of::<tcpretrans::Tcpretrans>(),
    Entry::of::<tcpconnlat::Tcpconnlat>(),
    Entry::of::<tcpdrop::Tcpdrop>(),
    Entry::of::<qdiscdrop::Qdiscdrop>(),
    Entry::of::<ctsnoop::Ctsnoop>(),
    Entry::of::<tcplife::Tcplife>(),
    Entry::of::<tcpconnect::Tcpconnect>(),
    Entry::of::<tcpaccept::Tcpaccept>(),
    Entry::of::<tcptracer::Tcptracer>(),
    Entry::of::<tcpports::Tcpports>(),
    Entry::of::<tcptop::Tcptop>(),
    Entry::of::<tcprtt::Tcprtt>(),
    Entry::of::<tcpsubnet::Tcpsubnet>(),
    Entry::of::<execsnoop::Execsnoop>(),
    Entry::of::<runqlat::Runqlat>(),
    Entry::of::<cachestat::Cachestat>(),
    Entry::of::<profile::Profile>(),
    Entry::of::<fsslower::Ext4slower>(),
    Entry::of::<fsslower::Xfsslower>(),
    Entry::of::<fsslower::Btrfsslower>(),
    Entry::of::<fsslower::Nfsslower>(),
    Entry::of::<fsslower::F2fsslower>(),
    Entry::of::<fsslower::Zfsslower>(),
    Entry::of::<fsslower::Fsslower>(),
    Entry::of::<fsslower::Fileslower>(),
];
