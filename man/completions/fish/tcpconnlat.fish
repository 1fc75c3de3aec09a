complete -c tcpconnlat -s p -l pid -d 'Only this process' -r
complete -c tcpconnlat -l histogram -d 'A histogram of the latencies with percentiles instead of rows: every so many seconds, or one at the end' -r
complete -c tcpconnlat -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcpconnlat -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcpconnlat -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcpconnlat -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcpconnlat -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcpconnlat -l duration -d 'End after this many seconds' -r
complete -c tcpconnlat -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpconnlat -s t -l timestamp -d 'Include the seconds since the first event'
complete -c tcpconnlat -s L -l lport -d 'Include the local port'
complete -c tcpconnlat -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpconnlat -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpconnlat -s v -d 'Print the BPF program, then trace'
complete -c tcpconnlat -l failed -d 'Show connects that fail without an answer as well, and why'
complete -c tcpconnlat -l json -d 'One JSON object per line'
complete -c tcpconnlat -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpconnlat -s h -l help -d 'Print help'
complete -c tcpconnlat -s V -l version -d 'Print version'
