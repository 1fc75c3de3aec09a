/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/sock.h"
#include "kernel/types.h"

/* include/uapi/linux/if_ether.h */
enum {
	ETH_HLEN = 14,
	ETH_P_IP = 0x0800,
	ETH_P_ARP = 0x0806,
	ETH_P_8021Q = 0x8100,
	ETH_P_IPV6 = 0x86DD,
	ETH_P_8021AD = 0x88A8,
};

/* include/uapi/linux/in.h, in6.h: those that sock.h does not have */
enum {
	IPPROTO_HOPOPTS = 0,
	IPPROTO_DCCP = 33,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_AH = 51,
	IPPROTO_DSTOPTS = 60,
	IPPROTO_SCTP = 132,
	IPPROTO_MH = 135,
	IPPROTO_UDPLITE = 136,
};

struct hlist_node {
	struct hlist_node *next;
} CO_RE;

struct hlist_head {
	struct hlist_node *first;
} CO_RE;

struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
	struct hlist_node index_hlist;
} CO_RE;

struct net___devices {
	struct hlist_head *dev_index_head; /* 256 lists, by ifindex */
} CO_RE;

struct dst_entry {
	struct net_device *dev;
} CO_RE;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst; /* a struct dst_entry *, with a flag in bit 0 */
	char cb[48]; /* of the layer that has it */
	unsigned int len; /* from data on */
	int skb_iif; /* where it came in; 0: made here */
	__be16 vlan_proto;
	__u16 vlan_tci; /* the tag that is not in the packet itself */
	__be16 protocol;
	__u16 transport_header; /* offset from head; 0xffff: not set */
	__u16 network_header; /* offset from head; 0: not set, or right at head */
	__u16 mac_header; /* offset from head; 0xffff: not set */
	unsigned int tail; /* offset from head: the end of what is in one piece */
	unsigned char *head;
	unsigned char *data;
} CO_RE;

/* Since Linux 6.2 (354259fa73e2) any tag at all says it. */
struct sk_buff___before_6_2 {
	__u8 vlan_present : 1;
} CO_RE;
