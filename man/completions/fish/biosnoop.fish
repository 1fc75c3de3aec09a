complete -c biosnoop -s d -l disk -d 'Only this disk or partition: a name below /dev' -r
complete -c biosnoop -s m -l min -d 'Only I/O that takes at least this many milliseconds' -r
complete -c biosnoop -s c -d 'As --cgroup' -r -f -a "(__fish_complete_directories)"
complete -c biosnoop -l duration -d 'End after this many seconds' -r
complete -c biosnoop -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c biosnoop -s Q -l queue -d 'Include the time that the I/O was queued in the operating system'
complete -c biosnoop -s P -l pattern -d 'Include the pattern of the disk\'s I/O: S sequential, R random'
complete -c biosnoop -s t -l timestamp -d 'The time of day (HH:MM:SS.mmm) instead of the seconds since the first I/O'
complete -c biosnoop -l json -d 'One JSON object per line'
complete -c biosnoop -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c biosnoop -s h -l help -d 'Print help'
complete -c biosnoop -s V -l version -d 'Print version'
