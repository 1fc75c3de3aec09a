complete -c opensnoop -s p -l pid -d 'Only this process' -r
complete -c opensnoop -s t -l tid -d 'Only this thread' -r
complete -c opensnoop -s u -l uid -d 'Only this user id' -r
complete -c opensnoop -l cgroupmap -d 'Only tasks whose cgroup id is a key of this pinned BPF hash map' -r -F
complete -c opensnoop -l mntnsmap -d 'Only tasks whose mount namespace is a key of this pinned BPF hash map' -r -F
complete -c opensnoop -s d -l duration -d 'End after this many seconds' -r
complete -c opensnoop -s n -l name -d 'Only processes with NAME in their name; with any of *?[ a glob that the name of the process or of the file matches' -r
complete -c opensnoop -s f -l flag_filter -d 'Only opens with this flag (O_WRONLY, O_CREAT, ...) or another that is given' -r
complete -c opensnoop -s b -l buffer-pages -d 'Size of the ring buffer in pages, a power of two [default: 2 MiB; the classic\'s was 64 pages]' -r
complete -c opensnoop -l exec -d 'Run this command, trace just its process, end with it; takes the rest of the line' -r
complete -c opensnoop -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c opensnoop -s T -l timestamp -d 'Include the seconds since the first event'
complete -c opensnoop -s U -l print-uid -d 'Include the user id'
complete -c opensnoop -s x -l failed -d 'Only show failed opens'
complete -c opensnoop -s e -l extended_fields -d 'Include the flags and the mode'
complete -c opensnoop -s F -l full-path -d 'Show relative paths in full, by the directory they are relative to'
complete -c opensnoop -l json -d 'One JSON object per line'
complete -c opensnoop -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c opensnoop -s h -l help -d 'Print help'
complete -c opensnoop -s V -l version -d 'Print version'
