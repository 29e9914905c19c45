# `make install`, programs outside of this tree that build against what it installed, and `make uninstall`. Sourced by run.sh.
place=$(mktemp -d) demo=$PWD/models/demo
# Whatever the caller's make or environment says. CARGO: installing what is built needs no cargo.
unset MAKEFLAGS MAKELEVEL DESTDIR PREFIX LIBDIR INCLUDEDIR DATAROOTDIR DOCDIR
quiet_make() { make --no-print-directory CARGO=false "$@"; }
# What is in a folder: kind, mode, name, where a link leads, contents.
tree() { (cd "$1" && find . ! -type f -printf '%y %m %p %l\n' -o -printf '%y %m %p ' -exec sha256sum {} \; | sort); }
answers() { timeout 120 "$@" "$demo" | grep -q '^Hello'; }
links_shared() { readelf -dW "$1" | grep -q 'NEEDED.*libplimsoll\.so\.0'; }
links_static() { ! readelf -dW "$1" | grep -q libplimsoll; }
in_go() { (cd "$1" && GOPROXY=off go build "${@:2}" .); }

# hosts NAME LIBDIR: C by pkg-config, C and C++ by CMake, Go by pkg-config; each shared and static, each asked a question.
hosts() {
    local name=$1 libdir=$2 work language
    work=$(mktemp -d -p "$place")
    cp -r ctests/hosts/. "$work"
    export LD_LIBRARY_PATH=$libdir PKG_CONFIG_PATH=$libdir/pkgconfig
    if have pkg-config; then
        test_that "install: $name: C, pkg-config" gcc -std=c99 $warnings "$work/c/main.c" \
            $(pkg-config --cflags --libs plimsoll) -o "$work/shared"
        test_that "install: $name: C, pkg-config: the shared library" links_shared "$work/shared"
        test_that "install: $name: C, pkg-config: answers" answers "$work/shared"
        test_that "install: $name: C, pkg-config --static" gcc -std=c99 $warnings -static "$work/c/main.c" \
            $(pkg-config --static --cflags --libs plimsoll) -o "$work/static"
        test_that "install: $name: C, pkg-config --static: no library at all" bash -c "! readelf -dW '$work/static' | grep -q NEEDED"
        test_that "install: $name: C, pkg-config --static: answers" answers "$work/static"
    else
        skip "install: $name: pkg-config (not installed)"
    fi
    for language in c cpp; do
        if ! have cmake; then skip "install: $name: $language, CMake (not installed)"; continue; fi
        test_that "install: $name: $language, CMake: configures" cmake -S "$work/$language" -B "$work/$language/build" \
            -DCMAKE_PREFIX_PATH="${libdir%/lib*}" -DCMAKE_BUILD_TYPE=Release
        test_that "install: $name: $language, CMake: builds" cmake --build "$work/$language/build"
        test_that "install: $name: $language, plimsoll::plimsoll: shared" links_shared "$work/$language/build/host_plimsoll"
        test_that "install: $name: $language, plimsoll::plimsoll: answers" answers "$work/$language/build/host_plimsoll"
        test_that "install: $name: $language, plimsoll::static: static" links_static "$work/$language/build/host_static"
        test_that "install: $name: $language, plimsoll::static: answers" answers "$work/$language/build/host_static"
    done
    if have go && have pkg-config; then
        test_that "install: $name: Go" in_go "$work/go" -o shared
        test_that "install: $name: Go: the shared library" links_shared "$work/go/shared"
        test_that "install: $name: Go: answers" answers "$work/go/shared"
        test_that "install: $name: Go, static" in_go "$work/go" -o static \
            -ldflags "-linkmode external -extldflags '-static -lm'"
        test_that "install: $name: Go, static: no library at all" bash -c "! readelf -dW '$work/go/static' | grep -q NEEDED"
        test_that "install: $name: Go, static: answers" answers "$work/go/static"
    else
        skip "install: $name: Go (go or pkg-config not installed)"
    fi
    unset LD_LIBRARY_PATH PKG_CONFIG_PATH
    rm -rf "$work"
}

# --- Into a prefix where others live, below a DESTDIR ---
root=$place/first
mkdir -p "$root/usr/local/lib/pkgconfig" "$root/usr/local/bin"
echo theirs >"$root/usr/local/lib/pkgconfig/other.pc"
tree "$root" >"$out/before"
test_that "install: into an empty prefix" quiet_make install DESTDIR="$root"
(cd "$root/usr/local" && find . -type f -o -type l | grep -v '/share/doc/\|/include/plimsoll/\|other\.pc' | sort) >"$out/installed"
test_that "install: what belongs there" diff - "$out/installed" <<END
./include/plimsoll.h$(for extra in include/*.hpp; do [ ! -e "$extra" ] || printf '\n./%s' "$extra"; done)
./lib/cmake/plimsoll/plimsollConfig.cmake
./lib/cmake/plimsoll/plimsollConfigVersion.cmake
./lib/libplimsoll.a
./lib/libplimsoll.so
./lib/libplimsoll.so.0
./lib/libplimsoll.so.0.1.0
./lib/pkgconfig/plimsoll.pc
./share/plimsoll/installed
END
test_that "install: every header" diff <(cd include && find . -type f | sort) <(cd "$root/usr/local/include" && find . -type f | sort)
test_that "install: licence and pages" bash -c "cd '$root/usr/local/share/doc/plimsoll' && ls LICENSE README.md c.md"
test_that "install: the links lead to the library" test "$(readlink -f "$root/usr/local/lib/libplimsoll.so")" = \
    "$root/usr/local/lib/libplimsoll.so.0.1.0"
test_that "install: no file names the place where it was put" bash -c \
    "! grep -rlF '$place' '$root' && ! grep -F /usr/local '$root'/usr/local/lib/{pkgconfig/plimsoll.pc,cmake/plimsoll/*}"
tree "$root" >"$out/first"
test_that "install: again, which changes nothing" quiet_make install DESTDIR="$root"
test_that "install: the same tree" diff "$out/first" <(tree "$root")
hosts "below a DESTDIR" "$root/usr/local/lib"

# --- The tree moves ---
moved=$place/moved
mv "$root" "$moved"
hosts "moved" "$moved/usr/local/lib"
test_that "uninstall: where the tree is now" quiet_make uninstall DESTDIR="$moved"
test_that "uninstall: the tree is as before" diff "$out/before" <(tree "$moved")
test_that "uninstall: a second time fails" bash -c "! make -s uninstall DESTDIR='$moved'"

# --- The folders of a distribution, straight into the prefix ---
opt=$place/opt folders="LIBDIR=$place/opt/lib/x86_64-linux-gnu docdir=$place/opt/share/doc/libplimsoll-dev"
mkdir "$opt" && tree "$opt" >"$out/before"
test_that "install: a library folder of one's own" quiet_make install prefix="$opt" $folders
hosts "LIBDIR" "$opt/lib/x86_64-linux-gnu"
test_that "install: docdir" test -e "$opt/share/doc/libplimsoll-dev/LICENSE"
if have cmake; then
    # asks VERSION: whether find_package takes this installation for the version.
    asks() { cmake -S "$place/ask" -B "$place/ask/build" -DCMAKE_PREFIX_PATH="$opt" -DASKED="$1"; }
    mkdir "$place/ask"
    printf 'cmake_minimum_required(VERSION 3.19)\nproject(ask C)\nfind_package(plimsoll ${ASKED} REQUIRED)\n' >"$place/ask/CMakeLists.txt"
    for version in 0.1 0.1.0 0.0.9 0 0.1...0.9 "0.1.0;EXACT"; do test_that "install: CMake finds it as $version" asks "$version"; done
    for version in 0.2 1.0 1 0.2...0.9 "0.0.9;EXACT"; do test_that "install: CMake does not find it as $version" bash -c "! $(declare -f asks); place='$place' opt='$opt'; ! asks '$version'"; done
fi
# Over another version, of which nothing stays.
test_that "install: an older version over it" quiet_make install VERSION=0.0.9 prefix="$opt" $folders
test_that "install: it has taken the place of the newer" test ! -e "$opt/lib/x86_64-linux-gnu/libplimsoll.so.0.1.0"
test_that "uninstall: the older version, by the Makefile of the newer" quiet_make uninstall prefix="$opt" $folders
test_that "uninstall: the prefix is as before" diff "$out/before" <(tree "$opt")

# --- Folders apart, and mistakes ---
test_that "install: library and headers apart" quiet_make install PREFIX="$opt" LIBDIR="$place/libs" INCLUDEDIR="$place/headers"
! have pkg-config || test_that "install: and pkg-config knows" test \
    "$(PKG_CONFIG_PATH=$place/libs/pkgconfig pkg-config --cflags --libs plimsoll | sed 's/ *$//')" = "-I$place/headers -L$place/libs -lplimsoll"
test_that "uninstall: both" quiet_make uninstall PREFIX="$opt"
test_that "uninstall: nothing is left" bash -c "[ ! -e '$place/libs' ] && [ ! -e '$place/headers' ]"
mkdir "$place/a space"
test_that "install: below a folder with a space" quiet_make install DESTDIR="$place/a space"
test_that "install: the library is there" test -e "$place/a space/usr/local/lib/libplimsoll.so"
test_that "uninstall: below a folder with a space" quiet_make uninstall DESTDIR="$place/a space"
test_that "uninstall: which is empty again" rmdir "$place/a space"
test_that "install: a relative prefix is refused" bash -c "! make -s install PREFIX=relative DESTDIR='$place/no'"
test_that "install: and nothing was made" test ! -e "$place/no"
rm -rf "$place"
