complete -c tcprtt -s i -l interval -d 'Seconds between reports' -r
complete -c tcprtt -s d -l duration -d 'End after this many seconds' -r
complete -c tcprtt -s p -l lport -d 'Only these local ports, as a comma list' -r
complete -c tcprtt -s P -l rport -d 'Only these remote ports, as a comma list' -r
complete -c tcprtt -s a -l laddr -d 'Only connections of this local address' -r
complete -c tcprtt -s A -l raddr -d 'Only connections to this remote address' -r
complete -c tcprtt -l addr -d 'Only flows with an end at this address or in this network' -r
complete -c tcprtt -l netns-id -d 'Only this network namespace, by its inode number' -r
complete -c tcprtt -l pid-netns -d 'Only the network namespace of this process' -r
complete -c tcprtt -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c tcprtt -s T -l timestamp -d 'Include the time of day (HH:MM:SS)'
complete -c tcprtt -s m -l milliseconds -d 'Round-trip times in milliseconds'
complete -c tcprtt -s b -l byladdr -d 'One histogram per local address'
complete -c tcprtt -s B -l byraddr -d 'One histogram per remote address'
complete -c tcprtt -s e -l extension -d 'With the average of each histogram'
complete -c tcprtt -l percentiles -d 'The median and other percentiles of each histogram as well'
complete -c tcprtt -s D -l debug -d 'As --verbose'
complete -c tcprtt -s 4 -l ipv4 -d 'Only IPv4'
complete -c tcprtt -s 6 -l ipv6 -d 'Only IPv6'
complete -c tcprtt -l json -d 'One JSON object per line'
complete -c tcprtt -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c tcprtt -s h -l help -d 'Print help'
complete -c tcprtt -s V -l version -d 'Print version'
