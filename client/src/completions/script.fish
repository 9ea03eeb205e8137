# fish completion for vsock-shell. The client knows what can stand where, and is asked; this only shows it.

function __vsock_shell_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    if string match -qr '^["\']' -- $current
        set current (string sub -s 2 -- $current)
    else
        set current (string unescape -- $current; or echo $current)
    end
    type -q $words[1]; or return
    for line in (command $words[1] completions -- $words[2..] "$current" 2>/dev/null)
        set -l rest (string sub -s 2 -- $line)
        switch $line
            case '/*'
                # What stands before the file's name is no part of it.
                set -l typed (string sub -s (math (string length -- "$rest") + 1) -- $current)
                for file in (__fish_complete_path "$typed")
                    printf '%s%s\n' "$rest" $file
                end
            case '=*' '+*'
                printf '%s\n' $rest
        end
    end
end

complete -c vsock-shell -f -a '(__vsock_shell_complete)'
