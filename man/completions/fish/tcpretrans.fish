complete -c tcpretrans -s L -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcpretrans -s D -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcpretrans -s i -d 'As --addr' -r
complete -c tcpretrans -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcpretrans -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcpretrans -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcpretrans -l duration -d 'End after this many seconds' -r
complete -c tcpretrans -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpretrans -s s -l sequence -d 'Include a column with the TCP sequence number'
complete -c tcpretrans -s l -l lossprobe -d 'Include tail loss probe attempts (type L)'
complete -c tcpretrans -s c -l count -d 'Count the retransmits of each flow, and print when interrupted'
complete -c tcpretrans -l synack -d 'Include SYN-ACKs that are sent again (type S)'
complete -c tcpretrans -l unsent -d 'Include attempts that sent nothing (type F)'
complete -c tcpretrans -l owner -d 'Include the process that owns the socket'
complete -c tcpretrans -l stack -d 'Print the kernel stack of each event'
complete -c tcpretrans -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpretrans -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpretrans -l json -d 'One JSON object per line'
complete -c tcpretrans -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpretrans -s h -l help -d 'Print help'
complete -c tcpretrans -s V -l version -d 'Print version'
