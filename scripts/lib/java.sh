# shellcheck shell=bash
# Java and Maven downloads, for the servers that are written in Java. Sourced after `server.sh` by scripts that have set `name` and
# `version`.
# shellcheck disable=SC2034,SC2154 # Set here and used there, and the other way round.

# Java 17 or newer, as `java`.
need_java() {
    java=java
    [[ -z ${JAVA_HOME:-} || ! -x $JAVA_HOME/bin/java ]] || java=$JAVA_HOME/bin/java
    java_is_new_enough && return
    install 'Java 17 or newer' default-jre-headless java-21-openjdk-headless openjdk
    java=java
    hash -r
    java_is_new_enough && return
    install 'Java 17 or newer' openjdk-17-jre-headless java-21-openjdk-headless openjdk
    hash -r
    java_is_new_enough || die "$name $version needs Java 17 or newer; \`java -version\` says otherwise: set JAVA_HOME to a newer one"
}

java_is_new_enough() {
    local said
    said=$("$java" -version 2>&1) && [[ $said =~ version\ \"([0-9]+) ]] && ((BASH_REMATCH[1] >= 17))
}

# Installs Java's compiler too, which a runtime alone does not include.
need_jdk() {
    need_java
    has_compiler && return
    install "Java's compiler" default-jdk-headless java-21-openjdk-devel openjdk
    hash -r
    need_java
    has_compiler || die "Java's compiler is missing: set JAVA_HOME to a JDK"
}

has_compiler() {
    "$java" --list-modules | grep -q '^jdk\.compiler@'
}

# need_cached NAME COMMAND: sets `cached` to the folder of that name in the cache. If it is missing, COMMAND fills a new folder, which is
# its argument. Several scripts can do this at once: only a complete folder gets the name.
need_cached() {
    local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}} partial
    cache=${cache:-$servers/cache}/sagas
    cached=$cache/$1
    [[ ! -d $cached ]] || return 0
    mkdir -p "$cache"
    partial=$(mktemp -d "$cache/download.XXXXXX")
    # shellcheck disable=SC2064 # The folder of now.
    trap "rm -rf '$partial'" EXIT
    printf '%s: downloading %s %s to %s\n' "${0##*/}" "$name" "$version" "$cached" >&2
    mkdir "$partial/whole"
    "$2" "$partial/whole"
    chmod -R a+rX "$partial"
    # Another script may have been faster; an existing folder is complete.
    [[ -d $cached ]] || mv "$partial/whole" "$cached" 2>/dev/null || [[ -d $cached ]]
    rm -rf "$partial" "$cached/whole"
    trap - EXIT
}

# maven ARGUMENTS: downloads with Maven.
maven() {
    command -v mvn >/dev/null || install 'Maven' maven maven maven
    mvn -q -B -Dstyle.color=never "$@" >&2 || die "Maven could not download $name: see above"
}
