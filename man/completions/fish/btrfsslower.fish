complete -c btrfsslower -s p -l pid -d 'Only this process' -r
complete -c btrfsslower -s m -l min -d 'As min_ms' -r
complete -c btrfsslower -s d -l duration -d 'End after this many seconds' -r
complete -c btrfsslower -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c btrfsslower -s j -l csv -d 'Comma-separated values'
complete -c btrfsslower -l json -d 'One JSON object per line'
complete -c btrfsslower -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c btrfsslower -s h -l help -d 'Print help'
complete -c btrfsslower -s V -l version -d 'Print version'
