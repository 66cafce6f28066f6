# Links a shared library that g++ compiled for every Linux with glibc 2.28 or newer.
#
# nvcc takes g++ as its host compiler and refuses libc++, so the CUDA backend cannot be compiled with zig as the addon is
# (zig-glibc-2.28.cmake). Linking it with zig is enough: zig has glibc 2.28's symbol table, hence every reference binds to
# the version that 2.28 had, and one that 2.28 lacks is an error. libstdc++ comes from g++'s archive; the unwinder is
# zig's, since that of a newer g++ asks the dynamic loader in a way 2.28 does not know.
function(lq_link_for_glibc_2_28 target zig)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libstdc++.a
                  OUTPUT_VARIABLE libstdcxx OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(CMAKE_CXX_CREATE_SHARED_LIBRARY
      "${zig} c++ -target x86_64-linux-gnu.2.28 -shared -nostdlib++ -s <LINK_FLAGS> -o <TARGET> <OBJECTS> <LINK_LIBRARIES>"
      PARENT_SCOPE)
  target_sources(${target} PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/single_threaded.cc)
  target_link_libraries(${target} PRIVATE ${libstdcxx} -lunwind)
endfunction()
