complete -c tcpaccept -s p -l pid -d 'Only this process' -r
complete -c tcpaccept -l uid -d 'Only this user id' -r
complete -c tcpaccept -s P -l port -d 'Only these local ports, as a comma list' -r
complete -c tcpaccept -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcpaccept -l cgroupmap -d 'Only tasks whose cgroup id is a key of this pinned BPF hash map' -r -F
complete -c tcpaccept -l mntnsmap -d 'Only tasks whose mount namespace is a key of this pinned BPF hash map' -r -F
complete -c tcpaccept -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcpaccept -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcpaccept -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcpaccept -l duration -d 'End after this many seconds' -r
complete -c tcpaccept -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpaccept -s T -l time -d 'Include the time of day (HH:MM:SS)'
complete -c tcpaccept -s t -l timestamp -d 'Include the seconds since the first event'
complete -c tcpaccept -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpaccept -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpaccept -l json -d 'One JSON object per line'
complete -c tcpaccept -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpaccept -s h -l help -d 'Print help'
complete -c tcpaccept -s V -l version -d 'Print version'
