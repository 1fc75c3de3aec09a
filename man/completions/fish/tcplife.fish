complete -c tcplife -s p -l pid -d 'Only sessions of this process' -r
complete -c tcplife -s L -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcplife -s D -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcplife -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcplife -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcplife -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcplife -l duration -d 'End after this many seconds' -r
complete -c tcplife -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcplife -s T -l time -d 'Include the time of day (HH:MM:SS)'
complete -c tcplife -s t -l timestamp -d 'Include the seconds since the first event'
complete -c tcplife -s w -l wide -d 'Wide columns (fit IPv6 addresses)'
complete -c tcplife -s s -l csv -d 'Comma separated values'
complete -c tcplife -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcplife -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcplife -l json -d 'One JSON object per line'
complete -c tcplife -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcplife -s h -l help -d 'Print help'
complete -c tcplife -s V -l version -d 'Print version'
