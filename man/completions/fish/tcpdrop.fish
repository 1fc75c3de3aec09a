complete -c tcpdrop -s L -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcpdrop -s D -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcpdrop -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcpdrop -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcpdrop -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcpdrop -l reason -d 'Only drops for these reasons, as a comma list' -r
complete -c tcpdrop -l exclude-reason -d 'All but drops for these reasons, as a comma list' -r
complete -c tcpdrop -l duration -d 'End after this many seconds' -r
complete -c tcpdrop -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpdrop -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpdrop -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpdrop -s c -l count -d 'Count drops by reason and place; print the counts at the end'
complete -c tcpdrop -l owner -d 'The process that owns the socket, beside the one on the CPU'
complete -c tcpdrop -l json -d 'One JSON object per line'
complete -c tcpdrop -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpdrop -s h -l help -d 'Print help'
complete -c tcpdrop -s V -l version -d 'Print version'
