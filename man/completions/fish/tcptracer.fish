complete -c tcptracer -s p -l pid -d 'Only this process' -r
complete -c tcptracer -s u -l uid -d 'Only this user id' -r
complete -c tcptracer -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcptracer -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcptracer -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcptracer -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcptracer -l duration -d 'End after this many seconds' -r
complete -c tcptracer -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcptracer -s N -l netns -d 'Only this network namespace, by its inode number' -r
complete -c tcptracer -s C -l cgroupmap -d 'Only tasks whose cgroup id is a key of this pinned BPF hash map' -r -F
complete -c tcptracer -s M -l mntnsmap -d 'Only tasks whose mount namespace is a key of this pinned BPF hash map' -r -F
complete -c tcptracer -s t -l timestamp -d 'Include the time since the first event'
complete -c tcptracer -s v -l verbose -d 'Long names of what happens, nanoseconds, and a column of network namespaces'
complete -c tcptracer -s U -l print-uid -d 'Include the user id'
complete -c tcptracer -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcptracer -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcptracer -l json -d 'One JSON object per line'
complete -c tcptracer -l hooks -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcptracer -s h -l help -d 'Print help'
complete -c tcptracer -s V -l version -d 'Print version'
