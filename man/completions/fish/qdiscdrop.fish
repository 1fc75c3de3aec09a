complete -c qdiscdrop -s i -l interface -d 'Only this network device' -r
complete -c qdiscdrop -s P -l protocol -d 'Only this IP protocol: a name such as udp, or a number' -r
complete -c qdiscdrop -s L -l localport -d 'Only these local ports, as a comma list' -r
complete -c qdiscdrop -s D -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c qdiscdrop -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c qdiscdrop -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c qdiscdrop -l pid-netns -d 'Only the network namespace of this process' -r
complete -c qdiscdrop -l by -d 'What -c counts by' -r -f -a "flow\t''
qdisc\t''
device\t''
cgroup\t''
process\t''
reason\t''"
complete -c qdiscdrop -l top -d 'How many lines a report of -c has' -r
complete -c qdiscdrop -l duration -d 'End after this many seconds' -r
complete -c qdiscdrop -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c qdiscdrop -s b -l backlog -d 'With packets and bytes in the qdisc at the drop, and its limit'
complete -c qdiscdrop -s 4 -l ipv4 -d 'Only IPv4'
complete -c qdiscdrop -s 6 -l ipv6 -d 'Only IPv6'
complete -c qdiscdrop -l stack -d 'With the kernel stack of each drop'
complete -c qdiscdrop -s c -l summary -d 'Count instead: a report per interval'
complete -c qdiscdrop -l json -d 'One JSON object per line'
complete -c qdiscdrop -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c qdiscdrop -s h -l help -d 'Print help'
complete -c qdiscdrop -s V -l version -d 'Print version'
