complete -c bitesize -s c -l comm -d 'Only processes whose names begin so' -r
complete -c bitesize -s d -l disk -d 'Only this disk or partition: a name below /dev' -r
complete -c bitesize -l duration -d 'End after this many seconds' -r
complete -c bitesize -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c bitesize -s T -l timestamp -d 'Include the time of day (HH:MM:SS)'
complete -c bitesize -l percentiles -d 'The median and other percentiles of each histogram as well'
complete -c bitesize -l json -d 'One JSON object per line'
complete -c bitesize -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c bitesize -s h -l help -d 'Print help'
complete -c bitesize -s V -l version -d 'Print version'
