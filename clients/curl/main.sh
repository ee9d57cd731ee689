#!/usr/bin/env bash
# Sends one notification, or receives and prints: `main.sh send USER ID KEY DATA`, `main.sh receive`.
set -u
# shellcheck source=clients/curl/client.sh
source "$(dirname "${BASH_SOURCE[0]}")/client.sh"

BASE="http://$ADDRESS"
# TLS, with the authorities that are believed, and a certificate of the client's own for mTLS.
if [[ -n ${CA_FILE-} ]]; then
  BASE="https://$ADDRESS"
  curl_options=(--cacert "$CA_FILE" ${CERT_FILE:+--cert "$CERT_FILE" --key "$KEY_FILE"})
fi

# Whoever renews the token writes the new one there.
read_token() {
  cat "$TOKEN_FILE"
}

handle() {
  local words
  case $1 in
    expired) words='empty' ;;
    ready) words='.resumeSequence // "0"' ;;
    notification) words='.sequence // "0", .clientMsgID, .key, .data // ""' ;;
    message) words='.notification.sequence, .notification.clientMsgID, .conversationID' ;;
    recall | settled) words='.sequence, .clientMsgID' ;;
    gap) words='.to, .reason' ;;
  esac
  local kind=$1
  [[ $kind == notification && $(jq 'has("sequence")' <<<"$2") == false ]] && kind=push
  jq -r --arg kind "$kind" "[\$kind, $words] | join(\"\\t\")" <<<"$2"
}

case $1 in
  send)
    if send "$2" "$3" "$4" "$5"; then
      jq -r '["sent", .clientMsgID, .serverMsgID] | join("\t")' <<<"$sent"
    else
      printf 'error\t%s\t%s\t%s\n' "$err_code" "$err_msg" "$err_fields"
      exit 1
    fi
    ;;
  receive)
    receive "$DEVICE_ID" "$STATE_FILE"
    printf 'ended\t%s\t%s\n' "$err_code" "$err_msg"
    exit 1
    ;;
esac
