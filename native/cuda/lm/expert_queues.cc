#include "lm/expert_queues.h"

namespace lq::cuda {

ExpertQueues::ExpertQueues(int64_t experts) : counts_(experts) {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i] = std::thread([this, device, queue = i + 1] {
      cudaSetDevice(device);  // what is wrong with it shows at the first launch
      serve(queue);
    });
  }
}

ExpertQueues::~ExpertQueues() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ExpertQueues::fetch_counts(const Stream& stream, const int32_t* counts, int64_t experts) {
  check(cudaMemcpyAsync(counts_.get(), counts, static_cast<size_t>(experts) * sizeof(int32_t), cudaMemcpyDeviceToHost,
                        stream.get()),
        "copying routes from the device");
  arrived_.record(stream);
}

const int32_t* ExpertQueues::counts() {
  arrived_.synchronize();
  return counts_.get();
}

void ExpertQueues::spread(const Stream& stream, int64_t count, const std::function<void(const Queue&, int64_t)>& work) {
  begun_.record(stream);
  for (const Queue& queue : queues_) begun_.hold(queue.stream);
  const std::function<void(size_t)> job = [&](size_t queue) {
    for (auto i = static_cast<int64_t>(queue); i < count; i += kQueues) work(queues_[queue], i);
  };
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    job_ = &job;
    failure_ = nullptr;
    busy_ = threads_.size();
    ++turn_;
  }
  changed_.notify_all();
  run(0, job);
  std::exception_ptr failure;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return busy_ == 0; });
    failure = failure_;
  }
  for (Queue& queue : queues_) {
    queue.done.record(queue.stream);
    queue.done.hold(stream);
  }
  if (failure) std::rethrow_exception(failure);
}

void ExpertQueues::run(size_t queue, const std::function<void(size_t)>& job) {
  try {
    job(queue);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ExpertQueues::serve(size_t queue) {
  int64_t done = 0;
  for (;;) {
    const std::function<void(size_t)>* job = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return closed_ || turn_ != done; });
      if (closed_) return;
      done = turn_;
      job = job_;
    }
    run(queue, *job);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      --busy_;
    }
    changed_.notify_all();
  }
}

}  // namespace lq::cuda
