complete -c runqlat -s p -l pid -d 'Only this process' -r
complete -c runqlat -s c -d 'As --cgroup' -r -f -a "(__fish_complete_directories)"
complete -c runqlat -l duration -d 'End after this many seconds' -r
complete -c runqlat -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c runqlat -s T -l timestamp -d 'Include the time of day (HH:MM:SS)'
complete -c runqlat -s m -l milliseconds -d 'Latencies in milliseconds'
complete -c runqlat -s P -l pids -d 'One histogram per process'
complete -c runqlat -l pidnss -d 'One histogram per PID namespace'
complete -c runqlat -s L -l tids -d 'One histogram per thread'
complete -c runqlat -l percentiles -d 'The median and other percentiles of each histogram as well'
complete -c runqlat -l json -d 'One JSON object per line'
complete -c runqlat -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c runqlat -s h -l help -d 'Print help'
complete -c runqlat -s V -l version -d 'Print version'
