complete -c xfsslower -s p -l pid -d 'Only this process' -r
complete -c xfsslower -s m -l min -d 'As min_ms' -r
complete -c xfsslower -s d -l duration -d 'End after this many seconds' -r
complete -c xfsslower -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c xfsslower -s j -l csv -d 'Comma-separated values'
complete -c xfsslower -l json -d 'One JSON object per line'
complete -c xfsslower -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c xfsslower -s h -l help -d 'Print help'
complete -c xfsslower -s V -l version -d 'Print version'
