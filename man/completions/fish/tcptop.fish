complete -c tcptop -s p -l pid -d 'Only calls of this process' -r
complete -c tcptop -s s -l sort -d 'What the sessions are sorted by' -r -f -a "all\t''
sent\t''
received\t''"
complete -c tcptop -s r -l rows -d 'No more sessions than this' -r
complete -c tcptop -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcptop -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcptop -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcptop -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcptop -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcptop -l cgroupmap -d 'Only tasks whose cgroup id is a key of this pinned BPF hash map' -r -F
complete -c tcptop -l mntnsmap -d 'Only tasks whose mount namespace is a key of this pinned BPF hash map' -r -F
complete -c tcptop -s c -d 'As --cgroup' -r -f -a "(__fish_complete_directories)"
complete -c tcptop -l duration -d 'End after this many seconds' -r
complete -c tcptop -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcptop -s C -l noclear -d 'Do not clear the screen'
complete -c tcptop -s S -l nosummary -d 'Leave out the line with the time and the load averages'
complete -c tcptop -l calls -d 'Count what the processes\' calls have sent and received, not what the sockets have carried'
complete -c tcptop -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcptop -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcptop -l json -d 'One JSON object per line'
complete -c tcptop -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcptop -s h -l help -d 'Print help'
complete -c tcptop -s V -l version -d 'Print version'
