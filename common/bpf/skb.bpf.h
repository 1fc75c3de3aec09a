/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A packet's headers, from an skb in any program and at any point of its way:
 * before the kernel has looked at it, after it has pulled headers off it, or
 * half made. Each step reads what it needs and no more, so that filters can
 * come between:
 *
 *	struct packet packet;
 *
 *	packet_find(&packet, skb);
 *	if (!family_matches(packet_family(&packet)) ||
 *	    !packet_ip(&packet, &flow) || flow.proto != IPPROTO_TCP ||
 *	    !flow_addrs_match(&flow))
 *		return 0;
 *	packet_ports(&packet, &flow);
 */
#pragma once

#include "flow.bpf.h"
#include "kernel/skb.h"

/* Where a packet's headers are: offsets from skb->head. */
struct packet {
	unsigned char *head;
	__u32 end; /* of the part that is in one piece: nothing is read past it */
	__u32 network; /* behind the Ethernet header and VLAN tags */
	__u32 transport; /* behind the IP header; 0: no such header, or not readable */
	__u16 ethertype; /* host order, behind VLAN tags; 0: none yet */
	__u16 vlan; /* id of the outermost tag; 0: none */
};

/* Copies `size` bytes from `offset` on; false when they are not all there. */
static __always_inline bool packet_read(const struct packet *packet, __u32 offset, void *to,
					const __u32 size)
{
	return offset + size <= packet->end &&
	       !bpf_probe_read_kernel(to, size, packet->head + offset);
}

static __always_inline bool is_vlan(__u16 ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

/* The tag that the skb carries beside the packet: VLAN id and flags; 0: none. */
static __always_inline __u16 skb_vlan_tci(struct sk_buff *skb)
{
	struct sk_buff___before_6_2 *before = (void *)skb;

	if (bpf_core_field_exists(before->vlan_present)) {
		if (!BPF_CORE_READ_BITFIELD_PROBED(before, vlan_present))
			return 0;
	} else if (!BPF_CORE_READ(skb, vlan_proto)) {
		return 0;
	}
	return BPF_CORE_READ(skb, vlan_tci);
}

/* Finds the network header and what it is. Fills in all of `packet`. */
static __always_inline void packet_find(struct packet *packet, struct sk_buff *skb)
{
	__u16 mac;

	packet->head = BPF_CORE_READ(skb, head);
	packet->end = BPF_CORE_READ(skb, tail);
	packet->network = BPF_CORE_READ(skb, network_header);
	packet->transport = 0;
	packet->ethertype = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	packet->vlan = 0;
	/* A packet that a driver has just handed over: its data begins there. */
	if (!packet->network)
		packet->network = BPF_CORE_READ(skb, data) - packet->head;
	if (!is_vlan(packet->ethertype))
		return;
	/*
	 * Tags in the packet. The network header is at the first one or, in
	 * what is sent from a packet socket since Linux 5.19 (dfed913e8b55),
	 * behind them: so begin behind the Ethernet header.
	 */
	mac = BPF_CORE_READ(skb, mac_header);
	if (mac != 0xffff && mac + ETH_HLEN <= packet->network)
		packet->network = mac + ETH_HLEN;
	for (int tags = 0; tags < 2 && is_vlan(packet->ethertype); tags++) {
		__be16 tag[2]; /* id and flags, the next ethertype */

		if (!packet_read(packet, packet->network, tag, sizeof(tag)))
			return;
		if (!tags)
			packet->vlan = bpf_ntohs(tag[0]) & 0xfff;
		packet->ethertype = bpf_ntohs(tag[1]);
		packet->network += sizeof(tag);
	}
}

/* The VLAN of a packet that was found: from its own tag or the one beside it; 0: none. */
static __always_inline __u16 packet_vlan(const struct packet *packet, struct sk_buff *skb)
{
	__u16 tci = skb_vlan_tci(skb);

	return tci ? tci & 0xfff : packet->vlan;
}

/* AF_INET, AF_INET6; 0: not IP. */
static __always_inline __u16 packet_family(const struct packet *packet)
{
	switch (packet->ethertype) {
	case ETH_P_IP:
		return AF_INET;
	case ETH_P_IPV6:
		return AF_INET6;
	default:
		return 0;
	}
}

static __always_inline bool packet_ipv4(struct packet *packet, struct flow *flow)
{
	struct {
		__u8 version_ihl;
		__u8 tos;
		__be16 length;
		__be16 id;
		__be16 fragment; /* three flags, then the offset */
		__u8 ttl;
		__u8 protocol;
		__be16 check;
		__be32 saddr;
		__be32 daddr;
	} header;

	if (!packet_read(packet, packet->network, &header, sizeof(header)) ||
	    header.version_ihl >> 4 != 4 || (header.version_ihl & 0xf) < 5)
		return false;
	flow->family = AF_INET;
	flow->proto = header.protocol;
	*(__be32 *)flow->saddr = header.saddr;
	*(__be32 *)flow->daddr = header.daddr;
	if (!(header.fragment & bpf_htons(0x1fff)))
		packet->transport = packet->network + (header.version_ihl & 0xf) * 4;
	return true;
}

/* Extension headers that are gone through; a packet has seldom more than one. */
#define PACKET_MAX_EXTENSIONS 6

static __always_inline bool packet_ipv6(struct packet *packet, struct flow *flow)
{
	struct {
		__be32 version_class_flow;
		__be16 length;
		__u8 next;
		__u8 hop_limit;
	} header;
	__u32 offset = packet->network;

	if (!packet_read(packet, offset, &header, sizeof(header)) ||
	    (header.version_class_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000) ||
	    !packet_read(packet, offset + 8, flow->saddr, 32)) /* daddr as well */
		return false;
	flow->family = AF_INET6;
	flow->proto = header.next;
	offset += 40;
	for (int i = 0; i < PACKET_MAX_EXTENSIONS; i++) {
		struct {
			__u8 next;
			__u8 length;
			__be16 fragment; /* offset, then three flags */
		} extension;

		switch (flow->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_MH:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
			break;
		default:
			packet->transport = offset;
			return true;
		}
		if (!packet_read(packet, offset, &extension, sizeof(extension)))
			return true;
		if (flow->proto == IPPROTO_FRAGMENT) {
			offset += 8;
			flow->proto = extension.next;
			if (extension.fragment & bpf_htons(0xfff8))
				return true; /* not the first one */
			continue;
		}
		offset += flow->proto == IPPROTO_AH ? (extension.length + 2) * 4 :
						      (extension.length + 1) * 8;
		flow->proto = extension.next;
	}
	return true;
}

/*
 * Reads the IP header: family, protocol and addresses of `flow`, the ports are
 * 0. False, and family 0, when there is none. Fills in all of `flow`.
 */
static __always_inline bool packet_ip(struct packet *packet, struct flow *flow)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	if (packet->ethertype == ETH_P_IP)
		return packet_ipv4(packet, flow);
	return packet->ethertype == ETH_P_IPV6 && packet_ipv6(packet, flow);
}

/*
 * Reads the ports, after packet_ip(). They stay 0 in later fragments, which
 * have none, and in protocols without.
 */
static __always_inline void packet_ports(const struct packet *packet, struct flow *flow)
{
	__be16 ports[2];

	switch (flow->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_UDPLITE:
		break;
	default:
		return;
	}
	if (!packet->transport ||
	    !packet_read(packet, packet->transport, ports, sizeof(ports)))
		return;
	flow->sport = bpf_ntohs(ports[0]);
	flow->dport = bpf_ntohs(ports[1]);
}

enum { TCP_FLAG_SYN = 0x02, TCP_FLAG_ACK = 0x10 };

/* Byte 13 of the TCP header: CWR ECE URG ACK PSH RST SYN FIN; 0 where it cannot be read. */
static __always_inline __u8 packet_tcp_flags(const struct packet *packet)
{
	__u8 flags = 0;

	if (!packet->transport ||
	    !packet_read(packet, packet->transport + 13, &flags, sizeof(flags)))
		return 0;
	return flags;
}

/* Bytes from the network header on, also when the headers were pulled off already. */
static __always_inline __u32 packet_length(const struct packet *packet, struct sk_buff *skb)
{
	return BPF_CORE_READ(skb, data) - packet->head + BPF_CORE_READ(skb, len) -
	       packet->network;
}

/*
 * The lowest number of a network namespace: init's, since Linux 6.17; all others
 * begin at 0xf0000000.
 */
#define NETNS_INUM_MIN 0xeffffff0

/*
 * The skb's device, or NULL. Where the skb is in a tree or in a UDP socket's
 * queue, something else is in that place: so what is there must look like one.
 */
static __always_inline struct net_device *skb_dev(struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);

	if (!dev || BPF_CORE_READ(dev, ifindex) <= 0 ||
	    BPF_CORE_READ(dev, nd_net.net, ns.inum) < NETNS_INUM_MIN)
		return NULL;
	return dev;
}

/*
 * The network namespace of a packet: its socket's, else its device's, else that
 * of its route. NULL: not known.
 */
static __always_inline struct net *skb_net(struct sk_buff *skb, struct sock *sk)
{
	struct net_device *dev;
	struct dst_entry *dst;

	if (sk)
		return sock_net(sk);
	dev = skb_dev(skb);
	if (!dev) {
		dst = (void *)(BPF_CORE_READ(skb, _skb_refdst) & ~7UL);
		dev = dst ? BPF_CORE_READ(dst, dev) : NULL;
	}
	return dev ? BPF_CORE_READ(dev, nd_net.net) : NULL;
}

/* Devices of one list that are looked at: numbers 256 apart. */
#define NET_MAX_DEVICES 16

/*
 * The device that a packet came in by, which the skb still knows by number when
 * TCP or UDP have taken its `dev` away; NULL: it was made here, or the device is
 * gone.
 */
static __always_inline struct net_device *skb_ingress_dev(struct sk_buff *skb, struct net *net)
{
	struct net___devices *devices = (void *)net;
	int ifindex = BPF_CORE_READ(skb, skb_iif);
	struct hlist_head *head;
	struct hlist_node *node;

	if (!net || ifindex <= 0)
		return NULL;
	head = BPF_CORE_READ(devices, dev_index_head);
	if (!head)
		return NULL;
	node = BPF_CORE_READ(&head[ifindex & 0xff], first);
	for (int i = 0; i < NET_MAX_DEVICES && node; i++) {
		struct net_device *dev =
			(void *)node - bpf_core_field_offset(struct net_device, index_hlist);

		if (BPF_CORE_READ(dev, ifindex) == ifindex)
			return dev;
		node = BPF_CORE_READ(node, next);
	}
	return NULL;
}

/*
 * How many parameters the tracepoint kfree_skb has, set from the kernel's type
 * information (common::drop_reason): skb and location; from Linux 5.17
 * (c504e5c2f964) the reason; from 6.11 (c53795d48ee8) the socket that received
 * the packet.
 */
const volatile __u8 kfree_skb_params = 2;

static __always_inline struct sk_buff *kfree_skb_skb(__u64 *ctx)
{
	return (void *)ctx[0];
}

/* From where it was dropped: an address in the function that did. */
static __always_inline __u64 kfree_skb_location(__u64 *ctx)
{
	return ctx[1];
}

/* 0 where the kernel gives no reasons. */
static __always_inline __u32 kfree_skb_reason(__u64 *ctx)
{
	return kfree_skb_params >= 3 ? ctx[2] : 0;
}

/* The socket that the packet was for; NULL: none, or it is not told. */
static __always_inline struct sock *kfree_skb_rx_sk(__u64 *ctx)
{
	return kfree_skb_params >= 4 ? (void *)ctx[3] : NULL;
}
