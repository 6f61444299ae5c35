# SPDX-License-Identifier: Apache-2.0
# bash completion for weir(1)
# shellcheck shell=bash

_weir() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
    local verbs='run check proxy schema version help'
    COMPREPLY=()

    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
        return
    fi
    case $verb:$prev in
    run:-c | run:--ready-file | proxy:--ready-file)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    proxy:--from | proxy:--to) return ;;
    esac
    case $verb in
    run) mapfile -t COMPREPLY < <(compgen -W '-c --ready-file' -- "$cur") ;;
    schema) mapfile -t COMPREPLY < <(compgen -W '--man' -- "$cur") ;;
    version) mapfile -t COMPREPLY < <(compgen -W '--json' -- "$cur") ;;
    check)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur"; compgen -W '--dump --no-files' -- "$cur")
        ;;
    proxy) mapfile -t COMPREPLY < <(compgen -W '--from --to --ready-file' -- "$cur") ;;
    help)
        [ "$COMP_CWORD" -ne 2 ] || mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
        ;;
    esac
}
complete -F _weir weir
