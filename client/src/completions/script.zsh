#compdef vsock-shell
# zsh completion for vsock-shell. The client knows what can stand where, and is asked; this only shows it.

_vsock_shell() {
    local -a whole open before
    local line word about start has_files= found=1
    before=("${(@Q)words[2,CURRENT-1]}")
    for line in "${(@f)$(${~words[1]} completions -- "${before[@]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        word=${${line%%$'\t'*}[2,-1]}
        about=${line#*$'\t'}
        case $line in
            '='*) whole+=("${word//:/\\:}:$about") ;;
            '+'*) open+=("${word//:/\\:}:$about") ;;
            '/'*)
                has_files=yes
                start=${line[2,-1]}
                ;;
        esac
    done
    (($#whole)) && _describe -t words 'word' whole && found=0
    (($#open)) && _describe -t beginnings 'beginning' open -S '' && found=0
    if [[ -n $has_files ]]; then
        # What stands before the file's name is no part of it.
        compset -P "${(b)start}"
        _files && found=0
    fi
    return found
}

if [[ $funcstack[1] == _vsock-shell ]]; then
    _vsock_shell "$@"
else
    compdef _vsock_shell vsock-shell
fi
