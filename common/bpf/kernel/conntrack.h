/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/ns.h"
#include "kernel/sock.h"
#include "kernel/types.h"

/* include/uapi/linux/netfilter/nf_conntrack_common.h */
enum {
	IPS_SEEN_REPLY = 1 << 1,
	IPS_ASSURED = 1 << 2,
	IPS_CONFIRMED = 1 << 3,
	IPS_TEMPLATE = 1 << 11,
};

enum { IP_CT_DIR_ORIGINAL, IP_CT_DIR_REPLY, IP_CT_DIR_MAX };

union nf_inet_addr {
	__u32 all[4];
} CO_RE;

/* A port, an ICMP id, ...: by protocol. */
union nf_conntrack_man_proto {
	__be16 all;
} CO_RE;

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num; /* AF_INET, AF_INET6 */
} CO_RE;

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
			struct {
				__u8 type;
				__u8 code;
			} icmp;
		} u;
		__u8 protonum;
	} dst;
} CO_RE;

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
} CO_RE;

struct nf_conntrack_zone {
	__u16 id;
} CO_RE;

struct ip_ct_tcp {
	__u8 state; /* TCP_CONNTRACK_* */
} CO_RE;

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
} CO_RE;

/* Extensions of an entry: where each begins, 0 for none. */
struct nf_ct_ext {
	__u8 offset[9];
} CO_RE;

enum nf_ct_ext_id {
	NF_CT_EXT_ACCT = 3,
	NF_CT_EXT_TSTAMP = 5,
};

struct nf_conn {
	__u32 timeout; /* in jiffies: when it expires */
	struct nf_conntrack_zone zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status; /* IPS_* */
	possible_net_t ct_net;
	struct nf_ct_ext *ext;
	union nf_conntrack_proto proto;
} CO_RE;

/* With conntrack configured. */
struct sk_buff___conntrack {
	unsigned long _nfct; /* a struct nf_conn *, with flags in the three lowest bits */
} CO_RE;
