// glibc 2.32 tells by this variable that a process has one thread, and libstdc++ then spares atomic instructions. For
// an older glibc it is defined here, and says that there may be more.
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}
