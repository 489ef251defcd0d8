# Apache ZooKeeper: one server alone, or an ensemble of three. Sourced by scripts/servers.
# shellcheck shell=sh

zookeeper_ports() {
    echo $((2180 + $1 + OFFSET))
    if [ "$TLS" = 1 ]; then echo $((2190 + $1 + OFFSET)); fi
    if [ "$NODES" = 3 ]; then echo $((2800 + $1 + OFFSET)) $((3810 + $1 + OFFSET)); fi
}

# role N: alone, leader, follower or looking, as its log has it.
zookeeper_role() {
    log=$FOLDER/zookeeper-$1/log
    if [ "$NODES" = 1 ]; then
        if grep -q 'PrepRequestProcessor (sid:0) started' "$log" 2>/dev/null; then echo alone; fi
        return 0
    fi
    # LOOKING begins each election, and a state ends in "broadcast" when requests are served.
    sed -n -e 's/.*Peer state changed: \(leading\|following\) - broadcast.*/\1/p' \
        -e 's/.*QuorumPeer.* LOOKING$/looking/p' "$log" 2>/dev/null | tail -n 1 |
        sed -e s/leading/leader/ -e s/following/follower/
}

zookeeper_ready() {
    case $(zookeeper_role "$1") in
        alone | leader | follower) return 0 ;;
        *) return 1 ;;
    esac
}

zookeeper_launch() {
    home=$FOLDER/zookeeper-$1
    mkdir -p "$home/conf" "$home/data"
    {
        sed -e "s|@HOME@|$home|g" -e "s|@CLIENT_PORT@|$((2180 + $1 + OFFSET))|g" "$TEMPLATES/zoo.cfg"
        if [ "$NODES" = 3 ]; then
            for member in 1 2 3; do
                echo "server.$member=127.0.0.1:$((2800 + member + OFFSET)):$((3810 + member + OFFSET))"
            done
        fi
        if [ "$AUTH" = 1 ]; then
            printf '%s\n' enforce.auth.enabled=true enforce.auth.schemes=digest
        fi
        if [ "$TLS" = 1 ]; then
            printf '%s\n' "secureClientPort=$((2190 + $1 + OFFSET))" \
                serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory \
                "ssl.keyStore.location=$FOLDER/tls/server.p12" "ssl.keyStore.password=$STORE_PASSWORD" \
                "ssl.trustStore.location=$FOLDER/tls/trust.p12" "ssl.trustStore.password=$STORE_PASSWORD" \
                ssl.clientAuth=none
        fi
    } >"$home/conf/zoo.cfg"
    echo "$1" >"$home/data/myid"
    launch "zookeeper-$1" "$JAVA" -Xmx192m -XX:+ExitOnOutOfMemoryError "-XX:ErrorFile=$home/java-error.log" \
        "-Dlogback.configurationFile=$TEMPLATES/logback.xml" -cp "$(jars_of zookeeper)/*" \
        org.apache.zookeeper.server.quorum.QuorumPeerMain "$home/conf/zoo.cfg"
}

# All together: one alone has no quorum. A member that comes back to too few others is not waited for.
zookeeper_up() {
    for member; do
        zookeeper_launch "$member"
    done
    count=0
    for member in $(members); do
        if running "zookeeper-$member" && [ "$(state_letter "$PID")" != T ]; then count=$((count + 1)); fi
    done
    if [ $((count * 2)) -le "$NODES" ]; then
        say "$count of $NODES ZooKeeper servers run, which is no majority: they wait for one more"
        return 0
    fi
    for member; do
        await "zookeeper-$member"
    done
}
