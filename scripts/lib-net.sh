# shellcheck shell=bash disable=SC2034,SC2154,SC2016 # names for the sourcing script; text for another shell
# Networks of veth and TAP in namespaces, and the server process on them. Sourced by scripts/lab and scripts/run (bash).
# Everything a network is called or addressed by comes from one name, so that several live side by side and none must be written down.

die() {
    echo "$self: $*" >&2
    exit 1
}

need_root() { [ "$(id -u)" -eq 0 ] || die "needs root (network namespaces, AF_XDP): sudo $self ..."; }

# net_names NAME: octets and MACs from a hash of it.
net_names() {
    local h
    h=$(printf %s "$1" | sha256sum)
    net_prefix=10.$((16#${h:0:2})).$((16#${h:2:2}))
    server_address=$net_prefix.2
    client_address=$net_prefix.1
    net_prefix6=fd${h:0:2}:$(printf %x "0x${h:2:4}"):$(printf %x "0x${h:6:4}"): # as inet_ntop writes it
    server_address6=$net_prefix6:2
    client_address6=$net_prefix6:1
    server_mac=02:${h:4:2}:${h:6:2}:${h:8:2}:${h:10:2}:02
    client_mac=02:${h:4:2}:${h:6:2}:${h:8:2}:${h:10:2}:01
}

in_ns() { # NAMESPACE|- COMMAND...
    local ns=$1
    shift
    if [ "$ns" = - ]; then "$@"; else ip netns exec "$ns" "$@"; fi
}

ip_in() { # NAMESPACE|- IP-ARGUMENTS...
    local ns=$1
    shift
    if [ "$ns" = - ]; then ip "$@"; else ip -n "$ns" "$@"; fi
}

# A namespace that talks IPv4 only, and in which a flow stays on its transmit queue: Linux would otherwise give a connection a new hash,
# and so another worker's queue, after each timeout.
make_ns() {
    ip netns add "$1" || return
    ip -n "$1" link set dev lo up
    in_ns "$1" sh -c 'for f in all default; do echo 1 >/proc/sys/net/ipv6/conf/$f/disable_ipv6; done
        echo 0 >/proc/sys/net/core/txrehash' 2>/dev/null || true # kernels without IPv6 or older than 5.18
}

# use_cubic NAMESPACE DEVICE 4|6: the congestion control that the server has too, on the routes of a device. The sysctl of a namespace
# refuses what the machine does not allow everybody, and its default may be BBR, which takes no notice of losses.
use_cubic() {
    local route
    ip -n "$1" "-$3" route show dev "$2" proto kernel | sed "s, linkdown,,g; s, dead,,g" | while read -r route; do # states, no words of a route
        # shellcheck disable=SC2086 # words
        ip -n "$1" "-$3" route replace $route dev "$2" proto kernel congctl cubic || exit
    done
}

# add_address4 NAMESPACE DEVICE ADDRESS, and IPv6 on one device of such a namespace; both ends are up, so nobody has to wait for anything.
add_address4() {
    ip -n "$1" addr add "$3/24" dev "$2" && use_cubic "$1" "$2" 4
}

add_address6() {
    ip netns exec "$1" sh -c 'echo 0 >"/proc/sys/net/ipv6/conf/$0/disable_ipv6"' "$2" &&
        ip -n "$1" addr add "$3/64" dev "$2" nodad && use_cubic "$1" "$2" 6
}

# No checksum may be left to a device and no packet may be larger than the wire's: the other end is no kernel.
plain_wire() { # NAMESPACE|- DEVICE
    local feature
    for feature in tx tso gso gro; do
        in_ns "$1" ethtool -K "$2" $feature off >/dev/null 2>&1 || true # some are fixed to off on some devices
    done
}

# make_veth SERVER-NS SERVER-DEV CLIENT-NS CLIENT-DEV QUEUES MTU ('-': the namespace we are in)
make_veth() {
    local queues="numrxqueues $5 numtxqueues $5" at_s="" at_c=""
    [ "$1" = - ] || at_s="netns $1"
    [ "$3" = - ] || at_c="netns $3"
    # shellcheck disable=SC2086 # words, each of them
    ip link add "$2" $at_s address "$server_mac" $queues type veth peer name "$4" $at_c address "$client_mac" $queues || return
    if [ "$1" = - ]; then echo 1 2>/dev/null >"/proc/sys/net/ipv6/conf/$2/disable_ipv6" || true; fi
    plain_wire "$3" "$4"
    ip_in "$1" link set dev "$2" mtu "$6" up || return
    ip_in "$3" link set dev "$4" mtu "$6" up || return
    if [ "$3" = - ]; then ip addr add "$client_address/24" dev "$4"; else add_address4 "$3" "$4" "$client_address"; fi
}

# A TAP that outlives the process on it, so that a dataplane that is started again finds it with its address.
make_tap() { # NAMESPACE|- DEVICE MTU
    ip_in "$1" tuntap add dev "$2" mode tap multi_queue || return
    ip_in "$1" link set dev "$2" address "$client_mac" mtu "$3" up || return
    plain_wire "$1" "$2"
    if [ "$1" = - ]; then ip addr add "$client_address/24" dev "$2"; else add_address4 "$1" "$2" "$client_address"; fi
}

# Does something at ADDRESS PORT, or behind a socket, answer PING? Any RESP answer to it is one.
answers_ping() { # NAMESPACE|- ADDRESS PORT
    in_ns "$1" timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "PING\r\n" >&3 && read -r -t 1 line <&3 &&
        [[ $line == +PONG* || $line == -NOAUTH* || $line == -DENIED* ]]' "$2" "$3" 2>/dev/null
}

alive() { [ -n "$1" ] && [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# Ends processes by id: TERM, ten seconds, KILL.
end_pids() {
    local pid deadline=$((SECONDS + 10)) left
    [ $# -gt 0 ] || return 0
    kill -TERM "$@" 2>/dev/null
    while :; do
        left=()
        for pid in "$@"; do if alive "$pid"; then left+=("$pid"); fi; done
        [ ${#left[@]} -eq 0 ] && return 0
        if [ $SECONDS -ge $deadline ]; then
            kill -KILL "${left[@]}" 2>/dev/null
            deadline=$((SECONDS + 10))
        fi
        sleep 0.05
    done
}

# The dataplane of an instance, when control could not take it along.
dataplane_pids() {
    local f words
    for f in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words 2>/dev/null <"$f" || continue
        [[ ${words[0]-} == */barewire-dataplane ]] || continue
        [[ " ${words[*]} " == *" --instance $1 "* ]] && f=${f#/proc/} && echo "${f%/cmdline}"
    done
}

# What an instance leaves when it is killed.
sweep_instance() {
    rm -rf "/dev/shm/barewire-$1" "/dev/shm/barewire-$1".* "/run/dpdk/barewire-$1" "/var/run/dpdk/barewire-$1"
}

# option_value NAME DEFAULT WORDS...: the value of the last --NAME among a server's options.
option_value() {
    local name=$1 value=$2
    shift 2
    while [ $# -gt 0 ]; do
        if [ "$1" = "--$name" ]; then value=${2-}; fi
        shift
    done
    echo "$value"
}
