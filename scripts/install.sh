#!/usr/bin/env bash
# Installs what `make build` left in build/, or takes it away again; `make install` and `make uninstall` call it, with the
# folders in the environment: DESTDIR, PREFIX, LIBDIR, INCLUDEDIR, DATAROOTDIR, DOCDIR, and VERSION.
#
# What was installed is written down in DATAROOTDIR/plimsoll/installed, without DESTDIR: "f FILE", and "d FOLDER" for each
# folder that was not there before. Uninstalling removes these files, and these folders when nothing else is in them by then.
# Installing over another version removes what that one had and this one has not.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PREFIX:?}" "${LIBDIR:?}" "${INCLUDEDIR:?}" "${DATAROOTDIR:?}" "${DOCDIR:?}" "${VERSION:?}"
DESTDIR=${DESTDIR-}
for folder in "$PREFIX" "$LIBDIR" "$INCLUDEDIR" "$DATAROOTDIR" "$DOCDIR"; do
    case $folder in /*) ;; *) echo "install: $folder is not an absolute path" >&2; exit 2 ;; esac
done
record=${DATAROOTDIR%/}/plimsoll/installed
written=()

# folder PATH: makes it and those above it.
folder() {
    [ ! -d "$DESTDIR$1" ] || return 0
    folder "$(dirname "$1")"
    mkdir "$DESTDIR$1"
    written+=("d $1")
}

# put MODE SOURCE TARGET; a SOURCE of "-" is standard input. A file in use is replaced, not written over.
put() {
    folder "$(dirname "$3")"
    if [ "$2" = - ]; then
        cat >"$DESTDIR$3.new" && chmod "$1" "$DESTDIR$3.new" && mv -f "$DESTDIR$3.new" "$DESTDIR$3"
    else
        install -m "$1" "$2" "$DESTDIR$3"
    fi
    written+=("f $3")
}

link() {
    ln -sfn "$1" "$DESTDIR$2"
    written+=("f $2")
}

# place BASE FOLDER FROM: FOLDER as a path that begins with BASE, which stands for the folder FROM, when both are below the
# prefix, so that the tree can be moved; else as it is.
place() {
    case $2/ in "${PREFIX%/}"/*) ;; *) echo "$2"; return ;; esac
    case $3/ in "${PREFIX%/}"/*) echo "$1/$(realpath -sm --relative-to="$3" "$2")" ;; *) echo "$2" ;; esac
}

# fill TEMPLATE BASE FROM: the template with its folders and the version.
fill() {
    sed -e "s|@PREFIX@|$(place "$2" "$PREFIX" "$3")|" -e "s|@LIBDIR@|$(place "$2" "$LIBDIR" "$3")|" \
        -e "s|@INCLUDEDIR@|$(place "$2" "$INCLUDEDIR" "$3")|" -e "s|@VERSION@|$VERSION|" -e "s|@MAJOR@|${VERSION%%.*}|" \
        "scripts/install/$1"
}

do_install() {
    local before=() line header page
    [ ! -e "$DESTDIR$record" ] || mapfile -t before <"$DESTDIR$record"
    [ -z "$DESTDIR" ] || mkdir -p "$DESTDIR"
    put 755 build/lib/libplimsoll.so "$LIBDIR/libplimsoll.so.$VERSION"
    link "libplimsoll.so.$VERSION" "$LIBDIR/libplimsoll.so.${VERSION%%.*}"
    link "libplimsoll.so.${VERSION%%.*}" "$LIBDIR/libplimsoll.so"
    put 644 build/lib/libplimsoll.a "$LIBDIR/libplimsoll.a"
    while IFS= read -r header; do put 644 "include/$header" "$INCLUDEDIR/$header"; done < <(
        find include -name '*.h' -printf '%P\n' -o -name '*.hpp' -printf '%P\n' | sort)
    put 644 - "$LIBDIR/pkgconfig/plimsoll.pc" < <(fill plimsoll.pc.in '${pcfiledir}' "$LIBDIR/pkgconfig")
    local cmake=$LIBDIR/cmake/plimsoll
    put 644 - "$cmake/plimsollConfig.cmake" < <(fill plimsollConfig.cmake.in '${_plimsoll_here}' "$cmake")
    put 644 - "$cmake/plimsollConfigVersion.cmake" < <(fill plimsollConfigVersion.cmake.in . "$cmake")
    for page in README.md CHANGELOG.md LICENSE docs/*.md; do put 644 "$page" "$DOCDIR/${page##*/}"; done
    folder "$(dirname "$record")"
    written+=("f $record")
    # What an earlier version had and this one has not; folders that it made are still ours.
    local -A now=()
    for line in "${written[@]}"; do now[$line]=1; done
    for line in "${before[@]}"; do
        if [[ $line == d\ * ]]; then written+=("$line")
        elif [ -z "${now[$line]-}" ]; then rm -f "$DESTDIR${line#f }"
        fi
    done
    printf '%s\n' "${written[@]}" | sort -u >"$DESTDIR$record"
    echo "installed plimsoll $VERSION in $DESTDIR$PREFIX"
}

do_uninstall() {
    if [ ! -e "$DESTDIR$record" ]; then
        echo "uninstall: plimsoll is not installed in $DESTDIR$PREFIX: there is no $DESTDIR$record" >&2
        exit 1
    fi
    local lines=() i
    mapfile -t lines <"$DESTDIR$record"
    for i in "${lines[@]}"; do [[ $i != f\ * ]] || rm -f "$DESTDIR${i#f }"; done
    # Sorted, so that a folder comes after those it is in.
    for ((i = ${#lines[@]} - 1; i >= 0; i--)); do
        [[ ${lines[i]} != d\ * ]] || rmdir --ignore-fail-on-non-empty "$DESTDIR${lines[i]#d }" 2>/dev/null || true
    done
    echo "removed plimsoll from $DESTDIR$PREFIX"
}

case ${1-} in
install) do_install ;;
uninstall) do_uninstall ;;
*) echo "usage: $0 install|uninstall" >&2; exit 2 ;;
esac
