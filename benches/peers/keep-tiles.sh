#!/bin/sh
# Before llama.cpp's compiler, by CMake's launcher. GCC's intrinsic for ldtilecfg says up to version 12 (at least) that it reads 8 bytes of
# 64, so the stores of the others are dropped as dead, and the program ends at its first use of AMX.
case "$*" in
*amx/mmq.cpp*) exec "$@" -fno-tree-dse -fno-dse ;;
*) exec "$@" ;;
esac
