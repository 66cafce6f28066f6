#include <algorithm>
#include <memory>
#include <vector>

#include "ops/time_products.h"
#include "quant/packed_matrix.h"

namespace lq::cuda {
namespace {

constexpr int kProducts = 24;  // timed together
constexpr int kSamples = 9;
constexpr int64_t kCold =
    int64_t{256} << 20;  // bytes of weights that go by before one is used again: no cache has them

// Holds the device until the host has launched what is to be timed, so that the host's speed does not matter.
__global__ void hold_kernel(int64_t nanoseconds) {
  uint64_t begin, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - begin < static_cast<uint64_t>(nanoseconds));
}

class TimingEvent {
 public:
  TimingEvent() { check(cudaEventCreate(&event_), "creating an event"); }
  ~TimingEvent() { cudaEventDestroy(event_); }
  TimingEvent(const TimingEvent&) = delete;
  TimingEvent& operator=(const TimingEvent&) = delete;
  void record(const Stream& stream) { check(cudaEventRecord(event_, stream.get()), "recording an event"); }
  double microseconds_since(const TimingEvent& begin) const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "reading the time");
    return static_cast<double>(milliseconds) * 1e3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// Median microseconds of work(i), i counting up.
template <typename Work>
double median_us(const Stream& stream, Work&& work) {
  int64_t next = 0;
  for (int i = 0; i < 3; ++i) work(next++);
  std::vector<double> samples;
  for (int sample = 0; sample < kSamples; ++sample) {
    TimingEvent begin, end;
    stream.synchronize();
    hold_kernel<<<1, 1, 0, stream.get()>>>(1'000'000);
    check_launch("holding the device");
    begin.record(stream);
    for (int i = 0; i < kProducts; ++i) work(next++);
    end.record(stream);
    stream.synchronize();
    samples.push_back(end.microseconds_since(begin) / kProducts);
  }
  std::nth_element(samples.begin(), samples.begin() + kSamples / 2, samples.end());
  return samples[kSamples / 2];
}

void time_products(const ProductTimes& t) {
  const Stream stream;
  const Products products(stream);
  PackedWorkspace workspace;
  const int64_t rows = t.w.rows, cols = t.w.cols;
  const Placement placement{rows, cols, rows, rows, cols, cols};
  std::vector<std::unique_ptr<PackedMatrix>> packed;
  do {
    packed.push_back(
        std::make_unique<PackedMatrix>(stream, t.w, t.l1, t.l2, placement, std::vector<int32_t>{}, 1, &workspace));
  } while (static_cast<int64_t>(packed.size()) * packed[0]->bytes() < kCold);
  std::vector<DeviceBuffer<uint16_t>> dense;
  do {
    dense.emplace_back(stream, rows * cols);
    dense.back().upload(t.dense, dense.back().size());
  } while (static_cast<int64_t>(dense.size()) * dense[0].bytes() < kCold);
  const int64_t most = *std::max_element(t.tokens, t.tokens + t.batches);
  DeviceBuffer<uint16_t> x(stream, most * cols);
  x.upload(t.x, x.size());
  const Operand operand{x.get(), cols, 0, 1};
  for (int32_t batch = 0; batch < t.batches; ++batch) {
    const int64_t tokens = t.tokens[batch];
    const DeviceBuffer<uint16_t> out(stream, tokens * rows);
    const Target target{out.get(), rows, true, false};
    const auto multiply = [&](int64_t i) {
      packed[i % packed.size()]->times_transposed(products, operand, tokens, target, &workspace);
    };
    multiply(0);
    out.download(t.out[batch], out.size());
    t.packed_us[batch] = median_us(stream, multiply);
    t.dense_us[batch] = median_us(stream, [&](int64_t i) {
      products.times_transposed(operand, {dense[i % dense.size()].get(), cols, 0, 1}, tokens, rows, cols, target);
    });
  }
}

}  // namespace
}  // namespace lq::cuda

extern "C" __attribute__((visibility("default"))) void lq_time_products(int32_t device,
                                                                        const lq::cuda::ProductTimes* times,
                                                                        lq::Status* status) {
  *status = lq::cuda::guarded([&] {
    lq::cuda::check(cudaSetDevice(device), "selecting the device");
    lq::cuda::time_products(*times);
  });
}
