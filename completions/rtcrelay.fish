# Completion of rtcrelay for fish. Made by 'rtcrelay completion fish'.
function __rtcrelay_complete
    env _RTCRELAY_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] \
        _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) rtcrelay
end
complete --command rtcrelay --no-files --arguments '(__rtcrelay_complete get-args)' \
    --condition '__rtcrelay_complete is-args'
