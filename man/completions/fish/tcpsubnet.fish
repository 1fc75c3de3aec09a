complete -c tcpsubnet -s f -l format -d 'The unit of the counts: bits, Kibit, Mibit, bytes, KiB, MiB' -r -f -a "b\t''
k\t''
m\t''
B\t''
K\t''
M\t''"
complete -c tcpsubnet -s i -l interval -d 'Seconds between reports' -r
complete -c tcpsubnet -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcpsubnet -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcpsubnet -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcpsubnet -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcpsubnet -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcpsubnet -l duration -d 'End after this many seconds' -r
complete -c tcpsubnet -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpsubnet -s J -d 'As --json'
complete -c tcpsubnet -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpsubnet -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpsubnet -l json -d 'One JSON object per line'
complete -c tcpsubnet -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpsubnet -s h -l help -d 'Print help'
complete -c tcpsubnet -s V -l version -d 'Print version'
