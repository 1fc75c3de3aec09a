complete -c tcpconnect -s p -l pid -d 'Only this process' -r
complete -c tcpconnect -s P -l port -d 'Only these destination ports, as a comma list' -r
complete -c tcpconnect -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcpconnect -s u -l uid -d 'Only this user id' -r
complete -c tcpconnect -l cgroupmap -d 'Only tasks whose cgroup id is a key of this pinned BPF hash map' -r -F
complete -c tcpconnect -l mntnsmap -d 'Only tasks whose mount namespace is a key of this pinned BPF hash map' -r -F
complete -c tcpconnect -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcpconnect -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcpconnect -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcpconnect -l duration -d 'End after this many seconds' -r
complete -c tcpconnect -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpconnect -s t -l timestamp -d 'Include the seconds since the first event'
complete -c tcpconnect -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpconnect -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpconnect -s L -l lport -d 'Include the local port; -s and --source-port, as in libbpf-tools, do the same'
complete -c tcpconnect -s U -l print-uid -d 'Include the user id'
complete -c tcpconnect -s c -l count -d 'Count connects per source address, destination address and port, until the end; with -L per local port as well, while -t and -U say nothing then'
complete -c tcpconnect -s d -l dns -d 'Include the name that the address was the DNS answer to'
complete -c tcpconnect -l json -d 'One JSON object per line'
complete -c tcpconnect -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpconnect -s h -l help -d 'Print help'
complete -c tcpconnect -s V -l version -d 'Print version'
