complete -c zfsslower -s p -l pid -d 'Only this process' -r
complete -c zfsslower -s m -l min -d 'As min_ms' -r
complete -c zfsslower -s d -l duration -d 'End after this many seconds' -r
complete -c zfsslower -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c zfsslower -s j -l csv -d 'Comma-separated values'
complete -c zfsslower -l json -d 'One JSON object per line'
complete -c zfsslower -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c zfsslower -s h -l help -d 'Print help'
complete -c zfsslower -s V -l version -d 'Print version'
