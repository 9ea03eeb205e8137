# bash completion for vsock-shell. The client knows what can stand where, and is asked; this only shows it.
# shellcheck shell=bash

_vsock_shell() {
    local words=() rest=$COMP_LINE index tail current answer line start file has_files=
    # Where bash has cut words apart at =, : or @, no blank stands between them in the line.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        if ((index == 0)) || [[ $rest == [[:blank:]]* ]]; then
            words+=("")
        fi
        rest=${rest#"${rest%%[![:blank:]]*}"}
        rest=${rest#"${COMP_WORDS[index]}"}
        words[${#words[@]} - 1]+=${COMP_WORDS[index]}
    done
    # What stands behind the cursor is no part of the word.
    tail=${COMP_LINE:COMP_POINT}
    tail=${tail%%[[:blank:]]*}
    current=${words[${#words[@]} - 1]}
    current=${current%"$tail"}
    words[${#words[@]} - 1]=$current
    # What is put into the line takes the place of what bash takes for the word.
    local breaks=${COMP_WORDBREAKS//[^=:@]/} cut=
    [[ -z $breaks ]] || cut=${current%"${current##*[$breaks]}"}
    # Of these an @ is taken for the beginning of a word.
    cut=${cut%@}

    COMPREPLY=()
    answer=$("${words[0]/#\~\//$HOME/}" completions -- "${words[@]:1}" 2>/dev/null) || return
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        case $line in
            =*) line="${line#=} " ;;
            +*) line=${line#+} ;;
            /*)
                has_files=yes
                start=${line#/}
                continue
                ;;
            *) continue ;;
        esac
        if [[ $line == "$current"* ]]; then
            COMPREPLY+=("${line#"$cut"}")
        fi
    done <<<"$answer"
    if [[ -n $has_files && -z $start && ${#COMPREPLY[@]} -eq 0 ]]; then
        # bash does that itself, with its quotes and tildes, wherever there are only files.
        compopt -o default 2>/dev/null
        return
    fi
    if [[ -n $has_files ]]; then
        local typed=${current#"$start"} plain
        plain=${typed//\\/}
        while IFS= read -r file; do
            [[ $file == "$plain"* ]] || continue
            [[ -d ${file/#\~\//$HOME/} ]] && tail=/ || tail=' '
            file=${file#"$plain"}
            [[ -z $file ]] || printf -v file %q "$file"
            line=$start$typed$file$tail
            COMPREPLY+=("${line#"$cut"}")
        done < <(compgen -f -- "$plain")
    fi
    compopt -o nospace 2>/dev/null
}

complete -F _vsock_shell vsock-shell
