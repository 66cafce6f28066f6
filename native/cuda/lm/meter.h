// Progress in sequences, cancellation, and a limit to how far the host runs ahead of the device: one step.
#pragma once

#include <algorithm>

#include "runtime/memory.h"

namespace lq::cuda {

class Meter {
 public:
  // A total of 0 is not reported.
  Meter(const Stream& stream, const Watch& watch, int64_t total) : stream_(stream), watch_(watch), total_(total) {}
  // A batch of `sequences` that takes `steps`, in a run that visits every sequence `visits` times.
  void begin(int64_t sequences, int64_t steps, int64_t visits) {
    share_ = static_cast<double>(sequences) / static_cast<double>(steps * visits);
  }
  void step() {
    if (steps_ > 0) events_[(steps_ - 1) % 2].synchronize();
    events_[steps_ % 2].record(stream_);
    ++steps_;
    done_ += share_;
    if (total_ > 0) watch_.progress(std::min(done_, static_cast<double>(total_)), static_cast<double>(total_));
    watch_.poll();
  }

 private:
  const Stream& stream_;
  const Watch& watch_;
  const int64_t total_;
  Event events_[2];
  int64_t steps_ = 0;
  double share_ = 0, done_ = 0;
};

}  // namespace lq::cuda
