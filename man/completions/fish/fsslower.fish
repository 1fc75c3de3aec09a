complete -c fsslower -s t -l type -d 'Which file system to trace' -r -f -a "btrfs\t''
ext4\t''
fuse\t''
nfs\t''
xfs\t''
f2fs\t''
bcachefs\t''
zfs\t''"
complete -c fsslower -s p -l pid -d 'Only this process' -r
complete -c fsslower -s m -l min -d 'Only operations that take longer than this many milliseconds; 0: all' -r
complete -c fsslower -s d -l duration -d 'End after this many seconds' -r
complete -c fsslower -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c fsslower -s c -l csv -d 'Comma-separated values'
complete -c fsslower -l json -d 'One JSON object per line'
complete -c fsslower -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c fsslower -s h -l help -d 'Print help'
complete -c fsslower -s V -l version -d 'Print version'
