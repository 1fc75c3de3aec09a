// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets that have a local port, as the BPF side writes them.

use std::net::IpAddr;

use anyhow::Result;
use common::event::decode;
use common::net::address;

use crate::By;
use crate::skel::types::tcpports_socket;

/// What a port is counted as: by the first of these that a socket on it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// With `--by raddr`: a port that no connect() gets.
    Listen,
    Established,
    Other,
    TimeWait,
}

const TCP_ESTABLISHED: u8 = 1;
const TCP_FIN_WAIT2: u8 = 5;
const TCP_TIME_WAIT: u8 = 6;
const TCP_LISTEN: u8 = 10;
const TCP_NEW_SYN_RECV: u8 = 12;

#[derive(Clone, Copy)]
pub struct Socket(tcpports_socket);

impl Socket {
    pub fn port(&self) -> u16 {
        self.0.lport
    }

    pub fn class(&self) -> Class {
        match self.0.state {
            TCP_LISTEN => Class::Listen,
            TCP_ESTABLISHED => Class::Established,
            TCP_TIME_WAIT => Class::TimeWait,
            _ => Class::Other,
        }
    }

    /// Whether the kernel says nothing when it ends.
    pub fn ends_unseen(&self) -> bool {
        matches!(
            self.0.state,
            TCP_TIME_WAIT | TCP_FIN_WAIT2 | TCP_NEW_SYN_RECV
        )
    }

    pub fn is_listening(&self) -> bool {
        self.0.state == TCP_LISTEN
    }

    pub fn is_exclusive(&self) -> bool {
        self.0.exclusive != 0
    }

    pub fn laddr(&self) -> IpAddr {
        address(self.0.family.into(), &self.0.laddr)
    }

    pub fn remote(&self) -> (IpAddr, u16) {
        (address(self.0.family.into(), &self.0.raddr), self.0.rport)
    }

    pub fn inode(&self) -> u64 {
        self.0.inode
    }

    pub fn cgroup_id(&self) -> u64 {
        self.0.cgroup_id
    }

    /// Who has closed it; 0: it has a file, or it is not known.
    pub fn tgid(&self) -> u32 {
        self.0.tgid
    }

    pub fn comm(&self) -> [u8; 16] {
        self.0.comm
    }

    pub fn netns(&self) -> u32 {
        self.0.netns
    }

    /// From the map of idle sockets.
    pub fn idle(value: &[u8]) -> Result<Self> {
        Ok(Self(decode(value)?.0))
    }
}

/// How much of each socket the iterator writes.
#[derive(Clone, Copy)]
pub struct Form {
    length: usize,
}

impl Form {
    pub fn of(by: By) -> Self {
        let length = match by {
            By::Netns => std::mem::offset_of!(tcpports_socket, laddr),
            By::Laddr | By::Raddr => std::mem::offset_of!(tcpports_socket, inode),
            By::Process | By::Cgroup => size_of::<tcpports_socket>(),
        };
        Self { length }
    }

    pub fn decode(self, records: &[u8]) -> Result<Vec<Socket>> {
        let mut whole = [0; size_of::<tcpports_socket>()];
        records
            .chunks_exact(self.length)
            .map(|record| {
                for (to, from) in whole.iter_mut().zip(record) {
                    *to = *from;
                }
                Socket::idle(&whole)
            })
            .collect()
    }
}
