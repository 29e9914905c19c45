#!/usr/bin/env bash
# Succeeds from PROOFS_UNTIL on, in seconds since 1970, which CI sets: no further proof is begun then that takes minutes, since a
# run that does not end in time counts for nothing. Never without it. Who asks says loudly what is left out.
[ "$(date +%s)" -ge "${PROOFS_UNTIL:-9999999999}" ]
