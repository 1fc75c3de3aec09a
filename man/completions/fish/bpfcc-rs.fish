# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_bpfcc_rs_global_optspecs
    string join \n h/help V/version
end

function __fish_bpfcc_rs_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_bpfcc_rs_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_bpfcc_rs_using_subcommand
    set -l cmd (__fish_bpfcc_rs_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c bpfcc-rs -n "__fish_bpfcc_rs_needs_command" -s h -l help -d 'Print help'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_needs_command" -s V -l version -d 'Print version'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_needs_command" -f -a "list" -d 'List the tools by subsystem, with a line each'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_needs_command" -f -a "run" -d 'Run a tool'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_needs_command" -f -a "doctor" -d 'Tell what this kernel offers, and which tools work by which hooks'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand list" -l names -d 'Only the names, one per line'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand list" -s h -l help -d 'Print help'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand run" -s h -l help -d 'Print help'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand doctor" -l json -d 'One JSON object'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand help; and not __fish_seen_subcommand_from list run doctor help" -f -a "list" -d 'List the tools by subsystem, with a line each'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand help; and not __fish_seen_subcommand_from list run doctor help" -f -a "run" -d 'Run a tool'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand help; and not __fish_seen_subcommand_from list run doctor help" -f -a "doctor" -d 'Tell what this kernel offers, and which tools work by which hooks'
complete -c bpfcc-rs -n "__fish_bpfcc_rs_using_subcommand help; and not __fish_seen_subcommand_from list run doctor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
