# shellcheck shell=bash
# Sends, and receives on for as long as the device lives, with curl and jq: what a script copies.
# It needs BASE, such as http://127.0.0.1:10002, and the functions read_token, which prints the token, and
# handle KIND JSON, which gets each event once, in order. curl_options may hold options of curl's, such as those of TLS.

# How long one attempt to send may take, and all of them together, in seconds.
attempt_timeout=10
send_timeout=60
# The delays before connecting or sending again, in milliseconds: doubled each time, random in part.
min_delay=500
max_delay=30000
# A stream that is silent for three heartbeats of the service (15 s each) is dead; in seconds.
idle_timeout=50

failures=0
curl_options=()

# next_delay: prints nothing; sets delay.
next_delay() {
  delay=$((min_delay << (failures < 6 ? failures : 6)))
  ((delay > max_delay)) && delay=$max_delay
  delay=$((delay / 2 + RANDOM * delay / 2 / 32768))
  failures=$((failures + 1))
}

# pause MILLISECONDS
pause() {
  sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"
}

# Whether trying again does not mend it: a wrong argument, no permission, a token that is wrong or was revoked.
is_fatal() {
  case $1 in 1001 | 1002 | 1503 | 1504 | 1505 | 1506 | 1507) return 0 ;; *) return 1 ;; esac
}

# read_error JSON: reads the details of an error of Connect's JSON, each a message of google.rpc, as `debug` in words.
# Sets err_code, err_msg, err_fields, and retry_after in milliseconds, empty when trying again does not mend it.
read_error() {
  local words
  words=$(jq -r '
    def find($type): first(.details[]? | select(.type == "google.rpc." + $type) | .debug) // null;
    find("ErrorInfo").metadata as $info
    | [
        $info.errCode // "0",
        $info.errMsg // .code // "unknown",
        ([find("BadRequest").fieldViolations[]?.field] | join(",")),
        ((find("RetryInfo").retryDelay // empty | rtrimstr("s") | tonumber * 1000 | ceil) // "")
      ] | join("|")' 2>/dev/null <<<"$1") || words='0|NetworkError||0'
  IFS='|' read -r err_code err_msg err_fields retry_after <<<"$words"
}

# send USER ID KEY DATA: sends until there is an answer, under the ID, so that it is accepted once. Prints the answer's
# JSON; fails with err_code and its like set. An admin's token is needed.
send() {
  local body answer status give_up_at=$((SECONDS + send_timeout))
  body=$(jq -n --arg user "$1" --arg id "$2" --arg key "$3" --arg data "$4" '{
    sendUserID: "imAdmin", recvUserID: $user, clientMsgID: $id, key: $key, data: $data, reliabilityLevel: 2}')
  failures=0
  while :; do
    answer=$(curl -sS "${curl_options[@]}" --max-time "$attempt_timeout" -w '\n%{http_code}' \
      -H "token: $(read_token)" -H 'content-type: application/json' --data-binary "$body" \
      "$BASE/mustreach.msg.v1.MsgService/SendBusinessNotification")
    status=${answer##*$'\n'}
    answer=${answer%$'\n'*}
    if [[ $status == 200 ]]; then
      sent=$answer
      return 0
    fi
    if [[ $status == 000 ]]; then
      # Whether it was accepted is not known, and the ID makes it safe to send it again.
      err_code=0 err_msg=NetworkError err_fields='' retry_after=0
    else
      read_error "$answer"
    fi
    [[ -z $retry_after ]] && return 1
    next_delay
    ((retry_after > delay)) && delay=$retry_after
    ((SECONDS + delay / 1000 > give_up_at)) && return 1
    pause "$delay"
  done
}

# load_record FILE: how far the device is, the sequence and its epoch. Sets sequence and epoch, empty without a file.
load_record() {
  record=$1 sequence='' epoch=''
  [[ -s $record ]] && read -r sequence epoch <"$record"
  return 0
}

# save_record SEQUENCE EPOCH
save_record() {
  printf '%s %s\n' "$1" "$2" >"$record.new"
  sync "$record.new"
  mv "$record.new" "$record"
  sequence=$1 epoch=$2
}

# receive DEVICE FILE: runs one stream after another, until an error that connecting again does not mend, and sets
# err_code and err_msg to that. `handle expired` says that a new token is needed.
receive() {
  local device=$1 token refused='' advice
  load_record "$2"
  failures=0
  while :; do
    token=$(read_token)
    # After 1501 with a new token only.
    if [[ $token == "$refused" ]]; then
      next_delay
      pause "$delay"
      continue
    fi
    run_session "$device" "$token"
    is_fatal "$err_code" && return 0
    if [[ $err_code == 1501 ]]; then
      refused=$token
      handle expired '{}'
      continue
    fi
    next_delay
    # At least as long as the service asks for, and not all devices at once.
    if [[ -n $advice ]]; then
      delay=$((advice / 2 > min_delay ? advice / 2 : min_delay))
      delay=$((advice + RANDOM * delay / 32768))
    fi
    pause "$delay"
  done
}

# run_session DEVICE TOKEN: runs one stream to its end. Sets err_code, 0 for none, and advice, in milliseconds.
run_session() {
  local device=$1 token=$2 events line event='' data='' id='' headers="$record.headers"
  local options=(--data-urlencode "deviceID=$device")
  err_code=0 err_msg='' advice=''
  [[ -n $sequence ]] && options+=(--data-urlencode "afterSequence=$sequence" --data-urlencode "epoch=$epoch")
  options+=(-D "$headers" -H "token: $token" "${curl_options[@]}")
  exec {events}< <(exec curl -sSN -G "${options[@]}" "$BASE/events" 2>/dev/null && echo)
  local stream=$!
  # A line ends at a line feed only, as bash reads it.
  while IFS= read -r -t "$idle_timeout" -u "$events" line || [[ $line == '{'* ]]; do
    case $line in
      'event: '*) event=${line#event: } ;;
      'data: '*) data=${line#data: } ;;
      'id: '*) id=${line#id: } ;;
      'retry: '*) advice=${line#retry: } ;;
      # A refusal is no stream, but the envelope.
      '{'*)
        err_code=$(jq -r '.errCode // 0' <<<"$line")
        err_msg=$(jq -r '.errMsg // ""' <<<"$line")
        advice=$(sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9]*\).*/\1000/p' "$headers")
        break
        ;;
      '')
        if [[ $event == end ]]; then
          err_code=$(jq -r '.errCode // 0' <<<"$data")
          err_msg=$(jq -r '.errMsg // ""' <<<"$data")
          break
        fi
        [[ -n $event ]] && take "$device" "$token" "$event" "$data" "$id"
        event='' data='' id=''
        ;;
    esac
  done
  kill "$stream" 2>/dev/null
  exec {events}<&-
  wait "$stream" 2>/dev/null
}

# take DEVICE TOKEN KIND JSON ID: handles one event, records it and acknowledges it, in this order.
take() {
  local at is_new=0 new_epoch=${5%.*} new_sequence=${5##*.}
  case $3 in
    ready)
      failures=0
      at=$(jq -r '.resumeSequence // "0"' <<<"$4")
      # Another store than the one we know: take what comes.
      [[ -n $sequence ]] && ((at < sequence)) && save_record "$at" "$(jq -r '.epoch // ""' <<<"$4")"
      handle ready "$4"
      return
      ;;
    notification | message | recall | settled | gap) ;;
    # A heartbeat, or an event of a newer service.
    *) return ;;
  esac
  # An online push has no place, and is neither recorded nor acknowledged.
  if [[ -z $5 ]] || ((new_sequence == 0)); then
    handle "$3" "$4"
    return
  fi
  [[ -z $sequence ]] || ((new_sequence > sequence)) && is_new=1
  # It sets the record back, to a sequence that may be below it.
  [[ $3 == gap && $(jq -r .reason <<<"$4") == REASON_STORE_CHANGED ]] && is_new=1
  # Of what this device has handled, it is told at the same sequence that another one has, too.
  { ((is_new)) || [[ $3 == settled ]]; } && handle "$3" "$4"
  ((is_new)) && save_record "$new_sequence" "$new_epoch"
  # What cannot be acknowledged now is by the next one, or by the record that the next stream begins with.
  curl -sS "${curl_options[@]}" --max-time "$attempt_timeout" -o /dev/null \
    -H "token: $2" -H "operationID: $new_sequence" --data-binary "$(jq -n --arg device "$1" --argjson sequence "$sequence" --arg epoch "$epoch" \
      '{deviceID: $device, sequence: $sequence, epoch: $epoch}')" "$BASE/ack" || true
}
