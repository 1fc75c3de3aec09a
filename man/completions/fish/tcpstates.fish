complete -c tcpstates -s L -l localport -d 'Only these local ports, as a comma list' -r
complete -c tcpstates -s D -l remoteport -d 'Only these remote ports, as a comma list' -r
complete -c tcpstates -l duration -d 'End after this many seconds' -r
complete -c tcpstates -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcpstates -s T -l time -d 'Include the time of day (HH:MM:SS)'
complete -c tcpstates -s t -l timestamp -d 'Include the seconds since the first event'
complete -c tcpstates -s w -l wide -d 'Wide columns (fit IPv6 addresses)'
complete -c tcpstates -s s -l csv -d 'Comma separated values'
complete -c tcpstates -s Y -l journal -d 'Log the events to the systemd journal as well'
complete -c tcpstates -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcpstates -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcpstates -l json -d 'One JSON object per line'
complete -c tcpstates -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcpstates -s h -l help -d 'Print help'
complete -c tcpstates -s V -l version -d 'Print version'
