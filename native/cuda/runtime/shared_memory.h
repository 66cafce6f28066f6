// Dynamic shared memory of kernels whose need is known at run time.
#pragma once

#include "runtime/status.h"

namespace lq::cuda {

// Lets launches of `kernel` ask for as much as the device has beside the kernel's static arrays. The limit belongs to
// the kernel, not to a launch: set to what one launch needs it would be too low for another's, on another lane, that
// set its own before.
template <typename Kernel>
void allow_all_shared_memory(Kernel kernel) {
  int device = 0, most = 0;
  cudaFuncAttributes attributes{};
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for shared memory");
  check(cudaFuncGetAttributes(&attributes, kernel), "asking for shared memory");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             most - static_cast<int>(attributes.sharedSizeBytes)),
        "asking for shared memory");
}

}  // namespace lq::cuda
