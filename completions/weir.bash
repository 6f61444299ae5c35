# SPDX-License-Identifier: Apache-2.0
# bash completion for weir(1)
# shellcheck shell=bash

_weir() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
    local verbs='run check explain proxy sidecar reload plan top probe drain why schema version help'
    COMPREPLY=()

    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
        return
    fi
    case $verb:$prev in
    *:-c | run:--config-cache | run:--ready-file | proxy:--ready-file | sidecar:--ready-file)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    run:--config-from | run:--config-wait | proxy:--from | proxy:--to | *:--admin | *:--within | *:--settle | \
        reload:--canary | reload:--for | reload:--guard) return ;;
    esac
    case $verb in
    run) mapfile -t COMPREPLY < <(compgen -W '-c --config-from --config-cache --config-wait --ready-file' -- "$cur") ;;
    schema) mapfile -t COMPREPLY < <(compgen -W '--man' -- "$cur") ;;
    version) mapfile -t COMPREPLY < <(compgen -W '--json' -- "$cur") ;;
    check)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur"; compgen -W '--dump --no-files' -- "$cur")
        ;;
    explain)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur"
            compgen -W '-X -H --client --listener --all --json --admin -c' -- "$cur")
        ;;
    proxy) mapfile -t COMPREPLY < <(compgen -W '--from --to --ready-file' -- "$cur") ;;
    sidecar)
        mapfile -t COMPREPLY < <(compgen -W '--app --to --in --out --admin --print --ready-file' -- "$cur")
        ;;
    reload) mapfile -t COMPREPLY < <(compgen -W '--canary --for --guard --admin -c' -- "$cur") ;;
    plan)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$cur"; compgen -W '--json --admin -c' -- "$cur")
        ;;
    probe) mapfile -t COMPREPLY < <(compgen -W 'live ready --within --admin -c' -- "$cur") ;;
    top) mapfile -t COMPREPLY < <(compgen -W '--every --once --admin -c' -- "$cur") ;;
    why) mapfile -t COMPREPLY < <(compgen -W '--json --admin -c' -- "$cur") ;;
    drain) mapfile -t COMPREPLY < <(compgen -W '--settle --within --admin -c' -- "$cur") ;;
    help)
        [ "$COMP_CWORD" -ne 2 ] || mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
        ;;
    esac
}
complete -F _weir weir
