# What the scripts have in common; to be sourced, not run.
# shellcheck shell=sh

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$ROOT" || exit 1
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

say() {
    printf '== %s\n' "$*" >&2
}

fail() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# SQLite is built from source, so there must be a C compiler. On Debian, as root, it is installed.
need_cc() {
    has cc && return 0
    if has apt-get && [ "$(id -u)" = 0 ]; then
        say "installing a C compiler"
        apt-get update -q >&2 || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev >&2 ||
            fail "no C compiler could be installed: install gcc, then try again"
        return 0
    fi
    fail "there is no C compiler (cc): install gcc, then try again"
}

need_cargo() {
    if ! has cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
        export PATH
    fi
    has cargo || fail "there is no cargo: install Rust from https://rustup.rs, then try again"
    need_cc
}
