complete -c fileslower -s p -l pid -d 'Only this process' -r
complete -c fileslower -l duration -d 'End after this many seconds' -r
complete -c fileslower -l cgroup -d 'Only what belongs to this cgroup (a directory of cgroup v2) or to a cgroup below it' -r -f -a "(__fish_complete_directories)"
complete -c fileslower -s a -l all-files -d 'Also what is no regular file: sockets, devices and the like'
complete -c fileslower -l json -d 'One JSON object per line'
complete -c fileslower -s v -l verbose -d 'Tell on stderr which kernel hooks are used, and when they are attached'
complete -c fileslower -s h -l help -d 'Print help'
complete -c fileslower -s V -l version -d 'Print version'
