# Completion of rtcrelay for bash. Made by 'rtcrelay completion bash'.
_rtcrelay_completion() {
    local IFS=$'\n' cur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD
    local -a words=("${COMP_WORDS[@]}")
    # ':' breaks bash's words, so an ip:port would come in three; bash-completion puts it together again.
    if declare -F _get_comp_words_by_ref > /dev/null; then
        _get_comp_words_by_ref -n : cur words cword
    fi
    COMPREPLY=($(env COMP_WORDS="${words[*]}" COMP_CWORD="$cword" _RTCRELAY_COMPLETE=complete_bash "$1"))
    if declare -F __ltrim_colon_completions > /dev/null; then
        __ltrim_colon_completions "$cur"
    fi
}
complete -o default -F _rtcrelay_completion rtcrelay
