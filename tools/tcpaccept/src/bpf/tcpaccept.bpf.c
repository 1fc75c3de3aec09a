/* SPDX-License-Identifier: GPL-2.0 */
#include "accept.bpf.h"
#include "events.bpf.h"
#include "filters.bpf.h"

#include "tcpaccept.h"

const volatile __u8 want_place = 0; /* cookie, cgroup and network namespace */

const struct tcpaccept_event *unused_event __attribute__((unused));

static __always_inline int accepted(struct sock *sk)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct tcpaccept_event *event;
	struct flow flow;
	__u16 family;

	if (!task_matches(pid_tgid))
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) || !family_matches(family) ||
	    !sock_is_tcp(sk) || !netns_matches(sock_net(sk)))
		return 0;
	flow_of_inet_sock(&flow, sk, IPPROTO_TCP);
	if (!ports_match(flow.sport, flow.dport) || !flow_addrs_match(&flow))
		return 0;

	event = event_reserve(struct tcpaccept_event);
	if (!event)
		return 0;
	event->ts_ns = bpf_ktime_get_ns();
	event->flow = flow;
	event->tgid = pid_tgid >> 32;
	event->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->cookie = want_place ? BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) : 0;
	event->cgroup_id = want_place ? bpf_get_current_cgroup_id() : 0;
	event->netns = want_place ? netns_inum(sock_net(sk)) : 0;
	event->pad = 0;
	event_submit(event);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
