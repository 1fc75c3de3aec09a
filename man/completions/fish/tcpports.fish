complete -c tcpports -l by -d 'Whose ports are counted together' -r -f -a "netns\t'The network namespace'
laddr\t'The local address'
raddr\t'The remote end, and the local address that it is reached from'
process\t'The process that has or has closed the sockets'
cgroup\t'The cgroup of the sockets'"
complete -c tcpports -l top -d 'How many of these are shown: those that use the most' -r
complete -c tcpports -l warn -d 'Warn when so many percent of the ports are in use' -r
complete -c tcpports -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcpports -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcpports -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcpports -l duration -d 'End after this many seconds' -r
complete -c tcpports -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpports -s T -l time -d 'Include the time of day (HH:MM:SS)'
complete -c tcpports -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpports -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpports -l json -d 'One JSON object per line'
complete -c tcpports -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpports -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tcpports -s V -l version -d 'Print version'
