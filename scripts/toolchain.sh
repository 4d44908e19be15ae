# Finds, and as root on Debian installs, what a build takes: cargo and a C compiler (for SQLite and for linking).
# Sourced by scripts/build and scripts/test, which set $repo. Plain sh.
# shellcheck shell=sh

say() {
    printf 'echo-daemon: %s\n' "$*" >&2
}

# Runs apt-get without questions; its words go to stderr.
apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@" >&2 </dev/null
}

may_install() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1
}

# The folder of the user who runs this, also where HOME is not set.
home_folder() {
    printf '%s\n' "${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
}

# The oldest version of Rust that the project builds with.
wanted_rust() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "${repo:-.}/Cargo.toml"
}

# Whether version $1 is at least $2.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# Not empty once require_cargo has installed Rust; scripts/test asks.
# shellcheck disable=SC2034
installed_rust=

# Sets $cargo to a cargo that is new enough. Otherwise $cargo_problem says what is wrong.
find_cargo() {
    cargo_problem='there is no cargo'
    for cargo in "$(command -v cargo)" "${CARGO_HOME:-$(home_folder)/.cargo}/bin/cargo"; do
        [ -x "$cargo" ] || continue
        # Rustup's cargo calls others of its folder by name.
        case ":$PATH:" in *":${cargo%/*}:"*) ;; *) PATH=${cargo%/*}:$PATH ;; esac
        version=$("$cargo" --version 2>&1)
        case $version in
            "cargo "*)
                version=${version#cargo }
                version=${version%% *}
                at_least "$version" "$(wanted_rust)" && return 0
                cargo_problem="$cargo is version $version; $(wanted_rust) is the oldest that will do"
                ;;
            *) cargo_problem="$cargo does not work: $version" ;;
        esac
    done
    cargo=
    return 1
}

# The same. As root, where there is no Rust at all, it installs Debian's rustup and the stable toolchain. A Rust that is
# there, too old or not, is its owner's: it is never updated, and its default never changed.
require_cargo() {
    find_cargo && return 0
    if may_install && is_without_rust; then
        say "$cargo_problem: installing Rust"
        apt_get update || true
        if apt-cache show rustup >/dev/null 2>&1 && apt_get install -y --no-install-recommends rustup ca-certificates; then
            # shellcheck disable=SC2034
            installed_rust=yes
            rustup toolchain install stable --profile minimal >&2 && rustup default stable >&2
            find_cargo && return 0
        fi
    fi
    say "$cargo_problem"
    say "hint: Rust $(wanted_rust) or newer is needed"
    say "hint: with rustup: rustup default stable && rustup update stable"
    say "hint: without, on Debian 13: apt install rustup && rustup default stable"
    say "hint: without, elsewhere: apt install curl && curl https://sh.rustup.rs -sSf | sh"
    return 1
}

is_without_rust() {
    for program in cargo rustc rustup; do
        command -v "$program" >/dev/null 2>&1 && return 1
        [ ! -e "${CARGO_HOME:-$(home_folder)/.cargo}/bin/$program" ] || return 1
    done
    [ ! -e "${RUSTUP_HOME:-$(home_folder)/.rustup}" ]
}

# Whether a C program with the C library's headers compiles and links.
compiler_works() {
    command -v cc >/dev/null 2>&1 || return 1
    printf '#include <stdio.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - >/dev/null 2>&1
}

# The same, and as root it installs the compiler.
require_compiler() {
    compiler_works && return 0
    if may_install; then
        say "there is no working C compiler: installing gcc and libc6-dev"
        apt_get update || true
        apt_get install -y --no-install-recommends gcc libc6-dev
        compiler_works && return 0
    fi
    say "there is no working C compiler (SQLite is built from C)"
    say "hint: as root: apt install gcc libc6-dev"
    return 1
}
