complete -c f2fsslower -s p -l pid -d 'Only this process' -r
complete -c f2fsslower -s m -l min -d 'As min_ms' -r
complete -c f2fsslower -s d -l duration -d 'End after this many seconds' -r
complete -c f2fsslower -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c f2fsslower -s j -l csv -d 'Comma-separated values'
complete -c f2fsslower -l json -d 'One JSON object per line'
complete -c f2fsslower -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c f2fsslower -s h -l help -d 'Print help'
complete -c f2fsslower -s V -l version -d 'Print version'
