#!/bin/sh
# Starts Neo4j with the settings of the environment, named as the public image names them:
# NEO4J_AUTH=neo4j/PASSWORD, and NEO4J_ with the setting's name, "." as "_" and "_" as "__".
set -eu
home=/var/lib/neo4j
lib=/opt/neo4j/lib
export NEO4J_HOME="$home" NEO4J_CONF="$home/conf"

{
    echo server.default_listen_address=0.0.0.0
    env | sed -n 's/^NEO4J_\([a-z][^=]*\)=\(.*\)$/\1 \2/p' | while read -r name value; do
        printf '%s=%s\n' "$(printf %s "$name" | sed 's/_/./g; s/\.\./_/g')" "$value"
    done
} >"$NEO4J_CONF/neo4j.conf"

# The classes as they lay in memory when the image was built: starting takes half the time.
archive=/opt/neo4j/classes.jsa
fast="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"
[ ! -f "$archive" ] || fast="$fast -XX:SharedArchiveFile=$archive"
[ -z "${NEO4J_RECORD_CLASSES:-}" ] || fast="$fast -XX:ArchiveClassesAtExit=$NEO4J_RECORD_CLASSES"

if [ -n "${NEO4J_AUTH:-}" ] && [ ! -d /data/databases/system ]; then
    java $fast -cp "$lib/*" org.neo4j.cli.AdminTool dbms set-initial-password "${NEO4J_AUTH#*/}"
fi
exec java $fast --add-opens=java.base/java.nio=ALL-UNNAMED \
    -Xms"${NEO4J_server_memory_heap_initial__size:-256m}" \
    -Xmx"${NEO4J_server_memory_heap_max__size:-512m}" \
    -cp "$lib/*" org.neo4j.server.CommunityEntryPoint --console-mode \
    --home-dir="$home" --config-dir="$NEO4J_CONF"
