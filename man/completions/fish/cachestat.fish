complete -c cachestat -l duration -d 'End after this many seconds' -r
complete -c cachestat -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c cachestat -s T -l timestamp -d 'Include the time of day (HH:MM:SS)'
complete -c cachestat -l json -d 'One JSON object per line'
complete -c cachestat -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c cachestat -s h -l help -d 'Print help'
complete -c cachestat -s V -l version -d 'Print version'
