complete -c execsnoop -l cgroupmap -d 'Only tasks whose cgroup id is a key of this pinned BPF hash map' -r -F
complete -c execsnoop -l mntnsmap -d 'Only tasks whose mount namespace is a key of this pinned BPF hash map' -r -F
complete -c execsnoop -s u -l uid -d 'Only this user, by id or name' -r
complete -c execsnoop -s n -l name -d 'Only commands whose name (COMM) this regular expression matches' -r
complete -c execsnoop -s l -l line -d 'Only commands whose arguments, with blanks between them, this regular expression matches' -r
complete -c execsnoop -l max-args -d 'How many arguments are shown, the command\'s own name being the first' -r
complete -c execsnoop -s P -l ppid -d 'Only processes with this parent' -r
complete -c execsnoop -l duration -d 'End after this many seconds' -r
complete -c execsnoop -s c -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c execsnoop -s T -l time -d 'Include the time of day'
complete -c execsnoop -s t -l timestamp -d 'Include the seconds since the tool was ready'
complete -c execsnoop -s x -l fails -d 'Include failed calls'
complete -c execsnoop -s q -l quote -d 'Put each argument in double quotes'
complete -c execsnoop -s U -l print-uid -d 'Include the user id'
complete -c execsnoop -s C -l print-cpu -d 'Include the CPU'
complete -c execsnoop -s M -l print-pcomm -d 'Include the name of the parent'
complete -c execsnoop -l json -d 'One JSON object per line'
complete -c execsnoop -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c execsnoop -s h -l help -d 'Print help'
complete -c execsnoop -s V -l version -d 'Print version'
