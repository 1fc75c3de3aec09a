complete -c ctsnoop -l by -d 'With -c: who or what is counted' -r -f -a "port\t'The port that the first packet goes to'
proto\t'The protocol'
comm\t'The name of the process that owns the socket'
cgroup\t'The cgroup of the socket'
addr\t'The address that the first packet comes from'
state\t'The state at the time'"
complete -c ctsnoop -l top -d 'With -c: how many of these are shown' -r
complete -c ctsnoop -s P -l proto -d 'Only this protocol: tcp, udp, icmp, ... or a number' -r
complete -c ctsnoop -l dport -d 'Only connections to these ports, as a comma list' -r
complete -c ctsnoop -l zone -d 'Only this conntrack zone' -r
complete -c ctsnoop -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c ctsnoop -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c ctsnoop -l pid-netns -d 'Only the network namespace of this process' -r
complete -c ctsnoop -l duration -d 'End after this many seconds' -r
complete -c ctsnoop -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c ctsnoop -s n -l new -d 'Only new entries: nothing that is refused'
complete -c ctsnoop -s d -l destroy -d 'Entries that end as well'
complete -c ctsnoop -s c -l summary -d 'Reports of counts instead of events: one at the end, or one per interval'
complete -c ctsnoop -l wait -d 'Wait for nf_conntrack where it is not loaded yet'
complete -c ctsnoop -s 4 -l ipv4 -d 'Only IPv4'
complete -c ctsnoop -s 6 -l ipv6 -d 'Only IPv6'
complete -c ctsnoop -l json -d 'One JSON object per line'
complete -c ctsnoop -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c ctsnoop -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctsnoop -s V -l version -d 'Print version'
