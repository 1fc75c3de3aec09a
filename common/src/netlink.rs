// SPDX-License-Identifier: MIT OR Apache-2.0
//! Netlink: requests to the kernel and its answers, as a type and bytes.
//!
//! Types for whole messages exist (netlink-packet-route), but a dump fails as a
//! whole where they meet an attribute that they do not know: here just what is
//! read is decoded.

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr};

/// The kernel fills up to half of this per read.
const BUFFER: usize = 64 << 10;
/// Of a dump that changes in the kernel while it is read.
const TRIES: usize = 10;
/// Bytes are aligned to this in messages.
const ALIGN: usize = 4;

/// A message without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Such as `RTM_NEWQDISC`.
    pub kind: u16,
    pub bytes: Vec<u8>,
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        for (to, from) in buffer.iter_mut().zip(&self.bytes) {
            *to = *from;
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self {
            kind: header.message_type,
            bytes: payload.to_vec(),
        })
    }
}

/// A socket of one protocol, such as `libc::NETLINK_ROUTE`, in the network
/// namespace of the thread that has made it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub fn new(protocol: i32) -> Result<Self> {
        let mut socket = Socket::new(protocol as isize).context("open netlink socket")?;
        socket.bind_auto().context("bind netlink socket")?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The socket, to join multicast groups or to wait for what comes.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// What the kernel lists for a request: one moment's state, unless it does
    /// not stop to change.
    pub fn dump(&mut self, request: &Message) -> Result<Vec<Message>> {
        for _ in 1..TRIES {
            if let (found, false) = self.dump_once(request)? {
                return Ok(found);
            }
        }
        Ok(self.dump_once(request)?.0)
    }

    /// The answers, and whether the list has changed meanwhile.
    fn dump_once(&mut self, request: &Message) -> Result<(Vec<Message>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message =
            NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.clone()));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket
            .send_to(&bytes, &SocketAddr::new(0, 0), 0)
            .context("send netlink request")?;

        let mut found = Vec::new();
        let mut changed = false;
        loop {
            for answer in self.receive()? {
                if answer.header.sequence_number != self.sequence {
                    continue; // left over from a request that has failed
                }
                changed |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => found.push(message),
                    NetlinkPayload::Done(_) => return Ok((found, changed)),
                    NetlinkPayload::Error(error) => {
                        return Err(error.to_io()).context("netlink request");
                    }
                    NetlinkPayload::Overrun(_) => bail!("netlink: overrun"),
                    _ => {}
                }
            }
        }
    }

    /// The messages of one read; waits for them unless the socket is set not to.
    pub fn receive(&mut self) -> Result<Vec<NetlinkMessage<Message>>> {
        let mut buffer = Vec::with_capacity(BUFFER);
        self.socket
            .recv(&mut buffer, 0)
            .context("read netlink socket")?;
        let mut messages = Vec::new();
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest)
                .map_err(|error| anyhow::anyhow!("netlink message: {error}"))?;
            let length = (message.header.length as usize).next_multiple_of(ALIGN);
            messages.push(message);
            rest = rest.get(length.max(ALIGN)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// Type and value of each attribute; ends at one that is cut off.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, Vec<u8>)> + '_ {
    NlasIterator::new(bytes)
        .map_while(Result::ok)
        .map(|attribute| (attribute.kind(), attribute.value().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_listed() {
        let mut netlink = Netlink::new(libc::NETLINK_ROUTE).unwrap();
        let request = Message {
            kind: libc::RTM_GETLINK,
            bytes: vec![0; 16], // struct ifinfomsg
        };
        for _ in 0..2 {
            let links = netlink.dump(&request).unwrap();
            let names: Vec<_> = links
                .iter()
                .filter(|link| link.kind == libc::RTM_NEWLINK)
                .flat_map(|link| attributes(&link.bytes[16..]))
                .filter(|(kind, _)| *kind == libc::IFLA_IFNAME)
                .map(|(_, value)| value)
                .collect();
            assert!(names.contains(&b"lo\0".to_vec()), "{names:?}");
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        let mut netlink = Netlink::new(libc::NETLINK_ROUTE).unwrap();
        let request = Message {
            kind: u16::MAX,
            bytes: vec![0; 16],
        };
        assert!(netlink.dump(&request).is_err());
    }

    #[test]
    fn cut_off_attributes_end_the_list() {
        let list = [8, 0, 3, 0, 1, 2, 3, 4, 40, 0, 4, 0];
        let found: Vec<_> = attributes(&list).collect();
        assert_eq!(found, [(3, vec![1, 2, 3, 4])]);
    }
}
