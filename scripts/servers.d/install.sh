# What the servers need on this machine: Java, Maven, and the servers' jars. Sourced by scripts/servers.
# shellcheck shell=sh

# May be installed by us: on Debian and its like, as root.
may_install() {
    has apt-get && [ "$(id -u)" = 0 ]
}

# install WHAT PACKAGE...: the first of the packages that there is.
install() {
    what=$1
    shift
    apt-get update -q >&2 || true
    for package; do
        apt-cache show "$package" >/dev/null 2>&1 || continue
        say "installing $package"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package" >&2 && return 0
    done
    fail "$what could not be installed (tried: $*): see what apt-get says above"
}

java_major() {
    # "17.0.15", or "1.8.0" for Java 8.
    "$JAVA" -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1
}

# Sets JAVA. JAVA_HOME has precedence over the path.
need_java() {
    if [ -n "${JAVA_HOME:-}" ]; then
        JAVA=$JAVA_HOME/bin/java
        [ -x "$JAVA" ] || fail "JAVA_HOME is $JAVA_HOME, but there is no bin/java: correct or unset it"
    else
        if ! has java; then
            may_install || fail "there is no Java: install a JDK 17 (Debian: openjdk-17-jdk-headless), or set JAVA_HOME"
            install "a JDK" openjdk-17-jdk-headless default-jdk-headless
        fi
        JAVA=$(command -v java)
    fi
    JAVA_MAJOR=$(java_major)
    case $JAVA_MAJOR in
        '' | *[!0-9]*) fail "$JAVA -version does not say a version: is it a Java?" ;;
    esac
    # Cassandra 5.0 installs a security manager, which Java 24 no longer has.
    if [ "$JAVA_MAJOR" -lt 11 ] || [ "$JAVA_MAJOR" -ge 24 ]; then
        fail "$JAVA is Java $JAVA_MAJOR, and Cassandra 5.0 runs on 11 and 17: set JAVA_HOME to a JDK 17"
    fi
}

# version WHAT: as pinned in the project's pom.xml, but for a Cassandra that was asked for.
version() {
    if [ "$1" = cassandra ] && [ -n "$CASSANDRA" ]; then
        echo "$CASSANDRA"
        return 0
    fi
    sed -n "s|.*<$1.version>\(.*\)</$1.version>.*|\1|p" "$TEMPLATES/pom.xml"
}

# jars_of WHAT: another folder when anything in the pom changes.
jars_of() {
    printf '%s/%s-%s-%s\n' "$CACHE" "$1" "$(version "$1")" "$(cksum <"$TEMPLATES/pom.xml" | cut -d ' ' -f 1)"
}

# need_jars WHAT: fetched once from Maven Central; all or nothing, so that a broken download is never used.
need_jars() {
    jars=$(jars_of "$1")
    [ -d "$jars" ] && return 0
    mkdir -p "$CACHE" || fail "cannot make the folder $CACHE"
    (
        flock 8
        [ -d "$jars" ] && exit 0
        if ! has mvn; then
            may_install || fail "there is no Maven, which fetches $1: install it (Debian: maven)"
            install "Maven" maven
        fi
        say "fetching $1 $(version "$1") from Maven Central into $jars"
        part=$jars.part
        rm -rf "$part"
        mvn -B -ntp -q -f "$TEMPLATES/pom.xml" -P"$1" dependency:copy-dependencies \
            "-D$1.version=$(version "$1")" -DoutputDirectory="$part" >"$CACHE/maven.log" 2>&1 8>&- || {
            tail -n 15 "$CACHE/maven.log" >&2
            fail "Maven could not fetch $1, see above: is there such a version, and a way to https://repo.maven.apache.org?"
        }
        mv "$part" "$jars"
    ) 8>"$CACHE/lock" || exit 1
}
