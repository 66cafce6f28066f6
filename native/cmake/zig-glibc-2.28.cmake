# Builds for every Linux that VS Code itself runs on: glibc 2.28 or newer, the C++ runtime linked in.
# ZIG is the path of the zig binary (scripts/package.mjs gets it from PyPI).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG)
set(CMAKE_C_COMPILER "${ZIG}" cc)
set(CMAKE_C_COMPILER_TARGET x86_64-linux-gnu.2.28)
set(CMAKE_CXX_COMPILER "${ZIG}" c++)
set(CMAKE_CXX_COMPILER_TARGET x86_64-linux-gnu.2.28)
