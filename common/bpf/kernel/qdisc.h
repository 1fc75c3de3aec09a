/* SPDX-License-Identifier: GPL-2.0 */
/* Queueing disciplines, and what devices and packets have to do with them. */
#pragma once

#include "kernel/skb.h"
#include "kernel/types.h"

struct Qdisc_class_ops {
} CO_RE;

struct Qdisc_ops {
	const struct Qdisc_class_ops *cl_ops;
	char id[16];
} CO_RE;

struct qdisc_skb_head {
	__u32 qlen; /* packets */
} CO_RE;

struct gnet_stats_queue {
	__u32 backlog; /* bytes */
	__u32 drops;
} CO_RE;

struct netdev_queue {
	struct Qdisc *qdisc;
	struct Qdisc *qdisc_sleeping;
} CO_RE;

enum { TCQ_F_CPUSTATS = 0x20 };

struct Qdisc {
	int (*enqueue)(struct sk_buff *skb, struct Qdisc *sch, struct sk_buff **to_free);
	unsigned int flags;
	__u32 limit;
	const struct Qdisc_ops *ops;
	struct hlist_node hash;
	__u32 handle;
	__u32 parent;
	struct netdev_queue *dev_queue;
	struct qdisc_skb_head q;
	struct gnet_stats_queue qstats;
} CO_RE;

/* Linux 6.19 (191ff13e42a7): what is dropped at dequeue is counted, then freed with the rest. */
struct Qdisc___since_6_19 {
	struct sk_buff *to_free;
} CO_RE;

#define QDISC_BUCKETS 16

struct net_device___qdisc {
	struct netdev_queue *_tx;
	unsigned int num_tx_queues;
	unsigned int tx_queue_len;
	struct netdev_queue *ingress_queue; /* has ingress and clsact, which is for egress too */
	struct hlist_head qdisc_hash[QDISC_BUCKETS]; /* all but root, ingress and clsact */
} CO_RE;

struct sk_buff___qdisc {
	char cb[48];
	__u16 queue_mapping;
	__u32 priority;
	__u8 tc_at_ingress : 1;
} CO_RE;

/* skb->cb while a packet is in a qdisc. Linux 6.8 (fb2780721ca5). */
struct tc_skb_cb___since_6_8 {
	__u32 drop_reason;
} CO_RE;

/* include/uapi/linux/pkt_cls.h */
enum { TC_ACT_SHOT = 2 };

/* Their number is their own; the kernel's enum names them. */
enum tca_id {
	TCA_ID_POLICE = 1,
};

struct tc_action_ops {
	enum tca_id id;
} CO_RE;

struct tc_action {
	const struct tc_action_ops *ops;
} CO_RE;

/* Before Linux 6.4 (ac3b43283923) */
struct module_layout___before_6_4 {
	void *base;
	unsigned int text_size;
} CO_RE;

struct module_memory___since_6_4 {
	void *base;
	unsigned int size;
} CO_RE;

struct module {
	char name[56];
} CO_RE;

struct module___before_6_4 {
	struct module_layout___before_6_4 core_layout;
} CO_RE;

struct module___since_6_4 {
	struct module_memory___since_6_4 mem[7]; /* the first is the text */
} CO_RE;
