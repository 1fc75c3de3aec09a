complete -c profile -s p -l pid -d 'Only these processes, as a comma list' -r
complete -c profile -s L -l tid -d 'Only these threads, as a comma list' -r
complete -c profile -s F -l frequency -d 'Samples per second on each CPU (default: 49)' -r
complete -c profile -s c -l count -d 'Sample every so many events of the CPU\'s clock, which are nanoseconds' -r
complete -c profile -l flamegraph -d 'Draw a flame graph in this file when the profile is done' -r -F
complete -c profile -l stack-storage-size -d 'The number of unique stack traces that can be stored and displayed' -r
complete -c profile -l perf-max-stack-depth -d 'Frames of a stack that are kept, of kernel and user space each' -r
complete -c profile -s C -l cpu -d 'CPU number to run profile on' -r
complete -c profile -l cgroupmap -d 'Only tasks whose cgroup id is a key of this pinned BPF hash map' -r -F
complete -c profile -l mntnsmap -d 'Only tasks whose mount namespace is a key of this pinned BPF hash map' -r -F
complete -c profile -l duration -d 'End after this many seconds' -r
complete -c profile -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c profile -s U -l user-stacks-only -d 'Show stacks from user space only (no kernel space stacks)'
complete -c profile -s K -l kernel-stacks-only -d 'Show stacks from kernel space only (no user space stacks)'
complete -c profile -s d -l delimited -d 'Insert delimiter between kernel/user stacks'
complete -c profile -s a -l annotations -d 'Add _[k] annotations to kernel frames'
complete -c profile -s I -l include-idle -d 'Include CPU idle stacks'
complete -c profile -s f -l folded -d 'Output folded format, one line per stack (for flame graphs)'
complete -c profile -l json -d 'One JSON object per line'
complete -c profile -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c profile -s h -l help -d 'Print help'
complete -c profile -s V -l version -d 'Print version'
