# Apache Cassandra: node N on 127.0.0.N. Sourced by scripts/servers.
# shellcheck shell=sh

cassandra_ports() {
    # JMX is on 127.0.0.1 for all. With offsets of whole hundreds nothing ever meets.
    echo $((9042 + OFFSET)) $((7000 + OFFSET)) $((7200 - $1 + OFFSET))
}

cassandra_ready() {
    grep -q 'Starting listening for CQL clients' "$FOLDER/cassandra-$1/log" 2>/dev/null
}

cassandra_prepare() {
    home=$FOLDER/cassandra-$1
    mkdir -p "$home/conf"
    authenticator=AllowAllAuthenticator authorizer=AllowAllAuthorizer
    if [ "$AUTH" = 1 ]; then authenticator=PasswordAuthenticator authorizer=CassandraAuthorizer; fi
    tls=false
    if [ "$TLS" = 1 ]; then tls=true; fi
    sed -e "s|@HOME@|$home|g" -e "s|@FOLDER@|$FOLDER|g" -e "s|@OFFSET@|$OFFSET|g" \
        -e "s|@ADDRESS@|127.0.0.$1|g" -e "s|@STORAGE_PORT@|$((7000 + OFFSET))|g" \
        -e "s|@CQL_PORT@|$((9042 + OFFSET))|g" -e "s|@AUTHENTICATOR@|$authenticator|g" \
        -e "s|@AUTHORIZER@|$authorizer|g" -e "s|@TLS@|$tls|g" \
        -e "s|@STORE_PASSWORD@|$STORE_PASSWORD|g" "$TEMPLATES/cassandra.yaml" >"$home/conf/cassandra.yaml"
    # A rack for each node, so that a replication factor of 3 has a replica in each.
    printf 'dc=datacenter1\nrack=rack%s\n' "$1" >"$home/conf/cassandra-rackdc.properties"
    cp "$TEMPLATES/logback.xml" "$home/conf/"
    # The first line says what it is; Java's argument files may have comments.
    cp "$TEMPLATES/java.options" "$home/conf/"
}

cassandra_launch() {
    home=$FOLDER/cassandra-$1
    # Three share one machine: less memory, and no second compiler, which takes a third of the time to start.
    heap=512m level=4
    if [ "$NODES" = 3 ]; then heap=384m level=1; fi
    cassandra_prepare "$1"
    # Cassandra measures its memory by this agent; 4.1 does not start without it on Java 17.
    agent=$(echo "$(jars_of cassandra)"/jamm-*.jar)
    set -- "cassandra-$1" "$JAVA" "-Xms$heap" "-Xmx$heap" "-XX:TieredStopAtLevel=$level" -Xss512k -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError \
        "-XX:ErrorFile=$home/java-error.log" "-javaagent:$agent" "@$home/conf/java.options" \
        "-Dcassandra.config=file://$home/conf/cassandra.yaml" "-Dcassandra.storagedir=$home" \
        "-Dlogback.configurationFile=$home/conf/logback.xml" "-Duser.home=$home" \
        -Dcassandra-foreground=yes -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=1000 \
        -Dcassandra.superuser_setup_delay_ms=0 "-Dcassandra.system_auth.default_rf=$NODES" \
        -Djdk.attach.allowAttachSelf=true "-Dcassandra.jmx.local.port=$((7200 - $1 + OFFSET))" \
        -cp "$home/conf:$(jars_of cassandra)/*" org.apache.cassandra.service.CassandraDaemon
    launch "$@"
}

# Node 1 first, which the others find the cluster by.
cassandra_up() {
    for node; do
        cassandra_launch "$node"
        if [ "$node" = 1 ]; then await cassandra-1; fi
    done
    for node; do
        [ "$node" = 1 ] || await "cassandra-$node"
    done
}

# The first user is made, once, when enough nodes are there.
cassandra_settle() {
    if [ "$AUTH" = 0 ] || [ -e "$FOLDER/user-made" ]; then return 0; fi
    until grep -q "Created default superuser role 'cassandra'" "$FOLDER"/cassandra-*/log*; do
        [ $(($(date +%s) - SINCE)) -lt "$DEADLINE" ] ||
            fail "Cassandra has made no user 'cassandra' after $DEADLINE s: see $FOLDER/cassandra-1/log"
        sleep 0.2
    done
    : >"$FOLDER/user-made"
}

nodetool() {
    node=$1
    shift
    "$JAVA" "@$TEMPLATES/java.options" "-Duser.home=$FOLDER" "-Dcassandra.config=file://$FOLDER/cassandra-$node/conf/cassandra.yaml" \
        "-Dlogback.configurationFile=$TEMPLATES/logback.xml" -cp "$FOLDER/cassandra-$node/conf:$(jars_of cassandra)/*" \
        org.apache.cassandra.tools.NodeTool -p $((7200 - node + OFFSET)) "$@"
}
