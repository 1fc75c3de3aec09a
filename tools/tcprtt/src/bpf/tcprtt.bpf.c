/* SPDX-License-Identifier: GPL-2.0 */
#include "hist.bpf.h"
#include "kernel/syscall.h"
#include "lost.bpf.h"
#include "tcp.bpf.h"
#include "tcprtt.h"

/* By which end the histograms are. */
enum { BY_NONE, BY_LOCAL, BY_REMOTE };

const volatile __u8 by_addr = BY_NONE;
const volatile __u32 unit_us = 1;
/* -a, -A: as filter_addr */
const volatile __u8 filter_laddrs = 0;
const volatile __u8 filter_raddrs = 0;
const volatile __u32 filter_laddr[4] = {};
const volatile __u32 filter_laddr_mask[4] = {};
const volatile __u32 filter_raddr[4] = {};
const volatile __u32 filter_raddr_mask[4] = {};

const struct tcprtt_key *unused_key __attribute__((unused));

/* The only histogram … */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hist);
} single SEC(".maps");

/* … or one per address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 10240);
	__type(key, struct tcprtt_key);
	__type(value, struct hist);
} keyed SEC(".maps");

static struct hist empty;

static __always_inline bool ends_match(const struct flow *flow)
{
	if (filter_laddrs &&
	    !addr_in(flow->saddr, flow->family, filter_laddr, filter_laddr_mask))
		return false;
	if (filter_raddrs &&
	    !addr_in(flow->daddr, flow->family, filter_raddr, filter_raddr_mask))
		return false;
	return flow_addrs_match(flow);
}

static __always_inline struct hist *find_hist(const struct flow *flow)
{
	struct tcprtt_key key = {};
	struct hist *hist;
	__u32 zero = 0;

	if (by_addr == BY_NONE)
		return bpf_map_lookup_elem(&single, &zero);
	key.family = flow->family;
	__builtin_memcpy(key.addr, by_addr == BY_LOCAL ? flow->saddr : flow->daddr,
			 sizeof(key.addr));
	hist = bpf_map_lookup_elem(&keyed, &key);
	if (hist)
		return hist;
	/* Refused when another CPU has just done the same. */
	bpf_map_update_elem(&keyed, &key, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&keyed, &key);
}

/* A segment has come for an established connection. */
static __always_inline int sample(struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	struct hist *hist;
	struct flow flow;
	__u32 srtt_us;

	if (!tcp_sock_matches(sk))
		return 0;
	flow_of_sock(&flow, sk, IPPROTO_TCP);
	if (!ports_match(flow.sport, flow.dport) || !ends_match(&flow))
		return 0;
	srtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3; /* kept in eighths */
	hist = find_hist(&flow);
	if (hist)
		hist_add(hist, srtt_us / unit_us, srtt_us);
	else
		count_lost();
	return 0;
}

/* The first that tcp_rcv_established() does. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(probe, struct sock *sk)
{
	return sample(sk);
}

SEC("fentry/tcp_rcv_established")
int BPF_PROG(received_fentry, struct sock *sk)
{
	return sample(sk);
}

SEC("kprobe/tcp_rcv_established")
int BPF_KPROBE(received_kprobe, struct sock *sk)
{
	return sample(sk);
}

char LICENSE[] SEC("license") = "GPL";
