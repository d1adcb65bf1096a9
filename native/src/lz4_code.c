// LZ4 itself, from the sources that the npm package lz4 ships (binding.gyp gives the folder).
#include <lz4.c>
