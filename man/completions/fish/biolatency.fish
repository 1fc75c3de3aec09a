complete -c biolatency -s d -l disk -d 'Only this disk or partition: a name below /dev' -r
complete -c biolatency -l duration -d 'End after this many seconds' -r
complete -c biolatency -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c biolatency -s T -l timestamp -d 'Include the time of day (HH:MM:SS)'
complete -c biolatency -s Q -l queued -d 'Include the time that the I/O was queued in the operating system'
complete -c biolatency -s m -l milliseconds -d 'Latencies in milliseconds'
complete -c biolatency -s u -l microseconds -d 'Latencies in microseconds (the default)'
complete -c biolatency -s D -l disks -d 'One histogram per disk'
complete -c biolatency -s F -l flags -d 'One histogram per set of I/O flags'
complete -c biolatency -s e -l extension -d 'Average, total and count as well'
complete -c biolatency -l percentiles -d 'The median and other percentiles of each histogram as well'
complete -c biolatency -s j -d 'Python dictionaries, as the classic\'s --json'
complete -c biolatency -l heatmap -d 'A line per interval (1 second if none is given) with a mark for each range of latencies, by how many I/Os there were; in colours on a terminal'
complete -c biolatency -l json -d 'One JSON object per line'
complete -c biolatency -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c biolatency -s h -l help -d 'Print help'
complete -c biolatency -s V -l version -d 'Print version'
